"""A picture, or the frames of a clip, through the networks of its route one after another."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np

from isr.errors import RequestError
from isr.predict.frames import WindowOptions, enlarge_frames
from isr.predict.picture import TileOptions, enlarge, fill_transparent, reduce
from isr.predict.resize import resize
from isr.predict.route import Route
from isr.predict.source import Networks
from isr.progress import Progress, Within
from isr.spec import MultiFrameUpscaler


def check_video_route(route: Route, networks: Networks) -> None:
    """Raise RequestError where a network of several frames would follow another one."""
    for scale in route.stages:
        if networks[scale].num_frames > 1 and len(route.stages) > 1:
            raise RequestError(
                f"{networks[scale].name}: enlarges a video once, by {scale}: ask for no more, or upscale the result"
            )


def upscale_frames_along(
    route: Route,
    frames: Iterable[np.ndarray],
    networks: Networks,
    options: WindowOptions,
    precision: str,
    progress: Progress,
    skip: int = 0,
) -> Iterator[np.ndarray]:
    """Frames `[h, w, c]` along their route, but for the first `skip`, which are only neighbours.

    Yields `[*route.size, c]`, dtype of the frames. Raises as `upscale_frames`.
    """
    progress = Within(progress)  # whoever reads the frames counts them
    network = networks[route.stages[0]] if route.stages else None
    if network is None or network.num_frames == 1:
        for frame in itertools.islice(frames, skip, None):
            yield upscale_along(route, frame, networks, options.tiles, precision, progress)
        return
    upscaler = cast(MultiFrameUpscaler, network.open(precision, progress))
    transparency: deque[np.ndarray] = deque()

    def colours() -> Iterator[np.ndarray]:
        """The frames without alpha, which is kept aside for its frame's result."""
        for index, frame in enumerate(frames):
            if frame.shape[-1] in (2, 4) and frame.shape[-1] != upscaler.spec.num_channels:
                if index >= skip:
                    transparency.append(frame[..., -1:])
                frame = fill_transparent(frame)
            yield frame

    for result in enlarge_frames(upscaler, colours(), options, size=route.size, skip=skip, progress=progress):
        if transparency:
            alpha = resize(transparency.popleft(), route.size)
            result = np.concatenate([result, alpha], axis=-1)
        yield result


def upscale_along(
    route: Route,
    pixels: np.ndarray,
    networks: Networks,
    tiles: TileOptions,
    precision: str,
    progress: Progress,
) -> np.ndarray:
    """A picture `[h, w, c]` along its route; between two networks it stays float32, so it is rounded once.

    Returns `[*route.size, c]`, dtype of `pixels`. Raises as `upscale`.
    """
    if not route.stages:
        return reduce(pixels, route.size)
    dtype = pixels.dtype
    for index, scale in enumerate(route.stages, start=1):
        last = index == len(route.stages)
        pixels = enlarge(
            networks[scale].open(precision, progress),
            pixels,
            tiles,
            scale=scale,
            size=route.size if last else None,
            dtype=dtype if last else np.dtype(np.float32),
            progress=progress,
        )
        if not last and np.issubdtype(dtype, np.integer):
            np.clip(pixels, 0, 1, out=pixels)  # as a picture that was written and read again
    return pixels
