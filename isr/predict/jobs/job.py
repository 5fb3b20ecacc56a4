"""From inputs to jobs: which file becomes which, and everything that can be refused before any work."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from isr.errors import ISRError, MachineError, RequestError
from isr.io.clips import VideoInfo, is_clip
from isr.io.errors import file_error
from isr.io.files import walk
from isr.io.pictures import READABLE, PictureInfo, check_writable, losses, probe, suffix_of
from isr.predict.jobs.journal import Journal
from isr.predict.jobs.places import Input, check_distinct, find_sources, made_beside
from isr.predict.options import PredictOptions
from isr.predict.precision import resolve_precision
from isr.predict.route import Route, Target
from isr.predict.source import Network, Networks

LONGEST_NAME = 255  # bytes; of nearly every file system
LEAST_COMPRESSED = 0.02  # of the raw pixels: hardly any photograph becomes a smaller file


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
        return losses(self.target.suffix, self.info.channels, self.info.dtype)


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


def _target(source: Input, info: PictureInfo, target: Target, options: PredictOptions) -> Path:
    if source.file is not None:
        return source.file
    readable = source.path.suffix.lower() in READABLE
    own = source.path.suffix if readable else suffix_of(info.format)
    named = source if readable else replace(source, path=source.path.with_name(source.path.name + own))
    return made_beside(named, target.file_label(info.height, info.width), options.suffix or own)


def pictures_of(folder: Path) -> Iterator[Path]:
    """The pictures of a folder and of those in it, in order; animations are clips."""
    return (path for path in walk(folder, READABLE) if not is_clip(path))


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
