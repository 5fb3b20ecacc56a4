"""How a preset for real photographs behaves between its corners, and what `auto` loses to the best fixed denoise.

    python benchmarks/photo_curves.py photo_x4 photos/val

Every picture is degraded by the fixed strengths, which no training draws from, and upscaled at five mixtures. The
middle of each picture is enough. The step from one mixture to the next should only ever lead away from the first:
"moves on" counts the pictures where it does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np
from measure import machine

from isr import presets
from isr.data.degrade import FixedDegradation
from isr.imresize import imresize
from isr.io.pictures import read
from isr.levels import from_float, to_float
from isr.metrics import psnr, ssim
from isr.predict.picture import enlarge
from isr.predict.quality import assess
from isr.predict.source import networks_of
from isr.predict.tiling import TileOptions
from isr.presets import Mixture

MIXTURES = (0.0, 0.25, 0.5, 0.75, 1.0)
DAMAGES = (
    None,
    *(FixedDegradation("real", strength) for strength in (1, 2, 3)),
    *(FixedDegradation(damage, strength) for damage in ("blur", "noise", "jpeg") for strength in (1, 2, 3)),
)


def pictures(folder: Path, side: int, scale: int) -> Iterator[np.ndarray]:
    """The middles of the pictures of a folder."""
    side -= side % scale
    for path in sorted(folder.glob("*.png")):
        pixels = read(path).pixels
        top, left = (max(0, length - side) // 2 for length in pixels.shape[:2])
        middle = pixels[top : top + side, left : left + side]
        height, width = (length - length % scale for length in middle.shape[:2])
        yield middle[:height, :width]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--side", type=int, default=256, help="of the middle of each picture, in HR pixels")
    parser.add_argument("--texture", type=float, default=0.0)
    parser.add_argument("--engine", default="openvino")
    given = parser.parse_args()
    (scale,) = presets.scales(given.preset)
    originals = list(pictures(given.photos, given.side, scale))

    def upscaled(lr: np.ndarray, denoise: float) -> np.ndarray:
        network = networks_of(given.preset, engine=given.engine, mixture=Mixture(denoise, given.texture))[
            scale
        ]
        precision = "bfloat16" if "bfloat16" in network.precisions else "float32"
        made = enlarge(network.open(precision), to_float(lr), TileOptions(), scale=scale)
        return from_float(np.clip(made, 0, 1), np.dtype(np.uint8))

    def figures(hr: np.ndarray, sr: np.ndarray) -> tuple[float, float]:
        return psnr(hr, sr, channel="y", border=scale), ssim(hr, sr, channel="y", border=scale)

    columns = ["bicubic", *(f"{d:g}" for d in MIXTURES), "auto"]
    print(f"{given.preset}, {len(originals)} pictures of {given.side} px, PSNR-Y dB (SSIM); {machine()}")
    print(f"| degradation | {' | '.join(columns)} | auto takes | auto below best | moves on |")
    print("|---" * (len(columns) + 4) + "|")
    losses = []
    for damage in DAMAGES:
        found: list[list[tuple[float, float]]] = []
        taken, straight = [], 0
        for hr in originals:
            lr = imresize(hr, scale=1 / scale) if damage is None else damage(hr, scale)
            results = [upscaled(lr, denoise) for denoise in MIXTURES]
            taken.append(assess(lr).denoise)
            shown = [imresize(lr, scale=scale), *results, upscaled(lr, taken[-1])]
            found.append([figures(hr, sr) for sr in shown])
            away = [float(np.abs(sr.astype(float) - results[0]).mean()) for sr in results]
            straight += away == sorted(away)
        means = [tuple(fmean(row[i][k] for row in found) for k in (0, 1)) for i in range(len(columns))]
        loss = max(mean[0] for mean in means[1:-1]) - means[-1][0]
        losses.append(loss)
        cells = " | ".join(f"{db:.2f} ({similar:.3f})" for db, similar in means)
        name = "clean" if damage is None else str(damage)
        print(
            f"| {name} | {cells} | {fmean(taken):.2f} | {loss:.2f} | {straight} of {len(originals)} |",
            flush=True,
        )
    print(f"auto is {fmean(losses):.2f} dB below the best fixed denoise on average")


if __name__ == "__main__":
    main()
