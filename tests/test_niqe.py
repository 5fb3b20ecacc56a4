"""NIQE beside a reference implementation."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import photograph

from isr.niqe import BLOCK, niqe

# By BasicSR 1.4.2's `niqe` of the rounded luma of `photograph(200, 300, seed)`, with scipy and its own reduction.
REFERENCE = (20.495615988925106, 38.872758044679, 11.396899757152857, 11.196498238678606, 86.03160391319987)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_that_of_the_reference(seed: int) -> None:
    assert niqe(photograph(200, 300, seed)) == pytest.approx(REFERENCE[seed], abs=1e-3)


def test_floats_are_pictures_too() -> None:
    picture = photograph(200, 300, 2)
    assert niqe(picture / 255) == pytest.approx(niqe(picture), abs=1e-9)


def test_a_border_does_not_count() -> None:
    picture = photograph(200, 300, 2)
    framed = np.pad(picture, ((4, 4), (4, 4), (0, 0)), constant_values=255)
    assert niqe(framed, border=4) == niqe(picture)


def test_small_and_empty_pictures_have_none() -> None:
    assert niqe(photograph(BLOCK, 2 * BLOCK - 1)) is None
    assert niqe(np.zeros((BLOCK, 3 * BLOCK, 1), np.uint8)) is None
    with pytest.raises(ValueError, match="takes 1 or 3"):
        niqe(np.zeros((200, 200, 4), np.uint8))
