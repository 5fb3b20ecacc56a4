"""Super-resolution of photographs and video with Keras.

`isr.upscale`, `isr.upscale_frames`, `isr.adapt`, `isr.Predictor`, `isr.Trainer` and the models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from isr.models import EDSR, EDVR, MDSR, RDN, RRDN, SPAN, TDAN, Cascade, Compact, FlowVSR, RRDBNet
    from isr.predict import Predictor, adapt, upscale, upscale_frames
    from isr.train import Trainer

# The networks, and the doors.
__all__ = ["EDSR", "EDVR", "MDSR", "RDN", "RRDN", "SPAN", "TDAN", "Cascade", "Compact", "FlowVSR", "RRDBNet"]
__all__ += ["Predictor", "Trainer", "__version__", "adapt", "upscale", "upscale_frames"]

_DOORS = {
    "Predictor": "isr.predict",
    "Trainer": "isr.train",
    "adapt": "isr.predict",
    "upscale": "isr.predict",
    "upscale_frames": "isr.predict",
}


def __getattr__(name: str) -> Any:
    # Importing Keras takes seconds; `isr --help` and the readers of pictures do without.
    if name in __all__:
        return getattr(importlib.import_module(_DOORS.get(name, "isr.models")), name)
    raise AttributeError(f"module 'isr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
