"""Before and after as the page shows them: thumbnails, and parts of them at any size.

Pictures are decoded by a process of their own (`python -m isr.page.views`), which is let go when no one looks: 96
megapixels leave hundreds of megabytes behind. It writes each picture at several sizes, each half of the one before, as
arrays that the server then maps: a part of a picture costs what the part costs.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from isr.errors import ISRError, RequestError
from isr.io.clips import FrameReader, is_clip
from isr.io.files import atomic
from isr.io.pictures import Metadata, read
from isr.page.reasons import explain, key
from isr.page.supervisor import Child

VIEWER = (sys.executable, "-m", "isr.page.views")
THUMB = 320  # pixels of the longer side of a thumbnail
SMALLEST = 512  # pixels of the longer side from which no smaller level is made
LARGEST_VIEW = 4096  # pixels of a side
QUALITY = 90
IDLE = 60.0  # seconds without a question after which the process is let go
MOST_KEPT = 4 * 2**30  # bytes of levels on the disk
WHITE = 255

Side = Literal["before", "after"]
Way = Literal["plain", "smooth"]  # how pixels are enlarged: as blocks, or by bicubic interpolation


class Views:
    """Thumbnails and parts of pictures for the server.

    Args:
        folder: of the views, one folder per item in it.
        log: a file for what the process prints.
        command: that starts the process.
    """

    def __init__(self, folder: Path, log: Path, command: Sequence[str] = VIEWER) -> None:
        self.folder = folder
        self._child = Child(command, log, self._heard, self._ended)
        self._asked: dict[int, asyncio.Future[str]] = {}
        self._making: dict[Path, asyncio.Future[str]] = {}
        self._count = 0
        self._rest: asyncio.TimerHandle | None = None

    async def thumbnail(self, id: str, source: Path) -> Path:
        """Give a small JPEG of a picture or of a clip's first frame; ISRError where there is none to show."""
        path = self.folder / id / "thumb.jpg"
        if not path.is_file():
            await self._make(path, "thumb", source, 0)
        return path

    async def size(self, id: str, side: Side, source: Path, frame: int) -> dict[str, Any]:
        """Tell the size of a picture or frame, and have it ready; ISRError where there is none to show."""
        folder = self._levels(id, side, source, frame)
        if not (folder / "facts.json").is_file():
            await self._make(folder, "levels", source, frame)
            await asyncio.to_thread(self._trim, folder)
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return facts

    async def part(
        self,
        id: str,
        side: Side,
        source: Path,
        frame: int,
        box: tuple[float, float, float, float],
        size: tuple[int, int],
        way: Way,
    ) -> bytes:
        """Give a part of a picture as JPEG, with its colour profile.

        Args:
            id, side, source, frame: which picture.
            box: left, top, width and height of the part, as shares of the whole.
            size: `(width, height)` in pixels that it is shown at.
            way: how it is enlarged.

        Raises ISRError where there is no such picture, RequestError where the numbers make no part.
        """
        await self.size(id, side, source, frame)
        return await asyncio.to_thread(cut, self._levels(id, side, source, frame), box, size, way)

    async def close(self) -> None:
        """End the process."""
        if self._rest is not None:
            self._rest.cancel()
        await self._child.close(1.0)

    def _levels(self, id: str, side: Side, source: Path, frame: int) -> Path:
        # Another file under the same name is another picture.
        try:
            stamp = source.stat().st_mtime_ns
        except OSError as error:
            raise RequestError(key("gone")) from error
        return self.folder / id / f"{side}-{frame}-{stamp:x}"

    async def _make(self, target: Path, what: str, source: Path, frame: int) -> None:
        if target in self._making:
            error = await asyncio.shield(self._making[target])
        else:
            if self._rest is not None:
                self._rest.cancel()
            self._count += 1
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._asked[self._count] = self._making[target] = future
            try:
                await self._child.say(
                    do=what, number=self._count, source=str(source), target=str(target), frame=frame
                )
                error = await asyncio.shield(future)
            finally:
                self._making.pop(target, None)
        if error:
            raise ISRError(error)

    def _heard(self, answer: dict[str, Any]) -> None:
        future = self._asked.pop(answer["number"], None)
        if future is not None and not future.done():
            future.set_result(answer["error"])
        if self._rest is not None:
            self._rest.cancel()
        if not self._asked:
            self._rest = asyncio.get_running_loop().call_later(IDLE, self._let_go)

    def _ended(self, code: int) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_result(key("notShown"))
        self._asked.clear()

    def _let_go(self) -> None:
        self._closing = asyncio.ensure_future(self._child.close(1.0))

    def _trim(self, kept: Path) -> None:
        """Remove the levels that were looked at longest ago, where they take too much of the disk."""
        folders = sorted(self.folder.glob("*/*-*-*/"), key=lambda folder: folder.stat().st_mtime)
        sizes = {folder: sum(path.stat().st_size for path in folder.iterdir()) for folder in folders}
        total = sum(sizes.values())
        for folder in folders:
            if total <= MOST_KEPT:
                return
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)
                total -= sizes[folder]


def cut(folder: Path, box: tuple[float, float, float, float], size: tuple[int, int], way: Way) -> bytes:
    """Cut a part out of the levels of a picture; arguments and errors as of `Views.part`."""
    left, top, across, down = box
    width, height = size
    if not (0 <= left < 1 and 0 <= top < 1 and 0 < across <= 1 and 0 < down <= 1):
        raise RequestError("no such part")
    if not (1 <= width <= LARGEST_VIEW and 1 <= height <= LARGEST_VIEW):
        raise RequestError(f"a view has 1 to {LARGEST_VIEW} pixels a side")
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    # The smallest level that has a pixel for every one that is shown.
    level = 0
    while (
        level + 1 < facts["levels"]
        and facts["width"] * across / 2 ** (level + 1) >= width
        and facts["height"] * down / 2 ** (level + 1) >= height
    ):
        level += 1
    pixels = np.load(folder / f"{level}.npy", mmap_mode="r")
    rows, columns = pixels.shape[:2]
    # Edges fall between pixels: take whole ones, and let the resize cut at the fraction.
    x0, y0 = left * columns, top * rows
    x1, y1 = min((left + across) * columns, columns), min((top + down) * rows, rows)
    margin = 2
    first_x, first_y = max(int(x0) - margin, 0), max(int(y0) - margin, 0)
    last_x, last_y = min(int(np.ceil(x1)) + margin, columns), min(int(np.ceil(y1)) + margin, rows)
    part = np.ascontiguousarray(pixels[first_y:last_y, first_x:last_x])
    image = Image.fromarray(part[..., 0] if part.shape[-1] == 1 else part)
    smaller = width < x1 - x0
    method = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
    if way == "smooth":
        method = Image.Resampling.BICUBIC
    shown = image.resize(
        (width, height), method, box=(x0 - first_x, y0 - first_y, x1 - first_x, y1 - first_y)
    )
    profile = folder / "profile.icc"
    written = io.BytesIO()
    shown.save(
        written,
        "JPEG",
        quality=QUALITY,
        subsampling=0,
        icc_profile=profile.read_bytes() if profile.is_file() else None,
    )
    return written.getvalue()


# In the process of its own.


def shown_pixels(path: Path, frame: int) -> tuple[np.ndarray, Metadata]:
    """Read a picture, or a frame of a clip, as uint8 `[h, w, 1 or 3]` on white, with its metadata."""
    if is_clip(path):
        with FrameReader(path, None) as all_frames:
            info = all_frames.info
        if not 0 <= frame < info.frames:
            raise RequestError(f"{path.name}: has no frame {frame}")
        with FrameReader(info, range(frame, frame + 1)) as reader:
            pixels, metadata = next(iter(reader)).pixels, Metadata()
    else:
        picture = read(path)
        pixels, metadata = picture.pixels, picture.metadata
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = (np.clip(np.nan_to_num(pixels), 0, 1) * 255 + 0.5).astype(np.uint8)
    if pixels.shape[-1] in (2, 4):
        alpha = pixels[..., -1:].astype(np.uint16)
        mixed = pixels[..., :-1] * alpha + WHITE * (255 - alpha)
        pixels = ((mixed + 127) // 255).astype(np.uint8)
    return pixels, metadata


def write_thumbnail(source: Path, target: Path, frame: int) -> None:
    """Write a small JPEG."""
    pixels, metadata = shown_pixels(source, frame)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((THUMB, THUMB), reducing_gap=2.0)
    with atomic(target) as temporary:
        image.save(temporary, "JPEG", quality=85, icc_profile=metadata.icc_profile)


def write_levels(source: Path, target: Path, frame: int) -> None:
    """Write the sizes of a picture into a folder, whole or not at all."""
    pixels, metadata = shown_pixels(source, frame)
    height, width = pixels.shape[:2]
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        level = 0
        np.save(temporary / "0.npy", pixels)
        while max(pixels.shape[:2]) > SMALLEST:
            image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
            pixels = np.asarray(image.reduce(2)).reshape(
                -(-pixels.shape[0] // 2), -(-pixels.shape[1] // 2), -1
            )
            level += 1
            np.save(temporary / f"{level}.npy", pixels)
        if metadata.icc_profile:
            (temporary / "profile.icc").write_bytes(metadata.icc_profile)
        facts = {"width": width, "height": height, "levels": level + 1}
        (temporary / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def main() -> None:
    """Make views until stdin ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    makers = {"thumb": write_thumbnail, "levels": write_levels}
    for line in sys.stdin:
        asked = json.loads(line)
        source, error = Path(asked["source"]), ""
        try:
            makers[asked["do"]](source, Path(asked["target"]), asked["frame"])
        except MemoryError:
            error = key("notShown")
        except Exception as problem:
            print(f"{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
            error = explain(str(problem), source)[0]
        out.write(json.dumps({"number": asked["number"], "error": error}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
