"""Traps of Keras 3 and TensorFlow, each checked in our code.

That variables exist after the constructor, that files load in a fresh process, that weights must match exactly and
that policies reach every layer is checked for every network in `test_model_contract.py`; here are the rest and the
cases that look like a user's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from children import run_python
from tiny_models import FIRST, FIRST_THEN_SLOW, Case, numpy, pictures, randomise

from isr.errors import ISRError, RequestError
from isr.models import EDSR
from isr.models.loading import load
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.runtimes import as_upscaler
from isr.train.optimizer import AveragingAdam
from isr.train.watch import check_healthy

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow alone")


def tiny(**arguments: object) -> EDSR:
    return EDSR(**{"num_features": 8, "num_blocks": 1, **arguments})  # type: ignore[arg-type]


# Weights are lost without a word


def test_weights_load_before_the_first_call(tmp_path: Path) -> None:
    trained = randomise(tiny())
    trained.save_weights(tmp_path / "a.weights.h5")
    fresh = tiny()
    fresh.load_weights(tmp_path / "a.weights.h5")
    lr = pictures(fresh, 5, 6)
    np.testing.assert_array_equal(numpy(fresh(lr)), numpy(trained(lr)))


@pytest.mark.parametrize(
    "other", [{"num_blocks": 2}, {"num_features": 4}, {"scale": 3}, {"num_channels": 1}], ids=str
)
@pytest.mark.parametrize("suffix", [".weights.h5", ".safetensors"])
def test_weights_of_another_edsr_are_refused(tmp_path: Path, other: dict[str, int], suffix: str) -> None:
    """Keras takes a file with more layers silently."""
    tiny(**other).save_preset(tmp_path)
    tiny(**other).save_weights(tmp_path / "weights.weights.h5")
    with pytest.raises(RequestError, match="weights"):
        tiny().load_weights(tmp_path / f"weights{suffix}")


def test_weights_saved_with_an_optimizer_load_without_it(tmp_path: Path) -> None:
    trained = tiny()
    trained.compile("adam", "mse")
    lr = pictures(trained, 4, 4)
    trained.train_on_batch(lr, np.zeros((1, 8, 8, 3), np.float32))
    trained.save_weights(tmp_path / "a.weights.h5")
    fresh = tiny()
    fresh.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(numpy(fresh(lr)), numpy(trained(lr)))


# Keras reports every broken file as "not found"


@pytest.mark.parametrize("state", ["missing", "empty", "junk", "truncated"])
@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5", "a.safetensors"])
def test_a_broken_file_is_one_line_that_names_it(tmp_path: Path, name: str, state: str) -> None:
    model, path = tiny(), tmp_path / name
    if name == "a.keras":
        model.save(path)
    elif name == "a.weights.h5":
        model.save_weights(path)
    else:
        model.save_preset(tmp_path)
        (tmp_path / "weights.safetensors").rename(path)
    whole = path.read_bytes()
    path.write_bytes({"missing": b"", "empty": b"", "junk": b"junk" * 99, "truncated": whole[:-900]}[state])
    if state == "missing":
        path.unlink()
    with pytest.raises(RequestError) as caught:
        load(path) if name == "a.keras" else model.load_weights(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert ("no such" in message) == (state == "missing")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"model": "EDSR"}', '{"model": "EDSR", "arguments": 3}', '{"model": 1, "x": 2}'],
)
def test_a_broken_preset_is_one_line_that_names_it(tmp_path: Path, text: str) -> None:
    tiny().save_preset(tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_preset_with_arguments_that_the_network_refuses_is_one_line_that_names_it(tmp_path: Path) -> None:
    tiny().save_preset(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for bad in ({"scale": 7}, {"no_such_argument": 1}, {"num_features": "many"}):
        changed = {**config, "arguments": {**config["arguments"], **bad}}
        (tmp_path / "config.json").write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(RequestError) as caught:
            load(tmp_path)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_keras_file_of_a_foreign_model_is_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "a.keras")
    with pytest.raises(RequestError, match="Sequential, which is no network of this package"):
        load(tmp_path / "a.keras")


# NaN that hides


def hidden_nan() -> EDSR:
    """A network whose only NaN stands before a ReLU."""
    model = randomise(tiny())
    bias = model.named_weights()["block0/conv1/bias"]
    bias.assign(np.full(bias.shape, np.nan, np.float32))
    return model


@on_tensorflow
def test_the_output_alone_does_not_show_a_nan_before_a_relu() -> None:
    """Why the weights are looked at. Where this fails the trap is gone, or the processor is another."""
    model = hidden_nan()
    if not np.all(np.isfinite(as_upscaler(model)(pictures(model, 32, 32)))):
        pytest.skip("the kernels of this machine show the NaN")


def test_training_looks_at_the_weights_not_only_at_the_loss(tmp_path: Path) -> None:
    with pytest.raises(ISRError, match="block0/conv1/bias is not a number"):
        check_healthy(hidden_nan().variables, 0.01, 0.01, 7, tmp_path)
    check_healthy(randomise(tiny()).variables, 0.01, 0.01, 7, tmp_path)
    with pytest.raises(ISRError, match="loss is nan"):
        check_healthy(tiny().variables, float("nan"), 0.01, 7, tmp_path)


def test_a_nan_in_one_batch_is_noticed_whatever_the_loss_says(tmp_path: Path) -> None:
    model = tiny()
    model.compile(AveragingAdam(1e-3), "mae", jit_compile=keras.backend.backend() != "tensorflow")
    lr = pictures(model, 16, 16, batch=2)
    lr[0, 3, 3] = np.nan
    for _ in range(2):
        model.train_on_batch(lr, np.zeros((2, 32, 32, 3), np.float32))
    with pytest.raises(ISRError, match="not a number"):
        check_healthy(model.variables, 0.01, 0.01, 2, tmp_path)


@pytest.mark.parametrize("kind", ["preset", "a.keras", "a.weights.h5"])
def test_weights_with_a_hidden_nan_are_not_loaded(tmp_path: Path, kind: str) -> None:
    path, broken = tmp_path / kind, hidden_nan()
    save: dict[str, Callable[[Path], None]] = {
        "preset": broken.save_preset,
        "a.keras": broken.save,
        "a.weights.h5": broken.save_weights,
    }
    save[kind](path)
    with pytest.raises(RequestError, match="block0/conv1/bias holds values that are no numbers"):
        tiny().load_weights(path) if kind == "a.weights.h5" else load(path)


@pytest.mark.parametrize("layer", ["head", "block0/conv2", "tail"])
def test_predict_refuses_a_nan_that_reaches_the_picture(layer: str) -> None:
    model = randomise(tiny())
    model.named_weights()[f"{layer}/bias"].assign(np.full(8 if layer != "tail" else 3, np.nan, np.float32))
    picture = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    with pytest.raises(ISRError, match="no numbers"):
        enlarge(as_upscaler(model), picture, TileOptions())


@pytest.mark.parametrize("mean", [0.5, None])  # None: the mean of DIV2K, whose channels differ
def test_predict_refuses_one_colour_made_from_several(mean: float | None) -> None:
    """A dead network gives its mean everywhere."""
    model = tiny(pixel_mean=mean)
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape, np.float32))
    picture = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    with pytest.raises(ISRError, match="one colour"):
        enlarge(as_upscaler(model), picture, TileOptions())


# The average of weights


def one_weight(optimizer: AveragingAdam, value: float) -> keras.Variable:
    variable = keras.Variable(np.full(2, value, np.float32), name="w")
    optimizer.build([variable])
    return variable


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.999])
def test_average_follows_its_formula(momentum: float) -> None:
    optimizer = AveragingAdam(0.0, average_momentum=momentum)
    variable = one_weight(optimizer, 1000.0)
    expected, rng = 1000.0, np.random.default_rng(0)
    for n in range(60):
        value = float(rng.normal())
        variable.assign([value, value])
        optimizer.apply([keras.ops.zeros(2)], [variable])  # the step itself moves nothing
        share = min(momentum, (1 + n) / (10 + n)) if n else 0  # the first step sets the average
        expected = share * expected + (1 - share) * value
        np.testing.assert_allclose(numpy(optimizer.averages[0]), expected, rtol=1e-4)


def test_average_forgets_the_random_start_within_few_steps() -> None:
    """With a constant momentum of 0.999, 96% of the start would still be in it."""
    optimizer = AveragingAdam(0.0, average_momentum=0.999)
    variable = one_weight(optimizer, 1000.0)
    for _ in range(40):
        variable.assign([1.0, 1.0])
        optimizer.apply([keras.ops.zeros(2)], [variable])
    np.testing.assert_allclose(numpy(optimizer.averages[0]), 1.0, atol=0.01)


@on_tensorflow  # on JAX a callback sees the weights of the last synchronisation
def test_fit_averages_at_every_step_and_leaves_the_weights_alone() -> None:
    """In the compiled step, too; Keras' own average replaces the weights when `fit` ends."""
    keras.utils.set_random_seed(0)
    model = tiny()
    optimizer = AveragingAdam(1e-3, average_momentum=0.99)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "mae", jit_compile=keras.backend.backend() != "tensorflow")
    history = [numpy(model.trainable_variables[0]).copy()]

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            history.append(np.array(self.model.get_weights()[0]))

    lr = pictures(model, 6, 6, batch=6)
    model.fit(lr, np.ones((6, 12, 12, 3), np.float32), batch_size=1, verbose=0, callbacks=[Note()])
    expected = history[0]
    for n, weights in enumerate(history[1:]):
        share = min(0.99, (1 + n) / (10 + n)) if n else 0
        expected = share * expected + (1 - share) * weights
    assert len(history) == 7
    np.testing.assert_allclose(numpy(optimizer.averages[0]), expected, atol=1e-6)
    np.testing.assert_array_equal(model.get_weights()[0], history[-1])
    assert not np.array_equal(history[-1], expected)


@on_tensorflow
def test_average_starts_at_the_weights_also_where_fit_builds_the_optimizer() -> None:
    model = tiny()
    optimizer = AveragingAdam(0.0)
    model.compile(optimizer, "mae", jit_compile=False)
    lr = pictures(model, 6, 6)
    model.train_on_batch(lr, np.ones((1, 12, 12, 3), np.float32))
    np.testing.assert_allclose(numpy(optimizer.averages[0]), model.get_weights()[0], atol=1e-6)


def test_no_average_is_kept_without_momentum() -> None:
    optimizer = AveragingAdam(0.1, average_momentum=0)
    variable = one_weight(optimizer, 1.0)
    optimizer.apply([keras.ops.ones(2)], [variable])
    assert optimizer.averages == [] and numpy(variable)[0] < 1


def test_average_is_float32_in_mixed_precision() -> None:
    model = tiny(dtype="mixed_bfloat16")
    optimizer = AveragingAdam()
    optimizer.build(model.trainable_variables)
    assert {average.dtype for average in optimizer.averages} == {"float32"}


# Graphs of unknown height and width


@on_tensorflow
@pytest.mark.parametrize("case", FIRST_THEN_SLOW)
def test_one_graph_takes_every_size(case: Case) -> None:
    import tensorflow as tf

    model = case.shared()
    shape = [None] * (pictures(model, 1, 1).ndim - 1) + [model.num_channels]
    graph = tf.function(lambda lr: model(lr), input_signature=[tf.TensorSpec(shape)])
    for batch, height, width in [(1, 5, 7), (2, 8, 3)]:
        lr = pictures(model, height, width, batch)
        exact = numpy(model(lr))
        np.testing.assert_allclose(graph(lr).numpy(), exact, atol=1e-5 * max(1, np.abs(exact).max()))


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_a_functional_model_of_unknown_size_can_hold_the_network(case: Case) -> None:
    model = case.shared()
    sample = pictures(model, 5, 7)
    inputs = keras.Input([None] * (sample.ndim - 2) + [model.num_channels])
    outer = keras.Model(inputs, model(inputs))
    np.testing.assert_allclose(numpy(outer(sample)), numpy(model(sample)), atol=1e-5)


@on_tensorflow
def test_the_upscaler_is_traced_at_most_twice_whatever_the_sizes() -> None:
    upscaler = as_upscaler(tiny())
    for side in (4, 5, 6, 7, 8):
        upscaler(np.zeros((1, side, side + 1, 3), np.float32))
    assert upscaler._graphs[2].experimental_get_tracing_count() <= 2


# Imports take seconds


def test_help_and_array_modules_import_no_framework() -> None:
    code = (
        "import sys\n"
        "import isr, isr.config, isr.data.batches, isr.data.pairs, isr.imresize, isr.io.pictures, isr.metrics\n"
        "import isr.predict.picture, isr.presets, isr.tiles\n"
        "from isr.cli import main\n"
        "for arguments in (['--help'], ['predict', '--help'], ['train', '--help'], ['--version'], ['models']):\n"
        "    sys.argv = ['isr', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code, (arguments, stop.code)\n"
        "heavy = {'tensorflow', 'keras', 'jax'} & {name.split('.')[0] for name in sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    assert "Usage" in run_python("-c", code)


# A fused kernel with another slope


@on_tensorflow
def test_leaky_relu_behind_a_pair_of_convolutions_keeps_its_slope_in_a_graph() -> None:
    """TensorFlow 2.21 with oneDNN fuses convolution, `bias_add`, addition and leaky ReLU, and then takes 0.2."""
    import tensorflow as tf

    from isr.layers import PairConv

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 16, 16, 8)).astype(np.float32)
    pair = PairConv(8, name="pair")
    pair.build(a.shape)
    pair.bias.assign(rng.normal(size=8))

    def forward(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return keras.ops.leaky_relu(pair.first(a) + pair.second(b), 0.1)

    np.testing.assert_allclose(numpy(tf.function(forward)(a, b)), numpy(forward(a, b)), atol=1e-5)
