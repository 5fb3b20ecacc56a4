"""Benchmark tables."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from pictures import photograph
from PIL import Image

import isr
from isr.evaluate import EvaluateOptions, Protocol, evaluate, evaluate_files
from isr.imresize import imresize
from isr.metrics import psnr
from isr.niqe import niqe

SET5 = Path(__file__).parents[3] / "shared" / "data" / "benchmarks" / "Set5"


def bicubic(scale: int):  # type: ignore[no-untyped-def]
    return lambda lr: imresize(lr, scale=scale)


def test_a_model_that_is_bicubic_scores_as_bicubic() -> None:
    hr = photograph(60, 72)
    table = evaluate(bicubic(2), [("one", imresize(hr, scale=0.5), hr)], Protocol(2))
    assert table.rows[0].psnr == pytest.approx(table.rows[0].bicubic_psnr, abs=0.02)
    assert table.rows[0].ssim == pytest.approx(table.rows[0].bicubic_ssim, abs=1e-3)


def test_outputs_are_clipped_and_rounded_before_they_are_compared() -> None:
    hr = photograph(40, 40)
    exact = hr.astype(np.float32) / 255
    lr = imresize(hr, scale=0.5)
    table = evaluate(lambda _: exact + 0.4 / 255, [("one", lr, hr)], Protocol(2))
    assert table.rows[0].psnr == float("inf")
    table = evaluate(lambda _: exact + 0.4 / 255, [("one", lr, hr)], Protocol(2, rounded=False))
    assert table.rows[0].psnr < 60


def test_the_mean_is_the_mean_of_the_pictures_and_the_border_is_the_scale() -> None:
    pictures = [photograph(48, 60, seed) for seed in range(3)]
    pairs = [(str(i), imresize(hr, scale=1 / 3), hr) for i, hr in enumerate(pictures)]
    table = evaluate(bicubic(3), pairs, Protocol(3))
    expected = [psnr(imresize(lr, scale=3), hr, channel="y", border=3) for _, lr, hr in pairs]
    assert [row.bicubic_psnr for row in table.rows] == pytest.approx(expected)
    assert table.mean.bicubic_psnr == pytest.approx(np.mean(expected))
    assert "border 3 px" in table.protocol.describe()


def test_csv_and_json_hold_the_table() -> None:
    hr = photograph(40, 44)
    table = evaluate(bicubic(2), [("one", imresize(hr, scale=0.5), hr)], Protocol(2), model="bicubic")
    rows = list(csv.DictReader(table.to_csv().splitlines()))
    assert [row["name"] for row in rows] == ["one", "mean"]
    assert float(rows[0]["psnr"]) == table.rows[0].psnr
    content = json.loads(table.to_json())
    assert content["protocol"]["border"] == 2 and content["mean"]["psnr"] == table.mean.psnr


@pytest.mark.skipif(
    not SET5.is_dir(), reason="Set5 is not part of this repository (its pictures carry no licence)"
)
@pytest.mark.parametrize(("scale", "expected"), [(2, 33.67), (3, 30.40), (4, 28.43)])
def test_bicubic_on_set5_is_the_published_figure(scale: int, expected: float) -> None:
    from isr.data.pairs import find_pairs
    from isr.evaluate import read_pairs

    made = read_pairs(find_pairs(SET5 / f"X{scale}" / "HR", None, scale), scale, 3)
    given_files = find_pairs(SET5 / f"X{scale}" / "HR", SET5 / f"X{scale}" / "LR", scale)
    for pairs in (made, read_pairs(given_files, scale, 3)):
        table = evaluate(bicubic(scale), pairs, Protocol(scale))
        assert round(table.mean.bicubic_psnr, 2) == expected


def test_perceptual_figures_stand_in_the_table_and_both_files(tmp_path: Path) -> None:
    picture = photograph(112, 224, 0)
    Image.fromarray(picture).save(tmp_path / "a.png")
    table = evaluate_files(tmp_path, "edsr_fast_x2", EvaluateOptions(perceptual=True))
    bicubic, model = table.mean.figures.values()
    assert bicubic.vgg is not None and model.vgg is not None
    assert 0 < model.vgg < bicubic.vgg
    sr = isr.upscale("edsr_fast_x2", imresize(picture, scale=0.5))
    assert model.niqe == pytest.approx(niqe(sr, 2))
    assert "bicubic NIQE  model NIQE  bicubic VGG  model VGG" in table.to_text()
    (row, _) = csv.DictReader(table.to_csv().splitlines())
    assert float(row["vgg"]) == model.vgg
    content = json.loads(table.to_json())
    assert content["mean"]["bicubic_niqe"] == bicubic.niqe
    assert content["protocol"]["perceptual"] is True
