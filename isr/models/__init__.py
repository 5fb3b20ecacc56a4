"""The networks, and the one list of them."""

from __future__ import annotations

from isr.errors import RequestError
from isr.models.base import MultiFrameModel, SuperResolutionModel, load_keras_file
from isr.models.edsr import EDSR
from isr.models.edvr import EDVR
from isr.models.tdan import TDAN

__all__ = [
    "EDSR",
    "EDVR",
    "TDAN",
    "MultiFrameModel",
    "SuperResolutionModel",
    "get_model",
    "list_models",
    "load_keras_file",
]

MODELS: tuple[type[SuperResolutionModel], ...] = (EDSR, TDAN, EDVR)


def list_models() -> tuple[type[SuperResolutionModel], ...]:
    """Every network class; the conformance tests run over this list."""
    return MODELS


def get_model(name: str) -> type[SuperResolutionModel]:
    """The network class of that name; RequestError, which lists the names, where there is none."""
    for model in MODELS:
        if model.__name__ == name:
            return model
    known = ", ".join(model.__name__ for model in MODELS)
    raise RequestError(f"model {name!r} is unknown; the networks are {known}")
