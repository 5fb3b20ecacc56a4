"""The notebook: stripped in the repository, and every cell runs outside Colab."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "predict.ipynb"


def test_it_is_stripped_and_compiles() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            compile("".join(cell["source"]), NOTEBOOK.name, "exec")


@pytest.mark.slow
def test_it_runs_outside_colab(tmp_path: Path) -> None:
    for module in ("nbclient", "nbformat", "ipykernel", "matplotlib"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[test,docs]'")
    import nbclient
    import nbformat

    from isr.io import images

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # A working folder with a space and an umlaut, and away from the repository.
    folder = tmp_path / "Bilder für heute"
    folder.mkdir()
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()

    sample = ROOT / "docs" / "images" / "robin.png"
    source = sample if sample.is_file() else folder / "rings.png"
    before = images.probe(source)
    after = images.probe(folder / f"{source.stem}_x2{source.suffix}")
    assert (after.width, after.height) == (2 * before.width, 2 * before.height)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
