"""Models for machines without this package: a SavedModel that a server runs, and what the server wants beside it."""

from isr.export.savedmodel import ExportOptions, export_savedmodel

__all__ = ["ExportOptions", "export_savedmodel"]
