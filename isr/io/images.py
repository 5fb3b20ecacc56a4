"""Pictures as NumPy arrays, with the metadata that a photographer would miss, read and written whole.

PNG, JPEG, WebP, TIFF, BMP and, where Pillow has it, AVIF; gray or colour, with alpha or without, 8 or 16
bits or (TIFF) float32. What a file is, its first bytes say, not its name.

Colour values are the file's own: the ICC profile that gives them a meaning travels along in the metadata.
Only CMYK is converted, since a picture here is gray or RGB. PNG's gAMA and cHRM chunks are not looked at.
A PNG or TIFF of 16 bits keeps them all; an AVIF of more than 8 bits is read as 8.
"""

import contextlib
import io
import logging
import math
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, features

from isr.errors import ISRError, MachineError, RequestError
from isr.io import exif as exif_block
from isr.io import files

StrPath = str | os.PathLike[str]

# tifffile reports what it finds odd in a file to its logger, which without a handler prints it; whatever
# matters is an exception and becomes our one line.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture beside the pixels; None where it says nothing.

    Attributes:
        icc_profile: the colour profile, bytes of an ICC file.
        exif: the EXIF block, beginning with its byte order mark (`II` or `MM`); its Orientation is 1.
        xmp: the XMP packet, UTF-8 XML.
        resolution: (horizontal, vertical) in dots per inch.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    resolution: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    Attributes:
        pixels: `[height, width, channels]`, upright; 1 channel is gray, 2 gray and alpha, 3 RGB, 4 RGBA;
            uint8, uint16 or float32 (0 is black and 1 white, values beyond may occur); alpha is not
            multiplied into the colours.
        metadata: profile, EXIF, XMP, resolution.
        format: the file format it was read from: "PNG", "JPEG", "WEBP", "TIFF", "BMP" or "AVIF".
    """

    pixels: np.ndarray
    metadata: Metadata = field(default_factory=Metadata)
    format: str = "PNG"


@dataclass(frozen=True)
class PictureInfo:
    """What `read` would return, from the file's header: size (upright), format, channels and dtype name."""

    width: int
    height: int
    format: str
    channels: int
    dtype: str


@dataclass(frozen=True)
class _Format:
    """What a file format can hold."""

    suffixes: tuple[str, ...]
    channels: tuple[int, ...]
    max_side: int
    max_area: int
    dtypes: tuple[str, ...] = ("uint8",)
    holds_profile: bool = True


# The sides are those that libpng, libjpeg and libwebp accept; libavif refuses to read more than 32,768 a side
# and 2^28 in all; a BMP's length is a 32-bit number.
_FORMATS = {
    "PNG": _Format((".png",), (1, 2, 3, 4), 1_000_000, 2**62, ("uint8", "uint16")),
    "JPEG": _Format((".jpg", ".jpeg"), (1, 3), 65_500, 2**62),
    "WEBP": _Format((".webp",), (3, 4), 16_383, 2**62),
    "TIFF": _Format((".tif", ".tiff"), (1, 2, 3, 4), 2**31 - 1, 2**62, ("uint8", "uint16", "float32")),
    "BMP": _Format((".bmp",), (1, 3), 2**31 - 1, 2**30, holds_profile=False),
    "AVIF": _Format((".avif",), (3, 4), 32_768, 2**28),
}
_FORMATS = {
    name: form
    for name, form in _FORMATS.items()
    if name not in ("WEBP", "AVIF") or features.check(name.lower())
}

READABLE: frozenset[str] = frozenset(suffix for form in _FORMATS.values() for suffix in form.suffixes)


@dataclass(frozen=True)
class _Opened:
    """A file whose header is read: what it holds as stored, and how to decode it."""

    format: str
    width: int
    height: int
    channels: int
    dtype: str
    orientation: int
    metadata: Metadata
    decode: Callable[[], np.ndarray]  # [height, width, channels] as stored


def probe(path: StrPath, *, max_pixels: int = 10**9) -> PictureInfo:
    """Reads the header of a picture file.

    Args:
        path: the file.
        max_pixels: the most pixels (width times height) that are accepted.

    Raises:
        RequestError, MachineError: as `read`, as far as the header tells.
    """
    with _opened(path, max_pixels) as opened:
        turned = opened.orientation >= 5
        width, height = (opened.height, opened.width) if turned else (opened.width, opened.height)
        return PictureInfo(width, height, opened.format, opened.channels, opened.dtype)


def read(path: StrPath, *, max_pixels: int = 10**9) -> Picture:
    """Reads a picture file, upright, at the depth it has.

    Palettes become RGB or RGBA, 1-bit pictures 8-bit gray, transparent colours (PNG's tRNS) an alpha channel.
    CMYK becomes 8-bit sRGB, through the embedded profile (which is then dropped) or, without one, by the
    plain formula. TIFF's white-is-zero is turned over, its premultiplied alpha divided out, and 9 to 15 bits
    are stretched to 16.

    Args:
        path: the file.
        max_pixels: the most pixels (width times height) that are accepted; larger files are refused before
            anything is decoded.

    Returns:
        The picture: pixels `[height, width, 1..4]` uint8, uint16 or float32, with the EXIF orientation
        applied and the Orientation in the carried EXIF and XMP set to 1.

    Raises:
        RequestError: the file is missing, empty, truncated, damaged, an animation, of several pages, too
            large, or no picture at all. One line that begins with the path.
        MachineError: there is not memory enough.
    """
    with _opened(path, max_pixels) as opened:
        pixels = opened.decode()
        if pixels.shape != (opened.height, opened.width, opened.channels) or pixels.dtype != opened.dtype:
            raise ValueError(f"{pixels.shape} {pixels.dtype} decoded where the header says otherwise")
        return Picture(_upright(pixels, opened.orientation), opened.metadata, opened.format)


def write(
    path: StrPath,
    picture: Picture,
    *,
    format: str | None = None,
    quality: int = 95,
    strip_metadata: bool = False,
) -> None:
    """Writes a picture file, whole or not at all.

    What the format cannot hold is converted: 16 bits and float32 to 8 bits with rounding (float32 to 16 bits
    in a PNG), gray to RGB for WebP and AVIF, and alpha is laid over white for JPEG and BMP, which have none.

    ICC profile, EXIF, XMP and resolution are written in every format that has a place for them (BMP: only the
    resolution; WebP and AVIF hold the resolution inside EXIF). JPEG has room for 64 kB of EXIF and of XMP: a
    larger block is left out with a warning. A profile that the file cannot hold (any in BMP, a gray one with
    RGB pixels) is applied instead: the pixels become sRGB.

    Args:
        path: the file; its suffix gives the format unless `format` does. Missing folders are made.
        picture: pixels `[height, width, 1..4]` uint8, uint16 or float32 in [0, 1] (clipped, except in TIFF).
        format: "PNG", "JPEG", "WEBP", "TIFF", "BMP" or "AVIF".
        quality: 1 to 100, for JPEG, WebP and AVIF. From 90 on colour has full resolution (4:4:4) in JPEG and
            AVIF: halved colour is the larger error there, and blurs what was just upscaled. WebP is lossless
            at 100.
        strip_metadata: leaves out ICC profile, EXIF, XMP and resolution. So that colours do not shift, the
            pixels are converted from the profile to sRGB first. Where more than 8 bits are written, this
            cannot be done exactly, and the profile (alone) is kept.

    Raises:
        RequestError: as `check_writable`; or the quality is out of range; or the file may not be written.
        MachineError: memory or disk do not suffice.
    """
    path = Path(path)
    pixels = np.asarray(picture.pixels)
    if pixels.ndim != 3:
        raise RequestError(f"{path}: pixels of shape {pixels.shape}: give them as (height, width, channels)")
    height, width, channels = pixels.shape
    check_writable(path, width, height, channels, pixels.dtype, format=format)
    if not 1 <= quality <= 100:
        raise RequestError(f"{path}: quality {quality}: choose 1 to 100")
    name = _format_for(path, format)
    with _one_line(path, f"cannot be written as {name}", "check the picture and its metadata", ISRError):
        pixels, metadata = _fitted(pixels, picture.metadata, _FORMATS[name], strip_metadata)
        with files.atomic(path) as temporary:
            _WRITERS[name](temporary, pixels, metadata, quality)


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
    name = _format_for(Path(path), format)
    form = _FORMATS[name]
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


def _format_for(path: Path, format: str | None) -> str:
    names = {suffix[1:]: name for name, form in _FORMATS.items() for suffix in form.suffixes}
    asked = (path.suffix[1:] if format is None else format).lower()
    if asked not in names:
        what = f"the format {format}" if format is not None else f"the suffix {path.suffix or '(none)'}"
        raise RequestError(
            f"{path}: {what} is not one that pictures can be written in here: "
            f"choose one of {', '.join(sorted('.' + suffix for suffix in names))}"
        )
    return names[asked]


def _roomier(width: int, height: int) -> str:
    names = [name for name in ("PNG", "TIFF") if max(width, height) <= _FORMATS[name].max_side]
    return " or ".join(names) or "tiles"


# ------------------------------------------------------------------------------------------- opening a file


@contextmanager
def _opened(path: StrPath, max_pixels: int) -> Iterator[_Opened]:
    """Opens a picture file up to its pixels; whatever goes wrong becomes one line that names it."""
    path = Path(path)
    what, advice = "cannot be read", "it is damaged or cut off, get it anew"
    with _one_line(path, what, advice, RequestError), path.open("rb") as file:
        head = file.read(64)
        if not head:
            raise RequestError(f"{path}: the file is empty: get it anew")
        name = _recognised(head)
        if name is None:
            raise RequestError(f"{path}: not a picture of a known format: give one of {', '.join(_FORMATS)}")
        file.seek(0)
        opened = _OPENERS[name](path, file)
        if opened.width < 1 or opened.height < 1:
            raise RequestError(
                f"{path}: the picture is {opened.width}x{opened.height} pixels, that is empty: get it anew"
            )
        if opened.width * opened.height > max_pixels:
            raise RequestError(
                f"{path}: {opened.width}x{opened.height} pixels are more than the limit of {max_pixels}: "
                "raise max_pixels if you trust the file"
            )
        yield opened


def _recognised(head: bytes) -> str | None:
    """The format that a file's first bytes announce."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and "WEBP" in _FORMATS:
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head.startswith(b"BM"):
        return "BMP"
    if head[4:8] == b"ftyp" and (b"avif" in head[8:] or b"avis" in head[8:]) and "AVIF" in _FORMATS:
        return "AVIF"
    return None


@contextmanager
def _one_line(path: Path, what: str, advice: str, kind: type[ISRError]) -> Iterator[None]:
    """Turns whatever is raised inside into an ISRError of one line that begins with the path."""
    try:
        yield
    except ISRError:
        raise
    except MemoryError as error:
        advice = "close other programs or take a smaller picture"
        raise MachineError(f"{path}: {what}: there is not enough memory: {advice}") from error
    except OSError as error:
        if error.errno is not None:
            raise files.file_error(path, error) from error
        raise kind(f"{path}: {what} ({_brief(error)}): {advice}") from error
    except Exception as error:  # given damaged bytes, decoders raise every exception there is
        raise kind(f"{path}: {what} ({_brief(error)}): {advice}") from error


def _brief(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 120 else said[:117] + "..."


def _described(
    icc_profile: bytes | None, exif: bytes | None, xmp: bytes | None, resolution: Any, orientation: int = 1
) -> tuple[int, Metadata]:
    """The orientation to apply, and the metadata as it is once that is done.

    The orientation is the file's own (`orientation`), else EXIF's, else XMP's; likewise the resolution.
    """
    if exif:
        exif = exif.removeprefix(b"Exif\0\0")
        if exif[:4] not in (b"II*\0", b"MM\0*"):
            exif = None  # damaged or something else; some writers would refuse the whole picture for it
    if exif:
        asked, exif = exif_block.reset_orientation(exif)
        orientation = asked if orientation == 1 else orientation
        resolution = resolution or exif_block.resolution(io.BytesIO(exif))
    if xmp:
        match = re.search(rb"""tiff:Orientation(?:\s*=\s*["']|\s*>\s*)([1-8])(?=["'\s<])""", xmp)
        if match:
            orientation = int(match[1]) if orientation == 1 else orientation
            xmp = xmp[: match.start(1)] + b"1" + xmp[match.end(1) :]
    try:
        horizontal, vertical = (float(value) for value in resolution)
        sensible = 0 < horizontal < 1e6 and 0 < vertical < 1e6
    except (TypeError, ValueError, ZeroDivisionError):
        sensible = False
    dpi = None
    if sensible:
        dpi = (vertical, horizontal) if orientation >= 5 else (horizontal, vertical)
    return orientation, Metadata(icc_profile or None, exif or None, xmp or None, dpi)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors `[h, w, c]` as EXIF's Orientation (1 to 8) asks."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


# ------------------------------------------------------------------------------------------------------ PNG

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
_PNG_XMP = b"XML:com.adobe.xmp\0"
# Larger metadata in a compressed chunk is a bomb, not a profile.
_PNG_MAX_METADATA = 2**26


def _open_png(path: Path, file: BinaryIO) -> _Opened:
    needed: list[tuple[int, int]] = []  # where the chunks lie that the pixels hang on
    found: dict[bytes, bytes] = {}
    critical = (b"IHDR", b"PLTE", b"tRNS")
    xmp = None
    for kind, position, length in _png_chunks(file):
        if kind in (*critical, b"IDAT", b"IEND"):
            needed.append((position - 8, length + 12))
        if kind in (*critical, b"acTL", b"iCCP", b"eXIf", b"pHYs", b"iTXt"):
            file.seek(position)
            payload = file.read(length)
            if zlib.crc32(kind + payload) != int.from_bytes(file.read(4), "big"):
                if kind in critical:
                    raise ValueError(f"the chunk {kind.decode()} is damaged")
                continue
            if kind == b"iTXt" and payload.startswith(_PNG_XMP):
                xmp = _png_international_text(payload)
            found.setdefault(kind, payload)
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", found[b"IHDR"])
    if b"acTL" in found and struct.unpack_from(">I", found[b"acTL"])[0] > 1:
        raise RequestError(f"{path}: an animated PNG: save the frame you want as a picture")
    if colour not in _PNG_CHANNELS:
        raise ValueError(f"PNG colour type {colour}")
    profile = None
    if b"iCCP" in found:
        with contextlib.suppress(zlib.error, ValueError):
            profile = _inflated(found[b"iCCP"].split(b"\0", 1)[1][1:])
    resolution = None
    if len(found.get(b"pHYs", b"")) == 9:
        across, down, unit = struct.unpack(">IIB", found[b"pHYs"])
        resolution = (across * 0.0254, down * 0.0254) if unit == 1 else None
    orientation, metadata = _described(profile, found.get(b"eXIf"), xmp, resolution)

    def decode() -> np.ndarray:
        import imagecodecs

        # Without the chunks that libpng would print its opinion of.
        data = bytearray(_PNG_SIGNATURE)
        for start, size in needed:
            file.seek(start)
            data += file.read(size)
        return _with_channels(imagecodecs.png_decode(bytes(data)))

    channels = _PNG_CHANNELS[colour] + (b"tRNS" in found and colour in (0, 2, 3))
    return _Opened(
        "PNG", width, height, channels, "uint16" if depth == 16 else "uint8", orientation, metadata, decode
    )


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a PNG file, from IHDR to IEND: type, where the payload begins, its length."""
    end = file.seek(0, io.SEEK_END)
    position = len(_PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND":
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("the file ends before the picture does")
        length, kind = struct.unpack(">I4s", head)
        if position == len(_PNG_SIGNATURE) and (kind, length) != (b"IHDR", 13):
            raise ValueError("no header at the beginning")
        if position + length + 12 > end:
            raise ValueError("the file ends before the picture does")
        yield kind, position + 8, length
        position += length + 12


def _png_international_text(payload: bytes) -> bytes | None:
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
    text = stream.decompress(data, _PNG_MAX_METADATA)
    if not stream.eof:
        raise ValueError("compressed metadata is cut off or too long")
    return text


def _write_png(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    import imagecodecs

    # Level 4 with zlib's strategy for filtered data: on photographs smaller than level 6 without, in half
    # the time.
    data = imagecodecs.png_encode(_squeezed(pixels), level=4, strategy=1)
    path.write_bytes(_with_png_chunks(bytes(data), metadata))


def _with_png_chunks(data: bytes, metadata: Metadata) -> bytes:
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
        added += chunk(b"iTXt", _PNG_XMP + b"\0\0\0\0" + metadata.xmp)
    header = len(_PNG_SIGNATURE) + 25
    return data[:header] + added + data[header:]


# ----------------------------------------------------------------------------------------------------- WebP


def _open_webp(path: Path, file: BinaryIO) -> _Opened:
    found = {kind: (position, length) for kind, position, length in _webp_chunks(file)}

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
    orientation, metadata = _described(payload(b"ICCP"), payload(b"EXIF"), payload(b"XMP "), None)

    def decode() -> np.ndarray:
        import imagecodecs

        file.seek(0)
        return imagecodecs.webp_decode(file.read(), hasalpha=alpha)

    return _Opened("WEBP", width, height, 4 if alpha else 3, "uint8", orientation, metadata, decode)


def _webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
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


def _write_webp(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    kept = _kept(metadata, exif=_exif_with_resolution(metadata), xmp=metadata.xmp)
    if quality == 100:
        # Pillow's `quality` means effort here; `exact` keeps the colours where alpha is zero.
        Image.fromarray(pixels).save(path, "WEBP", lossless=True, exact=True, quality=70, **kept)
    else:
        Image.fromarray(pixels).save(path, "WEBP", quality=quality, **kept)


# ------------------------------------------------------------------------------- JPEG, BMP, AVIF, by Pillow

# The classes themselves and not Image.open, whose limit of pixels is one for the whole process; ours is
# checked by `_opened`.


def _open_jpeg(path: Path, file: BinaryIO) -> _Opened:
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(file, "")
    # Not `info["dpi"]`, which Pillow makes up where EXIF is odd.
    unit = {1: 1.0, 2: 2.54}.get(image.info.get("jfif_unit", 0))
    resolution = [unit * value for value in image.info["jfif_density"]] if unit else None
    return _opened_by_pillow("JPEG", image, resolution)


def _open_bmp(path: Path, file: BinaryIO) -> _Opened:
    from PIL.BmpImagePlugin import BmpImageFile

    image = BmpImageFile(file, "")
    return _opened_by_pillow("BMP", image, image.info.get("dpi"))


def _open_avif(path: Path, file: BinaryIO) -> _Opened:
    from PIL.AvifImagePlugin import AvifImageFile

    image = AvifImageFile(file, "")
    if image.n_frames > 1:
        raise RequestError(f"{path}: an animated AVIF: save the frame you want as a picture")
    return _opened_by_pillow("AVIF", image, None)


def _opened_by_pillow(format: str, image: Any, resolution: Any) -> _Opened:
    profile = image.info.get("icc_profile")
    cmyk = image.mode == "CMYK"
    mode = {"1": "L", "P": "RGB", "CMYK": "RGB", "RGBX": "RGB"}.get(image.mode, image.mode)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}.get(mode)
    if channels is None:
        raise ValueError(f"pixels of Pillow's mode {image.mode}")
    orientation, metadata = _described(
        None if cmyk else profile, image.info.get("exif"), image.info.get("xmp"), resolution
    )

    def decode() -> np.ndarray:
        image.load()
        return _with_channels(_rgb_from_cmyk(image, profile) if cmyk else np.asarray(image.convert(mode)))

    return _Opened(format, image.width, image.height, channels, "uint8", orientation, metadata, decode)


def _write_jpeg(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    # One segment each, and a segment's length is a 16-bit number.
    exif = _within(metadata.exif, 65_527, "EXIF", path)
    xmp = _within(metadata.xmp, 65_502, "XMP", path)
    kept = _kept(metadata, exif=b"Exif\0\0" + exif if exif else None, xmp=xmp)
    if metadata.resolution and all(1 <= round(dpi) <= 65_535 for dpi in metadata.resolution):
        kept["dpi"] = metadata.resolution
    Image.fromarray(_squeezed(pixels)).save(
        path, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0", **kept
    )


def _within(block: bytes | None, limit: int, what: str, path: Path) -> bytes | None:
    if block and len(block) > limit:
        warnings.warn(f"{what} of {len(block)} bytes left out: a JPEG holds {limit}", stacklevel=2)
        return None
    return block


def _write_bmp(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    kept = {"dpi": metadata.resolution} if metadata.resolution else {}
    Image.fromarray(_squeezed(pixels)).save(path, "BMP", **kept)


def _write_avif(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    kept = _kept(metadata, exif=_exif_with_resolution(metadata), xmp=metadata.xmp)
    Image.fromarray(pixels).save(
        path, "AVIF", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0", **kept
    )


def _exif_with_resolution(metadata: Metadata) -> bytes | None:
    """The EXIF block for formats that have no other place for the resolution."""
    if metadata.resolution is None:
        return metadata.exif
    return exif_block.with_resolution(metadata.exif, metadata.resolution)


def _kept(metadata: Metadata, **blocks: bytes | None) -> dict[str, Any]:
    """What there is of the metadata, as arguments of Pillow's `save`."""
    blocks["icc_profile"] = metadata.icc_profile
    return {key: value for key, value in blocks.items() if value}


# ----------------------------------------------------------------------------------------------------- TIFF


@dataclass(frozen=True)
class _TiffSamples:
    """How the numbers of a TIFF page make up a picture."""

    colours: int  # samples per pixel that are colour: 1 gray or palette index, 3 RGB, 4 CMYK
    alpha: bool
    bits: int
    channels: int
    dtype: str


def _open_tiff(path: Path, file: BinaryIO) -> _Opened:
    import tifffile

    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    tiff = tifffile.TiffFile(file)
    # Thumbnails, smaller copies and masks of a page are no pages of their own.
    pages: list[Any] = list(tiff.pages)
    if not pages:
        raise ValueError("no picture in the file")
    full = [page for page in pages if not page.subfiletype & 0b101]
    if len(full) > 1:
        raise RequestError(f"{path}: a TIFF of {len(full)} pages: split it into one file per page")
    page = full[0] if full else pages[0]
    samples = _tiff_samples(path, page)
    counts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(counts) < math.prod(page.chunked) or any(not count or at + count > size for at, count in counts):
        raise ValueError("the file ends before the picture does")
    largest_tile = max(16 * page.imagewidth * page.imagelength, 2**24)
    if page.is_tiled and page.tilewidth * page.tilelength > largest_tile:
        raise ValueError(f"tiles of {page.tilewidth}x{page.tilelength}")

    def value(code: int) -> Any:
        tag = page.tags.get(code)
        return None if tag is None else tag.value

    profile, xmp = (found if isinstance(found, bytes) else None for found in (value(34675), value(700)))
    # A description that a program left for itself says how the old pixels lie: it would be wrong of new ones.
    without = [270] if page.is_shaped or page.is_imagej or page.is_ome else []
    turned = value(exif_block.ORIENTATION)
    orientation, metadata = _described(
        None if samples.colours == 4 else profile,
        exif_block.from_tiff(file, without=without),
        xmp,
        exif_block.resolution(file),
        int(turned) if turned in range(1, 9) else 1,
    )

    def decode() -> np.ndarray:
        return _tiff_pixels(page, samples, profile)

    return _Opened(
        "TIFF",
        page.imagewidth,
        page.imagelength,
        samples.channels,
        samples.dtype,
        orientation,
        metadata,
        decode,
    )


def _tiff_samples(path: Path, page: Any) -> _TiffSamples:
    """What the samples of a TIFF page are; RequestError where they are nothing that a photograph has."""
    photometric = getattr(page.photometric, "name", str(page.photometric))
    # JPEG within TIFF is decoded to RGB.
    colours = {
        "MINISWHITE": 1,
        "MINISBLACK": 1,
        "RGB": 3,
        "PALETTE": 1,
        "SEPARATED": 4,
        "YCBCR": 3 if page.compression == 7 else None,
    }.get(photometric)
    ink = page.tags.get(332)
    if colours is None or (photometric == "SEPARATED" and ink is not None and ink.value != 1):
        raise RequestError(f"{path}: a TIFF with colours of the kind {photometric}: convert it to RGB")
    extra = page.samplesperpixel - colours
    if extra not in (0, 1) or (photometric == "PALETTE" and extra) or page.imagedepth != 1:
        raise RequestError(
            f"{path}: a TIFF with {page.samplesperpixel} samples a pixel ({photometric}, depth "
            f"{page.imagedepth}): flatten it to gray or RGB with at most one alpha channel"
        )
    bits, kind = page.bitspersample, page.sampleformat
    dtype = None
    if kind == 3 and bits in (16, 32) and colours != 4:
        dtype = "float32"
    elif kind in (1, 4) and isinstance(bits, int) and 1 <= bits <= 16:
        dtype = "uint8" if bits <= 8 or colours == 4 or photometric == "PALETTE" else "uint16"
    if dtype is None:
        name = {1: "unsigned integer", 2: "signed integer", 3: "float"}.get(kind, "complex or unknown")
        raise RequestError(
            f"{path}: a TIFF of {bits}-bit {name} samples: convert it to 8 or 16 bits unsigned or to float32"
        )
    channels = (1 if colours == 1 and photometric != "PALETTE" else 3) + extra
    return _TiffSamples(colours, bool(extra), bits, channels, dtype)


def _tiff_pixels(page: Any, samples: _TiffSamples, profile: bytes | None) -> np.ndarray:
    pixels = page.asarray()
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels.reshape(page.samplesperpixel, page.imagelength, page.imagewidth), 0, -1)
    pixels = pixels.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
    photometric = getattr(page.photometric, "name", "")
    if photometric == "PALETTE":
        colours = np.asarray(page.colormap).T  # [2^bits, 3] of 16 bits, or 8 by mistake of the writer
        return _eight_bits(colours if colours.max() > 255 else colours * 257)[pixels[..., 0]]
    if samples.dtype == "float32":
        pixels, white = pixels.astype(np.float32), 1
    else:
        most, white = 2**samples.bits - 1, 255 if samples.bits <= 8 else 65535
        if most != white:
            pixels = (pixels.astype(np.uint32) * white + most // 2) // most
        pixels = pixels.astype(np.uint8 if white == 255 else np.uint16)
    if photometric == "MINISWHITE":
        pixels[..., 0] = white - pixels[..., 0]
    if samples.alpha and samples.colours != 4 and page.extrasamples and page.extrasamples[0] == 1:
        # An extra sample of unknown meaning is taken for alpha not multiplied in: that way it stays with the
        # picture, unchanged.
        pixels = _unassociated(pixels)
    if samples.colours == 4:
        pixels = _eight_bits(pixels)
        inks = Image.fromarray(np.ascontiguousarray(pixels[..., :4]), "CMYK")
        pixels = np.concatenate([_rgb_from_cmyk(inks, profile), pixels[..., 4:]], axis=-1)
    return pixels


def _unassociated(pixels: np.ndarray) -> np.ndarray:
    """Divides the alpha of gray+alpha or RGBA out of its colours."""
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    if pixels.dtype == np.float32:
        divided = np.divide(colours, alpha, out=np.zeros_like(colours), where=alpha > 0)
    else:
        white = np.uint32(np.iinfo(pixels.dtype).max)
        whole = np.maximum(alpha, 1).astype(np.uint32)
        divided = np.minimum((colours * white + whole // 2) // whole, white) * (alpha > 0)
    return np.concatenate([divided.astype(pixels.dtype), alpha], axis=-1)


def _write_tiff(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    import tifffile

    channels = pixels.shape[-1]
    tifffile.imwrite(
        path,
        _squeezed(pixels),
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=pixels.dtype != np.float32,  # few readers know the one for floating point
        byteorder="<",
        metadata=None,
        software=False,
        iccprofile=metadata.icc_profile,
        resolution=metadata.resolution,
        resolutionunit="INCH" if metadata.resolution else None,
        extratags=[(700, 1, len(metadata.xmp), metadata.xmp, True)] if metadata.xmp else [],
    )
    if metadata.exif:
        try:
            with path.open("r+b") as file:
                exif_block.add_to_tiff(file, metadata.exif)
        except ValueError as error:
            warnings.warn(f"EXIF left out of a TIFF: {error}", stacklevel=2)


# --------------------------------------------------------------------------------- depth, alpha and colours


def _fitted(
    pixels: np.ndarray, metadata: Metadata, form: _Format, strip_metadata: bool
) -> tuple[np.ndarray, Metadata]:
    """Pixels and metadata as the format `form` can hold them."""
    pixels = _at_depth(pixels, form.dtypes)
    profile = metadata.icc_profile
    if profile:
        space = profile[16:20]
        gray_for_rgb = space == b"GRAY" and (pixels.shape[-1] >= 3 or 1 not in form.channels)
        convert = strip_metadata or gray_for_rgb or not form.holds_profile
        if space not in (b"GRAY", b"RGB ") or (convert and _is_srgb(profile)):
            profile = None
        elif convert and pixels.dtype == np.uint8:
            pixels, profile = _in_srgb(pixels, profile), None
        elif gray_for_rgb:
            profile = None
    metadata = Metadata(icc_profile=profile) if strip_metadata else replace(metadata, icc_profile=profile)
    return np.ascontiguousarray(_with_any_of(pixels, form.channels)), metadata


def _at_depth(pixels: np.ndarray, dtypes: tuple[str, ...]) -> np.ndarray:
    """`pixels` in the best of `dtypes` for them; integers are rounded, not cut off."""
    if pixels.dtype.name in dtypes:
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype == np.uint16:
        return _eight_bits(pixels)
    white = 65535 if "uint16" in dtypes else 255
    clipped = np.clip(np.nan_to_num(pixels), 0, 1)
    return (clipped * np.float32(white) + np.float32(0.5)).astype(np.uint16 if white == 65535 else np.uint8)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 as uint8, rounded to nearest (65535 is 255 times 257)."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _with_any_of(pixels: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
    """`pixels` with a number of channels that is among `channels` (with alpha only 8-bit is flattened)."""
    if pixels.shape[-1] in (2, 4) and not {2, 4} & set(channels):
        alpha = pixels[..., -1:].astype(np.uint16)
        over_white = pixels[..., :-1] * alpha + (255 - alpha) * np.uint16(255)
        pixels = ((over_white + np.uint16(127)) // np.uint16(255)).astype(np.uint8)
    if pixels.shape[-1] <= 2 and pixels.shape[-1] not in channels:
        gray, alpha = pixels[..., :1], pixels[..., 1:]
        pixels = np.concatenate([gray, gray, gray, alpha], axis=-1)
    return pixels


def _is_srgb(profile: bytes) -> bool:
    try:
        return "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False


def _in_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """uint8 `pixels` from `profile` (gray or RGB) to sRGB; alpha and number of channels stay as they are."""
    colours = 1 if pixels.shape[-1] <= 2 else 3
    if profile[16:20] == b"GRAY":
        planes = [Image.fromarray(np.ascontiguousarray(pixels[..., index])) for index in range(colours)]
    else:
        rgb = pixels[..., :3] if colours == 3 else np.repeat(pixels[..., :1], 3, axis=-1)
        planes = [Image.fromarray(np.ascontiguousarray(rgb))]
    try:
        transform = _to_srgb(profile, planes[0].mode)
        converted = [np.asarray(ImageCms.applyTransform(plane, transform)) for plane in planes]
    except (ImageCms.PyCMSError, OSError):
        return pixels  # nobody can read this profile, so the colours never had its meaning
    if len(converted) == 3:
        result = np.stack([plane[..., 1] for plane in converted], axis=-1)
    else:
        # A gray of sRGB has three equal values, up to rounding.
        result = converted[0] if colours == 3 else converted[0][..., 1:2]
    return np.concatenate([result, pixels[..., colours:]], axis=-1)


def _rgb_from_cmyk(image: Image.Image, profile: bytes | None) -> np.ndarray:
    """A CMYK image as RGB `[h, w, 3]` uint8, through its profile where it has one that can be read."""
    if profile and profile[16:20] == b"CMYK":
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            return np.asarray(ImageCms.applyTransform(image, _to_srgb(profile, "CMYK")))
    return np.asarray(image.convert("RGB"))


def _to_srgb(profile: bytes, mode: str) -> Any:
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _with_channels(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _squeezed(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


_OPENERS: dict[str, Callable[[Path, BinaryIO], _Opened]] = {
    "PNG": _open_png,
    "JPEG": _open_jpeg,
    "WEBP": _open_webp,
    "TIFF": _open_tiff,
    "BMP": _open_bmp,
    "AVIF": _open_avif,
}
_WRITERS: dict[str, Callable[[Path, np.ndarray, Metadata, int], None]] = {
    "PNG": _write_png,
    "JPEG": _write_jpeg,
    "WEBP": _write_webp,
    "TIFF": _write_tiff,
    "BMP": _write_bmp,
    "AVIF": _write_avif,
}
