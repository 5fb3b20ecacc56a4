"""The contract of every network of `list_models()`; it also runs on JAX (`test_jax_backend.py`).

A new network is done when it is in the list, has an entry in `tiny_models.TINY`, and this is green.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import pkgutil
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from children import run_python
from safetensors.numpy import load_file, save_file
from tiny_models import (
    BAD_ARGUMENTS,
    FIRST,
    FIRST_THEN_SLOW,
    TINY,
    VARIANTS,
    Case,
    numpy,
    pictures,
    positive,
    randomise,
)

import isr.models
from isr.errors import RequestError
from isr.imresize import imresize
from isr.metrics import psnr
from isr.models import Cascade, FlowVSR, SuperResolutionModel, get_model, list_models
from isr.models.loading import load
from isr.runtimes import as_upscaler
from isr.spec import ModelSpec

every_variant = pytest.mark.parametrize("case", VARIANTS)
every_model = pytest.mark.parametrize("case", FIRST, ids=lambda case: case.model_class.__name__)

# But for what is made of other networks, and has no pixels of its own.
every_network = pytest.mark.parametrize(
    "case",
    [case for case in FIRST if case.model_class not in (Cascade, FlowVSR)],
    ids=lambda case: case.model_class.__name__,
)


def sub_layers(model: keras.Model) -> list[keras.layers.Layer]:
    return list(model._flatten_layers(include_self=False, recursive=True))


@pytest.fixture
def global_policy() -> Iterator[None]:
    """Puts Keras' global dtype policy back."""
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


# The list


def test_every_network_of_the_package_is_in_the_list() -> None:
    found = set()
    for module in pkgutil.iter_modules(isr.models.__path__):
        members = vars(importlib.import_module(f"isr.models.{module.name}")).values()
        found |= {m for m in members if inspect.isclass(m) and issubclass(m, SuperResolutionModel)}
    bases = {m for m in found if any(issubclass(other, m) and other is not m for other in found)}
    assert found - bases == set(list_models())


def test_every_network_of_the_list_is_under_this_test() -> None:
    names = {model.__name__ for model in list_models()}
    assert names == TINY.keys() == BAD_ARGUMENTS.keys(), "add the network to tests/tiny_models.py"


def test_get_model_finds_each_by_name_and_lists_the_names_otherwise() -> None:
    for model in list_models():
        assert get_model(model.__name__) is model
    with pytest.raises(RequestError, match=f"'ESDR' is unknown.*{list_models()[0].__name__}"):
        get_model("ESDR")


# Construction


@every_variant
def test_all_variables_exist_when_the_constructor_returns(case: Case) -> None:
    model = case.build()
    before = [variable.path for variable in model.variables]
    assert before
    model(pictures(model, 4, 5))
    assert [variable.path for variable in model.variables] == before


@every_variant
def test_every_sub_layer_has_a_given_name_of_its_own(case: Case) -> None:
    """Keras numbers the names that it makes up on through a process, so they differ from model to model."""
    one, two = case.build(), case.shared()
    names = [[layer.path.removeprefix(model.path) for layer in sub_layers(model)] for model in (one, two)]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0]) > 0
    assert len(one.named_weights()) == len(one.variables)


@every_model
def test_weight_names_depend_neither_on_the_model_name_nor_on_the_surroundings(case: Case) -> None:
    names = list(case.build(name="one").named_weights())
    with keras.name_scope("outer"):
        inner = case.build(name="two")
    assert list(inner.named_weights()) == names
    assert not any(name.startswith(("one", "two", "outer")) for name in names)


@every_variant
def test_constructor_arguments_are_attributes_and_in_the_config(case: Case) -> None:
    model = case.shared()
    config = model.get_config()
    parameters = inspect.signature(case.model_class).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    if case.model_class not in (Cascade, FlowVSR):
        names += ["num_channels", "pixel_mean", "pixel_range"]
    for name in names:
        assert config[name] == getattr(model, name), name
    for name, value in case.arguments.items():
        assert config[name] == value, name


@every_model
def test_arguments_go_before_those_of_a_variant(case: Case) -> None:
    for variant, arguments in case.model_class.VARIANTS.items():
        model = case.model_class.variant(variant, **case.arguments)
        for name, value in {**arguments, **case.arguments}.items():
            assert getattr(model, name) == value, (variant, name)
    with pytest.raises(ValueError, match=f"{case.model_class.__name__} has no variant 'huge'"):
        case.model_class.variant("huge")


@every_variant
def test_config_survives_json(case: Case) -> None:
    model = case.shared()
    copy = case.model_class.from_config(json.loads(json.dumps(model.get_config())))
    assert json.dumps(copy.get_config()) == json.dumps(model.get_config())
    copy.set_weights(model.get_weights())
    batch = pictures(model, 4, 5)
    np.testing.assert_allclose(numpy(copy(batch)), numpy(model(batch)), atol=1e-6)


@every_network
@pytest.mark.parametrize(
    "bad",
    [
        {"num_channels": 0},
        {"pixel_range": 0.0},
        {"pixel_range": -1.0},
        {"pixel_mean": (0.5, 0.5)},
        {"pixel_mean": (0.5,) * 4},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(case: Case, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        case.build(**bad)


@every_model
def test_the_networks_own_arguments_out_of_range_are_refused(case: Case) -> None:
    for bad in BAD_ARGUMENTS[case.model_class.__name__]:
        with pytest.raises(ValueError):
            case.build(**bad)
            pytest.fail(f"{bad} was accepted")


@every_network
def test_a_mean_given_as_array_is_kept_as_plain_numbers(case: Case) -> None:
    model = case.build(pixel_mean=np.array([0.1, 0.2, 0.3], np.float32))
    assert json.loads(json.dumps(model.preset_arguments()))["pixel_mean"] == pytest.approx([0.1, 0.2, 0.3])


# Pictures in, pictures out


@every_variant
def test_any_size_becomes_scale_times_as_large_in_float32(case: Case) -> None:
    model = case.shared()
    for batch, height, width in [(1, 1, 1), (1, 1, 5), (2, 6, 1), (3, 4, 5)]:
        lr = pictures(model, height, width, batch)
        for scale in model.scales:
            sr = numpy(model.at_scale(lr, scale))
            assert sr.shape == (batch, scale * lr.shape[-3], scale * lr.shape[-2], model.num_channels)
            assert sr.dtype == np.float32 and np.all(np.isfinite(sr))


@every_variant
def test_the_first_scale_is_the_default(case: Case) -> None:
    model = case.shared()
    lr = pictures(model, 4, 5)
    np.testing.assert_array_equal(numpy(model(lr)), numpy(model.at_scale(lr, model.scales[0])))


@every_variant
def test_sides_that_do_not_fit_are_refused(case: Case) -> None:
    model = case.shared()
    multiple = model.spec.size_multiple
    if multiple > 1:
        with pytest.raises(ValueError, match=f"multiples of {multiple}"):
            model(pictures(model, 2, 2)[..., :-1, :])


@every_model
def test_pictures_of_a_batch_do_not_touch_each_other(case: Case) -> None:
    model = case.shared()
    batch = pictures(model, 4, 5, batch=3)
    together = numpy(model(batch))
    for index in range(3):
        alone = numpy(model(batch[index : index + 1]))[0]
        np.testing.assert_allclose(together[index], alone, atol=1e-5)


@every_network
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_number_of_channels(case: Case, channels: int) -> None:
    model = case.build(num_channels=channels)
    assert model.spec.num_channels == len(model.pixel_mean) == channels
    assert numpy(model(pictures(model, 3, 4))).shape[-1] == channels


@every_network
@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_of_other_channels_are_refused(case: Case, channels: int) -> None:
    model = case.build(num_channels=3)
    lr = pictures(model, 4, 5)
    with pytest.raises(ValueError, match="3"):
        model(np.repeat(lr[..., :1], channels, axis=-1))


@every_model
def test_float64_pictures_are_taken_as_float32(case: Case) -> None:
    model = case.shared()
    lr = pictures(model, 4, 5)
    np.testing.assert_array_equal(numpy(model(lr.astype(np.float64))), numpy(model(lr)))


@every_network
@pytest.mark.parametrize("mean", [-0.5, 1.5])
def test_output_is_not_clipped(case: Case, mean: float) -> None:
    model = case.build(pixel_mean=mean)
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape, "float32"))
    np.testing.assert_allclose(numpy(model(np.full_like(pictures(model, 3, 3), mean))), mean, atol=1e-6)


@every_variant
def test_receptive_radius_is_exactly_how_far_a_pixel_reaches(case: Case) -> None:
    model = positive(case.build())
    radius, multiple = model.receptive_radius, model.spec.size_multiple
    if radius is None:
        moves = ("conv_offset", "flow/")
        assert any(move in name for name in model.named_weights() for move in moves), (
            "only motion has no bound"
        )
        return
    side = -(-(2 * radius + 3) // multiple) + 1
    plain = np.ones_like(pictures(model, side, side))
    first = side // 2 * multiple
    reached = {-radius: 0.0, radius: 0.0}
    # Where pixels are put into channels, how far one reaches depends on its place among them.
    for scale, centre in itertools.product(model.scales, range(first, first + multiple)):
        spot = plain.copy()
        spot[..., centre, centre, :] += 100
        change = numpy(model.at_scale(spot, scale)) - numpy(model.at_scale(plain, scale))
        changed = np.abs(change)[0].max(axis=-1)
        changed /= changed.max()
        distance = np.arange(changed.shape[0]) // scale - centre

        outside = np.abs(distance) > radius
        assert changed[outside].max() < 1e-6 and changed[:, outside].max() < 1e-6, "it reaches further"
        for edge in reached:
            line = distance == edge
            reached[edge] = max(reached[edge], min(changed[line].max(), changed[:, line].max()))
    assert min(reached.values()) > 1e-5, "it does not reach that far"


@every_variant
def test_spec_says_what_the_model_is_and_survives_json(case: Case) -> None:
    model = case.shared()
    spec = model.spec
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert (spec.name, spec.scales, spec.num_channels) == (model.name, model.scales, 3)
    assert 0 <= spec.center_frame < spec.num_frames and spec.size_multiple >= 1
    assert all(isinstance(scale, int) and scale >= 1 for scale in spec.scales)


@every_variant
def test_interpolating_start_is_near_bicubic(case: Case) -> None:
    model = case.build()
    try:
        model.start_as_interpolation()
    except RequestError as error:
        assert "no interpolating start" in str(error)
        return
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:32, 0:32]
    waves = [
        np.sin(a * x + b * y + c)[..., None] * rng.normal(0, 0.08, 3)
        for a, b, c in rng.uniform((-1.8, -1.8, 0), (1.8, 1.8, 6), (12, 3))
    ]
    lr = np.asarray(0.5 + sum(waves), np.float32)
    window = np.stack([lr] * model.spec.num_frames) if model.spec.num_frames > 1 else lr
    for scale in model.scales:
        bicubic = imresize(lr, scale=scale) if scale > 1 else lr
        sr = numpy(model.at_scale(window[None], scale))[0]
        started = psnr(sr, bicubic, channel="rgb", border=2 * scale)
        nearest = psnr(lr.repeat(scale, 0).repeat(scale, 1), bicubic, channel="rgb", border=2 * scale)
        assert started > 29 and started > min(nearest + 5, 60)


@every_network
def test_interpolating_start_says_where_features_do_not_suffice(case: Case) -> None:
    model = case.build(num_channels=12)
    try:
        model.start_as_interpolation()
    except RequestError as error:
        assert "channels" in str(error)
        return
    flat = np.full_like(pictures(model, 6, 7), 0.6)
    np.testing.assert_allclose(numpy(model(flat)), 0.6, atol=0.1)


# Precision


EXACT_ENDS = ("head", "head1", "fusion2", "body_end", "global_fusion", "tail")


@every_model
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
def test_policy_reaches_every_sub_layer_whatever_the_global_one(
    case: Case, policy: str, global_policy: None, tmp_path: Path
) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    models = [case.build(dtype=policy)]
    # A file holds any policy in the same way.
    if policy == "mixed_bfloat16":
        models[0].save(tmp_path / "model.keras")
        models.append(load(tmp_path / "model.keras"))
    for model in models:
        layers = [model, *sub_layers(model)]
        if policy == "mixed_bfloat16":  # the ends of a network may stay in float32, and only they
            layers = [layer for layer in layers if layer.name not in EXACT_ENDS]
        assert {layer.dtype_policy.name for layer in layers} == {policy}
        assert numpy(model(pictures(model, 3, 4))).dtype == np.float32


@every_network
def test_mean_and_range_are_applied_in_float32_before_bfloat16_begins(case: Case) -> None:
    low = randomise(case.build(pixel_mean=1.0, dtype="mixed_bfloat16"))
    plain = np.ones_like(pictures(low, 4, 5))
    finer = plain + np.float32(2**-12)  # bfloat16 has no number between 1 and 1 + 2**-7
    assert numpy(low.normalise(finer)).max() == np.float32(low.pixel_range * 2**-12)
    step = numpy(low(finer)) - numpy(low(plain))
    exact = low.with_policy("float32")
    exact_step = numpy(exact(finer)) - numpy(exact(plain))
    assert np.abs(exact_step).max() > 1e-5
    assert np.abs(step).max() > 0, "the input was rounded to bfloat16 before the mean was subtracted"


@every_network
def test_mean_is_added_back_in_float32(case: Case) -> None:
    model = randomise(case.build(pixel_mean=1.0, dtype="mixed_bfloat16"))
    sr = numpy(model(pictures(model, 6, 7)))
    near_one = sr[np.abs(sr - 1) < 0.2]
    coarse = np.round(near_one * 256) / 256  # the finest step of bfloat16 from 0.5 to 2
    assert near_one.size and np.mean(near_one != coarse) > 0.5


@every_model
def test_with_policy_is_a_copy_with_the_same_weights(case: Case) -> None:
    model = case.shared()
    low = model.with_policy("mixed_bfloat16")
    assert model.dtype_policy.name == "float32"
    for kept, own in zip(low.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, own)
    lr = pictures(model, 6, 7)
    exact, rounded = numpy(model(lr)), numpy(low(lr))
    assert_rounded(rounded, exact)


def assert_rounded(rounded: np.ndarray, exact: np.ndarray) -> None:
    """Nearly equal on average; single pixels may jump where a sample crosses the border of a deformable layer."""
    assert 0 < np.abs(rounded - exact).mean() < 0.1 * np.abs(exact).mean()


@every_model
def test_as_upscaler_gives_what_the_model_gives(case: Case) -> None:
    model = case.shared()
    upscaler = as_upscaler(model)
    assert upscaler.spec == model.spec
    assert as_upscaler(upscaler) is upscaler
    for batch, height, width in [(1, 4, 5), (2, 3, 1)]:
        lr = pictures(model, height, width, batch)
        for scale in (None, *model.scales):
            sr = upscaler(lr, scale=scale)
            assert isinstance(sr, np.ndarray) and sr.dtype == np.float32
            expected = numpy(model.at_scale(lr, scale or model.scales[0]))
            np.testing.assert_allclose(sr, expected, atol=1e-5)
    with pytest.raises(ValueError, match="not by 7"):
        upscaler(lr, scale=7)


@every_model
def test_as_upscaler_sets_the_precision(case: Case) -> None:
    model = case.shared()
    lr = pictures(model, 6, 7)
    exact, low = numpy(model(lr)), as_upscaler(model, "bfloat16")(lr)
    assert low.dtype == np.float32
    assert_rounded(low, exact)
    back = as_upscaler(model.with_policy("mixed_bfloat16"), "float32")(lr)
    # Far closer than bfloat16 could be.
    np.testing.assert_allclose(back, exact, rtol=1e-4, atol=1e-4)
    with pytest.raises(RequestError, match="float16"):
        as_upscaler(model, "float16")


# Files


@every_model
def test_weights_h5_round_trip(case: Case, tmp_path: Path) -> None:
    model, other = case.shared(), case.build()
    model.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    assert_same_weights(other, model.get_weights())


@every_variant
def test_preset_round_trip(case: Case, tmp_path: Path) -> None:
    model = case.shared()
    model.save_preset(tmp_path / "größe (2) 图", files={"card.md": "# card\n"})  # no scope name of a graph
    again = load(tmp_path / "größe (2) 图")
    assert type(again) is case.model_class
    assert again.preset_arguments() == model.preset_arguments()
    assert_same_weights(again, model.get_weights())
    lr = pictures(model, 4, 5)
    np.testing.assert_allclose(numpy(again(lr)), numpy(model(lr)), atol=1e-6)


@every_model
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
def test_preset_in_float16_loads_in_the_dtype_of_the_policy(case: Case, policy: str, tmp_path: Path) -> None:
    model = case.shared()
    model.save_preset(tmp_path / "preset", dtype="float16")
    stored = load_file(tmp_path / "preset" / "weights.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype("float16")}
    again = load(tmp_path / "preset", dtype=policy)
    wanted = "bfloat16" if policy == "bfloat16" else "float32"
    assert {variable.dtype for variable in again.variables} == {wanted}
    if wanted == "float32":
        rounded = [weight.astype("float16").astype("float32") for weight in model.get_weights()]
        assert_same_weights(again, rounded)


@every_model
def test_from_preset_of_another_class_is_refused(case: Case, tmp_path: Path) -> None:
    class Another(SuperResolutionModel):
        pass

    case.shared().save_preset(tmp_path / "preset")
    with pytest.raises(RequestError, match="not Another"):
        Another.from_preset(tmp_path / "preset")


def test_files_load_in_a_process_that_imported_no_class(tmp_path: Path) -> None:
    """What a user does: `load(path)`; every network, as `.keras` and as preset, in one fresh process."""
    expected = {}
    for case in FIRST:
        model = randomise(case.build())
        name = case.model_class.__name__
        np.save(tmp_path / f"{name}.input.npy", pictures(model, 4, 5))
        expected[name] = numpy(model(pictures(model, 4, 5)))
        model.compile("adam", "mse")  # as saved after training: the loader leaves the optimizer out
        model.save(tmp_path / f"{name}.keras")
        model.save_preset(tmp_path / f"{name}.preset")
    code = (
        "import sys, pathlib, numpy as np\n"
        "from isr.models.loading import load\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.npy')):\n"
        "    name = path.name.split('.')[0]\n"
        "    for kind in ('keras', 'preset'):\n"
        "        model = load(path.with_name(f'{name}.{kind}'))\n"
        "        np.save(path.with_name(f'{name}.{kind}.out'), np.asarray(model(np.load(path))))\n"
    )
    run_python("-c", code, str(tmp_path))
    for name, output in expected.items():
        for kind in ("keras", "preset"):
            np.testing.assert_allclose(np.load(tmp_path / f"{name}.{kind}.out.npy"), output, atol=1e-6)


DAMAGES = ("more", "fewer", "other shape", "not a number")


@every_model
@pytest.mark.parametrize("kind", ["safetensors", "weights.h5", "keras"])
def test_weights_that_are_not_exactly_the_models_are_refused(case: Case, kind: str, tmp_path: Path) -> None:
    source, model = case.shared(), case.build()
    whole = tmp_path / f"whole.{kind}"
    if kind == "safetensors":
        source.save_preset(tmp_path)
        (tmp_path / "weights.safetensors").rename(whole)
    elif kind == "weights.h5":
        source.save_weights(whole)
    else:
        source.save(whole)
    before = model.get_weights()
    for damage in DAMAGES:
        path = tmp_path / f"{damage}.{kind}"
        write_damaged(whole, path, damage)
        with pytest.raises(RequestError) as caught:
            load(path) if kind == "keras" else model.load_weights(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), damage
        assert_same_weights(model, before)


def write_damaged(whole: Path, path: Path, damage: str) -> None:
    """Write a copy of a file of weights that is damaged in one of the `DAMAGES`."""
    if whole.suffix == ".safetensors":
        save_file(damaged(load_file(whole), damage), path)
    elif whole.suffix == ".h5":
        shutil.copy(whole, path)
        damage_h5(path, damage)
    else:
        weights = path.with_suffix(".h5")
        with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w") as copy:
            weights.write_bytes(archive.read("model.weights.h5"))
            damage_h5(weights, damage)
            copy.write(weights, "model.weights.h5")
            for name in {"config.json", "metadata.json"} & set(archive.namelist()):
                copy.writestr(name, archive.read(name))


def damaged(arrays: dict[str, np.ndarray], damage: str) -> dict[str, np.ndarray]:
    first = min(arrays)
    if damage == "more":
        return {**arrays, "surplus/kernel": arrays[first]}
    if damage == "fewer":
        return {name: array for name, array in arrays.items() if name != first}
    if damage == "other shape":
        return {**arrays, first: np.concatenate([arrays[first], arrays[first]], axis=-1)}
    broken = arrays[first].copy()
    broken.flat[-1] = np.nan
    return {**arrays, first: broken}


def damage_h5(path: Path, damage: str) -> None:
    with h5py.File(path, "r+") as file:
        arrays: dict[str, np.ndarray] = {}
        file.visititems(
            lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
        result = damaged(arrays, damage)
        for name in arrays:
            del file[name]
        for name, array in result.items():
            file[name] = array


def assert_same_weights(model: keras.Model, weights: list[np.ndarray]) -> None:
    for found, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)


# Training


@pytest.mark.parametrize("case", FIRST_THEN_SLOW)
def test_a_training_step_moves_every_weight(case: Case) -> None:
    # As a graph it is built below, and in every test of training; that takes four times as long.
    check_training_step(randomise(case.build()), eagerly=keras.backend.backend() == "tensorflow")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=[] if name == "EDSR" else pytest.mark.slow)
        for case in FIRST
        for name in [case.model_class.__name__]
    ],
)
def test_a_training_step_in_bfloat16_moves_every_weight(case: Case) -> None:
    check_training_step(randomise(case.build(dtype="mixed_bfloat16")))


class AtScale(keras.Model):
    """A network at one of its scales, as training sees it."""

    def __init__(self, network: SuperResolutionModel, scale: int) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def call(self, lr: Any) -> Any:
        return self.network.at_scale(lr, self.scale)


def check_training_step(model: SuperResolutionModel, eagerly: bool = False) -> None:
    lr = pictures(model, 2, 2, batch=2)
    tensorflow = keras.backend.backend() == "tensorflow"
    before = {v.path: numpy(v).copy() for v in model.trainable_variables}
    assert before
    for scale in model.scales:
        trained = AtScale(model, scale) if len(model.scales) > 1 else model
        hr = np.random.default_rng(4).random(numpy(trained(lr)).shape, np.float32)
        trained.compile(keras.optimizers.Adam(1e-3), "mae", run_eagerly=eagerly, jit_compile=not tensorflow)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Gradients do not exist")  # of the other scales
            assert np.isfinite(trained.train_on_batch(lr, hr))
    dead = [v.path for v in model.trainable_variables if np.array_equal(numpy(v), before[v.path])]
    assert not dead
