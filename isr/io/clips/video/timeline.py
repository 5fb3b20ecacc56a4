"""When each frame of a video file is shown, from all its packets, without decoding them."""

from __future__ import annotations

from array import array
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from isr.errors import RequestError
from isr.io.clips.info import Timeline, VideoInfo
from isr.io.clips.video.packets import open_video, rational, readable_packets


def read_through(info: VideoInfo) -> VideoInfo:
    """Complete `info` by what only all packets of the file tell."""
    shown = _Shown()
    # Of the last packet of any stream, seconds.
    end = Fraction(0)
    with open_video(info.path) as container:
        for packet in readable_packets(container, *container.streams):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None:
                end = max(end, (time + (packet.duration or 0)) * rational(packet.time_base))
            if packet.stream_index == info.index and not packet.is_discard and _is_shown(info.codec, packet):
                shown.add(packet)
        truncated = _is_truncated(info, container, end)
        origin = round(Fraction(container.start_time or 0, 1_000_000) / info.time_base)
    timeline = shown.timeline(info, origin, truncated)
    length = int(timeline.pts[-1] + timeline.durations[-1] - timeline.pts[0])
    return replace(
        info,
        frames=len(timeline.pts),
        duration=length * info.time_base,
        truncated=truncated,
        timeline=timeline,
    )


class _Shown:
    """The packets of a stream that bring frames, in the order of the file."""

    # FFmpeg's AV_NOPTS_VALUE.
    nothing = -(2**63)

    def __init__(self) -> None:
        self.pts, self.dts, self.durations = array("q"), array("q"), array("q")
        self.keys = bytearray()
        # How many at the end are only there in part.
        self.partial = 0

    def add(self, packet: Any) -> None:
        self.pts.append(self.nothing if packet.pts is None else packet.pts)
        self.dts.append(self.nothing if packet.dts is None else packet.dts)
        self.durations.append(packet.duration or 0)
        self.keys.append(packet.is_keyframe)
        self.partial = self.partial + 1 if packet.is_corrupt else 0

    def timeline(self, info: VideoInfo, origin: int, truncated: bool) -> Timeline:
        count = len(self.pts) - (self.partial if truncated else 0)
        if not count:
            raise RequestError(f"{info.path}: there is not one frame in it: get it anew")
        step = max(1, round(1 / info.rate / info.time_base))
        times = np.array(self.pts, np.int64)[:count]
        # AVI has only an order; what FFmpeg makes of it for a frame is wrong where frames are coded out of order.
        by_order = info.container == "avi" or bool((times == self.nothing).any())
        if by_order:
            times = np.array(self.dts, np.int64)[:count]
            if (times == self.nothing).any():
                times = max(0, origin) + np.arange(count, dtype=np.int64) * step
        order = np.argsort(times, kind="stable")
        pts = times[order]
        last = self.durations[int(order[-1])] or (int(pts[-1] - pts[-2]) if count > 1 else step)
        keys = times[np.frombuffer(self.keys, bool)[:count]]
        return Timeline(
            pts, np.append(np.diff(pts), last), np.sort(keys[: 0 if by_order else None]), origin, by_order
        )


def _is_shown(codec: str, packet: Any) -> bool:
    """Whether a packet brings a picture: VP8 and VP9 have reference frames that are never shown."""
    if packet.size < 2 or not codec.startswith(("vp8", "vp9")):
        return packet.size > 0
    data = memoryview(packet)
    if codec.startswith("vp8"):
        return bool(data[0] & 0x10)
    # A superframe: hidden frames together with a shown one.
    if data[-1] & 0xE0 == 0xC0:
        return True
    # frame_marker (2 bits), profile (2), reserved_zero in profile 3, show_existing_frame, frame_type, show_frame
    after = 5 if data[0] & 0x30 == 0x30 else 4
    bits = [data[0] >> (7 - place) & 1 for place in range(after, 8)]
    return bool(bits[0] or bits[2])


def _is_truncated(info: VideoInfo, container: Any, end: Fraction) -> bool:
    """Whether the file is shorter than its header says."""
    if info.container.startswith("mov"):
        size = info.path.stat().st_size
        last = [stream.index_entries[-1] for stream in container.streams if len(stream.index_entries)]
        return any(entry.pos + entry.size > size for entry in last)
    if info.container.startswith(("matroska", "avi", "flv")) and container.duration:
        start = Fraction(container.start_time or 0, 1_000_000)
        tolerance = Fraction(1, 10) + 2 / info.rate
        return end - start + tolerance < Fraction(container.duration, 1_000_000)
    return False
