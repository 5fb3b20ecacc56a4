"""PSNR and SSIM as the super-resolution literature counts them, and flicker, on arrays.

The rules (studio-range luma that is not rounded, peak 255, a border left out, SSIM over the valid region) give the
figures that MATLAB scripts printed for published pictures; see `docs/metrics.md`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal

import numpy as np

Channel = Literal["y", "rgb"]

LUMA_WEIGHTS = np.array([65.481, 128.553, 24.966]) / 255  # BT.601 studio range, R G B of 0 to 255
LUMA_OFFSET = 16.0


def luma(rgb: np.ndarray) -> np.ndarray:
    """Y of BT.601 in studio range, as MATLAB's `rgb2ycbcr` gives it for doubles.

    Args:
        rgb: `[..., 3]`, 0 to 255, any dtype.

    Returns:
        `[...]` float64, 16 (black) to 235 (white), not rounded.
    """
    return rgb.astype(np.float64) @ LUMA_WEIGHTS + LUMA_OFFSET


def psnr(a: np.ndarray, b: np.ndarray, *, channel: Channel, border: int) -> float:
    """Peak signal-to-noise ratio of two pictures in dB.

    Args:
        a, b: `[h, w, c]` of one shape, c 1 or 3. uint8 and uint16 of the full range, or floats in [0, 1]; floats
            are not rounded, so round an output first where the protocol says so.
        channel: "y" compares luma (gray pictures: the value itself), "rgb" all channels.
        border: pixels on every side that do not count; benchmarks leave out `scale` of them.

    Returns:
        `10 log10(255^2 / MSE)` on the scale of 0 to 255; infinity where the pictures are equal.

    Raises ValueError where shapes differ or the border leaves no pixel.
    """
    a, b = _planes(a, b, channel, border)
    error = np.mean((a - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def ssim(a: np.ndarray, b: np.ndarray, *, channel: Channel, border: int) -> float:
    """Structural similarity of two pictures (Wang et al. 2004), mean of its map.

    An 11x11 Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance, and only the region where the
    window lies inside the picture, as in the authors' script. "rgb" is the mean over the three channels.

    Arguments and errors as in `psnr`; 11 pixels must remain on each side.
    """
    a, b = _planes(a, b, channel, border)
    if min(a.shape[:2]) < 11:
        raise ValueError(f"SSIM needs 11 pixels on each side, {a.shape[1]}x{a.shape[0]} remain")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    map_ = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    map_ /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(map_.mean())


def flicker(a: Iterable[np.ndarray], b: Iterable[np.ndarray], *, channel: Channel, border: int) -> float:
    """Compute how far the changes from frame to frame of two clips are apart, in levels of 0 to 255.

    The mean over all pixels and pairs of neighbouring frames of `|(a[t + 1] - a[t]) - (b[t + 1] - b[t])|`: the form
    of tOF and tLP (Chu et al. 2020), with the difference of pixels in the place of flow and LPIPS. It equals the
    mean change of the error `a - b` from one frame to the next, so an error that stays where it is counts nothing,
    and one that moves along with what is shown does count.

    Args:
        a, b: frames in order, one or more pairs of neighbours, each as for `psnr`.
        channel: "y" compares luma, "rgb" all channels.
        border: pixels on every side that do not count.

    Returns:
        0 where `a` changes just as `b` does; lower is better.

    Raises ValueError as `psnr`, where one clip is longer, or where there are not two frames.
    """
    errors = (np.subtract(*_planes(x, y, channel, border)) for x, y in zip(a, b, strict=True))
    changes = [np.mean(np.abs(after - before)) for before, after in pairwise(errors)]
    if not changes:
        raise ValueError("flicker needs two frames")
    return float(np.mean(changes))


def _planes(a: np.ndarray, b: np.ndarray, channel: str, border: int) -> tuple[np.ndarray, np.ndarray]:
    if a.shape != b.shape or a.ndim != 3 or a.shape[-1] not in (1, 3):
        raise ValueError(f"two pictures [h, w, 1 or 3] of one shape are needed, not {a.shape} and {b.shape}")
    if channel not in ("y", "rgb"):
        raise ValueError(f"channel={channel!r}: must be 'y' or 'rgb'")
    if border < 0 or min(a.shape[:2]) <= 2 * border:
        raise ValueError(f"border={border} leaves nothing of {a.shape[1]}x{a.shape[0]} pixels")
    inside = slice(border, a.shape[0] - border), slice(border, a.shape[1] - border)
    a, b = _to_255(a[inside]), _to_255(b[inside])
    return (luma(a)[..., None], luma(b)[..., None]) if channel == "y" and a.shape[-1] == 3 else (a, b)


def _to_255(image: np.ndarray) -> np.ndarray:
    top = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    return image.astype(np.float64) * (255 / top)


def _window(x: np.ndarray) -> np.ndarray:
    """Gaussian mean over every 11x11 window that lies inside, `[h - 10, w - 10, c]`."""
    gauss = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    gauss /= gauss.sum()
    rows = sum(g * x[i : x.shape[0] - 10 + i] for i, g in enumerate(gauss))
    return sum(g * rows[:, i : x.shape[1] - 10 + i] for i, g in enumerate(gauss))
