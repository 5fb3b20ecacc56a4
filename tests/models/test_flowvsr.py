"""FlowVSR: its start is its base, and its parts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from tiny_models import TINY, Case, numpy, pictures, randomise

from isr import presets
from isr.errors import RequestError
from isr.models import EDSR, FlowVSR
from isr.models.flowvsr import LUMA
from isr.ops import pixel_unshuffle

CASE = Case(FlowVSR, TINY["FlowVSR"][0])


def base(scale: int = 4) -> EDSR:
    keras.utils.set_random_seed(3)
    return randomise(EDSR(scale, num_features=6, num_blocks=1, name="any"))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("num_frames", [3, 5, 7])
def test_it_begins_as_its_base(scale: int, num_frames: int) -> None:
    photo = base(scale)
    model = FlowVSR(
        photo, num_frames=num_frames, num_features=4, num_blocks=1, flow_features=2, flow_rounds=[1, 1]
    )
    model.start_as_interpolation()
    assert model.scales == (scale,)
    lr = pictures(model, 5, 6, batch=2)
    expected = numpy(photo(lr[:, num_frames // 2]))
    np.testing.assert_allclose(numpy(model(lr)), expected, atol=1e-5)


def test_a_preset_of_it_holds_its_base(tmp_path: Any) -> None:
    photo = base()
    photo.save_preset(tmp_path / "photo")
    model = FlowVSR(str(tmp_path / "photo"), num_features=4, num_blocks=0, flow_features=2)
    assert model.base["model"] == "EDSR" and model.base["arguments"]["num_features"] == 6
    model.save_preset(tmp_path / "video")
    (tmp_path / "photo" / "weights.safetensors").unlink()
    assert presets.scales(tmp_path / "video") == (4,) and presets.num_frames(tmp_path / "video") == 5
    again = FlowVSR.from_preset(tmp_path / "video")
    lr = pictures(again, 4, 4)
    np.testing.assert_allclose(numpy(again(lr)), numpy(photo(lr[:, 2])), atol=1e-5)


@pytest.mark.parametrize(("num_frames", "passes"), [(5, 1), (3, 2), (5, 2)])
def test_frames_are_counted_without_the_network(num_frames: int, passes: int) -> None:
    model = CASE.build(num_frames=num_frames, passes=passes)
    assert presets.frames_of(model.preset_arguments()) == model.spec.num_frames


def test_the_base_is_trained_on_request_only() -> None:
    frozen, moving = (CASE.build(freeze_base=freeze) for freeze in (True, False))
    moved = len(moving.trainable_variables) - len(frozen.trainable_variables)
    assert moved == len(frozen.enlarge.variables) > 0


@pytest.mark.parametrize(
    ("scale", "share"),
    [
        (2, [[1, 0], [0, 1]]),
        (3, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]),
        (4, [[1 / 2, 1 / 2, 0, 0], [0, 0, 1 / 2, 1 / 2]]),
    ],
)
@pytest.mark.parametrize(("channels", "mix"), [(1, [1.0]), (2, [0.5, 0.5]), (3, LUMA)])
def test_the_flow_looks_at_luma_of_twice_the_sides_of_the_input(
    scale: int, share: list[list[float]], channels: int, mix: list[float]
) -> None:
    sr = np.random.default_rng(0).random((1, 3 * scale, 5 * scale, channels), np.float32)
    photo = EDSR(scale, num_channels=channels, num_features=2, num_blocks=0)
    features = FlowVSR(photo, num_features=2, num_blocks=0, flow_features=2).observe(sr)
    luma = sr[0] @ mix
    np.testing.assert_allclose(numpy(features["luma"])[0, ..., 0], luma, atol=1e-5)
    expected = np.einsum("ip,jq,hpwq->hiwj", share, share, luma.reshape(3, scale, 5, scale)).reshape(6, 10)
    np.testing.assert_allclose(numpy(features["guide"])[0, ..., 0], expected, atol=1e-5)


def test_neighbours_are_moved_to_the_centre_frame() -> None:
    """With a flow that is known, what comes out of the alignment is the centre frame."""
    model = CASE.build()
    correct = model.flow.correct
    for layer in (*model.flow.convs, correct):
        layer.set_weights([np.zeros(weight.shape) for weight in layer.get_weights()])
    correct.bias.assign([0.0, np.arctanh(0.25)])  # half a pixel to the right, on both levels: 3 halves
    scene = np.random.default_rng(0).random((1, 32, 80, 3), np.float32)
    frames = [scene[:, :, 12 - 6 * i : 12 - 6 * i + 64] for i in (0, 1)]  # 6 is 1.5 * 4
    center, neighbour = (model.observe(frame) for frame in frames)
    motion = model.motion(neighbour, center)
    moved = numpy(model.align(neighbour["luma"][:, None], motion["flow"]))[0, 0]
    expected = numpy(pixel_unshuffle(frames[0] @ np.float32(LUMA)[:, None], 4))[0]
    np.testing.assert_allclose(moved[:, :-2], expected[:, :-2], atol=1e-5)
    np.testing.assert_array_equal(numpy(motion["flow_back"]), numpy(motion["flow"]))
    for name in ("trust", "trust_back"):
        np.testing.assert_array_equal(numpy(motion[name]), 0)  # the way back leads to the right, too


def test_a_second_pass_takes_the_results_of_the_first_as_neighbours() -> None:
    once, twice = CASE.build(num_frames=3), CASE.build(num_frames=3, passes=2)
    twice.set_weights(randomise(once).get_weights())
    lr = pictures(twice, 7, 8)
    assert lr.shape[1] == 5 and twice.spec.center_frame == 2
    first = [once(lr[:, i : i + 3]) for i in (0, 2)]
    window = {name: np.array(value)[:, 1:4] for name, value in twice.encode_window(lr).items()}
    for place, result in zip((0, 2), first, strict=True):
        window["luma"][:, place] = numpy(once.observe(result)["luma"])
    expected = numpy(once.decode(window))
    np.testing.assert_allclose(numpy(twice(lr)), expected, atol=1e-4)
    assert np.abs(expected - numpy(once(lr[:, 1:4]))).max() > 1e-3
    with pytest.raises(ValueError, match="passes=0"):
        CASE.build(passes=0)


def test_what_is_not_trusted_changes_nothing() -> None:
    model = randomise(CASE.build(num_frames=3))
    lr = pictures(model, 6, 7)
    window = dict(model.encode_window(lr))
    for layer in (*model.flow.convs, model.flow.correct):
        layer.set_weights([np.zeros(weight.shape) for weight in layer.get_weights()])
    model.flow.correct.bias.assign([0.0, 5.0])  # there and back both lead to the right
    alone = numpy(model.decode(window))
    np.testing.assert_array_equal(alone, numpy(window["sr"])[:, 1])
    window["luma"] = keras.ops.concatenate([0 * window["luma"][:, :1], window["luma"][:, 1:]], axis=1)
    np.testing.assert_array_equal(numpy(model.decode(window)), alone)


def test_a_still_picture_stays_as_the_base_makes_it() -> None:
    model = randomise(CASE.build(num_frames=3))
    for layer in (*model.flow.convs, model.flow.correct):
        layer.set_weights([np.zeros(weight.shape) for weight in layer.get_weights()])
    lr = np.repeat(pictures(model, 6, 7)[:, :1], 3, axis=1)
    np.testing.assert_allclose(numpy(model(lr)), numpy(model.enlarge(lr[:, 1])), atol=1e-5)
    lr[:, 0] = np.roll(lr[:, 0], 1, 2)
    assert np.abs(numpy(model(lr)) - numpy(model.enlarge(lr[:, 1]))).max() > 1e-4


def test_it_takes_over_flow_and_fusion_and_keeps_a_base_that_was_given() -> None:
    source = {name: numpy(value) for name, value in randomise(CASE.build()).named_weights().items()}
    described = CASE.build()
    assert described.adopt(source, "source") == []
    given = FlowVSR(base(), **{k: v for k, v in CASE.arguments.items() if k != "base"})
    kept = given.adopt(source, "source")
    assert kept and all(name.startswith("base/") for name in kept)
    np.testing.assert_array_equal(numpy(given.fuse.kernel), source["fuse/kernel"])
    np.testing.assert_array_equal(numpy(given.enlarge.head.kernel), numpy(base().head.kernel))
    wider = CASE.build(num_features=12)
    kept = wider.adopt(source, "source")
    assert {name.split("/")[0] for name in kept} == {"fuse", "block0", "last"}
    np.testing.assert_array_equal(numpy(wider.flow.correct.kernel), source["flow/correct/kernel"])
    with pytest.raises(RequestError, match="flow"):
        CASE.build(flow_features=6).adopt(source, "source")
