"""The page "Gallery" of the documentation: validation photographs through every preset.

    python benchmarks/gallery.py PHOTOS [--scales 2 4] [--docs docs]

PHOTOS holds the photographs and `manifest.csv`, which names for each its licence and its author, and with
`readme_ok` whether it may stand in a documentation. Each photograph is made smaller, enlarged by bicubic
interpolation and by every preset for the scale, and shown where the results differ most. The page is
`docs/gallery.md`, its pictures lie in `docs/images/gallery/`.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from measure import machine
from panels import Window, arranged, captioned, enlarged, marked
from PIL import Image

from isr import presets, upscale
from isr.data.pairs import PairFiles, read_pair
from isr.imresize import imresize
from isr.io.files import atomic
from isr.metrics import luma, psnr

# Pixels: what a page shows without making it smaller, and between two pictures.
WIDTH, GAP = 720, 4
ZOOM = 2
LICENCES = {
    "CC0-1.0": "[CC0 1.0](https://creativecommons.org/publicdomain/zero/1.0/)",
    "LicenseRef-Unsplash": "[Unsplash](https://unsplash.com/license)",
}


# What the photographs show, where the file does not say it.
TITLES = {
    "bb-perched-osprey": "Osprey",
    "bb-roman-colosseum": "Colosseum",
    "bb-singaporean-cityscape": "City at night",
    "bb-the-spices-of-life": "Spices",
    "el-morskie-oko": "Fern",
    "un-brendon-van-zyl": "Robin",
    "un-ja-san-miguel": "Dog",
    "un-joshua-coleman": "White facade",
    "un-kalen-emsley": "River and conifers",
    "un-karly-santiago": "Yarn",
    "un-seondol-son": "Canal",
    "un-together-we-create": "Brick wall",
}


def presets_for(scale: int) -> list[str]:
    """Name the shipped presets that enlarge a photograph by a scale."""
    return [
        name for name in presets.shipped() if scale in presets.scales(name) and presets.num_frames(name) == 1
    ]


def where_they_differ(results: Sequence[np.ndarray], side: int) -> Window:
    """Find the square in which the luma of the results varies most from one to the other."""
    spread = np.var([luma(result) for result in results], axis=0)
    sums = np.pad(spread, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return Window(int(left), int(top), side, side)


def panel(hr: np.ndarray, results: Mapping[str, np.ndarray], scale: int) -> np.ndarray:
    """Show a photograph, and below each other the detail as every method gives it, with its PSNR of the whole."""
    columns = -(-(len(results) + 2) // 2)
    side = ((WIDTH - GAP * (columns - 1)) // columns) // ZOOM
    window = where_they_differ(list(results.values()), side)
    overview = marked(hr, [window], ZOOM * side / max(hr.shape[:2]))
    canvas = np.full((ZOOM * side, ZOOM * side, 3), 255, np.uint8)
    top, left = ((ZOOM * side - length) // 2 for length in overview.shape[:2])
    canvas[top : top + overview.shape[0], left : left + overview.shape[1]] = overview
    cells = [captioned(canvas, "the photograph")]
    for name, result in results.items():
        figure = psnr(result, hr, channel="y", border=scale)
        cells.append(captioned(enlarged(window.of(result), ZOOM), f"{name}, {figure:.2f} dB"))
    cells.append(captioned(enlarged(window.of(hr), ZOOM), "original"))
    return arranged([cells[:columns], cells[columns:]], GAP)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--scales", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    given = parser.parse_args()
    with (given.photos / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val" and row["readme_ok"] == "yes"]
    rows = [row for row in rows if row["licence"] in LICENCES]
    images = given.docs / "images" / "gallery"
    images.mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = given.photos / row["file"]
        for scale in given.scales:
            lr, hr = read_pair(PairFiles(path.name, path, None), scale, 3)
            results = {"bicubic": imresize(lr, scale=scale)}
            results |= {name: upscale(name, lr, scale=scale) for name in presets_for(scale)}
            target = images / f"{path.stem}-x{scale}.webp"
            with atomic(target) as temporary:
                Image.fromarray(panel(hr, results, scale)).save(temporary, "WEBP", quality=92, method=6)
            print(f"{target}: {target.stat().st_size / 1000:.0f} kB", flush=True)
    with atomic(given.docs / "gallery.md") as temporary:
        temporary.write_text(page(rows, given.scales), encoding="utf-8")


def page(rows: Sequence[Mapping[str, str]], scales: Sequence[int]) -> str:
    """Write the page, with a section for every photograph of the manifest's rows."""
    sections = []
    for row in rows:
        stem = Path(row["file"]).stem
        lines = [f"## {TITLES.get(stem, stem)}"]
        for scale in scales:
            methods = ", ".join(["bicubic", *presets_for(scale), "original"])
            lines += [
                f"**x{scale}**",
                f"![{TITLES.get(stem, stem)}, x{scale}: {methods}](images/gallery/{stem}-x{scale}.webp)",
            ]
        sections.append("\n\n".join([*lines, f"Photograph: {credit(row)}."]))
    return PAGE.format(
        scales=", ".join(f"x{scale}" for scale in scales),
        command=f"python benchmarks/gallery.py photos --scales {' '.join(map(str, scales))}",
        machine=machine(),
        sections="\n\n".join(sections),
    )


def credit(row: Mapping[str, str]) -> str:
    """Name author, source and licence of a photograph."""
    source = row["source"].removeprefix("github:")
    author = row["author"] if row["author"] != "not stated" else "author not stated"
    return f"{author}, [{source}](https://github.com/{source}), {LICENCES[row['licence']]}"


PAGE = """\
# Gallery

Validation photographs, which no preset was trained on. Each was made smaller by MATLAB's bicubic rule and enlarged
again by bicubic interpolation and by every preset for photographs ({scales}). A square marks the detail, which is
where the results differ most. Details are shown 2:1: every pixel is drawn as four, and none is smoothed. The figure
beside each name is the PSNR of the whole photograph in luma; [Metrics](metrics.md) says how it is measured.

At x4 the small version has one pixel for every sixteen of the original. No network can know what is lost, so textures
such as brick and yarn stay smoother than the original. At x2 most of the detail comes back.

Made by `{command}` ({machine}).

{sections}
"""


if __name__ == "__main__":
    main()
