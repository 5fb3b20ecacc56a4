"""Trying a piece first: a square of a picture or three seconds of a clip, and what the whole would take."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from isr.errors import ISRError, RequestError
from isr.io.files import atomic
from isr.page.items import Item, Queue, new_item, request_of
from isr.page.reasons import DIED, explain, key
from isr.page.supervisor import Child, facts_of
from isr.predict.request import PredictRequest
from isr.predict.speeds import Speeds

SIDE = 240  # pixels of the square's side
STRETCH = 3.0  # seconds of a clip
TEST_SIZE = (256, 192)  # pixels of the picture that speeds are measured by
TEST_FRAMES = 4  # of the clip
MEASURED = "measured"  # the folder in which that is done
IDLE = 60.0  # seconds without a trial after which its worker is let go


class Trials:
    """Makes pieces of files in a worker of its own, so that one can be tried while others are made.

    Args:
        queue: of the items.
        command: that starts a worker.
    """

    def __init__(self, queue: Queue, command: Sequence[str]) -> None:
        self.queue = queue
        self._worker = Child(command, queue.folder / "trials.log", self._heard, self._ended)
        self._one = asyncio.Lock()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._rest: asyncio.TimerHandle | None = None

    def path(self, id: str, number: int) -> Path | None:
        """Give the file of a trial; None where there is none."""
        return next(self._folder(id).glob(f"{number}.*"), None)

    async def run(
        self, item: Item, values: Mapping[str, Any], number: int, place: tuple[float, float], start: float
    ) -> dict[str, Any]:
        """Make a piece of an item.

        Args:
            item: whole, as it is in the queue.
            values: fields of its request, with the look that is tried.
            number: of the trial, among those of the item.
            place: the middle of the square, as shares of width and height.
            start: of a clip's stretch, in seconds.

        Returns:
            `seconds` that it took, `whole`: those that the whole would take (None: not known), `bytes`: of its file,
            about, and `size_out`.

        Raises ISRError, in plain words, where it cannot be made.
        """
        folder = self._folder(item.id)
        asked = request_of(replace(item, request=None), values)
        options = replace(asked.options, overwrite=True, resume=False, format=None, name=None)
        if item.clip:
            options = replace(options, video=replace(options.video, start=start, duration=STRETCH))
            target = folder / f"{number}.mp4"
        else:
            options = replace(options, crop=await asyncio.to_thread(_square, item, place), size=None)
            if asked.options.size is not None:
                options = replace(options, scale=2.0)
            target = folder / f"{number}.png"
        request = replace(asked, output=target, options=options)
        async with self._one:
            # While others were tried, it may have been removed, with its folder.
            self._check_there(item.id)
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            for old in folder.glob(f"{number}.*"):
                old.unlink()
            answer = await self._make(item, request)
        if item.id not in self.queue:
            await asyncio.to_thread(shutil.rmtree, self.queue.files_of(item.id), ignore_errors=True)
        self._check_there(item.id)
        facts = await asyncio.to_thread(facts_of, replace(item, request=None), dict(values))
        return {
            "seconds": answer["seconds"],
            "whole": facts.seconds(Speeds()),
            "bytes": facts.bytes_on_disk,
            "size_out": answer["size_out"],
            "clip": item.clip,
        }

    async def measure(self, values: Mapping[str, Any], clip: bool = False) -> float | None:
        """Make a small picture or clip, so that what is waiting can be estimated.

        Args:
            values: fields of its request, with the look that is measured; its scale, and no size.
            clip: whether it is a clip.

        Returns:
            Seconds per megapixel, as every job of this kind is estimated from now on; None: not known.

        Raises ISRError, in plain words, where it cannot be made.
        """
        folder = self.queue.folder / MEASURED
        async with self._one:
            source = await asyncio.to_thread(_test_clip if clip else _test_picture, folder)
            item = new_item(source.name, source, own=True, id=MEASURED)
            asked = request_of(item, {**values, "options.size": None})
            options = replace(asked.options, overwrite=True, resume=False, format=None, name=None)
            target = folder / ("result.mkv" if clip else "result.png")
            # The first time, networks are opened, and the first tile or frame does not count.
            for _ in range(1 if clip else 2):
                # What is there is not made again.
                target.unlink(missing_ok=True)
                await self._make(item, replace(asked, output=target, options=options))
            target.unlink(missing_ok=True)
        kind = (await asyncio.to_thread(facts_of, item, dict(values))).kind
        return None if kind is None else Speeds().get(kind)

    async def _make(self, item: Item, request: PredictRequest) -> dict[str, Any]:
        """What the worker answers when it is done; raises ISRError where it fails."""
        self._answer = asyncio.get_running_loop().create_future()
        await self._worker.say(do="run", id=item.id, request=request.to_json())
        answer = await self._answer
        if answer["say"] != "finished":
            raise ISRError(explain(answer.get("text", DIED), item.source)[0])
        return answer

    async def close(self) -> None:
        """End the worker."""
        if self._rest is not None:
            self._rest.cancel()
        await self._worker.close(2.0)

    def _check_there(self, id: str) -> None:
        if id not in self.queue:
            raise RequestError(key("notListed"))

    def _folder(self, id: str) -> Path:
        return self.queue.files_of(id) / "tried"

    def _heard(self, answer: dict[str, Any]) -> None:
        if answer["say"] in ("finished", "failed", "stopped"):
            self._settle(answer)
            if self._rest is not None:
                self._rest.cancel()
            self._rest = asyncio.get_running_loop().call_later(IDLE, self._let_go)

    def _ended(self, code: int) -> None:
        self._settle({"say": "failed", "text": DIED})

    def _settle(self, answer: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _let_go(self) -> None:
        self._closing = asyncio.ensure_future(self._rested())

    async def _rested(self) -> None:
        # What is asked for now is asked of the next one.
        async with self._one:
            await self._worker.close(2.0)


def _test_picture(folder: Path) -> Path:
    """A photograph, made of one that ships."""
    from PIL import Image

    path = folder / "test.png"
    if not path.is_file():
        folder.mkdir(0o700, parents=True, exist_ok=True)
        shipped = resources.files("isr.page") / "static" / "look-best.jpg"
        with shipped.open("rb") as file, Image.open(file) as image, atomic(path) as temporary:
            image.resize(TEST_SIZE, Image.Resampling.BICUBIC).save(temporary, "PNG")
    return path


def _test_clip(folder: Path) -> Path:
    """An animation of the same photograph, each picture of which is another."""
    from PIL import Image

    path = folder / "test.gif"
    if not path.is_file():
        with Image.open(_test_picture(folder)) as image:
            frames = [image.rotate(n) for n in range(TEST_FRAMES)]
        with atomic(path) as temporary:
            frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=40)
    return path


def _square(item: Item, place: tuple[float, float]) -> tuple[int, int, int, int]:
    """The square around a place, as far as it lies in the picture."""
    from isr.io.pictures import probe

    if not all(0 <= share <= 1 for share in place):
        raise RequestError("the place lies outside the picture")
    info = probe(item.source)
    sides = (info.width, info.height)
    across, down = (min(SIDE, side) for side in sides)
    left, top = (
        round(min(max(share * side - size / 2, 0), side - size))
        for share, side, size in zip(place, sides, (across, down), strict=True)
    )
    return left, top, across, down
