"""Training: a run is a folder that repeats and resumes itself."""

from isr.train.trainer import Trainer

__all__ = ["Trainer"]
