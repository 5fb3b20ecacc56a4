"""Windows over a stream of frames: borders, scenes, tiles, and features that are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import TINY, Case, numpy, randomise

from isr.errors import MachineError, RequestError
from isr.models import EDVR, TDAN, FlowVSR
from isr.predict.frames import WindowOptions, enlarge, enlarge_frames, window_indices
from isr.predict.scenes import SceneCuts
from isr.predict.tiling import TileOptions
from isr.runtimes import as_upscaler
from isr.spec import ModelSpec

SPEC = ModelSpec("stub", (2,), num_frames=5, center_frame=2, frame_border="reflect")
WHOLE = WindowOptions(TileOptions(tile=512))
EDVR_TINY = Case(
    EDVR, {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 1, "num_reconstruct_blocks": 1}
)
TDAN_TINY = Case(
    TDAN, {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 1, "num_reconstruct_blocks": 1}
)
FLOWVSR_TINY = Case(FlowVSR, TINY["FlowVSR"][0])
FLOWVSR_TWICE = Case(FlowVSR, {**TINY["FlowVSR"][0], "num_frames": 3, "passes": 2})
FLOWVSR_ASIDE = Case(FlowVSR, TINY["FlowVSR"][2])


class Stub:
    """Gives the centre frame twice as large by repetition, and notes what it is asked for."""

    def __init__(self, spec: ModelSpec = SPEC, fails_above: int | None = None) -> None:
        self.spec = spec
        self.encoded: list[float] = []
        self.windows: list[list[float]] = []
        self.fails_above = fails_above

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        raise AssertionError("windows go through encode and decode")

    def encode(self, frames: np.ndarray) -> Any:
        if self.fails_above and max(frames.shape[1:3]) > self.fails_above:
            raise MemoryError
        self.encoded.append(float(frames.flat[0]))
        return frames

    def decode(self, window: Sequence[Any]) -> np.ndarray:
        self.windows.append([float(frames.flat[0]) for frames in window])
        scale = self.spec.scales[0]
        return np.asarray(window[self.spec.center_frame]).repeat(scale, 1).repeat(scale, 2)

    def size(self, features: Any) -> int:
        return int(features.nbytes)


def clip(count: int, height: int = 6, width: int = 7, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (height, width + count, 3), np.uint8)
    return [np.ascontiguousarray(base[:, i : i + width]) for i in range(count)]


def numbered(count: int) -> list[np.ndarray]:
    """Frames whose pixels are the number of the frame."""
    return [
        np.full((4, 4, 3), i, np.float32) + np.arange(4, dtype=np.float32)[:, None, None] / 8
        for i in range(count)
    ]


# Borders


def test_the_published_border_rules() -> None:
    """Reflection is TDAN's at the beginning; the circle is the rule EDVR was tested by on REDS (5 frames of 100)."""

    def window(rule: str, center: int, last: int | None = 99) -> list[int]:
        return window_indices(center, last, replace(SPEC, frame_border=rule))

    assert window("reflect", 0) == [2, 1, 0, 1, 2]
    assert window("reflect", 1) == [1, 0, 1, 2, 3]
    assert window("reflect", 99) == [97, 98, 99, 98, 97]
    assert window("circle", 0) == [4, 3, 0, 1, 2]
    assert window("circle", 1) == [4, 0, 1, 2, 3]
    assert window("circle", 98) == [96, 97, 98, 99, 95]
    assert window("circle", 99) == [97, 98, 99, 96, 95]
    assert window("replicate", 0) == [0, 0, 0, 1, 2]
    assert window("replicate", 98) == [96, 97, 98, 99, 99]
    for rule in ("reflect", "circle", "replicate"):
        assert window(rule, 50) == window(rule, 50, None) == [48, 49, 50, 51, 52]
        assert window(rule, 1) == window(rule, 1, None)


@given(
    count=st.integers(1, 12), num_frames=st.integers(2, 7), data=st.data(),
    rule=st.sampled_from(["reflect", "circle", "replicate"]),
)  # fmt: skip
def test_windows_stay_in_the_clip_and_hold_the_centre(
    count: int, num_frames: int, rule: str, data: Any
) -> None:
    center_frame = data.draw(st.integers(0, num_frames - 1))
    spec = replace(SPEC, num_frames=num_frames, center_frame=center_frame, frame_border=rule)
    for center in range(count):
        window = window_indices(center, count - 1, spec)
        assert len(window) == num_frames and window[center_frame] == center
        assert all(0 <= index < count for index in window)
        for place, index in enumerate(window):
            plain = center - center_frame + place
            assert index == plain or not 0 <= plain < count
        if rule == "circle" and count >= 2 * num_frames:
            assert len(set(window)) == num_frames


@settings(deadline=None)
@given(
    count=st.integers(0, 9),
    num_frames=st.integers(2, 5),
    rule=st.sampled_from(["reflect", "circle", "replicate"]),
)
def test_a_stream_gives_the_windows_of_the_clip(count: int, num_frames: int, rule: str) -> None:
    spec = replace(SPEC, num_frames=num_frames, center_frame=num_frames // 2, frame_border=rule)
    stub = Stub(spec)
    results = list(enlarge_frames(stub, iter(numbered(count)), WHOLE))
    assert len(results) == count
    assert stub.windows == [window_indices(i, count - 1, spec) for i in range(count)]
    assert stub.encoded == sorted(set(stub.encoded)) and len(stub.encoded) == count, "encoded once each"
    for index, result in enumerate(results):
        np.testing.assert_array_equal(result, numbered(count)[index].repeat(2, 0).repeat(2, 1))


def test_frames_are_read_no_further_ahead_than_a_window_reaches() -> None:
    read = []

    def frames() -> Any:
        for index, frame in enumerate(numbered(20)):
            read.append(index)
            yield frame

    results = enlarge_frames(Stub(), frames(), WHOLE)
    assert read == []
    for index in range(10):
        next(results)
        assert len(read) == index + 3


def test_skipped_frames_are_neighbours_only() -> None:
    whole, rest = Stub(), Stub()
    expected = list(enlarge_frames(whole, iter(numbered(12)), WHOLE))
    got = list(enlarge_frames(rest, iter(numbered(12)), WHOLE, skip=7))
    assert len(got) == 5 and rest.windows == whole.windows[7:]
    for one, other in zip(got, expected[7:], strict=True):
        np.testing.assert_array_equal(one, other)


# Scenes


def test_scenes_share_no_window() -> None:
    dark, light = clip(6), [255 - frame // 4 for frame in clip(5, seed=1)]
    dark = [frame // 4 for frame in dark]
    options = replace(WHOLE, scene_cut=0.3)
    together = list(enlarge_frames(Stub(), iter(dark + light), options))
    stubs = Stub(), Stub(), Stub()
    list(enlarge_frames(stubs[0], iter(dark), WHOLE))
    list(enlarge_frames(stubs[1], iter(light), WHOLE))
    list(enlarge_frames(stubs[2], iter(dark + light), options))
    assert stubs[2].windows == stubs[0].windows + stubs[1].windows
    assert len(together) == 11
    skipped = Stub()
    assert len(list(enlarge_frames(skipped, iter(dark + light), options, skip=8))) == 3
    assert skipped.windows == stubs[2].windows[8:]


def test_motion_is_no_cut_and_a_cut_is_one() -> None:
    rng = np.random.default_rng(2)
    base = rng.random((8, 8)).repeat(16, 0).repeat(16, 1)
    moving = [
        (255 * np.roll(base, 4 * i, axis=1)[..., None].repeat(3, -1)).astype(np.uint8) for i in range(8)
    ]
    fade = [np.full((64, 64, 3), 20 * i, np.uint8) for i in range(10)]
    cut = [np.full((64, 64, 3), 10, np.uint8)] * 3 + [np.full((64, 64, 3), 200, np.uint8)] * 3

    def scenes(threshold: float | None, frames: list[np.ndarray]) -> list[int]:
        return [scene for scene, _, _ in SceneCuts(threshold).scenes(enumerate(frames))]

    assert set(scenes(0.3, moving)) == {0}
    assert set(scenes(0.3, fade)) == {0}
    assert scenes(0.3, cut) == [0, 0, 0, 1, 1, 1]
    assert set(scenes(None, cut)) == {0}


def test_frames_come_out_beside_their_own_results() -> None:
    """Also where the window reads ahead, skips some, and begins a new scene."""
    dark, light = ([np.full((16, 16, 3), level + i, np.uint8) for i in range(5)] for level in (10, 200))
    frames = list(enumerate(dark + light))
    options = replace(WHOLE, scene_cut=0.3)
    pairs = list(enlarge(Stub(), iter(frames), options, skip=2))
    alone = list(enlarge_frames(Stub(), (pixels for _, pixels in frames), options, skip=2))
    assert [number for number, _ in pairs] == list(range(2, 10))
    np.testing.assert_array_equal([result for _, result in pairs], alone)


# Tiles, sizes, memory


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    multiple=st.sampled_from([1, 4]),
    ensemble=st.booleans(),
)
def test_tiles_and_views_put_a_frame_together_again(
    height: int, width: int, multiple: int, ensemble: bool
) -> None:
    spec = replace(SPEC, size_multiple=multiple, num_frames=2, center_frame=0)
    frames = clip(3, height, width)
    options = WindowOptions(TileOptions(tile=40, overlap=5, self_ensemble=ensemble))
    for frame, result in zip(frames, enlarge_frames(Stub(spec), iter(frames), options), strict=True):
        np.testing.assert_array_equal(result, frame.repeat(2, 0).repeat(2, 1))


def test_gray_frames_go_through_an_rgb_network() -> None:
    frames = [frame[..., :1] for frame in clip(4)]
    for frame, result in zip(frames, enlarge_frames(Stub(), iter(frames), WHOLE), strict=True):
        np.testing.assert_array_equal(result, frame.repeat(2, 0).repeat(2, 1))


def test_sixteen_bits_survive_and_sizes_are_met() -> None:
    frames = [frame.astype(np.uint16) * 257 + 3 for frame in clip(3)]
    results = list(enlarge_frames(Stub(), iter(frames), WHOLE))
    np.testing.assert_array_equal(results[1], frames[1].repeat(2, 0).repeat(2, 1))
    resized = next(enlarge_frames(Stub(), iter(frames), WHOLE, size=(9, 10)))
    assert resized.shape == (9, 10, 3) and resized.dtype == np.uint16


def test_what_is_not_kept_is_computed_again_with_the_same_result() -> None:
    frames = clip(6, 60, 70)
    tiles = TileOptions(tile=40, overlap=4)
    kept, some, none = Stub(), Stub(), Stub()
    one_frame = 60 * 70 * 3 * 4
    results = [
        list(enlarge_frames(stub, iter(frames), WindowOptions(tiles, cache=cache)))
        for stub, cache in ((kept, 2**30), (some, 5 * one_frame // 2), (none, 0))
    ]
    assert len(kept.encoded) < len(some.encoded) < len(none.encoded)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_less_memory_means_smaller_tiles() -> None:
    frames = clip(4, 100, 100)
    expected = list(enlarge_frames(Stub(), iter(frames), WHOLE))
    got = list(enlarge_frames(Stub(fails_above=50), iter(frames), WHOLE))
    np.testing.assert_array_equal(got, expected)
    with pytest.raises(MachineError, match="not enough memory"):
        list(enlarge_frames(Stub(fails_above=5), iter(frames), WHOLE))


def test_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RequestError, match="frames of 4 channels do not fit"):
        next(enlarge_frames(Stub(), iter([np.zeros((4, 4, 4), np.uint8)])))
    mixed = [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]
    for options in (WHOLE, replace(WHOLE, scene_cut=0.3)):
        with pytest.raises(RequestError, match=r"frame 1 is \(4, 5, 3\)"):
            list(enlarge_frames(Stub(), iter(mixed), options))
    with pytest.raises(RequestError, match="scene cut"):
        WindowOptions(scene_cut=2.0)


# The networks


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(EDVR_TINY, id="EDVR"),
        pytest.param(TDAN_TINY, id="TDAN"),
        pytest.param(FLOWVSR_TWICE, id="FlowVSR twice"),
        pytest.param(FLOWVSR_TINY, id="FlowVSR", marks=pytest.mark.slow),
        pytest.param(FLOWVSR_ASIDE, id="FlowVSR aside", marks=pytest.mark.slow),
    ],
)
def test_features_computed_once_give_what_the_whole_window_gives(case: Case) -> None:
    model = randomise(case.build())
    upscaler = as_upscaler(model)
    frames = [frame.astype(np.float32) / 255 for frame in clip(7, 12, 16)]
    cached = list(enlarge_frames(upscaler, iter(frames), WHOLE))
    # Whether a flow of random weights can be trusted hangs by a thread.
    close = 1e-4 if case.model_class is FlowVSR else 1e-5
    for center, result in enumerate(cached):
        window = np.stack([frames[i] for i in window_indices(center, 6, model.spec)])[None]
        np.testing.assert_allclose(result, upscaler(window)[0], atol=close)
        np.testing.assert_allclose(result, numpy(model(window))[0], atol=close)


def test_two_passes_give_the_same_bytes_from_any_frame_on_and_with_any_memory() -> None:
    """Tiles, a scene cut, frames that repeat, and a segment that begins in the middle of the clip."""
    upscaler = as_upscaler(randomise(FLOWVSR_TWICE.build()))
    frames = clip(9, 12, 40)
    frames[5] = frames[4]
    frames = frames + [255 - frame // 4 for frame in clip(4, 12, 40, seed=1)]
    options = WindowOptions(TileOptions(tile=32, overlap=4), scene_cut=0.3)
    whole = list(enlarge_frames(upscaler, iter(frames), options))
    before = upscaler.spec.num_frames + 2
    rest = enlarge_frames(upscaler, iter(frames[8 - before :]), options, skip=before) if before < 8 else None
    for other in (
        list(enlarge_frames(upscaler, iter(frames), replace(options, cache=0))),
        list(enlarge_frames(upscaler, iter(frames), replace(options, reuse=False))),
        whole[:8] + list(rest or []),
    ):
        np.testing.assert_array_equal(other, whole)


def test_sides_that_are_no_multiple_are_mirrored_and_cut() -> None:
    model = randomise(EDVR_TINY.build())
    frames = [frame.astype(np.float32) / 255 for frame in clip(5, 9, 14)]
    result = list(enlarge_frames(as_upscaler(model), iter(frames), WHOLE))[2]
    padded = np.pad(np.stack(frames), ((0, 0), (0, 3), (0, 2), (0, 0)), mode="symmetric")
    np.testing.assert_allclose(result, numpy(model(padded[None]))[0][:36, :56], atol=1e-5)
