"""Networks in LiteRT, formerly TensorFlow Lite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from isr.runtimes.engines import Session

SUFFIX = ".tflite"


def convert(function: Any, path: Path) -> None:
    """Write a `tf.function` with an input signature as a LiteRT file."""
    import tensorflow as tf

    from isr.runtimes.tensorflow import saved

    # By way of a SavedModel: given the function itself, the converter takes Keras 3 variables for uninitialised
    # memory, and the result is NaN.
    with saved(function) as folder:
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        path.write_bytes(converter.convert())


def load(path: Path) -> Session:
    """Open the function in a file that `convert` wrote."""
    runner = Interpreter(model_path=str(path)).get_signature_runner()

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(runner(**given))

    return run
