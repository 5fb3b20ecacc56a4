"""From inputs to jobs: which file becomes which, and everything that can be refused before any work."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from isr.errors import ISRError, MachineError, RequestError
from isr.io.files import file_error, mirrored, walk
from isr.io.images import READABLE, PictureInfo, check_writable, probe
from isr.io.video import WRITABLE_SUFFIXES, VideoInfo, is_clip
from isr.predict.jobs.journal import Journal
from isr.predict.picture import TileOptions
from isr.predict.route import Route, Target
from isr.predict.source import Network, Networks, check_precision, resolve_precision
from isr.runtimes.devices import check_name
from isr.runtimes.engines import ENGINES, check_engine

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "AVIF": ".avif"}
SAME_SUFFIX = {".jpeg": ".jpg", ".tiff": ".tif"}
LONGEST_NAME = 255  # bytes; of nearly every file system
LEAST_COMPRESSED = 0.02  # of the raw pixels: hardly any photograph becomes a smaller file


@dataclass(frozen=True)
class VideoOptions:
    """What is asked of clips alone.

    Attributes:
        codec: "h264", "h265", "vp9", "av1", "prores" or an encoder of FFmpeg; None: the container's usual one.
        crf: constant quality of the encoder, smaller is better; None: hard to tell from the frames.
        pixel_format: such as "yuv444p"; None: 4:2:0 of as many bits as the source has.
        start, duration: the stretch that is upscaled, seconds; None: from the beginning, to the end.
        crop: `(left, top, width, height)` of the part that is upscaled, pixels of the source; None: all.
        scene_cut: from which difference, 0 to 1, a frame begins a scene whose windows do not reach back; None: off.
    """

    codec: str | None = None
    crf: float | None = None
    pixel_format: str | None = None
    start: float | None = None
    duration: float | None = None
    crop: tuple[int, int, int, int] | None = None
    scene_cut: float | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start < 0:
            raise RequestError(f"start {self.start}: must not be under 0 seconds")
        if self.duration is not None and self.duration <= 0:
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
        precision: "auto", "float32", or for 8-bit pictures "bfloat16", "int8", or "fast": int8 where there is one.
        engine: "auto", "tensorflow", "jax", "openvino", "onnxruntime" or "litert"; see `isr.runtimes.engines`.
        device: "cpu", "gpu", "gpu:0", ...; None: what the backend takes by itself.
        format: "png", "jpg", "webp", "tif", "bmp", "avif"; None: that of the input.
        quality: 1 to 100, of JPEG, WebP and AVIF.
        strip_metadata: leave out EXIF, XMP, resolution and colour profile.
        overwrite: replace files that exist.
        resume: skip files whose record says that they are finished, made from the same input by the same weights
            and options; make again those whose record says otherwise.
        max_pixels: larger inputs are refused.
        video: what is asked of clips alone.

    Raises RequestError where a value is out of its range.
    """

    scale: float | None = None
    size: tuple[int | None, int | None] | None = None
    tile: int | None = None
    tile_overlap: int | Literal["exact"] | None = None
    batch: int = 1
    self_ensemble: bool = False
    back_projection: int = 0
    precision: str = "auto"
    engine: str = "auto"
    device: str | None = None
    format: str | None = None
    quality: int = 95
    strip_metadata: bool = False
    overwrite: bool = False
    resume: bool = False
    max_pixels: int = 10**9
    video: VideoOptions = field(default_factory=VideoOptions)

    def __post_init__(self) -> None:
        _ = self.target, self.tiles
        check_precision(self.precision)
        check_engine(self.engine)
        check_name(self.device)
        if self.device is not None and self.device != "cpu" and self.engine in ENGINES:
            raise RequestError(f"engine {self.engine}: computes on the CPU, not on {self.device}")
        if self.format is not None and self.suffix not in READABLE | WRITABLE_SUFFIXES:
            known = ", ".join(sorted(suffix[1:] for suffix in READABLE | WRITABLE_SUFFIXES))
            raise RequestError(f"format {self.format!r} is unknown here; it is one of {known}")
        if not 1 <= self.quality <= 100:
            raise RequestError(f"quality {self.quality}: must be 1 to 100")
        if self.max_pixels < 1:
            raise RequestError(f"max_pixels {self.max_pixels}: must be at least 1")

    @property
    def target(self) -> Target:
        """Scale or size."""
        return Target(self.scale, self.size)

    @property
    def runs_on(self) -> str | None:
        """The engine, as for `Network`."""
        on_gpu = self.device is not None and self.device != "cpu"
        return None if on_gpu and self.engine == "auto" else self.engine

    @property
    def tiles(self) -> TileOptions:
        """How a picture goes through the network."""
        return TileOptions(self.tile, self.tile_overlap, self.batch, self.self_ensemble, self.back_projection)

    @property
    def suffix(self) -> str | None:
        """Of the output files, with the dot; None: that of the input."""
        return None if self.format is None else "." + self.format.lower().removeprefix(".")


@dataclass(frozen=True)
class Job:
    """One file to make.

    Attributes:
        source, target: the files.
        journal: the folder whose journal records it.
        info: what the source holds.
        route: how it reaches its size.
        record: what must be the same for a finished result to be up to date.
        named: whether the user named this file, and not a folder that it lies in.
    """

    source: Path
    target: Path
    journal: Path
    info: PictureInfo | VideoInfo
    route: Route
    record: dict[str, Any]
    named: bool

    @property
    def bytes_out(self) -> int:
        """Of the result in memory."""
        return math.prod(self.route.size) * self.info.channels * np.dtype(self.info.dtype).itemsize

    @property
    def size_in(self) -> tuple[int, int]:
        """`(width, height)` of what is upscaled."""
        return self.info.width, self.info.height

    @property
    def exists(self) -> bool:
        """Whether there is something that the result would replace."""
        if self.target.is_dir():
            raise RequestError(f"{self.target}: is a folder, but would be written as a file")
        return self.target.exists()

    @property
    def bytes_needed(self) -> int:
        """Of all the arrays as large as a picture that are in memory at once, at least."""
        sides = self.info.height * self.info.width * self.info.channels
        between = math.prod(self.route.stages[:-1]) ** 2 * sides * 4 if len(self.route.stages) > 1 else 0
        return sides * np.dtype(self.info.dtype).itemsize + between + self.bytes_out

    def message(self) -> str:
        """What the format of the output cannot hold of the input; empty where it holds all."""
        suffix, lost = self.target.suffix.lower(), []
        if self.info.channels in (2, 4) and suffix in (".jpg", ".jpeg", ".bmp"):
            lost.append("no transparency: laid over white")
        if self.info.dtype != "uint8" and suffix not in (".png", ".tif", ".tiff"):
            lost.append("only 8 bits")
        return f"{suffix[1:]} has {' and '.join(lost)}" if lost else ""


@dataclass(frozen=True)
class Input:
    """An input to read, and where its result belongs."""

    path: Path
    tree: Path | None  # the input folder that it lies in
    folder: Path  # the output folder, whose journal records it
    file: Path | None = None  # the very file to write


def find_jobs(
    inputs: Sequence[Path],
    output: Path | None,
    networks: Networks,
    target: Target,
    options: PredictOptions,
    several: bool = False,
) -> tuple[list[Job], list[tuple[Path, ISRError]]]:
    """The jobs of a request, and the files of its folders that cannot be read.

    Args:
        inputs: files and folders.
        output: a folder, or a file where its suffix is a picture's and there is one input file; None: beside
            each input.
        networks: what upscales.
        target: with a scale or a size.
        options: the rest.
        several: the request has more inputs than these.

    Raises RequestError where an input is missing, a named file is no picture, a result could not be written,
    would replace an input, another result or (without `overwrite`) a file that exists; MachineError where
    the disk has no room. Nothing is written then.
    """
    jobs, unreadable = [], []
    fingerprint = cache(Network.fingerprint)  # hashed once for all files, and only where a file needs it
    for source in find_sources(
        inputs, output, target, READABLE, pictures_of, several or len(inputs) > 1, options.suffix
    ):
        try:
            info = probe(source.path, max_pixels=options.max_pixels)
            status = source.path.stat()
        except ISRError as error:
            if source.tree is None:
                raise
            unreadable.append((source.path, error))
            continue
        if options.suffix is not None and options.suffix not in READABLE:
            raise RequestError(f"{source.path}: a picture cannot be written as {options.suffix[1:]}")
        route = Route.plan(info.height, info.width, target, networks)
        made = _target(source, info, target, options)
        check_writable(made, route.size[1], route.size[0], info.channels, info.dtype)
        if len(os.fsencode(made.name)) > LONGEST_NAME:
            raise RequestError(
                f"{made}: the name is longer than {LONGEST_NAME} bytes; name the result by --output"
            )
        tiles = options.tiles
        record = {
            "source": source.path.name,
            "input": {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns},
            "weights": {str(scale): fingerprint(networks[scale]) for scale in route.stages},
            "stages": list(route.stages),
            "size": list(route.size),
            "tile": tiles.tile,
            "overlap": tiles.overlap,
            "self_ensemble": tiles.self_ensemble,
            "back_projection": tiles.back_projection,
            "precision": precision_along(route, networks, options.precision, info.dtype)[0],
            "quality": options.quality,
            "strip_metadata": options.strip_metadata,
        }
        jobs.append(Job(source.path, made, source.folder, info, route, record, source.tree is None))
    check_distinct(jobs)
    return jobs, unreadable


def precision_along(route: Route, networks: Networks, asked: str, dtype: str) -> tuple[str, str]:
    """`resolve_precision` for the networks of a route."""
    return resolve_precision(asked, np.dtype(dtype), [networks[scale] for scale in route.stages])


def split_finished(jobs: Sequence[Job], options: PredictOptions) -> tuple[list[Job], list[Job]]:
    """The jobs to do, and those whose results are there and up to date (with `resume` only).

    Raises RequestError where a result exists that may not be replaced or its folder may not be written to,
    MachineError where the disk is too full.
    """
    open_jobs, finished, existing = [], [], []
    records = {folder: Journal(folder).read() for folder in {job.journal for job in jobs}}
    for job in jobs:
        known = records[job.journal].get(Journal(job.journal).key(job.target)) if options.resume else None
        if not job.exists:
            open_jobs.append(job)
        elif known is not None and known == finished_record(job):
            finished.append(job)
        elif known is not None or options.overwrite:
            open_jobs.append(job)
        else:
            existing.append(job.target)
    if existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        unknown = ", and no record says how it was made" if options.resume else ""
        raise RequestError(f"{existing[0]}{more}: exists{unknown}; give --overwrite to replace it")
    _check_room(open_jobs)
    return open_jobs, finished


def finished_record(job: Job) -> dict[str, Any]:
    """The record of a job whose result is on the disk."""
    return {**job.record, "output": {"bytes": job.target.stat().st_size}}


def find_sources(
    inputs: Sequence[Path],
    output: Path | None,
    target: Target,
    suffixes: Collection[str],
    contents: Callable[[Path], Iterable[Path]],
    several: bool,
    asked: str | None = None,
) -> Iterator[Input]:
    """What is to be read, and where the results belong.

    Args:
        inputs: files, folders that are one input (of frames), and folders whose contents are wanted.
        output: a folder, or a file where it has one of the suffixes; None: beside each input.
        target: names the folders that are made beside others.
        suffixes: of the files that may be written.
        contents: the inputs in a folder; the folder itself where it is one.
        several: the request has several inputs.
        asked: the suffix that the results shall have; None: any.

    Raises RequestError where the output does not fit the inputs.
    """
    into_file = output is not None and output.suffix.lower() in suffixes and not output.is_dir()
    trees = [path for path in inputs if path.is_dir() and list(itertools.islice(contents(path), 1)) != [path]]
    if into_file:
        assert output is not None
        if several or trees:
            raise RequestError(f"{output}: names one file, but there are several inputs; name a folder")
        named = output.suffix.lower()
        if asked is not None and SAME_SUFFIX.get(asked, asked) != SAME_SUFFIX.get(named, named):
            raise RequestError(f"{output}: is no {asked[1:]} file; leave out --format, or change the suffix")
    elif output is not None and output.exists() and not output.is_dir():
        raise RequestError(f"{output}: is a file, but neither a picture or clip nor a folder")
    for path in inputs:
        if path in trees:
            yield from _tree(path, output, several, target, contents)
        elif into_file or (path.is_dir() and output is not None):
            assert output is not None
            yield Input(path, None, output.parent, output)
        else:
            yield Input(path, None, path.parent if output is None else output)


def _tree(
    path: Path, output: Path | None, several: bool, target: Target, contents: Callable[[Path], Iterable[Path]]
) -> Iterator[Input]:
    whole = path.resolve()
    if output is None:
        beside = path if path.name not in ("", "..") else whole
        if not beside.name:
            raise RequestError(f"{path}: the root of a disk has no folder beside it; name one by --output")
        folder = beside.with_name(f"{beside.name}_{target.label()}")
    else:
        folder = output / (path.name or whole.name) if several else output
    results = folder.resolve()
    for file in contents(path):
        if results == whole or results not in file.resolve().parents:  # not results of an earlier run
            yield Input(file, path, folder)


def made_beside(source: Input, label: str, suffix: str) -> Path:
    """The result of a source that names no file: of the same name in a mirrored tree, else named after its size."""
    stem = source.path.stem if suffix or not source.path.is_dir() else source.path.name
    if source.tree is not None:
        return mirrored(source.path, source.tree, source.folder).with_name(stem + suffix)
    return source.folder / f"{stem}_{label}{suffix}"


def _target(source: Input, info: PictureInfo, target: Target, options: PredictOptions) -> Path:
    if source.file is not None:
        return source.file
    readable = source.path.suffix.lower() in READABLE
    own = source.path.suffix if readable else SUFFIXES[info.format]
    named = source if readable else replace(source, path=source.path.with_name(source.path.name + own))
    return made_beside(named, target.file_label(info.height, info.width), options.suffix or own)


def pictures_of(folder: Path) -> Iterator[Path]:
    """The pictures of a folder and of those in it, in order; animations are clips."""
    return (path for path in walk(folder, READABLE) if not is_clip(path))


def duration_of(seconds: float) -> str:
    """`45 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def check_distinct(jobs: Sequence[Job]) -> None:
    """Refuse results that would replace each other or an input, as a file system sees names."""
    sources = {_key(job.source): job.source for job in jobs}
    made: dict[str, Job] = {}
    for job in jobs:
        key = _key(job.target)
        if key in sources:
            raise RequestError(
                f"{job.target}: is an input, and would be replaced by the result of {job.source}; "
                "choose another --output"
            )
        if key in made:
            raise RequestError(
                f"{job.target}: both {made[key].source} and {job.source} would be written there; "
                "choose another --output, or give them one at a time"
            )
        made[key] = job


def _key(path: Path) -> str:
    """The same for two paths that some file system takes for one: case and Unicode's composition do not count."""
    whole = path.parent.resolve() / path.name
    return unicodedata.normalize("NFC", str(whole.resolve() if whole.exists() else whole)).casefold()


def _check_room(jobs: Sequence[Job]) -> None:
    needed: dict[Path, int] = {}
    for job in jobs:
        needed[job.journal] = needed.get(job.journal, 0) + int(job.bytes_out * LEAST_COMPRESSED)
    for folder, size in needed.items():
        there = folder.resolve()
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            raise RequestError(
                f"{folder}: a part of this path is a file, not a folder: choose another --output"
            )
        if not os.access(there, os.W_OK):
            raise RequestError(f"{folder}: permission denied: choose another --output")
        try:
            free = shutil.disk_usage(there).free
        except OSError as error:
            raise file_error(there, error) from error
        if size > free:
            raise MachineError(
                f"{folder}: the disk has {free / 2**30:.1f} GiB left, the results need {size / 2**30:.1f} or more"
            )
