"""What the shipped FlowVSR presets do where neighbours cannot help, or mislead: hardly worse than their base."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from pictures import photograph
from tiny_models import numpy

from isr import presets, upscale_frames
from isr.imresize import imresize
from isr.levels import to_float
from isr.metrics import psnr
from isr.models import FlowVSR

NAMES = [name for name in presets.shipped() if presets.read_config(presets.find(name))["model"] == "FlowVSR"]
LOSS = 0.02  # dB that may be lost

every_preset = pytest.mark.parametrize("name", NAMES)
# A still picture looks at every one.
first_preset = pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)


@lru_cache
def opened(name: str) -> FlowVSR:
    return FlowVSR.from_preset(name)


def moving(seed: int, count: int, scale: int, step: tuple[int, int] = (1, 2)) -> np.ndarray:
    """HR frames of a crop that moves by whole HR pixels, parts of a pixel of the input: uint8 `[t, h, w, 3]`."""
    side = 36 * scale
    picture = photograph(side + count * step[0], side + count * step[1], seed=seed)
    return np.stack([picture[step[0] * i :][:side, step[1] * i :][:, :side] for i in range(count)])


def scores(name: str, hr: np.ndarray, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """PSNR of luma of every frame, of the base alone and of the preset."""
    model = opened(name)
    lr = np.stack([imresize(frame, scale=1 / model.scale) for frame in hr])
    if noise:
        noisy = lr + np.random.default_rng(0).normal(0, noise, lr.shape)
        lr = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    results = (upscale_frames(network, lr) for network in (model.enlarge, model))
    base, own = (
        np.array(
            [psnr(sr, true, channel="y", border=model.scale) for sr, true in zip(result, hr, strict=True)]
        )
        for result in results
    )
    return base, own


@every_preset
def test_a_still_picture_repeated_is_as_good_as_the_base_makes_it(name: str) -> None:
    scale = opened(name).scale
    base, own = scores(name, np.repeat(moving(1, 1, scale), 4, axis=0))
    assert own.mean() >= base.mean() - LOSS


@first_preset
def test_a_noisy_clip_is_as_good_as_the_base_makes_it(name: str) -> None:
    base, own = scores(name, moving(2, 5, opened(name).scale), noise=10.0)
    assert own.mean() >= base.mean() - LOSS


@first_preset
def test_two_clips_joined_do_not_disturb_each_other(name: str) -> None:
    scale = opened(name).scale
    base, own = scores(name, np.concatenate([moving(3, 4, scale), moving(4, 4, scale, (2, 1))]))
    assert own.mean() >= base.mean() - LOSS
    for frame in (3, 4):
        assert own[frame] >= base[frame] - LOSS, frame


@pytest.mark.slow
@every_preset
def test_photographs_are_followed_or_not_trusted(name: str) -> None:
    """Shifted by whole pixels of the input; between 8 and 32 of them the flow gets lost (docs/flowvsr.md)."""
    model = opened(name)
    side = 48
    for shift in (1, 4, 8, 32):
        picture = photograph(side * model.scale, (side + shift) * model.scale, seed=0)
        pair = [picture[:, at * model.scale :][:, : side * model.scale] for at in (0, shift)]
        first, second = (imresize(frame, scale=1 / model.scale) for frame in pair)
        motion = model.motion(*(model.encode(to_float(frame)[None]) for frame in (second, first)))
        flow, trust = (numpy(motion[name])[0, 0] for name in ("flow", "trust"))
        error = np.linalg.norm(flow - [0, -shift], axis=-1)[:, shift:]
        wrong = (error > 0.5) & (trust[:, shift:, 0] > 0.1)
        assert error.mean() < 0.5 if shift < 32 else trust[:, shift:].mean() < 0.1, shift
        assert wrong.mean() < 0.1, shift


@first_preset
def test_neighbours_help_where_the_camera_moves(name: str) -> None:
    base, own = scores(name, moving(5, 5, opened(name).scale))
    assert own.mean() > base.mean()
