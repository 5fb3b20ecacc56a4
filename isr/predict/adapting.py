"""A network adapted to the picture that it enlarges, as a job asks for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isr.adaptation.kernels import BICUBIC, ESTIMATE, bicubic_kernel, centred, read_kernel
from isr.errors import RequestError
from isr.predict.picture import fill_transparent
from isr.progress import Progress, Within

if TYPE_CHECKING:
    from isr.adaptation.learning import Adapted
    from isr.models import SuperResolutionModel


@dataclass(frozen=True)
class Adaptation:
    """How a network learns from a picture before it enlarges it.

    Attributes:
        seconds: that it learns.
        kernel: "estimate", "bicubic", or the name of a file.
        taps: the rows of the kernel of a file, which add up to 1; empty for the others.
    """

    seconds: float
    kernel: str = ESTIMATE
    taps: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, seconds: float, kernel: str | None) -> Adaptation:
        """Read what is asked for.

        Args:
            seconds: over 0.
            kernel: "estimate", "bicubic" or a file; None: "estimate".

        Raises:
            RequestError: the file is no kernel.
        """
        kernel = kernel or ESTIMATE
        if kernel in (ESTIMATE, BICUBIC):
            return cls(seconds, kernel)
        return cls(seconds, kernel, tuple(map(tuple, read_kernel(Path(kernel)).tolist())))

    @property
    def record(self) -> dict[str, Any]:
        """Return what decides the result, as plain JSON values: of a file its numbers, not its name."""
        digest = hashlib.sha256(np.array(self.taps).tobytes()).hexdigest()[:32]
        return {"adapt": self.seconds, "kernel": digest if self.taps else self.kernel}

    def learn(
        self, model: SuperResolutionModel, pixels: np.ndarray, scale: int, progress: Progress
    ) -> SuperResolutionModel | None:
        """Adapt a network to a picture.

        Args:
            model: the start.
            pixels: `[h, w, c]` as of `isr.upscale`.
            scale: one of the network's.
            progress: told of what is done, a line each; asked for `cancelled` between steps.

        Returns:
            The adapted network; None where the start is better, or the picture too small.

        Raises:
            RequestError: picture and network do not fit.
            Cancelled: the progress asks for it.
        """
        from isr.adaptation.learning import smallest_side

        if min(pixels.shape[:2]) < smallest_side(model, scale):
            progress.message(
                f"{model.name}: not adapted: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few"
            )
            return None
        kernel: np.ndarray | str = np.array(self.taps) if self.taps else self.kernel
        adapted = learn_from(model, pixels, scale, kernel, progress=Within(progress), seconds=self.seconds)
        return adapted.model if adapted.better else None


def learn_from(
    model: SuperResolutionModel,
    pixels: np.ndarray,
    scale: int,
    kernel: np.ndarray | str,
    *,
    progress: Progress,
    **limits: Any,
) -> Adapted:
    """Adapt a network to a picture of any channels, and tell of it.

    Args:
        model, pixels, scale, progress: as for `Adaptation.learn`.
        kernel: `[k, k]` that adds up to 1, "estimate" or "bicubic".
        limits: `seconds`, `steps` and `seed` of `isr.adaptation.learning.learn`.

    Raises:
        RequestError, Cancelled: as `Adaptation.learn`.
    """
    from isr.adaptation.learning import learn

    if isinstance(kernel, str):
        kernel = _kernel_of(pixels, scale, kernel, progress)
    picture = _with_channels(pixels, model.num_channels)
    adapted = learn(model, picture, centred(kernel, scale), scale=scale, progress=progress, **limits)
    progress.message(adapted.describe())
    return adapted


def _kernel_of(pixels: np.ndarray, scale: int, name: str, progress: Progress) -> np.ndarray:
    """The kernel by its name, as the picture says."""
    if name == BICUBIC:
        return bicubic_kernel(scale)
    # Brings the degradations of training along, which take a quarter of a second to import.
    from isr.adaptation.spectrum import estimate_kernel

    kernel, blur = estimate_kernel(pixels, scale)
    progress.message(blur.describe())
    return kernel


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """The colours of a picture, as many as a network takes; raises RequestError where they do not fit."""
    if pixels.shape[-1] in (2, 4) and pixels.shape[-1] != channels:
        pixels = fill_transparent(pixels)
    if pixels.shape[-1] not in (1, channels):
        raise RequestError(f"a picture of {pixels.shape[-1]} channels does not fit a network of {channels}")
    return np.broadcast_to(pixels, (*pixels.shape[:2], channels))
