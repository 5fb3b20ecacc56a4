"""MATLAB's bicubic rule: goldens (see goldens/README.md), exact weights, properties."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from isr.imresize import cubic, imresize, taps

GOLDENS = np.load(Path(__file__).parent / "goldens" / "imresize_goldens.npz")
CASES = json.loads(bytes(GOLDENS["cases_json"]).decode())

sides = st.integers(1, 12)
scales = st.sampled_from([0.25, 1 / 3, 0.5, 0.7, 1.0, 2.0, 2.5, 3.0, 4.0])


def test_there_are_75_goldens() -> None:
    assert len(CASES) == 75


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_golden(case: dict[str, Any]) -> None:
    image, expected = GOLDENS[f"in/{case['input']}"], GOLDENS[f"out/{case['name']}"]
    size = tuple(case["size"]) if "size" in case else None
    result = imresize(image, scale=case.get("scale"), size=size, antialias=case.get("aa", True))
    assert result.dtype == expected.dtype and result.shape == expected.shape
    if image.dtype == np.uint8:
        np.testing.assert_array_equal(result, expected)
    else:
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("length", "length_out"), [(12, 6), (12, 4), (12, 3), (5, 10), (5, 15)])
def test_golden_taps(length: int, length_out: int) -> None:
    name = f"taps/w_{length}_to_{length_out}"
    expected = dense(GOLDENS[f"{name}/weights"], GOLDENS[f"{name}/indices"], length)
    result = dense(*taps(length, length_out, length_out / length), length)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-15)


def dense(weights: np.ndarray, indices: np.ndarray, length: int) -> np.ndarray:
    """Weight per source pixel: the order of taps and those of weight 0 are free."""
    table = np.zeros((len(weights), length))
    for row, (row_weights, row_indices) in enumerate(zip(weights, indices, strict=True)):
        np.add.at(table[row], row_indices, row_weights)
    return table


@pytest.mark.parametrize(
    ("factor", "numerators", "denominator"),
    [
        (2, [-12, -36, 116, 444, 444, 116, -36, -12], 1024),
        (3, [-9, -18, 0, 81, 189, 243, 189, 81, 0, -18, -9], 729),
        (4, [-14, -90, -150, -98, 186, 798, 1490, 1974, 1974, 1490, 798, 186, -98, -150, -90, -14], 8192),
    ],
)
def test_exact_weights_of_shrinking(factor: int, numerators: list[int], denominator: int) -> None:
    length = 8 * factor
    weights, indices = taps(length, 8, 1 / factor)
    table = dense(weights, indices, length)[4]  # far from the borders
    used = np.flatnonzero(np.abs(table) > 1e-15)
    table = table[used[0] : used[-1] + 1]
    np.testing.assert_allclose(table, [float(Fraction(n, denominator)) for n in numerators], atol=1e-15)


def test_exact_weights_of_doubling() -> None:
    table = dense(*taps(9, 18, 2.0), 9)
    np.testing.assert_allclose(table[8, 2:6], np.array([-3, 29, 111, -9]) / 128, atol=1e-15)
    np.testing.assert_allclose(table[9, 3:7], np.array([-9, 111, 29, -3]) / 128, atol=1e-15)


def test_borders_are_mirrored_about_half_a_pixel() -> None:
    _, indices = taps(12, 6, 0.5)
    assert indices[0].tolist() == [2, 1, 0, 0, 1, 2, 3, 4]


def test_kernel_is_keys_with_minus_a_half() -> None:
    np.testing.assert_array_equal(
        cubic(np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])), [1, 0.5625, 0, -0.0625, 0, 0]
    )


def test_integers_are_rounded_half_up() -> None:
    assert imresize(np.array([[0], [1]], np.uint8), size=(1, 1)).item() == 1  # 0.5; to even it would be 0


def test_integers_are_rounded_after_each_pass_rows_first() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    rows = imresize(image, size=(10, 20))
    result = imresize(image, scale=0.5)
    np.testing.assert_array_equal(result, imresize(rows, size=(10, 10)))
    once = np.clip(np.floor(imresize(image.astype(np.float64), scale=0.5) + 0.5), 0, 255)
    assert np.any(result != once)


def test_the_side_that_shrinks_more_goes_first() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)
    columns = imresize(image, size=(20, 5))
    np.testing.assert_array_equal(imresize(image, size=(10, 5)), imresize(columns, size=(10, 5)))


def test_overshoot_is_clamped_for_integers_alone() -> None:
    edge = np.repeat([[0, 1]], 8, axis=1)
    sharp = imresize(edge.astype(float), scale=2)
    assert sharp.min() < 0 and sharp.max() > 1
    eight = imresize((edge * 255).astype(np.uint8), scale=2)
    assert eight.min() == 0 and eight.max() == 255


@given(sides, sides, scales)
def test_size_is_rounded_up(height: int, width: int, scale: float) -> None:
    result = imresize(np.zeros((height, width, 2), np.uint8), scale=scale)
    assert result.shape == (math.ceil(scale * height), math.ceil(scale * width), 2)


@given(sides, sides, scales, st.integers(0, 255))
def test_one_colour_stays_that_colour(height: int, width: int, scale: float, value: int) -> None:
    image = np.full((height, width), value, np.uint8)
    assert np.all(imresize(image, scale=scale) == value)
    np.testing.assert_allclose(imresize(image / 255, scale=scale), value / 255, atol=1e-14)


@given(arrays.arrays(np.uint8, st.tuples(sides, sides, st.just(3))), scales)
def test_channels_are_independent(image: np.ndarray, scale: float) -> None:
    together = imresize(image, scale=scale)
    for channel in range(3):
        np.testing.assert_array_equal(together[..., channel], imresize(image[..., channel], scale=scale))


@given(arrays.arrays(np.float32, st.tuples(sides, sides), elements=st.floats(0, 1, width=32)), scales)
def test_float32_stays_float32_and_near_float64(image: np.ndarray, scale: float) -> None:
    result = imresize(image, scale=scale)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, imresize(image.astype(np.float64), scale=scale), atol=2e-6)


@given(arrays.arrays(np.uint16, st.tuples(sides, st.just(1))), scales)
def test_uint16_is_float_rounded_over_its_whole_range(column: np.ndarray, scale: float) -> None:
    """Along one side alone there is one pass, hence one rounding."""
    size = (math.ceil(scale * len(column)), 1)
    exact = imresize(column.astype(np.float64), size=size)
    np.testing.assert_array_equal(imresize(column, size=size), np.clip(np.floor(exact + 0.5), 0, 65535))


@given(arrays.arrays(np.uint8, st.tuples(sides, sides)))
def test_scale_1_is_the_same_picture(image: np.ndarray) -> None:
    np.testing.assert_array_equal(imresize(image, scale=1), image)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((4, 4), {}),
        ((4, 4), {"scale": 2, "size": (8, 8)}),
        ((4, 4), {"scale": 0}),
        ((4, 4), {"scale": -1.0}),
        ((4, 4), {"size": (0, 4)}),
        ((0, 4), {"scale": 2}),
        ((4,), {"scale": 2}),
        ((1, 4, 4, 3), {"scale": 2}),
    ],
)
def test_impossible_requests_are_refused(shape: tuple[int, ...], arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        imresize(np.zeros(shape), **arguments)
