"""Degradations drawn at random: passes of blur, resizing, noise and compression, as a configuration describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from isr.config import DegradationEnd, DegradationPass, JpegConfig, RealConfig
from isr.data.degrade.blur import blur, gaussian_kernel, sinc_kernel
from isr.data.degrade.compression import Codec, compress, compress_clip
from isr.data.degrade.operations import add_gaussian_noise, add_poisson_noise, resize
from isr.levels import from_float, to_float

Item = TypeVar("Item")

# A plane keeps so many pixels on each side, however small a factor is drawn for a small patch.
SMALLEST_SIDE = 4


def degrade_at_random(
    hr: np.ndarray, rng: np.random.Generator, *, scale: int, recipe: JpegConfig | RealConfig
) -> np.ndarray:
    """Make the low resolution of a patch, or of a window of frames, by a degradation drawn for it.

    Nothing is shifted: an LR pixel lies over the middle of its `scale` x `scale` HR pixels, as in MATLAB's rule.
    Frames of a window share everything that is drawn but the noise itself; a video codec compresses them at last.

    Args:
        hr: `[h, w, c]` or `[t, h, w, c]` of 1 or 3 channels, integers or floats in [0, 1], sides multiples of the
            scale.
        rng: where all chance comes from: the same state gives the same bytes.
        scale: HR side / LR side.
        recipe: what is drawn, and how often.

    Returns:
        `[h / scale, w / scale, c]` or `[t, h / scale, w / scale, c]` uint8.
    """
    *earlier, last = recipe.passes
    frames = to_float(hr if hr.ndim == 4 else hr[None]).transpose(0, 3, 1, 2)
    low = frames.shape[2] // scale, frames.shape[3] // scale
    for one in earlier:
        frames = _blur_resize_noise(frames, one, (frames.shape[2], frames.shape[3]), rng)
        frames = _compressed(frames, one, rng)
    frames = _blur_resize_noise(frames, last, low, rng)
    if rng.random() < recipe.compress_first_share:
        frames = _finished(_compressed(frames, last, rng), low, recipe, last, rng)
    else:
        frames = _compressed(_finished(frames, low, recipe, last, rng), last, rng)
    lr = from_float(frames.transpose(0, 2, 3, 1), np.dtype(np.uint8))
    if hr.ndim == 3:
        return lr[0]
    return _encoded(lr, recipe, rng)


def _blur_resize_noise(
    frames: np.ndarray, one: DegradationPass, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """The first three steps of a pass, its sizes relative to `size`; clipped."""
    if rng.random() < one.blur_share:
        frames = blur(frames, _draw_kernel(one, rng))
    factor = _draw_factor(one, rng)
    height, width = (max(round(side * factor), min(side, SMALLEST_SIDE)) for side in size)
    frames = resize(frames, (height, width), _choose(one.interpolations, rng))
    if rng.random() < one.noise_share:
        gaussian, gray = rng.random() < one.gaussian_share, rng.random() < one.gray_share
        add, span = (
            (add_gaussian_noise, one.noise_sigma) if gaussian else (add_poisson_noise, one.poisson_scale)
        )
        frames = add(frames, _between(span, rng), rng, gray=gray)
    return np.clip(frames, 0, 1)


def _draw_kernel(one: DegradationPass, rng: np.random.Generator) -> np.ndarray:
    taps = _odd(one.kernel_taps, rng)
    if rng.random() < one.sinc_share:
        return sinc_kernel(taps, _between(one.sinc_cutoff, rng))
    kind = _choose(one.kernels, rng)
    first, second = _between(one.sigma, rng), _between(one.sigma, rng)
    angle = _between((0, np.pi), rng)
    shape = 1.0
    if kind.startswith("generalised"):
        shape = _exponent(one.generalised_shape, rng)
    elif kind.startswith("plateau"):
        shape = _exponent(one.plateau_shape, rng)
    return gaussian_kernel(
        taps,
        (first, second if kind.endswith("anisotropic") else first),
        angle=angle,
        shape=shape,
        plateau=kind.startswith("plateau"),
    )


def _exponent(span: list[float], rng: np.random.Generator) -> float:
    """Half of the exponents from each side of 1, where the span has both."""
    low, high = span
    if low < 1 < high:
        low, high = (low, 1) if rng.random() < 0.5 else (1, high)
    return _between((low, high), rng)


def _draw_factor(one: DegradationPass, rng: np.random.Generator) -> float:
    low, high = one.resize_range
    way = _choose(one.resize, rng)
    if way == "up":
        return _between((min(1, high), high), rng)
    return _between((low, max(1, low)), rng) if way == "down" else 1.0


def _finished(
    frames: np.ndarray,
    low: tuple[int, int],
    end: DegradationEnd,
    last: DegradationPass,
    rng: np.random.Generator,
) -> np.ndarray:
    """In the final size, after the filter that ends a degradation; clipped."""
    frames = resize(frames, low, _choose(last.interpolations, rng))
    if rng.random() < end.last_sinc_share:
        kernel = sinc_kernel(_odd(end.last_sinc_taps, rng), _between(end.last_sinc_cutoff, rng))
        frames = blur(frames, kernel)
    return np.clip(frames, 0, 1)


def _compressed(frames: np.ndarray, one: DegradationPass, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= one.compress_share:
        return frames
    webp = rng.random() < one.webp_share
    quality = int(rng.integers(one.quality[0], one.quality[1], endpoint=True))
    pictures = from_float(frames.transpose(0, 2, 3, 1), np.dtype(np.uint8))
    decoded = np.stack([compress(picture, quality, "WEBP" if webp else "JPEG") for picture in pictures])
    return to_float(decoded).transpose(0, 3, 1, 2)


def _encoded(lr: np.ndarray, end: DegradationEnd, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= end.codec_share:
        return lr
    codec: Codec = "hevc" if rng.random() < end.h265_share else "h264"
    return compress_clip(lr, int(rng.integers(end.crf[0], end.crf[1], endpoint=True)), codec)


def _between(span: Sequence[float], rng: np.random.Generator) -> float:
    low, high = span
    return float(rng.uniform(low, high))


def _odd(span: list[int], rng: np.random.Generator) -> int:
    return 2 * int(rng.integers(span[0] // 2, span[1] // 2, endpoint=True)) + 1


def _choose(weights: Mapping[Item, float], rng: np.random.Generator) -> Item:
    """One of the keys, as often as its weight says."""
    ends = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))]
