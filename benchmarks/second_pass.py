"""What fewer frames, a second pass and refined frames fed back are worth to a FlowVSR.

python benchmarks/second_pass.py PRESET --clips CLIPS/val [--frames 12]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from measure import machine

from isr.data.clips import find_clips, read_clip
from isr.levels import from_float, to_float
from isr.metrics import psnr
from isr.models import FlowVSR
from isr.models.loading import load
from isr.ops import Tensor
from isr.predict.frames import window_indices

Features = dict[str, Any]


class Ways:
    """The frames of a clip, enlarged in different ways by one preset."""

    def __init__(self, model: FlowVSR) -> None:
        self.once = FlowVSR.from_config({**model.get_config(), "passes": 1})
        self.once.set_weights(model.get_weights())
        graph = partial(tf.function, jit_compile=False)
        self.encode, self.observe = graph(self.once.encode), graph(self.once.observe)
        self.fuse, self.fuse_nearest = graph(self.once.decode_frames), graph(self.decode_nearest)

    def decode_nearest(self, *window: Features) -> Features:
        """Trust the nearest neighbours alone: a window of three frames."""
        model, whole = self.once, self.once._follow

        def follow(guide: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
            flow, trust = whole(guide, pairs)
            near = np.array([abs(start - end) == 1 for start, end in pairs], np.float32)
            return flow, trust * near[:, None, None, None]

        # While this is traced.
        model._follow = follow
        try:
            return model.decode_frames(*window)
        finally:
            model._follow = whole

    def around(self, features: list[Features], center: int) -> list[Features]:
        return [features[i] for i in window_indices(center, len(features) - 1, self.once.spec)]

    def run(self, frames: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
        """Enlarge frames, uint8; every way gives floats."""
        base = [self.encode(to_float(frame)[None]) for frame in frames]
        indices = range(len(frames))

        def all_of(fuse: Callable[..., Features], features: list[Features]) -> list[np.ndarray]:
            return [fuse(*self.around(features, i))["sr"].numpy() for i in indices]

        once = all_of(self.fuse, base)
        refined = [self.observe(result) for result in once]
        fed, back = list(base), []
        for i in indices:
            back.append(self.fuse(*self.around(fed, i))["sr"].numpy())
            fed[i] = self.observe(back[-1])
        # As `passes=2` does: flow and centre frame are the base's, its neighbours' luma is that of results.
        shown = [{**own, "luma": result["luma"]} for own, result in zip(base, refined, strict=True)]
        twice = [
            self.fuse(*self.around([*shown[:i], base[i], *shown[i + 1 :]], i))["sr"].numpy() for i in indices
        ]
        return {
            "the base": [features["sr"].numpy() for features in base],
            "three frames": all_of(self.fuse_nearest, base),
            "five frames": once,
            "refined frames fed back": back,
            "a second pass": all_of(self.fuse, refined),
            "with the base's centre": twice,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=24, help="of the beginning of every clip")
    arguments = parser.parse_args()
    model = load(arguments.preset)
    ways, scale = Ways(model), model.scale
    print(f"{arguments.preset}, {arguments.frames} frames of every clip, PSNR-Y; {machine()}", flush=True)
    rows: dict[str, list[float]] = {}
    for files in find_clips(arguments.clips, None):
        pairs = list(itertools.islice(read_clip(files, scale, 3), arguments.frames))
        for name, results in ways.run([lr for lr, _ in pairs]).items():
            scores = [
                psnr(from_float(result[0], np.dtype(np.uint8)), hr, channel="y", border=scale)
                for result, (_, hr) in zip(results, pairs, strict=True)
            ]
            rows.setdefault(name, []).append(float(np.mean(scores)))
        print(files.name, {name: round(values[-1], 3) for name, values in rows.items()}, flush=True)
    for name, values in rows.items():
        gain = np.mean(values) - np.mean(rows["the base"])
        print(f"{name:26} {np.mean(values):.3f} {gain:+.3f}")


if __name__ == "__main__":
    main()
