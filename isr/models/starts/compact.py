"""How Compact begins: as an interpolation, or with a Compact of the same body for another scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keras import ops

from isr.models.compact import Compact
from isr.models.starts import adopt, interpolate, kernels


@interpolate.register(Compact)
def interpolate_compact(model: Compact) -> None:
    """Let the channels pass the PReLUs with slope 1.

    The last convolution makes the difference between the interpolated pixels and the repeated ones, which the network
    adds.
    """
    count = model.num_channels
    kernels.require_features(model.num_features, count)
    for layer in (model.head, *model.convs):
        kernels.carry(layer, count)
    for activation in model.activations:
        slopes = ops.convert_to_numpy(activation.alpha).copy()
        slopes[..., :count] = 1
        activation.alpha.assign(slopes)
    kernels.carry_enlarged(model.tail, model.scale, count, rest=0.1)
    kernel = ops.convert_to_numpy(model.tail.kernel).copy()
    for channel in range(count):
        kernel[1, 1, channel, channel::count] -= 1
    model.tail.kernel.assign(kernel)


@adopt.register(Compact)
def adopt_compact(model: Compact, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over a Compact of the same body, also of another scale.

    For another scale, the filters of its sub-pixels are interpolated between those of the old one.
    """
    weights = {name: np.asarray(value, np.float32) for name, value in values.items()}
    made = kernels.resample_last(weights, "tail", model.scale, model.num_channels)
    model.load_named_weights(weights, source)
    return made
