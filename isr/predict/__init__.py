"""Prediction: arrays, streams of frames, and folders of files."""

from isr.predict.api import upscale, upscale_frames
from isr.predict.options import PredictOptions
from isr.predict.predictor import Predictor

__all__ = ["PredictOptions", "Predictor", "upscale", "upscale_frames"]
