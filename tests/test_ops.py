"""Tensor functions against loops over pixels, on sides even and odd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import numpy

from isr.layers import HalvingConv, PairConv
from isr.ops import average_pool_halves, enlarge_bilinear, max_pool_halves

sides = st.integers(1, 9)


def picture(height: int, width: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, height, width, channels)).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(height=sides, width=sides, factor=st.sampled_from([2, 3, 4]))
def test_bilinear_enlargement_lies_between_pixel_centres(height: int, width: int, factor: int) -> None:
    """A pixel of the output is interpolated at its centre's place in the input, beyond whose edge it is constant."""
    x = picture(height, width)

    def along(array: np.ndarray, axis: int) -> np.ndarray:
        length = array.shape[axis]
        places = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
        low = np.floor(places).astype(int)
        share = (places - low).reshape([-1 if i == axis else 1 for i in range(4)])
        high = np.minimum(low + 1, length - 1)
        return np.take(array, low, axis) * (1 - share) + np.take(array, high, axis) * share

    np.testing.assert_allclose(numpy(enlarge_bilinear(x, factor)), along(along(x, 1), 2), atol=1e-5)


def around(x: np.ndarray, outside: float) -> np.ndarray:
    """The 3x3 neighbours of every second pixel, `[h/2, w/2, 9, c]`."""
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)), constant_values=outside)
    rows, columns = range(0, x.shape[1], 2), range(0, x.shape[2], 2)
    cells = [[padded[r : r + 3, c : c + 3].reshape(9, -1) for c in columns] for r in rows]
    return np.array(cells)


@settings(deadline=None, max_examples=30)
@given(height=sides, width=sides)
def test_pools_look_around_every_second_pixel(height: int, width: int) -> None:
    x = picture(height, width) - 3  # padding by 0 would win the maximum
    np.testing.assert_array_equal(numpy(max_pool_halves(x))[0], around(x, -np.inf).max(axis=2))
    np.testing.assert_allclose(numpy(average_pool_halves(x))[0], around(x, 0).sum(axis=2) / 9, atol=1e-5)


@settings(deadline=None, max_examples=10)
@given(height=sides, width=sides)
def test_halving_convolution_looks_around_every_second_pixel(height: int, width: int) -> None:
    x = picture(height, width)
    layer = HalvingConv(3, name="down")
    layer.build(x.shape)
    bias = np.array([1.0, 2.0, 3.0])
    layer.bias.assign(bias)
    expected = np.einsum("hwkc,kco->hwo", around(x, 0), numpy(layer.kernel).reshape(9, 2, 3)) + bias
    np.testing.assert_allclose(numpy(layer(x))[0], expected, atol=1e-5)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_halves_of_a_pair_convolution_are_the_convolution_of_the_pair(kernel_size: int) -> None:
    import keras

    a, b = picture(5, 6, 4), picture(5, 6, 4)[:, ::-1]
    pair, whole = PairConv(3, kernel_size, name="pair"), keras.layers.Conv2D(3, kernel_size, padding="same")
    pair.build(a.shape)
    whole.build((1, 5, 6, 8))
    whole.set_weights([numpy(pair.kernel), np.array([1.0, 2.0, 3.0])])
    pair.bias.assign([1.0, 2.0, 3.0])
    expected = numpy(whole(np.concatenate([a, b], axis=-1)))
    np.testing.assert_allclose(numpy(pair(a, b)), expected, atol=1e-5)
    np.testing.assert_allclose(numpy(pair.first(a)) + numpy(pair.second(b)), expected, atol=1e-5)
