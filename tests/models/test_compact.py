"""Compact: its published sizes, and what it adds its residual to."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import numpy, randomise

from isr.models import Compact


@pytest.mark.parametrize(("variant", "convs"), [("animation", 16), ("general", 32)])
def test_parameters_follow_from_the_published_network(variant: str, convs: int) -> None:
    """3x3 convolutions 3 to 64, 64 to 64 and 64 to 3 * 4^2 channels; a PReLU of 64 slopes behind all but the last."""
    expected = (27 * 64 + 64) + convs * (9 * 64 * 64 + 64) + (9 * 64 * 48 + 48) + (convs + 1) * 64
    assert Compact.variant(variant).count_params() == expected


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_tail_of_zeros_leaves_the_repeated_pixels(scale: int) -> None:
    model = randomise(Compact(scale, num_features=4, num_convs=1))
    for weight in (model.tail.kernel, model.tail.bias):
        weight.assign(np.zeros(weight.shape))
    lr = np.random.default_rng(0).random((1, 5, 4, 3), np.float32)
    np.testing.assert_allclose(numpy(model(lr)), lr.repeat(scale, 1).repeat(scale, 2), atol=1e-6)
