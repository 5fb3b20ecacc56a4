"""Training: exact resume, averaging, schedules, best weights, NaN, and what a run's folder holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from pictures import folder_of_photographs
from training_runs import StopAfter, assert_same_curve, rows, run_of_24, train_on_jax, trainer, weights

from isr import config as configuration
from isr.config import TrainConfig
from isr.errors import Cancelled, ISRError, RequestError
from isr.progress import Callback


@pytest.fixture(scope="module")
def uninterrupted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    trainer(run_of_24(photos, run)).train()
    return run


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    photos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "parts"
    config = run_of_24(photos, run)
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
    config.write_text(configuration.to_yaml(run_of_24(photos, run)), encoding="utf-8")
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


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_what_is_kept_of_a_network_with_frozen_layers_is_its_weights(
    photos: Path, tmp_path: Path, momentum: float
) -> None:
    from isr.models import EDSR

    # The frozen layer stands in the middle, so what is trained and what is kept have other positions.
    model = EDSR(2, num_features=8, num_blocks=2)
    model.blocks[0].trainable = False
    before = {name: np.array(value) for name, value in model.named_weights().items()}
    changes = {"steps.total": 2, "steps.validate_every": 2, "optimizer.average_momentum": momentum}
    changes |= {"optimizer.learning_rate": 0.01, "optimizer.warmup_steps": 0, "model.start_from": "null"}
    changes["model.arguments"] = "{scale: 2, num_features: 8, num_blocks: 2}"
    trainer(run_of_24(photos, tmp_path / "run", **changes), model=model).train()
    kept = weights(tmp_path / "run" / "last")
    for name, value in model.named_weights().items():
        frozen = name.startswith("block0/")
        assert np.array_equal(kept[name], before[name]) == frozen, name
        if frozen or not momentum:
            assert np.array_equal(kept[name], np.asarray(value)), name


def test_the_start_is_validated_and_a_candidate_for_the_best(photos: Path, tmp_path: Path) -> None:
    changes = {
        "optimizer.learning_rate": 1.0,
        "steps.total": 2,
        "steps.validate_every": 2,
        "optimizer.clip_norm": 1.0,
    }
    from isr.models import EDSR

    run = tmp_path / "run"
    best = EDSR.from_preset(trainer(run_of_24(photos, run, **changes)).train())
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
    folder_of_photographs(tmp_path / "val", 1, 4, 4)
    config = run_of_24(photos, tmp_path / "run", **{"data.val_hr": tmp_path / "val"})
    with pytest.raises(RequestError, match=r"0\.png: cannot be scored: "):
        trainer(config).train()
    assert not (tmp_path / "run" / "log.csv").exists()


# Networks of several scales


def scales_settings(photos: Path, run: Path, **changes: object) -> TrainConfig:
    base = {
        "model.name": "MDSR",
        "model.arguments": "{scales: [2, 3, 4], num_features: 6, num_blocks: 1}",
        "steps.total": 16,
    }
    return run_of_24(photos, run, **{**base, **changes})


@pytest.mark.slow
def test_several_scales_learn_together_and_resume_exactly(photos: Path, tmp_path: Path) -> None:
    from isr.data.pairs import find_pairs
    from isr.evaluate import Protocol, evaluate, read_pairs
    from isr.models import MDSR

    said: list[str] = []
    progress = Callback(lambda *_: True)
    progress.message = said.append  # type: ignore[method-assign]
    best = trainer(scales_settings(photos, tmp_path / "whole"), progress=progress).train()
    log = rows(tmp_path / "whole")
    assert float(log[-1]["loss"]) < float(log[1]["loss"])

    model = MDSR.from_preset(best)
    means = []
    for scale in (2, 3, 4):
        pairs = read_pairs(find_pairs(photos / "val", None, scale), scale, 3)
        table = evaluate(
            lambda lr, scale=scale: np.asarray(model(lr[None], scale=scale))[0], pairs, Protocol(scale)
        )
        means.append(table.mean.psnr)
    assert np.mean(means) == pytest.approx(float(log[-1]["best_psnr_y"]), abs=1e-4)
    lines = [line for line in said if "val_psnr_y" in line and f"best {np.mean(means):.3f}" in line]
    assert any(
        all(f"x{s} {p:.3f} dB" in line for s, p in zip((2, 3, 4), means, strict=True)) for line in lines
    )

    config = scales_settings(photos, tmp_path / "parts")
    with pytest.raises(Cancelled):
        trainer(config, progress=StopAfter(iter(range(7)))).train()
    trainer(config).train()
    assert_same_curve(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("scale", [2, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (3, 4))])
def test_a_batch_moves_its_own_scale(scale: int) -> None:
    from isr.models import MDSR
    from isr.train.objective import LossWeights, Objective

    model = MDSR(num_features=4, num_blocks=1)
    objective = Objective(model, LossWeights(), patch_size=24)
    objective.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
    before = {name: np.array(value) for name, value in model.named_weights().items()}
    rng = np.random.default_rng(0)
    lr, hr = (rng.random((2, side, side, 3), np.float32) for side in (24 // scale, 24))
    objective.fit(unknown_sides(lr, hr), verbose=0, shuffle=False)
    for name, value in model.named_weights().items():
        moved = not np.array_equal(np.asarray(value), before[name])
        assert moved == (not name.startswith("x") or name.startswith(f"x{scale}_")), name


def unknown_sides(lr: np.ndarray, hr: np.ndarray):  # type: ignore[no-untyped-def]
    """One batch as training on TensorFlow has it, of a side that the graph does not know."""
    import tensorflow as tf

    unknown = tf.TensorSpec((lr.shape[0], None, None, 3))
    data = tf.data.Dataset.from_generator(
        lambda: iter([(lr, hr)]), output_signature=(unknown, tf.TensorSpec(hr.shape))
    )
    return data.apply(tf.data.experimental.assert_cardinality(1))


@pytest.mark.slow
def test_several_scales_train_on_jax_as_on_tensorflow(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    from isr.models import MDSR

    keras.utils.set_random_seed(0)
    start = MDSR(num_features=6, num_blocks=1)
    start.start_as_interpolation()
    start.save_preset(tmp_path / "start")
    changes = {"model.start_from": tmp_path / "start", "steps.total": 8}
    changes["optimizer.epsilon"] = 1e-3  # or Adam makes steps of gradients that are rounding
    trainer(scales_settings(photos, tmp_path / "tensorflow", **changes)).train()
    train_on_jax(scales_settings(photos, tmp_path / "jax", **changes))
    one, other = (rows(tmp_path / name) for name in ("tensorflow", "jax"))
    assert [row["step"] for row in one] == [row["step"] for row in other]
    for a, b in zip(one, other, strict=True):
        assert float(a["loss"] or 0) == pytest.approx(float(b["loss"] or 0), rel=1e-3)
        assert float(a["val_psnr_y"] or 0) == pytest.approx(float(b["val_psnr_y"] or 0), abs=1e-3)
    last, other_last = (weights(tmp_path / name / "last") for name in ("tensorflow", "jax"))
    for name, value in last.items():
        np.testing.assert_allclose(value, other_last[name], atol=5e-6, err_msg=name)


# What a run notes


def test_a_run_says_what_it_was_made_with(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isr.train.environment import note_environment

    (entry,) = json.loads((uninterrupted / "environment.json").read_text(encoding="utf-8"))
    backend = keras.backend.backend()
    assert entry["step"] == 0 and entry["backend"] == backend and entry["keras"] == keras.__version__
    assert re.match(r"\d+\.\d+", entry[backend]) and str(Path.home()) not in json.dumps(entry)

    def noted() -> list[tuple[int, str]]:
        return [(e["step"], e["git"]) for e in json.loads((tmp_path / "environment.json").read_text())]

    for step, git in ((0, "a"), (4, "a"), (9, "b"), (12, "a")):
        monkeypatch.setattr("isr.train.environment._revision", lambda git=git: git)
        note_environment(tmp_path, step)
    assert noted() == [(0, "a"), (9, "b"), (12, "a")]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_revision_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isr.train.environment import _revision

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert _revision() is None

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout

    (tmp_path / "x").write_text("1")
    for arguments in (("init", "-q"), ("add", "x"), ("commit", "-q", "-m", "x"), ("tag", "v1")):
        git(*arguments)
    head = git("rev-parse", "HEAD").strip()
    assert _revision() == head
    (tmp_path / "x").write_text("2")
    assert _revision() == f"{head}-dirty"
    monkeypatch.setenv("PATH", "")
    assert _revision() is None


def test_a_log_of_fewer_columns_goes_on(tmp_path: Path) -> None:
    from isr.train.log import Log

    (tmp_path / "log.csv").write_text("step,loss\n0,\n5,0.5\n10,0.25\n")
    log = Log(tmp_path, 5)
    log.add({"step": 10, "loss": 0.125, "real_score": 2.0})
    log.close()
    assert [(row["step"], row["loss"], row["real_score"]) for row in rows(tmp_path)] == [
        ("0", "", ""),
        ("5", "0.5", ""),
        ("10", "0.125", "2"),
    ]


def test_a_broken_run_stops_with_a_line_and_keeps_the_last_good_state(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "broken"
    good = trainer(run_of_24(photos, run, **{"steps.total": 5, "steps.validate_every": 5}))
    good.train()
    state = (run / "state.safetensors").read_bytes()
    broken = trainer(run_of_24(photos, run, **{"steps.total": 10, "steps.validate_every": 5}))
    fit = broken._fit

    def poisoned(batches, stop):  # type: ignore[no-untyped-def]
        loss = fit(batches, stop)
        # Behind a ReLU a CPU turns this NaN into 0, so the loss is finite.
        kernel = broken.model.blocks[0].conv1.kernel
        kernel.assign(np.full(kernel.shape, np.nan, np.float32))
        return loss

    broken._fit = poisoned
    with pytest.raises(ISRError, match=r"diverged before step 10 .*conv1/kernel is not a number") as caught:
        broken.train()
    assert "\n" not in str(caught.value)
    assert (run / "state.safetensors").read_bytes() == state
    assert all(np.all(np.isfinite(value)) for value in weights(run / "best").values())


def test_another_loss_is_not_taken_for_divergence(photos: Path, tmp_path: Path) -> None:
    """The sum over a batch is thousands of times the mean."""
    run = tmp_path / "run"
    trainer(run_of_24(photos, run, **{"steps.total": 5, "steps.validate_every": 5})).train()
    changes = {"steps.total": 10, "steps.validate_every": 5, "optimizer.loss": "charbonnier_sum"}
    trainer(run_of_24(photos, run, **changes)).train()
    first, then = (float(row["loss"]) for row in rows(run)[1:])
    assert then > 100 * first


def test_a_run_that_never_began_does_not_hold_its_folder(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        trainer(run_of_24(photos, tmp_path / "run", **{"data.train_hr": "nowhere"})).train()
    arguments = "{scale: 2, num_features: 4, num_blocks: 1}"
    changes = {"model.arguments": arguments, "steps.total": 1, "steps.validate_every": 1}
    assert trainer(run_of_24(photos, tmp_path / "run", **changes)).train().is_dir()


def test_another_network_in_the_same_run_is_refused(photos: Path, uninterrupted: Path) -> None:
    config = run_of_24(
        photos, uninterrupted, **{"model.arguments": "{scale: 2, num_features: 4, num_blocks: 1}"}
    )
    with pytest.raises(RequestError, match="holds a run of EDSR"):
        trainer(config).train()


def test_fine_tuning_starts_from_a_preset_and_another_scale_takes_the_body(
    photos: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    best = uninterrupted / "best"
    same = trainer(run_of_24(photos, tmp_path / "same", **{"model.start_from": best}))
    for name, value in weights(best).items():
        assert np.array_equal(np.asarray(same.model.named_weights()[name]), value)

    arguments = "{scale: 4, num_features: 8, num_blocks: 1}"
    changes = {"model.start_from": best, "model.arguments": arguments}
    other = trainer(run_of_24(photos, tmp_path / "other", **changes))
    taken = weights(best)
    assert np.array_equal(np.asarray(other.model.blocks[0].conv1.kernel), taken["block0/conv1/kernel"])
    wider = {**changes, "model.arguments": "{scale: 2, num_features: 16, num_blocks: 1}"}
    with pytest.raises(RequestError, match=r"model.start_from: .*has shape"):
        trainer(run_of_24(photos, tmp_path / "wider", **wider))


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
        (
            {"data.train_lr": "lr", "data.scale_augment": "[0.8]"},
            "data.scale_augment: .*leave out data.train_lr",
        ),
        (
            {
                "model.name": "MDSR",
                "model.arguments": "{num_features: 4, num_blocks: 0}",
                "data.patch_size": 32,
            },
            "data.patch_size 32 is no multiple of the scale 3",
        ),
    ],
)
def test_requests_that_cannot_work_are_refused(
    photos: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        trainer(run_of_24(photos, tmp_path / "run", **changes)).train()


def test_mixed_precision_keeps_float32_weights(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "bfloat16"
    best = trainer(run_of_24(photos, run, precision="bfloat16", **{"steps.total": 8})).train()
    assert all(value.dtype == np.float32 for value in weights(best).values())
    config = json.loads((best / "config.json").read_text())
    assert "dtype" not in config["arguments"]


def test_training_runs_on_jax_without_tensorflow(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    # The second configuration resumes the first.
    train_on_jax(*(run_of_24(photos, tmp_path / "run", **{"steps.total": total}) for total in (10, 24)))
    log = rows(tmp_path / "run")
    assert log[-1]["step"] == "24" and float(log[-1]["loss"]) < float(log[1]["loss"])
    assert any((tmp_path / "run" / "tensorboard").iterdir())
