"""The engines beside Keras' own backend: which there are, what each can do, and which is fastest.

This registry imports none of them. Each has a module here with its name, which writes and opens its files. A network
is converted (`conversion`), compared with what was written (`comparison`), and kept (`cache`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from isr.errors import MachineError, RequestError

# A function of a network as an engine runs it: float32 arrays by the names of its inputs, and of its outputs.
Session = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


class EngineModule(Protocol):
    """What the module of an engine offers.

    Attributes:
        SUFFIX: of its files.
    """

    SUFFIX: str

    def convert(self, function: Any, path: Path) -> None:
        """Write a `tf.function` with an input signature as a file of the engine; none where it takes wirings alone."""

    def load(self, path: Path, **device: str | None) -> Session:
        """Open the function in a file of the engine; an engine that has GPUs takes `device`."""

    def session(self, graph: Any, **device: str | None) -> Session:
        """Open a graph that its module `NAME_graph` built; for engines that have one."""


@dataclass(frozen=True)
class Engine:
    """What is known of an engine without importing it.

    Attributes:
        name: as users write it; its module here and the extra that installs it have the same name.
        package: what it is imported as.
        distribution: what it is installed as.
        needed: further packages that converting needs, TensorFlow aside.
        precisions: what it computes in.
        builds: whether a module `NAME_graph` builds networks from a preset's weights, by their wirings.
        converts: whether it takes other networks, too, as TensorFlow computes them.
        stores: further precisions of the numbers in its files.
        gpus: whether it runs on GPUs by itself.
    """

    name: str
    package: str
    distribution: str
    needed: tuple[str, ...]
    precisions: tuple[str, ...]
    builds: bool = False
    converts: bool = True
    stores: tuple[str, ...] = ()
    gpus: bool = False

    @property
    def installed(self) -> bool:
        """Tell whether it can be imported."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """Return the version of the installed distribution, which may have another name, as onnxruntime-gpu."""
        # Takes as long to import as all the rest here, and a preset is opened without.
        from importlib.metadata import PackageNotFoundError, packages_distributions, version

        try:
            return version(self.distribution)
        except PackageNotFoundError:
            others = packages_distributions().get(self.package, [])
            return version(others[0]) if others else "unknown"

    def require(self, convert: bool = False) -> None:
        """Check that it can run, and with `convert` that it can convert.

        Raises:
            MachineError: a package is missing; the message says what to install.
        """
        for package in (self.package, *(self.needed if convert else ())):
            if importlib.util.find_spec(package) is None:
                raise MachineError(
                    f"engine {self.name}: {package} is not installed: pip install 'keras-isr[{self.name}]'"
                )

    @property
    def module(self) -> EngineModule:
        """Import its module, and with it the engine; raises as `require`."""
        self.require()
        return import_module(f"{__name__}.{self.name}")

    @property
    def graphs(self) -> Any:
        """Import the module that builds networks for it, and saves them; raises as `require`."""
        self.require()
        return import_module(f"{__name__}.{self.name}_graph")

    def on(self, device: str | None) -> dict[str, str | None]:
        """Return the argument of its functions that names a device; none for an engine without GPUs."""
        return {"device": device} if self.gpus else {}

    @property
    def devices(self) -> list[str]:
        """List the GPUs that it finds by itself, by name; none where it is not installed."""
        if not self.gpus or not self.installed:
            return []
        found: list[str] = import_module(f"{__name__}.{self.name}").devices()
        return found

    def describe_device(self, device: str | None) -> str:
        """Return what a reader calls the device that `device` names: "CPU", or "GPU 0 (AMD Radeon 780M)".

        Args:
            device: "cpu", "gpu" or "gpu:N"; None: the processor.

        Raises:
            MachineError: there is no such GPU.
        """
        name: str = import_module(f"{__name__}.{self.name}").describe(device) if self.gpus else "CPU"
        return name


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("openvino", "openvino", "openvino", (), ("float32", "bfloat16", "int8"), builds=True),
        Engine(
            "ncnn",
            "ncnn",
            "ncnn",
            (),
            ("float32",),
            builds=True,
            converts=False,
            stores=("float16",),
            gpus=True,
        ),
        Engine("onnxruntime", "onnxruntime", "onnxruntime", ("onnx", "tf2onnx"), ("float32",)),
        Engine("litert", "ai_edge_litert", "ai-edge-litert", (), ("float32",)),
    )
}
BACKENDS = ("tensorflow", "jax")
NAMES = ("auto", *BACKENDS, *ENGINES)


def check_engine(name: str) -> None:
    """Check the name of an engine.

    Raises:
        RequestError: the name is none of `NAMES`.
        MachineError: the engine is not installed.
    """
    if name not in NAMES:
        raise RequestError(f"engine {name!r} is unknown; it is one of {', '.join(NAMES)}")
    if name in ENGINES:
        ENGINES[name].require()


def backend() -> str:
    """Return the name of Keras' backend, without importing Keras where that has not happened yet."""
    # None where a program keeps Keras out.
    if keras := sys.modules.get("keras"):
        return str(keras.backend.backend())
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return str(json.loads((home / "keras.json").read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def fastest_on_gpu() -> str:
    """Return the engine that "auto" means for photographs on a GPU: Keras' own where CUDA is, or else ncnn."""
    vulkan = backend() == "tensorflow" and shutil.which("nvidia-smi") is None and ENGINES["ncnn"].installed
    return "ncnn" if vulkan else backend()


def fastest() -> str:
    """Return the engine that "auto" means for photographs where nothing was measured: OpenVINO without a GPU.

    OpenVINO is the fastest of those measured (`docs/engines.md`). On another backend than TensorFlow, which converts,
    Keras' own computes.
    """
    wanted = backend()
    gpu = shutil.which("nvidia-smi") is not None
    return "openvino" if wanted == "tensorflow" and not gpu and ENGINES["openvino"].installed else wanted


def candidates() -> list[str]:
    """List the engines that "auto" may take for photographs: the one of `fastest`, then others that start as fast.

    They compute on the processor; where there is an NVIDIA GPU, or Keras runs on another backend than TensorFlow, no
    other one than Keras' own is a candidate.
    """
    rule = fastest()
    if backend() != "tensorflow" or shutil.which("nvidia-smi") is not None:
        return [rule]
    others = [name for name, engine in ENGINES.items() if engine.builds and engine.installed and name != rule]
    return [rule, *others]
