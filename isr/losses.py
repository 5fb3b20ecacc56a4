"""Losses between pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import ops

from isr.ops import Tensor


@keras.saving.register_keras_serializable(package="isr")
class Charbonnier(keras.losses.Loss):
    """`mean(sqrt((sr - hr)^2 + epsilon^2))`, a differentiable L1 (Lai et al. 2017, LapSRN, equation 5).

    Args:
        epsilon: in the unit of the pictures, [0, 1].
        kwargs: `reduction="sum"` for the sum over the batch instead of the mean, as in Keras.

    `y_true` and `y_pred`: float `[b, h, w, c]`.
    """

    def __init__(self, epsilon: float = 1e-3, name: str = "charbonnier", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.sqrt(ops.square(y_pred - y_true) + self.epsilon**2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


def alignment_loss(aligned: Tensor, lr: Tensor, center: int) -> Tensor:
    """Mean squared difference of the aligned frames from the centre frame (Tian et al. 2020, TDAN).

    Args:
        aligned: what the network made of every frame of the window, float [0, 1], `[b, t, h, w, c]`.
        lr: the window, same unit and shape.
        center: index of the centre frame.
    """
    return ops.mean(ops.square(aligned - lr[:, center : center + 1]))


def pixel_loss(name: str) -> keras.losses.Loss:
    """The pixel loss of that name, ValueError for another.

    "l1", "mse", "charbonnier"; and "charbonnier_sum", the sum over the batch with the epsilon of 1e-6 that EDVR was
    published with.
    """
    losses: dict[str, Callable[[], keras.losses.Loss]] = {
        "l1": keras.losses.MeanAbsoluteError,
        "mse": keras.losses.MeanSquaredError,
        "charbonnier": Charbonnier,
        "charbonnier_sum": partial(Charbonnier, epsilon=1e-6, reduction="sum"),
    }
    if name not in losses:
        raise ValueError(f"loss {name!r} is unknown; the pixel losses are {', '.join(losses)}")
    return losses[name]()
