"""How degraded a picture looks: JPEG, noise, blur; and how much denoising that asks for. NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from isr.errors import RequestError
from isr.levels import to_float
from isr.predict.crop import Crop, cropped
from isr.presets import Mixture

if TYPE_CHECKING:
    from isr.io.clips import VideoInfo

# What a table of quantisation steps is made of, at quality 50: ISO 10918-1, annex K, luminance.
STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
# Qualities that are told from pixels; above, steps are about as fine as the rounding of RGB.
QUALITIES = range(5, 93)
# How well the coefficients must agree with the steps of a quality, 0 to 1.
LEAST_AGREEMENT = 0.35
# Blocks and pixels that are looked at, at most.
BLOCKS = 4096
SIDE = 1024
# Of the flattest blocks, whose detail is noise; and by how much they have less of it than all, of noise alone.
FLATTEST, LESS = 0.1, 0.865
# Of the gradients, those above this share are edges.
SHARPEST = 0.99
# How much each kind of damage asks for: its measure, and denoise there; in between linearly. Chosen for the least loss
# of PSNR on half of the validation pictures. Texture of clean pictures reads as noise of up to 3.
BY_NOISE = ((3.0, 0.0), (5.5, 0.4), (10.0, 0.8), (15.0, 1.0))
BY_JPEG = ((20.0, 1.0), (30.0, 0.8), (50.0, 0.7), (75.0, 0.5), (95.0, 0.0))
# On first and fourth frames of training clips, by photo_x4.
BY_QUANTISER = ((15.0, 0.0), (21.0, 0.3), (26.0, 0.5), (31.0, 0.7), (36.0, 0.8))
BY_BLUR = ((0.4, 0.0), (0.7, 1.0))


@dataclass(frozen=True)
class Quality:
    """How degraded a picture looks.

    Attributes:
        jpeg: quality of its JPEG, 1 to 100; None: no trace of one.
        noise: standard deviation in its flattest parts, in levels of 255.
        blur: sigma of the Gaussian that its sharpest edges look blurred by, in pixels; a sharp picture has
            0.5 at most.
        quantiser: of the H.264 that the picture is a frame of, 0 (fine) to 51; None: no frame, or of another codec.
    """

    jpeg: float | None
    noise: float
    blur: float
    quantiser: float | None = None

    @property
    def denoise(self) -> float:
        """Return how much denoising it asks for, 0 to 1 in steps of a tenth, so that few networks are opened."""
        asked = [_between(self.noise, BY_NOISE), _between(self.blur, BY_BLUR)]
        if self.jpeg is not None:
            asked.append(_between(self.jpeg, BY_JPEG))
        if self.quantiser is not None:
            asked.append(_between(self.quantiser, BY_QUANTISER))
        return round(max(asked), 1)

    def describe(self) -> str:
        """Tell in one line what it looks like, and what is done about it."""
        jpeg = "" if self.jpeg is None else f"JPEG q~{self.jpeg:.0f}, "
        video = "" if self.quantiser is None else f"H.264 qp~{self.quantiser:.0f}, "
        return f"looks like {video}{jpeg}noise ~{self.noise:.0f}, blur ~{self.blur:.1f}: denoise {self.denoise:g}"


def mixture_of(denoise: float | Literal["auto"] | None, texture: float | None) -> Mixture | None:
    """Make the mixture that is asked for; where pictures decide, "auto", it is 1 for now.

    Raises:
        RequestError: a value is out of its range.
    """
    if isinstance(denoise, str):
        if denoise != "auto":
            raise RequestError(f"denoise {denoise!r}: must be 0 to 1, or auto")
        denoise = 1.0
    return Mixture.of(denoise, texture)


def assess(pixels: np.ndarray, stored: float | None = None) -> Quality:
    """Look at a picture.

    Args:
        pixels: `[h, w]` or `[h, w, c]`, gray or RGB with alpha or without, integers of the full range or floats in
            [0, 1].
        stored: quality of JPEG that its file tells; None: told from the pixels.

    Returns:
        What it looks like, by its middle where it is large.
    """
    levels = _levels(_middle(pixels))
    luma = levels @ np.array([0.299, 0.587, 0.114])
    jpeg = jpeg_quality(luma) if stored is None else stored
    # Green, since the mean of channels has less noise than each.
    return Quality(jpeg, noise_sigma(levels[..., 1]), blur_sigma(luma))


def assess_clip(source: Path | VideoInfo, index: int = 0, crop: Crop | None = None) -> Quality:
    """Look at a frame of a clip, and at how coarsely its file keeps it.

    Args:
        source: the clip's path, or what `isr.io.clips.probe` said of it.
        index: of the frame.
        crop: the part that is looked at; None: all of it.

    Returns:
        What it looks like.

    Raises:
        RequestError, MachineError: as of `isr.io.clips.FrameReader`.
    """
    from isr.io.clips import FrameReader, quantiser

    with FrameReader(source, range(index, index + 1)) as reader:
        looks = assess(cropped(next(iter(reader)).pixels, crop))
        return replace(looks, quantiser=quantiser(reader.info, index))


def noise_sigma(levels: np.ndarray, block: int = 16) -> float:
    """Estimate the standard deviation of Gaussian noise (after Immerkaer, CVIU 1996).

    A second difference in both directions removes what is smooth. Its mean square is taken in blocks, and of these the
    flattest count, so that detail is not taken for noise.

    Args:
        levels: `[h, w]`, one channel, 0 to 255.
        block: side of a block.

    Returns:
        Levels of 255.
    """
    if min(levels.shape) < 3:
        return 0.0
    rows = levels[:-2] - 2 * levels[1:-1] + levels[2:]
    # Its weights' squares add up to 36.
    squares = (rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) ** 2 / 36
    height, width = (max(1, side // block) for side in squares.shape)
    squares = squares[: height * block, : width * block]
    blocks = squares.reshape(height, squares.shape[0] // height, width, squares.shape[1] // width)
    means = np.sort(blocks.mean(axis=(1, 3)).ravel())
    # Clipped parts hold no noise, whatever the rest.
    means = means[means > 0]
    if means.size == 0:
        return 0.0
    flattest = means[: max(1, int(means.size * FLATTEST))]
    return float(np.sqrt(flattest.mean())) / LESS


def jpeg_quality(levels: np.ndarray) -> float | None:
    """Tell the quality of the JPEG that a picture once was from its pixels.

    The grid of blocks is where steps between pixels are largest. On it, the coefficients of the cosine transform are
    multiples of the quantisation steps of the quality.

    Args:
        levels: `[h, w]` luma, 0 to 255.

    Returns:
        1 to 92; None where no quality explains the coefficients.
    """
    # In a whole picture it begins at its corner; in a part of one, where the steps say.
    corner = _quality_on(levels)
    if corner is not None:
        return corner
    top, left = (_grid(np.abs(np.diff(levels, axis=axis)).mean(axis=1 - axis)) for axis in (0, 1))
    return _quality_on(levels[top:, left:]) if top or left else None


def _quality_on(levels: np.ndarray) -> float | None:
    """The quality of JPEG, of blocks that begin at the corner."""
    height, width = (side // 8 for side in levels.shape)
    if height * width < 4:
        return None
    blocks = levels[: height * 8, : width * 8].reshape(height, 8, width, 8).transpose(0, 2, 1, 3)
    blocks = blocks.reshape(-1, 8, 8)[:: max(1, height * width // BLOCKS)]
    basis = _cosines()
    found = (basis @ (blocks - 128) @ basis.T).reshape(-1, 64)
    # Low frequencies, which survive, without the mean.
    low = [row * 8 + column for row in range(4) for column in range(4) if 0 < row + column < 5]
    best, chosen = LEAST_AGREEMENT, None
    for quality in QUALITIES:
        steps = _steps(quality).ravel()[low]
        multiples = found[:, low] / steps
        seen = np.abs(multiples) > 0.5
        if seen.sum() < 32:
            continue
        # The mean of the cosines is 1 where all are multiples, 0 where they are anything.
        agreement = float(np.cos(2 * np.pi * multiples[seen]).mean())
        if agreement > best:
            best, chosen = agreement, float(quality)
    return chosen


def blur_sigma(levels: np.ndarray) -> float:
    """Estimate the blur of the sharpest edges (after Zhuo and Sim, Pattern Recognition 2011).

    Blur by another Gaussian of sigma 1 makes the gradient of an edge of sigma `s` smaller by `sqrt(1 + 1 / s^2)`.

    Args:
        levels: `[h, w]` luma, 0 to 255.

    Returns:
        Sigma in pixels, at most 5.
    """
    if min(levels.shape) < 16:
        return 0.0
    again = _smoothed(_smoothed(levels, 0), 1)
    before, after = (
        np.hypot(np.diff(each, axis=0)[:, :-1], np.diff(each, axis=1)[:-1])[4:-4, 4:-4]
        for each in (levels, again)
    )
    strongest = before >= max(np.quantile(before, SHARPEST), 1.0)
    if not strongest.any():
        return 0.0
    ratio = np.median(before[strongest] / np.maximum(after[strongest], 1e-6))
    seen = 1 / max(ratio**2 - 1, 0.04)
    # The difference of neighbours blurs the gradient by a box of a pixel, of variance 1/12.
    return float(np.sqrt(max(seen - 1 / 12, 0.0)))


def _levels(pixels: np.ndarray) -> np.ndarray:
    """Three channels of 0 to 255."""
    levels = to_float(pixels).astype(np.float64) * 255
    levels = levels[..., np.newaxis] if levels.ndim == 2 else levels
    return levels[..., :3] if levels.shape[-1] >= 3 else np.repeat(levels[..., :1], 3, axis=-1)


def _middle(pixels: np.ndarray) -> np.ndarray:
    """The middle, from multiples of 8, on which a grid of blocks stays."""
    top, left = (max(0, (side - SIDE) // 16 * 8) for side in pixels.shape[:2])
    return pixels[top : top + SIDE, left : left + SIDE]


def _grid(steps: np.ndarray) -> int:
    """Where the first block begins, by the mean steps between lines."""
    count = len(steps) // 8 * 8
    if count == 0:
        return 0
    # The step between lines 7 and 8 is number 7.
    return (int(steps[:count].reshape(-1, 8).mean(axis=0).argmax()) + 1) % 8


def _steps(quality: int) -> np.ndarray:
    """The steps of a quality, as the Independent JPEG Group's library scales them."""
    percent = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip((STEPS * int(percent) + 50) // 100, 1, 255)


def quality_of_steps(steps: np.ndarray) -> float:
    """Tell the quality of a table of quantisation steps by their sum.

    Args:
        steps: 64 numbers in any order.

    Returns:
        1 to 100.
    """
    return float(min(range(1, 101), key=lambda quality: abs(int(_steps(quality).sum()) - int(np.sum(steps)))))


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform of eight numbers, `[frequency, place]`."""
    frequency, place = np.mgrid[:8, :8]
    basis = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    return basis


def _smoothed(levels: np.ndarray, axis: int) -> np.ndarray:
    """Blurred along an axis by a Gaussian of sigma 1, mirrored at the borders."""
    taps = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    taps /= taps.sum()
    padding = [(4, 4) if each == axis else (0, 0) for each in range(2)]
    padded = np.pad(levels, padding, mode="reflect")
    size = levels.shape[axis]
    return sum(tap * np.take(padded, range(start, start + size), axis=axis) for start, tap in enumerate(taps))


def _between(value: float, table: tuple[tuple[float, float], ...]) -> float:
    places, denoise = zip(*table, strict=True)
    return float(np.interp(value, places, denoise))
