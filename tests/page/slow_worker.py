"""The worker of the page with an upscaler that repeats pixels, and takes its time (`$SLOW` seconds a call)."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
from upscalers import Repeat

from isr.page import worker
from isr.predict.networks import NETWORKS, Networks, Opened


class Slow(Repeat):
    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        time.sleep(float(os.environ.get("SLOW", "0")))
        return super().__call__(batch, scale=scale)


def opened(self: Networks, job: Any, progress: Any) -> Opened:
    """In place of every network, one of its scale that takes single frames."""
    upscalers = []
    for scale, chosen in zip(job.route.stages, job.networks, strict=True):
        slow = Slow(scale)
        slow.spec = replace(chosen.spec, name="slow", num_frames=1, center_frame=0, frame_border="")
        upscalers.append(slow)
    return Opened(tuple(upscalers), job.networks, "CPU", False)


if __name__ == "__main__":
    assert isinstance(NETWORKS, Networks)
    Networks.open = opened  # type: ignore[method-assign]
    worker.main()
