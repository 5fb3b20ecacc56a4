"""The suffixes of clips, and the containers and encoders of video files that are written."""

from dataclasses import dataclass

from isr.io.clips import animation_files

# fmt: off
VIDEO_SUFFIXES = frozenset([
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg",
    ".m2v", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".mxf", ".nut", ".y4m",
    ".ivf", ".wtv", ".dv",
])
# fmt: on
ANIMATION_SUFFIXES = frozenset(animation_files.SUFFIXES)


@dataclass(frozen=True)
class Container:
    """A container that is written.

    Attributes:
        format: FFmpeg's name.
        encoder: for 8 bits, where none is chosen.
        deep_encoder: for more.
        holds_turn: whether it can say how its frames are to be turned.
        holds_times: whether it can say when each frame is shown; otherwise it has only a rate.
    """

    format: str
    encoder: str = "libx264"
    deep_encoder: str = "libx265"
    holds_turn: bool = True
    holds_times: bool = True


CONTAINERS = {
    ".mp4": Container("mp4"),
    ".m4v": Container("mp4"),
    ".mov": Container("mov"),
    ".qt": Container("mov"),
    ".3gp": Container("3gp", deep_encoder="libx264"),
    ".mkv": Container("matroska"),
    # VP9 of 10 bits is not in every build of libvpx.
    ".webm": Container("webm", "libvpx-vp9", "libsvtav1"),
    ".ts": Container("mpegts", holds_turn=False),
    ".mts": Container("mpegts", holds_turn=False),
    ".m2ts": Container("mpegts", holds_turn=False),
    ".avi": Container("avi", deep_encoder="libx264", holds_turn=False, holds_times=False),
}


WRITABLE_SUFFIXES = frozenset(CONTAINERS) | ANIMATION_SUFFIXES

# What users call them, and FFmpeg's encoders.
CODECS = {
    "h264": "libx264",
    "h265": "libx265",
    "hevc": "libx265",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
}
# The kinds of streams that can go along.
COPIED = ("audio", "subtitle", "attachment", "video")
# Of encoders that have a constant quality: the default, finer than their own, and the largest number.
CRF = {"libx264": (17, 51), "libx265": (19, 51), "libvpx-vp9": (24, 63), "libsvtav1": (22, 63)}
ENCODER_OPTIONS: dict[str, dict[str, str]] = {
    # Its fastest code reads memory that was never written: the bytes would depend on what ran before.
    "libx264": {"x264-params": "cpu-independent=1"},
    "libvpx-vp9": {"row-mt": "1", "cpu-used": "2"},
    "libx265": {"x265-params": "log-level=error"},
}
# In 4:2:0 they take only even sides.
EVEN_SIDES = ("libx264", "libx265")
