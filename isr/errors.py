"""The exceptions a user can see, each with the exit code the command line returns for it.

The message of every one of them is a single line that names the file or the key and says what to do, or such a line
for each of several files.
"""


class ISRError(Exception):
    """Something failed on the way (exit code 1)."""

    exit_code = 1


class RequestError(ISRError, ValueError):
    """The request is wrong: usage, configuration, or a file that is not what it should be (exit code 2)."""

    exit_code = 2


class MachineError(ISRError, RuntimeError):
    """This machine cannot do it: memory, disk, or a missing optional package (exit code 3)."""

    exit_code = 3


class Unconvertible(ISRError):
    """An engine does not take a network, today and tomorrow (exit code 1)."""


class Cancelled(ISRError):
    """The caller asked to stop; what was finished is whole (exit code 130)."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """Give the first line of an error's message, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
