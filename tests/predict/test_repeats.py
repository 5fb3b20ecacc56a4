"""Parts of a frame that repeat the frame before: never computed again, and never other than computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isr.predict.chain import upscale_frames_along
from isr.predict.frames import WindowOptions, enlarge_frames
from isr.predict.repeats import Repeats
from isr.predict.route import Route
from isr.predict.tiling import TileOptions
from isr.progress import Silent
from isr.spec import ModelSpec

# Four tiles of 32 pixels, of which each keeps 24 or more, in 56x56.
TILES = TileOptions(tile=32, overlap=4)
ALONE = ModelSpec("alone", (2,), receptive_radius=4)
WINDOW = ModelSpec("window", (2,), num_frames=3, center_frame=1, frame_border="reflect", receptive_radius=4)


class Blur:
    """Enlarges by repetition and averages each pixel with one that is three away, and with the window's frames."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.calls = self.encodings = 0

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        self.calls += 1
        mixed = (batch + np.roll(batch, 3, axis=1) + np.roll(batch, 3, axis=2)) / 3
        return mixed.repeat(2, axis=1).repeat(2, axis=2)

    def encode(self, frames: np.ndarray) -> Any:
        self.encodings += 1
        return frames

    def decode(self, window: Sequence[Any]) -> np.ndarray:
        return self(sum(weight * frame for weight, frame in zip((0.2, 0.7, 0.1), window, strict=True)))

    def size(self, features: Any) -> int:
        return int(features.nbytes)


def noise(seed: int, height: int = 56, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def one_by_one(
    frames: Iterable[np.ndarray],
    network: Blur,
    *,
    size: tuple[int, int] = (112, 112),
    repeats: Repeats | None = None,
    tiles: TileOptions = TILES,
    reuse: bool = True,
) -> Iterator[np.ndarray]:
    route, options = Route((2,), size, size != (112, 112)), WindowOptions(tiles, reuse=reuse)
    paired = ((None, frame) for frame in frames)
    along = upscale_frames_along(route, paired, [network], options, Silent(), repeats=repeats)
    return (result for _, result in along)


def in_windows(frames: Sequence[np.ndarray], network: Blur, **options: Any) -> Iterator[np.ndarray]:
    return enlarge_frames(network, frames, WindowOptions(TILES, **options))


KINDS: list[tuple[Callable[..., Iterator[np.ndarray]], ModelSpec]] = [
    (one_by_one, ALONE),
    (in_windows, WINDOW),
]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["same", "corner", "new", "back"]), max_size=6), st.sampled_from(KINDS))
def test_the_result_is_what_it_is_without(changes: list[str], kind: Any) -> None:
    upscale, spec = kind
    frames = [noise(0)]
    for number, change in enumerate(changes, start=1):
        frame = frames[-1].copy()
        if change == "corner":
            frame[40 + number % 3, 50] ^= 255
        frames.append({"new": noise(number), "back": frames[0]}.get(change, frame))
    with_it, without = Blur(spec), Blur(spec)
    results = list(upscale(frames, with_it))
    expected = list(upscale(frames, without, reuse=False))
    assert all(np.array_equal(one, other) for one, other in zip(results, expected, strict=True))
    assert with_it.calls <= without.calls


def test_a_frame_that_repeats_costs_nothing() -> None:
    network, repeats = Blur(ALONE), Repeats()
    frame, other = noise(1), noise(2)
    list(one_by_one([frame, frame.copy(), frame, other, frame], network, repeats=repeats))
    assert network.calls == 3 * 4
    assert repeats.frames == 2
    # Also where the result is resized, so that no tile has pixels of its own.
    network = Blur(ALONE)
    list(one_by_one([frame, frame.copy(), frame], network, size=(90, 80)))
    assert network.calls == 4


def test_of_a_frame_that_changes_in_a_corner_one_tile_is_computed() -> None:
    network, repeats = Blur(ALONE), Repeats()
    frame = noise(3)
    changed = frame.copy()
    changed[50, 50] ^= 255
    # It lies in what two tiles read.
    between = changed.copy()
    between[27, 50] ^= 255
    list(one_by_one([frame, changed, between], network, repeats=repeats))
    assert network.calls == 4 + 1 + 2
    assert repeats.frames == pytest.approx(3 / 4 + 2 / 4)


def test_a_window_that_shows_the_same_costs_nothing() -> None:
    network = Blur(WINDOW)
    still = noise(4)
    list(in_windows([still] * 6, network))
    assert network.calls == network.encodings == 4
    # A corner that moves in one frame is in the windows of three, and encoded twice.
    moved = still.copy()
    moved[50, 50] ^= 255
    network = Blur(WINDOW)
    list(in_windows([still, still, still, moved, still, still, still], network))
    assert network.calls == 4 + 3 + 1
    assert network.encodings == 4 + 2


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_takes_a_result_may_write_into_it(kind: Any) -> None:
    upscale, spec = kind
    expected = [result.copy() for result in upscale([noise(5)] * 4, Blur(spec), reuse=False)]
    results = []
    for result in upscale([noise(5)] * 4, Blur(spec)):
        results.append(result.copy())
        result[...] = 0
    assert np.array_equal(results, expected)


def test_whoever_gives_frames_may_give_them_in_one_buffer() -> None:
    def given() -> Iterator[np.ndarray]:
        buffer = noise(6)
        yield buffer
        buffer[...] = noise(7)
        yield buffer

    results = list(one_by_one(given(), Blur(ALONE)))
    assert np.array_equal(results, list(one_by_one([noise(6), noise(7)], Blur(ALONE))))
    assert not np.array_equal(*results)


def test_several_tiles_to_a_call_are_computed_together() -> None:
    """What a tile becomes may depend on the others of its call, by rounding."""
    network = Blur(ALONE)
    frame = noise(6)
    changed = frame.copy()
    changed[50, 50] ^= 255
    results = list(one_by_one([frame, changed, changed], network, tiles=replace(TILES, batch=4)))
    assert len(results) == 3
    assert network.calls == 2
