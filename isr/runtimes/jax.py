"""A Keras model compiled by JAX; every new shape compiles again, so give tiles of one shape."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np

from isr.models import SuperResolutionModel
from isr.spec import ModelSpec


class JaxUpscaler:
    """Runs the model through `jax.jit`."""

    def __init__(self, model: SuperResolutionModel) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec

        def run(weights: list[Any], batch: Any) -> Any:
            # Not `stateless_call`: it skips `__call__`, and with it the check of the channels.
            with keras.StatelessScope(zip(model.variables, weights, strict=True)):
                return model(batch, training=False)

        self._run = jax.jit(run)

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        self.spec.check_scale(scale)
        weights = [variable.value for variable in self.model.variables]
        try:
            return np.asarray(self._run(weights, batch), np.float32)
        except jax.errors.JaxRuntimeError as error:
            # JAX has one class for all that XLA reports; the status code begins the message.
            if "RESOURCE_EXHAUSTED" in str(error):
                raise MemoryError(f"no memory for a batch of {batch.shape}") from error
            raise
