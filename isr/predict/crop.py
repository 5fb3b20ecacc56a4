"""The part of a picture or frame that is upscaled: `(left, top, width, height)` in pixels of the source."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from isr.errors import RequestError

Crop = tuple[int, int, int, int]


def parse_crop(text: str) -> Crop:
    """Read `640x360+100+20` (width x height + left + top), or `640x360` (from 0, 0); else RequestError."""
    match = re.fullmatch(r"(\d{1,6})[xX\u00d7](\d{1,6})(?:\+(\d{1,6})\+(\d{1,6}))?", text.strip())
    if match is None or int(match[1]) < 1 or int(match[2]) < 1:
        raise RequestError(f"crop {text!r}: give it as 640x360+100+20 (width x height + left + top)")
    return int(match[3] or 0), int(match[4] or 0), int(match[1]), int(match[2])


def crop_text(crop: Crop) -> str:
    """Write a crop as `parse_crop` reads it."""
    left, top, width, height = crop
    return f"{width}x{height}+{left}+{top}"


def check_crop(crop: Crop, width: int, height: int, path: Path, what: str) -> None:
    """Check that a crop lies in `what` of `path`, which has `width` x `height` pixels.

    Raises:
        RequestError: it reaches beyond.
    """
    left, top, across, down = crop
    if left + across > width or top + down > height:
        raise RequestError(f"{path}: crop {crop_text(crop)} reaches beyond {what} of {width}x{height}")


def size_of(crop: Crop | None, width: int, height: int) -> tuple[int, int]:
    """Give `(width, height)` of the part of `width` x `height` pixels; all of it where `crop` is None."""
    return (width, height) if crop is None else crop[2:]


def cropped(pixels: np.ndarray, crop: Crop | None) -> np.ndarray:
    """Take the part `[height, width, c]` of an array `[h, w, c]`; all of it where `crop` is None."""
    if crop is None:
        return pixels
    left, top, width, height = crop
    return pixels[top : top + height, left : left + width]
