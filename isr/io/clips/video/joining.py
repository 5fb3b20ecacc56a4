"""Segments joined to a video file without encoding anew, with what goes along with the frames."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from isr.errors import RequestError
from isr.io.clips.info import Turn
from isr.io.clips.output import Output
from isr.io.clips.video.encoding import add_video
from isr.io.clips.video.packets import open_video, rational, readable_packets, writing
from isr.io.errors import one_line
from isr.io.files import atomic

# What a container says of itself, and a stream of its coded bytes: the copy says its own.
_CONTAINER_KEYS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
_STREAM_KEYS = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS", "SOURCE_ID", "ENCODER")


def join(output: Output, segments: list[Path]) -> None:
    """Write the segments' packets, and with them what goes along from the source."""
    source, format = output.source, output.container.format
    options = {"movflags": "+faststart"} if format in ("mp4", "mov") else {}
    if format == "mpegts":
        options["mpegts_copyts"] = "1"
    with atomic(output.target) as temporary, contextlib.ExitStack() as stack:
        original = stack.enter_context(open_video(source.path)) if source.kind == "video" else None
        if (
            original is not None
            and "movflags" in options
            and any(key.startswith("com.") for key in original.metadata)
        ):
            # Without it, only keys from before QuickTime's are kept.
            options["movflags"] += "+use_metadata_tags"
        target = stack.enter_context(writing(f"file:{temporary}", format, options))
        streams: dict[int, Any] = {}
        for index in sorted({*output.copied, source.index}):
            if index == source.index:
                streams[index] = add_video(target, output)
                if output.turn != Turn():
                    streams[index].set_display_matrix(output.turn.matrix())
            elif original is not None:
                streams[index] = target.add_stream_from_template(original.streams[index])
            if original is not None:
                _describe(
                    streams[index], original.streams[index], () if index != source.index else _STREAM_KEYS
                )
        video = streams.pop(source.index)
        if original is not None:
            kept = original.metadata.items()
            target.metadata.update({key: value for key, value in kept if key.lower() not in _CONTAINER_KEYS})
            target.set_chapters(_chapters(output, original.chapters()))
        target.start_encoding()
        # In the order of time, so that none waits for another in memory.
        encoded = _encoded_packets(output, video, segments)
        copied = _copied_packets(output, original, streams) if streams else iter(())
        for packet in heapq.merge(encoded, copied, key=_when):
            target.mux(packet)


def _describe(stream: Any, original: Any, without: tuple[str, ...]) -> None:
    described = original.metadata.items()
    stream.metadata.update({key: value for key, value in described if not key.upper().startswith(without)})
    stream.disposition = original.disposition


def _chapters(output: Output, chapters: list[Any]) -> list[Any]:
    """The chapters that the chosen frames lie in, moved as they are."""
    begin, end = output.stretch
    moved = []
    for chapter in chapters:
        base = rational(chapter["time_base"])
        start, stop = chapter["start"] * base, chapter["end"] * base
        if not output.is_whole:
            start, stop = max(start, begin), min(stop, end)
        if output.is_whole or start < stop:
            times = {
                "start": round((start - output.offset) / base),
                "end": round((stop - output.offset) / base),
            }
            moved.append({**chapter, **times})
    return moved


def _encoded_packets(output: Output, stream: Any, paths: list[Path]) -> Iterator[Any]:
    """The segments' packets, with the times that one encoder would have given them in one pass."""
    base, source, chosen = output.time_base, output.source, output.frames
    shift = round(output.offset / base)
    extradata = bytes(stream.codec_context.extradata or b"")
    delay = max((_reordering([pts for pts, _ in _segment(path, output)]) for path in paths), default=0)
    step = max(1, round(1 / source.rate / base))
    times = source.known_timeline.pts[chosen.start : chosen.stop]
    ticks = np.array([*map(output.tick, times.tolist()), round(output.stretch[1] / base)], np.int64)
    # When the last frames before the segment are shown.
    before: list[int] | None = None
    for path in paths:
        packets = list(_segment(path, output, extradata))
        shown = sorted(pts for pts, _ in packets)
        if before is None:
            before = [shown[0] - number * step for number in range(delay, 0, -1)]
        # A packet is decoded when the frame is shown that is `delay` frames earlier.
        clock = before + shown
        for (pts, packet), dts in zip(packets, clock, strict=False):
            following = min(int(np.searchsorted(ticks, pts, "right")), len(ticks) - 1)
            packet.pts, packet.dts, packet.time_base = pts - shift, dts - shift, base
            packet.duration = max(1, int(ticks[following]) - pts)
            packet.stream = stream
            yield packet
        before = clock[len(clock) - delay :]


def _segment(path: Path, output: Output, extradata: bytes | None = None) -> Iterator[tuple[int, Any]]:
    """The packets of a segment in the order of decoding, with their times in units of the output's time base."""
    advice = "delete the unfinished segments and begin anew"
    with one_line(path, "cannot be read", advice), av.open(f"file:{path}", format="nut") as container:
        stream = container.streams.video[0]
        if extradata and bytes(stream.codec_context.extradata or b"") != extradata:
            raise RequestError(
                f"{path}: was written with other settings or another version of FFmpeg: {advice}"
            )
        for packet in container.demux(stream):
            if packet.size:
                time = packet.pts * rational(packet.time_base) / output.time_base
                yield output.first_tick + int(time), packet


def _reordering(times: list[int]) -> int:
    """How many frames earlier decoding must begin, so that each is decoded when it is shown."""
    rank = {time: number for number, time in enumerate(sorted(times))}
    return max((number - rank[time] for number, time in enumerate(times)), default=0)


def _copied_packets(output: Output, original: Any, streams: dict[int, Any]) -> Iterator[Any]:
    """The packets of the source's other streams, those of the chosen frames' time, moved as these are."""
    begin, end = output.stretch
    if not output.is_whole:
        with contextlib.suppress(av.error.FFmpegError):
            # A subtitle may have begun 10 s earlier.
            original.seek(max(0, int((begin - 10) * 1_000_000)))
    for packet in readable_packets(original, *(original.streams[index] for index in streams)):
        # The empty text that ends a cue; FFmpeg's muxer writes one by itself.
        if packet.size == 2 and packet.stream.name == "mov_text":
            continue
        time, base = packet.pts if packet.pts is not None else packet.dts, rational(packet.time_base)
        if (not output.is_whole or output.source.truncated) and time is not None:
            if time * base >= end:
                continue
            if time * base < begin and not (output.is_whole or _begins_late(packet, time, begin / base)):
                continue
        shift = round(output.offset / base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = streams[packet.stream_index]
        yield packet


def _begins_late(packet: Any, time: int, begin: Fraction) -> bool:
    """Lets what is seen already at `begin`, a subtitle or a cover picture, begin there; False for anything else."""
    late, duration = int(-(-begin // 1)) - time, packet.duration or 0
    if packet.stream.type != "video" and not (packet.stream.type == "subtitle" and duration > late):
        return False
    packet.pts = packet.dts = time + late
    packet.duration = max(0, duration - late)
    return True


def _when(packet: Any) -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    return (time or 0) * rational(packet.time_base)
