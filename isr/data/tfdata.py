"""The batches as a `tf.data` pipeline: drawn in parallel, ahead of the step that needs them."""

from __future__ import annotations

import tensorflow as tf

from isr.data.batches import WORKERS, Batches


def dataset(batches: Batches, start: int, stop: int) -> tf.data.Dataset:
    """Give batches `start` to `stop - 1` in order, as pairs `(lr, hr)` of float32 tensors."""
    first = batches[start]

    def draw(step: int) -> tuple:
        batch = batches[int(step)]
        return batch.lr, batch.hr

    def tensors(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lr, hr = tf.numpy_function(draw, [step], [tf.float32, tf.float32], stateful=False)
        lr_shape = (*first.lr.shape[:-3], batches.lr_side, batches.lr_side, first.lr.shape[-1])
        return tf.ensure_shape(lr, lr_shape), tf.ensure_shape(hr, first.hr.shape)

    steps = tf.data.Dataset.range(start, stop)
    pairs = steps.map(tensors, num_parallel_calls=WORKERS, deterministic=True).prefetch(8)
    options = tf.data.Options()
    # Nothing here is left to tune, and an iterator's end waits for its tuner to wake: for up to as long as it has run.
    options.autotune.enabled = False
    return pairs.with_options(options)
