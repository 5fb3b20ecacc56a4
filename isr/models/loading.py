"""Opening a model from whatever it is stored in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isr import presets
from isr.errors import RequestError
from isr.models.aplus import APlus
from isr.models.base import SuperResolutionModel, load_keras_file


def load(source: str | Path, **kwargs: Any) -> SuperResolutionModel:
    """Open the model of a preset's name, a preset's folder or a `.keras` file, with its weights.

    Args:
        source: what to open.
        kwargs: override arguments of the constructor, for presets.

    Raises:
        RequestError: the source is none of these; the message names it.
    """
    path = Path(source)
    if path.suffix == ".keras":
        return load_keras_file(path)
    if path.is_file():
        raise RequestError(f"{path}: give a preset folder or a .keras file; bare weights name no network")
    return SuperResolutionModel.from_preset(source, **kwargs)


def load_upscaler(source: str | Path) -> SuperResolutionModel | APlus:
    """Open whatever upscales, from a preset or a `.keras` file: as `load`, and A+, which is no network."""
    path = Path(source)
    if path.suffix != ".keras" and not path.is_file():
        config = presets.read_config(presets.find(source))
        if config["model"] == APlus.__name__:
            return APlus.from_preset(source)
    return load(source)
