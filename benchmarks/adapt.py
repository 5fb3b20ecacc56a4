"""What it brings to adapt a preset to one picture, of photographs made small by kernels that it does not expect.

    python benchmarks/adapt.py edsr_fast_x2 photos/val --every 5 --steps 200

The middle of every fifth photograph is made small by five known Gaussian kernels and by the bicubic rule, in 8 bits.
The preset enlarges it as it is, and adapted: with the kernel that is estimated from the small picture, and with the
known one, which is as far as a better estimate would lead. Means over the photographs, with their least gain.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from kernels import KERNELS, known_kernel, made_small, name_of
from measure import machine

from isr.adaptation.kernels import bicubic_kernel
from isr.adaptation.learning import Adapted, learn
from isr.adaptation.spectrum import estimate_kernel
from isr.imresize import imresize
from isr.io.pictures import read
from isr.metrics import psnr
from isr.models import SuperResolutionModel
from isr.models.loading import load
from isr.predict import upscale


def score(hr: np.ndarray, sr: np.ndarray, scale: int) -> float:
    """PSNR of luma, as the benchmarks count it."""
    return psnr(hr, sr, channel="y", border=scale)


def adapted(
    model: SuperResolutionModel, lr: np.ndarray, kernel: np.ndarray, steps: int
) -> tuple[Adapted, float]:
    """The adapted network, and the seconds of a processor that it took."""
    begun = time.process_time()
    found = learn(model, lr, kernel, scale=model.scale, steps=steps)
    return found, time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--side", type=int, default=256, help="of the middles, in pixels of the photographs")
    parser.add_argument("--every", type=int, default=1, help="take the first of so many photographs")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--known", action="store_true", help="adapt with the known kernel, too")
    given = parser.parse_args()
    model = load(given.preset)
    scale = model.scale
    originals = []
    for path in sorted(given.photos.glob("*.png"))[:: given.every]:
        pixels = read(path).pixels
        top, left = ((length - given.side) // 2 for length in pixels.shape[:2])
        originals.append(pixels[top : top + given.side, left : left + given.side])
    columns = (
        "bicubic",
        given.preset,
        "adapted",
        "gain",
        "least",
        *(["known kernel"] if given.known else []),
    )
    print(f"| kernel | {' | '.join(columns)} | kept | seconds |", "|---" * (len(columns) + 3) + "|", sep="\n")
    for number in (*range(len(KERNELS)), None):
        kernel = bicubic_kernel(scale) if number is None else known_kernel(number, scale)
        name = "the bicubic rule" if number is None else name_of(number)
        if given.only not in name:
            continue
        rows, kept, seconds = [], 0, []
        for hr in originals:
            lr = made_small(hr, kernel, scale)
            own = score(hr, upscale(model, lr), scale)
            found, took = adapted(model, lr, estimate_kernel(lr, scale)[0], given.steps)
            seconds.append(took)
            kept += not found.better
            after = score(hr, upscale(found.model, lr), scale)
            row = [score(hr, imresize(lr, scale=scale), scale), own, after, after - own]
            if given.known:
                row.append(score(hr, upscale(adapted(model, lr, kernel, given.steps)[0].model, lr), scale))
            rows.append(row)
        bicubic, own, after, gain, *known = np.mean(rows, axis=0)
        least = min(row[3] for row in rows)
        cells = [f"{bicubic:.2f}", f"{own:.2f}", f"{after:.2f}", f"{gain:+.2f}", f"{least:+.2f}"]
        cells += [f"{value:.2f}" for value in known]
        cells += [f"{kept} of {len(rows)}", f"{np.mean(seconds):.1f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"{len(originals)} photographs, {given.steps} steps", machine(), sep="\n")


if __name__ == "__main__":
    main()
