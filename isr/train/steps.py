"""What happens in a step: the losses that are added up, and Adam with averaged weights."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from isr.losses import AdversarialLoss, ContentLoss, TotalVariation, alignment_loss
from isr.models import SuperResolutionModel
from isr.ops import Tensor


def aligns_frames(model: SuperResolutionModel) -> bool:
    """Whether a network gives its aligned frames beside the result, as TDAN does."""
    return "return_aligned" in inspect.signature(type(model).call).parameters


@dataclass(frozen=True)
class LossWeights:
    """Factors of the losses that training adds up."""

    pixel: float = 1.0
    alignment: float = 0.0
    content: float = 0.0
    adversarial: float = 0.0
    total_variation: float = 0.0


class Objective(keras.Model):
    """What training minimises: the losses of a network, each times its weight, and that of its discriminator.

    One step moves both. In the network's loss the discriminator's weights are constants, in the discriminator's the
    network's pictures are; so each gets its own gradients only, and one optimizer serves both on every backend.

    Args:
        network: keeps its weights' names.
        weights: a loss of weight 0 is not computed, but for the pixel loss, which `compile` gives.
        content: compares features; needed for its weight.
        adversarial: judges the discriminator's logits; needed for its weight, with the discriminator.
        discriminator: pictures `[b, h, w, c]` to logits.
        patch_size: side of the HR patches, from which a network of several scales knows the one of a batch.
        replicas: how many share a batch. The losses of all add up to those of the batch; a discriminator's own means
            (the relativistic loss, batch normalisation) are of a share.

    Attributes:
        parts: means since the last state: every loss of the whole batch, and what the discriminator gave real and
            made pictures.
        perceptual: whether the content, adversarial and total-variation losses are on, and the pixel loss has its
            weight; otherwise that has 1. To be set before `compile`.
    """

    def __init__(
        self,
        network: SuperResolutionModel,
        weights: LossWeights,
        content: ContentLoss | None = None,
        adversarial: AdversarialLoss | None = None,
        discriminator: keras.Model | None = None,
        patch_size: int = 0,
        replicas: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.patch_size = patch_size
        self.replicas = replicas
        self.discriminator = discriminator
        self.weighting = weights
        self.content = content
        self.adversarial = adversarial
        self.variation = TotalVariation()
        self.perceptual = True
        self.parts = [keras.metrics.Mean(name=name) for name in self._names()]

    def _names(self) -> list[str]:
        weights = self.weighting
        names = ["pixel_loss"]
        for name in ("alignment", "content", "adversarial", "total_variation"):
            names += [f"{name}_loss"] * (getattr(weights, name) > 0)
        return names + ["discriminator_loss", "real_score", "fake_score"] * (weights.adversarial > 0)

    def call(self, lr: Tensor) -> Any:
        scales = self.network.scales
        if self.weighting.alignment:
            return self.network(lr, return_aligned=True)
        if len(scales) == 1:
            return self.network(lr)
        if lr.shape[1] is not None:
            return self.network(lr, scale=self.patch_size // lr.shape[1])
        # TensorFlow has one graph for patches of all sizes; it computes the branch taken only.
        sizes = ops.convert_to_tensor([self.patch_size // scale for scale in scales])
        branch = ops.argmax(ops.cast(ops.equal(sizes, ops.shape(lr)[1]), "int32"))
        return ops.switch(branch, [partial(self.network.at_scale, scale=scale) for scale in scales], lr)

    def compute_loss(
        self,
        x: Tensor,
        y: Tensor,
        y_pred: Any,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        weights = self.weighting
        share = 1 / self.replicas  # of a batch; Keras' own losses take it into account by themselves
        sr, aligned = y_pred if weights.alignment else (y_pred, None)
        parts = {"pixel": super().compute_loss(x, y, sr, sample_weight, training)}
        discriminator_loss: Any = 0.0
        scores: dict[str, Tensor] = {}
        if aligned is not None:
            parts["alignment"] = share * alignment_loss(aligned, x, self.network.spec.center_frame)
        if self.perceptual and weights.content and self.content is not None:
            parts["content"] = self.content(y, sr)
        if self.perceptual and weights.adversarial:
            adversarial, judging, scores = self._contest(y, sr)
            parts["adversarial"], discriminator_loss = share * adversarial, share * judging
        if self.perceptual and weights.total_variation:
            parts["total_variation"] = self.variation(y, sr)
        shown = {
            **{f"{name}_loss": self.replicas * value for name, value in parts.items()},
            "discriminator_loss": self.replicas * discriminator_loss,
            **scores,
        }
        for metric in self.parts:
            metric.update_state(shown.get(metric.name, 0.0))
        if self.perceptual:
            parts["pixel"] = weights.pixel * parts["pixel"]
        others = {name: getattr(weights, name) * value for name, value in parts.items() if name != "pixel"}
        return parts["pixel"] + sum(others.values()) + discriminator_loss

    def _contest(self, hr: Tensor, sr: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The network's adversarial loss, the discriminator's own, and the mean logits of both kinds of pictures."""
        assert self.discriminator is not None and self.adversarial is not None
        real = self.discriminator(hr, training=True)
        fake = self.discriminator(ops.stop_gradient(sr), training=True)
        constants = [ops.stop_gradient(variable.value) for variable in self.discriminator.trainable_variables]
        state = [variable.value for variable in self.discriminator.non_trainable_variables]
        judged, _ = self.discriminator.stateless_call(constants, state, sr, training=True)
        return (
            self.adversarial.generator(ops.stop_gradient(real), judged),
            self.adversarial.discriminator(real, fake),
            {"real_score": _mean(real), "fake_score": _mean(fake)},
        )


def _mean(logits: Tensor) -> Tensor:
    return ops.mean(ops.cast(logits, "float32"))


@keras.saving.register_keras_serializable(package="isr")
class AveragingAdam(keras.optimizers.Adam):
    """Adam with an exponential moving average of the weights that is right from the first step.

    Keras' own average keeps a share `momentum**n` of the random start and replaces the weights when `fit` ends.
    Here the first step sets the average, the momentum is warmed up to `min(momentum, (1 + n) / (10 + n))` after n
    steps, and the weights are left alone: read `averages`.

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
            before = ops.cast(self.iterations, "float32") - 1.0  # steps before this one
            warmed = ops.where(before < 1.0, 0.0, (1.0 + before) / (10.0 + before))
            momentum = ops.minimum(self.average_momentum, warmed)
            if every := self.gradient_accumulation_steps:
                momentum = ops.where(self._iterations % every == 0, momentum, 1.0)  # a step is complete
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

    def state(self) -> list[np.ndarray]:
        """What goes on after a complete step: the number of steps, then moments and averages."""
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
            passing |= {id(sums) for sums in self._accumulated_gradients}  # 0 after a complete step
        return [variable for variable in self.variables if id(variable) not in passing]

    def get_config(self) -> dict[str, Any]:
        names = ("average_momentum", "multipliers", "starts", "replicas")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
