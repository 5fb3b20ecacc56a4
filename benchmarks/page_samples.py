"""Make the sample pictures of the looks on the page, from a part of a photograph.

python benchmarks/page_samples.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import isr

HERE = Path(__file__).resolve().parent.parent
# Left, top, width and height of the robin's head.
PART = (18, 70, 96, 48)
LOOKS = {"best": "edsr_baseline_x2", "quick": "edsr_fast_x2", "live": "live_x2", "classic": "aplus_x2"}


def main() -> None:
    with Image.open(HERE / "docs" / "images" / "robin.png") as image:
        photo = np.asarray(image.convert("RGB"))
    left, top, width, height = PART
    part = photo[top : top + height, left : left + width]
    plain = Image.fromarray(part).resize((2 * width, 2 * height), Image.Resampling.BICUBIC)
    made = {look: Image.fromarray(isr.upscale(preset, part)) for look, preset in LOOKS.items()}
    for look, picture in {**made, "plain": plain}.items():
        path = HERE / "isr" / "page" / "static" / f"look-{look}.jpg"
        picture.save(path, quality=92, subsampling=0)
        print(path)


if __name__ == "__main__":
    main()
