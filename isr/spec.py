"""What the rest of the package knows about whatever upscales: a callable with a spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class ModelSpec:
    """What tiling, windows, evaluation and exports need to know of an upscaler.

    Attributes:
        name: the network's name, for messages and file names.
        scales: the factors it can enlarge by; the first is its default.
        num_channels: channels it takes and gives.
        num_frames: frames per input; 1 for a single picture.
        center_frame: index of the frame that the output belongs to.
        frame_border: what stands for frames beyond the ends of a clip: "reflect" (the first frame is the mirror),
            "circle" (frames from the window's other side) or "replicate" (the last one); "" for one picture.
        receptive_radius: input pixels on each side on which an output pixel depends, rounded up; None if
            unbounded, so that exact tiling is refused.
        size_multiple: height and width of the input must be a multiple of this.
        enlarges_last: whether every convolution is at the size of the input, so that a larger result takes hardly
            more memory.
    """

    name: str
    scales: tuple[int, ...]
    num_channels: int = 3
    num_frames: int = 1
    center_frame: int = 0
    frame_border: str = ""
    receptive_radius: int | None = None
    size_multiple: int = 1
    enlarges_last: bool = False

    @property
    def frame_axis(self) -> tuple[int, ...]:
        """Return the shape of the input's axis of time: `(num_frames,)`, or `()` for a single picture.

        An input of the network is `[batch, *frame_axis, height, width, num_channels]`.
        """
        return (self.num_frames,) if self.num_frames > 1 else ()

    def check_scale(self, scale: int | None) -> int:
        """Return the scale, or the default for None.

        Raises:
            ValueError: the upscaler has no such scale.
        """
        if scale is None:
            return self.scales[0]
        if scale not in self.scales:
            raise ValueError(f"{self.name} enlarges by {', '.join(map(str, self.scales))}, not by {scale}")
        return scale

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values; `from_json` is the inverse."""
        return {**asdict(self), "scales": list(self.scales)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> ModelSpec:
        """Return the spec that `to_json` wrote."""
        return cls(**{**fields, "scales": tuple(fields["scales"])})


class Upscaler(Protocol):
    """A callable on float32 batches in [0, 1]: a Keras model, a compiled graph, a served model.

    `batch` is `[b, h, w, c]`, or `[b, t, h, w, c]` where `spec.num_frames > 1`; the result is float32
    `[b, scale * h, scale * w, c]`, about [0, 1], unclipped. `scale` is one of `spec.scales` (None: the first).
    """

    @property
    def spec(self) -> ModelSpec: ...

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray: ...


class MultiFrameUpscaler(Upscaler, Protocol):
    """An upscaler of windows `[b, t, h, w, c]`, also in two halves, so that frames are encoded once.

    `encode` gives all that depends on one frame alone, `decode` the enlarged centre frame of `spec.num_frames`
    encoded ones, in order; `decode` of `encode` equals the call. What `encode` gives is opaque; `size` is its bytes.
    """

    def encode(self, frames: np.ndarray) -> Any: ...

    def decode(self, window: Sequence[Any]) -> np.ndarray: ...

    def size(self, features: Any) -> int: ...
