"""What bfloat16 costs: decibels on the validation pictures, and the largest deviation from float32.

    python benchmarks/precision.py PHOTOS [PRESET ...]

For each preset the pictures are reduced by MATLAB's rule, enlarged in both precisions and rounded to 8 bits.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

import numpy as np
from measure import machine

from isr import presets
from isr.data.pairs import find_pairs
from isr.evaluate import read_pairs
from isr.metrics import psnr
from isr.predict.picture import enlarge
from isr.predict.source import Network
from isr.predict.tiling import TileOptions


def main() -> None:
    print(machine())
    photos = Path(sys.argv[1])
    for name in sys.argv[2:] or presets.shipped():
        network = Network(name)
        scale = network.scales[0]
        runs = [network.open(precision) for precision in ("float32", "bfloat16")]
        losses, deviations, exact = [], [], []
        for _, lr, hr in read_pairs(find_pairs(photos, None, scale), scale, network.spec.num_channels):
            pair = [np.clip(enlarge(run, lr.astype(np.float32) / 255, TileOptions()), 0, 1) for run in runs]
            eight = [np.floor(sr * 255 + 0.5).astype(np.uint8) for sr in pair]
            full, half = (psnr(sr, hr, channel="y", border=scale) for sr in eight)
            losses.append(full - half)
            deviations.append(float(np.abs(pair[0] - pair[1]).max() * 255))
            exact.append(float((eight[0] != eight[1]).mean()))
        print(
            f"  {name:<18} bfloat16 costs {fmean(losses):+.4f} dB on average (worst {max(losses):+.4f}), largest "
            f"deviation {max(deviations):.2f}/255, {fmean(exact):.1%} of the 8-bit values differ"
        )


if __name__ == "__main__":
    main()
