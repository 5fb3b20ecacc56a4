"""Arrays, one or a stream of them, through as many networks as their size needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isr.adaptation.kernels import BICUBIC, ESTIMATE, check_kernel, read_kernel
from isr.errors import RequestError
from isr.predict.adapting import learn_from
from isr.predict.chain import upscale_along, upscale_frames_along
from isr.predict.choice import engine_for
from isr.predict.frames import WindowOptions
from isr.predict.picture import check_pixels
from isr.predict.precision import resolve_precision, supported_precision
from isr.predict.quality import assess, mixture_of
from isr.predict.route import Route, Target
from isr.predict.source import (
    ByScale,
    check_video_route,
    default_scale,
    has_corners,
    networks_along,
    networks_of,
    plan_route,
    windows_of,
)
from isr.predict.tiling import OVERLAPS_OF_A_TILE, TileOptions
from isr.progress import Progress, Silent
from isr.runtimes.engines import BACKENDS
from isr.spec import Upscaler

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel

# How much is denoised, and how much texture comes; None: as the preset has it.
Knobs = tuple[float | Literal["auto"] | None, float | None]


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
    denoise: float | Literal["auto"] | None = None,
    texture: float | None = None,
    precision: str = "float32",
    engine: str | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Upscale one picture.

    Args:
        model: a network, an upscaler, a preset's name or folder, or a `.keras` file; None: the shipped presets,
            each for its scale; "fast" or "best": the quickest and the most exact of these, which may change from one
            version to the next.
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
        denoise: 0 to 1, how much noise, JPEG and blur go, of presets for real photographs; "auto": by the picture.
            With `model` None it takes those. None: the preset's own weights, which are 1; with `texture` alone 1.
        texture: 0 to 1, how much texture is made up, of the same presets; None: 0.
        precision: "float32"; for 8-bit pictures also "bfloat16", "int8", "auto", or "fast": int8 where the network has
            it. Other pictures are computed in float32.
        engine: None: Keras' own backend; "auto", "openvino", "ncnn", "onnxruntime", "litert": see
            `isr.runtimes.engines`.
        progress: told of tiles and of what is worth a line; asked for `cancelled` between tiles.

    Returns:
        The upscaled picture, dtype and rank of `image`. Integers are rounded and clipped, floats neither.

    Raises:
        RequestError: picture, model and options do not fit each other.
        MachineError: memory does not suffice.
        ISRError: the network gives no numbers.
        Cancelled: the progress asks for it.

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
    looks = assess(pixels) if denoise == "auto" else None
    mixture = mixture_of(denoise if looks is None else looks.denoise, texture)
    networks = networks_of(model, engine=engine_for(engine, precision), mixture=mixture)
    target = wanted.or_scale(default_scale(model, networks))
    height, width = pixels.shape[:2]
    if looks is not None:
        progress.message(looks.describe())
    route = plan_route(height, width, target, networks)
    upscalers, overlaps = _opened(precision, pixels.dtype, route, networks, progress)
    tiles = replace(tiles, overlaps=overlaps)
    if target.changes_aspect(height, width):
        progress.message(f"{width}x{height} becomes {route.size[1]}x{route.size[0]}: the aspect changes")
    result = upscale_along(route, pixels, upscalers, tiles, progress)
    return result[..., 0] if image.ndim == 2 else result


def adapt(
    model: SuperResolutionModel | str | Path | None,
    image: np.ndarray,
    *,
    seconds: float = 60.0,
    steps: int | None = None,
    kernel: np.ndarray | str | Path = ESTIMATE,
    scale: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SuperResolutionModel:
    """Let a trained network learn from the one picture that it shall enlarge (after ZSSR, Shocher et al. 2018).

    The picture, made smaller by the kernel that made it small, and the picture itself are what is learned from. Parts
    that are held out decide: where they gain nothing, or little beside what changes in the picture, the start is
    returned. It is also returned where the picture looks made small by the bicubic rule, which networks know.

    Args:
        model: a network of single pictures, a preset's name or folder, or a `.keras` file; None: the shipped preset
            of the scale. It is not changed.
        image: as of `upscale`, but of one of the network's channels or gray.
        seconds: how long to learn.
        steps: how many steps instead; the same seed then gives the same network.
        kernel: by which the picture was made small: "estimate", "bicubic", a file of numbers (`.npy`, or text with a
            row on each line), or `[k, k]` numbers in pixels of the larger picture.
        scale: of a network of several scales, the one that learns; None: its first.
        seed: of what is drawn at random.
        progress: told of the steps, and what came of it; asked for `cancelled` between them.

    Returns:
        A network of the same kind, for this picture; `isr.upscale` takes it.

    Raises:
        RequestError: picture, kernel and network do not fit each other, or it is no network that learns.
        Cancelled: the progress asks for it.

    Example:
        >>> picture = np.random.default_rng(0).random((32, 32, 3))
        >>> model = isr.adapt("edsr_fast_x2", picture, steps=1)
        >>> isr.upscale(model, picture).shape
        (64, 64, 3)
    """
    if seconds <= 0:
        raise RequestError(f"seconds {seconds:g}: must be over 0")
    if steps is not None and steps < 1:
        raise RequestError(f"steps {steps}: must be at least 1")
    if isinstance(kernel, np.ndarray):
        kernel = check_kernel(np.asarray(kernel, np.float64), "kernel")
    elif kernel not in (ESTIMATE, BICUBIC):
        kernel = read_kernel(Path(kernel))
    image = np.asarray(image)
    pixels = image[..., np.newaxis] if image.ndim == 2 else image
    check_pixels(pixels)
    networks = networks_of(model)
    scale = scale or default_scale(model, networks)
    if scale not in networks:
        known = ", ".join(map(str, networks)) or "none"
        raise RequestError(f"scale {scale}: the network has others: {known}")
    networks[scale].check_adaptable()
    limits = {"seconds": seconds, "steps": steps, "seed": seed}
    start = networks[scale].model
    return learn_from(start, pixels, scale, kernel, progress=progress or Silent(), **limits) or start


def enlarged_by(
    names: Sequence[str],
    pixels: np.ndarray,
    scale: int,
    knobs: Sequence[Knobs] = ((None, None),),
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """Enlarge a picture by bicubic interpolation and by presets.

    Args:
        names: names or folders of presets.
        pixels: `[h, w, c]` uint8, c 1 or 3.
        scale: factor.
        knobs: denoise and texture of presets with corners, each shown by itself.
        progress: told of what is worth a line; asked for `cancelled` between tiles.

    Returns:
        `[scale * h, scale * w, c]` uint8 by labels.

    Raises:
        ISRError: as `isr.upscale`.
    """
    results = {}
    for name in dict.fromkeys(("bicubic", *names)):
        for denoise, texture in knobs if has_corners(name) else [(None, None)]:
            told = {"denoise": denoise, "texture": texture}
            words = [
                f"{knob} {value if isinstance(value, str) else f'{value:g}'}"
                for knob, value in told.items()
                if value is not None
            ]
            results[", ".join([name, *words])] = upscale(
                name,
                pixels,
                scale=scale,
                denoise=denoise,
                texture=texture,
                engine="auto",
                precision="auto",
                progress=progress,
            )
    return results


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
    denoise: float | Literal["auto"] | None = None,
    texture: float | None = None,
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
        model: as for `upscale`; None, "fast" and "best": the shipped presets for video.
        frames: an iterable of `[h, w]` or `[h, w, c]`, as for `upscale`, all of one shape and dtype.
        scale, size, tile, tile_overlap, batch, self_ensemble, back_projection, precision, engine: as for `upscale`;
            back projection for networks of single pictures only.
        denoise, texture: as for `upscale`; "auto": by the first frame.
        scene_cut: 0 to 1; a frame that differs that much more from its predecessor than the motion before it
            begins a new scene, and windows do not reach across; 0.08 lies between motion and cuts. None: one scene.
        progress: told of what is worth a line; asked for `cancelled` between tiles.

    Yields:
        Every upscaled frame, dtype and rank of the frames.

    Raises:
        ISRError: as `upscale`, when the first frame is asked for or a later one does not fit.

    Example:
        >>> clip = np.zeros((3, 24, 32, 3), "uint8")
        >>> np.stack(list(isr.upscale_frames("edsr_fast_x2", clip))).shape
        (3, 48, 64, 3)
    """
    progress = progress or Silent()
    options = WindowOptions(TileOptions(tile, tile_overlap, batch, self_ensemble, back_projection), scene_cut)
    wanted = Target(scale, size)
    mixture = mixture_of(denoise, texture)
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        return
    first = np.asarray(first)
    if denoise == "auto":
        looks = assess(first)
        progress.message(looks.describe())
        mixture = mixture_of(looks.denoise, texture)
    networks = networks_of(model, video=True, engine=engine_for(engine, precision), mixture=mixture)
    flat = first.ndim == 2
    stream = (np.asarray(frame) for frame in itertools.chain([first], stream))
    pixels = ((None, frame[..., np.newaxis] if frame.ndim == 2 else frame) for frame in stream)
    height, width = first.shape[:2]
    route = plan_route(height, width, wanted.or_scale(default_scale(model, networks)), networks)
    networks, line = windows_of(model, engine, precision, options.tiles, mixture).along(
        route.stages, networks
    )
    if line:
        progress.message(line)
    check_video_route(route, networks)
    upscalers, overlaps = _opened(precision, first.dtype, route, networks, progress)
    options = replace(options, tiles=replace(options.tiles, overlaps=overlaps))
    for _, result in upscale_frames_along(route, pixels, upscalers, options, progress):
        yield result[..., 0] if flat else result


def _opened(
    asked: str, dtype: np.dtype[Any], route: Route, networks: ByScale, progress: Progress
) -> tuple[list[Upscaler], int]:
    """Open the networks of a route in what pictures of a dtype are computed in here; tell why not as asked.

    Returns:
        The networks, and how many overlaps wide their tiles should be.
    """
    own = networks_along(route, networks)
    computed, why = resolve_precision(asked, dtype, own)
    if computed == "bfloat16":
        from isr.runtimes.devices import use_device

        device = use_device() if any(network.engine in BACKENDS for network in own) else "CPU"
        computed, why = supported_precision(computed, device)
    for line in (route.describe() if networks else "", why):
        if line:
            progress.message(line)
    overlaps = min((network.overlaps_of_a_tile(computed) for network in own), default=OVERLAPS_OF_A_TILE)
    return [
        network.open(computed, progress, frames=network.frame_engine(computed)) for network in own
    ], overlaps
