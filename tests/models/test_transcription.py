"""Our video networks against a transcription of the published ones, and that against the published operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import Case, numpy, randomise

from benchmarks import transcription
from isr.layers.deformable import mean_offsets
from isr.models import EDVR, TDAN, MultiFrameModel
from isr.runtimes import as_upscaler

SIDES = (12, 20)  # multiples of 4 that are none of 8
SMALL = {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 2, "num_reconstruct_blocks": 1}
ORACLE = Path(__file__).parents[1] / "goldens" / "dcn_oracle.npz"


class Watched(Mapping[str, Any]):
    """Weights, and which of them were read."""

    def __init__(self, model: MultiFrameModel) -> None:
        self.values = model.named_weights()
        self.unread = set(self.values)

    def __getitem__(self, name: str) -> Any:
        self.unread.discard(name)
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, name: object) -> bool:  # asking is not reading
        return name in self.values


def prepared(case: Case) -> tuple[MultiFrameModel, np.ndarray, Watched]:
    """A network of random weights with offsets that reach other pixels, two windows for it, and its weights."""
    model = randomise(case.build())
    for name, value in model.named_weights().items():
        if name.endswith("conv_offset/bias"):
            value.assign(np.random.default_rng(4).normal(0, 1, value.shape))
        # The residual blocks, or the features grow and rounding with them.
        if name.endswith("/conv2/kernel"):
            value.assign(0.3 * numpy(value))
    rows, columns = SIDES if model.size_multiple <= 4 else (16, 48)
    lr = np.random.default_rng(4).random((2, model.num_frames, rows, columns, 3), np.float32)
    # Not so far that most samples are zeros.
    assert all(0.5 < offset < 4 for offset in mean_offsets(model, lr).values())
    return model, lr, Watched(model)


def same(found: Any, expected: Any) -> None:
    expected = numpy(expected)
    np.testing.assert_allclose(numpy(found), expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hr_in": True, "with_predeblur": True},
        {"num_frames": 7, "center_frame_idx": 4},
        {"num_frames": 7, "with_tsa": False, "num_upsample_features": 4, "num_extract_blocks": 0},
        # Each option of these stands above, among others.
        pytest.param({"with_tsa": False}, marks=pytest.mark.slow),
        pytest.param({"with_predeblur": True}, marks=pytest.mark.slow),
        pytest.param({"hr_in": True}, marks=pytest.mark.slow),
        pytest.param({"center_frame_idx": 0}, marks=pytest.mark.slow),
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()) or "M",
)
def test_edvr_equals_the_published_network(options: dict[str, Any]) -> None:
    model, lr, weights = prepared(Case(EDVR, {**SMALL, **options}))
    expected = transcription.edvr(weights, tf.constant(lr), model.center_frame_idx)
    same(as_upscaler(model)(lr), expected)
    assert not weights.unread


@pytest.mark.parametrize("border", ["v1", "v2"])
@pytest.mark.parametrize(
    "options",
    [{}, {"center_frame_idx": 4, "scale": 2}, {"num_frames": 3, "deform_groups": 1, "scale": 8}],
    ids=["published", "last-x2", "three-x8"],
)
def test_tdan_equals_the_published_network(options: dict[str, Any], border: str) -> None:
    model, lr, weights = prepared(Case(TDAN, {**SMALL, **options, "border": border}))
    expected = transcription.tdan(weights, tf.constant(lr), model.center_frame_idx, border)
    same(as_upscaler(model)(lr), expected[0])
    same(model(lr, return_aligned=True)[1], expected[1])
    assert not weights.unread


@pytest.mark.parametrize("case", ["v2_dg1", "v2_dg2", "nomask", "tdan"])
def test_its_deformable_convolution_equals_the_published_operators(case: str) -> None:
    with np.load(ORACLE) as file:
        stored = {name.removeprefix(f"{case}__"): file[name] for name in file if name.startswith(f"{case}__")}
    x, offset, mask, expected = (
        None if name not in stored else tf.constant(stored[name].transpose(0, 2, 3, 1))
        for name in ("x", "offset", "mask", "out")
    )
    weights = {"dcn/kernel": stored["weight"].transpose(2, 3, 1, 0)}
    if "bias" in stored:
        weights["dcn/bias"] = stored["bias"]
    border = "v1" if case == "tdan" else "v2"
    y = transcription.deformable(weights, "dcn", x, offset, mask, border)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_it_is_the_same_as_a_graph() -> None:
    """In graphs TensorFlow fuses operations, and loses the slope of a leaky ReLU behind a sum."""
    _, lr, weights = prepared(Case(EDVR, SMALL))
    graph = tf.function(lambda x: transcription.edvr(weights, x, 2))
    same(graph(tf.constant(lr)), transcription.edvr(weights, tf.constant(lr), 2))
