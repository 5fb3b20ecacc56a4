"""Prediction: one array, and folders of files."""

from isr.predict.array import upscale
from isr.predict.predictor import PredictOptions, Predictor

__all__ = ["PredictOptions", "Predictor", "upscale"]
