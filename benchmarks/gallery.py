"""The page "Gallery" of the documentation: validation photographs through every preset.

    python benchmarks/gallery.py PHOTOS [--scales 2 4] [--docs docs]

PHOTOS holds the photographs and `manifest.csv`, which names for each its licence and its author, and with
`readme_ok` whether it may stand in a documentation. Each photograph is made smaller, and enlarged and shown as `isr
compare` does it, by every preset for clean photographs of the scale. The page is `docs/gallery.md`, its pictures lie
in `docs/images/gallery/`.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from measure import machine
from panels import Window, arranged, marked
from PIL import Image

from isr import presets
from isr.data.pairs import PairFiles, read_pair
from isr.io.files import atomic
from isr.metrics import psnr
from isr.predict.api import enlarged_by
from isr.predict.sheet import differing, sheet

# Pixels: of the detail in the large picture, of the photograph above it, and between the two.
SIDE, HEIGHT, GAP = 176, 240, 4
COLUMNS = 4
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
    """Name the shipped presets that enlarge a clean photograph by a scale."""
    return [
        name
        for name in presets.shipped()
        if scale in presets.scales(name)
        and presets.num_frames(name) == 1
        and not presets.has_corners(presets.find(name))
    ]


def panel(hr: np.ndarray, results: Mapping[str, np.ndarray], scale: int) -> np.ndarray:
    """Show a photograph, and below it the detail as every method gives it, with its PSNR of the whole."""
    crops = differing(list(results.values()), scale, SIDE // scale, 1)
    labelled = {
        f"{name} {psnr(result, hr, channel='y', border=scale):.2f}": result
        for name, result in results.items()
    }
    details = sheet({**labelled, "original": hr}, crops, scale, columns=COLUMNS)
    windows = [Window(*(scale * length for length in crop)) for crop in crops]
    return arranged([[marked(hr, windows, HEIGHT / hr.shape[0])], [details]], GAP)


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
            results = enlarged_by(presets_for(scale), lr, scale)
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
again by bicubic interpolation and by every preset for clean photographs ({scales}), and is shown as [`isr
compare`](photos.md#look-before-you-choose) shows it. A square marks the detail, which is where the results differ
most: as it is, and below its middle 3:1, every pixel drawn as nine. The figure beside each name is the PSNR of the
whole photograph in luma, in dB; [Metrics](metrics.md) says how it is measured. The presets for noisy, blurred and
compressed pictures are on the page [Real photographs](photos.md).

At x4 the small version has one pixel for every sixteen of the original. No network can know what is lost, so textures
such as brick and yarn stay smoother than the original. At x2 most of the detail comes back.

Made by `{command}` ({machine}).

{sections}
"""


if __name__ == "__main__":
    main()
