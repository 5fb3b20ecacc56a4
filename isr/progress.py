"""The one seam through which long work reports and is stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from isr.errors import Cancelled

# Left, top, right and bottom of a part, as shares of the picture.
Place = tuple[float, float, float, float]
# What happens while no unit of work is done: to networks, and to results.
Phase = Literal["opening", "converting", "adapting", "writing", "joining"]
# Seconds between two looks at `paused`.
POLLED = 0.05


@dataclass(frozen=True)
class Estimate:
    """How far work is, and how long it will take.

    Attributes:
        done, left: units of work: tiles of pictures, frames of clips.
        seconds: that the rest will take, reading, writing and encoding included; None: not known yet.
    """

    done: int
    left: int
    seconds: float | None = None


class Progress(Protocol):
    """What predict, train, evaluate and export report to, and what they ask.

    Work asks between tiles, frames, steps and files. A reader sets these attributes from another thread, or in
    `advance`:

    Attributes:
        cancelled: stop now. Work leaves only whole files and raises `isr.errors.Cancelled`.
        paused: wait while this is true. Work then holds no lock, and what it has finished is on the disk.
        finishing: stop after the file that is being made.
        keeping: when `cancelled`, also join the finished segments of a clip into a file that plays.
    """

    cancelled: bool

    @property
    def paused(self) -> bool: ...

    @property
    def finishing(self) -> bool: ...

    @property
    def keeping(self) -> bool: ...

    def start(self, what: str, total: int, unit: str = "") -> None:
        """Begin a new stretch of work of `total` units."""

    def advance(self, amount: int = 1) -> None:
        """Count `amount` more units as done."""

    def message(self, text: str) -> None:
        """Tell the reader one line, between the units."""

    def estimated(self, job: Estimate, overall: Estimate) -> None:
        """Tell how far this file is, and all of them; by prediction alone, before every advance."""

    def doing(self, phase: Phase | None, of: str = "") -> None:
        """Tell what is done instead of units; by prediction alone.

        Args:
            phase: what begins; None: it is over.
            of: what it is done to, such as the name of a network.
        """

    def tile(self, pixels: Any, place: Place) -> None:
        """Show a finished part of the picture at work, before it is written; by prediction of pictures alone.

        Args:
            pixels: `[h, w, c]` float32 about [0, 1], before rounding; a view that must not be written into.
            place: where it lies in the picture.
        """


class Silent:
    """A `Progress` that says nothing; the default of every Python function."""

    cancelled = False
    paused = False
    finishing = False
    keeping = False

    def start(self, what: str, total: int, unit: str = "") -> None: ...

    def advance(self, amount: int = 1) -> None: ...

    def message(self, text: str) -> None: ...

    def estimated(self, job: Estimate, overall: Estimate) -> None: ...

    def doing(self, phase: Phase | None, of: str = "") -> None: ...

    def tile(self, pixels: Any, place: Place) -> None: ...


class Callback(Silent):
    """A `Progress` that calls `function(what, done, total)` after every advance.

    The function stops the work by returning False (nothing else than False does). `job` and `overall` hold the
    latest estimates of a prediction, `phase` what it does while it does no units, such as "opening edsr_fast_x2".
    """

    def __init__(self, function: Callable[[str, int, int], Any]) -> None:
        self.function = function
        self.what, self.done, self.total = "", 0, 0
        self.job = self.overall = Estimate(0, 0)
        self.phase = ""

    def start(self, what: str, total: int, unit: str = "") -> None:
        self.what, self.done, self.total = what, 0, total

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        if self.function(self.what, self.done, self.total) is False:
            self.cancelled = True

    def estimated(self, job: Estimate, overall: Estimate) -> None:
        self.job, self.overall = job, overall

    def doing(self, phase: Phase | None, of: str = "") -> None:
        self.phase = describe_phase(phase, of)


class Within:
    """A `Progress` for one step of longer work: passes messages, phases and wishes on, counts nothing."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    @property
    def cancelled(self) -> bool:
        return self.progress.cancelled

    @cancelled.setter
    def cancelled(self, asked: bool) -> None:
        self.progress.cancelled = asked

    # A progress of a caller's own may know nothing of the following.
    @property
    def paused(self) -> bool:
        return getattr(self.progress, "paused", False)

    @property
    def finishing(self) -> bool:
        return getattr(self.progress, "finishing", False)

    @property
    def keeping(self) -> bool:
        return getattr(self.progress, "keeping", False)

    def start(self, what: str, total: int, unit: str = "") -> None: ...

    def advance(self, amount: int = 1) -> None: ...

    def estimated(self, job: Estimate, overall: Estimate) -> None: ...

    def doing(self, phase: Phase | None, of: str = "") -> None:
        if hasattr(self.progress, "doing"):
            self.progress.doing(phase, of)

    def tile(self, pixels: Any, place: Place) -> None: ...

    def message(self, text: str) -> None:
        self.progress.message(text)


class Terminal:
    """A `Progress` on stderr: on a terminal a bar with the time left, drawn by rich; elsewhere lines alone."""

    def __init__(self, quiet: bool = False) -> None:
        self.cancelled = self.paused = self.finishing = self.keeping = False
        self.quiet = quiet
        self.task: Any = None
        self._what = ""
        self._bars: Any = None
        self._drawn = not quiet and sys.stderr is not None and sys.stderr.isatty()

    def start(self, what: str, total: int, unit: str = "") -> None:
        self._what = what
        self._draw(what, total, unit)

    def _draw(self, what: str, total: int | None, unit: str) -> None:
        """Begin a bar in place of the one before; without a total it moves to and fro."""
        if not self._drawn:
            return
        if self._bars is None:
            # Importing rich takes its time, and lines do without.
            self._bars = _bars()
        if self.task is not None:
            self._bars.remove_task(self.task)
        self.task = self._bars.add_task(what, total=total, unit=unit)
        self._bars.start()

    def advance(self, amount: int = 1) -> None:
        if self.task is not None:
            self._bars.advance(self.task, amount)

    def estimated(self, job: Estimate, overall: Estimate) -> None:
        if self.task is not None and overall.seconds is not None:
            self._bars.update(self.task, left=overall.seconds)

    def doing(self, phase: Phase | None, of: str = "") -> None:
        said = describe_phase(phase, of) or self._what
        if self.task is not None:
            self._bars.update(self.task, description=said, refresh=True)
        elif phase is not None:
            self._draw(said, None, "")

    def tile(self, pixels: Any, place: Place) -> None: ...

    def message(self, text: str) -> None:
        if self.quiet:
            return
        if self._bars is None:
            print(text, file=sys.stderr)
        else:
            # Above the bar.
            self._bars.console.print(text, markup=False)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bars is not None:
            self._bars.stop()


def _bars() -> Any:
    """The bar of a terminal, not yet on the screen."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Count(MofNCompleteColumn):
        """How many units of how many, once they are counted."""

        def render(self, task: Any) -> Text:
            return Text() if task.total is None else super().render(task)

    class Speed(ProgressColumn):
        """Units per second, of frames."""

        def render(self, task: Any) -> Text:
            known = task.fields.get("unit") == "frames" and task.speed
            return Text(f"{task.speed:.2g}/s" if known else "")

    class Left(TimeRemainingColumn):
        """The time left: as estimated, where the work does that."""

        max_refresh = 0.0

        def render(self, task: Any) -> Text:
            left = task.fields.get("left")
            if left is None:
                return super().render(task)
            minutes, seconds = divmod(int(left), 60)
            return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", style="progress.remaining")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        Count(),
        TextColumn("{task.fields[unit]}"),
        Speed(),
        Left(),
        console=Console(stderr=True, soft_wrap=True, highlight=False),
        transient=True,
    )


def tell_estimates(progress: Progress, job: Estimate, overall: Estimate) -> None:
    """Tell the reader how far work is; one whose own progress knows nothing of estimates is told nothing."""
    if hasattr(progress, "estimated"):
        progress.estimated(job, overall)


def show_tile(progress: Progress, pixels: Any, place: Place) -> None:
    """Show the reader a finished part; one whose own progress knows nothing of parts is shown nothing."""
    if hasattr(progress, "tile"):
        progress.tile(pixels, place)


@contextmanager
def phase(progress: Progress, what: Phase, of: str = "") -> Iterator[None]:
    """Tell the reader what is done here instead of units; one whose own progress knows no phases is told nothing.

    Args:
        progress: of the reader.
        what, of: as in `Progress.doing`.
    """
    reader = Within(progress)
    reader.doing(what, of)
    try:
        yield
    finally:
        reader.doing(None)


def describe_phase(phase: Phase | None, of: str) -> str:
    """Write what is done: "opening edsr_fast_x2"; empty where units are done."""
    return f"{phase or ''} {of}".strip()


def check_cancelled(progress: Progress) -> None:
    """Wait while the reader of `progress` wants a pause; raise `Cancelled` if asked to stop."""
    while getattr(progress, "paused", False) and not progress.cancelled:
        time.sleep(POLLED)
    if progress.cancelled:
        raise Cancelled("stopped on request; what was finished is whole")
