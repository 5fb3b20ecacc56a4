"""The picture of the README: a photograph made smaller, then enlarged by bicubic interpolation and by a preset.

    python benchmarks/before_after.py PHOTO PRESET LEFT TOP WIDTH HEIGHT OUTPUT

The rectangle is in pixels of the photograph; bicubic interpolation stands on the left, the preset on the right.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from isr import upscale
from isr.imresize import imresize
from isr.io import pictures
from isr.presets import scales


def main() -> None:
    photo, preset, *rectangle, output = sys.argv[1:]
    left, top, width, height = map(int, rectangle)
    scale = scales(preset)[0]
    hr = pictures.read(Path(photo)).pixels
    lr = imresize(hr[: hr.shape[0] // scale * scale, : hr.shape[1] // scale * scale], scale=1 / scale)
    pair = (imresize(lr, scale=scale), upscale(preset, lr))
    cut = [picture[top : top + height, left : left + width] for picture in pair]
    gap = np.full((height, 6, 3), 255, np.uint8)
    pictures.write(Path(output), pictures.Picture(np.hstack([cut[0], gap, cut[1]])))


if __name__ == "__main__":
    main()
