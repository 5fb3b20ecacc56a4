"""The floors of the package (`[tool.importlinter]` in pyproject.toml), and that the rules bite."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from children import ROOT, run_python

LINT = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"


def test_imports_keep_to_the_floors() -> None:
    run_python("-c", LINT)


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("io/files.py", "from isr.models import EDSR", "Imports go down the floors"),
        ("metrics.py", "from isr.ops import Tensor", "Imports go down the floors"),
        ("imresize.py", "import keras", "What works on arrays"),
        ("predict/picture.py", "from isr.runtimes import as_upscaler", "What works on arrays"),
        ("aplus.py", "import keras", "What works on arrays"),
        ("models/edsr.py", "import tensorflow as tf", "TensorFlow is imported only"),
        ("helpers.py", "import math", "Imports go down the floors"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, module: str, line: str, contract: str) -> None:
    weights = shutil.ignore_patterns("*.safetensors", "*.npz", "__pycache__")
    shutil.copytree(ROOT / "isr", tmp_path / "isr", ignore=weights)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "isr" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    code = f"import os, sys; os.chdir({str(tmp_path)!r}); sys.path.insert(0, ''); "
    code += "from importlinter.cli import lint_imports; print('code', lint_imports(no_cache=True))"
    report = run_python("-c", code, first_on_path=tmp_path)
    assert "code 1" in report
    broken = [text for text in report.splitlines() if "BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), report
