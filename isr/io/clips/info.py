"""What a clip is: its streams, its times, its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from isr.errors import RequestError
from isr.io.clips.colour import FULL_RANGE, HDR, MATRICES, Colour
from isr.io.pictures import Metadata

Kind = Literal["video", "animation", "folder"]
# Frames per second of a folder of pictures, where nothing else is said.
FOLDER_RATE = Fraction(25)


class Turn(NamedTuple):
    """How coded frames become upright: rows and columns change place, then either is reversed."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """Turn `[h, w, c]` as coded to `[h, w, c]` as seen."""
        return np.ascontiguousarray(self._reversed(pixels.swapaxes(0, 1) if self.transposed else pixels))

    def coded(self, pixels: np.ndarray) -> np.ndarray:
        """Turn `[h, w, c]` as seen to `[h, w, c]` as coded."""
        pixels = self._reversed(pixels)
        return np.ascontiguousarray(pixels.swapaxes(0, 1) if self.transposed else pixels)

    def matrix(self) -> list[int]:
        """Make FFmpeg's display matrix that says the same: nine fixed-point numbers."""
        down = -(1 << 16) if self.rows_reversed else 1 << 16
        across = -(1 << 16) if self.columns_reversed else 1 << 16
        a, b, c, d = (0, down, across, 0) if self.transposed else (across, 0, 0, down)
        return [a, b, 0, c, d, 0, 0, 0, 1 << 30]

    @classmethod
    def of_matrix(cls, matrix: Sequence[int]) -> Turn | None:
        """Make a turn of a display matrix; None where it is none of the eight turns and mirrorings by right angles."""
        a, b, c, d = (round(matrix[place] / (1 << 16)) for place in (0, 1, 3, 4))
        if (abs(a), abs(b), abs(c), abs(d)) == (1, 0, 0, 1):
            return cls(False, d < 0, a < 0)
        if (abs(a), abs(b), abs(c), abs(d)) == (0, 1, 1, 0):
            return cls(True, b < 0, c < 0)
        return None

    def _reversed(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]


@dataclass(frozen=True)
class StreamInfo:
    """A stream beside the frames: its index in the file, kind, codec (empty: unknown) and language.

    `kind` is "audio", "subtitle", "attachment", "data" or "video" (a cover picture, a second camera).
    """

    index: int
    kind: str
    codec: str
    language: str = ""


@dataclass(frozen=True, eq=False)
class Timeline:
    """When each frame is shown, in the order in which they are.

    Attributes:
        pts: `[n]` int64, in units of the clip's time base; never decreasing.
        durations: `[n]` int64: until the next frame, and of the last as the file says; of an animation, the
            delays as the file has them (a delay of 0 is played as 100 ms, and is so in `pts`).
        keys: int64: those of `pts` at which decoding can begin.
        origin: the time that counts as 0 s, in the same units.
        by_order: the file has no timestamps of frames, only their order: frames are not sought, and where one is
            lost, those after it move up.
    """

    pts: np.ndarray
    durations: np.ndarray
    keys: np.ndarray
    origin: int = 0
    by_order: bool = False


@dataclass(frozen=True)
class VideoInfo:
    """What a clip is.

    Attributes:
        path: the file or folder.
        kind: "video", "animation" or "folder".
        container: FFmpeg's name of the format; "GIF", "PNG" or "WEBP"; of a folder the suffix of its pictures.
        codec: of the frames, such as "h264".
        width, height: of the frames as they are handed out, upright, in pixels.
        frames: their number; an estimate, or 0 for unknown, unless `timeline` is there.
        rate: frames per second, on average.
        time_base: seconds that a unit of `Frame.pts` lasts.
        duration: seconds; an estimate as long as `frames` is.
        channels: 3 (RGB) or 4 (RGBA: animations and folders).
        dtype: "uint8", "uint16" (more than 8 bits) or "float32" (a folder of such TIFFs).
        pixel_format: FFmpeg's name of what is coded; empty for animations and folders.
        bits: per sample.
        colour: the tags.
        turn: from the coded to the upright frame.
        pixel_aspect: width by height of a pixel, upright.
        interlaced: whether the first frame consists of two fields; they are taken for one picture.
        streams: those beside the frames.
        index: of the stream that holds the frames.
        loop: how often an animation is played; 0 without end.
        truncated: the file is cut off: its frames end before its header says. Known when `timeline` is.
        notes: what a user should be told about the source, a line each.
        hdr10: mastering display and content light level in x265's words, each empty where it is not said.
        timeline: every frame's time; None where the file was not read through (`timeline=False`).
    """

    path: Path
    kind: Kind
    container: str
    codec: str
    width: int
    height: int
    frames: int
    rate: Fraction
    time_base: Fraction
    duration: Fraction
    channels: int = 3
    dtype: str = "uint8"
    pixel_format: str = ""
    bits: int = 8
    colour: Colour = field(default_factory=Colour)
    turn: Turn = field(default_factory=Turn)
    pixel_aspect: Fraction = Fraction(1)
    interlaced: bool = False
    streams: tuple[StreamInfo, ...] = ()
    index: int = 0
    loop: int = 0
    truncated: bool = False
    notes: tuple[str, ...] = ()
    hdr10: tuple[str, str] = ("", "")
    timeline: Timeline | None = field(default=None, repr=False)

    @property
    def hdr(self) -> str | None:
        """ "PQ" or "HLG"; None for standard dynamic range."""
        return HDR.get(self.colour.transfer)

    @property
    def matrix(self) -> int:
        """Return the matrix by which its YUV is read: the tagged one, else that which players take for its size."""
        if self.colour.matrix in MATRICES:
            return self.colour.matrix
        width, height = self.coded_size
        return 1 if self.colour.matrix == 0 or width >= 1280 or height > 576 else 6

    @property
    def full_range(self) -> bool:
        """Tell whether black and white are coded as 0 and the largest number; untagged gray is, as FFmpeg has it."""
        said = self.colour.range
        return said == FULL_RANGE or self.colour.matrix == 0 or (self.is_gray and not said)

    @property
    def is_gray(self) -> bool:
        """Tell whether there is no colour in what is coded."""
        return self.pixel_format.startswith("gray")

    @property
    def coded_size(self) -> tuple[int, int]:
        """Return `(width, height)` before the frames are turned upright."""
        return (self.height, self.width) if self.turn.transposed else (self.width, self.height)

    @property
    def known_timeline(self) -> Timeline:
        """Return `timeline`, where the clip was read through; else ValueError."""
        if self.timeline is None:
            raise ValueError(f"{self.path}: not read through; probe it with timeline=True")
        return self.timeline

    @property
    def variable(self) -> bool:
        """Tell whether the frames do not follow each other evenly, to a unit of `time_base`; needs the timeline."""
        pts = self.known_timeline.pts
        even = np.linspace(pts[0], pts[-1], len(pts))
        return bool(np.abs(pts - even).max() > 1)

    def frames_between(
        self, start: float | Fraction | None = None, duration: float | Fraction | None = None
    ) -> range:
        """Choose the frames that begin in a stretch of time; needs the timeline.

        Args:
            start: seconds from the beginning of the file; None: the first frame's.
            duration: seconds from `start`; None: to the end.

        Raises:
            RequestError: no frame begins in it.
        """
        timeline = self.known_timeline
        first, last = 0, len(timeline.pts)
        begin = (int(timeline.pts[0]) - timeline.origin) * self.time_base
        if start is not None:
            # 0.1 means a tenth, not the nearest float.
            begin = Fraction(str(start))
            first = self._first_from(begin)
        if duration is not None:
            last = self._first_from(begin + Fraction(str(duration)))
        if first >= last:
            raise RequestError(
                f"{self.path}: no frame begins in the chosen stretch: the clip has {self.frames} frames in "
                f"{float(self.duration):.2f} s"
            )
        return range(first, last)

    def _first_from(self, seconds: Fraction) -> int:
        timeline = self.known_timeline
        return int(np.searchsorted(timeline.pts, int(-(-seconds // self.time_base)) + timeline.origin))


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a clip.

    Attributes:
        index: its place in the clip, from 0.
        pixels: `[height, width, 3]` RGB or `[height, width, 4]` RGBA, upright; uint8, uint16 of the full range or
            (folders) float32 in [0, 1].
        pts: when it is shown, in units of the clip's `time_base`.
        duration: how long, in the same units.
        replaced: it could not be decoded, and these are the pixels of its last good neighbour.
        metadata: of a picture in a folder.
        name: of its file in a folder, without suffix.
    """

    index: int
    pixels: np.ndarray
    pts: int
    duration: int
    replaced: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    name: str = ""


def within(info: VideoInfo, frames: range | None) -> range:
    """Check that a clip has these frames; None becomes all of them. RequestError where it has not."""
    everything = range(info.frames)
    if frames is None:
        return everything
    if frames.step != 1 or (frames and not (frames[0] in everything and frames[-1] in everything)):
        raise RequestError(f"{info.path}: frames {frames.start} to {frames.stop - 1}: it has {info.frames}")
    return frames
