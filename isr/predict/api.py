"""Arrays, one or a stream of them, through as many networks as their size needs."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from isr.errors import RequestError
from isr.predict.frames import WindowOptions, enlarge_frames
from isr.predict.picture import TileOptions, check_pixels, enlarge, fill_transparent, reduce
from isr.predict.resize import resize
from isr.predict.route import Route, Target
from isr.predict.source import (
    Network,
    Networks,
    default_scale,
    networks_of,
    resolve_precision,
    supported_precision,
)
from isr.progress import Progress, Silent, Within
from isr.runtimes.engines import BACKENDS
from isr.spec import MultiFrameUpscaler, Upscaler

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel


def upscale(
    model: SuperResolutionModel | Upscaler | str | Path | None,
    image: np.ndarray,
    *,
    scale: float | None = None,
    size: tuple[int | None, int | None] | None = None,
    tile: int | None = None,
    tile_overlap: int | Literal["exact"] | None = None,
    batch: int = 1,
    self_ensemble: bool = False,
    back_projection: int = 0,
    precision: str = "float32",
    engine: str | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Upscale one picture.

    Args:
        model: a network, an upscaler, a preset's name or folder, or a `.keras` file; None: the shipped presets,
            each for its scale.
        image: `[h, w]` or `[h, w, c]` with gray, gray and alpha, RGB, RGBA, or the network's channels; uint8 or
            uint16 of the full range, or float in [0, 1].
        scale: factor of the output, such as 2 or 2.5; None: the network's own.
        size: `(height, width)` of the output in pixels instead; None for one of them keeps the aspect.
        tile: largest side of a tile in input pixels; None: chosen by the scale.
        tile_overlap: input pixels at each side of a tile that its neighbours keep; "exact": as many as the
            network sees, so that the result equals the whole picture's; None: 12, or 24 where that is unbounded.
        batch: tiles per call of the network.
        self_ensemble: mean over the eight flips and quarter turns, at eight times the cost.
        back_projection: rounds in which what the result, made smaller, lacks of the picture is added; for pictures
            that were made smaller by MATLAB's bicubic rule, and harmful for others.
        precision: "float32"; for 8-bit pictures also "bfloat16", "int8", "auto", or "fast": int8 where the network has
            it. Other pictures are computed in float32.
        engine: None: Keras' own backend; "auto", "openvino", "onnxruntime", "litert": see `isr.runtimes.engines`.
        progress: told of tiles and of what is worth a line; asked for `cancelled` between tiles.

    Returns:
        The upscaled picture, dtype and rank of `image`. Integers are rounded and clipped, floats neither.

    Raises RequestError where picture, model and options do not fit each other, MachineError where memory does
    not suffice, ISRError where the network gives no numbers, Cancelled where the progress asks for it.

    Example:
        >>> isr.upscale("edsr_baseline_x2", np.zeros((24, 32, 3), "uint8")).shape
        (48, 64, 3)
    """
    image = np.asarray(image)
    pixels = image[..., np.newaxis] if image.ndim == 2 else image
    check_pixels(pixels)
    tiles = TileOptions(tile, tile_overlap, batch, self_ensemble, back_projection)
    wanted = Target(scale, size)
    progress = progress or Silent()
    networks = networks_of(model, engine=engine)
    target = wanted.or_scale(default_scale(model, networks))
    height, width = pixels.shape[:2]
    route = Route.plan(height, width, target, networks)
    computed, why = _precision(precision, pixels.dtype, [networks[stage] for stage in route.stages])
    for line in (route.describe(), why):
        if line:
            progress.message(line)
    if target.changes_aspect(height, width):
        progress.message(f"{width}x{height} becomes {route.size[1]}x{route.size[0]}: the aspect changes")
    result = upscale_along(route, pixels, networks, tiles, computed, progress)
    return result[..., 0] if image.ndim == 2 else result


def upscale_frames(
    model: SuperResolutionModel | Upscaler | str | Path | None,
    frames: Iterable[np.ndarray],
    *,
    scale: float | None = None,
    size: tuple[int | None, int | None] | None = None,
    tile: int | None = None,
    tile_overlap: int | Literal["exact"] | None = None,
    batch: int = 1,
    self_ensemble: bool = False,
    back_projection: int = 0,
    precision: str = "float32",
    engine: str | None = None,
    scene_cut: float | None = None,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """Upscale the frames of a video, one after another.

    A network of several frames slides its window over them and is given no frame twice; any other takes them one
    by one. Frames are read no further ahead than the window reaches, so a video of any length needs the memory of
    a few frames.

    Args:
        model: as for `upscale`; None: the shipped presets for video.
        frames: an iterable of `[h, w]` or `[h, w, c]`, as for `upscale`, all of one shape and dtype.
        scale, size, tile, tile_overlap, batch, self_ensemble, back_projection, precision, engine: as for `upscale`;
            back projection for networks of single pictures only.
        scene_cut: 0 to 1; a frame that differs that much more from its predecessor than the motion before it
            begins a new scene, and windows do not reach across; 0.08 lies between motion and cuts. None: one scene.
        progress: told of what is worth a line; asked for `cancelled` between tiles.

    Yields:
        Every upscaled frame, dtype and rank of the frames.

    Raises as `upscale`, when the first frame is asked for or a later one does not fit.

    Example:
        >>> clip = np.zeros((3, 24, 32, 3), "uint8")
        >>> np.stack(list(isr.upscale_frames("edsr_fast_x2", clip))).shape
        (3, 48, 64, 3)
    """
    progress = progress or Silent()
    options = WindowOptions(TileOptions(tile, tile_overlap, batch, self_ensemble, back_projection), scene_cut)
    wanted = Target(scale, size)
    networks = networks_of(model, video=True, engine=engine)
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        return
    first = np.asarray(first)
    flat = first.ndim == 2
    stream = (np.asarray(frame) for frame in itertools.chain([first], stream))
    pixels = (frame[..., np.newaxis] if frame.ndim == 2 else frame for frame in stream)
    height, width = first.shape[:2]
    route = Route.plan(height, width, wanted.or_scale(default_scale(model, networks)), networks)
    check_video_route(route, networks)
    computed, why = _precision(precision, first.dtype, [networks[stage] for stage in route.stages])
    for line in (route.describe(), why):
        if line:
            progress.message(line)
    for result in upscale_frames_along(route, pixels, networks, options, computed, progress):
        yield result[..., 0] if flat else result


def check_video_route(route: Route, networks: Networks) -> None:
    """Raise RequestError where a network of several frames would follow another one."""
    for scale in route.stages:
        if networks[scale].num_frames > 1 and len(route.stages) > 1:
            raise RequestError(
                f"{networks[scale].name}: enlarges a video once, by {scale}: ask for no more, or upscale the result"
            )


def _precision(asked: str, dtype: np.dtype[Any], networks: Sequence[Network]) -> tuple[str, str]:
    """What pictures of a dtype are computed in by these networks on this machine, and why not as asked."""
    computed, why = resolve_precision(asked, dtype, networks)
    if computed != "bfloat16":
        return computed, why
    from isr.runtimes.devices import use_device

    return supported_precision(
        computed, use_device() if any(n.engine in BACKENDS for n in networks) else "CPU"
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
