"""Networks in ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from isr.runtimes.engines import Session

SUFFIX = ".onnx"
OPSET = 18


def convert(function: Any, path: Path) -> None:
    """Write a `tf.function` with an input signature as an ONNX file."""
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=OPSET, output_path=str(path)
    )


def load(path: Path) -> Session:
    """Open the function in an ONNX file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            found = session.run(names, dict(given))
        except onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException as error:
            if "alloc" in str(error).lower():
                shapes = ", ".join(str(value.shape) for value in given.values())
                raise MemoryError(f"no memory for arrays of {shapes}") from error
            raise
        return dict(zip(names, found, strict=True))

    return run
