"""A Keras model as a plain TensorFlow graph."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from isr.models import SuperResolutionModel
from isr.spec import ModelSpec


class TensorFlowUpscaler:
    """Runs the model through one `tf.function`, never under XLA: on a CPU that loses the fused kernels."""

    def __init__(self, model: SuperResolutionModel) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec
        frames = (self.spec.num_frames,) if self.spec.num_frames > 1 else ()
        any_size = tf.TensorSpec((None, *frames, None, None, self.spec.num_channels), tf.float32)
        # One graph for all sizes: tracing takes longer than a small picture.
        self._graph = tf.function(
            lambda batch: model(batch, training=False), input_signature=[any_size], jit_compile=False
        )

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        self.spec.check_scale(scale)
        try:
            return self._graph(tf.convert_to_tensor(batch, tf.float32)).numpy()
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(f"no memory for a batch of {batch.shape}") from error
