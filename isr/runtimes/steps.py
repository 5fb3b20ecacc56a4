"""A network of several frames on a stream of them, whatever the backend: each step once for the same frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isr.models import MultiFrameModel
from isr.spec import ModelSpec, Upscaler

Features = dict[str, Any]  # tensors of the backend by name


class Result:
    """What was computed of a frame, or of results, and what was made of it with others.

    Attributes:
        number: tells it from all others, older ones by a smaller number.
        made: results of steps for which this is the oldest that they took, by the step and the numbers of all these.
        looked_at: whether a step took its features since this was set to false.
    """

    def __init__(self, number: int, features: Features, again: Callable[[], Features] | None = None) -> None:
        self.number = number
        self.made: dict[tuple[Any, ...], Result] = {}
        self.looked_at = True
        self._features: Features | None = features
        # Computes the features when they were let go; it may hold no other result, or none would ever be freed.
        self._again = again

    @property
    def features(self) -> Features:
        self.looked_at = True
        if self._features is None:
            assert self._again is not None
            self._features = self._again()
        return self._features

    @property
    def tensors(self) -> list[Any]:
        """Return all that is held, by what was made of it, too."""
        own = list((self._features or {}).values())
        return own + [tensor for result in self.made.values() for tensor in result.tensors]

    def let_go(self) -> None:
        """Hold the features no longer, but still what was made of them."""
        self._features = None


class FramesUpscaler:
    """Runs a multi-frame model, also in its two halves.

    What a step of `decode` gives is kept with the oldest frame it took, for windows that ask for the same. A frame
    at which a window did not have to look is let go, and encoded again should another one need it.

    Args:
        model: of several frames.
        compile: makes a graph of a function of arrays, or of lists of features.
        bytes_of: a tensor's.

    Attributes:
        enlarger: what runs the model's `frame_network` in its place; None: nothing does.
    """

    def __init__(
        self,
        model: MultiFrameModel,
        compile: Callable[[Callable[[Any], Any]], Callable[[Any], Any]],
        bytes_of: Callable[[Any], int],
    ) -> None:
        self.model = model
        self.spec: ModelSpec = model.spec
        self.enlarger: Upscaler | None = None
        self._compile = compile
        self._bytes_of = bytes_of
        self._call = compile(model)
        self._encode = compile(model.encode)
        self._steps: dict[Callable[..., Features], Callable[[Any], Features]] = {}
        self._numbers = itertools.count()

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        self.spec.check_scale(scale)
        return np.asarray(self._call(batch), np.float32)

    def hand_over(self, enlarger: Upscaler) -> None:
        """Let an upscaler, of another engine, run the model's `frame_network` from now on."""
        observe = self._compile(self.model.observe)
        self.enlarger = enlarger
        self._encode = lambda frames: observe(enlarger(frames))

    def encode(self, frames: np.ndarray) -> Result:
        def encoded() -> Features:
            features: Features = self._encode(frames)
            return features

        return Result(next(self._numbers), encoded(), encoded)

    def decode(self, window: Sequence[Result]) -> np.ndarray:
        for frame in window:
            frame.looked_at = False
        result = self.model.combine(window, self._step)
        sr = np.asarray(result.features["sr"], np.float32)
        result.let_go()
        for frame in window:
            if not frame.looked_at:
                frame.let_go()
        return sr

    def size(self, features: Result) -> int:
        return sum(map(self._bytes_of, features.tensors))

    def _step(self, method: Callable[..., Features], *given: Result) -> Result:
        if method not in self._steps:
            self._steps[method] = self._compile(lambda features: method(*features))
        made = min(given, key=lambda result: result.number).made
        key = (method, *(result.number for result in given))
        if key not in made or not made[key].tensors:
            features = self._steps[method]([result.features for result in given])
            made[key] = Result(next(self._numbers), features)
        return made[key]
