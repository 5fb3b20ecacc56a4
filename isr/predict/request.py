"""What is asked for, as data, and the plan that comes of it: jobs, and everything that is refused before any work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from isr.errors import MachineError, RequestError
from isr.io.clips import ANIMATION_SUFFIXES, VIDEO_SUFFIXES, WRITABLE_SUFFIXES
from isr.io.errors import file_error
from isr.io.pictures import READABLE
from isr.io.places import place_of
from isr.predict import command
from isr.predict.jobs.job import Job, Setting, Unreadable
from isr.predict.jobs.journal import Journal, Records
from isr.predict.jobs.picture import PictureJob
from isr.predict.jobs.places import check_distinct, find_sources, input_of, is_clip_input, pictures_of
from isr.predict.jobs.shards import Shard, Share, check_shard
from isr.predict.options import PredictOptions
from isr.predict.plain import from_plain, readable, to_plain
from isr.predict.report import together, took
from isr.predict.source import BICUBIC, default_scale, has_corners, is_address, networks_of, windows_of
from isr.predict.speeds import Speeds
from isr.progress import Estimate

if TYPE_CHECKING:
    from isr.predict.jobs.clip import ClipJob

# The version of a request in a file.
VERSION = 1
KINDS = ("picture", "clip")
# A part of the raw pixels: hardly any photograph becomes a smaller file.
LEAST_COMPRESSED = 0.02


@dataclass(frozen=True)
class PredictRequest:
    """What is asked for: which files, into what, by which networks, how.

    Attributes:
        inputs: files and folders, at least one. Text may also be an address of an object store (`s3://...`), and
            "@list.txt" names a list of inputs. A `Path` is always a file or folder.
        output: a folder, or a file where its suffix is a picture's or clip's and there is one input; None: beside each
            input. An address is a folder of an object store.
        sources: of networks: presets by name or folder ("bicubic" is the one without a network), `.keras` files,
            addresses of model servers, networks and upscalers of Python. Each makes a result of its own; none: the
            shipped presets, each for its scale.
        options: how.
        shard: `(number, count)`: only the inputs of this part of so many, counted from 0; None: all.

    Raises:
        RequestError: an address or the shard is none.
    """

    inputs: tuple[Path | str, ...]
    output: Path | str | None = None
    sources: tuple[Any, ...] = ()
    options: PredictOptions = field(default_factory=PredictOptions)
    shard: Shard | None = None

    def __post_init__(self) -> None:
        # Of paths as well as of text, so that a request is equal to what was read from a file.
        object.__setattr__(self, "inputs", tuple(map(input_of, self.inputs)))
        if self.output is not None:
            object.__setattr__(self, "output", place_of(self.output))
        if self.shard is not None:
            object.__setattr__(self, "shard", check_shard(*self.shard))
        sources = (str(source) if isinstance(source, Path) else source for source in self.sources)
        object.__setattr__(self, "sources", tuple(sources))

    @property
    def streams(self) -> bool:
        """Tell whether inputs come one by one, of object stores or lists, and are planned where they are made."""
        return any(isinstance(place, str) for place in (*self.inputs, self.output))

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
    inputs, options = _local(request), request.options
    for path in inputs:
        if not path.exists():
            raise RequestError(f"{path}: no such file or folder: check the spelling of the path")
    sources = request.sources or (None,)
    if options.adapt is not None and (served := [source for source in sources if is_address(source)]):
        raise RequestError(f"{served[0]}: a network on a server does not learn; --adapt needs a preset")
    jobs: list[Job] = []
    unreadable: dict[Path, str] = {}
    share = Share(request.shard)
    for kind in KINDS:
        for number, source in enumerate(sources):
            name = _name(source, number) if len(sources) > 1 else ""
            found, broken = _plan_kind(kind, request, source, name, share)
            jobs += found
            unreadable.update(broken)
    if not (jobs or unreadable or share.others):
        known = ", ".join(sorted(READABLE | VIDEO_SUFFIXES | ANIMATION_SUFFIXES))
        raise RequestError(
            f"{inputs[0]}: no pictures and no clips in this folder (files that end in {known})"
        )
    check_distinct(jobs)
    todo, finished = _split_finished(jobs, options)
    return Plan(tuple(todo), tuple(finished), tuple(unreadable.items()))


def _local(request: PredictRequest) -> tuple[Path, ...]:
    """The inputs of a request, which are all files and folders.

    Raises RequestError where they are not.
    """
    if request.streams:
        raise RequestError("inputs of object stores and lists are planned one by one: see isr.predict.stream")
    return tuple(Path(path) for path in request.inputs)


def _name(source: Any, number: int) -> str:
    """What the names of results say of a source, where there are several."""
    if isinstance(source, str):
        path = Path(source)
        name = path.stem if path.suffix == ".keras" else path.name
        return source.rstrip("/").rpartition("/")[2] if is_address(source) else name
    return f"{getattr(getattr(source, 'spec', None), 'name', 'network')}{number + 1}"


def _plan_kind(
    kind: str, request: PredictRequest, source: Any, name: str, share: Share
) -> tuple[list[Job], dict[Path, str]]:
    """The jobs of one kind by one source, and what cannot be read."""
    options, given = request.options, _local(request)
    output = None if request.output is None else Path(request.output)
    mixture = options.mixture
    if len(request.sources) > 1 and any(map(has_corners, request.sources)) and not has_corners(source):
        # What stands beside a mixture for comparison is as it is.
        mixture = None
    networks = networks_of(source, video=True, engine=options.runs_on, mixture=mixture)
    if kind == "clip":
        inputs = [path for path in given if path.is_dir() or is_clip_input(path, networks, output)]
    else:
        inputs = [
            path
            for path in given
            if not is_clip_input(path, networks, output)
            and (not path.is_dir() or any(True for _ in pictures_of(path)))
        ]
    if not inputs:
        return [], {}
    if kind == "picture":
        networks = networks_of(source, engine=options.runs_on, mixture=mixture)
    jobs_of = _job_class(kind)
    target = options.target.or_scale(_scale(request, source, networks))
    windows = windows_of(source, options.engine, options.precision, options.tiles, mixture)
    setting = Setting(options, networks, target, name, windows)

    def contents(folder: Path) -> Iterable[Path]:
        return jobs_of.contents(folder, networks, output)

    jobs: list[Job] = []
    unreadable: dict[Path, str] = {}
    several = len(request.inputs) > 1 or len(request.sources) > 1
    asked = options.suffix if kind == "picture" else None
    whole = not (several or options.suffix in WRITABLE_SUFFIXES - {".png"})
    for found in find_sources(
        inputs, output, target, jobs_of.SUFFIXES, contents, several, asked, options.name is not None, whole
    ):
        if found.name not in share:
            continue
        try:
            jobs.append(jobs_of.plan(found, setting))
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
    todo: list[Job] = []
    finished: list[Job] = []
    existing: list[Path] = []
    # Read where records decide; without `resume` none does.
    records = {folder: Journal(folder).read() for folder in {job.folder for job in jobs} if options.resume}
    lists = {"todo": todo, "finished": finished}
    for job in jobs:
        state = standing(job, records.get(job.folder), options)
        if state == "exists":
            existing.append(job.target)
        else:
            lists[state].append(job)
    if existing:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        unknown = ", and no record says how it was made" if options.resume else ""
        raise RequestError(f"{existing[0]}{more}: exists{unknown}; give --overwrite to replace it")
    _check_room(todo)
    return todo, finished


def standing(
    job: Job, records: Records | None, options: PredictOptions
) -> Literal["todo", "finished", "exists"]:
    """Tell whether a job is to be run, is finished, or would replace a file that may not be replaced.

    Args:
        job: as planned.
        records: of its folder, where `options.resume` is set.
        options: whether results are resumed or replaced.
    """
    if not job.exists:
        return "todo"
    known = options.resume and records is not None and job.target in records
    if known and records is not None and records.agrees(job.target, job.finished_record()):
        return "finished"
    return "todo" if known or options.overwrite else "exists"


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
    name = content.get("kind") if isinstance(content, dict) else None
    if name not in KINDS:
        raise RequestError(f"not a job: its kind is {name!r}, not {' or '.join(KINDS)}; plan it again")
    return _job_class(name).from_json(content)


def _job_class(kind: str) -> type[PictureJob] | type[ClipJob]:
    """The jobs of a kind, one of `KINDS`."""
    if kind == "picture":
        return PictureJob
    # What reads and writes clips takes its time; pictures do without.
    from isr.predict.jobs.clip import ClipJob

    return ClipJob


def request_from(values: dict[str, Any]) -> PredictRequest:
    """Make a request of some of its fields.

    Args:
        values: by their names, dotted where they lie deeper (`options.video.crf`); the others have their defaults.

    Raises:
        RequestError: a value is out of its range.
    """
    return changed(PredictRequest(inputs=()), values)


def changed(request: PredictRequest, values: dict[str, Any]) -> PredictRequest:
    """Make a request that differs from another one in some fields, as for `request_from`."""
    made: PredictRequest = _with(request, values)
    return made


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
