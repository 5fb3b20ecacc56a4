"""A stream of frames through an upscaler of several: windows, borders, tiles. NumPy arrays in and out.

What depends on one frame alone is computed once and kept while a window needs it, as far as memory allows. A tile
whose whole window equals the one before bit by bit takes its result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from isr.dihedral import NUM_VIEWS, dihedral, undo_dihedral
from isr.errors import RequestError
from isr.levels import to_float
from isr.predict.picture import check_numbers, check_pixels, make_canvas, smaller_tiles
from isr.predict.repeats import LastResult, Repeats, equal_in
from isr.predict.scenes import SceneCuts
from isr.predict.tiling import TileOptions, plan_tiles
from isr.progress import Progress, Silent, check_cancelled
from isr.spec import ModelSpec, MultiFrameUpscaler
from isr.tiles import Tile

T = TypeVar("T")


@dataclass(frozen=True)
class WindowOptions:
    """How a stream of frames goes through the network.

    Attributes:
        tiles: how each frame is cut.
        scene_cut: score of `SceneCuts` from which two frames belong to different scenes, which share no window; None:
            the stream is one scene.
        cache: bytes of features that may be kept from window to window; what exceeds it is computed again.
        reuse: whether tiles that equal the frame's before, bit by bit, take its result; the output is the same.
    """

    tiles: TileOptions = field(default_factory=TileOptions)
    scene_cut: float | None = None
    cache: int = 1536 * 2**20
    reuse: bool = True

    def __post_init__(self) -> None:
        if self.scene_cut is not None and not 0 < self.scene_cut <= 1:
            raise RequestError(f"scene cut {self.scene_cut}: must be over 0 and at most 1")
        if self.cache < 0:
            raise RequestError(f"cache {self.cache}: must not be under 0")


def enlarge(
    upscaler: MultiFrameUpscaler,
    frames: Iterable[tuple[T, np.ndarray]],
    options: WindowOptions | None = None,
    *,
    size: tuple[int, int] | None = None,
    skip: int = 0,
    progress: Progress | None = None,
    repeats: Repeats | None = None,
) -> Iterator[tuple[T, np.ndarray]]:
    """Upscale a stream of frames, each in a window of its neighbours.

    Frames are read as far ahead as a window reaches, and dropped behind it.

    Args:
        upscaler: of several frames.
        frames: each with its pixels `[h, w, c]`, all of one shape and dtype: uint8 or uint16 of the full range, or
            float about [0, 1]; gray or as many channels as the network has. The frame itself may be anything; it
            comes out beside its result.
        options: tiles, scenes, memory.
        size: `(height, width)` that the network's output is resized to; None: not at all.
        skip: frames at the beginning that serve as neighbours only; nothing is given for them.
        progress: asked for `cancelled` between tiles, told where memory ran out.
        repeats: where it is counted what was not computed.

    Yields:
        Every frame with its upscaled pixels, `[scale * h, scale * w, c]` or `[*size, c]`, dtype of the frames.
        Integers are clipped and rounded once, floats are neither.

    Raises:
        RequestError: a frame does not fit the network, or differs from the first.
        MachineError: memory does not suffice.
        ISRError: the network gives no numbers.
    """
    options = options or WindowOptions()
    if options.tiles.back_projection:
        raise RequestError(f"{upscaler.spec.name}: back_projection is for networks of single pictures")
    last = LastResult(repeats or Repeats())
    windows = _Windows(upscaler, options, size, progress or Silent(), last)
    numbered = SceneCuts(options.scene_cut).scenes(frames)
    for _, scene in itertools.groupby(numbered, key=lambda item: item[0]):
        yield from windows.run(((frame, pixels) for _, frame, pixels in scene), skip)
        skip = max(skip - windows.length, 0)


def enlarge_frames(
    upscaler: MultiFrameUpscaler,
    frames: Iterable[np.ndarray],
    options: WindowOptions | None = None,
    *,
    size: tuple[int, int] | None = None,
    skip: int = 0,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """Upscale a stream of bare pixels as `enlarge` does one of frames; yields the results alone."""
    paired = ((None, pixels) for pixels in frames)
    for _, result in enlarge(upscaler, paired, options, size=size, skip=skip, progress=progress):
        yield result


def window_indices(center: int, last: int | None, spec: ModelSpec) -> list[int]:
    """Number the frames of the window around frame `center`.

    Args:
        center: number of the frame, from 0.
        last: number of the clip's last frame; None: far away.
        spec: `num_frames`, `center_frame` and `frame_border`.

    Returns:
        `num_frames` numbers. Those beyond the clip are replaced: by the mirrored frame ("reflect": 2 1 0 1 2), by
        one beyond the other side of the window ("circle": 4 3 0 1 2, which has no frame twice), or by the clip's
        first or last ("replicate": 0 0 0 1 2). A clip too short for its rule is mirrored as often as needed.
    """
    before, after = spec.center_frame, spec.num_frames - 1 - spec.center_frame

    def inside(index: int) -> int:
        if index >= 0 and (last is None or index <= last):
            return index
        if spec.frame_border == "replicate":
            return 0 if index < 0 or last is None else last
        if spec.frame_border == "circle":
            other = center + after - index if index < 0 or last is None else center - before - (index - last)
            if other >= 0 and (last is None or other <= last):
                return other
        if last is None:
            return -index
        index = abs(index) % (2 * last) if last else 0
        return min(index, 2 * last - index)

    return [inside(index) for index in range(center - before, center + after + 1)]


class _Windows:
    """The frames of a scene that a window can still reach, and what was computed of them."""

    def __init__(
        self,
        upscaler: MultiFrameUpscaler,
        options: WindowOptions,
        size: tuple[int, int] | None,
        progress: Progress,
        last: LastResult,
    ) -> None:
        self.upscaler = upscaler
        self.spec = upscaler.spec
        self.options = options
        self.size = size
        self.progress = progress
        self.last = last
        # Frames of the scene so far.
        self.length = 0
        # Of all frames.
        self._shape: tuple[tuple[int, ...], np.dtype[Any]] | None = None
        # By their number in the scene: what each frame is to the caller, its pixels, and what was computed of it.
        self._owners: dict[int, Any] = {}
        self._frames: dict[int, np.ndarray] = {}
        # Of each by tile and view.
        self._features: dict[int, dict[tuple[Tile, int], Any]] = {}
        # What each shows in a tile, by a number that it shares with its predecessor where both are equal there.
        self._contents: dict[int, dict[Tile, int]] = {}
        self._numbers = itertools.count()
        # What the features of a tile and view need, of all frames of a window together.
        self._bytes: dict[tuple[Tile, int], int] = {}
        # What the window before showed in a tile.
        self._shown: dict[Tile, list[int]] = {}

    def run(self, frames: Iterator[tuple[T, np.ndarray]], skip: int) -> Iterator[tuple[T, np.ndarray]]:
        """The frames of one scene with their results, but for the first `skip`."""
        self.length = 0
        for held in self._held:
            held.clear()
        self._bytes.clear()
        ended = False
        for center in itertools.count():
            window = window_indices(center, self.length - 1 if ended else None, self.spec)
            while not ended and max(window) >= self.length:
                frame = next(frames, None)
                if frame is None:
                    ended = True
                    if center < self.length:
                        window = window_indices(center, self.length - 1, self.spec)
                else:
                    self._take(*frame)
            if center >= self.length:
                return
            if center >= skip:
                yield self._owners[center], self._upscale(window, center)

    @property
    def _held(self) -> tuple[dict[int, Any], ...]:
        return self._owners, self._frames, self._features, self._contents

    def _take(self, owner: Any, frame: np.ndarray) -> None:
        check_pixels(frame)
        channels = frame.shape[-1]
        if channels not in (1, self.spec.num_channels):
            raise RequestError(
                f"frames of {channels} channels do not fit a network of {self.spec.num_channels}"
            )
        known, own = self._shape, (frame.shape, frame.dtype)
        if known is not None and known != own:
            raise RequestError(
                f"frame {self.length} is {frame.shape} {frame.dtype}, those before it {known[0]} {known[1]}"
            )
        self._shape = own
        self._owners[self.length], self._frames[self.length] = owner, frame
        self.length += 1
        # No border rule reaches further back than one window.
        for held in self._held:
            held.pop(self.length - 1 - self.spec.num_frames, None)

    def _upscale(self, window: list[int], center: int) -> np.ndarray:
        while True:
            try:
                return self._tiles(window, center)
            except MemoryError:
                sides = self._frames[center].shape[:2]
                tiles = smaller_tiles(
                    self.options.tiles, self.spec, self.spec.scales[0], sides, self.progress
                )
                self.options = replace(self.options, tiles=tiles)
                self._features.clear()
                self._bytes.clear()

    def _tiles(self, window: list[int], center: int) -> np.ndarray:
        frame, scale = self._frames[center], self.spec.scales[0]
        height, width, channels = frame.shape
        full = (height * scale, width * scale)
        result = np.empty((*(self.size or full), channels), frame.dtype)
        canvas = make_canvas((*full, channels), result)
        plan = plan_tiles(height, width, self.spec, self.options.tiles, scale)
        shown = {tile: [self._content(index, tile) for index in window] for tile in plan}
        repeated = 0
        for tile in plan:
            same = self.last.kept_part(tile, scale, result) if self._shown.get(tile) == shown[tile] else None
            if same is not None:
                canvas.repeat(tile, same, scale)
                repeated += 1
                continue
            check_cancelled(self.progress)
            output = self._views(window, tile)
            check_numbers(output)
            if channels != self.spec.num_channels:
                output = output.mean(axis=-1, keepdims=True)
            canvas.place(tile, output[0], scale)
        canvas.check(frame)
        if self.options.reuse and canvas.shape == result.shape:
            self.last.keep(result, plan, scale, repeated / len(plan))
            self._shown = shown
        return result

    def _content(self, index: int, tile: Tile) -> int:
        """The number of what a frame shows in a tile."""
        known = self._contents.setdefault(index, {})
        if tile not in known:
            before = self._frames.get(index - 1) if self.options.reuse else None
            same = before is not None and equal_in(tile, before, self._frames[index])
            known[tile] = self._content(index - 1, tile) if same else next(self._numbers)
        return known[tile]

    def _views(self, window: list[int], tile: Tile) -> np.ndarray:
        """Float32 `[1, s*h, s*w, c]`, the mean over flips and quarter turns where that is asked for."""
        if not self.options.tiles.self_ensemble:
            return self._decode(window, tile, 0)
        views = (undo_dihedral(self._decode(window, tile, view), view) for view in range(NUM_VIEWS))
        total: np.ndarray = next(views).astype(np.float64)
        for view in views:
            total += view
        return (total / NUM_VIEWS).astype(np.float32)

    def _decode(self, window: list[int], tile: Tile, view: int) -> np.ndarray:
        encoded: dict[int, Any] = {}
        for index in sorted(set(window)):
            encoded[index] = self._encode(index, tile, view, encoded.get(index - 1))
        output = self.upscaler.decode([encoded[index] for index in window])
        self._keep(encoded, (tile, view))
        return output

    def _encode(self, index: int, tile: Tile, view: int, before: Any) -> Any:
        """Features of a frame: those that were kept, those of the frame before it if it is equal, or new ones."""
        kept = self._features.get(index, {}).get((tile, view))
        if kept is not None:
            return kept
        if before is not None and self._content(index - 1, tile) == self._content(index, tile):
            return before
        return self.upscaler.encode(self._part(index, tile, view))

    def _keep(self, encoded: dict[int, Any], part: tuple[Tile, int]) -> None:
        """Keep the features of a window's frames in one tile and view, all or none, as far as memory allows."""
        needed = sum(
            map(self.upscaler.size, {id(features): features for features in encoded.values()}.values())
        )
        self._bytes.pop(part, None)
        if sum(self._bytes.values()) + needed <= self.options.cache:
            self._bytes[part] = needed
            for index, features in encoded.items():
                self._features.setdefault(index, {})[part] = features
        else:
            for kept in self._features.values():
                kept.pop(part, None)

    def _part(self, index: int, tile: Tile, view: int) -> np.ndarray:
        """One tile of a frame as the network takes it, float32 `[1, h, w, c]`."""
        frame, multiple = self._frames[index], self.spec.size_multiple
        rows, columns = (
            np.pad(np.arange(side), (0, -side % multiple), mode="symmetric") for side in frame.shape[:2]
        )
        part = frame[rows[tile.rows.start : tile.rows.stop]][
            :, columns[tile.columns.start : tile.columns.stop]
        ]
        batch = to_float(np.repeat(part, self.spec.num_channels // part.shape[-1], axis=-1)[None])
        return np.ascontiguousarray(dihedral(batch, view)) if view else batch
