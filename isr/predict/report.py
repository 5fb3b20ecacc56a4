"""What a reader is told of the work on many files: one bar, and how long it takes."""

from __future__ import annotations

import time

from isr.progress import Progress, Within

LONG = 10.0  # seconds from which work begins with an estimate


class Report(Within):
    """One bar over the tiles of all jobs, and an estimate after the first measured tile."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self._left = 0  # input pixels of tiles that are not done
        self._job: list[int] = []  # areas of the current job's tiles that are not done
        self._groups = 0
        self._total = 0
        self._memory = 0
        self._since = 0.0

    def begin(self, areas: list[int], memory: int) -> None:
        """All tiles of all jobs are known: their areas, and the bytes of the largest job's pictures."""
        self._left, self._total, self._memory = sum(areas), len(areas), memory
        if areas:
            self.progress.start("upscale", len(areas), "tiles")

    def enter(self, areas: list[int]) -> None:
        """A job of tiles of these areas begins."""
        self._job = list(areas)
        self._since = time.monotonic()

    def leave(self) -> None:
        """The job is over; tiles that it did without count as done."""
        if self._job:
            self.progress.advance(len(self._job))
            self._left -= sum(self._job)
        self._job = []

    def advance(self, amount: int = 1) -> None:
        done, self._job = self._job[:amount], self._job[amount:]
        self._left -= sum(done)
        self._groups += 1
        seconds = time.monotonic() - self._since
        # The first calls of a network also build its graphs: where there are more, the third is measured.
        if done and self._groups == min(3, self._total):
            self._estimate(seconds / sum(done))
        self._since = time.monotonic()
        self.progress.advance(len(done))  # more than planned only where memory ran out and tiles shrank

    def _estimate(self, seconds_per_pixel: float) -> None:
        seconds = seconds_per_pixel * self._left
        if seconds >= LONG:
            memory = (_resident() + self._memory) / 2**30
            self.progress.message(f"about {duration_of(seconds)} to go, about {memory:.1f} GiB of memory")


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def duration_of(seconds: float) -> str:
    """`45 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
