"""What degradations cost in training: of a step of Compact and of EDSR-baseline x4, on TensorFlow.

    python benchmarks/degradations.py PHOTOS

Batch 16 of 128x128 HR patches, L1, Adam with averaged weights, mixed bfloat16 without XLA. First the processor time of
one patch, on one thread. Then the processor time of a step, all threads together, fed with degraded patches of the
folder PHOTOS against the same step fed with their bicubic reductions, interleaved: where a processor trains, drawing
ahead costs what it computes. Other work on the machine counts little in such times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from measure import machine

from isr.config import JpegConfig, RealConfig
from isr.data.batches import PatchBatches, PatchRecipe
from isr.data.degrade import degrade_at_random
from isr.data.pairs import PicturePairs, find_pairs
from isr.data.tfdata import dataset
from isr.losses import pixel_loss
from isr.models import EDSR, Compact
from isr.train.optimizer import AveragingAdam

STEPS = 4
ROUNDS = 2
PATCHES = 100
SCALE = 4
RECIPES = {"jpeg": JpegConfig(), "real": RealConfig()}


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as cache:
        pairs = PicturePairs(find_pairs(Path(sys.argv[1]), None, SCALE), SCALE, 3, Path(cache), smallest=128)
        recipe = PatchRecipe(patch_size=128, batch_size=16)
        batches = {"bi": PatchBatches(pairs, SCALE, recipe)}
        hr = (batches["bi"][0].hr[0] * 255).astype(np.uint8)
        for name, settings in RECIPES.items():
            degrade = partial(degrade_at_random, scale=SCALE, recipe=settings)
            batches[name] = PatchBatches(pairs, SCALE, recipe, degrade=degrade)
            start = time.thread_time()
            for index in range(PATCHES):
                degrade(hr, np.random.default_rng(index))
            cost = (time.thread_time() - start) / PATCHES
            print(
                f"  {name:<5} {cost * 1000:6.2f} ms of one thread per patch, {16 * cost * 1000:6.1f} ms per batch"
            )
        for network in (Compact(scale=SCALE, dtype="mixed_bfloat16"), EDSR(SCALE, dtype="mixed_bfloat16")):
            network.compile(AveragingAdam(1e-5), pixel_loss("l1"), jit_compile=False)
            seconds: dict[str, list[float]] = {name: [] for name in batches}
            for _ in range(1 + ROUNDS):
                for name, source in batches.items():
                    start = time.process_time()
                    network.fit(dataset(source, 0, STEPS), verbose=0, shuffle=False)
                    seconds[name].append((time.process_time() - start) / STEPS)
            # The first round traces the step.
            best = {name: min(values[1:]) for name, values in seconds.items()}
            for name, value in best.items():
                over = value / best["bi"] - 1
                print(
                    f"  {type(network).__name__:<8} {name:<5} {value * 1000:8.1f} ms of all threads per step "
                    f"({over:+.1%})"
                )


if __name__ == "__main__":
    main()
