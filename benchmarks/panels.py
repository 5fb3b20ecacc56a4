"""Pictures beside each other: details enlarged so that single pixels show, with words under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WHITE, BLACK, MARK = (255, 255, 255), (0, 0, 0), (255, 214, 0)


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in its pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, picture: np.ndarray) -> np.ndarray:
        """Take the rectangle out of a picture `[h, w, c]`."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


def enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every pixel, so that none is invented."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def marked(
    picture: np.ndarray, windows: Sequence[Window], factor: float = 1.0, names: str = ""
) -> np.ndarray:
    """Resize a picture and draw where its details lie.

    Args:
        picture: uint8 `[h, w, 3]`.
        windows: in its pixels.
        factor: that it is resized by, with Lanczos' filter.
        names: a letter for each window; none are drawn without.
    """
    size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
    image = Image.fromarray(picture)
    image = image if factor == 1 else image.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for index, window in enumerate(windows):
        ends = (window.left, window.top, window.left + window.width, window.top + window.height)
        left, top, right, bottom = (round(end * factor) for end in ends)
        draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=BLACK, width=1)
        draw.rectangle((left - 1, top - 1, right, bottom), outline=MARK, width=2)
        if names:
            _letter(draw, (left, top), names[index])
    return np.asarray(image)


def lettered(picture: np.ndarray, letter: str) -> np.ndarray:
    """Write the letter of a window into the corner of its detail."""
    image = Image.fromarray(picture)
    _letter(ImageDraw.Draw(image), (0, 0), letter)
    return np.asarray(image)


def _letter(draw: ImageDraw.ImageDraw, corner: tuple[int, int], letter: str) -> None:
    place = corner[0] + 6, corner[1] + 2
    draw.text(place, letter, MARK, ImageFont.load_default(24), stroke_width=2, stroke_fill=BLACK)


def captioned(picture: np.ndarray, text: str, size: int = 14) -> np.ndarray:
    """Write a line of text below a picture, in letters of `size` pixels."""
    height, width = picture.shape[:2]
    image = Image.new("RGB", (width, height + round(1.6 * size)), WHITE)
    image.paste(Image.fromarray(picture))
    ImageDraw.Draw(image).text(
        (width / 2, height + 0.8 * size), text, BLACK, ImageFont.load_default(size), anchor="mm"
    )
    return np.asarray(image)


def arranged(rows: Sequence[Sequence[np.ndarray]], gap: int = 4) -> np.ndarray:
    """Arrange pictures in rows, each as high as its pictures, on white."""
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    widths = [sum(cell.shape[1] for cell in row) + gap * (len(row) - 1) for row in rows]
    whole = np.full((sum(heights) + gap * (len(rows) - 1), max(widths), 3), WHITE, np.uint8)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for cell in row:
            whole[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
            left += cell.shape[1] + gap
        top += height + gap
    return whole
