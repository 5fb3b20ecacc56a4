"""Prediction: arrays, streams of frames, and folders of files."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isr.predict.api import adapt, upscale, upscale_frames
    from isr.predict.options import PredictOptions, VideoOptions
    from isr.predict.predictor import Predictor
    from isr.predict.request import Plan, PredictRequest, plan

_PUBLIC = {
    "Plan": "request",
    "PredictOptions": "options",
    "PredictRequest": "request",
    "Predictor": "predictor",
    "VideoOptions": "options",
    "adapt": "api",
    "plan": "request",
    "upscale": "api",
    "upscale_frames": "api",
}

__all__ = [
    "Plan",
    "PredictOptions",
    "PredictRequest",
    "Predictor",
    "VideoOptions",
    "adapt",
    "plan",
    "upscale",
    "upscale_frames",
]


def __getattr__(name: str) -> Any:
    # The readers of pictures and videos take their time; the table of options does without.
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"isr.predict.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'isr.predict' has no attribute {name!r}")
