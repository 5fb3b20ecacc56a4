"""How RDN begins: as an interpolation, with each of its upsamplers."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from isr.layers import IdealoUpsampler
from isr.models.rdn import RDN
from isr.models.starts import interpolate, kernels


@interpolate.register(RDN)
def interpolate_rdn(model: RDN) -> None:
    """Carry the channels through the blocks, and enlarge them by whichever upsampler there is."""
    channels = model.num_channels
    kernels.require_features(min(model.num_features, carried(model.enlarge)), channels)
    kernels.carry(model.head1, channels)
    kernels.shrink(block.fusion for block in model.blocks)
    # Without a mean to subtract, features are far from 0.
    kernels.shrink([model.fusion2], 0.01)
    if isinstance(model.enlarge, IdealoUpsampler):
        interpolate_idealo(model.enlarge, channels, rest=0.1)
    else:
        kernels.interpolate_upsampler(model.enlarge, channels, rest=0.1)
    if model.upsampler == "idealo_ups":
        smooth_repeated(model.tail, model.scale, channels)
    else:
        kernels.carry(model.tail, channels, rest=0.1)


def carried(upsampler: keras.layers.Layer) -> int:
    """Count the features that can pass an upsampler; idealo's needs two for each, one of either sign."""
    if isinstance(upsampler, IdealoUpsampler):
        return upsampler.conv2.filters // 2
    return upsampler.num_features


def interpolate_idealo(upsampler: IdealoUpsampler, count: int, rest: float) -> None:
    """Make its first `count` channels interpolate the first `count` features; see `smooth_repeated`."""
    kernels.carry_signed(upsampler.conv1, count)
    kernels.carry(upsampler.conv2, 2 * count)
    if not upsampler.nearest:
        kernels.carry_enlarged(upsampler.conv3, upsampler.scale, count, rest, signed=True)
        return
    kernels.take_signed(upsampler.conv3, count, rest)
    kernel = ops.convert_to_numpy(upsampler.conv3.kernel).copy()
    sharper = np.outer(kernels.SHARPEN, kernels.SHARPEN)[:, :, None]
    kernel[:, :, : 2 * count, :count] = kernel[1, 1, : 2 * count, :count] * sharper[..., None]
    upsampler.conv3.kernel.assign(kernel)


def smooth_repeated(layer: keras.layers.Conv2D, factor: int, count: int) -> None:
    """Make a 3x3 convolution of repeated pixels interpolate their first `count` channels.

    Args:
        layer: built.
        factor: how often each pixel was repeated; up to 3 the result is bilinear interpolation.
        count: channels that go in and out.
    """
    kernels.carry(layer, count)
    side = (factor - 1) / (2 * factor)
    taps = np.array([side, 1 / factor, side])
    kernel = ops.convert_to_numpy(layer.kernel).copy()
    for channel in range(count):
        kernel[:, :, channel, channel] = np.outer(taps, taps)
    layer.kernel.assign(kernel)
