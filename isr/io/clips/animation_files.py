"""GIF, animated PNG and animated WebP: their frames with delays and loop count, read one by one and written so.

Pillow decodes and encodes the single frames. It is imported for that alone: telling whether a picture is an animation
does without. The files around the frames are put together here, from the frames' encoded parts, because Pillow holds
all frames in memory while it writes and merges neighbours that are equal: here the number of frames stays, and memory
does not grow with it.

A frame's encoded part, `encoded(...)`, does not depend on its neighbours: parts can be kept in any number of files,
and `join` copies them into the animation.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}
# Holds milliseconds, GIF's hundredths and the usual frame rates exactly.
TIME_BASE = Fraction(1, 90_000)
# Of delays, in seconds.
UNITS = {"GIF": Fraction(1, 100), "PNG": TIME_BASE, "WEBP": Fraction(1, 1000)}
LARGEST_SIDE = {"GIF": 65_535, "PNG": 1_000_000, "WEBP": 16_383}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Header:
    """What an animation says about itself.

    Attributes:
        format: "GIF", "PNG" or "WEBP".
        width, height: of every frame, in pixels.
        durations: what each frame's delay is, in units of `TIME_BASE`, as the file has it.
        loop: how often it is played; 0 is without end.
        has_alpha: whether any pixel of any frame is not opaque.
        truncated: it breaks off before the frames that it announces.
    """

    format: str
    width: int
    height: int
    durations: tuple[int, ...]
    loop: int
    has_alpha: bool
    truncated: bool = False


def is_animation(path: Path) -> bool:
    """Tell by its first bytes whether a file is a GIF (of one frame, too), or a PNG or WebP that is animated."""
    with path.open("rb") as file:
        head = file.read(21)
        if head[:6] in (b"GIF87a", b"GIF89a"):
            return True
        if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X":
            return bool(head[20] & 2)
        if head[:8] != _PNG_SIGNATURE:
            return False
        file.seek(8)
        return any(kind == b"acTL" for kind, _ in _png_chunks(file, until=b"IDAT"))


def read_header(path: Path) -> Header:
    """Read an animation through once, to know its frames; one that breaks off after some frames has these.

    Raises:
        Exception: whatever Pillow raises for a file it cannot read.
    """
    from PIL import Image

    with Image.open(path) as image:
        durations: list[int] = []
        has_alpha = False
        for frame, duration in _frames(image):
            durations.append(duration)
            has_alpha = has_alpha or bool(frame[..., 3].min() < 255)
        name = image.format or ""
        loop = int(image.info.get("loop", 1 if name == "GIF" else 0))
        if name == "GIF" and "loop" in image.info and loop > 0:
            # A GIF counts the repetitions, not the times it is played.
            loop += 1
        truncated = len(durations) < _announced(image)
        return Header(name, image.width, image.height, tuple(durations), loop, has_alpha, truncated)


def frames(path: Path, first: int = 0) -> Iterator[np.ndarray]:
    """Yield the frames from `first` on, `[h, w, 4]` uint8, each as it is seen (laid over those before it)."""
    from PIL import Image

    with Image.open(path) as image:
        for index, (pixels, _) in enumerate(_frames(image)):
            if index >= first:
                yield pixels


def _announced(image: Image.Image) -> int:
    """The number of frames; an animated PNG's picture for readers that know no animation is none of them."""
    return getattr(image, "n_frames", 1) - bool(image.info.get("default_image"))


def _frames(image: Image.Image) -> Iterator[tuple[np.ndarray, int]]:
    count = _announced(image)
    before = getattr(image, "n_frames", 1) - count
    for index in range(count):
        try:
            image.seek(before + index)
            pixels = np.asarray(image.convert("RGBA"))
        except (EOFError, OSError, SyntaxError, ValueError, struct.error):
            if index == 0:
                raise
            # It breaks off here.
            return
        yield pixels, round(Fraction(image.info.get("duration", 0)) * 90)


# ---------------------------------------------------------------------------------------------- one frame


def encoded(format: str, pixels: np.ndarray, duration: int, quality: int) -> bytes:
    """Encode a frame as it stands in a file of `format`, without what is before and after it.

    Args:
        format: "GIF", "PNG" or "WEBP".
        pixels: `[h, w, 3]` or `[h, w, 4]`, uint8.
        duration: in units of `TIME_BASE`; rounded to what the format can say.
        quality: 1 to 100, of WebP; 100 is lossless.
    """
    return _ENCODERS[format](pixels, duration, quality)


def join(target: BinaryIO, header: Header, parts: Iterable[BinaryIO]) -> None:
    """Write the animation that `header` describes from the encoded frames in `parts`, in that order.

    Args:
        target: opened for writing, seekable.
        header: `durations` is not looked at: the frames have them.
        parts: files that hold encoded frames, any number each.
    """
    _JOINERS[header.format](target, header, parts)


def _gif_frame(pixels: np.ndarray, duration: int, quality: int) -> bytes:
    from PIL import Image

    colours = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    clear = pixels[..., 3] < 128 if pixels.shape[-1] == 4 else None
    if clear is not None and not clear.any():
        clear = None
    # One entry of the palette is the transparent one.
    number = 256 if clear is None else 255
    palette = colours.quantize(number, Image.Quantize.FASTOCTREE)
    indexed = colours.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    if clear is not None:
        entries = (indexed.getpalette() or [])[: 3 * 255]
        marked = Image.fromarray(np.where(clear, np.uint8(255), np.asarray(indexed)))
        marked.putpalette(entries + [0] * (768 - len(entries)))
        indexed = marked
    buffer = io.BytesIO()
    indexed.save(buffer, "GIF", optimize=False, interlace=0)
    data = buffer.getvalue()
    bits = data[10] & 7
    position = 13 + 3 * 2 ** (bits + 1)
    table = data[13:position]
    # Extensions are skipped; the one that is needed follows below.
    while data[position] == 0x21:
        position += 2
        while data[position]:
            position += data[position] + 1
        position += 1
    descriptor = data[position : position + 9] + bytes([0x80 | bits])
    hundredths = min(round(Fraction(duration, 900)), 65_535)
    # A frame with holes must not show the one before it.
    disposal = 1 if clear is None else 2
    packed = disposal << 2 | (clear is not None)
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, packed, hundredths, 255 if clear is not None else 0, 0)
    return control + descriptor + table + data[position + 10 : -1]


def _join_gif(target: BinaryIO, header: Header, parts: Iterable[BinaryIO]) -> None:
    target.write(b"GIF89a" + struct.pack("<HHBBB", header.width, header.height, 0x70, 0, 0))
    if header.loop != 1:
        repeated = min(header.loop - 1, 65_535) if header.loop else 0
        target.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", repeated, 0))
    for part in parts:
        while block := part.read(1 << 20):
            target.write(block)
    target.write(b"\x3b")


def _png_frame(pixels: np.ndarray, duration: int, quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    buffer.seek(8)
    chunks = list(_png_chunks(buffer))
    seconds = duration * TIME_BASE
    if max(seconds.as_integer_ratio()) > 65_535:
        unit = 1000 if seconds < 65 else 1
        seconds = Fraction(min(round(seconds * unit), 65_535), unit)
    # Sequence number, which only the whole file knows; size and place; delay; nothing is disposed of, and the frame
    # replaces what was there.
    control = struct.pack(
        ">IIIIIHHBB",
        *(0, pixels.shape[1], pixels.shape[0], 0, 0),
        *(seconds.numerator, seconds.denominator),
        *(0, 0),
    )
    data = b"".join(payload for kind, payload in chunks if kind == b"IDAT")
    return _png_chunk(b"fcTL", control) + _png_chunk(b"fdAT", bytes(4) + data)


def _join_png(target: BinaryIO, header: Header, parts: Iterable[BinaryIO]) -> None:
    colour = 6 if header.has_alpha else 2
    size = struct.pack(">IIBBBBB", header.width, header.height, 8, colour, 0, 0, 0)
    target.write(_PNG_SIGNATURE + _png_chunk(b"IHDR", size))
    count_at = target.tell()
    target.write(_png_chunk(b"acTL", bytes(8)))
    sequence = count = 0
    for part in parts:
        for kind, payload in _png_chunks(part):
            # The first frame is the picture of readers that know no animation.
            if kind == b"fdAT" and count == 1:
                target.write(_png_chunk(b"IDAT", payload[4:]))
                continue
            target.write(_png_chunk(kind, struct.pack(">I", sequence) + payload[4:]))
            sequence += 1
            count += kind == b"fcTL"
    target.write(_png_chunk(b"IEND", b""))
    target.seek(count_at)
    target.write(_png_chunk(b"acTL", struct.pack(">II", count, header.loop)))


def _png_chunks(file: BinaryIO, until: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == until:
            return
        yield kind, file.read(length)
        file.read(4)


def _png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _webp_frame(pixels: np.ndarray, duration: int, quality: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        buffer, "WEBP", quality=quality, lossless=quality == 100, method=4, exact=True
    )
    data = buffer.getvalue()
    position, kept = 12, b""
    while position + 8 <= len(data):
        size = 8 + int.from_bytes(data[position + 4 : position + 8], "little")
        size += size % 2
        if data[position : position + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            kept += data[position : position + size]
        position += size
    height, width = pixels.shape[:2]
    milliseconds = min(round(Fraction(duration, 90)), 2**24 - 1)
    numbers = (0, 0, width - 1, height - 1, milliseconds)
    not_blended = b"\x02"
    frame = b"".join(number.to_bytes(3, "little") for number in numbers) + not_blended + kept
    return b"ANMF" + struct.pack("<I", len(frame)) + frame


def _join_webp(target: BinaryIO, header: Header, parts: Iterable[BinaryIO]) -> None:
    features = 0x02 | (0x10 if header.has_alpha else 0)
    size = (header.width - 1).to_bytes(3, "little") + (header.height - 1).to_bytes(3, "little")
    target.write(b"RIFF" + bytes(4) + b"WEBP" + b"VP8X" + struct.pack("<IB3x", 10, features) + size)
    target.write(b"ANIM" + struct.pack("<IIH", 6, 0, min(header.loop, 65_535)))
    for part in parts:
        while block := part.read(1 << 20):
            target.write(block)
    end = target.tell()
    if end - 8 >= 2**32:
        raise ValueError("a WebP file holds 4 GiB")
    target.seek(4)
    target.write(struct.pack("<I", end - 8))


_ENCODERS = {"GIF": _gif_frame, "PNG": _png_frame, "WEBP": _webp_frame}
_JOINERS = {"GIF": _join_gif, "PNG": _join_png, "WEBP": _join_webp}
