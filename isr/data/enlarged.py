"""Clips that a network has enlarged once, for what is trained on its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isr.data.clips import Clip, mapped
from isr.io.files import atomic
from isr.progress import Progress, Silent, check_cancelled


@dataclass(frozen=True)
class EnlargedClip(Clip):
    """A clip whose `lr` has been enlarged: both files have the size of `hr`, and the scale is 1.

    Attributes:
        enlarged: path of the enlarged frames, uint16.
    """

    enlarged: Path

    @property
    def lr(self) -> np.ndarray:
        """Return `[t, h, w, c]`, uint16, read-only."""
        shape = (self.num_frames, self.height, self.width, self.num_channels)
        return mapped(str(self.enlarged), shape, np.uint16)


def enlarge_clips(
    clips: Sequence[Clip],
    upscale: Callable[[np.ndarray], np.ndarray],
    key: str,
    cache: Path,
    progress: Progress | None = None,
) -> list[EnlargedClip]:
    """Enlarge every frame of clips, or find where that was done before.

    Args:
        clips: decoded.
        upscale: a frame, uint16 `[h, w, c]`, to `[scale * h, scale * w, c]`.
        key: of what `upscale` does, such as a hash of its weights; the files are found again by it.
        cache: folder for the enlarged frames (6 bytes per HR pixel).
        progress: told of every clip.
    """
    progress = progress or Silent()
    progress.start("enlarge", len(clips), "clips")
    enlarged = []
    for clip in clips:
        path = cache / f"{clip.stem.name}-{key}"
        if not path.is_file():
            with atomic(path) as temporary, temporary.open("wb") as file:
                for frame in clip.lr:
                    check_cancelled(progress)
                    # Exactly the same levels in finer steps.
                    file.write(np.ascontiguousarray(upscale(frame.astype(np.uint16) * 257)).data)
        size = clip.height * clip.scale, clip.width * clip.scale
        enlarged.append(
            EnlargedClip(clip.name, clip.num_frames, *size, 1, clip.num_channels, clip.stem, path)
        )
        progress.advance()
    return enlarged
