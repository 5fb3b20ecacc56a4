"""The frames of a video file, upright and in RGB; what cannot be decoded is its last good neighbour."""

from __future__ import annotations

import bisect
import itertools
import struct
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from isr.errors import RequestError
from isr.io.clips.info import Frame, VideoInfo
from isr.io.clips.video.packets import decoded_frames, open_video, readable_packets
from isr.io.clips.video.scaler import COLORSPACES, SCALER, SCALER_THREADS, SCALER_WHITE
from isr.io.errors import one_line

# FFmpeg's structures AVVideoEncParams (how many blocks, where they begin, bytes of each, codec, quantiser) and
# AVVideoBlockParams (place, size, by how much its quantiser differs).
ENCODING_PARAMETERS = struct.Struct("@INNii")
BLOCK = struct.Struct("@iiiii")


class _NothingGood(Exception):
    """Not one good frame before the wanted one, since the key frame where decoding began."""


class _Damaged(Exception):
    """Something cannot be decoded, or is missing at the end: where exactly, threads do not tell."""


def frames(info: VideoInfo, wanted: range) -> Generator[Frame]:
    """Yield frames of a video file, decoded from the key frame before the first of them."""
    timeline = info.known_timeline
    convert = _Decoder(info)
    index, alone = wanted.start, wanted.start  # frames before `alone` are decoded one at a time
    while index < wanted.stop:
        # Further back each time, where the file cannot be sought or nothing good comes before the wanted frame.
        before = timeline.keys[timeline.keys <= timeline.pts[index]].tolist()
        threads = index >= alone
        for key in [*before[-1:], *before[-2:-1], *before[-4:-3], None]:
            found = _good_frames(info, key, int(timeline.pts[index]), threads)
            try:
                while index < (wanted.stop if threads else alone):
                    what, advice, passing = (
                        "cannot be read",
                        "it is damaged: get it anew",
                        (_NothingGood, _Damaged),
                    )
                    with one_line(info.path, what, advice, passing=passing):
                        place, frame, replaced = next(found)
                        pixels = convert(frame) if place == index else None
                    if pixels is not None:
                        pts, duration = int(timeline.pts[index]), int(timeline.durations[index])
                        yield Frame(index, pixels, pts, duration, replaced)
                        index += 1
            except _NothingGood:
                continue
            except _Damaged:
                behind = timeline.keys[timeline.keys > timeline.pts[index]]
                alone = int(np.searchsorted(timeline.pts, behind[0])) if behind.size else wanted.stop
                alone = min(alone, wanted.stop)
            finally:
                found.close()
            break


def quantiser(info: VideoInfo, index: int) -> float | None:
    """Read how coarsely H.264 keeps the key frame that a frame depends on; the decoder tells it.

    Args:
        info: with the timeline.
        index: of the frame.

    Returns:
        The mean of the quantisation parameter of its blocks, 0 (fine) to 51; None of other codecs, or of a file that
        does not tell.
    """
    timeline = info.known_timeline
    with open_video(info.path) as container:
        stream = container.streams[info.index]
        if stream.codec_context.name != "h264":
            return None
        stream.codec_context.options = {"export_side_data": "venc_params"}
        if (before := timeline.keys[timeline.keys <= timeline.pts[index]]).size:
            container.seek(int(before[-1]), stream=stream)
        frame = next(decoded_frames(stream, readable_packets(container, stream)), None)
        told = () if frame is None else frame.side_data
        for data in (bytes(each) for each in told if each.type.name == "VIDEO_ENC_PARAMS"):
            blocks, begin, size, _, base = ENCODING_PARAMETERS.unpack_from(data)
            deltas = [BLOCK.unpack_from(data, begin + number * size)[-1] for number in range(blocks)]
            return base + sum(deltas) / max(blocks, 1)
    return None


def _good_frames(
    info: VideoInfo, key: int | None, limit: int, threads: bool
) -> Generator[tuple[int, Any, bool]]:
    """Every frame from a key frame on: its index, a frame that is good, and whether that is another one.

    The frames that the packets promise and the decoder does not bring, or brings patched up, are the last good
    one; before there is any, the first.

    Args:
        info: with the timeline.
        key: the time to seek; None: from the beginning.
        limit: the key frame to begin with is no later.
        threads: whether to decode several frames at once. One may be handed out before it is known to be damaged, and
            an error among the last hides the others, so that any error ends it.

    Raises:
        _NothingGood: the file was sought, and that key frame is not found or not good.
        _Damaged: with `threads`, a frame cannot be decoded.
    """
    pts, by_order = info.known_timeline.pts, info.known_timeline.by_order
    with open_video(info.path) as container:
        stream = container.streams[info.index]
        # Slice threads would not mark frames patched up.
        stream.thread_type = "AUTO" if threads else "NONE"
        if threads:
            # Errors come in the order of the packets; whether a frame is marked depends on which thread was faster.
            stream.codec_context.options = {"err_detect": "explode"}
        waiting, good, packets = 0, None, readable_packets(container, stream)
        if key is not None:
            container.seek(key, stream=stream)
            waiting, packets = _from_key(pts, packets, limit)
        if info.truncated:
            packets = (packet for packet in packets if not packet.is_corrupt)
        for frame in decoded_frames(stream, packets, _Damaged if threads else None):
            index = waiting if by_order else _place(pts, frame.pts, waiting)
            if index is None or index >= len(pts):
                continue
            damaged = bool(frame.is_corrupt)
            if threads and (damaged or index > waiting):
                raise _Damaged
            if good is None and (damaged or index > waiting) and key is not None:
                raise _NothingGood
            if good is None and damaged:
                continue
            for missing in range(waiting, index + damaged):
                yield missing, good or frame, True
            if not damaged:
                good = frame
                yield index, frame, False
            waiting = index + 1
        if waiting < len(pts) and threads:
            raise _Damaged
        if good is None:
            if key is not None:
                raise _NothingGood
            raise RequestError(f"{info.path}: not one frame can be decoded: it is damaged, get it anew")
        for missing in range(waiting, len(pts)):
            yield missing, good, True


def _from_key(pts: np.ndarray, packets: Iterator[Any], limit: int) -> tuple[int, Iterator[Any]]:
    """The index of the first key frame, which must not be after `limit`, and the packets from it on."""
    key = next((packet for packet in packets if packet.is_keyframe and packet.pts is not None), None)
    index = None if key is None or key.pts > limit else _place(pts, key.pts, 0)
    if index is None:
        raise _NothingGood
    return index, itertools.chain([key], packets)


def _place(pts: np.ndarray, time: int | None, waiting: int) -> int | None:
    """The first place from `waiting` on that has this time; None where the packets promised no such frame."""
    if time is None:
        return None
    index = bisect.bisect_left(pts, time, lo=min(waiting, len(pts)))
    return index if index < len(pts) and pts[index] == time else None


class _Decoder:
    """From a decoded frame to upright RGB."""

    def __init__(self, info: VideoInfo) -> None:
        self._info = info
        self._scaler = VideoReformatter()
        self._last: tuple[Any, np.ndarray] | None = None
        # What the scaler makes of black and white, and what they are.
        deep = info.dtype == "uint16"
        top, unit = (65_535, 256) if deep else (255, 1)
        black, white = 0, top
        if info.is_gray and not info.full_range:
            # It leaves gray as it is.
            black, white = 16 * unit, 235 * unit
        elif deep:
            white = ((1 << info.bits) - 1) << (16 - info.bits) if info.full_range else SCALER_WHITE
        self._levels = None
        if (black, white) != (0, top):
            levels = (np.arange(top + 1) - black) * (top / (white - black))
            self._levels = np.clip(np.rint(levels), 0, top).astype(info.dtype)

    def __call__(self, frame: Any) -> np.ndarray:
        if self._last is not None and self._last[0] is frame:
            return self._last[1]
        info = self._info
        width, height = info.coded_size
        pixels = self._scaler.reformat(
            frame,
            # Of the first frame: one that has another size is resized.
            width=width,
            height=height,
            format="rgb24" if info.dtype == "uint8" else "rgb48le",
            src_colorspace=None if info.colour.matrix == 0 else COLORSPACES[info.matrix],
            src_color_range=ColorRange.JPEG if info.full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=SCALER,
            threads=SCALER_THREADS,
        ).to_ndarray()
        if self._levels is not None:
            pixels = self._levels[pixels]
        pixels = info.turn.upright(pixels)
        self._last = frame, pixels
        return pixels
