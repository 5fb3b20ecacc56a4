"""How `fit` is given batches, of which each is a function of (seed, step)."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from isr.data.batches import WORKERS, Batch, Batches
from isr.train.ranks import Ranks


def feed(batches: Batches, first: int, stop: int, ranks: Ranks | None = None) -> Any:
    """Give batches `first` to `stop - 1`, in order, as `fit` takes them on the running backend.

    Args:
        batches: all of them.
        first, stop: their numbers.
        ranks: the processes that share each batch; None: this one alone.
    """
    if keras.backend.backend() == "tensorflow":
        from isr.data.tfdata import dataset

        return dataset(batches, first, stop)
    return KerasBatches(batches, first, stop, ranks)


class KerasBatches(keras.utils.PyDataset):
    """Batches `start` to `stop - 1` in order, drawn ahead in threads, for the backends without tf.data.

    Not by Keras' workers: when `fit` has looked at the first batch to build a model, they go on behind it and bring
    it last.
    """

    # Batches.
    AHEAD = 8

    def __init__(self, batches: Batches, start: int, stop: int, ranks: Ranks | None = None) -> None:
        super().__init__()
        self.ranks = ranks or Ranks()
        self.batches, self.start, self.stop = batches, start, stop
        self.threads = ThreadPoolExecutor(WORKERS)
        self.drawn: dict[int, Future[Batch]] = {}

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        for i in range(index, min(index + self.AHEAD, len(self))):
            if i not in self.drawn:
                self.drawn[i] = self.threads.submit(self.batches.__getitem__, self.start + i)
        batch = self.drawn.pop(index).result()
        own = self.ranks.share(len(batch.hr))
        return batch.lr[own], batch.hr[own]
