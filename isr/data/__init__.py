"""Training data: pictures in folders, made into batches that are a pure function of (seed, step)."""

from isr.data.batches import PatchBatches, PatchRecipe
from isr.data.pairs import PicturePairs

__all__ = ["PatchBatches", "PatchRecipe", "PicturePairs"]
