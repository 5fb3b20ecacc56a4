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
from training_runs import ON_JAX, assert_same_arrays, words_of_shared_run

from isr.cluster.training import address_of, held_port
from isr.errors import RequestError
from isr.train.ranks import Ranks, asked

pytest.importorskip("jax", reason="JAX is not installed")

LAST, DISCRIMINATOR = "last/weights.safetensors", "discriminator.safetensors"


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


# All that is computed in 32 bits is computed in 64, by Keras itself too.
WIDE = """
import keras
from keras import ops
from keras.src.backend.common import dtypes
from isr import runtimes
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
keras.config.set_floatx("float64")
runtimes.PRECISIONS["float32"] = "float64"
def wide(plain):
    def computed(x, dtype=None, *rest, **more):
        return plain(x, "float64" if dtype == "float32" else dtype, *rest, **more)
    return computed
ops.cast, ops.convert_to_tensor = wide(ops.cast), wide(ops.convert_to_tensor)
"""


def train(
    ranks: int, photos: Path, run: Path, killed_at: int = 0, wide: bool = False, **more: object
) -> None:
    """Train five steps, on so many processes; or kill them when the state of a step is written."""
    words = words_of_shared_run(photos, run, **more)
    with held_port("127.0.0.1") as held:
        processes = [start(words, held, rank, ranks, killed_at, wide) for rank in range(ranks)]
        if killed_at:
            assert processes[0].wait(timeout=900) == -signal.SIGKILL
            for process in processes[1:]:
                # It would end by itself, about a minute later.
                process.kill()
                process.wait()
        else:
            assert [process.wait(timeout=900) for process in processes] == [0] * ranks


def start(
    words: list[str], held: socket.socket, rank: int, ranks: int, killed_at: int, wide: bool
) -> subprocess.Popen[bytes]:
    shared = {"ISR_COORDINATOR": address_of(held), "ISR_RANK": str(rank), "ISR_RANKS": str(ranks)}
    own = {
        **ON_JAX,
        "ISR_TEST_KILLED_AT": str(killed_at),
        "JAX_ENABLE_X64": str(int(wide)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", WIDE * wide + TRAIN, *words],
        cwd=ROOT,
        env={**os.environ, **own, **(shared if ranks > 1 else {})},
    )


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
        assert_same_arrays(tmp_path / "one" / LAST, tmp_path / name / LAST, within=1e-6)


JUDGED = {
    "perceptual.content_weight": 0.1,
    "perceptual.content_layers": "{block1_conv2: 1.0}",
    "perceptual.adversarial_weight": 0.05,
    # It compares with the mean over all of a batch.
    "perceptual.adversarial_loss": "relativistic",
    "perceptual.discriminator_features": 4,
    "data.patch_size": 48,
    "steps.save_every": 5,
}


@pytest.mark.slow
def test_several_processes_judge_content_and_adversaries_as_one(photos: Path, tmp_path: Path) -> None:
    """All weights of a network together.

    One process alone, given the patches of each batch in another order, differs by 5e-7 in the discriminator, as Adam
    makes steps out of gradients that are rounding.
    """
    for ranks in (1, 2):
        train(ranks, photos, tmp_path / str(ranks), **JUDGED)
    for name in (LAST, DISCRIMINATOR):
        first, second = (load_file(tmp_path / ranks / name) for ranks in ("1", "2"))
        assert first.keys() == second.keys()
        assert distance(first, second) <= 1e-6 * distance(first), name


@pytest.mark.slow
def test_they_do_to_each_weight_where_nothing_is_rounded(photos: Path, tmp_path: Path) -> None:
    """In 64 bits, array by array."""
    for ranks in (1, 2):
        train(ranks, photos, tmp_path / str(ranks), wide=True, **JUDGED)
    for name in (LAST, DISCRIMINATOR):
        assert_same_arrays(*(tmp_path / ranks / name for ranks in ("1", "2")), within=1e-6)


def distance(one: dict[str, np.ndarray], other: dict[str, np.ndarray] | None = None) -> float:
    """The root of the sum of squares of differences; of the weights themselves where there is one network."""
    pairs = ((value, 0 if other is None else other[key]) for key, value in one.items())
    return float(
        np.sqrt(sum(np.square(np.float64(value) - np.float64(minus)).sum() for value, minus in pairs))
    )
