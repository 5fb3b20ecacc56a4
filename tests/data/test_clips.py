"""Clips: how they are found, decoded and degraded, and how windows and synthetic motion are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image

from isr.data.batches import MixedBatches
from isr.data.clips import (
    ClipFiles,
    Clips,
    WindowBatches,
    WindowRecipe,
    clip_weights,
    find_clips,
    reversed_axes,
)
from isr.data.degrade import blur_and_subsample, degrade, reflect
from isr.data.motion import (
    SHRINK,
    Camera,
    MotionBatches,
    Source,
    Track,
    View,
    blob,
    cut,
    followed,
    look,
    lowpass,
)
from isr.dihedral import NUM_VIEWS, dihedral
from isr.errors import RequestError
from isr.imresize import imresize


@dataclass(frozen=True)
class Array:
    """A clip that lies in memory."""

    name: str
    lr: np.ndarray
    hr: np.ndarray
    scale: int

    @property
    def num_frames(self) -> int:
        return self.lr.shape[0]

    @property
    def height(self) -> int:
        return self.lr.shape[1]

    @property
    def width(self) -> int:
        return self.lr.shape[2]

    @property
    def num_channels(self) -> int:
        return self.lr.shape[3]


def array_clip(name: str, hr: np.ndarray, scale: int, kind: str = "bi") -> Array:
    return Array(name, degrade(hr, scale, kind), hr, scale)  # type: ignore[arg-type]


def write_frames(folder: Path, names: Sequence[str], height: int = 24, width: int = 32) -> list[np.ndarray]:
    folder.mkdir(parents=True)
    frames = [photograph(height, width, seed) for seed in range(len(names))]
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / name)
    return frames


# Degradation


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_blur_takes_from_a_wave_what_a_gaussian_takes(scale: int) -> None:
    # A Gaussian of sigma s leaves exp(-(s w)^2 / 2) of a wave of w radians per pixel; LR pixel i lies on pixel
    # i * scale of HR.
    frequency, sigma = 0.8 / scale, 0.4 * scale
    y, x = np.mgrid[: 24 * scale, : 30 * scale].astype(np.float64)
    wave = 0.5 + 0.3 * np.cos(frequency * x + 1)[..., None] * np.cos(0.5 * frequency * y)[..., None]
    lr = blur_and_subsample(wave, scale)
    left = np.exp(-((sigma * frequency) ** 2) / 2) * np.exp(-((sigma * 0.5 * frequency) ** 2) / 2)
    expected = 0.5 + left * (wave[::scale, ::scale] - 0.5)
    inner = slice(4, -4)
    assert np.abs(lr - expected)[inner, inner].max() < 3e-4  # the kernel ends at four sigmas
    assert np.abs(expected - wave[::scale, ::scale])[inner, inner].max() > 0.01


def test_blur_is_that_of_scipy_with_13_taps() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = np.random.default_rng(0).random((33, 41, 3))
    expected = ndimage.gaussian_filter(image, 1.6, mode="mirror", truncate=4.0, axes=(0, 1))[::4, ::4]
    np.testing.assert_allclose(blur_and_subsample(image, 4), expected, atol=1e-12)
    impulse = np.zeros((40, 40, 1))
    impulse[20, 20] = 1
    assert np.count_nonzero(blur_and_subsample(impulse, 4)) == 9  # pixels 16, 20, 24: 13 taps reach 6 pixels


def test_blurred_integers_are_rounded_once() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)
    expected = np.floor(blur_and_subsample(image.astype(np.float64), 4) + 0.5)
    result = blur_and_subsample(image, 4)
    assert result.dtype == np.uint8 and np.abs(result - expected).max() <= 1
    assert np.mean(result == expected) > 0.99  # float32 may move a tie


@pytest.mark.parametrize("kind", ["bi", "bd"])
def test_frames_are_degraded_one_by_one(kind: str) -> None:
    frames = np.stack([photograph(24, 36, seed) for seed in range(3)])
    lr = degrade(frames, 4, kind)  # type: ignore[arg-type]
    for small, frame in zip(lr, frames, strict=True):
        one = imresize(frame, scale=0.25) if kind == "bi" else blur_and_subsample(frame, 4)
        assert np.array_equal(small, one)


@given(st.integers(-40, 40), st.integers(1, 9))
def test_reflected_indices_bounce_between_the_ends(index: int, length: int) -> None:
    position, step = 0, 1
    for _ in range(abs(index)):  # the rule is the same to both sides of the first item
        if not 0 <= position + step < length:
            step = -step
        position += step if length > 1 else 0
    assert int(reflect(np.array(index), length)) == position


# Finding and decoding


def test_clips_are_found_in_the_usual_layouts(tmp_path: Path) -> None:
    write_frames(tmp_path / "reds" / "000", ["00000000.png", "00000001.png"])
    write_frames(tmp_path / "vid4" / "calendar", ["Frame 001.png", "Frame 002.png"])
    write_frames(tmp_path / "odd", ["im1.png", "im10.png", "im2.png"])
    (tmp_path / "drive.mp4").touch()
    clips = find_clips(tmp_path)
    assert [clip.name for clip in clips] == ["drive", "odd", "reds/000", "vid4/calendar"]
    assert [path.name for path in clips[1].hr] == ["im1.png", "im2.png", "im10.png"]
    assert clips[0].hr == (tmp_path / "drive.mp4",)
    assert [clip.name for clip in find_clips(tmp_path / "odd")] == ["odd"]


def test_vimeo_lists_name_the_clips(tmp_path: Path) -> None:
    for name in ("00001/0001", "00001/0002", "00002/0001"):
        write_frames(tmp_path / "sequences" / name, [f"im{i}.png" for i in range(1, 8)])
    (tmp_path / "sep_trainlist.txt").write_text("00001/0002\n00002/0001\n\n")
    clips = find_clips(tmp_path / "sep_trainlist.txt")
    assert [clip.name for clip in clips] == ["00001/0002", "00002/0001"]
    assert all(len(clip.hr) == 7 for clip in clips)
    (tmp_path / "all.txt").write_text("00001\n")
    with pytest.raises(RequestError, match=r"00001: holds 2 clips; .*all\.txt must name one a line"):
        find_clips(tmp_path / "all.txt")
    with (tmp_path / "sep_trainlist.txt").open("a") as file:
        file.write("00003/0001\n")
    with pytest.raises(RequestError, match=r"00003/0001: no such folder"):
        find_clips(tmp_path / "sep_trainlist.txt")


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "a", ["1.png"])
    (tmp_path / "a.mp4").touch()
    with pytest.raises(RequestError, match=r"a\.mp4: there is another clip of the name a"):
        find_clips(tmp_path)


def test_clips_without_frames_or_partner_are_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="none: no such folder of clips"):
        find_clips(tmp_path / "none")
    with pytest.raises(RequestError, match="no clips in this folder"):
        find_clips(tmp_path)
    write_frames(tmp_path / "hr" / "a", ["1.png"])
    write_frames(tmp_path / "lr" / "b", ["1.png"])
    with pytest.raises(RequestError, match=r"lr: no low-resolution partner for 1 clips .*: a$"):
        find_clips(tmp_path / "hr", tmp_path / "lr")


@pytest.mark.parametrize("kind", ["bi", "bd"])
def test_frames_are_decoded_once_cut_and_degraded(tmp_path: Path, kind: str) -> None:
    frames = write_frames(tmp_path / "clips" / "a", ["1.png", "2.png", "3.png"], 26, 33)
    files = find_clips(tmp_path / "clips")
    (clip,) = Clips(files, 4, 3, tmp_path / "cache", degradation=kind)  # type: ignore[arg-type]
    hr = np.stack(frames)[:, :24, :32]
    assert np.array_equal(clip.hr, hr)
    assert np.array_equal(clip.lr, degrade(hr, 4, kind))  # type: ignore[arg-type]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    (again,) = Clips(files, 4, 3, tmp_path / "cache", degradation=kind)  # type: ignore[arg-type]
    assert again == clip
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written
    with pytest.raises(RequestError, match=r"1\.png: 32x24 is smaller than the patch of 64"):
        Clips(files, 4, 3, tmp_path / "cache", smallest=64)


def test_video_files_are_clips(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = [photograph(48, 64, seed) for seed in range(3)]
    with av.open(tmp_path / "clip.mkv", "w") as container:
        stream = container.add_stream("ffv1", rate=25, options={"strict": "experimental"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"  # lossless
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    (clip,) = Clips(find_clips(tmp_path), 2, 3, tmp_path / "cache")
    assert clip.name == "clip" and np.array_equal(clip.hr, np.stack(frames))
    assert np.array_equal(clip.lr[1], imresize(frames[1], scale=0.5))


def test_given_partners_must_fit(tmp_path: Path) -> None:
    write_frames(tmp_path / "hr" / "a", ["1.png", "2.png"], 24, 32)
    given = write_frames(tmp_path / "lr" / "a", ["1.png", "2.png"], 12, 16)
    (clip,) = Clips(find_clips(tmp_path / "hr", tmp_path / "lr"), 2, 3, tmp_path / "cache")
    assert np.array_equal(clip.lr, np.stack(given))
    write_frames(tmp_path / "few" / "a", ["1.png"], 12, 16)
    with pytest.raises(RequestError, match=r"1\.png: fewer frames than .*hr"):
        Clips(find_clips(tmp_path / "hr", tmp_path / "few"), 2, 3, tmp_path / "cache")
    write_frames(tmp_path / "many" / "a", ["1.png", "2.png", "3.png"], 12, 16)
    with pytest.raises(RequestError, match=r"1\.png: more frames than .*hr"):
        Clips(find_clips(tmp_path / "hr", tmp_path / "many"), 2, 3, tmp_path / "cache2")
    with pytest.raises(RequestError, match=r"1\.png: 16x12 is not 1/4 of"):
        Clips(find_clips(tmp_path / "hr", tmp_path / "lr"), 4, 3, tmp_path / "cache")
    assert not list((tmp_path / "cache2").glob("*"))  # nothing half-written


def test_frames_of_two_sizes_are_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "a", ["1.png"], 24, 32)
    Image.fromarray(photograph(24, 30)).save(tmp_path / "a" / "2.png")
    with pytest.raises(RequestError, match=r"2\.png: 30x24, unlike the frames before it"):
        Clips(find_clips(tmp_path), 2, 3, tmp_path / "cache")


# Windows


def coded(frames: int, height: int, width: int, scale: int, name: str = "a") -> Array:
    """Every pixel holds its frame, row and column of LR, in LR and in HR."""
    t, y, x = np.mgrid[:frames, :height, :width]
    lr = np.stack([t, y, x], -1).astype(np.uint8)
    return Array(name, lr, lr.repeat(scale, 1).repeat(scale, 2), scale)


def flat(name: str, value: int) -> Array:
    """A clip of one grey."""
    return Array(name, np.full((4, 8, 8, 1), value, np.uint8), np.full((4, 16, 16, 1), value, np.uint8), 2)


def test_windows_show_one_place_at_consecutive_times() -> None:
    clip, scale = coded(9, 20, 24, 2), 2
    recipe = WindowRecipe(
        patch_size=16, batch_size=64, num_frames=5, center_frame=2, frame_intervals=(1, 2), candidates=1
    )
    batches = WindowBatches([clip], scale, recipe)
    batch = batches[0]
    assert batch.lr.shape == (64, 5, 8, 8, 3) and batch.hr.shape == (64, 16, 16, 3)
    lr, hr = np.round(batch.lr * 255).astype(int), np.round(batch.hr * 255).astype(int)
    assert np.array_equal(lr[:, 2].repeat(scale, 1).repeat(scale, 2), hr)
    assert np.all(lr[..., 1:] == lr[:, 2:3, ..., 1:])  # the same place, crop and view in all frames
    times = lr[:, :, 0, 0, 0]
    assert np.all(lr[..., 0] == times[:, :, None, None])
    motions = set()
    for window in times:
        fits = [
            step
            for step in (-2, -1, 1, 2)
            if np.array_equal(window, reflect(window[2] + step * np.arange(-2, 3), 9))
        ]
        assert fits, window
        motions |= set(fits) if len(fits) == 1 else set()
    assert motions == {-2, -1, 1, 2}  # both intervals, forwards and backwards
    assert set(times[:, 2]) == set(range(9))  # all frames, also those at the ends


def test_windows_keep_the_direction_of_time_where_asked() -> None:
    recipe = WindowRecipe(patch_size=8, batch_size=32, num_frames=3, center_frame=0, reverse=False)
    batch = WindowBatches([coded(30, 8, 8, 1)], 1, recipe)[0]
    times = np.round(batch.lr[:, :, 0, 0, 0] * 255)
    inside = times[:, 0] < 28
    assert inside.any() and np.all(np.diff(times[inside], axis=1) == 1)


def test_windows_are_a_function_of_seed_and_step_alone() -> None:
    clips = [coded(5, 16, 16, 2), coded(7, 12, 20, 2, "b")]
    recipe = WindowRecipe(patch_size=16, batch_size=4, seed=3, frame_intervals=(1, 2))
    one, other = WindowBatches(clips, 2, recipe), WindowBatches(clips, 2, recipe)
    late = one[12345]
    other[1]
    assert np.array_equal(late.lr, other[12345].lr) and np.array_equal(late.hr, other[12345].hr)
    assert not np.array_equal(late.lr, one[12346].lr)


def test_weights_say_how_often_a_clip_is_drawn() -> None:
    clips = [flat(name, value) for name, value in (("park_trees", 10), ("street", 20), ("parking", 30))]
    assert clip_weights(clips, {"park_*": 0.25, "*": 2.0}) == [0.25, 2.0, 2.0]
    recipe = WindowRecipe(patch_size=8, batch_size=500, candidates=1)
    batch = WindowBatches(clips, 2, recipe, weights={"park_trees": 0.25, "parking": 0})[0]
    values, counts = np.unique(np.round(batch.hr[:, 0, 0, 0] * 255), return_counts=True)
    assert list(values) == [10, 20]
    assert 60 < counts[0] < 145  # a fifth of 500, within five standard deviations
    with pytest.raises(RequestError, match=r"data.clip_weights: no clip's name matches 'parks'"):
        WindowBatches(clips, 2, recipe, weights={"parks": 1.0})
    with pytest.raises(RequestError, match="no clips to draw"):
        WindowBatches(clips, 2, recipe, weights={"*": 0.0})


@given(st.integers(0, NUM_VIEWS - 1))
def test_views_reverse_the_axes_they_are_said_to(view: int) -> None:
    y, x = np.mgrid[:4, :4]
    turned = dihedral(np.stack([y, x], -1), view)
    for axis, backwards in enumerate(reversed_axes(view)):
        values = turned[..., axis]
        # Where the axis came to lie, its numbers rise, or fall if it was reversed.
        falls = values[0, 0] > values[-1, -1]
        assert falls == backwards


@pytest.mark.parametrize("kind", ["bi", "bd"])
def test_patches_of_lr_are_what_their_hr_gives_under_every_view(kind: str) -> None:
    # Under BD an LR pixel lies on the corner of its HR pixels; a flip must not move it to another corner.
    rng = np.random.default_rng(0)
    clip = array_clip("a", rng.integers(0, 256, (3, 96, 128, 1)).astype(np.uint8), 4, kind)
    recipe = WindowRecipe(patch_size=48, batch_size=48, num_frames=3, center_frame=1)
    batch = WindowBatches([clip], 4, recipe, degradation=kind)[0]  # type: ignore[arg-type]
    for lr, hr in zip(batch.lr, batch.hr, strict=True):
        expected = degrade(np.round(hr[None] * 255).astype(np.uint8), 4, kind)[0]  # type: ignore[arg-type]
        difference = np.abs(lr[1] * 255 - expected)[3:-3, 3:-3]  # away from the patch's own border
        assert difference.max() < 1.5


# Synthetic motion


def wave(height: int, width: int, frequency: tuple[float, float], at: np.ndarray | None = None) -> np.ndarray:
    """A wave over the plane, in grey levels; at pixel middles, or at points `[..., (x, y)]`."""
    if at is None:
        at = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    return 128 + 100 * np.cos(at @ np.array(frequency))


def test_a_moved_photograph_is_the_photograph_at_the_moved_places() -> None:
    # Against the formula of a wave: place, angle, size and sub-pixel shift of every frame, and no loss of detail.
    side, frequency = 40, (0.35, -0.25)  # radians per photograph pixel; 1.57 is what HR pixels can show
    photo = np.round(wave(200, 240, frequency))[None, ..., None].astype(np.uint8)
    angles, zooms = np.radians([-3.0, 0, 2.5]), np.array([0.96, 1, 1.03])
    turned = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    matrix = SHRINK * zooms[:, None, None] * turned.transpose(2, 0, 1)
    track = Track(matrix, np.array([(-7.3, 4.1), (0, 0), (5.6, 9.9)]))
    view = View(Array("p", photo, photo, 1), np.array([121.4, 97.7]), track)  # type: ignore[arg-type]
    low, high = track.box(side)
    frames = look(cut(view, low - 3, high + 3), track, side)
    middle = np.stack(np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5), -1) - side / 2
    for frame, matrix, shift in zip(frames, track.matrix, track.shift, strict=True):
        phase = ((middle @ matrix.T + shift + view.centre) @ np.array(frequency)).ravel()
        waves = np.stack([np.cos(phase), np.sin(phase), np.ones_like(phase)], -1)
        (c, s, mean), squares, *_ = np.linalg.lstsq(waves, np.asarray(frame, float).ravel())
        assert np.hypot(c, s) == pytest.approx(100, abs=5)  # neither blurred nor much sharpened
        assert abs(np.arctan2(s, c)) / np.hypot(*frequency) < 0.15  # photograph pixels from its place
        assert mean == pytest.approx(128, abs=1)
        assert np.sqrt(squares[0] / phase.size) < 3  # what is no such wave, of 71


def test_lowpass_keeps_what_hr_can_show_and_nothing_else() -> None:
    def left(frequency: float) -> float:
        image = wave(64, 64, (frequency, 0))[..., None].astype(np.uint8)
        return float(np.std(lowpass(image)) / np.std(image[5:-5, 5:-5]))

    assert lowpass(np.full((20, 30, 3), 77, np.uint8)).shape == (10, 20, 3)
    assert np.all(lowpass(np.full((20, 30, 3), 77, np.uint8)) == 77)
    assert left(0.25 * np.pi) > 0.95 and left(0.85 * np.pi) < 0.05


def motion(camera: Camera, seed: int = 0, **changes: object) -> MotionBatches:
    photos = [Array(str(i), *(photograph(300, 340, i)[None],) * 2, 1) for i in range(2)]
    photos = [Array(p.name, degrade(p.hr, 4, "bi"), p.hr, 4) for p in photos]
    recipe = WindowRecipe(**{"patch_size": 64, "batch_size": 3, "seed": seed, **changes})  # type: ignore[arg-type]
    return MotionBatches(photos, 4, recipe, camera=camera)  # type: ignore[arg-type]


def test_motion_is_a_function_of_seed_and_step_alone() -> None:
    one, other = motion(Camera()), motion(Camera())
    late = one[321]
    other[5]
    assert late.lr.shape == (3, 5, 16, 16, 3) and late.hr.shape == (3, 64, 64, 3)
    assert np.array_equal(late.lr, other[321].lr) and np.array_equal(late.hr, other[321].hr)
    assert not np.array_equal(late.hr, one[322].hr)


@pytest.mark.parametrize("kind", ["bi", "bd"])
def test_lr_of_motion_belongs_to_its_hr(kind: str) -> None:
    batches = motion(Camera())
    batches.degradation = kind  # type: ignore[assignment]
    batch = batches[0]
    for lr, hr in zip(batch.lr, batch.hr, strict=True):
        expected = degrade(np.round(hr[None] * 255).astype(np.uint8), 4, kind)[0] / 255  # type: ignore[arg-type]
        assert np.abs(lr[2] - expected)[3:-3, 3:-3].max() < 1.5 / 255


def test_a_camera_that_stands_gives_equal_frames_and_a_moving_one_does_not() -> None:
    still = motion(Camera(pan=0, zoom=0, turn=0, shake=0, foreground=0))[0]
    assert np.all(still.lr == still.lr[:, 2:3])
    for camera in (
        Camera(0, 0.01, 0, 0, 0),
        Camera(0, 0, 1, 0, 0),
        Camera(0, 0, 0, 1, 0),
        Camera(9, 0, 0, 0, 0),
    ):
        lr = motion(camera)[0].lr
        assert all(np.abs(lr[:, t] - lr[:, 2]).max() > 0.01 for t in (0, 1, 3, 4)), camera


def test_a_foreground_moves_over_a_standing_background() -> None:
    behind = motion(Camera(pan=0, zoom=0, turn=0, shake=0, foreground=0), batch_size=1, augment=False)
    front = motion(Camera(pan=0, zoom=0, turn=0, shake=0, foreground=1), batch_size=1, augment=False)
    covered = [np.mean(np.any(front[step].hr != behind[step].hr, axis=-1)) for step in range(8)]
    assert 0.02 < np.mean(covered) < 0.6 and max(covered) > 0.05


@given(st.integers(0, 1000), st.integers(20, 60))
def test_blobs_are_shapes_within_their_square(seed: int, side: int) -> None:
    shape = blob(np.random.default_rng(seed), side)[..., 0]
    assert set(np.unique(shape)) == {0, 255}
    edge = side // 20
    assert not shape[:edge].any() and not shape[:, -edge:].any()
    assert shape[side // 2, side // 2] == 255


def test_a_mask_is_empty_beyond_its_source() -> None:
    mask = Source(Image.new("L", (20, 20), 255), np.array([-10, -10]))
    (frame,) = look(mask, Track(np.eye(2)[None] * SHRINK, np.zeros((1, 2))), 40)
    assert np.asarray(frame)[20, 20] == 255 and np.asarray(frame)[3, 3] == 0


def test_what_is_followed_shows_the_same_point() -> None:
    turn = np.radians(10)
    turned = 1.1 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    track = Track(SHRINK * np.stack([np.eye(2), turned]), np.array([(0.5, -0.25), (7.0, -3.0)]))
    points = np.random.default_rng(0).uniform(-50, 50, (4, 5, 2))
    there = followed(track, points)
    for frame, place in enumerate((points, there)):
        shown = place @ track.matrix[frame].T + track.shift[frame]
        np.testing.assert_allclose(shown, points @ track.matrix[0].T + track.shift[0], atol=1e-9)


def test_windows_lie_on_a_grid() -> None:
    """Every pixel tells its place, so that a window tells where it lies."""
    y, x = np.mgrid[:21, :30]
    pixels = np.stack([y, x, 0 * x], axis=-1).astype(np.uint8)[None]
    clip = Array("a", pixels, pixels, 1)
    recipe = WindowRecipe(
        patch_size=8, batch_size=64, candidates=1, num_frames=1, center_frame=0, augment=False
    )
    batch = WindowBatches([clip], 1, recipe, grid=4)[0]
    corners = np.round(255 * batch.hr[:, 0, 0, :2]).astype(int)
    assert {*corners[:, 0]} == {0, 4, 8, 12} and {*corners[:, 1]} == {0, 4, 8, 12, 16, 20}
    np.testing.assert_array_equal(batch.lr[:, 0], batch.hr)
    with pytest.raises(ValueError, match="grid of 3"):
        WindowBatches([clip], 1, recipe, grid=3)


def test_photographs_that_are_too_small_are_refused() -> None:
    with pytest.raises(RequestError, match=r"data.patch_size 192 needs photographs of at least \d+ pixels"):
        motion(Camera(), patch_size=192)


def test_sources_are_mixed_by_their_share() -> None:
    recipe = WindowRecipe(patch_size=8, batch_size=400, candidates=1)
    dark, light = (WindowBatches([flat("a", value)], 2, recipe) for value in (0, 255))
    share = MixedBatches(dark, light, 0.3)[0].hr[:, 0, 0, 0].mean()
    assert 0.19 < share < 0.41  # five standard deviations


def test_tf_data_gives_the_same_windows() -> None:
    pytest.importorskip("tensorflow")
    from isr.data.tfdata import dataset

    batches = WindowBatches([coded(5, 16, 16, 2)], 2, WindowRecipe(patch_size=16, batch_size=4))
    for step, (lr, hr) in zip(range(3, 6), dataset(batches, 3, 6), strict=True):
        assert np.array_equal(lr, batches[step].lr) and np.array_equal(hr, batches[step].hr)


def test_a_clip_of_one_frame_is_its_own_neighbour(tmp_path: Path) -> None:
    (frame,) = write_frames(tmp_path / "a", ["1.png"])
    clips = Clips([ClipFiles("a", (tmp_path / "a" / "1.png",))], 2, 3, tmp_path / "cache")
    recipe = WindowRecipe(patch_size=24, batch_size=1, augment=False)
    lr = WindowBatches(clips, 2, recipe)[0].lr
    assert np.all(lr == lr[:, :1]) and frame.shape == (24, 32, 3)
