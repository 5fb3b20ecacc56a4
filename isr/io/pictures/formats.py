"""The formats of pictures: one table of how each is recognised, opened and written, and what it can hold."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isr.errors import RequestError
from isr.io.files import StrPath
from isr.io.pictures.depth import nearest
from isr.io.pictures.picture import Metadata
from isr.io.pictures.pillow import (
    open_avif,
    open_bmp,
    open_heic,
    open_jpeg,
    write_avif,
    write_bmp,
    write_jpeg,
)
from isr.io.pictures.png import open_png, write_png
from isr.io.pictures.stored import Stored
from isr.io.pictures.tiff import open_tiff, write_tiff
from isr.io.pictures.webp import open_webp, write_webp


@dataclass(frozen=True)
class Format:
    """What a file format is and can hold.

    Attributes:
        suffixes: in lower case, with the dot; new files are given the first.
        begins: whether these first 64 bytes are those of such a file.
        open: reads the header of a file that is open for reading, at its beginning.
        write: writes `[height, width, channels]` and metadata to a new file, at a quality of 1 to 100; None: the
            format is only read, and new files become JPEG.
        channels: numbers of channels that it holds; any other picture is converted.
        max_side, max_area: in pixels.
        dtypes: names of the types that it holds; any other picture is converted.
        holds_profile: whether there is a place for an ICC profile.
    """

    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]
    open: Callable[[Path, BinaryIO], Stored]
    write: Callable[[Path, np.ndarray, Metadata, int], None] | None
    channels: tuple[int, ...]
    max_side: int
    max_area: int = 2**62
    dtypes: tuple[str, ...] = ("uint8",)
    holds_profile: bool = True


HEIC_KINDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")
FORMATS = {
    # The sides of PNG, JPEG and WebP are those that libpng, libjpeg and libwebp accept.
    "PNG": Format(
        suffixes=(".png",),
        begins=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
        open=open_png,
        write=write_png,
        channels=(1, 2, 3, 4),
        max_side=1_000_000,
        dtypes=("uint8", "uint16"),
    ),
    "JPEG": Format(
        suffixes=(".jpg", ".jpeg"),
        begins=lambda head: head.startswith(b"\xff\xd8\xff"),
        open=open_jpeg,
        write=write_jpeg,
        channels=(1, 3),
        max_side=65_500,
    ),
    "WEBP": Format(
        suffixes=(".webp",),
        begins=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        open=open_webp,
        write=write_webp,
        channels=(3, 4),
        max_side=16_383,
    ),
    "TIFF": Format(
        suffixes=(".tif", ".tiff"),
        begins=lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        open=open_tiff,
        write=write_tiff,
        channels=(1, 2, 3, 4),
        max_side=2**31 - 1,
        dtypes=("uint8", "uint16", "float32"),
    ),
    # The length of the file is a 32-bit number.
    "BMP": Format(
        suffixes=(".bmp",),
        begins=lambda head: head.startswith(b"BM"),
        open=open_bmp,
        write=write_bmp,
        channels=(1, 3),
        max_side=2**31 - 1,
        max_area=2**30,
        holds_profile=False,
    ),
    # What libavif refuses to read.
    "AVIF": Format(
        suffixes=(".avif",),
        begins=lambda head: head[4:8] == b"ftyp" and (b"avif" in head[8:] or b"avis" in head[8:]),
        open=open_avif,
        write=write_avif,
        channels=(3, 4),
        max_side=32_768,
        max_area=2**28,
    ),
    # Behind AVIF, which names some of the same kinds.
    "HEIC": Format(
        suffixes=(".heic", ".heif"),
        begins=lambda head: head[4:8] == b"ftyp" and any(kind in head[8:] for kind in HEIC_KINDS),
        open=open_heic,
        write=None,
        channels=(3, 4),
        max_side=2**31 - 1,
    ),
}
# Pillow is built with or without two of them. Looking for its modules does not import it: PNG files do without.
for _name in ("WEBP", "AVIF"):
    if find_spec(f"PIL._{_name.lower()}") is None:
        del FORMATS[_name]

READABLE: frozenset[str] = frozenset(suffix for form in FORMATS.values() for suffix in form.suffixes)
WRITABLE: frozenset[str] = frozenset(
    suffix for form in FORMATS.values() if form.write is not None for suffix in form.suffixes
)


def recognised(head: bytes) -> str | None:
    """Tell the format that a file's first 64 bytes announce; None for an unknown one."""
    return next((name for name, form in FORMATS.items() if form.begins(head)), None)


def suffix_of(format: str) -> str:
    """Tell the suffix, with the dot, that new files are given of a picture that had a format such as "JPEG"."""
    return FORMATS[format if FORMATS[format].write is not None else "JPEG"].suffixes[0]


def usual_suffix(suffix: str) -> str:
    """Tell the suffix that new files of the same format are given; any other than a picture's stays as it is.

    Args:
        suffix: in lower case, with the dot, such as ".jpeg".
    """
    return next((form.suffixes[0] for form in FORMATS.values() if suffix in form.suffixes), suffix)


def format_for(path: Path, format: str | None) -> str:
    """Tell the format that `path` is written in: `format`, or else its suffix's; RequestError for an unknown one."""
    names = {suffix[1:]: name for name, form in FORMATS.items() for suffix in form.suffixes if form.write}
    asked = (path.suffix[1:] if format is None else format).lower()
    if asked not in names:
        what = f"the format {format}" if format is not None else f"the suffix {path.suffix or '(none)'}"
        raise RequestError(
            f"{path}: {what} is not one that pictures can be written in here: "
            f"choose one of {', '.join(sorted('.' + suffix for suffix in names))}"
        )
    return names[asked]


def check_writable(
    path: StrPath, width: int, height: int, channels: int, dtype: Any, *, format: str | None = None
) -> None:
    """Make sure, before any work, that `write` could write such a picture to `path`.

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
    if max(width, height) > form.max_side or width * height > form.max_area:
        over_side = max(width, height) > form.max_side
        limit = f"{form.max_side} a side" if over_side else f"{form.max_area} in all"
        roomier = [name for name in ("PNG", "TIFF") if max(width, height) <= FORMATS[name].max_side]
        raise RequestError(
            f"{path}: {width}x{height} pixels, but {name} holds {limit}: "
            f"choose {' or '.join(roomier) or 'tiles'} or a smaller scale"
        )
    if channels not in (1, 2, 3, 4):
        raise RequestError(f"{path}: {channels} channels: a picture has 1 (gray), 2, 3 (RGB) or 4 (RGBA)")
    if np.dtype(dtype).name not in ("uint8", "uint16", "float32"):
        raise RequestError(f"{path}: pixels of type {np.dtype(dtype).name}: give uint8, uint16 or float32")


def losses(suffix: str, channels: int, dtype: Any) -> str:
    """Tell what a file cannot hold of a picture, as a line such as "jpg has only 8 bits".

    Args:
        suffix: of the file, one of `READABLE`, in any case.
        channels: of the picture, 1 to 4.
        dtype: of its pixels: uint8, uint16 or float32.

    Returns:
        The line; empty where the file holds all.
    """
    form, lost = FORMATS[format_for(Path(suffix), suffix[1:])], []
    if channels in (2, 4) and not {2, 4} & set(form.channels):
        lost.append("no transparency: laid over white")
    kept = nearest(np.dtype(dtype).name, form.dtypes)
    if kept != np.dtype(dtype).name:
        lost.append(f"only {8 * np.dtype(kept).itemsize} bits")
    return f"{suffix[1:].lower()} has {' and '.join(lost)}" if lost else ""
