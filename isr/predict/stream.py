"""Inputs that come one by one, of object stores and lists: each planned where it is made, and put where it belongs.

Nothing here holds all names at once, only two numbers for each result, so a request may have millions of inputs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from isr.errors import Cancelled, ISRError, MachineError, RequestError
from isr.io import places
from isr.io.clips import ANIMATION_SUFFIXES, VIDEO_SUFFIXES, WRITABLE_SUFFIXES, is_clip
from isr.io.files import atomic, walk
from isr.io.pictures import READABLE
from isr.io.places import is_remote, joined, place_of
from isr.predict import command
from isr.predict.adapting import Adaptation
from isr.predict.jobs.clip import ClipJob
from isr.predict.jobs.job import DiskError, Job, Outcome, Setting, Unreadable, disk_needed, line_of
from isr.predict.jobs.journal import Journal, Records
from isr.predict.jobs.picture import PictureJob
from isr.predict.jobs.places import Input, file_key
from isr.predict.jobs.shards import Share
from isr.predict.networks import NETWORKS
from isr.predict.options import PredictOptions
from isr.predict.plain import to_plain
from isr.predict.precision import expected_device, resolve_precision, supported_precision
from isr.predict.request import PredictRequest, changed, standing
from isr.predict.source import Windows, default_scale, networks_of, windows_of
from isr.progress import Estimate, Progress, Within, check_cancelled, tell_estimates

T = TypeVar("T")

KNOWN = READABLE | VIDEO_SUFFIXES | ANIMATION_SUFFIXES
# What a line of a list may say beside options: where the input is, what its result is called, and facts for estimates.
ABOUT = ("source", "result", "width", "height", "frames")
# Options of the whole request, not of one input.
WHOLE = ("output", "name", "shard", "overwrite", "resume")
# Inputs up to which they are counted before the first one is made.
COUNTED = 10_000
# Version of what a digest is made of.
VERSION = 1


@dataclass(frozen=True)
class Item:
    """One input.

    Attributes:
        source: a path or an address.
        name: below its folder, its bucket or the list; the result is called so, and shards go by it.
        size, etag: of an object that was listed; None and "" where they are not known.
        options: that a list gives this input alone, by the keys of the command line.
        facts: width, height and frames, where a list says them.
    """

    source: str
    name: str
    size: int | None = None
    etag: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def items_of(request: PredictRequest) -> Iterator[Item]:
    """List the inputs of a request as they come, those of its shard alone.

    Raises:
        RequestError: an input is missing, or a line of a list is none.
        ISRError: a store does not answer.
    """
    share = Share(request.shard)
    for given in request.inputs:
        empty = True
        for item in _items(given):
            empty = False
            if item.name in share:
                yield item
        if empty:
            raise RequestError(f"{given}: no pictures and no clips in it")


def _items(given: Path | str) -> Iterator[Item]:
    if isinstance(given, str) and given.startswith("@"):
        yield from _listed(place_of(given[1:]))
    elif isinstance(given, str):
        if PurePosixPath(given).suffix.lower() in KNOWN:
            found = places.find(given)
            if found is None:
                raise RequestError(f"{given}: no such object: check the spelling")
            yield Item(given, found.name, found.size, found.etag)
            return
        for found in places.listing(given):
            if PurePosixPath(found.name).suffix.lower() in KNOWN:
                yield Item(found.address, found.name, found.size, found.etag)
    elif given.is_dir():
        for path in walk(given, KNOWN):
            yield Item(str(path), path.relative_to(given).as_posix())
    elif given.exists():
        yield Item(str(given), given.name)
    else:
        raise RequestError(f"{given}: no such file or folder: check the spelling of the path")


def _listed(place: Path | str) -> Iterator[Item]:
    """The inputs of a list: a name a line, or an object of JSON."""
    with tempfile.TemporaryDirectory(prefix="isr-") as scratch:
        path = Path(scratch) / "list" if isinstance(place, str) else place
        if isinstance(place, str):
            places.fetch(place, path)
        elif not path.is_file():
            raise RequestError(f"{place}: no such list: check the spelling of the path")
        folder = place.rpartition("/")[0] if isinstance(place, str) else place.parent
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                if text := line.strip("\r\n").strip():
                    yield _line(text, folder, f"{place}: line {number}")


def _line(text: str, folder: Path | str, where: str) -> Item:
    said: dict[str, Any] = {"source": text}
    if text.startswith("{"):
        try:
            said = json.loads(text)
        except ValueError as error:
            raise RequestError(f"{where}: not JSON: {error}") from None
    source = said.get("source")
    if not isinstance(source, str) or not source:
        raise RequestError(f"{where}: says no source")
    keys = {option.key for option in command.OPTIONS} - set(WHOLE)
    for key in said:
        if key not in keys and key not in ABOUT:
            raise RequestError(
                f"{where}: {key!r} is neither an option of one input nor one of {', '.join(ABOUT)}"
            )
    place = place_of(source)
    if isinstance(place, Path):
        # A relative name belongs to the folder of the list.
        name = place.name if place.is_absolute() or ".." in place.parts else place.as_posix()
        place = folder / place if isinstance(folder, Path) else joined(folder, place.as_posix())
    else:
        name = place.partition("://")[2].partition("/")[2]
    facts: dict[str, int] = {key: said[key] for key in ("width", "height", "frames") if key in said}
    if not all(isinstance(value, int) and value > 0 for value in facts.values()):
        raise RequestError(f"{where}: width, height and frames are whole numbers from 1")
    options = {key: value for key, value in said.items() if key in keys}
    return Item(str(place), str(said.get("result") or name), options=options, facts=facts)


@dataclass(frozen=True)
class Settled:
    """What a driver has chosen for all machines.

    Attributes:
        pictures, clips: engine and precision of 8-bit pixels of these; "auto" where it is open.
        cores: by which encoders of video choose their threads.
        windows: the engine of networks of several frames that nothing names; empty where none are taken.
    """

    pictures: tuple[str, str]
    clips: tuple[str, str]
    cores: int = 1
    windows: str = ""


@dataclass(frozen=True)
class Asked:
    """What is asked of items with the same options.

    Attributes:
        options: how they are made.
        source: of networks.
        settled: what others have chosen; None: this machine chooses.
    """

    options: PredictOptions
    source: Any
    settled: Settled | None = None

    @cached_property
    def pictures(self) -> Setting:
        """Return what pictures share."""
        return self._setting(self.settled.pictures if self.settled else None, video=False)

    @cached_property
    def clips(self) -> Setting:
        """Return what clips share."""
        return self._setting(self.settled.clips if self.settled else None, video=True)

    def _setting(self, settled: tuple[str, str] | None, video: bool) -> Setting:
        options = self.options
        if settled is not None:
            engine, precision = settled
            options = replace(
                options,
                engine=engine if options.engine == "auto" else options.engine,
                precision=precision if options.precision in ("auto", "fast") else options.precision,
            )
        networks = networks_of(self.source, video=video, engine=options.runs_on, mixture=options.mixture)
        target = options.target.or_scale(default_scale(self.source, networks))
        return Setting(options, networks, target, windows=self.windows)

    @cached_property
    def windows(self) -> Windows:
        """Return the networks of several frames that nothing names."""
        asked, engine = self.options, self.options.engine
        if self.settled is not None:
            engine = self.settled.windows
            if not engine:
                return Windows()
        windows = windows_of(self.source, engine, asked.precision, asked.tiles, asked.mixture)
        # A machine that hinders them fails: going on frame by frame would make results that differ.
        return windows if self.settled is None else replace(windows, hindrance="")

    def settle(self) -> Settled:
        """Choose engine and precision, as this machine does."""
        return self._settled

    @cached_property
    def _settled(self) -> Settled:
        pictures = self._choice(self.pictures) if self.single else self._choice(self.clips)
        return Settled(pictures, self._choice(self.clips), cores_here(), self.windows.engine)

    def _choice(self, setting: Setting) -> tuple[str, str]:
        networks = [network for network in setting.networks.values() if network.precisions]
        engines = {network.engine for network in networks}
        if len(engines) != 1:
            return setting.options.engine, setting.options.precision
        wanted, _ = resolve_precision(setting.options.precision, np.dtype(np.uint8), networks)
        device = expected_device(setting.options.device, networks)
        return engines.pop(), supported_precision(wanted, device)[0]

    @cached_property
    def digested(self) -> dict[str, Any]:
        """Return what decides the result, beside the input, as plain JSON values."""
        made: dict[str, Any] = to_plain(self.options)
        for free in ("overwrite", "resume", "max_pixels", "device", "engine", "precision"):
            del made[free]
        # Earlier versions knew neither; of a file, its numbers count.
        seconds, kernel = made.pop("adapt"), made.pop("kernel")
        if seconds is not None:
            made.update(Adaptation.of(seconds, kernel).record)
        networks = {**self.clips.networks, **self.pictures.networks} if self.single else self.clips.networks
        weights = {str(scale): network.fingerprint() for scale, network in networks.items()}
        # Threads of encoders are left out: machines of other numbers trust each other's results.
        settled = {key: list(getattr(self.settle(), key)) for key in ("pictures", "clips")}
        return {"version": VERSION, "options": made, "networks": weights, "settled": settled}

    @property
    def single(self) -> bool:
        """Tell whether the networks take pictures."""
        return all(network.num_frames == 1 for network in self.clips.networks.values())


class Maker:
    """Makes the items of a request, one after another, in this process.

    Args:
        request: what is asked for.
        settled: what a driver has chosen for all machines; None: this machine chooses. With it, a result that agrees
            is no reason to refuse: this process may have made it before it ended.

    Raises:
        RequestError: it is not what can be done item by item.
    """

    def __init__(self, request: PredictRequest, settled: Settled | None = None) -> None:
        if request.output is None:
            raise RequestError("name a place for the results of object stores and lists by --output")
        if len(request.sources) > 1:
            raise RequestError("--preset: one at a time for object stores and lists")
        if request.options.name is not None:
            raise RequestError("--name: results of object stores and lists keep their names")
        self.request, self.settled = request, settled
        self.output = request.output
        if isinstance(self.output, Path) and self.output.suffix.lower() in READABLE | WRITABLE_SUFFIXES:
            raise RequestError(f"{self.output}: name a folder for the results of object stores and lists")
        self._asked: dict[str, Asked] = {}
        # Of each result so far: a number of its name, and of its input.
        self._made: dict[int, int] = {}
        self._records: Records | None = None
        # A wrong preset is refused before the first item.
        _ = self.asked({}).clips

    def asked(self, options: dict[str, Any]) -> Asked:
        """Tell what is asked of an item with options of its own."""
        key = json.dumps(options, sort_keys=True)
        if key not in self._asked:
            request = changed(self.request, _read(options)) if options else self.request
            source = request.sources[0] if request.sources else None
            self._asked[key] = Asked(request.options, source, self.settled)
        return self._asked[key]

    def settle(self) -> Settled:
        """Choose engine and precision for all machines."""
        return self.asked({}).settle()

    def target(self, item: Item) -> Path | str:
        """Name the result: names stay, below the output; the format may change the suffix.

        Raises:
            RequestError: the name leads out of the output.
        """
        name, asked = PurePosixPath(item.name), self.asked(item.options).options.suffix
        if name.is_absolute() or ".." in name.parts or not name.name:
            raise RequestError(f"{item.source}: the name {item.name!r} leads out of {self.output}")
        suffix = name.suffix.lower()
        made = asked or (name.suffix if suffix in READABLE | WRITABLE_SUFFIXES else ".mkv")
        return joined(self.output, name.with_name(name.stem + made).as_posix())

    def make(self, item: Item, progress: Progress) -> Outcome:
        """Make the result of an item, or find that it is made.

        Args:
            item: the input.
            progress: told of messages; asked to pause and to stop.

        Returns:
            What became of it; an error is told, not raised.

        Raises:
            Cancelled: the progress asks for it; what is finished is whole then.
        """
        return self.attempt(item, lambda target: self._make(item, target, progress))

    def attempt(self, item: Item, work: Callable[[Path | str], T]) -> T | Outcome:
        """Do work on an item, given where its result belongs; an error is told, not raised.

        Raises:
            Cancelled: the work does.
        """
        target: Path | str | None = None
        try:
            target = self.target(item)
            self._check_target(item, target)
            return work(target)
        except Cancelled:
            raise
        except (ISRError, MemoryError, OSError, DiskError) as error:
            fatal, reason = isinstance(error, DiskError), error
            if isinstance(error, DiskError):
                reason = error.reason
            failure = reason if isinstance(reason, ISRError) else MachineError(line_of(item.source, reason))
            line = line_of(_shown(item.source), reason)
            return Outcome(_shown(item.source), target, "failed", line, fatal=fatal, failure=failure)

    def _check_target(self, item: Item, target: Path | str) -> None:
        """Refuse a result that would replace its own input, or that of another input."""
        key, source = (
            place if is_remote(place) else file_key(Path(place)) for place in (str(target), item.source)
        )
        if key == source:
            raise RequestError(
                f"{target}: is an input, and would be replaced by its result; choose another --output"
            )
        if self._made.setdefault(hash(key), hash(source)) != hash(source):
            raise RequestError(
                f"{target}: is the result of another input, too; give one of them another name"
            )

    def _make(self, item: Item, target: Path | str, progress: Progress) -> Outcome:
        if isinstance(target, Path) and not is_remote(item.source):
            job = self.plan_here(item, target)
            return job if isinstance(job, Outcome) else job.run(NETWORKS, progress)
        return self._make_between(item, target, progress)

    def plan_here(self, item: Item, target: Path) -> Job | Outcome:
        """Plan the result of an item where both are files that stay where they are, or find that it is made.

        Raises:
            ISRError: it cannot be made, or may not be replaced.
        """
        assert isinstance(self.output, Path)
        source = Path(item.source)
        job = self.plan(item, Input(source, source.parent, self.output, target))
        options = self.asked(item.options).options
        if self._again(options) and job.exists:
            options = replace(options, resume=True)
            if standing(job, self.records, options) != "finished":
                # It may have been made since they were read.
                self._records = None
        state = standing(job, self.records if options.resume else None, options)
        if state == "finished":
            return Outcome(source, target, "skipped")
        if state == "exists":
            raise _refused(target, options)
        return job

    def _again(self, options: PredictOptions) -> bool:
        """Whether a result that agrees may be one that this process made before it ended."""
        return self.settled is not None and not options.overwrite

    def done(self, item: Item, target: Path | str, digest: str) -> Outcome | None:
        """Find that a result in a store, or of an object in one, is made; None where it is to be made.

        Args:
            item: the input.
            target: where its result belongs.
            digest: of what that is made from.

        Raises:
            ISRError: it may not be replaced.
        """
        options = self.asked(item.options).options
        # The object that is there, or the record of the file.
        known = self._known(target)
        if known is None:
            return None
        if (options.resume or self._again(options)) and known == digest:
            return Outcome(_shown(item.source), target, "skipped")
        if not options.overwrite and not (options.resume and known):
            raise _refused(target, options)
        return None

    def _make_between(self, item: Item, target: Path | str, progress: Progress) -> Outcome:
        digest = self.digest(item)
        if (done := self.done(item, target, digest)) is not None:
            return done
        with tempfile.TemporaryDirectory(prefix="isr-") as folder:
            scratch = Path(folder)
            (scratch / "in").mkdir()
            source = Path(item.source)
            if is_remote(item.source):
                source = scratch / "in" / source.name
                places.fetch(item.source, source)
            made = scratch / "out" / PurePosixPath(str(target)).name
            job = self.plan(item, Input(source, source.parent, made.parent, made))
            outcome = job.run(NETWORKS, progress)
            if outcome.status == "written":
                self.put(made, target, digest)
        return self.shown(outcome, item, target, job)

    def shown(self, outcome: Outcome, item: Item, target: Path | str, job: Job) -> Outcome:
        """Tell what became of an item whose job read and wrote files in scratch, of which a reader knows nothing."""
        for path, shown in ((job.source, item.source), (job.target, str(target))):
            outcome = replace(
                outcome,
                error=outcome.error.replace(str(path), shown),
                warning=outcome.warning.replace(str(path), shown),
            )
        if outcome.failure is not None:
            outcome = replace(outcome, failure=type(outcome.failure)(outcome.error))
        return replace(outcome, source=_shown(item.source), target=target)

    def digest(self, item: Item) -> str:
        """Hash what a result is made from: the input's identity, the options and the networks.

        Raises:
            RequestError: the input is missing.
        """
        if is_remote(item.source):
            size, etag = item.size, item.etag
            if size is None:
                found = places.find(item.source)
                if found is None:
                    raise RequestError(f"{item.source}: no such object: check the spelling")
                size, etag = found.size, found.etag
            identity: dict[str, Any] = {"bytes": size, "etag": etag}
        else:
            status = Path(item.source).stat()
            identity = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        asked = self.asked(item.options)
        content = {**asked.digested, "source": item.name, "input": identity}
        if is_clip_name(item.source) and (engine := asked.settle().windows):
            networks = asked.windows.networks.items()
            content["windows"] = [engine, {scale: network.fingerprint() for scale, network in networks}]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def records(self) -> Records:
        """Return the records of a local output, read once."""
        if self._records is None:
            assert isinstance(self.output, Path)
            self._records = Journal(self.output).read()
        return self._records

    def _known(self, target: Path | str) -> str | None:
        """The digest of a result that is there; "" where nothing tells it, None where there is no result."""
        if isinstance(target, str):
            return places.note_of(target)
        if not target.exists():
            return None
        record = self.records.get(target) or {}
        same = record.get("output") == {"bytes": target.stat().st_size}
        # One that was begun, or is of another size, is this package's, and not up to date.
        return str(record.get("digest", "?")) if same else "?" if target in self.records else ""

    def put(self, made: Path, target: Path | str, digest: str) -> None:
        """Put a result where it belongs, with the digest of what it was made from."""
        if isinstance(target, str):
            places.put(made, target, digest)
            return
        assert isinstance(self.output, Path)
        journal = Journal(self.output)
        with disk_needed():
            journal.start(target)
            with atomic(target) as temporary:
                shutil.copyfile(made, temporary)
            journal.finish(target, {"digest": digest, "output": {"bytes": target.stat().st_size}})

    def plan(self, item: Item, source: Input) -> Job:
        """Plan the result of an item, from a file and to one.

        Raises:
            ISRError: it cannot be made here.
        """
        asked = self.asked(item.options)
        clip = is_clip(source.path)
        if clip and asked.options.suffix not in (None, *WRITABLE_SUFFIXES - {".png"}):
            raise RequestError(f"{item.source}: a clip cannot be written as {asked.options.suffix}")
        kind = ClipJob if clip else PictureJob
        try:
            job = kind.plan(source, asked.clips if clip else asked.pictures)
        except Unreadable as error:
            raise error.reason from None
        if self.settled is not None:
            chosen = (self.settled.clips if clip else self.settled.pictures)[1]
            # Float32 instead would make other pixels than the other machines make.
            if job.networks and supported_precision(chosen, job.processor)[0] != chosen:
                raise MachineError(
                    f"{item.source}: a machine of the cluster does not compute in {chosen}; "
                    "give --precision float32"
                )
            job = job.on_cores(self.settled.cores)
        return job


def is_clip_name(source: str) -> bool:
    """Tell whether a file is a clip, and no picture, by its name."""
    return PurePosixPath(source).suffix.lower() in (VIDEO_SUFFIXES | ANIMATION_SUFFIXES) - READABLE


def run_stream(request: PredictRequest, progress: Progress) -> Iterator[Outcome]:
    """Make the items of a request in this process, and tell what became of each as it is known.

    Args:
        request: with inputs of object stores or lists.
        progress: told of items; asked to pause and to stop.

    Raises:
        ISRError: it cannot be done item by item, an input is missing, or an error would befall every other item too.
        Cancelled: the progress asks for it. What is finished then is whole.
    """
    maker = Maker(request)
    count, items = counted(items_of(request))
    reader, begun = Within(progress), time.monotonic()
    progress.start("upscale", count, "files")
    for done, item in enumerate(items, 1):
        check_cancelled(progress)
        outcome = maker.make(item, reader)
        if outcome.failure is not None and outcome.fatal:
            raise outcome.failure
        yield outcome
        tell(progress, done, count, begun)
        if getattr(progress, "finishing", False):
            raise Cancelled("stopped on request, after this file; what was finished is whole")


def tell(progress: Progress, done: int, count: int, begun: float) -> None:
    """Tell that another of `count` files is done, and how long the rest will take; 0 where that is not known."""
    progress.advance(1)
    if count:
        seconds = (time.monotonic() - begun) / done * (count - done)
        left = Estimate(done, count - done, seconds)
        tell_estimates(progress, left, left)


def cores_here() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def counted(items: Iterator[Item]) -> tuple[int, Iterator[Item]]:
    """Count items where they are not too many to be held; 0 where they are."""
    first = list(itertools.islice(items, COUNTED + 1))
    return (len(first) if len(first) <= COUNTED else 0), itertools.chain(first, items)


def _shown(source: str) -> Path | str:
    return source if is_remote(source) else Path(source)


def _refused(target: Path | str, options: PredictOptions) -> RequestError:
    unknown = ", and no record says how it was made" if options.resume else ""
    return RequestError(f"{target}: exists{unknown}; give --overwrite to replace it")


def _read(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that options of a list give, as the command line reads them."""
    given: dict[str, Any] = {"precision": None}
    for option in command.OPTIONS:
        if option.key in options:
            value = options[option.key]
            said = value if isinstance(value, list) else [value]
            try:
                read = [option.kind(one) for one in said]
            except (TypeError, ValueError, OverflowError):
                read = []
            # What Python would make something else of: "false", and 64.7 tiles.
            whole = option.kind not in (bool, int) or all(
                isinstance(one, bool) if option.kind is bool else one == made
                for one, made in zip(said, read, strict=False)
            )
            if not read or not whole:
                raise RequestError(f"{option.key}: {value!r} is not what {option.name} takes")
            given[option.key] = read if option.many else read[0]
    values = command.values_of(given)
    # One replaces the other of the request.
    for one, other in (("options.scale", "options.size"), ("options.size", "options.scale")):
        if one in values:
            values.setdefault(other, None)
    return values
