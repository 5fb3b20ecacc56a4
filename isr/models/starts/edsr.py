"""How EDSR begins: as an interpolation, or with an EDSR of the same body for another scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isr.models.edsr import EDSR
from isr.models.starts import adopt, interpolate, kernels


@interpolate.register(EDSR)
def interpolate_edsr(model: EDSR) -> None:
    """Carry the channels through the body, and enlarge them by the upsampler."""
    kernels.require_features(model.num_features, model.num_channels)
    kernels.carry(model.head, model.num_channels)
    kernels.shrink([*(block.conv2 for block in model.blocks), model.body_end])
    kernels.interpolate_upsampler(model.upsampler, model.num_channels, rest=0.1)
    kernels.carry(model.tail, model.num_channels, rest=0.1)


@adopt.register(EDSR)
def adopt_edsr(model: EDSR, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over an EDSR of the same body, also of another scale.

    A step of the upsampler that the other network has with another factor is resampled from it, one that it lacks
    enlarges the features by interpolation; so the new scale starts close to the old one's quality.
    """
    values = {name: np.asarray(value, np.float32) for name, value in values.items()}
    kernels.compare_but(r"upsampler/", model.named_weights(), values, source)
    steps, made = kernels.adopted_upsampler(model.upsampler, kernels.below("upsampler/", values))
    body = {name: value for name, value in values.items() if not name.startswith("upsampler/")}
    model.load_named_weights(body | {f"upsampler/{name}": value for name, value in steps.items()}, source)
    return [f"upsampler/{name}" for name in made]
