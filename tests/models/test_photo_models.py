"""MDSR, RDN, RRDN and RRDBNet: sizes, wiring, options, and what becomes of other networks' weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import folder_of_photographs
from PIL import Image
from tiny_models import Case, numpy, pictures, randomise

import isr
from isr.cli.app import run
from isr.errors import RequestError
from isr.layers import IdealoUpsampler, ResidualDenseBlock
from isr.models import EDSR, MDSR, RDN, RRDN, RRDBNet, SuperResolutionModel
from isr.models.rrdn import RRDB
from isr.ops import enlarge_nearest, pixel_shuffle, pixel_unshuffle
from isr.runtimes import as_upscaler

SMALL = {"C": 3, "D": 10, "G": 64, "G0": 64, "x": 2}  # idealo's psnr-small
GANS = {"C": 4, "D": 3, "G": 32, "G0": 32, "T": 10, "x": 4}
GROWTH = {"upsampler": "pixelshuffle_growth"}


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (MDSR, 3_227_203),
        (lambda: MDSR((2, 3, 4, 8)), 4_080_195),
        (lambda: MDSR((2,)), 1_779_715),
        (lambda: MDSR((4,)), 1_927_427),
        (lambda: RDN.paper_a(2), 5_616_515),
        (lambda: RDN.paper_a(3), 5_801_155),
        (lambda: RDN.paper_a(4), 5_764_227),
        (lambda: RDN.paper_a(2, **GROWTH), 5_541_795),
        (lambda: RDN.paper_a(3, **GROWTH), 5_634_115),
        (lambda: RDN.paper_a(4, **GROWTH), 5_578_787),
        (lambda: RDN.from_idealo(SMALL), 2_619_635),
        (lambda: RDN.from_idealo(SMALL, "shuffle"), 2_619_392),
        (RRDN, 4_176_100),
        (lambda: RRDN.from_idealo(GANS), 4_176_100),
        (lambda: RRDBNet.variant("small"), 4_467_779),
        (lambda: RRDBNet.variant("small", scale=2), 4_472_963),
        (lambda: RRDBNet.variant("small", scale=1), 4_493_699),
    ],
)
def test_parameters_are_as_many_as_published(build: Any, parameters: int) -> None:
    assert build().count_params() == parameters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (MDSR.large, 7_953_987),
        (lambda: MDSR.large((2, 3, 4, 8)), 8_806_979),
        (lambda: RDN.paper_b(2), 22_123_395),
        (lambda: RDN.paper_b(3), 22_308_035),
        (lambda: RDN.paper_b(4, **GROWTH), 22_271_107),
        (lambda: RDN.from_idealo({**SMALL, "C": 6, "D": 20}), 16_347_635),
        (lambda: RDN.from_idealo({**SMALL, "C": 6, "D": 20}, "shuffle"), 16_347_392),
        (lambda: RRDBNet.variant("large"), 16_697_987),
        (lambda: RRDBNet(2), 16_703_171),
        (lambda: RRDBNet(1), 16_723_907),
    ],
)
def test_parameters_of_the_large_models(build: Any, parameters: int) -> None:
    assert build().count_params() == parameters


# idealo's are, rounded up, 7 + 1/x + C * D and 3 + 1/x + T * D * (C + 1).
@pytest.mark.parametrize(
    ("model", "radius"),
    [
        (lambda: RDN.from_idealo(SMALL), 38),
        (lambda: RDN.from_idealo(SMALL, "shuffle"), 38),
        (RRDN, 154),
        (lambda: RRDBNet.variant("small"), 1 + 6 * 15 + 1 + 2),
        (lambda: RRDBNet.variant("small", scale=2), 2 * (1 + 6 * 15 + 1 + 2)),
    ],
)
def test_receptive_radius_of_published_sizes(model: Any, radius: int) -> None:
    assert model().receptive_radius == radius


# Wiring, against the networks written in PyTorch


def close(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


def both(model: SuperResolutionModel, lr: np.ndarray, expected: np.ndarray, scale: int | None = None) -> None:
    """Called at once, and as the graph that prediction runs."""
    close(numpy(model.at_scale(lr, scale or model.scales[0])), expected)
    close(as_upscaler(model)(lr, scale=scale), expected)


@pytest.mark.parametrize("scales", [(2, 3, 4), (8, 2)])
def test_mdsr_equals_the_published_network(scales: tuple[int, ...]) -> None:
    networks = pytest.importorskip("torch_networks", reason="PyTorch is not installed")
    model = randomise(Case(MDSR, {"scales": scales, "num_features": 6, "num_blocks": 3}).build())
    lr = pictures(model, 7, 5, batch=2)
    weights = networks.Weights(model.named_weights())
    networks.name_mdsr(weights, scales, 3)
    assert not weights.values
    for scale in scales:
        both(model, lr, networks.run(networks.mdsr, weights, lr, scales, 3, scale), scale)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": 2, "upsampler": "pixelshuffle"},
        {"scale": 3, "upsampler": "pixelshuffle_growth"},
        {"scale": 4, "upsampler": "pixelshuffle"},
        {"scale": 4, "upsampler": "pixelshuffle_growth"},
    ],
    ids=lambda arguments: "-".join(map(str, arguments.values())),
)
def test_rdn_equals_the_published_network(arguments: dict[str, Any]) -> None:
    networks = pytest.importorskip("torch_networks", reason="PyTorch is not installed")
    sizes = {"num_features": 8, "growth": 6, "num_blocks": 3, "num_layers": 4}
    model = randomise(Case(RDN, {**sizes, **arguments}).build())
    lr = pictures(model, 7, 5, batch=2)
    weights = networks.Weights(model.named_weights())
    networks.name_rdn(weights, 3, 4, model.scale)
    assert not weights.values
    both(model, lr, networks.run(networks.rdn, weights, lr, 3, 4, model.scale))


@pytest.mark.parametrize("upscaling", ["ups", "shuffle"])
@pytest.mark.parametrize("scale", [2, 3, 5])
def test_rdn_equals_idealos_network(scale: int, upscaling: str) -> None:
    networks = pytest.importorskip("torch_networks", reason="PyTorch is not installed")
    model = randomise(RDN.from_idealo({"C": 2, "D": 3, "G": 6, "G0": 8, "x": scale}, upscaling))
    lr = pictures(model, 7, 5, batch=2)
    weights = networks.Weights(model.named_weights())
    networks.name_idealo_rdn(weights, 3, 2)
    assert not weights.values
    both(model, lr, networks.run(networks.idealo_rdn, weights, lr, 3, 2, scale, upscaling))


@pytest.mark.parametrize(("scale", "beta"), [(4, 0.2), (3, 0.5)])
def test_rrdn_equals_idealos_network(scale: int, beta: float) -> None:
    networks = pytest.importorskip("torch_networks", reason="PyTorch is not installed")
    arch_params = {"C": 3, "D": 2, "G": 6, "G0": 8, "T": 2, "x": scale}
    model = randomise(RRDN.from_idealo(arch_params, res_scale=beta))
    lr = pictures(model, 7, 5, batch=2)
    weights = networks.Weights(model.named_weights())
    networks.name_idealo_rrdn(weights, 2, 2, 3)
    assert not weights.values
    both(model, lr, networks.run(networks.idealo_rrdn, weights, lr, 2, 2, 3, scale, beta))


@pytest.mark.parametrize(
    ("scale", "unshuffle", "steps"), [(4, 1, 2), (2, 2, 2), (1, 4, 2), (8, 1, 3), (2, 1, 1), (1, 1, 0)]
)
def test_rrdbnet_equals_the_published_network(scale: int, unshuffle: int, steps: int) -> None:
    networks = pytest.importorskip("torch_networks", reason="PyTorch is not installed")
    given = unshuffle if unshuffle * scale not in (4, 8) else None  # otherwise the default
    arguments = {"scale": scale, "unshuffle": given, "num_features": 8, "growth": 6, "num_blocks": 2}
    model = randomise(Case(RRDBNet, arguments).build())
    assert model.unshuffle == unshuffle
    lr = pictures(model, 3, 2, batch=2)
    weights = networks.Weights(model.named_weights())
    networks.name_rrdbnet(weights, 2, steps, unshuffle)
    assert not weights.values
    both(model, lr, networks.run(networks.rrdbnet, weights, lr, 2, steps, unshuffle))


@pytest.mark.parametrize("slope", [0.05, 0.2, 0.3])
def test_dense_blocks_keep_their_slope_in_a_graph(slope: float) -> None:
    """TensorFlow fuses convolution and leaky ReLU in graphs, and some of its kernels forget the slope."""
    import tensorflow as tf

    block = ResidualDenseBlock(4, 3, 2, fusion_size=3, negative_slope=slope, res_scale=0.2, name="block")
    block.build((None, None, None, 4))
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype("float32")
    graph = tf.function(block, jit_compile=False)
    np.testing.assert_allclose(graph(x), slow_dense_block(block, x, slope), atol=1e-5)
    np.testing.assert_allclose(numpy(block(x)), slow_dense_block(block, x, slope), atol=1e-5)


def slow_dense_block(block: ResidualDenseBlock, x: np.ndarray, slope: float) -> np.ndarray:
    from test_edsr import slow_conv

    seen = x
    for layer in block.convs:
        y = slow_conv(seen, *map(numpy, (layer.kernel, layer.bias)))
        seen = np.concatenate([seen, np.where(y < 0, slope * y, y)], axis=-1)
    return x + block.res_scale * slow_conv(seen, *map(numpy, (block.fusion.kernel, block.fusion.bias)))


def test_layers_come_back_from_their_config() -> None:
    for layer in (
        ResidualDenseBlock(4, 3, 2, 3, 0.2, 0.5, name="dense"),
        RRDB(4, 3, 2, 1, 0.2, 0.5, name="rrdb", dtype="mixed_bfloat16"),
        IdealoUpsampler(3, 2, nearest=True, name="up"),
    ):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("factor", [2, 3])
def test_pixels_come_back_from_channels(factor: int) -> None:
    x = np.random.default_rng(0).random((2, 2 * factor, 3 * factor, 5), np.float32)
    np.testing.assert_array_equal(numpy(pixel_shuffle(pixel_unshuffle(x, factor), factor)), x)
    assert pixel_unshuffle(x, factor).shape == (2, 2, 3, 5 * factor**2)
    np.testing.assert_array_equal(numpy(enlarge_nearest(x, factor)), x.repeat(factor, 1).repeat(factor, 2))


# idealo's arguments


@pytest.mark.parametrize(
    ("arch_params", "message"),
    [
        ({"C": 3, "D": 10, "G": 64, "x": 2}, "lacks G0; its keys are C, D, G, G0, x"),
        ({**SMALL, "T": 4}, "has unknown T"),
        ({"C": 3, "D": 10, "G": 64, "G0": 64, "scale": 2}, "lacks x and has unknown scale"),
    ],
)
def test_arch_params_of_idealo_are_checked(arch_params: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RDN.from_idealo(arch_params)


def test_what_idealo_calls_things() -> None:
    model = RDN.from_idealo({"C": 2, "D": 3, "G": 4, "G0": 5, "x": 3}, num_channels=1)
    assert (model.num_layers, model.num_blocks, model.growth, model.num_features) == (2, 3, 4, 5)
    assert (model.scale, model.upsampler, model.num_channels) == (3, "idealo_ups", 1)
    rrdn = RRDN.from_idealo({"C": 2, "D": 3, "G": 4, "G0": 5, "T": 6, "x": 3})
    assert (rrdn.num_layers, rrdn.num_dense_blocks, rrdn.growth, rrdn.num_features) == (2, 3, 4, 5)
    assert (rrdn.num_blocks, rrdn.scale, rrdn.res_scale) == (6, 3, 0.2)
    with pytest.raises(ValueError, match="lacks T"):
        RRDN.from_idealo(SMALL)
    with pytest.raises(ValueError, match="upscaling='bilinear'"):
        RDN.from_idealo(SMALL, "bilinear")  # type: ignore[arg-type]


# MDSR


def test_only_the_branch_of_the_scale_is_computed() -> None:
    model = randomise(MDSR(num_features=4, num_blocks=1))
    lr = pictures(model, 5, 6)
    before = {scale: numpy(model(lr, scale=scale)) for scale in model.scales}
    for name, value in model.named_weights().items():
        if name.startswith("x3_"):
            value.assign(np.full(value.shape, np.nan))
    for scale in (2, 4):
        np.testing.assert_array_equal(numpy(model(lr, scale=scale)), before[scale])
    assert np.isnan(numpy(model(lr, scale=3))).all()
    with pytest.raises(ValueError, match="enlarges by 2, 3, 4, not by 8"):
        model(lr, scale=8)


def values(model: SuperResolutionModel) -> dict[str, np.ndarray]:
    return {name: numpy(value) for name, value in model.named_weights().items()}


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_mdsr_starts_as_an_edsr(scale: int) -> None:
    edsr = randomise(EDSR(scale, num_features=6, num_blocks=2))
    model = MDSR((2, scale, 4) if scale in (3, 8) else (2, 4), num_features=6, num_blocks=2)
    made = model.adopt(values(edsr), "edsr")
    lr = pictures(model, 6, 5)
    expected = numpy(edsr(lr))
    np.testing.assert_allclose(numpy(model(lr, scale=scale)), expected, atol=1e-4 * np.abs(expected).max())
    assert {name.split("_")[0] for name in made} == {f"x{scale}" for scale in model.scales}
    assert not any(name.startswith(f"x{scale}_upsampler") for name in made)
    weights = values(model)
    for name, value in values(edsr).items():
        if not name.startswith("upsampler"):
            np.testing.assert_array_equal(weights[name], value)


def test_mdsr_takes_another_ones_scales_and_makes_the_rest() -> None:
    given = randomise(MDSR((2, 4), num_features=6, num_blocks=1))
    model = MDSR((3, 2), num_features=6, num_blocks=1)
    made = model.adopt(values(given), "given")
    lr = pictures(model, 6, 5)
    np.testing.assert_allclose(numpy(model(lr, scale=2)), numpy(given(lr, scale=2)), rtol=1e-5, atol=1e-5)
    assert made and all(name.startswith("x3_") for name in made)
    assert MDSR((2, 4), num_features=6, num_blocks=1).adopt(values(given), "given") == []


def test_mdsr_refuses_another_body() -> None:
    edsr = values(EDSR(2, num_features=6, num_blocks=2))
    for arguments in ({"num_features": 6, "num_blocks": 1}, {"num_features": 8, "num_blocks": 2}):
        model = MDSR(**arguments)
        before = model.get_weights()
        with pytest.raises(RequestError, match=r"^there: "):
            model.adopt(edsr, "there")
        assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_pictures_go_through_the_scale_asked_for() -> None:
    model = randomise(MDSR(num_features=4, num_blocks=1))
    picture = np.random.default_rng(0).random((40, 37, 3), np.float32)
    for scale in model.scales:
        expected = numpy(model(picture[None], scale=scale))[0]
        np.testing.assert_allclose(isr.upscale(model, picture, scale=scale), expected, atol=1e-5)
        tiled = isr.upscale(model, picture, scale=scale, tile=36, tile_overlap="exact")
        np.testing.assert_allclose(tiled, expected, atol=1e-5)
    assert isr.upscale(model, picture).shape == (80, 74, 3)


def test_a_preset_of_several_scales_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keras_in_float32: None
) -> None:
    model = MDSR(num_features=4, num_blocks=1)
    model.start_as_interpolation()
    model.save_preset(tmp_path / "mdsr")
    (photo,) = folder_of_photographs(tmp_path / "photos", 1, 50, 46).iterdir()
    pixels = np.asarray(Image.open(photo))
    for scale in (3, 4):
        made = tmp_path / f"x{scale}.png"
        options = ["--preset", str(tmp_path / "mdsr"), "--scale", str(scale)]
        assert run(["predict", str(photo), "--output", str(made), *options]) == 0
        assert "resized" not in capsys.readouterr().err
        expected = numpy(model(pixels[None] / np.float32(255), scale=scale))[0]
        found = np.asarray(Image.open(made), np.float32) / 255
        assert np.abs(found - np.clip(expected, 0, 1)).max() < 0.6 / 255
        assert run(["evaluate", "--hr", str(photo.parent), *options, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["protocol"]["scale"] == scale
    assert (
        run(["predict", str(photo), "--output", str(tmp_path / "x5.png"), *options[:2], "--scale", "5"]) == 0
    )
    assert "x3 then x2, then resized to 230x250" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [1, 2])
def test_sides_are_padded_for_networks_that_unshuffle(scale: int) -> None:
    model = randomise(
        RRDBNet(scale, num_features=4, growth=2, num_blocks=1, num_dense_blocks=1, num_layers=1)
    )
    multiple = model.size_multiple
    picture = np.random.default_rng(0).random((41, 39, 3), np.float32)
    rest = ((0, -41 % multiple), (0, -39 % multiple), (0, 0))
    padded = np.pad(picture, rest, mode="symmetric")
    expected = numpy(model(padded[None]))[0, : 41 * scale, : 39 * scale]
    np.testing.assert_allclose(isr.upscale(model, picture), expected, atol=1e-5)
    tiled = isr.upscale(model, picture, tile=64, tile_overlap="exact")
    np.testing.assert_allclose(tiled, expected, atol=1e-5)
