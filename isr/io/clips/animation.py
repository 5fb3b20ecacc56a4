"""GIF, animated PNG and animated WebP as clips."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isr.errors import RequestError
from isr.io.clips import animation_files
from isr.io.clips.colour import Colour
from isr.io.clips.info import Frame, Timeline, VideoInfo
from isr.io.clips.output import Choices, Output, notes_without_encoder
from isr.io.errors import one_line
from isr.io.files import atomic
from isr.levels import from_float, to_float


def probe(path: Path, timeline: bool, rate: Fraction | None) -> VideoInfo:
    """Read what an animation is; always its whole file, so that the timeline is known."""
    header = animation_files.read_header(path)
    delays = np.array(header.durations, np.int64)
    # Browsers take the shortest delays of a GIF, which nobody meant, for a tenth of a second.
    shown = np.where(delays <= 900, 9000, delays) if header.format == "GIF" else np.maximum(delays, 90)
    pts = np.concatenate([[0], np.cumsum(shown)[:-1]])
    duration = int(shown.sum()) * animation_files.TIME_BASE
    return VideoInfo(
        path=path,
        kind="animation",
        container=header.format,
        codec=header.format.lower(),
        width=header.width,
        height=header.height,
        frames=len(delays),
        rate=(len(delays) / duration).limit_denominator(1001),
        time_base=animation_files.TIME_BASE,
        duration=duration,
        channels=4 if header.has_alpha else 3,
        colour=Colour(matrix=0),
        loop=header.loop,
        truncated=header.truncated,
        timeline=Timeline(pts, delays, pts),
    )


def frames(info: VideoInfo, wanted: range) -> Generator[Frame]:
    """Yield frames of an animation, each as it is seen."""
    timeline = info.known_timeline
    found = animation_files.frames(info.path, wanted.start)
    for index in wanted:
        with one_line(info.path, "cannot be read", "it is damaged: get it anew"):
            pixels = next(found)[..., : info.channels]
        yield Frame(index, pixels, int(timeline.pts[index]), int(timeline.durations[index]))


def plan(output: Output, choices: Choices) -> Output:
    """Check what the format can hold."""
    source, suffix = output.source, output.target.suffix.lower()
    notes = notes_without_encoder(output, choices)
    name = animation_files.SUFFIXES[suffix]
    if max(output.width, output.height) > animation_files.LARGEST_SIDE[name]:
        raise RequestError(
            f"{output.target}: {output.width}x{output.height} pixels, but {name} holds "
            f"{animation_files.LARGEST_SIDE[name]} a side: choose another format or a smaller scale"
        )
    if source.dtype != "uint8":
        notes.append(f"{suffix[1:]} has only 8 bits")
    return replace(output, notes=tuple(notes))


@contextmanager
def segment(output: Output, path: Path) -> Iterator[Callable[[Frame], None]]:
    """Write encoded frames to `path`, as they will stand in the file."""
    source = output.source
    name = animation_files.SUFFIXES[output.target.suffix.lower()]
    unit = animation_files.UNITS[name]

    def put(frame: Frame) -> None:
        duration = frame.duration
        if source.kind != "animation":
            # Ends are rounded, not durations, whose errors would add up.
            ends = (tick * source.time_base for tick in (frame.pts, frame.pts + frame.duration))
            begin, end = (round(seconds / unit) * unit for seconds in ends)
            duration = round((end - begin) / animation_files.TIME_BASE)
        pixels = frame.pixels[..., : source.channels]
        if pixels.dtype != np.uint8:
            pixels = from_float(np.nan_to_num(to_float(pixels)), np.dtype(np.uint8))
        file.write(animation_files.encoded(name, pixels, duration, output.quality))

    with path.open("wb") as file:
        yield put


def join(output: Output, segments: list[Path]) -> None:
    """Copy the encoded frames into one file."""
    source = output.source
    name = animation_files.SUFFIXES[output.target.suffix.lower()]
    header = animation_files.Header(name, output.width, output.height, (), source.loop, source.channels == 4)
    with atomic(output.target) as temporary, temporary.open("wb") as file:
        animation_files.join(file, header, _opened_in_turn(segments))


def _opened_in_turn(paths: list[Path]) -> Iterator[BinaryIO]:
    for path in paths:
        with path.open("rb") as file:
            yield file
