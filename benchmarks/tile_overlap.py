"""How far tiled output is from the whole picture's, over the overlap: the measurement behind the default.

    python benchmarks/tile_overlap.py PHOTOS [--preset NAME ...] [--picture docs/images/tile_overlap.png]
    python benchmarks/tile_overlap.py PHOTOS --preset NAME --cut [--engine ncnn] [--count 8]

Every photograph of the folder goes through the network whole and in tiles of 96 pixels (many seams), in float32.

For networks that see far, `--cut` measures all overlaps at once: of a part of 224 pixels, its four corners of 160 go
through the network by themselves, as tiles would, and a pixel that lies d from the two sides that were cut stands for
an overlap of d. `--count` takes the first photographs only.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from measure import machine

from isr import presets
from isr.io import pictures
from isr.io.files import walk
from isr.predict.picture import enlarge
from isr.predict.source import Network
from isr.predict.tiling import TileOptions
from isr.runtimes import as_upscaler, load_upscaler

OVERLAPS = (0, 2, 4, 8, 12, 16, 20, 24)
TILE = 96
# Pixels of the crop that is taken from the middle of a photograph.
SIDE = 192
# Of `--cut`: the part of a photograph, its corners, and the overlaps that are printed.
PART, CORNER = 224, 160
REACHES = (12, 16, 24, 32, 40, 48, 52, 56, 60, 64, 72, 80, 96)


def deviations(preset: str, photos: list[Path]) -> dict[int, tuple[float, float]]:
    """Largest and root-mean-square deviation by overlap, in levels of 255, over all photographs."""
    upscaler = as_upscaler(load_upscaler(preset))
    result = dict.fromkeys(OVERLAPS, (0.0, 0.0))
    for path in photos:
        pixels = pictures.read(path).pixels
        top, left = (max(side - SIDE, 0) // 2 for side in pixels.shape[:2])
        lr = pixels[top : top + SIDE, left : left + SIDE].astype(np.float32) / 255
        whole = enlarge(upscaler, lr, TileOptions(tile=10_000))
        for overlap in OVERLAPS:
            tiled = enlarge(upscaler, lr, TileOptions(tile=TILE, overlap=overlap))
            error = np.abs(tiled - whole) * 255
            largest, square = result[overlap]
            result[overlap] = (
                max(largest, float(error.max())),
                square + float((error**2).mean()) / len(photos),
            )
    return {overlap: (largest, square**0.5) for overlap, (largest, square) in result.items()}


def reach(preset: str, engine: str, photos: list[Path]) -> dict[int, tuple[float, float]]:
    """Largest deviation in levels of 255, and the share of pixels over one level, by overlap, over all corners."""
    network = Network(preset, engine).open("float32")
    scale = network.spec.scales[0]
    rows, columns = np.mgrid[:CORNER, :CORNER]
    distance = np.minimum(rows, columns).repeat(scale, 0).repeat(scale, 1)
    errors = []
    for path in photos:
        pixels = pictures.read(path).pixels
        top, left = ((side - PART) // 2 for side in pixels.shape[:2])
        lr = pixels[top : top + PART, left : left + PART].astype(np.float32) / 255
        whole = network(lr[None], scale=scale)[0]
        for y, x in itertools.product((0, PART - CORNER), repeat=2):
            corner = network(np.ascontiguousarray(lr[y : y + CORNER, x : x + CORNER])[None], scale=scale)[0]
            there = whole[scale * y : scale * (y + CORNER), scale * x : scale * (x + CORNER)]
            # Turned so that the sides that were cut come first.
            turn = slice(None, None, 1 if y else -1), slice(None, None, 1 if x else -1)
            errors.append(np.abs(corner - there).max(-1)[turn] * 255)
    found = np.stack(errors)
    return {
        overlap: (
            float(found[:, distance >= overlap].max()),
            float((found[:, distance >= overlap] > 1).mean()),
        )
        for overlap in REACHES
    }


def draw(curves: dict[str, dict[int, tuple[float, float]]], picture: Path) -> None:
    """The largest deviations as a plot."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in curves:
        largest = [max(curves[name][overlap][0], 1e-4) for overlap in OVERLAPS]
        axes.semilogy(OVERLAPS, largest, marker="o", markersize=3, label=name)
    axes.axhline(1, color="gray", linestyle="--", linewidth=1)
    axes.text(OVERLAPS[-1], 1.1, "1/255", ha="right", color="gray")
    axes.axvline(TileOptions().overlap, color="gray", linestyle=":", linewidth=1)
    axes.set_xlabel("overlap, pixels")
    axes.set_ylabel("largest deviation from the whole picture, of 255")
    axes.legend()
    axes.grid(alpha=0.3)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--preset", action="append")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--cut", action="store_true", help="all overlaps at once, by corners of a part")
    parser.add_argument("--engine", default="auto", help="of --cut")
    parser.add_argument("--count", type=int, help="photographs")
    arguments = parser.parse_args()
    photos = list(walk(arguments.photos, pictures.READABLE))[: arguments.count]
    names = arguments.preset or presets.shipped()
    if arguments.cut:
        print(f"{machine()}; {len(photos)} photographs; largest deviation of 255 (share of pixels over 1)")
        for name in names:
            cells = (
                f"{at}: {far:.4f} ({share:.1e})"
                for at, (far, share) in reach(name, arguments.engine, photos).items()
            )
            print(f"{Path(name).name}: " + ", ".join(cells), flush=True)
        return
    print(f"{machine()}; {len(photos)} photographs, tiles of {TILE} pixels; largest (RMS) deviation of 255")
    curves = {name: deviations(name, photos) for name in names}
    print("overlap  " + "  ".join(f"{name:>20}" for name in names))
    for overlap in OVERLAPS:
        cells = (f"{curves[name][overlap][0]:10.4f} ({curves[name][overlap][1]:.4f})" for name in names)
        print(f"{overlap:>7}  " + "  ".join(f"{cell:>20}" for cell in cells))
    if arguments.picture:
        draw(curves, arguments.picture)


if __name__ == "__main__":
    main()
