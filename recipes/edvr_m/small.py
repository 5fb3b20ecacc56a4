"""Write the small pictures from which a teacher makes what the first stage learns: of photographs and of clips.

    python recipes/edvr_m/small.py photos/train clips/train runs/edvr_m/small

They are the middles, 128 pixels wide and high, of every second photograph and of five frames of every clip, made
small by MATLAB's bicubic rule.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from isr.data.clips import ClipFiles, find_clips, read_clip
from isr.data.pairs import find_pairs

SCALE = 4
SIDE = 128
FRAMES = (3, 11, 19, 27, 35)


def middle(lr: np.ndarray, hr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the middle out of a pair of pictures, `[h, w, c]`; small sides are multiples of 4, as EDVR needs them."""
    sides = [min(side, SIDE) // 4 * 4 for side in lr.shape[:2]]
    starts = [(whole - side) // 2 for whole, side in zip(lr.shape[:2], sides, strict=True)]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    large = (slice(SCALE * part.start, SCALE * part.stop) for part in (rows, columns))
    return lr[rows, columns], hr[tuple(large)]


def small_photographs(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Give the name, the small middle and the middle of every second photograph."""
    for pair in find_pairs(folder, None, SCALE)[::2]:
        lr, hr = next(iter(read_clip(ClipFiles(pair.name, (pair.hr,)), SCALE, 3)))
        yield Path(pair.name).stem, *middle(lr, hr)


def main() -> None:
    photographs, clips, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for name, lr, _ in small_photographs(photographs):
        Image.fromarray(lr).save(folder / f"{name}.png")
    for clip in find_clips(clips):
        for number, (lr, hr) in enumerate(read_clip(clip, SCALE, 3)):
            if number in FRAMES:
                Image.fromarray(middle(lr, hr)[0]).save(folder / f"{clip.name}-{number}.png")


if __name__ == "__main__":
    main()
