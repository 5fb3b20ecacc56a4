"""How the colours of video files are coded."""

from dataclasses import dataclass

# Of matrix, primaries and transfer, in ISO/IEC 23091-2.
NOT_SAID = 2
# Those that pixels can be converted by.
MATRICES = frozenset((1, 4, 5, 6, 7, 9))
FULL_RANGE = 2
HDR = {16: "PQ", 18: "HLG"}


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
