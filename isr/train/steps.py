"""The optimizer: Adam that keeps a running average of the weights."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="isr")
class AveragingAdam(keras.optimizers.Adam):
    """Adam with an exponential moving average of the weights that is right from the first step.

    Keras' own average keeps a share `momentum**n` of the random start and replaces the weights when `fit` ends.
    Here the first step sets the average, the momentum is warmed up to `min(momentum, (1 + n) / (10 + n))` after n
    steps, and the weights are left alone: read `averages`.

    Args:
        average_momentum: weight of the past in the average, 0 to 1; 0 keeps no average.
    """

    def __init__(self, learning_rate: Any = 1e-4, average_momentum: float = 0.999, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.average_momentum = average_momentum
        self.averages: list[Any] = []

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        if self.average_momentum:
            self.averages = self.add_optimizer_variables(variables, "average")

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> Any:
        result = super().apply(grads, trainable_variables)
        variables = trainable_variables if trainable_variables is not None else self._trainable_variables
        if self.average_momentum:
            before = ops.cast(self.iterations, "float32") - 1.0  # steps before this one
            warmed = ops.where(before < 1.0, 0.0, (1.0 + before) / (10.0 + before))
            momentum = ops.minimum(self.average_momentum, warmed)
            for average, variable in zip(self.averages, variables, strict=True):
                average.assign(average + (1.0 - momentum) * (ops.cast(variable, average.dtype) - average))
        return result

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average_momentum": self.average_momentum}
