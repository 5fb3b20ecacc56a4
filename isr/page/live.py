"""The small picture of the file at work: coarse at first, and sharp where tiles are finished."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image

from isr.io.files import atomic
from isr.progress import Place

LEAST_PAUSE = 0.5  # seconds between two pictures
SIDE = 320  # pixels of the longer side where there is no thumbnail
COARSE = 12  # pixels of the thumbnail that are one at first
QUALITY = 85


class Live:
    """Draws tiles into a thumbnail, and writes it now and then.

    Args:
        folder: of the item's views, where `thumb.jpg` may be; the picture is written beside it.
    """

    NAME = "live.jpg"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self._image: Image.Image | None = None
        self._profile: bytes | None = None
        self._written = 0.0

    def draw(self, pixels: np.ndarray, place: Place) -> int:
        """Draw a tile.

        Args:
            pixels: `[h, w, c]` float32 about [0, 1].
            place: as of `Progress.tile`.

        Returns:
            The number of the latest picture that was written; 0 where none is.
        """
        if self._image is None:
            self._image = self._begun(pixels, place)
        wide, high = self._image.size
        left, top, right, bottom = (
            round(share * side) for share, side in zip(place, (wide, high) * 2, strict=True)
        )
        size = max(right - left, 1), max(bottom - top, 1)
        # Two pixels for each that is shown are enough, and a tile has a million.
        step = max(1, min(pixels.shape[0] // size[1], pixels.shape[1] // size[0]) // 2)
        colour = pixels[::step, ::step, : 3 if pixels.shape[-1] >= 3 else 1]
        levels = (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)
        tile = Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).convert("RGB")
        self._image.paste(tile.resize(size, Image.Resampling.BOX), (left, top))
        now = time.monotonic()
        if now - self._written >= LEAST_PAUSE or place[2:] == (1.0, 1.0):
            self._written = now
            self._write()
        return self.number

    def _begun(self, pixels: np.ndarray, place: Place) -> Image.Image:
        try:
            with Image.open(self.folder / "thumb.jpg") as thumb:
                self._profile = thumb.info.get("icc_profile")
                image = thumb.convert("RGB")
        except OSError:
            sides = pixels.shape[1] / (place[2] - place[0]), pixels.shape[0] / (place[3] - place[1])
            wide, high = (max(1, round(side * SIDE / max(sides))) for side in sides)
            return Image.new("RGB", (wide, high), (128, 128, 128))
        coarse = image.resize([-(-side // COARSE) for side in image.size], Image.Resampling.BOX)
        return coarse.resize(image.size, Image.Resampling.BILINEAR)

    def _write(self) -> None:
        assert self._image is not None
        try:
            with atomic(self.folder / self.NAME) as temporary:
                self._image.save(temporary, "JPEG", quality=QUALITY, icc_profile=self._profile)
        except Exception:
            # It is there to be looked at; the work goes on without.
            return
        self.number += 1
