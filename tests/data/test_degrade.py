"""Degradations: their steps in closed form, registered to the pixel, the same bytes for the same seed and step."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import folder_of_photographs
from PIL import Image

from isr.cli.app import run
from isr.config import JpegConfig, RealConfig, TrainConfig, load
from isr.data.batches import Batches, EchoedBatches, PatchBatches, PatchRecipe
from isr.data.clips import Clips, WindowBatches, WindowRecipe, find_clips, read_clip
from isr.data.degrade import STRENGTHS, FixedDegradation, degrade, degrade_at_random
from isr.data.degrade.blur import bessel_j1, blur, gaussian_kernel, quick_length, sinc_kernel
from isr.data.degrade.compression import compress, compress_clip
from isr.data.degrade.fixed import SEED
from isr.data.degrade.operations import add_gaussian_noise, add_poisson_noise, resize
from isr.data.motion import MotionBatches
from isr.dihedral import dihedral
from isr.errors import RequestError
from isr.imresize import imresize
from isr.io import pictures
from isr.levels import from_float, to_float

RNG = np.random.default_rng(5)
UINT8 = np.dtype(np.uint8)

# No step of a pass does anything, so low resolution is made by its bicubic resizing alone.
NOTHING: dict[str, Any] = {"blur_share": 0, "noise_share": 0, "compress_share": 0}
KEEP = {"resize": {"keep": 1}, "interpolations": {"bicubic": 1}}
IDENTITIES = [
    JpegConfig.model_validate({"once": NOTHING, "codec_share": 0}),
    RealConfig.model_validate(
        {"first": NOTHING | KEEP, "second": NOTHING | KEEP, "last_sinc_share": 0, "codec_share": 0}
    ),
]


def photo(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape).astype(np.uint8)


# Kernels and blur


@given(
    taps=st.integers(1, 12).map(lambda n: 2 * n + 1),
    sigma=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)),
    angle=st.floats(0, math.pi),
    shape=st.floats(0.5, 4),
    plateau=st.booleans(),
    cutoff=st.floats(0.2, 1),
)
@settings(max_examples=40, deadline=None)
def test_kernels_sum_to_one_and_have_no_direction(
    taps: int, sigma: tuple[float, float], angle: float, shape: float, plateau: bool, cutoff: float
) -> None:
    for kernel in (
        gaussian_kernel(taps, sigma, angle=angle, shape=shape, plateau=plateau),
        sinc_kernel(taps, cutoff),
    ):
        assert kernel.shape == (taps, taps)
        assert kernel.sum() == pytest.approx(1)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


def test_an_anisotropic_kernel_has_the_covariance_of_its_axes() -> None:
    kernel = gaussian_kernel(41, (3, 1.5), angle=0.7)
    offsets = np.arange(41) - 20
    points = np.stack(np.meshgrid(offsets, offsets), -1).reshape(-1, 2)
    axis = np.array([math.cos(0.7), math.sin(0.7)])
    across = np.array([-axis[1], axis[0]])
    expected = 9 * np.outer(axis, axis) + 2.25 * np.outer(across, across)
    np.testing.assert_allclose((points.T * kernel.ravel()) @ points, expected, rtol=1e-3, atol=1e-3)


def test_generalised_and_plateau_kernels_follow_their_formulas() -> None:
    generalised = gaussian_kernel(5, (1, 1), shape=2)
    assert generalised[2, 4] / generalised[2, 2] == pytest.approx(math.exp(-(4**2) / 2))
    plateau = gaussian_kernel(5, (2, 2), shape=1.5, plateau=True)
    assert plateau[2, 4] / plateau[2, 2] == pytest.approx(1 / 2)


def test_the_sinc_kernel_passes_low_and_stops_high_frequencies() -> None:
    # Abramowitz and Stegun, table 9.1.
    np.testing.assert_allclose(
        bessel_j1(np.array([0.0, 1.0, 10.0, 50.0])),
        [0, 0.4400505857449335, 0.04347274616886144, -0.09751182812517514],
        atol=1e-12,
    )
    response = np.abs(np.fft.fft2(sinc_kernel(51, 0.5), (200, 200)))[0]
    # A row of it from 0 to the Nyquist frequency, 100; the kernel ends, so the edge at 50 is not steep.
    assert np.abs(response[:40] - 1).max() < 0.1 and response[60:100].max() < 0.1


def test_blur_is_convolution() -> None:
    kernel = RNG.random((5, 5))
    impulse = np.zeros((2, 9, 11), np.float32)
    impulse[:, 4, 5] = 1
    np.testing.assert_allclose(blur(impulse, kernel)[1, 2:7, 3:8], kernel, atol=1e-6)
    identity = np.zeros((7, 7))
    identity[3, 3] = 1
    planes = RNG.random((3, 13, 10)).astype(np.float32)
    np.testing.assert_allclose(blur(planes, identity), planes, atol=1e-6)
    flat = np.full((1, 6, 5), 0.25, np.float32)
    np.testing.assert_allclose(blur(flat, gaussian_kernel(21, (2, 1))), flat, atol=1e-6)
    assert [quick_length(n) for n in (7, 13, 148, 150)] == [8, 15, 150, 150]


# Resizing, noise, compression


@pytest.mark.parametrize("size", [(7, 9), (30, 25), (24, 40)])
def test_bicubic_resizing_is_that_of_the_benchmarks(size: tuple[int, int]) -> None:
    planes = RNG.random((2, 24, 20)).astype(np.float32)
    expected = imresize(planes.transpose(1, 2, 0).astype(float), size=size).transpose(2, 0, 1)
    np.testing.assert_allclose(resize(planes, size, "bicubic"), expected, atol=1e-5)


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
def test_resizing_shifts_nothing(interpolation: Any) -> None:
    """A ramp shows at the middle of a new pixel what it has there; mirrored pairs of new pixels have its mean."""
    ramp = np.tile(np.arange(24, dtype=np.float32), (24, 1))[None]
    for size in (8, 13, 31):
        resized = resize(ramp, (size, size), interpolation)[0]
        np.testing.assert_allclose((resized + resized[:, ::-1]) / 2, 11.5, atol=1e-4)
    eight = resize(ramp, (8, 8), interpolation)[0, 0]
    np.testing.assert_allclose(eight[2:-2], 3 * np.arange(8)[2:-2] + 1, atol=1e-4)


@pytest.mark.parametrize("gray", [False, True])
def test_noise_has_the_asked_variance(gray: bool) -> None:
    frames = np.full((1, 3, 64, 64), 0.25, np.float32)
    noise = add_gaussian_noise(frames, 10, np.random.default_rng(1), gray=gray) - frames
    assert 255 * noise.std() == pytest.approx(10, rel=0.05) and abs(255 * noise.mean()) < 0.5
    assert np.allclose(noise[:, 0], noise[:, 1], atol=1e-6) == gray
    noise = add_poisson_noise(frames, 2, np.random.default_rng(1), gray=gray) - frames
    assert noise.var() == pytest.approx(2**2 * 0.25 / 256, rel=0.1) and abs(noise.mean()) < 0.005
    assert np.allclose(noise[:, 0], noise[:, 1], atol=1e-6) == gray
    for add in (add_gaussian_noise, add_poisson_noise):
        np.testing.assert_allclose(add(frames, 0, RNG, gray=gray), frames)


@pytest.mark.parametrize("channels", [1, 3])
def test_compression_is_pillows(channels: int) -> None:
    picture = photo(18, 21, channels)
    file = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(file, format="JPEG", quality=40)
    assert np.array_equal(compress(picture, 40), np.atleast_3d(np.asarray(Image.open(file))))
    flat = np.full((16, 16, channels), 77, np.uint8)
    assert np.abs(compress(flat, 80, "WEBP").astype(int) - 77).max() <= 2
    assert np.array_equal(compress(flat, 80, "JPEG"), flat)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_clips_are_compressed_the_more_the_higher_the_rate_factor(codec: Any) -> None:
    smooth = (np.add.outer(4 * np.arange(3), np.add.outer(3 * np.arange(21), np.arange(34))) % 255)[..., None]
    frames = np.repeat(smooth, 3, -1).astype(np.uint8) // 2 + photo(3, 21, 34, 3) // 8
    light, heavy = (compress_clip(frames, crf, codec) for crf in (18, 40))
    assert light.shape == heavy.shape == frames.shape
    assert np.array_equal(light, compress_clip(frames, 18, codec))
    errors = [np.abs(clip.astype(float) - frames).mean() for clip in (light, heavy)]
    assert errors[0] < errors[1] < 20
    assert compress_clip(frames[:1, ..., :1], 25, codec).shape == (1, 21, 34, 1)


def test_a_compressed_clip_is_the_same_every_time_on_a_busy_machine() -> None:
    smooth = np.add.outer(4 * np.arange(3), np.add.outer(3 * np.arange(21), np.arange(34))) % 255
    frames = np.repeat(smooth[..., None], 3, -1).astype(np.uint8) // 2 + photo(3, 21, 34, 3) // 8
    with ThreadPoolExecutor(4) as threads:
        clips = threads.map(lambda _: compress_clip(frames, 18).tobytes(), range(800))
    assert len(set(clips)) == 1


# Degradations drawn at random


@pytest.mark.parametrize("recipe", IDENTITIES)
@pytest.mark.parametrize("shape", [(32, 24, 3), (16, 16, 1), (2, 16, 32, 3)])
def test_identity_parameters_leave_the_bicubic_reduction(recipe: Any, shape: tuple[int, ...]) -> None:
    hr = photo(*shape)
    frames = hr if hr.ndim == 4 else hr[None]
    expected = np.stack([from_float(imresize(to_float(f), scale=1 / 4), UINT8) for f in frames])
    lr = degrade_at_random(hr, RNG, scale=4, recipe=recipe)
    found = lr if lr.ndim == 4 else lr[None]
    # Of a value right between two levels, either may come out.
    assert np.abs(found.astype(int) - expected).max() <= 1 and (found != expected).mean() < 0.02
    # Nor is it far from the rule of the benchmarks, which rounds twice.
    assert np.abs(found.astype(int) - degrade(frames, 4, "bi")).max() <= 1


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_no_degradation_shifts_a_patch(scale: int) -> None:
    """A symmetric patch stays symmetric through every blur and size; a shift would break it."""
    quiet = {
        "noise_share": 0,
        "compress_share": 0,
        "kernels": {"isotropic": 1, "plateau": 1, "generalised": 1},
    }
    recipe = RealConfig.model_validate({"first": quiet, "second": quiet})
    hr = np.zeros((12 * scale, 12 * scale, 1), np.float32)
    hr[5 * scale : 7 * scale, 5 * scale : 7 * scale] = 1
    for seed in range(12):
        lr = degrade_at_random(hr, np.random.default_rng(seed), scale=scale, recipe=recipe).astype(int)
        assert lr.max() > 0
        for mirrored in (lr[::-1], lr[:, ::-1], lr.swapaxes(0, 1)):
            assert np.abs(lr - mirrored).max() <= 1


@pytest.mark.parametrize("recipe", [JpegConfig(), RealConfig()])
def test_frames_of_a_window_share_all_but_the_noise(recipe: JpegConfig | RealConfig) -> None:
    window = np.stack([photo(32, 32, 3)] * 3)
    tree = recipe.model_dump()
    for one in ("once", "first", "second"):
        tree.get(one, {})["noise_share"] = 0
    still = type(recipe).model_validate({**tree, "codec_share": 0})
    lr = degrade_at_random(window, np.random.default_rng(3), scale=4, recipe=still)
    assert np.array_equal(lr[0], lr[1]) and np.array_equal(lr[0], lr[2])
    lr = degrade_at_random(window, np.random.default_rng(3), scale=4, recipe=recipe)
    assert lr.shape == (3, 8, 8, 3) and lr.dtype == np.uint8


@given(
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1, 2, 3, 4]),
    sides=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    channels=st.sampled_from([1, 3]),
    recipe=st.sampled_from([JpegConfig(), RealConfig()]),
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_drawn_low_resolution_has_its_size(
    seed: int, scale: int, sides: tuple[int, int], channels: int, recipe: JpegConfig | RealConfig
) -> None:
    hr = photo(sides[0] * scale, sides[1] * scale, channels)
    draw = partial(degrade_at_random, hr, scale=scale, recipe=recipe)
    lr = draw(np.random.default_rng(seed))
    assert lr.shape == (*sides, channels) and lr.dtype == np.uint8
    assert np.array_equal(lr, draw(np.random.default_rng(seed)))


# Batches


class NumberedBatches(Batches):
    """Patches whose value is the number of their draw: eight to a step."""

    asked: list[int]

    def __init__(self, recipe: PatchRecipe, scale: int) -> None:
        super().__init__(recipe, scale)
        self.asked = []

    def drawn(self, step: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        self.asked.append(step)
        return [
            (np.full((2, 2, 1), 8.0 * step + i, np.float32), np.full((4, 4, 1), 8.0 * step + i, np.float32))
            for i in range(count)
        ]


@pytest.fixture
def batches() -> PatchBatches:
    hr = photo(48, 64, 3)
    recipe = PatchRecipe(patch_size=32, batch_size=3, seed=7)
    return PatchBatches(
        [(imresize(hr, scale=1 / 4), hr)],
        4,
        recipe,
        degrade=partial(degrade_at_random, scale=4, recipe=RealConfig()),
    )


@pytest.mark.parametrize("echoes", [1, 3])
def test_batches_are_the_same_on_both_backends_and_after_a_resume(batches: PatchBatches, echoes: int) -> None:
    from isr.data.tfdata import dataset
    from isr.train.feed import KerasBatches

    expected = [EchoedBatches(batches, echoes)[step] for step in range(4)]
    assert not np.array_equal(expected[0].lr, expected[1].lr)
    for lr, batch in zip(dataset(EchoedBatches(batches, echoes), 2, 4), expected[2:], strict=True):
        assert np.array_equal(lr[0], batch.lr) and np.array_equal(lr[1], batch.hr)
    resumed = KerasBatches(EchoedBatches(batches, echoes), 2, 4)
    for index, batch in enumerate(expected[2:]):
        lr, hr = resumed[index]
        assert np.array_equal(lr, batch.lr) and np.array_equal(hr, batch.hr)


@pytest.mark.parametrize("echoes", [1, 2, 4, 8])
def test_a_patch_serves_in_as_many_steps_as_it_has_echoes(echoes: int) -> None:
    """Step s takes what was drawn `ages[-1] - age` after it; a patch of one colour tells where it comes from."""
    source = NumberedBatches(PatchRecipe(patch_size=4, batch_size=8), 2)
    batches = EchoedBatches(source, echoes)
    served: dict[int, list[int]] = {}
    met: dict[tuple[int, int], int] = {}
    for step in range(600):
        numbers = [int(value) for value in batches[step].hr[:, 0, 0, 0]]
        assert len(set(numbers)) == 8
        groups = sorted({number // 8 for number in numbers})
        assert len(groups) == echoes
        for number in numbers:
            served.setdefault(number, []).append(step)
        for pair in combinations(groups, 2):
            met[pair] = met.get(pair, 0) + 1
    # What was drawn in the middle has served fully; the first and last groups serve beyond the steps looked at.
    whole = [steps for number, steps in served.items() if 300 <= number // 8 < 310]
    assert len(whole) == 10 * 8 // echoes
    marks = [0, 1, 4, 9, 15, 22, 32, 34][:echoes]
    assert all(np.array_equal(np.subtract(steps, steps[0]), np.multiply(marks, 8)) for steps in whole)
    assert all(times == 1 for times in met.values())
    # Nothing is drawn twice.
    assert len(source.asked) == len(set(source.asked)) == len(served) * echoes // 8


def test_echoes_are_the_views_of_one_degraded_patch(batches: PatchBatches) -> None:
    eight = PatchBatches(batches.pairs, 4, replace(batches.recipe, batch_size=8), degrade=batches.degrade)
    echoed = EchoedBatches(eight, 8)
    first = 34 * 8
    drawn = eight[first]
    for echo, mark in enumerate((0, 1, 4, 9, 15, 22, 32, 34)):
        batch = echoed[mark * 8]
        assert np.array_equal(batch.lr[echo], dihedral(drawn.lr[0], echo))
        assert np.array_equal(batch.hr[echo], dihedral(drawn.hr[0], echo))
    plain = EchoedBatches(PatchBatches(eight.pairs, 4, replace(eight.recipe, augment=False)), 2)
    assert np.array_equal(plain[0].hr[4:], plain.source[0].hr[:4])


def test_without_echoes_batches_are_those_of_the_source(batches: PatchBatches) -> None:
    assert np.array_equal(EchoedBatches(batches, 1)[3].lr, batches[3].lr)
    with pytest.raises(ValueError, match="divide the batch size"):
        EchoedBatches(batches, 2)


def test_degrading_moves_no_place(batches: PatchBatches) -> None:
    plain = PatchBatches(batches.pairs, 4, batches.recipe)
    assert np.array_equal(plain[5].hr, batches[5].hr)
    assert not np.array_equal(plain[5].lr, batches[5].lr)


def test_windows_of_clips_and_of_photographs_in_motion_are_degraded_whole(tmp_path: Path) -> None:
    files = find_clips(folder_of_photographs(tmp_path / "clip", 3, 40, 40))
    clips = Clips(files, 2, 3, tmp_path / "cache")
    recipe = WindowRecipe(patch_size=16, batch_size=2, num_frames=3, center_frame=1, seed=4)
    seen: list[np.ndarray] = []

    def first_pixels(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append(frames)
        return frames[:, ::2, ::2]

    plain = WindowBatches(clips, 2, recipe)[1]
    batch = WindowBatches(clips, 2, recipe, degrade=first_pixels)[1]
    assert np.array_equal(batch.hr, plain.hr) and batch.lr.shape == plain.lr.shape == (2, 3, 8, 8, 3)
    for frames, lr, hr in zip(seen, batch.lr, batch.hr, strict=True):
        assert frames.shape == (3, 16, 16, 3)
        assert np.array_equal(to_float(frames[1]), hr) and np.array_equal(to_float(frames[:, ::2, ::2]), lr)

    photos = Clips(find_clips(folder_of_photographs(tmp_path / "photo", 1, 90, 90)), 2, 3, tmp_path / "cache")
    plain = MotionBatches(photos, 2, recipe)[1]
    batch = MotionBatches(photos, 2, recipe, degrade=first_pixels)[1]
    assert np.array_equal(batch.hr, plain.hr) and batch.lr.shape == plain.lr.shape
    assert np.array_equal(batch.lr[:, 1], batch.hr[:, ::2, ::2])


def test_frames_of_clips_are_degraded_by_their_number(tmp_path: Path) -> None:
    (clip,) = find_clips(folder_of_photographs(tmp_path, 2, 24, 32))
    damage = FixedDegradation("real", 3)
    for number, (lr, hr) in enumerate(read_clip(clip, 2, 3, damage)):
        assert np.array_equal(lr, damage(hr, 2, number))


# Fixed strengths


def test_the_strengths_are_those_of_the_table() -> None:
    table = {key: (value.blur, value.noise, value.quality) for key, value in STRENGTHS.items()}
    assert table == {1: (0.6, 2, 75), 2: (1.2, 5, 50), 3: (1.8, 10, 30)}


def test_jpeg_alone_is_pillows_of_the_bicubic_reduction() -> None:
    hr = photo(24, 40, 3)
    file = io.BytesIO()
    Image.fromarray(imresize(hr, scale=1 / 2)).save(file, format="JPEG", quality=50)
    assert np.array_equal(FixedDegradation("jpeg", 2)(hr, 2), np.asarray(Image.open(file)))


def test_blur_alone_is_a_gaussian_of_the_asked_width_and_shifts_nothing() -> None:
    """Its variance adds to that of the reduction, about the middle of the patch."""

    def variance(lr: np.ndarray) -> float:
        profile = lr[..., 0].astype(float).sum(0)
        places = np.arange(len(profile)) - (len(profile) - 1) / 2
        assert abs((profile * places).sum() / profile.sum()) < 0.01
        return float((profile * places**2).sum() / profile.sum())

    hr = np.zeros((64, 64, 1), np.float32)
    hr[28:36, 28:36] = 0.9
    plain = variance(from_float(imresize(hr, scale=1 / 2), UINT8))
    for strength, sigma in ((1, 0.6), (2, 1.2), (3, 1.8)):
        blurred = variance(FixedDegradation("blur", strength)(hr, 2))
        assert blurred - plain == pytest.approx((sigma / 2) ** 2, abs=0.06)


def test_noise_alone_is_as_strong_as_asked_and_its_own_in_every_frame() -> None:
    hr = np.full((64, 64, 3), 128, np.uint8)
    for strength, sigma in ((1, 2), (2, 5), (3, 10)):
        noise = FixedDegradation("noise", strength)(hr, 2).astype(float) - 128
        assert noise.std() == pytest.approx(sigma, rel=0.1)
    noisy = degrade(np.stack([hr, hr]), 2, FixedDegradation("noise", 2))
    assert not np.array_equal(noisy[0], noisy[1])
    assert np.array_equal(degrade(hr[None], 2, FixedDegradation("noise", 2), first=1)[0], noisy[1])


def test_real_is_all_three_in_their_order() -> None:
    hr = photo(24, 24, 3)
    sigma = 1.8 * 4 / 2
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    soft = np.pad(hr / 255, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    for axis in (0, 1):
        soft = np.apply_along_axis(np.convolve, axis, soft, weights / weights.sum(), mode="valid")
    small = imresize(soft, scale=1 / 4)
    # The noise is that of a flat gray, where nothing clips it.
    flat = np.full((24, 24, 3), 0.5, np.float32)
    noise = 10 / 255 * np.random.default_rng((SEED, 3, 0)).standard_normal((1, 3, 6, 6), dtype=np.float32)[0]
    noisy = from_float(flat[:6, :6] + noise.transpose(1, 2, 0), UINT8)
    assert np.array_equal(FixedDegradation("noise", 3)(flat, 4), noisy)
    expected = compress(from_float(small + noise.transpose(1, 2, 0), UINT8), 30)
    found = FixedDegradation("real", 3)(hr, 4)
    assert np.abs(found.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(("damage", "strength"), [("blurry", 1), ("real", 0), ("real", 4)])
def test_other_degradations_are_refused(damage: Any, strength: int) -> None:
    with pytest.raises(RequestError, match=r"must be (blur, noise, jpeg, real|1, 2 or 3)"):
        FixedDegradation(damage, strength)


# What a run reads


def sources(tmp_path: Path, *changes: str) -> Any:
    from isr.models import EDSR
    from isr.progress import Silent
    from isr.train.sources import Sources

    folder = folder_of_photographs(tmp_path / "photos", 1, 40, 48)
    fixed = [f"data.train_hr={folder}", f"data.val_hr={folder}", "data.patch_size=16", "data.batch_size=2"]
    model = EDSR(2, num_features=4, num_blocks=0)
    return Sources(load(None, [*fixed, *changes]), model, tmp_path / "cache", Silent())


@pytest.mark.parametrize("name", ["jpeg", "real"])
def test_a_run_degrades_its_patches_and_is_judged_at_a_fixed_strength(name: str, tmp_path: Path) -> None:
    read = sources(tmp_path, f"data.degradation={name}", "data.val_strength=3")
    batch, plain = read.batches()[2], sources(tmp_path).batches()[2]
    assert batch.lr.shape == plain.lr.shape == (2, 8, 8, 3)
    assert np.array_equal(batch.hr, plain.hr) and not np.array_equal(batch.lr, plain.lr)
    assert read.validation_damage == FixedDegradation(name, 3)  # type: ignore[arg-type]
    assert sources(tmp_path, f"data.degradation={name}", "data.val_strength=0").validation_damage is None
    assert sources(tmp_path).validation_damage is None
    with pytest.raises(RequestError, match=rf"data.degradation: {name} makes .* leave out data.train_lr"):
        sources(tmp_path, f"data.degradation={name}", f"data.train_lr={tmp_path / 'photos'}").batches()


def test_echoes_are_for_what_is_drawn_anew_and_divide_the_batch(tmp_path: Path) -> None:
    read = sources(tmp_path, "data.degradation=real", "data.echoes=2")
    once = sources(tmp_path, "data.degradation=real").batches()
    assert np.array_equal(read.batches()[0].hr[1], dihedral(once[0].hr[0], 1))
    for setting, said in (
        (["data.degradation=real", "data.echoes=3"], "data.echoes: 3 does not divide data.batch_size 2"),
        (["data.echoes=2"], "data.echoes: over 1 is for data.degradation jpeg and real"),
    ):
        with pytest.raises(RequestError, match=said):
            sources(tmp_path, *setting).batches()


def test_a_key_out_of_its_range_is_named() -> None:
    for setting, said in (
        ("data.real.first.quality=[90, 30]", "the first must be at most the second"),
        ("data.real.second.kernel_taps=[8, 20]", "both must be odd"),
        ("data.real.first.resize={sideways: 1}", "input should be 'up', 'down' or 'keep'"),
        ("data.jpeg.once.kernels={isotropic: 0}", "one must be over 0"),
        ("data.jpeg.twice={}", "unknown key"),
        ("data.echoes=9", "less than or equal to 8"),
    ):
        with pytest.raises(RequestError, match=said):
            load(None, [setting])
    assert TrainConfig().data.real.second.sigma == [0.2, 1.5]


# The command


def test_the_command_writes_what_evaluation_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = photo(26, 33, 3)
    path = tmp_path / "sharp.png"
    pictures.write(path, pictures.Picture(pixels))
    assert run(["degrade", str(path), "--strength", "3", "--scale", "2", "--quiet"]) == 0
    said = capsys.readouterr()
    written = tmp_path / "sharp_real-3_x2.png"
    assert said.out.strip() == str(written) and not said.err
    assert np.array_equal(pictures.read(written).pixels, FixedDegradation("real", 3)(pixels[:26, :32], 2))

    assert run(["degrade", str(path), "--strength", "3", "--scale", "2"]) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert run(["degrade", str(path), "--output", str(path), "--overwrite"]) == 2
    assert "is PHOTO itself" in capsys.readouterr().err
    assert np.array_equal(pictures.read(path).pixels, pixels)
    for arguments, message in (
        (["--strength", "4"], "--strength 4: must be 1, 2 or 3"),
        (["--degradation", "rain"], "--degradation rain: must be"),
        (["--scale", "30"], "too few for --scale 30"),
    ):
        assert run(["degrade", str(path), *arguments]) == 2
        assert message in capsys.readouterr().err
