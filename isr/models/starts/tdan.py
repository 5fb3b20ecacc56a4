"""How TDAN begins: as an interpolation of the centre frame."""

from __future__ import annotations

from isr.models.starts import interpolate, kernels
from isr.models.tdan import TDAN


@interpolate.register(TDAN)
def interpolate_tdan(model: TDAN) -> None:
    """Carry the positive and the negative part of every channel as features of their own, because of the ReLUs.

    The neighbours pass the alignment as they are.
    """
    channels = model.num_channels
    kernels.require_features(model.num_features, channels, " of both signs")
    kernels.carry_signed(model.head, channels)
    kernels.shrink(block.conv2 for block in (*model.extract, *model.reconstruct))
    for layer in (model.align.sample, model.align.polish):
        kernels.carry(layer, 2 * channels)
    kernels.take_signed(model.to_frame, channels)
    kernels.carry_signed(model.fuse, channels, first=model.center_frame_idx * channels)
    kernels.interpolate_upsampler(model.upsampler, 2 * channels, rest=0.1)
    kernels.take_signed(model.tail, channels)
