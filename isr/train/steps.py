"""What happens in a step: the loss of a network that aligns frames, and Adam with averaged weights."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from isr.losses import alignment_loss
from isr.models import SuperResolutionModel
from isr.ops import Tensor


def aligns_frames(model: SuperResolutionModel) -> bool:
    """Whether a network gives its aligned frames beside the result, as TDAN does."""
    return "return_aligned" in inspect.signature(type(model).call).parameters


class AlignmentTraining(keras.Model):
    """Trains a network on the sum of its pixel loss and its alignment loss (TDAN).

    Args:
        model: a network for which `aligns_frames` holds; it keeps its weights' names.
        weight: factor of the alignment loss.
    """

    def __init__(self, model: SuperResolutionModel, weight: float) -> None:
        super().__init__()
        self.network = model
        self.weight = weight

    def call(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(lr, return_aligned=True)

    def compute_loss(
        self,
        x: Tensor,
        y: Tensor,
        y_pred: tuple[Tensor, Tensor],
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        sr, aligned = y_pred
        pixel = super().compute_loss(x, y, sr, sample_weight, training)
        return pixel + self.weight * alignment_loss(aligned, x, self.network.spec.center_frame)


@keras.saving.register_keras_serializable(package="isr")
class AveragingAdam(keras.optimizers.Adam):
    """Adam with an exponential moving average of the weights that is right from the first step.

    Keras' own average keeps a share `momentum**n` of the random start and replaces the weights when `fit` ends.
    Here the first step sets the average, the momentum is warmed up to `min(momentum, (1 + n) / (10 + n))` after n
    steps, and the weights are left alone: read `averages`.

    Args:
        average_momentum: weight of the past in the average, 0 to 1; 0 keeps no average.
        multipliers: of the learning rate, one for each variable that the optimizer is built with; None: 1.
        starts: first step of each of these variables; None: 0. See `release`.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        average_momentum: float = 0.999,
        multipliers: Sequence[float] | None = None,
        starts: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.average_momentum = average_momentum
        self.multipliers = None if multipliers is None else list(multipliers)
        self.starts = None if starts is None else list(starts)
        self.released = 0
        self.averages: list[Any] = []

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        if self.average_momentum:
            self.averages = self.add_optimizer_variables(variables, "average")

    def release(self, step: int) -> bool:
        """Let the variables move that start at `step` or before; the gradients of the others are not computed.

        Returns whether there are new ones, so that the training step must be built again.
        """
        before, self.released = self.released, step
        return any(before < start <= step for start in self.starts or ())

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> Any:
        if trainable_variables is not None and not self.built:
            self.build(trainable_variables)
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        moving = [
            pair for pair in zip(grads, variables, strict=True) if self._start(pair[1]) <= self.released
        ]
        result = super().apply(*map(list, zip(*moving, strict=True)))
        if self.average_momentum:
            before = ops.cast(self.iterations, "float32") - 1.0  # steps before this one
            warmed = ops.where(before < 1.0, 0.0, (1.0 + before) / (10.0 + before))
            momentum = ops.minimum(self.average_momentum, warmed)
            for average, variable in zip(self.averages, variables, strict=True):
                average.assign(average + (1.0 - momentum) * (ops.cast(variable, average.dtype) - average))
        return result

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if self.multipliers is not None:
            learning_rate = learning_rate * self.multipliers[self._get_variable_index(variable)]
        if start := self._start(variable):
            # Adam's correction for its empty start belongs to the variable's own first steps.
            learning_rate = learning_rate * self._correction(start) / self._correction(0)
        super().update_step(gradient, variable, learning_rate)

    def _start(self, variable: Any) -> int:
        return 0 if self.starts is None else self.starts[self._get_variable_index(variable)]

    def _correction(self, start: int) -> Any:
        steps = ops.cast(self.iterations + 1 - start, "float32")
        return ops.sqrt(1 - ops.power(self.beta_2, steps)) / (1 - ops.power(self.beta_1, steps))

    def get_config(self) -> dict[str, Any]:
        names = ("average_momentum", "multipliers", "starts")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
