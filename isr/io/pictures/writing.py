"""Picture files written, whole or not at all."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from isr.errors import ISRError, RequestError
from isr.io.errors import one_line
from isr.io.files import StrPath, atomic
from isr.io.pictures.depth import at_depth, with_any_of
from isr.io.pictures.formats import FORMATS, Format, check_writable, format_for
from isr.io.pictures.picture import Metadata, Picture


def write(
    path: StrPath,
    picture: Picture,
    *,
    format: str | None = None,
    quality: int = 95,
    strip_metadata: bool = False,
) -> None:
    """Write a picture file, whole or not at all.

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
    name = format_for(path, format)
    with one_line(path, f"cannot be written as {name}", "check the picture and its metadata", ISRError):
        pixels, metadata = _fitted(pixels, picture.metadata, FORMATS[name], strip_metadata)
        with atomic(path) as temporary:
            save = FORMATS[name].write
            assert save is not None, "checked by `format_for`"
            save(temporary, pixels, metadata, quality)


def _fitted(
    pixels: np.ndarray, metadata: Metadata, form: Format, strip_metadata: bool
) -> tuple[np.ndarray, Metadata]:
    """Pixels and metadata as the format `form` can hold them."""
    pixels = at_depth(pixels, form.dtypes)
    profile = metadata.icc_profile
    if profile:
        # Here alone: most pictures need no conversion.
        from isr.io.pictures.colour import in_srgb, is_srgb

        space = profile[16:20]
        gray_for_rgb = space == b"GRAY" and (pixels.shape[-1] >= 3 or 1 not in form.channels)
        convert = strip_metadata or gray_for_rgb or not form.holds_profile
        if space not in (b"GRAY", b"RGB ") or (convert and is_srgb(profile)):
            profile = None
        elif convert and pixels.dtype == np.uint8:
            pixels, profile = in_srgb(pixels, profile), None
        elif gray_for_rgb:
            profile = None
    metadata = Metadata(icc_profile=profile) if strip_metadata else replace(metadata, icc_profile=profile)
    return np.ascontiguousarray(with_any_of(pixels, form.channels)), metadata
