"""Picture files read: what a file is, its first bytes say, not its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from isr.errors import RequestError
from isr.io.errors import one_line
from isr.io.files import StrPath
from isr.io.pictures.formats import FORMATS, recognised
from isr.io.pictures.picture import Picture, PictureInfo
from isr.io.pictures.pillow import quantisation_steps
from isr.io.pictures.stored import Stored, upright


def probe(path: StrPath, *, max_pixels: int = 10**9) -> PictureInfo:
    """Read the header of a picture file.

    Args:
        path: the file.
        max_pixels: the most pixels (width times height) that are accepted.

    Returns:
        Size, format, channels and type of what `read` would return.

    Raises:
        RequestError, MachineError: as `read`, as far as the header tells.
    """
    with _opened(path, max_pixels) as opened:
        turned = opened.orientation >= 5
        width, height = (opened.height, opened.width) if turned else (opened.width, opened.height)
        return PictureInfo(width, height, opened.format, opened.channels, opened.dtype)


def read(path: StrPath, *, max_pixels: int = 10**9) -> Picture:
    """Read a picture file, upright, at the depth it has.

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
        return Picture(upright(pixels, opened.orientation), opened.metadata, opened.format)


def quantisation(path: StrPath) -> np.ndarray | None:
    """Read the quantisation steps of the luma of a JPEG file off its header.

    Args:
        path: the file.

    Returns:
        64 whole numbers, in no certain order; None of other formats.

    Raises:
        RequestError, MachineError: as `read`, as far as the header tells.
    """
    path = Path(path)
    with (
        one_line(path, "cannot be read", "it is damaged or cut off, get it anew", RequestError),
        path.open("rb") as file,
    ):
        if recognised(file.read(64)) != "JPEG":
            return None
        file.seek(0)
        return quantisation_steps(file)


@contextmanager
def _opened(path: StrPath, max_pixels: int) -> Iterator[Stored]:
    """Open a picture file up to its pixels; whatever goes wrong becomes one line that names it."""
    path = Path(path)
    what, advice = "cannot be read", "it is damaged or cut off, get it anew"
    with one_line(path, what, advice, RequestError), path.open("rb") as file:
        head = file.read(64)
        if not head:
            raise RequestError(f"{path}: the file is empty: get it anew")
        name = recognised(head)
        if name is None:
            raise RequestError(f"{path}: not a picture of a known format: give one of {', '.join(FORMATS)}")
        file.seek(0)
        opened = FORMATS[name].open(path, file)
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
