"""The folders that the page may look into, and names that stay inside them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isr.errors import RequestError
from isr.io.clips import ANIMATION_SUFFIXES, VIDEO_SUFFIXES
from isr.io.pictures import READABLE
from isr.page.reasons import key

SUFFIXES = READABLE | ANIMATION_SUFFIXES | VIDEO_SUFFIXES
LONGEST_PATH = 4096  # characters
LONGEST_PART = 255  # bytes; of nearly every file system
MOST_LISTED = 2000  # entries of a folder
# Of Windows; refused everywhere, so that what is written here can be copied there.
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.IGNORECASE)


class Roots:
    """Some folders, known by their numbers.

    Args:
        folders: each must exist.

    Raises RequestError where one does not.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [folder.expanduser().resolve() for folder in folders]
        for folder, given in zip(self.folders, folders, strict=True):
            if not folder.is_dir():
                raise RequestError(f"{given}: no such folder: give one that exists by --root")

    def find(self, root: int, path: str) -> Path:
        """Give the file or folder that lies at `path` below a root, wherever links lead.

        Args:
            root: the number of the root.
            path: names divided by `/`; empty for the root itself.

        Raises RequestError for everything that is not there, or not inside.
        """
        if not 0 <= root < len(self.folders):
            raise RequestError("no such folder")
        folder = self.folders[root]
        parts = checked_parts(path) if path else []
        try:
            there = folder.joinpath(*parts).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise RequestError(key("gone")) from None
        if there != folder and folder not in there.parents:
            raise RequestError(key("outside"))
        return there

    def holds(self, path: Path) -> bool:
        """Tell whether a path, which need not exist, lies inside a root."""
        whole = path.resolve()
        return any(folder in whole.parents for folder in self.folders)

    def listed(self, root: int, path: str) -> dict[str, Any]:
        """List the folders, pictures and clips of a folder by name; raises as `find`."""
        folder = self.find(root, path)
        if not folder.is_dir():
            raise RequestError("this is a file, not a folder")
        folders, files = [], []
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name.casefold())
        except OSError:
            raise RequestError(key("noReading")) from None
        for entry in entries:
            # Undecodable names do not survive the way to the browser and back.
            if entry.name.startswith(".") or not _encodable(entry.name):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file():
                files.append(entry.name)
        return {
            "folders": folders[:MOST_LISTED],
            "files": files[:MOST_LISTED],
            "more": len(folders) > MOST_LISTED or len(files) > MOST_LISTED,
        }


def checked_parts(path: str) -> list[str]:
    """Take a path apart; RequestError unless every part is a plain name below the one before."""
    if len(path) > LONGEST_PATH:
        raise RequestError("the path is too long")
    parts = path.split("/")
    for part in parts:
        if part in ("", ".", "..") or re.search(r"[\\:\x00-\x1f\x7f]", part) or not _encodable(part):
            raise RequestError("this is no path below the folder")
        if len(part.encode()) > LONGEST_PART or RESERVED.fullmatch(part.rstrip(" .")) or part[-1] in " .":
            raise RequestError("no file or folder has such a name")
    return parts


def safe_name(name: str, longest: int = 160) -> str:
    """Make a plain file name of whatever a browser calls a file.

    Args:
        name: perhaps with a path, of any system.
        longest: bytes; the suffix is kept, and there is room for what results and parts add.

    Returns:
        A name without folders, control characters or what Windows reserves; never empty, never hidden.
    """
    name = unicodedata.normalize("NFC", name.encode("utf-8", "ignore").decode())
    name = re.split(r"[/\\]", name)[-1]
    name = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "", name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    suffix = suffix[:16]
    room = longest - len(suffix.encode()) - 1
    stem = stem.encode()[:room].decode("utf-8", "ignore").strip(" .") or "file"
    if RESERVED.fullmatch(stem):
        stem = f"_{stem}"
    return f"{stem}.{suffix}" if suffix else stem


def _encodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
