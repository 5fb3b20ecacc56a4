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
from isr.data.motion import MARGIN, Foreground, Motion, MotionBatches, Track, followed
from isr.io.files import atomic
from isr.progress import Progress, Silent, check_cancelled

EDGE = 4.0  # HR pixels over which a piece fades out, as edges do that a network has enlarged


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
        pieces: greatest number of pieces of other scenes that lie over a scene, each with the motion of its own.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        enlarged: Sequence[EnlargedClip] | None,
        recipe: WindowRecipe,
        *,
        pieces: int = 0,
    ) -> None:
        if not scenes or scenes[0].height * scenes[0].scale < recipe.patch_size:
            raise ValueError(f"there are no scenes of {recipe.patch_size} pixels")
        super().__init__(recipe, scenes[0].scale if enlarged is None else 1)
        self.recipe: WindowRecipe = recipe
        self.scenes = scenes
        self.enlarged = enlarged
        self.pieces = pieces

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        index = int(rng.integers(len(self.scenes)))
        scene = self.scenes[index]
        pair = self._pair(rng, scene.num_frames)
        scale, size = scene.scale, self.recipe.patch_size
        top, left = scale * rng.integers(0, scene.height - size // scale + 1, 2)
        rows, columns = (slice(begin // self.scale, begin // self.scale + self.side) for begin in (top, left))
        frames = self._frames(index)[list(pair), rows, columns]

        corner = np.array([left, top]) - np.array([scene.width, scene.height]) * scale / 2
        points = corner + grid(size // scale, scale)
        target, visible = scene.motion.follow(*pair, points)
        for _ in range(int(rng.integers(self.pieces + 1))):
            other = int(rng.integers(len(self.scenes)))
            motion = self.scenes[other].motion
            piece = Piece(
                motion.track, pair, corner + size * rng.random(2), size * rng.uniform(0.04, 0.2), rng
            )
            mask = piece.masks(corner + grid(self.side, self.scale))[..., None]
            cover = self._frames(other)[list(pair), rows, columns]
            frames = (frames + mask * (cover.astype(np.float32) - frames)).astype(frames.dtype)

            own, (there, seen) = piece.covers(0, points), motion.follow(*pair, points)
            target = np.where(own[..., None], there, target)
            covered = piece.covers(1, target)
            visible = np.where(own, seen & covered, visible & ~covered)
        visible &= np.all((target > corner) & (target < corner + size), axis=-1)
        flow = (target - points)[..., ::-1] / scale
        return frames, np.concatenate([flow, visible[..., None]], axis=-1).astype(np.float32)

    def _frames(self, index: int) -> np.ndarray:
        return self.scenes[index].lr if self.enlarged is None else self.enlarged[index].lr

    def _pair(self, rng: np.random.Generator, num_frames: int) -> tuple[int, int]:
        """Draw two frames of a scene; such as lie in one window of a network that takes them as they are."""
        if self.enlarged is not None:
            first, second = rng.choice(num_frames, 2, replace=False)
            return int(first), int(second)
        reach = self.recipe.num_frames // 2
        first = int(rng.integers(num_frames))
        # The centre frame itself, too, since it is aligned as the others are and has to stay where it is.
        return first, int(rng.integers(max(first - reach, 0), min(first + reach + 1, num_frames)))


class Piece:
    """What is cut out of two frames of a scene: an ellipse that moves with the background of its scene.

    Args:
        track: of the scene's frames.
        pair: numbers of the two frames.
        centre: in the first frame, `[x, y]` in HR pixels from its middle.
        radius: mean of the two, in HR pixels.
        rng: of form and angle.
    """

    def __init__(
        self,
        track: Track,
        pair: tuple[int, int],
        centre: np.ndarray,
        radius: float,
        rng: np.random.Generator,
    ) -> None:
        self.track = track
        self.pair = pair
        self.centre = centre
        angle, stretch = np.pi * rng.random(), np.exp(rng.uniform(-0.5, 0.5))
        axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self.axes = axes / (radius * np.array([[stretch], [1 / stretch]]))
        self.radius = radius

    def inside(self, which: int, points: np.ndarray) -> np.ndarray:
        """Measure how far points `[..., 2]` of frame 0 or 1 of the pair lie inside, in about HR pixels."""
        at_first = followed(self.track, points, self.pair[which], self.pair[0])
        return self.radius * (1 - np.linalg.norm((at_first - self.centre) @ self.axes.T, axis=-1))

    def covers(self, which: int, points: np.ndarray) -> np.ndarray:
        """Tell whether the piece shows points of a frame of the pair."""
        return self.inside(which, points) > 0

    def masks(self, points: np.ndarray) -> np.ndarray:
        """Compute how much of pixels with these middles it covers in both frames, `[2, h, w]`, with soft edges."""
        inside = np.stack([self.inside(which, points) for which in (0, 1)])
        return np.clip(inside / EDGE + 0.5, 0, 1).astype(np.float32)


def grid(count: int, step: int) -> np.ndarray:
    """Give the middles of `count` by `count` pixels of a side, `[y, x, (x, y)]`."""
    places = (np.arange(count) + 0.5) * step
    return np.stack(np.meshgrid(places, places), axis=-1)


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
