"""Synthetic camera motion over photographs: windows of frames whose motion no clip limits.

A photograph is looked at through a frame that pans, zooms and turns a little from one moment to the next, by parts
of a pixel; across some windows moves a piece of another photograph. So the motion of every pixel is known, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from isr.data.batches import Batches, Degrade, detailed, own_stream
from isr.data.clips import Clip, WindowRecipe
from isr.data.degrade import Degradation, degrade
from isr.dihedral import NUM_VIEWS, dihedral
from isr.errors import RequestError

# Photograph pixels per HR pixel. Moving a picture by half a pixel takes its finest detail away; the frames keep
# theirs, since the photograph has finer detail still.
SHRINK = 2
MARGIN = 2  # LR pixels around a patch that its LR depends on: half of the bicubic kernel, or of the blur
# The middle and one half of the kernel that takes away what HR pixels cannot show: Lanczos of three lobes.
LOWPASS = np.sinc(np.arange(6) / SHRINK) * np.sinc(np.arange(6) / SHRINK / 3)
LOWPASS = (LOWPASS / (2 * LOWPASS.sum() - LOWPASS[0])).astype(np.float32)
REACH = len(LOWPASS) - 1
INTERPOLATION = 3  # photograph pixels around what frames show, for bicubic interpolation
BORDER = REACH + INTERPOLATION + 1  # and for that kernel, and for whole pixels


@dataclass(frozen=True)
class Camera:
    """How fast frames move.

    Attributes:
        pan: greatest speed in HR pixels per frame; low speeds are more frequent.
        zoom: standard deviation of the relative change of size per frame.
        turn: standard deviation of the angle per frame, in degrees.
        shake: standard deviation of every frame's own displacement, in HR pixels.
        foreground: how many windows have a moving foreground, 0 to 1.
    """

    pan: float = 12.0
    zoom: float = 0.01
    turn: float = 0.5
    shake: float = 0.5
    foreground: float = 0.5


@dataclass(frozen=True)
class Track:
    """Where the frames of a window lie: a point p of frame k, from its middle, shows `matrix[k] @ p + shift[k]`.

    Attributes:
        matrix: `[t, 2, 2]`, x and y, photograph pixels per HR pixel.
        shift: `[t, 2]`, photograph pixels.
    """

    matrix: np.ndarray
    shift: np.ndarray

    def slowed(self, factor: float) -> Track:
        """Give the same track with a share of its motion; 0 stands still."""
        still = SHRINK * np.eye(2)
        return Track(still + factor * (self.matrix - still), factor * self.shift)

    def box(self, side: float) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest `[x, y]` that frames of `side` HR pixels show."""
        corners = side / 2 * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
        seen = np.einsum("tij,nj->tni", self.matrix, corners) + self.shift[:, None]
        return seen.min((0, 1)), seen.max((0, 1))


@dataclass(frozen=True)
class View:
    """A photograph, a place in it `[x, y]` in its pixels, and the track of the frames about that place."""

    photo: Clip
    centre: np.ndarray
    track: Track


class MotionBatches(Batches):
    """Windows as `WindowBatches` gives them, made from photographs.

    Args:
        photos: decoded as clips of one frame; those that are too small for the patch size are left out.
        scale: HR side / LR side.
        recipe: how windows are drawn; its intervals and direction of time mean nothing here.
        degradation: how LR is made.
        camera: how fast frames move.
        degrade: makes the low resolution of every window of HR frames, in place of `degradation`.

    Raises ValueError where the patch size is no multiple of the scale, RequestError where no photograph is large
    enough, or has another count of channels than 1 and 3.
    """

    def __init__(
        self,
        photos: Sequence[Clip],
        scale: int,
        recipe: WindowRecipe,
        *,
        degradation: Degradation = "bi",
        camera: Camera | None = None,
        degrade: Degrade | None = None,
    ) -> None:
        super().__init__(recipe, scale)
        self.degrade = degrade
        self.recipe: WindowRecipe = recipe
        self.degradation = degradation
        self.camera = camera or Camera()
        self.frame = recipe.patch_size + 2 * MARGIN * scale  # side of the frames that are rendered
        smallest = SHRINK * self.frame + 2 * BORDER + 1
        self.photos = [photo for photo in photos if min(photo.height, photo.width) * scale >= smallest]
        if not self.photos:
            raise RequestError(
                f"data.photo_motion: data.patch_size {recipe.patch_size} needs photographs of at least "
                f"{smallest} pixels on each side; set a smaller patch_size"
            )
        if self.photos[0].num_channels not in (1, 3):
            raise RequestError(f"data.photo_motion: takes 1 or 3 channels, not {self.photos[0].num_channels}")
        self.ends = np.cumsum([photo.height * photo.width for photo in self.photos])

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        recipe = self.recipe
        hr, _ = self.film(rng)
        hr = dihedral(hr, int(rng.integers(NUM_VIEWS)) if recipe.augment else 0)
        edge = MARGIN * self.scale
        if self.degrade is not None:
            hr = hr[:, edge:-edge, edge:-edge]
            return self.degrade(hr, own_stream(rng)), hr[recipe.center_frame]
        lr = degrade(hr, self.scale, self.degradation)
        return lr[:, MARGIN:-MARGIN, MARGIN:-MARGIN], hr[recipe.center_frame, edge:-edge, edge:-edge]

    def film(self, rng: np.random.Generator) -> tuple[np.ndarray, Motion]:
        """Make the frames of a window with `MARGIN` around them, uint8 `[t, side, side, c]`, and tell their motion."""
        track = self._track(rng)
        view = detailed(rng, self.recipe, lambda rng: self._view(rng, track, self.frame), self._look)
        low, high = view.track.box(self.frame)
        frames = look(cut(view, low - INTERPOLATION, high + INTERPOLATION), view.track, self.frame)
        moving = rng.random() < self.camera.foreground
        foreground = self._add_foreground(rng, frames) if moving else None
        pixels = np.stack([np.atleast_3d(np.asarray(frame)) for frame in frames])
        return pixels, Motion(view.track, foreground)

    def _track(self, rng: np.random.Generator) -> Track:
        """A steady motion with some shake; the centre frame stands straight and in the middle."""
        camera, count, center = self.camera, self.recipe.num_frames, self.recipe.center_frame
        moments = np.arange(count) - center
        speed, direction = camera.pan * rng.random() ** 2, 2 * math.pi * rng.random()
        zoom = np.exp(camera.zoom * rng.standard_normal() * moments)
        turn = math.radians(camera.turn) * rng.standard_normal() * moments
        shake = camera.shake * rng.standard_normal((count, 2)) * (moments != 0)[:, None]
        steady = speed * np.array([math.cos(direction), math.sin(direction)]) * moments[:, None]
        turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
        return Track(SHRINK * zoom[:, None, None] * turned, SHRINK * (steady + shake))

    def _view(self, rng: np.random.Generator, track: Track, side: int) -> View:
        """A random place of a random photograph, the track slowed down as far as the photograph asks for."""
        photo = self.photos[int(np.searchsorted(self.ends, rng.integers(self.ends[-1]), side="right"))]
        size = np.array([photo.width, photo.height]) * self.scale
        low, high = track.box(side)
        while np.any(high - low > size - 2 * BORDER):
            track = track.slowed(0.5 if np.any(track.shift) else 0.0)
            low, high = track.box(side)
        least, most = BORDER - low, size - BORDER - high
        return View(photo, least + rng.random(2) * (most - least), track)

    def _look(self, view: View) -> np.ndarray:
        """What the patch shows of the photograph's own LR, by which its detail is judged."""
        half = SHRINK * self.recipe.patch_size / 2
        left, top = np.maximum((view.centre - half) / self.scale, 0).astype(int)
        side = int(2 * half / self.scale)
        patch: np.ndarray = view.photo.lr[0, top : top + side, left : left + side]
        return patch

    def _add_foreground(self, rng: np.random.Generator, frames: list[Image.Image]) -> Foreground:
        """Let a piece of another photograph move across the frames, on a track of its own."""
        side = int(self.frame * rng.uniform(0.25, 0.6))
        track, place = self._track(rng), self.frame * rng.random(2)
        view = self._view(rng, track.slowed(0), side)
        # Its middle is at `place` plus its own motion, where the frames' track has the middle of the photograph.
        there = place - self.frame / 2 + track.shift / SHRINK
        moved = Track(track.matrix, -np.einsum("tij,tj->ti", track.matrix, there))
        box = SHRINK * side // 2
        outline = Image.fromarray(lowpass(blob(rng, 2 * (box + REACH)))[..., 0])
        pieces = look(cut(view, np.array([-box, -box]), np.array([box, box])), moved, self.frame)
        masks = look(Source(outline, np.array([-box, -box])), moved, self.frame)
        for frame, piece, mask in zip(frames, pieces, masks, strict=True):
            frame.paste(piece, mask=mask)
        return Foreground(moved, np.stack([np.asarray(mask) for mask in masks]))


@dataclass(frozen=True)
class Foreground:
    """What moves across a window.

    Attributes:
        track: of its piece of a photograph, as `Track` has it.
        masks: how much of every frame's pixels it covers, uint8 `[t, side, side]`.
    """

    track: Track
    masks: np.ndarray

    def covers(self, frame: int, points: np.ndarray) -> np.ndarray:
        """Tell whether it covers points of a frame, `[..., 2]` in HR pixels from its middle; outside it does not."""
        mask = self.masks[frame]
        column, row = np.moveaxis(np.floor(points + len(mask) / 2).astype(int), -1, 0)
        inside = (row >= 0) & (row < len(mask)) & (column >= 0) & (column < len(mask))
        return inside & (mask[np.where(inside, row, 0), np.where(inside, column, 0)] > 127)


@dataclass(frozen=True)
class Motion:
    """How a window moves: its frames over a photograph, and what moves across them."""

    track: Track
    foreground: Foreground | None

    def follow(self, first: int, second: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find what a frame shows in another one.

        Args:
            first, second: numbers of the two frames.
            points: of the first, `[..., 2]`, x and y in HR pixels from its middle.

        Returns:
            Where the second shows the same, in its own pixels; and whether nothing covers it there.
        """
        target = followed(self.track, points, first, second)
        if self.foreground is None:
            return target, np.ones(points.shape[:-1], bool)
        visible = ~self.foreground.covers(second, target)
        own = self.foreground.covers(first, points)
        moved = followed(self.foreground.track, points, first, second)
        return np.where(own[..., None], moved, target), visible | own


def followed(track: Track, points: np.ndarray, first: int = 0, second: int = 1) -> np.ndarray:
    """Find where the second frame shows what the first shows at points `[..., 2]`, x and y from its middle."""
    shown = np.einsum("ij,...j->...i", track.matrix[first], points) + track.shift[first]
    return np.einsum("ij,...j->...i", np.linalg.inv(track.matrix[second]), shown - track.shift[second])


@dataclass(frozen=True)
class Source:
    """A piece of a photograph, and the place `[x, y]` of its corner from the middle of the view."""

    image: Image.Image
    corner: np.ndarray


def cut(view: View, low: np.ndarray, high: np.ndarray) -> Source:
    """Give the piece from `low` to `high`, `[x, y]` from the middle of the view, without what HR cannot show."""
    left, top = (first := np.floor(view.centre + low).astype(int)) - REACH
    right, bottom = np.ceil(view.centre + high).astype(int) + REACH
    pixels = lowpass(view.photo.hr[0, top:bottom, left:right])
    return Source(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), first - view.centre)


def look(source: Source, track: Track, side: int) -> list[Image.Image]:
    """Give what frames of `side` HR pixels show along a track; black, and 0 in a mask, beyond the source."""
    shifts = track.shift - track.matrix.sum(-1) * side / 2 - source.corner
    return [
        source.image.transform(
            (side, side),
            Image.Transform.AFFINE,
            (*matrix[0], shift[0], *matrix[1], shift[1]),
            Image.Resampling.BICUBIC,
        )
        for matrix, shift in zip(track.matrix, shifts, strict=True)
    ]


def lowpass(pixels: np.ndarray) -> np.ndarray:
    """uint8 `[h, w, c]` without the detail over half of the frequencies, `[h - 2 * REACH, w - 2 * REACH, c]`."""
    result = pixels.astype(np.float32)
    for _ in range(2):
        length = len(result) - 2 * REACH
        middle = result[REACH : REACH + length] * LOWPASS[0]
        for k in np.flatnonzero(np.abs(LOWPASS) > 1e-6)[1:]:  # every second weight is 0
            middle += LOWPASS[k] * (result[REACH - k :][:length] + result[REACH + k :][:length])
        result = middle.swapaxes(0, 1)
    return np.clip(result + 0.5, 0, 255).astype(np.uint8)


def blob(rng: np.random.Generator, side: int) -> np.ndarray:
    """Give a random smooth shape, 255 within and 0 without, uint8 `[side, side, 1]`; the outermost tenth is empty."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.arctan2(y, x)
    radius = 1.0 + sum(
        rng.uniform(-0.5, 0.5) / k * np.cos(k * angle + 2 * math.pi * rng.random()) for k in range(1, 6)
    )
    inside = np.hypot(x, y) < 0.45 * side * radius / radius.max()
    return (255 * inside[..., None]).astype(np.uint8)
