"""A Keras model compiled by JAX; every new shape compiles again, so give tiles of one shape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import keras
import numpy as np

from isr.models import MultiFrameModel, SuperResolutionModel
from isr.runtimes.steps import FramesUpscaler
from isr.spec import ModelSpec


class JaxUpscaler:
    """Runs a single-picture model through `jax.jit`."""

    def __init__(self, model: SuperResolutionModel) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec
        self._calls = {
            scale: compiled(model, partial(model.at_scale, scale=scale)) for scale in self.spec.scales
        }

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        return np.asarray(self._calls[self.spec.check_scale(scale)](batch), np.float32)


class JaxFramesUpscaler(FramesUpscaler):
    """Runs a multi-frame model, also in its two halves."""

    def __init__(self, model: MultiFrameModel) -> None:
        super().__init__(model, partial(compiled, model), lambda tensor: int(tensor.nbytes))


def compiled(model: SuperResolutionModel, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Compile a function of the model's weights as they are at each call.

    Raises:
        MemoryError: at a call, JAX has too little memory.
    """

    def pure(weights: list[Any], given: Any) -> Any:
        # Not `stateless_call`: it skips `__call__`, and with it the check of the channels.
        with keras.StatelessScope(zip(model.variables, weights, strict=True)):
            return function(given)

    jitted = jax.jit(pure)

    def run(given: Any) -> Any:
        try:
            return jax.block_until_ready(jitted([variable.value for variable in model.variables], given))
        except jax.errors.JaxRuntimeError as error:
            # JAX has one class for all that XLA reports; the status code begins the message.
            if "RESOURCE_EXHAUSTED" in str(error):
                raise MemoryError(f"no memory for {getattr(given, 'shape', 'a window of frames')}") from error
            raise

    return run
