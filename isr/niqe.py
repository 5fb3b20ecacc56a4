"""NIQE: how far the statistics of a picture are from those of natural photographs, without an original.

Mittal, Soundararajan and Bovik, "Making a completely blind image quality analyzer", IEEE Signal Processing Letters,
2013. `niqe.npz` has the authors' parameters, under the terms in `niqe.LICENSE.md`.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np

from isr.imresize import imresize
from isr.metrics import luma

PARAMETERS = Path(__file__).with_name("niqe.npz")
# Side of a block, and the window of the local mean: both the authors'.
BLOCK = 96
TAPS = 7
# Shapes among which that of a generalised Gaussian is looked for.
SHAPES = np.arange(0.2, 10.001, 0.001)
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def niqe(picture: np.ndarray, border: int = 0) -> float | None:
    """Compute the distance of a picture from natural photographs; lower is more natural.

    Args:
        picture: `[h, w, c]`, c 1 or 3; uint8, or floats of 0 to 1.
        border: pixels on every side that do not count.

    Returns:
        About 2 to 10 for photographs; None where the picture has not two blocks of 96 x 96 pixels.

    Raises:
        ValueError: another number of channels.
    """
    height, width, channels = picture.shape
    if channels not in (1, 3):
        raise ValueError(f"pictures of {channels} channels: NIQE takes 1 or 3")
    levels = picture.astype(np.float64) * (1 if picture.dtype == np.uint8 else 255)
    levels = levels[border : height - border, border : width - border]
    # Rounded, as the authors' program reads it.
    levels = np.rint(luma(levels) if channels == 3 else levels[..., 0])
    rows, columns = (side // BLOCK for side in levels.shape)
    if rows * columns < 2:
        return None
    levels = levels[: rows * BLOCK, : columns * BLOCK]
    features = []
    for scale in (1, 2):
        side = BLOCK // scale
        normalised = _normalised(levels)
        blocks = normalised.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(-1, side, side)
        features.append([_features(block) for block in blocks])
        if scale == 1:
            levels = imresize(levels[..., np.newaxis] / 255, scale=0.5)[..., 0] * 255
    found = np.concatenate(features, axis=1)
    whole = found[~np.isnan(found).any(axis=1)]
    if len(whole) < 2:
        return None
    mean = np.nanmean(found, axis=0)
    covariance = np.cov(whole, rowvar=False)
    natural_mean, natural_covariance = _parameters()
    apart = natural_mean - mean
    inverse = np.linalg.pinv((natural_covariance + covariance) / 2)
    return float(np.sqrt(apart @ inverse @ apart))


@cache
def _parameters() -> tuple[np.ndarray, np.ndarray]:
    with np.load(PARAMETERS) as file:
        return file["mean"], file["covariance"]


def _normalised(levels: np.ndarray) -> np.ndarray:
    """Without the local mean, over the local standard deviation and 1."""
    mean = _smoothed(levels)
    deviation = np.sqrt(np.abs(_smoothed(levels**2) - mean**2))
    return (levels - mean) / (deviation + 1)


def _smoothed(levels: np.ndarray) -> np.ndarray:
    """By a Gaussian of sigma 7/6 in 7 x 7 pixels; the border is repeated."""
    half = TAPS // 2
    window = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * (TAPS / 6) ** 2))
    window /= window.sum()
    padded = np.pad(levels, half, mode="edge")
    height, width = levels.shape
    down = sum(tap * padded[start : start + height] for start, tap in enumerate(window))
    across = [tap * down[:, start : start + width] for start, tap in enumerate(window)]
    return np.sum(across, axis=0)


def _features(block: np.ndarray) -> list[float]:
    """Shape and spread of a block's values, and of the products with their neighbours."""
    shape, left, right = _fit(block)
    features = [shape, (left + right) / 2]
    for neighbour in NEIGHBOURS:
        shape, left, right = _fit(block * np.roll(block, neighbour, axis=(0, 1)))
        mean = (right - left) * math.gamma(2 / shape) / math.gamma(1 / shape)
        features += [shape, mean, left, right]
    return features


def _fit(values: np.ndarray) -> tuple[float, float, float]:
    """Fit an asymmetric generalised Gaussian by its moments: shape, and the scales at both sides."""
    flat = values.ravel()
    negative, positive = flat[flat < 0], flat[flat > 0]
    if not (negative.size and positive.size):
        return math.nan, math.nan, math.nan
    left, right = np.sqrt(np.mean(negative**2)), np.sqrt(np.mean(positive**2))
    ratio = left / right
    moments = np.mean(np.abs(flat)) ** 2 / np.mean(flat**2)
    wanted = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(SHAPES[np.argmin((_ratios() - wanted) ** 2)])
    factor = math.sqrt(math.gamma(1 / shape) / math.gamma(3 / shape))
    return shape, float(left) * factor, float(right) * factor


@cache
def _ratios() -> np.ndarray:
    """Squared mean of the absolute value over the mean square, of every shape."""
    gamma = np.vectorize(math.gamma)
    return gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
