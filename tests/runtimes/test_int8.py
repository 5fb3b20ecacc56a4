"""8 bits: against closed forms, convolutions of rounded numbers, and the engine that multiplies integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from pictures import folder_of_photographs
from PIL import Image
from safetensors.numpy import load_file, save_file
from tiny_models import TINY, numpy, randomise

import isr
from isr.cli.app import run
from isr.errors import RequestError
from isr.imresize import imresize
from isr.metrics import psnr
from isr.models import EDSR, MDSR, TDAN
from isr.models.loading import load
from isr.predict.source import Network
from isr.runtimes.eight_bits import EightBitConv, read, save
from isr.runtimes.int8 import (
    best_steps,
    calibrate,
    computing_in_8_bits,
    convolutions,
    neighbourhoods,
    quantise,
    round_kernel,
)

ROBIN = Path(__file__).parents[2] / "docs" / "images" / "robin.png"


def robin(side: int) -> np.ndarray:
    """The middle of the photograph, uint8 `[side, side, 3]`."""
    pixels = np.asarray(Image.open(ROBIN))[..., :3]
    top, left = ((whole - side) // 2 for whole in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def photographs() -> list[np.ndarray]:
    """Other parts of it, float32 in [0, 1]."""
    pixels = np.asarray(Image.open(ROBIN))[..., :3].astype(np.float32) / 255
    return [pixels[:48, :64], pixels[-48:, -64:], pixels[:48, -64:]]


# ------------------------------------------------------------------------------------------------------- rounding


def test_numbers_on_the_grid_stay() -> None:
    step, zero = best_steps(np.arange(-55, 201) * 0.25)
    assert (step, zero) == (0.25, 55)
    step, zero = best_steps(np.arange(256) / np.float32(255))  # as after a ReLU
    assert step == pytest.approx(1 / 255) and zero == 0


def test_what_lies_far_outside_is_clipped() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    step, zero = best_steps(np.append(values, 40.0))
    assert step < 42 / 255
    conv = EightBitConv(np.zeros(0, np.int8), np.zeros(0, np.float32), step, zero)
    plain = EightBitConv(conv.kernel, conv.kernel_step, 44 / 255, 26)
    errors = [np.mean((each.round(values) - values) ** 2) for each in (conv, plain)]
    assert errors[0] < errors[1]


@given(st.integers(0, 10**6), st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_neighbourhoods_times_a_kernel_are_the_convolution(seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    features, kernel = rng.normal(size=(5, 6, 3)), rng.normal(size=(*size, 3, 2))
    expected = keras.ops.conv(features[None].astype(np.float32), kernel.astype(np.float32), padding="same")
    found = neighbourhoods(features, size) @ kernel.reshape(-1, 2)
    np.testing.assert_allclose(found.reshape(5, 6, 2), numpy(expected)[0], atol=1e-4)


def test_weights_that_nothing_connects_go_to_their_nearest_numbers() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    numbers, step = round_kernel(kernel, np.diag(np.arange(1.0, 37)))
    np.testing.assert_allclose(step, np.abs(kernel).max((0, 1, 2)) / 127, rtol=1e-6)
    np.testing.assert_array_equal(numbers, np.rint(kernel / step))


@given(st.integers(0, 10**6))
def test_weights_that_features_connect_make_roundings_good(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(400, 36)) @ rng.normal(size=(36, 36)) * rng.uniform(0.1, 2, 36)
    kernel = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)
    numbers, step = round_kernel(kernel, features.T @ features)
    assert np.abs(numbers).max() <= 127

    def error(rounded: np.ndarray) -> float:
        return float(np.mean((features @ ((rounded * step) - kernel).reshape(36, 5)) ** 2))

    assert error(numbers) < error(np.rint(kernel / step))


# ------------------------------------------------------------------------------------------------------ the network


def test_the_ends_of_a_network_are_left_out() -> None:
    names = set(convolutions(EDSR(**{**TINY["EDSR"][0], "num_blocks": 2})))
    assert names == {*(f"block{i}/conv{j}" for i in (0, 1) for j in (1, 2)), "upsampler/conv0"}
    with pytest.raises(RequestError, match="several frames have no 8 bits; take bfloat16"):
        convolutions(TDAN(**TINY["TDAN"][0]))


def test_a_network_computes_with_the_rounded_numbers() -> None:
    model = randomise(EDSR(2, num_features=8, num_blocks=1))
    convs = calibrate(model, photographs())
    lr = robin(24)[None].astype(np.float32) / 255

    def conv(x: np.ndarray, path: str, layer: keras.layers.Conv2D) -> np.ndarray:
        kernel = convs[path].kernel * convs[path].kernel_step
        return numpy(keras.ops.conv(convs[path].round(x), kernel, padding="same")) + numpy(layer.bias)

    shallow = numpy(model.head(model.normalise(lr)))
    block = model.blocks[0]
    deep = conv(shallow, "block0/conv1", block.conv1)
    deep = shallow + conv(np.maximum(deep, 0), "block0/conv2", block.conv2)
    deep = shallow + numpy(model.body_end(deep))
    (name,) = (name for name in convs if name.startswith("upsampler"))
    large = conv(deep, name, convolutions(model)[name])
    expected = numpy(model.denormalise(model.tail(tf.nn.depth_to_space(large, 2))))
    plain = numpy(model(lr))
    with computing_in_8_bits(model, convs):
        found = numpy(model(lr))
    np.testing.assert_array_equal(numpy(model(lr)), plain)  # afterwards as before
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(plain).max())
    assert np.abs(found - plain).max() > 1e-4


@pytest.mark.slow
def test_an_engine_of_integers_gives_the_same(tmp_path: Path) -> None:
    from isr.runtimes.engines.conversion import write
    from isr.runtimes.exported import open_exported

    pytest.importorskip("openvino")
    model = load("edsr_fast_x2")
    convs = calibrate(model, photographs())
    write(model, tmp_path / "net", "openvino", "int8", convs)
    lr = robin(64)[None].astype(np.float32) / 255
    found = open_exported(tmp_path / "net")(lr)
    with computing_in_8_bits(model, convs):
        simulated = numpy(model(lr))
    exact = numpy(model(lr))
    assert psnr(found[0], simulated[0], channel="rgb", border=0) > 55
    assert 40 < psnr(found[0], exact[0], channel="rgb", border=0) < 70


def test_several_scales_are_calibrated_together() -> None:
    model = randomise(MDSR(num_features=4, num_blocks=1))
    convs = calibrate(model, photographs())
    assert set(convs) == set(convolutions(model))
    with computing_in_8_bits(model, convs):
        for scale in model.scales:
            assert np.isfinite(numpy(model(robin(16)[None] / np.float32(255), scale=scale))).all()


@pytest.mark.parametrize(
    "preset", ["edsr_baseline_x2", pytest.param("edsr_baseline_x4", marks=pytest.mark.slow)]
)
def test_what_ships_is_near_the_network(preset: str) -> None:
    pytest.importorskip("openvino")
    network = Network(preset, "openvino")
    scale = network.scales[0]
    hr = robin(192)
    lr = imresize(hr, scale=1 / scale)
    # Without conversion for float32, which takes longer than the rest.
    exact = isr.upscale(preset, lr, precision="float32")
    rough = isr.upscale(preset, lr, engine="openvino", precision="int8")
    assert psnr(exact, rough, channel="rgb", border=0) > 44
    decibels = [psnr(result, hr, channel="y", border=scale) for result in (exact, rough)]
    assert decibels[0] - decibels[1] < 0.1


# ------------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "net"
    model = EDSR(**TINY["EDSR"][0])
    model.start_as_interpolation()
    model.save_preset(folder)
    save(calibrate(model, photographs()), folder)
    return folder


def test_a_file_gives_back_what_was_saved(quantised: Path) -> None:
    convs = calibrate(load(quantised), photographs())
    for path, conv in read(quantised).items():
        np.testing.assert_array_equal(conv.kernel, convs[path].kernel)
        np.testing.assert_array_equal(conv.kernel_step, convs[path].kernel_step)
        assert (conv.input_step, conv.input_zero) == (convs[path].input_step, convs[path].input_zero)


def damage(values: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    first = next(name for name in values if name.endswith("/kernel"))
    if how == "a kernel is missing":
        del values[first]
    elif how == "a kernel is of floats":
        values[first] = values[first].astype(np.float32)
    elif how == "a step is not finite":
        values[f"{first}_step"] = values[f"{first}_step"] * np.float32("nan")
    elif how == "something else lies in it":
        values["other"] = np.zeros(3, np.float32)
    return values


@pytest.mark.parametrize(
    "how",
    [
        "a kernel is missing",
        "a kernel is of floats",
        "a step is not finite",
        "something else lies in it",
        "cut",
    ],
)
def test_a_damaged_file_is_refused_by_name(quantised: Path, how: str, tmp_path: Path) -> None:
    source = quantised / "int8" / "weights.safetensors"
    target = tmp_path / "int8" / "weights.safetensors"
    target.parent.mkdir()
    if how == "cut":
        target.write_bytes(source.read_bytes()[:-50])
    else:
        save_file(damage(load_file(source), how), target)
    with pytest.raises(RequestError, match=r"weights\.safetensors: not "):
        read(tmp_path)


@pytest.mark.parametrize("how", ["less", "more", "another shape"])
def test_an_engine_refuses_the_8_bits_of_another_network(quantised: Path, how: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    import shutil

    from isr.runtimes.engines.built import open_preset

    shutil.copytree(quantised, tmp_path / "net")
    convs = read(quantised)
    name, conv = next(iter(convs.items()))
    if how == "less":
        del convs[name]
    elif how == "more":
        convs["other"] = conv
    else:
        convs[name] = replace(conv, kernel=conv.kernel[:, :, :1])
    save(convs, tmp_path / "net")
    with pytest.raises(RequestError, match=r"its 8 bits|do not fit"):
        open_preset(tmp_path / "net", "openvino", "int8")
    assert open_preset(quantised, "openvino", "int8") is not None


def test_new_weights_have_no_old_8_bits(quantised: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(quantised, tmp_path / "net")
    load(quantised).save_preset(tmp_path / "net")
    with pytest.raises(RequestError, match="has no 8-bit variant"):
        read(tmp_path / "net")


def test_what_float16_does_not_hold_is_said(tmp_path: Path) -> None:
    model = EDSR(**TINY["EDSR"][0])
    model.tail.bias.assign(np.full(model.tail.bias.shape, 1e6, np.float32))
    model.save_preset(tmp_path / "net")
    before = (tmp_path / "net" / "weights.safetensors").read_bytes()
    with pytest.raises(RequestError, match="tail/bias holds values that float16 does not"):
        model.save_preset(tmp_path / "net", dtype="float16")
    assert (tmp_path / "net" / "weights.safetensors").read_bytes() == before


def test_every_scale_is_seen_however_few_photographs_there_are() -> None:
    model = MDSR(scales=(2, 3), num_features=4, num_blocks=1)
    assert calibrate(model, photographs()[:1]).keys() == convolutions(model).keys()


def test_the_8_bits_of_another_network_are_refused(quantised: Path) -> None:
    convs = read(quantised)
    for other in (EDSR(2, num_features=8, num_blocks=3), EDSR(2, num_features=6, num_blocks=1)):
        with pytest.raises(RequestError), computing_in_8_bits(other, convs, str(quantised)):
            pass


def test_isr_quantise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model: Any = EDSR(**TINY["EDSR"][0])
    model.start_as_interpolation()
    model.save_preset(tmp_path / "net")
    photos = folder_of_photographs(tmp_path / "photos", 3, 60, 70)
    line = ["quantise", str(tmp_path / "net"), "--photos", str(photos)]
    assert run(line) == 0
    made = Path(capsys.readouterr().out.strip())
    assert made == tmp_path / "net" / "int8" / "weights.safetensors"
    before = made.read_bytes()
    assert run(line) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert run([*line, "--overwrite", "--count", "2"]) == 0
    capsys.readouterr()
    assert made.read_bytes() != before
    (tmp_path / "none").mkdir()
    assert run(["quantise", str(tmp_path / "net"), "--photos", str(tmp_path / "none"), "--overwrite"]) == 2
    assert "none" in capsys.readouterr().err
    TDAN(**TINY["TDAN"][0]).save_preset(tmp_path / "tdan")
    assert run(["quantise", str(tmp_path / "tdan"), "--photos", str(photos)]) == 2
    assert "several frames have no 8 bits" in capsys.readouterr().err
    assert not (tmp_path / "tdan" / "int8").exists()


@pytest.mark.parametrize(("network", "mode"), [(3, "L"), (1, "RGB")])
def test_photographs_of_other_channels_become_those_of_the_network(
    network: int, mode: str, tmp_path: Path
) -> None:
    model: Any = EDSR(2, num_features=4, num_blocks=1, num_channels=network)
    model.start_as_interpolation()
    model.save_preset(tmp_path / "net")
    for folder, into in (("given", mode), ("same", "L" if network == 1 else "RGB")):
        photos = tmp_path / folder
        photos.mkdir()
        Image.fromarray(robin(80)).convert("L").convert(into).save(photos / "a.png")
    found, expected = (
        quantise(tmp_path / "net", tmp_path / photos, output=tmp_path / f"{photos}_net").read_bytes()
        for photos in ("given", "same")
    )
    assert found == expected


def test_a_copy_of_a_preset_gets_the_variant(quantised: Path, tmp_path: Path) -> None:
    photos = folder_of_photographs(tmp_path / "photos", 1, 60, 70)
    before = (quantised / "int8" / "weights.safetensors").read_bytes()
    line = ["quantise", str(quantised), "--photos", str(photos), "-o", str(tmp_path / "copy"), "--quiet"]
    assert run(line) == 0
    assert (tmp_path / "copy" / "int8" / "weights.safetensors").read_bytes() != before
    assert (quantised / "int8" / "weights.safetensors").read_bytes() == before
    assert load(tmp_path / "copy").count_params() == load(quantised).count_params()
    assert run(line) == 2  # it exists
    Image.new("RGB", (1, 1)).save(photos / "0.png")
    with pytest.raises(RequestError, match=r"0\.png: 1x1 pixels are too few"):
        quantise(quantised, photos, output=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_fast_means_8_bits_where_there_are_some(
    quantised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("ISR_CACHE", str(tmp_path / "cache"))
    Image.fromarray(robin(32)).save(tmp_path / "robin.png")
    line = [
        "predict",
        str(tmp_path / "robin.png"),
        "--weights",
        str(quantised),
        "--engine",
        "openvino",
    ]
    assert run([*line, "--fast"]) == 0
    assert "openvino, int8" in capsys.readouterr().err
    rough = np.asarray(Image.open(tmp_path / "robin_x2.png"))
    assert psnr(rough, isr.upscale(quantised, robin(32)), channel="rgb", border=0) > 40
