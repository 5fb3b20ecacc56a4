"""TIFF: directories and pixels by tifffile, the kinds of pixels sorted out here."""

import io
import math
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isr.errors import RequestError
from isr.io import exif
from isr.io.pictures.depth import eight_bits, squeezed, unassociated
from isr.io.pictures.picture import Metadata
from isr.io.pictures.stored import Stored, described

# Bytes of pixels in a file whose places are numbers of 32 bits, with room for what else it holds.
LARGEST_CLASSIC = 2**32 - 2**25


@dataclass(frozen=True)
class _Samples:
    """How the numbers of a TIFF page make up a picture; `colours` are the samples per pixel that are colour.

    One for gray or an index into a palette, 3 for RGB, 4 for CMYK.
    """

    colours: int
    alpha: bool
    bits: int
    channels: int
    dtype: str


@cache
def _tifffile() -> Any:
    """tifffile, which other pictures do without."""
    import logging

    import tifffile

    # What it finds odd in a file, it tells by its logger, which without a handler prints it. Whatever matters is an
    # exception and becomes our one line.
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    return tifffile


def open_tiff(path: Path, file: BinaryIO) -> Stored:
    """Read the header of a TIFF file."""
    tifffile = _tifffile()
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
    samples = _samples_of(path, page)
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
    turned = value(exif.ORIENTATION)
    orientation, metadata = described(
        None if samples.colours == 4 else profile,
        exif.from_tiff(file, without=without),
        xmp,
        exif.resolution(file),
        int(turned) if turned in range(1, 9) else 1,
    )

    def decode() -> np.ndarray:
        return _pixels(page, samples, profile)

    return Stored(
        "TIFF",
        page.imagewidth,
        page.imagelength,
        samples.channels,
        samples.dtype,
        orientation,
        metadata,
        decode,
    )


def _samples_of(path: Path, page: Any) -> _Samples:
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
    return _Samples(colours, bool(extra), bits, channels, dtype)


def _pixels(page: Any, samples: _Samples, profile: bytes | None) -> np.ndarray:
    pixels = page.asarray()
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        pixels = np.moveaxis(pixels.reshape(page.samplesperpixel, page.imagelength, page.imagewidth), 0, -1)
    pixels = pixels.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
    photometric = getattr(page.photometric, "name", "")
    if photometric == "PALETTE":
        # [2^bits, 3] of 16 bits, or 8 by mistake of the writer.
        colours = np.asarray(page.colormap).T
        return eight_bits(colours if colours.max() > 255 else colours * 257)[pixels[..., 0]]
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
        pixels = unassociated(pixels)
    if samples.colours == 4:
        # Here alone: most pictures need no conversion.
        from PIL import Image

        from isr.io.pictures.colour import rgb_from_cmyk

        pixels = eight_bits(pixels)
        inks = Image.fromarray(np.ascontiguousarray(pixels[..., :4]), "CMYK")
        pixels = np.concatenate([rgb_from_cmyk(inks, profile), pixels[..., 4:]], axis=-1)
    return pixels


def write_tiff(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    """Write a TIFF file, deflated; it has no quality."""
    tifffile = _tifffile()
    channels = pixels.shape[-1]
    tifffile.imwrite(
        path,
        squeezed(pixels),
        photometric="rgb" if channels >= 3 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        # What is compressed may still be over 4 GiB.
        bigtiff=pixels.nbytes > LARGEST_CLASSIC,
        # Few readers know the one for floating point.
        predictor=pixels.dtype != np.float32,
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
                exif.add_to_tiff(file, metadata.exif)
        except ValueError as error:
            warnings.warn(f"EXIF left out of a TIFF: {error}", stacklevel=2)
