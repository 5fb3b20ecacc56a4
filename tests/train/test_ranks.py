"""One run by several processes: the same weights, also where their number changes on the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from children import ROOT
from safetensors.numpy import load_file
from training_runs import keys_of, weights

from isr.errors import RequestError
from isr.train.ranks import Ranks, asked

pytest.importorskip("jax", reason="JAX is not installed")


def test_shares_are_parts_of_a_batch() -> None:
    for count in (1, 2, 3):
        parts = [np.arange(6)[Ranks(rank, count).share(6)] for rank in range(count)]
        assert np.array_equal(np.concatenate(parts), np.arange(6))
        assert {len(part) for part in parts} == {6 // count}


@pytest.mark.parametrize(
    "values", [("host", "0", "2"), ("host:1", "2", "2"), ("host:1", "", "2"), ("host:1", "a", "2")]
)
def test_variables_that_do_not_fit_are_said(
    values: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zip(("ISR_COORDINATOR", "ISR_RANK", "ISR_RANKS"), values, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match="ISR_RANK"):
        asked()


# With a step, rank 0 is killed when it has written the state of this step.
TRAIN = """
import os, signal, sys
from isr.cli.app import run
if step := int(os.environ.get("ISR_TEST_KILLED_AT", 0)):
    from isr.train.folder import RunFolder
    write = RunFolder.write_state
    def written(self, state, *rest):
        write(self, state, *rest)
        if state.step >= step:
            os.kill(os.getpid(), signal.SIGKILL)
    RunFolder.write_state = written
sys.exit(run(["train", "--quiet", *sys.argv[1:]]))
"""


def train(ranks: int, photos: Path, run: Path, killed_at: int = 0, **more: object) -> None:
    """Train five steps, on so many processes; or kill them when the state of a step is written."""
    changes = {"data.batch_size": 6, "steps.total": 5, "steps.validate_every": 5, "steps.save_every": 2}
    changes |= more
    keys = keys_of(
        photos, run, **changes, **{"data.cache": photos / "cache", "optimizer.schedule": "constant"}
    )
    settings = [word for key in keys for word in ("--set", key)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, *settings],
            cwd=ROOT,
            env={
                **os.environ,
                "KERAS_BACKEND": "jax",
                "ISR_TEST_KILLED_AT": str(killed_at),
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
                **(
                    {"ISR_COORDINATOR": address, "ISR_RANK": str(rank), "ISR_RANKS": str(ranks)}
                    if ranks > 1
                    else {}
                ),
            },
        )
        for rank in range(ranks)
    ]
    if killed_at:
        assert processes[0].wait(timeout=900) == -signal.SIGKILL
        for process in processes[1:]:
            # It would end by itself, about a minute later.
            process.kill()
            process.wait()
        return
    assert [process.wait(timeout=900) for process in processes] == [0] * ranks


@pytest.mark.slow
def test_several_processes_make_the_weights_of_one(photos: Path, tmp_path: Path) -> None:
    train(1, photos, tmp_path / "one")
    train(2, photos, tmp_path / "two")
    # Begun on two, killed, finished on one and on three.
    for ranks in (1, 3):
        run = tmp_path / f"changed{ranks}"
        train(2, photos, run, killed_at=2)
        assert not (run / "last").exists() and (run / "state.safetensors").exists()
        train(ranks, photos, run)
    for name in ("two", "changed1", "changed3"):
        assert_same_weights(tmp_path / "one", tmp_path / name)


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one / "last"), weights(other / "last")
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert np.abs(second[key] - value).max() <= 1e-6 * np.abs(value).max(), key


@pytest.mark.slow
def test_several_processes_judge_content_and_adversaries_as_one(photos: Path, tmp_path: Path) -> None:
    """Also the relativistic loss, which compares with the mean over all of a batch."""
    losses = {
        "perceptual.content_weight": 0.1,
        "perceptual.content_layers": "{block1_conv2: 1.0}",
        "perceptual.adversarial_weight": 0.05,
        "perceptual.adversarial_loss": "relativistic",
        "perceptual.discriminator_features": 4,
        "data.patch_size": 48,
        "steps.save_every": 5,
    }
    for ranks in (1, 2):
        train(ranks, photos, tmp_path / str(ranks), **losses)
    for name in ("last/weights.safetensors", "discriminator.safetensors"):
        first, second = (load_file(tmp_path / ranks / name) for ranks in ("1", "2"))
        assert first.keys() == second.keys()
        # Of all weights together: a bias that five steps have moved from 0 by 1e-5 is a sum that nearly cancels out.
        assert distance(first, second) <= 1e-6 * distance(first), (
            name,
            distance(first, second),
            distance(first),
        )


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray] | None = None) -> float:
    """The root of the sum of squares of differences; of the weights themselves where there is one network."""
    pairs = ((value, 0 if other is None else other[key]) for key, value in one.items())
    return float(
        np.sqrt(sum(np.square(np.float64(value) - np.float64(minus)).sum() for value, minus in pairs))
    )
