"""The one seam through which long work reports and is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from isr.errors import Cancelled


class Progress(Protocol):
    """What predict, train, evaluate and export report to.

    `cancelled` is asked between tiles, frames and steps; work that finds it true leaves only whole files and
    raises `isr.errors.Cancelled`.
    """

    cancelled: bool

    def start(self, what: str, total: int, unit: str = "") -> None:
        """A new stretch of work of `total` units begins."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more units are done."""

    def message(self, text: str) -> None:
        """One line for the reader, between the units."""


class Silent:
    """A `Progress` that says nothing; the default of every Python function."""

    cancelled = False

    def start(self, what: str, total: int, unit: str = "") -> None: ...

    def advance(self, amount: int = 1) -> None: ...

    def message(self, text: str) -> None: ...


class Callback(Silent):
    """A `Progress` that calls `function(what, done, total)` after every advance.

    The function stops the work by returning False (nothing else than False does).
    """

    def __init__(self, function: Callable[[str, int, int], Any]) -> None:
        self.function = function
        self.what, self.done, self.total = "", 0, 0

    def start(self, what: str, total: int, unit: str = "") -> None:
        self.what, self.done, self.total = what, 0, total

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        if self.function(self.what, self.done, self.total) is False:
            self.cancelled = True


class Within(Silent):
    """A `Progress` for one step of longer work: passes messages and the wish to stop on, counts nothing."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    @property
    def cancelled(self) -> bool:
        return self.progress.cancelled

    @cancelled.setter
    def cancelled(self, asked: bool) -> None:
        self.progress.cancelled = asked

    def message(self, text: str) -> None:
        self.progress.message(text)


class Terminal:
    """A `Progress` on stderr, drawn by rich: a bar with the time left on a terminal, plain lines elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars
        from rich.text import Text

        class Speed(ProgressColumn):
            """Units per second, of frames."""

            def render(self, task: Any) -> Text:
                known = task.fields.get("unit") == "frames" and task.speed
                return Text(f"{task.speed:.2g}/s" if known else "")

        self.cancelled = False
        self.quiet = quiet
        self.console = Console(stderr=True, soft_wrap=True, highlight=False)
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            Speed(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=quiet or not self.console.is_terminal,
        )
        self.task: Any = None

    def start(self, what: str, total: int, unit: str = "") -> None:
        if self.task is not None:
            self.bars.remove_task(self.task)
        self.task = self.bars.add_task(what, total=total, unit=unit)
        self.bars.start()

    def advance(self, amount: int = 1) -> None:
        if self.task is not None:
            self.bars.advance(self.task, amount)

    def message(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False)

    def close(self) -> None:
        """Take the bar off the screen."""
        self.bars.stop()


def check_cancelled(progress: Progress) -> None:
    """Raise `Cancelled` if the reader of `progress` asked to stop."""
    if progress.cancelled:
        raise Cancelled("stopped on request; what was finished is whole")
