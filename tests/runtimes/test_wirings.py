"""Wirings: what engines are given without Keras computes what the Keras model does, for every network of the list."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from tiny_models import TINY, numpy, randomise

from isr.models import MultiFrameModel, SuperResolutionModel, get_model, list_models
from isr.runtimes import wirings
from isr.runtimes.engines import ENGINES

# Networks that no wiring serves, and why.
WITHOUT = {
    "Cascade": "a chain of others",
    "TDAN": "its gathers are faster in TensorFlow",
    "EDVR": "its gathers are faster in TensorFlow",
    "FlowVSR": "its gathers are faster in TensorFlow",
}
VARIANTS = [
    pytest.param(name, arguments, id=f"{name}-{index}")
    for name in (cls.__name__ for cls in list_models())
    if name not in WITHOUT
    for index, arguments in enumerate(TINY[name])
]
# As deep as those that are published: what is lost in few bits adds up.
VARIANTS += [pytest.param("RRDBNet", {"scale": 4}, id="RRDBNet-23", marks=pytest.mark.slow)]


@pytest.fixture
def graphs() -> Any:
    pytest.importorskip("openvino")
    from isr.runtimes.engines import openvino_graph

    return openvino_graph


def plain(name: str, arguments: dict[str, Any]) -> SuperResolutionModel:
    return randomise(get_model(name)(**arguments)).reparametrise()


def run(engine: str, model: SuperResolutionModel, lr: np.ndarray, scale: int, *more: Any) -> np.ndarray:
    known = ENGINES[engine]
    pytest.importorskip(known.package)
    weights = {name: numpy(value) for name, value in model.named_weights().items()}
    network = wirings.Network(type(model).__name__, model.preset_arguments(), weights)
    made = known.graphs.build(network, scale, *more)
    assert model.spec.scales[1:] or network.used == weights.keys()
    return known.module.session(made)({"lr": lr})["sr"]


def picture(model: SuperResolutionModel) -> np.ndarray:
    sides = [side + -side % model.spec.size_multiple for side in (13, 22)]
    return np.random.default_rng(0).random((2, *sides, model.spec.num_channels), np.float32)


def test_every_network_has_a_wiring_or_a_reason() -> None:
    assert wirings.WIRINGS.keys() | WITHOUT.keys() == {cls.__name__ for cls in list_models()}
    video = {cls.__name__ for cls in list_models() if issubclass(cls, MultiFrameModel)}
    assert video <= WITHOUT.keys()


@pytest.mark.parametrize("engine", [name for name, engine in ENGINES.items() if engine.builds])
@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_float32_is_keras(name: str, arguments: dict[str, Any], engine: str) -> None:
    model = plain(name, arguments)
    lr = picture(model)
    for scale in model.scales:
        expected = numpy(model.at_scale(lr, scale))
        assert np.abs(run(engine, model, lr, scale) - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_bfloat16_is_as_close_as_keras(name: str, arguments: dict[str, Any]) -> None:
    model = plain(name, arguments)
    lr = picture(model)
    for scale in model.scales:
        exact = numpy(model.at_scale(lr, scale))
        keras_own = numpy(model.with_policy("mixed_bfloat16").at_scale(lr, scale))
        ours = run("openvino", model, lr, scale, "bfloat16")
        assert 0 < rms(ours - exact) <= 1.5 * rms(keras_own - exact) + 1e-7


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_the_spec_is_the_models(name: str, arguments: dict[str, Any]) -> None:
    model = plain(name, arguments)
    found = wirings.spec_of(model.name, name, model.preset_arguments(), model.scales)
    assert found == model.spec


def test_the_form_that_is_trained_has_none() -> None:
    assert wirings.find("SPAN", {"reparametrised": False}) is None
    assert wirings.find("SPAN", {"reparametrised": True}) is not None
    assert wirings.find("Unknown", {}) is None


def test_rounding_to_bfloat16(graphs: Any) -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 10.0 ** np.arange(
        -20, 20
    ).repeat(25)
    values = values.astype(np.float32)
    expected = numpy(keras.ops.cast(keras.ops.cast(values, "bfloat16"), "float32"))
    np.testing.assert_array_equal(graphs.nearest_bfloat16(values), expected)


@pytest.mark.parametrize("engine", [name for name, engine in ENGINES.items() if engine.builds])
def test_opening_a_preset_imports_no_framework(engine: str) -> None:
    from children import run_python

    pytest.importorskip(ENGINES[engine].package)
    code = f"""
import sys
sys.modules["keras"] = sys.modules["tensorflow"] = None
import numpy as np
import isr
photo = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
assert isr.upscale("edsr_fast_x2", photo, engine={engine!r}, precision="auto").shape == (24, 34, 3)
assert isr.upscale("mdsr_baseline", photo, engine={engine!r}, scale=3).shape == (36, 51, 3)
"""
    run_python("-c", code)
