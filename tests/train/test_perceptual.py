"""Content and adversarial training: whose gradients move whom, exact resume, and the phases of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file
from training_runs import rows, small_run, train_on_jax

from isr.config import TrainConfig
from isr.errors import RequestError
from isr.losses import ContentLoss, adversarial_loss, pixel_loss
from isr.models import EDSR, Discriminator
from isr.progress import Callback
from isr.train import Trainer
from isr.train.objective import LossWeights, Objective, off_grid
from isr.train.watch import Watch


def settings(photos: Path, run: Path, **changes: object) -> TrainConfig:
    base = {
        "data.batch_size": 2,
        "optimizer.warmup_steps": 0,
        "perceptual.from_step": 6,
        "perceptual.pixel_weight": 0.5,
        "perceptual.content_weight": 0.1,
        "perceptual.content_layers": "{block1_conv2: 1.0}",
        "perceptual.adversarial_weight": 0.01,
        "perceptual.discriminator_features": 4,
        "perceptual.discriminator_rate": 0.5,
        "perceptual.total_variation_weight": 0.001,
        "perceptual.phase_weight": 0.2,
        "perceptual.off_grid": 2,
        "steps.total": 14,
        "steps.validate_every": 14,
        "steps.save_every": 5,
    }
    return small_run(photos, run, **{**base, **changes})


@pytest.mark.parametrize("name", ["vanilla", "relativistic"])
def test_each_network_is_moved_by_its_own_loss_alone(name: str) -> None:
    import tensorflow as tf

    keras.utils.set_random_seed(2)
    network = EDSR(2, num_features=8, num_blocks=1)
    discriminator = Discriminator(num_features=4)
    rng = np.random.default_rng(0)
    lr, hr = (tf.constant(rng.random((2, side, side, 3), np.float32)) for side in (12, 24))
    adversarial = adversarial_loss(name)
    objective = Objective(
        network,
        LossWeights(pixel=0.7, content=0.2, adversarial=0.3),
        ContentLoss(lambda picture: [picture**2]),
        adversarial,
        discriminator,
    )
    objective.compile(loss=pixel_loss("l1"))
    state = [np.asarray(variable) for variable in discriminator.variables]

    def gradients(variables, compute):  # type: ignore[no-untyped-def]
        for variable, value in zip(discriminator.variables, state, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            loss = compute()
        return [np.asarray(g) for g in tape.gradient(loss, [v.value for v in variables])]

    both = network.trainable_variables + discriminator.trainable_variables
    found = gradients(both, lambda: objective.compute_loss(lr, hr, objective(lr)))
    shown = {metric.name: float(metric.result()) for metric in objective.parts}
    for score, pictures in (("real_score", hr), ("fake_score", network(lr))):
        mean = float(np.mean(discriminator(pictures, training=True)))
        assert shown[score] == pytest.approx(mean, rel=1e-3, abs=1e-4), score

    def generators() -> tf.Tensor:
        sr = network(lr)
        judged = adversarial.generator(discriminator(hr, training=True), discriminator(sr, training=True))
        content = tf.reduce_mean((sr**2 / 255 - hr**2 / 255) ** 2)
        return 0.7 * tf.reduce_mean(tf.abs(sr - hr)) + 0.2 * content + 0.3 * judged

    sr = network(lr)
    expected = gradients(network.trainable_variables, generators)
    expected += gradients(
        discriminator.trainable_variables,
        lambda: adversarial.discriminator(discriminator(hr, training=True), discriminator(sr, training=True)),
    )
    for variable, a, b in zip(both, found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5 * np.abs(b).max() + 1e-8, err_msg=variable.path)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_each_place_of_the_grid_comes_first_once(stride: int) -> None:
    rows, columns = np.meshgrid(np.arange(20), np.arange(24), indexing="ij")
    picture = np.stack([rows, columns, rows * columns], -1).astype(np.float32)
    side = 0 if stride == 1 else stride
    cut = np.asarray(off_grid(np.stack([picture] * (stride**2 + 3)), stride))
    assert cut.shape[1:] == (20 - side, 24 - side, 3)
    places = [(int(top), int(left)) for top, left, _ in cut[:, 0, 0]]
    assert len(set(places[: stride**2])) == stride**2 and max(map(max, places)) == stride - 1
    assert places[0] == (0, 0) and places[stride**2 :] == (places[: stride**2] * 3)[:3]
    for found, (top, left) in zip(cut, places, strict=True):
        np.testing.assert_array_equal(found, picture[top : 20 - side + top, left : 24 - side + left])
    # A batch of a few is spread as evenly: of the first `stride`, no two share a row or a column.
    assert all(len(set(axis)) == stride for axis in zip(*places[:stride], strict=True))


def test_the_judges_see_what_is_off_the_grid_and_pixels_count_all() -> None:
    hr, sr = (np.random.default_rng(seed).random((3, 8, 8, 3), np.float32) for seed in (1, 2))
    objective = Objective(
        EDSR(2, num_features=4, num_blocks=1),
        LossWeights(pixel=1.0, content=1.0),
        ContentLoss(lambda picture: [picture], kind="l1", scale=1.0),
        off_grid=4,
    )
    objective.compile(loss=pixel_loss("l1"))
    objective.compute_loss(hr[:, :4, :4], hr, sr)
    shown = {metric.name: float(metric.result()) for metric in objective.parts}
    error = np.abs(sr - hr)
    expected = np.mean(
        [error[i, top : top + 4, left : left + 4] for i, (top, left) in enumerate([(0, 0), (1, 2), (2, 1)])]
    )
    assert shown["content_loss"] == pytest.approx(expected, rel=1e-5)
    assert shown["pixel_loss"] == pytest.approx(error.mean(), rel=1e-5)


@pytest.fixture(scope="module")
def uninterrupted(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and in `killed` beside it the same as it stood at step 12, with the state of step 10."""
    run = tmp_path_factory.mktemp("runs") / "whole"

    def copy(what: str, step: int, _: int) -> None:
        if what.startswith("train") and step == 12:
            shutil.copytree(run, run.with_name("killed"))

    Trainer(settings(photos, run), progress=Callback(copy)).train()
    return run


def test_pixels_come_first_and_every_loss_is_logged(uninterrupted: Path) -> None:
    log = {int(row["step"]): row for row in rows(uninterrupted)}
    assert list(log) == [0, 5, 6, 10, 14]
    names = [
        f"{name}_loss" for name in ("content", "adversarial", "total_variation", "phase", "discriminator")
    ]
    for step, row in log.items():
        for name in names:
            assert (float(row[name] or 0) > 0) == (step > 6), (step, name)
        assert all((float(row[score] or 0) != 0) == (step > 6) for score in ("real_score", "fake_score"))
    before, after = log[6], log[14]
    assert float(before["loss"]) == pytest.approx(float(before["pixel_loss"]), rel=1e-5)
    parts = [0.1, 0.01, 0.001, 0.2, 1.0]
    expected = 0.5 * float(after["pixel_loss"]) + sum(
        w * float(after[n]) for w, n in zip(parts, names, strict=True)
    )
    assert float(after["loss"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_discriminator(photos: Path, uninterrupted: Path) -> None:
    run = uninterrupted.with_name("killed")
    assert rows(run)[-1]["step"] == "10"
    Trainer(settings(photos, run)).train()
    assert rows(run)[-1]["step"] == "14"
    for name in ("discriminator.safetensors", "last/weights.safetensors"):
        a, b = load_file(uninterrupted / name), load_file(run / name)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(a[key], b[key], atol=1e-5, err_msg=key)


def test_a_discriminator_can_be_taken_over(photos: Path, uninterrupted: Path, tmp_path: Path) -> None:
    judge = uninterrupted / "discriminator.safetensors"
    config = settings(photos, tmp_path / "next", **{"perceptual.discriminator_from": judge})
    objective = Trainer(config).objective
    assert objective.discriminator is not None
    first = np.asarray(objective.discriminator.convs[0].kernel)
    np.testing.assert_array_equal(first, load_file(judge)["conv1/kernel"])


@pytest.mark.slow
def test_jax_makes_the_same_first_two_updates(photos: Path, uninterrupted: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    changes = {
        "model.start_from": uninterrupted / "last",
        "perceptual.discriminator_from": uninterrupted / "discriminator.safetensors",
        "perceptual.from_step": 0,
        "optimizer.epsilon": 1e-3,  # or Adam makes steps of gradients that are rounding
        "steps.total": 2,
        "steps.save_every": 1,
    }
    Trainer(settings(photos, tmp_path / "tensorflow", **changes)).train()
    train_on_jax(settings(photos, tmp_path / "jax", **changes))
    one, other = (rows(tmp_path / name) for name in ("tensorflow", "jax"))
    assert [row["step"] for row in one] == [row["step"] for row in other] == ["0", "1", "2"]
    for a, b in zip(one[1:], other[1:], strict=True):
        for column in ("pixel_loss", "content_loss", "adversarial_loss", "discriminator_loss"):
            assert float(a[column]) == pytest.approx(float(b[column]), rel=1e-3), column
    for name in ("last/weights.safetensors", "discriminator.safetensors"):
        before = load_file(uninterrupted / name)
        a, b = (load_file(tmp_path / run / name) for run in ("tensorflow", "jax"))
        for key, start in before.items():
            moved = np.abs(a[key] - start).max()
            np.testing.assert_allclose(b[key], a[key], atol=0.02 * moved + 1e-6, err_msg=f"{name}: {key}")
        assert any(np.abs(a[key] - start).max() > 1e-5 for key, start in before.items()), name


@pytest.mark.parametrize(("loss", "undecided"), [("vanilla", 2 * np.log(2)), ("least_squares", 0.5)])
def test_a_discriminator_that_is_sure_for_long_is_said_once(
    photos: Path, tmp_path: Path, loss: str, undecided: float
) -> None:
    said: list[str] = []
    progress = Callback(lambda *_: True)
    progress.message = said.append  # type: ignore[method-assign]
    changes = {"perceptual.adversarial_loss": loss, "perceptual.content_weight": 0}
    trainer = Trainer(settings(photos, tmp_path / "run", **changes), progress=progress)
    watched = Watch(tmp_path / "run", trainer.objective, progress)
    said.clear()

    def watch(share: float, steps: int) -> bool:
        watched.discriminator({"discriminator_loss": share * undecided}, steps)
        return bool(said)

    assert not watch(0.029, 300)
    assert not watch(0.031, 300)  # it was in doubt again
    assert not watch(0.029, 300)
    trainer.objective.perceptual = False  # pixels alone: there is no such loss
    assert not watch(0.0, 1000)
    trainer.objective.perceptual = True
    assert watch(0.001, 200)
    assert "500 steps" in said[0] and "perceptual.discriminator_rate" in said[0]
    assert watch(0.031, 200) and watch(0.0, 5000) and len(said) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perceptual.content_layers": "{block9_conv1: 1.0}"}, "block9_conv1"),
        ({"perceptual.content_layers": "{block5_conv4: 1.0}"}, "block5_conv4"),
        ({"perceptual.vgg": "none.h5"}, r"perceptual.vgg: none\.h5: no such weights file"),
        ({"model.arguments": "{scale: 2, num_features: 8, num_blocks: 1, num_channels: 1}"}, "RGB only"),
        ({"perceptual.discriminator_from": "none.safetensors"}, r"none\.safetensors"),
        ({"perceptual.off_grid": 8, "data.patch_size": 8}, r"off_grid 8.*patches of 8 px"),
    ],
)
def test_requests_that_cannot_work_are_refused(
    photos: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        Trainer(settings(photos, tmp_path / "run", **changes))
