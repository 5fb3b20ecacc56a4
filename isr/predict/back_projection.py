"""Back projection: what a result, made smaller again, lacks of its input is added to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from isr.imresize import imresize
from isr.spec import ModelSpec, Upscaler

# Input pixels that a round sees further: two each for shrinking and enlarging, and the rounding of both.
REACH = 5


class BackProjection:
    """An upscaler whose result becomes the input again when it is made smaller (Irani and Peleg 1991).

    Each round adds the bicubically enlarged difference between the input and the result made smaller by MATLAB's
    bicubic rule (one of the seven ways of Timofte et al. 2016). It helps where the input was made by that very rule,
    and harms where it was not: the noise and blocks of a JPEG file are then put into the result.

    Args:
        upscaler: of single pictures.
        rounds: at least 1.
    """

    def __init__(self, upscaler: Upscaler, rounds: int) -> None:
        self.upscaler = upscaler
        self.rounds = rounds

    @property
    def spec(self) -> ModelSpec:
        """Return the upscaler's spec, which sees further now."""
        spec = self.upscaler.spec
        if spec.receptive_radius is None:
            return spec
        return replace(spec, receptive_radius=spec.receptive_radius + REACH * self.rounds)

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        batch = np.asarray(batch, np.float32)
        result = np.array(self.upscaler(batch, scale=scale), np.float32)
        for lr, sr in zip(batch, result, strict=True):
            for _ in range(self.rounds):
                lacking = lr - imresize(sr, size=lr.shape[:2])
                sr += imresize(lacking, size=sr.shape[:2])
        return result
