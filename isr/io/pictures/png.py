"""PNG: chunks read and written here, pixels by libpng."""

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isr.errors import RequestError
from isr.io.pictures.depth import squeezed, with_channels
from isr.io.pictures.picture import Metadata
from isr.io.pictures.stored import Stored, described

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_XMP = b"XML:com.adobe.xmp\0"
# Larger metadata in a compressed chunk is a bomb, not a profile.
_MAX_METADATA = 2**26


def open_png(path: Path, file: BinaryIO) -> Stored:
    """Read the header of a PNG file."""
    # Where the chunks lie that the pixels hang on.
    needed: list[tuple[int, int]] = []
    found: dict[bytes, bytes] = {}
    critical = (b"IHDR", b"PLTE", b"tRNS")
    xmp = None
    for kind, position, length in _chunks(file):
        if kind in (*critical, b"IDAT", b"IEND"):
            needed.append((position - 8, length + 12))
        if kind in (*critical, b"acTL", b"iCCP", b"eXIf", b"pHYs", b"iTXt"):
            file.seek(position)
            payload = file.read(length)
            if zlib.crc32(kind + payload) != int.from_bytes(file.read(4), "big"):
                if kind in critical:
                    raise ValueError(f"the chunk {kind.decode()} is damaged")
                continue
            if kind == b"iTXt" and payload.startswith(_XMP):
                xmp = _international_text(payload)
            found.setdefault(kind, payload)
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", found[b"IHDR"])
    if b"acTL" in found and struct.unpack_from(">I", found[b"acTL"])[0] > 1:
        raise RequestError(f"{path}: an animated PNG: save the frame you want as a picture")
    if colour not in _CHANNELS:
        raise ValueError(f"PNG colour type {colour}")
    profile = None
    if b"iCCP" in found:
        with contextlib.suppress(zlib.error, ValueError):
            profile = _inflated(found[b"iCCP"].split(b"\0", 1)[1][1:])
    resolution = None
    if len(found.get(b"pHYs", b"")) == 9:
        across, down, unit = struct.unpack(">IIB", found[b"pHYs"])
        resolution = (across * 0.0254, down * 0.0254) if unit == 1 else None
    orientation, metadata = described(profile, found.get(b"eXIf"), xmp, resolution)

    def decode() -> np.ndarray:
        import imagecodecs

        # Without the chunks that libpng would print its opinion of.
        data = bytearray(_SIGNATURE)
        for start, size in needed:
            file.seek(start)
            data += file.read(size)
        return with_channels(imagecodecs.png_decode(bytes(data)))

    channels = _CHANNELS[colour] + (b"tRNS" in found and colour in (0, 2, 3))
    return Stored(
        "PNG", width, height, channels, "uint16" if depth == 16 else "uint8", orientation, metadata, decode
    )


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG file, from IHDR to IEND: type, where the payload begins, its length."""
    end = file.seek(0, io.SEEK_END)
    position = len(_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("the file ends before the picture does")
        length, kind = struct.unpack(">I4s", head)
        if position == len(_SIGNATURE) and (kind, length) != (b"IHDR", 13):
            raise ValueError("no header at the beginning")
        if position + length + 12 > end:
            raise ValueError("the file ends before the picture does")
        yield kind, position + 8, length
        position += length + 12


def _international_text(payload: bytes) -> bytes | None:
    """The text of an iTXt chunk: keyword, compressed?, method, language, translated keyword, text."""
    rest = payload.split(b"\0", 1)[1]
    parts = rest[2:].split(b"\0", 2)
    if len(parts) < 3:
        return None
    with contextlib.suppress(zlib.error, ValueError):
        return _inflated(parts[2]) if rest[0] else parts[2]
    return None


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    text = stream.decompress(data, _MAX_METADATA)
    if not stream.eof:
        raise ValueError("compressed metadata is cut off or too long")
    return text


def write_png(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    """Write a PNG file; it has no quality."""
    import imagecodecs

    # Level 4 with zlib's strategy for filtered data: on photographs smaller than level 6 without, in half the time.
    # Paeth's filter alone: choosing one for each row takes a quarter of the time more, for 1 % of the size.
    data = imagecodecs.png_encode(squeezed(pixels), level=4, strategy=1, filter=imagecodecs.PNG.FILTER.PAETH)
    path.write_bytes(_with_chunks(bytes(data), metadata))


def _with_chunks(data: bytes, metadata: Metadata) -> bytes:
    """A PNG file with the metadata as chunks behind its header, where iCCP and pHYs have to stand."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        return (
            struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
        )

    added = b""
    if metadata.icc_profile:
        added += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile))
    if metadata.resolution:
        added += chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / 0.0254) for dpi in metadata.resolution), 1))
    if metadata.exif:
        added += chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        added += chunk(b"iTXt", _XMP + b"\0\0\0\0" + metadata.xmp)
    header = len(_SIGNATURE) + 25
    return data[:header] + added + data[header:]
