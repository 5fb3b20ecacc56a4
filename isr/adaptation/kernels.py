"""Kernels by which pictures become smaller: read, made, used, and estimated from one picture. NumPy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isr.errors import RequestError
from isr.imresize import cubic
from isr.io.errors import file_error

# What stands for a kernel beside the file of one.
BICUBIC, ESTIMATE = "bicubic", "estimate"
# Pixels of a side; no blur that can be undone is larger.
LARGEST = 99
# Weights of four neighbours that give the middle between two of them: cubic interpolation.
MIDDLE = np.array([-1, 9, 9, -1]) / 16


def read_kernel(path: Path) -> np.ndarray:
    """Read a kernel from a file: `.npy`, or text of numbers, a row on each line.

    Args:
        path: of the file.

    Returns:
        `[k, k]` float64, made to add up to 1.

    Raises:
        RequestError: the file cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            rows = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
            values = np.array([[float(number) for number in row.split()] for row in rows if row.strip()])
        values = np.asarray(values, np.float64)
    except OSError as error:
        raise file_error(path, error) from error
    except (ValueError, TypeError, EOFError):
        raise RequestError(
            f"{path}: no kernel: give .npy, or text with a row of numbers on each line"
        ) from None
    return check_kernel(values, str(path))


def check_kernel(values: np.ndarray, name: str) -> np.ndarray:
    """Check a kernel, and make it add up to 1.

    Args:
        values: `[k, k]`.
        name: what the error names.

    Raises:
        RequestError: it is not square, too large, not of numbers, or its sum is not over 0.
    """
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not 1 <= len(values) <= LARGEST:
        raise RequestError(f"{name}: a kernel is square, of 1 to {LARGEST} pixels a side, not {values.shape}")
    if not np.all(np.isfinite(values)) or values.sum() <= 0:
        raise RequestError(f"{name}: the numbers of a kernel are finite, and their sum is over 0")
    return values / values.sum()


def centred(kernel: np.ndarray, scale: int) -> np.ndarray:
    """Give a kernel the parity of a scale, so that its middle lies over the middle of a new pixel.

    One of the other parity is interpolated half a pixel aside; that blurs it very little.

    Args:
        kernel: `[k, k]`.
        scale: that it shall serve.

    Returns:
        `[k, k]`, k odd or even as the scale is.
    """
    if (len(kernel) - scale) % 2 == 0:
        return kernel
    weights = np.outer(MIDDLE, MIDDLE)
    side = len(kernel) + len(MIDDLE) - 1
    moved = np.zeros((side, side))
    for (row, column), weight in np.ndenumerate(weights):
        moved[row : row + len(kernel), column : column + len(kernel)] += weight * kernel
    return moved


def reduce(picture: np.ndarray, kernel: np.ndarray, scale: int) -> np.ndarray:
    """Make a picture smaller: every new pixel is a sum of the pixels under a kernel over its middle.

    Args:
        picture: `[h, w, c]` float, mirrored at its borders; what is beyond a multiple of the scale is left out.
        kernel: `[k, k]`, k odd or even as the scale is.
        scale: side / new side.

    Returns:
        `[h // scale, w // scale, c]`, dtype of the picture.
    """
    height, width = (side - side % scale for side in picture.shape[:2])
    before = (len(kernel) - scale) // 2
    border = max(before, 0)
    padded = np.pad(picture[:height, :width], ((border, border), (border, border), (0, 0)), mode="symmetric")
    first = border - before
    total = np.zeros((height // scale, width // scale, picture.shape[2]), picture.dtype)
    for row, column in np.argwhere(kernel):
        rows = slice(first + row, first + row + height, scale)
        columns = slice(first + column, first + column + width, scale)
        total += padded[rows, columns] * picture.dtype.type(kernel[row, column])
    return total


def bicubic_kernel(scale: int) -> np.ndarray:
    """Compute the kernel of MATLAB's antialiased bicubic rule for a whole scale."""
    side = 4 * scale - scale % 2
    taps = cubic((np.arange(side) - (side - 1) / 2) / scale)
    return np.outer(taps, taps) / taps.sum() ** 2
