"""Scenes: photographs set in motion, kept as clips, and their exact motion."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pictures import photograph

from isr.data.clips import WindowRecipe
from isr.data.enlarged import enlarge_clips
from isr.data.motion import Camera, MotionBatches
from isr.data.scenes import FlowBatches, film_scenes, scene_recipe
from isr.imresize import imresize

SCALE = 4


def source(camera: Camera, seed: int = 0) -> MotionBatches:
    """Scenes of 64x64 pixels and 5 frames over one photograph."""
    hr = photograph(300, 300, seed=3)[None]
    lr = np.stack([imresize(frame, scale=1 / SCALE) for frame in hr])
    photo = SimpleNamespace(
        name="p", num_frames=1, height=75, width=75, num_channels=3, lr=lr, hr=hr, stem=Path("p")
    )
    recipe = scene_recipe(
        WindowRecipe(patch_size=32, num_frames=3, center_frame=1, seed=seed, candidates=1), 2
    )
    return MotionBatches([photo], SCALE, recipe, camera=camera)  # type: ignore[list-item]


def flows(camera: Camera, cache: Path, count: int = 4, pieces: int = 0) -> FlowBatches:
    """Pairs of HR frames, in place of those that a network makes."""
    scenes = film_scenes(source(camera), count, cache)
    enlarged = enlarge_clips(scenes, lambda lr: lr.repeat(SCALE, 0).repeat(SCALE, 1), "key", cache)
    for clip in enlarged:
        clip.enlarged.write_bytes((clip.hr.astype(np.uint16) * 257).tobytes())
    return FlowBatches(scenes, enlarged, WindowRecipe(patch_size=48, batch_size=6), pieces=pieces)


def test_scenes_are_filmed_once_and_are_functions_of_seed_and_number(tmp_path: Path) -> None:
    camera = Camera(foreground=1)
    first, second = film_scenes(source(camera), 2, tmp_path)
    assert first.lr.shape == (5, 16, 16, 3) and first.hr.shape == (5, 64, 64, 3)
    assert not np.array_equal(first.hr, second.hr)
    before = Path(f"{first.stem}-hr").stat().st_mtime_ns
    (again,) = film_scenes(source(camera), 1, tmp_path)
    assert again == first and Path(f"{again.stem}-hr").stat().st_mtime_ns == before
    (elsewhere,) = film_scenes(source(camera), 1, tmp_path / "other")
    np.testing.assert_array_equal(elsewhere.hr, first.hr)
    (other,) = film_scenes(source(camera, seed=1), 1, tmp_path)
    assert not np.array_equal(other.hr, first.hr)
    # What a scene is cut from has a margin, so that its LR knows what lies beyond the edge; inside all is the same.
    reduced = imresize(first.hr[2], scale=1 / SCALE).astype(int)
    np.testing.assert_allclose(first.lr[2, 3:-3, 3:-3], reduced[3:-3, 3:-3], atol=1)


@pytest.mark.parametrize("pieces", [0, 4])
def test_the_exact_flow_leads_to_the_same_colours_where_they_are_visible(tmp_path: Path, pieces: int) -> None:
    """Over photographs that pan, zoom and turn, with something else and pieces of others moving across them."""
    batches = flows(Camera(pan=16, foreground=1), tmp_path, pieces=pieces)
    followed_error, unmoved_error, hidden = [], [], []
    for step in range(4):
        batch = batches[step]
        assert batch.lr.shape == (6, 2, 48, 48, 3) and batch.hr.shape == (6, 12, 12, 3)
        for (first, second), target in zip(batch.lr, batch.hr, strict=True):
            # The middle of a pixel of low resolution lies half way between those of four of high resolution.
            middle = SCALE * np.mgrid[:12, :12] + SCALE / 2 - 0.5
            places = middle + SCALE * np.moveaxis(target[..., :2], -1, 0)
            one, other = (looked_up(frame, at) for frame, at in ((first, middle), (second, places)))
            visible = target[..., 2] > 0
            followed_error += [*np.abs(other - one)[visible].mean(-1)]
            unmoved_error += [*np.abs(looked_up(second, middle) - one)[visible].mean(-1)]
            hidden.append(1 - visible.mean())
    assert np.mean(followed_error) < 0.25 * np.mean(unmoved_error)
    assert 0.02 < np.mean(hidden) < 0.6


def looked_up(frame: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Bilinear interpolation at rows and columns `[2, h, w]`."""
    whole = np.clip(np.floor(places).astype(int), 0, len(frame) - 2)
    down, right = (places - whole)[..., None]
    square = [[frame[whole[0] + i, whole[1] + j] for j in (0, 1)] for i in (0, 1)]
    rows = [a + right * (b - a) for a, b in square]
    return rows[0] + down * (rows[1] - rows[0])


def test_pairs_are_a_function_of_seed_and_step_alone(tmp_path: Path) -> None:
    late = flows(Camera(), tmp_path)[321]
    other = flows(Camera(), tmp_path)
    other[5]
    assert np.array_equal(late.lr, other[321].lr) and np.array_equal(late.hr, other[321].hr)
    assert not np.array_equal(late.hr, other[322].hr)
    still = flows(Camera(pan=0, zoom=0, turn=0, shake=0, foreground=0), tmp_path)[0].hr
    np.testing.assert_allclose(still, np.broadcast_to([0, 0, 1], still.shape), atol=1e-6)


def test_pairs_of_frames_as_they_are_lie_in_one_window_and_may_be_one_frame(tmp_path: Path) -> None:
    scenes = film_scenes(source(Camera(pan=8, zoom=0, turn=0, shake=0, foreground=0)), 1, tmp_path)
    batches = FlowBatches(scenes, None, WindowRecipe(patch_size=48, batch_size=6, num_frames=3))
    batch = batches[0]
    assert batch.lr.shape == (6, 2, 12, 12, 3) and batch.hr.shape == (6, 12, 12, 3)
    moved = {round(float(np.hypot(*target[5, 5, :2])), 4) for step in range(4) for target in batches[step].hr}
    assert len(moved) == 2 and min(moved) == 0


def test_scenes_that_are_too_small_are_refused(tmp_path: Path) -> None:
    batches = flows(Camera(), tmp_path, count=1)
    with pytest.raises(ValueError, match="no scenes of 96 pixels"):
        FlowBatches(batches.scenes, batches.enlarged, WindowRecipe(patch_size=96))
