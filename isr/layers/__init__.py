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
from isr.layers.flow import OpticalFlow, confidence, halve, warp_blocks, warp_planes

__all__ = [
    "DeformableConv2D",
    "HalvingConv",
    "IdealoUpsampler",
    "OpticalFlow",
    "PairConv",
    "ResidualBlock",
    "ResidualDenseBlock",
    "Upsampler",
    "confidence",
    "conv",
    "deform_conv2d",
    "exact",
    "halve",
    "warp_blocks",
    "warp_planes",
]
