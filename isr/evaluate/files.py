"""Evaluation of presets on files: what `isr evaluate` does, in Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from isr import presets
from isr.data.clips import ClipFiles, find_clips
from isr.data.degrade import Damage, Degradation, FixedDegradation
from isr.data.pairs import find_pairs
from isr.errors import RequestError
from isr.evaluate.score import UpscaleFrames, evaluate, evaluate_clips
from isr.evaluate.sets import count_frames, describe_degradation, holds_clips, read_clips, read_pairs
from isr.evaluate.table import BICUBIC, ClipProtocol, Protocol, Row, Table
from isr.io.clips import VIDEO_SUFFIXES
from isr.metrics import Channel
from isr.predict.api import upscale_frames
from isr.predict.choice import engine_for
from isr.predict.picture import enlarge
from isr.predict.precision import check_precision
from isr.predict.quality import assess, assess_clip, mixture_of
from isr.predict.source import Network, has_corners, networks_of, windows_of
from isr.predict.tiling import TileOptions
from isr.presets import Mixture
from isr.progress import Progress, Silent
from isr.runtimes.devices import check_name, use_device
from isr.runtimes.engines import BACKENDS, check_engine

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel
    from isr.spec import Upscaler

    Model = SuperResolutionModel | Upscaler | str | Path

# Sources and the networks that they are, by the names of their columns.
Named = Mapping[str, tuple[Any, Network]]


@dataclass(frozen=True)
class EvaluateOptions:
    """How networks are run and compared; the options of `isr evaluate`.

    Attributes:
        scale: factor; None: the model's, 2 where no model is given.
        lr: given low-resolution partners of the originals; None: made.
        beside: further networks, each with figures of its own.
        channel: "y" or "rgb", see `Protocol`.
        border: pixels left out on every side; None: as many as the scale.
        precision: "float32", "bfloat16" or "int8".
        engine: as `isr.upscale` takes it; None: Keras' own backend.
        device: as `isr predict --device` takes it; None: what the backend takes.
        self_ensemble: average over the eight flips and turns.
        back_projection: rounds; for low resolution made by MATLAB's bicubic rule only.
        denoise: of presets with corners, 0 to 1, or "auto": by each picture, or by each clip's first
            frame and, of a video file given as `lr`, how coarsely H.264 keeps it; None: 1.
        texture: of presets with corners, 0 to 1; None: 0.
        degradation: how low resolution is made; None: "bi". Clips: "bi" or "bd". "blur", "noise" and "jpeg" alone,
            "real" with all three: see `FixedDegradation`.
        strength: of these four, 1 to 3; None: 2.
        perceptual: pictures: also NIQE and the distance of VGG19 features.
        skip_frames: clips: so many first and last frames are upscaled but not scored.

    Raises:
        RequestError: a value is none of these, or two exclude each other.
    """

    scale: int | None = None
    lr: Path | None = None
    beside: Sequence[Model] = ()
    channel: Channel = "y"
    border: int | None = None
    precision: str = "float32"
    engine: str | None = None
    device: str | None = None
    self_ensemble: bool = False
    back_projection: int = 0
    denoise: float | Literal["auto"] | None = None
    texture: float | None = None
    degradation: Literal["bi", "bd"] | Damage | None = None
    strength: int | None = None
    perceptual: bool = False
    skip_frames: int = 0

    def __post_init__(self) -> None:
        # As `isr predict` checks them.
        check_name(self.device)
        if self.engine is not None:
            check_engine(self.engine)
        check_precision(self.precision)
        if self.channel not in ("y", "rgb"):
            raise RequestError(f"--channel {self.channel}: must be y or rgb")
        if self.degradation not in (None, "bi", "bd", *get_args(Damage)):
            raise RequestError(
                f"--degradation {self.degradation}: must be bi, bd, {', '.join(get_args(Damage)[:-1])} or "
                f"{get_args(Damage)[-1]}"
            )
        if self.degradation is not None and self.lr is not None:
            raise RequestError("--degradation and --lr: give one of them")
        if self.strength is not None and self.degradation not in get_args(Damage):
            raise RequestError(
                f"--strength {self.strength}: give a --degradation that has one: {', '.join(get_args(Damage))}"
            )
        if self.damage is not None and self.back_projection:
            raise RequestError(
                "--back-projection: is for small versions made by MATLAB's bicubic rule, and amplifies noise"
            )

    @property
    def mixture(self) -> Mixture | None:
        """Tell how corners are mixed, where "auto" does not say otherwise; None: not at all."""
        return mixture_of(self.denoise, self.texture)

    @property
    def damage(self) -> FixedDegradation | None:
        """Return the degradation of fixed strength that is asked for."""
        if self.degradation in (None, "bi", "bd"):
            return None
        return FixedDegradation(cast(Damage, self.degradation), 2 if self.strength is None else self.strength)

    def label(self, name: str, network: Network | None = None) -> str:
        """Name a network and what is done with it beside."""
        if network is not None and network.mixture is not None:
            mixed = str(network.mixture)
            name += " " + (mixed.replace("denoise 1", "denoise auto") if self.denoise == "auto" else mixed)
        name += " with self-ensemble" if self.self_ensemble else ""
        return name + (f", {self.back_projection} rounds of back projection" if self.back_projection else "")


def evaluate_files(
    hr: str | Path,
    model: Model | None = None,
    options: EvaluateOptions | None = None,
    progress: Progress | None = None,
) -> Table:
    """Score a network on the pictures of a folder, or on clips, beside bicubic and other networks.

    Args:
        hr: the originals: a folder of pictures, searched recursively; a video, a folder of clips or a list of clips
            (see `holds_clips`). With a network of several frames everything is taken for clips.
        model: a preset's name or folder, "fast" or "best", a `.keras` file, a network or an upscaler; None: the
            shipped preset for the scale, or that for video.
        options: how to run and compare.
        progress: told of every picture or frame.

    Returns:
        The table.

    Raises:
        RequestError: files, networks and options do not fit; the message names which.
        Cancelled: the progress asked for it.

    Example:
        >>> table = evaluate_files("photos/val", "edsr_baseline_x2", EvaluateOptions(beside=["edsr_fast_x2"]))
        >>> table.mean.figures["edsr_fast_x2"].psnr
    """
    options, progress, folder = options or EvaluateOptions(), progress or Silent(), Path(hr)
    clips = holds_clips(folder)
    mixture = options.mixture
    first: Any = model
    if model is None and not clips:
        use = None if mixture is None else presets.PHOTO
        first = presets.default_for(options.scale or 2, alias=use)
    sources: list[Any] = [
        str(source) if isinstance(source, Path) else source for source in (first, *options.beside)
    ]
    networks = []
    for number, source in enumerate(sources):
        # What stands beside without corners is as it is.
        own = mixture if number == 0 or has_corners(source) else None
        by_scale = networks_of(
            source, video=True, engine=engine_for(options.engine, options.precision), mixture=own
        )
        if not by_scale:
            raise RequestError(f"{source}: has a column in every table; name a network")
        # A preset that is named by an alias depends on the scale.
        scale = next((known for known in by_scale if known == options.scale), next(iter(by_scale)))
        if clips:
            tiles = TileOptions(back_projection=options.back_projection)
            windows = windows_of(source, options.engine, options.precision, tiles, own)
            by_scale, line = windows.along((scale,), by_scale)
            if line:
                progress.message(line)
        networks.append(by_scale[scale])
    options = replace(options, scale=options.scale or networks[0].scales[0])
    for network in networks:
        if options.scale not in network.scales:
            raise RequestError(
                f"--scale {options.scale}: {network.name} enlarges by {', '.join(map(str, network.scales))}"
            )
    of_clips = clips or any(network.num_frames > 1 for network in networks)
    score = _evaluate_clips if of_clips else _evaluate_pictures
    return score(folder, _named(sources, networks), options, progress)


def _evaluate_pictures(folder: Path, named: Named, options: EvaluateOptions, progress: Progress) -> Table:
    for option, given in (
        ("--degradation", options.degradation if options.damage is None else None),
        ("--skip-frames", options.skip_frames),
    ):
        if given:
            raise RequestError(f"{option}: is for clips, and {folder} is a folder of pictures")
    scale, lr = cast(int, options.scale), options.lr
    files = find_pairs(folder, lr, scale)
    _use_device(named, options)
    tiles = TileOptions(self_ensemble=options.self_ensemble, back_projection=options.back_projection)

    def upscaler_of(network: Network) -> Callable[[np.ndarray], np.ndarray]:
        def run(lr: np.ndarray) -> np.ndarray:
            chosen = network
            if network.mixture is not None and options.denoise == "auto":
                chosen = network.remixed(replace(network.mixture, denoise=assess(lr).denoise))
            upscaler = chosen.open(options.precision, progress, options.device)
            return enlarge(upscaler, lr, options=tiles, scale=scale)

        return run

    upscalers = {options.label(name, network): upscaler_of(network) for name, (_, network) in named.items()}
    pairs = read_pairs(files, scale, _num_channels(named), options.damage)
    made = "MATLAB bicubic, 8 bit" if options.damage is None else options.damage.describe(scale)
    origin = made if lr is None else f"given in {lr}"
    progress.start("evaluate", len(files), "pictures")
    protocol = Protocol(scale, options.channel, options.border, lr=origin, perceptual=options.perceptual)
    return evaluate(upscalers, pairs, protocol, progress=progress)


def _evaluate_clips(folder: Path, named: Named, options: EvaluateOptions, progress: Progress) -> Table:
    if options.perceptual:
        raise RequestError(f"--perceptual: is for pictures, and {folder} holds clips")
    scale, lr = cast(int, options.scale), options.lr
    if scale == 1 and lr is None:
        raise RequestError(f"{next(iter(named))}: does not enlarge: give what it is to restore with --lr")
    files = find_clips(folder, lr)
    frames = count_frames(files, options.skip_frames)
    _use_device(named, options)
    degradation: Degradation = options.damage or ("bd" if options.degradation == "bd" else "bi")
    origin = describe_degradation(degradation, scale) if lr is None else f"given in {lr}"
    progress.start("evaluate", frames, "frames")
    protocol = ClipProtocol(
        scale, options.channel, options.border, lr=origin, skip_frames=options.skip_frames
    )
    channels = _num_channels(named)
    rows: list[Row] = []
    for clip in files:
        upscalers = _upscalers_of(clip, named, options)
        rows += evaluate_clips(
            upscalers, read_clips([clip], scale, channels, degradation), protocol, progress=progress
        ).rows
    name, (_, network) = next(iter(named.items()))
    return Table(options.label(name, network), protocol, tuple(rows))


def _upscalers_of(clip: ClipFiles, named: Named, options: EvaluateOptions) -> dict[str, UpscaleFrames]:
    """What enlarges the frames of a clip, by the names of the columns."""
    denoise = options.denoise
    if denoise == "auto" and clip.lr and clip.lr[0].suffix.lower() in VIDEO_SUFFIXES:
        # Its file tells more than its first frame, by which `upscale_frames` goes.
        denoise = assess_clip(clip.lr[0]).denoise
    return {
        options.label(name, network): partial(
            upscale_frames,
            source,
            scale=options.scale,
            self_ensemble=options.self_ensemble,
            back_projection=options.back_projection,
            denoise=None if network.mixture is None else denoise,
            texture=None if network.mixture is None else options.texture,
            precision=options.precision,
            engine=options.engine,
        )
        for name, (source, network) in named.items()
    }


def _named(sources: Sequence[Any], networks: Sequence[Network]) -> Named:
    """Sources and networks by the names of their columns: the network's own, or the source where that is taken."""
    named: dict[str, tuple[Any, Network]] = {}
    for source, network in zip(sources, networks, strict=True):
        free = (name for name in (network.name, str(source)) if name not in {BICUBIC, *named})
        name = next(free, None)
        if name is None:
            raise RequestError(f"--beside {source}: there is a column of that name already")
        named[name] = source, network
    return named


def _use_device(named: Named, options: EvaluateOptions) -> None:
    if any(network.engine in BACKENDS for _, network in named.values()):
        use_device(options.device)


def _num_channels(named: Named) -> int:
    """The channels that all networks take."""
    channels = {name: network.spec.num_channels for name, (_, network) in named.items()}
    if len(set(channels.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in channels.items())
        raise RequestError(f"--beside: the networks take different numbers of channels: {said}")
    return next(iter(channels.values()))
