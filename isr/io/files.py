"""Files and folders: written whole or not at all, walked in a fixed order, mirrored into another tree."""

import contextlib
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isr.errors import RequestError
from isr.io.errors import file_error

StrPath = str | os.PathLike[str]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which becomes `path` when the block ends without an exception.

    The temporary file lies in the folder of `path` (made if missing) and has its suffix; its name begins
    with a dot, so `walk` never takes it for a finished file. On success it reaches the disk and then
    replaces `path` in one step; on any exception (KeyboardInterrupt too) it is removed and `path` stays as
    it was. The block has to create the file and close it.

    Raises:
        RequestError, MachineError: the folder cannot be made or the file not be put in place. What the
            block itself raises passes through unchanged.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(path, error) from error
    # Without the stem: a name that is as long as the file system allows leaves no room for an addition.
    temporary = path.parent / f".{os.urandom(8).hex()}{path.suffix}"
    try:
        yield temporary
        try:
            _flush_to_disk(temporary)
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
        except OSError as error:
            raise file_error(path, error) from error
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target`, which becomes it when the block ends without an exception.

    On any exception it is removed, and with it the folders above that were made for it.

    Raises:
        RequestError: `target` exists.
    """
    if target.exists():
        raise RequestError(f"{target}: exists already: choose another name or version")
    missing = [parent for parent in target.parents if not parent.exists()]
    temporary = target.parent / f".{os.urandom(8).hex()}"
    try:
        try:
            temporary.mkdir(parents=True)
            yield temporary
            temporary.rename(target)
        except OSError as error:
            raise file_error(target, error) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in missing:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def walk(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Yield the files below `folder` whose suffix is one of `suffixes` (with the dot, in any case).

    Sorted by name, each folder's entries in turn. Files and folders whose name begins with a dot are
    skipped. Symbolic links to folders are followed, but never into a folder that one is already in.

    Raises:
        RequestError: `folder` or one below it is missing, is no folder, or may not be read.
    """
    wanted = {suffix.lower() for suffix in suffixes}

    def entries(inside: Path, above: frozenset[str]) -> Iterator[Path]:
        here = os.path.realpath(inside)
        if here in above:
            return
        try:
            found = sorted(os.scandir(inside), key=lambda entry: entry.name)
        except OSError as error:
            raise file_error(inside, error) from error
        for entry in found:
            if entry.name.startswith("."):
                continue
            path = inside / entry.name
            if entry.is_dir():
                yield from entries(path, above | {here})
            elif path.suffix.lower() in wanted and entry.is_file():
                yield path

    return entries(Path(folder), frozenset())


def mirrored(path: Path, source: Path, target: Path) -> Path:
    """Tell where `path`, a file of the tree `source`, lies in the mirrored tree `target`.

    Raises:
        RequestError: `path` does not lie below `source`.
    """
    try:
        return Path(target) / Path(path).relative_to(source)
    except ValueError:
        raise RequestError(f"{path}: does not lie in {source}: name a file of that folder") from None


def stamp_of(path: Path) -> tuple[int, int]:
    """Tell one state of a file, or of the files in a folder, from another.

    Returns:
        Bytes, and the time of the last change in nanoseconds; of a folder their sums over its files.
    """
    stats = [path.stat()]
    if path.is_dir():
        with os.scandir(path) as entries:
            stats = [entry.stat() for entry in entries if entry.is_file()]
    return sum(one.st_size for one in stats), sum(one.st_mtime_ns for one in stats)


def _flush_to_disk(path: Path) -> None:
    # Windows flushes only through a handle that may write.
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    # The new name is on the disk only when its folder is. Windows opens no folders, some file systems
    # refuse to flush one; the file itself is whole in either case.
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append_line(path: Path, line: str, to_disk: bool = False) -> None:
    """Append a line to a file that several processes write.

    Args:
        path: the file; made where missing, and its folder.
        line: text without a line break.
        to_disk: return only when the line would outlive a power cut.

    Raises:
        RequestError, MachineError, ISRError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file, _locked(file):
            # A process that was killed may have left half a line.
            whole = file.seek(0, os.SEEK_END) == 0
            if not whole:
                file.seek(-1, os.SEEK_END)
                whole = file.read(1) == b"\n"
            file.write(b"" if whole else b"\n")
            file.write(line.encode("utf-8", "surrogateescape") + b"\n")
            file.flush()
            if to_disk:
                os.fsync(file.fileno())
    except OSError as error:
        raise file_error(path, error) from error


@contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """The file for this process alone; where the file system knows no locks, appending has to do."""
    if sys.platform == "win32":
        import msvcrt

        # Far behind the end, so that readers are not locked out.
        file.seek(2**40)
        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            file.seek(2**40)
            with contextlib.suppress(OSError):
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        # Closing the file lets go of it.
        yield
