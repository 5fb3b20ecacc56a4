"""Upscalers without a network, for tests of what is around one."""

from __future__ import annotations

import numpy as np

from isr.spec import ModelSpec


class Repeat:
    """Every pixel becomes a block of its own colour; counts its calls."""

    def __init__(self, scale: int = 2, num_channels: int = 3, **spec: int) -> None:
        self.spec = ModelSpec("repeat", (scale,), num_channels, receptive_radius=0, **spec)
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        assert batch.dtype == np.float32 and batch.shape[-1] == self.spec.num_channels
        assert scale is None or scale in self.spec.scales
        self.batches.append(batch.shape)
        factor = scale or self.spec.scales[0]
        return batch.repeat(factor, axis=1).repeat(factor, axis=2)


class Blur(Repeat):
    """As `Repeat`, then a mean over 5 x 5: what is under transparent pixels would show."""

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        large = super().__call__(batch, scale=scale)
        height, width = large.shape[1:3]
        padded = np.pad(large, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
        parts = [padded[:, y : y + height, x : x + width] for y in range(5) for x in range(5)]
        return np.mean(parts, axis=0, dtype=np.float32)


class Little(Repeat):
    """As `Repeat`, with memory for batches of so many pixels only."""

    def __init__(self, memory: int, scale: int = 2) -> None:
        super().__init__(scale)
        self.memory = memory

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        result = super().__call__(batch, scale=scale)
        if batch.shape[0] * batch.shape[1] * batch.shape[2] > self.memory:
            raise MemoryError
        return result


class Lines:
    """A progress that keeps what it is told; asks to stop after `stop` tiles."""

    def __init__(self, stop: int | None = None) -> None:
        self.cancelled = False
        self.lines: list[str] = []
        self.stop = stop
        self.done = self.total = self.starts = 0

    def start(self, what: str, total: int, unit: str = "") -> None:
        self.done, self.total, self.starts = 0, total, self.starts + 1

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        if self.stop is not None and self.done >= self.stop:
            self.cancelled = True

    def message(self, text: str) -> None:
        self.lines.append(text)
