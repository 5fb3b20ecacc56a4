"""What a picture looks like: noise, JPEG and blur of known strength, on generated pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from isr.errors import RequestError
from isr.io.pictures import quantisation
from isr.predict.quality import (
    Quality,
    assess,
    blur_sigma,
    jpeg_quality,
    mixture_of,
    noise_sigma,
    quality_of_steps,
)
from isr.presets import Mixture


def scene(height: int = 256, width: int = 320) -> np.ndarray:
    """Edges of all directions, texture in a half of it, and flat parts: `[h, w, 3]`, 0 to 255."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width]
    picture = 120 + 50 * (np.hypot(rows - 120, columns - 200) < 70) - 60 * (rows + 2 * columns < 260)
    picture = picture + np.where(
        columns > width // 2, 12 * gaussian_filter(rng.normal(size=rows.shape), 1), 0
    )
    return np.stack([picture, picture * 0.9, 255 - picture], axis=-1)


def rounded(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def compressed(levels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(rounded(levels)).save(stream, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("sigma", [2, 5, 10, 20])
def test_noise_is_found_within_a_fifth(sigma: float) -> None:
    noise = np.random.default_rng(sigma).normal(0, sigma, scene().shape)
    assert assess(rounded(scene() + noise)).noise == pytest.approx(sigma, rel=0.2)
    assert noise_sigma(128 + noise[..., 0]) == pytest.approx(sigma, rel=0.1)


def test_what_is_smooth_has_no_noise() -> None:
    rows, columns = np.mgrid[:64, :64]
    assert noise_sigma(2.0 * rows + 3.0 * columns) == pytest.approx(0, abs=1e-9)
    assert noise_sigma(np.zeros((2, 9))) == noise_sigma(np.full((40, 40), 255.0)) == 0


@pytest.mark.parametrize("quality", [15, 30, 50, 75, 85])
def test_jpeg_is_found_within_three(quality: int) -> None:
    noise = np.random.default_rng(1).normal(0, 3, scene().shape)
    found = assess(compressed(scene() + noise, quality)).jpeg
    assert found == pytest.approx(quality, abs=3)


def test_jpeg_is_found_in_a_part_of_a_picture() -> None:
    noise = np.random.default_rng(1).normal(0, 3, scene().shape)
    part = compressed(scene() + noise, 40)[3:, 5:]
    assert assess(part).jpeg == pytest.approx(40, abs=3)


@pytest.mark.parametrize("sigma", [0.0, 3.0, 12.0])
def test_no_jpeg_is_found_where_there_was_none(sigma: float) -> None:
    noise = np.random.default_rng(2).normal(0, sigma, scene().shape)
    assert assess(rounded(scene() + noise)).jpeg is None


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5, 2.5])
def test_blur_of_an_edge_is_found_within_a_tenth(sigma: float) -> None:
    edge = np.where(np.arange(96) < 48, 40.0, 200.0) * np.ones((96, 1))
    assert blur_sigma(gaussian_filter(edge, sigma)) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("quality", [10, 25, 50, 75, 90, 100])
def test_a_file_tells_its_quality(tmp_path: Path, quality: int) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(rounded(scene(32, 32))).save(path, quality=quality)
    steps = quantisation(path)
    assert steps is not None
    assert steps.shape == (64,)
    assert quality_of_steps(steps) == pytest.approx(quality, abs=1.5)


def test_other_files_have_no_steps(tmp_path: Path) -> None:
    Image.fromarray(rounded(scene(32, 32))).save(tmp_path / "a.png")
    assert quantisation(tmp_path / "a.png") is None


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (16, 16, 1), (20, 20, 2), (24, 17, 4)])
def test_pictures_of_any_size_and_channels_have_a_quality(shape: tuple[int, ...]) -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        found = assess(np.ones(shape, dtype))
        assert 0 <= found.denoise <= 1


def test_worse_pictures_ask_for_more() -> None:
    assert Quality(None, 0.5, 0.4).denoise == 0
    assert [Quality(None, noise, 0.4).denoise for noise in (2.5, 5.5, 10, 40)] == [0, 0.4, 0.8, 1]
    assert [Quality(jpeg, 0, 0.4).denoise for jpeg in (99, 75, 50, 30, 5)] == [0, 0.5, 0.7, 0.8, 1]
    assert [Quality(None, 0, blur).denoise for blur in (0.4, 0.55, 2)] == [0, 0.5, 1]
    assert Quality(45, 6.2, 0.6).describe() == "looks like JPEG q~45, noise ~6, blur ~0.6: denoise 0.7"
    assert "JPEG" not in Quality(None, 6.2, 0.6).describe()
    assert [Quality(None, 0, 0.4, qp).denoise for qp in (12, 21, 31, 51)] == [0, 0.3, 0.7, 0.8]
    assert Quality(None, 0, 0.4, 31.2).describe().startswith("looks like H.264 qp~31, noise ~0, blur")


def test_texture_that_fills_a_clean_picture_asks_for_nothing() -> None:
    # Grain finer than the blur below would be noise: nothing of a picture made smaller is that fine.
    texture = gaussian_filter(np.random.default_rng(3).normal(0, 40, (160, 160, 1)), (0.8, 0.8, 0))
    sharp = 110 + 60 * (np.mgrid[:160, :160][1] > 80)[..., np.newaxis]
    found = assess(rounded(np.repeat(sharp + texture / 4, 3, axis=-1)))
    assert found.noise > 0.7
    assert found.denoise == 0


def test_what_is_asked_for_becomes_a_mixture() -> None:
    assert mixture_of(None, None) is None
    assert mixture_of(0.25, None) == Mixture(0.25, 0)
    assert mixture_of(None, 0.5) == Mixture(1, 0.5)
    assert mixture_of("auto", 0.5) == Mixture(1, 0.5)
    with pytest.raises(RequestError, match="or auto"):
        mixture_of("much", None)  # type: ignore[arg-type]  # what is refused


def test_jpeg_of_too_few_blocks_is_not_told() -> None:
    assert jpeg_quality(np.zeros((8, 16))) is None
