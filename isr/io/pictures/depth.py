"""Bits, alpha and channels: pixels as another format can hold them."""

import numpy as np


def nearest(dtype: str, dtypes: tuple[str, ...]) -> str:
    """Tell which of `dtypes` holds most of a picture of type `dtype`; uint8 is always among them."""
    if dtype in dtypes:
        return dtype
    return "uint16" if dtype == "float32" and "uint16" in dtypes else "uint8"


def at_depth(pixels: np.ndarray, dtypes: tuple[str, ...]) -> np.ndarray:
    """Convert `pixels` to the best of `dtypes` for them; integers are rounded, not truncated."""
    dtype = nearest(pixels.dtype.name, dtypes)
    if dtype == pixels.dtype.name:
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype == np.uint16:
        return eight_bits(pixels)
    white = np.iinfo(dtype).max
    clipped = np.clip(np.nan_to_num(pixels), 0, 1)
    return (clipped * np.float32(white) + np.float32(0.5)).astype(dtype)


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Convert uint8 or uint16 to uint8, rounded to nearest (65535 is 255 times 257)."""
    if pixels.dtype == np.uint8:
        return pixels
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def with_any_of(pixels: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
    """Bring `pixels` to a number of channels that is among `channels`; alpha is flattened in 8 bits alone."""
    if pixels.shape[-1] in (2, 4) and not {2, 4} & set(channels):
        alpha = pixels[..., -1:].astype(np.uint16)
        over_white = pixels[..., :-1] * alpha + (255 - alpha) * np.uint16(255)
        pixels = ((over_white + np.uint16(127)) // np.uint16(255)).astype(np.uint8)
    if pixels.shape[-1] <= 2 and pixels.shape[-1] not in channels:
        gray, alpha = pixels[..., :1], pixels[..., 1:]
        pixels = np.concatenate([gray, gray, gray, alpha], axis=-1)
    return pixels


def unassociated(pixels: np.ndarray) -> np.ndarray:
    """Divide the alpha of gray+alpha or RGBA out of its colours."""
    colours, alpha = pixels[..., :-1], pixels[..., -1:]
    if pixels.dtype == np.float32:
        divided = np.divide(colours, alpha, out=np.zeros_like(colours), where=alpha > 0)
    else:
        white = np.uint32(np.iinfo(pixels.dtype).max)
        whole = np.maximum(alpha, 1).astype(np.uint32)
        divided = np.minimum((colours * white + whole // 2) // whole, white) * (alpha > 0)
    return np.concatenate([divided.astype(pixels.dtype), alpha], axis=-1)


def with_channels(pixels: np.ndarray) -> np.ndarray:
    """Give gray `[h, w]` its axis of channels."""
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def squeezed(pixels: np.ndarray) -> np.ndarray:
    """Take the axis of channels from gray `[h, w, 1]`."""
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
