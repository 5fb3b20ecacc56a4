"""Training on Ray: its JaxTrainer starts the processes of a run, and starts all again where one has ended."""

from __future__ import annotations

import logging
import os
import queue
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

from isr.cluster.connection import Head, connected
from isr.cluster.prediction import POLLED, pinned
from isr.config import TrainConfig
from isr.errors import Cancelled, ISRError, MachineError, RequestError, first_line
from isr.progress import Progress, Silent

# How often a run goes on from its last state after a process has ended.
RESTARTS = 3
# The folder of Ray's own notes, in that of the run.
NOTES = ".ray"
ERRORS = {kind.__name__: kind for kind in (ISRError, RequestError, MachineError)}


class Told(Silent):
    """A progress that tells another process.

    Args:
        told: what it is told by.
    """

    def __init__(self, told: Any) -> None:
        self.told = told

    def start(self, what: str, total: int, unit: str = "") -> None:
        self.told.put(("start", what, total, unit))

    def advance(self, amount: int = 1) -> None:
        self.told.put(("advance", amount))

    def message(self, text: str) -> None:
        self.told.put(("message", text))


def train_on_ray(config: TrainConfig, workers: int | None, progress: Progress) -> Path:
    """Train a network by processes on Ray, each on its share of every batch.

    Args:
        config: of the run, whose folder and files all machines see.
        workers: processes; None: one a GPU, or one a machine where there are none.
        progress: told of every step; asked to stop, which ends the processes. The last state that was saved stays.

    Returns:
        The folder of the best weights, a preset.

    Raises:
        ISRError: as the training itself, or its processes ended too often.
        MachineError: Ray is missing or cannot be reached, or lacks the cores or GPUs.
        Cancelled: the progress asked for it.
    """
    from isr.train.ranks import Ranks, check

    with connected(progress) as ray:
        there = ray.cluster_resources()
        gpu = there.get("GPU", 0) > 0
        machines = sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())
        workers = workers or int(there["GPU"] if gpu else machines)
        most = int(there["GPU"] if gpu else there.get("CPU", 1))
        if workers > most:
            raise MachineError(f"--workers {workers}: the cluster has room for {most}")
        check(config, Ranks(0, workers))
        cores = max(1, int(there.get("CPU", 1)) // workers)
        from ray.util.queue import Queue

        told = Queue(actor_options={"num_cpus": 0})
        asked = {
            "folder": str(Path.cwd()),
            "config": config.model_dump_json(),
            "cores": cores,
            "told": told,
        }
        notes = Path(config.run).absolute() / NOTES
        try:
            return _followed(_fit(asked, workers, cores, gpu, notes), told, Head.of(ray), progress)
        finally:
            shutil.rmtree(notes, ignore_errors=True)


def _fit(asked: dict[str, Any], workers: int, cores: int, gpu: bool, notes: Path) -> queue.Queue[Any]:
    """Let JaxTrainer run in a thread; an error, or None, comes when it ends."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.jax import JaxTrainer

    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    trainer = JaxTrainer(
        _train,
        train_loop_config=asked,
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": cores, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name="isr", storage_path=str(notes), failure_config=FailureConfig(max_failures=RESTARTS)
        ),
    )
    ended: queue.Queue[Any] = queue.Queue()

    def fit() -> None:
        try:
            trainer.fit()
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    threading.Thread(target=fit, daemon=True).start()
    return ended


def _followed(ended: queue.Queue[Any], told: Any, head: Head, progress: Progress) -> Path:
    """Pass on what rank 0 tells, until the run is over."""
    while True:
        if progress.cancelled:
            raise Cancelled("stopped on request; the run goes on from its last state")
        head.check()
        # It is told before its process ends.
        over = not ended.empty()
        for what, *values in told.get_nowait_batch(told.qsize()):
            if what == "failed":
                raise ERRORS[values[0]](values[1])
            if what == "done":
                return Path(values[0])
            getattr(progress, what)(*values)
        if over:
            error = ended.get()
            raise ISRError(f"--cluster ray: the processes ended too often: {first_line(error)}") from error
        threading.Event().wait(POLLED)


def _train(asked: dict[str, Any]) -> None:
    """Train as one of the processes."""
    from ray import train, util
    from ray.train.collective import broadcast_from_rank_zero

    # Before JAX looks for cores.
    held: list[Any] = pinned(asked["cores"])
    os.chdir(asked["folder"])
    context = train.get_context()
    rank = context.get_world_rank()
    coordinator = None
    if rank == 0:
        held.append(held_port(util.get_node_ip_address()))
        coordinator = address_of(held[-1])
    os.environ.update(
        KERAS_BACKEND="jax",
        ISR_COORDINATOR=str(broadcast_from_rank_zero(coordinator)),
        ISR_RANK=str(rank),
        ISR_RANKS=str(context.get_world_size()),
    )
    told = asked["told"]
    try:
        from isr.runtimes.devices import import_keras

        import_keras()
        from isr.train import Trainer, ranks

        ranks.join()
        config = TrainConfig.model_validate_json(asked["config"])
        best = Trainer(config, progress=Told(told) if rank == 0 else Silent()).train()
    except ISRError as error:
        # Another try would end the same way.
        kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in ERRORS)
        told.put(("failed", kind, str(error)))
        return
    finally:
        del held
    if rank == 0:
        told.put(("done", str(best)))


def held_port(host: str) -> socket.socket:
    """Hold a port of this machine, on which rank 0 may listen and nobody else, until the socket is closed.

    Args:
        host: address of this machine that the other ones reach.
    """
    held = socket.socket()
    # JAX shares it then; without it, another program could be given the port before JAX listens.
    if hasattr(socket, "SO_REUSEPORT"):
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host, 0))
    return held


def address_of(held: socket.socket) -> str:
    """Tell where a socket is, as `ISR_COORDINATOR` takes it."""
    host, port = held.getsockname()
    return f"{host}:{port}"
