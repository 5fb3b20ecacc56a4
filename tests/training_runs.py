"""Small training runs for tests: their configurations, logs and weights, and how they are stopped or run on JAX."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from children import run_python
from safetensors.numpy import load_file

from isr import config as configuration
from isr.config import TrainConfig
from isr.progress import Callback


def keys_of(photos: Path, run: Path, **changes: object) -> list[str]:
    """Settings of a run on the folders `train` and `val` of `photos`, of a network that trains in a second."""
    base = {
        "run": run,
        "model.arguments": "{scale: 2, num_features: 8, num_blocks: 1}",
        "data.train_hr": photos / "train",
        "data.val_hr": photos / "val",
        "data.patch_size": 24,
        "optimizer.learning_rate": 1e-3,
        "optimizer.average_momentum": 0.9,
    }
    return [f"{key}={value}" for key, value in {**base, **changes}.items()]


def small_run(photos: Path, run: Path, **changes: object) -> TrainConfig:
    """The configuration that `keys_of` describes."""
    return configuration.load(None, keys_of(photos, run, **changes))


def rows(run: Path) -> list[dict[str, str]]:
    """The log of a run."""
    return list(csv.DictReader((run / "log.csv").open()))


def words_of_shared_run(photos: Path, run: Path, **changes: object) -> list[str]:
    """Arguments of `isr train` for a run that two or three processes can share."""
    base = {
        "data.batch_size": 6,
        "data.cache": photos / "cache",
        "optimizer.schedule": "constant",
        "steps.total": 5,
        "steps.validate_every": 5,
        "steps.save_every": 2,
    }
    return [word for key in keys_of(photos, run, **{**base, **changes}) for word in ("--set", key)]


def weights(folder: Path) -> dict[str, np.ndarray]:
    """The weights of a preset by name."""
    return load_file(folder / "weights.safetensors")


def assert_same_arrays(one: Path, other: Path, within: float) -> None:
    """Compare two files of arrays.

    Args:
        one, other: their paths.
        within: how far values may lie apart, as a share of the largest of their array; 1e-12 is nothing.
    """
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(
            second[name], value, rtol=0, atol=within * np.abs(value).max() + 1e-12, err_msg=name
        )


class StopAfter(Callback):
    """Cancels when an iterator of steps is exhausted; decoding does not count."""

    def __init__(self, steps: Iterator[int]) -> None:
        super().__init__(lambda what, *_: not what.startswith("train") or next(steps, None) is not None)


def run_of_24(photos: Path, run: Path, **changes: object) -> TrainConfig:
    """A run of 24 steps, saved every fifth and validated every eighth."""
    base = {
        "data.batch_size": 4,
        "optimizer.warmup_steps": 5,
        "steps.total": 24,
        "steps.validate_every": 8,
        "steps.save_every": 5,
    }
    return small_run(photos, run, **{**base, **changes})


CURVE = ("step", "loss", "learning_rate", "val_psnr_y", "best_psnr_y")


def assert_same_curve(one: Path, other: Path) -> None:
    assert [row["step"] for row in rows(one)] == [row["step"] for row in rows(other)]
    for a, b in zip(rows(one), rows(other), strict=True):
        for column in CURVE:
            assert bool(a[column]) == bool(b[column])
            if a[column]:
                assert float(a[column]) == pytest.approx(float(b[column]), abs=1e-6), (a["step"], column)
    for name in ("best", "last"):
        a, b = weights(one / name), weights(other / name)
        assert a.keys() == b.keys() and all(np.allclose(a[key], b[key], atol=1e-6) for key in a)


def trainer(config: TrainConfig, **kwargs):  # type: ignore[no-untyped-def]
    from isr.train import Trainer

    return Trainer(config, **kwargs)


# XLA's optimisations take longer than such runs.
ON_JAX = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}

# Runs configurations one after the other where TensorFlow cannot be imported.
WITHOUT_TENSORFLOW = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError("tensorflow is blocked in this test")
sys.meta_path.insert(0, Blocked())
from isr.cli.app import run
for config in json.loads(sys.argv[1]):
    assert run(["train", "--config", config, "--quiet"]) == 0
"""


def train_on_jax(*configs: TrainConfig) -> None:
    """Train configurations in a child on JAX; several of one run go on with it."""
    folder = Path(configs[0].run).parent
    files = []
    for index, config in enumerate(configs):
        files.append(folder / f"config{index}.yml")
        files[-1].write_text(configuration.to_yaml(config), encoding="utf-8")
    run_python("-c", WITHOUT_TENSORFLOW, json.dumps([str(file) for file in files]), env=ON_JAX)
