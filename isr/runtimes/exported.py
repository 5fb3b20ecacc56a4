"""Open what `isr.runtimes.engines.conversion` wrote as an upscaler, without Keras and TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from isr.errors import RequestError
from isr.runtimes.engines import ENGINES, Session
from isr.spec import ModelSpec, Upscaler

ABOUT = "isr.json"


def open_exported(folder: str | Path, device: str | None = None) -> Upscaler:
    """Open the network in a folder of an engine's files; each file is read when it is first needed.

    Args:
        folder: with the engine's files and `isr.json`.
        device: "cpu", "gpu" or "gpu:N", for an engine that has GPUs; None: the processor.

    Returns:
        The network, as `isr.spec.MultiFrameUpscaler` where it takes several frames.

    Raises:
        RequestError: the folder is no such folder, or a file is missing.
        MachineError: the engine is not installed, or has no such GPU.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        spec, engine = ModelSpec.from_json(about["spec"]), ENGINES[about["engine"]]
        # By the names of the functions, those of their files, where these differ.
        stems = {name: name for name in about["functions"]} | about.get("files", {})
        module = engine.module
    except (OSError, ValueError, KeyError, TypeError):
        raise RequestError(f"{folder}: not a folder of an exported network") from None
    files = {name: folder / f"{stem}{module.SUFFIX}" for name, stem in stems.items()}
    if missing := [path.name for path in files.values() if not path.is_file()]:
        raise RequestError(f"{folder}: {missing[0]} is missing; export the network again")
    kind = SessionFramesUpscaler if spec.frame_axis else SessionUpscaler
    return kind(spec, lambda name: module.load(files[name], **engine.on(device)))


class SessionUpscaler:
    """A network of single pictures in an engine.

    Args:
        spec: its spec.
        open: the function of a name, such as `x2`; called once for each, when it is first needed.
    """

    def __init__(self, spec: ModelSpec, open: Callable[[str], Session]) -> None:
        self.spec = spec
        self.session = cache(open)

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        self.check(batch)
        return self.session(f"x{self.spec.check_scale(scale)}")({"lr": _float32(batch)})["sr"]

    def check(self, batch: np.ndarray) -> None:
        """Raise ValueError for another shape than the network takes."""
        frames = self.spec.frame_axis
        if (
            batch.ndim != 4 + len(frames)
            or batch.shape[1:-3] != frames
            or batch.shape[-1] != self.spec.num_channels
        ):
            wanted = ["batch", *map(str, frames), "height", "width", str(self.spec.num_channels)]
            raise ValueError(f"{self.spec.name} takes [{', '.join(wanted)}], not {batch.shape}")


class SessionFramesUpscaler(SessionUpscaler):
    """A network of several frames, in its two halves."""

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        self.check(batch)
        self.spec.check_scale(scale)
        return self.decode([self.encode(batch[:, index]) for index in range(self.spec.num_frames)])

    def encode(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        return self.session("encode")({"lr": _float32(frames)})

    def decode(self, window: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        stacked = {name: np.stack([frame[name] for frame in window], axis=1) for name in window[0]}
        return self.session("decode")(stacked)["sr"]

    def size(self, features: dict[str, np.ndarray]) -> int:
        return sum(value.nbytes for value in features.values())


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
