"""Whatever decoders, encoders and the system raise, as one line that begins with the path of a file."""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isr.errors import ISRError, MachineError, RequestError

# What Pillow finds odd in a file, it tells by warnings. Whatever matters is an exception and becomes our one line.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def file_error(path: str | os.PathLike[str], error: OSError) -> ISRError:
    """Make the one-line error that tells what the operating system objected to about the file `path`."""
    said = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return MachineError(f"{path}: the disk is full ({said}): free some space or choose another folder")
    if isinstance(error, FileNotFoundError):
        return RequestError(f"{path}: no such file or folder: check the spelling of the path")
    if isinstance(error, IsADirectoryError):
        return RequestError(f"{path}: this is a folder: name a file")
    if isinstance(error, (NotADirectoryError, FileExistsError)):
        return RequestError(f"{path}: a part of this path is a file, not a folder: choose another path")
    if isinstance(error, PermissionError):
        return RequestError(f"{path}: permission denied: change the permissions or choose another path")
    return ISRError(f"{path}: {said}: check the path and the disk")


@contextmanager
def one_line(
    path: Path,
    what: str,
    advice: str,
    kind: type[ISRError] = RequestError,
    passing: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turn whatever is raised inside into an error of one line that begins with the path.

    Args:
        path: the file.
        what: what failed, such as "cannot be read".
        advice: what the user can do about it.
        kind: the class of the error, where the system does not say what it is.
        passing: exceptions that are left as they are, beside `ISRError`.
    """
    try:
        yield
    except ISRError:
        raise
    except passing:
        raise
    except MemoryError as error:
        remedy = "close other programs or take a smaller picture"
        raise MachineError(f"{path}: {what}: there is not enough memory: {remedy}") from error
    except OSError as error:
        if error.errno is not None:
            raise file_error(path, error) from error
        raise kind(f"{path}: {what} ({_brief(error)}): {advice}") from error
    # Given damaged bytes, decoders raise every exception there is.
    except Exception as error:
        raise kind(f"{path}: {what} ({_brief(error)}): {advice}") from error


def _brief(error: BaseException) -> str:
    said = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return said if len(said) <= 120 else said[:117] + "..."
