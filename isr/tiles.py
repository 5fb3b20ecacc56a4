"""Tile geometry: how a large picture is cut so that the pieces give what the whole would."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

# Sides of tiles are multiples of it. Pictures of similar sizes then share shapes, for which engines prepare; a larger
# step would share more, and compute more: 2 % of a side at 16.
SIDE_STEP = 4


@dataclass(frozen=True)
class Span:
    """One tile along one side: `start:stop` is read, `inner_start:inner_stop` of it is kept; input pixels."""

    start: int
    stop: int
    inner_start: int
    inner_stop: int


@dataclass(frozen=True)
class Tile:
    """A tile of a picture: one span of rows, one of columns."""

    rows: Span
    columns: Span


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Cut one side into tiles of one length.

    Every tile reads `overlap` more pixels than it keeps towards its neighbours. At the ends of the picture a tile
    ends with it, so that the network pads there as it pads the whole picture. What is kept covers the side
    exactly once.

    Args:
        length: pixels of the side, at least 1.
        tile: pixels that a tile reads, over `2 * overlap`.
        overlap: pixels at each side of a tile that a neighbour keeps; 0 or more.

    Raises ValueError for a tile that would keep nothing.
    """
    if length < 1 or overlap < 0:
        raise ValueError(
            f"length {length} and overlap {overlap}: a pixel and no less than no overlap are needed"
        )
    if length <= tile:
        return [Span(0, length, 0, length)]
    step = tile - 2 * overlap
    if step < 1:
        raise ValueError(f"a tile of {tile} pixels keeps nothing with an overlap of {overlap} on each side")
    count = -(-(length - 2 * overlap) // step)
    result, kept = [], 0
    for index in range(count):
        start = min(index * step, length - tile)
        inner_stop = length if index == count - 1 else start + tile - overlap
        result.append(Span(start, start + tile, kept, inner_stop))
        kept = inner_stop
    return result


def fitted(length: int, tile: int, overlap: int, multiple: int = 1) -> int:
    """Give the smallest tile that cuts a side into no more pieces than `tile` does.

    Tiles of one length rarely divide a side evenly, and the last one would compute again what its neighbour
    has; a slightly smaller tile wastes less.

    Returns:
        A multiple of `multiple` and of `SIDE_STEP`, or `tile`, which is the most.
    """
    if length <= tile:
        return tile
    inside, step = length - 2 * overlap, tile - 2 * overlap
    if step < 1:
        raise ValueError(f"a tile of {tile} pixels keeps nothing with an overlap of {overlap} on each side")
    count = -(-inside // step)
    side = -(-inside // count) + 2 * overlap
    return min(tile, side + -side % math.lcm(SIDE_STEP, multiple))


def tiles(height: int, width: int, tile: int, overlap: int, multiple: int = 1) -> Iterator[Tile]:
    """Give the tiles of a picture, row by row; all of one shape, at most `tile` high and wide.

    Arguments as in `spans`; the sides of the tiles are multiples of `multiple` where `tile`, `overlap` and those
    of the picture are.
    """
    columns = spans(width, fitted(width, tile, overlap, multiple), overlap)
    for rows in spans(height, fitted(height, tile, overlap, multiple), overlap):
        for column in columns:
            yield Tile(rows, column)
