"""One picture through one upscaler: channels, alpha, tiles, views, rounding. NumPy arrays in and out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isr.dihedral import NUM_VIEWS, dihedral, undo_dihedral
from isr.errors import ISRError, MachineError, RequestError
from isr.levels import from_float, to_float
from isr.predict.back_projection import BackProjection
from isr.predict.repeats import LastPicture
from isr.predict.resize import RowResizer, resize
from isr.predict.tiling import SMALLEST_TILE, TileOptions, plan_tiles
from isr.progress import Place, Progress, Silent, Within, check_cancelled, show_tile
from isr.spec import ModelSpec, Upscaler
from isr.tiles import Tile


def enlarge(
    upscaler: Upscaler,
    pixels: np.ndarray,
    options: TileOptions,
    *,
    scale: int | None = None,
    size: tuple[int, int] | None = None,
    dtype: np.dtype[Any] | None = None,
    progress: Progress | None = None,
    last: LastPicture | None = None,
) -> np.ndarray:
    """Upscale a picture that has any channels.

    Args:
        upscaler: a single-picture upscaler.
        pixels: `[h, w, c]`: uint8 or uint16 of the full range, or float about [0, 1]; gray, gray and alpha, RGB,
            RGBA, or as many channels as the network has.
        options: tiles and views.
        scale: one of the upscaler's; None: its first.
        size: `(height, width)` that the network's output is resized to, before it is rounded; None: not at all.
        dtype: of the result; None: that of `pixels`.
        progress: told of every tile.
        last: of a clip, the frame before, whose result equal tiles take; it then holds this one. None: a picture.

    Returns:
        `[scale * h, scale * w, c]` or `[*size, c]`. Integers are clipped and rounded once, floats are neither.

    Raises:
        RequestError: channels, dtypes or values do not fit.
        MachineError: memory does not suffice for the smallest tile.
        ISRError: the network gives no numbers, or one colour for a picture of several.
    """
    check_pixels(pixels)
    scale = scale or upscaler.spec.scales[0]
    height, width, channels = pixels.shape
    size = size or (height * scale, width * scale)
    dtype = np.dtype(dtype or pixels.dtype)
    if options.back_projection:
        upscaler = BackProjection(upscaler, options.back_projection)
    work = _OnePicture(upscaler, scale, progress or Silent())

    if channels != upscaler.spec.num_channels and channels in (2, 4):
        result = np.empty((*size, channels), dtype)
        # Colours under transparent pixels are arbitrary: replaced by their neighbours', they cannot bleed in.
        work.run(fill_transparent(pixels), options, result[..., :-1], last)
        alpha = pixels[..., -1:]
        if alpha.min() == alpha.max():
            result[..., -1:] = from_float(to_float(alpha[:1, :1]), dtype)
        else:
            replace(work, progress=_Alpha(work.progress)).run(alpha, options, result[..., -1:])
        return result
    result = np.empty((*size, channels), dtype)
    work.run(pixels, options, result, last)
    return result


def reduce(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize without a network, by antialiased bicubic interpolation, colours under transparent pixels left out.

    Arguments and result as of `enlarge`; `size` is `(height, width)`.
    """
    check_pixels(pixels)
    if pixels.shape[-1] in (2, 4):
        pixels = np.concatenate([fill_transparent(pixels), pixels[..., -1:]], axis=-1)
    return resize(pixels, size)


def check_pixels(pixels: np.ndarray) -> None:
    """Check that this is a picture `[h, w, c]` of a known dtype and of numbers only.

    Raises:
        RequestError: it is not.
    """
    if pixels.dtype not in (np.uint8, np.uint16) and not np.issubdtype(pixels.dtype, np.floating):
        raise RequestError(f"pixels of type {pixels.dtype} are not supported; give uint8, uint16 or float")
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise RequestError(f"a picture [height, width, channels] with pixels is needed, not {pixels.shape}")
    # A sum of floats is a number only if each of them is (or too large for a picture).
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels.sum(dtype=np.float64)):
        raise RequestError("the picture has values that are no numbers (NaN or infinite)")


def fill_transparent(pixels: np.ndarray) -> np.ndarray:
    """Give the colours of a picture with alpha, those of fully transparent pixels replaced by their surroundings'.

    A pyramid of means over the visible pixels is built down to one pixel, and every transparent pixel takes the
    value of the finest level that knows one.

    Args:
        pixels: `[h, w, 2]` or `[h, w, 4]`, alpha last.

    Returns:
        `[h, w, 1]` or `[h, w, 3]`, same dtype; visible pixels are unchanged.
    """
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    if np.all(alpha > 0) or not np.any(alpha > 0):
        return colour
    filled = _pyramid_fill(colour.astype(np.float32), (alpha > 0).astype(np.float32))
    if np.issubdtype(pixels.dtype, np.integer):
        filled = np.floor(filled + 0.5)
    return np.where(alpha > 0, colour, filled.astype(pixels.dtype))


def _pyramid_fill(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    if np.all(weight > 0) or max(colour.shape[:2]) == 1:
        return colour
    height, width = colour.shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))

    def halve(array: np.ndarray) -> np.ndarray:
        padded = np.pad(array, even)
        return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]

    total, count = halve(colour * weight), halve(weight)
    coarse = total / np.maximum(count, 1e-6)
    coarse = _pyramid_fill(coarse, (count > 0).astype(np.float32))
    back = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(weight > 0, colour, back)


@dataclass(frozen=True)
class _OnePicture:
    """What stays the same for the colours and the alpha of one picture."""

    upscaler: Upscaler
    scale: int
    progress: Progress

    def run(
        self,
        pixels: np.ndarray,
        options: TileOptions,
        result: np.ndarray,
        last: LastPicture | None = None,
    ) -> None:
        """Fill `result`, with smaller and smaller tiles while memory runs out."""
        channels, wanted = pixels.shape[-1], self.upscaler.spec.num_channels
        if channels not in (1, wanted):
            raise RequestError(f"a picture of {channels} channels does not fit a network of {wanted}")
        while True:
            try:
                return self._tiles(pixels, options, result, last)
            except MemoryError:
                options = smaller_tiles(
                    options, self.upscaler.spec, self.scale, pixels.shape[:2], self.progress
                )

    def _tiles(
        self, pixels: np.ndarray, options: TileOptions, result: np.ndarray, last: LastPicture | None
    ) -> None:
        spec, scale = self.upscaler.spec, self.scale
        height, width, channels = pixels.shape
        plan = plan_tiles(height, width, spec, options, scale)
        pad = ((0, -height % spec.size_multiple), (0, -width % spec.size_multiple), (0, 0))
        padded = np.pad(pixels, pad, mode="symmetric") if any(map(any, pad)) else pixels

        canvas = make_canvas((height * scale, width * scale, channels), result)
        self.progress.start("upscale", len(plan), "tiles")
        # A tile's result may depend on those in its batch, by rounding.
        known = last if options.batch == 1 else None
        new = []
        for tile in plan:
            same = None if known is None else known.result_of(tile, padded, scale, result)
            if same is None:
                new.append(tile)
            else:
                canvas.repeat(tile, same, scale)
                self.progress.advance()
        for group in _batched(new, options.batch):
            check_cancelled(self.progress)
            batch = np.stack(
                [padded[t.rows.start : t.rows.stop, t.columns.start : t.columns.stop] for t in group]
            )
            if channels != spec.num_channels:
                batch = np.repeat(batch, spec.num_channels, axis=-1)
            output = _views(self.upscaler, to_float(batch), scale, options.self_ensemble)
            check_numbers(output)
            if channels != spec.num_channels:
                output = output.mean(axis=-1, keepdims=True)
            for tile, sr in zip(group, output, strict=True):
                show_tile(self.progress, *canvas.place(tile, sr, scale))
            self.progress.advance(len(group))
        canvas.check(pixels)
        if known is not None and canvas.shape == result.shape:
            known.keep_picture(padded, result, plan, scale, 1 - len(new) / len(plan))


class _Alpha(Within):
    """Counts the tiles of an alpha channel, which are no picture to show."""

    def start(self, what: str, total: int, unit: str = "") -> None:
        self.progress.start(what, total, unit)

    def advance(self, amount: int = 1) -> None:
        self.progress.advance(amount)


def smaller_tiles(
    options: TileOptions, spec: ModelSpec, scale: int, sides: tuple[int, int], progress: Progress
) -> TileOptions:
    """Choose what to go on with where memory ran out for a picture of `sides`.

    Raises:
        MachineError: nothing smaller is possible.
    """
    side, overlap = options.geometry(spec, scale)
    side = min(side, max(sides))
    if options.batch > 1:
        progress.message("memory ran out; going on with one tile at a time")
        return replace(options, batch=1)
    if side <= SMALLEST_TILE:
        raise MachineError(f"not enough memory, even for tiles of {side} pixels")
    tile = max(side // 2, SMALLEST_TILE)
    if options.overlap == "exact":
        if tile <= 2 * overlap:
            raise MachineError(
                f"not enough memory for tiles of {side} pixels, and the exact overlap of {overlap} pixels allows "
                "no smaller ones; a given overlap does"
            )
        smaller = replace(options, tile=tile)
    else:
        smaller = replace(options, tile=tile, overlap=min(overlap, tile // 4))
    progress.message(f"memory ran out; going on with tiles of {tile} pixels")
    return smaller


def _views(upscaler: Upscaler, batch: np.ndarray, scale: int, self_ensemble: bool) -> np.ndarray:
    if not self_ensemble:
        return upscaler(batch, scale=scale)
    views = (
        undo_dihedral(upscaler(np.ascontiguousarray(dihedral(batch, view)), scale=scale), view)
        for view in range(NUM_VIEWS)
    )
    total: np.ndarray = next(views).astype(np.float64)
    for view in views:
        total += view
    return (total / NUM_VIEWS).astype(np.float32)


class Canvas:
    """Where the kept parts of upscaled tiles are put together, in the dtype of `result`.

    Args:
        shape: `(height, width, channels)` of the upscaled picture.
        result: `[height, width, channels]` that is filled.
    """

    def __init__(self, shape: tuple[int, int, int], result: np.ndarray) -> None:
        self.shape = shape
        self.result = result
        # Of every channel.
        self._low = np.full(shape[2], np.inf, np.float32)
        self._high = -self._low

    def place(self, tile: Tile, sr: np.ndarray, scale: int) -> tuple[np.ndarray, Place]:
        """Take the kept part of an upscaled tile, float32 `[h, w, c]`; tiles come row by row.

        Returns:
            The kept part, and where it lies.
        """
        rows, columns = self._kept(tile, scale)
        above, before = rows.start - tile.rows.start * scale, columns.start - tile.columns.start * scale
        kept = sr[above : above + rows.stop - rows.start, before : before + columns.stop - columns.start]
        # Along the rows first: both axes at once are reduced by three numbers at a time.
        self._widen(kept.min(axis=0).min(axis=0), kept.max(axis=0).max(axis=0))
        self.put(kept, rows, columns)
        height, width = self.shape[:2]
        place = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
        return kept, place

    def repeat(self, tile: Tile, kept: np.ndarray, scale: int) -> None:
        """Take what an equal tile became before, the kept part in the dtype of `result`."""
        self._widen(to_float(kept.min(axis=(0, 1))), to_float(kept.max(axis=(0, 1))))
        self.result[self._kept(tile, scale)] = kept

    def _kept(self, tile: Tile, scale: int) -> tuple[slice, slice]:
        """Where the kept part of a tile lies."""
        (height, width), (rows, columns) = self.shape[:2], (tile.rows, tile.columns)
        return (
            slice(rows.inner_start * scale, min(rows.inner_stop * scale, height)),
            slice(columns.inner_start * scale, min(columns.inner_stop * scale, width)),
        )

    def _widen(self, low: np.ndarray, high: np.ndarray) -> None:
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)

    def put(self, kept: np.ndarray, rows: slice, columns: slice) -> None:
        self.result[rows, columns] = from_float(kept, self.result.dtype)

    def check(self, pixels: np.ndarray) -> None:
        """Check that what was placed has more than one colour, if the picture `pixels` has.

        Raises:
            ISRError: it has one colour only.
        """
        dtype = self.result.dtype
        constant = np.array_equal(from_float(self._low, dtype), from_float(self._high, dtype))
        if constant and not nearly_constant(pixels):
            raise ISRError("the network made one colour of a picture of several; nothing was written")


class ResizedCanvas(Canvas):
    """A canvas that holds one row of tiles as float32 and resizes it to the size of `result`."""

    def __init__(self, shape: tuple[int, int, int], result: np.ndarray) -> None:
        super().__init__(shape, result)
        height, width = result.shape[:2]
        self._resizer = RowResizer(shape, (height, width), result)
        self._band: np.ndarray | None = None

    def put(self, kept: np.ndarray, rows: slice, columns: slice) -> None:
        if self._band is None:
            self._band = np.empty((rows.stop - rows.start, *self.shape[1:]), np.float32)
        self._band[:, columns] = kept
        if columns.stop == self.shape[1]:
            self._resizer.push(self._band)
            self._band = None


def check_numbers(output: np.ndarray) -> None:
    """Check that a network's output holds numbers only.

    Raises:
        ISRError: it does not.
    """
    if not np.all(np.isfinite(output)):
        raise ISRError("the network gave values that are no numbers; nothing was written")


def make_canvas(shape: tuple[int, int, int], result: np.ndarray) -> Canvas:
    """Make a canvas for an upscaled picture of `shape` that fills `result`, resizing where its size differs."""
    return Canvas(shape, result) if shape[:2] == result.shape[:2] else ResizedCanvas(shape, result)


def nearly_constant(pixels: np.ndarray) -> bool:
    """Tell whether a picture is so even that rounding may make it one colour: at most two levels apart."""
    low, high = pixels.min(axis=(0, 1)), pixels.max(axis=(0, 1))
    if np.issubdtype(pixels.dtype, np.floating):
        return bool(np.array_equal(low, high))
    return bool(np.all(high.astype(int) - low <= 2))


def _batched(items: Iterable[Tile], count: int) -> Iterator[list[Tile]]:
    iterator = iter(items)
    while group := list(itertools.islice(iterator, count)):
        yield group
