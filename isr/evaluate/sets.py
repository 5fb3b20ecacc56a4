"""What is scored: pairs of pictures, and clips, found in folders and read when their turn comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from isr.data.clips import ClipFiles, read_clip
from isr.data.degrade import SIGMA, Degradation, FixedDegradation
from isr.data.pairs import PairFiles, read_pair
from isr.errors import RequestError
from isr.io.clips import VIDEO_SUFFIXES, probe
from isr.io.files import walk
from isr.io.pictures import READABLE


def read_pairs(
    files: Sequence[PairFiles],
    scale: int,
    num_channels: int,
    degradation: FixedDegradation | None = None,
) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """Read `(name, lr, hr)` of each pair when its turn comes; a missing LR is made as in `read_pair`.

    Gray pictures stay gray: their values are what is scored, as in the scripts of the literature, not the luma that
    they would have as RGB (which reads 1.32 dB higher).
    """
    for pair in files:
        yield pair.name, *read_pair(pair, scale, num_channels, keep_gray=True, degradation=degradation)


def describe_degradation(kind: Degradation, scale: int) -> str:
    """Say how `degrade` makes the low resolution."""
    if isinstance(kind, FixedDegradation):
        return kind.describe(scale)
    if kind == "bi":
        return "MATLAB bicubic (BI), 8 bit"
    # An LR pixel lies on the first pixel of its block; MATLAB's rule takes it for the middle.
    shift = f"bicubic and networks for BI lie {(scale - 1) / 2:g} px off"
    return f"Gaussian blur of sigma {SIGMA * scale:g}, sub-sampled (BD), 8 bit ({shift})"


def holds_clips(hr: Path) -> bool:
    """Tell whether a path is a video file, a list of clips, or a folder of nothing but clips.

    Such a folder has no loose pictures: video files, and sub-folders of numbered frames of one size, two or more.
    """
    if hr.is_file():
        return hr.suffix.lower() in {".txt", *VIDEO_SUFFIXES}
    found = list(walk(hr, READABLE | VIDEO_SUFFIXES)) if hr.is_dir() else []
    folders = {path.parent for path in found if path.suffix.lower() not in VIDEO_SUFFIXES}
    return bool(found) and hr not in folders and all(map(_holds_frames, folders))


def _holds_frames(folder: Path) -> bool:
    try:
        return probe(folder, timeline=True).frames > 1
    except RequestError:
        return False


def count_frames(clips: Iterable[ClipFiles], skip_frames: int = 0) -> int:
    """Count the frames of clips.

    Raises:
        RequestError: a clip has too few frames to leave out `skip_frames` at each end, or another number of them in
            low resolution; the message names it.
    """
    total = 0
    for clip in clips:
        frames = _count_frames(clip.hr)
        if frames <= 2 * skip_frames:
            raise RequestError(
                f"{clip.name}: has {frames} frames, too few to leave out {skip_frames} at each end"
            )
        if clip.lr is not None and (given := _count_frames(clip.lr)) != frames:
            raise RequestError(f"{clip.name}: has {frames} frames, but {given} in low resolution")
        total += frames
    return total


def _count_frames(files: Sequence[Path]) -> int:
    video = files[0].suffix.lower() in VIDEO_SUFFIXES
    return probe(files[0], timeline=True).frames if video else len(files)


def read_clips(
    files: Sequence[ClipFiles], scale: int, num_channels: int, degradation: Degradation = "bi"
) -> Iterator[tuple[str, Iterator[tuple[np.ndarray, np.ndarray]]]]:
    """Read name and frames of each clip, as `read_clip` gives them, when its turn comes."""
    for clip in files:
        yield clip.name, read_clip(clip, scale, num_channels, degradation)
