"""One training run by processes that Ray starts, and starts again when one ends."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from children import ended, start_python, wait_until
from training_runs import ON_JAX, assert_same_arrays, words_of_shared_run

from isr.cli import app

STEPS = 40


@pytest.mark.parametrize("arguments", [["--cluster", "dask"], ["--workers", "2"]])
def test_what_is_no_cluster_is_said(arguments: list[str]) -> None:
    assert app.run(["train", *arguments]) == 2


def start(photos: Path, run: Path, *more: str) -> subprocess.Popen[str]:
    words = words_of_shared_run(photos, run, **{"steps.total": STEPS, "steps.validate_every": STEPS})
    return start_python("-m", "isr", "train", *words, *more, env=ON_JAX)


def steps_of(run: Path) -> int:
    log = run / "log.csv"
    return len(log.read_text().splitlines()) - 2 if log.is_file() else -1


@pytest.mark.slow
def test_a_process_that_ends_is_started_again(photos: Path, tmp_path: Path) -> None:
    """The weights are those of one process that nobody stopped."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    pytest.importorskip("jax", reason="JAX is not installed")
    alone = start(photos, tmp_path / "alone", "--quiet")
    _, err = ended(alone, 400)
    assert alone.returncode == 0, err
    run = tmp_path / "ray"
    command = start(photos, run, "--cluster", "ray", "--workers", "2")
    wait_until(lambda: steps_of(run) >= 3, command)
    ranks = [
        child
        for child in psutil.Process(command.pid).children(recursive=True)
        if "TrainWorker" in " ".join(child.cmdline())
    ]
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    out, err = ended(command, 400)
    assert command.returncode == 0, err
    assert out.split() == [str(run / "best")] and f"step {STEPS}" in err
    assert not (run / ".ray").exists()
    last = "last/weights.safetensors"
    assert_same_arrays(tmp_path / "alone" / last, run / last, within=1e-5)
