"""SPAN against the paper: parameter counts, a forward pass in NumPy, and its two forms against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import folder_of_photographs
from tiny_models import Case, numpy, pictures, randomise

from isr import config as configuration
from isr.errors import RequestError
from isr.models import SPAN
from isr.models.loading import load
from isr.models.span import AttentionBlock, BranchedConv, merge
from isr.models.starts.span import branch
from isr.train import Trainer

TINY: dict[str, Any] = {"scale": 3, "num_features": 6, "num_blocks": 2, "pixel_range": 2.0}


def named(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: numpy(value) for name, value in model.named_weights().items()}


@pytest.mark.parametrize(("scale", "count"), [(2, 410_700), (4, 426_288)])
def test_parameters_of_the_small_network(scale: int, count: int) -> None:
    assert SPAN(scale).count_params() == count


def test_forward_pass_equals_the_paper_in_numpy() -> None:
    model = randomise(Case(SPAN, TINY).build())
    lr = pictures(model, 5, 4, batch=2)
    expected = slow_span(named(model), model, lr)
    np.testing.assert_allclose(numpy(model(lr)), expected, atol=1e-5 * np.abs(expected).max())


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(0, 999))
def test_branches_one_after_the_other_equal_the_merged_convolution(
    channels: int, filters: int, expansion: int, seed: int
) -> None:
    """As the authors' code computes them: the picture padded with zeros, then each convolution, then the sum."""
    rng = np.random.default_rng(seed)
    layer = BranchedConv(filters, expansion)
    layer.build((None, None, None, channels))
    for variable in layer.variables:
        variable.assign(rng.normal(0, 1, variable.shape))
    x = rng.normal(0, 1, (1, 4, 3, channels)).astype("float32")
    w = {name: numpy(value).astype(np.float64) for name, value in layer.branches.items()}
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float64)
    inner = padded @ w["expand_kernel"][0, 0] + w["expand_bias"]
    inner = convolve(inner, w["middle_kernel"])[:, 1:-1, 1:-1] + w["middle_bias"]
    long = inner @ w["reduce_kernel"][0, 0] + w["reduce_bias"]
    expected = long + x @ w["skip_kernel"][0, 0] + w["skip_bias"]
    np.testing.assert_allclose(numpy(layer(x)), expected, atol=1e-5 * np.abs(expected).max())


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))
def test_branch_is_undone_by_merge(channels: int, filters: int, expansion: int) -> None:
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(0, 1, (3, 3, channels, filters)), rng.normal(0, 1, filters)
    found = map(numpy, merge(branch(kernel, bias, expansion, rng)))
    for value, expected in zip(found, (kernel, bias), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.parametrize("expansion", [1, 2])
def test_both_forms_give_the_same_picture(expansion: int) -> None:
    trained = randomise(Case(SPAN, {**TINY, "reparametrised": False, "expansion": expansion}).build())
    plain = trained.reparametrise()
    assert plain.reparametrised and plain.reparametrise() is plain
    assert {name for name in plain.named_weights() if "_" in name.rpartition("/")[2]} == set()
    lr = pictures(trained, 6, 7)
    expected = numpy(trained(lr))
    np.testing.assert_allclose(numpy(plain(lr)), expected, atol=1e-5 * np.abs(expected).max())


def test_the_plain_form_keeps_name_and_policy() -> None:
    trained = SPAN(**TINY, reparametrised=False, name="given", dtype="mixed_bfloat16")
    plain = trained.reparametrise()
    assert (plain.name, plain.dtype_policy.name) == ("given", "mixed_bfloat16")


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("given_form", [True, False])
def test_either_form_starts_from_either(own: bool, given_form: bool) -> None:
    source = randomise(Case(SPAN, {**TINY, "reparametrised": given_form}).build())
    model = Case(SPAN, {**TINY, "reparametrised": own, "expansion": 3 - given_form}).build()
    assert model.adopt(named(source), "source") == []
    lr = pictures(model, 5, 6)
    expected = numpy(source(lr))
    np.testing.assert_allclose(numpy(model(lr)), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("own", [True, False])
def test_another_scale_starts_from_it(own: bool) -> None:
    """Each sub-pixel's filter lies between those of the old sub-pixels, so flat pictures stay what they are."""
    source = SPAN(2, num_features=6, num_blocks=1)
    source.start_as_interpolation()
    model = SPAN(4, num_features=6, num_blocks=1, reparametrised=own)
    assert model.adopt(named(source), "source") == ["tail/kernel", "tail/bias"]
    flat = np.full((1, 7, 7, 3), 0.3, np.float32)
    centre = numpy(source(flat))[:, 6:8, 6:8].mean(axis=(1, 2))
    np.testing.assert_allclose(numpy(model(flat))[:, 12:16, 12:16].mean(axis=(1, 2)), centre, atol=1e-4)


def test_another_body_is_refused() -> None:
    source = SPAN(2, num_features=6, num_blocks=2)
    with pytest.raises(RequestError, match=r"source.*block1"):
        SPAN(2, num_features=6, num_blocks=1).adopt(named(source), "source")
    with pytest.raises(RequestError, match=r"source.*shape"):
        SPAN(2, num_features=8, num_blocks=2).adopt(named(source), "source")


def test_a_run_trains_branches_and_keeps_the_plain_form(tmp_path: Path) -> None:
    """`best/` and `last/` are what is run and shipped, and another run starts from them."""
    folder_of_photographs(tmp_path / "train", 2)
    folder_of_photographs(tmp_path / "val", 1, 40, 48)
    settings = {
        "run": tmp_path / "run",
        "model.name": "SPAN",
        "model.arguments": "{scale: 2, num_features: 6, num_blocks: 1, reparametrised: false}",
        "data.train_hr": tmp_path / "train",
        "data.val_hr": tmp_path / "val",
        "data.patch_size": 24,
        "data.batch_size": 2,
        "steps.total": 3,
    }
    config = configuration.load(None, [f"{key}={value}" for key, value in settings.items()])
    best = Trainer(config).train()
    kept = load(best)
    assert isinstance(kept, SPAN) and kept.reparametrised
    again = SPAN(2, num_features=6, num_blocks=1, reparametrised=False)
    assert again.adopt(named(kept), "best") == []
    lr = pictures(kept, 6, 7)
    np.testing.assert_allclose(numpy(again(lr)), numpy(kept(lr)), atol=1e-5)


def test_layers_come_back_from_their_config() -> None:
    for layer in (
        BranchedConv(4, 3, name="conv"),
        AttentionBlock(4, False, 3, name="block", dtype="mixed_bfloat16"),
    ):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A convolution with zeros around the picture, sides as before."""
    reach = kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    height, width = x.shape[1:3]
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in np.ndindex(*kernel.shape[:2])
    )


def slow_span(w: dict[str, np.ndarray], model: SPAN, lr: np.ndarray) -> np.ndarray:
    """Figure 2 and equations 3 to 6 of the paper with what the authors' code concatenates, in float64."""

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        return convolve(x, w[f"{name}/kernel"].astype(np.float64)) + w[f"{name}/bias"]

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    mean = np.asarray(model.pixel_mean)
    shallow = conv((lr.astype(np.float64) - mean) * model.pixel_range, "head")
    results, x = [], shallow
    for b in range(model.num_blocks):
        first = conv(x, f"block{b}/conv1")
        first = first * sigmoid(first)
        second = conv(first, f"block{b}/conv2")
        h = conv(second * sigmoid(second), f"block{b}/conv3")
        x = (x + h) * (sigmoid(h) - 0.5)
        results.append(x)
    seen = np.concatenate([shallow, conv(x, "body_end"), results[0], first], axis=-1)
    y = conv(conv(seen, "global_fusion"), "tail")
    b, height, width, _ = lr.shape
    s = model.scale
    y = (
        y.reshape(b, height, width, s, s, -1)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(b, height * s, width * s, -1)
    )
    return y / model.pixel_range + mean
