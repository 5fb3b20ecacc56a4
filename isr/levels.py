"""Between the levels of a file, 0 to 255 or 65,535, and the float32 [0, 1] that networks take and give."""

from __future__ import annotations

from typing import Any

import numpy as np

# Numbers that are rounded at a time.
AT_A_TIME = 2**16


def to_float(pixels: np.ndarray) -> np.ndarray:
    """float32, the full range of an integer type becoming [0, 1]; floats keep their values."""
    if np.issubdtype(pixels.dtype, np.integer):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return pixels.astype(np.float32)


def from_float(pixels: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Undo `to_float`: integers are clipped and rounded half up, floats neither."""
    if np.issubdtype(dtype, np.integer):
        top = np.float32(np.iinfo(dtype).max)
        result = np.empty(pixels.shape, dtype)
        # Some rows at a time, which stay in the processor's cache.
        count = max(1, AT_A_TIME * len(pixels) // max(1, pixels.size))
        for start in range(0, len(pixels), count):
            rows = slice(start, start + count)
            levels = np.clip(pixels[rows], 0, 1) * top
            # What is cut off is what rounds: no value is below 0.
            levels += np.float32(0.5)
            result[rows] = levels
        return result
    return pixels.astype(dtype, copy=False)
