"""Parts of a frame that equal the previous frame's bit by bit, and take its result instead of being computed again.

Still backgrounds, screen recordings, animation drawn on twos and 24 frames a second stored as 60 are full of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from isr.tiles import Tile


class Repeats:
    """How much of a clip was not computed.

    Attributes:
        frames: that many; a tile counts as its share.
    """

    def __init__(self) -> None:
        self.frames = 0.0


class LastResult:
    """What the frame before this one became.

    Args:
        repeats: where it is counted what was not computed.
        share: of a frame's work that this network does.
    """

    def __init__(self, repeats: Repeats, share: float = 1.0) -> None:
        self._repeats = repeats
        self._share = share
        self._result = np.empty(0)
        self._scale = 0
        self._tiles: frozenset[Tile] = frozenset()

    def kept_part(self, tile: Tile, scale: int, result: np.ndarray) -> np.ndarray | None:
        """Look up what a tile became.

        Args:
            tile: of the frame at work.
            scale: what the network enlarges by.
            result: what is filled for this frame.

        Returns:
            The part of the tile that is kept, dtype of `result`; None where the frame before had no such tile, or
            became something else.
        """
        if tile not in self._tiles or scale != self._scale or not _alike(result, self._result):
            return None
        rows, columns = (
            slice(span.inner_start * scale, span.inner_stop * scale) for span in (tile.rows, tile.columns)
        )
        return self._result[rows, columns]

    def keep(self, result: np.ndarray, tiles: Iterable[Tile], scale: int, spared: float) -> None:
        """Remember what a frame became, not resized, and the share of its tiles that was not computed.

        The result is copied, since whoever takes it may write into it.
        """
        self._result, self._tiles, self._scale = result.copy(), frozenset(tiles), scale
        self._repeats.frames += spared * self._share


class LastPicture(LastResult):
    """The frame before this one and what it became, for networks that take one frame at a time."""

    def __init__(self, repeats: Repeats, share: float = 1.0) -> None:
        super().__init__(repeats, share)
        self._pixels = np.empty(0)

    def result_of(self, tile: Tile, pixels: np.ndarray, scale: int, result: np.ndarray) -> np.ndarray | None:
        """Look up what a tile of `pixels`, `[h, w, c]`, becomes: as `kept_part`, and None unless they are equal."""
        kept = self.kept_part(tile, scale, result)
        if kept is None or not _alike(pixels, self._pixels):
            return None
        return kept if equal_in(tile, pixels, self._pixels) else None

    def keep_picture(
        self, pixels: np.ndarray, result: np.ndarray, tiles: Iterable[Tile], scale: int, spared: float
    ) -> None:
        """Remember a frame beside what `keep` does; it is copied as well."""
        self._pixels = pixels.copy()
        self.keep(result, tiles, scale, spared)


def equal_in(tile: Tile, one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether all that a tile reads, overlap included, is equal bit by bit in two frames of one shape."""
    read = slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop)
    return np.array_equal(one[read], other[read])


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype)
