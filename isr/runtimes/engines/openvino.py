"""Networks in OpenVINO."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from isr.runtimes.engines import Session

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
    """Compile a file or a model of OpenVINO; it computes in the precisions of its operations."""
    # Without the hint OpenVINO takes bfloat16 for everything on processors that have it.
    model = openvino.Core().compile_model(function, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [port.get_any_name() for port in model.outputs]

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            found = model(dict(given))
        except RuntimeError as error:
            if "alloc" in str(error).lower():
                shapes = ", ".join(str(value.shape) for value in given.values())
                raise MemoryError(f"no memory for arrays of {shapes}") from error
            raise
        # Copies: the next call writes into the same memory.
        return {name: np.array(found[index], np.float32) for index, name in enumerate(names)}

    return run
