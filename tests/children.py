"""Child processes for tests: a fresh interpreter that finds the package, and its output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

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
    shadow = str(first_on_path or os.environ.get(SHADOW, ""))
    path = [shadow] * bool(shadow) + [str(ROOT), str(ROOT / "tests")]
    variables = {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.pathsep.join(path), SHADOW: shadow}
    command, env = [sys.executable, *arguments], {**os.environ, **(env or {}), **variables}
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"no end after {timeout:.0f} s\n{_told(late.stdout or b'', late.stderr or b'')}")
    assert done.returncode == 0, f"exit code {done.returncode}\n{_told(done.stdout, done.stderr)}"
    return done.stdout.decode()


def ended(process: subprocess.Popen[str], timeout: float = 300) -> tuple[str, str]:
    """Wait for the end of a child and return its stdout and stderr; one that hangs says where, and the test fails.

    Args:
        process: with pipes for both, and `PYTHONFAULTHANDLER` among its variables.
        timeout: seconds after which it hangs.
    """
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate()
        pytest.fail(f"no end after {timeout:.0f} s\n{out[-6000:]}\n{err[-6000:]}")


def _told(stdout: bytes, stderr: bytes) -> str:
    """The last that a child said."""
    return f"{stdout.decode(errors='replace')[-6000:]}\n{stderr.decode(errors='replace')[-3000:]}"
