"""What a picture is, in memory and in a file's header."""

from dataclasses import dataclass, field

import numpy as np


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
