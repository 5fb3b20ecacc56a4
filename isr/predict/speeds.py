"""How fast finished jobs were: one file in the cache folder, written and read by every process."""

from __future__ import annotations

import json
from collections import deque
from functools import cache
from pathlib import Path
from typing import NamedTuple

from isr.errors import ISRError
from isr.io.files import append_line, atomic
from isr.runtimes.engines.cache import cache_folder

NAME = "speeds.jsonl"
# Jobs of one kind that count, and bytes from which older ones are dropped.
LATEST = 8
LARGEST = 256 * 1024


class Kind(NamedTuple):
    """What decides how fast a job is.

    Attributes:
        networks: their names, in the order in which they run; "bicubic" where there is none.
        engine, precision: of all of them; empty where that is their own matter.
        device: as `isr.runtimes.devices.use_device` calls it, or only "GPU" before that is known; of a part,
            `isr.runtimes.devices.processor`.
        part: what was measured of a job: "network" for the network alone; empty for all of it.
    """

    networks: str
    engine: str
    precision: str
    device: str
    part: str = ""


class Speeds:
    """Seconds per megapixel: of finished jobs, reading, writing and encoding included; of networks alone.

    Args:
        path: the file; None: `speeds.jsonl` in the cache folder.

    Attributes:
        keeps: whether what is added is written into the file; of a process on a part of the machine it is not.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_folder() / NAME
        self.keeps = True
        self._jobs: dict[Kind, deque[tuple[float, float]]] = {}
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                *kind, megapixels, seconds = json.loads(line)
                self._note(Kind(*map(str, kind)), float(megapixels), float(seconds))
            except (ValueError, TypeError):
                continue

    def get(self, kind: Kind) -> float | None:
        """Return the seconds per megapixel of the latest jobs of a kind; None where there were none."""
        jobs = self._jobs.get(kind)
        if jobs is None and kind.device == "GPU":
            jobs = next((own for known, own in self._jobs.items() if _on_gpu(known) == kind), None)
        if not jobs:
            return None
        return sum(seconds for _, seconds in jobs) / sum(megapixels for megapixels, _ in jobs)

    def kinds(self) -> list[Kind]:
        """List the kinds of whole jobs that were measured, the latest last."""
        return [kind for kind in self._jobs if not kind.part]

    def add(self, kind: Kind, megapixels: float, pace: float | None, keep: bool = True) -> None:
        """Note what a finished job took. A cache that cannot be written is no reason to fail.

        Args:
            kind: of the job.
            megapixels: that were measured; 0 where nothing was.
            pace: seconds per megapixel.
            keep: for other processes too.
        """
        if megapixels <= 0 or not pace:
            return
        seconds = pace * megapixels
        self._note(kind, megapixels, seconds)
        if not (keep and self.keeps):
            return
        try:
            append_line(self.path, json.dumps([*kind, round(megapixels, 9), round(seconds, 6)]))
            if self.path.stat().st_size > LARGEST:
                kept = Speeds(self.path)
                with atomic(self.path) as temporary:
                    rows = ([*key, *job] for key, jobs in kept._jobs.items() for job in jobs)
                    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        except (ISRError, OSError):
            return

    def _note(self, kind: Kind, megapixels: float, seconds: float) -> None:
        # A part is measured by itself, and anew when its machine has changed.
        jobs = self._jobs.setdefault(kind, deque(maxlen=1 if kind.part else LATEST))
        jobs.append((megapixels, seconds))


def _on_gpu(kind: Kind) -> Kind:
    return kind._replace(device="GPU") if kind.device.startswith("GPU") else kind


def speeds_here() -> Speeds:
    """Give the speeds that the jobs of this process share."""
    return _speeds(cache_folder() / NAME)


@cache
def _speeds(path: Path) -> Speeds:
    return Speeds(path)
