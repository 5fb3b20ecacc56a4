"""Child processes for tests: a fresh interpreter that finds the package, and its output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHADOW = "ISR_TEST_FIRST_ON_PATH"


def run_python(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    first_on_path: Path | None = None,
    timeout: float = 600,
) -> str:
    """Run `python ARGUMENTS` from the repository root and return its stdout; the test fails where it does.

    Args:
        arguments: `-c CODE`, `-m MODULE` or a file, then its own arguments.
        env: variables beside those of this process.
        first_on_path: a folder whose modules shadow installed ones, also in the child's own children.
        timeout: seconds after which it has failed.
    """
    process = start_python(*arguments, env=env, first_on_path=first_on_path)
    out, err = ended(process, timeout)
    assert process.returncode == 0, f"exit code {process.returncode}\n{out[-6000:]}\n{err[-3000:]}"
    return out


def start_python(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    first_on_path: Path | None = None,
    stdin: int | None = None,
) -> subprocess.Popen[str]:
    """Start `python ARGUMENTS`, arguments as for `run_python`; `ended` waits for its end."""
    shadow = str(first_on_path or os.environ.get(SHADOW, ""))
    path = [shadow] * bool(shadow) + [str(ROOT), str(ROOT / "tests")]
    own = {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.pathsep.join(path), SHADOW: shadow}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {}), **own, "PYTHONFAULTHANDLER": "1"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def line_of(process: subprocess.Popen[str], timeout: float = 120) -> str:
    """Read the line by which a child says that it is ready; the test fails where none comes."""
    assert process.stdout is not None
    if select.select([process.stdout], [], [], timeout)[0] and (line := process.stdout.readline()):
        return line.strip()
    return _hangs(process, timeout)


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 300) -> None:
    """Wait for a state that a child brings about; the test fails where it ends or hangs before."""
    end = time.monotonic() + timeout
    while not there():
        if process.poll() is not None or time.monotonic() > end:
            _hangs(process, timeout)
        time.sleep(0.02)


def ended(process: subprocess.Popen[str], timeout: float = 300) -> tuple[str, str]:
    """Wait for the end of a child and return its stdout and stderr; the test fails where it hangs."""
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _hangs(process, timeout)


def _hangs(process: subprocess.Popen[str], timeout: float) -> NoReturn:
    """Fail, with what a child said, and where it is."""
    over = process.poll() is not None
    # By this, a Python with a fault handler tells where its threads are.
    process.send_signal(signal.SIGABRT)
    out, err = process.communicate(timeout=60)
    what = f"exit code {process.returncode}" if over else f"it hangs, for {timeout:.0f} s"
    pytest.fail(f"{what}\n{out[-6000:]}\n{err[-6000:]}")
