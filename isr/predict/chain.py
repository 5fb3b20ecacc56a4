"""A picture, or the frames of a clip, through the networks of its route one after another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar, cast

import numpy as np

from isr.predict import frames as windows
from isr.predict.frames import WindowOptions
from isr.predict.picture import enlarge, fill_transparent, reduce
from isr.predict.repeats import LastPicture, Repeats
from isr.predict.resize import resize
from isr.predict.route import Route
from isr.predict.tiling import TileOptions
from isr.progress import Progress, Within
from isr.spec import MultiFrameUpscaler, Upscaler

T = TypeVar("T")


def upscale_frames_along(
    route: Route,
    frames: Iterable[tuple[T, np.ndarray]],
    upscalers: Sequence[Upscaler],
    options: WindowOptions,
    progress: Progress,
    skip: int = 0,
    repeats: Repeats | None = None,
) -> Iterator[tuple[T, np.ndarray]]:
    """Upscale the frames of a clip along their route; what equals the frame before is not computed again.

    Args:
        route: one network of several frames, or any number of those of single pictures.
        frames: each with its pixels `[h, w, c]`; the frame itself may be anything.
        upscalers: one for each scale of the route.
        options: tiles, scenes, memory.
        progress: asked for `cancelled` between tiles, told what is worth a line; frames are not counted.
        skip: frames at the beginning that serve as neighbours only.
        repeats: where it is counted what was not computed.

    Yields:
        Every further frame with its result `[*route.size, c]`, dtype of the frames.

    Raises:
        ISRError: as `isr.upscale_frames`.
    """
    # Whoever reads the frames counts them.
    progress = Within(progress)
    upscaler = upscalers[0] if route.stages else None
    if upscaler is None or upscaler.spec.num_frames == 1:
        repeats = repeats or Repeats()
        share = 1 / max(len(route.stages), 1)
        lasts = [LastPicture(repeats, share) for _ in route.stages] if options.reuse else []

        def upscale(pixels: np.ndarray) -> np.ndarray:
            return upscale_along(route, pixels, upscalers, options.tiles, progress, lasts)

        yield from _one_by_one(itertools.islice(frames, skip, None), upscale, options.reuse, repeats)
        return
    channels = upscaler.spec.num_channels
    no_alpha = np.empty(0, np.uint8)

    def colours() -> Iterator[tuple[tuple[T, np.ndarray], np.ndarray]]:
        """The frames without alpha, which goes along with the frame."""
        for frame, pixels in frames:
            if pixels.shape[-1] in (2, 4) and pixels.shape[-1] != channels:
                yield (frame, pixels[..., -1:]), fill_transparent(pixels)
            else:
                yield (frame, no_alpha), pixels

    enlarged = windows.enlarge(
        cast(MultiFrameUpscaler, upscaler),
        colours(),
        options,
        size=route.size,
        skip=skip,
        progress=progress,
        repeats=repeats,
    )
    for (frame, alpha), result in enlarged:
        if alpha.size:
            result = np.concatenate([result, resize(alpha, route.size)], axis=-1)
        yield frame, result


def _one_by_one(
    frames: Iterable[tuple[T, np.ndarray]],
    upscale: Callable[[np.ndarray], np.ndarray],
    reuse: bool,
    repeats: Repeats,
) -> Iterator[tuple[T, np.ndarray]]:
    """The frames with their results, each upscaled by itself; with `reuse` unless it equals the one before."""
    before = result = np.empty(0)
    for frame, pixels in frames:
        if reuse and before.dtype == pixels.dtype and np.array_equal(before, pixels):
            repeats.frames += 1
        else:
            result = upscale(pixels)
            before = pixels.copy()
        # Whoever takes it may write into it.
        yield frame, result.copy()


def upscale_along(
    route: Route,
    pixels: np.ndarray,
    upscalers: Sequence[Upscaler],
    tiles: TileOptions,
    progress: Progress,
    lasts: Sequence[LastPicture] = (),
) -> np.ndarray:
    """Upscale a picture along its route; between two networks it stays float32, so it is rounded once.

    Args:
        route: the networks' scales, and the size.
        pixels: `[h, w, c]` as of `isr.upscale`.
        upscalers: one for each scale of the route.
        tiles: how the picture goes through them.
        progress: told of every tile.
        lasts: of a clip, what went through each network before; empty for a picture.

    Returns:
        `[*route.size, c]`, dtype of `pixels`.

    Raises:
        ISRError: as `isr.upscale`.
    """
    if not route.stages:
        return reduce(pixels, route.size)
    dtype = pixels.dtype
    for index, (scale, upscaler) in enumerate(zip(route.stages, upscalers, strict=True), start=1):
        last = index == len(route.stages)
        pixels = enlarge(
            upscaler,
            pixels,
            tiles,
            scale=scale,
            size=route.size if last else None,
            dtype=dtype if last else np.dtype(np.float32),
            progress=progress,
            last=lasts[index - 1] if lasts else None,
        )
        if not last and np.issubdtype(dtype, np.integer):
            # As a picture that was written and read again.
            np.clip(pixels, 0, 1, out=pixels)
    return pixels
