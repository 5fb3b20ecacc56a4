"""Building blocks of the networks, as Keras layers."""

from isr.layers.blocks import (
    HalvingConv,
    PairConv,
    ResidualBlock,
    ResidualDenseBlock,
    Upsampler,
    adopted_upsampler,
    carry,
    carry_enlarged,
    carry_signed,
    conv,
    exact,
    resample_phases,
    shrink,
    take_signed,
)
from isr.layers.deformable import DeformableConv2D, deform_conv2d

__all__ = [
    "DeformableConv2D",
    "HalvingConv",
    "PairConv",
    "ResidualBlock",
    "ResidualDenseBlock",
    "Upsampler",
    "adopted_upsampler",
    "carry",
    "carry_enlarged",
    "carry_signed",
    "conv",
    "deform_conv2d",
    "exact",
    "resample_phases",
    "shrink",
    "take_signed",
]
