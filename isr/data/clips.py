"""Clips as folders of frames or video files, decoded once, and windows of consecutive frames drawn from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import numpy as np

from isr.data.batches import Batches, Degrade, PatchRecipe, detailed, own_stream
from isr.data.degrade import Degradation, degrade, reflect
from isr.data.pairs import as_channels, cache_key, decode_each, smaller_than_patch
from isr.dihedral import NUM_VIEWS, dihedral
from isr.errors import RequestError
from isr.io import pictures
from isr.io.clips import VIDEO_SUFFIXES, FrameReader
from isr.io.files import atomic, walk
from isr.levels import from_float, to_float
from isr.progress import Progress


@dataclass(frozen=True)
class ClipFiles:
    """Where a clip comes from: one video file, or its frames in order; without `lr` LR is made from `hr`."""

    name: str
    hr: tuple[Path, ...]
    lr: tuple[Path, ...] | None = None


def find_clips(hr: Path, lr: Path | None = None) -> list[ClipFiles]:
    """Find the clips of a folder or a list, or the one that a video file is.

    Args:
        hr: a folder, searched recursively. Every video file is a clip, and so is every folder with pictures, which
            are its frames in the order of the numbers in their names (REDS `000/00000000.png`, Vid4
            `calendar/Frame 001.png`, Vimeo-90K `00001/0001/im1.png`). Or a `.txt` file that names one clip a line,
            relative to its own folder or to `sequences` in it (Vimeo-90K). Or a video file.
        lr: folder of the same clips in low resolution, by the same names; of a video file the other.

    A clip's name is its path without suffix, such as `00001/0001`. Raises RequestError, naming the folder or the
    first clip without partner.
    """
    if _is_video(hr) and hr.is_file():
        if lr is not None and not lr.is_file():
            raise RequestError(f"{lr}: no such video file, to go with {hr}")
        return [ClipFiles(hr.stem, (hr,), None if lr is None else (lr,))]
    clips = _listed(hr) if hr.suffix == ".txt" and hr.is_file() else _in_folder(hr)
    if lr is None:
        return [ClipFiles(name, files) for name, files in clips.items()]
    partners = _in_folder(lr)
    lonely = [name for name in clips if name not in partners]
    if lonely:
        some = ", ".join(lonely[:3]) + (" ..." if len(lonely) > 3 else "")
        raise RequestError(f"{lr}: no low-resolution partner for {len(lonely)} clips of {hr}: {some}")
    return [ClipFiles(name, files, partners[name]) for name, files in clips.items()]


def _in_folder(folder: Path) -> dict[str, tuple[Path, ...]]:
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder of clips")
    sources: dict[Path, list[Path]] = {}
    for path in walk(folder, pictures.READABLE | VIDEO_SUFFIXES):
        sources.setdefault(path if _is_video(path) else path.parent, []).append(path)
    if not sources:
        raise RequestError(f"{folder}: no clips in this folder (neither video files nor folders of pictures)")
    clips: dict[str, tuple[Path, ...]] = {}
    for source, files in sources.items():
        place = source.relative_to(folder)
        name = (place.with_suffix("") if _is_video(source) else place).as_posix()
        if name in clips:
            raise RequestError(f"{source}: there is another clip of the name {name}; rename one of them")
        clips[name if name != "." else folder.name] = tuple(sorted(files, key=_numbers))
    return clips


def _listed(file: Path) -> dict[str, tuple[Path, ...]]:
    below = file.parent / "sequences"
    below = below if below.is_dir() else file.parent
    clips = {}
    for name in filter(None, map(str.strip, file.read_text(encoding="utf-8").split("\n"))):
        found = _in_folder(below / name)
        if len(found) > 1:
            raise RequestError(f"{below / name}: holds {len(found)} clips; {file} must name one a line")
        (clips[name],) = found.values()
    if not clips:
        raise RequestError(f"{file}: lists no clips")
    return clips


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _numbers(path: Path) -> list[tuple[int, str]]:
    """What sorts `im2.png` before `im10.png`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def read_clip(
    clip: ClipFiles, scale: int, num_channels: int, degradation: Degradation = "bi"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read `(lr, hr)` of every frame of a clip, in order, uint8 `[h, w, c]` and `[scale * h, scale * w, c]`.

    HR is cut from the top left to a multiple of the scale. A missing LR is made from it by `degradation`.

    Raises RequestError, naming the file, where it cannot be read or sizes do not belong together.
    """
    low = _frames(clip.lr, num_channels) if clip.lr else None
    for number, hr in enumerate(_frames(clip.hr, num_channels)):
        height, width = hr.shape[0] // scale, hr.shape[1] // scale
        if height == 0 or width == 0:
            raise RequestError(
                f"{clip.hr[0]}: {hr.shape[1]}x{hr.shape[0]} pixels are too few for scale {scale}"
            )
        hr = hr[: height * scale, : width * scale]
        lr = degrade(hr[None], scale, degradation, number)[0] if low is None else next(low, None)
        if lr is None:
            raise RequestError(f"{(clip.lr or clip.hr)[0]}: fewer frames than {clip.hr[0]}")
        if not (0 <= lr.shape[0] - height <= 1 and 0 <= lr.shape[1] - width <= 1):
            raise RequestError(
                f"{(clip.lr or clip.hr)[0]}: {lr.shape[1]}x{lr.shape[0]} is not 1/{scale} of {clip.hr[0]}"
            )
        yield lr[:height, :width], hr
    if low is not None and next(low, None) is not None:
        raise RequestError(f"{(clip.lr or clip.hr)[0]}: more frames than {clip.hr[0]}")


def _frames(files: tuple[Path, ...], num_channels: int) -> Iterator[np.ndarray]:
    """The frames of a clip in order, uint8 `[h, w, num_channels]`; RequestError, naming a file that does not fit."""
    size = None
    for path, pixels in _decode(files):
        try:
            pixels = as_channels(pixels, num_channels)
        except ValueError as error:
            raise RequestError(f"{path}: {error}") from None
        if size is not None and pixels.shape != size:
            raise RequestError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]}, unlike the frames before it")
        size = pixels.shape
        yield pixels if pixels.dtype == np.uint8 else from_float(to_float(pixels), np.dtype(np.uint8))


def _decode(files: tuple[Path, ...]) -> Iterator[tuple[Path, np.ndarray]]:
    if not _is_video(files[0]):
        for path in files:
            yield path, pictures.read(path).pixels
        return
    with FrameReader(files[0]) as reader:
        for frame in reader:
            if frame.replaced:
                raise RequestError(f"{files[0]}: frame {frame.index} cannot be decoded; take the file out")
            yield files[0], frame.pixels


@dataclass(frozen=True)
class Clip:
    """A decoded clip in two files of uint8 pixels, mapped into memory when they are looked at.

    Attributes:
        name: of the clip.
        num_frames, height, width: of the low resolution.
        scale, num_channels: of both.
        stem: path of the two files without `-lr` and `-hr`.
    """

    name: str
    num_frames: int
    height: int
    width: int
    scale: int
    num_channels: int
    stem: Path

    @property
    def lr(self) -> np.ndarray:
        """Return `[t, h, w, c]`, read-only."""
        return mapped(f"{self.stem}-lr", (self.num_frames, self.height, self.width, self.num_channels))

    @property
    def hr(self) -> np.ndarray:
        """Return `[t, scale * h, scale * w, c]`, read-only."""
        size = self.height * self.scale, self.width * self.scale
        return mapped(f"{self.stem}-hr", (self.num_frames, *size, self.num_channels))


@lru_cache(maxsize=256)  # a mapped file is an open one, and a set such as Vimeo-90K has 64,612 clips
def mapped(path: str, shape: tuple[int, ...], dtype: type[np.integer] = np.uint8) -> np.ndarray:
    """Map a file of pixels into memory, read-only."""
    return np.memmap(path, dtype, "r", shape=shape)


class Clips(Sequence[Clip]):
    """Clips decoded once into a folder, where they are found again by path, size and time of their files.

    Args:
        files: as `find_clips` gives them.
        scale: HR side / LR side; frames are cut from the top left to a multiple of it.
        num_channels: of the frames.
        cache: folder for the decoded frames (3 bytes per HR pixel, and `1 / scale**2` of that for LR).
        degradation: how a missing LR is made.
        smallest: HR pixels that the smaller side of every clip must have, such as the patch size.
        progress: told of every clip.

    Raises RequestError, naming all files that do not fit.
    """

    def __init__(
        self,
        files: Sequence[ClipFiles],
        scale: int,
        num_channels: int,
        cache: Path,
        *,
        degradation: Degradation = "bi",
        smallest: int = 1,
        progress: Progress | None = None,
    ) -> None:
        def decode(clip: ClipFiles) -> Clip:
            decoded = _cached(clip, scale, num_channels, cache, degradation)
            width, height = decoded.width * scale, decoded.height * scale
            if min(width, height) < smallest:
                raise smaller_than_patch(clip.hr[0], width, height, smallest)
            return decoded

        self.clips = decode_each(files, decode, "clips", progress)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.clips[index]


def _cached(clip: ClipFiles, scale: int, num_channels: int, cache: Path, degradation: Degradation) -> Clip:
    made = None if clip.lr else str(degradation)
    key = cache_key(clip.hr + (clip.lr or ()), scale, num_channels, made)
    note = cache / f"{key}.json"
    if not note.is_file():
        shape = _write(clip, scale, num_channels, degradation, cache / key)
        with atomic(note) as path:  # written last, so that what it stands for is whole
            path.write_text(json.dumps(shape), encoding="utf-8")
    num_frames, height, width = json.loads(note.read_text(encoding="utf-8"))
    return Clip(clip.name, num_frames, height, width, scale, num_channels, cache / key)


def _write(
    clip: ClipFiles, scale: int, num_channels: int, degradation: Degradation, stem: Path
) -> tuple[int, int, int]:
    """Decode a clip frame by frame into two files; the number of frames and the size of LR."""
    count, height, width = 0, 0, 0
    with ExitStack() as stack:
        lr_file, hr_file = (
            stack.enter_context(stack.enter_context(atomic(stem.with_name(f"{stem.name}-{kind}"))).open("wb"))
            for kind in ("lr", "hr")
        )
        for lr, hr in read_clip(clip, scale, num_channels, degradation):
            height, width = lr.shape[:2]
            lr_file.write(np.ascontiguousarray(lr).data)
            hr_file.write(np.ascontiguousarray(hr).data)
            count += 1
        if count == 0:
            raise RequestError(f"{clip.hr[0]}: holds no frames")
    return count, height, width


@dataclass(frozen=True)
class WindowRecipe(PatchRecipe):
    """How windows of consecutive frames are drawn; what is said of patches holds for their centre frame.

    Attributes:
        num_frames: t, frames of a window.
        center_frame: place in it of the frame whose HR is the target.
        frame_intervals: frames from one of the window to the next, one drawn for every window.
        reverse: let time run backwards in half of the windows.
    """

    num_frames: int = 5
    center_frame: int = 2
    frame_intervals: tuple[int, ...] = (1,)
    reverse: bool = True


class WindowBatches(Batches):
    """Windows of clips: `lr` `[b, t, p / scale, p / scale, c]`, `hr` `[b, p, p, c]` of the centre frame.

    All frames of a window have one place and one flip or turn. Beyond the ends of a clip its frames are mirrored.

    Args:
        clips: where windows are cut from.
        scale: HR side / LR side.
        recipe: how windows are drawn.
        weights: how often a clip is drawn, by patterns of its name such as `park_*`; 1 where none matches. It is
            multiplied with the clip's number of places.
        degradation: how LR was made; "bd" has its pixels on the corner of HR blocks, which flips must respect.
        degrade: makes the low resolution of every window of HR frames; None: it is cut from that of the clip.
        grid: windows lie at multiples of so many pixels of `lr`. Of clips that a network has enlarged, its scale: what
            it gives differs between the pixels that it made of one.

    Raises ValueError where the patch size is no multiple of the scale or the grid, or RequestError where a pattern
    matches no clip or no clip is left.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        scale: int,
        recipe: WindowRecipe,
        *,
        weights: Mapping[str, float] | None = None,
        degradation: Degradation = "bi",
        degrade: Degrade | None = None,
        grid: int = 1,
    ) -> None:
        super().__init__(recipe, scale)
        if self.side % grid:
            raise ValueError(f"windows of {self.side} pixels do not fit a grid of {grid}")
        self.recipe: WindowRecipe = recipe
        self.degrade = degrade
        self.grid = grid
        self.clips = clips
        # A pixel of BD is the first of its HR block, and after a flip the last: the HR patch then begins
        # `scale - 1` pixels earlier, and LR places at the top and at the left are left out for it.
        self.corner = scale - 1 if degradation == "bd" and recipe.augment else 0
        self.first = 1 if self.corner else 0
        places = [
            clip.num_frames * max(self._rows(clip), 0) * max(self._columns(clip), 0) * weight
            for clip, weight in zip(clips, clip_weights(clips, weights or {}), strict=True)
        ]
        self.ends = np.cumsum(places, dtype=np.float64)
        if not len(clips) or self.ends[-1] <= 0:
            raise RequestError("there are no clips to draw windows from")

    def _rows(self, clip: Clip) -> int:
        return (clip.height - self.side) // self.grid + 1 - self.first

    def _columns(self, clip: Clip) -> int:
        return (clip.width - self.side) // self.grid + 1 - self.first

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        recipe = self.recipe
        place = detailed(rng, recipe, self._place, self._center)
        index, frame, row, column = place
        clip = self.clips[index]
        interval = int(rng.choice(recipe.frame_intervals))
        direction = -1 if recipe.reverse and rng.random() < 0.5 else 1
        view = int(rng.integers(NUM_VIEWS)) if recipe.augment else 0

        steps = (np.arange(recipe.num_frames) - recipe.center_frame) * interval * direction
        window = reflect(frame + steps, clip.num_frames)
        upside_down, mirrored = reversed_axes(view)
        top = row * self.scale - self.corner * upside_down
        left = column * self.scale - self.corner * mirrored
        size = recipe.patch_size
        if self.degrade is not None:
            frames = dihedral(clip.hr[window, top : top + size, left : left + size], view)
            return self.degrade(frames, own_stream(rng)), frames[recipe.center_frame]
        lr = clip.lr[window, row : row + self.side, column : column + self.side]
        hr = clip.hr[frame, top : top + size, left : left + size]
        return dihedral(lr, view), dihedral(hr, view)

    def _place(self, rng: np.random.Generator) -> tuple[int, int, int, int]:
        index = int(np.searchsorted(self.ends, rng.random() * self.ends[-1], side="right"))
        clip = self.clips[index]
        frame = int(rng.integers(clip.num_frames))
        row = self.grid * (self.first + int(rng.integers(self._rows(clip))))
        column = self.grid * (self.first + int(rng.integers(self._columns(clip))))
        return index, frame, row, column

    def _center(self, place: tuple[int, int, int, int]) -> np.ndarray:
        index, frame, row, column = place
        patch: np.ndarray = self.clips[index].lr[frame, row : row + self.side, column : column + self.side]
        return patch


def reversed_axes(view: int) -> tuple[bool, bool]:
    """Tell whether a view of `dihedral` reverses the rows and the columns of a picture, in the picture's own axes."""
    turns, flipped = view % 4, view >= 4
    return turns >= 2, (turns in (1, 2)) != flipped


def clip_weights(clips: Sequence[Clip], weights: Mapping[str, float]) -> list[float]:
    """Give the weight of every clip: that of the first pattern that matches its name, or 1.

    Raises RequestError where a pattern matches no clip.
    """
    for pattern in weights:
        if not any(fnmatch(clip.name, pattern) for clip in clips):
            raise RequestError(f"data.clip_weights: no clip's name matches {pattern!r}")
    return [next((w for p, w in weights.items() if fnmatch(clip.name, p)), 1.0) for clip in clips]
