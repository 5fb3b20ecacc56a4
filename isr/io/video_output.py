"""Clips written: planned beforehand, in segments, and joined with what goes along with the frames."""

from __future__ import annotations

import contextlib
import heapq
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import av.error
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, VideoReformatter

from isr.errors import ISRError, RequestError
from isr.io import animations, images
from isr.io.files import atomic, file_error
from isr.io.video_input import (
    ANIMATION_SUFFIXES,
    MATRICES,
    SCALER,
    SCALER_WHITE,
    TAGS,
    Frame,
    Kind,
    StreamInfo,
    StrPath,
    Turn,
    VideoInfo,
    exact,
    one_line,
    open_video,
    readable_packets,
    within,
)
from isr.levels import from_float, to_float


@dataclass(frozen=True)
class _Container:
    """A container that is written: FFmpeg's name, the encoders for 8 bits and for more, what it can say."""

    format: str
    encoder: str = "libx264"
    deep_encoder: str = "libx265"
    holds_turn: bool = True
    holds_times: bool = True  # of every frame; else only a rate


_CONTAINERS = {
    ".mp4": _Container("mp4"),
    ".m4v": _Container("mp4"),
    ".mov": _Container("mov"),
    ".qt": _Container("mov"),
    ".3gp": _Container("3gp", deep_encoder="libx264"),
    ".mkv": _Container("matroska"),
    ".webm": _Container("webm", "libvpx-vp9", "libsvtav1"),  # VP9 of 10 bits is not in every build of libvpx
    ".ts": _Container("mpegts", holds_turn=False),
    ".mts": _Container("mpegts", holds_turn=False),
    ".m2ts": _Container("mpegts", holds_turn=False),
    ".avi": _Container("avi", deep_encoder="libx264", holds_turn=False, holds_times=False),
}
WRITABLE_SUFFIXES = frozenset(_CONTAINERS) | ANIMATION_SUFFIXES

# What users call them, and FFmpeg's encoders.
CODECS = {
    "h264": "libx264",
    "h265": "libx265",
    "hevc": "libx265",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
}
# Of encoders that have a constant quality: the default, finer than their own, and the largest number.
_CRF = {"libx264": (17, 51), "libx265": (19, 51), "libvpx-vp9": (24, 63), "libsvtav1": (22, 63)}
_OPTIONS: dict[str, dict[str, str]] = {
    # Its fastest code reads memory that was never written: the bytes would depend on what ran before.
    "libx264": {"x264-params": "cpu-independent=1"},
    "libvpx-vp9": {"row-mt": "1", "cpu-used": "2"},
    "libx265": {"x265-params": "log-level=error"},
}
_EVEN_SIDES = ("libx264", "libx265")  # in 4:2:0
_COPIED = ("audio", "subtitle", "attachment", "video")
_ONE_SEGMENT = 240  # frames, where nobody asks for segments
_MOST_REORDERED = 32  # frames that an encoder may hold back to encode others first; H.264 and HEVC allow 16

# What a container says of itself, and a stream of its coded bytes: the copy says its own.
_CONTAINER_KEYS = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder", "duration"})
_STREAM_KEYS = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS", "SOURCE_ID", "ENCODER")


# -------------------------------------------------------------------------------------------------- the plan


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

    @property
    def container(self) -> _Container:
        """Of a video."""
        return _CONTAINERS[self.target.suffix.lower()]

    @property
    def turn(self) -> Turn:
        """From what is encoded to what is seen: the source's, where the container can say it."""
        return self.source.turn if self.container.holds_turn else Turn()

    @property
    def coded_size(self) -> tuple[int, int]:
        """`(width, height)` of what is encoded."""
        return (self.height, self.width) if self.turn.transposed else (self.width, self.height)

    @property
    def time_base(self) -> Fraction:
        """Seconds that a unit of the encoded timestamps lasts."""
        return self.source.time_base if self.container.holds_times else 1 / self.source.rate

    @property
    def is_whole(self) -> bool:
        """Whether all frames of the source are written."""
        return self.frames == range(self.source.frames)

    @property
    def stretch(self) -> tuple[Fraction, Fraction]:
        """When the first frame begins and the last one ends, on the source's clock, in seconds."""
        timeline, last = self.source.known_timeline, self.frames[-1]
        end = int(timeline.pts[last]) + int(timeline.durations[last])
        return int(timeline.pts[self.frames[0]]) * self.source.time_base, end * self.source.time_base

    @property
    def offset(self) -> Fraction:
        """Seconds by which everything in the target is earlier than in the source."""
        if not self.is_whole:
            return self.stretch[0]
        if self.source.container.startswith("mpeg") and self.container.format != "mpegts":
            return (
                self.source.known_timeline.origin * self.source.time_base
            )  # a broadcast's clock begins anywhere
        return Fraction(0)

    def tick(self, pts: int) -> int:
        """A timestamp of the source in units of `time_base`."""
        return round(pts * self.source.time_base / self.time_base)

    @property
    def first_tick(self) -> int:
        """When the first frame is shown, in units of `time_base`."""
        return self.tick(int(self.source.known_timeline.pts[self.frames[0]]))

    def record(self) -> dict[str, Any]:
        """What must be the same for segments to fit together, in plain values for a journal."""
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
    copy: Collection[str] = _COPIED,
) -> Output:
    """Settles how a clip is written, and refuses what cannot be, before any work.

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
        suffix: of the pictures in a folder; None: as the source's pictures, ".png" for other sources.
        copy: which kinds of streams go along, of "audio", "subtitle", "attachment" and "video".

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
    ending = "" if target.is_dir() else target.suffix.lower()
    part = part or (source.height, source.width)
    output = Output(source, target, "folder", width, height, frames, part, quality=quality)
    if ending in _CONTAINERS:
        return _plan_video(replace(output, kind="video"), codec, crf, pixel_format, copy)
    for name, value in (("codec", codec), ("crf", crf), ("pixel format", pixel_format)):
        if value is not None:
            raise RequestError(
                f"{target}: {name} {value}: only a video file has one, not an animation or a folder"
            )
    notes = []
    if any(stream.kind in ("audio", "subtitle") for stream in source.streams):
        notes.append("sound and subtitles are left out: only a video file has them")
    if source.hdr:
        notes.append(f"HDR ({source.hdr}) cannot be said there: the colours will look pale")
    if ending in ANIMATION_SUFFIXES:
        name = animations.SUFFIXES[ending]
        if max(width, height) > animations.LARGEST_SIDE[name]:
            raise RequestError(
                f"{target}: {width}x{height} pixels, but {name} holds {animations.LARGEST_SIDE[name]} a side: "
                "choose another format or a smaller scale"
            )
        if source.dtype != "uint8":
            notes.append(f"{ending[1:]} has only 8 bits")
        return replace(output, kind="animation", notes=tuple(notes))
    if ending:
        known = ", ".join(sorted(WRITABLE_SUFFIXES))
        raise RequestError(f"{target}: {ending} is not written here: choose .mkv or another of {known}")
    suffix = suffix or (source.container if source.kind == "folder" else ".png")
    images.check_writable(target / f"frame{suffix}", width, height, source.channels, source.dtype)
    return replace(output, suffix=suffix, notes=tuple(notes))


def _plan_video(
    output: Output, codec: str | None, crf: float | None, pixel_format: str | None, copy: Collection[str]
) -> Output:
    source, target, container = output.source, output.target, output.container
    if not container.holds_times and source.variable:
        raise RequestError(f"{target}: {target.suffix} holds only an even frame rate: choose .mp4 or .mkv")
    deep = source.dtype != "uint8" if pixel_format is None else _bits(target, pixel_format) > 8
    encoder = (container.deep_encoder if deep else container.encoder) if codec is None else codec.lower()
    encoder = CODECS.get(encoder, encoder)
    formats = _pixel_formats(encoder)
    if not formats:
        raise RequestError(
            f"{target}: codec {codec}: no such encoder here: choose one of {', '.join(CODECS)}"
        )
    if crf is not None and encoder not in _CRF:
        raise RequestError(f"{target}: {encoder} has no crf: leave it out or choose one of {', '.join(_CRF)}")
    if crf is not None and not 0 <= crf <= _CRF[encoder][1]:
        raise RequestError(f"{target}: crf {crf}: {encoder} takes 0 to {_CRF[encoder][1]}")
    if crf is None and encoder in _CRF:
        crf = _CRF[encoder][0]
    notes = []
    if pixel_format is None:
        odd = encoder in _EVEN_SIDES and (output.width % 2 == 1 or output.height % 2 == 1)
        layouts = ["yuv444p"] if odd else ["yuv420p", "yuv422p", "yuv444p"]
        wanted = [f"{layout}10le" for layout in layouts] * deep + layouts
        pixel_format = next((name for name in wanted if name in formats), formats[0])
        if odd:
            notes.append(
                f"{output.width}x{output.height} has an odd side, so it is encoded as {pixel_format}, which web "
                "browsers and some devices do not play"
            )
    elif pixel_format not in formats:
        raise RequestError(f"{target}: pixel format {pixel_format}: {encoder} takes {', '.join(formats)}")
    bits = _bits(target, pixel_format)
    if source.hdr and bits < 10:
        raise RequestError(f"{target}: HDR ({source.hdr}) needs 10 bits, not {pixel_format}: choose libx265")
    if source.dtype != "uint8" and bits == 8:
        notes.append(f"{pixel_format} has only 8 bits")
    if source.hdr:
        kept = "tags and static metadata" if any(source.hdr10) and encoder == "libx265" else "and tags"
        notes.append(f"HDR ({source.hdr}) is kept: code values {kept}, not other metadata")
    if source.channels == 4:
        notes.append("no transparency: laid over white")
    copied = [stream for stream in source.streams if stream.kind in copy and stream.kind in _COPIED]
    left_out = sorted({stream.kind for stream in source.streams if stream not in copied})
    if left_out:
        notes.append(f"left out: streams of {', '.join(left_out)}")
    output = replace(
        output,
        codec=encoder,
        crf=crf,
        pixel_format=pixel_format,
        copied=tuple(stream.index for stream in copied),
        notes=tuple(notes),
    )
    _try_encoder(output)
    for stream in copied:
        if not _takes(container, source, [stream]):
            others = {name: _CONTAINERS[name] for name in (".mp4", ".mov", ".mkv")}
            able = [name for name, other in others.items() if _takes(other, source, copied)]
            advice = f"choose {' or '.join(able)}, or leave it out" if able else "leave it out"
            codec_name = stream.codec or "of an unknown codec"
            raise RequestError(
                f"{target}: {target.suffix} cannot hold {stream.kind} stream {stream.index} ({codec_name}): {advice}"
            )
    return output


def _pixel_formats(encoder: str) -> list[str]:
    """What an encoder takes; nothing where there is no such video encoder."""
    try:
        return [known.name for known in av.Codec(encoder, "w").video_formats or ()]
    except (ValueError, av.error.FFmpegError):
        return []


def _bits(target: Path, pixel_format: str) -> int:
    try:
        return max(part.bits for part in av.VideoFormat(pixel_format).components)
    except ValueError:
        raise RequestError(
            f"{target}: pixel format {pixel_format}: there is no such format: try yuv420p"
        ) from None


def _try_encoder(output: Output) -> None:
    """Opens the encoder and writes the container's header, to memory."""
    target = output.target
    what, advice = f"{output.codec} cannot be opened", "choose another codec, pixel format or size"
    with one_line(target, what, advice), _writing(io.BytesIO(), output.container.format) as trial:
        try:
            _add_video(trial, output)
        except ValueError:
            raise RequestError(
                f"{target}: {target.suffix} cannot hold {output.codec}: choose .mkv or another codec"
            ) from None
        trial.start_encoding()


def _takes(container: _Container, source: VideoInfo, streams: list[StreamInfo]) -> bool:
    """Whether a container holds each of these streams, by writing its header to memory."""
    for stream in streams:
        try:
            with open_video(source.path) as original, _writing(io.BytesIO(), container.format) as trial:
                trial.add_stream_from_template(original.streams[stream.index])
                trial.start_encoding()
        except (ValueError, av.error.FFmpegError):
            return False
    return True


# -------------------------------------------------------------------------------------------------- encoding


@contextmanager
def _writing(file: Any, format: str, options: dict[str, str] | None = None) -> Iterator[Any]:
    """An output container of PyAV; where something went wrong, closed without a word of its own."""
    container = av.open(file, "w", format=format, container_options=options or {}, **TAGS)
    try:
        yield container
    except BaseException:
        with contextlib.suppress(Exception):
            container.close()
        raise
    container.close()


def _add_video(container: Any, output: Output) -> Any:
    """The stream of the frames, its encoder set up: the same for every segment and for the joined file."""
    source = output.source
    options = dict(_OPTIONS.get(output.codec, {}))
    if output.crf is not None:
        options["crf"] = f"{output.crf:g}"
    if output.codec == "libx265":
        for key, value in zip(("master-display", "max-cll"), source.hdr10, strict=True):
            options["x265-params"] += f":{key}={value}" if value else ""
        if output.coded_size[0] < 64:
            options["x265-params"] += ":cutree=0"  # x265 4.2 writes beyond its memory there
    if not output.container.holds_times:
        options["bf"] = "0"  # frames are stored in the order in which they are shown
    if output.codec == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # its own way of being told to keep quiet
    stream = container.add_stream(output.codec, rate=source.rate, options=options)
    context = stream.codec_context
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
    if container.format.name in ("mp4", "mov") and output.codec == "libx265":
        context.codec_tag = "hvc1"  # by its other name Apple's players do not play it
    return stream


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
            dst_colorspace=None if self._is_rgb else MATRICES[source.matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if full or self._is_rgb else ColorRange.MPEG,
            interpolation=SCALER,
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
        begin = {"video": _video_segment, "animation": _animation_segment, "folder": _folder_segment}
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic(self.path))
            with self._one_line():
                self._put = stack.enter_context(begin[self.output.kind](self.output, temporary))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            with self._one_line():
                self._stack.close()
        else:
            self._stack.__exit__(*error)

    def write(self, frame: Frame) -> None:
        """Adds a frame: pixels `[height, width, 3]` or `[.., 4]` of the output's size, later than the one before."""
        height, width, channels = frame.pixels.shape
        if (height, width) != (self.output.height, self.output.width) or channels not in (3, 4):
            raise ValueError(f"a frame of {frame.pixels.shape} for an output {self.output.width} pixels wide")
        with self._one_line():
            self._put(frame)
        self.count += 1

    def _one_line(self) -> Any:
        return one_line(self.path, "cannot be written", "choose another codec or pixel format", ISRError)


@contextmanager
def _video_segment(output: Output, path: Path) -> Iterator[Any]:
    # NUT keeps every time base.
    with _writing(f"file:{path}", "nut", {"avoid_negative_ts": "disabled"}) as container:
        stream = _add_video(container, output)
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


@contextmanager
def _animation_segment(output: Output, path: Path) -> Iterator[Any]:
    source = output.source
    name = animations.SUFFIXES[output.target.suffix.lower()]
    unit = animations.UNITS[name]

    def put(frame: Frame) -> None:
        duration = frame.duration
        if source.kind != "animation":
            # Ends are rounded, not durations, whose errors would add up.
            ends = (tick * source.time_base for tick in (frame.pts, frame.pts + frame.duration))
            begin, end = (round(seconds / unit) * unit for seconds in ends)
            duration = round((end - begin) / animations.TIME_BASE)
        pixels = frame.pixels[..., : source.channels]
        if pixels.dtype != np.uint8:
            pixels = from_float(np.nan_to_num(to_float(pixels)), np.dtype(np.uint8))
        file.write(animations.encoded(name, pixels, duration, output.quality))

    with path.open("wb") as file:
        yield put


@contextmanager
def _folder_segment(output: Output, path: Path) -> Iterator[Any]:
    def put(frame: Frame) -> None:
        name = (frame.name or f"frame_{frame.index + 1:06d}") + output.suffix
        images.write(
            output.target / name, images.Picture(frame.pixels, frame.metadata), quality=output.quality
        )
        file.write(name + "\n")

    with path.open("w", encoding="utf-8") as file:
        yield put


class FrameWriter:
    """An output written in one pass, whole or not at all; a context manager.

    Args:
        output: the plan. Of a folder, the pictures that are written stay when something goes wrong later.

    Raises RequestError and MachineError as `SegmentWriter` and `join`.
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
        """Adds a frame, as `SegmentWriter.write`."""
        if self._writer is not None and self._writer.count == _ONE_SEGMENT:
            writer, self._writer = self._writer, None
            writer.__exit__(None, None, None)
        if self._writer is None:
            self._segments.append(self._folder / f"{len(self._segments)}.nut")
            self._writer = SegmentWriter(self.output, self._segments[-1]).__enter__()
        self._writer.write(frame)


# --------------------------------------------------------------------------------------------------- joining


def join(output: Output, segments: Sequence[StrPath]) -> None:
    """Makes the target of its segments, without encoding anew, whole or not at all.

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
        if output.kind == "folder":
            names = [name for path in paths for name in path.read_text(encoding="utf-8").splitlines()]
            for gone in (name for name in names if not (output.target / name).exists()):
                raise RequestError(f"{output.target / gone}: is gone: {advice}")
            return
        with atomic(output.target) as temporary:
            if output.kind == "animation":
                _join_animation(output, paths, temporary)
            else:
                _join_video(output, paths, temporary)


def _join_animation(output: Output, paths: list[Path], temporary: Path) -> None:
    source = output.source
    name = animations.SUFFIXES[output.target.suffix.lower()]
    header = animations.Header(name, output.width, output.height, (), source.loop, source.channels == 4)
    with temporary.open("wb") as file:
        animations.join(file, header, _opened_in_turn(paths))


def _opened_in_turn(paths: list[Path]) -> Iterator[Any]:
    for path in paths:
        with path.open("rb") as file:
            yield file


def _join_video(output: Output, paths: list[Path], temporary: Path) -> None:
    source, format = output.source, output.container.format
    options = {"movflags": "+faststart"} if format in ("mp4", "mov") else {}
    if format == "mpegts":
        options["mpegts_copyts"] = "1"
    with contextlib.ExitStack() as stack:
        original = stack.enter_context(open_video(source.path)) if source.kind == "video" else None
        if (
            original is not None
            and "movflags" in options
            and any(key.startswith("com.") for key in original.metadata)
        ):
            options["movflags"] += (
                "+use_metadata_tags"  # without it, only keys from before QuickTime's are kept
            )
        target = stack.enter_context(_writing(f"file:{temporary}", format, options))
        streams: dict[int, Any] = {}
        for index in sorted({*output.copied, source.index}):
            if index == source.index:
                streams[index] = _add_video(target, output)
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
        encoded = _encoded_packets(output, video, paths)
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
        base = exact(chapter["time_base"])
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
    before: list[int] | None = None  # when the last frames before the segment are shown
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
                time = packet.pts * exact(packet.time_base) / output.time_base
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
            original.seek(max(0, int((begin - 10) * 1_000_000)))  # 10 s: a subtitle may have begun earlier
    for packet in readable_packets(original, *(original.streams[index] for index in streams)):
        if packet.size == 2 and packet.stream.name == "mov_text":
            continue  # the empty text that ends a cue; FFmpeg's muxer writes one by itself
        time, base = packet.pts if packet.pts is not None else packet.dts, exact(packet.time_base)
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
    return (time or 0) * exact(packet.time_base)
