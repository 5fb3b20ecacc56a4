"""Adam, or Muon for the kernels within a network, with an average of the weights that is right from the start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

MUON_MOMENTUM = 0.95
MUON_STEP = 0.3  # root mean square of a change, in learning rates: about that of Adam
NEWTON_SCHULZ = 3.4445, -4.775, 2.0315  # bring singular values from (0, 1] to 0.7 to 1.2 in five iterations
INNER = 16  # channels that a kernel has on both sides, at least, to lie within a network


@keras.saving.register_keras_serializable(package="isr")
class AveragingAdam(keras.optimizers.Adam):
    """Adam with an exponential moving average of the weights that is right from the first step.

    Keras' own average keeps a share `momentum**n` of the random start and replaces the weights when `fit` ends.
    Here the first step sets the average, the momentum is warmed up to `min(momentum, (1 + n) / (10 + n))` after n
    steps, and the weights are left alone: `average_of` gives the averages.

    With Keras' `gradient_accumulation_steps` a step is so many calls of `apply`, and `iterations` counts steps; but
    Keras gives a schedule the number of calls.

    Args:
        average_momentum: weight of the past in the average, 0 to 1; 0 keeps no average.
        multipliers: of the learning rate, one for each variable that the optimizer is built with; None: 1.
        starts: first step of each of these variables; None: 0. See `release`.
        replicas: how many share a batch; what they have in sum is clipped.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        average_momentum: float = 0.999,
        multipliers: Sequence[float] | None = None,
        starts: Sequence[int] | None = None,
        replicas: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.average_momentum = average_momentum
        self.multipliers = None if multipliers is None else list(multipliers)
        self.starts = None if starts is None else list(starts)
        self.replicas = replicas
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
        grads, moved = map(list, zip(*moving, strict=True))
        if self.replicas > 1 and self.global_clipnorm:
            from isr.train.replicas_tensorflow import clip_sum

            grads = clip_sum(grads, self.global_clipnorm, self.replicas)
        result = super().apply(grads, moved)
        if self.average_momentum:
            # Steps before this one.
            before = ops.cast(self.iterations, "float32") - 1.0
            warmed = ops.where(before < 1.0, 0.0, (1.0 + before) / (10.0 + before))
            momentum = ops.minimum(self.average_momentum, warmed)
            if every := self.gradient_accumulation_steps:
                # A step is complete.
                momentum = ops.where(self._iterations % every == 0, momentum, 1.0)
            for variable in variables:
                average = self.averages[self._get_variable_index(variable)]
                average.assign(average + (1.0 - momentum) * (ops.cast(variable, average.dtype) - average))
        return result

    def average_of(self, variable: Any) -> Any:
        """Give the average of a variable; the variable itself where none is kept, and before the first step."""
        index = self._trainable_variables_indices.get(self._var_key(variable))
        if index is None or not self.averages or not np.asarray(self.iterations):
            return variable
        return self.averages[index]

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

    def state(self) -> list[np.ndarray]:
        """Tell what goes on after a complete step: the number of steps, then moments and averages."""
        return [np.asarray(self.iterations), *(np.asarray(variable) for variable in self._lasting())]

    def restore(self, state: Sequence[np.ndarray]) -> None:
        """Go on from what `state` gave; ValueError where it is another optimizer's."""
        lasting = self._lasting()
        if [array.shape for array in state] != [(), *(tuple(variable.shape) for variable in lasting)]:
            raise ValueError("the state of another optimizer")
        steps, *values = state
        self._iterations.assign(steps * (self.gradient_accumulation_steps or 1))
        for variable, value in zip(lasting, values, strict=True):
            variable.assign(value)

    def _lasting(self) -> list[Any]:
        passing = {id(self._iterations)}
        if self.gradient_accumulation_steps:
            # 0 after a complete step.
            passing |= {id(sums) for sums in self._accumulated_gradients}
        return [variable for variable in self.variables if id(variable) not in passing]

    def get_config(self) -> dict[str, Any]:
        names = ("average_momentum", "multipliers", "starts", "replicas")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="isr")
class AveragingMuon(AveragingAdam):
    """Muon for the kernels within a network, Adam for all other weights; everything else as `AveragingAdam`.

    Muon (Jordan et al.: Muon: An optimizer for hidden layers in neural networks, 2024) takes the mean gradient of a
    kernel as a matrix and sets all its singular values to about 1, so that a step moves all directions alike. The
    step is scaled as in Liu et al.: Muon is scalable for LLM training, 2025, so the rates of Adam fit.

    Args:
        inner: for each variable that the optimizer is built with, whether Muon moves it, as `is_inner_kernel` tells;
            None: those that it tells.
        args, kwargs: those of `AveragingAdam`.
    """

    def __init__(self, *args: Any, inner: Sequence[bool] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inner = None if inner is None else list(inner)

    def build(self, variables: list[Any]) -> None:
        if self.inner is None:
            self.inner = [is_inner_kernel(variable) for variable in variables]
        super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        assert self.inner is not None
        index = self._get_variable_index(variable)
        if not self.inner[index]:
            super().update_step(gradient, variable, learning_rate)
            return
        if self.multipliers is not None:
            learning_rate = learning_rate * self.multipliers[index]
        gradient = ops.cast(gradient, variable.dtype)
        momentum = self._momentums[index]
        self.assign(momentum, MUON_MOMENTUM * momentum + gradient)
        outputs = variable.shape[-1]
        inputs = math.prod(variable.shape[:-1])
        matrix = ops.reshape(gradient + MUON_MOMENTUM * momentum, (inputs, outputs))
        change = MUON_STEP * math.sqrt(max(inputs, outputs)) * orthogonalised(matrix)
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * ops.reshape(change, variable.shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": self.inner}


def is_inner_kernel(variable: Any) -> bool:
    """Tell whether a variable is the kernel of a convolution that looks beyond its pixel, within a network."""
    shape = tuple(variable.shape)
    return len(shape) == 4 and math.prod(shape[:2]) > 1 and min(shape[2:]) >= INNER


def orthogonalised(matrix: Any) -> Any:
    """Set the singular values of a matrix `[m, n]` to about 1, and keep its singular vectors: `[m, n]`."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = ops.transpose(matrix) if tall else matrix
    x = x / (ops.norm(x) + 1e-12)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        square = ops.matmul(x, ops.transpose(x))
        x = a * x + ops.matmul(b * square + c * ops.matmul(square, square), x)
    return ops.transpose(x) if tall else x
