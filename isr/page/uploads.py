"""Files that a browser sends: streamed to the disk, limited, and named so that nothing escapes or collides."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from isr.errors import MachineError, RequestError
from isr.page.reasons import NO_HEIC, key
from isr.page.roots import SUFFIXES, safe_name

LARGEST = 64 * 2**30  # bytes of one file
SPARE = 2**28  # bytes of the disk that uploads leave free
BLOCK = 2**20  # bytes between two writes
KNOWN_ELSEWHERE = {
    ".svg": key("svg"),
    ".pdf": key("pdf"),
    ".psd": key("psd"),
}


def check_kind(name: str) -> None:
    """Raise RequestError, in words for everyone, where no picture and no clip has such a name."""
    suffix = Path(name).suffix.lower()
    if suffix in KNOWN_ELSEWHERE:
        raise RequestError(KNOWN_ELSEWHERE[suffix])
    if suffix in (".heic", ".heif") and importlib.util.find_spec("pillow_heif") is None:
        raise RequestError(NO_HEIC)
    if suffix not in SUFFIXES:
        known = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        raise RequestError(key("otherKind", known))


async def receive(
    folder: Path, name: str, length: int | None, body: AsyncIterator[bytes], largest: int = LARGEST
) -> Path:
    """Write a body to a file of a folder that is made for it.

    Args:
        folder: must not exist yet; gone again where something goes wrong.
        name: as the browser calls the file.
        length: bytes, as the browser says; None: unknown.
        body: the bytes.
        largest: bytes that are accepted.

    Returns:
        The file.

    Raises RequestError where the file is too large or incomplete, MachineError where the disk is full.
    """
    import asyncio

    if length is not None:
        _check_size(length, largest)
        _check_disk(folder.parent, length)
    folder.mkdir(mode=0o700)
    path = folder / safe_name(name)
    temporary = folder / ".upload"
    size, held, waiting = 0, 0, []
    try:
        with temporary.open("wb") as file:
            async for block in body:
                size, held = size + len(block), held + len(block)
                waiting.append(block)
                if held >= BLOCK:
                    _check_size(size, largest)
                    _check_disk(folder, 0)
                    await asyncio.to_thread(file.writelines, waiting)
                    held, waiting = 0, []
            _check_size(size, largest)
            await asyncio.to_thread(file.writelines, waiting)
        if length is not None and size != length:
            raise RequestError(key("incomplete", size, length))
        temporary.replace(path)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise MachineError(key("notKept", error.strerror or error)) from error
        raise
    return path


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise RequestError(key("tooLarge", f"{largest / 2**30:.3g}"))


def _check_disk(folder: Path, more: int) -> None:
    if shutil.disk_usage(folder).free < more + SPARE:
        raise MachineError(key("fullDisk"))
