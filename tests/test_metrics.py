"""PSNR and SSIM: goldens (see goldens/README.md), closed forms, refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isr.metrics import luma, psnr, ssim

GOLDENS = np.load(Path(__file__).parent / "goldens" / "metrics_goldens.npz")
ROWS = json.loads(bytes(GOLDENS["rows_json"]).decode())


def constant(value: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    return np.full((24, 20, channels), value, dtype)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['pair']}-{row['crop']}" for row in ROWS])
@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_golden(row: dict[str, Any], channel: str) -> None:
    a, b = GOLDENS[f"{row['pair']}/a"], GOLDENS[f"{row['pair']}/b"]
    for metric in (psnr, ssim):
        expected = row[f"{metric.__name__}_{channel}"]
        for pair in ((a, b), (b, a), (a / 255, b / 255)):
            assert metric(*pair, channel=channel, border=row["crop"]) == pytest.approx(
                expected, rel=0, abs=1e-6
            )


def test_luma_of_the_golden_colours() -> None:
    np.testing.assert_allclose(luma(GOLDENS["ycbcr/rgb"]), GOLDENS["ycbcr/y"], rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("colour", "y"),
    [
        ((255, 255, 255), 235),
        ((0, 0, 0), 16),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_the_corners(colour: tuple[int, int, int], y: float) -> None:
    assert luma(np.array(colour, np.uint8)) == pytest.approx(y, abs=1e-9)


def test_psnr_of_two_constants() -> None:
    a, b = constant(100), constant(110)
    assert psnr(a, b, channel="rgb", border=2) == pytest.approx(20 * math.log10(25.5), abs=1e-9)
    # Luma spans 219 of 255 levels while the peak stays 255.
    expected = 20 * math.log10(25.5) + 20 * math.log10(255 / 219)
    assert psnr(a, b, channel="y", border=2) == pytest.approx(expected, abs=1e-6)


def test_psnr_of_a_shift_by_3() -> None:
    a, b = GOLDENS["shift3/a"], GOLDENS["shift3/b"]
    assert psnr(a, b, channel="rgb", border=0) == pytest.approx(20 * math.log10(85), abs=1e-9)
    assert psnr(a, b, channel="y", border=0) == pytest.approx(39.910300, abs=1e-6)


def test_ssim_of_two_constants() -> None:
    expected = (2 * 100 * 110 + 6.5025) / (100**2 + 110**2 + 6.5025)
    assert ssim(constant(100), constant(110), channel="rgb", border=0) == pytest.approx(expected, abs=1e-9)
    assert expected == pytest.approx(0.99547644, abs=1e-8)


@pytest.mark.parametrize("channel", ["y", "rgb"])
def test_equal_pictures(channel: str) -> None:
    a = GOLDENS["noise10/a"]
    assert psnr(a, a.copy(), channel=channel, border=0) == math.inf
    assert ssim(a, a.copy(), channel=channel, border=0) == pytest.approx(1, abs=1e-12)


def test_only_pixels_inside_the_border_count() -> None:
    a, b = GOLDENS["border_only/a"], GOLDENS["border_only/b"]
    assert psnr(a, b, channel="rgb", border=2) < math.inf
    assert psnr(a, b, channel="rgb", border=3) == math.inf


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_gray_pictures_compare_their_values_as_they_are(metric: Any) -> None:
    a, b = GOLDENS["noise10/a"][..., :1], GOLDENS["noise10/b"][..., :1]
    y = metric(a, b, channel="y", border=4)
    assert y == metric(a, b, channel="rgb", border=4)
    assert y != pytest.approx(metric(a.repeat(3, -1), b.repeat(3, -1), channel="y", border=4), abs=1e-4)


def test_uint16_and_floats_are_brought_to_255() -> None:
    a, b = GOLDENS["noise10/a"], GOLDENS["noise10/b"]
    eight = psnr(a, b, channel="y", border=0)
    assert psnr(a.astype(np.uint16) * 257, b.astype(np.uint16) * 257, channel="y", border=0) == pytest.approx(
        eight
    )
    floats = psnr((a / 255).astype(np.float32), (b / 255).astype(np.float32), channel="y", border=0)
    assert floats == pytest.approx(eight, abs=1e-4)


def test_floats_are_not_rounded() -> None:
    a = constant(0, dtype=np.float64)
    assert psnr(a, a + 0.3 / 255, channel="rgb", border=0) == pytest.approx(
        20 * math.log10(255 / 0.3), abs=1e-9
    )


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    ("a", "b", "arguments", "message"),
    [
        (constant(1), constant(1)[:-1], {}, "one shape"),
        (constant(1, 4), constant(1, 4), {}, "1 or 3"),
        (constant(1)[..., 0], constant(1)[..., 0], {}, "1 or 3"),
        (constant(1), constant(1), {"border": -1}, "border=-1"),
        (constant(1), constant(1), {"border": 10}, "leaves nothing"),
        (constant(1), constant(1), {"channel": "lab"}, "channel='lab'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    metric: Any, a: np.ndarray, b: np.ndarray, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        metric(a, b, **{"channel": "y", "border": 0, **arguments})


def test_ssim_needs_a_whole_window() -> None:
    a = constant(1)
    assert ssim(a[:11, :11], a[:11, :11], channel="y", border=0) == pytest.approx(1)
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(a, a, channel="y", border=5)


def test_mixed_dtypes_are_compared_on_one_scale() -> None:
    a, b = GOLDENS["noise10/a"], GOLDENS["noise10/b"]
    assert psnr(a, b / 255, channel="y", border=0) == pytest.approx(psnr(a, b, channel="y", border=0))
