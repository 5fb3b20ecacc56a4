"""Weights that others published, made into presets; no code from a file is ever run."""

from isr.convert.conversion import Conversion, convert, load, save

__all__ = ["Conversion", "convert", "load", "save"]
