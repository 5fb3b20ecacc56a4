"""Building blocks of the networks, as Keras layers."""

from isr.layers.blocks import (
    HalvingConv,
    IdealoUpsampler,
    PairConv,
    ResidualBlock,
    ResidualDenseBlock,
    Upsampler,
    conv,
    exact,
)
from isr.layers.deformable import DeformableConv2D, deform_conv2d

__all__ = [
    "DeformableConv2D",
    "HalvingConv",
    "IdealoUpsampler",
    "PairConv",
    "ResidualBlock",
    "ResidualDenseBlock",
    "Upsampler",
    "conv",
    "deform_conv2d",
    "exact",
]
