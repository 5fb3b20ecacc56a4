"""Pairs, augmentation and batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import folder_of_photographs, photograph
from PIL import Image

from isr.data.batches import MultiScaleBatches, PatchBatches, PatchRecipe, gradient_energy
from isr.data.pairs import Complaints, PicturePairs, as_channels, find_pairs, read_pair
from isr.dihedral import NUM_VIEWS, dihedral, undo_dihedral
from isr.errors import RequestError
from isr.imresize import imresize


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, NUM_VIEWS - 1))
def test_dihedral_views_can_be_undone(height: int, width: int, view: int) -> None:
    x = np.arange(height * width * 2).reshape(1, height, width, 2)
    assert np.array_equal(undo_dihedral(dihedral(x, view), view), x)


def test_the_eight_views_are_all_symmetries_of_the_square() -> None:
    x = np.arange(9).reshape(3, 3, 1)
    views = {dihedral(x, view).tobytes() for view in range(NUM_VIEWS)}
    assert len(views) == 8
    assert x.transpose(1, 0, 2).tobytes() in views
    assert x[::-1, ::-1].tobytes() in views


def pairs_of(
    count: int, scale: int, height: int = 60, width: int = 80
) -> list[tuple[np.ndarray, np.ndarray]]:
    pictures = [photograph(height, width, seed) for seed in range(count)]
    return [(imresize(hr, scale=1 / scale), hr) for hr in pictures]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_and_hr_patches_show_the_same_place(scale: int) -> None:
    # Where HR codes its own place, each LR pixel must name the block of HR pixels it lies over.
    y, x = np.mgrid[:48, :60]
    hr = np.stack([y // scale, x // scale, np.zeros_like(x)], -1).astype(np.uint8)
    batches = PatchBatches(
        [(hr[::scale, ::scale], hr)], scale, PatchRecipe(patch_size=4 * scale, batch_size=8)
    )
    batch = batches[3]
    assert batch.lr.shape == (8, 4, 4, 3) and batch.hr.shape == (8, 4 * scale, 4 * scale, 3)
    assert batch.lr.dtype == batch.hr.dtype == np.float32
    assert np.array_equal(batch.lr.repeat(scale, 1).repeat(scale, 2), batch.hr)


def test_a_batch_is_a_function_of_seed_and_step_alone() -> None:
    pairs = pairs_of(3, 2)
    one, other = (PatchBatches(pairs, 2, PatchRecipe(patch_size=16, seed=5)) for _ in range(2))
    late = one[12345]
    for step in (0, 3, 7):
        other[step]  # what was drawn before must not matter
    assert np.array_equal(late.hr, other[12345].hr) and np.array_equal(late.lr, other[12345].lr)
    assert not np.array_equal(late.hr, one[12346].hr)
    assert not np.array_equal(late.hr, PatchBatches(pairs, 2, PatchRecipe(patch_size=16, seed=6))[12345].hr)


def test_pictures_of_8_and_16_bits_go_into_one_batch() -> None:
    eight = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    pairs = [(hr[::2, ::2], hr) for hr in (eight, eight.astype(np.uint16) * 257)]
    recipe = PatchRecipe(patch_size=8, batch_size=12, augment=False)
    for patch in PatchBatches(pairs, 2, recipe)[0].hr:
        np.testing.assert_allclose(patch, eight / 255, atol=1e-6)


def test_patches_come_from_every_picture_and_reach_every_border() -> None:
    y, x = np.mgrid[:20, :24]
    pairs = [(np.stack([y, x, np.full_like(x, i)], -1).astype(np.uint8),) * 2 for i in range(3)]
    recipe = PatchRecipe(patch_size=8, batch_size=64, candidates=1, augment=False)
    patches = np.concatenate([PatchBatches(pairs, 1, recipe)[step].hr for step in range(20)]) * 255
    assert set(np.round(patches[:, 0, 0, 2]).astype(int)) == {0, 1, 2}
    assert np.round(patches[..., 0].max()) == 19 and np.round(patches[..., 1].max()) == 23
    assert patches[..., 0].min() == 0 and patches[..., 1].min() == 0


def test_detail_is_drawn_more_often_than_flat_places() -> None:
    rng = np.random.default_rng(0)
    picture = np.full((64, 128, 3), 100, np.uint8)
    picture[:, 64:] = rng.integers(0, 256, (64, 64, 3))

    def energy(candidates: int) -> float:
        recipe = PatchRecipe(patch_size=16, batch_size=64, candidates=candidates)
        batch = PatchBatches([(imresize(picture, scale=0.5), picture)], 2, recipe)[0]
        return float(np.mean([gradient_energy(patch) for patch in batch.lr]))

    assert energy(4) > 1.3 * energy(1)


def test_flat_patches_are_drawn_again() -> None:
    picture = np.full((64, 128, 3), 100, np.uint8)
    picture[:, 100:] = np.random.default_rng(0).integers(0, 256, (64, 28, 3))
    recipe = PatchRecipe(patch_size=16, batch_size=32, candidates=1, flatness=0.02)
    batch = PatchBatches([(imresize(picture, scale=0.5), picture)], 2, recipe)[0]
    assert min(gradient_energy(patch) for patch in batch.lr) >= 0.02


def test_batches_of_several_scales_are_each_of_one() -> None:
    recipe = PatchRecipe(patch_size=24, batch_size=2, seed=3)
    sources = [PatchBatches(pairs_of(2, scale, 60, 84), scale, recipe) for scale in (2, 3, 4)]
    batches, again = MultiScaleBatches(sources), MultiScaleBatches(sources)
    drawn = []
    for step in range(60):
        batch = batches[step]
        assert batch.hr.shape == (2, 24, 24, 3)
        scale = 24 // batch.lr.shape[1]
        expected = sources[(2, 3, 4).index(scale)][step]
        assert np.array_equal(batch.lr, expected.lr) and np.array_equal(batch.hr, expected.hr)
        drawn.append(scale)
    assert {scale: drawn.count(scale) > 10 for scale in (2, 3, 4)} == {2: True, 3: True, 4: True}
    assert np.array_equal(again[41].lr, batches[41].lr)


def test_the_scale_says_nothing_of_the_place() -> None:
    """Both are drawn from (seed, step); with the same numbers, one would decide the other."""
    rows = np.arange(400, dtype=np.float32)[:, None, None] / 400 * np.ones((1, 24, 1), np.float32)
    recipe = PatchRecipe(patch_size=24, batch_size=1, candidates=1, augment=False)
    batches = MultiScaleBatches(
        [PatchBatches([(rows[:: scale // 2, :: scale // 2], rows)], scale // 2, recipe) for scale in (4, 6)]
    )
    places: dict[int, list[float]] = {}
    for step in range(300):
        batch = batches[step]
        places.setdefault(batch.lr.shape[1], []).append(float(batch.hr[0, 0, 0, 0]))
    for found in places.values():
        assert len(found) > 100 and abs(np.mean(found) - 0.47) < 0.06


@pytest.mark.parametrize("scale", [2, 3])
def test_photographs_are_also_taken_smaller(tmp_path: Path, scale: int) -> None:
    folder_of_photographs(tmp_path / "hr", 1, 50, 47)
    files = find_pairs(tmp_path / "hr", None, scale)
    files += [replace(files[0], shrink=factor) for factor in (0.8, 0.4)]
    (_, whole), (lr, hr) = PicturePairs(files, scale, 3, tmp_path / "cache", smallest=24)  # 0.4 gives 20x19
    expected = imresize(photograph(50, 47), scale=0.8)  # 40x38
    expected = expected[: 40 // scale * scale, : 38 // scale * scale]
    assert np.array_equal(whole, photograph(50, 47)[: 50 // scale * scale, : 47 // scale * scale])
    assert np.array_equal(hr, expected) and np.array_equal(lr, imresize(expected, scale=1 / scale))


def test_patch_size_must_fit_the_scale() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        PatchBatches(pairs_of(1, 3), 3, PatchRecipe(patch_size=16))


def test_pairs_are_found_in_the_usual_layouts(tmp_path: Path) -> None:
    names = ("hr/baby.png", "hr/sub/bird.png", "hr/dog.png")
    for name in (*names, "lr/babyx2.png", "lr/sub/bird.jpg", "lr/X2/dogx2.png", "lr/X3/dogx3.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(8, 8) if name.startswith("lr") else photograph(16, 16)).save(path)
    pairs = find_pairs(tmp_path / "hr", tmp_path / "lr", 2)
    assert [(p.hr.name, p.lr.name if p.lr else None) for p in pairs] == [
        ("baby.png", "babyx2.png"),
        ("dog.png", "dogx2.png"),
        ("bird.png", "bird.jpg"),
    ]


def test_a_missing_partner_is_named(tmp_path: Path) -> None:
    folder_of_photographs(tmp_path / "hr", 2)
    folder_of_photographs(tmp_path / "lr", 1)
    with pytest.raises(RequestError, match=r"no low-resolution partner for 1 pictures .*1\.png"):
        find_pairs(tmp_path / "hr", tmp_path / "lr", 2)


def test_partners_of_the_wrong_size_are_named(tmp_path: Path) -> None:
    folder_of_photographs(tmp_path / "hr", 1, 64, 64)
    folder_of_photographs(tmp_path / "lr", 1, 20, 20)
    with pytest.raises(RequestError, match=r"0\.png: 20x20 is not 1/2 of 64x64"):
        read_pair(find_pairs(tmp_path / "hr", tmp_path / "lr", 2)[0], 2, 3)


def test_empty_and_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        find_pairs(tmp_path / "none", None, 2)
    with pytest.raises(RequestError, match="no pictures in this folder"):
        find_pairs(tmp_path, None, 2)


def test_hr_is_cut_to_a_multiple_of_the_scale(tmp_path: Path) -> None:
    folder_of_photographs(tmp_path, 1, 50, 47)
    lr, hr = read_pair(find_pairs(tmp_path, None, 3)[0], 3, 3)
    assert lr.shape == (16, 15, 3) and hr.shape == (48, 45, 3)
    assert np.array_equal(lr, imresize(photograph(50, 47)[:48, :45], scale=1 / 3))


def test_channels_are_converted() -> None:
    rgb = photograph(4, 5)
    assert as_channels(rgb, 3) is rgb
    assert np.array_equal(as_channels(rgb[..., :1], 3), rgb[..., :1].repeat(3, -1))
    expected = np.asarray(Image.fromarray(rgb).convert("L"), int)
    assert np.abs(as_channels(rgb, 1)[..., 0].astype(int) - expected).max() <= 1
    assert as_channels(photograph(4, 5, channels=4), 3).shape == (4, 5, 3)
    with pytest.raises(ValueError, match="3 channels, the model takes 5"):
        as_channels(rgb, 5)


def test_pictures_are_decoded_once_and_too_small_ones_named(tmp_path: Path) -> None:
    folder_of_photographs(tmp_path / "hr", 2, 40, 48)
    files = find_pairs(tmp_path / "hr", None, 2)
    pairs = PicturePairs(files, 2, 3, tmp_path / "cache")
    assert len(pairs) == 2 and pairs[1][1].shape == (40, 48, 3)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    PicturePairs(files, 2, 3, tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written
    with pytest.raises(
        RequestError, match=r"2 inputs do not fit:\n.*0\.png: 48x40 is smaller than the patch of 64"
    ):
        PicturePairs(files, 2, 3, tmp_path / "cache", smallest=64)


def test_all_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    folder = folder_of_photographs(tmp_path / "hr", 4, 40, 48)
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "2.png").write_text("no picture")
    Image.fromarray(photograph(40, 20)).save(folder / "3.png")
    with pytest.raises(RequestError) as caught:
        PicturePairs(find_pairs(folder, None, 2), 2, 3, tmp_path / "cache", smallest=32)
    head, *lines = str(caught.value).splitlines()
    assert head == "3 inputs do not fit:" and len(lines) == 3
    assert all(f"{index}.png: " in line for index, line in zip((1, 2, 3), lines, strict=True))
    complaints = Complaints()
    for index in range(30):
        with complaints.collect():
            raise RequestError(f"{index}: wrong")
    with pytest.raises(
        RequestError, match=r"^30 inputs do not fit:\n0: wrong\n(.|\n)*19: wrong\nand 10 more$"
    ):
        complaints.settle()


def test_tf_data_gives_the_same_batches_in_order() -> None:
    pytest.importorskip("tensorflow")
    from isr.data.tfdata import dataset

    recipe = PatchRecipe(patch_size=24, batch_size=4)
    one, other = (PatchBatches(pairs_of(2, scale, 60, 84), scale, recipe) for scale in (2, 3))
    for batches in (one, MultiScaleBatches([one, other])):
        for step, (lr, hr) in zip(range(3, 12), dataset(batches, 3, 12), strict=True):
            assert np.array_equal(lr, batches[step].lr) and np.array_equal(hr, batches[step].hr)
        # With tuning, the end of an iterator waits for a thread that sleeps for up to as long as the iterator has run.
        assert dataset(batches, 3, 12).options().autotune.enabled is False
