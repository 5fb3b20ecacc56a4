"""The networks, and the one list of them."""

from __future__ import annotations

# How each network begins: a file registers what it knows.
import isr.models.starts.compact
import isr.models.starts.edsr
import isr.models.starts.edvr
import isr.models.starts.flowvsr
import isr.models.starts.mdsr
import isr.models.starts.rdn
import isr.models.starts.rrdn
import isr.models.starts.span
import isr.models.starts.tdan  # noqa: F401
from isr.aplus import APlus
from isr.errors import RequestError
from isr.models.base import MultiFrameModel, SuperResolutionModel
from isr.models.cascade import Cascade
from isr.models.compact import Compact
from isr.models.discriminator import Discriminator, UNetDiscriminator
from isr.models.edsr import EDSR
from isr.models.edvr import EDVR
from isr.models.flowvsr import FlowVSR
from isr.models.loading import load_keras_file
from isr.models.mdsr import MDSR
from isr.models.rdn import RDN
from isr.models.rrdn import RRDN, RRDBNet
from isr.models.span import SPAN
from isr.models.tdan import TDAN
from isr.models.vgg import VGG

__all__ = [
    "EDSR",
    "EDVR",
    "MDSR",
    "RDN",
    "RRDN",
    "SPAN",
    "TDAN",
    "VGG",
    "APlus",
    "Cascade",
    "Compact",
    "Discriminator",
    "FlowVSR",
    "MultiFrameModel",
    "RRDBNet",
    "SuperResolutionModel",
    "UNetDiscriminator",
    "get_model",
    "list_models",
    "load_keras_file",
]

MODELS: tuple[type[SuperResolutionModel], ...] = (
    EDSR,
    MDSR,
    RDN,
    RRDN,
    RRDBNet,
    Compact,
    SPAN,
    TDAN,
    EDVR,
    FlowVSR,
    Cascade,
)


def list_models() -> tuple[type[SuperResolutionModel], ...]:
    """List every network class; the contract tests run over this list."""
    return MODELS


def get_model(name: str) -> type[SuperResolutionModel]:
    """Find the network class of a name, such as "EDSR".

    Raises:
        RequestError: there is none; the message lists the names.
    """
    for model in MODELS:
        if model.__name__ == name:
            return model
    if name == APlus.__name__:
        raise RequestError(
            f"model {name!r}: is no network of layers, to be trained, exported or chained; isr.train.aplus.fit makes "
            "one of photographs, and predict and evaluate run it"
        )
    known = ", ".join(model.__name__ for model in MODELS)
    raise RequestError(f"model {name!r} is unknown; the networks are {known}")
