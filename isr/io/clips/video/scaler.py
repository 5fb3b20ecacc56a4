"""FFmpeg's scaler between the colours of video files and RGB: how it is told what it needs."""

from __future__ import annotations

from av.video.reformatter import Colorspace, Interpolation

# By the matrices of `isr.io.clips.colour`.
COLORSPACES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
# With these, flat colours come out right to half a level; by swscale's defaults 4:2:0 is up to 2.6 off.
SCALER = int(
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
# Several race: each writes over the edge of its slice of the frame into the next one.
SCALER_THREADS = 1
# 255 * 256: what swscale takes for white in RGB of 16 bits from or to limited range.
SCALER_WHITE = 65_280
