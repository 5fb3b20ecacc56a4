"""What it brings to adapt a preset to one picture, of photographs made small by kernels that it does not expect.

    python benchmarks/adapt.py edsr_fast_x2 photos/val --every 5 --steps 200

The middle of every fifth photograph is made small by five known Gaussian kernels and by the bicubic rule, in 8 bits,
and with `--quality` compressed as JPEG.
The preset enlarges it as it is, and adapted: with the kernel that is estimated from the small picture, and with the
known one, which is as far as a better estimate would lead. Means over the photographs, with their least gain.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import numpy as np
from kernels import KERNELS, known_kernel, made_small, name_of
from measure import machine

import isr
from isr.adaptation.kernels import bicubic_kernel
from isr.data.degrade.compression import compress
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
    model: SuperResolutionModel, lr: np.ndarray, steps: int, kernel: np.ndarray | str = "estimate"
) -> tuple[SuperResolutionModel, float]:
    """The adapted network, or the network itself, and the seconds of a processor that it took."""
    begun = time.process_time()
    found = isr.adapt(model, lr, steps=steps, kernel=kernel)
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
    parser.add_argument("--only", default="", help="rows whose name this regular expression matches")
    parser.add_argument("--quality", type=int, help="of JPEG; default: none")
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
        if not re.search(given.only, name):
            continue
        rows, kept, seconds = [], 0, []
        for hr in originals:
            lr = made_small(hr, kernel, scale)
            lr = lr if given.quality is None else compress(lr, given.quality)
            own = score(hr, upscale(model, lr), scale)
            found, took = adapted(model, lr, given.steps)
            seconds.append(took)
            kept += found is model
            after = score(hr, upscale(found, lr), scale)
            row = [score(hr, imresize(lr, scale=scale), scale), own, after, after - own]
            if given.known:
                row.append(score(hr, upscale(adapted(model, lr, given.steps, kernel)[0], lr), scale))
            rows.append(row)
        bicubic, own, after, gain, *known = np.mean(rows, axis=0)
        least = min(row[3] for row in rows)
        cells = [f"{bicubic:.2f}", f"{own:.2f}", f"{after:.2f}", f"{gain:+.2f}", f"{least:+.2f}"]
        cells += [f"{value:.2f}" for value in known]
        cells += [f"{kept} of {len(rows)}", f"{np.mean(seconds):.1f}"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    noise = "" if given.quality is None else f", JPEG of quality {given.quality}"
    print(f"{len(originals)} photographs, {given.steps} steps{noise}", machine(), sep="\n")


if __name__ == "__main__":
    main()
