"""Clips read, of whatever kind: what a clip is, and its frames one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

from isr.io.clips.info import Frame, VideoInfo, within
from isr.io.clips.kinds import kind_module, kind_of
from isr.io.errors import one_line
from isr.io.files import StrPath


def probe(path: StrPath, *, timeline: bool = False, rate: Fraction | None = None) -> VideoInfo:
    """Read what a clip is, from its header and first frame.

    Args:
        path: a file, or a folder of numbered pictures.
        timeline: reads the whole file, without decoding it, for the times and the number of all frames. Animations
            always are.
        rate: frames per second of a folder; None: 25.

    Returns:
        What the clip is.

    Raises:
        RequestError: missing, not to be read, no video in it, not a single frame, colours of an unknown kind. One
            line that begins with the path.
    """
    path = Path(path)
    with one_line(path, "cannot be read as a video", "it is damaged, cut off or no video: get it anew"):
        return kind_module(kind_of(path)).probe(path, timeline, rate)


def quantiser(info: VideoInfo, index: int) -> float | None:
    """Read how coarsely a clip is compressed where one of its frames is.

    Args:
        info: with the timeline.
        index: of the frame.

    Returns:
        The mean quantisation parameter of the key frame before it, 0 (fine) to 51; None where the clip is not H.264 or
        does not tell.

    Raises:
        RequestError, MachineError: as `probe`.
    """
    if info.kind != "video":
        return None
    from isr.io.clips import video

    with one_line(info.path, "cannot be read", "it is damaged: get it anew"):
        return video.quantiser(info, index)


class FrameReader:
    """The frames of a clip, one by one: a context manager that is iterated over.

    Args:
        source: a path, or what `probe` said of it.
        frames: which; None: all. Decoding begins at the key frame before the first of them.
        rate: frames per second of a folder; None: 25.

    Attributes:
        info: what the clip is, with the timeline.
        frames: which are read.
        replaced: the indices of the frames handed out so far that could not be decoded.

    Raises:
        RequestError, MachineError: as `probe`; while reading, not one frame can be decoded.
    """

    def __init__(
        self, source: StrPath | VideoInfo, frames: range | None = None, *, rate: Fraction | None = None
    ) -> None:
        if not isinstance(source, VideoInfo):
            source = probe(source, timeline=True, rate=rate)
        elif source.timeline is None:
            source = probe(source.path, timeline=True, rate=rate or source.rate)
        self.info = source
        self.frames = within(source, frames)
        self.replaced: list[int] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        frames = kind_module(self.info.kind).frames(self.info, self.frames)
        self._open.callback(frames.close)
        for frame in frames:
            if frame.replaced:
                self.replaced.append(frame.index)
            yield frame
