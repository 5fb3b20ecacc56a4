"""Kernels that carry pictures through a network, and weights made of those for another scale."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from keras import layers, ops

from isr.errors import RequestError
from isr.imresize import cubic
from isr.layers import Upsampler
from isr.models.weights import compare_weights

# Before pixels are repeated and smoothed, which is bilinear interpolation; by 2 both together are bicubic.
SHARPEN = np.array([-3, 38, -3]) / 32


def require_features(num_features: int, num_channels: int, how: str = "") -> None:
    """Raise RequestError where features cannot carry the channels of a picture.

    Args:
        num_features: features that there are for it; a channel takes one, or two of either sign.
        num_channels: of the picture.
        how: what the message says of the channels.
    """
    if num_features < (2 * num_channels if how else num_channels):
        raise RequestError(
            f"{num_features} features cannot carry {num_channels} channels{how}; start at random"
        )


def carry(layer: layers.Layer, count: int, rest: float = 1.0) -> None:
    """Make the first `count` features pass a convolution unchanged.

    Args:
        layer: built, with a kernel of odd side.
        count: features that go in and out as they are.
        rest: factor on what the other inputs add to them and on all other weights.
    """
    kernel = ops.convert_to_numpy(layer.kernel) * rest
    kernel[..., :count] = 0
    centre = kernel.shape[0] // 2
    for feature in range(count):
        kernel[centre, centre, feature, feature] = 1
    layer.kernel.assign(kernel)


def carry_signed(layer: layers.Layer, count: int, first: int = 0) -> None:
    """Make `count` channels pass a convolution and the ReLU behind it, as `2 * count` features.

    Args:
        layer: built, with a kernel of odd side.
        count: channels; feature i becomes the positive part of channel i, feature count + i the negative.
        first: the input channel that they begin at.
    """
    kernel = ops.convert_to_numpy(layer.kernel).copy()
    kernel[..., : 2 * count] = 0
    centre = kernel.shape[0] // 2
    for channel in range(count):
        kernel[centre, centre, first + channel, channel] = 1
        kernel[centre, centre, first + channel, count + channel] = -1
    layer.kernel.assign(kernel)


def take_signed(layer: layers.Layer, count: int, rest: float = 0.1) -> None:
    """Make a convolution give the `count` channels that `carry_signed` carried, and `rest` of its other weights."""
    kernel = ops.convert_to_numpy(layer.kernel) * rest
    kernel[:, :, : 2 * count] = 0
    centre = kernel.shape[0] // 2
    for channel in range(count):
        kernel[centre, centre, channel, channel] = 1
        kernel[centre, centre, count + channel, channel] = -1
    layer.kernel.assign(kernel)


def carry_enlarged(
    layer: layers.Conv2D, factor: int, count: int, rest: float = 1.0, signed: bool = False
) -> None:
    """Make the convolution before a pixel shuffle enlarge its first `count` features by interpolation.

    Args:
        layer: built, one convolution of an `Upsampler`.
        factor: of the pixel shuffle behind it.
        count: features to interpolate, bicubically with the outer taps folded into the 3x3 kernel.
        rest: factor on what the other inputs add to them.
        signed: the input is what `carry_signed` carried.
    """
    kernel, bias = layer.get_weights()
    num_features = kernel.shape[-1] // factor**2
    weights = interpolation(factor)
    for i, j in np.ndindex(factor, factor):
        for feature in range(count):
            out = (i * factor + j) * num_features + feature  # the order of pixel_shuffle
            kernel[..., out] *= rest
            kernel[:, :, : 2 * count if signed else count, out] = 0
            kernel[:, :, feature, out] = np.outer(weights[i], weights[j])
            if signed:
                kernel[:, :, count + feature, out] = -kernel[:, :, feature, out]
    layer.set_weights([kernel, bias])


def interpolate_upsampler(upsampler: Upsampler, count: int, rest: float = 1.0) -> None:
    """Make an upsampler interpolate the first `count` features, as `carry_enlarged` does in every step."""
    for layer, factor in zip(upsampler.convs, upsampler.factors, strict=True):
        carry_enlarged(layer, factor, count, rest)


def shrink(convs: Iterable[layers.Layer], factor: float = 0.1) -> None:
    """Make convolutions that end residuals add little: their kernels times `factor`."""
    for layer in convs:
        layer.kernel.assign(layer.kernel * factor)


def adopted_upsampler(
    upsampler: Upsampler, given: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Make weights for an upsampler of those of one for the same or another scale.

    A step that the other has with another factor is resampled from it, one that it lacks interpolates the features.

    Args:
        upsampler: built; its own weights may be overwritten.
        given: the other's weights by their names below it, such as `conv0/kernel`.

    Returns:
        Its weights by name, and the names of those that were made rather than copied.
    """
    weights: dict[str, np.ndarray] = {}
    made: list[str] = []
    for i, (layer, factor) in enumerate(zip(upsampler.convs, upsampler.factors, strict=True)):
        names = [f"conv{i}/kernel", f"conv{i}/bias"]
        if not all(name in given for name in names):
            carry_enlarged(layer, factor, upsampler.num_features)
            weights |= dict(zip(names, layer.get_weights(), strict=True))
            made += names
            continue
        old = math.isqrt(given[names[1]].size // upsampler.num_features)
        if old == factor:
            weights |= {name: given[name] for name in names}
        else:
            weights |= {name: resample_phases(given[name], old, factor) for name in names}
            made += names
    return weights, made


def below(prefix: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give the values whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def compare_but(pattern: str, own: Mapping[str, Any], given: Mapping[str, np.ndarray], source: str) -> None:
    """Raise RequestError unless names and shapes agree, but for names that begin as a pattern says."""
    shapes, found = (
        {name: tuple(value.shape) for name, value in weights.items() if not re.match(pattern, name)}
        for weights in (own, given)
    )
    compare_weights(shapes, found, source)


def resample_phases(weights: np.ndarray, old: int, new: int) -> np.ndarray:
    """Make weights of the convolution before a pixel shuffle by `new` of those before one by `old`.

    Each sub-pixel's filter is interpolated linearly between the filters of the nearest old sub-pixels.

    Args:
        weights: kernel `[3, 3, f, old**2 * f]` or bias `[old**2 * f]`.

    Returns:
        `[..., new**2 * f]`.
    """
    places_old, places_new = ((np.arange(n) + 0.5) / n for n in (old, new))
    mix = np.stack([np.interp(places_new, places_old, row) for row in np.eye(old)], axis=1)  # [new, old]
    phases = weights.reshape(*weights.shape[:-1], old, old, -1)
    phases = np.einsum("ip,jq,...pqf->...ijf", mix, mix, phases)
    return phases.reshape(*weights.shape[:-1], -1)


def resample_last(weights: dict[str, np.ndarray], layer: str, factor: int, channels: int) -> list[str]:
    """Bring the convolution before the last pixel shuffle to another factor, where its weights are for another one.

    Args:
        weights: of a network by name; those of the layer are replaced.
        layer: its name.
        factor: of the pixel shuffle that the layer shall stand before.
        channels: of the picture behind it.

    Returns:
        The names of what was replaced.
    """
    names = [f"{layer}/kernel", f"{layer}/bias"]
    size = weights[names[1]].size if all(name in weights for name in names) else 0
    old = math.isqrt(size // channels)
    if old in (0, factor) or old**2 * channels != size:
        return []
    weights |= {name: resample_phases(weights[name], old, factor) for name in names}
    return names


def interpolation(factor: int) -> np.ndarray:
    """Weigh the three nearest pixels for each sub-pixel of one, `[factor, 3]`; rows sum to 1."""
    places = (np.arange(factor) + 0.5) / factor - 0.5
    weights = cubic(places[:, None] - np.arange(-2, 3))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.stack([weights[:, 0] + weights[:, 1], weights[:, 2], weights[:, 3] + weights[:, 4]], axis=1)
