"""`isr.upscale`: arrays of any kind in, the same kind out, at any size."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photograph
from tiny_models import randomise
from upscalers import Blur, Lines, Repeat

import isr
from isr import presets
from isr.errors import Cancelled, ISRError, RequestError
from isr.imresize import imresize
from isr.levels import from_float
from isr.models import EDSR
from isr.predict import source as networks_module
from isr.predict.choice import AUTOMATIC_PRECISION
from isr.predict.picture import enlarge, fill_transparent, reduce
from isr.predict.precision import resolve_precision
from isr.predict.resize import RowResizer, resize
from isr.predict.route import Route, Target, factors
from isr.predict.tiling import TileOptions
from isr.progress import Place, Silent
from isr.runtimes import as_upscaler


def tiny(scale: int = 2, **arguments: Any) -> EDSR:
    return EDSR(scale=scale, num_features=8, num_blocks=1, **arguments)


@pytest.fixture(scope="module")
def random_model() -> EDSR:
    model = tiny(pixel_range=1.0)
    randomise(model)
    return model


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with tiny default presets for x2, x3 and x4."""
    for scale in (2, 3, 4):
        model = tiny(scale)
        model.start_as_interpolation()
        model.save_preset(tmp_path / f"edsr_baseline_x{scale}")
    monkeypatch.setattr(presets, "HERE", tmp_path)
    return tmp_path


# ------------------------------------------------------------------------------------ what goes in comes out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 2), (9, 7, 3), (9, 7, 4)])
def test_dtype_and_rank_stay(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    image = rng.random(shape)
    if dtype.startswith("u"):
        image = np.round(image * np.iinfo(dtype).max)
    image = image.astype(dtype)
    result = isr.upscale(Repeat(), image)
    assert result.dtype == image.dtype
    expected = image.repeat(2, 0).repeat(2, 1)
    if len(shape) == 3 and shape[-1] in (2, 4):  # colours where nothing is seen may change
        visible = expected[..., -1] > 0
        result, expected = result[visible], expected[visible]
    tolerance = 0 if dtype.startswith("u") else 1e-3 if dtype == "float16" else 1e-6
    assert result.shape == expected.shape and result.dtype == expected.dtype
    assert np.abs(result.astype(float) - expected.astype(float)).max() <= tolerance


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_rounded_and_clipped_not_truncated(dtype: Any, top: int) -> None:
    class Brighter(Repeat):
        def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
            return super().__call__(batch, scale=scale) + np.float32(0.6 / top)

    image = np.array([[[0, 7, top]] * 4] * 4, dtype)
    assert np.unique(isr.upscale(Brighter(), image).reshape(-1, 3), axis=0).tolist() == [[1, 8, top]]


def test_floats_are_neither_clipped_nor_rounded() -> None:
    image = np.linspace(-0.5, 2.5, 48, dtype=np.float32).reshape(4, 4, 3)
    assert np.array_equal(isr.upscale(Repeat(), image), image.repeat(2, 0).repeat(2, 1))


def test_all_levels_of_16_bits_survive() -> None:
    image = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    result = isr.upscale(Repeat(), image)
    assert np.array_equal(result, image.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4, 3), np.int32), "type int32"),
        (np.zeros((4, 4, 3), bool), "type bool"),
        (np.zeros((2, 4, 4, 3), np.uint8), "a picture"),
        (np.zeros((0, 4, 3), np.uint8), "a picture"),
        (np.zeros((4, 4, 5), np.uint8), "5 channels"),
        (np.full((4, 4, 3), np.nan, np.float32), "no numbers"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(image: np.ndarray, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        isr.upscale(Repeat(), image)


def test_a_network_of_four_channels_takes_four_as_they_are() -> None:
    image = photograph(8, 8, channels=4)
    upscaler = Repeat(num_channels=4)
    assert np.array_equal(isr.upscale(upscaler, image), image.repeat(2, 0).repeat(2, 1))
    assert len(upscaler.batches) == 1


def test_gray_goes_through_an_rgb_network_and_is_averaged_back(random_model: EDSR) -> None:
    gray = np.random.default_rng(2).random((9, 7), np.float32)
    rgb = np.asarray(random_model(np.repeat(gray[None, ..., None], 3, axis=-1)))[0]
    assert np.abs(rgb - rgb.mean(-1, keepdims=True)).max() > 0.01  # this network makes colours of gray
    np.testing.assert_allclose(isr.upscale(random_model, gray), rgb.mean(-1), atol=1e-5)
    np.testing.assert_allclose(isr.upscale(random_model, gray[..., None])[..., 0], rgb.mean(-1), atol=1e-5)


# -------------------------------------------------------------------------------------------------- alpha


def red_under_white(dtype: Any = np.uint8) -> np.ndarray:
    """White and opaque on the left, red and transparent on the right."""
    top = np.iinfo(dtype).max
    image = np.full((24, 24, 4), top, dtype)
    image[:, 12:] = (top, 0, 0, 0)
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_under_transparent_pixels_do_not_bleed(dtype: Any) -> None:
    image = red_under_white(dtype)
    top = np.iinfo(dtype).max
    bleeding = Blur()(image[None, ..., :3].astype(np.float32) / top)[0]
    assert bleeding[:, 22:24, 1].max() < 0.95  # what an upscaler does by itself
    result = isr.upscale(Blur(), image)
    visible = result[..., 3] > 0
    assert visible[:, :24].all()
    assert (result[visible][:, :3] == top).all()
    assert np.any(result[..., 3] % top > 0)  # the edge itself is soft


def test_a_network_sees_no_colours_under_transparent_pixels(random_model: EDSR) -> None:
    image = red_under_white()
    result = isr.upscale(random_model, image)
    white = isr.upscale(random_model, np.full_like(image[..., :3], 255))
    assert np.array_equal(result[..., :3], white)
    assert not np.array_equal(isr.upscale(random_model, image[..., :3])[:, :30], white[:, :30])


def test_reduction_has_no_fringes_either() -> None:
    result = reduce(red_under_white(), (9, 9))
    assert (result[result[..., 3] > 0][:, :3] == 255).all()
    assert len(np.unique(result[..., 3])) > 2


def test_gray_with_alpha_is_filled_too() -> None:
    image = red_under_white()[..., [1, 3]]
    result = isr.upscale(Blur(), image)
    assert (result[result[..., 1] > 0][:, 0] == 255).all()


def test_opaque_and_transparent_pictures_keep_their_colours() -> None:
    image = photograph(16, 16, channels=4)
    for alpha in (0, 255):
        image[..., 3] = alpha
        assert np.array_equal(fill_transparent(image), image[..., :3])
        upscaler = Repeat()
        assert np.array_equal(isr.upscale(upscaler, image), image.repeat(2, 0).repeat(2, 1))
        assert len(upscaler.batches) == 1  # an alpha of one level needs no network


# --------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("factor", "scales", "expected"),
    [
        (1, (2, 3, 4), ()),
        (0.5, (2, 3, 4), ()),
        (1.01, (2, 3, 4), (2,)),
        (2, (2, 3, 4), (2,)),
        (2.5, (2, 3, 4), (3,)),
        (3.2, (2, 3, 4), (4,)),
        (5, (2, 3, 4), (3, 2)),
        (7, (2, 3, 4), (4, 2)),
        (8, (2, 3, 4), (4, 2)),
        (9, (2, 3, 4), (3, 3)),
        (16, (2, 3, 4), (4, 4)),
        (40, (2, 3, 4), (4, 4, 3)),
        (3, (4,), (4,)),
        (4, (2,), (2, 2)),
    ],
)
def test_the_networks_that_reach_a_factor(
    factor: float, scales: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert factors(factor, scales) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3840x2160", (2160, 3840)), ("3840x", (None, 3840)), ("x2160", (2160, None)), (" 10X20 ", (20, 10))],
)
def test_sizes_are_width_times_height(text: str, expected: tuple[int | None, int | None]) -> None:
    assert Target.parse_size(text).size == expected


@pytest.mark.parametrize("text", ["", "x", "3840", "3840x2160x3", "-3x4", "0x4", "3.5x4", "4k"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="size"):
        Target.parse_size(text)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), 1e9])
def test_scales_out_of_range_are_refused(scale: float) -> None:
    with pytest.raises(RequestError, match="scale"):
        Target(scale=scale)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target(scale=2), (20, 14)),
        (Target(scale=2.5), (25, 18)),
        (Target(scale=0.05), (1, 1)),
        (Target(size=(30, 40)), (30, 40)),
        (Target(size=(None, 21)), (30, 21)),
        (Target(size=(5, None)), (5, 4)),
    ],
)
def test_output_sizes(target: Target, expected: tuple[int, int]) -> None:
    assert target.output_size(10, 7) == expected
    assert isr.upscale(Repeat(), photograph(10, 7), scale=target.scale, size=target.size).shape == (
        *expected,
        3,
    )


def test_only_a_visible_change_of_aspect_is_one() -> None:
    assert Target(size=(100, 100)).changes_aspect(50, 60)
    assert not Target(size=(2160, 3840)).changes_aspect(1080, 1920)
    assert not Target(size=(67, 100)).changes_aspect(134, 201)
    assert not Target(size=(None, 77)).changes_aspect(50, 60)


def test_the_default_is_the_models_own_scale(index: Path) -> None:
    image = photograph(10, 12)
    assert isr.upscale(index / "edsr_baseline_x3", image).shape == (30, 36, 3)
    assert isr.upscale("edsr_baseline_x4", image).shape == (40, 48, 3)
    assert isr.upscale(None, image).shape == (20, 24, 3)


def test_the_smallest_shipped_scale_that_reaches_the_size_is_taken(index: Path) -> None:
    image, told = photograph(12, 16), Lines()
    result = isr.upscale(None, image, scale=2.5, progress=told)
    assert told.lines == ["x3, then resized to 40x30"]
    model = as_upscaler(networks_module.networks_of("edsr_baseline_x3")[3].open().model)  # type: ignore[attr-defined]
    large = model((image / np.float32(255))[None])[0]
    expected = imresize(large, size=(30, 40))
    assert np.abs(result - np.clip(expected, 0, 1) * 255).max() <= 0.5 + 1e-3


def test_a_chain_is_said_and_rounded_once(index: Path) -> None:
    image, told = photograph(10, 12), Lines()
    result = isr.upscale(None, image, scale=8, progress=told)
    assert told.lines == ["x4 then x2"]
    by_hand = (image / np.float32(255))[None]
    for scale in (4, 2):
        by_hand = as_upscaler(networks_module.networks_of(None)[scale].open().model)(by_hand)  # type: ignore[attr-defined]
        by_hand = np.clip(by_hand, 0, 1)
    assert result.shape == (80, 96, 3)
    assert np.abs(result - by_hand[0] * 255).max() <= 0.5 + 1e-3


def test_a_named_network_of_another_scale_is_resized(index: Path) -> None:
    told = Lines()
    assert isr.upscale("edsr_baseline_x4", photograph(10, 12), scale=3, progress=told).shape == (30, 36, 3)
    assert told.lines == ["x4, then resized to 36x30"]


def test_a_size_below_the_input_needs_no_network() -> None:
    upscaler, told, image = Repeat(), Lines(), photograph(40, 50)
    result = isr.upscale(upscaler, image, scale=0.5, progress=told)
    assert upscaler.batches == []
    assert told.lines == ["not larger than the input: no network, resized by bicubic interpolation"]
    expected = np.clip(imresize(image / np.float32(255), size=(20, 25)), 0, 1) * 255
    assert np.abs(result - expected).max() <= 0.5 + 1e-3


def test_the_size_of_the_input_is_a_copy() -> None:
    image = photograph(9, 11)
    result = isr.upscale(Repeat(), image, scale=1)
    assert np.array_equal(result, image) and result is not image


def test_changed_aspects_are_said() -> None:
    told = Lines()
    assert isr.upscale(Repeat(), photograph(10, 10), size=(15, 20), progress=told).shape == (15, 20, 3)
    assert "10x10 becomes 20x15: the aspect changes" in told.lines


def test_without_shipped_presets_one_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "HERE", tmp_path)
    with pytest.raises(RequestError, match="give --preset or --weights"):
        isr.upscale(None, photograph(8, 8))


# ---------------------------------------------------------------------------------- resizing in bands of rows


@settings(max_examples=60)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 20),
    new_height=st.integers(1, 90),
    new_width=st.integers(1, 30),
    cuts=st.lists(st.integers(1, 13), min_size=1, max_size=5),
)
def test_bands_make_what_the_whole_makes(
    height: int, width: int, new_height: int, new_width: int, cuts: list[int]
) -> None:
    image = np.random.default_rng(height).random((height, width, 3)).astype(np.float32)
    results = []
    for rows in ([height], cuts):
        result = np.empty((new_height, new_width, 3), np.float32)
        resizer, start, turn = RowResizer(image.shape, (new_height, new_width), result), 0, 0  # type: ignore[arg-type]
        while start < height:
            resizer.push(image[start : start + rows[turn % len(rows)]])
            start, turn = start + rows[turn % len(rows)], turn + 1
        results.append(result)
    assert np.array_equal(*results)
    assert np.abs(results[0] - imresize(image, size=(new_height, new_width))).max() < 1e-5


def test_resizing_holds_a_band_and_not_the_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9000, 1200, 3), np.uint8)
    gc.collect()
    tracemalloc.start()
    result = resize(image, (4500, 600))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    as_float = image.size * 4
    assert peak - result.nbytes < as_float / 1.5  # several bands of 16 MiB, not 124 MiB and more


def test_resized_networks_are_resized_tile_row_by_tile_row() -> None:
    picture = photograph(150, 130)
    whole = enlarge(Repeat(), picture, TileOptions(tile=256), size=(200, 170))
    tiled = enlarge(Repeat(), picture, TileOptions(tile=40, overlap=4, batch=3), size=(200, 170))
    assert np.array_equal(whole, tiled)


# ----------------------------------------------------------------------------------- precision and ensembles


@pytest.mark.parametrize(
    ("asked", "dtype", "computed"),
    [
        ("bfloat16", np.uint8, "bfloat16"),
        ("bfloat16", np.uint16, "float32"),
        ("bfloat16", np.float32, "float32"),
        ("float32", np.uint8, "float32"),
        ("auto", np.uint16, "float32"),
        ("auto", np.uint8, AUTOMATIC_PRECISION),
    ],
)
def test_bfloat16_is_for_8_bits_only(asked: str, dtype: Any, computed: str) -> None:
    found, why = resolve_precision(asked, np.dtype(dtype))
    assert found == computed
    assert bool(why) == (asked == "bfloat16" and computed == "float32")


def test_16_bits_and_floats_are_computed_in_float32_and_it_is_said(random_model: EDSR) -> None:
    deep = photograph(20, 20).astype(np.uint16) * 257
    told = Lines()
    result = isr.upscale(random_model, deep, precision="bfloat16", progress=told)
    assert told.lines == ["uint16 pixels are computed in float32"]
    assert np.array_equal(result, isr.upscale(random_model, deep))
    floats = (deep / 65535).astype(np.float32)
    assert np.array_equal(
        isr.upscale(random_model, floats, precision="bfloat16"), isr.upscale(random_model, floats)
    )


def test_bfloat16_runs_in_bfloat16(random_model: EDSR, monkeypatch: pytest.MonkeyPatch) -> None:
    from isr.runtimes import devices

    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    network = networks_module.Network(random_model)
    assert network.open("bfloat16").model.dtype_policy.name == "mixed_bfloat16"  # type: ignore[attr-defined]
    image = photograph(24, 24)
    exact = isr.upscale(random_model, image).astype(int)
    rough = isr.upscale(random_model, image, precision="bfloat16").astype(int)
    difference = np.abs(exact - rough)
    assert difference.max() > 0 and difference.mean() < 2


def test_a_processor_without_bfloat16_computes_in_float32(
    random_model: EDSR, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isr.runtimes import devices

    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: False)
    told, image = Lines(), photograph(16, 16)
    result = isr.upscale(random_model, image, precision="bfloat16", progress=told)
    assert told.lines == ["this processor has no bfloat16 arithmetic: computed in float32"]
    assert np.array_equal(result, isr.upscale(random_model, image))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(RequestError, match="float16"):
        isr.upscale(Repeat(), photograph(8, 8), precision="float16")


def test_self_ensemble_is_the_mean_of_eight_views(random_model: EDSR) -> None:
    image = photograph(14, 18).astype(np.float32) / 255
    run = as_upscaler(random_model)
    views = []
    for flip in (False, True):
        for turns in range(4):
            view = np.rot90(image[:, ::-1] if flip else image, turns)
            back = np.rot90(run(np.ascontiguousarray(view)[None])[0], -turns)
            views.append(back[:, ::-1] if flip else back)
    assert np.std(views, axis=0).max() > 1e-4
    assert np.abs(isr.upscale(random_model, image, self_ensemble=True) - np.mean(views, axis=0)).max() < 1e-5


# ---------------------------------------------------------------------------------- what must not be written


def spoiled(layer: str) -> EDSR:
    """A network whose kernel of one layer is NaN."""
    model = tiny()
    model.start_as_interpolation()
    variable = model.named_weights()[f"{layer}/kernel"]
    variable.assign(np.full(variable.shape, np.nan, "float32"))
    return model


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    # Behind the first convolution of a block the fused ReLU turns NaN into 0: the output looks like a picture.
    hidden = as_upscaler(spoiled("block0/conv1"))(photograph(16, 16)[None].astype(np.float32) / 255)
    assert np.all(np.isfinite(hidden))
    for layer in ("head", "block0/conv1"):
        with pytest.raises(RequestError, match="no numbers"):
            isr.upscale(spoiled(layer), photograph(16, 16))
    spoiled("block0/conv1").save_preset(tmp_path / "bad")
    with pytest.raises(RequestError, match=r"bad.*no numbers"):
        isr.upscale(tmp_path / "bad", photograph(16, 16))


def test_outputs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ISRError, match="no numbers"):
        # An upscaler shows no weights, so that only the output can tell.
        isr.upscale(Wrapped(spoiled("head")), photograph(16, 16))


class Wrapped(Repeat):
    """An upscaler that shows nothing of its model."""

    def __init__(self, model: EDSR) -> None:
        super().__init__()
        self.run = as_upscaler(model)

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        return self.run(batch)


@pytest.mark.parametrize("size", [None, (33, 30)])
@pytest.mark.parametrize("value", [0.0, 0.3, 7.0])
def test_one_colour_made_of_several_is_refused(value: float, size: tuple[int, int] | None) -> None:
    class Constant(Repeat):
        def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
            return np.full_like(super().__call__(batch, scale=scale), value)

    for image in (photograph(20, 20), photograph(20, 20)[..., 0], photograph(20, 20).astype(np.uint16)):
        with pytest.raises(ISRError, match="one colour"):
            isr.upscale(Constant(), image, size=size)


def test_one_colour_stays_one_colour_and_an_even_picture_may_become_one() -> None:
    even = np.full((8, 8, 3), 77, np.uint8)
    assert np.array_equal(isr.upscale(Repeat(), even), even.repeat(2, 0).repeat(2, 1))
    page = np.full((8, 8, 3), 255, np.uint8)
    page[3, 3] = 253
    assert isr.upscale(Blur(), page).min() >= 253
    photo = photograph(8, 8)
    assert isr.upscale(Repeat(), photo, size=(1, 1)).shape == (1, 1, 3)  # one pixel is one colour


# ------------------------------------------------------------------------------------- models, stops, progress


def test_weights_that_were_trained_meanwhile_are_used() -> None:
    model = tiny(pixel_range=1.0)
    image = photograph(12, 12)
    for precision in ("float32", "bfloat16"):
        model.start_as_interpolation()
        before = isr.upscale(model, image, precision=precision)
        tail = model.named_weights()["tail/bias"]
        tail.assign(np.full(tail.shape, 0.25, "float32"))
        after = isr.upscale(model, image, precision=precision)
        assert np.median(after.astype(int) - before) > 40
        tail.assign(np.zeros(tail.shape, "float32"))


def test_a_preset_is_opened_once_until_it_changes(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isr.models import loading

    opened: list[Any] = []
    load = loading.load
    monkeypatch.setattr(
        loading, "load", lambda source, **kwargs: opened.append(source) or load(source, **kwargs)
    )
    image = photograph(9, 9)
    first = isr.upscale("edsr_baseline_x2", image)
    isr.upscale("edsr_baseline_x2", image)
    assert len(opened) == 1
    randomise(tiny()).save_preset(index / "edsr_baseline_x2")
    assert not np.array_equal(isr.upscale("edsr_baseline_x2", image), first)
    assert len(opened) == 2


def test_a_keras_file_is_a_model(tmp_path: Path, random_model: EDSR) -> None:
    random_model.save(tmp_path / "mine.keras")
    image = photograph(12, 12)
    assert np.array_equal(isr.upscale(tmp_path / "mine.keras", image), isr.upscale(random_model, image))


@pytest.mark.parametrize("name", ["nowhere", "nowhere.keras", "text.keras", "text.safetensors"])
def test_what_is_no_model_is_refused(tmp_path: Path, name: str) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("not a model")
    with pytest.raises(RequestError, match=name):
        isr.upscale(tmp_path / name, photograph(8, 8))
    with pytest.raises(RequestError, match="neither a network"):
        isr.upscale(np.zeros(3), photograph(8, 8))  # type: ignore[arg-type]


def test_progress_is_told_of_every_tile_and_asked_between_them() -> None:
    told = Lines()
    isr.upscale(Repeat(), photograph(90, 90), tile=40, tile_overlap=4, progress=told)
    assert told.done == told.total == 9
    stopping, upscaler = Lines(stop=2), Repeat()
    with pytest.raises(Cancelled):
        isr.upscale(upscaler, photograph(90, 90), tile=40, tile_overlap=4, progress=stopping)
    assert len(upscaler.batches) == 2


def test_a_route_says_where_it_leads() -> None:
    assert Route.plan(10, 10, Target(scale=2), (2, 4)) == Route((2,), (20, 20), False)
    assert Route.plan(10, 10, Target(scale=2), (2, 4)).describe() == ""
    assert Route.plan(10, 10, Target(scale=1), (2, 4)).describe() == "the size of the input: copied"
    with pytest.raises(RequestError, match="no network that enlarges"):
        Route.plan(10, 10, Target(scale=2), ())
    # A network that restores pictures without enlarging them is all there is.
    assert Route.plan(10, 10, Target(scale=1), (1,)) == Route((1,), (10, 10), False)


def test_finished_tiles_are_shown_where_they_lie() -> None:
    """Their shares tile the picture, and their pixels are the result before rounding; alpha is not shown."""

    class Shown(Silent):
        def __init__(self) -> None:
            self.picture = np.full((140, 100, 3), np.nan, np.float32)

        def tile(self, pixels: np.ndarray, place: Place) -> None:
            left, top, right, bottom = (
                round(share * side) for share, side in zip(place, (100, 140, 100, 140), strict=True)
            )
            part = self.picture[top:bottom, left:right]
            assert pixels.shape == part.shape and np.isnan(part).all()
            part[:] = pixels

    shown = Shown()
    pixels = np.dstack([photograph(70, 50), photograph(70, 50, seed=1)[..., :1]])
    result = enlarge(Repeat(2), pixels, TileOptions(tile=32, overlap=4), progress=shown)
    np.testing.assert_array_equal(from_float(shown.picture, np.dtype(np.uint8)), result[..., :3])
