"""What a clip is, and its frames one by one: video files, animations, folders of numbered pictures."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import re
import struct
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from isr.errors import ISRError, MachineError, RequestError
from isr.io import animations, images
from isr.io.files import file_error
from isr.levels import from_float, to_float

StrPath = str | os.PathLike[str]
Kind = Literal["video", "animation", "folder"]

# fmt: off
VIDEO_SUFFIXES = frozenset([
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg",
    ".m2v", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".mxf", ".nut", ".y4m",
    ".ivf", ".wtv", ".dv",
])
# fmt: on
ANIMATION_SUFFIXES = frozenset(animations.SUFFIXES)
FOLDER_RATE = Fraction(25)  # frames per second of a folder of pictures, where nothing else is said

# Only what holds video itself; playlists and scripts, which would open other files, are not among them.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,nut,ogg,ivf,mxf,gxf,rm,wtv,dv,h264,"
    "hevc,m4v,vc1,obu,av1,yuv4mpegpipe,vob"
)
_NOT_SAID = 2  # of matrix, primaries and transfer, in ISO/IEC 23091-2
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_HDR = {16: "PQ", 18: "HLG"}
# With these, flat colours come out right to half a level; by swscale's defaults 4:2:0 is up to 2.6 off.
SCALER = int(
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
SCALER_WHITE = 65_280  # 255 * 256: what swscale takes for white in RGB of 16 bits from or to limited range

# A tag in some old encoding must not stop anything. PyAV 19 reads them so by itself and has no such argument.
TAGS: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)


# ------------------------------------------------------------------------------------------- what a clip is


@dataclass(frozen=True)
class Colour:
    """How a file says its colours are coded, in the numbers of ISO/IEC 23091-2, which FFmpeg uses too.

    Attributes:
        matrix: between RGB and YUV: 0 RGB, 1 BT.709, 5 and 6 BT.601, 9 BT.2020; 2 not said.
        range: 1 limited (16 to 235), 2 full; 0 not said, which means limited for YUV.
        primaries: 1 BT.709, 9 BT.2020; 2 not said.
        transfer: 1 BT.709, 16 PQ, 18 HLG; 2 not said.
    """

    matrix: int = _NOT_SAID
    range: int = 0
    primaries: int = _NOT_SAID
    transfer: int = _NOT_SAID


class Turn(NamedTuple):
    """How coded frames become upright: rows and columns change place, then either is reversed."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """`[h, w, c]` as coded -> `[h, w, c]` as seen."""
        return np.ascontiguousarray(self._reversed(pixels.swapaxes(0, 1) if self.transposed else pixels))

    def coded(self, pixels: np.ndarray) -> np.ndarray:
        """The inverse of `upright`."""
        pixels = self._reversed(pixels)
        return np.ascontiguousarray(pixels.swapaxes(0, 1) if self.transposed else pixels)

    def matrix(self) -> list[int]:
        """FFmpeg's display matrix that says the same: nine fixed-point numbers."""
        down = -(1 << 16) if self.rows_reversed else 1 << 16
        across = -(1 << 16) if self.columns_reversed else 1 << 16
        a, b, c, d = (0, down, across, 0) if self.transposed else (across, 0, 0, down)
        return [a, b, 0, c, d, 0, 0, 0, 1 << 30]

    @classmethod
    def of_matrix(cls, matrix: Sequence[int]) -> Turn | None:
        """From a display matrix; None where it is not one of the eight turns and mirrorings by right angles."""
        a, b, c, d = (round(matrix[place] / (1 << 16)) for place in (0, 1, 3, 4))
        if (abs(a), abs(b), abs(c), abs(d)) == (1, 0, 0, 1):
            return cls(False, d < 0, a < 0)
        if (abs(a), abs(b), abs(c), abs(d)) == (0, 1, 1, 0):
            return cls(True, b < 0, c < 0)
        return None

    def _reversed(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]


@dataclass(frozen=True)
class StreamInfo:
    """A stream beside the frames: its index in the file, kind, codec (empty: unknown) and language.

    `kind` is "audio", "subtitle", "attachment", "data" or "video" (a cover picture, a second camera).
    """

    index: int
    kind: str
    codec: str
    language: str = ""


@dataclass(frozen=True, eq=False)
class Timeline:
    """When each frame is shown, in the order in which they are.

    Attributes:
        pts: `[n]` int64, in units of the clip's time base; never decreasing.
        durations: `[n]` int64: until the next frame, and of the last as the file says; of an animation, the
            delays as the file has them (a delay of 0 is played as 100 ms, and is so in `pts`).
        keys: int64: those of `pts` at which decoding can begin.
        origin: the time that counts as 0 s, in the same units.
        by_order: the file has no timestamps of frames, only their order: frames are not sought, and where one is
            lost, those after it move up.
    """

    pts: np.ndarray
    durations: np.ndarray
    keys: np.ndarray
    origin: int = 0
    by_order: bool = False


@dataclass(frozen=True)
class VideoInfo:
    """What a clip is.

    Attributes:
        path: the file or folder.
        kind: "video", "animation" or "folder".
        container: FFmpeg's name of the format; "GIF", "PNG" or "WEBP"; of a folder the suffix of its pictures.
        codec: of the frames, such as "h264".
        width, height: of the frames as they are handed out, upright, in pixels.
        frames: their number; an estimate, or 0 for unknown, unless `timeline` is there.
        rate: frames per second, on average.
        time_base: seconds that a unit of `Frame.pts` lasts.
        duration: seconds; an estimate as long as `frames` is.
        channels: 3 (RGB) or 4 (RGBA: animations and folders).
        dtype: "uint8", "uint16" (more than 8 bits) or "float32" (a folder of such TIFFs).
        pixel_format: FFmpeg's name of what is coded; empty for animations and folders.
        bits: per sample.
        colour: the tags.
        turn: from the coded to the upright frame.
        pixel_aspect: width by height of a pixel, upright.
        interlaced: whether the first frame consists of two fields; they are taken for one picture.
        streams: those beside the frames.
        index: of the stream that holds the frames.
        loop: how often an animation is played; 0 without end.
        truncated: the file is cut off: its frames end before its header says. Known when `timeline` is.
        notes: what a user should be told about the source, a line each.
        hdr10: mastering display and content light level in x265's words, each empty where it is not said.
        timeline: every frame's time; None where the file was not read through (`exact=False`).
    """

    path: Path
    kind: Kind
    container: str
    codec: str
    width: int
    height: int
    frames: int
    rate: Fraction
    time_base: Fraction
    duration: Fraction
    channels: int = 3
    dtype: str = "uint8"
    pixel_format: str = ""
    bits: int = 8
    colour: Colour = field(default_factory=Colour)
    turn: Turn = field(default_factory=Turn)
    pixel_aspect: Fraction = Fraction(1)
    interlaced: bool = False
    streams: tuple[StreamInfo, ...] = ()
    index: int = 0
    loop: int = 0
    truncated: bool = False
    notes: tuple[str, ...] = ()
    hdr10: tuple[str, str] = ("", "")
    timeline: Timeline | None = field(default=None, repr=False)

    @property
    def hdr(self) -> str | None:
        """ "PQ" or "HLG"; None for standard dynamic range."""
        return _HDR.get(self.colour.transfer)

    @property
    def matrix(self) -> int:
        """The matrix by which its YUV is read: the tagged one, else that which players take for its size."""
        if self.colour.matrix in MATRICES:
            return self.colour.matrix
        width, height = self.coded_size
        return 1 if self.colour.matrix == 0 or width >= 1280 or height > 576 else 6

    @property
    def full_range(self) -> bool:
        """Whether black and white are coded as 0 and the largest number; untagged gray is, as FFmpeg has it."""
        said = self.colour.range
        return said == ColorRange.JPEG or self.colour.matrix == 0 or (self.is_gray and not said)

    @property
    def is_gray(self) -> bool:
        """Whether there is no colour in what is coded."""
        return self.pixel_format.startswith("gray")

    @property
    def coded_size(self) -> tuple[int, int]:
        """`(width, height)` before the frames are turned upright."""
        return (self.height, self.width) if self.turn.transposed else (self.width, self.height)

    @property
    def known_timeline(self) -> Timeline:
        """`timeline`, where the clip was read through; else ValueError."""
        if self.timeline is None:
            raise ValueError(f"{self.path}: not read through; probe it with exact=True")
        return self.timeline

    @property
    def variable(self) -> bool:
        """Whether the frames do not follow each other evenly, to a unit of `time_base`; needs the timeline."""
        pts = self.known_timeline.pts
        even = np.linspace(pts[0], pts[-1], len(pts))
        return bool(np.abs(pts - even).max() > 1)

    def frames_between(
        self, start: float | Fraction | None = None, duration: float | Fraction | None = None
    ) -> range:
        """The frames that begin in a stretch of time; needs the timeline.

        Args:
            start: seconds from the beginning of the file; None: the first frame's.
            duration: seconds from `start`; None: to the end.

        Raises RequestError where no frame begins in it.
        """
        timeline = self.known_timeline
        first, last = 0, len(timeline.pts)
        begin = (int(timeline.pts[0]) - timeline.origin) * self.time_base
        if start is not None:
            begin = Fraction(str(start))  # 0.1 means a tenth, not the nearest float
            first = self._first_from(begin)
        if duration is not None:
            last = self._first_from(begin + Fraction(str(duration)))
        if first >= last:
            raise RequestError(
                f"{self.path}: no frame begins in the chosen stretch: the clip has {self.frames} frames in "
                f"{float(self.duration):.2f} s"
            )
        return range(first, last)

    def _first_from(self, seconds: Fraction) -> int:
        timeline = self.known_timeline
        return int(np.searchsorted(timeline.pts, int(-(-seconds // self.time_base)) + timeline.origin))


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a clip.

    Attributes:
        index: its place in the clip, from 0.
        pixels: `[height, width, 3]` RGB or `[height, width, 4]` RGBA, upright; uint8, uint16 of the full range or
            (folders) float32 in [0, 1].
        pts: when it is shown, in units of the clip's `time_base`.
        duration: how long, in the same units.
        replaced: it could not be decoded, and these are the pixels of its last good neighbour.
        metadata: of a picture in a folder.
        name: of its file in a folder, without suffix.
    """

    index: int
    pixels: np.ndarray
    pts: int
    duration: int
    replaced: bool = False
    metadata: images.Metadata = field(default_factory=images.Metadata)
    name: str = ""


def is_clip(path: StrPath) -> bool:
    """Whether `path` is a video file (by its suffix), an animation or a folder of numbered pictures.

    What cannot be read is none; `probe` says why.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return bool(_numbered(path)[0])
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return True
        return path.suffix.lower() in ANIMATION_SUFFIXES and animations.is_animation(path)
    except (ISRError, OSError):
        return False


def probe(path: StrPath, *, exact: bool = False, rate: Fraction | None = None) -> VideoInfo:
    """Reads what a clip is, from its header and first frame.

    Args:
        path: a file, or a folder of numbered pictures.
        exact: reads the whole file, without decoding it, for `timeline`, `frames` and `truncated`. Animations
            always are.
        rate: frames per second of a folder; None: 25.

    Raises:
        RequestError: missing, not to be read, no video in it, not a single frame, colours of an unknown kind. One
            line that begins with the path.
    """
    path = Path(path)
    if path.is_dir():
        return _probe_folder(path, exact, rate or FOLDER_RATE)
    with one_line(path, "cannot be read as a video", "it is damaged, cut off or no video: get it anew"):
        if path.suffix.lower() not in VIDEO_SUFFIXES and animations.is_animation(path):
            return _probe_animation(path)
        if path.stat().st_size == 0:
            raise RequestError(f"{path}: the file is empty: get it anew")
        info = _probe_video(path)
        return _read_through(info) if exact else info


class FrameReader:
    """The frames of a clip, one by one: a context manager that is iterated over.

    Args:
        source: a path, or what `probe` said of it.
        frames: which; None: all. Decoding begins at the key frame before the first of them.
        rate: frames per second of a folder; None: 25.

    Attributes:
        info: what the clip is, with the timeline.
        frames: which are read.
        replaced: the indices of the frames handed out so far that could not be decoded.

    Raises RequestError and MachineError as `probe`; while reading, where not one frame can be decoded.
    """

    def __init__(
        self, source: StrPath | VideoInfo, frames: range | None = None, *, rate: Fraction | None = None
    ) -> None:
        if not isinstance(source, VideoInfo):
            source = probe(source, exact=True, rate=rate)
        elif source.timeline is None:
            source = probe(source.path, exact=True, rate=rate or source.rate)
        self.info = source
        self.frames = within(source, frames)
        self.replaced: list[int] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        read = {"video": _read_video, "animation": _read_animation, "folder": _read_folder}[self.info.kind]
        frames = read(self.info, self.frames)
        self._open.callback(frames.close)
        for frame in frames:
            if frame.replaced:
                self.replaced.append(frame.index)
            yield frame


def within(info: VideoInfo, frames: range | None) -> range:
    """`frames`, or all of the clip's for None; RequestError where it has not all of them."""
    everything = range(info.frames)
    if frames is None:
        return everything
    if frames.step != 1 or (frames and not (frames[0] in everything and frames[-1] in everything)):
        raise RequestError(f"{info.path}: frames {frames.start} to {frames.stop - 1}: it has {info.frames}")
    return frames


# ------------------------------------------------------------------------------------- reading video files


def open_video(path: Path) -> Any:
    """An input container of PyAV."""
    # The protocol is said, or a colon in a file's name would be taken for one.
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    return av.open(f"file:{path}", container_options=options, **TAGS)


def _probe_video(path: Path) -> VideoInfo:
    with open_video(path) as container:
        stream = _main_stream(path, container)
        context = stream.codec_context
        frame = next(_decoded_frames(stream, readable_packets(container, stream)), None)
        if frame is None:
            raise RequestError(f"{path}: not one frame can be decoded: it is damaged or empty, get it anew")
        layout = frame.format
        is_rgb = layout.is_rgb or layout.has_palette
        bits = 8 if layout.has_palette else min(16, max(part.bits for part in layout.components))
        full = layout.name.startswith("yuvj")
        colour = Colour(
            matrix=0 if is_rgb else _said(frame.colorspace, context.colorspace),
            range=int(ColorRange.JPEG) if full else int(frame.color_range or context.color_range),
            primaries=_said(frame.color_primaries, _NOT_SAID),
            transfer=_said(frame.color_trc, _NOT_SAID),
        )
        if colour.matrix not in (0, _NOT_SAID, *MATRICES):
            raise RequestError(
                f"{path}: its colour matrix (number {colour.matrix} of ISO/IEC 23091-2) is not supported: "
                "convert it to BT.709 or BT.2020 (non-constant luminance) first"
            )
        notes = []
        turn = _turn_of(frame)
        if turn is None:
            notes.append("its display matrix is no right angle and is ignored")
            turn = Turn()
        interlaced = bool(frame.interlaced_frame)
        if interlaced:
            notes.append(
                "interlaced: both fields are taken for one picture; deinterlaced first it would be better"
            )
        if len(layout.components) in (2, 4) and not layout.has_palette:
            notes.append("its transparency is not kept")
        rate = _fraction(stream.average_rate) or _fraction(stream.guessed_rate) or FOLDER_RATE
        time_base = _fraction(stream.time_base) or Fraction(1, 90_000)
        duration = Fraction(container.duration or 0, 1_000_000)
        if stream.duration:
            duration = stream.duration * time_base
        aspect = _fraction(stream.sample_aspect_ratio) or Fraction(1)
        return VideoInfo(
            path=path,
            kind="video",
            container=container.format.name,
            codec=context.name,
            width=frame.height if turn.transposed else frame.width,
            height=frame.width if turn.transposed else frame.height,
            frames=stream.frames or round(duration * rate),
            rate=rate,
            time_base=time_base,
            duration=duration,
            dtype="uint8" if bits <= 8 else "uint16",
            pixel_format=layout.name,
            bits=bits,
            colour=colour,
            turn=turn,
            pixel_aspect=1 / aspect if turn.transposed else aspect,
            interlaced=interlaced,
            streams=tuple(_stream_info(other) for other in container.streams if other.index != stream.index),
            index=stream.index,
            notes=tuple(notes),
            hdr10=_hdr10(frame),
        )


def _main_stream(path: Path, container: Any) -> Any:
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    found = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not found:
        raise RequestError(f"{path}: there is no video in it: give a video file")
    best = container.streams.best("video")
    stream = best if best in found else found[0]
    if stream.codec_context is None:
        raise RequestError(
            f"{path}: its video codec is not known here: convert it to H.264, HEVC or VP9 first"
        )
    return stream


def _turn_of(frame: Any) -> Turn | None:
    data = _side_data(frame, "DISPLAYMATRIX")
    return Turn.of_matrix(struct.unpack("=9i", data[:36])) if data else Turn()


def _side_data(frame: Any, name: str) -> bytes:
    try:
        return bytes(frame.side_data[name])
    except KeyError:
        return b""


def _hdr10(frame: Any) -> tuple[str, str]:
    """FFmpeg's AVMasteringDisplayMetadata and AVContentLightMetadata, as x265's options have them."""
    display = light = ""
    if data := _side_data(frame, "MASTERING_DISPLAY_METADATA"):
        *numbers, has_primaries, has_luminance = struct.unpack("=22i", data[:88])
        rationals = zip(numbers[::2], numbers[1::2], strict=True)
        values = [Fraction(over, under or 1) for over, under in rationals]
        if has_primaries and has_luminance:
            chromaticities = zip(values[:8:2], values[1:8:2], strict=True)
            red, green, blue, white = (
                f"({round(x * 50_000)},{round(y * 50_000)})" for x, y in chromaticities
            )
            darkest, brightest = (round(value * 10_000) for value in values[8:])
            display = f"G{green}B{blue}R{red}WP{white}L({brightest},{darkest})"
    if data := _side_data(frame, "CONTENT_LIGHT_LEVEL"):
        light = "{},{}".format(*struct.unpack("=2I", data[:8]))
    return display, light


def _stream_info(stream: Any) -> StreamInfo:
    codec = stream.codec_context.name if stream.codec_context is not None else ""
    return StreamInfo(stream.index, stream.type, codec, stream.metadata.get("language", ""))


def _said(value: int, otherwise: int) -> int:
    """A code point as the file has it; 0 (reserved) and 2 say nothing."""
    return int(value) if value not in (0, _NOT_SAID) else int(otherwise)


def _fraction(value: Any) -> Fraction | None:
    return exact(value) if value else None


def exact(value: Any) -> Fraction:
    """A rational of PyAV, of whatever class."""
    return Fraction(value.numerator, value.denominator)


class _Shown:
    """The packets of a stream that bring frames, in the order of the file."""

    nothing = -(2**63)  # FFmpeg's AV_NOPTS_VALUE

    def __init__(self) -> None:
        self.pts, self.dts, self.durations = array("q"), array("q"), array("q")
        self.keys = bytearray()
        self.cut = 0  # how many at the end are only there in part

    def add(self, packet: Any) -> None:
        self.pts.append(self.nothing if packet.pts is None else packet.pts)
        self.dts.append(self.nothing if packet.dts is None else packet.dts)
        self.durations.append(packet.duration or 0)
        self.keys.append(packet.is_keyframe)
        self.cut = self.cut + 1 if packet.is_corrupt else 0

    def timeline(self, info: VideoInfo, origin: int, truncated: bool) -> Timeline:
        count = len(self.pts) - (self.cut if truncated else 0)
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


def _read_through(info: VideoInfo) -> VideoInfo:
    """`info` with what only all packets of the file tell."""
    shown = _Shown()
    end = Fraction(0)  # of the last packet of any stream, seconds
    with open_video(info.path) as container:
        for packet in readable_packets(container, *container.streams):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None:
                end = max(end, (time + (packet.duration or 0)) * exact(packet.time_base))
            if packet.stream_index == info.index and not packet.is_discard and _is_shown(info.codec, packet):
                shown.add(packet)
        truncated = _is_cut_off(info, container, end)
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


def readable_packets(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of these streams up to where the file can be read."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            if isinstance(error, (OSError, MemoryError)):
                raise
            return
        if packet is None:
            return
        if packet.size or packet.pts is not None or packet.dts is not None:  # the others only end decoding
            yield packet


def _decoded_frames(stream: Any, packets: Iterator[Any]) -> Iterator[Any]:
    """What the decoder makes of packets; of those that are damaged, nothing."""
    for packet in itertools.chain(packets, [None]):  # for None it gives what it still holds
        if packet is not None and packet.size == 0:
            continue  # the frame before stays; the decoder would take it for the end
        try:
            frames = stream.decode(packet)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            continue
        yield from frames


def _is_shown(codec: str, packet: Any) -> bool:
    """Whether a packet brings a picture: VP8 and VP9 have reference frames that are never shown."""
    if packet.size < 2 or not codec.startswith(("vp8", "vp9")):
        return packet.size > 0
    data = memoryview(packet)
    if codec.startswith("vp8"):
        return bool(data[0] & 0x10)
    if data[-1] & 0xE0 == 0xC0:
        return True  # a superframe: hidden frames together with a shown one
    # frame_marker (2 bits), profile (2), reserved_zero in profile 3, show_existing_frame, frame_type, show_frame
    after = 5 if data[0] & 0x30 == 0x30 else 4
    bits = [data[0] >> (7 - place) & 1 for place in range(after, 8)]
    return bool(bits[0] or bits[2])


def _is_cut_off(info: VideoInfo, container: Any, end: Fraction) -> bool:
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


class _NothingGood(Exception):
    """Not one good frame before the wanted one, since the key frame where decoding began."""


class _EndLost(Exception):
    """The decoder has not brought the last frames."""


def _read_video(info: VideoInfo, wanted: range) -> Generator[Frame]:
    timeline = info.known_timeline
    convert = _Decoder(info)
    index, threads = wanted.start, True
    while index < wanted.stop:
        # Further back each time, where the file cannot be sought or nothing good comes before the wanted frame.
        before = timeline.keys[timeline.keys <= timeline.pts[index]].tolist()
        for key in [*before[-1:], *before[-2:-1], *before[-4:-3], None]:
            frames = _good_frames(info, key, int(timeline.pts[index]), threads)
            try:
                while index < wanted.stop:
                    with one_line(info.path, "cannot be read", "it is damaged: get it anew"):
                        place, frame, replaced = next(frames)
                        pixels = convert(frame) if place == index else None
                    if pixels is not None:
                        pts, duration = int(timeline.pts[index]), int(timeline.durations[index])
                        yield Frame(index, pixels, pts, duration, replaced)
                        index += 1
            except _NothingGood:
                continue
            except _EndLost:
                threads = False
            finally:
                frames.close()
            break


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
        threads: whether to decode several frames at once. (An error among the last of them hides the others.)

    Raises:
        _NothingGood: the file was sought, and that key frame is not found or not good.
        _EndLost: the last frames are missing; without `threads` they may not be.
    """
    pts, by_order = info.known_timeline.pts, info.known_timeline.by_order
    with open_video(info.path) as container:
        stream = container.streams[info.index]
        stream.thread_type = "AUTO" if threads else "NONE"  # slice threads would not mark frames patched up
        waiting, good, packets = 0, None, readable_packets(container, stream)
        if key is not None:
            container.seek(key, stream=stream)
            waiting, packets = _from_key(pts, packets, limit)
        if info.truncated:
            packets = (packet for packet in packets if not packet.is_corrupt)
        for frame in _decoded_frames(stream, packets):
            index = waiting if by_order else _place(pts, frame.pts, waiting)
            if index is None or index >= len(pts):
                continue
            damaged = bool(frame.is_corrupt)
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
            raise _EndLost
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
            black, white = 16 * unit, 235 * unit  # it leaves gray as it is
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
            width=width,  # of the first frame: one that has another size is resized
            height=height,
            format="rgb24" if info.dtype == "uint8" else "rgb48le",
            src_colorspace=None if info.colour.matrix == 0 else MATRICES[info.matrix],
            src_color_range=ColorRange.JPEG if info.full_range else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=SCALER,
        ).to_ndarray()
        if self._levels is not None:
            pixels = self._levels[pixels]
        pixels = info.turn.upright(pixels)
        self._last = frame, pixels
        return pixels


# --------------------------------------------------------------------------------- animations and folders


def _probe_animation(path: Path) -> VideoInfo:
    header = animations.read_header(path)
    delays = np.array(header.durations, np.int64)
    # Browsers take the shortest delays of a GIF, which nobody meant, for a tenth of a second.
    shown = np.where(delays <= 900, 9000, delays) if header.format == "GIF" else np.maximum(delays, 90)
    pts = np.concatenate([[0], np.cumsum(shown)[:-1]])
    duration = int(shown.sum()) * animations.TIME_BASE
    return VideoInfo(
        path=path,
        kind="animation",
        container=header.format,
        codec=header.format.lower(),
        width=header.width,
        height=header.height,
        frames=len(delays),
        rate=(len(delays) / duration).limit_denominator(1001),
        time_base=animations.TIME_BASE,
        duration=duration,
        channels=4 if header.has_alpha else 3,
        colour=Colour(matrix=0),
        loop=header.loop,
        truncated=header.truncated,
        timeline=Timeline(pts, delays, pts),
    )


def _read_animation(info: VideoInfo, wanted: range) -> Generator[Frame]:
    timeline = info.known_timeline
    frames = animations.frames(info.path, wanted.start)
    for index in wanted:
        with one_line(info.path, "cannot be read", "it is damaged: get it anew"):
            pixels = next(frames)[..., : info.channels]
        yield Frame(index, pixels, int(timeline.pts[index]), int(timeline.durations[index]))


def _numbered(folder: Path) -> tuple[list[Path], list[str]]:
    """The numbered pictures of a folder in the order of their numbers, and notes on those that are missing."""
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise file_error(folder, error) from error
    names = [name for name in entries if Path(name).suffix.lower() in images.READABLE and name[0] != "."]
    found: dict[int, str] = {}
    pattern = None
    for name in names:
        match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", Path(name).stem)
        if match is None:
            raise RequestError(
                f"{folder / name}: has no number: the frames of a clip are named like frame_0001.png"
            )
        around, number = (match[1], match[3]), int(match[2])
        pattern = pattern or around
        if around != pattern:
            raise RequestError(
                f"{folder}: {names[0]} and {name} are not numbered alike: give one clip in a folder"
            )
        if number in found:
            raise RequestError(
                f"{folder}: {found[number]} and {name} have the same number: remove one of them"
            )
        found[number] = name
    gaps = [
        f"{low + 1}" if high - low == 2 else f"{low + 1} to {high - 1}"
        for low, high in itertools.pairwise(sorted(found))
        if high - low > 1
    ]
    more = f" and {len(gaps) - 10} more gaps" if len(gaps) > 10 else ""
    notes = [f"frames are missing: {', '.join(gaps[:10])}{more}"] if gaps else []
    return [folder / found[number] for number in sorted(found)], notes


def _probe_folder(folder: Path, exact: bool, rate: Fraction) -> VideoInfo:
    paths, notes = _numbered(folder)
    if not paths:
        raise RequestError(f"{folder}: there are no pictures in this folder: give one with numbered frames")
    known = None
    for path in paths:
        try:
            here = images.probe(path)
        except RequestError:
            continue  # it will be shown as its neighbour
        known = known or here
        if (here.width, here.height) != (known.width, known.height):
            raise RequestError(
                f"{path}: {here.width}x{here.height} pixels, but the frames before it {known.width}x{known.height}: "
                "the frames of a clip have one size"
            )
        if not exact:
            break
    if known is None:
        raise RequestError(f"{folder}: not one of its pictures can be read: they are damaged")
    count = np.arange(len(paths), dtype=np.int64)
    return VideoInfo(
        path=folder,
        kind="folder",
        container=paths[0].suffix.lower(),
        codec=known.format.lower(),
        width=known.width,
        height=known.height,
        frames=len(paths),
        rate=rate,
        time_base=1 / rate,
        duration=len(paths) / rate,
        channels=4 if known.channels in (2, 4) else 3,
        dtype=known.dtype,
        bits=8 * np.dtype(known.dtype).itemsize,
        colour=Colour(matrix=0),
        notes=tuple(notes),
        timeline=Timeline(count, np.ones_like(count), count) if exact else None,
    )


def _read_folder(info: VideoInfo, wanted: range) -> Generator[Frame]:
    paths, _ = _numbered(info.path)
    if len(paths) != info.frames:
        raise RequestError(f"{info.path}: pictures have come or gone since it was looked at: leave it alone")
    good = None
    for index in wanted:
        picture = _picture(info, paths[index])
        if picture is not None:
            good = picture
        elif good is None:
            around = [*reversed(paths[:index]), *paths[index + 1 :]]
            good = next((found for path in around if (found := _picture(info, path))), None)
            if good is None:
                raise RequestError(f"{info.path}: not one of its pictures can be read: they are damaged")
        assert good is not None
        yield Frame(index, good.pixels, index, 1, picture is None, good.metadata, paths[index].stem)


def _picture(info: VideoInfo, path: Path) -> images.Picture | None:
    """A picture with the channels and type that all of its clip have; None where it cannot be read."""
    try:
        picture = images.read(path)
    except RequestError:
        return None
    pixels = picture.pixels
    if pixels.shape[:2] != (info.height, info.width):
        raise RequestError(f"{path}: {pixels.shape[1]}x{pixels.shape[0]} pixels, unlike the other frames")
    if pixels.dtype != info.dtype:
        pixels = from_float(to_float(pixels), np.dtype(info.dtype))
    if pixels.shape[-1] <= 2:
        pixels = np.concatenate([pixels[..., :1]] * 3 + [pixels[..., 1:]], axis=-1)
    if pixels.shape[-1] < info.channels:
        white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], white)], axis=-1)
    return replace(picture, pixels=np.ascontiguousarray(pixels[..., : info.channels]))


# -------------------------------------------------------------------------------------------------- errors


@contextmanager
def one_line(path: Path, what: str, advice: str, kind: type[ISRError] = RequestError) -> Iterator[None]:
    """Turns whatever FFmpeg, Pillow or the system raise inside into one line that begins with the path."""
    try:
        yield
    except (ISRError, _NothingGood, _EndLost):
        raise
    except MemoryError as error:
        raise MachineError(f"{path}: {what}: there is not enough memory: close other programs") from error
    except OSError as error:
        if error.errno is not None:
            raise file_error(path, error) from error
        raise kind(f"{path}: {what} ({_brief(error)}): {advice}") from error
    except Exception as error:  # given damaged bytes, decoders raise every exception there is
        raise kind(f"{path}: {what} ({_brief(error)}): {advice}") from error


def _brief(error: BaseException) -> str:
    said = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return said if len(said) <= 120 else said[:117] + "..."
