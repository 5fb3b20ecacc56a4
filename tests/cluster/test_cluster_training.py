"""One training run by processes that Ray starts, and starts again when one ends."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from children import ROOT
from pictures import folder_of_photographs
from training_runs import keys_of, weights

from isr.cli import app


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    folder_of_photographs(folder / "train", 3)
    folder_of_photographs(folder / "val", 2, 40, 48)
    return folder


@pytest.mark.parametrize("arguments", [["--cluster", "dask"], ["--workers", "2"]])
def test_what_is_no_cluster_is_said(arguments: list[str]) -> None:
    assert app.run(["train", *arguments]) == 2


def words(photos: Path, run: Path, steps: int) -> list[str]:
    keys = keys_of(
        photos,
        run,
        **{
            "data.batch_size": 6,
            "data.cache": photos / "cache",
            "optimizer.schedule": "constant",
            "steps.total": steps,
            "steps.validate_every": steps,
            "steps.save_every": 2,
        },
    )
    return [word for key in keys for word in ("--set", key)]


def start(settings: list[str], *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "isr", "train", *settings, *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
    )


def steps_of(run: Path) -> int:
    log = run / "log.csv"
    return len(log.read_text().splitlines()) - 2 if log.is_file() else -1


@pytest.mark.slow
def test_a_process_that_ends_is_started_again(photos: Path, tmp_path: Path) -> None:
    """The weights are those of one process that nobody stopped."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    pytest.importorskip("jax", reason="JAX is not installed")
    alone = start(words(photos, tmp_path / "alone", 40), "--quiet")
    assert alone.wait(timeout=400) == 0, alone.communicate()
    run = tmp_path / "ray"
    command = start(words(photos, run, 40), "--cluster", "ray", "--workers", "2")
    end = time.monotonic() + 300
    while steps_of(run) < 3:
        assert command.poll() is None and time.monotonic() < end, command.communicate()
        time.sleep(0.05)
    ranks = [
        child
        for child in psutil.Process(command.pid).children(recursive=True)
        if "TrainWorker" in " ".join(child.cmdline())
    ]
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    out, err = command.communicate(timeout=400)
    assert command.returncode == 0, err
    assert out.split() == [str(run / "best")] and "step 40" in err
    assert not (run / ".ray").exists()
    first, other = weights(tmp_path / "alone" / "last"), weights(run / "last")
    for key, value in first.items():
        assert np.abs(other[key] - value).max() <= 1e-5 * np.abs(value).max(), key
