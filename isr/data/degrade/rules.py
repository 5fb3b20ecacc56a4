"""How the low resolution of frames is made: MATLAB's bicubic rule (BI), Gaussian blur and sub-sampling (BD), or a
degradation of fixed strength."""

from __future__ import annotations

from typing import Literal

import numpy as np

from isr.data.degrade.fixed import FixedDegradation
from isr.imresize import imresize

Degradation = Literal["bi", "bd"] | FixedDegradation

SIGMA = 0.4  # of the blur, in HR pixels per unit of scale: 1.6 for x4
TRUNCATE = 4.0  # the blur's kernel ends at so many sigmas: 13x13 for x4


def degrade(frames: np.ndarray, scale: int, kind: Degradation, first: int = 0) -> np.ndarray:
    """Make the low resolution of frames.

    Args:
        frames: `[t, h, w, c]`, uint8, uint16 or float, sides multiples of the scale.
        scale: HR side / LR side.
        kind: "bi": MATLAB's bicubic rule, an LR pixel lies over the middle of its scale x scale HR pixels; "bd":
            `blur_and_subsample`, it lies on the first of them; a `FixedDegradation`: as for "bi".
        first: number of the first frame in its clip, which noise depends on.

    Returns:
        `[t, h / scale, w / scale, c]` of the same dtype; uint8 of a `FixedDegradation`.
    """
    if isinstance(kind, FixedDegradation):
        return np.stack([kind(frame, scale, number) for number, frame in enumerate(frames, start=first)])
    time, height, width, channels = frames.shape
    # One picture of many channels.
    stacked = frames.transpose(1, 2, 0, 3).reshape(height, width, time * channels)
    small = imresize(stacked, scale=1 / scale) if kind == "bi" else blur_and_subsample(stacked, scale)
    return small.reshape(height // scale, width // scale, time, channels).transpose(2, 0, 1, 3)


def blur_and_subsample(image: np.ndarray, scale: int) -> np.ndarray:
    """Gaussian blur of sigma `0.4 * scale`, then every `scale`-th pixel from the first (BD).

    The kernel has `2 * round(1.6 * scale) + 1` taps and the picture is mirrored at its border pixels, as in the
    published code of DUF (Jo et al. 2018), whose clips set the convention: sigma 1.6 and 13 taps for x4.

    Args:
        image: `[h, w, c]`, uint8, uint16 or float.
        scale: HR side / LR side.

    Returns:
        `[ceil(h / scale), ceil(w / scale), c]` of the same dtype; integers are rounded once, half up.
    """
    sigma = SIGMA * scale
    offsets = np.arange(-int(TRUNCATE * sigma + 0.5), int(TRUNCATE * sigma + 0.5) + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    result = image.astype(np.float64 if image.dtype == np.float64 else np.float32)
    for axis in (0, 1):
        places = np.arange(0, image.shape[axis], scale)
        taps = (
            np.take(result, reflect(places + offset, image.shape[axis]), axis) * result.dtype.type(weight)
            for offset, weight in zip(offsets, weights, strict=True)
        )
        result = sum(taps, start=next(taps))
    if np.issubdtype(image.dtype, np.integer):
        return np.floor(np.clip(result, 0, np.iinfo(image.dtype).max) + 0.5).astype(image.dtype)
    return result


def reflect(index: np.ndarray, length: int) -> np.ndarray:
    """Any integers as indices of `length` items, mirrored at the first and the last one: -1 is 1."""
    period = max(2 * (length - 1), 1)
    index = np.mod(index, period)
    return np.minimum(index, period - index) if length > 1 else index
