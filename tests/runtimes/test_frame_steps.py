"""Steps of a video network on a stream: each is computed once, kept while a window can ask for it, and no longer."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isr.predict.frames import WindowOptions, enlarge_frames
from isr.predict.tiling import TileOptions
from isr.runtimes.steps import FramesUpscaler
from isr.spec import ModelSpec

WHOLE = WindowOptions(TileOptions(tile=512))


class Tensor(np.ndarray):
    """An array that a weak reference can point at."""


class Chain:
    """A network that adds up a window: pairs of frames, triples of these pairs, and the frame in the middle."""

    spec = ModelSpec("chain", (1,), num_frames=5, center_frame=2, frame_border="reflect")

    def __init__(self) -> None:
        self.computed: list[str] = []
        self.alive: list[weakref.ref[Any]] = []

    def note(self, step: str, value: Any) -> dict[str, Any]:
        tensor = np.array(value, np.float32).view(Tensor)
        self.computed.append(step)
        self.alive.append(weakref.ref(tensor))
        return {"sr": tensor}

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        result: np.ndarray = self.combine([self.encode(lr[:, i]) for i in range(5)], lambda f, *x: f(*x))[
            "sr"
        ]
        return result

    def encode(self, frames: np.ndarray) -> dict[str, Any]:
        return self.note("encode", np.sqrt(frames))

    def observe(self, frames: np.ndarray) -> dict[str, Any]:
        return self.note("observe", frames)

    def pair(self, one: Any, other: Any) -> dict[str, Any]:
        return self.note("pair", one["sr"] - 3 * other["sr"])

    def triple(self, *pairs: Any) -> dict[str, Any]:
        return self.note("triple", np.sin(sum((i + 1) * pair["sr"] for i, pair in enumerate(pairs))))

    def last(self, frame: Any, *triples: Any) -> dict[str, Any]:
        return self.note("last", frame["sr"] + triples[0]["sr"] - triples[1]["sr"])

    def combine(self, frames: Any, step: Any) -> Any:
        pairs = [step(self.pair, frames[i], frames[i + 1]) for i in range(4)]
        return step(self.last, frames[2], step(self.triple, *pairs[:3]), step(self.triple, *pairs[1:]))


def opened() -> tuple[Chain, FramesUpscaler]:
    chain = Chain()
    model: Any = chain
    return chain, FramesUpscaler(model, lambda function: function, lambda tensor: int(tensor.nbytes))


def clip(count: int, height: int = 4, width: int = 5, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random((count, height, width, 3), np.float32))


def test_another_upscaler_begins_where_it_is_handed_over() -> None:
    _, own = opened()
    chain, shared = opened()
    begins: Any = np.sqrt
    shared.hand_over(begins)
    pictures = clip(8)
    expected = list(enlarge_frames(own, iter(pictures), WHOLE))
    np.testing.assert_array_equal(list(enlarge_frames(shared, iter(pictures), WHOLE)), expected)
    assert "observe" in chain.computed and "encode" not in chain.computed


def test_every_step_is_computed_once() -> None:
    chain, upscaler = opened()
    list(enlarge_frames(upscaler, iter(clip(20)), WHOLE))
    counts = {step: chain.computed.count(step) for step in ("encode", "pair", "triple", "last")}
    # At each end, two pairs and two triples of mirrored frames; for those of the last end, a frame that was let go.
    assert counts == {"encode": 20 + 1, "pair": 19 + 4, "triple": 17 + 4, "last": 20}


def test_nothing_is_kept_behind_the_window() -> None:
    """Without the collector of cycles, which takes its time."""
    chain, upscaler = opened()
    gc.disable()
    try:
        most = 0
        for _ in enlarge_frames(upscaler, iter(clip(40)), WHOLE):
            most = max(most, sum(reference() is not None for reference in chain.alive))
        assert most <= 5 + 4 + 3 + 1
    finally:
        gc.enable()


@settings(deadline=None, max_examples=30)
@given(
    numbers=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    tile=st.sampled_from([32, 512]),
    cache=st.sampled_from([0, 3000, 2**30]),
    start=st.integers(0, 3),
)
def test_the_result_is_that_of_every_window_alone(
    numbers: list[int], tile: int, cache: int, start: int
) -> None:
    """With frames that repeat, in tiles, with little memory, and from a frame in the middle on."""
    frames = [clip(4, 4, 37)[number] for number in numbers]
    options = WindowOptions(TileOptions(tile=tile, overlap=2), cache=cache)
    found = list(enlarge_frames(opened()[1], iter(frames), options))
    for center, result in enumerate(found):
        chain = Chain()
        window = np.stack([frames[i] for i in mirrored(center, len(frames))])[None]
        np.testing.assert_array_equal(result, chain(window)[0])
    begin = max(start - 5, 0)
    rest = enlarge_frames(opened()[1], iter(frames[begin:]), options, skip=start - begin)
    np.testing.assert_array_equal(list(rest), found[start:])


def mirrored(center: int, count: int) -> list[int]:
    period = max(2 * (count - 1), 1)
    places = [abs(i) % period for i in range(center - 2, center + 3)]
    return [min(place, period - place) if count > 1 else 0 for place in places]


def test_frames_that_are_not_looked_at_are_let_go_and_encoded_again() -> None:
    chain, upscaler = opened()
    frames = [upscaler.encode(frame[None]) for frame in clip(6)]
    first = upscaler.decode(frames[:5])
    whole = upscaler.size(frames[0])
    np.testing.assert_array_equal(upscaler.decode(frames[:5]), first)
    assert chain.computed.count("pair") == 4
    assert upscaler.size(frames[0]) < whole, "nothing of the first frame was looked at the second time"
    assert chain.computed.count("encode") == 6
    upscaler.decode([frames[1], frames[0], *frames[2:5]])
    assert chain.computed.count("encode") == 6 + 2


def test_memory_that_does_not_suffice_leaves_nothing_wrong() -> None:
    chain, upscaler = opened()
    frames = [upscaler.encode(frame[None]) for frame in clip(5)]
    expected = upscaler.decode(frames)
    chain, upscaler = opened()
    frames = [upscaler.encode(frame[None]) for frame in clip(5)]
    good, chain.triple = chain.triple, lambda *pairs: (_ for _ in ()).throw(MemoryError)  # type: ignore
    with pytest.raises(MemoryError):
        upscaler.decode(frames)
    chain.triple = good  # type: ignore[method-assign]
    np.testing.assert_array_equal(upscaler.decode(frames), expected)
