"""What was made from what: the file by which `resume` knows that a result is finished and up to date."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from isr.errors import ISRError
from isr.io.files import atomic

NAME = ".isr-predict.json"  # the dot hides it from the walk through a folder
STARTED = {"started": True}  # the record of a file that is not finished, and of no one else
SECONDS = 1.0  # between two writes: a folder of ten thousand small files is not spent on its journal


class Journal:
    """The records of one output folder, by the paths of its files below it.

    A record is any JSON value. One that is lost (the process was killed within a second) only costs doing the
    file again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._own: dict[str, Any] = {}
        self._written = 0.0
        self._changed = False

    def read(self) -> dict[str, Any]:
        """All records; none where there is no journal, or one that cannot be read."""
        try:
            files = json.loads(self.path.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return files if isinstance(files, dict) else {}

    def key(self, target: Path) -> str:
        """What a file of the folder is called in the journal."""
        return target.relative_to(self.path.parent).as_posix()

    def put(self, target: Path, record: Any) -> None:
        """Note the record of a file; it reaches the disk within a second of work, or by `flush`."""
        self._own[self.key(target)] = record
        self._changed = True
        if time.monotonic() - self._written > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is noted, whole. Records of other files, of another process too, stay."""
        if not self._changed:
            return
        records = {**self.read(), **self._own}
        with atomic(self.path) as temporary:
            text = json.dumps({"version": 1, "files": records}, indent=1, ensure_ascii=False, sort_keys=True)
            temporary.write_text(text, encoding="utf-8")
        self._changed = False
        self._written = time.monotonic()

    def flush_if_possible(self) -> None:
        """As `flush`, where an error must not hide another."""
        try:
            self.flush()
        except ISRError:
            return
