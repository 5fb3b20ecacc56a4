"""A watched folder: what lands there is queued, and its results go into another one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from isr.errors import ISRError, RequestError
from isr.io.files import atomic, walk
from isr.page.items import Item, new_item
from isr.page.roots import SUFFIXES

PACE = 2.0  # seconds between two looks; a file that does not grow from one to the next is whole


class Watched:
    """Looks into a folder, and hands on each file once, also after a restart.

    Args:
        folder: that is watched, with the folders in it.
        into: of the results, in the same tree; made where missing.
        memory: the file that remembers what was seen.

    Raises RequestError where the folder is missing, or the results would be seen as new files.
    """

    def __init__(self, folder: Path, into: Path, memory: Path) -> None:
        self.folder, self.into, self.memory = (
            folder.expanduser().resolve(),
            into.expanduser().resolve(),
            memory,
        )
        if not self.folder.is_dir():
            raise RequestError(f"{folder}: no such folder: give one that exists by --watch")
        if self.into == self.folder or self.folder in self.into.parents:
            raise RequestError(f"{into}: lies in the watched folder: give another --into")
        self.into.mkdir(parents=True, exist_ok=True)
        self._before: dict[str, list[int]] = {}
        self._seen = self._recalled()

    def look(self) -> list[Item]:
        """Give what is new and whole."""
        now = {}
        for path in walk(self.folder, SUFFIXES):
            try:
                status = path.stat()
            except OSError:
                continue
            # Links that lead out of the folder are not its files.
            if self.folder in path.resolve().parents:
                now[str(path)] = [status.st_size, status.st_mtime_ns]
        whole = [
            path for path, stamp in now.items() if self._before.get(path) == stamp != self._seen.get(path)
        ]
        self._before = now
        self._seen |= {path: now[path] for path in whole}
        items = []
        for path in map(Path, whole):
            name = path.relative_to(self.folder).as_posix()
            items.append(new_item(name, path, False, self.folder, self.into, exact=True))
        return items

    def _recalled(self) -> dict[str, list[int]]:
        try:
            return dict(json.loads(self.memory.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def remember(self) -> None:
        """Keep what was seen, when it is in the queue."""
        with atomic(self.memory) as temporary:
            temporary.write_text(json.dumps(self._seen), encoding="utf-8")

    async def run(self, add: Callable[[list[Item]], Awaitable[object]]) -> None:
        """Look again and again, and have what is new added."""
        while True:
            try:
                if items := await asyncio.to_thread(self.look):
                    await add(items)
                    await asyncio.to_thread(self.remember)
            except (ISRError, OSError):
                # The folder is away, or the list full; perhaps not for long.
                self._before, self._seen = {}, self._recalled()
            await asyncio.sleep(PACE)
