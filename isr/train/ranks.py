"""One run by several processes: each computes its share of every batch, on Keras' backend JAX.

Any system that starts processes may start them, with three variables: `ISR_COORDINATOR` (host and port of rank 0),
`ISR_RANK` (from 0) and `ISR_RANKS` (their number).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache

import keras

from isr.config import TrainConfig
from isr.errors import MachineError, RequestError, first_line

VARIABLES = ("ISR_COORDINATOR", "ISR_RANK", "ISR_RANKS")


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and which of them this one is.

    Attributes:
        rank: from 0; 0 writes.
        count: of all.
    """

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Tell whether this process writes the folder of the run."""
        return self.rank == 0

    def share(self, size: int) -> slice:
        """Return which patches of a batch are this process's."""
        own = size // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def meet(self, what: str) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices(what)


def asked() -> tuple[str, int, int] | None:
    """Read coordinator, rank and count from the environment; None where no variable is set.

    Raises:
        RequestError: some are missing, or they do not fit.
    """
    given = [os.environ.get(name, "") for name in VARIABLES]
    if not any(given):
        return None
    coordinator, rank, count = given
    if not (re.fullmatch(r".+:\d+", coordinator) and rank.isdecimal() and count.isdecimal()):
        raise RequestError("ISR_COORDINATOR (host:port), ISR_RANK and ISR_RANKS: set all three or none")
    if not int(rank) < int(count):
        raise RequestError(f"ISR_RANK {rank}: counts from 0 to {int(count) - 1}, for ISR_RANKS {count}")
    return coordinator, int(rank), int(count)


@cache
def join() -> Ranks:
    """Meet the other processes that the environment names; this one alone where it names none.

    Raises:
        RequestError: the variables do not fit, or Keras' backend is another one.
        MachineError: the others do not come.
    """
    found = asked()
    if found is None or found[2] == 1:
        return Ranks()
    coordinator, rank, count = found
    if keras.backend.backend() != "jax":
        raise RequestError(
            f"ISR_RANKS: several processes train on JAX, not on {keras.backend.backend()}; set KERAS_BACKEND=jax"
        )
    import jax

    try:
        # Ray's JaxTrainer does it itself, on GPUs alone.
        if not jax.distributed.is_initialized():
            keras.distribution.initialize(coordinator, count, rank)
    except RuntimeError as error:
        raise MachineError(
            f"{coordinator}: the {count} processes did not meet: {first_line(error)}"
        ) from error
    devices = keras.distribution.list_devices()
    # Each process draws its own share.
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    )
    return Ranks(rank, count)


def check(config: TrainConfig, ranks: Ranks) -> None:
    """Check that a configuration can be trained by several processes.

    Raises:
        RequestError: it cannot; the message names the key.
    """
    if ranks.count == 1:
        return
    if config.mirrored:
        raise RequestError("mirrored: is for the devices of one process; set it to false, or unset ISR_RANKS")
    if config.data.batch_size % ranks.count:
        raise RequestError(
            f"data.batch_size {config.data.batch_size} cannot be divided by the {ranks.count} processes"
        )
