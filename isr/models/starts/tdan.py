"""How TDAN begins: as an interpolation of the centre frame."""

from __future__ import annotations

from isr.models.starts import interpolate
from isr.models.starts.kernels import (
    carry,
    carry_signed,
    interpolate_upsampler,
    require_features,
    shrink,
    take_signed,
)
from isr.models.tdan import TDAN


@interpolate.register(TDAN)
def interpolate_tdan(model: TDAN) -> None:
    """Carry the positive and the negative part of every channel as features of their own, because of the ReLUs.

    The neighbours pass the alignment as they are.
    """
    channels = model.num_channels
    require_features(model.num_features, channels, " of both signs")
    carry_signed(model.head, channels)
    shrink(block.conv2 for block in (*model.extract, *model.reconstruct))
    for layer in (model.align.sample, model.align.polish):
        carry(layer, 2 * channels)
    take_signed(model.to_frame, channels)
    carry_signed(model.fuse, channels, first=model.center_frame_idx * channels)
    interpolate_upsampler(model.upsampler, 2 * channels, rest=0.1)
    take_signed(model.tail, channels)
