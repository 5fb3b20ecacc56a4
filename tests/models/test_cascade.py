"""Cascades: equal to their networks in a row, in value, reach and scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import numpy, randomise

import isr
from isr import presets
from isr.models import EDSR, EDVR, Cascade
from isr.models.loading import load


def test_it_is_its_networks_in_a_row(tmp_path: Path) -> None:
    networks = [randomise(EDSR(s, num_features=4, num_blocks=n)) for s, n in ((2, 2), (3, 1), (2, 0))]
    model = Cascade(networks)
    assert model.scales == (12,)
    lr = np.random.default_rng(0).random((1, 5, 6, 3), np.float32)
    expected = lr
    for network in networks:
        expected = numpy(network(expected))
    np.testing.assert_allclose(numpy(model(lr)), expected, atol=1e-5)

    networks[0].head.bias.assign(networks[0].head.bias + 1)  # copied: the cascade stays as it is
    np.testing.assert_allclose(numpy(model(lr)), expected, atol=1e-5)

    model.save_preset(tmp_path / "chain")
    assert presets.scales(tmp_path / "chain") == (12,)
    np.testing.assert_allclose(numpy(load(tmp_path / "chain")(lr)), expected, atol=1e-5)


def test_a_shipped_preset_twice() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (20, 24, 3)).astype(np.float32) / 255
    once = isr.upscale("edsr_fast_x2", picture)
    twice = isr.upscale(Cascade(["edsr_fast_x2", "edsr_fast_x2"]), picture)
    np.testing.assert_allclose(twice, isr.upscale("edsr_fast_x2", once), atol=1e-5)


def test_reach_is_counted_in_pixels_of_the_input() -> None:
    one, two = EDSR(2, num_features=4, num_blocks=2), EDSR(4, num_features=4, num_blocks=1)
    reach = Cascade([one, two]).receptive_radius
    assert reach is not None
    assert (
        one.receptive_radius + two.receptive_radius / 2 <= reach < one.receptive_radius + two.receptive_radius
    )


def test_networks_that_do_not_fit_are_refused() -> None:
    gray, rgb = (EDSR(2, num_features=4, num_blocks=0, num_channels=n) for n in (1, 3))
    with pytest.raises(ValueError, match=r"models: .*\[1, 3\]"):
        Cascade([gray, rgb])
    video = EDVR(num_features=4, deform_groups=1, num_extract_blocks=0, num_reconstruct_blocks=0)
    with pytest.raises(ValueError, match="models: EDVR takes several frames"):
        Cascade([video])
