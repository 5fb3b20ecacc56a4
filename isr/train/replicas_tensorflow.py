"""Training on several devices of one machine: the strategy, and gradients that are clipped in sum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import tensorflow as tf


# A second one in a process would give its sums the numbers of the first one's, which fails.
@cache
def mirrored() -> tf.distribute.Strategy:
    """Give a replica on each of TensorFlow's GPUs, or of its logical processors where there is none.

    With one device it is TensorFlow's default strategy, which changes nothing.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def clip_sum(gradients: Sequence[tf.Tensor | None], norm: float, replicas: int) -> list[tf.Tensor | None]:
    """Give a replica's share of the clipped sum of all replicas' gradients.

    Keras adds up the shares of all replicas, which gives the clipped sum; by itself it would clip each replica's
    gradients before that.

    Args:
        gradients: of this replica; None where a variable has none.
        norm: the greatest of the sum, over all its gradients together.
        replicas: their number.
    """
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, [g for g in gradients if g is not None])
    clipped = iter(tf.clip_by_global_norm(total, norm)[0])
    return [None if g is None else next(clipped) / replicas for g in gradients]
