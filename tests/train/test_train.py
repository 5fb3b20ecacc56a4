"""Training: exact resume, averaging, schedules, best weights, NaN, and what a run's folder holds."""

from __future__ import annotations

import json
import math
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
from children import run_python
from pictures import folder_of_photographs, photograph
from PIL import Image
from training_runs import StopAfter, rows, small_run, train_on_jax, weights

from isr import config as configuration
from isr.config import TrainConfig
from isr.errors import Cancelled, ISRError, RequestError
from isr.layers import Upsampler, conv
from isr.models.base import MultiFrameModel, join_frames, split_frames
from isr.progress import Callback


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    folder_of_photographs(folder / "train", 3)
    folder_of_photographs(folder / "val", 2, 40, 48)
    return folder


def settings(photos: Path, run: Path, **changes: object) -> TrainConfig:
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
    trainer(settings(photos, tmp_path / "run", **changes), model=model).train()
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


# Networks of several scales


def scales_settings(photos: Path, run: Path, **changes: object) -> TrainConfig:
    base = {
        "model.name": "MDSR",
        "model.arguments": "{scales: [2, 3, 4], num_features: 6, num_blocks: 1}",
        "steps.total": 16,
    }
    return settings(photos, run, **{**base, **changes})


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
    for stop in (7, 4):
        with pytest.raises(Cancelled):
            trainer(config, progress=StopAfter(iter(range(stop)))).train()
    trainer(config).train()
    assert_same_curve(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("scale", [2, 3, 4])
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


# Networks of several frames


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs under a moving crop: `train` has two clips of 6 frames, `val` one, and `photos` large pictures."""
    folder = tmp_path_factory.mktemp("clips")
    for split, count in (("train", 2), ("val", 1)):
        for clip in range(count):
            picture = photograph(80, 100, seed=10 * count + clip)
            (folder / split / f"c{clip}").mkdir(parents=True)
            for frame in range(6):
                moved = picture[2 * frame :][:64, 3 * frame :][:, :80]
                Image.fromarray(moved).save(folder / split / f"c{clip}" / f"{frame}.png")
    folder_of_photographs(folder / "photos", 1, 160, 160)
    return folder


@keras.saving.register_keras_serializable(package="test")
class Window(MultiFrameModel):
    """The smallest network of several frames: it mixes them, gives them back as aligned, and enlarges."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(
            num_frames=3, center_frame_idx=None, num_channels=3, pixel_mean=0.5, pixel_range=1.0, **kwargs
        )
        policy = self.dtype_policy
        self.head = conv(8, "head", policy)
        self.fusion = conv(8, "fusion", policy)
        self.to_frame = conv(3, "to_frame", policy)
        self.upsampler = Upsampler(2, 8, dtype=policy, name="upsampler")
        self.tail = conv(3, "tail", policy)
        shape = (None, None, None)
        for layer, channels in (
            (self.head, 3),
            (self.fusion, 24),
            (self.to_frame, 8),
            (self.upsampler, 8),
            (self.tail, 8),
        ):
            layer.build((*shape, channels))
        self.built = True

    scales = (2,)
    receptive_radius = 4
    size_multiple = 2

    def encode(self, frames):  # type: ignore[no-untyped-def]
        return {"frame": self.normalise(frames), "features": self.head(self.normalise(frames))}

    def decode(self, window, return_aligned=False):  # type: ignore[no-untyped-def]
        features = window["features"]
        aligned = split_frames(self.to_frame(join_frames(features)), 3)
        fused = self.fusion(keras.ops.concatenate([features[:, t] for t in range(3)], axis=-1))
        sr = self.denormalise(self.tail(self.upsampler(fused)))
        return (sr, self.denormalise(aligned)) if return_aligned else sr

    def call(self, lr, return_aligned=False):  # type: ignore[no-untyped-def]
        return self.decode(self.encode_window(lr), return_aligned)

    def get_config(self) -> dict:
        return keras.Model.get_config(self)


def clip_settings(clips: Path, run: Path, **changes: object) -> TrainConfig:
    base = {
        "data.train_clips": clips / "train",
        "data.val_clips": clips / "val",
        "data.val_stride": 3,
        "data.train_hr": clips / "photos",
        "data.photo_motion": 0.5,
        "data.frame_intervals": "[1, 2]",
        "optimizer.loss": "charbonnier",
        "model.start_from": "null",
    }
    return settings(clips, run, **{**base, **changes})


def test_video_networks_learn_and_resume_across_all_phases(clips: Path, tmp_path: Path) -> None:
    changes = {
        "optimizer.only": "[fusion]",
        "optimizer.only_steps": 7,
        "optimizer.multipliers": "{head: 0.1}",
        "optimizer.schedule": "restarts",
        "optimizer.periods": "[10, 14]",
        "optimizer.restart_weights": "[1, 0.5]",
        "optimizer.alignment_weight": 0.25,
    }
    config = clip_settings(clips, tmp_path / "whole", **changes)
    keras.utils.set_random_seed(0)
    trainer(config, model=Window()).train()
    log = rows(tmp_path / "whole")
    assert [row["step"] for row in log] == ["0", "5", "7", "8", "10", "15", "16", "20", "24"]
    assert float(log[-1]["loss"]) < float(log[1]["loss"])
    assert float(log[-1]["val_psnr_y"]) > float(log[0]["val_psnr_y"])

    parts = clip_settings(clips, tmp_path / "parts", **changes)
    for stop in (6, 9, 3):  # in the first phase, after its end, and in the second cosine
        steps = iter(range(stop))
        keras.utils.set_random_seed(0)
        with pytest.raises(Cancelled):
            trainer(parts, model=Window(), progress=StopAfter(steps)).train()
    keras.utils.set_random_seed(0)
    trainer(parts, model=Window()).train()
    assert_same_curve(tmp_path / "whole", tmp_path / "parts")


def test_at_first_only_the_named_weights_move(clips: Path, tmp_path: Path) -> None:
    changes = {
        "optimizer.only": "[fusion, tail]",
        "optimizer.only_steps": 5,
        "steps.total": 5,
        "data.photo_motion": 0,
        "optimizer.clip_norm": 1.0,
    }
    model = Window()
    model.compile("sgd", "mse")  # as a user may have left it
    before = {name: np.array(value) for name, value in model.named_weights().items()}
    trainer(clip_settings(clips, tmp_path / "run", **changes), model=model).train()
    for name, value in model.named_weights().items():
        moved = np.abs(np.asarray(value) - before[name]).max() > 0
        assert moved == name.startswith(("fusion", "tail")), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.only": "[fusions]"}, "optimizer.only: no weight of Window has 'fusions' in its name"),
        ({"optimizer.multipliers": "{dcn: 0.1}"}, "optimizer.multipliers: no weight of Window has 'dcn'"),
        ({"data.train_clips": "null", "data.photo_motion": 0}, "data.train_clips: Window needs a folder"),
        ({"data.val_clips": "null"}, "data.val_clips: Window needs a folder"),
        ({"data.clip_weights": "{x: 1}"}, "data.clip_weights: no clip's name matches 'x'"),
        ({"data.patch_size": 22}, "data.patch_size 22 is no multiple of 4, which Window needs"),
        ({"data.patch_size": 72}, "data.patch_size 72 needs photographs of at least"),
        ({"data.patch_size": 72, "data.photo_motion": 0}, "smaller than the patch of 72"),
    ],
)
def test_requests_for_clips_that_cannot_work_are_refused(
    clips: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        trainer(clip_settings(clips, tmp_path / "run", **changes), model=Window()).train()


def test_photographs_alone_train_a_video_network(clips: Path, tmp_path: Path) -> None:
    changes = {"data.train_clips": "null", "data.photo_motion": 1, "data.degradation": "bd", "steps.total": 4}
    trainer(clip_settings(clips, tmp_path / "run", **changes), model=Window()).train()
    assert rows(tmp_path / "run")[-1]["val_psnr_y"]


def test_validation_is_the_psnr_of_whole_frames(clips: Path, tmp_path: Path) -> None:
    from isr.data.clips import Clips, find_clips
    from isr.imresize import imresize
    from isr.levels import from_float, to_float
    from isr.metrics import psnr
    from isr.runtimes import as_upscaler
    from isr.train.validation import score_clips

    model = Window()
    found = Clips(find_clips(clips / "val"), 2, 3, tmp_path)
    score = score_clips(as_upscaler(model), found, 3, samples=1)
    expected = []
    for center in (1, 4):  # the middles of 0 to 2 and of 3 to 5
        window = found[0].lr[center - 1 : center + 2]
        hr = found[0].hr[center]
        sr = from_float(np.asarray(model(to_float(window)[None]))[0], np.dtype(np.uint8))
        bicubic = imresize(window[1], scale=2)
        expected.append([psnr(x, hr, channel="y", border=2) for x in (sr, bicubic)])
        if center == 1:
            assert np.array_equal(score.pictures["c0"], sr)
    assert np.mean(expected, axis=0) == pytest.approx([score.psnr, score.bicubic_psnr], abs=1e-3)


def test_far_offsets_are_warned_of_once(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isr.train import watch

    said: list[str] = []
    progress = Callback(lambda *_: True)
    progress.message = said.append  # type: ignore[method-assign]
    monkeypatch.setattr(watch, "mean_offsets", lambda model, lr: {"align/dcn": 60.0, "align/near": 2.0})
    config = clip_settings(clips, tmp_path / "run", **{"data.photo_motion": 0, "steps.total": 10})
    trainer(config, model=Window(), progress=progress).train()
    (warning,) = [line for line in said if "offset" in line]
    assert "align/dcn is 60 pixels" in warning


# Optimizer


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
    return settings(photos, run, **{**base, **changes})


def assert_same_state(one: Path, other: Path) -> None:
    from safetensors.numpy import load_file

    a, b = (load_file(run / "state.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


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
        *("-m", "pytest", "tests/train/test_train.py", "-q", "-n", "0", "-p", "no:cacheprovider"),
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


@pytest.mark.parametrize(("name", "expected"), [("charbonnier", 0.5), ("charbonnier_sum", 24.0)])
def test_charbonnier_is_a_mean_or_a_sum(name: str, expected: float) -> None:
    from isr.losses import pixel_loss

    loss = pixel_loss(name)(np.zeros((2, 2, 4, 3), "float32"), np.full((2, 2, 4, 3), 0.5, "float32"))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    zero = float(pixel_loss(name)(np.zeros((2, 2, 4, 3), "float32"), np.zeros((2, 2, 4, 3), "float32")))
    assert zero == pytest.approx({"charbonnier": 1e-3, "charbonnier_sum": 48e-6}[name], rel=1e-4)


def test_alignment_compares_every_frame_with_the_centre_one() -> None:
    from isr.losses import alignment_loss

    lr = np.random.default_rng(0).random((2, 3, 4, 5, 3)).astype("float32")
    assert float(alignment_loss(lr[:, [2, 2, 2]], lr, 2)) == 0
    expected = np.mean([(lr[:, t] - lr[:, 1]) ** 2 for t in range(3)])
    assert float(alignment_loss(lr, lr, 1)) == pytest.approx(expected, rel=1e-5)


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


def test_a_broken_run_stops_with_a_line_and_keeps_the_last_good_state(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "broken"
    good = trainer(settings(photos, run, **{"steps.total": 5, "steps.validate_every": 5}))
    good.train()
    state = (run / "state.safetensors").read_bytes()
    broken = trainer(settings(photos, run, **{"steps.total": 10, "steps.validate_every": 5}))
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
        trainer(settings(photos, tmp_path / "run", **changes)).train()


def test_mixed_precision_keeps_float32_weights(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "bfloat16"
    best = trainer(settings(photos, run, precision="bfloat16", **{"steps.total": 8})).train()
    assert all(value.dtype == np.float32 for value in weights(best).values())
    config = json.loads((best / "config.json").read_text())
    assert "dtype" not in config["arguments"]


def test_training_runs_on_jax_without_tensorflow(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    # The second configuration resumes the first.
    train_on_jax(*(settings(photos, tmp_path / "run", **{"steps.total": total}) for total in (10, 24)))
    log = rows(tmp_path / "run")
    assert log[-1]["step"] == "24" and float(log[-1]["loss"]) < float(log[1]["loss"])
    assert any((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.slow
def test_tdan_trains_on_jax_without_tensorflow(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    changes = {
        "model.name": "TDAN",
        "model.arguments": "{scale: 2, num_features: 8, num_frames: 3, num_extract_blocks: 0, "
        "num_reconstruct_blocks: 1, deform_groups: 2}",
        "optimizer.only": "[fuse]",
        "optimizer.only_steps": 4,
        "optimizer.multipliers": "{conv_offset: 0.1}",
        "optimizer.clip_norm": 1.0,
        "steps.total": 12,
        "steps.validate_every": 12,
    }
    train_on_jax(clip_settings(clips, tmp_path / "run", **changes))
    log = rows(tmp_path / "run")
    assert [row["step"] for row in log] == ["0", "4", "5", "10", "12"]
    assert float(log[-1]["val_psnr_y"]) > float(log[0]["val_psnr_y"])
