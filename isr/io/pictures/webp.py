"""WebP: chunks read here, pixels by libwebp."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isr.errors import RequestError
from isr.io.pictures.picture import Metadata
from isr.io.pictures.pillow import exif_with_resolution, metadata_blocks
from isr.io.pictures.stored import Stored, described


def open_webp(path: Path, file: BinaryIO) -> Stored:
    """Read the header of a WebP file."""
    found = {kind: (position, length) for kind, position, length in _chunks(file)}

    def payload(kind: bytes, most: int | None = None) -> bytes | None:
        if kind not in found:
            return None
        position, length = found[kind]
        file.seek(position)
        return file.read(length if most is None else min(length, most))

    extended = payload(b"VP8X", 10)
    lossless = payload(b"VP8L", 5)
    lossy = payload(b"VP8 ", 10)
    alpha = False
    if extended is not None:
        width, height = (1 + int.from_bytes(extended[at : at + 3], "little") for at in (4, 7))
        if extended[0] & 2:
            raise RequestError(f"{path}: an animated WebP: save the frame you want as a picture")
        alpha = bool(extended[0] & 16)
    elif lossless is not None:
        bits = int.from_bytes(lossless[1:5], "little")
        width, height, alpha = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
    elif lossy is not None:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", lossy, 6))
    else:
        raise ValueError("no picture in the file")
    orientation, metadata = described(payload(b"ICCP"), payload(b"EXIF"), payload(b"XMP "), None)

    def decode() -> np.ndarray:
        import imagecodecs

        file.seek(0)
        return imagecodecs.webp_decode(file.read(), hasalpha=alpha)

    return Stored("WEBP", width, height, 4 if alpha else 3, "uint8", orientation, metadata, decode)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a WebP file: type, where the payload begins, its length."""
    size = file.seek(0, io.SEEK_END)
    file.seek(4)
    end = 8 + struct.unpack("<I", file.read(4))[0]
    if end > size:
        raise ValueError("the file ends before the picture does")
    position = 12
    while position + 8 <= end:
        file.seek(position)
        kind, length = struct.unpack("<4sI", file.read(8))
        if position + 8 + length > end:
            raise ValueError("the file ends before the picture does")
        yield kind, position + 8, length
        position += 8 + length + length % 2


def write_webp(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    """Write a WebP file, lossless at quality 100."""
    from PIL import Image

    blocks = metadata_blocks(metadata, exif=exif_with_resolution(metadata), xmp=metadata.xmp)
    if quality == 100:
        # Pillow's `quality` means effort here; `exact` keeps the colours where alpha is zero.
        Image.fromarray(pixels).save(path, "WEBP", lossless=True, exact=True, quality=70, **blocks)
    else:
        Image.fromarray(pixels).save(path, "WEBP", quality=quality, **blocks)
