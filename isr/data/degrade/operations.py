"""Resizing and noise of planes."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image

Interpolation = Literal["area", "bilinear", "bicubic"]

# Pillow's filter, and half the width of its kernel at scale 1. Its box filter takes whole pixels only, which shifts.
FILTERS = {"bilinear": (Image.Resampling.BILINEAR, 1), "bicubic": (Image.Resampling.BICUBIC, 2)}

# Levels of the light that Poisson noise counts in, as a share of white: 1/256.
POISSON_LEVELS = 256


def resize(planes: np.ndarray, size: tuple[int, int], interpolation: Interpolation) -> np.ndarray:
    """Resize planes, antialiased and mirrored at their borders; corners stay corners, so nothing is shifted.

    "bicubic" is MATLAB's rule, but for its rounding (see `isr.imresize`).

    Args:
        planes: `[..., h, w]` float32.
        size: new height and width.
        interpolation: the kernel; "area" is the mean over the part of the plane that a new pixel covers.

    Returns:
        `[..., *size]` float32.
    """
    height, width = planes.shape[-2:]
    if (height, width) == size:
        return planes
    if interpolation == "area":
        return _covered(_covered(planes, size[0], -2), size[1], -1)
    resample, support = FILTERS[interpolation]
    reach = [
        math.ceil(support * max(old / new, 1)) + 1 for old, new in zip((height, width), size, strict=True)
    ]
    border = ((0, 0),) * (planes.ndim - 2) + tuple((r, r) for r in reach)
    padded = np.pad(planes, border, mode="symmetric")
    box = reach[1], reach[0], reach[1] + width, reach[0] + height
    resized = [
        np.asarray(Image.fromarray(plane).resize(size[::-1], resample, box))
        for plane in padded.reshape(-1, *padded.shape[-2:])
    ]
    return np.stack(resized).reshape(*planes.shape[:-2], *size)


def _covered(planes: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Means over `length` equal parts of an axis, -1 or -2."""
    old = planes.shape[axis]
    ends = np.linspace(0, old, length + 1)
    first = ends[:-1].astype(int)
    total = np.float32(0)
    # A part covers so many pixels at most, the first and the last of them not wholly.
    for step in range(math.ceil(old / length) + 1):
        pixel = first + step
        covered = np.minimum(ends[1:], pixel + 1) - np.maximum(ends[:-1], pixel)
        weights = (np.maximum(covered, 0) * (length / old)).astype(np.float32).reshape(-1, *[1] * (-1 - axis))
        total = total + planes.take(np.minimum(pixel, old - 1), axis) * weights
    return np.asarray(total)


def add_gaussian_noise(
    frames: np.ndarray, sigma: float, rng: np.random.Generator, *, gray: bool = False
) -> np.ndarray:
    """Add Gaussian noise.

    Args:
        frames: `[t, c, h, w]` float32 in [0, 1].
        sigma: standard deviation in levels of 255.
        rng: where chance comes from.
        gray: the same noise in all channels.

    Returns:
        As `frames`, not clipped.
    """
    return frames + np.float32(sigma / 255) * rng.standard_normal(_shape(frames, gray), dtype=np.float32)


def add_poisson_noise(
    frames: np.ndarray, scale: float, rng: np.random.Generator, *, gray: bool = False
) -> np.ndarray:
    """Add shot noise: of a value v in [0, 1] it has the variance `scale ** 2 * v / 256`.

    Args:
        frames: `[t, c, h, w]` float32 in [0, 1].
        scale: factor on the noise; 1 is that of a sensor that counts 256 photons in white.
        rng: where chance comes from.
        gray: the same noise in all channels, that of their mean.

    Returns:
        As `frames`, not clipped.
    """
    light = frames.mean(1, keepdims=True) if gray else frames
    expected = np.clip(light, 0, 1) * POISSON_LEVELS
    return frames + np.float32(scale / POISSON_LEVELS) * (rng.poisson(expected) - expected).astype(np.float32)


def _shape(frames: np.ndarray, gray: bool) -> tuple[int, ...]:
    time, channels, height, width = frames.shape
    return time, 1 if gray else channels, height, width
