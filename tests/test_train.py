"""Training: exact resume, averaging, schedules, best weights, NaN, and what a run's folder holds."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import folder_of_photographs

from isr import config as configuration
from isr.config import TrainConfig
from isr.errors import Cancelled, ISRError, RequestError
from isr.progress import Callback


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    folder_of_photographs(folder / "train", 3)
    folder_of_photographs(folder / "val", 2, 40, 48)
    return folder


def settings(photos: Path, run: Path, **changes: object) -> TrainConfig:
    base = {
        "run": run,
        "model.arguments": "{scale: 2, num_features: 8, num_blocks: 1}",
        "data.train_hr": photos / "train",
        "data.val_hr": photos / "val",
        "data.patch_size": 24,
        "data.batch_size": 4,
        "optimizer.learning_rate": 1e-3,
        "optimizer.warmup_steps": 5,
        "optimizer.average_momentum": 0.9,
        "steps.total": 24,
        "steps.validate_every": 8,
        "steps.save_every": 5,
    }
    return configuration.load(None, [f"{key}={value}" for key, value in {**base, **changes}.items()])


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "log.csv").open()))


def weights(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "weights.safetensors")


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


@pytest.fixture(scope="module")
def uninterrupted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    trainer(settings(photos, run)).train()
    return run


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    photos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "parts"
    config = settings(photos, run)
    for stop in (3, 13, 19):  # before the first state, between states, and across a validation
        steps = iter(range(stop))
        with pytest.raises(Cancelled):
            trainer(config, progress=Callback(lambda *_, steps=steps: next(steps, None) is not None)).train()
    trainer(config).train()
    assert_same_curve(uninterrupted, run)


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(
    photos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    config = tmp_path / "config.yml"
    config.write_text(configuration.to_yaml(settings(photos, run)), encoding="utf-8")
    command = [sys.executable, "-m", "isr", "train", "--config", str(config), "--quiet"]
    for _ in range(2):
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        log = run / "log.csv"
        before = log.stat().st_mtime_ns if log.is_file() else 0
        while child.poll() is None:
            if log.is_file() and log.stat().st_mtime_ns != before:
                child.kill() if os.name == "nt" else child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        child.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert_same_curve(uninterrupted, run)


def test_a_run_holds_all_that_repeats_it(uninterrupted: Path) -> None:
    from isr.models import EDSR

    assert (uninterrupted / "config.yml").is_file()
    assert any((uninterrupted / "tensorboard").iterdir())
    best = max(float(row["val_psnr_y"]) for row in rows(uninterrupted) if row["val_psnr_y"])
    assert float(rows(uninterrupted)[-1]["best_psnr_y"]) == best
    assert EDSR.from_preset(uninterrupted / "best").num_features == 8
    recipe = configuration.load(uninterrupted / "best" / "recipe.yml")
    assert recipe.steps.total == 24 and recipe.data.patch_size == 24


def test_training_learns(uninterrupted: Path) -> None:
    log = rows(uninterrupted)
    assert float(log[-1]["loss"]) < float(log[1]["loss"])


def test_the_best_weights_are_those_that_scored_best(photos: Path, uninterrupted: Path) -> None:
    from isr.data.pairs import find_pairs
    from isr.evaluate import Protocol, evaluate, read_pairs
    from isr.models import EDSR

    model = EDSR.from_preset(uninterrupted / "best")
    pairs = read_pairs(find_pairs(photos / "val", None, 2), 2, 3)
    table = evaluate(lambda lr: np.asarray(model(lr[None]))[0], pairs, Protocol(2))
    assert table.mean.psnr == pytest.approx(float(rows(uninterrupted)[-1]["best_psnr_y"]), abs=1e-4)


def test_the_start_is_validated_and_a_candidate_for_the_best(photos: Path, tmp_path: Path) -> None:
    changes = {
        "optimizer.learning_rate": 1.0,
        "steps.total": 2,
        "steps.validate_every": 2,
        "optimizer.clip_norm": 1.0,
    }
    from isr.models import EDSR

    run = tmp_path / "run"
    best = EDSR.from_preset(trainer(settings(photos, run, **changes)).train())
    start = EDSR(scale=2, num_features=8, num_blocks=1)
    start.start_as_interpolation()
    lr = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    log = rows(run)
    assert log[0]["step"] == "0" and float(log[0]["val_psnr_y"]) > float(log[-1]["val_psnr_y"])
    assert log[-1]["best_psnr_y"] == log[0]["val_psnr_y"]
    assert np.abs(np.asarray(best(lr)) - np.asarray(start(lr))).max() < 0.2  # random corrections differ


def test_a_validation_picture_that_cannot_be_scored_is_named_before_training(
    photos: Path, tmp_path: Path
) -> None:
    folder_of_photographs(tmp_path / "val", 1, 12, 12)
    config = settings(photos, tmp_path / "run", **{"data.val_hr": tmp_path / "val"})
    with pytest.raises(RequestError, match=r"0\.png: cannot be scored: SSIM needs 11 pixels"):
        trainer(config).train()
    assert not (tmp_path / "run" / "log.csv").exists()


@pytest.mark.parametrize("schedule", ["cosine", "halving", "constant"])
def test_learning_rates_follow_the_schedule(schedule: str) -> None:
    from isr.train.schedules import schedule as build

    config = configuration.load(
        None,
        [
            f"optimizer.schedule={schedule}",
            "optimizer.learning_rate=0.01",
            "optimizer.warmup_steps=10",
            "optimizer.halve_every=20",
            "optimizer.final_fraction=0.1",
        ],
    ).optimizer
    rates = np.array([float(np.asarray(build(config, 110)(np.int64(step)))) for step in range(110)])
    assert rates[0] <= 0.0011 and rates[9] <= 0.01 and np.all(np.diff(rates[:10]) > 0)
    steps = np.arange(12, 110)
    expected = {
        "constant": np.full(len(steps), 0.01),
        "halving": 0.01 * 0.5 ** (steps // 20),
        "cosine": 0.01 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (steps - 10) / 100))),
    }[schedule]
    assert rates[12:] == pytest.approx(expected, rel=1e-5)


def test_a_broken_run_stops_with_a_line_and_keeps_the_last_good_state(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "broken"
    good = trainer(settings(photos, run, **{"steps.total": 5, "steps.validate_every": 5}))
    good.train()
    state = (run / "state.safetensors").read_bytes()
    broken = trainer(settings(photos, run, **{"steps.total": 10, "steps.validate_every": 5}))
    fit = broken._fit

    def poisoned(batches, stop):  # type: ignore[no-untyped-def]
        loss = fit(batches, stop)
        kernel = broken.model.blocks[
            0
        ].conv1.kernel  # behind a ReLU: a CPU turns this NaN into 0 (finite loss)
        kernel.assign(np.full(kernel.shape, np.nan, np.float32))
        return loss

    broken._fit = poisoned
    with pytest.raises(ISRError, match=r"diverged before step 10 .*conv1/kernel is not a number") as caught:
        broken.train()
    assert "\n" not in str(caught.value)
    assert (run / "state.safetensors").read_bytes() == state
    assert all(np.all(np.isfinite(value)) for value in weights(run / "best").values())


def test_another_network_in_the_same_run_is_refused(photos: Path, uninterrupted: Path) -> None:
    config = settings(
        photos, uninterrupted, **{"model.arguments": "{scale: 2, num_features: 4, num_blocks: 1}"}
    )
    with pytest.raises(RequestError, match="holds a run of EDSR"):
        trainer(config).train()


def test_fine_tuning_starts_from_a_preset_and_another_scale_takes_the_body(
    photos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    best = uninterrupted / "best"
    same = trainer(settings(photos, tmp_path / "same", **{"model.start_from": best}))
    for name, value in weights(best).items():
        assert np.array_equal(np.asarray(same.model.named_weights()[name]), value)

    arguments = "{scale: 4, num_features: 8, num_blocks: 1}"
    changes = {"model.start_from": best, "model.arguments": arguments}
    other = trainer(settings(photos, tmp_path / "other", **changes))
    taken = weights(best)
    assert np.array_equal(np.asarray(other.model.blocks[0].conv1.kernel), taken["block0/conv1/kernel"])
    wider = {**changes, "model.arguments": "{scale: 2, num_features: 16, num_blocks: 1}"}
    with pytest.raises(RequestError, match=r"model.start_from: .*has shape"):
        trainer(settings(photos, tmp_path / "wider", **wider))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.train_hr": "nowhere"}, "nowhere: no such folder"),
        ({"data.patch_size": 25}, "patch_size 25 is no multiple of the scale 2"),
        ({"data.patch_size": 120}, "smaller than the patch of 120"),
        ({"model.name": "EDSSR"}, "'EDSSR' is unknown; the networks are EDSR"),
        ({"model.arguments": "{scales: 2}"}, "model.arguments: .*scales"),
        ({"model.arguments": "{scale: 5}"}, "model.arguments: scale=5"),
        ({"model.start_from": "nothing"}, "'nothing' is neither a shipped name"),
    ],
)
def test_requests_that_cannot_work_are_refused(
    photos: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        trainer(settings(photos, tmp_path / "run", **changes)).train()


def test_mixed_precision_keeps_float32_weights(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "bfloat16"
    best = trainer(settings(photos, run, precision="bfloat16", **{"steps.total": 8})).train()
    assert all(value.dtype == np.float32 for value in weights(best).values())
    config = json.loads((best / "config.json").read_text())
    assert "dtype" not in config["arguments"]


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError("tensorflow is blocked in this test")
sys.meta_path.insert(0, Blocked())
from isr.cli import main
main()
"""


def test_training_runs_on_jax_without_tensorflow(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    config = tmp_path / "config.yml"
    config.write_text(configuration.to_yaml(settings(photos, tmp_path / "run")), encoding="utf-8")
    for total in ("10", "24"):  # the second call resumes the first
        subprocess.run(
            [
                sys.executable,
                "-c",
                BLOCKED,
                "train",
                "--config",
                str(config),
                "--set",
                f"steps.total={total}",
            ],
            check=True,
            env={**os.environ, "KERAS_BACKEND": "jax"},
        )
    log = rows(tmp_path / "run")
    assert log[-1]["step"] == "24" and float(log[-1]["loss"]) < float(log[1]["loss"])
    assert any((tmp_path / "run" / "tensorboard").iterdir())
