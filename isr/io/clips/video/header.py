"""What a video file says in its header and its first frame."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import ColorRange

from isr.errors import RequestError
from isr.io.clips.colour import MATRICES, NOT_SAID, Colour
from isr.io.clips.info import FOLDER_RATE, StreamInfo, Turn, VideoInfo
from isr.io.clips.video.packets import decoded_frames, open_video, rational, readable_packets


def read_header(path: Path) -> VideoInfo:
    """Read what a video file is from its header and first frame."""
    with open_video(path) as container:
        stream = _main_stream(path, container)
        context = stream.codec_context
        frame = next(decoded_frames(stream, readable_packets(container, stream)), None)
        if frame is None:
            raise RequestError(f"{path}: not one frame can be decoded: it is damaged or empty, get it anew")
        layout = frame.format
        is_rgb = layout.is_rgb or layout.has_palette
        bits = 8 if layout.has_palette else min(16, max(part.bits for part in layout.components))
        full = layout.name.startswith("yuvj")
        colour = Colour(
            matrix=0 if is_rgb else _said(frame.colorspace, context.colorspace),
            range=int(ColorRange.JPEG) if full else int(frame.color_range or context.color_range),
            primaries=_said(frame.color_primaries, NOT_SAID),
            transfer=_said(frame.color_trc, NOT_SAID),
        )
        if colour.matrix not in (0, NOT_SAID, *MATRICES):
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
    return int(value) if value not in (0, NOT_SAID) else int(otherwise)


def _fraction(value: Any) -> Fraction | None:
    return rational(value) if value else None
