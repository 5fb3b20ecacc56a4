"""Pictures as NumPy arrays, with the metadata that a photographer would miss, read and written whole.

PNG, JPEG, WebP, TIFF, BMP and, where Pillow has it, AVIF; gray or colour, with alpha or without, 8 or 16
bits or (TIFF) float32. HEIC is read only, with the extra `heic`. What a file is, its first bytes say, not its name.

Colour values are the file's own: the ICC profile that gives them a meaning travels along in the metadata.
Only CMYK is converted, since a picture here is gray or RGB. PNG's gAMA and cHRM chunks are not looked at.
A PNG or TIFF of 16 bits keeps them all; an AVIF or HEIC of more than 8 bits is read as 8.
"""

from isr.io.pictures.formats import READABLE, WRITABLE, check_writable, losses, suffix_of, usual_suffix
from isr.io.pictures.picture import Metadata, Picture, PictureInfo
from isr.io.pictures.reading import probe, quantisation, read
from isr.io.pictures.writing import write

__all__ = [
    "READABLE",
    "WRITABLE",
    "Metadata",
    "Picture",
    "PictureInfo",
    "check_writable",
    "losses",
    "probe",
    "quantisation",
    "read",
    "suffix_of",
    "usual_suffix",
    "write",
]
