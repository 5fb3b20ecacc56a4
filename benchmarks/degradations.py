"""What degradations cost in training: of a step of Compact and of EDSR-baseline x4, on TensorFlow.

    python benchmarks/degradations.py PHOTOS

Batch 16 of 128x128 HR patches, L1, Adam with averaged weights, mixed bfloat16 without XLA. First the processor time of
drawing a batch, on one thread, once as many steps have passed as echoes need to come round. Then the processor time of
a step, all threads together, fed with degraded patches of the folder PHOTOS against the same step fed with their
bicubic reductions, interleaved: where a processor trains, drawing ahead costs what it computes. Other work on the
machine counts little in such times.
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from measure import machine

from isr.config import JpegConfig, RealConfig
from isr.data.batches import Batches, EchoedBatches, PatchBatches, PatchRecipe
from isr.data.degrade import degrade_at_random
from isr.data.pairs import PicturePairs, find_pairs
from isr.data.tfdata import dataset
from isr.losses import pixel_loss
from isr.models import EDSR, Compact
from isr.train.optimizer import AveragingAdam

STEPS = 4
ROUNDS = 3
DRAWN = 24  # batches
SCALE = 4
RECIPES = {"jpeg": JpegConfig(), "real": RealConfig()}
ECHOES = (1, 4, 8)


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as cache:
        pairs = PicturePairs(find_pairs(Path(sys.argv[1]), None, SCALE), SCALE, 3, Path(cache), smallest=128)
        recipe = PatchRecipe(patch_size=128, batch_size=16)
        sources: dict[str, Batches] = {"bi": PatchBatches(pairs, SCALE, recipe)}
        for name, settings in RECIPES.items():
            degrade = partial(degrade_at_random, scale=SCALE, recipe=settings)
            drawn = PatchBatches(pairs, SCALE, recipe, degrade=degrade)
            for echoes in ECHOES:
                sources[f"{name}, echoes {echoes}"] = EchoedBatches(drawn, echoes)
        # Past the steps in which groups of all ages are drawn anew.
        step = EchoedBatches.SPACING * EchoedBatches.MARKS[-1]
        for name, source in sources.items():
            for earlier in range(step if isinstance(source, EchoedBatches) and len(source.ages) > 1 else 0):
                source[earlier]
            start = time.thread_time()
            for index in range(step, step + DRAWN):
                source[index]
            print(
                f"  {name:<16} {(time.thread_time() - start) / DRAWN * 1000:6.1f} ms of one thread per batch"
            )
        step += DRAWN
        for network in (Compact(scale=SCALE, dtype="mixed_bfloat16"), EDSR(SCALE, dtype="mixed_bfloat16")):
            network.compile(AveragingAdam(1e-5), pixel_loss("l1"), jit_compile=False)
            seconds: dict[str, list[float]] = {name: [] for name in sources}
            for _ in range(1 + ROUNDS):
                for name, source in sources.items():
                    start = time.process_time()
                    network.fit(dataset(source, step, step + STEPS), verbose=0, shuffle=False)
                    seconds[name].append((time.process_time() - start) / STEPS)
                step += STEPS
            # The first round traces the step.
            best = {name: min(values[1:]) for name, values in seconds.items()}
            for name, value in best.items():
                over = value / best["bi"] - 1
                print(
                    f"  {type(network).__name__:<8} {name:<16} {value * 1000:8.1f} ms of all threads per step "
                    f"({over:+.1%})"
                )


if __name__ == "__main__":
    main()
