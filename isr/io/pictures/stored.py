"""A picture file whose header is read, and how what it says of itself holds once the picture is upright."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isr.io import exif as exif_block
from isr.io.pictures.picture import Metadata


@dataclass(frozen=True)
class Stored:
    """A file whose header is read: what it holds as stored, and how to decode it.

    Attributes:
        format: name of the format.
        width, height: in pixels, as stored.
        channels: 1 to 4.
        dtype: name of the type of the pixels.
        orientation: EXIF's, 1 to 8, that makes the stored picture upright.
        metadata: as they are once that is done.
        decode: gives `[height, width, channels]` as stored.
    """

    format: str
    width: int
    height: int
    channels: int
    dtype: str
    orientation: int
    metadata: Metadata
    decode: Callable[[], np.ndarray]


def described(
    icc_profile: bytes | None, exif: bytes | None, xmp: bytes | None, resolution: Any, orientation: int = 1
) -> tuple[int, Metadata]:
    """Tell the orientation to apply, and the metadata as they are once that is done.

    The orientation is the file's own (`orientation`), else EXIF's, else XMP's; likewise the resolution.
    """
    if exif:
        exif = exif.removeprefix(b"Exif\0\0")
        if exif[:4] not in (b"II*\0", b"MM\0*"):
            # Damaged or something else; some writers would refuse the whole picture for it.
            exif = None
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


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror `[h, w, c]` as EXIF's Orientation (1 to 8) asks."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
