"""The two pictures of the README's first screen: a photograph with three details, and a clip before and after.

    python benchmarks/first_screen.py PHOTOS CLIPS [--docs docs]

PHOTOS and CLIPS hold `val/`. The photograph is made two times smaller and enlarged again by bicubic interpolation and
by the preset that `isr predict` takes by itself; three details stand beside it, every pixel drawn as a square. Frames
of the clip are made four times smaller; the animation shows bicubic interpolation on the left and a preset for video
on the right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import machine
from panels import Window, arranged, captioned, enlarged, lettered, marked
from PIL import Image

from isr import presets, upscale, upscale_frames
from isr.data.clips import find_clips, read_clip
from isr.data.pairs import PairFiles, read_pair
from isr.imresize import imresize
from isr.io.files import atomic

PHOTO, SCALE = "un-karly-santiago.png", 2
PRESET = presets.default_for(SCALE)
DETAILS = (Window(500, 40, 75, 50), Window(290, 320, 75, 50), Window(640, 330, 75, 50))
ZOOM, GAP, TEXT = 4, 8, 28
LETTERS = "ABC"
CLIP, CLIP_SCALE = "facade.mp4", 4
CLIP_PRESET = "flowvsr_x4"
CLIP_PART = Window(120, 40, 400, 272)
FRAMES_A_SECOND = 12


def still(photo: Path) -> np.ndarray:
    """Compose the photograph and its details."""
    lr, hr = read_pair(PairFiles(photo.name, photo, None), SCALE, 3)
    results = {f"bicubic x{SCALE}": imresize(lr, scale=SCALE), PRESET: upscale(PRESET, lr), "original": hr}
    rows = [[enlarged(window.of(result), ZOOM) for result in results.values()] for window in DETAILS]
    for row, letter in zip(rows, LETTERS, strict=True):
        row[0] = lettered(row[0], letter)
    rows[-1] = [captioned(cell, name, TEXT) for cell, name in zip(rows[-1], results, strict=True)]
    details = arranged(rows, GAP)
    height = sum(window.height * ZOOM for window in DETAILS) + GAP * (len(DETAILS) - 1)
    whole = captioned(marked(hr, DETAILS, height / hr.shape[0], LETTERS), "the photograph", TEXT)
    return arranged([[whole, details]], GAP)


def animation(clip: Path) -> list[Image.Image]:
    """Compose the frames of the clip, before and after."""
    (files,) = find_clips(clip)
    lr = [frame for frame, _ in read_clip(files, CLIP_SCALE, 3)]
    frames = []
    for small, large in zip(lr, upscale_frames(CLIP_PRESET, lr), strict=True):
        halves = {"before": imresize(small, scale=CLIP_SCALE), "after": large}
        cells = [captioned(CLIP_PART.of(half), name, 16) for name, half in halves.items()]
        frames.append(Image.fromarray(arranged([cells], 4)))
    # To the end and back, so that it does not jump.
    return frames + frames[-2:0:-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    given = parser.parse_args()
    print(machine())
    with atomic(given.docs / "images" / "first-screen.webp") as path:
        Image.fromarray(still(given.photos / "val" / PHOTO)).save(path, "WEBP", quality=92, method=6)
    first, *rest = animation(given.clips / "val" / CLIP)
    with atomic(given.docs / "images" / "clip.webp") as path:
        first.save(
            path,
            "WEBP",
            save_all=True,
            append_images=rest,
            duration=1000 // FRAMES_A_SECOND,
            loop=0,
            quality=80,
            method=6,
        )


if __name__ == "__main__":
    main()
