"""What is to be written of a clip, settled before any work."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from isr.errors import RequestError
from isr.io.clips.containers import CONTAINERS, Container
from isr.io.clips.info import Kind, Turn, VideoInfo


@dataclass(frozen=True)
class Output:
    """What is to be written, settled before any work; made by `plan_output`.

    Attributes:
        source: the clip that it is made from.
        target: the file or folder.
        kind: "video", "animation" or "folder".
        width, height: of the frames that are given to the writer, upright, in pixels.
        frames: which frames of the source.
        part: `(height, width)` of what they show of the source's frames, in its pixels.
        codec: FFmpeg's encoder; empty where there is none.
        crf: its constant quality; None: the encoder has no such setting.
        pixel_format: what is encoded.
        quality: 1 to 100, of WebP and of JPEG pictures.
        suffix: of the pictures of a folder.
        copied: the indices of the source's streams that go along.
        notes: what a user should be told, a line each: what is lost, and what was chosen for a reason.
        threads: of the encoder, whose number decides its bytes; 0: as many as it chooses by the cores it may use.
    """

    source: VideoInfo
    target: Path
    kind: Kind
    width: int
    height: int
    frames: range
    part: tuple[int, int]
    codec: str = ""
    crf: float | None = None
    pixel_format: str = ""
    quality: int = 95
    suffix: str = ""
    copied: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    threads: int = 0

    @property
    def container(self) -> Container:
        """Return the container of a video."""
        return CONTAINERS[self.target.suffix.lower()]

    @property
    def turn(self) -> Turn:
        """From what is encoded to what is seen: the source's, where the container can say it."""
        return self.source.turn if self.container.holds_turn else Turn()

    @property
    def coded_size(self) -> tuple[int, int]:
        """Return `(width, height)` of what is encoded."""
        return (self.height, self.width) if self.turn.transposed else (self.width, self.height)

    @property
    def time_base(self) -> Fraction:
        """Return the seconds that a unit of the encoded timestamps lasts."""
        return self.source.time_base if self.container.holds_times else 1 / self.source.rate

    @property
    def is_whole(self) -> bool:
        """Tell whether all frames of the source are written."""
        return self.frames == range(self.source.frames)

    @property
    def stretch(self) -> tuple[Fraction, Fraction]:
        """When the first frame begins and the last one ends, on the source's clock, in seconds."""
        timeline, last = self.source.known_timeline, self.frames[-1]
        end = int(timeline.pts[last]) + int(timeline.durations[last])
        return int(timeline.pts[self.frames[0]]) * self.source.time_base, end * self.source.time_base

    @property
    def offset(self) -> Fraction:
        """Return the seconds by which everything in the target is earlier than in the source."""
        if not self.is_whole:
            return self.stretch[0]
        if self.source.container.startswith("mpeg") and self.container.format != "mpegts":
            # A broadcast's clock begins anywhere.
            return self.source.known_timeline.origin * self.source.time_base
        return Fraction(0)

    def tick(self, pts: int) -> int:
        """Convert a timestamp of the source to units of `time_base`."""
        return round(pts * self.source.time_base / self.time_base)

    @property
    def first_tick(self) -> int:
        """When the first frame is shown, in units of `time_base`."""
        return self.tick(int(self.source.known_timeline.pts[self.frames[0]]))

    def on_cores(self, cores: int) -> Output:
        """Fix the encoder's threads as it chooses them where it may use so many cores.

        Machines and processes that may use other numbers then write the same bytes. Of the encoders, x264 alone goes
        by the cores of its process, and takes one thread each.
        """
        return replace(self, threads=cores) if self.codec == "libx264" else self

    def record(self) -> dict[str, Any]:
        """Collect what must be the same for segments to fit together, in plain values for a journal."""
        # FFmpeg's libraries take their time; pictures do without.
        import av

        return {
            "kind": self.kind,
            "size": [self.width, self.height],
            "frames": [self.frames.start, self.frames.stop],
            "codec": self.codec,
            "crf": self.crf,
            "pixel_format": self.pixel_format,
            "quality": self.quality,
            "suffix": self.suffix or self.target.suffix.lower(),
            "encoder": ".".join(map(str, av.library_versions["libavcodec"])),
        }


@dataclass(frozen=True)
class Choices:
    """What a caller chooses of the encoding of a clip; None: chosen by what the target is.

    Attributes:
        codec, crf, pixel_format: of a video file alone.
        suffix: of the pictures of a folder alone.
        copy: which kinds of streams go along, to a video file.
    """

    codec: str | None
    crf: float | None
    pixel_format: str | None
    suffix: str | None
    copy: Collection[str]


def notes_without_encoder(output: Output, choices: Choices) -> list[str]:
    """Tell what a target that is no video file loses of its source; RequestError where an encoder is chosen for it."""
    for name, value in (
        ("codec", choices.codec),
        ("crf", choices.crf),
        ("pixel format", choices.pixel_format),
    ):
        if value is not None:
            raise RequestError(
                f"{output.target}: {name} {value}: only a video file has one, not an animation or a folder"
            )
    notes = []
    if any(stream.kind in ("audio", "subtitle") for stream in output.source.streams):
        notes.append("sound and subtitles are left out: only a video file has them")
    if output.source.hdr:
        notes.append(f"HDR ({output.source.hdr}) cannot be said there: the colours will look pale")
    return notes
