"""How a clip is written: settled, and refused where it cannot be, before any work."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from isr.errors import RequestError
from isr.io.clips.containers import COPIED
from isr.io.clips.info import VideoInfo, within
from isr.io.clips.kinds import kind_module, kind_to_write
from isr.io.clips.output import Choices, Output
from isr.io.files import StrPath


def plan_output(
    source: VideoInfo,
    target: StrPath,
    height: int,
    width: int,
    *,
    frames: range | None = None,
    part: tuple[int, int] | None = None,
    codec: str | None = None,
    crf: float | None = None,
    pixel_format: str | None = None,
    quality: int = 95,
    suffix: str | None = None,
    folder: bool = False,
    copy: Collection[str] = COPIED,
) -> Output:
    """Settle how a clip is written, and refuse what cannot be, before any work.

    Args:
        source: the clip that the frames are made from, with its timeline.
        target: a file with one of `WRITABLE_SUFFIXES`, or a folder (no suffix) for numbered pictures.
        height, width: of the frames that will be written, upright, in pixels.
        frames: which of the source's frames; None: all.
        part: `(height, width)` of what they show of it, in its pixels, where they are cropped; None: everything.
        codec: an encoder of FFmpeg, or "h264", "h265", "vp9", "av1", "prores"; None: the container's, libx264 for
            8 bits and libx265 for more (in WebM libvpx-vp9 and libsvtav1).
        crf: constant quality of that encoder, smaller is better; None: 17 (x264), 19 (x265), 24 (VP9), 22 (AV1).
        pixel_format: such as "yuv420p" or "yuv444p10le"; None: 4:2:0 with 8 or 10 bits as the source; 4:4:4 where
            a side is odd and the encoder takes only even ones.
        quality: 1 to 100, of WebP (100: lossless) and of JPEG pictures.
        folder: the target is a folder, whatever its name ends in.
        suffix: of the pictures in a folder; None: as the source's pictures, ".png" for other sources.
        copy: which kinds of streams go along, of "audio", "subtitle", "attachment" and "video".

    Returns:
        The plan, for `FrameWriter`, or `SegmentWriter` and `join`.

    Raises:
        RequestError: the target cannot hold the frames, or a stream of the source (then a container that can is
            named); an option is unknown or does not fit; the target is the source.
    """
    target = Path(target)
    frames = within(source, frames)
    if not frames:
        raise RequestError(f"{source.path}: no frames are chosen")
    if width < 1 or height < 1:
        raise RequestError(f"{target}: frames of {width}x{height} pixels are empty")
    if not 1 <= quality <= 100:
        raise RequestError(f"{target}: quality {quality}: choose 1 to 100")
    if target.exists() and target.samefile(source.path):
        raise RequestError(f"{target}: is the input itself: name another output")
    part = part or (source.height, source.width)
    kind = "folder" if folder else kind_to_write(target)
    output = Output(source, target, kind, width, height, frames, part, quality=quality)
    return kind_module(kind).plan(output, Choices(codec, crf, pixel_format, suffix, copy))
