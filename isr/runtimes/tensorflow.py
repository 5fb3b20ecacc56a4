"""A Keras model as plain TensorFlow graphs, never under XLA: on a CPU that loses the fused kernels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from isr.models import MultiFrameModel, SuperResolutionModel
from isr.runtimes.steps import FramesUpscaler
from isr.spec import ModelSpec


class TensorFlowUpscaler:
    """Runs a single-picture model through one `tf.function`."""

    def __init__(self, model: SuperResolutionModel) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec
        any_size = tf.TensorSpec((None, None, None, self.spec.num_channels), tf.float32)
        # One graph of each scale for all sizes: tracing takes longer than a small picture.
        self._graphs = {
            scale: tf.function(
                partial(model.at_scale, scale=scale), input_signature=[any_size], jit_compile=False
            )
            for scale in self.spec.scales
        }

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        return run(self._graphs[self.spec.check_scale(scale)], batch).numpy()


class TensorFlowFramesUpscaler(FramesUpscaler):
    """Runs a multi-frame model, also in its two halves.

    Every shape has graphs of its own, because deformable convolution is fast for sizes known in advance: give
    frames and tiles of few sizes.
    """

    def __init__(self, model: MultiFrameModel) -> None:
        def compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            return partial(run, tf.function(function, jit_compile=False))

        super().__init__(model, compiled, lambda tensor: tensor.shape.num_elements() * tensor.dtype.size)


@contextmanager
def saved(function: Any) -> Iterator[str]:
    """Write one `tf.function` that has an input signature as a SavedModel; it is gone when the block ends."""
    concrete = function.get_concrete_function()
    root = tf.Module()
    root.parameters = list(concrete.variables)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(root, folder, {"serving_default": concrete}, options)
        yield folder


def run(graph: Callable[[Any], Any], given: Any) -> Any:
    """Call a graph with an array or with tensors.

    Raises:
        MemoryError: TensorFlow has too little memory.
    """
    try:
        return graph(tf.convert_to_tensor(given, tf.float32) if isinstance(given, np.ndarray) else given)
    except tf.errors.ResourceExhaustedError as error:
        what = f"a batch of {given.shape}" if isinstance(given, np.ndarray) else "a window of frames"
        raise MemoryError(f"no memory for {what}") from error
