"""Sheets that compare presets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import photograph
from PIL import Image

from isr.cli import app
from isr.predict.sheet import differing, sheet


def test_the_parts_are_those_that_differ_most() -> None:
    plain = np.full((120, 160, 3), 90, np.uint8)
    other = plain.copy()
    other[80:120, 40:80] += 50
    other[0:40, 120:160] += 20
    assert differing([plain, other], 2, 20, 2) == [(20, 40, 20, 20), (60, 0, 20, 20)]
    assert differing([plain, other], 2, 500, 3) == [(0, 0, 80, 60)]


def test_a_sheet_holds_the_parts_and_their_middles() -> None:
    results = {"a": photograph(60, 80, 1), "b": photograph(60, 80, 2)}
    made = sheet(results, [(10, 5, 18, 12)], 2)
    part = results["b"][10:34, 20:56]
    middle = part[8:16, 12:24].repeat(3, axis=0).repeat(3, axis=1)
    for piece in (part, middle):
        windows = np.lib.stride_tricks.sliding_window_view(made, piece.shape)[:, :, 0]
        assert any(np.array_equal(window, piece) for window in windows.reshape(-1, *piece.shape))


def test_results_beyond_the_columns_stand_below() -> None:
    results = {name: photograph(40, 40, number) for number, name in enumerate("abc")}
    made = sheet(results, [(0, 0, 20, 20)], 2, columns=2)
    above, below = np.split(made, 2)
    assert np.array_equal(above, sheet({name: results[name] for name in "ab"}, [(0, 0, 20, 20)], 2))
    alone = sheet({"c": results["c"]}, [(0, 0, 20, 20)], 2)
    assert np.array_equal(below[:, : alone.shape[1]], alone)


def test_a_preset_with_corners_is_shown_at_every_denoise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(photograph(16, 20, 0)).save(photo)
    seen: list[str] = []
    columns: list[int | None] = []

    def labels(results: Mapping[str, np.ndarray], *rest: Any) -> np.ndarray:
        seen.extend(results)
        columns.append(rest[-1])
        return sheet(results, *rest)

    monkeypatch.setattr("isr.predict.sheet.sheet", labels)
    line = ["compare", str(photo), "--preset", "edsr_baseline_x4", "--preset", "photo_x4", "--quiet"]
    assert app.run([*line, "--denoise", "0", "--denoise", "auto"]) == 0
    assert seen == ["bicubic", "edsr_baseline_x4", "photo_x4, denoise 0", "photo_x4, denoise auto"]
    assert columns == [None]


def test_several_of_both_knobs_make_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(photograph(4, 6, 0)).save(photo)
    calls: list[tuple[list[str], int | None]] = []

    def stand_in(names: list[str], pixels: np.ndarray, scale: int, knobs: list[Any], _: Any) -> Any:
        shown = [f"{names[0]}, denoise {d:g}, texture {t:g}" for d, t in knobs]
        return dict.fromkeys(["bicubic", *shown], pixels.repeat(scale, 0).repeat(scale, 1))

    def labels(results: Mapping[str, np.ndarray], *rest: Any) -> np.ndarray:
        calls.append((list(results), rest[-1]))
        return sheet(results, *rest)

    monkeypatch.setattr("isr.predict.api.enlarged_by", stand_in)
    monkeypatch.setattr("isr.predict.sheet.sheet", labels)
    line = ["compare", str(photo), "--preset", "photo_x4", "--quiet", "--denoise", "0", "--denoise", "1"]
    assert app.run([*line, "--texture", "0", "--texture", "0.5", "--texture", "1"]) == 0
    order = [f"photo_x4, denoise {d}, texture {t}" for d in ("0", "1") for t in ("0", "0.5", "1")]
    assert calls == [([*order, "bicubic"], 3)]


def test_the_command_writes_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "a.png"
    Image.fromarray(photograph(40, 60, 0)).save(photo)
    line = ["compare", str(photo), "--preset", "edsr_fast_x2", "--quiet"]
    assert app.run([*line, "--crop", "24x20+8+4"]) == 0
    made = tmp_path / "a_compared.png"
    assert capsys.readouterr().out.strip() == str(made)
    assert np.asarray(Image.open(made)).shape[-1] == 3
    assert app.run(line) == 2
    assert "exists" in capsys.readouterr().err
    assert app.run([*line, "--overwrite"]) == 0
    assert app.run([*line, "--overwrite", "--crop", "99x20"]) == 2
    assert app.run([*line, "--overwrite", "--denoise", "0.5"]) == 2
    assert "need corners" in capsys.readouterr().err
