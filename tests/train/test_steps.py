"""What a step is: Adam with rates and starts, several batches to a step, several steps to an execution, schedules."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
from children import run_python
from training_runs import StopAfter, rows, run_of_24, trainer

from isr import config as configuration
from isr.config import TrainConfig
from isr.errors import Cancelled
from isr.progress import Callback


@pytest.mark.parametrize("accumulate", [None, 3])
def test_adam_scales_rates_and_starts_late_as_if_anew(accumulate: int | None) -> None:
    # Against Adam written out: every variable counts its own steps, its rate has its own factor.
    from isr.train.optimizer import AveragingAdam

    factors, starts, rate = [1.0, 0.1, 0.5], [0, 0, 3], 0.01
    variables = [keras.Variable(np.full(2, 1.0, "float32"), name=f"v{i}") for i in range(3)]
    optimizer = AveragingAdam(
        rate, multipliers=factors, starts=starts, gradient_accumulation_steps=accumulate
    )
    optimizer.build(variables)
    rng = np.random.default_rng(0)
    expected, m, v = np.ones((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    for step in range(8):
        optimizer.release(step)
        grads = rng.normal(size=(3, 2)).astype("float32")
        for share in (0.5, 2.0, 0.5) if accumulate else (1.0,):  # the mean is 1
            optimizer.apply([keras.ops.convert_to_tensor(np.float32(share) * g) for g in grads], variables)
        for i in range(3):
            if step < starts[i]:
                continue
            t = step - starts[i] + 1
            m[i] += 0.1 * (grads[i] - m[i])
            v[i] += 0.001 * (grads[i] ** 2 - v[i])
            corrected = m[i] / (1 - 0.9**t), v[i] / (1 - 0.999**t)
            expected[i] -= rate * factors[i] * corrected[0] / (np.sqrt(corrected[1]) + 1e-7)
        np.testing.assert_allclose([np.asarray(x) for x in variables], expected, rtol=2e-5)


def test_muon_moves_kernels_along_all_their_directions_and_the_rest_as_adam() -> None:
    # Against a singular value decomposition, to which Newton and Schulz come near.
    from isr.train.optimizer import AveragingAdam, AveragingMuon, is_inner_kernel

    rng = np.random.default_rng(0)
    shapes = [(3, 3, 16, 24), (3, 3, 3, 16), (1, 1, 32, 32), (24,)]
    grads = [rng.normal(size=shape).astype("float32") * 0.01 for shape in shapes]

    def moved(kind: type[AveragingAdam]) -> list[np.ndarray]:
        variables = [
            keras.Variable(np.zeros(shape, "float32"), name=f"v{i}") for i, shape in enumerate(shapes)
        ]
        assert [is_inner_kernel(variable) for variable in variables] == [True, False, False, False]
        optimizer = kind(0.1, multipliers=[0.5, 1.0, 1.0, 1.0])
        optimizer.build(variables)
        optimizer.apply([keras.ops.convert_to_tensor(grad) for grad in grads], variables)
        return [np.asarray(variable) for variable in variables]

    muon, adam = moved(AveragingMuon), moved(AveragingAdam)
    for own, other in zip(muon[1:], adam[1:], strict=True):
        np.testing.assert_array_equal(own, other)
    step = -muon[0].reshape(144, 24) / (0.1 * 0.5)
    assert np.sqrt(np.mean(step**2)) == pytest.approx(0.3, rel=0.3)
    u, _, vt = np.linalg.svd(grads[0].reshape(144, 24), full_matrices=False)
    values = np.diag(u.T @ step @ vt.T) / (0.3 * math.sqrt(144))
    assert np.all((values > 0.6) & (values < 1.3))
    off = u.T @ step @ vt.T - np.diag(np.diag(u.T @ step @ vt.T))
    assert np.abs(off).max() < 1e-3


# Several batches in a step, several steps in an execution


def test_accumulated_batches_are_one_step_on_all_their_pictures() -> None:
    # The same gradient, clipped as a whole, rate of the schedule, moments and averages.
    from isr.models import EDSR
    from isr.train.objective import LossWeights, Objective
    from isr.train.optimizer import AveragingAdam
    from isr.train.schedules import schedule as build

    rng = np.random.default_rng(0)
    lr, hr = (rng.random((24, side, side, 3), np.float32) for side in (6, 12))

    def trained(accumulate: int, clip_norm: float | None = 0.02) -> tuple[Objective, AveragingAdam]:
        keras.utils.set_random_seed(3)
        objective = Objective(EDSR(2, num_features=4, num_blocks=1), LossWeights())
        keys = {"learning_rate": 0.1, "warmup_steps": 2, "accumulate": accumulate}
        optimizer = AveragingAdam(
            build(configuration.load(None, [f"optimizer.{k}={v}" for k, v in keys.items()]).optimizer, 4),
            average_momentum=0.15,  # reached in the third step
            global_clipnorm=clip_norm,
            epsilon=1e-3,  # or Adam makes steps of gradients that are rounding
            gradient_accumulation_steps=accumulate if accumulate > 1 else None,
        )
        optimizer.build(objective.trainable_variables)
        objective.compile(optimizer, "mae", jit_compile=keras.backend.backend() != "tensorflow")
        objective.fit(lr, hr, batch_size=8 // accumulate, verbose=0, shuffle=False)
        return objective, optimizer

    (whole, one), (parts, other) = trained(1), trained(2)
    assert int(one.iterations) == int(other.iterations) == 3
    assert float(one.learning_rate) == float(other.learning_rate)
    assert len(one.state()) == len(other.state())
    keras.utils.set_random_seed(3)
    start = EDSR(2, num_features=4, num_blocks=1).get_weights()
    for before, a, b in zip(start, whole.network.get_weights(), parts.network.get_weights(), strict=True):
        moved = np.abs(a - before).max()
        assert moved > 1e-5
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-3 * moved)
    for a, b in zip(one.state(), other.state(), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-3 * np.abs(a).max())
    with pytest.raises(ValueError, match="another optimizer"):
        other.restore(one.state()[:-1])
    other.restore(one.state())
    assert int(other.iterations) == 3 and float(other.learning_rate) == float(one.learning_rate)
    unclipped = trained(1, clip_norm=None)[1].state()  # the norm was there to be cut
    assert np.abs(unclipped[1]).max() > 5 * np.abs(one.state()[1]).max()


@pytest.fixture(scope="module")
def accumulated(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "accumulated"
    trainer(accumulated_settings(photos, run)).train()
    return run


def accumulated_settings(photos: Path, run: Path, **changes: object) -> TrainConfig:
    base = {"optimizer.accumulate": 2, "optimizer.clip_norm": 0.1, "data.batch_size": 2}
    base |= {"steps.total": 7, "steps.validate_every": 7, "data.cache": photos / "cache"}
    return run_of_24(photos, run, **{**base, **changes})


def assert_same_state(one: Path, other: Path) -> None:
    from safetensors.numpy import load_file

    a, b = (load_file(run / "state.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.slow
def test_an_accumulated_run_counts_steps_and_resumes_exactly(
    photos: Path, accumulated: Path, tmp_path: Path
) -> None:
    assert [row["step"] for row in rows(accumulated)] == ["0", "5", "7"]
    config = accumulated_settings(photos, tmp_path / "run")
    with pytest.raises(Cancelled):
        trainer(config, progress=StopAfter(iter(range(6)))).train()
    assert rows(tmp_path / "run")[-1]["step"] == "5"
    trainer(config).train()
    assert_same_state(accumulated, tmp_path / "run")


@pytest.mark.slow
def test_a_run_by_muon_resumes_exactly(photos: Path, tmp_path: Path) -> None:
    changes = {
        "model.arguments": "{scale: 2, num_features: 16, num_blocks: 1}",
        "optimizer.method": "muon",
        "data.cache": photos / "cache",
        "steps.total": 4,
        "steps.save_every": 2,
    }
    whole, parts = (run_of_24(photos, tmp_path / name, **changes) for name in ("whole", "parts"))
    trainer(whole).train()
    with pytest.raises(Cancelled):
        trainer(parts, progress=StopAfter(iter(range(3)))).train()
    trainer(parts).train()
    assert_same_state(tmp_path / "whole", tmp_path / "parts")


def test_an_accumulated_loss_is_the_mean_over_all_batches(photos: Path, tmp_path: Path) -> None:
    from isr.train.sources import Sources

    changes = {"optimizer.learning_rate": 1e-12, "steps.total": 4, "steps.save_every": 2}
    run = trainer(accumulated_settings(photos, tmp_path / "run", **changes))
    run.train()
    batches = Sources(run.config, run.model, run.folder.cache, run.progress).batches()
    log = rows(tmp_path / "run")
    for row, first in ((log[1], 0), (log[2], 4)):
        drawn = [batches[index] for index in range(first, first + 4)]
        expected = np.mean([np.abs(np.asarray(run.model(batch.lr)) - batch.hr).mean() for batch in drawn])
        assert float(row["pixel_loss"]) == pytest.approx(expected, rel=1e-5)


def test_several_steps_in_an_execution_are_the_same_steps(
    photos: Path, accumulated: Path, tmp_path: Path
) -> None:
    seen: list[int] = []
    config = accumulated_settings(photos, tmp_path / "run", **{"steps.per_execution": 3})
    progress = Callback(lambda what, done, total: seen.append(done) if what.startswith("train") else None)
    trainer(config, progress=progress).train()
    assert seen == [0, 3, 5, 7]  # states are saved at 5 and 7
    assert_same_state(accumulated, tmp_path / "run")

    other = accumulated_settings(photos, tmp_path / "other", **{"steps.per_execution": 3})
    with pytest.raises(Cancelled):
        trainer(other, progress=StopAfter(iter(range(2)))).train()  # the start of the bar, and an execution
    assert [row["step"] for row in rows(tmp_path / "other")] == ["0"]


@pytest.mark.slow
def test_accumulating_and_executing_work_on_jax() -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    report = run_python(
        *("-m", "pytest", "tests/train/test_steps.py", "-q", "-n", "0", "-p", "no:cacheprovider"),
        *("-k", "accumulated or execution"),
        env={"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"},
    )
    assert "5 passed" in report, report


def test_a_loss_that_is_no_number_ends_an_execution() -> None:
    from isr.progress import Silent
    from isr.train.watch import Report

    report = Report(Silent(), batches=8, accumulate=2)
    report.set_model(keras.Sequential())
    report.on_train_batch_end(5, {"loss": 1.0})
    assert not getattr(report.model, "stop_training", False)
    report.on_train_batch_end(11, {"loss": math.nan})
    assert report.model.stop_training


# Schedules


def test_restarts_are_those_of_edvr() -> None:
    from isr.train.schedules import schedule as build

    config = configuration.load(
        None,
        [
            "optimizer.schedule=restarts",
            "optimizer.learning_rate=0.0004",
            "optimizer.warmup_steps=0",
            "optimizer.periods=[10, 20, 20]",
            "optimizer.restart_weights=[1, 0.5, 0.25]",
            "optimizer.final_fraction=0.1",
        ],
    ).optimizer
    rate = build(config, 60)
    got = [float(np.asarray(rate(np.int64(step)))) for step in range(60)]
    expected = []
    for step in range(60):
        begin, period, weight = next(x for x in ((30, 20, 0.25), (10, 20, 0.5), (0, 10, 1.0)) if step >= x[0])
        done = min((step - begin) / period, 1)
        expected.append(4e-5 + weight * 0.5 * 3.6e-4 * (1 + math.cos(math.pi * done)))
    assert got == pytest.approx(expected, rel=1e-5)


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
