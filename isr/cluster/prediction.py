"""Prediction on Ray: files in, files out; names and outcomes alone go through Ray.

Actors hold opened networks and take blocks of a few files. A process that ends in the middle of a block starts again,
and finds by the records what it had finished. What has no outcome then is tried once more, a file at a time, so that a
file that ends its process takes no other one with it.
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

from isr.cluster.connection import connected
from isr.errors import Cancelled, ISRError, MachineError, first_line
from isr.predict.jobs.job import Job, Outcome
from isr.predict.jobs.journal import Journal
from isr.predict.networks import NETWORKS
from isr.predict.plain import from_plain
from isr.predict.precision import supported_precision
from isr.predict.request import Plan, PredictRequest, job_from_json
from isr.predict.stream import Item, Maker, Settled, counted, items_of, tell
from isr.progress import Progress, Silent
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
        self.work = work
        self.maker: Maker | None = None
        if work.request is not None:
            self.maker = Maker(PredictRequest.from_json(json.loads(work.request)), work.settled)

    def __call__(self, block: dict[str, Any]) -> dict[str, list[Any]]:
        """Make a block of files; gives their numbers, and what became of each as JSON."""
        made = [json.dumps(self.make(str(unit)).to_json()) for unit in block["unit"]]
        return {"number": [int(number) for number in block["number"]], "outcome": made}

    def make(self, unit: str) -> Outcome:
        """Make a file, of an item or a job as JSON."""
        content = json.loads(unit)
        if self.maker is not None:
            return self.maker.make(Item(**content), Silent())
        job = job_from_json(content)
        # By this actor, before it ended and started again.
        if not self.work.overwrite and job.exists:
            records = Journal(job.folder).read()
            if job.target in records and records.agrees(job.target, job.finished_record()):
                return Outcome(job.source, job.target, "skipped")
        if line := lacking(job):
            return Outcome(job.source, job.target, "failed", f"{job.source}: {line}")
        return job.run(NETWORKS, Silent())


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
    units = ((str(job.source), json.dumps(job.to_json())) for job in jobs)
    work = Work(str(Path.cwd()), None, None, overwrite, cores)
    gpu = any(job.processor == "GPU" for job in jobs)
    yield from _run(units, len(jobs), work, progress, workers, gpu)


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
    units = ((item.source, json.dumps(item.to_json())) for item in items)
    work = Work(str(Path.cwd()), json.dumps(request.to_json()), settled, request.options.overwrite, cores)
    gpu = bool({settled.pictures[0], settled.clips[0]} & set(BACKENDS)) and request.options.device != "cpu"
    yield from _run(units, count, work, progress, workers, gpu)


def obeyed(job: Job) -> Job:
    """Return a job that runs as it was planned, or fails: else machines that differ would make results that differ."""
    return replace(job, networks=tuple(replace(network, automatic=False) for network in job.networks))


def _run(
    units: Iterator[tuple[str, str]],
    count: int,
    work: Work,
    progress: Progress,
    workers: int | None,
    gpu: bool,
) -> Iterator[Outcome]:
    """Make units, each a source and what an actor is told of it."""
    with connected(progress) as ray:
        there = ray.cluster_resources()
        gpu = gpu and there.get("GPU", 0) > 0
        most = int(there.get("GPU", 0)) if gpu else int(there.get("CPU", 1)) // work.cores
        workers = workers or max(1, most)
        if workers > most:
            raise MachineError(f"--workers {workers}: the cluster has room for {most}")
        progress.start("upscale", count, "files")
        begun, done = time.monotonic(), 0
        while window := list(itertools.islice(units, WINDOW)):
            rows: list[dict[str, Any]] = [
                {"number": number, "unit": unit} for number, (_, unit) in enumerate(window)
            ]
            # The second time a file at a time, over what the first time has no outcome of.
            for last, size in ((False, BLOCK), (True, 1)):
                if not rows:
                    break
                left = {row["number"]: row for row in rows}
                size = max(1, min(size, -(-len(rows) // workers)))
                dataset = _dataset(ray, rows, size, work, min(workers, len(rows)), gpu)
                try:
                    for number, outcome in _rows(dataset, progress):
                        # A block that was tried again may come twice.
                        if left.pop(number, None) is None:
                            continue
                        done += 1
                        yield outcome
                        tell(progress, done, count, begun)
                except Broken:
                    if last:
                        raise
                rows = list(left.values())
            for row in rows:
                source = window[row["number"]][0]
                done += 1
                line = "its process ended, alone and among others: memory, or a damaged file"
                yield Outcome(source, None, "failed", f"{source}: {line}")
                tell(progress, done, count, begun)


def _dataset(ray: Any, rows: Sequence[dict[str, Any]], size: int, work: Work, workers: int, gpu: bool) -> Any:
    # Else the first block that fails ends all of it.
    ray.data.DataContext.get_current().max_errored_blocks = -1
    blocks = ray.data.from_items(list(rows), override_num_blocks=-(-len(rows) // size))
    with warnings.catch_warnings():
        # It advises parameters of their own, which these two do not have.
        warnings.simplefilter("ignore")
        return blocks.map_batches(
            Upscale,
            batch_size=size,
            fn_constructor_args=(work,),
            # An actor that ends takes with it the blocks that wait for it.
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=work.cores,
            num_gpus=1 if gpu else None,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )


def _rows(dataset: Any, progress: Progress) -> Iterator[tuple[int, Outcome]]:
    """The outcomes as they come, by the numbers of their units; looks at what the reader wants meanwhile."""
    found: queue.Queue[Any] = queue.Queue()

    def take() -> None:
        try:
            for row in dataset.iter_rows():
                found.put(row)
            found.put(None)
        except BaseException as error:
            found.put(error)

    threading.Thread(target=take, daemon=True).start()
    while True:
        if progress.cancelled:
            # The files at work are in temporary ones, which nobody takes for finished.
            raise Cancelled("stopped on request; what was finished is whole")
        with suppress(queue.Empty):
            row = found.get(timeout=POLLED)
            if row is None:
                return
            if isinstance(row, BaseException):
                raise Broken(f"--cluster ray: {first_line(row)}") from row
            yield int(row["number"]), from_plain(Outcome, json.loads(row["outcome"]))
