"""Losses between pictures."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from isr.ops import Tensor


@keras.saving.register_keras_serializable(package="isr")
class Charbonnier(keras.losses.Loss):
    """`mean(sqrt((sr - hr)^2 + epsilon^2))`, a differentiable L1 (Lai et al. 2017, LapSRN, equation 5).

    Args:
        epsilon: in the unit of the pictures, [0, 1].

    `y_true` and `y_pred`: float `[b, h, w, c]`.
    """

    def __init__(self, epsilon: float = 1e-3, name: str = "charbonnier", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.mean(ops.sqrt(ops.square(y_pred - y_true) + self.epsilon**2), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


def pixel_loss(name: str) -> keras.losses.Loss:
    """The pixel loss of that name: "l1", "mse" or "charbonnier"; ValueError for another."""
    losses = {
        "l1": keras.losses.MeanAbsoluteError,
        "mse": keras.losses.MeanSquaredError,
        "charbonnier": Charbonnier,
    }
    if name not in losses:
        raise ValueError(f"loss {name!r} is unknown; the pixel losses are {', '.join(losses)}")
    return losses[name]()
