"""The kinds of clips, each a module of the same few functions, and which kind a path is."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isr.errors import ISRError, RequestError
from isr.io.clips.animation_files import is_animation
from isr.io.clips.containers import ANIMATION_SUFFIXES, CONTAINERS, VIDEO_SUFFIXES, WRITABLE_SUFFIXES
from isr.io.files import StrPath

if TYPE_CHECKING:
    from isr.io.clips.info import Frame, Kind, VideoInfo
    from isr.io.clips.output import Choices, Output


class ClipKind(Protocol):
    """What a kind of clips can do; the callers turn what it raises into one line."""

    def probe(self, path: Path, timeline: bool, rate: Fraction | None) -> VideoInfo:
        """Read what a clip is: see `isr.io.clips.probe`."""

    def frames(self, info: VideoInfo, wanted: range) -> Generator[Frame]:
        """Yield the wanted frames of a clip whose timeline is known."""

    def plan(self, output: Output, choices: Choices) -> Output:
        """Complete a plan by what this kind needs, or refuse it."""

    def segment(self, output: Output, path: Path) -> AbstractContextManager[Callable[[Frame], None]]:
        """Open a segment at `path`: within the block, the function that adds a frame to it."""

    def join(self, output: Output, segments: list[Path]) -> None:
        """Make the target of its segments, whole or not at all."""


def kind_module(kind: Kind) -> ClipKind:
    """Return the module of a kind."""
    # Imported here: FFmpeg's libraries take their time, and telling a picture from a clip does without all of them.
    if kind == "video":
        from isr.io.clips import video

        return video
    if kind == "animation":
        from isr.io.clips import animation

        return animation
    from isr.io.clips import folder

    return folder


def is_clip(path: StrPath) -> bool:
    """Tell whether `path` is a video file (by its suffix), an animation or a folder of numbered pictures.

    What cannot be read is none; `probe` says why.
    """
    path = Path(path)
    try:
        if path.is_dir():
            from isr.io.clips import folder

            return bool(folder.numbered(path)[0])
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return True
        return path.suffix.lower() in ANIMATION_SUFFIXES and is_animation(path)
    except (ISRError, OSError):
        return False


def kind_of(path: Path) -> Kind:
    """Tell the kind of a clip that is there; a file that is none counts as a video."""
    if path.is_dir():
        return "folder"
    return "animation" if path.suffix.lower() not in VIDEO_SUFFIXES and is_animation(path) else "video"


def kind_to_write(target: Path) -> Kind:
    """Tell the kind of a clip that is to be written; RequestError where it is none."""
    suffix = "" if target.is_dir() else target.suffix.lower()
    if suffix in CONTAINERS:
        return "video"
    if suffix in ANIMATION_SUFFIXES:
        return "animation"
    if suffix:
        known = ", ".join(sorted(WRITABLE_SUFFIXES))
        raise RequestError(f"{target}: {suffix} is not written here: choose .mkv or another of {known}")
    return "folder"
