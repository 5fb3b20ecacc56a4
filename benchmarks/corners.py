"""What networks make of damaged photographs, before they ship as the corners of a preset.

    python benchmarks/corners.py PHOTOS/val clean=edsr_baseline_x4 restored=runs/restored/best --side 256

PSNR and SSIM beside bicubic, for every damage of `isr degrade` in its three strengths; the networks in bfloat16.
`--perceptual` adds NIQE and the distance of VGG19 features to the original. What lies between the corners of
a preset is measured by `photo_curves.py`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from measure import machine

from isr.data.degrade import STRENGTHS, FixedDegradation
from isr.data.pairs import find_pairs
from isr.evaluate import Protocol, evaluate, read_pairs
from isr.models.loading import load
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.runtimes import as_upscaler
from isr.spec import Upscaler

DAMAGES = ("blur", "noise", "jpeg", "real")


def middles(lr: np.ndarray, hr: np.ndarray, side: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the middles of a pair, `side` HR pixels wide and high."""
    low = side // scale
    top, left = ((length - low) // 2 for length in lr.shape[:2])
    return (
        lr[top : top + low, left : left + low],
        hr[top * scale : (top + low) * scale, left * scale : (left + low) * scale],
    )


def enlarged(upscaler: Upscaler, scale: int, lr: np.ndarray) -> np.ndarray:
    """What a network makes of a picture."""
    return enlarge(upscaler, lr, TileOptions(), scale=scale)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("networks", nargs="+", help="NAME=PRESET[:DENOISE:TEXTURE], all of one scale")
    parser.add_argument(
        "--side", type=int, help="of the middle of each photograph, in HR pixels; default: all of it"
    )
    parser.add_argument("--damages", nargs="+", choices=DAMAGES, default=DAMAGES)
    parser.add_argument("--perceptual", action="store_true", help="also NIQE and VGG")
    arguments = parser.parse_args()

    networks = {}
    for name, preset in (text.split("=", 1) for text in arguments.networks):
        preset, *knobs = preset.split(":")
        network = load(preset, **dict(zip(("denoise", "texture"), map(float, knobs), strict=False)))
        (scale,) = network.scales
        networks[name] = partial(enlarged, as_upscaler(network.with_policy("mixed_bfloat16")), scale)
    files = find_pairs(arguments.photos, None, scale)
    cut = f", the middle {arguments.side} px of each" if arguments.side else ""
    print(f"{machine()}; x{scale}, {len(files)} photographs{cut}\n")
    columns = ["damage", "", "PSNR-Y", "over bicubic", "SSIM", "over bicubic"]
    columns += ["NIQE", "VGG"] if arguments.perceptual else []
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    gains: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    chosen = (FixedDegradation(damage, strength) for damage in arguments.damages for strength in STRENGTHS)
    for fixed in chosen:
        pairs = read_pairs(files, scale, 3, fixed)
        if arguments.side:
            pairs = ((name, *middles(lr, hr, arguments.side, scale)) for name, lr, hr in pairs)
        protocol = Protocol(scale, lr=fixed.describe(scale), perceptual=arguments.perceptual)
        figures = evaluate(networks, pairs, protocol).mean.figures
        bicubic = figures["bicubic"]
        for name, found in figures.items():
            more, similar = "", ""
            if name != "bicubic":
                gains[name].append((found.psnr - bicubic.psnr, found.ssim - bicubic.ssim))
                more, similar = f"{gains[name][-1][0]:+.3f} dB", f"{gains[name][-1][1]:+.4f}"
            row = f"| {fixed} | {name} | {found.psnr:.3f} dB | {more} | {found.ssim:.4f} | {similar} |"
            if found.niqe is not None and found.vgg is not None:
                row += f" {found.niqe:.2f} | {found.vgg:.4f} |"
            print(row, flush=True)
    for name, own in gains.items():
        psnr, ssim = (fmean(values) for values in zip(*own, strict=True))
        print(f"| mean | {name} | | {psnr:+.3f} dB | | {ssim:+.4f} |")


if __name__ == "__main__":
    main()
