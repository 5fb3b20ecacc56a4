"""What a step minimises: the losses of a network, each times its weight, and that of its discriminator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from isr.losses import AdversarialLoss, ContentLoss, PhaseLoss, TotalVariation, alignment_loss
from isr.models import SuperResolutionModel
from isr.ops import Tensor
from isr.train.adversarial import contest


def aligns_frames(model: SuperResolutionModel) -> bool:
    """Tell whether a network gives its aligned frames beside the result, as TDAN does."""
    return "return_aligned" in inspect.signature(type(model).call).parameters


@dataclass(frozen=True)
class LossWeights:
    """Factors of the losses that training adds up."""

    pixel: float = 1.0
    alignment: float = 0.0
    content: float = 0.0
    adversarial: float = 0.0
    total_variation: float = 0.0
    phase: float = 0.0


def off_grid(pictures: Tensor, stride: int) -> Tensor:
    """Cut pictures so that no two neighbours of a batch lie alike on a grid of `stride` pixels.

    Picture i loses its first `dy` rows and `dx` columns, and what is over at the other end. The first `stride`
    pictures take the points `(i, i with its bits reversed)` of Hammersley's set, which are spread evenly; each further
    `stride` of them takes these with other bits of `dx` inverted, so that `stride^2` pictures take each pair once.

    Args:
        pictures: `[b, h, w, c]`, larger than the stride.
        stride: of the grid, in pixels, a power of two; 1: they stay.

    Returns:
        `[b, h - stride, w - stride, c]`; all of the pictures where the stride is 1.
    """
    if stride == 1:
        return pictures
    bits = stride.bit_length() - 1
    reverse = np.asarray([int(f"{i:0{bits}b}"[::-1], 2) for i in range(stride)], "int32")
    length, height, width, _ = ops.shape(pictures)
    index = ops.arange(length, dtype="int32")
    down = index % stride
    flips = np.asarray([flip for i in range(stride // 2) for flip in (i, stride - 1 - i)], "int32")
    right = ops.bitwise_xor(ops.take(reverse, down), ops.take(flips, index // stride % stride))
    rows = down[:, None] + ops.arange(height - stride, dtype="int32")
    columns = right[:, None] + ops.arange(width - stride, dtype="int32")
    cut = ops.take_along_axis(pictures, rows[:, :, None, None], axis=1)
    return ops.take_along_axis(cut, columns[:, None, :, None], axis=2)


class Objective(keras.Model):
    """What training minimises, as a Keras model that `fit` trains.

    `L = pixel * L_pixel + alignment * L_align + content * L_content + adversarial * L_G + total_variation * L_TV +
    phase * L_phase` moves the network (Ledig et al. 2017, SRGAN, equation 3; Wang et al. 2018, ESRGAN, equation 3),
    `L_D` its discriminator. Both are added up, and each network gets its own gradients only (see
    `isr.train.adversarial`), so one optimizer serves both on every backend.

    Args:
        network: keeps its weights' names.
        weights: a loss of weight 0 is not computed, but for the pixel loss, which `compile` gives.
        content: compares features; needed for its weight.
        adversarial: judges the discriminator's logits; needed for its weight, with the discriminator.
        discriminator: pictures `[b, h, w, c]` to logits.
        patch_size: side of the HR patches, from which a network of several scales knows the one of a batch.
        replicas: how many share a batch. The losses of all add up to those of the batch; a discriminator's own means
            (the relativistic loss, batch normalisation) are of a share.
        forward: makes the result of a batch instead of the network, of which it is a part.
        phase: compares what errors have in common from LR pixel to LR pixel; needed for its weight.
        off_grid: stride of the grid on which the networks that judge shall see no patch twice; 1: they see all of it.

    Attributes:
        parts: means since the last state: every loss of the whole batch, and what the discriminator gave real and
            made pictures.
        perceptual: whether the content, adversarial, total-variation and phase losses are on, and the pixel loss has
            its weight; otherwise that has 1. To be set before `compile`.
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
        forward: Callable[[Tensor], Tensor] | None = None,
        phase: PhaseLoss | None = None,
        off_grid: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.patch_size = patch_size
        self.replicas = replicas
        self.forward = forward
        self.discriminator = discriminator
        self.weighting = weights
        self.content = content
        self.adversarial = adversarial
        self.variation = TotalVariation()
        self.phase = phase
        self.off_grid = off_grid
        self.perceptual = True
        self.parts = [keras.metrics.Mean(name=name) for name in self._names()]

    def _names(self) -> list[str]:
        weights = self.weighting
        names = ["pixel_loss"]
        for name in ("alignment", "content", "adversarial", "total_variation", "phase"):
            names += [f"{name}_loss"] * (getattr(weights, name) > 0)
        return names + ["discriminator_loss", "real_score", "fake_score"] * (weights.adversarial > 0)

    def call(self, lr: Tensor) -> Any:
        scales = self.network.scales
        if self.forward is not None:
            return self.forward(lr)
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
        lr, hr, weights = x, y, self.weighting
        sr, aligned = y_pred if weights.alignment else (y_pred, None)
        # Losses that Keras does not average over a batch itself count by a replica's share of it.
        share = 1 / self.replicas

        losses = {"pixel": super().compute_loss(lr, hr, sr, sample_weight, training)}
        scores: dict[str, Tensor] = {}
        discriminator_loss: Any = 0.0
        if aligned is not None:
            losses["alignment"] = share * alignment_loss(aligned, lr, self.network.spec.center_frame)
        # What the networks that judge see.
        seen = [off_grid(pictures, self.off_grid) for pictures in (hr, sr)]
        if self.perceptual and self.content is not None and weights.content:
            losses["content"] = self.content(*seen)
        if self.perceptual and self.adversarial is not None and weights.adversarial:
            assert self.discriminator is not None
            played = contest(self.discriminator, self.adversarial, *seen)
            losses["adversarial"] = share * played.generator_loss
            discriminator_loss = share * played.discriminator_loss
            scores = {"real_score": played.real_score, "fake_score": played.fake_score}
        if self.perceptual and weights.total_variation:
            losses["total_variation"] = self.variation(hr, sr)
        if self.perceptual and self.phase is not None and weights.phase:
            losses["phase"] = self.phase(hr, sr)

        self._note(losses, discriminator_loss, scores)
        pixel = losses.pop("pixel")
        pixel = weights.pixel * pixel if self.perceptual else pixel
        return (
            pixel + sum(getattr(weights, name) * loss for name, loss in losses.items()) + discriminator_loss
        )

    def _note(
        self, losses: Mapping[str, Tensor], discriminator_loss: Tensor, scores: Mapping[str, Tensor]
    ) -> None:
        """Add what a step gave to the means that `fit` reports; what is off counts as 0."""
        shown = {
            **{f"{name}_loss": self.replicas * loss for name, loss in losses.items()},
            "discriminator_loss": self.replicas * discriminator_loss,
            **scores,
        }
        for metric in self.parts:
            metric.update_state(shown.get(metric.name, 0.0))
