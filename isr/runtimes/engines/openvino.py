"""Networks in OpenVINO."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from isr.runtimes.engines import Session
from isr.runtimes.engines.pieces import pieces

# OpenVINO reports its use to its makers unless told otherwise. Without this package it has a stand-in that does
# nothing, so the entry comes before the import.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

# The package imports its converter, which takes half the time of all and serves `convert` alone. Kept out of this
# import, it is then there for whoever calls it.
_CONVERTER = "openvino.tools.ovc"
_kept_out = "openvino" not in sys.modules
if _kept_out:
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]

import openvino  # noqa: E402
from openvino import opset13 as opset  # noqa: E402


def _convert_model(*given: Any, **named: Any) -> Any:
    """Convert as `openvino.convert_model` does."""
    return import_module(_CONVERTER).convert_model(*given, **named)


if _kept_out:
    del sys.modules[_CONVERTER]
    openvino.convert_model = _convert_model

SUFFIX = ".xml"  # the weights lie beside it in a .bin
# The name of the operation at which the body of a network ends, where all that follows depends on it alone.
WAIST = "waist"


def convert(function: Any, path: Path) -> None:
    """Write a `tf.function` with an input signature as `path` and the `.bin` of the same name.

    Convolutions between casts to bfloat16 stay so, and rounding to 8 bits around a convolution becomes one in 8 bits.
    """
    from isr.runtimes.tensorflow import saved

    with saved(function) as folder:
        model = openvino.convert_model(folder)
    round_to_nearest(model)
    # Not in half precision: the weights would be rounded.
    openvino.save_model(model, path, compress_to_fp16=False)


def round_to_nearest(model: Any) -> None:
    """Before every cast to bfloat16, round: OpenVINO cuts the bits off, which makes all features smaller by 0.14 %."""
    for cast in model.get_ordered_ops():
        if cast.get_type_name() == "Convert" and cast.get_destination_type() == "bf16":
            value = cast.input_value(0)
            # Veltkamp's split: of the 24 significant bits of float32, the nearest 8.
            large = opset.multiply(value, np.float32(2**16 + 1))
            nearest = opset.subtract(large, opset.subtract(large, value))
            cast.input(0).replace_source_output(nearest.output(0))


def load(path: Path) -> Session:
    """Open the function in a file that `convert` wrote; computes in the precisions of the file."""
    return session(path)


def session(function: Path | openvino.Model) -> Session:
    """Compile a file or a model of OpenVINO; it computes in the precisions of its operations.

    Where the end of the body is marked, what enlarges behind it goes piece by piece.
    """
    model = openvino.Core().read_model(function) if isinstance(function, Path) else function
    halves = _halves(model)
    if halves is None:
        return _compiled(model)
    body, tail = (_compiled(half) for half in halves)
    reach, scale = _sight(halves[1])

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        features = body(given)[WAIST]
        count, _, height, width = features.shape
        sr = np.empty((count, scale * height, scale * width, given["lr"].shape[-1]), np.float32)
        for piece in pieces(height, width, reach, scale):
            read = np.ascontiguousarray(features[:, :, piece.rows, piece.columns])
            sr[:, *piece.placed] = tail({WAIST: read})["sr"][:, *piece.kept]
        return {"sr": sr}

    return run


def _compiled(model: openvino.Model) -> Session:
    # Without the hint OpenVINO takes bfloat16 for everything on processors that have it.
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [port.get_any_name() for port in compiled.outputs]

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            found = compiled(dict(given))
        except RuntimeError as error:
            if "alloc" in str(error).lower():
                shapes = ", ".join(str(value.shape) for value in given.values())
                raise MemoryError(f"no memory for arrays of {shapes}") from error
            raise
        # Copies: the next call writes into the same memory.
        return {name: np.array(found[index], np.float32) for index, name in enumerate(names)}

    return run


def _halves(model: openvino.Model) -> tuple[openvino.Model, openvino.Model] | None:
    """The body of a network, and what enlarges; None where its end is not marked."""
    if _waist(model) is None:
        return None
    tail = model.clone()
    end, again = (_waist(half).output(0) for half in (model, tail))
    features = opset.parameter(again.get_partial_shape(), openvino.Type.f32, WAIST)
    features.output(0).set_names({WAIST})
    value = opset.convert(features, again.get_element_type())
    for taken in again.get_target_inputs():
        taken.replace_source_output(value.output(0))
    told = opset.convert(end, "f32")
    told.output(0).set_names({WAIST})
    body = openvino.Model([opset.result(told)], model.get_parameters())
    return body, openvino.Model(tail.get_results(), [features])


def _waist(model: openvino.Model) -> Any:
    return next((node for node in model.get_ordered_ops() if node.get_friendly_name() == WAIST), None)


def _sight(tail: openvino.Model) -> tuple[int, int]:
    """How far what enlarges sees, in pixels of the body, and how much it enlarges."""
    reach, scale = Fraction(0), 1
    for node in tail.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            reach += Fraction(node.input_value(1).get_partial_shape()[-1].get_length() // 2, scale)
        elif node.get_type_name() == "DepthToSpace":
            scale *= node.get_attributes()["block_size"]
    return math.ceil(reach), scale
