"""What enlarges behind the body of a network, piece by piece: it holds features at the size of the result.

That part sees a few pixels, so that pieces that overlap a little give the same, in a part of the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isr.tiles import Span, spans

# Pixels of the result along the side of a piece.
PIECE = 320


@dataclass(frozen=True)
class Piece:
    """Where a piece lies.

    Attributes:
        rows, columns: of the features at the end of the body, that are read.
        kept: rows and columns of what is made of these.
        placed: rows and columns of the result.
    """

    rows: slice
    columns: slice
    kept: tuple[slice, slice]
    placed: tuple[slice, slice]


def pieces(height: int, width: int, reach: int, scale: int) -> Iterator[Piece]:
    """Cut features into as few pieces as `PIECE` allows, all of one size, and that as small as it can be.

    Args:
        height, width: of the features.
        reach: pixels of them on each side, on which a pixel of the result depends.
        scale: pixels of the result along the side of one of them.
    """
    for down in _cut(height, reach, scale):
        for right in _cut(width, reach, scale):
            yield Piece(
                slice(down.start, down.stop),
                slice(right.start, right.stop),
                (_kept(down, scale), _kept(right, scale)),
                (_placed(down, scale), _placed(right, scale)),
            )


def _cut(length: int, reach: int, scale: int) -> list[Span]:
    inside = max(1, length - 2 * reach)
    count = -(-inside * scale // PIECE)
    return spans(length, -(-inside // count) + 2 * reach, reach)


def _kept(span: Span, scale: int) -> slice:
    return slice(scale * (span.inner_start - span.start), scale * (span.inner_stop - span.start))


def _placed(span: Span, scale: int) -> slice:
    return slice(scale * span.inner_start, scale * span.inner_stop)
