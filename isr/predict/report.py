"""What a reader is told of the work on files: one bar, and one estimate of the time that is left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isr.predict.speeds import Kind, Speeds
from isr.progress import Estimate, Place, Progress, Within, show_tile, tell_estimates

if TYPE_CHECKING:
    from isr.predict.jobs.job import Job

# Seconds from which work begins with a line on how long it takes.
LONG = 10.0
# Units after which a pace is believed; the first ones also build a network's graphs.
MEASURED = 3


@dataclass(frozen=True)
class Units:
    """How much work a job is.

    Attributes:
        count: what a bar counts.
        name: of them: "tiles" or "frames".
        megapixels: that go through the networks; time is in proportion to these.
    """

    count: int
    name: str
    megapixels: float


def estimate(units: Units, done: int, pace: float | None) -> Estimate:
    """Tell how long the rest of a job will take; what terminal, callback, page and cluster show.

    Args:
        units: of the whole job.
        done: how many of them.
        pace: seconds per megapixel, measured by this job or by earlier ones, reading, writing and encoding included;
            None: not known.
    """
    left = units.count - done
    if not left:
        return Estimate(done, 0, 0.0)
    return Estimate(done, left, None if pace is None else pace * units.megapixels * left / units.count)


def together(estimates: Iterable[Estimate]) -> Estimate:
    """Sum the estimates of several jobs; the time is known where it is of all."""
    estimates = list(estimates)
    known = [one.seconds for one in estimates if one.seconds is not None]
    return Estimate(
        sum(one.done for one in estimates),
        sum(one.left for one in estimates),
        sum(known) if len(known) == len(estimates) else None,
    )


class Watch(Within):
    """The progress of one job: measures its pace, without pauses, and estimates the rest.

    Args:
        progress: of the reader.
        units: of the job.
        pace: seconds per megapixel that are expected; None: not known.
    """

    def __init__(self, progress: Progress, units: Units, pace: float | None = None) -> None:
        super().__init__(progress)
        self.units = units
        self.pace = pace
        self._total = self._done = self._skipped = 0
        self._spared = 0.0
        self._begun = time.monotonic()
        # Seconds that were no work.
        self._lost = 0.0
        # When the pause began that is on.
        self._since: float | None = None
        # Seconds that the first unit took.
        self._first = 0.0

    @property
    def seconds(self) -> float:
        """Return the seconds that the job has worked."""
        return (time.monotonic() if self._since is None else self._since) - self._begun - self._lost

    @property
    def paused(self) -> bool:
        wanted, now = super().paused, time.monotonic()
        if wanted and self._since is None:
            self._since = now
        elif not wanted and self._since is not None:
            self._lost += now - self._since
            self._since = None
        return wanted

    def leave_out(self, seconds: float) -> None:
        """Take back seconds that were no work of this job."""
        self._lost += seconds

    def start(self, what: str, total: int, unit: str = "") -> None:
        self._total, self._first = total, -self.seconds
        self.progress.start(what, total, unit)

    def advance(self, amount: int = 1) -> None:
        if self._done == self._skipped:
            self._first += self.seconds
        self._done += amount
        if self._done - self._skipped >= MEASURED:
            _, self.pace = self._measured(self._done - self._skipped, fresh=True)
        self._tell(amount)

    def tile(self, pixels: Any, place: Place) -> None:
        show_tile(self.progress, pixels, place)

    def spare(self, units: float) -> None:
        """Count units that were done without the network, since they repeat others: no measure for other jobs."""
        self._spared += units

    def skip(self, amount: int) -> None:
        """Count units that an earlier run did, and that say nothing of the pace."""
        self._skipped += amount
        self._done += amount
        self._tell(amount)

    def measured(self, fresh: bool) -> tuple[float, float | None]:
        """Return the megapixels that were measured, and seconds per megapixel.

        Args:
            fresh: whether the first unit is left out, since it took longer than the next ones will.
        """
        return self._measured(self._done - self._skipped - self._spared, fresh)

    def _measured(self, units: float, fresh: bool) -> tuple[float, float | None]:
        counted = units - fresh
        seconds = self.seconds - (self._first if fresh else 0)
        megapixels = self.units.megapixels * counted / max(self._total, 1)
        return (megapixels, seconds / megapixels) if megapixels > 0 else (0.0, None)

    def _tell(self, amount: int) -> None:
        # What was planned without the network, and what memory allows, may differ in the number of tiles.
        done = min(self._done * self.units.count // max(self._total, 1), self.units.count)
        own = estimate(self.units, done, self.pace)
        tell_estimates(self.progress, own, own)
        self.progress.advance(amount)


class Report(Within):
    """One bar over the units of all jobs, the lines that concern them, and how long they take.

    Args:
        jobs: those that will be run, in this order.
        progress: of the reader.
        speeds: measured by finished jobs.
    """

    def __init__(self, jobs: Sequence[Job], progress: Progress, speeds: Speeds) -> None:
        super().__init__(progress)
        self._speeds = speeds
        self._count = sum(job.units.count for job in jobs)
        self._names = {job.units.name for job in jobs}
        self._memory = max((job.bytes_needed for job in jobs), default=0)
        # Units and megapixels that are not begun.
        self._waiting: dict[Kind, tuple[int, float]] = {}
        for job in jobs:
            self._wait(job, 1)
        # Units of the jobs that are over.
        self._done = 0
        # Of the job at work.
        self._units, self._kind = Units(0, "", 0.0), Kind("", "", "", "")
        # Seconds per megapixel, of jobs at work.
        self._paces: dict[Kind, float] = {}
        self._notes: tuple[str, ...] = ()
        self._said: set[str] = set()
        # Of the job at work: its own units, and those of the bar.
        self._total = self._raw = self._moved = 0
        self._advances = 0
        self._begun = self._told = False

    def enter(self, job: Job) -> None:
        """Begin the next job."""
        self._wait(job, -1)
        self._units, self._kind, self._notes = job.units, job.kind, job.notes
        self._total = self._raw = self._moved = 0

    def leave(self) -> None:
        """End the job; units that it did without count as done."""
        if self._begun:
            self._move(self._units.count)
        self._done += self._units.count

    def start(self, what: str, total: int, unit: str = "") -> None:
        self._total = total
        # Once, not for every file of a folder.
        for line in self._notes:
            if line not in self._said:
                self._said.add(line)
                self.message(line)
        if not self._begun:
            self._begun = True
            unit = self._names.pop() if len(self._names) == 1 else "tiles and frames"
            self.progress.start(what, self._count, unit)
            if self._done:
                self.progress.advance(self._done)

    def advance(self, amount: int = 1) -> None:
        self._raw += amount
        self._move(min(self._raw * self._units.count // max(self._total, 1), self._units.count))

    def estimated(self, job: Estimate, overall: Estimate) -> None:
        if job.left and job.seconds is not None:
            self._paces[self._kind] = job.seconds / (self._units.megapixels * job.left / self._units.count)
        waiting = (
            estimate(Units(count, "", megapixels), 0, self._paces.get(kind) or self._speeds.get(kind))
            for kind, (count, megapixels) in self._waiting.items()
        )
        whole = together([Estimate(self._done, 0, 0.0), job, *waiting])
        self._advances += 1
        if not self._told and self._advances >= min(MEASURED, self._count):
            self._tell(whole)
        tell_estimates(self.progress, job, whole)

    def tile(self, pixels: Any, place: Place) -> None:
        show_tile(self.progress, pixels, place)

    def _wait(self, job: Job, sign: int) -> None:
        count, megapixels = self._waiting.get(job.kind, (0, 0.0))
        units = job.units
        count, megapixels = count + sign * units.count, megapixels + sign * units.megapixels
        if count:
            self._waiting[job.kind] = count, megapixels
        else:
            self._waiting.pop(job.kind, None)

    def _move(self, done: int) -> None:
        """Let the bar stand at so many units of the job."""
        if done > self._moved:
            self.progress.advance(done - self._moved)
            self._moved = done

    def _tell(self, whole: Estimate) -> None:
        if whole.seconds is None:
            return
        self._told = True
        if whole.seconds >= LONG:
            memory = (_resident() + self._memory) / 2**30
            self.message(f"about {duration_of(whole.seconds)} to go, about {memory:.1f} GiB of memory")


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def took(seconds: float | None) -> str:
    """Write `about 3 min`, or that it is not known."""
    return "time not known yet" if seconds is None else f"about {duration_of(seconds)}"


def duration_of(seconds: float) -> str:
    """Write seconds as people do: `45 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
