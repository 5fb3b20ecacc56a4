"""Scenes: photographs that were set in motion once, kept as clips, with the motion of every point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from isr.data.batches import Batches
from isr.data.clips import Clip, WindowRecipe
from isr.data.degrade import degrade
from isr.data.enlarged import EnlargedClip
from isr.data.motion import MARGIN, Foreground, Motion, MotionBatches, Track
from isr.io.files import atomic
from isr.progress import Progress, Silent, check_cancelled


@dataclass(frozen=True)
class Scene(Clip):
    """A clip whose motion is known."""

    @property
    def motion(self) -> Motion:
        return _read_motion(Path(f"{self.stem}-motion.npz"))


def film_scenes(
    source: MotionBatches, count: int, cache: Path, progress: Progress | None = None
) -> list[Scene]:
    """Film scenes of photographs, or find them where that was done before.

    Args:
        source: how they are filmed; every scene is one of its windows.
        count: of scenes. Each is a function of the seed and its number.
        cache: folder for the frames.
        progress: told of every scene.
    """
    progress = progress or Silent()
    progress.start("film", count, "scenes")
    facts = [
        sorted(photo.stem.name for photo in source.photos),
        source.scale,
        str(source.degradation),
        asdict(source.camera),
        {**asdict(source.recipe), "batch_size": None},
    ]
    digest = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:24]
    side = source.side
    scenes = []
    for number in range(count):
        check_cancelled(progress)
        stem = cache / f"{digest}-{number}"
        channels = source.photos[0].num_channels
        scene = Scene(stem.name, source.recipe.num_frames, side, side, source.scale, channels, stem)
        if not Path(f"{stem}-motion.npz").is_file():
            _film(source, np.random.default_rng((source.recipe.seed, number)), stem)
        scenes.append(scene)
        progress.advance()
    return scenes


def _film(source: MotionBatches, rng: np.random.Generator, stem: Path) -> None:
    hr, motion = source.film(rng)
    lr = degrade(hr, source.scale, source.degradation)
    edge = MARGIN * source.scale
    inner = {
        "lr": lr[:, MARGIN:-MARGIN, MARGIN:-MARGIN],
        "hr": hr[:, edge:-edge, edge:-edge],
    }
    for kind, pixels in inner.items():
        with atomic(stem.with_name(f"{stem.name}-{kind}")) as path:
            path.write_bytes(np.ascontiguousarray(pixels).data)
    arrays: dict[str, Any] = {"matrix": motion.track.matrix, "shift": motion.track.shift}
    if motion.foreground is not None:
        track = motion.foreground.track
        arrays |= {"own_matrix": track.matrix, "own_shift": track.shift, "masks": motion.foreground.masks}
    # Written last, so that what it stands for is whole.
    with atomic(stem.with_name(f"{stem.name}-motion.npz")) as path, path.open("wb") as file:
        np.savez_compressed(file, **arrays)


@lru_cache(maxsize=1024)
def _read_motion(path: Path) -> Motion:
    with np.load(path) as arrays:
        foreground = None
        if "masks" in arrays:
            foreground = Foreground(Track(arrays["own_matrix"], arrays["own_shift"]), arrays["masks"])
        return Motion(Track(arrays["matrix"], arrays["shift"]), foreground)


class FlowBatches(Batches):
    """Pairs of frames of scenes, as they are or enlarged, and the exact motion from the first to the second.

    `lr` is `[b, 2, p, p, c]`, or of frames as they are `[b, 2, p / scale, p / scale, c]`. In place of `hr` stands the
    motion at the middles of the pixels of low resolution, `[b, p / scale, p / scale, 3]`: down and right in these
    pixels, and 1 where the second frame shows the same, 0 where it is covered there or lies outside.

    Args:
        scenes: of one size, at least that of the patches.
        enlarged: the same, enlarged by a network; None: frames are given as they are.
        recipe: how pairs are drawn: their place, and two frames of a scene; its views, intervals and direction of time
            mean nothing here.
    """

    def __init__(
        self, scenes: Sequence[Scene], enlarged: Sequence[EnlargedClip] | None, recipe: WindowRecipe
    ) -> None:
        if not scenes or scenes[0].height * scenes[0].scale < recipe.patch_size:
            raise ValueError(f"there are no scenes of {recipe.patch_size} pixels")
        super().__init__(recipe, scenes[0].scale if enlarged is None else 1)
        self.recipe: WindowRecipe = recipe
        self.scenes = scenes
        self.enlarged = enlarged

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        index = int(rng.integers(len(self.scenes)))
        scene = self.scenes[index]
        first, second = self._pair(rng, scene.num_frames)
        scale, size = scene.scale, self.recipe.patch_size
        top, left = scale * rng.integers(0, scene.height - size // scale + 1, 2)
        frames = scene.lr if self.enlarged is None else self.enlarged[index].lr
        rows, columns = (slice(begin // self.scale, begin // self.scale + self.side) for begin in (top, left))
        frames = frames[[first, second], rows, columns]

        corner = np.array([left, top]) - np.array([scene.width, scene.height]) * scale / 2
        places = (np.arange(size // scale) + 0.5) * scale
        points = corner + np.stack(np.meshgrid(places, places), axis=-1)  # [y, x, (x, y)]
        target, visible = scene.motion.follow(int(first), int(second), points)
        visible &= np.all((target > corner) & (target < corner + size), axis=-1)
        flow = (target - points)[..., ::-1] / scale
        return frames, np.concatenate([flow, visible[..., None]], axis=-1).astype(np.float32)

    def _pair(self, rng: np.random.Generator, num_frames: int) -> tuple[int, int]:
        """Draw two frames of a scene; such as lie in one window of a network that takes them as they are."""
        if self.enlarged is not None:
            first, second = rng.choice(num_frames, 2, replace=False)
            return int(first), int(second)
        reach = self.recipe.num_frames // 2
        first = int(rng.integers(num_frames))
        # The centre frame itself, too, since it is aligned as the others are and has to stay where it is.
        return first, int(rng.integers(max(first - reach, 0), min(first + reach + 1, num_frames)))


def scene_recipe(recipe: WindowRecipe, patches: int) -> WindowRecipe:
    """Widen a recipe of windows to one of scenes.

    Args:
        recipe: of the windows.
        patches: of a window that a scene has on each side.

    Returns:
        A frame more on either side in time, so that windows of whole neighbours are cut from three places of it.
    """
    return replace(
        recipe,
        patch_size=patches * recipe.patch_size,
        num_frames=recipe.num_frames + 2,
        center_frame=recipe.center_frame + 1,
    )
