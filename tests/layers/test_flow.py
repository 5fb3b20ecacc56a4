"""Optical flow: warping, confidence, and what a pyramid with known weights finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import numpy

from isr.imresize import cubic
from isr.layers.flow import (
    OpticalFlow,
    confidence,
    cubic_weights,
    even,
    halve,
    linear_weights,
    observations,
    warp,
    warp_blocks,
)
from isr.ops import pixel_unshuffle


def constant(down: float, right: float, *size: int) -> np.ndarray:
    return np.broadcast_to(np.asarray([down, right], np.float32), (*size, 2))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(-9, 9), st.integers(-9, 9))
def test_a_whole_flow_moves_whole_pixels_and_repeats_edges(h: int, w: int, down: int, right: int) -> None:
    image = np.random.default_rng(0).random((2, h, w, 1), np.float32)
    rows, columns = np.clip(np.arange(h) + down, 0, h - 1), np.clip(np.arange(w) + right, 0, w - 1)
    moved = numpy(warp(image, constant(down, right, 2, h, w)))
    np.testing.assert_allclose(moved, image[:, rows][:, :, columns], atol=1e-6)
    blocks = numpy(
        warp_blocks(np.repeat(np.repeat(image, 2, 1), 2, 2), constant(2 * down, 2 * right, 2, h, w), 2)
    )
    expected = np.repeat(np.repeat(moved, 2, 1), 2, 2)
    np.testing.assert_allclose(blocks, numpy(pixel_unshuffle(expected, 2)), atol=1e-6)


def test_warping_interpolates_linear_pictures_exactly() -> None:
    y, x = np.mgrid[:9, :12].astype(np.float32)
    image = np.stack([2 * y - x, x], axis=-1)[None]
    flow = np.random.default_rng(1).uniform(-3, 3, (1, 9, 12, 2)).astype(np.float32)
    at_y, at_x = np.clip(y + flow[0, ..., 0], 0, 8), np.clip(x + flow[0, ..., 1], 0, 11)
    np.testing.assert_allclose(numpy(warp(image, flow))[0], np.stack([2 * at_y - at_x, at_x], -1), atol=1e-5)


def linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(distance), 0)


@pytest.mark.parametrize("side", [2, 3, 4])
@pytest.mark.parametrize(("weigh", "kernel"), [(cubic_weights, cubic), (linear_weights, linear)])
def test_blocks_are_warped_as_interpolation_says(side: int, weigh: Any, kernel: Any) -> None:
    rng = np.random.default_rng(2)
    image = rng.random((1, 5 * side, 6 * side, 1), np.float32)
    flow = rng.uniform(-2, 2, (1, 5, 6, 2)).astype(np.float32)
    found = numpy(warp_blocks(image, flow, side, weigh))[0].reshape(5, 6, side, side)
    padded = np.pad(image[0, ..., 0], 9, mode="edge")
    for row, column, i, j in [(2, 2, 0, 0), (2, 3, side - 1, 1), (0, 0, 0, 0), (4, 5, side - 1, side - 1)]:
        y, x = (np.array([row * side + i, column * side + j]) + flow[0, row, column]).astype(float)
        taps = [np.floor(place).astype(int) + np.arange(-1, 3) for place in (y, x)]
        weights = [kernel(place - tap) for place, tap in zip((y, x), taps, strict=True)]
        patch = padded[np.ix_(taps[0] + 9, taps[1] + 9)]
        expected = np.einsum("i,j,ij->", *weights, patch)
        assert found[row, column, i, j] == pytest.approx(expected, abs=1e-5)


def test_the_cubic_weights_are_those_of_the_reduction() -> None:
    places = np.linspace(0, 1, 9, dtype=np.float32)
    np.testing.assert_allclose(
        numpy(cubic_weights(places)), cubic(places[:, None] - np.arange(-1, 3)), atol=1e-6
    )


def test_a_flow_that_leads_home_is_trusted_and_no_other() -> None:
    there = constant(0.0, 3.0, 1, 8, 20)
    home = numpy(confidence(there, constant(0.0, -3.0, 1, 8, 20)))[0, ..., 0]
    np.testing.assert_allclose(home[:, :17], 1.0, atol=1e-6)
    np.testing.assert_array_equal(home[:, 17:], 0.0)  # the flow leads out of the picture
    assert numpy(confidence(there, constant(0.0, -3.2, 1, 8, 20)))[0, :, :17].min() > 0.9
    assert numpy(confidence(there, constant(0.0, -3.8, 1, 8, 20))).max() < 1e-3


def test_halves_of_odd_sides_are_means_of_what_there_is() -> None:
    x = np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
    np.testing.assert_allclose(numpy(halve(x))[0, ..., 0], [[3, 5, 6.5], [10.5, 12.5, 14]])


def test_observations_of_equal_and_of_flat_pictures() -> None:
    rng = np.random.default_rng(3)
    picture = rng.random((1, 12, 14, 1), np.float32)
    seen = numpy(observations(picture, picture))
    assert seen.shape == (1, 6, 7, 13)
    np.testing.assert_array_equal(seen[..., [0, 1, 5, 6, 7, 8]], 0)
    assert np.abs(seen).max() <= 4.0 and np.abs(seen[..., 9:]).mean() > 0.1
    flat = np.full_like(picture, 0.5)
    np.testing.assert_array_equal(numpy(observations(flat, flat)), 0)
    # Neither brightness nor contrast of a picture with texture decides what is seen.
    other = numpy(observations(0.5 * picture + 0.2, 0.5 * np.roll(picture, 1, 2) + 0.2))
    np.testing.assert_allclose(
        other, numpy(observations(picture, np.roll(picture, 1, 2))), rtol=0.06, atol=0.01
    )


def test_observations_are_those_of_least_squares() -> None:
    """Where a ramp moves, the products give its motion: what is left of it after normal equations is nothing."""
    y, x = np.mgrid[:32, :40].astype(np.float32)
    waves = [np.sin(0.3 * (x - s)) + np.cos(0.25 * (y - 2 * s)) for s in (0.0, 0.1)]
    first, second = (0.5 + 0.2 * wave[None, ..., None].astype(np.float32) for wave in waves)
    down, right, downs, both, rights = numpy(observations(first, second))[0, 3:-3, 3:-3, :5].sum((0, 1))
    found = np.linalg.solve([[downs, both], [both, rights]], [-down, -right])
    np.testing.assert_allclose(found, [0.2, 0.1], atol=0.01)


def test_odd_sides_are_made_even_by_repetition() -> None:
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(numpy(even(x))[0, ..., 0], [[0, 1, 2, 2], [3, 4, 5, 5]])
    np.testing.assert_array_equal(numpy(even(x[:, :1, :2]))[0, ..., 0], [[0, 1], [0, 1]])


def test_a_network_that_answers_with_a_constant_moves_every_level() -> None:
    """Each correction is doubled by every level above its own."""
    flow = OpticalFlow(2, rounds=(1, 0, 2))
    flow.build((None, None, None, 1))
    for layer in (*flow.convs, flow.correct):
        layer.set_weights([np.zeros(weight.shape) for weight in layer.get_weights()])
    flow.correct.bias.assign([np.arctanh(0.25), np.arctanh(-0.125)])  # half a block down, a quarter left
    picture = np.random.default_rng(4).random((1, 10, 14, 1), np.float32)
    found = numpy(flow(picture, picture))
    np.testing.assert_allclose(found, constant(0.5 * (4 + 2), -0.25 * (4 + 2), 1, 5, 7), atol=1e-5)
