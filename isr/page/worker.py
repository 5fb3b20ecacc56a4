"""The process that does the work: asked and answering in JSON lines, one job at a time.

Asked on stdin: `{"do": "run", "id": ..., "request": ..., "views": a folder}`, `pause`, `go_on`, `stop` (with `keep`).
When stdin ends, the work is stopped and the process ends. It answers `begun`, `progress`, `paused`, `message`, and at
last `finished`, `failed` or `stopped`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from isr.errors import Cancelled, ISRError
from isr.page.live import Live
from isr.progress import Estimate, Phase, Place

LEAST_PAUSE = 0.2  # seconds between two lines on progress
GRACE = 2.0  # seconds that work may take to stop when the server is gone


class Reports:
    """A `Progress` that writes lines, and is told by others what the reader wants."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self.clear("", None)

    def clear(self, id: str, live: Live | None) -> None:
        """Begin the next job."""
        self.id = id
        self.cancelled = self.finishing = self.keeping = False
        self._pause = self._told_pause = False
        self._what = self._unit = ""
        self._done = self._total = 0
        self._job = Estimate(0, 0)
        self._phase: Phase | None = None
        self._said = 0.0
        # Of the pictures of the file at work.
        self._live, self._shown = live, 0
        # Megapixels of a tile; 0 of a frame, since frames are counted.
        self.megapixels = 0.0

    @property
    def paused(self) -> bool:
        if self._pause and not self._told_pause:
            # Asked between tiles and frames: work stands now.
            self._told_pause = True
            self.say("paused")
        return self._pause

    def pause(self, wanted: bool) -> None:
        self._pause, self._told_pause = wanted, False

    def start(self, what: str, total: int, unit: str = "") -> None:
        self._what, self._unit, self._done, self._total = what, unit, 0, total
        self._tell(at_once=True)

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        self._tell(at_once=self._done >= self._total)

    def message(self, text: str) -> None:
        self.say("message", text=text)

    def estimated(self, job: Estimate, overall: Estimate) -> None:
        self._job = job

    def doing(self, phase: Phase | None, of: str = "") -> None:
        self._phase = phase
        self._tell(at_once=True)

    def tile(self, pixels: Any, place: Place) -> None:
        if self._live is not None:
            self._shown = self._live.draw(pixels, place)

    def say(self, what: str, **fields: Any) -> None:
        """Write one line."""
        line = json.dumps({"say": what, "id": self.id, **fields})
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()

    def _tell(self, at_once: bool) -> None:
        now = time.monotonic()
        if at_once or now - self._said >= LEAST_PAUSE:
            self._said = now
            self.say(
                "progress",
                done=self._done,
                total=self._total,
                unit=self._unit,
                seconds=self._job.seconds,
                pace=self._pace(),
                shown=self._shown,
                phase=self._phase,
            )

    def _pace(self) -> float | None:
        """Frames or megapixels per second, as the estimate sees them; None: not known."""
        job = self._job
        return job.left * (self.megapixels or 1) / job.seconds if job.left and job.seconds else None


def run(request: dict[str, Any], progress: Reports) -> None:
    """Do one request, and say what became of it."""
    from isr.predict.predictor import run_plan
    from isr.predict.request import PredictRequest, plan

    jobs: tuple[Any, ...] = ()
    try:
        asked = PredictRequest.from_json(request)
        # What a worker before this one finished is not made again.
        planned = plan(replace(asked, options=replace(asked.options, resume=True)))
        jobs = planned.jobs + planned.finished
        units = jobs[0].units
        progress.megapixels = units.megapixels / units.count if jobs[0].frames_out is None else 0.0
        for outcome in run_plan(planned, progress):
            if outcome.status == "failed":
                progress.say("failed", text=outcome.error)
                return
        job = jobs[0]
        progress.say(
            "finished",
            target=str(job.target),
            size_in=job.size_in,
            size_out=(job.route.size[1], job.route.size[0]),
            frames=job.frames_out,
            seconds=outcome.seconds,
            warning=outcome.warning,
            how=outcome.describe() if outcome.status == "written" else "",
        )
    except Cancelled:
        part = jobs[0].part if jobs else None
        kept = progress.keeping and part is not None and part.exists()
        progress.say("stopped", part=str(part) if kept else None)
    except (ISRError, MemoryError) as error:
        progress.say("failed", text=str(error) or "not enough memory")
    except Exception as error:
        traceback.print_exc()
        progress.say("failed", text=f"something unexpected happened ({type(error).__name__}: {error})")


def listen(progress: Reports, wanted: SimpleQueue[dict[str, Any] | None]) -> None:
    """Hand on jobs, and set what the reader wants."""
    for line in sys.stdin:
        asked = json.loads(line)
        match asked["do"]:
            case "run":
                # Here, so that a pause that follows at once is not lost.
                views = asked.get("views")
                progress.clear(asked["id"], None if views is None else Live(Path(views)))
                wanted.put(asked)
            case "pause":
                progress.pause(True)
            case "go_on":
                progress.pause(False)
            case "stop":
                progress.keeping = bool(asked.get("keep"))
                progress.cancelled = True
    wanted.put(None)
    progress.cancelled = True
    time.sleep(GRACE)
    os._exit(1)


def main() -> None:
    """Work until stdin ends."""
    # What libraries print must not get between the lines.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    progress = Reports(out)
    wanted: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    threading.Thread(target=listen, args=(progress, wanted), daemon=True).start()
    while (asked := wanted.get()) is not None:
        progress.say("begun")
        run(asked["request"], progress)
    # Without waiting for the threads of a library.
    os._exit(0)


if __name__ == "__main__":
    main()
