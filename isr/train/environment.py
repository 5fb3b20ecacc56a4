"""What a run was made with: versions, platform and revision."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
from pathlib import Path

import keras
import numpy as np

from isr.io.files import atomic


def note_environment(run: Path, step: int) -> None:
    """Write to the run's `environment.json` what it goes on with from this step, if that is something new.

    A list, each entry with the step, the versions of what computes, the platform, and the git revision of the
    current folder: "-dirty" is appended where tracked files were changed, None stands for no repository.
    """
    from isr import __version__

    backend = keras.backend.backend()
    entry = {
        "keras-isr": __version__,
        "keras": keras.__version__,
        "backend": backend,
        backend: importlib.import_module(backend).__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _revision(),
    }
    path = run / "environment.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if entries and {**entries[-1], "step": None} == {**entry, "step": None}:
        return
    with atomic(path) as temporary:
        temporary.write_text(
            json.dumps([*entries, {"step": step, **entry}], indent=1) + "\n", encoding="utf-8"
        )


def _revision() -> str | None:
    # The whole hash, no tag; nothing is written into the repository.
    command = "git describe --always --abbrev=40 --exclude=* --dirty"
    try:
        done = subprocess.run(
            command.split(),
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
