"""The child processes: started, asked, stopped, and started again when they die; and which item is next."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isr.errors import ISRError, RequestError
from isr.page.items import Item, Queue, merged, request_of
from isr.page.reasons import DIED, explain, key
from isr.predict.jobs.job import line_of
from isr.predict.report import Units, estimate
from isr.predict.request import plan
from isr.predict.speeds import Kind, Speeds

WORKER = (sys.executable, "-m", "isr.page.worker")
PATIENCE = 10.0  # seconds from asking the worker to stop to killing it; files are whole anyway
MOST_KILLS = 3  # deaths of the worker, none behind where one was before, after which an item has failed
LONGEST_LINE = 2**22  # bytes
IDLE = 300.0  # seconds without work after which the worker, with its networks, is let go
PROGRESS = ("done", "total", "unit", "seconds", "pace", "shown", "phase")
NOTES = 6  # latest lines that are kept of an item
TILE = "options.tile"
# Pixels of a piece's side that an item is made by, one after another, where memory runs out.
PIECES = (128, 64)
SMALLER = re.compile(r"memory ran out; going on with tiles of (\d+) pixels")


class Child:
    """A process of ours that is asked and answers in JSON lines, and is started when it is needed.

    Args:
        command: the program and its arguments.
        log: a file for what it prints beside.
        heard: called with every answer.
        ended: called with its exit code when it is gone.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        heard: Callable[[dict[str, Any]], None],
        ended: Callable[[int], None],
    ) -> None:
        self.command, self.log, self.heard, self.ended = command, log, heard, ended
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Return the number of the process; None where there is none."""
        return self._process.pid if self._process is not None else None

    async def say(self, **line: Any) -> None:
        """Ask for something; starts the process where there is none."""
        async with self._starting:
            if self._process is None:
                await self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError):
            # It is about to be known as gone.
            return

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self, patience: float = PATIENCE) -> None:
        """Ask the process to end, and make it."""
        process, listening = self._process, self._listening
        if process is None or listening is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(listening), patience)
        except TimeoutError:
            self.kill()
            await listening

    async def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LONGEST_LINE,
                env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
                # Ctrl-C is the server's own matter.
                start_new_session=os.name == "posix",
            )
        self._listening = asyncio.create_task(self._listen(self._process))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            self.heard(answer)
        code = await process.wait()
        self._process = None
        self.ended(code)


@dataclass(frozen=True)
class Facts:
    """What is known of an item before it is begun.

    Attributes:
        problem, remedy: why it could not be made; empty where it can.
        size_in, size_out: `(width, height)`.
        frames: of a clip.
        units, kind: how much work it is, and what decides how fast it goes.
        notes: what the reader should know.
        bytes_on_disk: about what the result takes.
    """

    problem: str = ""
    remedy: str = ""
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    frames: int | None = None
    units: Units | None = None
    kind: Kind | None = None
    notes: tuple[str, ...] = ()
    bytes_on_disk: int = 0

    def seconds(self, speeds: Speeds) -> float | None:
        """Tell how long it will take, from what earlier jobs took; None: not known."""
        if self.units is None or self.kind is None:
            return None
        return estimate(self.units, 0, speeds.get(self.kind)).seconds


def facts_of(item: Item, values: dict[str, Any]) -> Facts:
    """Plan an item, as `isr predict --dry-run` does; a refusal is a fact too."""
    try:
        planned = plan(request_of(item, values))
    except (ISRError, OSError, MemoryError) as error:
        # The folder may be away.
        text = line_of(item.source, error)
        problem, remedy = explain(text, item.source)
        return Facts(problem, remedy, notes=(text,))
    if not planned.jobs:
        return Facts(problem=key("nothingToDo"))
    job = planned.jobs[0]
    return Facts(
        size_in=job.size_in,
        size_out=(job.route.size[1], job.route.size[0]),
        frames=job.frames_out,
        units=job.units,
        kind=job.kind,
        notes=job.notes,
        bytes_on_disk=job.bytes_on_disk,
    )


class Supervisor:
    """Has the worker make one item after another, and tells how far it is.

    Args:
        queue: the items.
        command: that starts a worker.

    Attributes:
        current: the item at work.
        stopping: whether the worker was asked to stop, and has not yet.
        progress: of the item at work: `done`, `total`, `unit`, `seconds` that are left (or None), `pace` in frames or
            megapixels a second (or None), the number of the latest picture of it (`shown`, 0: none), and the `phase`
            between units (or None).
    """

    def __init__(self, queue: Queue, command: Sequence[str] = WORKER) -> None:
        self.queue = queue
        self.worker = Child(command, queue.folder / "worker.log", self._heard, self._ended)
        self.current: str | None = None
        self.stopping = False
        self.progress: dict[str, Any] = {}
        self.notes: dict[str, list[str]] = {}
        self._facts: dict[str, Facts] = {}
        self._planning: asyncio.Task[None] | None = None
        self._kill: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        # What the worker was last asked to compute on.
        self._device: str | None = None
        # Whether it ends because the next one computes elsewhere.
        self._changing = False
        # Whether the server ends, so that nothing new is begun.
        self._closed = False
        self.speeds = Speeds()

    # What the reader wants.

    @property
    def paused(self) -> bool:
        """Tell whether the reader wants a pause."""
        return self.queue.settings.paused

    async def start(self) -> None:
        """Begin with the first waiting item, or go on after a pause."""
        await self._move(running=True)
        self.next()

    async def pause(self) -> None:
        """Have the work stand from the next tile or frame on."""
        self.queue.set(running=True, paused=True)
        if self.current is not None:
            await self.worker.say(do="pause")

    async def finish(self) -> None:
        """Stop after the item at work."""
        await self._move(running=False)

    async def _move(self, running: bool) -> None:
        """End a pause, and say whether further items follow."""
        was_paused = self.paused
        self.queue.set(running=running, paused=False)
        if was_paused and self.current is not None:
            self.queue.change(self.current, state="working")
            await self.worker.say(do="go_on")

    async def stop(self, keep: bool = True) -> None:
        """Stop now.

        Args:
            keep: whether the finished part of a clip is joined into a file that plays.
        """
        self.queue.set(running=False, paused=False)
        await self._stop(keep)

    async def _stop(self, keep: bool) -> None:
        if self.current is None or self.stopping:
            return
        self.stopping = True
        self._kill = asyncio.get_running_loop().call_later(PATIENCE, self.worker.kill)
        # One that cannot even be started has nothing to stop.
        with suppress(OSError):
            await self.worker.say(do="stop", keep=keep)

    async def remove(self, id: str) -> None:
        """Take an item off; one at work is stopped first."""
        if id == self.current:
            await self._stop(keep=False)
            while self.current == id:
                await asyncio.sleep(0.05)
        if id in self.queue:
            self._facts.pop(id, None)
            self.notes.pop(id, None)
            self.queue.remove(id)

    def again(self, id: str, changes: dict[str, Any]) -> None:
        """Have an item made again, with changes of its own.

        Raises:
            RequestError: it is being made, or finished, in another way than the reader knew.
        """
        item = self.queue[id]
        wanted = merged(item.changes, changes)
        if id == self.current or item.state == "finished":
            # What is asked for twice is made once.
            if wanted != item.changes:
                raise RequestError(key("begunMeanwhile"))
            return
        self.queue.change(
            id,
            state="waiting",
            request=None,
            reason="",
            remedy="",
            kills=0,
            reached=0,
            pieces=0,
            lines=(),
            target=None,
            changes=wanted,
        )
        self._facts.pop(id, None)
        self.look()
        self.next()

    def set(self, values: dict[str, Any]) -> None:
        """Make the waiting items another way; clips that are half finished stay as they were begun."""
        self.queue.set(values=values)
        for item in self.queue.items:
            if item.state == "waiting" and item.request is not None and not item.clip:
                self.queue.change(item.id, request=None)
        self._facts.clear()
        self.look()

    # What is known beforehand.

    def facts(self, id: str) -> Facts | None:
        """Tell what is known of an item; None: not yet."""
        return self._facts.get(id)

    def look(self) -> None:
        """Plan the waiting items of which nothing is known, in a thread, one after another."""
        if self._planning is None or self._planning.done():
            self._planning = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            unknown = (i for i in self.queue.items if i.state == "waiting" and i.id not in self._facts)
            item = next(unknown, None)
            if item is None:
                return
            values = self.queue.settings.values
            facts = await asyncio.to_thread(facts_of, item, values)
            # What was changed meanwhile is planned again.
            if item.id not in self.queue or values is not self.queue.settings.values:
                continue
            if self.queue[item.id].changes == item.changes:
                self._facts[item.id] = facts
                self.queue.touch(item.id)

    def reread_speeds(self) -> None:
        """Estimate by what was measured since."""
        before, self.speeds = self.speeds, Speeds()
        for id, facts in self._facts.items():
            # Others are told later, lest a long list is sent anew with every file.
            if id in self.queue and facts.seconds(before) is None and facts.seconds(self.speeds) is not None:
                self.queue.touch(id)

    def seconds_left(self) -> tuple[float, bool]:
        """Tell how long what waits or is at work will take, as far as it is known, and whether it is known of all."""
        total, all_known = 0.0, True
        if self.current is not None:
            seconds = self.progress.get("seconds")
            total, all_known = seconds or 0.0, seconds is not None
        for item in self.queue.items:
            if item.state == "waiting":
                facts = self._facts.get(item.id)
                if facts is not None and facts.problem:
                    continue
                seconds = facts.seconds(self.speeds) if facts is not None else None
                total, all_known = total + (seconds or 0.0), all_known and seconds is not None
        return total, all_known

    # What the worker does.

    def next(self) -> None:
        """Begin with the first waiting item, where the queue runs and nothing is at work."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self.current is not None or self.paused or self._closed:
            return
        waiting = (item for item in self.queue.items if item.state == "waiting")
        item = next(waiting, None) if self.queue.settings.running else None
        if item is None:
            if self.queue.settings.running:
                self.queue.set(running=False)
            self._rest = asyncio.get_running_loop().call_later(IDLE, self._let_go)
            return
        try:
            # What was begun goes on as it was asked for; its segments fit nothing else.
            request = request_of(item, self.queue.settings.values).to_json()
        except ISRError as error:
            reason, remedy = explain(str(error), item.source)
            self.notes[item.id] = [str(error)]
            self._fail(item.id, reason, remedy)
            self.next()
            return
        self.current, self.progress, self.notes[item.id] = item.id, {}, []
        self.queue.change(item.id, state="working", request=request, target=None, reason="", remedy="")
        self._do(self._hand_over(item.id, request))

    async def _hand_over(self, id: str, request: dict[str, Any]) -> None:
        try:
            await self._ask_for(id, request)
        except OSError as error:
            # No process can be started; nor could one for what follows.
            self.queue.set(running=False)
            text = f"the worker cannot be started ({error.strerror or error})"
            self._note(id, text)
            self._fail(id, *explain(text, self.queue[id].source))
            self._over()

    async def _ask_for(self, id: str, request: dict[str, Any]) -> None:
        device = request["request"].get("options", {}).get("device")
        if device != self._device and self.worker.pid is not None:
            # Where a process has computed, it goes on computing.
            self._changing = True
            await self.worker.close(1.0)
            self._changing = False
        self._device = device
        await self.worker.say(do="run", id=id, request=request, views=str(self.queue.views_of(id)))
        if self.paused:
            # Asked meanwhile, of a process that knew of no job.
            await self.worker.say(do="pause")

    def _heard(self, answer: dict[str, Any]) -> None:
        id = answer.get("id")
        if id is None or id != self.current:
            return
        match answer["say"]:
            case "progress":
                self.progress = {name: answer[name] for name in PROGRESS}
                self.queue.touch(id)
            case "paused":
                if self.paused:
                    self.queue.change(id, state="paused")
            case "message":
                self._note(id, answer["text"])
                if found := SMALLER.search(answer["text"]):
                    self.queue.change(id, pieces=int(found[1]))
                self.queue.touch(id)
            case "finished":
                size_in, size_out = (tuple(answer[name]) for name in ("size_in", "size_out"))
                if answer["warning"]:
                    self._note(id, answer["warning"])
                self.queue.change(
                    id,
                    state="finished",
                    target=Path(answer["target"]),
                    size_in=size_in,
                    size_out=size_out,
                    frames=answer["frames"],
                    seconds=answer["seconds"],
                    reason=key("partlyDamaged") if answer["warning"] else "",
                    lines=tuple(self.notes[id]) if answer["warning"] else (),
                )
                self.reread_speeds()
                self._over()
            case "failed":
                # As it was said, too, for those who can help.
                self._note(id, answer["text"])
                reason, remedy = explain(answer["text"], self.queue[id].source)
                if remedy != "tile" or not self._in_smaller_pieces(id):
                    self._fail(id, reason, remedy)
                self._over()
            case "stopped":
                part = Path(answer["part"]) if answer["part"] else None
                self.queue.change(id, state="waiting", target=part)
                self._over()

    def _note(self, id: str, text: str) -> None:
        self.notes[id] = [*self.notes[id], text][-NOTES:]

    def _fail(self, id: str, reason: str, remedy: str, **fields: Any) -> None:
        lines = tuple(self.notes.get(id, ()))
        self.queue.change(id, state="failed", reason=reason, remedy=remedy, lines=lines, **fields)

    def _in_smaller_pieces(self, id: str) -> bool:
        """Have an item wait to be made in smaller pieces; False where those are the smallest already."""
        item = self.queue[id]
        last = item.changes.get(TILE, self.queue.settings.values.get(TILE))
        smaller = next((side for side in PIECES if last is None or side < last), None)
        if smaller is None:
            return False
        self._facts.pop(id, None)
        changes = {**item.changes, TILE: smaller}
        self.queue.change(id, state="waiting", request=None, target=None, pieces=smaller, changes=changes)
        return True

    def _ended(self, code: int) -> None:
        id = self.current
        if id is None or self._changing:
            return
        self._note(id, f"the worker ended with the code {code}")
        item = self.queue[id]
        # Work of days may see many deaths; what gets on is not given up.
        reached = max(item.reached, self.progress.get("done", 0))
        kills = 1 if reached > item.reached else item.kills + 1
        if self.stopping:
            self.queue.change(id, state="waiting")
        elif kills >= MOST_KILLS:
            self._fail(id, DIED, "tile", kills=kills, reached=reached)
        else:
            # It goes on behind its last finished segment.
            self.queue.change(id, state="waiting", kills=kills, reached=reached)
            # One death may be an accident. Segments of a clip are kept, and go with no other pieces.
            if kills > 1 and not (item.clip and reached):
                self._in_smaller_pieces(id)
        self._over()

    def _over(self) -> None:
        if self._kill is not None:
            self._kill.cancel()
            self._kill = None
        self.current, self.stopping, self.progress = None, False, {}
        self.look()
        self.next()

    def _let_go(self) -> None:
        self._do(self.worker.close())

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def begin(self) -> None:
        """Take up what the server before this one left."""
        self.look()
        self.next()

    async def close(self) -> None:
        """End the worker; what it finished is whole."""
        self._closed = True
        for timer in (self._kill, self._rest):
            if timer is not None:
                timer.cancel()
        if self._planning is not None:
            self._planning.cancel()
        await self.worker.close()
