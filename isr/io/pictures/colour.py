"""Colours through ICC profiles, to sRGB."""

import contextlib
import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# Levels that a conversion from sRGB to sRGB may be off by.
ROUNDING = 2


def is_srgb(profile: bytes) -> bool:
    """Tell whether a profile is one of sRGB, by its name and by its grays: there is a linear sRGB, too."""
    try:
        if "sRGB" not in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))):
            return False
    except (ImageCms.PyCMSError, OSError):
        return False
    grays = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=-1)
    return int(np.abs(in_srgb(grays, profile).astype(int) - grays).max()) <= ROUNDING


def in_srgb(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    """Convert uint8 `pixels` from `profile` (gray or RGB) to sRGB; alpha and number of channels stay as they are."""
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
        # Nobody can read this profile, so the colours never had its meaning.
        return pixels
    if len(converted) == 3:
        result = np.stack([plane[..., 1] for plane in converted], axis=-1)
    else:
        # A gray of sRGB has three equal values, up to rounding.
        result = converted[0] if colours == 3 else converted[0][..., 1:2]
    return np.concatenate([result, pixels[..., colours:]], axis=-1)


def rgb_from_cmyk(image: Image.Image, profile: bytes | None) -> np.ndarray:
    """Convert a CMYK image to RGB `[h, w, 3]` uint8, through its profile where it has one that can be read."""
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
