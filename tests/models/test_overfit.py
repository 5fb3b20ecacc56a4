"""Every network and every loss of training on one small batch that never changes: the loss must fall far.

Driven by what the trainer drives: `Objective`, its optimizer and Keras' compiled step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from tiny_models import FIRST, TINY, Case, numpy

from isr.imresize import imresize
from isr.losses import ContentLoss, adversarial_loss, pixel_loss
from isr.models import EDSR, Discriminator, SuperResolutionModel, UNetDiscriminator
from isr.train.objective import LossWeights, Objective, aligns_frames
from isr.train.optimizer import AveragingAdam

RATE = 3e-3
# By which the pixel loss falls. EDVR adds to an interpolation, the others begin at random.
# FlowVSR adds luma alone; colours are left to its tiny base.
FACTOR = {"EDVR": 2.0, "FlowVSR": 1.4}
OTHERS = 3.5
SLOW = ("EDVR", "MDSR", "TDAN", "FlowVSR", "Cascade")

Batch = tuple[np.ndarray, np.ndarray]


def photograph(side: int, seed: int, moved: int = 0) -> np.ndarray:
    """Waves in all directions and colours, about [0, 1], `[side, side, 3]`; moved down by pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side]
    waves = [
        np.sin(a * x + b * (y + moved) + c)[..., None] * rng.normal(0, 0.1, 3)
        for a, b, c in rng.uniform((-0.5, -0.5, 0), (0.5, 0.5, 6), (8, 3))
    ]
    return np.asarray(0.5 + sum(waves), np.float32)


def batch(model: SuperResolutionModel, scale: int, side: int) -> Batch:
    """Two pictures, or windows of frames that move by a pixel, and what they were made of."""
    spec = model.spec

    def reduced(moved: int) -> np.ndarray:
        return np.stack([imresize(photograph(side, seed, moved), scale=1 / scale) for seed in (0, 1)])

    frames = [reduced(frame - spec.center_frame) for frame in range(spec.num_frames)]
    lr = np.stack(frames, axis=1) if spec.num_frames > 1 else frames[0]
    return lr, np.stack([photograph(side, seed) for seed in (0, 1)])


def overfit(
    objective: Objective, batches: Sequence[Batch], steps: int, loss: str = "l1"
) -> list[dict[str, Any]]:
    """Train on the batches in turn; the losses of the first and of the last step on each."""
    optimizer = AveragingAdam(RATE)
    optimizer.build(objective.trainable_variables)
    objective.compile(optimizer, pixel_loss(loss), jit_compile=False)
    rows = []
    for _ in range(steps):
        for lr, hr in batches:
            objective.reset_metrics()
            rows.append(objective.train_on_batch(lr, hr, return_dict=True))
    for row in rows:
        assert all(np.isfinite(value) for value in row.values()), row
    return rows


def assert_pixels_finite(objective: Objective, batches: Sequence[Batch]) -> None:
    for lr, hr in batches:
        sr = objective(lr)
        sr = numpy(sr[0] if objective.weighting.alignment else sr)
        assert sr.shape == hr.shape and np.all(np.isfinite(sr))


def named(case: Case) -> Any:
    name = case.model_class.__name__
    return pytest.param(case, id=name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.parametrize("case", [named(case) for case in FIRST])
def test_a_network_learns_a_batch_by_heart(case: Case) -> None:
    """At each of its scales, one network for all; with the alignment loss where it has one."""
    model = case.build()
    unit = math.lcm(*(scale * model.spec.size_multiple for scale in model.scales))
    side = unit * math.ceil(24 / unit)
    batches = [batch(model, scale, side) for scale in model.scales]
    weights = LossWeights(alignment=0.25 if aligns_frames(model) else 0.0)
    objective = Objective(model, weights, patch_size=side)
    rows = overfit(objective, batches, 100)
    factor = FACTOR.get(type(model).__name__, OTHERS)
    for index, scale in enumerate(model.scales):
        first, *_, last = rows[index :: len(batches)]
        assert last["pixel_loss"] < first["pixel_loss"] / factor, f"x{scale}"
        assert all(last[name] < first[name] for name in first), f"x{scale}"
    assert_pixels_finite(objective, batches)


def tiny_edsr() -> SuperResolutionModel:
    return Case(EDSR, TINY["EDSR"][0]).build()


# l1 is the loss of the tests above.
@pytest.mark.parametrize(("name", "factor"), [("mse", 30), ("charbonnier", 6), ("charbonnier_sum", 6)])
def test_a_pixel_loss_falls(name: str, factor: float) -> None:
    model = tiny_edsr()
    batches = [batch(model, 2, 24)]
    objective = Objective(model, LossWeights())
    rows = overfit(objective, batches, 100, name)
    assert rows[-1]["pixel_loss"] < rows[0]["pixel_loss"] / factor
    assert_pixels_finite(objective, batches)


def features(pictures: Any) -> list[Any]:
    """Two maps of edges and of colours, as a VGG of two layers has them."""
    kernel = np.random.default_rng(7).normal(0, 0.3, (3, 3, 3, 16)).astype(np.float32)
    maps = keras.ops.relu(keras.ops.conv(255 * pictures, kernel))
    return [maps, keras.ops.average_pool(maps, 2, 2)]


@pytest.mark.parametrize(
    ("part", "factor"), [("content mse", 30), ("content l1", 6), ("total_variation", 20)]
)
def test_a_loss_without_the_pixel_loss_falls(part: str, factor: float) -> None:
    name, _, kind = part.partition(" ")
    model = tiny_edsr()
    batches = [batch(model, 2, 24)]
    content = ContentLoss(features, kind=kind) if name == "content" else None  # type: ignore[arg-type]
    objective = Objective(model, LossWeights(pixel=0, **{name: 1.0}), content)
    rows = overfit(objective, batches, 100)
    assert rows[-1][f"{name}_loss"] < rows[0][f"{name}_loss"] / factor
    assert rows[-1]["loss"] == pytest.approx(rows[-1][f"{name}_loss"], rel=1e-5)
    if name == "content":  # features of the photograph come from pixels near the photograph's
        assert rows[-1]["pixel_loss"] < rows[0]["pixel_loss"] / 3
    assert_pixels_finite(objective, batches)


@pytest.mark.parametrize(
    ("name", "discriminator"),
    [
        pytest.param("vanilla", Discriminator, marks=pytest.mark.slow),
        pytest.param("relativistic", Discriminator, marks=pytest.mark.slow),
        pytest.param("least_squares", Discriminator, marks=pytest.mark.slow),
        pytest.param("hinge", Discriminator, marks=pytest.mark.slow),
        pytest.param("vanilla", UNetDiscriminator, marks=pytest.mark.slow),
    ],
)
def test_a_contest_moves_both_networks_and_pictures_still_get_better(name: str, discriminator: Any) -> None:
    model = tiny_edsr()
    batches = [batch(model, 2, 24)]
    judge = discriminator(num_features=4)
    weights = LossWeights(pixel=1.0, content=0.1, adversarial=0.003)
    objective = Objective(model, weights, ContentLoss(features), adversarial_loss(name), judge)
    before = [numpy(variable).copy() for variable in judge.variables]
    rows = overfit(objective, batches, 60)

    def compared(row: dict[str, Any]) -> float:
        return float(row["pixel_loss"] + 0.1 * row["content_loss"])

    assert compared(rows[-1]) < compared(rows[0]) / 3
    for variable, start in zip(judge.variables, before, strict=True):
        assert np.any(numpy(variable) != start), variable.path
    assert_pixels_finite(objective, batches)
