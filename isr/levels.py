"""Between the levels of a file, 0 to 255 or 65,535, and the float32 [0, 1] that networks take and give."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_float(pixels: np.ndarray) -> np.ndarray:
    """float32, the full range of an integer type becoming [0, 1]; floats keep their values."""
    if np.issubdtype(pixels.dtype, np.integer):
        return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return pixels.astype(np.float32)


def from_float(pixels: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Undo `to_float`: integers are clipped and rounded half up, floats neither."""
    if np.issubdtype(dtype, np.integer):
        top = np.iinfo(dtype).max
        levels = np.clip(pixels, 0, 1) * np.float32(top)
        # What is cut off is what rounds: no value is below 0.
        levels += np.float32(0.5)
        return levels.astype(dtype)
    return pixels.astype(dtype, copy=False)
