"""Where converted networks are kept, so that each is converted once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from isr.runtimes.engines import ENGINES


def cache_folder() -> Path:
    """Return the folder of converted networks: `$ISR_CACHE`, or the user's cache folder of the system."""
    if named := os.environ.get("ISR_CACHE"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("keras-isr", appauthor=False)) / "engines"


def cache_size() -> int:
    """Return the bytes that converted networks take."""
    return sum(path.stat().st_size for folder in _kept() for path in folder.rglob("*") if path.is_file())


def clear_cache() -> int:
    """Remove every converted network; returns the bytes that were freed."""
    freed = cache_size()
    for folder in _kept():
        shutil.rmtree(folder)
    return freed


def _kept() -> list[Path]:
    # By the names of the engines, so that nothing else goes should the variable name a folder with other things.
    return [folder for name in ENGINES if (folder := cache_folder() / name).is_dir()]
