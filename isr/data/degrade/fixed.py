"""Degradations of fixed strength, by which networks are judged and of which no training draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from isr.data.degrade.blur import blur, gaussian_kernel
from isr.data.degrade.compression import compress
from isr.data.degrade.operations import add_gaussian_noise
from isr.errors import RequestError
from isr.imresize import imresize
from isr.levels import from_float, to_float

Damage = Literal["blur", "noise", "jpeg", "real"]


@dataclass(frozen=True)
class Strength:
    """What a strength is.

    Attributes:
        blur: sigma of an isotropic Gaussian, in HR pixels at scale 2; at other scales times scale / 2.
        noise: sigma of Gaussian noise in LR, independent in every channel, in levels of 255.
        quality: of JPEG, with colour of half resolution.
    """

    blur: float
    noise: float
    quality: int


STRENGTHS = {1: Strength(0.6, 2, 75), 2: Strength(1.2, 5, 50), 3: Strength(1.8, 10, 30)}

# Of the noise. No training draws from it: training's streams begin with the seed of a run and a step.
SEED = 0x1D_FA_CE_0F_F1_CE_5E_ED_0B_0A_7B_1A_DE_5C_A1_E5


@dataclass(frozen=True)
class FixedDegradation:
    """A degradation of fixed strength: blur, MATLAB's bicubic reduction, noise, JPEG, in this order.

    Attributes:
        damage: "blur", "noise" or "jpeg": that step and the reduction alone; "real": all of them.
        strength: 1, 2 or 3, a key of `STRENGTHS`.

    Raises:
        RequestError: one of them is none of these.

    Example:
        >>> lr = FixedDegradation("real", 2)(hr, scale=4)
    """

    damage: Damage
    strength: int

    def __post_init__(self) -> None:
        if self.damage not in get_args(Damage):
            raise RequestError(f"--degradation {self.damage}: must be {', '.join(get_args(Damage))}")
        if self.strength not in STRENGTHS:
            raise RequestError(f"--strength {self.strength}: must be 1, 2 or 3")

    def __str__(self) -> str:
        return f"{self.damage}-{self.strength}"

    def __call__(self, hr: np.ndarray, scale: int, frame: int = 0) -> np.ndarray:
        """Make the low resolution of a picture.

        Args:
            hr: `[h, w, c]` of 1 or 3 channels, integers or floats in [0, 1], sides multiples of the scale.
            scale: HR side / LR side.
            frame: number of a clip's frame: every frame has noise of its own.

        Returns:
            `[h / scale, w / scale, c]` uint8, the same bytes every time.
        """
        strength = STRENGTHS[self.strength]
        planes = to_float(hr).transpose(2, 0, 1)
        if self.damage in ("blur", "real"):
            sigma = strength.blur * scale / 2
            # To four sigmas.
            taps = 2 * int(4 * sigma + 0.5) + 1
            planes = blur(planes, gaussian_kernel(taps, (sigma, sigma)))
        # Of integers where nothing was done to them yet: the rule rounds between its two directions.
        hr = planes.transpose(1, 2, 0) if self.damage in ("blur", "real") else hr
        lr = imresize(hr, scale=1 / scale)
        if self.damage in ("noise", "real"):
            rng = np.random.default_rng((SEED, self.strength, frame))
            lr = add_gaussian_noise(to_float(lr).transpose(2, 0, 1)[None], strength.noise, rng)[0].transpose(
                1, 2, 0
            )
        lr = from_float(to_float(lr), np.dtype(np.uint8))
        return compress(lr, strength.quality) if self.damage in ("jpeg", "real") else lr

    def describe(self, scale: int) -> str:
        """Say in one line what is done at a scale."""
        strength = STRENGTHS[self.strength]
        parts = {
            "blur": f"Gaussian blur of sigma {strength.blur * scale / 2:g} HR px",
            "bicubic": "MATLAB bicubic",
            "noise": f"noise of sigma {strength.noise:g} of 255",
            "jpeg": f"JPEG of quality {strength.quality}",
        }
        said = [
            text for part, text in parts.items() if self.damage == "real" or part in (self.damage, "bicubic")
        ]
        return f"strength {self.strength}: {', '.join(said)}; 8 bit"
