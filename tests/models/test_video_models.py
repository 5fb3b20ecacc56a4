"""TDAN and EDVR: sizes, options, and what the papers say of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from pictures import photograph
from tiny_models import Case, numpy, pictures, randomise

from isr.errors import RequestError
from isr.models import EDSR, EDVR, TDAN
from isr.ops import enlarge_bilinear

TDAN_TINY = Case(
    TDAN, {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 1, "num_reconstruct_blocks": 1}
)
EDVR_TINY = Case(
    EDVR, {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 1, "num_reconstruct_blocks": 1}
)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (EDVR, 3_300_131),
        (lambda: EDVR(with_tsa=False), 2_996_259),
        (EDVR.large, 20_633_827),
        pytest.param(lambda: EDVR.variant("large_vimeo"), 20_699_363, marks=pytest.mark.slow),
        pytest.param(lambda: EDVR.variant("large_blur"), 23_306_851, marks=pytest.mark.slow),
        pytest.param(lambda: EDVR.variant("large_deblur"), 23_602_019, marks=pytest.mark.slow),
        pytest.param(lambda: EDVR.variant("large_second_stage"), 15_025_635, marks=pytest.mark.slow),
        (TDAN, 1_970_819),
    ],
    ids=["M", "M-without-TSA", "L-REDS", "L-Vimeo", "L-blur", "L-deblur", "L-stage-2", "TDAN"],
)
def test_parameters_are_as_many_as_published(build: Any, parameters: int) -> None:
    assert build().count_params() == parameters


def without_bias(filters: int, inputs: int, kernel: int = 3) -> int:
    return filters * inputs * kernel**2


def conv(filters: int, inputs: int, kernel: int = 3) -> int:
    return without_bias(filters, inputs, kernel) + filters


@pytest.mark.parametrize(("f", "groups", "frames", "scale"), [(8, 2, 3, 2), (12, 4, 5, 3), (16, 1, 4, 8)])
def test_tdan_parameters_follow_from_its_figure(f: int, groups: int, frames: int, scale: int) -> None:
    model = TDAN(scale, f, frames, None, 2, 3, groups)
    upsampler = {2: [4], 3: [9], 8: [4, 4, 4]}[scale]
    expected = (
        conv(f, 3)
        + 2 * (2 + 3) * conv(f, f)
        + conv(f, 2 * f)
        + 4 * (without_bias(f, f) + conv(18 * groups, f))
        + conv(3, f)
        + conv(f, 3 * frames)
        + sum(conv(step * f, f) for step in upsampler)
        + without_bias(3, f)
    )
    assert model.count_params() == expected


# TDAN


def test_tdan_gives_the_aligned_frames_on_request() -> None:
    model = randomise(TDAN_TINY.build())
    lr = pictures(model, 6, 7, batch=2)
    sr, aligned = model(lr, return_aligned=True)
    np.testing.assert_allclose(numpy(sr), numpy(model(lr)), atol=1e-6)
    assert aligned.shape == lr.shape and numpy(aligned).dtype == np.float32
    np.testing.assert_allclose(numpy(aligned)[:, 2], lr[:, 2], atol=1e-6)
    assert all(np.abs(numpy(aligned)[:, i] - lr[:, i]).max() > 1e-3 for i in (0, 1, 3, 4))


def test_tdan_starts_with_frames_that_are_not_moved() -> None:
    model = TDAN(num_features=16, num_extract_blocks=0, num_reconstruct_blocks=0)
    model.start_as_interpolation()
    model.to_frame.kernel.assign(
        np.where(np.abs(numpy(model.to_frame.kernel)) < 0.9, 0, model.to_frame.kernel)
    )
    lr = pictures(model, 8, 9)
    _, aligned = model(lr, return_aligned=True)
    np.testing.assert_allclose(numpy(aligned), lr, atol=1e-5)


def test_the_border_rule_of_tdan_shows_near_the_border_only() -> None:
    """With small offsets the two rules differ where a sample leaves the picture."""
    one, other = (TDAN_TINY.build(border=border) for border in ("v1", "v2"))
    randomise(one)
    for deformable in (one.align.refine1, one.align.refine2, one.align.sample, one.align.polish):
        offsets = deformable.conv_offset
        offsets.kernel.assign(numpy(offsets.kernel) * 0)
        offsets.bias.assign(np.full(offsets.bias.shape, 0.3))
    other.set_weights(one.get_weights())
    lr = pictures(one, 30, 30)
    difference = np.abs(numpy(one(lr)) - numpy(other(lr)))[0].max(axis=-1)
    assert difference[:8].max() > 1e-4 and difference[52:68, 52:68].max() < 1e-6


# EDVR


def test_every_option_of_edvr_changes_the_network() -> None:
    base = EDVR_TINY.build().count_params()
    for option in (
        {"num_features": 16},
        {"num_frames": 3},
        {"deform_groups": 4},
        {"num_extract_blocks": 2},
        {"num_reconstruct_blocks": 2},
        {"hr_in": True},
        {"with_predeblur": True},
        {"with_tsa": False},
        {"num_upsample_features": 32},
        {"num_channels": 1},
    ):
        assert EDVR_TINY.build(**option).count_params() != base, option
    lr = np.random.default_rng(0).random((1, 5, 8, 8, 3), np.float32)
    moved = randomise(EDVR_TINY.build(center_frame_idx=0))
    assert np.abs(numpy(moved(lr)) - numpy(randomise(EDVR_TINY.build())(lr))).max() > 1e-3


def test_edvr_adds_to_the_enlarged_centre_frame() -> None:
    for arguments, scale in [({}, 4), ({"hr_in": True}, 1), ({"hr_in": True, "with_predeblur": True}, 1)]:
        model = randomise(EDVR_TINY.build(center_frame_idx=1, **arguments))
        model.tail.kernel.assign(np.zeros(model.tail.kernel.shape))
        model.tail.bias.assign(np.zeros(3))
        sides = 16 // scale
        flat = np.arange(5, dtype=np.float32)[None, :, None, None, None] * np.ones(
            (1, 5, sides, sides, 3), np.float32
        )
        np.testing.assert_allclose(numpy(model(flat)), np.ones((1, 16, 16, 3)), atol=1e-6)


def test_edvr_border_rules_are_those_of_the_authors() -> None:
    assert EDVR_TINY.build().spec.frame_border == "circle"
    assert EDVR_TINY.build(with_predeblur=True).spec.frame_border == "replicate"
    assert TDAN_TINY.build().spec.frame_border == "reflect"
    assert EDVR_TINY.build(hr_in=True).spec.size_multiple == 16


def test_a_frame_pair_is_aligned_on_all_levels_with_doubled_offsets() -> None:
    """Offset features of one level, enlarged, count twice on the next (equation 3)."""
    model = randomise(EDVR_TINY.build())
    level = model.align.levels[0]
    for layer in (level.offset_conv1, level.offset_conv2, level.offset_conv3):
        layer.kernel.assign(np.zeros(layer.kernel.shape))
        layer.bias.assign(np.zeros(layer.bias.shape))
    kernel = np.zeros(level.offset_conv2.kernel.shape, np.float32)
    kernel[1, 1, 8:, :] = np.eye(8)  # what comes from the level below
    level.offset_conv2.kernel.assign(kernel)
    kernel = np.zeros(level.offset_conv3.kernel.shape, np.float32)
    kernel[1, 1] = np.eye(8)
    level.offset_conv3.kernel.assign(kernel)
    x = np.zeros((1, 8, 8, 8), np.float32)
    below = np.full((1, 4, 4, 8), 1.5, np.float32)
    offsets, _ = level(x[:, None], x[:, None], center=0, below=(below, below))
    np.testing.assert_allclose(numpy(offsets), 3.0, atol=1e-6)


def test_the_motion_of_a_pair_is_the_mean_of_its_offsets() -> None:
    model = EDVR_TINY.build()
    for level, offset in zip(model.align.levels, [(0.5, -1), (1, 2), (-1, 0.25)], strict=True):
        count = 2 * level.dcn.deform_groups * 9
        bias = numpy(level.dcn.conv_offset.bias)
        bias[:count] = np.tile(offset, count // 2)
        # Taps that point elsewhere on both sides do not count.
        bias[:2] += 3
        bias[2:4] -= 3
        level.dcn.conv_offset.bias.assign(bias)
    cascade = numpy(model.align.cascade_dcn.conv_offset.bias)
    cascade[0::2][:9] = 2
    model.align.cascade_dcn.conv_offset.bias.assign(cascade)
    taps = model.align.cascade_dcn.deform_groups * 9
    pair = np.random.default_rng(0).random((1, 2, 16, 20, 3), np.float32)
    flow = numpy(model.follow(pair))
    assert flow.shape == (1, 16, 20, 8)
    expected = [(-4, 1), (2, 4), (0.5, -1), (0.5 + 9 * 2 / taps, -1)]
    np.testing.assert_allclose(flow, np.broadcast_to(np.ravel(expected), flow.shape), atol=1e-5)


def test_tsa_weights_a_frame_by_its_likeness() -> None:
    """Equation 5: a frame whose embedding opposes the reference's is left out, one that agrees is taken whole."""
    model = EDVR_TINY.build()
    tsa = model.fusion
    for layer in (tsa.embed_reference, tsa.embed_frame, tsa.fuse):
        layer.kernel.assign(np.zeros(layer.kernel.shape))
    for layer in (tsa.embed_reference, tsa.embed_frame):
        kernel = np.zeros(layer.kernel.shape, np.float32)
        kernel[1, 1] = 10 * np.eye(8)
        layer.kernel.assign(kernel)
    kernel = np.zeros((1, 1, 40, 8), np.float32)
    for frame in range(5):
        kernel[0, 0, 8 * frame : 8 * frame + 8] = np.eye(8)
    tsa.fuse.kernel.assign(kernel)  # the sum of the weighted frames
    for layer in (tsa.spatial5, tsa.add1, tsa.add2):
        layer.kernel.assign(np.zeros(layer.kernel.shape))  # no spatial attention: times 2 * sigmoid(0) = 1
    frames = np.ones((1, 5, 8, 8, 8), np.float32)
    frames[:, 0] = -1.0  # opposes
    fused = numpy(tsa(frames, center=2))
    np.testing.assert_allclose(fused, 4.0, atol=1e-4)


def test_tsa_starts_from_the_network_without_it() -> None:
    plain = randomise(EDVR_TINY.build(with_tsa=False))
    values = {name: numpy(value) for name, value in plain.named_weights().items()}
    model = EDVR_TINY.build()
    made = model.adopt(values, "plain")
    assert made and all(name.startswith("fusion/") for name in made)
    weights = {name: numpy(value) for name, value in model.named_weights().items()}
    for name in set(weights) - set(made):
        np.testing.assert_array_equal(weights[name], values[name])
    np.testing.assert_allclose(weights["fusion/fuse/kernel"], 2 * values["fusion/kernel"])
    assert EDVR_TINY.build().adopt(weights, "same") == []
    with pytest.raises(RequestError, match="kernel"):
        EDVR_TINY.build(num_frames=3).adopt(values, "other")


def test_edvr_starts_from_a_photo_network() -> None:
    """What an EDSR makes of the centre frame is nearly what an EDVR makes of the window, before any training."""
    keras.utils.set_random_seed(1)
    edsr = EDSR(scale=4, num_features=24, num_blocks=4)
    edsr.start_as_interpolation()
    values = {name: numpy(value) for name, value in edsr.named_weights().items()}
    options: dict[str, Any] = {
        "num_features": 24,
        "num_upsample_features": 24,
        "with_tsa": False,
        "num_reconstruct_blocks": 2,
        "pixel_range": 16.0,
    }
    model = EDVR_TINY.build(**options)
    made = model.adopt(values, "edsr")
    assert "align/cascade_dcn/kernel" in made and "extract0/conv1/kernel" not in made
    # Of four blocks the first, the third and the last.
    for block, number in zip((*model.extract, *model.reconstruct), (0, 2, 3), strict=True):
        np.testing.assert_array_equal(numpy(block.conv2.kernel), values[f"block{number}/conv2/kernel"])

    frames = np.stack([photograph(24, 28, seed=seed) for seed in range(5)])[None].astype(np.float32) / 255
    result, expected = numpy(model(frames)), numpy(edsr(frames[:, 2]))
    linear = numpy(enlarge_bilinear(frames[:, 2], 4))
    # Inside of what lies on zeros that the shifts do not reach.
    inside = (slice(None), slice(24, -24), slice(24, -24))
    assert np.std((result - expected)[inside]) < 0.3 * np.std((linear - expected)[inside])
    # The neighbours add nothing, so a frame alone is enlarged to the same.
    np.testing.assert_allclose(numpy(model.enlarge_alone(frames[:, 2])), result, atol=1e-5)

    with pytest.raises(RequestError, match="without TSA"):
        EDVR_TINY.build().adopt(values, "edsr")
    with pytest.raises(RequestError, match=r"edsr: .*block4"):
        EDVR_TINY.build(**{**options, "num_reconstruct_blocks": 4}).adopt(values, "edsr")
    with pytest.raises(RequestError, match="8 features cannot carry 24"):
        small = EDSR(scale=4, num_features=8, num_blocks=2)
        EDVR_TINY.build(with_tsa=False, num_upsample_features=8).adopt(
            {name: numpy(value) for name, value in small.named_weights().items()}, "small"
        )


@pytest.mark.slow
def test_the_preset_of_edvr_makes_of_its_centre_frame_what_an_edsr_does() -> None:
    model, edsr = EDVR.from_preset("edvr_m_x4"), EDSR.from_preset("edsr_baseline_x4")
    frames = np.stack([photograph(32, 40, seed=seed) for seed in range(5)])[None].astype(np.float32) / 255
    result, expected = numpy(model(frames)), numpy(edsr(frames[:, 2]))
    linear = numpy(enlarge_bilinear(frames[:, 2], 4))
    assert np.std(result - expected) < 0.5 * np.std(linear - expected)
    # Its neighbours have no weight yet, as its card says.
    others = np.concatenate([frames[:, [4, 3]], frames[:, 2:3], frames[:, [1, 0]]], axis=1)
    np.testing.assert_array_equal(numpy(model(others)), result)


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 4"):
        EDVR_TINY.build()(np.zeros((1, 5, 9, 8, 3), np.float32))
