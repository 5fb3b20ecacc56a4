"""Kernels: known ones are found again, files are read or refused, and the bicubic one is MATLAB's rule."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isr.adaptation.kernels import bicubic_kernel, centred, read_kernel, reduce
from isr.adaptation.spectrum import UNTOLD, Blur, estimate_blur
from isr.data.degrade.blur import gaussian_kernel
from isr.errors import RequestError
from isr.imresize import imresize

# Sigma along both axes in pixels of the larger picture at scale 2, at other scales times scale / 2, and degrees.
KNOWN = ((0.8, 0.8, 0), (1.2, 1.2, 0), (1.8, 1.8, 0), (1.8, 0.8, 30), (2.4, 1.2, 110))


def field(side: int, seed: int) -> np.ndarray:
    """A picture of chance whose power falls as 1 / frequency^2, as that of photographs does: `[side, side, 1]`."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    frequency = np.hypot(y, x)
    frequency[0, 0] = 1
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) / frequency).real
    return (0.5 + 0.12 * noise / noise.std())[..., np.newaxis].astype(np.float32)


def kernel_of(number: int, scale: int) -> np.ndarray:
    *sigma, angle = KNOWN[number]
    longer, shorter = (each * scale / 2 for each in sigma)
    return gaussian_kernel(8 * scale + scale % 2, (longer, shorter), angle=math.radians(angle))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The share of a kernel that lies elsewhere in the other one."""
    side = max(len(one), len(other))
    padded = [np.pad(each, (side - len(each)) // 2) for each in (one, other)]
    return float(np.abs(padded[0] - padded[1]).sum() / 2)


@pytest.mark.parametrize(
    ("number", "scale"), [*((number, 2) for number in range(len(KNOWN))), (3, 3), (4, 4)]
)
def test_known_kernels_are_found_again(number: int, scale: int) -> None:
    known = kernel_of(number, scale)
    small = reduce(field(160 * scale, number), known, scale)
    found = estimate_blur(np.round(np.clip(small, 0, 1) * 255).astype(np.uint8)).kernel(scale)
    assert len(found) % 2 == scale % 2 and math.isclose(found.sum(), 1)
    assert distance(found, known) < 0.12


def test_as_little_as_the_bicubic_rule_is_taken_for_it() -> None:
    for number, like in ((0, True), (1, False), (3, False)):
        small = reduce(field(320, number), kernel_of(number, 2), 2)
        assert estimate_blur(small).like_bicubic == like
    assert estimate_blur(imresize(field(320, 7), scale=0.5)).like_bicubic


def test_a_turned_picture_has_the_turned_blur() -> None:
    picture = reduce(field(256, 5), kernel_of(4, 2), 2)
    blur, turned = estimate_blur(picture), estimate_blur(np.rot90(picture))
    np.testing.assert_allclose(blur.sigma, turned.sigma, rtol=0.05)
    across = math.degrees(blur.angle - turned.angle) % 180
    assert abs(across - 90) < 3


@pytest.mark.parametrize("pixels", [np.zeros((5, 80, 3), np.uint8), np.full((80, 80, 1), 7, np.uint8)])
def test_what_tells_nothing_is_said_to_be_usual(pixels: np.ndarray) -> None:
    assert estimate_blur(pixels) == UNTOLD


def test_gray_and_colour_are_one() -> None:
    picture = reduce(field(160, 1), kernel_of(1, 2), 2)
    colour = np.repeat(picture, 4, axis=-1)
    assert estimate_blur(colour).sigma == pytest.approx(estimate_blur(picture).sigma, rel=1e-3)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_bicubic_kernel_is_the_rule_of_matlab(scale: int) -> None:
    picture = np.random.default_rng(scale).random((12 * scale, 9 * scale, 3))
    expected = imresize(picture, scale=1 / scale)
    np.testing.assert_allclose(reduce(picture, bicubic_kernel(scale), scale), expected, atol=1e-12)


@given(st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_slope_stays_a_slope(scale: int, wider: int) -> None:
    """A symmetric kernel leaves a linear picture where it was: nothing is shifted."""
    kernel = gaussian_kernel(scale + 2 * wider, (1.3, 0.7), angle=0.4)
    picture = np.add.outer(np.arange(10.0 * scale), 2 * np.arange(10.0 * scale))[..., np.newaxis]
    middles = np.arange(10) * scale + (scale - 1) / 2
    inner = slice(3, -3)
    expected = np.add.outer(middles, 2 * middles)[inner, inner]
    np.testing.assert_allclose(reduce(picture, kernel, scale)[inner, inner, 0], expected, atol=1e-9)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_kernel_of_the_other_parity_is_put_in_the_middle(scale: int) -> None:
    other = gaussian_kernel(20 + (scale + 1) % 2, (2.0, 1.2), angle=0.7)
    moved = centred(other, scale)
    assert len(moved) % 2 == scale % 2 and math.isclose(moved.sum(), 1)
    assert distance(moved, gaussian_kernel(len(moved), (2.0, 1.2), angle=0.7)) < 0.01
    assert centred(moved, scale) is moved


def test_files_of_kernels(tmp_path: Path) -> None:
    kernel = gaussian_kernel(5, (1.0, 2.0))
    np.save(tmp_path / "k.npy", 3 * kernel)
    np.savetxt(tmp_path / "k.txt", kernel)
    np.savetxt(tmp_path / "k.csv", kernel, delimiter=", ")
    for name in ("k.npy", "k.txt", "k.csv"):
        np.testing.assert_allclose(read_kernel(tmp_path / name), kernel, atol=1e-12)


@pytest.mark.parametrize(
    "content", ["", "1 2\n3", "1 2\n3 four", "1 2 3", "0 0\n0 0", "1 nan\n1 1", "1 -2\n0 0", "\x93NUMPY"]
)
def test_what_is_no_kernel_is_said_in_one_line(tmp_path: Path, content: str) -> None:
    for path in (tmp_path / "k.txt", tmp_path / "k.npy"):
        path.write_text(content)
        with pytest.raises(RequestError, match=path.name) as caught:
            read_kernel(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="no_such"):
        read_kernel(tmp_path / "no_such.txt")


def test_a_blur_says_what_it_is() -> None:
    assert Blur((0.6, 0.5), math.pi / 6).describe().endswith("0.60 x 0.50 px at 30 degrees")
    assert Blur((0.5, 0.4)).describe().endswith("at 0 degrees, like the bicubic rule")
