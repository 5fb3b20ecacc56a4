"""One array through as many networks as its size needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from isr.predict.image import TileOptions, check_pixels, enlarge, reduce
from isr.predict.networks import Networks, default_scale, networks_of, resolve_precision, supported_precision
from isr.predict.target import Route, Target
from isr.progress import Progress, Silent
from isr.spec import Upscaler

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel


def upscale(
    model: SuperResolutionModel | Upscaler | str | Path | None,
    image: np.ndarray,
    *,
    scale: float | None = None,
    size: tuple[int | None, int | None] | None = None,
    tile: int | None = None,
    tile_overlap: int | Literal["exact"] = 12,
    batch: int = 1,
    self_ensemble: bool = False,
    precision: str = "float32",
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
            network sees, so that the result equals the whole picture's.
        batch: tiles per call of the network.
        self_ensemble: mean over the eight flips and quarter turns, at eight times the cost.
        precision: "float32", "bfloat16" (8-bit pictures only; others run in float32) or "auto".
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
    tiles = TileOptions(tile, tile_overlap, batch, self_ensemble)
    wanted = Target(scale, size)
    progress = progress or Silent()
    networks = networks_of(model)
    target = wanted.or_scale(default_scale(model, networks))
    height, width = pixels.shape[:2]
    route = Route.plan(height, width, target, networks)
    computed, why = resolve_precision(precision, pixels.dtype)
    if computed == "bfloat16":
        from isr.runtimes.devices import use_device

        computed, why = supported_precision(computed, use_device())
    for line in (route.describe(), why):
        if line:
            progress.message(line)
    if target.changes_aspect(height, width):
        progress.message(f"{width}x{height} becomes {route.size[1]}x{route.size[0]}: the aspect changes")
    result = upscale_along(route, pixels, networks, tiles, computed, progress)
    return result[..., 0] if image.ndim == 2 else result


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
            networks[scale].open(precision),
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
