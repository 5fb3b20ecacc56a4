"""The video picture of the README: consecutive frames made smaller, then enlarged by bicubic and by presets.

    python benchmarks/consecutive_frames.py CLIP FIRST COUNT LEFT TOP WIDTH HEIGHT OUTPUT PRESET...

A column for each frame; bicubic interpolation in the first row, a row for each preset, the original in the last one.
The rectangle is in pixels of the clip. The presets' windows see the whole clip.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import numpy as np

from isr import upscale_frames
from isr.imresize import imresize
from isr.io import pictures
from isr.io.clips import FrameReader
from isr.presets import scales


def main() -> None:
    clip, first, count, left, top, width, height, output, *presets = sys.argv[1:]
    shown = slice(int(first), int(first) + int(count))
    scale = scales(presets[0])[0]
    with FrameReader(clip) as reader:
        hr = [frame.pixels for frame in islice(reader, shown.stop + 8)]
    hr = [frame[: frame.shape[0] // scale * scale, : frame.shape[1] // scale * scale] for frame in hr]
    lr = [imresize(frame, scale=1 / scale) for frame in hr]
    rows = [[imresize(frame, scale=scale) for frame in lr[shown]]]
    rows += [list(upscale_frames(preset, lr))[shown] for preset in presets]
    rows.append(hr[shown])
    cut = slice(int(top), int(top) + int(height)), slice(int(left), int(left) + int(width))
    cells = [
        [np.pad(frame[cut], ((0, 4), (0, 4), (0, 0)), constant_values=255) for frame in row] for row in rows
    ]
    picture = np.vstack([np.hstack(row) for row in cells])[:-4, :-4]
    pictures.write(Path(output), pictures.Picture(picture))


if __name__ == "__main__":
    main()
