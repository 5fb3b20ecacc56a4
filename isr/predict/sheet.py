"""A sheet that compares presets: parts of a picture by each of them, labelled, at 1:1 and 3:1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from isr.predict.crop import Crop, crop_text

ZOOM = 3
# Pixels between the parts, and of a line of text.
GAP, LINE = 6, 16


def differing(results: Sequence[np.ndarray], scale: int, side: int, count: int) -> list[Crop]:
    """Find the parts of a picture where its results differ most.

    Args:
        results: at least two, `[scale * h, scale * w, c]` uint8.
        scale: their factor.
        side: of a part, in pixels of the picture; of a smaller picture, all of it.
        count: how many parts, which do not overlap.

    Returns:
        Parts in pixels of the picture, that with the largest difference first.
    """
    stacked = np.stack([result.astype(np.float32).mean(axis=-1) for result in results])
    spread = stacked.max(axis=0) - stacked.min(axis=0)
    height, width = (length // scale for length in spread.shape)
    down, across = min(side, height), min(side, width)
    rows, columns = height // down, width // across
    blocks = spread[: rows * down * scale, : columns * across * scale]
    means = blocks.reshape(rows, down * scale, columns, across * scale).mean(axis=(1, 3))
    order = np.argsort(-means, axis=None, kind="stable")[:count]
    places = [np.unravel_index(place, means.shape) for place in order]
    return [(int(column) * across, int(row) * down, across, down) for row, column in places]


def sheet(
    results: Mapping[str, np.ndarray],
    crops: Sequence[Crop],
    scale: int,
    origin: tuple[int, int] = (0, 0),
    columns: int | None = None,
) -> np.ndarray:
    """Draw the results of a picture beside each other.

    Args:
        results: by their labels, `[scale * h, scale * w, c]` uint8, c 1 or 3.
        crops: parts of what was enlarged, in its pixels.
        scale: factor of the results.
        origin: of what was enlarged in the picture, x and y, which the labels name.
        columns: results beside each other, at most; the others stand below. None: all.

    Returns:
        `[height, width, 3]` uint8. Of every part two rows: as it is, and its middle three times as large.
    """
    cells = {label: [_cells(result, crop, scale) for crop in crops] for label, result in results.items()}
    across = max(part.shape[1] for parts in cells.values() for pair in parts for part in pair)
    across = max(across, max(map(len, results)) * 7)
    columns = min(columns or len(results), len(results))
    titles = [
        f"{crop_text((x + origin[0], y + origin[1], wide, high))}, {title}"
        for x, y, wide, high in crops
        for title in ("1:1", f"{ZOOM}:1, the middle")
    ]
    width, bands, labels = GAP + columns * (across + GAP), [], list(cells)
    for start in range(0, len(labels), columns):
        rows = {label: [part for pair in cells[label] for part in pair] for label in labels[start:][:columns]}
        bands.append(_band(rows, titles, across, width))
    return np.concatenate(bands)


def _band(
    rows: Mapping[str, Sequence[np.ndarray]], titles: Sequence[str], across: int, width: int
) -> np.ndarray:
    """Columns of parts below their labels, each row of them below its title."""
    heights = [part.shape[0] for part in next(iter(rows.values()))]
    image = Image.new("RGB", (width, GAP + LINE + sum(LINE + height + GAP for height in heights)), "white")
    draw = ImageDraw.Draw(image)
    for number, (label, parts) in enumerate(rows.items()):
        left, top = GAP + number * (across + GAP), GAP
        draw.text((left, top), label, fill="black")
        top += LINE
        for title, part in zip(titles, parts, strict=True):
            if number == 0:
                draw.text((left, top), title, fill="gray")
            top += LINE
            image.paste(Image.fromarray(part), (left, top))
            top += part.shape[0] + GAP
    return np.asarray(image)


def _cells(result: np.ndarray, crop: Crop, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """A part as it is, and its middle enlarged by repeating pixels."""
    left, top, width, height = (length * scale for length in crop)
    part = result[top : top + height, left : left + width]
    part = np.repeat(part, 3, axis=-1) if part.shape[-1] == 1 else part
    down, across = (max(1, length // ZOOM) for length in part.shape[:2])
    y, x = (part.shape[0] - down) // 2, (part.shape[1] - across) // 2
    middle = part[y : y + down, x : x + across]
    return np.ascontiguousarray(part), middle.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
