"""Compression and what it leaves: JPEG and WebP of pictures, H.264 and H.265 of clips."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any, Literal

import numpy as np
from PIL import Image

StillFormat = Literal["JPEG", "WEBP"]
Codec = Literal["h264", "hevc"]

# Encoders, and what makes the same bytes of them every time: one thread, and none of x264's fastest code, which reads
# memory that was never written.
ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"preset": "fast", "threads": "1", "x264-params": "cpu-independent=1"}),
    "hevc": (
        "libx265",
        {"preset": "veryfast", "x265-params": "log-level=none:pools=none:frame-threads=1:wpp=0"},
    ),
}

# Frames are padded to a multiple of this: whole macroblocks, and none so small that an encoder refuses it.
BLOCK = 32


def compress(picture: np.ndarray, quality: int, format: StillFormat = "JPEG") -> np.ndarray:
    """Encode a picture and decode it again.

    Args:
        picture: `[h, w, c]` uint8 of 1 or 3 channels.
        quality: 1 to 100, as Pillow understands it; colour has half resolution (4:2:0).
        format: of the file.

    Returns:
        As `picture`.
    """
    channels = picture.shape[-1]
    picture = np.ascontiguousarray(picture[..., 0] if channels == 1 else picture)
    if format == "JPEG":
        import imagecodecs

        # The same pixels as by Pillow, in a third of the time: training does it for every patch.
        encode = partial(imagecodecs.jpeg8_encode, picture, level=quality)
        encoded = encode() if channels == 1 else encode(outcolorspace="YCBCR", subsampling="420")
        return np.atleast_3d(imagecodecs.jpeg8_decode(encoded))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format=format, quality=quality)
    with Image.open(file) as decoded:
        return np.atleast_3d(np.asarray(decoded.convert("L" if channels == 1 else "RGB")))


def compress_clip(frames: np.ndarray, crf: int, codec: Codec = "h264") -> np.ndarray:
    """Encode a clip and decode it again.

    Args:
        frames: `[t, h, w, c]` uint8 of 1 or 3 channels.
        crf: constant rate factor, 0 (best) to 51.
        codec: "h264", or "hevc" for H.265.

    Returns:
        As `frames`.
    """
    import av
    from av.video.reformatter import VideoReformatter

    _, height, width, channels = frames.shape
    sides = [-(-side // BLOCK) * BLOCK for side in (height, width)]
    border = ((0, 0), (0, sides[0] - height), (0, sides[1] - width), (0, 0))
    padded = np.pad(frames, border, mode="symmetric")
    padded = np.repeat(padded, 3, axis=-1) if channels == 1 else padded
    name, options = ENCODERS[codec]
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.height, encoder.width = sides
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {**options, "crf": str(crf)}
    decoder: Any = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    scaler = VideoReformatter()

    def converted(frame: Any, pixel_format: str) -> Any:
        # Several threads race at the edges of their slices: not the same pixels every time.
        return scaler.reformat(frame, format=pixel_format, threads=1)

    def packets() -> Iterator[Any]:
        for index, picture in enumerate(padded):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = converted(frame, encoder.pix_fmt)
            frame.pts = index
            yield from encoder.encode(frame)
        yield from encoder.encode(None)
        # The end, after which the decoder gives what it still holds.
        yield None

    decoded = [
        converted(frame, "rgb24").to_ndarray() for packet in packets() for frame in decoder.decode(packet)
    ]
    return np.stack(decoded)[:, :height, :width, :channels]
