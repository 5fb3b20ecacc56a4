"""Prediction on Ray: files in, files out; names and outcomes alone go through Ray.

Actors hold opened networks and take blocks of a few files. A process that ends in the middle of a block starts again,
and finds by the records what it had finished. What has no outcome then is tried once more, a file at a time, so that a
file that ends its process takes no other one with it. Clips follow the pictures, in runs of segments: see
`isr.cluster.clips`.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isr.cluster.clips import LETTING_GO, Clip, StoredClips, clear_stage, join_here
from isr.cluster.connection import Head, connected
from isr.errors import Cancelled, ISRError, MachineError, first_line
from isr.io.places import is_remote
from isr.predict.jobs.job import Job, Outcome
from isr.predict.jobs.journal import Journal
from isr.predict.networks import NETWORKS
from isr.predict.plain import from_plain
from isr.predict.precision import supported_precision
from isr.predict.request import Plan, PredictRequest, job_from_json
from isr.predict.speeds import speeds_here
from isr.predict.stream import Item, Maker, Settled, cores_here, counted, is_clip_name, items_of, tell
from isr.progress import Progress, Silent, Within, phase
from isr.runtimes.engines import BACKENDS

# Files that an actor is given at once: fewer cost more of Ray's time, more are lost with an actor.
BLOCK = 8
# How often a block goes back to an actor that ended.
RETRIES = 2
# Files whose names are in memory at once.
WINDOW = 50_000
# Seconds between looks at what the reader wants.
POLLED = 0.2


class Broken(ISRError):
    """Ray gave up a whole pass over files."""


@dataclass(frozen=True)
class Work:
    """What all actors know.

    Attributes:
        folder: to which relative paths belong.
        request: as JSON, for items; None for jobs.
        settled: engine and precision, as the driver chose them.
        overwrite: whether what is there is made anew.
        cores: of each actor.
    """

    folder: str
    request: str | None
    settled: Settled | None
    overwrite: bool
    cores: int


class Upscale:
    """Makes files, in a process of its own, on cores of its own.

    Args:
        work: what all actors know.
    """

    def __init__(self, work: Work) -> None:
        self.held = pinned(work.cores)
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(work.cores)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with suppress(OSError):
            os.chdir(work.folder)
        # One core is no measure of this machine.
        speeds_here().keeps = False
        self.work = work
        self.maker: Maker | None = None
        if work.request is not None:
            self.maker = Maker(PredictRequest.from_json(json.loads(work.request)), work.settled)
            self.stored = StoredClips(self.maker)

    def __call__(self, block: dict[str, Any]) -> dict[str, list[Any]]:
        """Make a block of units; gives their numbers, and what became of each as JSON."""
        made = [json.dumps(self.make(str(unit)).to_json()) for unit in block["unit"]]
        return {"number": [int(number) for number in block["number"]], "answer": made}

    def make(self, unit: str) -> Outcome | Clip:
        """Make a file or a run of segments, of a job or an item as JSON; a clip of a list is divided first."""
        content = json.loads(unit)
        run = range(*content["run"]) if content.get("run") else None
        if "kind" in content:
            return self.run(job_from_json(content), run)
        assert self.maker is not None
        item = Item(**content["item"])
        if run is not None:
            return self.stored.make(item, run)
        if "run" in content or not is_clip_name(item.source):
            return self.maker.make(item, Silent())
        return self.divide(item, self.maker)

    def run(self, job: Job, run: range | None) -> Outcome:
        """Run a job, or make a run of its segments."""
        if run is not None:
            job = job.of_run(run)
        # By this actor, before it ended and started again.
        elif not self.work.overwrite and job.exists:
            records = Journal(job.folder).read()
            if job.target in records and records.agrees(job.target, job.finished_record()):
                return Outcome(job.source, job.target, "skipped")
        if line := lacking(job):
            return Outcome(job.source, job.target, "failed", f"{job.source}: {line}")
        return job.run(NETWORKS, Silent())

    def divide(self, item: Item, maker: Maker) -> Outcome | Clip:
        """Divide a clip of a list or a store into runs, or find that it is made."""
        if is_remote(item.source) or is_remote(maker.output):
            return self.stored.divide(item)
        planned = maker.attempt(item, lambda target: maker.plan_here(item, Path(target)))
        if isinstance(planned, Outcome):
            return planned
        if planned.divides:
            return maker.attempt(item, lambda _: Clip.of(obeyed(planned)))
        return planned.run(NETWORKS, Silent())


def join_clip(work: Work, unit: str) -> str:
    """Join the segments of a clip; gives what became of it as JSON. A task of its own, without networks."""
    with suppress(OSError):
        os.chdir(work.folder)
    content = json.loads(unit)
    if "kind" in content:
        return json.dumps(join_here(job_from_json(content)).to_json())
    assert work.request is not None
    maker = Maker(PredictRequest.from_json(json.loads(work.request)), work.settled)
    return json.dumps(StoredClips(maker).join(Item(**content["item"])).to_json())


def lacking(job: Job) -> str:
    """Tell what this machine lacks that the driver's has, so that results would differ; "" where nothing."""
    for network in job.networks:
        if (
            network.precision
            and supported_precision(network.precision, job.processor)[0] != network.precision
        ):
            return (
                f"a machine of the cluster does not compute in {network.precision}; give --precision float32"
            )
    return ""


def pinned(count: int) -> list[Any]:
    """Keep this process on cores that no other actor of this machine is on, as long as what is returned lives."""
    if not hasattr(os, "sched_setaffinity"):
        return []
    import fcntl

    folder = Path(tempfile.gettempdir()) / f"isr-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    held: list[Any] = []
    cores: list[int] = []
    for core in sorted(os.sched_getaffinity(0)):
        if len(cores) == count:
            break
        # The system lets go of a lock whose process is gone.
        file = (folder / str(core)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        held.append(file)
        cores.append(core)
    if len(cores) == count:
        os.sched_setaffinity(0, cores)
    return held


def run_plan_on_ray(
    planned: Plan, progress: Progress, overwrite: bool = False, workers: int | None = None, cores: int = 1
) -> Iterator[Outcome]:
    """Run the jobs of a plan on Ray, and tell what became of each file as it is known, in any order.

    Args:
        planned: by `isr.predict.plan`; the machines of the cluster see its paths.
        progress: told of files; asked to stop.
        overwrite: whether what is there is made anew.
        workers: actors; None: as many as the cluster has cores for.
        cores: of each actor.

    Raises:
        MachineError: Ray is missing, or cannot be reached.
        RequestError: a network is an object in Python.
        Cancelled: the progress asks for it. What is finished then is whole.
    """
    for source, line in planned.unreadable:
        yield Outcome(source, None, "failed", line)
    for job in planned.finished:
        yield Outcome(job.source, job.target, "skipped")
    if not planned.jobs:
        return
    jobs = [obeyed(job) for job in planned.jobs]
    pictures = [job for job in jobs if not job.divides]
    units = ((str(job.source), json.dumps(job.to_json())) for job in pictures)
    clips = [Clip.of(job.on_cores(cores_here())) for job in jobs if job.divides]
    work = Work(str(Path.cwd()), None, None, overwrite, cores)
    gpu = any(job.processor == "GPU" for job in jobs)
    yield from _run(units, len(pictures), clips, work, progress, workers, gpu)


def run_stream_on_ray(
    request: PredictRequest, progress: Progress, workers: int | None = None, cores: int = 1
) -> Iterator[Outcome]:
    """Make the inputs of object stores and lists on Ray, as `isr.predict.stream.run_stream` does in one process.

    Args:
        request: what is asked for.
        progress, workers, cores: as for `run_plan_on_ray`.

    Raises as `run_plan_on_ray`; also RequestError where the request is wrong.
    """
    maker = Maker(request)
    settled = maker.settle()
    count, items = counted(items_of(request))
    units = ((item.source, json.dumps({"item": item.to_json()})) for item in items)
    work = Work(str(Path.cwd()), json.dumps(request.to_json()), settled, request.options.overwrite, cores)
    gpu = bool({settled.pictures[0], settled.clips[0]} & set(BACKENDS)) and request.options.device != "cpu"
    yield from _run(units, count, [], work, progress, workers, gpu)


def obeyed(job: Job) -> Job:
    """Return a job that runs as it was planned, or fails: else machines that differ would make results that differ."""
    return replace(job, networks=tuple(replace(network, automatic=False) for network in job.networks))


def _run(
    units: Iterator[tuple[str, str]],
    count: int,
    clips: list[Clip],
    work: Work,
    progress: Progress,
    workers: int | None,
    gpu: bool,
) -> Iterator[Outcome]:
    """Make units, each a source and what an actor is told of it, then clips, also those that units turn out to be."""
    with connected(progress) as ray:
        there = ray.cluster_resources()
        gpu = gpu and there.get("GPU", 0) > 0
        most = int(there.get("GPU", 0)) if gpu else int(there.get("CPU", 1)) // work.cores
        workers = workers or max(1, most)
        if workers > most:
            raise MachineError(f"--workers {workers}: the cluster has room for {most}")
        actors = _Actors(ray, work, workers, gpu, progress)
        begun, done = time.monotonic(), 0
        while window := list(itertools.islice(units, WINDOW)):
            if not done:
                progress.start("upscale", count, "files")
            for number, answer in actors.answers(window, BLOCK):
                done += 1
                if answer is None:
                    yield _ended(window[number][0])
                elif "runs" in answer:
                    clips.append(Clip.from_json(answer))
                else:
                    yield from_plain(Outcome, answer)
                tell(progress, done, count, begun)
            if sum(len(clip.units()) for clip in clips) >= WINDOW:
                yield from _run_clips(actors, clips)
                clips = []
        if clips:
            yield from _run_clips(actors, clips)


def _run_clips(actors: _Actors, clips: list[Clip]) -> Iterator[Outcome]:
    """Make clips: each is joined as soon as its last run is made."""
    ray, work, progress = actors.ray, actors.work, actors.progress
    units = [(clip.source, unit) for clip in clips for unit in clip.units()]
    owners = [number for number, clip in enumerate(clips) for _ in clip.units()]
    left = [len(clip.units()) for clip in clips]
    made: dict[int, Outcome] = {}
    # Actors have all cores; joining copies packets.
    join = ray.remote(num_cpus=0, max_retries=RETRIES)(join_clip)
    joining: dict[Any, int] = {}

    def joined(seconds: float) -> Iterator[Outcome]:
        ready, _ = ray.wait(list(joining), timeout=seconds) if joining else ([], [])
        for task in ready:
            number = joining.pop(task)
            try:
                outcome = from_plain(Outcome, json.loads(ray.get(task)))
            except ray.exceptions.RayError as error:
                outcome = _ended(clips[number].source, first_line(error))
            runs = made[number]
            yield replace(outcome, device=runs.device, seconds=runs.seconds + outcome.seconds)

    progress.start("upscale clips", len(units), "parts")
    begun = time.monotonic()
    for done, (unit, answer) in enumerate(actors.answers(units, 1), 1):
        number = owners[unit]
        clip, left[number] = clips[number], left[number] - 1
        outcome = _ended(clip.source) if answer is None else from_plain(Outcome, answer)
        before = made.get(number)
        if before is None or (outcome.status == "failed" and before.status != "failed"):
            made[number] = outcome
        elif before.status != "failed":
            made[number] = replace(outcome, seconds=before.seconds + outcome.seconds)
        if not left[number]:
            if clip.runs and made[number].status != "failed":
                joining[join.remote(work, clip.unit)] = number
            else:
                yield made[number]
        yield from joined(0)
        tell(progress, done, len(units), begun)
    with phase(progress, "joining", "segments"):
        while joining:
            if progress.cancelled:
                raise Cancelled("stopped on request; what was finished is whole")
            yield from joined(POLLED)
    if any(is_remote(clip.source) for clip in clips):
        _clear(ray)


def _clear(ray: Any) -> None:
    """Remove what the machines have fetched."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    clear = ray.remote(num_cpus=0, max_retries=0)(clear_stage)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    tasks = [
        clear.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    ]
    ray.wait(tasks, num_returns=len(tasks), timeout=2 * LETTING_GO)


def _ended(source: str, line: str = "") -> Outcome:
    line = line or "its process ended, alone and among others: memory, or a damaged file"
    return Outcome(source, None, "failed", f"{source}: {line}")


@dataclass(frozen=True)
class _Actors:
    """The processes that hold networks.

    Attributes:
        ray: connected.
        work: what all know.
        workers: how many.
        gpu: whether each has a GPU.
        progress: asked to stop.
    """

    ray: Any
    work: Work
    workers: int
    gpu: bool
    progress: Progress

    def answers(
        self, units: Sequence[tuple[str, str]], size: int
    ) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Give units to actors, and tell what came of each, by its number, in any order.

        Args:
            units: sources, and what an actor is told.
            size: units that an actor is given at once.

        Yields:
            Number and answer; None where the process ended, also when it was given this unit alone.
        """
        rows: list[dict[str, Any]] = [
            {"number": number, "unit": unit} for number, (_, unit) in enumerate(units)
        ]
        reader = Within(self.progress)
        # The second time one at a time, over what the first time has no answer to.
        for last, most in ((False, size), (True, 1)):
            if not rows:
                return
            left = {row["number"]: row for row in rows}
            reader.doing("opening", f"networks in {self.workers} processes")
            dataset = self._dataset(rows, max(1, min(most, -(-len(rows) // self.workers))))
            try:
                for number, answer in _rows(dataset, Head.of(self.ray), self.progress):
                    reader.doing(None)
                    # A block that was tried again may come twice.
                    if left.pop(number, None) is not None:
                        yield number, answer
            except Broken:
                if last:
                    raise
            rows = list(left.values())
        for row in rows:
            yield row["number"], None

    def _dataset(self, rows: Sequence[dict[str, Any]], size: int) -> Any:
        data = self.ray.data
        # Else the first block that fails ends all of it.
        data.DataContext.get_current().max_errored_blocks = -1
        blocks = data.from_items(list(rows), override_num_blocks=-(-len(rows) // size))
        with warnings.catch_warnings():
            # It advises parameters of their own, which these two do not have.
            warnings.simplefilter("ignore")
            return blocks.map_batches(
                Upscale,
                batch_size=size,
                fn_constructor_args=(self.work,),
                # An actor that ends takes with it the blocks that wait for it.
                compute=data.ActorPoolStrategy(
                    size=min(self.workers, len(rows)), max_tasks_in_flight_per_actor=1
                ),
                num_cpus=self.work.cores,
                num_gpus=1 if self.gpu else None,
                max_restarts=-1,
                max_task_retries=RETRIES,
            )


def _rows(dataset: Any, head: Head, progress: Progress) -> Iterator[tuple[int, dict[str, Any]]]:
    """The answers as they come, by the numbers of their units; looks at what the reader wants meanwhile."""
    found: queue.Queue[Any] = queue.Queue()
    left = threading.Event()

    def take() -> None:
        try:
            # By rows, Ray holds a block back until the next one is made.
            for block in dataset.iter_batches(batch_size=None, prefetch_batches=0):
                for row in zip(block["number"], block["answer"], strict=True):
                    found.put(row)
                if left.is_set():
                    # On a Ray of the user's, the blocks that are not begun are not made.
                    return
            found.put(None)
        except BaseException as error:
            found.put(error)

    threading.Thread(target=take, daemon=True).start()
    try:
        while True:
            if progress.cancelled:
                # The files at work are in temporary ones, which nobody takes for finished.
                raise Cancelled("stopped on request; what was finished is whole")
            head.check()
            with suppress(queue.Empty):
                row = found.get(timeout=POLLED)
                if row is None:
                    return
                if isinstance(row, BaseException):
                    raise Broken(f"--cluster ray: {first_line(row)}") from row
                number, answer = row
                yield int(number), json.loads(answer)
    finally:
        left.set()
