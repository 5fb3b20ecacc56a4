"""Files for batch systems: read by their own rules, and run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pictures import photograph
from PIL import Image
from ruamel.yaml import YAML

from isr.cli import app

COUNT = 3


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed in range(6):
        Path("my photos").mkdir(exist_ok=True)
        Image.fromarray(photograph(16, 20, seed)).save(f"my photos/{seed}.png")
    arguments = ["predict", "my photos", "-o", "out $(HOME)", "--preset", "bicubic", "--as-jobs", "jobs"]
    assert app.run([*arguments, "--shard", f"0/{COUNT}"]) == 0
    assert app.run(arguments) == 2
    return tmp_path


def test_the_job_of_kubernetes_is_valid(written: Path) -> None:
    content: Any = YAML(typ="safe").load(Path("jobs/kubernetes.yml"))
    (container,) = content["spec"]["template"]["spec"]["containers"]
    assert content["spec"]["completions"] == COUNT and content["spec"]["completionMode"] == "Indexed"
    assert container["args"] == [
        "predict", "--preset", "bicubic", "--output", "out $$(HOME)", "--resume", "--shard=$(SHARD)/3", "--",
        "my photos",
    ]  # fmt: skip
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    validate.validate(content, "1.31", strict=True)


@pytest.mark.skipif(os.name == "nt", reason="there is no bash")
def test_the_array_of_slurm_makes_all(written: Path) -> None:
    script = Path("jobs/slurm.sh")
    subprocess.run(["bash", "-n", script], check=True)
    assert f"#SBATCH --array=0-{COUNT - 1}%{COUNT}" in script.read_text()
    isr = Path("bin/isr")
    isr.parent.mkdir()
    isr.write_text(f'#!/bin/sh\nexec {sys.executable} -m isr "$@"\n')
    isr.chmod(0o755)
    for number in range(COUNT):
        env = {**os.environ, "PATH": f"{isr.parent.resolve()}:{os.environ['PATH']}"}
        subprocess.run(["bash", script], check=True, env={**env, "SLURM_ARRAY_TASK_ID": str(number)})
    assert sorted(path.name for path in Path("out $(HOME)").glob("*.png")) == [f"{n}.png" for n in range(6)]
