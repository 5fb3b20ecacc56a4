"""What fewer frames, a second pass and refined frames fed back are worth to a FlowVSR that was trained for neither.

python benchmarks/second_pass.py PRESET --clips CLIPS/val [--frames 12]
"""

from __future__ import annotations

import argparse
import itertools
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
from isr.runtimes.tensorflow import TensorFlowFramesUpscaler

Features = dict[str, Any]


class Nearest(TensorFlowFramesUpscaler):
    """Trusts the nearest neighbours alone: a window of three frames."""

    def __init__(self, model: FlowVSR) -> None:
        super().__init__(model)
        whole = model.align
        near = [abs(i - model.center_frame_idx) == 1 for i in range(model.num_frames)]
        del near[model.center_frame_idx]
        counts = np.array(near, np.float32)[None, :, None, None, None]

        def align(window: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            moved, trust = whole(window)
            return moved, trust * counts

        def decode(window: list[Features]) -> Tensor:
            model.align = align  # while this is traced
            try:
                return model.decode({name: tf.stack([f[name] for f in window], axis=1) for name in window[0]})
            finally:
                model.align = whole

        self._decode = tf.function(decode, jit_compile=False)


class Ways:
    """The frames of a clip, enlarged in different ways by one preset."""

    def __init__(self, model: FlowVSR) -> None:
        self.spec = model.spec
        self.upscaler, self.nearest = TensorFlowFramesUpscaler(model), Nearest(model)
        self.observe = tf.function(model.observe, jit_compile=False)

    def window(self, features: list[Features], center: int) -> list[Features]:
        return [features[i] for i in window_indices(center, len(features) - 1, self.spec)]

    def run(self, frames: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
        """Enlarge frames, uint8; every way gives floats."""
        base = [self.upscaler.encode(to_float(frame)[None]) for frame in frames]
        indices = range(len(frames))
        once = [self.upscaler.decode(self.window(base, i)) for i in indices]
        refined = [self.observe(result) for result in once]
        fed, back = list(base), []
        for i in indices:
            back.append(self.upscaler.decode(self.window(fed, i)))
            fed[i] = self.observe(back[-1])
        # The centre stays the base's, its neighbours on both sides are refined.
        around = [
            self.upscaler.decode(self.window([*refined[:i], base[i], *refined[i + 1 :]], i)) for i in indices
        ]
        return {
            "the base": [features["sr"].numpy() for features in base],
            "three frames": [self.nearest.decode(self.window(base, i)) for i in indices],
            "five frames": once,
            "a second pass": [self.upscaler.decode(self.window(refined, i)) for i in indices],
            "refined neighbours": around,
            "refined frames fed back": back,
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
