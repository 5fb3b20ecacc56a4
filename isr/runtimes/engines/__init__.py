"""The engines beside Keras' own backend: which are installed, what each can, and where converted networks are kept."""

from __future__ import annotations

import importlib.metadata
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
    """What the module of an engine offers."""

    SUFFIX: str  # of its files

    def convert(self, function: Any, path: Path) -> None:
        """Write a `tf.function` with an input signature as a file of the engine."""

    def load(self, path: Path) -> Session:
        """The function in a file that `convert` wrote."""


@dataclass(frozen=True)
class Engine:
    """What is known of an engine without importing it.

    Attributes:
        name: as users write it; its module in `isr.runtimes.engines` and the extra that installs it have the same name.
        package: what it is imported as.
        distribution: what it is installed as.
        needed: further packages that converting needs, TensorFlow aside.
        precisions: what it computes in.
    """

    name: str
    package: str
    distribution: str
    needed: tuple[str, ...]
    precisions: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Whether it can be imported."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """Of the installed distribution."""
        return importlib.metadata.version(self.distribution)

    def require(self, convert: bool = False) -> None:
        """Raise MachineError, which says what to install, where it cannot run, or not `convert`."""
        for package in (self.package, *(self.needed if convert else ())):
            if importlib.util.find_spec(package) is None:
                raise MachineError(
                    f"engine {self.name}: {package} is not installed: pip install 'keras-isr[{self.name}]'"
                )

    @property
    def module(self) -> EngineModule:
        """Its module; imports the engine. Raises as `require`."""
        self.require()
        return import_module(f"{__name__}.{self.name}")


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("openvino", "openvino", "openvino", (), ("float32", "bfloat16", "int8")),
        Engine("onnxruntime", "onnxruntime", "onnxruntime", ("onnx", "tf2onnx"), ("float32",)),
        Engine("litert", "ai_edge_litert", "ai-edge-litert", (), ("float32",)),
    )
}
BACKENDS = ("tensorflow", "jax")
NAMES = ("auto", *BACKENDS, *ENGINES)


def check_engine(name: str) -> None:
    """Raise RequestError for an engine that is unknown, MachineError for one that is not installed."""
    if name not in NAMES:
        raise RequestError(f"engine {name!r} is unknown; it is one of {', '.join(NAMES)}")
    if name in ENGINES:
        ENGINES[name].require()


def backend() -> str:
    """Keras' backend, without importing Keras where that has not happened yet."""
    if "keras" in sys.modules:
        return str(sys.modules["keras"].backend.backend())
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        return str(json.loads((home / "keras.json").read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def fastest() -> str:
    """The engine that "auto" means for photographs: OpenVINO on a machine without a GPU.

    It is the fastest of those measured (`docs/engines.md`). On another backend than TensorFlow, which converts,
    Keras' own computes.
    """
    wanted = backend()
    gpu = shutil.which("nvidia-smi") is not None
    return "openvino" if wanted == "tensorflow" and not gpu and ENGINES["openvino"].installed else wanted


def cache_folder() -> Path:
    """Where converted networks are kept: `$ISR_CACHE`, or the user's cache folder of the system."""
    if named := os.environ.get("ISR_CACHE"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("keras-isr", appauthor=False)) / "engines"


def clear_cache() -> int:
    """Remove every converted network; returns the bytes that were freed."""
    folder = cache_folder()
    # By the names of the engines, so that nothing else goes should the variable name a folder with other things.
    kept = [folder / name for name in ENGINES if (folder / name).is_dir()]
    freed = sum(size_of(path) for path in kept)
    for path in kept:
        shutil.rmtree(path)
    return freed


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
