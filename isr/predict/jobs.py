"""From inputs to jobs: which file becomes which, and everything that can be refused before any work."""

from __future__ import annotations

import math
import os
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from isr.errors import ISRError, MachineError, RequestError
from isr.io.files import file_error, mirrored, walk
from isr.io.images import READABLE, PictureInfo, check_writable, probe
from isr.predict.image import TileOptions
from isr.predict.journal import Journal
from isr.predict.networks import Network, Networks, resolve_precision
from isr.predict.target import Route, Target
from isr.runtimes.devices import check_name

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp", "AVIF": ".avif"}
SAME_SUFFIX = {".jpeg": ".jpg", ".tiff": ".tif"}
LONGEST_NAME = 255  # bytes; of nearly every file system
LEAST_COMPRESSED = 0.02  # of the raw pixels: hardly any photograph becomes a smaller file


@dataclass(frozen=True)
class PredictOptions:
    """How files are upscaled; the first seven fields are the keywords of `isr.upscale`.

    Attributes:
        scale: factor of the output, such as 2 or 2.5; None: the network's own, 2 where none is named.
        size: `(height, width)` of the output in pixels instead; None for one of them keeps the aspect.
        tile: largest side of a tile in input pixels; None: chosen by the scale.
        tile_overlap: input pixels at each side of a tile that its neighbours keep, or "exact".
        batch: tiles per call of the network.
        self_ensemble: mean over the eight flips and quarter turns, at eight times the cost.
        precision: "auto", "float32" or "bfloat16" (8-bit pictures only).
        device: "cpu", "gpu", "gpu:0", ...; None: what the backend takes by itself.
        format: "png", "jpg", "webp", "tif", "bmp", "avif"; None: that of the input.
        quality: 1 to 100, of JPEG, WebP and AVIF.
        strip_metadata: leave out EXIF, XMP, resolution and colour profile.
        overwrite: replace files that exist.
        resume: skip files whose record says that they are finished, made from the same input by the same weights
            and options; make again those whose record says otherwise.
        max_pixels: larger inputs are refused.

    Raises RequestError where a value is out of its range.
    """

    scale: float | None = None
    size: tuple[int | None, int | None] | None = None
    tile: int | None = None
    tile_overlap: int | Literal["exact"] = 12
    batch: int = 1
    self_ensemble: bool = False
    precision: str = "auto"
    device: str | None = None
    format: str | None = None
    quality: int = 95
    strip_metadata: bool = False
    overwrite: bool = False
    resume: bool = False
    max_pixels: int = 10**9

    def __post_init__(self) -> None:
        _ = self.target, self.tiles
        resolve_precision(self.precision, np.dtype(np.uint8))
        check_name(self.device)
        if self.format is not None and self.suffix not in READABLE:
            known = ", ".join(sorted(suffix[1:] for suffix in READABLE))
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
    def tiles(self) -> TileOptions:
        """How a picture goes through the network."""
        return TileOptions(self.tile, self.tile_overlap, self.batch, self.self_ensemble)

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
    info: PictureInfo
    route: Route
    record: dict[str, Any]
    named: bool

    @property
    def bytes_out(self) -> int:
        """Of the result in memory."""
        return math.prod(self.route.size) * self.info.channels * np.dtype(self.info.dtype).itemsize

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
class _Source:
    """A file to read, and where its result belongs."""

    path: Path
    tree: Path | None  # the input folder that it lies in
    folder: Path  # the output folder, whose journal records it
    file: Path | None = None  # the very file to write


def find_jobs(
    inputs: Sequence[Path], output: Path | None, networks: Networks, target: Target, options: PredictOptions
) -> tuple[list[Job], list[tuple[Path, ISRError]]]:
    """The jobs of a request, and the files of its folders that cannot be read.

    Args:
        inputs: files and folders.
        output: a folder, or a file where its suffix is a picture's and there is one input file; None: beside
            each input.
        networks: what upscales.
        target: with a scale or a size.
        options: the rest.

    Raises RequestError where an input is missing, a named file is no picture, a result could not be written,
    would replace an input, another result or (without `overwrite`) a file that exists; MachineError where
    the disk has no room. Nothing is written then.
    """
    jobs, unreadable = [], []
    fingerprint = cache(Network.fingerprint)  # hashed once for all files, and only where a file needs it
    for source in _sources(inputs, output, target, options):
        try:
            info = probe(source.path, max_pixels=options.max_pixels)
            status = source.path.stat()
        except ISRError as error:
            if source.tree is None:
                raise
            unreadable.append((source.path, error))
            continue
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
            "precision": resolve_precision(options.precision, np.dtype(info.dtype))[0],
            "quality": options.quality,
            "strip_metadata": options.strip_metadata,
        }
        jobs.append(Job(source.path, made, source.folder, info, route, record, source.tree is None))
    _check_distinct(jobs)
    return jobs, unreadable


def split_finished(jobs: Sequence[Job], options: PredictOptions) -> tuple[list[Job], list[Job]]:
    """The jobs to do, and those whose results are there and up to date (with `resume` only).

    Raises RequestError where a result exists that may not be replaced or its folder may not be written to,
    MachineError where the disk is too full.
    """
    open_jobs, finished, existing = [], [], []
    records = {folder: Journal(folder).read() for folder in {job.journal for job in jobs}}
    for job in jobs:
        if job.target.is_dir():
            raise RequestError(f"{job.target}: is a folder, but would be written as a file")
        known = records[job.journal].get(Journal(job.journal).key(job.target)) if options.resume else None
        if not job.target.exists():
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


def _sources(
    inputs: Sequence[Path], output: Path | None, target: Target, options: PredictOptions
) -> Iterator[_Source]:
    into_file = output is not None and output.suffix.lower() in READABLE and not output.is_dir()
    if into_file:
        assert output is not None
        if len(inputs) > 1 or inputs[0].is_dir():
            raise RequestError(f"{output}: names one file, but there are several inputs; name a folder")
        asked, named = options.suffix, output.suffix.lower()
        if asked is not None and SAME_SUFFIX.get(asked, asked) != SAME_SUFFIX.get(named, named):
            raise RequestError(
                f"{output}: is no {options.format} file; leave out --format, or change the suffix"
            )
    elif output is not None and output.exists() and not output.is_dir():
        raise RequestError(f"{output}: is a file, but neither a picture nor a folder")
    for path in inputs:
        if path.is_dir():
            yield from _tree(path, output, len(inputs) > 1, target)
        elif into_file:
            assert output is not None
            yield _Source(path, None, output.parent, output)
        else:
            yield _Source(path, None, path.parent if output is None else output)


def _tree(path: Path, output: Path | None, several: bool, target: Target) -> Iterator[_Source]:
    whole = path.resolve()
    if output is None:
        beside = path if path.name not in ("", "..") else whole
        if not beside.name:
            raise RequestError(f"{path}: the root of a disk has no folder beside it; name one by --output")
        folder = beside.with_name(f"{beside.name}_{target.label()}")
    else:
        folder = output / (path.name or whole.name) if several else output
    results, count = folder.resolve(), 0
    for file in walk(path, READABLE):
        if results != whole and results in file.resolve().parents:
            continue  # results of an earlier run
        count += 1
        yield _Source(file, path, folder)
    if count == 0:
        known = ", ".join(sorted(READABLE))
        raise RequestError(f"{path}: no pictures in this folder (files that end in {known})")


def _target(source: _Source, info: PictureInfo, target: Target, options: PredictOptions) -> Path:
    if source.file is not None:
        return source.file
    own = source.path.suffix if source.path.suffix.lower() in READABLE else SUFFIXES[info.format]
    suffix = options.suffix or own
    stem = source.path.stem if source.path.suffix.lower() in READABLE else source.path.name
    if source.tree is not None:
        return mirrored(source.path, source.tree, source.folder).with_name(stem + suffix)
    return source.folder / f"{stem}_{target.file_label(info.height, info.width)}{suffix}"


def _check_distinct(jobs: Sequence[Job]) -> None:
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
