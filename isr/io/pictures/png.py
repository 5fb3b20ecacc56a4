"""PNG: chunks read and written here, pixels read by libpng, and written by zlib on all cores."""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isr.errors import RequestError
from isr.io.pictures.depth import with_channels
from isr.io.pictures.picture import Metadata
from isr.io.pictures.stored import Stored, described

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_XMP = b"XML:com.adobe.xmp\0"
# Larger metadata in a compressed chunk is a bomb, not a profile.
_MAX_METADATA = 2**26
# As the header says how many channels there are, and a row how it is filtered.
_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
_PAETH = 4
# Bytes that are filtered and compressed at a time: they stay in the processor's cache.
_AT_A_TIME = 2**18
_MOST_THREADS = 8


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
    """Write a PNG file, some rows at a time and on all cores; it has no quality."""
    height, width, channels = pixels.shape
    size = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOURS[channels], 0, 0, 0)
    with path.open("wb") as file:
        file.write(_SIGNATURE + _chunk(b"IHDR", size))
        # Before the pixels, where iCCP and pHYs have to stand.
        file.write(_metadata_chunks(metadata))
        for part in _deflated(pixels):
            file.write(_chunk(b"IDAT", part))
        file.write(_chunk(b"IEND", b""))


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def _metadata_chunks(metadata: Metadata) -> bytes:
    chunks = b""
    if metadata.icc_profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.icc_profile))
    if metadata.resolution:
        resolution = (round(dpi / 0.0254) for dpi in metadata.resolution)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", *resolution, 1))
    if metadata.exif:
        chunks += _chunk(b"eXIf", metadata.exif)
    if metadata.xmp:
        chunks += _chunk(b"iTXt", _XMP + b"\0\0\0\0" + metadata.xmp)
    return chunks


def _deflated(pixels: np.ndarray) -> Iterator[bytes]:
    """The parts of one zlib stream of all rows, each filtered.

    Every part is compressed by itself and ends at a byte, so that all cores may work and the bytes are the same
    whatever their number.
    """
    height, width, channels = pixels.shape
    count = max(1, _AT_A_TIME // (width * channels * pixels.itemsize))

    def compress(start: int) -> tuple[np.ndarray, bytes]:
        stop = min(start + count, height)
        rows = _filtered(pixels, start, stop)
        # With zlib's strategy for filtered data: on photographs smaller than level 6 without, in half the time.
        stream = zlib.compressobj(level=4, wbits=-15, strategy=zlib.Z_FILTERED)
        end = zlib.Z_FINISH if stop == height else zlib.Z_SYNC_FLUSH
        return rows, stream.compress(rows.data) + stream.flush(end)

    # Before the first part, that the window is of 32 kB; behind the last one, the checksum of what they hold.
    header, checksum = b"\x78\x5e", 1
    for rows, data in _on_all_cores(compress, range(0, height, count)):
        yield header + data
        header, checksum = b"", zlib.adler32(rows.data, checksum)
    yield struct.pack(">I", checksum)


def _on_all_cores(
    work: Callable[[int], tuple[np.ndarray, bytes]], items: range
) -> Iterator[tuple[np.ndarray, bytes]]:
    """What the work gives of each item, in their order."""
    if len(items) == 1:
        yield work(items[0])
        return
    # Here alone: a small picture does without.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        yield from pool.map(work, items)


def _filtered(pixels: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Some rows as they stand in a file, by Paeth's filter: each byte less the likeliest of its neighbours.

    To choose one of the five filters for each row takes longer, for 1 % of the size.
    """
    known = min(start, 1)
    part = pixels[start - known : stop]
    rows = part.astype(part.dtype.newbyteorder(">"), copy=False).view(np.uint8).reshape(len(part), -1)
    step = pixels.shape[-1] * pixels.itemsize
    # Beyond the picture, everything is 0.
    padded = np.zeros((1 + stop - start, step + rows.shape[1]), np.int16)
    padded[1 - known :, step:] = rows
    left, above, corner = padded[1:, :-step], padded[:-1, step:], padded[:-1, :-step]
    across, down = above - corner, left - corner
    both = np.abs(across + down)
    across, down = np.abs(across), np.abs(down)
    likeliest = np.where((across <= down) & (across <= both), left, np.where(down <= both, above, corner))
    result = np.empty((stop - start, 1 + rows.shape[1]), np.uint8)
    result[:, 0] = _PAETH
    np.subtract(padded[1:, step:], likeliest, out=result[:, 1:], casting="unsafe")
    return result
