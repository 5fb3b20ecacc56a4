"""Clips on several machines: actors make runs of segments, and one task joins them.

Where all files lie in folders that the machines share, a run is a job like any other. Where a clip or its result lies
in an object store, each machine fetches the clip once, and segments lie beside the result until it is joined.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isr.errors import ISRError
from isr.io import places
from isr.io.files import atomic
from isr.io.places import is_remote, joined
from isr.predict.jobs.clip import ClipJob, Parts
from isr.predict.jobs.job import Job, Outcome
from isr.predict.jobs.places import Input
from isr.predict.networks import NETWORKS, Networks, Opened
from isr.predict.stream import Item, Maker
from isr.progress import Progress, Silent

# Segments of a run: twenty seconds of film, and all that a process that ends costs.
RUN = 10
# Hexadecimal digits of a digest that name a folder of segments.
DIGITS = 24
# Seconds that a machine's processes may take to let go of files.
LETTING_GO = 10.0


@dataclass(frozen=True)
class Clip:
    """A clip that several processes make.

    Attributes:
        source: for messages.
        unit: what an actor or the joining task is told of all of it, as JSON.
        runs: first and last segment, behind it, of each run that is missing; none where one process makes the clip.
    """

    source: str
    unit: str
    runs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, job: Job) -> Clip:
        """Divide a clip whose files all machines see."""
        runs = job.runs(RUN)
        # One alone also joins.
        parts = tuple((run.start, run.stop) for run in runs) if len(runs) > 1 else ()
        return cls(str(job.source), json.dumps(job.to_json()), parts)

    def units(self) -> list[str]:
        """List what actors are told of each run, or of the whole clip."""
        content = json.loads(self.unit)
        return [json.dumps({**content, "run": run}) for run in self.runs or (None,)]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Clip:
        """Read what `to_json` gave."""
        return cls(content["source"], content["unit"], tuple((run[0], run[1]) for run in content["runs"]))


class Made(Networks):
    """The networks of a clip whose segments are all made: none is opened."""

    def open(self, job: Job, progress: Progress) -> Opened:
        if job.runs(RUN):
            raise ISRError(f"{job.source}: segments are missing; run it again")
        return Opened((), job.networks, "CPU", False)


def join_here(job: Job) -> Outcome:
    """Join the segments of a clip whose files all machines see."""
    return job.run(Made(), Silent())


@dataclass
class Stage:
    """Files of object stores on this machine, each fetched once for all of its processes.

    Attributes:
        folder: theirs.
    """

    folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / f"isr-clips-{_user()}")
    _key: str = ""
    _lock: Any = None

    def file(self, key: str, name: str, fetch: Callable[[Path], None]) -> Path:
        """Return a file that stays until this process asks for another one.

        Args:
            key: the same for the same content only.
            name: of the file.
            fetch: writes it to a path.
        """
        import fcntl

        path = self.folder / key / name
        if key != self._key:
            self.leave()
            self.clear()
            self.folder.mkdir(mode=0o700, exist_ok=True)
            # The system lets go of the locks of a process that is gone.
            lock = (self.folder / f"{key}.lock").open("w")
            self._key, self._lock = key, lock
            try:
                fcntl.flock(lock, fcntl.LOCK_SH)
                while not path.is_file():
                    # Those who hold it have the file.
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    if not path.is_file():
                        with atomic(path) as temporary:
                            fetch(temporary)
                    # Between the two, another process may clear.
                    fcntl.flock(lock, fcntl.LOCK_SH)
            except BaseException:
                # Others wait for it, and it is not there.
                self.leave()
                raise
        return path

    def leave(self) -> None:
        """Let go of the file."""
        if self._lock is not None:
            self._lock.close()
        self._key, self._lock = "", None

    def clear(self) -> bool:
        """Remove the files that no process holds; tell whether none is left."""
        import fcntl

        empty = True
        for path in self.folder.glob("*.lock"):
            with path.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    empty = False
                    continue
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        return empty


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def clear_stage() -> None:
    """Remove the files of this machine's stage, once the processes that hold them are gone."""
    stage, end = Stage(), time.monotonic() + LETTING_GO
    while not stage.clear() and time.monotonic() < end:
        time.sleep(0.2)


class StoredClips:
    """Clips of which the file or the result lies in an object store, as one process makes them.

    Args:
        maker: of the request.
    """

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.stage = Stage()

    def divide(self, item: Item) -> Clip | Outcome:
        """Divide a clip into runs, or find that it is made."""
        return self.maker.attempt(item, lambda target: self._divide(item, target))

    def make(self, item: Item, run: range) -> Outcome:
        """Make segments of a clip, and put them beside the result, each whole."""
        return self.maker.attempt(item, lambda target: self._make(item, target, run))

    def join(self, item: Item) -> Outcome:
        """Join the segments of a clip, and put the result."""
        return self.maker.attempt(item, lambda target: self._join(item, target))

    def _divide(self, item: Item, target: Path | str) -> Clip | Outcome:
        digest = self.maker.digest(item)
        if (done := self.maker.done(item, target, digest)) is not None:
            return done
        unit = json.dumps({"item": item.to_json()})
        with self._planned(item, target, digest) as (job, segments):
            count = len(Parts(job).segments)
            if count <= RUN:
                return Clip(item.source, unit)
            there = segments.there()
            missing = [number for number in range(count) if number not in there]
        runs = [range(start, min(start + RUN, count)) for start in range(0, count, RUN)]
        left = tuple((run.start, run.stop) for run in runs if any(number in run for number in missing))
        # With all of them there, the first is looked for again, and joined.
        return Clip(item.source, unit, left or ((0, 1),))

    def _make(self, item: Item, target: Path | str, run: range) -> Outcome:
        with self._planned(item, target, self.maker.digest(item)) as (job, segments):
            there = segments.there()
            missing = [number for number in run if number not in there]
            if not missing:
                return Outcome(item.source, target, "skipped")
            Parts(job).begin()
            outcome = job.of_run(range(missing[0], missing[-1] + 1)).run(NETWORKS, Silent())
            if outcome.status == "written":
                for number in missing:
                    for path in Parts(job).files(number):
                        segments.put(path)
        return self.maker.shown(outcome, item, target, job)

    def _join(self, item: Item, target: Path | str) -> Outcome:
        digest = self.maker.digest(item)
        with self._planned(item, target, digest) as (job, segments):
            parts = Parts(job)
            parts.begin()
            segments.fetch(parts.folder)
            outcome = join_here(job)
            if outcome.status == "written":
                self.maker.put(job.target, target, digest)
                segments.remove()
        return self.maker.shown(outcome, item, target, job)

    @contextmanager
    def _planned(self, item: Item, target: Path | str, digest: str) -> Iterator[tuple[ClipJob, Segments]]:
        """The job of a clip that makes it in a folder of scratch, and where its segments lie."""
        digest = digest[:DIGITS]
        source = Path(item.source)
        if is_remote(item.source):
            source = self.stage.file(
                digest, item.source.rpartition("/")[2], lambda path: places.fetch(item.source, path)
            )
        with tempfile.TemporaryDirectory(prefix="isr-") as scratch:
            name = str(target).replace("\\", "/").rpartition("/")[2]
            made = Path(scratch) / name
            job = self.maker.plan(item, Input(source, source.parent, made.parent, made))
            assert isinstance(job, ClipJob)
            beside = target.parent if isinstance(target, Path) else target.rpartition("/")[0]
            yield job, Segments(joined(beside, f".{name}.parts/{digest}"))


@dataclass(frozen=True)
class Segments:
    """The segments of a clip beside its result; whole or not there.

    Attributes:
        place: their folder or address.
    """

    place: Path | str

    def there(self) -> set[int]:
        """List the numbers of those that are made."""
        return {int(name.removesuffix(".nut")) for name in self._names() if name.endswith(".nut")}

    def put(self, path: Path) -> None:
        """Put a file of a segment."""
        if isinstance(self.place, str):
            places.put(path, f"{self.place}/{path.name}")
            return
        with atomic(self.place / path.name) as temporary:
            shutil.copyfile(path, temporary)

    def fetch(self, folder: Path) -> None:
        """Copy all files into a folder."""
        for name in self._names():
            if isinstance(self.place, str):
                places.fetch(f"{self.place}/{name}", folder / name)
            else:
                shutil.copyfile(self.place / name, folder / name)

    def remove(self) -> None:
        """Remove all files, and the folder."""
        if isinstance(self.place, str):
            places.remove(self.place)
            return
        shutil.rmtree(self.place, ignore_errors=True)
        with suppress(OSError):
            self.place.parent.rmdir()

    def _names(self) -> list[str]:
        if isinstance(self.place, str):
            return [found.name for found in places.listing(self.place)]
        return [path.name for path in self.place.glob("*") if not path.name.startswith(".")]
