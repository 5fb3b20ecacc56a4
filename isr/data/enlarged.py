"""Clips that a network has enlarged once, for what is trained on its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isr.data.clips import Clip, mapped
from isr.data.degrade.operations import add_gaussian_noise
from isr.io.files import atomic
from isr.levels import from_float, to_float
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
    *,
    noise: tuple[float, float] | None = None,
    seed: int = 0,
) -> list[EnlargedClip]:
    """Enlarge every frame of clips, or find where that was done before.

    Args:
        clips: decoded.
        upscale: a frame, uint16 `[h, w, c]`, to `[scale * h, scale * w, c]`.
        key: of what `upscale` does, such as a hash of its weights; the files are found again by it.
        cache: folder for the enlarged frames (6 bytes per HR pixel).
        progress: told of every clip.
        noise: least and largest sigma of Gaussian noise that the frames have before they are enlarged, in levels of
            255. One is drawn for every clip; every frame has noise of its own.
        seed: of the noise, with the clip's place among `clips`.
    """
    progress = progress or Silent()
    progress.start("enlarge", len(clips), "clips")
    if noise:
        key = f"{key}-noise-{noise[0]:g}-{noise[1]:g}-{seed}"
    enlarged = []
    for number, clip in enumerate(clips):
        path = cache / f"{clip.stem.name}-{key}"
        if not path.is_file():
            frames = noisy(clip.lr, noise, np.random.default_rng((seed, number))) if noise else clip.lr
            with atomic(path) as temporary, temporary.open("wb") as file:
                for frame in frames:
                    check_cancelled(progress)
                    # Exactly the same levels in finer steps.
                    file.write(np.ascontiguousarray(upscale(frame.astype(np.uint16) * 257)).data)
        size = clip.height * clip.scale, clip.width * clip.scale
        enlarged.append(
            EnlargedClip(clip.name, clip.num_frames, *size, 1, clip.num_channels, clip.stem, path)
        )
        progress.advance()
    return enlarged


def noisy(frames: np.ndarray, noise: tuple[float, float], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Add Gaussian noise to every frame of a clip, uint8 `[t, h, w, c]`; its sigma is drawn once."""
    sigma = rng.uniform(*noise)
    for frame in frames:
        planes = to_float(frame).transpose(2, 0, 1)[None]
        planes = add_gaussian_noise(planes, sigma, rng)
        yield from_float(planes[0].transpose(1, 2, 0), np.dtype(np.uint8))
