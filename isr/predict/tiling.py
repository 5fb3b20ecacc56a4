"""How a picture is cut into tiles for a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from isr.errors import RequestError
from isr.spec import ModelSpec
from isr.tiles import Tile, tiles

# Input pixels; when less than this does not fit into memory, nothing does.
SMALLEST_TILE = 32
# The side of an automatic tile, in pixels of the result: that is where most networks need their memory. Larger
# tiles are no faster, and smaller ones compute more of their neighbours' pixels.
AUTOMATIC_SIDE = 1024
# Input pixels.
SMALLEST_AUTOMATIC, LARGEST_AUTOMATIC = 192, 384
# Input pixels, for windows of frames: a frame of 320x180 is one tile.
AUTOMATIC_FRAME_SIDE = 320
# Input pixels, of automatic overlaps, as measured on trained networks (`docs/tiling.md`): the whole receptive radius
# counts where it is small; where it is large, its last pixels hardly do.
OVERLAP = 12
# In pixels of the body, which are larger where a network begins by making the picture smaller.
LARGEST_OVERLAP = 72
# An automatic tile is so many overlaps wide, so that it keeps a third of what is computed.
OVERLAPS_OF_A_TILE = 5
# And so many, by the precision, where memory is taken by the body of a network alone: more than half, for 2 GB.
OVERLAPS_IN_PIECES = {"float32": 8, "bfloat16": 10}
ALL_COUNTS = 18
HARDLY_COUNTS = 24
# Rounds of back projection.
MOST_ROUNDS = 100
# Input pixels, where offsets reach as far as they like.
UNBOUNDED_OVERLAP = 24


@dataclass(frozen=True)
class TileOptions:
    """How a picture goes through the network.

    Attributes:
        tile: largest side of a tile in input pixels, overlap included; a picture no larger is one tile. None:
            chosen by the scale.
        overlap: input pixels at each side of a tile that are read but not kept; "exact": the network's receptive
            radius, so that the result equals the whole picture's; None: 12 to 72 by that radius, in pixels of the
            network's body, and 24 for networks whose reach is unbounded. See `docs/tiling.md` for how little that
            deviates.
        batch: tiles per call.
        self_ensemble: mean over the eight flips and quarter turns (Timofte et al. 2016, section 3.5), at eight
            times the cost.
        back_projection: rounds of `BackProjection`, for single pictures whose input was made by MATLAB's bicubic
            rule.
        overlaps: an automatic tile is at least so many automatic overlaps wide.

    Raises:
        RequestError: a value is out of its range, or a tile would keep nothing.
    """

    tile: int | None = None
    overlap: int | Literal["exact"] | None = None
    batch: int = 1
    self_ensemble: bool = False
    back_projection: int = 0
    overlaps: int = OVERLAPS_OF_A_TILE

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < SMALLEST_TILE:
            raise RequestError(f"tile {self.tile}: must be at least {SMALLEST_TILE} pixels")
        if self.overlap not in ("exact", None):
            if not isinstance(self.overlap, int) or self.overlap < 0:
                raise RequestError(f"overlap {self.overlap!r}: must be 'exact' or a number of pixels from 0")
            self._check_kept(self.overlap)
        if self.batch < 1:
            raise RequestError(f"batch {self.batch}: must be at least 1")
        if not 0 <= self.back_projection <= MOST_ROUNDS:
            raise RequestError(f"back_projection {self.back_projection}: must be 0 to {MOST_ROUNDS} rounds")

    def _check_kept(self, overlap: int) -> None:
        if self.tile is not None and self.tile <= 2 * overlap:
            raise RequestError(
                f"tile {self.tile}: keeps nothing with an overlap of {overlap} pixels on each side"
            )

    def geometry(self, spec: ModelSpec, scale: int) -> tuple[int, int]:
        """Return side of the tiles and overlap for a network, in input pixels, multiples of its `size_multiple`.

        Raises:
            RequestError: "exact" is asked of an unbounded network, or the tile is too small for it.
        """
        if self.overlap == "exact" and spec.receptive_radius is None:
            raise RequestError("overlap 'exact': every output of this network depends on the whole picture")
        overlap = spec.receptive_radius if self.overlap == "exact" else self.overlap
        overlap = self._automatic_overlap(spec) if overlap is None else overlap
        overlap += -overlap % spec.size_multiple
        self._check_kept(overlap)
        fits = LARGEST_AUTOMATIC if spec.enlarges_last else min(AUTOMATIC_SIDE // scale, LARGEST_AUTOMATIC)
        if spec.num_frames > 1:
            fits = AUTOMATIC_FRAME_SIDE
        overlaps = self.overlaps if self.overlap is None else OVERLAPS_OF_A_TILE
        side = self.tile or max(fits, SMALLEST_AUTOMATIC, overlaps * overlap)
        return side + -side % spec.size_multiple, overlap

    def _automatic_overlap(self, spec: ModelSpec) -> int:
        """What is taken where no overlap is given."""
        if spec.receptive_radius is None:
            return UNBOUNDED_OVERLAP
        radius = spec.receptive_radius
        most = LARGEST_OVERLAP * spec.size_multiple
        counts = radius if radius <= ALL_COUNTS else min(radius - HARDLY_COUNTS, most)
        overlap = max(OVERLAP, counts)
        # A small tile, which was asked for, has to keep something.
        return overlap if self.tile is None else min(overlap, max(OVERLAP, self.tile // 4))


def plan_tiles(height: int, width: int, spec: ModelSpec, options: TileOptions, scale: int) -> list[Tile]:
    """Cut a picture of `height` x `width` pixels, padded to the network's `size_multiple`."""
    multiple = spec.size_multiple
    side, overlap = options.geometry(spec, scale)
    height, width = height + -height % multiple, width + -width % multiple
    # A long picture that is no larger than an automatic tile is one, for the same memory.
    if options.tile is None and height * width <= side**2:
        side = max(height, width)
    return list(tiles(height, width, side, overlap, multiple))
