"""The frames of a video file encoded: one stream, set up the same for every segment and for the joined file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, VideoReformatter

from isr.io.clips.containers import ENCODER_OPTIONS
from isr.io.clips.info import Frame
from isr.io.clips.output import Output
from isr.io.clips.video.packets import writing
from isr.io.clips.video.scaler import COLORSPACES, SCALER, SCALER_THREADS, SCALER_WHITE
from isr.levels import from_float, to_float

# Frames that an encoder may hold back to encode others first; H.264 and HEVC allow 16.
_MOST_REORDERED = 32


def add_video(container: Any, output: Output) -> Any:
    """Add the stream of the frames, its encoder set up: the same for every segment and for the joined file."""
    source = output.source
    options = dict(ENCODER_OPTIONS.get(output.codec, {}))
    if output.crf is not None:
        options["crf"] = f"{output.crf:g}"
    if output.codec == "libx265":
        for key, value in zip(("master-display", "max-cll"), source.hdr10, strict=True):
            options["x265-params"] += f":{key}={value}" if value else ""
        # x265 4.2 writes beyond its memory there.
        if output.coded_size[0] < 64:
            options["x265-params"] += ":cutree=0"
    # Frames are stored in the order in which they are shown.
    if not output.container.holds_times:
        options["bf"] = "0"
    # Its own way of being told to keep quiet.
    if output.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")
    stream = container.add_stream(output.codec, rate=source.rate, options=options)
    context = stream.codec_context
    if output.threads:
        context.thread_count = output.threads
    context.width, context.height = output.coded_size
    context.pix_fmt = output.pixel_format
    context.time_base = stream.time_base = output.time_base
    context.sample_aspect_ratio = _pixel_aspect(output)
    if not av.VideoFormat(output.pixel_format).is_rgb:
        context.colorspace = source.matrix
        context.color_range = source.colour.range
    context.color_primaries = source.colour.primaries
    context.color_trc = source.colour.transfer
    # Where parameters of the stream belong, the target's container says, not the segment's.
    in_header = av.ContainerFormat(output.container.format, "w").flags & av.format.Flags.global_header.value
    context.flags = context.flags & ~Flags.global_header | (Flags.global_header if in_header else 0)
    # By its other name Apple's players do not play it.
    if container.format.name in ("mp4", "mov") and output.codec == "libx265":
        context.codec_tag = "hvc1"
    if output.codec == "libsvtav1":
        with _scheduled_as_before():
            context.open()
    return stream


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """Let no thread of this process become real-time.

    For root, opening SVT-AV1 gives its threads and the caller's the highest real-time priority, and all that the
    process starts later inherits it: nothing else on the machine runs any more.
    """
    # Linux alone lists a process's threads, and its SVT-AV1 alone does this.
    threads = Path("/proc/self/task")
    if not threads.exists():
        yield
        return
    before = os.sched_getscheduler(0)
    yield
    for thread in threads.iterdir():
        # A thread may have ended since.
        with suppress(OSError):
            if os.sched_getscheduler(int(thread.name)) != before:
                os.sched_setscheduler(
                    int(thread.name), before, os.sched_getparam(0) if before else os.sched_param(0)
                )


def _pixel_aspect(output: Output) -> Fraction:
    """Width by height of an encoded pixel: a clip keeps its shape, unless its pixels are square."""
    aspect = output.source.pixel_aspect
    if aspect != 1:
        height, width = output.part
        aspect *= Fraction(width, height) / Fraction(output.width, output.height)
    return (1 / aspect if output.turn.transposed else aspect).limit_denominator(1 << 14)


class _Encoder:
    """From an upright frame to what the encoder takes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._scaler = VideoReformatter()
        self._is_rgb = av.VideoFormat(output.pixel_format).is_rgb
        self._levels = np.rint(np.arange(65_536) * (SCALER_WHITE / 65_535)).astype(np.uint16)
        self._tick: int | None = None

    def __call__(self, frame: Frame) -> Any:
        output, source = self._output, self._output.source
        pixels = output.turn.coded(_opaque(_whole_numbers(frame.pixels)))
        deep = pixels.dtype == np.uint16
        if deep and not self._is_rgb:
            pixels = self._levels[pixels]
        picture = av.VideoFrame.from_ndarray(pixels, "rgb48le" if deep else "rgb24")
        full = source.colour.range == ColorRange.JPEG
        picture = self._scaler.reformat(
            picture,
            format=output.pixel_format,
            dst_colorspace=None if self._is_rgb else COLORSPACES[source.matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if full or self._is_rgb else ColorRange.MPEG,
            interpolation=SCALER,
            threads=SCALER_THREADS,
        )
        tick = output.tick(frame.pts)
        # Two frames at one time, which a damaged file may have, no container takes.
        self._tick = tick if self._tick is None else max(tick, self._tick + 1)
        picture.pts, picture.time_base = self._tick, output.time_base
        return picture


def _whole_numbers(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype.kind == "u" else from_float(np.nan_to_num(pixels), np.dtype(np.uint16))


def _opaque(pixels: np.ndarray) -> np.ndarray:
    """RGB, laid over white where there is alpha."""
    if pixels.shape[-1] == 3:
        return pixels
    alpha = to_float(pixels[..., 3:])
    return from_float(to_float(pixels[..., :3]) * alpha + (1 - alpha), pixels.dtype)


@contextmanager
def segment(output: Output, path: Path) -> Iterator[Callable[[Frame], None]]:
    """Encode frames to a file that begins with a key frame and needs no other one."""
    # NUT keeps every time base.
    with writing(f"file:{path}", "nut", {"avoid_negative_ts": "disabled"}) as container:
        stream = add_video(container, output)
        convert = _Encoder(output)
        number = itertools.count(-_MOST_REORDERED)

        def put(picture: Any) -> None:
            for packet in stream.encode(picture):
                # `join` gives the decoding times. x265's are not defined where frames are fewer than its delay;
                # these are no later than any timestamp, which count from 0 and differ.
                packet.pts -= output.first_tick
                packet.dts = next(number)
                container.mux(packet)

        yield lambda frame: put(convert(frame))
        put(None)
