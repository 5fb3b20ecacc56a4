"""Blur kernels of lenses, motion and careless sharpening, and the blur of planes by them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


def gaussian_kernel(
    taps: int,
    sigma: tuple[float, float],
    *,
    angle: float = 0.0,
    shape: float = 1.0,
    plateau: bool = False,
) -> np.ndarray:
    """Compute a Gaussian kernel, or one of its two relatives (Liu et al. 2020, as used by Wang et al. 2021).

    Args:
        taps: side of the kernel in pixels; its middle lies on a pixel where that is odd, between two where it is even.
        sigma: standard deviations along the two axes, in pixels, over 0.
        angle: of the first axis to the rows' direction, in radians.
        shape: exponent beta of the squared distance; 1 is the Gaussian, less has longer tails, more a flatter top.
        plateau: `1 / (1 + d ** beta)` instead of `exp(-d ** beta / 2)`, d the squared distance in sigmas.

    Returns:
        `[taps, taps]` float64, symmetric about its middle; its sum is 1.
    """
    offsets = np.arange(taps) - (taps - 1) / 2
    y, x = offsets[:, None], offsets[None, :]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    distance = ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2) ** shape
    kernel = 1 / (1 + distance) if plateau else np.exp(-distance / 2)
    return kernel / kernel.sum()


def sinc_kernel(taps: int, cutoff: float) -> np.ndarray:
    """Compute the circular low-pass that leaves rings about edges, as sharpening and JPEG do.

    Its values are `c J1(c r) / (2 pi r)` with the cutoff c in radians per pixel (Wang et al. 2021).

    Args:
        taps: odd side of the kernel in pixels.
        cutoff: highest frequency that is kept, as a share of the Nyquist frequency, over 0 to 1.

    Returns:
        `[taps, taps]` float64, symmetric about its middle; its sum is 1.
    """
    offsets = np.arange(taps) - taps // 2
    squares, where = np.unique(offsets[:, None] ** 2 + offsets[None, :] ** 2, return_inverse=True)
    omega, radius = math.pi * cutoff, np.sqrt(squares[1:])
    values = np.concatenate(
        [[omega**2 / (4 * math.pi)], omega * bessel_j1(omega * radius) / (2 * math.pi * radius)]
    )
    kernel = values[where].reshape(taps, taps)
    return kernel / kernel.sum()


def bessel_j1(x: np.ndarray) -> np.ndarray:
    """Compute the Bessel function J1 of values from 0 to 60, to 12 digits.

    The mean of `cos(t - x sin t)` over a half period is J1 itself, and the rule of midpoints converges at once for it.
    """
    t = (np.arange(64) + 0.5) * math.pi / 64
    return np.cos(t - x[..., None] * np.sin(t)).mean(-1)


def blur(planes: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve planes with a kernel, mirrored at their borders.

    Args:
        planes: `[..., h, w]` float32.
        kernel: `[k, k]`, k odd.

    Returns:
        As `planes`.
    """
    radius = len(kernel) // 2
    height, width = planes.shape[-2:]
    size = quick_length(height + 2 * radius), quick_length(width + 2 * radius)
    border = ((radius, quick - side - radius) for quick, side in zip(size, (height, width), strict=True))
    # As long as the transform: what wraps around falls on the padding.
    padded = np.pad(planes, (*((0, 0),) * (planes.ndim - 2), *border), mode="symmetric")
    # "ortho" since NumPy computes what it does not scale in double precision, several times slower.
    spectrum = np.fft.rfft2(padded, norm="ortho") * np.fft.rfft2(kernel.astype(np.float32), size)
    blurred = np.fft.irfft2(spectrum, size, norm="ortho")
    blurred = blurred[..., 2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width]
    return blurred.astype(np.float32, copy=False)


@lru_cache(maxsize=256)
def quick_length(length: int) -> int:
    """Find the next length without prime factors over 5, which is quick to transform."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
