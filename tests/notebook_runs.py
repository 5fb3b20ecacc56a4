"""Running a notebook as a reader does: in a folder of their own, outside Colab."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def run(name: str, tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The folder that a notebook was run in, and what its cells have shown, by MIME type."""
    for module in ("nbclient", "nbformat", "ipykernel", "matplotlib"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[test,docs]'")
    import nbclient
    import nbformat

    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    # A working folder with a space and an umlaut, and away from the repository.
    folder = tmp_path / "Bilder für heute"
    folder.mkdir()
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return folder, [output["data"] for output in outputs if "data" in output]
