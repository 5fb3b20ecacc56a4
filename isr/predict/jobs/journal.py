"""What was made from what: the records by which `resume` knows that a result is finished and up to date.

The folder of the results holds `.isr-predict/`, and in it one file per computer. Lines are only ever appended, so any
number of processes may write, on one computer or on several that share the folder; readers merge the files.
"""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isr.io.files import append_line

# The dot hides both from the walk through a folder.
NAME = ".isr-predict"
# The one file of earlier versions, which is read and not written.
OLD_NAME = ".isr-predict.json"
STARTED = {"started": True}
# Between the name of a file and its record in a line.
RECORD = ', "record": '


class Journal:
    """The records of one output folder, by the paths of its files below it.

    Args:
        folder: of the results; nothing is written until a record is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        computer = re.sub(r"\W+", "-", platform.node()).strip("-") or "computer"
        self.path = folder / NAME / f"{computer}.jsonl"

    def start(self, target: Path) -> None:
        """Note that a file of the folder is about to be made, and is no one else's."""
        self._append(target, STARTED, to_disk=True)

    def finish(self, target: Path, record: dict[str, Any]) -> None:
        """Note that a file is finished, and what it was made from. A lost record costs making the file again."""
        self._append(target, record)

    def read(self) -> Records:
        """Read what all processes have noted so far; what cannot be read is left out."""
        return Records(self.folder)

    def _append(self, target: Path, record: dict[str, Any], to_disk: bool = False) -> None:
        head = json.dumps({"file": key_of(target, self.folder), "time": time.time()}, ensure_ascii=False)
        text = json.dumps(record, ensure_ascii=False, sort_keys=True)
        append_line(self.path, f"{head[:-1]}{RECORD}{text}}}", to_disk)


class Records:
    """The latest record of every file of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._old: dict[str, Any] = _read_old(folder / OLD_NAME)
        # Records stay text until they are asked for: a call wants few of many.
        self._texts: dict[str, tuple[float, str]] = {}
        for path in sorted((folder / NAME).glob("*.jsonl")):
            for key, moment, text in _lines(path):
                if key not in self._texts or moment >= self._texts[key][0]:
                    self._texts[key] = moment, text

    def __contains__(self, target: Path) -> bool:
        """Whether a file of the folder was made, or begun, by this package."""
        key = key_of(target, self.folder)
        return key in self._texts or key in self._old

    def get(self, target: Path) -> dict[str, Any] | None:
        """Return the record of a file; None where there is none."""
        key = key_of(target, self.folder)
        try:
            record = json.loads(self._texts[key][1]) if key in self._texts else self._old.get(key)
        except ValueError:
            return None
        return record if isinstance(record, dict) else None

    def agrees(self, target: Path, record: dict[str, Any]) -> bool:
        """Tell whether a file is finished and was made from what `record` says.

        Earlier versions noted less: of their records, all that they say has to agree.
        """
        known = self.get(target)
        if known is None or known == STARTED:
            return False
        old = key_of(target, self.folder) not in self._texts
        return known == ({key: record.get(key) for key in known} if old else record)


def key_of(target: Path, folder: Path) -> str:
    """Name a file of a folder as its records do."""
    return target.relative_to(folder).as_posix()


def _lines(path: Path) -> Iterator[tuple[str, float, str]]:
    """File, time and text of the record of every whole line."""
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for line in content.split("\n"):
        head, found, tail = line.partition(RECORD)
        if not found or not tail.endswith("}"):
            continue
        try:
            about = json.loads(head + "}")
            yield about["file"], float(about["time"]), tail[:-1]
        except (ValueError, KeyError, TypeError):
            continue


def _read_old(path: Path) -> dict[str, Any]:
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return files if isinstance(files, dict) else {}
