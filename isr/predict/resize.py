"""Bicubic resizing of a picture that comes in bands of rows, in memory that does not grow with it."""

from __future__ import annotations

import numpy as np

from isr.imresize import imresize, taps
from isr.levels import from_float, to_float

# Samples of a band, 16 MiB as float32.
BAND = 2**22


class RowResizer:
    """`isr.imresize` with antialiasing for pictures whose rows arrive in order.

    Only the rows that the vertical kernel still needs are held, as float32. The values are rounded once, when
    they become `dtype`; how the rows are cut into bands does not change a bit of the result.

    Args:
        shape: `(height, width, channels)` of the picture that comes.
        size: `(height, width)` of the result.
        result: `[height, width, channels]` that is filled, uint8, uint16 or float.
    """

    def __init__(self, shape: tuple[int, int, int], size: tuple[int, int], result: np.ndarray) -> None:
        self.size = size
        self.result = result
        self._weights, self._indices = taps(shape[0], size[0], size[0] / shape[0])
        # The first row that the result's row i or any later one needs, and the last that row i needs.
        self._first = np.minimum.accumulate(self._indices.min(axis=1)[::-1])[::-1]
        self._last = np.maximum.accumulate(self._indices.max(axis=1))
        self._rows = np.empty((0, size[1], shape[2]), np.float32)
        # Index of the first row held.
        self._start = 0
        # Rows of the result that are filled.
        self._done = 0

    def push(self, band: np.ndarray) -> None:
        """Take the next rows, float32 `[rows, width, channels]`."""
        across = imresize(band, size=(band.shape[0], self.size[1]))
        self._rows = np.concatenate([self._rows, across]) if len(self._rows) else across
        ready = int(np.searchsorted(self._last, self._start + len(self._rows)))
        while self._done < ready:
            # In strips, so that a band that completes many rows makes no array as large as the result.
            stop = min(ready, self._done + max(1, BAND // self._rows[0].size))
            self._fill(self._done, stop)
            self._done = stop
        if self._done < self.size[0]:
            unneeded = int(self._first[self._done]) - self._start
            self._rows = self._rows[unneeded:].copy()
            self._start += unneeded

    def _fill(self, begin: int, stop: int) -> None:
        indices = self._indices[begin:stop] - self._start
        weights = self._weights[begin:stop].astype(np.float32)[..., np.newaxis, np.newaxis]
        total = self._rows[indices[:, 0]] * weights[:, 0]
        for tap in range(1, indices.shape[1]):
            total += self._rows[indices[:, tap]] * weights[:, tap]
        self.result[begin:stop] = from_float(total, self.result.dtype)


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize without a network, by antialiased bicubic interpolation in float32, rounded once.

    Args:
        pixels: `[h, w, c]`, uint8, uint16 or float.
        size: `(height, width)` of the result.

    Returns:
        `[*size, c]`, dtype of `pixels`.
    """
    height, width, channels = pixels.shape
    if size == (height, width):
        return pixels.copy()
    result = np.empty((*size, channels), pixels.dtype)
    resizer = RowResizer((height, width, channels), size, result)
    rows = max(1, BAND // (max(width, size[1]) * channels))
    for start in range(0, height, rows):
        resizer.push(to_float(pixels[start : start + rows]))
    return result
