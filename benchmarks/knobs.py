"""The picture of the knobs in the page "Real photographs": a degraded photograph through several mixtures.

    python benchmarks/knobs.py photo_x4 photos/val/un-seondol-son.png --window 248x220+240+140

The photograph is degraded as by `isr degrade`. In the first row stand bicubic interpolation and the original. Below,
denoise goes from left to right; where the preset has a corner `textured`, texture goes from row to row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from panels import arranged, captioned
from PIL import Image

from isr import presets, upscale
from isr.data.degrade import FixedDegradation
from isr.imresize import imresize
from isr.io.files import atomic
from isr.io.pictures import read
from isr.predict.crop import cropped, parse_crop

VALUES = (0.0, 0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--window", required=True, help="what is shown, WxH+X+Y in pixels of the photograph")
    parser.add_argument("--strength", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("docs/images/knobs.png"))
    given = parser.parse_args()
    (scale,) = presets.scales(given.preset)
    window = parse_crop(given.window)
    original = read(given.photo).pixels[..., :3]
    lr = FixedDegradation("real", given.strength)(original, scale)

    def cell(picture: np.ndarray, words: str) -> np.ndarray:
        return captioned(cropped(picture, window), words)

    textured = "textured" in presets.read_config(presets.find(given.preset)).get("corners", {})
    rows = [
        [
            cell(imresize(lr, scale=scale), f"strength {given.strength}, bicubic x{scale}"),
            cell(original, "original"),
        ]
    ]
    for texture in VALUES if textured else VALUES[:1]:
        words = f", texture {texture:g}" if textured else ""
        rows.append(
            [
                cell(upscale(given.preset, lr, denoise=d, texture=texture), f"denoise {d:g}{words}")
                for d in VALUES
            ]
        )
    with atomic(given.output) as path:
        Image.fromarray(arranged(rows)).save(path, "PNG", optimize=True)
    print(f"{given.output}: {given.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
