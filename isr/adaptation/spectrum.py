"""The blur that a picture looks made small by, read off its spectrum. NumPy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isr.data.degrade.blur import gaussian_kernel
from isr.levels import to_float
from isr.metrics import LUMA_WEIGHTS

# Pixels of the blocks whose spectra are averaged, of the smallest such block, and of the middle that is looked at.
BLOCK, SMALLEST_BLOCK, SIDE = 64, 16, 1024
# Photographs have a power of about 1 / frequency^2 (Field 1987); how sure that is, in shares of a spectrum's points.
EXPONENT, SURE_OF_EXPONENT = 2.0, 0.04
# Sigma in pixels of the small picture, where it is too small to be told, and at least.
USUAL, SHARPEST = 0.45, 0.2
# Mean sigma in pixels of the small picture, below which a blur cannot be told from the bicubic rule: on training
# photographs, that looked like 0.3 to 0.54.
LIKE_BICUBIC = 0.54


@dataclass(frozen=True)
class Blur:
    """A Gaussian by which a picture was made small.

    Attributes:
        sigma: along its two axes, the longer first, in pixels of the small picture.
        angle: of the first axis to the rows' direction, in radians.
    """

    sigma: tuple[float, float]
    angle: float = 0.0

    @property
    def like_bicubic(self) -> bool:
        """Tell whether it is as little as what the bicubic rule looks like."""
        return math.sqrt(self.sigma[0] * self.sigma[1]) < LIKE_BICUBIC

    def kernel(self, scale: int) -> np.ndarray:
        """Compute its kernel in pixels of a picture that is larger by a scale.

        Returns:
            `[k, k]` float64 up to four sigmas, k odd or even as the scale is.
        """
        sigma = [scale * each for each in self.sigma]
        taps = 2 * math.ceil(4 * max(sigma)) + scale % 2
        return gaussian_kernel(taps, (sigma[0], sigma[1]), angle=self.angle)

    def describe(self) -> str:
        """Tell in one line what it is."""
        return (
            f"looks made small by a blur of sigma {self.sigma[0]:.2f} x {self.sigma[1]:.2f} px"
            f" at {math.degrees(self.angle):.0f} degrees{', like the bicubic rule' * self.like_bicubic}"
        )


# Where nothing can be told.
UNTOLD = Blur((USUAL, USUAL))


def estimate_blur(pixels: np.ndarray) -> Blur:
    """Estimate by which blur a picture was made small, its lens' and its antialiasing together.

    Spectra of photographs fall as a power of the frequency, the same in all directions. A Gaussian makes them fall
    faster; where the rest was folded over by making the picture small, they fall slower. Of that model, the exponent,
    the three numbers of the Gaussian and the noise are fitted to the logarithm of the mean spectrum of blocks.

    Args:
        pixels: `[h, w, c]`, gray or RGB with alpha or without, integers of the full range or floats in [0, 1].

    Returns:
        The blur; the usual one of a picture that is smaller than `SMALLEST_BLOCK` pixels, or all of one colour.
    """
    luma = _luma(pixels)
    block = min(BLOCK, *(side - side % 2 for side in luma.shape))
    if block < SMALLEST_BLOCK:
        return UNTOLD
    frequencies = np.fft.fftfreq(block)
    y, x = (each.ravel() for each in np.meshgrid(frequencies, frequencies, indexing="ij"))
    # Half of the plane is the other half's mirror. Near the axes are the edges of the blocks, and what people build.
    near = 2.5 / block
    told = (y > near) & (np.abs(x) > near)
    power = _mean_spectrum(luma, block).ravel()[told]
    if power.min() <= 0:
        return UNTOLD
    covariance = _Model(y[told], x[told]).fit(np.log(power))
    return _blur_of(covariance)


def _luma(pixels: np.ndarray) -> np.ndarray:
    """The middle of a picture as luma of 0 to 255."""
    top, left = (max(0, (side - SIDE) // 2) for side in pixels.shape[:2])
    levels = to_float(pixels[top : top + SIDE, left : left + SIDE]).astype(np.float64) * 255
    return levels[..., :3] @ (LUMA_WEIGHTS / LUMA_WEIGHTS.sum()) if levels.shape[-1] > 2 else levels[..., 0]


def _mean_spectrum(luma: np.ndarray, block: int) -> np.ndarray:
    """The mean power of blocks that overlap by half, `[block, block]`; that of white noise is its variance."""
    window = np.outer(*[np.hanning(block + 2)[1:-1]] * 2)
    window /= np.sqrt(np.square(window).sum())
    blocks = np.lib.stride_tricks.sliding_window_view(luma, (block, block))[:: block // 2, :: block // 2]
    total = np.zeros((block, block))
    for row in blocks:
        total += np.square(np.abs(np.fft.fft2((row - row.mean(axis=(1, 2), keepdims=True)) * window))).sum(
            axis=0
        )
    return total / (blocks.shape[0] * blocks.shape[1])


@dataclass(frozen=True)
class _Model:
    """The logarithm of a photograph's power at frequencies, blurred, made small, and with noise.

    Its parameters: logarithm of the power, exponent, covariance of the Gaussian (rows, both, columns; in pixels of the
    small picture), logarithm of the variance of the noise.

    Attributes:
        y, x: `[n]` frequencies, cycles per pixel.
    """

    y: np.ndarray
    x: np.ndarray

    # Of the residuals, those beyond are the picture's own and count less.
    USUAL_DEVIATION = 0.7
    ROUNDING = math.log(1 / 12)

    def __call__(self, parameters: np.ndarray) -> np.ndarray:
        power, exponent, rows, both, columns, noise = parameters
        total = np.full(len(self.y), np.exp(noise))
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                y, x = self.y + down, self.x + across
                blurred = (2 * np.pi) ** 2 * (rows * y**2 + 2 * both * y * x + columns * x**2)
                total += np.exp(power - exponent / 2 * np.log(y**2 + x**2) - blurred)
        return np.log(total)

    def fit(self, logarithms: np.ndarray) -> np.ndarray:
        """Find the covariance by robust least squares (Levenberg and Marquardt)."""
        count = len(logarithms)
        start = np.array([logarithms.mean(), EXPONENT, USUAL**2, 0, USUAL**2, self.ROUNDING])
        held = np.array([0, SURE_OF_EXPONENT, 0, 0, 0, SURE_OF_EXPONENT / 2]) * count

        def cost(parameters: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            residuals = self(parameters) - logarithms
            size = np.sqrt(1 + np.square(residuals / self.USUAL_DEVIATION))
            total = 2 * self.USUAL_DEVIATION**2 * (size - 1).sum() + held @ np.square(parameters - start)
            return float(total), residuals, 1 / size

        found, damping = start, 1e-2
        best, residuals, weights = cost(found)
        for _ in range(100):
            slopes = np.stack(
                [(self(found + step) - self(found - step)) / 2e-4 for step in 1e-4 * np.eye(len(found))],
                axis=1,
            )
            matrix = (slopes * weights[:, None]).T @ slopes + np.diag(held)
            downhill = -(slopes * weights[:, None]).T @ residuals - held * (found - start)
            step = np.linalg.solve(matrix + damping * np.diag(np.diag(matrix) + 1e-9), downhill)
            tried = _possible(found + step)
            total, *rest = cost(tried)
            if total >= best:
                damping *= 4
                if damping > 1e6:
                    break
                continue
            settled = best - total < 1e-6 * best
            found, best, (residuals, weights), damping = tried, total, rest, damping / 3
            if settled:
                break
        return found[2:5]


def _possible(parameters: np.ndarray) -> np.ndarray:
    """Parameters whose covariance is one."""
    rows, columns = (max(parameters[index], SHARPEST**2) for index in (2, 4))
    most = 0.95 * math.sqrt(rows * columns)
    both = min(max(parameters[3], -most), most)
    return np.array([*parameters[:2], rows, both, columns, parameters[5]])


def _blur_of(covariance: np.ndarray) -> Blur:
    rows, both, columns = covariance
    lengths, axes = np.linalg.eigh(np.array([[rows, both], [both, columns]]))
    sigma = np.sqrt(np.maximum(lengths, SHARPEST**2))
    down, across = axes[:, 1]
    return Blur((float(sigma[1]), float(sigma[0])), math.atan2(down, across) % math.pi)
