"""Video files: the functions of a kind of clips, see `isr.io.clips.kinds`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from isr.errors import RequestError
from isr.io.clips.info import VideoInfo
from isr.io.clips.video.decoding import frames, quantiser
from isr.io.clips.video.encoding import segment
from isr.io.clips.video.header import read_header
from isr.io.clips.video.joining import join
from isr.io.clips.video.planning import plan
from isr.io.clips.video.timeline import read_through

__all__ = ["frames", "join", "plan", "probe", "quantiser", "segment"]


def probe(path: Path, timeline: bool, rate: Fraction | None) -> VideoInfo:
    """Read what a video file is, from its header and first frame; `timeline`: from all its packets."""
    if path.stat().st_size == 0:
        raise RequestError(f"{path}: the file is empty: get it anew")
    info = read_header(path)
    return read_through(info) if timeline else info
