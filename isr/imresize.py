"""Resizing as MATLAB's `imresize` does it, bit by bit: the ground rule of super-resolution benchmarks."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


def imresize(
    image: np.ndarray,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    antialias: bool = True,
) -> np.ndarray:
    """Bicubic resize of a picture.

    Args:
        image: `[h, w]` or `[h, w, c]`, uint8, uint16 or float.
        scale: factor for both sides; the new sides are `ceil(scale * side)`.
        size: new `(height, width)` instead of a scale.
        antialias: widen the kernel when shrinking.

    Returns:
        The resized picture in the same dtype. Integers are rounded half away from zero and clamped after each of
        the two passes, as MATLAB does; floats are neither rounded nor clamped (float32 is computed in float32).

    Raises ValueError unless exactly one of `scale` and `size` is given and the result has a pixel.
    """
    if (scale is None) == (size is None):
        raise ValueError("imresize needs either scale or size")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"imresize needs [h, w] or [h, w, c] with at least one pixel, not {image.shape}")
    sides = image.shape[:2]
    if size is None:
        assert scale is not None
        if scale <= 0:
            raise ValueError(f"scale={scale}: must be over 0")
        size = (math.ceil(scale * sides[0]), math.ceil(scale * sides[1]))
        scales = (float(scale), float(scale))
    else:
        if min(size) < 1:
            raise ValueError(f"size={size}: both sides must be at least 1")
        scales = (size[0] / sides[0], size[1] / sides[1])

    order = sorted((0, 1), key=lambda axis: scales[axis])  # the smaller factor first; rows first when equal
    for axis in order:
        image = _resize_axis(image, axis, size[axis], scales[axis], antialias)
    return image


def _resize_axis(image: np.ndarray, axis: int, length: int, scale: float, antialias: bool) -> np.ndarray:
    weights, indices = taps(image.shape[axis], length, scale, antialias)
    work = np.float32 if image.dtype == np.float32 else np.float64
    # Tap by tap: each is one multiply-add over the whole picture, with no array larger than the result.
    shape = [1] * image.ndim
    shape[axis] = length
    result: np.ndarray | None = None
    for tap in range(weights.shape[1]):
        part = np.take(image, indices[:, tap], axis=axis) * weights[:, tap].astype(work).reshape(shape)
        result = part if result is None else np.add(result, part, out=result)
    assert result is not None
    if np.issubdtype(image.dtype, np.integer):
        # Values are clamped at 0 anyway, so half away from zero is floor(x + 0.5).
        return np.clip(np.floor(result + 0.5), 0, np.iinfo(image.dtype).max).astype(image.dtype)
    return result.astype(image.dtype, copy=False)


@lru_cache(maxsize=64)
def taps(
    length_in: int, length_out: int, scale: float, antialias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Give weights and source indices of one dimension.

    Returns:
        weights `[length_out, taps]` float64, rows sum to 1; indices `[length_out, taps]` int64, 0-based, already
        mirrored at the borders (half-sample symmetric, so the kernel may be wider than the picture).
    """
    stretch = min(scale, 1.0) if antialias else 1.0
    width = 4.0 / stretch
    centre = np.arange(1, length_out + 1) / scale + 0.5 * (1 - 1 / scale)  # 1-based, as in MATLAB
    left = np.floor(centre - width / 2)
    index = left[:, None] + np.arange(math.ceil(width) + 2)
    weights = stretch * cubic(stretch * (centre[:, None] - index))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    mirror = np.concatenate([np.arange(length_in), np.arange(length_in)[::-1]])
    indices = mirror[(index.astype(np.int64) - 1) % (2 * length_in)]
    return weights[:, used], indices[:, used]


def cubic(t: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2."""
    t = np.abs(t)
    near = 1.5 * t**3 - 2.5 * t**2 + 1  # spelled as MATLAB does: another order of operations moves ties
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, near, np.where(t <= 2, far, 0.0))
