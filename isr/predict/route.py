"""What size a picture becomes, and by which factors it gets there."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from isr.errors import RequestError

LARGEST_FACTOR = 4096.0
# Of the ratio of the sides; below, it is the rounding of a size.
LEAST_ASPECT_CHANGE = 0.01


@dataclass(frozen=True)
class Target:
    """The size of the output.

    Attributes:
        scale: factor for both sides, over 0, not only whole ones.
        size: `(height, width)` in pixels instead; None for one of them keeps the aspect.

    With neither, the picture becomes as large as the network makes it: twice as large where none is named.

    Raises:
        RequestError: both are given, or a value is out of its range.
    """

    scale: float | None = None
    size: tuple[int | None, int | None] | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and self.size is not None:
            raise RequestError("scale and size: give one of them")
        if self.scale is not None and not 0 < self.scale <= LARGEST_FACTOR:
            raise RequestError(f"scale {self.scale}: must be over 0 and at most {LARGEST_FACTOR:g}")
        if self.size is not None:
            if len(self.size) != 2 or all(side is None for side in self.size):
                raise RequestError(f"size {self.size}: give a height, a width or both")
            if any(side is not None and side < 1 for side in self.size):
                raise RequestError(f"size {self.size}: both sides must be at least 1 pixel")

    @classmethod
    def parse_size(cls, text: str) -> Target:
        """Read `3840x2160`, `3840x` or `x2160` (width first).

        Raises:
            RequestError: it is anything else.
        """
        match = re.fullmatch(r"(\d{0,9})[xX\u00d7](\d{0,9})", text.strip())
        if match is None or not (match[1] or match[2]):
            raise RequestError(f"size {text!r}: give it as 3840x2160, 3840x or x2160 (width x height)")
        width, height = (int(side) if side else None for side in match.groups())
        return cls(size=(height, width))

    def or_scale(self, scale: int) -> Target:
        """Return this target, or that scale where this says nothing."""
        return Target(scale=scale) if self.scale is None and self.size is None else self

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return `(height, width)` of what a picture becomes, rounded half up, at least 1."""
        if self.size is not None:
            down, across = self.size
            if down is None:
                assert across is not None
                down = _rounded(height * across / width)
            return down, across if across is not None else _rounded(width * down / height)
        assert self.scale is not None, "a target without scale or size has no output size; see or_scale"
        return _rounded(height * self.scale), _rounded(width * self.scale)

    def factor(self, height: int, width: int) -> float:
        """Tell how much larger the side becomes that grows most."""
        if self.scale is not None:
            return self.scale
        down, across = self.output_size(height, width)
        return max(down / height, across / width)

    def changes_aspect(self, height: int, width: int) -> bool:
        """Tell whether the sides grow by visibly different factors."""
        if self.size is None or None in self.size:
            return False
        down, across = self.output_size(height, width)
        ratio = (down / height) / (across / width)
        # One pixel of rounding is no change of aspect, however small the picture.
        slack = max(LEAST_ASPECT_CHANGE, 1 / down, 1 / across)
        return max(ratio, 1 / ratio) > 1 + slack

    def label(self) -> str:
        """Return what the name of an output folder ends with: `x2`, `x2.5`, `3840x2160`, `3840x`."""
        if self.size is None:
            return f"x{self.scale:g}"
        down, across = self.size
        return f"{across or ''}x{down or ''}"

    def file_label(self, height: int, width: int) -> str:
        """Return what the name of an output file ends with: `x2`, `x2.5`, `3840x2160`; sizes are the file's own."""
        if self.size is None:
            return self.label()
        down, across = self.output_size(height, width)
        return f"{across}x{down}"


@dataclass(frozen=True)
class Route:
    """How a picture reaches its size: the factors of the networks one after another, then a resize.

    Attributes:
        stages: none where no network is needed.
        size: `(height, width)` of the output.
        resized: whether the networks' output has another size than that.
    """

    stages: tuple[int, ...]
    size: tuple[int, int]
    resized: bool

    @classmethod
    def plan(cls, height: int, width: int, target: Target, scales: Collection[int]) -> Route:
        """Plan the route of a picture of `height` x `width` pixels, by networks of these scales."""
        size = target.output_size(height, width)
        stages = factors(target.factor(height, width), scales)
        product = math.prod(stages)
        return cls(stages, size, size != (height * product, width * product))

    @classmethod
    def resize(cls, height: int, width: int, target: Target) -> Route:
        """Plan the route of a picture of `height` x `width` pixels without a network, larger or smaller."""
        size = target.output_size(height, width)
        return cls((), size, size != (height, width))

    def describe(self) -> str:
        """Tell the way in one line where it is not simply one network; else empty."""
        if not self.stages:
            return (
                "not larger than the input: no network, resized by bicubic interpolation"
                if self.resized
                else ("the size of the input: copied")
            )
        way = " then ".join(f"x{scale}" for scale in self.stages)
        if self.resized:
            return f"{way}, then resized to {self.size[1]}x{self.size[0]}"
        return way if len(self.stages) > 1 else ""


def factors(factor: float, scales: Collection[int]) -> tuple[int, ...]:
    """Choose the scales of the networks that reach a factor: as few as possible, then as small a product as possible.

    Returns:
        Largest first, since that network sees the real picture; empty where the factor is at most 1.

    Raises:
        RequestError: there is no network that enlarges.
    """
    if set(scales) == {1}:
        # A network that restores pictures without enlarging them.
        return (1,)
    if factor <= 1:
        return ()
    known = sorted({scale for scale in scales if scale > 1})
    if not known:
        raise RequestError("no network that enlarges is at hand: give --preset or --weights")
    enough = factor * (1 - 1e-9)
    for count in itertools.count(1):
        chains = itertools.combinations_with_replacement(known, count)
        reaching = [chain for chain in chains if math.prod(chain) >= enough]
        if reaching:
            return tuple(sorted(min(reaching, key=math.prod), reverse=True))
    raise AssertionError("unreachable")


def _rounded(side: float) -> int:
    return max(1, math.floor(side + 0.5))
