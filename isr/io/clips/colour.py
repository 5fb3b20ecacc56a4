"""How the colours of video files are coded, and the scaler between them and RGB."""

from dataclasses import dataclass

from av.video.reformatter import Colorspace, Interpolation

# Of matrix, primaries and transfer, in ISO/IEC 23091-2.
NOT_SAID = 2
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
HDR = {16: "PQ", 18: "HLG"}
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


@dataclass(frozen=True)
class Colour:
    """How a file says its colours are coded, in the numbers of ISO/IEC 23091-2, which FFmpeg uses too.

    Attributes:
        matrix: between RGB and YUV: 0 RGB, 1 BT.709, 5 and 6 BT.601, 9 BT.2020; 2 not said.
        range: 1 limited (16 to 235), 2 full; 0 not said, which means limited for YUV.
        primaries: 1 BT.709, 9 BT.2020; 2 not said.
        transfer: 1 BT.709, 16 PQ, 18 HLG; 2 not said.
    """

    matrix: int = NOT_SAID
    range: int = 0
    primaries: int = NOT_SAID
    transfer: int = NOT_SAID
