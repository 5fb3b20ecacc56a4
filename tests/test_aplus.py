"""A+: its parts against closed forms, its symmetries, its fit, and the preset as any other."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from pictures import folder_of_photographs, photograph
from PIL import Image

import isr
from isr import aplus as model_module
from isr import presets
from isr.aplus import (
    PATCH,
    QUIET,
    REACHES,
    WINDOW,
    APlus,
    Stage,
    extract_patches,
    nearest,
    overlap_add,
    surroundings,
    view_indices,
)
from isr.cli.app import run
from isr.errors import Cancelled, RequestError
from isr.imresize import imresize
from isr.levels import to_float
from isr.metrics import psnr
from isr.models import EDSR, Cascade
from isr.models.loading import load
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.progress import Callback, Silent
from isr.train import aplus as training
from isr.train.aplus import (
    Regression,
    Sample,
    fit,
    kmeans,
    middles,
    specialise,
    sum_of_squared_differences,
    symmetric_components,
)

SMALL = {"num_anchors": (8,), "num_features": 13, "num_patches": 13, "megapixels": 0.2, "rounds": 2}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_photographs(tmp_path_factory.mktemp("photographs"), 6, 96, 128)


@pytest.fixture(scope="module")
def fitted(photographs: Path) -> APlus:
    """Two stages, so that what lies between them is tested too."""
    return fit(photographs, 2, **{**SMALL, "num_anchors": (8, 4)})


def lr_picture(height: int, width: int, seed: int = 9) -> np.ndarray:
    return to_float(photograph(height, width, seed))


# Parts


@pytest.mark.parametrize("scale", [2, 3])
def test_features_are_made_of_first_and_second_differences(scale: int) -> None:
    side = WINDOW * scale
    form = sum_of_squared_differences(side, scale)
    window = np.random.default_rng(0).normal(size=(side, side))
    expected = 0.0
    for lines in (window, window.T):
        first = lines[:, scale:] - lines[:, :-scale]
        second = (lines[:, 2 * scale :] + lines[:, : -2 * scale]) / 2 - lines[:, scale:-scale]
        expected += (first**2).sum() + (second**2).sum()
    assert window.ravel() @ form @ window.ravel() == pytest.approx(expected)
    ramp = np.add.outer(np.zeros(side), 0.5 * np.arange(side)).ravel()  # only first differences, one way
    assert ramp @ form @ ramp == pytest.approx(side * (side - scale) * (0.5 * scale) ** 2)
    assert np.ones(side**2) @ form @ np.ones(side**2) == pytest.approx(0)


def test_cutting_and_overlapping_are_adjoint_and_every_pixel_lies_in_nine_patches() -> None:
    rng, scale, height, width = np.random.default_rng(0), 3, 4, 5
    picture = rng.normal(size=(scale * (height + 2), scale * (width + 2))).astype(np.float32)
    patches = rng.normal(size=(height * width, (PATCH * scale) ** 2)).astype(np.float32)
    there = np.vdot(overlap_add(patches, height, width, scale), picture)
    back = np.vdot(patches, extract_patches(picture, height, width, scale))
    assert there == pytest.approx(back, rel=1e-4)
    again = overlap_add(extract_patches(picture, height, width, scale), height, width, scale)
    inner = slice(2 * scale, -2 * scale)
    np.testing.assert_allclose(again[inner, inner], PATCH**2 * picture[inner, inner], rtol=1e-5)
    # A patch holds the input pixel of its place in its middle.
    middle = extract_patches(picture, height, width, scale).reshape(
        height, width, PATCH * scale, PATCH * scale
    )[1, 2]
    np.testing.assert_array_equal(middle, picture[scale : 4 * scale, 2 * scale : 5 * scale])


def test_components_diagonalise_a_symmetric_form_and_only_change_places_and_signs() -> None:
    side = 6
    random = np.random.default_rng(0).normal(size=(side**2, side**2))
    form = training.all_views(random @ random.T)
    rows = symmetric_components(form, 20)
    np.testing.assert_allclose(rows @ rows.T, np.eye(20), atol=1e-9)
    values = np.diag(rows @ form @ rows.T)
    np.testing.assert_allclose(rows @ form, values[:, None] * rows, atol=1e-9)
    assert values.min() >= np.sort(np.linalg.eigvalsh(form))[-22]  # the largest, but for a pair at the end
    for view in view_indices(side):
        turned = np.abs(rows @ rows[:, view].T)
        np.testing.assert_allclose(np.sort(turned, axis=1)[:, -2:], [[0, 1]] * 20, atol=1e-6)


def test_kmeans_finds_directions_apart() -> None:
    rng = np.random.default_rng(0)
    truth = np.eye(4, dtype=np.float32)
    vectors = np.repeat(truth, 50, axis=0) * rng.uniform(1, 5, (200, 1)) + rng.normal(0, 0.01, (200, 4))
    # A start in which two means lie in one group may end so; the best of some starts must be the truth.
    found = [kmeans(vectors.astype(np.float32), 4, np.random.default_rng(seed)) for seed in range(8)]
    best = max(found, key=lambda means: (vectors @ means.T).max(axis=1).sum())
    assert (best @ truth.T).max(axis=0).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(best, axis=1), 1, rtol=1e-5)


def test_the_search_of_all_cells_is_the_plain_one(fitted: APlus, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = fitted.stages[0]
    features = np.random.default_rng(0).normal(size=(300, len(stage.filters))).astype(np.float32)
    plain = (features @ stage.anchors.T).argmax(axis=1)
    monkeypatch.setattr(model_module, "PROBES", len(stage.cells))
    np.testing.assert_array_equal(stage.search(features), plain)
    monkeypatch.setattr(model_module, "PROBES", 1)
    in_one_cell = stage.search(features)
    cell = np.repeat(np.arange(len(stage.cells)), stage.cell_sizes)
    chosen = (features @ stage.cells.T).argmax(axis=1)
    filled = stage.cell_sizes[chosen] > 0
    np.testing.assert_array_equal(cell[in_one_cell][filled], chosen[filled])


# The upscaler


def bicubic_and_zero(fitted: APlus) -> list[APlus]:
    stage = fitted.stages[0]
    arrays = {name: getattr(stage, name) for name in ("filters", "patches", "anchors", "cells", "cell_sizes")}
    return [APlus(2, ()), APlus(2, [Stage(**arrays, regressors=np.zeros_like(stage.regressors))])]


def test_nothing_to_add_leaves_bicubic(fitted: APlus) -> None:
    lr = lr_picture(20, 30)
    for model in bicubic_and_zero(fitted):
        np.testing.assert_array_equal(model(lr[None])[0], imresize(lr, scale=2))


def test_overlapping_patches_of_one_picture_are_that_picture(fitted: APlus) -> None:
    """Regressors that give back a patch of the features: what is averaged agrees, so it is the picture itself."""
    scale, side = 2, WINDOW * 2
    rng = np.random.default_rng(0)
    form = training.all_views(np.diag(rng.uniform(1, 2, side**2)))
    filters = symmetric_components(form, side**2)  # orthonormal and complete: nothing is lost
    patches = symmetric_components(training.all_views(np.eye((PATCH * scale) ** 2)), (PATCH * scale) ** 2)
    inner = np.arange(side**2).reshape(side, side)[scale:-scale, scale:-scale].ravel()
    regressor = (patches @ filters[:, inner].T)[None]
    anchors = np.eye(1, len(filters))
    stage = Stage(
        *(array.astype(np.float32) for array in (filters, patches, anchors, anchors)),
        np.ones(1, np.int32),
        regressor.astype(np.float32),
    )
    picture = imresize(lr_picture(11, 14)[..., 0], scale=scale)
    np.testing.assert_allclose(stage(picture), picture, atol=1e-5)


def test_flips_turns_and_the_negative_commute_with_it(fitted: APlus) -> None:
    lr = lr_picture(24, 31)
    plain = fitted(lr[None])[0]
    assert np.abs(plain - imresize(lr, scale=2)).max() > 0.02
    views = [(lambda x, t=t, f=f: np.rot90(x[:, ::f], t)) for t in range(4) for f in (1, -1)]
    for view in (*views, lambda x: 1 - x):
        far = np.abs(fitted(view(lr)[None])[0] - view(plain))
        # Mirrored borders make ties, where rounding chooses between views that suit equally.
        assert np.quantile(far, 0.98) < 1e-5 and far.max() < 2e-3


def test_a_flat_picture_stays_flat_and_chroma_is_bicubic(fitted: APlus) -> None:
    flat = np.full((1, 9, 8, 3), [0.2, 0.5, 0.7], np.float32)
    np.testing.assert_allclose(fitted(flat)[0], np.broadcast_to(flat[0, 0, 0], (18, 16, 3)), atol=1e-5)
    lr = lr_picture(20, 22)
    added = fitted(lr[None])[0] - imresize(lr, scale=2)
    np.testing.assert_allclose(added, added[..., :1].repeat(3, -1), atol=1e-6)


def test_the_receptive_radius_is_the_one_it_says(fitted: APlus) -> None:
    lr = lr_picture(61, 61)
    changed = lr.copy()
    changed[30, 30] += 0.3
    difference = np.abs(fitted(changed[None])[0] - fitted(lr[None])[0]).max(axis=-1)
    rows = np.flatnonzero(difference.max(axis=1) > 1e-5)
    reach = max(math.ceil((2 * 30 - rows[0]) / 2), math.ceil((rows[-1] - 2 * 30 - 1) / 2))
    radius = fitted.spec.receptive_radius
    assert radius is not None and radius - 3 <= reach <= radius


@pytest.mark.parametrize(("height", "width"), [(61, 97), (33, 32), (32, 120)])
def test_exact_tiles_equal_the_whole_picture(fitted: APlus, height: int, width: int) -> None:
    lr = lr_picture(height, width)
    whole = enlarge(fitted, lr, TileOptions(tile=256))
    assert np.abs(enlarge(fitted, lr, TileOptions(tile=32, overlap="exact")) - whole).max() < 1e-5
    assert np.abs(enlarge(fitted, lr, TileOptions(tile=32, overlap=0)) - whole).max() > 1e-3


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2)])
def test_the_smallest_pictures(fitted: APlus, size: tuple[int, int]) -> None:
    result = fitted(lr_picture(*size)[None])
    assert result.shape == (1, 2 * size[0], 2 * size[1], 3) and np.all(np.isfinite(result))


def test_what_does_not_fit_is_refused(fitted: APlus) -> None:
    with pytest.raises(ValueError, match="enlarges by 2, not by 3"):
        fitted(lr_picture(8, 8)[None], scale=3)
    with pytest.raises(ValueError, match="takes \\[batch, height, width, 3\\]"):
        fitted(lr_picture(8, 8))
    with pytest.raises(ValueError, match="stage 0: filters has shape"):
        APlus(3, fitted.stages)
    lopsided = {
        name.split("/")[1]: value for name, value in fitted.named_weights().items() if "stage0" in name
    }
    lopsided["filters"] = np.random.default_rng(0).normal(size=lopsided["filters"].shape).astype(np.float32)
    with pytest.raises(ValueError, match="not symmetric"):
        APlus(2, [Stage(**lopsided)])


# The fit


def test_known_regressors_are_recovered(fitted: APlus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the overlapping means of some regressors are all that is missing, the least squares are these."""
    monkeypatch.setattr(training, "RIDGE", 0.0)
    monkeypatch.setattr(training, "FALLBACK", 0.0)
    stage = fitted.stages[0]
    truth = np.random.default_rng(0).normal(size=stage.regressors.shape).astype(np.float32)
    samples = []
    for seed in range(8):
        picture = imresize(lr_picture(60, 70, seed)[..., 0], scale=2)
        samples.append(Sample(picture, np.zeros_like(picture), stage.encode(picture)))
    problem = Regression(stage, samples, Silent())
    for sample in samples:
        sample.missing = problem.predict(sample, truth)
    before = [np.square(sample.missing).mean() for sample in samples]
    problem.solve(60)
    after = [np.square(sample.missing).mean() for sample in samples]
    assert np.sqrt(np.mean(after) / np.mean(before)) < 0.02


@pytest.mark.slow
def test_a_fit_beats_bicubic_on_another_picture_and_is_the_same_again(
    photographs: Path, fitted: APlus
) -> None:
    hr = photograph(96, 128, seed=77)
    lr = imresize(hr, scale=0.5)
    model = fit(photographs, 2, **SMALL)
    gain = psnr(isr.upscale(model, lr), hr, channel="y", border=2) - psnr(
        imresize(lr, scale=2), hr, channel="y", border=2
    )
    assert gain > 0.3
    again, other = fit(photographs, 2, **SMALL), fit(photographs, 2, **SMALL, seed=1)
    for name, value in model.named_weights().items():
        np.testing.assert_array_equal(again.named_weights()[name], value)
    assert np.abs(other.stages[0].regressors - model.stages[0].regressors).max() > 0
    assert len(fitted.stages) == 2 and [len(stage.anchors) for stage in fitted.stages] == [8, 4]


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales(photographs: Path, scale: int) -> None:
    model = fit(photographs, scale, **SMALL)
    hr = photograph(96, 120, seed=77)
    lr = imresize(hr, scale=1 / scale)
    bicubic = psnr(imresize(lr, scale=scale), hr, channel="y", border=scale)
    assert psnr(isr.upscale(model, lr), hr, channel="y", border=scale) > bicubic


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scale": 1}, "scale=1"),
        ({"num_anchors": ()}, "num_anchors"),
        ({"num_anchors": (8, 0)}, "num_anchors"),
        ({"num_features": 5}, "num_features=5"),
        ({"num_patches": 0}, "num_patches=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"num_contexts": 0}, "num_contexts=0"),
        ({"num_anchors": (10**6,)}, "add photographs"),
        ({"folder": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(photographs: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        fit(**{"folder": photographs, "scale": 2, **SMALL, **arguments})  # type: ignore[arg-type]


def test_photographs_without_edges_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "gray.png")
    with pytest.raises(RequestError, match="bicubic misses nothing"):
        fit(tmp_path, 2, **SMALL)


def test_a_fit_can_be_stopped(photographs: Path) -> None:
    with pytest.raises(Cancelled):
        fit(photographs, 2, **SMALL, progress=Callback(lambda what, done, total: what == "read"))


# Surroundings


@pytest.fixture(scope="module")
def in_context(photographs: Path) -> APlus:
    return fit(photographs, 2, **SMALL, num_contexts=3)


def test_surroundings_are_means_over_windows() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20 * 25, 4)).astype(np.float32)
    found = surroundings(features, 20, 25)
    energy = np.square(features.astype(np.float64)).sum(axis=1).reshape(20, 25) + QUIET
    near, far = (energy[10 - reach : 11 + reach, 12 - reach : 13 + reach].mean() for reach in REACHES)
    here = energy[10, 12]
    expected = [np.log(here), np.log(here / near), np.log(near / far)]
    np.testing.assert_allclose(found.reshape(20, 25, 3)[10, 12], expected, rtol=1e-5)
    turned = surroundings(np.rot90(features.reshape(20, 25, 4)).reshape(-1, 4), 25, 20)
    np.testing.assert_allclose(
        turned.reshape(25, 20, 3), np.rot90(found.reshape(20, 25, 3)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(surroundings(np.ones((6, 4), np.float32), 2, 3)[:, 1:], 0, atol=1e-6)


def test_middles_of_groups_apart() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0]], np.float32)
    vectors = np.repeat(truth, 40, axis=0) + rng.normal(0, 0.1, (120, 3)).astype(np.float32)
    found = [middles(vectors, 3, np.random.default_rng(seed)) for seed in range(8)]
    best = min(found, key=lambda means: np.square(vectors - means[nearest(vectors, means)]).sum())
    assert np.abs(best[nearest(truth, best)] - truth).max() < 0.1


def test_a_context_has_regressors_of_its_own(in_context: APlus, tmp_path: Path) -> None:
    (stage,) = in_context.stages
    assert stage.regressors.shape[0] == 3 * len(stage.anchors) and stage.contexts.shape == (3, 3)
    own = stage.regressors.reshape(3, len(stage.anchors), *stage.regressors.shape[1:])
    assert np.abs(own[0] - own[1]).max() > 1e-3
    # The same for all contexts are those of no context.
    arrays = {field.name: getattr(stage, field.name) for field in fields(Stage)}
    alike = Stage(**{**arrays, "regressors": np.tile(own[0], (3, 1, 1))})
    without = Stage(**{**arrays, "regressors": own[0], "contexts": stage.contexts[:0]})
    lr = lr_picture(24, 30)[None]
    np.testing.assert_allclose(APlus(2, [alike])(lr), APlus(2, [without])(lr), atol=1e-5)
    in_context.save_preset(tmp_path / "own")
    np.testing.assert_array_equal(APlus.from_preset(tmp_path / "own")(lr), in_context(lr))
    with pytest.raises(ValueError, match="24 regressors for 8 anchors and 0 contexts"):
        APlus(2, [Stage(**{**arrays, "contexts": stage.contexts[:0]})])


def test_contexts_keep_views_and_reach(in_context: APlus) -> None:
    test_flips_turns_and_the_negative_commute_with_it(in_context)
    lr = lr_picture(70, 70)
    changed = lr.copy()
    changed[35, 35] += 0.3
    difference = np.abs(in_context(changed[None])[0] - in_context(lr[None])[0]).max(axis=-1)
    rows = np.flatnonzero(difference.max(axis=1) > 1e-5)
    radius = in_context.spec.receptive_radius
    assert radius is not None and (2 * 35 - rows[0]) / 2 <= radius and (rows[-1] - 2 * 35 - 1) / 2 <= radius


# Self-similarities


def test_a_picture_is_learned_from(fitted: APlus) -> None:
    """What made the picture of its smaller copy makes it better, the less the fitted regressors are trusted."""
    picture = photograph(80, 96, 31)
    smaller = imresize(picture, scale=0.5)
    before = [stage.regressors.copy() for stage in fitted.stages]
    trusting, learned = (specialise(fitted, picture, trust=trust) for trust in (3000, 30))
    figures = [
        psnr(isr.upscale(model, smaller), picture, channel="y", border=2)
        for model in (fitted, trusting, learned)
    ]
    assert figures == sorted(figures) and figures[2] > figures[0] + 0.2
    for stage, regressors in zip(fitted.stages, before, strict=True):
        np.testing.assert_array_equal(stage.regressors, regressors)


def test_endless_trust_changes_nothing(fitted: APlus) -> None:
    lr = lr_picture(40, 44)
    own = specialise(fitted, lr, trust=1e9)
    np.testing.assert_allclose(own(lr[None]), fitted(lr[None]), atol=1e-4)


@pytest.mark.parametrize("shape", [(12, 40, 3), (60, 60, 1)])
def test_what_tells_nothing_changes_nothing(fitted: APlus, shape: tuple[int, int, int]) -> None:
    assert specialise(fitted, np.full(shape, 90, np.uint8)) is fitted


# The preset


def test_a_preset_holds_it_whole(fitted: APlus, tmp_path: Path) -> None:
    fitted.save_preset(tmp_path / "own", facts={"licence": "CC0-1.0"})
    again = APlus.from_preset(tmp_path / "own")
    assert again.name == "own" and again.spec.scales == (2,)
    lr = lr_picture(20, 30)[None]
    np.testing.assert_array_equal(again(lr), fitted(lr))
    fitted.save_preset(tmp_path / "half", dtype="float16")
    sizes = [(tmp_path / name / presets.WEIGHTS).stat().st_size for name in ("own", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    np.testing.assert_allclose(APlus.from_preset(tmp_path / "half")(lr), fitted(lr), atol=0.02)


def test_a_preset_that_is_none_is_refused(fitted: APlus, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    fitted.save_preset(folder)
    with pytest.raises(RequestError, match=r"holds the network EDSR, not APlus"):
        APlus.from_preset("edsr_fast_x2")
    with pytest.raises(RequestError, match=r"APlus.*isr\.train\.aplus\.fit"):
        EDSR.from_preset(folder)
    config = json.loads((folder / presets.CONFIG).read_text())
    (folder / presets.CONFIG).write_text(json.dumps({**config, "arguments": {"scale": 3}}))
    with pytest.raises(RequestError, match=r"weights\.safetensors: stage 0: filters has shape"):
        APlus.from_preset(folder)
    whole = (folder / presets.WEIGHTS).read_bytes()
    (folder / presets.WEIGHTS).write_bytes(whole[:-8])
    with pytest.raises(RequestError, match="not a readable safetensors file"):
        APlus.from_preset(folder)
    EDSR(2, num_features=4, num_blocks=1).save_preset(tmp_path / "edsr")
    (folder / presets.WEIGHTS).write_bytes((tmp_path / "edsr" / presets.WEIGHTS).read_bytes())
    with pytest.raises(RequestError, match="not the arrays of APlus"):
        APlus.from_preset(folder)
    spoilt = fitted.stages[0]
    spoilt.regressors[0, 0, 0], kept = np.nan, spoilt.regressors[0, 0, 0]
    fitted.save_preset(tmp_path / "nan")
    spoilt.regressors[0, 0, 0] = kept
    with pytest.raises(RequestError, match="stage0/regressors holds values that are no numbers"):
        APlus.from_preset(tmp_path / "nan")


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_shipped_ones_beat_bicubic_and_are_small(scale: int) -> None:
    name = f"aplus_x{scale}"
    hr = photograph(24 * scale, 30 * scale, seed=5)
    lr = imresize(hr, scale=1 / scale)
    result = isr.upscale(APlus.from_preset(name), lr)
    bicubic = psnr(imresize(lr, scale=scale), hr, channel="y", border=scale)
    assert psnr(result, hr, channel="y", border=scale) > bicubic
    np.testing.assert_array_equal(isr.upscale(name, lr), result)
    assert (presets.HERE / name / presets.WEIGHTS).stat().st_size < 4e6 / 3
    assert (presets.HERE / name / "card.md").is_file()


def test_the_command_line_takes_it(fitted: APlus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted.save_preset(tmp_path / "own")
    lr = photograph(20, 24)
    Image.fromarray(lr).save(tmp_path / "photo.png")
    preset = str(tmp_path / "own")
    assert run(["predict", str(tmp_path / "photo.png"), "--preset", preset, "--quiet"]) == 0
    with Image.open(tmp_path / "photo_x2.png") as made:
        np.testing.assert_array_equal(np.asarray(made), isr.upscale(fitted, lr))
    folder_of_photographs(tmp_path / "hr", 1)
    assert run(["evaluate", "--hr", str(tmp_path / "hr"), "--preset", preset, "--json", "--quiet"]) == 0
    mean = json.loads(capsys.readouterr().out.split("\n", 1)[1])["mean"]
    assert mean["psnr"] > mean["bicubic_psnr"]


def test_what_wants_a_network_says_what_to_do(
    fitted: APlus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted.save_preset(tmp_path / "own")
    preset = str(tmp_path / "own")
    folder_of_photographs(tmp_path / "hr", 1)
    data = [f"data.{part}_hr={tmp_path / 'hr'}" for part in ("train", "val")]
    settings = ["run=" + str(tmp_path / "run"), "model.name=APlus", *data]
    train = ["train", *(word for setting in settings for word in ("--set", setting)), "--quiet"]
    for command in (train, ["export", "--preset", preset, "-o", str(tmp_path / "served"), "--quiet"]):
        assert run(command) == 2
        said = capsys.readouterr().err.strip()
        assert said.count("\n") == 0 and "'APlus'" in said and "isr.train.aplus.fit" in said
    assert not (tmp_path / "served").exists()
    for attempt in (lambda: Cascade([preset, preset]), lambda: load(preset)):
        with pytest.raises(RequestError, match=r"isr\.train\.aplus\.fit"):
            attempt()


def test_the_page_has_every_argument_of_fit_with_its_default() -> None:
    text = (Path(__file__).parents[1] / "docs" / "aplus.md").read_text(encoding="utf-8")
    table = text.partition("## Arguments of fit\n")[2].partition("| argument |")[2].partition("\n\n")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*)\|$", table, re.MULTILINE))
    parameters = inspect.signature(fit).parameters.values()
    defaults = {p.name: "" if p.default is p.empty else str(p.default) for p in parameters}
    assert {name: value.strip() for name, value in documented.items()} == defaults
