"""The discriminators against forward passes in NumPy, and as adversarial training calls them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from children import run_python
from gradients import differentiate
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops
from tiny_models import numpy

from isr.models.discriminator import Discriminator, SpectralConv2D, UNetDiscriminator

both = pytest.mark.parametrize("discriminator", [Discriminator, UNetDiscriminator])


def randomised(model: Any) -> Any:
    """Random weights that keep the size of features; the spectral layers know their true singular vectors."""
    rng = np.random.default_rng(7)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if len(shape) == 4:
            variable.assign(rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape))
        elif variable.name == "moving_variance":
            variable.assign(rng.uniform(0.5, 2, shape))
        else:
            variable.assign(rng.normal(0, 0.3, shape))
    for layer in spectral_layers(model):
        layer.singular.assign(np.linalg.svd(matrix_of(layer))[2][0])
    return model


def spectral_layers(model: Any) -> list[SpectralConv2D]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, SpectralConv2D)]


def matrix_of(layer: SpectralConv2D) -> np.ndarray:
    return numpy(layer.kernel).reshape(-1, layer.filters).astype(np.float64)


def compiled(model: Any, pictures: np.ndarray) -> np.ndarray:
    """The logits as a graph gives them, where kernels are fused."""
    return model.predict_on_batch(pictures)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(8).random(shape, np.float32)


def test_parameters_of_the_published_networks() -> None:
    patches = Discriminator()
    assert patches.count_params() == 5_219_137
    u_net = UNetDiscriminator()
    assert sum(np.prod(variable.shape) for variable in u_net.trainable_variables) == 4_376_897
    for (
        variable
    ) in u_net.non_trainable_variables:  # one vector per spectral layer, which PyTorch does not count either
        assert variable.name == "singular"


@settings(max_examples=12)
@given(st.integers(1, 21), st.integers(1, 21))
def test_every_size_has_its_map(height: int, width: int) -> None:
    pictures = noise(1, height, width, 3)
    assert PATCHES(pictures).shape == (1, -(-height // 4), -(-width // 4), 1)
    assert U_NET(pictures).shape == (1, height, width, 1)


PATCHES = Discriminator(num_features=2)
U_NET = UNetDiscriminator(num_features=2)


@pytest.mark.parametrize("size", [(16, 24), (13, 10)], ids=["even", "odd"])
@pytest.mark.parametrize("arguments", [{}, {"kernel_size": 5, "num_channels": 1}], ids=["3x3", "5x5 gray"])
def test_the_patch_discriminator_in_numpy(arguments: dict, size: tuple[int, int]) -> None:
    model = randomised(Discriminator(num_features=3, **arguments))
    x = pictures = noise(2, *size, model.num_channels)
    for index, stride in enumerate((1, 2, 1, 2, 1, 1, 1, 1)):
        conv = model.convs[index]
        x = leaky(slow_conv(x, conv.kernel, conv.bias, stride))
        if index > 0:
            norm = model.norms[index - 1]
            mean, variance, gamma, beta = map(
                numpy, (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
            )
            x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    x = leaky(slow_conv(x, model.dense.kernel, model.dense.bias))
    expected = slow_conv(x, model.tail.kernel, model.tail.bias)
    np.testing.assert_allclose(compiled(model, pictures), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("size", [(16, 24), (13, 10), (3, 1)], ids=["even", "odd", "tiny"])
def test_the_u_net_in_numpy(size: tuple[int, int]) -> None:
    model = randomised(UNetDiscriminator(num_features=3))

    def spectral(x: np.ndarray, layer: SpectralConv2D) -> np.ndarray:
        largest = np.linalg.svd(matrix_of(layer), compute_uv=False)[0]
        return leaky(slow_conv(x, numpy(layer.kernel) / largest, 0, layer.strides))

    def enlarged(x: np.ndarray, like: np.ndarray) -> np.ndarray:
        return slow_enlarge(x)[:, : like.shape[1], : like.shape[2]]

    pictures = noise(2, *size, 3)
    x0 = leaky(slow_conv(pictures, model.head.kernel, model.head.bias))
    x1 = spectral(x0, model.down[0])
    x2 = spectral(x1, model.down[1])
    x3 = spectral(x2, model.down[2])
    x4 = spectral(enlarged(x3, x2), model.up[0]) + x2
    x5 = spectral(enlarged(x4, x1), model.up[1]) + x1
    x6 = spectral(enlarged(x5, x0), model.up[2]) + x0
    x7 = spectral(spectral(x6, model.refine[0]), model.refine[1])
    expected = slow_conv(x7, model.tail.kernel, model.tail.bias)
    np.testing.assert_allclose(compiled(model, pictures), expected, atol=2e-5 * np.abs(expected).max())


def slow_conv(x: np.ndarray, kernel: Any, bias: Any, stride: int = 1) -> np.ndarray:
    """A convolution with zeros around the picture such that `ceil(side / stride)` pixels come out, in float64."""
    side = kernel.shape[0]
    pads = [(0, 0)]
    for length in x.shape[1:3]:
        missing = max((-(-length // stride) - 1) * stride + side - length, 0)
        pads.append((missing // 2, missing - missing // 2))
    padded = np.pad(x.astype(np.float64), [*pads, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))[
        :, ::stride, ::stride
    ]
    return np.einsum("bhwcij,ijcf->bhwf", windows, numpy(kernel)) + numpy(bias)


def slow_enlarge(x: np.ndarray) -> np.ndarray:
    """Twice the sides: new pixels lie a quarter beside the old ones."""
    for axis in (1, 2):
        last = x.shape[axis] - 1
        places = np.clip((np.arange(2 * (last + 1)) + 0.5) / 2 - 0.5, 0, last)
        below = np.floor(places).astype(int)
        part = (places - below).reshape([-1 if i == axis else 1 for i in range(4)])
        x = np.take(x, below, axis) * (1 - part) + np.take(x, np.minimum(below + 1, last), axis) * part
    return x


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.2 * x)


# Spectral normalisation


def spectral_conv(**arguments: Any) -> SpectralConv2D:
    layer = SpectralConv2D(4, **arguments)
    layer.build((None, None, None, 3))
    layer.kernel.assign(np.random.default_rng(9).normal(size=layer.kernel.shape))
    return layer


def test_power_iteration_finds_the_largest_singular_value_and_moves_in_training_alone() -> None:
    layer = spectral_conv()
    largest = np.linalg.svd(matrix_of(layer), compute_uv=False)[0]
    x = noise(1, 4, 4, 3)
    start, kernel = numpy(layer.singular).copy(), numpy(layer.kernel).copy()
    layer(x)
    np.testing.assert_array_equal(numpy(layer.singular), start)
    for _ in range(60):
        layer(x, training=True)
    estimate = np.linalg.norm(matrix_of(layer) @ numpy(layer.singular))
    assert estimate == pytest.approx(largest, rel=1e-4)
    np.testing.assert_array_equal(numpy(layer.kernel), kernel)  # the trained kernel is not divided
    expected = slow_conv(x, kernel / largest, 0)
    np.testing.assert_allclose(numpy(layer(x)), expected, atol=1e-3)


def test_the_gradient_passes_through_the_division() -> None:
    """Against differences of the kernel divided by its singular value in float64."""
    layer = spectral_conv(kernel_size=1)
    layer.singular.assign(np.linalg.svd(matrix_of(layer))[2][0])
    x, target = noise(1, 3, 3, 3), noise(1, 3, 3, 4)
    state = [variable.value for variable in layer.non_trainable_variables]

    def loss(kernel: Any) -> Any:
        y, _ = layer.stateless_call([kernel], state, x)
        return ops.sum(y * target)

    kernel = numpy(layer.kernel)
    _, (gradient,) = differentiate(loss)(kernel)

    def slow_loss(kernel: np.ndarray) -> float:
        largest = np.linalg.svd(kernel[0, 0], compute_uv=False)[0]
        return float(np.sum(slow_conv(x, kernel / largest, 0) * target))

    for index in np.ndindex(kernel.shape):
        step = np.zeros(kernel.shape)
        step[index] = 1e-5
        slope = (slow_loss(kernel + step) - slow_loss(kernel - step)) / 2e-5
        assert gradient[index] == pytest.approx(slope, abs=1e-4)


def test_a_kernel_of_zeros_gives_zeros() -> None:
    layer = spectral_conv()
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    np.testing.assert_array_equal(numpy(layer(noise(1, 4, 4, 3), training=True)), 0)
    assert np.all(np.isfinite(numpy(layer.singular)))


# As training calls them


@both
def test_frozen_for_the_generator_and_trained_for_itself(discriminator: Any) -> None:
    model = randomised(discriminator(num_features=2))
    pictures = noise(2, 13, 11, 3)
    weights = [numpy(variable).copy() for variable in model.trainable_variables]
    state = [numpy(variable).copy() for variable in model.non_trainable_variables]

    def frozen(pictures: Any, *weights: Any) -> Any:
        weights = [ops.stop_gradient(weight) for weight in weights]
        logits, moved = model.stateless_call(weights, state, pictures, training=True)
        return ops.mean(logits), moved

    def trained(pictures: Any, *weights: Any) -> Any:
        logits, moved = model.stateless_call(list(weights), state, pictures, training=True)
        return ops.mean(logits), moved

    (frozen_value, moved), (for_pictures, *for_weights) = differentiate(frozen)(pictures, *weights)
    assert np.all(for_pictures != 0)
    assert not any(np.any(gradient) for gradient in for_weights)
    (value, moved_too), (same, *for_weights) = differentiate(trained)(pictures, *weights)
    assert value == pytest.approx(float(frozen_value), rel=1e-5)
    np.testing.assert_allclose(same, for_pictures, atol=1e-5 * np.abs(same).max())
    for variable, gradient in zip(model.trainable_variables, for_weights, strict=True):
        assert np.any(gradient), variable.path
    for variable, before, after, again in zip(
        model.non_trainable_variables, state, moved, moved_too, strict=True
    ):
        # Where the true singular vector stands it stays.
        assert discriminator is UNetDiscriminator or np.any(after != before), variable.path
        np.testing.assert_allclose(after, again, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(numpy(variable), before)  # nothing was assigned


@both
def test_state_moves_in_training_alone(discriminator: Any) -> None:
    model = discriminator(num_features=2)
    before = [numpy(variable).copy() for variable in model.non_trainable_variables]
    model(noise(2, 8, 8, 3))
    for variable, old in zip(model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(numpy(variable), old)
    model(noise(2, 8, 8, 3), training=True)
    for variable, old in zip(model.non_trainable_variables, before, strict=True):
        assert np.any(numpy(variable) != old), variable.path


@pytest.mark.parametrize(
    "discriminator", [pytest.param(Discriminator, marks=pytest.mark.slow), UNetDiscriminator]
)
def test_it_learns_to_tell_two_kinds_of_pictures(discriminator: Any) -> None:
    keras.utils.set_random_seed(2)
    model = discriminator(num_features=4)
    sharp = noise(8, 8, 8, 3)
    pictures = np.concatenate([sharp, np.broadcast_to(sharp.mean((1, 2), keepdims=True), sharp.shape)])
    shape = model(pictures).shape
    labels = np.broadcast_to(np.repeat([1, 0], 8)[:, None, None, None], shape).astype(np.float32)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=False)
    losses = [float(model.train_on_batch(pictures, labels)) for _ in range(40)]
    assert losses[-1] < 0.6 * losses[0]


@both
def test_compiled_and_step_by_step_agree(discriminator: Any) -> None:
    model = randomised(discriminator(num_features=8))
    pictures = noise(1, 24, 16, 3)
    expected = numpy(model(pictures))
    np.testing.assert_allclose(compiled(model, pictures), expected, atol=2e-5 * np.abs(expected).max())


@both
def test_sizes_that_are_unknown_when_the_graph_is_made(discriminator: Any) -> None:
    model = randomised(discriminator(num_features=2))
    inputs = keras.Input((None, None, 3))
    graph = keras.Model(inputs, model(inputs))
    for size in ((16, 8), (13, 10), (5, 7)):
        pictures = noise(1, *size, 3)
        expected = numpy(model(pictures))
        np.testing.assert_allclose(compiled(graph, pictures), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("slope", [0.2, 0.1, 0.01])
def test_leaky_relu_behind_a_convolution_keeps_its_slope(slope: float, use_bias: bool) -> None:
    """With an addition between the two a compiled kernel takes 0.2 for it; the networks add behind the leaky ReLU."""
    conv = layers.Conv2D(4, 3, padding="same", use_bias=use_bias, bias_initializer="random_normal")
    conv.build((None, None, None, 4))
    x = noise(1, 24, 16, 4) - 0.5
    inputs = keras.Input((None, None, 4))
    leaky_conv = ops.leaky_relu(conv(inputs), slope)
    found, added = keras.Model(inputs, [leaky_conv, leaky_conv + inputs]).predict_on_batch(x)
    linear = slow_conv(x, conv.kernel, conv.bias if use_bias else 0)
    expected = np.where(linear > 0, linear, slope * linear)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(added, expected + x, atol=1e-5)


# Policies, configuration, files


@both
def test_bfloat16(discriminator: Any) -> None:
    model = randomised(discriminator(num_features=8))
    half = discriminator(num_features=8, dtype="mixed_bfloat16")
    half.set_weights(model.get_weights())
    for layer in half._flatten_layers():
        assert layer.dtype_policy.name == "mixed_bfloat16", layer.path
    pictures = noise(2, 17, 16, 3)
    for training in (False, True):
        expected, found = numpy(model(pictures, training=training)), half(pictures, training=training)
        assert keras.backend.standardize_dtype(found.dtype) == "float32"
        np.testing.assert_allclose(numpy(found), expected, atol=0.1 * np.abs(expected).max())
    for variable, other in zip(model.non_trainable_variables, half.non_trainable_variables, strict=True):
        np.testing.assert_allclose(numpy(other), numpy(variable), atol=0.02 * np.abs(numpy(variable)).max())


@pytest.mark.parametrize(
    "model",
    [
        lambda: Discriminator(num_features=2, kernel_size=5, num_channels=1, name="judge"),
        lambda: UNetDiscriminator(num_features=2, num_channels=1, dtype="mixed_bfloat16"),
    ],
    ids=["patches", "u_net"],
)
def test_it_comes_back_from_a_file(model: Any, tmp_path: Path) -> None:
    stored = randomised(model())
    stored.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert again.get_config() == stored.get_config()
    assert [variable.path for variable in again.variables] == [variable.path for variable in stored.variables]
    pictures = noise(1, 9, 8, 1)
    np.testing.assert_array_equal(numpy(again(pictures)), numpy(stored(pictures)))


@both
def test_what_is_refused(discriminator: Any) -> None:
    with pytest.raises(ValueError, match="incompatible"):
        discriminator(num_features=2)(noise(1, 8, 8, 1))
    with pytest.raises(ValueError, match="filters"):
        discriminator(num_features=0)


# The other backend

JAX_TESTS = (
    "(in_numpy and odd and not gray) or frozen or gradients_push or passes_through or formulas or content_loss_is "
    "or computed_elsewhere"
)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_features_losses_and_discriminators_hold_on_jax() -> None:
    """Of the tests of all three those that need no kernel compiled twice, which is where the time goes."""
    if keras.backend.backend() == "jax":
        pytest.skip("this process runs on JAX")
    report = run_python(
        *("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", JAX_TESTS),
        *("tests/models/test_discriminator.py", "tests/test_losses.py", "tests/models/test_vgg.py"),
        env={
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
    )
    assert "skipped" not in report.splitlines()[-1] and " passed" in report.splitlines()[-1], report
