"""Where one scene of a clip ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from isr.levels import to_float

T = TypeVar("T")


class SceneCuts:
    """Tell where one scene ends and the next begins.

    The score of a frame is how much more it differs from its predecessor than that one did from its own: the mean
    absolute difference of a thinned-out gray picture, 0 to 1, or its rise, whichever is smaller. Motion keeps on
    differing, so it scores little.

    Args:
        threshold: the score from which a frame begins a scene; None: there is one scene.
    """

    # Rows and columns that are compared at most.
    SIDE = 64

    def __init__(self, threshold: float | None) -> None:
        self.threshold = threshold
        self._before: np.ndarray | None = None
        self._difference = 0.0

    def scenes(self, frames: Iterable[tuple[T, np.ndarray]]) -> Iterator[tuple[int, T, np.ndarray]]:
        """Give every frame and its pixels with the number of its scene."""
        scene = 0
        for frame, pixels in frames:
            if self.threshold is not None and self.score(pixels) >= self.threshold:
                scene += 1
            yield scene, frame, pixels

    def score(self, frame: np.ndarray) -> float:
        """Score the next frame, `[h, w, c]`; 0 for the first one."""
        height, width = frame.shape[:2]
        thin = frame[:: max(height // self.SIDE, 1), :: max(width // self.SIDE, 1)]
        gray = to_float(thin).mean(axis=-1)
        before, self._before = self._before, gray
        if before is None or before.shape != gray.shape:
            # Who takes the frames says what is wrong with another size.
            return 0.0
        difference = float(np.abs(gray - before).mean())
        rise, self._difference = difference - self._difference, difference
        return min(difference, max(rise, 0.0))
