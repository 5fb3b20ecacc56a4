"""What can be asked of a prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from isr.errors import RequestError
from isr.predict.choice import engine_for
from isr.predict.crop import Crop
from isr.predict.naming import check_pattern
from isr.predict.precision import check_precision
from isr.predict.quality import mixture_of
from isr.predict.route import Target
from isr.predict.tiling import TileOptions
from isr.presets import Mixture
from isr.runtimes.devices import check_name
from isr.runtimes.engines import ENGINES, NAMES

# Seconds: a day.
LONGEST_ADAPTATION = 86_400


@dataclass(frozen=True)
class VideoOptions:
    """What is asked of clips alone.

    Attributes:
        codec: "h264", "h265", "vp9", "av1", "prores" or an encoder of FFmpeg; None: the container's usual one.
        crf: constant quality of the encoder, smaller is better; None: hard to tell from the frames.
        pixel_format: such as "yuv444p"; None: 4:2:0 of as many bits as the source has.
        start, duration: the stretch that is upscaled, seconds; None: from the beginning, to the end.
        scene_cut: from which difference, 0 to 1, a frame begins a scene whose windows do not reach back; None: off.
    """

    codec: str | None = None
    crf: float | None = None
    pixel_format: str | None = None
    start: float | None = None
    duration: float | None = None
    scene_cut: float | None = None

    def __post_init__(self) -> None:
        if self.start is not None and not 0 <= self.start < math.inf:
            raise RequestError(f"start {self.start}: must not be under 0 seconds")
        if self.duration is not None and not 0 < self.duration < math.inf:
            raise RequestError(f"duration {self.duration}: must be over 0 seconds")
        if self.scene_cut is not None and not 0 < self.scene_cut <= 1:
            raise RequestError(f"scene cut {self.scene_cut}: must be over 0 and at most 1")


@dataclass(frozen=True)
class PredictOptions:
    """How files are upscaled. From `scale` to `engine`, the fields are keywords of `isr.upscale` too.

    Two defaults differ: `precision` and `engine` are "auto" here, where arrays stay with Keras in float32.

    Attributes:
        scale: factor of the output, such as 2 or 2.5; None: the network's own, 2 where none is named.
        size: `(height, width)` of the output in pixels instead; None for one of them keeps the aspect.
        tile: largest side of a tile in input pixels; None: chosen by the scale.
        tile_overlap: input pixels at each side of a tile that its neighbours keep, or "exact"; None: by the network.
        batch: tiles per call of the network.
        self_ensemble: mean over the eight flips and quarter turns, at eight times the cost.
        back_projection: rounds of back projection, for pictures made smaller by MATLAB's bicubic rule.
        denoise: 0 to 1, how much noise, JPEG and blur go, of presets for real photographs; "auto": by each file. None:
            the preset's own weights, which are 1; with `texture` alone 1.
        texture: 0 to 1, how much texture is made up, of the same presets; None: 0.
        precision: "auto", "float32", or for 8-bit pictures "bfloat16", "int8", or "fast": int8 where there is one.
        engine: "auto", "tensorflow", "jax", "openvino", "ncnn", "onnxruntime" or "litert"; see `isr.runtimes.engines`.
        device: "cpu", "gpu", "gpu:0", ...; None: what the backend takes by itself, and the processor for ncnn.
        adapt: seconds that the network learns from each picture before it enlarges it (`isr.adapt`); None: not at all.
        kernel: by which pictures became small, for `adapt`: "estimate", "bicubic", or a file of numbers; None:
            "estimate".
        format: "png", "jpg", "webp", "tif", "bmp", "avif"; None: that of the input.
        name: of results beside their inputs or in a folder, such as "{stem}_x{scale}", without suffix; {width},
            {height} and {model} are known too. None: `photo_x2` beside `photo`, and `photo` in a mirrored folder.
        quality: 1 to 100, of JPEG, WebP and AVIF.
        strip_metadata: leave out EXIF, XMP, resolution and colour profile.
        overwrite: replace files that exist.
        resume: skip files whose record says that they are finished, made from the same input by the same weights
            and options; make again those whose record says otherwise.
        max_pixels: larger inputs are refused.
        crop: `(left, top, width, height)` of the part that is upscaled, in pixels of the source; None: all of it.
        video: what is asked of clips alone.

    Raises:
        RequestError: a value is out of its range.
    """

    scale: float | None = None
    size: tuple[int | None, int | None] | None = None
    tile: int | None = None
    tile_overlap: int | Literal["exact"] | None = None
    batch: int = 1
    self_ensemble: bool = False
    back_projection: int = 0
    denoise: float | Literal["auto"] | None = None
    texture: float | None = None
    precision: str = "auto"
    engine: str = "auto"
    device: str | None = None
    adapt: float | None = None
    kernel: str | None = None
    format: str | None = None
    name: str | None = None
    quality: int = 95
    strip_metadata: bool = False
    overwrite: bool = False
    resume: bool = False
    max_pixels: int = 10**9
    crop: Crop | None = None
    video: VideoOptions = field(default_factory=VideoOptions)

    def __post_init__(self) -> None:
        _ = self.target, self.tiles, self.mixture
        check_precision(self.precision)
        if self.engine not in NAMES:
            raise RequestError(f"engine {self.engine!r} is unknown; it is one of {', '.join(NAMES)}")
        check_name(self.device)
        if self._on_gpu and self.engine in ENGINES and not ENGINES[self.engine].gpus:
            raise RequestError(f"engine {self.engine}: computes on the CPU, not on {self.device}")
        if self.format is not None and self.suffix not in (known := _written()):
            names = ", ".join(sorted(suffix[1:] for suffix in known))
            raise RequestError(f"format {self.format!r} is unknown here; it is one of {names}")
        if self.adapt is not None and not 0 < self.adapt <= LONGEST_ADAPTATION:
            raise RequestError(
                f"adapt {self.adapt:g}: must be over 0, and at most {LONGEST_ADAPTATION} seconds"
            )
        if self.adapt is None and self.kernel is not None:
            raise RequestError(
                f"kernel {self.kernel}: is for pictures that a network adapts to: give --adapt, too"
            )
        if self.adapt is not None and self.precision in ("int8", "fast"):
            raise RequestError(
                "adapt: 8 bits are found for the preset's own weights: leave out --fast or int8"
            )
        if self.name is not None:
            check_pattern(self.name)
        if not 1 <= self.quality <= 100:
            raise RequestError(f"quality {self.quality}: must be 1 to 100")
        if self.max_pixels < 1:
            raise RequestError(f"max_pixels {self.max_pixels}: must be at least 1")
        if self.crop is not None and (min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1):
            raise RequestError(f"crop {self.crop}: give left and top from 0, width and height from 1")

    @property
    def target(self) -> Target:
        """Return scale or size."""
        return Target(self.scale, self.size)

    @property
    def mixture(self) -> Mixture | None:
        """Return how a preset's corners are mixed, where "auto" does not say otherwise of a file; None: not at all."""
        return mixture_of(self.denoise, self.texture)

    @property
    def runs_on(self) -> str:
        """Return the engine, as for `Network`."""
        return str(engine_for(self.engine, self.precision, self._on_gpu))

    @property
    def _on_gpu(self) -> bool:
        return self.device is not None and self.device != "cpu"

    @property
    def tiles(self) -> TileOptions:
        """Return how a picture goes through the network."""
        return TileOptions(self.tile, self.tile_overlap, self.batch, self.self_ensemble, self.back_projection)

    @property
    def suffix(self) -> str | None:
        """Return the suffix of the output files, with the dot; None: that of the input."""
        return None if self.format is None else "." + self.format.lower().removeprefix(".")


def _written() -> frozenset[str]:
    """The suffixes of the files that can be written."""
    # The libraries that do it take their time, and `isr --help` does without.
    from isr.io.clips import WRITABLE_SUFFIXES
    from isr.io.pictures import WRITABLE

    return WRITABLE | WRITABLE_SUFFIXES
