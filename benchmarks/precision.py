"""What bfloat16 costs: decibels on the validation pictures, and the largest deviation from float32.

    python benchmarks/precision.py PHOTOS [PRESET ...] [--engine openvino] [--side 384] [--count 16]

For each preset, a name or a folder, the pictures are reduced by MATLAB's rule, enlarged in both precisions by the
engine (Keras' own by default) and rounded to 8 bits. `--side` takes their middles of so many pixels, `--count` the
first of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import numpy as np
from corners import middles
from measure import machine

from isr import presets
from isr.data.pairs import find_pairs
from isr.evaluate import read_pairs
from isr.metrics import psnr
from isr.predict.picture import enlarge
from isr.predict.source import Network
from isr.predict.tiling import TileOptions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("preset", nargs="*")
    parser.add_argument("--engine")
    parser.add_argument("--side", type=int)
    parser.add_argument("--count", type=int)
    asked = parser.parse_args()
    print(machine())
    for name in asked.preset or presets.shipped():
        network = Network(name, asked.engine)
        scale = network.scales[0]
        runs = [network.open(precision) for precision in ("float32", "bfloat16")]
        losses, deviations, exact = [], [], []
        pairs = find_pairs(asked.photos, None, scale)[: asked.count]
        for _, lr, hr in read_pairs(pairs, scale, network.spec.num_channels):
            if asked.side:
                lr, hr = middles(lr, hr, asked.side, scale)
            pair = [np.clip(enlarge(run, lr.astype(np.float32) / 255, TileOptions()), 0, 1) for run in runs]
            eight = [np.floor(sr * 255 + 0.5).astype(np.uint8) for sr in pair]
            full, half = (psnr(sr, hr, channel="y", border=scale) for sr in eight)
            losses.append(full - half)
            deviations.append(float(np.abs(pair[0] - pair[1]).max() * 255))
            exact.append(float((eight[0] != eight[1]).mean()))
        print(
            f"  {Path(name).name:<18} bfloat16 costs {fmean(losses):+.4f} dB on average (worst {max(losses):+.4f}), "
            f"largest deviation {max(deviations):.2f}/255, {fmean(exact):.1%} of the 8-bit values differ"
        )


if __name__ == "__main__":
    main()
