"""Learning from one picture: it helps where the kernel is another, never hurts, and is the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photograph
from tiny_models import TINY

import isr
from isr.adaptation.kernels import bicubic_kernel, reduce
from isr.adaptation.learning import Adapted, Pairs, RunningMean, learn
from isr.aplus import APlus
from isr.data.degrade.blur import gaussian_kernel
from isr.errors import Cancelled, RequestError
from isr.models import EDSR, MDSR, TDAN
from isr.progress import Callback

BLUR = gaussian_kernel(12, (1.6, 1.6))


def network(channels: int = 3, scale: int = 2) -> EDSR:
    model = EDSR(scale=scale, num_features=8, num_blocks=1, num_channels=channels)
    model.start_as_interpolation()
    return model


def small_picture(channels: int = 3, side: int = 96) -> np.ndarray:
    picture = photograph(side, side + 16, 3, channels)
    small = reduce(picture.astype(np.float32), BLUR, 2)
    return np.clip(np.floor(small + 0.5), 0, 255).astype(np.uint8)


def weights_equal(one: EDSR, other: EDSR) -> bool:
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


@pytest.mark.parametrize("channels", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_network_learns_what_made_the_picture_small(channels: int) -> None:
    start, picture = network(channels), small_picture(channels)
    before = [weight.copy() for weight in start.get_weights()]
    adapted = learn(start, picture, BLUR, scale=2, steps=20)
    assert adapted.better and adapted.after > adapted.before + 0.3 and adapted.steps == 20
    assert not weights_equal(adapted.model, start)
    assert all(map(np.array_equal, start.get_weights(), before)), "the start is not changed"
    # Of the larger picture it knew nothing.
    large = photograph(96, 112, 3, channels).astype(np.float32) / 255
    errors = [
        float(np.square(isr.upscale(model, picture.astype(np.float32) / 255) - large)[8:-8, 8:-8].mean())
        for model in (start, adapted.model)
    ]
    assert errors[1] < 0.95 * errors[0]


@pytest.mark.slow
def test_the_same_steps_give_the_same_network() -> None:
    start = network()
    one, two = (learn(start, small_picture(side=48), BLUR, scale=2, steps=3, seed=4) for _ in range(2))
    assert weights_equal(one.model, two.model) and one.after == two.after


def test_where_learning_hurts_the_start_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isr.adaptation.learning.LEARNING_RATE", 3.0)
    start = network()
    adapted = learn(start, small_picture(side=48), BLUR, scale=2, steps=2)
    assert not adapted.better and weights_equal(adapted.model, start)
    assert "not adapted" in adapted.describe()


def test_what_changes_must_be_earned() -> None:
    # From a mean square error of 1e-3 to 0.9e-3: a step of that length squared is a tenth of it.
    gain = {"before": 30.0, "after": -10 * np.log10(0.9e-3)}
    assert Adapted(network(), 1, **gain, change=1e-4).better
    assert Adapted(network(), 1, **gain, change=1.9e-4).better
    far = Adapted(network(), 1, **gain, change=2.1e-4)
    assert not far.better and "not adapted, they gain too little" in far.describe()


def test_what_looks_made_small_as_in_training_is_not_learned_from() -> None:
    lines: list[str] = []
    progress = Callback(lambda *_: pytest.fail("it learns"))
    progress.message = lines.append  # type: ignore[method-assign]
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    start = network()
    assert isr.adapt(start, picture, steps=1, progress=progress) is start
    assert "like the bicubic rule" in lines[0] and "not adapted" in lines[1]


def test_what_is_no_number_is_no_better() -> None:
    assert not Adapted(network(), 1, 30.0, float("nan"), 0.0).better


@pytest.mark.slow
def test_one_of_several_scales_is_learned() -> None:
    model = MDSR(num_features=4, num_blocks=0)
    adapted = learn(model, small_picture(side=72), bicubic_kernel(3), scale=3, steps=1)
    assert adapted.steps == 1 and np.isfinite([adapted.before, adapted.after]).all()


@given(st.integers(8, 60), st.integers(8, 60), st.integers(1, 3), st.sampled_from([1, 2, 4]))
@settings(max_examples=40, deadline=None)
def test_held_out_cells_are_not_learned_from(height: int, width: int, scale: int, multiple: int) -> None:
    picture = np.random.default_rng(0).random((height * scale, width * scale, 1)).astype(np.float32)
    kernel = np.ones((scale, scale)) / scale**2
    pairs = Pairs.of(picture, kernel, scale, multiple, np.random.default_rng(1))
    rows, columns = pairs.small.shape[:2]
    assert rows % multiple == columns % multiple == 0 and pairs.patch % multiple == 0 < pairs.patch
    held = 1 - pairs.counts
    assert 0 < held.mean() <= 0.25
    lr, hr, counts = pairs.draw()
    assert lr.shape[1] * scale == hr.shape[1] == counts.shape[1]
    # A mean over blocks: what counts belongs to what is seen.
    np.testing.assert_allclose(
        hr.reshape(len(hr), lr.shape[1], scale, lr.shape[2], scale, 1).mean((2, 4)), lr, atol=1e-5
    )

    class Own:
        def at_scale(self, lr: np.ndarray, scale: int) -> np.ndarray:
            return lr.repeat(scale, 1).repeat(scale, 2)

    nearest = pairs.small.repeat(scale, 0).repeat(scale, 1)
    error = np.square(nearest - pairs.large)[held == 1].mean()
    expected = np.inf if error == 0 else -10 * np.log10(error)
    assert pairs.score(Own()) == pytest.approx(expected, rel=1e-4)  # type: ignore[arg-type]


def test_a_mean_of_lists() -> None:
    mean = RunningMean()
    for value in (1.0, 2.0, 6.0):
        mean.add([np.full(2, value), np.array(-value)])
    np.testing.assert_allclose(mean.values[0], [3, 3])
    np.testing.assert_allclose(mean.values[1], -3)


@pytest.mark.slow
def test_it_stops_between_steps() -> None:
    progress = Callback(lambda what, done, total: False)
    with pytest.raises(Cancelled):
        learn(network(), small_picture(side=48), BLUR, scale=2, steps=9, progress=progress)


@pytest.mark.slow
def test_seconds_end_it() -> None:
    assert learn(network(), small_picture(side=48), BLUR, scale=2, seconds=1e-3).steps == 1


def test_what_cannot_be_adapted_is_said() -> None:
    picture = small_picture(side=48)
    with pytest.raises(RequestError, match="10x12 pixels are too few to learn from at x2: 16 on each side"):
        learn(network(), picture[:12, :10], BLUR, scale=2, steps=1)
    with pytest.raises(RequestError, match="no network that could learn"):
        isr.adapt(APlus(2, ()), picture, steps=1)
    with pytest.raises(RequestError, match="frames of a video"):
        isr.adapt(TDAN(**TINY["TDAN"][0]), picture, steps=1)
    with pytest.raises(RequestError, match="3 channels does not fit a network of 1"):
        isr.adapt(network(1), picture, steps=1, kernel="bicubic")
    with pytest.raises(RequestError, match="kernel: a kernel is square"):
        isr.adapt(network(), picture, steps=1, kernel=np.ones((2, 3)))
    with pytest.raises(RequestError, match="steps 0: must be at least 1"):
        isr.adapt(network(), picture, steps=0)
    with pytest.raises(RequestError, match="scale 3"):
        isr.adapt(network(), picture, steps=1, scale=3)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["gray", "flat", "alpha", "float"])
def test_pictures_of_any_kind(shape: str) -> None:
    picture = small_picture(side=48)
    image = {
        "gray": picture[..., :1],
        "flat": picture[..., 0],
        "alpha": np.concatenate([picture, picture[..., :1]], axis=-1),
        "float": picture.astype(np.float64) / 255,
    }[shape]
    lines: list[str] = []
    progress = Callback(lambda *_: None)
    progress.message = lines.append  # type: ignore[method-assign]
    model = isr.adapt(network(), image, steps=1, progress=progress)
    assert model.scale == 2 and len(lines) == 2
    assert isr.upscale(model, image).shape[:2] == (48, 64)
