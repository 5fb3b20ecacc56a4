"""Weights that others published, made into presets; no code from a file is ever run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isr.convert.conversion import Conversion, convert, load, save

__all__ = ["Conversion", "convert", "load", "save"]


def __getattr__(name: str) -> Any:
    # A file is read without Keras, whose import takes seconds.
    if name in __all__:
        from isr.convert import conversion

        return getattr(conversion, name)
    raise AttributeError(f"module 'isr.convert' has no attribute {name!r}")
