"""Scores of scene cuts: the highest inside each clip, and those of the first frame of every other clip.

    python benchmarks/scene_cuts.py CLIPS

A threshold between the two tells cuts from motion.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

from isr.io.clips import VIDEO_SUFFIXES, FrameReader
from isr.io.files import walk
from isr.predict.scenes import SceneCuts


def scores(frames: list[np.ndarray]) -> list[float]:
    """The score of every frame."""
    cuts = SceneCuts(1.0)
    return [cuts.score(frame) for frame in frames]


def main() -> None:
    inside, beginnings = {}, []
    for path in walk(Path(sys.argv[1]), VIDEO_SUFFIXES):
        with FrameReader(path) as reader:
            frames = [frame.pixels for frame in reader]
        inside[path.stem] = max(scores(frames))
        beginnings.append(frames[:2])
    # Frames of two clips have two sizes; a corner of each is enough.
    rows, columns = (min(frames[0].shape[axis] for frames in beginnings) for axis in (0, 1))
    corners = [[frame[:rows, :columns] for frame in frames] for frames in beginnings]
    between = [scores([*one, other[0]])[-1] for one, other in itertools.permutations(corners, 2)]
    print(
        f"{len(inside)} clips: at most {max(inside.values()):.3f} inside ({max(inside, key=inside.__getitem__)})"
    )
    print(f"{len(between)} cuts: at least {min(between):.3f}, median {np.median(between):.3f}")


if __name__ == "__main__":
    main()
