"""A training step of EDSR-baseline x2: mixed bfloat16 against float32, and what the input pipeline costs.

    python benchmarks/training.py PHOTOS

Batch 16 of 48x48 LR patches, L1, Adam with averaged weights, TensorFlow without XLA. The pipeline's cost is the
step fed from the pictures of the folder PHOTOS against the step fed one batch from memory, interleaved.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import tensorflow as tf
from measure import interleaved, machine

from isr.data.batches import PatchBatches, PatchRecipe
from isr.data.pairs import PicturePairs, find_pairs
from isr.data.tfdata import dataset
from isr.losses import pixel_loss
from isr.models import EDSR
from isr.train.optimizer import AveragingAdam

STEPS = 8


def main() -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as cache:
        pairs = PicturePairs(find_pairs(Path(sys.argv[1]), None, 2), 2, 3, Path(cache))
        batches = PatchBatches(pairs, 2, PatchRecipe(patch_size=96, batch_size=16))
        fixed = batches[0]
        memory = tf.data.Dataset.from_tensors((fixed.lr, fixed.hr)).cache().repeat(STEPS)
        memory = memory.with_options(dataset(batches, 0, STEPS).options())
        models = {}
        for policy in ("float32", "mixed_bfloat16"):
            model = EDSR(2, dtype=policy)
            model.compile(AveragingAdam(1e-5), pixel_loss("l1"), jit_compile=False)
            models[policy] = model

        def fit(policy: str, data: tf.data.Dataset) -> None:
            models[policy].fit(data, verbose=0, shuffle=False)

        functions = {}
        for policy in models:
            functions[f"{policy}, from memory"] = lambda p=policy: fit(p, memory)
            functions[f"{policy}, from pictures"] = lambda p=policy: fit(p, dataset(batches, 0, STEPS))
        seconds = interleaved(functions, rounds=5, warmup=1)
    for name, value in seconds.items():
        print(f"  {name:<30} {value / STEPS * 1000:8.1f} ms per step")
    ratio = seconds["float32, from memory"] / seconds["mixed_bfloat16, from memory"]
    print(f"  mixed_bfloat16 is {ratio:.2f}x faster than float32")
    for policy in models:
        cost = seconds[f"{policy}, from pictures"] / seconds[f"{policy}, from memory"] - 1
        print(f"  input pipeline, {policy}: {cost:+.1%} of the step")


if __name__ == "__main__":
    main()
