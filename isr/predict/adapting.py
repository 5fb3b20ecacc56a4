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
        return learn_from(model, pixels, scale, kernel, progress=Within(progress), seconds=self.seconds)


def learn_from(
    model: SuperResolutionModel,
    pixels: np.ndarray,
    scale: int,
    kernel: np.ndarray | str,
    *,
    progress: Progress,
    **limits: Any,
) -> SuperResolutionModel | None:
    """Adapt a network to a picture of any channels, and tell of it.

    Where the kernel is estimated and looks like the bicubic rule, nothing is learned: networks are trained on that
    rule, and what one picture adds to it is as often worse as better.

    Args:
        model, pixels, scale, progress: as for `Adaptation.learn`.
        kernel: `[k, k]` that adds up to 1, "estimate" or "bicubic".
        limits: `seconds`, `steps` and `seed` of `isr.adaptation.learning.learn`.

    Returns:
        The adapted network; None where the start is kept.

    Raises:
        RequestError, Cancelled: as `Adaptation.learn`.
    """
    from isr.adaptation.learning import learn

    picture = _with_channels(pixels, model.num_channels)
    if isinstance(kernel, np.ndarray):
        by = centred(kernel, scale)
    elif kernel == BICUBIC:
        by = bicubic_kernel(scale)
    else:
        # Brings the degradations of training along, which take a quarter of a second to import.
        from isr.adaptation.spectrum import estimate_blur

        blur = estimate_blur(pixels)
        progress.message(blur.describe())
        if blur.like_bicubic:
            progress.message(
                f"{model.name}: not adapted: networks know that rule; kernel bicubic adapts to it"
            )
            return None
        by = blur.kernel(scale)
    adapted = learn(model, picture, by, scale=scale, progress=progress, **limits)
    progress.message(adapted.describe())
    return adapted.model if adapted.better else None


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """The colours of a picture, as many as a network takes; raises RequestError where they do not fit."""
    if pixels.shape[-1] in (2, 4) and pixels.shape[-1] != channels:
        pixels = fill_transparent(pixels)
    if pixels.shape[-1] not in (1, channels):
        raise RequestError(f"a picture of {pixels.shape[-1]} channels does not fit a network of {channels}")
    return np.broadcast_to(pixels, (*pixels.shape[:2], channels))
