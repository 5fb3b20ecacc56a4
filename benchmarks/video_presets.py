"""Seconds per frame of 320x180 pixels for presets, by default all that ship, as a video goes through them.

python benchmarks/video_presets.py [PRESET ...]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from measure import machine

from isr import presets, upscale_frames

# The first ones also build the graphs; the median of the rest counts, most of them in the middle of a clip.
FRAMES = 16


def main() -> None:
    print(machine())
    noise = np.random.default_rng(0).integers(0, 256, (180, 320 + FRAMES, 3), np.uint8)
    clip = [np.ascontiguousarray(noise[:, i : i + 320]) for i in range(FRAMES)]
    for name in sys.argv[1:] or presets.shipped():
        cells = []
        for precision in ("float32", "bfloat16", "auto"):
            times, before = [], time.perf_counter()
            for _ in upscale_frames(name, clip, precision=precision):
                now = time.perf_counter()
                times.append(now - before)
                before = now
            cells.append(f"{precision} {np.median(times[3:]):.2f} s")
        print(f"{name}: {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
