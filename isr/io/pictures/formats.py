"""The formats of pictures: what each can hold, how it is recognised, opened and written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import features

from isr.errors import RequestError
from isr.io.files import StrPath
from isr.io.pictures.picture import Metadata
from isr.io.pictures.pillow import open_avif, open_bmp, open_jpeg, write_avif, write_bmp, write_jpeg
from isr.io.pictures.png import open_png, write_png
from isr.io.pictures.stored import Stored
from isr.io.pictures.tiff import open_tiff, write_tiff
from isr.io.pictures.webp import open_webp, write_webp


@dataclass(frozen=True)
class Format:
    """What a file format can hold."""

    suffixes: tuple[str, ...]
    channels: tuple[int, ...]
    max_side: int
    max_area: int
    open: Callable[[Path, BinaryIO], Stored]
    write: Callable[[Path, np.ndarray, Metadata, int], None]
    dtypes: tuple[str, ...] = ("uint8",)
    holds_profile: bool = True


# The sides are those that libpng, libjpeg and libwebp accept; libavif refuses to read more than 32,768 a side
# and 2^28 in all; a BMP's length is a 32-bit number.
FORMATS = {
    "PNG": Format((".png",), (1, 2, 3, 4), 1_000_000, 2**62, open_png, write_png, ("uint8", "uint16")),
    "JPEG": Format((".jpg", ".jpeg"), (1, 3), 65_500, 2**62, open_jpeg, write_jpeg),
    "WEBP": Format((".webp",), (3, 4), 16_383, 2**62, open_webp, write_webp),
    "TIFF": Format(
        (".tif", ".tiff"),
        (1, 2, 3, 4),
        2**31 - 1,
        2**62,
        open_tiff,
        write_tiff,
        ("uint8", "uint16", "float32"),
    ),
    "BMP": Format((".bmp",), (1, 3), 2**31 - 1, 2**30, open_bmp, write_bmp, holds_profile=False),
    "AVIF": Format((".avif",), (3, 4), 32_768, 2**28, open_avif, write_avif),
}
for _optional in ("WEBP", "AVIF"):
    if not features.check(_optional.lower()):
        del FORMATS[_optional]

READABLE: frozenset[str] = frozenset(suffix for form in FORMATS.values() for suffix in form.suffixes)


def recognised(head: bytes) -> str | None:
    """The format that a file's first bytes announce."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and "WEBP" in FORMATS:
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head.startswith(b"BM"):
        return "BMP"
    if head[4:8] == b"ftyp" and (b"avif" in head[8:] or b"avis" in head[8:]) and "AVIF" in FORMATS:
        return "AVIF"
    return None


def check_writable(
    path: StrPath, width: int, height: int, channels: int, dtype: Any, *, format: str | None = None
) -> None:
    """Makes sure, before any work, that `write` could write such a picture to `path`.

    Args:
        path: the file to be written; it need not exist.
        width, height: of the picture, in pixels.
        channels: 1 to 4.
        dtype: of its pixels, anything that `numpy.dtype` takes.
        format: as in `write`.

    Raises:
        RequestError: the suffix or format is unknown or not available here, the picture is larger than the
            format allows, or it has pixels of another kind than `write` takes.
    """
    name = format_for(Path(path), format)
    form = FORMATS[name]
    if width < 1 or height < 1:
        raise RequestError(f"{path}: a picture of {width}x{height} pixels cannot be written: it is empty")
    if max(width, height) > form.max_side:
        raise RequestError(
            f"{path}: {width}x{height} pixels, but {name} holds {form.max_side} a side: "
            f"choose {_roomier(width, height)} or a smaller scale"
        )
    if width * height > form.max_area:
        raise RequestError(
            f"{path}: {width}x{height} pixels, but {name} holds {form.max_area} in all: "
            f"choose {_roomier(width, height)} or a smaller scale"
        )
    if channels not in (1, 2, 3, 4):
        raise RequestError(f"{path}: {channels} channels: a picture has 1 (gray), 2, 3 (RGB) or 4 (RGBA)")
    if np.dtype(dtype).name not in ("uint8", "uint16", "float32"):
        raise RequestError(f"{path}: pixels of type {np.dtype(dtype).name}: give uint8, uint16 or float32")


def format_for(path: Path, format: str | None) -> str:
    names = {suffix[1:]: name for name, form in FORMATS.items() for suffix in form.suffixes}
    asked = (path.suffix[1:] if format is None else format).lower()
    if asked not in names:
        what = f"the format {format}" if format is not None else f"the suffix {path.suffix or '(none)'}"
        raise RequestError(
            f"{path}: {what} is not one that pictures can be written in here: "
            f"choose one of {', '.join(sorted('.' + suffix for suffix in names))}"
        )
    return names[asked]


def _roomier(width: int, height: int) -> str:
    names = [name for name in ("PNG", "TIFF") if max(width, height) <= FORMATS[name].max_side]
    return " or ".join(names) or "tiles"
