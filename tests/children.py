"""Child processes for tests: a fresh interpreter that finds the package, and its output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

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
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            **(env or {}),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": os.pathsep.join(path),
            SHADOW: shadow,
        },
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout
