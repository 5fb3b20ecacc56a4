"""JPEG, BMP and AVIF, by Pillow; HEIC, by its plugin of the extra `heic`.

Its classes themselves and not `Image.open`, whose limit of pixels is one for the whole process; ours is checked
before anything is decoded. Pillow is imported where a file needs it: PNG files do without.
"""

import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from isr.errors import MachineError, RequestError
from isr.io import exif
from isr.io.pictures.depth import squeezed, with_channels
from isr.io.pictures.picture import Metadata
from isr.io.pictures.stored import Stored, described


def open_jpeg(path: Path, file: BinaryIO) -> Stored:
    """Read the header of a JPEG file."""
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(file, "")
    # Not `info["dpi"]`, which Pillow makes up where EXIF is odd.
    unit = {1: 1.0, 2: 2.54}.get(image.info.get("jfif_unit", 0))
    resolution = [unit * value for value in image.info["jfif_density"]] if unit else None
    return _opened_by_pillow("JPEG", image, resolution)


def quantisation_steps(file: BinaryIO) -> np.ndarray:
    """Read the quantisation steps of the luma of a JPEG file, in no certain order.

    Returns:
        64 whole numbers.
    """
    from PIL.JpegImagePlugin import JpegImageFile

    return np.array(JpegImageFile(file, "").quantization[0])


def open_bmp(path: Path, file: BinaryIO) -> Stored:
    """Read the header of a BMP file."""
    from PIL.BmpImagePlugin import BmpImageFile

    image = BmpImageFile(file, "")
    return _opened_by_pillow("BMP", image, image.info.get("dpi"))


def open_avif(path: Path, file: BinaryIO) -> Stored:
    """Read the header of an AVIF file."""
    from PIL.AvifImagePlugin import AvifImageFile

    image = AvifImageFile(file, "")
    if image.n_frames > 1:
        raise RequestError(f"{path}: an animated AVIF: save the frame you want as a picture")
    return _opened_by_pillow("AVIF", image, None)


def open_heic(path: Path, file: BinaryIO) -> Stored:
    """Read the header of a HEIC file."""
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ModuleNotFoundError:
        raise MachineError(
            f"{path}: a HEIC picture, which needs one more package: pip install 'keras-isr[heic]'; or save it as JPEG"
        ) from None

    # It is turned as its header says when it is opened, and its EXIF says so.
    return _opened_by_pillow("HEIC", HeifImageFile(file, ""), None)


def _opened_by_pillow(format: str, image: Any, resolution: Any) -> Stored:
    profile = image.info.get("icc_profile")
    cmyk = image.mode == "CMYK"
    mode = {"1": "L", "P": "RGB", "CMYK": "RGB", "RGBX": "RGB"}.get(image.mode, image.mode)
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}.get(mode)
    if channels is None:
        raise ValueError(f"pixels of Pillow's mode {image.mode}")
    orientation, metadata = described(
        None if cmyk else profile, image.info.get("exif"), image.info.get("xmp"), resolution
    )

    def decode() -> np.ndarray:
        image.load()
        if not cmyk:
            return with_channels(np.asarray(image.convert(mode)))
        # Here alone: most pictures need no conversion.
        from isr.io.pictures.colour import rgb_from_cmyk

        return with_channels(rgb_from_cmyk(image, profile))

    return Stored(format, image.width, image.height, channels, "uint8", orientation, metadata, decode)


def write_jpeg(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    """Write a JPEG file; a block of metadata that it has no room for is left out with a warning."""
    from PIL import Image

    # One segment each, and a segment's length is a 16-bit number.
    exif = _within(metadata.exif, 65_527, "EXIF", path)
    xmp = _within(metadata.xmp, 65_502, "XMP", path)
    blocks = metadata_blocks(metadata, exif=b"Exif\0\0" + exif if exif else None, xmp=xmp)
    if metadata.resolution and all(1 <= round(dpi) <= 65_535 for dpi in metadata.resolution):
        blocks["dpi"] = metadata.resolution
    Image.fromarray(squeezed(pixels)).save(
        path, "JPEG", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0", **blocks
    )


def _within(block: bytes | None, limit: int, what: str, path: Path) -> bytes | None:
    if block and len(block) > limit:
        warnings.warn(f"{what} of {len(block)} bytes left out: a JPEG holds {limit}", stacklevel=2)
        return None
    return block


def write_bmp(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    """Write a BMP file; it has no quality, and of the metadata only the resolution."""
    from PIL import Image

    resolution = {"dpi": metadata.resolution} if metadata.resolution else {}
    Image.fromarray(squeezed(pixels)).save(path, "BMP", **resolution)


def write_avif(path: Path, pixels: np.ndarray, metadata: Metadata, quality: int) -> None:
    """Write an AVIF file."""
    from PIL import Image

    blocks = metadata_blocks(metadata, exif=exif_with_resolution(metadata), xmp=metadata.xmp)
    Image.fromarray(pixels).save(
        path, "AVIF", quality=quality, subsampling="4:4:4" if quality >= 90 else "4:2:0", **blocks
    )


def exif_with_resolution(metadata: Metadata) -> bytes | None:
    """Make the EXIF block for formats that have no other place for the resolution."""
    if metadata.resolution is None:
        return metadata.exif
    return exif.with_resolution(metadata.exif, metadata.resolution)


def metadata_blocks(metadata: Metadata, **blocks: bytes | None) -> dict[str, Any]:
    """Collect what there is of the metadata, as arguments of Pillow's `save`."""
    blocks["icc_profile"] = metadata.icc_profile
    return {key: value for key, value in blocks.items() if value}
