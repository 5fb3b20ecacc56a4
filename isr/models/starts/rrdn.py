"""How RRDBNet and RRDN begin: as an interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from isr.errors import RequestError
from isr.models.rrdn import RRDB, RRDN, RRDBModel, RRDBNet
from isr.models.starts import interpolate, kernels


@interpolate.register(RRDBNet)
def interpolate_rrdbnet(model: RRDBNet) -> None:
    """Carry the channels through the blocks as they are, and through the leaky ReLUs in pairs of either sign.

    A linear value is got back from such a pair.
    """
    channels = model.num_channels
    if model.unshuffle > 1:
        what = f"RRDBNet has no interpolating start with unshuffle={model.unshuffle}"
        raise RequestError(f"{what}; start from a preset or at random")
    kernels.require_features(model.num_features, channels, " twice")
    kernels.carry(model.head, channels)
    if model.up_convs:
        kernel = ops.convert_to_numpy(model.head.kernel).copy()
        for channel in range(channels):
            kernel[:, :, channel, channel] = np.outer(kernels.SHARPEN, kernels.SHARPEN)
        model.head.kernel.assign(kernel)
    shrink_body(model)
    smooth, keep = [0.25, 0.5, 0.25], [0, 1, 0]  # behind repeated pixels, and elsewhere
    layers = [*model.up_convs, model.hr_conv, model.tail]
    for layer in layers:
        taps = smooth if layer in model.up_convs else keep
        carry_pairs(
            layer,
            channels,
            np.outer(taps, taps),
            model.SLOPE,
            first=layer is layers[0],
            last=layer is layers[-1],
        )


@interpolate.register(RRDN)
def interpolate_rrdn(model: RRDN) -> None:
    """Carry the channels through the blocks, and enlarge them by the one convolution before the pixel shuffle."""
    kernels.require_features(model.num_features, model.num_channels)
    kernels.carry(model.head, model.num_channels)
    shrink_body(model)
    kernels.carry_enlarged(model.up_conv, model.scale, model.num_channels, rest=0.1)
    kernels.carry(model.tail, model.num_channels, rest=0.1)


def shrink_body(model: RRDBModel) -> None:
    """Make the residuals of the RRDBs, and the body as a whole, small corrections."""
    blocks: Sequence[RRDB] = model.blocks
    kernels.shrink(dense.fusion for block in blocks for dense in block.dense_blocks)
    # Without a mean to subtract, features are far from 0.
    kernels.shrink([model.body_end], 0.01)


def carry_pairs(
    layer: keras.layers.Conv2D, count: int, taps: np.ndarray, slope: float, first: bool, last: bool
) -> None:
    """Make a convolution filter `count` channels, which come and go as pairs of either sign.

    Args:
        layer: built.
        count: channels.
        taps: the filter, `[3, 3]`.
        slope: of the leaky ReLU behind the layers.
        first: the channels come once.
        last: the channels go once.
    """
    kernel = ops.convert_to_numpy(layer.kernel).copy()
    kernel[..., : 2 * count] = 0
    half = 1 / (1 + slope)  # lrelu(x) - lrelu(-x) = (1 + slope) * x
    for channel in range(count):
        inputs = {channel: 1.0} if first else {channel: half, count + channel: -half}
        for feature, factor in inputs.items():
            kernel[:, :, feature, channel] = factor * taps
            if not last:
                kernel[:, :, feature, count + channel] = -factor * taps
    layer.kernel.assign(kernel)
