"""How a preset for real photographs behaves between its corners, and what `auto` loses to the best fixed denoise.

    python benchmarks/photo_curves.py photo_x4 photos/val

Every picture is degraded by the fixed strengths, which no training draws from. `auto` looks at the whole of it, as for
users; its middle is upscaled at five mixtures, and scored. The step from one mixture to the next should only ever lead
away from the first: "moves on" counts the pictures where it does.
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


def pictures(folder: Path, scale: int, half: int | None) -> Iterator[np.ndarray]:
    """The pictures of a folder or of every second one of them, of sides that the scale divides."""
    paths = sorted(folder.glob("*.png"))
    for path in paths if half is None else paths[half - 1 :: 2]:
        pixels = read(path).pixels
        height, width = (length - length % scale for length in pixels.shape[:2])
        yield pixels[:height, :width]


def middle(hr: np.ndarray, lr: np.ndarray, side: int, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The same middle of both, of at most `side` pixels of the larger one."""
    height, width = (min(side // scale, length) for length in lr.shape[:2])
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    rows, columns = slice(top, top + height), slice(left, left + width)
    wide = (slice(each.start * scale, each.stop * scale) for each in (rows, columns))
    return hr[tuple(wide)], lr[rows, columns]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--side", type=int, default=256, help="of what is scored of each, in HR pixels")
    parser.add_argument(
        "--half", type=int, choices=(1, 2), help="every second picture; `auto` was fitted to the first half"
    )
    parser.add_argument("--texture", type=float, default=0.0)
    parser.add_argument("--engine", default="openvino")
    given = parser.parse_args()
    (scale,) = presets.scales(given.preset)
    originals = list(pictures(given.photos, scale, given.half))

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
        for original in originals:
            whole = imresize(original, scale=1 / scale) if damage is None else damage(original, scale)
            hr, lr = middle(original, whole, given.side, scale)
            results = [upscaled(lr, denoise) for denoise in MIXTURES]
            taken.append(assess(whole).denoise)
            known = dict(zip(MIXTURES, results, strict=True))
            automatic = known[taken[-1]] if taken[-1] in known else upscaled(lr, taken[-1])
            shown = [imresize(lr, scale=scale), *results, automatic]
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
