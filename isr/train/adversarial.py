"""The adversarial part of a step: two networks that minimise against each other, told apart by their gradients."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from isr.losses import AdversarialLoss
from isr.ops import Tensor


class Contest(NamedTuple):
    """What one batch gives, scalars: the losses of G and of D, and the mean logits that D gave."""

    generator_loss: Tensor
    discriminator_loss: Tensor
    real_score: Tensor
    fake_score: Tensor


def contest(discriminator: keras.Model, loss: AdversarialLoss, hr: Tensor, sr: Tensor) -> Contest:
    """Compute the losses of generator G and discriminator D for one batch (Goodfellow et al. 2014).

    `L_D = loss.discriminator(D(hr), D(sr))` with `sr` a constant moves D alone;
    `L_G = loss.generator(D(hr), D(sr))` with D's weights constants moves G alone. So their sum has the right
    gradient for each, and one step moves both. ESRGAN (Wang et al. 2018) needs `D(hr)` in both.

    Args:
        discriminator: D, pictures `[b, h, w, c]` to logits.
        loss: what the two minimise.
        hr: photographs, float [0, 1], `[b, h, w, c]`.
        sr: what G made of their low resolution, same shape.

    Returns:
        The losses and the mean logits.
    """
    real = discriminator(hr, training=True)
    fake = discriminator(ops.stop_gradient(sr), training=True)
    constants = [ops.stop_gradient(variable.value) for variable in discriminator.trainable_variables]
    state = [variable.value for variable in discriminator.non_trainable_variables]
    judged, _ = discriminator.stateless_call(constants, state, sr, training=True)
    return Contest(
        generator_loss=loss.generator(ops.stop_gradient(real), judged),
        discriminator_loss=loss.discriminator(real, fake),
        real_score=_mean(real),
        fake_score=_mean(fake),
    )


def _mean(logits: Tensor) -> Tensor:
    return ops.mean(ops.cast(logits, "float32"))
