"""The terminal face of a command's long work."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from isr.progress import Terminal


@contextmanager
def only_results() -> Iterator[TextIO]:
    """Keep stdout for results: what libraries print goes to stderr, also from threads such as Ray's; yields stdout."""
    out = sys.stdout
    with redirect_stdout(sys.stderr):
        yield out


@contextmanager
def terminal(quiet: bool) -> Iterator[Terminal]:
    """Give a `Progress` on stderr. Ctrl-C asks the work to stop at the next tile or step; a second one stops it."""
    from isr.progress import Terminal

    progress = Terminal(quiet)

    def stop(*_: object) -> None:
        if progress.cancelled:
            raise KeyboardInterrupt
        progress.cancelled = True

    own = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, stop) if own else None
    try:
        yield progress
    finally:
        if own:
            signal.signal(signal.SIGINT, before)
        progress.close()
