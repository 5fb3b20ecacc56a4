"""A folder of numbered pictures as a clip."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from isr.errors import RequestError
from isr.io import pictures
from isr.io.clips.colour import Colour
from isr.io.clips.info import FOLDER_RATE, Frame, Timeline, VideoInfo
from isr.io.clips.output import Choices, Output, notes_without_encoder
from isr.io.errors import file_error
from isr.levels import from_float, to_float


def probe(path: Path, timeline: bool, rate: Fraction | None) -> VideoInfo:
    """Read what a folder of numbered pictures is; `timeline`: whether all of them are of one size."""
    rate = rate or FOLDER_RATE
    paths, notes = numbered(path)
    if not paths:
        raise RequestError(f"{path}: there are no pictures in this folder: give one with numbered frames")
    known = None
    for file in paths:
        try:
            here = pictures.probe(file)
        # It will be shown as its neighbour.
        except RequestError:
            continue
        known = known or here
        if (here.width, here.height) != (known.width, known.height):
            raise RequestError(
                f"{file}: {here.width}x{here.height} pixels, but the frames before it {known.width}x{known.height}: "
                "the frames of a clip have one size"
            )
        if not timeline:
            break
    if known is None:
        raise RequestError(f"{path}: not one of its pictures can be read: they are damaged")
    count = np.arange(len(paths), dtype=np.int64)
    return VideoInfo(
        path=path,
        kind="folder",
        container=paths[0].suffix.lower(),
        codec=known.format.lower(),
        width=known.width,
        height=known.height,
        frames=len(paths),
        rate=rate,
        time_base=1 / rate,
        duration=len(paths) / rate,
        channels=4 if known.channels in (2, 4) else 3,
        dtype=known.dtype,
        bits=8 * np.dtype(known.dtype).itemsize,
        colour=Colour(matrix=0),
        notes=tuple(notes),
        timeline=Timeline(count, np.ones_like(count), count) if timeline else None,
    )


def frames(info: VideoInfo, wanted: range) -> Generator[Frame]:
    """Yield pictures of a folder; one that cannot be read is its last good neighbour."""
    paths, _ = numbered(info.path)
    if len(paths) != info.frames:
        raise RequestError(f"{info.path}: pictures have come or gone since it was looked at: leave it alone")
    good = None
    for index in wanted:
        picture = _picture(info, paths[index])
        if picture is not None:
            good = picture
        elif good is None:
            around = [*reversed(paths[:index]), *paths[index + 1 :]]
            good = next((found for path in around if (found := _picture(info, path))), None)
            if good is None:
                raise RequestError(f"{info.path}: not one of its pictures can be read: they are damaged")
        assert good is not None
        yield Frame(index, good.pixels, index, 1, picture is None, good.metadata, paths[index].stem)


def _picture(info: VideoInfo, path: Path) -> pictures.Picture | None:
    """A picture with the channels and type that all of its clip have; None where it cannot be read."""
    try:
        picture = pictures.read(path)
    except RequestError:
        return None
    pixels = picture.pixels
    if pixels.shape[:2] != (info.height, info.width):
        raise RequestError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, unlike the other frames")
    if pixels.dtype != info.dtype:
        pixels = from_float(to_float(pixels), np.dtype(info.dtype))
    if pixels.shape[-1] <= 2:
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], axis=-1)
    if pixels.shape[-1] < info.channels:
        white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], white)], axis=-1)
    return replace(picture, pixels=np.ascontiguousarray(pixels[..., : info.channels]))


def numbered(folder: Path) -> tuple[list[Path], list[str]]:
    """List the numbered pictures of a folder in the order of their numbers, and notes on those that are missing."""
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise file_error(folder, error) from error
    names = [name for name in entries if Path(name).suffix.lower() in pictures.READABLE and name[0] != "."]
    found: dict[int, str] = {}
    pattern = None
    for name in names:
        match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", Path(name).stem)
        if match is None:
            raise RequestError(
                f"{folder / name}: has no number: the frames of a clip are named like frame_0001.png"
            )
        around, number = (match[1], match[3]), int(match[2])
        pattern = pattern or around
        if around != pattern:
            raise RequestError(
                f"{folder}: {names[0]} and {name} are not numbered alike: give one clip in a folder"
            )
        if number in found:
            raise RequestError(
                f"{folder}: {found[number]} and {name} have the same number: remove one of them"
            )
        found[number] = name
    gaps = [
        f"{low + 1}" if high - low == 2 else f"{low + 1} to {high - 1}"
        for low, high in itertools.pairwise(sorted(found))
        if high - low > 1
    ]
    more = f" and {len(gaps) - 10} more gaps" if len(gaps) > 10 else ""
    notes = [f"frames are missing: {', '.join(gaps[:10])}{more}"] if gaps else []
    return [folder / found[number] for number in sorted(found)], notes


def plan(output: Output, choices: Choices) -> Output:
    """Choose the format of the pictures."""
    source, notes = output.source, notes_without_encoder(output, choices)
    suffix = choices.suffix or (source.container if source.kind == "folder" else ".png")
    pictures.check_writable(
        output.target / f"frame{suffix}", output.width, output.height, source.channels, source.dtype
    )
    if lost := pictures.losses(suffix, source.channels, source.dtype):
        notes.append(lost)
    return replace(output, suffix=suffix, notes=tuple(notes))


@contextmanager
def segment(output: Output, path: Path) -> Iterator[Callable[[Frame], None]]:
    """Write each picture into the folder right away, and a list of them to `path`."""

    def put(frame: Frame) -> None:
        name = (frame.name or f"frame_{frame.index + 1:06d}") + output.suffix
        pictures.write(
            output.target / name, pictures.Picture(frame.pixels, frame.metadata), quality=output.quality
        )
        file.write(name + "\n")

    with path.open("w", encoding="utf-8") as file:
        yield put


def join(output: Output, segments: list[Path]) -> None:
    """Make sure that every picture of the segments is there."""
    names = [name for path in segments for name in path.read_text(encoding="utf-8").splitlines()]
    for gone in (name for name in names if not (output.target / name).exists()):
        raise RequestError(f"{output.target / gone}: is gone: delete the unfinished segments and begin anew")
