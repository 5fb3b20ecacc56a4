"""Clips written, of whatever kind: in segments, and joined."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from isr.errors import ISRError
from isr.io.clips.info import Frame
from isr.io.clips.kinds import kind_module
from isr.io.clips.output import Output
from isr.io.errors import file_error, one_line
from isr.io.files import StrPath, atomic

# Frames of a segment, where nobody asks for segments.
_ONE_SEGMENT = 240


class SegmentWriter:
    """Some consecutive frames of an output as a file of their own, whole or not at all; a context manager.

    A segment of a video begins with a key frame and needs no other one; it is a file in the NUT container that
    players play. A segment of an animation holds its frames as they will stand in the file. That of a folder
    only lists its pictures, each of which is written into the folder right away, whole.

    Args:
        output: the plan.
        path: the file to be written, by convention with the suffix ".nut".

    Raises:
        RequestError, MachineError: the file cannot be written; the disk is full.
    """

    def __init__(self, output: Output, path: StrPath) -> None:
        self.output = output
        self.path = Path(path)
        self.count = 0
        self._stack = contextlib.ExitStack()
        self._put: Any = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic(self.path))
            with self._one_line():
                self._put = stack.enter_context(kind_module(self.output.kind).segment(self.output, temporary))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            with self._one_line():
                self._stack.close()
        else:
            self._stack.__exit__(*error)

    def write(self, frame: Frame) -> None:
        """Add a frame: pixels `[height, width, 3]` or `[.., 4]` of the output's size, later than the one before."""
        height, width, channels = frame.pixels.shape
        if (height, width) != (self.output.height, self.output.width) or channels not in (3, 4):
            raise ValueError(f"a frame of {frame.pixels.shape} for an output {self.output.width} pixels wide")
        with self._one_line():
            self._put(frame)
        self.count += 1

    def _one_line(self) -> Any:
        return one_line(self.path, "cannot be written", "choose another codec or pixel format", ISRError)


class FrameWriter:
    """An output written in one pass, whole or not at all; a context manager.

    Args:
        output: the plan. Of a folder, the pictures that are written stay when something goes wrong later.

    Raises:
        RequestError, MachineError: as `SegmentWriter` and `join`.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        self._segments: list[Path] = []
        self._writer: SegmentWriter | None = None

    def __enter__(self) -> Self:
        beside = self.output.target.parent
        try:
            beside.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=".isr-", dir=beside))
        except OSError as error:
            raise file_error(self.output.target, error) from error
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if self._writer is not None:
                self._writer.__exit__(*error)
            if error[0] is None:
                join(self.output, self._segments)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(self, frame: Frame) -> None:
        """Add a frame, as `SegmentWriter.write`."""
        if self._writer is not None and self._writer.count == _ONE_SEGMENT:
            writer, self._writer = self._writer, None
            writer.__exit__(None, None, None)
        if self._writer is None:
            self._segments.append(self._folder / f"{len(self._segments)}.nut")
            self._writer = SegmentWriter(self.output, self._segments[-1]).__enter__()
        self._writer.write(frame)


def join(output: Output, segments: Sequence[StrPath]) -> None:
    """Make the target of its segments, without encoding anew, whole or not at all.

    Sound, subtitles, cover pictures and attachments of the source are copied packet by packet, bit for bit, at
    their own times, and so are chapters, metadata, languages and dispositions.

    Args:
        output: the plan that the segments were written by.
        segments: their files, in order. They stay.

    Raises:
        RequestError: a segment is missing or damaged, or was written by another plan.
        MachineError: the disk is full.
    """
    paths = [Path(segment) for segment in segments]
    what, advice = "cannot be written", "delete the unfinished segments and begin anew"
    with one_line(output.target, what, advice, ISRError):
        kind_module(output.kind).join(output, paths)
