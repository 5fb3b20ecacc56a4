"""What is asked for, as data, and the plan that comes of it: jobs, and everything that is refused before any work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from isr.errors import MachineError, RequestError
from isr.io.clips import ANIMATION_SUFFIXES, VIDEO_SUFFIXES
from isr.io.errors import file_error
from isr.io.pictures import READABLE
from isr.predict import command
from isr.predict.jobs.clip import ClipJob
from isr.predict.jobs.job import Job, Setting, Unreadable
from isr.predict.jobs.journal import Journal
from isr.predict.jobs.picture import PictureJob
from isr.predict.jobs.places import check_distinct, find_sources, is_clip_input, pictures_of
from isr.predict.options import PredictOptions
from isr.predict.plain import from_plain, readable, to_plain
from isr.predict.report import together, took
from isr.predict.source import BICUBIC, default_scale, is_address, networks_of
from isr.predict.speeds import Speeds
from isr.progress import Estimate

# The version of a request in a file.
VERSION = 1
KINDS: tuple[type[PictureJob] | type[ClipJob], ...] = (PictureJob, ClipJob)
# A part of the raw pixels: hardly any photograph becomes a smaller file.
LEAST_COMPRESSED = 0.02


@dataclass(frozen=True)
class PredictRequest:
    """What is asked for: which files, into what, by which networks, how.

    Attributes:
        inputs: files and folders, at least one.
        output: a folder, or a file where its suffix is a picture's or clip's and there is one input; None: beside each
            input.
        sources: of networks: presets by name or folder ("bicubic" is the one without a network), `.keras` files,
            addresses of model servers, networks and upscalers of Python. Each makes a result of its own; none: the
            shipped presets, each for its scale.
        options: how.
    """

    inputs: tuple[Path, ...]
    output: Path | None = None
    sources: tuple[Any, ...] = ()
    options: PredictOptions = field(default_factory=PredictOptions)

    def __post_init__(self) -> None:
        # Of paths as well as of text, so that a request is equal to what was read from a file.
        object.__setattr__(self, "inputs", tuple(Path(path) for path in self.inputs))
        sources = (str(source) if isinstance(source, Path) else source for source in self.sources)
        object.__setattr__(self, "sources", tuple(sources))

    def arguments(self) -> list[str]:
        """Spell the request as arguments of `isr predict`.

        Raises:
            RequestError: a source is an object in Python.
        """
        self._check_portable()
        return command.arguments(self)

    def command(self, windows: bool | None = None) -> str:
        """Spell the request as a line for a shell.

        Args:
            windows: whether it is Windows' own; None: this system's.

        Raises:
            RequestError: a source is an object in Python.
        """
        return command.line(["isr", "predict", *self.arguments()], windows)

    def to_json(self) -> dict[str, Any]:
        """Give the request as plain JSON values.

        Raises:
            RequestError: a source is an object in Python.
        """
        self._check_portable()
        return {"version": VERSION, "request": to_plain(self)}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read what `to_json` gave.

        Raises:
            RequestError: it is no request, or one of another version.
        """
        with readable("request"):
            if content["version"] != VERSION:
                raise RequestError(f"a request of version {content['version']}; {VERSION} is wanted")
            request: Self = from_plain(cls, content["request"])
        return request

    def _check_portable(self) -> None:
        for source in self.sources:
            if not isinstance(source, str):
                raise RequestError(
                    f"a {type(source).__name__} given as an object runs in this process only; save it, and name "
                    "the file"
                )


@dataclass(frozen=True)
class Plan:
    """What a request comes to.

    Attributes:
        jobs: to be run, in this order.
        finished: those whose results are there, and up to date.
        unreadable: files of folders from which nothing can be made, each with a line that says why.
    """

    jobs: tuple[Job, ...]
    finished: tuple[Job, ...] = ()
    unreadable: tuple[tuple[Path, str], ...] = ()

    @property
    def alone(self) -> bool:
        """Tell whether all of it is one file that the user named, so that its failure is that of the request."""
        jobs = self.jobs + self.finished
        return len(jobs) == 1 and not self.unreadable and jobs[0].named

    def estimate(self, speeds: Speeds | None = None) -> Estimate:
        """Tell how long the jobs will take, from what earlier ones took."""
        speeds = speeds or Speeds()
        return together(job.estimate(speeds) for job in self.jobs)

    def describe(self) -> dict[str, Any]:
        """Give what would be done, and what it would take, as plain JSON values."""
        speeds = Speeds()
        return {
            "jobs": [{**job.describe(), "seconds": job.estimate(speeds).seconds} for job in self.jobs],
            "finished": [str(job.target) for job in self.finished],
            "unreadable": [{"source": str(path), "error": line} for path, line in self.unreadable],
            "seconds": self.estimate(speeds).seconds,
            "bytes_on_disk": sum(job.bytes_on_disk for job in self.jobs),
            "bytes_of_memory": max((job.bytes_needed for job in self.jobs), default=0),
        }

    def lines(self) -> Iterator[str]:
        """Tell the same to a reader."""
        speeds = Speeds()
        for job in self.jobs:
            yield job.line(job.estimate(speeds).seconds)
        for job in self.finished:
            yield f"{job.target}: finished earlier, skipped"
        for _, line in self.unreadable:
            yield f"no result: {line}"
        if self.jobs:
            seconds = self.estimate(speeds).seconds
            disk = sum(job.bytes_on_disk for job in self.jobs) / 1e6
            memory = max(job.bytes_needed for job in self.jobs) / 1e6
            yield (
                f"{len(self.jobs)} to make: {took(seconds)}, about {disk:.1f} MB on the disk, "
                f"{memory:.0f} MB of memory beside the network's"
            )


def plan(request: PredictRequest) -> Plan:
    """Settle what a request comes to, without Keras and without writing anything.

    Args:
        request: what is asked for. A model server is asked what it serves.

    Returns:
        The plan.

    Raises:
        RequestError: an input is missing, a named file is no picture or clip, a preset or file is none, a result could
            not be written, would replace an input, another result or (without `overwrite`) a file that exists.
        MachineError: an optional package is missing, a server cannot be reached, or the disk has no room.
    """
    inputs, options = request.inputs, request.options
    for path in inputs:
        if not path.exists():
            raise RequestError(f"{path}: no such file or folder: check the spelling of the path")
    sources = request.sources or (None,)
    jobs: list[Job] = []
    unreadable: dict[Path, str] = {}
    for kind in KINDS:
        for number, source in enumerate(sources):
            name = _name(source, number) if len(sources) > 1 else ""
            found, broken = _plan_kind(kind, request, source, name)
            jobs += found
            unreadable.update(broken)
    if not (jobs or unreadable):
        known = ", ".join(sorted(READABLE | VIDEO_SUFFIXES | ANIMATION_SUFFIXES))
        raise RequestError(
            f"{inputs[0]}: no pictures and no clips in this folder (files that end in {known})"
        )
    check_distinct(jobs)
    todo, finished = _split_finished(jobs, options)
    return Plan(tuple(todo), tuple(finished), tuple(unreadable.items()))


def _name(source: Any, number: int) -> str:
    """What the names of results say of a source, where there are several."""
    if isinstance(source, str):
        return source.rstrip("/").rpartition("/")[2] if is_address(source) else Path(source).stem
    return f"{getattr(getattr(source, 'spec', None), 'name', 'network')}{number + 1}"


def _plan_kind(
    kind: type[PictureJob] | type[ClipJob], request: PredictRequest, source: Any, name: str
) -> tuple[list[Job], dict[Path, str]]:
    """The jobs of one kind by one source, and what cannot be read."""
    options, output = request.options, request.output
    networks = networks_of(source, video=True, engine=options.runs_on)
    if kind is ClipJob:
        inputs = [path for path in request.inputs if path.is_dir() or is_clip_input(path, networks, output)]
    else:
        inputs = [
            path
            for path in request.inputs
            if not is_clip_input(path, networks, output)
            and (not path.is_dir() or any(True for _ in pictures_of(path)))
        ]
        if not inputs:
            return [], {}
        networks = networks_of(source, engine=options.runs_on)
    target = options.target.or_scale(_scale(request, source, networks))
    setting = Setting(options, networks, target, name)

    def contents(folder: Path) -> Iterable[Path]:
        return kind.contents(folder, networks, output)

    jobs: list[Job] = []
    unreadable: dict[Path, str] = {}
    several = len(request.inputs) > 1 or len(request.sources) > 1
    asked = options.suffix if kind is PictureJob else None
    for found in find_sources(inputs, output, target, kind.SUFFIXES, contents, several, asked):
        try:
            jobs.append(kind.plan(found, setting))
        except Unreadable as error:
            if found.tree is None:
                raise error.reason from None
            unreadable[found.path] = str(error)
    return jobs, unreadable


def _scale(request: PredictRequest, source: Any, networks: Any) -> int:
    """The scale where none is asked for: of several sources all as the first one's, so that they can be compared."""
    others = [other for other in request.sources if not (isinstance(other, str) and other == BICUBIC)]
    if len(request.sources) > 1 and others:
        first = others[0]
        return default_scale(first, networks_of(first, video=True, engine=request.options.runs_on))
    return default_scale(source, networks)


def _split_finished(jobs: Sequence[Job], options: PredictOptions) -> tuple[list[Job], list[Job]]:
    """The jobs to do, and those whose results are there and up to date (with `resume` only).

    Raises RequestError where a result exists that may not be replaced or its folder may not be written to,
    MachineError where the disk is too full.
    """
    todo, finished, existing = [], [], []
    # Read where records decide; without `resume` none does.
    records = {folder: Journal(folder).read() for folder in {job.folder for job in jobs} if options.resume}
    for job in jobs:
        known = options.resume and job.target in records[job.folder]
        if not job.exists:
            todo.append(job)
        elif known and records[job.folder].agrees(job.target, job.finished_record()):
            finished.append(job)
        elif known or options.overwrite:
            todo.append(job)
        else:
            existing.append(job.target)
    if existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        unknown = ", and no record says how it was made" if options.resume else ""
        raise RequestError(f"{existing[0]}{more}: exists{unknown}; give --overwrite to replace it")
    _check_room(todo)
    return todo, finished


def _check_room(jobs: Sequence[Job]) -> None:
    needed: dict[Path, int] = {}
    for job in jobs:
        needed[job.folder] = needed.get(job.folder, 0) + int(job.bytes_out * LEAST_COMPRESSED)
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


def job_from_json(content: Any) -> Job:
    """Read a job that `Job.to_json` gave, of either kind.

    Raises:
        RequestError: it is no job, or one of another version.
    """
    kinds = {kind.KIND: kind for kind in KINDS}
    name = content.get("kind") if isinstance(content, dict) else None
    if name not in kinds:
        raise RequestError(f"not a job: its kind is {name!r}, not {' or '.join(kinds)}; plan it again")
    return kinds[name].from_json(content)


def request_from(values: dict[str, Any]) -> PredictRequest:
    """Make a request of some of its fields.

    Args:
        values: by their names, dotted where they lie deeper (`options.video.crf`); the others have their defaults.

    Raises:
        RequestError: a value is out of its range.
    """
    request: PredictRequest = _with(PredictRequest(inputs=()), values)
    return request


def _with(whole: Any, values: dict[str, Any]) -> Any:
    """A dataclass with some fields changed, deeper ones too."""
    own = {name: value for name, value in values.items() if "." not in name}
    deeper: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        head, dot, tail = name.partition(".")
        if dot:
            deeper.setdefault(head, {})[tail] = value
    changed = {head: _with(getattr(whole, head), tails) for head, tails in deeper.items()}
    return replace(whole, **own, **changed)
