"""EDSR against the paper: parameter counts, and a forward pass written from its figures in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import Case, numpy, pictures, randomise

from isr import presets
from isr.layers import ResidualBlock, Upsampler
from isr.models import EDSR
from isr.ops import pixel_shuffle


@pytest.mark.parametrize(("scale", "count"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571), (8, 1_665_283)])
def test_parameters_of_the_baseline(scale: int, count: int) -> None:
    assert EDSR(scale).count_params() == count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "count"), [(2, 40_729_603), (3, 43_680_003), (4, 43_089_923), (8, 45_450_243)]
)
def test_parameters_of_the_large_model(scale: int, count: int) -> None:
    model = EDSR.large(scale)
    assert model.count_params() == count
    assert model.res_scale == 0.1


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_puts_channels_where_it_says(factor: int) -> None:
    channels = 2
    x = np.random.default_rng(0).random((2, 3, 4, factor**2 * channels), np.float32)
    np.testing.assert_array_equal(numpy(pixel_shuffle(x, factor)), slow_pixel_shuffle(x, factor))


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": 2, "num_blocks": 2, "num_features": 5},
        {"scale": 3, "num_blocks": 1, "num_features": 4, "res_scale": 0.1, "pixel_range": 1.0},
        {"scale": 4, "num_blocks": 1, "num_features": 4, "num_channels": 1, "pixel_mean": 0.25},
        {"scale": 8, "num_blocks": 0, "num_features": 3, "num_channels": 4},
    ],
    ids=lambda arguments: f"x{arguments['scale']}",
)
def test_forward_pass_equals_the_paper_in_numpy(arguments: dict) -> None:
    model = randomise(Case(EDSR, arguments).build())
    lr = pictures(model, 5, 4, batch=2)
    expected = slow_edsr(model, lr)
    np.testing.assert_allclose(numpy(model(lr)), expected, atol=1e-5 * np.abs(expected).max())


def test_layers_come_back_from_their_config() -> None:
    for layer in (ResidualBlock(4, 0.1, 5, name="block"), Upsampler(4, 6, name="up", dtype="mixed_bfloat16")):
        assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def slow_edsr(model: EDSR, lr: np.ndarray) -> np.ndarray:
    """Figures 2c and 3 of the paper, in float64."""
    weights = {name: numpy(value).astype(np.float64) for name, value in model.named_weights().items()}

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        return slow_conv(x, weights.pop(f"{name}/kernel"), weights.pop(f"{name}/bias"))

    mean = np.array(model.pixel_mean)
    shallow = conv((lr - mean) * model.pixel_range, "head")
    x = shallow
    for block in range(model.num_blocks):
        residual = conv(np.maximum(conv(x, f"block{block}/conv1"), 0), f"block{block}/conv2")
        x = x + model.res_scale * residual
    x = shallow + conv(x, "body_end")
    for step, factor in enumerate({2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[model.scale]):
        x = slow_pixel_shuffle(conv(x, f"upsampler/conv{step}"), factor)
    sr = conv(x, "tail") / model.pixel_range + mean
    assert not weights, f"weights that the paper does not know: {sorted(weights)}"
    return sr


def slow_conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution (cross-correlation) with zeros around the picture, pixel by pixel."""
    b, h, w, _ = x.shape
    reach = kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    result = np.empty((b, h, w, kernel.shape[-1]))
    for row in range(h):
        for column in range(w):
            window = padded[:, row : row + kernel.shape[0], column : column + kernel.shape[1]]
            result[:, row, column] = np.tensordot(window, kernel, axes=3) + bias
    return result


def slow_pixel_shuffle(x: np.ndarray, factor: int) -> np.ndarray:
    b, h, w, depth = x.shape
    channels = depth // factor**2
    result = np.empty((b, h * factor, w * factor, channels), x.dtype)
    for row in range(h * factor):
        for column in range(w * factor):
            for channel in range(channels):
                i, j = row % factor, column % factor
                source = (i * factor + j) * channels + channel
                result[:, row, column, channel] = x[:, row // factor, column // factor, source]
    return result


def test_a_preset_of_today_names_the_arguments_of_one_that_ships() -> None:
    """Else a shipped preset cannot be a corner of it."""
    shipped = presets.read_config(presets.find("edsr_fast_x4"))["arguments"]
    assert list(EDSR(4, num_features=8, num_blocks=1).preset_arguments()) == list(shipped)
