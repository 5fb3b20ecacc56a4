"""Networks as files of another engine: one file for each function, and what they are in `isr.json`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from isr import __version__
from isr.errors import ISRError, RequestError, Unconvertible
from isr.io.files import whole_folder
from isr.layers.strips import strips
from isr.models import MODELS, MultiFrameModel, SuperResolutionModel
from isr.presets import check_numbers
from isr.runtimes import PRECISIONS, wirings
from isr.runtimes.eight_bits import EightBitConv
from isr.runtimes.engines import ENGINES, Engine
from isr.runtimes.engines.comparison import compare
from isr.runtimes.exported import ABOUT
from isr.runtimes.int8 import computing_in_8_bits


def write(
    model: SuperResolutionModel,
    folder: Path,
    engine: str,
    precision: str = "float32",
    convs: Mapping[str, EightBitConv] | None = None,
    *,
    halves_only: bool = False,
) -> float:
    """Write a network as a folder of an engine's files, open it again, and compare the two.

    An engine that builds networks by their wirings writes what it builds. All others are converted as TensorFlow
    computes them, and so are networks of several frames and subclasses of this package's networks.

    The files are named after the scale, `x2.onnx`, and take `lr`, float32 `[b, h, w, c]` or `[b, t, h, w, c]` about
    [0, 1] of any size, and give `sr`. Networks of several frames have `encode` and `decode` too, as of
    `MultiFrameModel`. ncnn has pairs of files of its own, which take and give planes (`ncnn_graph`); they are named
    after the network and its scale, as programs that open them expect.

    Args:
        model: the network; its policy does not matter.
        folder: that does not exist yet.
        engine: "openvino", "onnxruntime", "litert" or "ncnn".
        precision: one of the engine's, or of those that it stores; "float32" for networks of several frames.
        convs: for "int8", the convolutions in 8 bits.
        halves_only: of a network of several frames, no function of a whole window.

    Returns:
        The largest difference to the network, of values in [0, 1]; of others, as a part of the largest.

    Raises:
        RequestError: the folder exists, Keras runs on another backend than TensorFlow, the precision is not offered,
            the engine has no such networks, or the weights are no numbers.
        MachineError: a package is missing.
        Unconvertible: the engine cannot take the network, or what was opened again differs. Nothing is left then.
    """
    known = ENGINES[engine]
    if precision not in known.precisions + known.stores:
        offered = ", ".join(known.precisions + known.stores)
        raise RequestError(
            f"precision {precision!r}: {engine} computes in {offered} here; choose one of them"
        )
    if not known.converts:
        model = model.reparametrise()
        wirings.check(type(model).__name__, model.name, engine)
    if model.spec.num_frames > 1 and precision != "float32":
        # OpenVINO does not read TensorFlow's constants in bfloat16, which deformable layers have.
        raise RequestError(
            f"{model.name}: networks of several frames are converted in float32, not in {precision}"
        )
    if keras.backend.backend() != "tensorflow":
        raise RequestError(
            f"networks are converted for {engine} on TensorFlow, and Keras runs on {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow"
        )
    known.require(convert=True)
    check_numbers(model.named_weights(), model.name)
    policy = PRECISIONS.get(precision, "float32")
    model = model.with_policy(policy)
    wired = _is_wired(model, known)
    if precision == "bfloat16" and not wired:
        round_kernels(model)
    eight_bits = computing_in_8_bits(model, convs or {}) if precision == "int8" else nullcontext()
    with whole_folder(folder) as temporary, strips(megabytes=None), eight_bits:
        about = {**describe_model(model), "engine": engine, "precision": precision}
        try:
            if wired:
                about |= _write_graphs(model, temporary, known, precision, convs)
            else:
                names = []
                for name, function in functions(model, halves_only).items():
                    known.module.convert(function, temporary / f"{name}{known.module.SUFFIX}")
                    names.append(name)
                about["functions"] = names
        except (ISRError, MemoryError, OSError):
            raise
        # Every converter has exceptions of its own, and their texts have many lines.
        except Exception as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise Unconvertible(
                f"{model.name}: {engine} cannot take it in {precision}: {reason[0]}"
            ) from error
        about["versions"][known.distribution] = known.version
        (temporary / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return compare(temporary, model, precision)


def _is_wired(model: SuperResolutionModel, engine: Engine) -> bool:
    """Tell whether an engine builds a network by its wiring; a subclass may compute something else."""
    if not engine.converts:
        return True
    known = type(model) in MODELS and wirings.find(type(model).__name__, model.preset_arguments()) is not None
    return engine.builds and known


def _write_graphs(
    model: SuperResolutionModel,
    folder: Path,
    engine: Engine,
    precision: str,
    convs: Mapping[str, EightBitConv] | None,
) -> dict[str, Any]:
    """Write a network by its wiring, a graph for each scale, and return what `isr.json` says of them."""
    weights = {name: np.asarray(value) for name, value in model.named_weights().items()}
    network = wirings.Network(type(model).__name__, model.preset_arguments(), weights)
    more = {} if precision != "int8" else {"convs": convs}
    files = {}
    for scale in model.spec.scales:
        graph = engine.graphs.build(network, scale, precision, **more)
        files[f"x{scale}"] = stem = f"x{scale}" if engine.converts else _full_name(model.name, scale)
        engine.graphs.save(graph, folder / f"{stem}{engine.module.SUFFIX}")
    return {"functions": list(files), "files": files}


def _full_name(network: str, scale: int) -> str:
    """The name of a network with its scale in it."""
    named = re.search(rf"(?<!\d)(x{scale}|{scale}x)(?!\d)", network)
    return network if named else f"{network}_x{scale}"


def round_kernels(model: SuperResolutionModel) -> None:
    """Round what is multiplied in bfloat16 to its nearest numbers: OpenVINO cuts the bits of constants off."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D) and layer.compute_dtype == "bfloat16":
            for variable in layer.weights:
                variable.assign(keras.ops.cast(keras.ops.cast(variable, "bfloat16"), "float32"))


def functions(model: SuperResolutionModel, halves_only: bool) -> dict[str, Any]:
    """Return the functions of a network by the names of their files, each a `tf.function` of any size."""
    spec = model.spec
    frame = (None, None, spec.num_channels)
    graph = partial(tf.function, autograph=False, jit_compile=False)

    def upscale(scale: int) -> Any:
        lr = tf.TensorSpec((None, *spec.frame_axis, *frame), tf.float32, "lr")
        return graph(lambda lr: {"sr": model.at_scale(lr, scale)}, input_signature=[lr])

    made = {f"x{scale}": upscale(scale) for scale in spec.scales}
    if not isinstance(model, MultiFrameModel):
        return made
    lr = tf.TensorSpec((None, *frame), tf.float32, "lr")
    encode = graph(model.encode, input_signature=[lr])
    features = encode.get_concrete_function().structured_outputs
    window = {
        name: tf.TensorSpec((None, spec.num_frames, *value.shape[1:]), tf.float32, name)
        for name, value in sorted(features.items())
    }
    halves = {
        "encode": graph(
            lambda lr: {k: tf.cast(v, tf.float32) for k, v in model.encode(lr).items()}, input_signature=[lr]
        ),
        "decode": graph(
            lambda *given: {"sr": model.decode(dict(zip(window, given, strict=True)))},
            input_signature=list(window.values()),
        ),
    }
    return halves if halves_only else made | halves


def describe_model(model: SuperResolutionModel) -> dict[str, Any]:
    """Describe a network for the readers of an exported folder, as plain JSON values."""
    digest = hashlib.sha256()
    for name, value in sorted(model.named_weights().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return {
        "spec": model.spec.to_json(),
        "model": type(model).__name__,
        "arguments": model.preset_arguments(),
        "weights_sha256": digest.hexdigest(),
        "versions": {"keras-isr": __version__, **{name: version(name) for name in ("keras", "tensorflow")}},
    }
