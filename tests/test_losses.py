"""The losses against formulas written out in NumPy, by the signs of their gradients and by descending on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from gradients import descend, differentiate
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from isr.losses import AdversarialLoss, ContentLoss, PhaseLoss, TotalVariation, adversarial_loss
from isr.models.vgg import VGG

ADVERSARIAL = ["vanilla", "least_squares", "relativistic", "hinge"]
adversarial = pytest.mark.parametrize("name", ADVERSARIAL)


def noise(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


# Content


def two_maps(pictures: Any) -> list[Any]:
    """A feature extractor whose maps can be followed by hand."""
    return [pictures * 100.0, ops.mean(pictures, axis=-1, keepdims=True)[:, ::2, ::2] * 10.0]


def slow_content(hr: np.ndarray, sr: np.ndarray, weights: list[float], kind: str, scale: float) -> np.ndarray:
    total = np.zeros(len(hr))
    for weight, first, second in zip(weights, slow_maps(hr), slow_maps(sr), strict=True):
        difference = (second - first) / scale
        total += weight * (np.abs(difference) if kind == "l1" else difference**2).mean((1, 2, 3))
    return total


def slow_maps(pictures: np.ndarray) -> list[np.ndarray]:
    return [pictures * 100.0, pictures.mean(-1, keepdims=True)[:, ::2, ::2] * 10.0]


@pytest.mark.parametrize("kind", ["mse", "l1"])
@pytest.mark.parametrize("weights", [None, [0.25, 3.0]], ids=["mean", "weighted"])
def test_content_loss_is_its_formula(kind: str, weights: list[float] | None) -> None:
    hr, sr = noise(3, 4, 6, 3).astype(np.float64), noise(3, 4, 6, 3, seed=4).astype(np.float64)
    loss = ContentLoss(two_maps, weights, kind=kind)
    expected = slow_content(hr, sr, weights or [0.5, 0.5], kind, 255.0)
    assert float(loss(hr, sr)) == pytest.approx(expected.mean(), rel=1e-5)
    total = ContentLoss(two_maps, weights, kind=kind, reduction="sum")
    assert float(total(hr, sr)) == pytest.approx(expected.sum(), rel=1e-5)
    coarse = ContentLoss(two_maps, weights, kind=kind, scale=10.0)
    assert float(coarse(hr, sr)) == pytest.approx(
        slow_content(hr, sr, weights or [0.5, 0.5], kind, 10).mean(), rel=1e-5
    )
    assert float(loss(hr, hr)) == 0
    assert loss(hr, sr).dtype == keras.ops.ones((), "float32").dtype


def test_content_loss_takes_one_map_as_well() -> None:
    hr, sr = noise(1, 2, 2, 3), noise(1, 2, 2, 3, seed=4)
    loss = ContentLoss(lambda pictures: pictures * 255)
    assert float(loss(hr, sr)) == pytest.approx(np.square(sr - hr).mean(), rel=1e-5)


def test_no_gradient_goes_to_the_photograph() -> None:
    loss = ContentLoss(two_maps)
    _, (for_hr, for_sr) = differentiate(loss)(noise(1, 4, 4, 3), noise(1, 4, 4, 3, seed=4))
    assert np.all(for_sr != 0) and not np.any(for_hr)


def test_descending_on_the_content_loss_brings_the_picture_back() -> None:
    hr = noise(1, 12, 12, 3)
    loss = ContentLoss(VGG(layers=("block1_conv2", "block2_conv2")))
    start = np.full_like(hr, 0.5)
    end, values = descend(lambda sr: loss(hr, sr), start, rate=0.2, steps=40)
    assert values[-1] < values[0] / 5
    assert np.square(end - hr).mean() < np.square(start - hr).mean()


def test_content_loss_in_fit_and_back_from_its_configuration() -> None:
    loss = ContentLoss(VGG(layers=(2, 5)), weights=(0.5, 2.0), kind="l1", scale=12.75)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    hr, lr = noise(2, 8, 8, 3), noise(2, 8, 8, 3, seed=4)
    assert float(again(hr, lr)) == float(loss(hr, lr))
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 1)])
    model.compile("sgd", loss, jit_compile=False)
    assert np.isfinite(model.train_on_batch(lr, hr))
    assert len(model.trainable_variables) == 2  # those of the network, none of the VGG


def test_what_the_content_loss_refuses() -> None:
    with pytest.raises(ValueError, match="kind='huber'"):
        ContentLoss(two_maps, kind="huber")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scale=0"):
        ContentLoss(two_maps, scale=0)
    with pytest.raises(ValueError, match="3 weights for the 2 feature maps"):
        ContentLoss(two_maps, (1, 2, 3))(noise(1, 4, 4, 3), noise(1, 4, 4, 3))


# Total variation


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_total_variation_is_its_formula(height: int, width: int, channels: int) -> None:
    x = noise(2, height, width, channels)
    expected = 0.0
    for b, i, j, c in np.ndindex(x.shape):
        if i + 1 < height:
            expected += abs(float(x[b, i + 1, j, c]) - float(x[b, i, j, c]))
        if j + 1 < width:
            expected += abs(float(x[b, i, j + 1, c]) - float(x[b, i, j, c]))
    found = float(TotalVariation()(np.zeros_like(x), x))
    assert found == pytest.approx(expected / x.size, rel=1e-5, abs=1e-7)


def test_descending_on_the_total_variation_smooths() -> None:
    loss = TotalVariation()
    end, values = descend(lambda sr: loss(sr, sr), noise(1, 8, 8, 3), rate=1.0, steps=40)
    assert values[-1] < values[0] / 4
    assert end.std() < noise(1, 8, 8, 3).std() / 2


# Phases


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 3), st.integers(2, 5), st.integers(2, 5))
def test_phase_loss_is_its_formula(period: int, cells: int, rest: int, rows: int, columns: int) -> None:
    hr, sr = (noise(2, rows * period + rest % period, columns * period, 2, seed=seed) for seed in (5, 6))
    error = (sr - hr).astype(np.float64)
    places = np.array(
        [
            [error[:, i : rows * period : period, j : columns * period : period] for j in range(period)]
            for i in range(period)
        ]
    )  # [period, period, b, rows, columns, c]
    places -= places.mean((0, 1))
    high, wide = min(cells, rows), min(cells, columns)
    found = [
        np.abs(places[:, :, :, top : top + high, left : left + wide].mean((3, 4)))
        for top in range(0, rows - high + 1, max(high // 2, 1))
        for left in range(0, columns - wide + 1, max(wide // 2, 1))
    ]
    assert float(PhaseLoss(period, cells)(hr, sr)) == pytest.approx(np.mean(found), rel=1e-4, abs=1e-7)


def test_a_mesh_costs_its_height_and_all_else_nothing() -> None:
    loss, hr = PhaseLoss(4, cells=2), noise(2, 16, 24, 3)
    pattern = np.where(np.indices((4, 4)).sum(0) % 2, 0.1, -0.1).astype(np.float32)
    mesh = np.tile(pattern, (4, 6))[None, :, :, None]
    assert float(loss(hr, hr + mesh)) == pytest.approx(0.1, rel=1e-4)
    # A wrong colour, a ramp of whole cells, and a pattern that no two cells share.
    steps = np.repeat(np.repeat(noise(1, 4, 6, 3), 4, 1), 4, 2)
    turned = np.tile(np.block([[pattern, -pattern], [-pattern, pattern]]), (2, 3))[None, :, :, None]
    for error in (np.full((1, 1, 1, 3), 0.2, np.float32), steps, turned):
        assert float(loss(hr, hr + error)) == pytest.approx(0, abs=1e-6)


def test_the_gradient_of_the_phase_loss_is_the_mesh_and_no_texture() -> None:
    hr, texture = noise(1, 32, 32, 1), 0.1 * noise(1, 32, 32, 1, seed=4)
    mesh = np.tile(np.float32([[0.1, -0.1], [-0.1, 0.1]]), (16, 16))[None, :, :, None]
    _, (_, found) = differentiate(PhaseLoss(2, cells=16))(hr, hr + texture + mesh)
    np.testing.assert_allclose(found, np.sign(mesh) / mesh.size, rtol=1e-4)


def test_what_the_phase_loss_refuses_and_its_configuration() -> None:
    with pytest.raises(ValueError, match="period=1"):
        PhaseLoss(1)
    with pytest.raises(ValueError, match="cells=0"):
        PhaseLoss(2, cells=0)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(PhaseLoss(3, cells=5)))
    assert (again.period, again.cells) == (3, 5)


# Adversarial


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_adversarial(name: str, real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Generator's and discriminator's loss as the papers write them, in float64."""
    log, mean = np.log, np.mean
    if name == "vanilla":
        return -mean(log(sigmoid(fake))), -mean(log(sigmoid(real))) - mean(log(1 - sigmoid(fake)))
    if name == "least_squares":
        return mean((fake - 1) ** 2) / 2, mean((real - 1) ** 2) / 2 + mean(fake**2) / 2
    if name == "hinge":
        return -mean(fake), mean(np.maximum(0, 1 - real)) + mean(np.maximum(0, 1 + fake))
    more_real, more_fake = sigmoid(real - mean(fake)), sigmoid(fake - mean(real))
    return (
        -mean(log(1 - more_real)) - mean(log(more_fake)),
        -mean(log(more_real)) - mean(log(1 - more_fake)),
    )


def both_losses(loss: AdversarialLoss) -> dict[str, Callable[..., Any]]:
    return {"generator": loss.generator, "discriminator": loss.discriminator}


@adversarial
def test_adversarial_losses_are_their_formulas(name: str) -> None:
    rng = np.random.default_rng(11)
    real, fake = rng.normal(1, 2, (3, 4, 5, 1)), rng.normal(-1, 2, (3, 4, 5, 1))
    loss = adversarial_loss(name)
    found = [float(function(real, fake)) for function in both_losses(loss).values()]
    np.testing.assert_allclose(found, slow_adversarial(name, real, fake), rtol=1e-5)


@adversarial
def test_gradients_push_the_logits_to_the_right_side(name: str) -> None:
    rng = np.random.default_rng(12)
    real, fake = rng.uniform(-0.9, 0.9, (2, 3, 3, 1)), rng.uniform(-0.9, 0.9, (2, 3, 3, 1))
    _, (for_real, for_fake) = differentiate(adversarial_loss(name).discriminator)(real, fake)
    assert np.all(for_real < 0)  # descending raises what photographs get
    if name == "least_squares":
        np.testing.assert_allclose(for_fake, fake / fake.size, atol=1e-6)  # towards 0
    else:
        assert np.all(for_fake > 0)
    _, (for_real, for_fake) = differentiate(adversarial_loss(name).generator)(real, fake)
    assert np.all(for_fake < 0)
    if name == "relativistic":
        assert np.all(for_real > 0)  # photographs are to look less like photographs in comparison
    else:
        assert not np.any(for_real)


@adversarial
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)], ids=str)
def test_large_logits_give_finite_losses_and_gradients(name: str, signs: tuple[int, int]) -> None:
    real, fake = (np.full((2, 2), 1e4 * sign, np.float32) for sign in signs)
    for function in both_losses(adversarial_loss(name)).values():
        value, gradients = differentiate(function)(real, fake)
        assert np.isfinite(value) and all(np.all(np.isfinite(gradient)) for gradient in gradients)


@adversarial
def test_losses_are_float32_also_for_bfloat16_logits(name: str) -> None:
    real, fake = np.float32([[256.0, 2.0]]), np.float32([[1.0, 2.0]])  # exact in bfloat16
    for function in both_losses(adversarial_loss(name)).values():
        found = function(*(ops.cast(logits, "bfloat16") for logits in (real, fake)))
        assert keras.backend.standardize_dtype(found.dtype) == "float32"
        assert float(found) == float(function(real, fake))


@adversarial
def test_descending_separates_and_then_fools(name: str) -> None:
    """A discriminator of one weight per value learns; then pictures that are moved pass it."""
    rng = np.random.default_rng(13)
    photographs = rng.normal(0.5, 1, (32, 4)).astype(np.float32)
    pictures = rng.normal(-0.5, 1, (32, 4)).astype(np.float32)
    loss = adversarial_loss(name)

    def judging(weights: Any) -> Any:
        return loss.discriminator(ops.matmul(photographs, weights), ops.matmul(pictures, weights))

    weights, values = descend(judging, np.zeros((4, 1), np.float32), rate=0.2, steps=40)
    factor = 0.8 if name == "least_squares" else 0.6  # its logits for enlarged pictures stay at 0 on average
    assert values[-1] < factor * values[0]
    assert (photographs @ weights).mean() > (pictures @ weights).mean() + 0.3

    def fooling(shift: Any) -> Any:
        return loss.generator(ops.matmul(photographs, weights), ops.matmul(pictures + shift, weights))

    shift, values = descend(fooling, np.zeros((1, 4), np.float32), rate=0.5, steps=40)
    assert values[-1] < 0.6 * values[0]
    assert ((pictures + shift) @ weights).mean() > (pictures @ weights).mean()


def test_an_unknown_adversarial_loss_is_refused() -> None:
    with pytest.raises(
        ValueError, match="'wasserstein' is unknown; the adversarial losses are vanilla, least_squares"
    ):
        adversarial_loss("wasserstein")


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
