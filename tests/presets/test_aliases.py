"""Names that stand for a preset of every scale."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import isr
from isr import presets
from isr.errors import RequestError
from isr.evaluate import EvaluateOptions, evaluate_files
from isr.predict import PredictRequest, plan
from isr.predict.source import networks_of

ROOT = Path(__file__).parents[2]


def test_the_page_lists_what_they_stand_for() -> None:
    table = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("| scale | none named |")[2]
    rows = re.findall(r"^\| (\d) " + r"\| `(\w+)` " * 5 + r"\|$", table, re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(presets.default_scales())
    for scale, *named in rows:
        meant = (
            presets.default_for(int(scale), video, alias)
            for video, alias in [
                (False, None),
                (False, "fast"),
                (False, "best"),
                (True, None),
                (True, "best"),
            ]
        )
        assert named == list(meant)
        assert presets.default_for(int(scale), True, "fast") == named[1]


def test_best_is_never_worse_and_fast_never_larger_than_the_default() -> None:
    facts = {row["name"]: row for row in presets.describe()}
    for scale in presets.default_scales():
        own, fast, best = (presets.default_for(scale, alias=alias) for alias in (None, "fast", "best"))
        assert facts[fast]["parameters"] <= facts[own]["parameters"]
        # Those of several scales list the figure of each on their card.
        if facts[best]["scale"] == facts[own]["scale"]:
            assert facts[best]["over_bicubic"] >= facts[own]["over_bicubic"]


@pytest.mark.parametrize("alias", presets.ALIASES)
def test_a_request_takes_them(alias: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (12, 10), "green").save(tmp_path / "a.png")
    for scale, expected in ((None, 2), (3, 3)):
        options = isr.predict.PredictOptions(scale=scale, engine="tensorflow")
        planned = plan(PredictRequest((str(tmp_path / "a.png"),), sources=(alias,), options=options))
        (job,) = planned.jobs
        assert [network.name for network in job.networks] == [presets.default_for(expected, alias=alias)]


def test_arrays_and_tables_take_them(tmp_path: Path) -> None:
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(isr.upscale("fast", picture), isr.upscale("edsr_fast_x2", picture))
    Image.fromarray(picture).save(tmp_path / "a.png")
    table = evaluate_files(tmp_path, "fast", EvaluateOptions(scale=2))
    assert (
        table.mean.figures == evaluate_files(tmp_path, "edsr_fast_x2", EvaluateOptions(scale=2)).mean.figures
    )


def test_a_scale_that_none_has_is_refused() -> None:
    with pytest.raises(RequestError, match="enlarges by 5"):
        presets.default_for(5, alias="best")
    assert set(networks_of("best", engine="tensorflow")) == set(presets.default_scales())
