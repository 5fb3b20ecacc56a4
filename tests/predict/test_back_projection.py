"""Back projection: the result, made smaller, is the input."""

from __future__ import annotations

import numpy as np
import pytest

import isr
from isr.errors import RequestError
from isr.imresize import imresize
from isr.metrics import psnr
from isr.models import EDVR
from isr.predict.back_projection import BackProjection
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.spec import ModelSpec


class Nearest:
    """Repeats every pixel, times a gain."""

    def __init__(self, scale: int, gain: float = 1.0) -> None:
        self.gain = gain
        self.spec = ModelSpec("nearest", (scale,), receptive_radius=0)

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        factor = self.spec.check_scale(scale)
        return batch.repeat(factor, axis=1).repeat(factor, axis=2).astype(np.float32) * np.float32(self.gain)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture with little that 1 / 3 of its pixels cannot hold."""
    rows, columns = np.mgrid[:height, :width] / 12
    return np.stack([np.sin(rows + k) * np.cos(columns * (k + 1) / 2) for k in range(3)], -1) / 2.2 + 0.5


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_what_is_made_smaller_again_is_the_input(scale: int) -> None:
    hr = smooth(24 * scale, 30 * scale).astype(np.float32)
    lr = imresize(hr, size=(24, 30))
    dim = Nearest(scale, 0.8)
    results = [dim(lr[None])[0], *(BackProjection(dim, rounds)(lr[None])[0] for rounds in (1, 10))]
    far = [np.abs(imresize(result, size=(24, 30)) - lr).max() for result in results]
    assert far[1] < far[0] / 2 and far[2] < far[0] / 50
    before, _, after = (psnr(result, hr, channel="rgb", border=scale) for result in results)
    assert after > before + 10


def test_exact_tiles_have_no_seams() -> None:
    picture = np.random.default_rng(0).random((70, 90, 3), np.float32)
    whole = BackProjection(Nearest(2), 2)(picture[None])[0]
    options = TileOptions(tile=48, overlap="exact", back_projection=2)
    np.testing.assert_allclose(enlarge(Nearest(2), picture, options), whole, atol=1e-6)


def test_integers_are_rounded_once() -> None:
    picture = (smooth(20, 24) * 255).astype(np.uint8)
    result = isr.upscale(Nearest(2), picture, back_projection=3)
    expected = BackProjection(Nearest(2), 3)(picture[None] / np.float32(255))[0]
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.rint(expected.clip(0, 1) * 255))


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(RequestError, match="back_projection -1"):
        isr.upscale(Nearest(2), np.zeros((8, 8, 3), np.uint8), back_projection=-1)
    model = EDVR(num_features=8, deform_groups=1, num_extract_blocks=0, num_reconstruct_blocks=0)
    with pytest.raises(RequestError, match="single pictures"):
        list(isr.upscale_frames(model, [np.zeros((8, 8, 3), np.uint8)] * 3, back_projection=1))
