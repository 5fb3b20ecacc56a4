"""FlowVSR in stages: its flow on exact motion, and what comes after its base on frames that are enlarged once."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from pictures import photograph
from PIL import Image
from tiny_models import numpy

from isr import config as configuration
from isr.config import TrainConfig
from isr.data.batches import EchoedBatches
from isr.data.clips import Clips, find_clips
from isr.data.enlarged import enlarge_clips
from isr.errors import Cancelled, RequestError
from isr.losses import EndPointError
from isr.models import EDVR, FlowVSR
from isr.models.loading import load
from isr.progress import Callback, Silent
from isr.train import Trainer
from isr.train.sources import Sources

BASE = "{model: EDSR, arguments: {scale: 2, num_features: 6, num_blocks: 0}}"
ARGUMENTS = (
    f"{{base: {BASE}, num_frames: 3, num_features: 4, num_blocks: 0, flow_features: 2, flow_rounds: [1, 1]}}"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A moving crop as a clip of 5 frames, and a photograph large enough to be set in motion."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "clips" / "c").mkdir(parents=True)
    (folder / "photos").mkdir()
    picture = photograph(80, 100, seed=1)
    for frame in range(5):
        Image.fromarray(picture[2 * frame :][:64, 3 * frame :][:, :80]).save(
            folder / "clips" / "c" / f"{frame}.png"
        )
    Image.fromarray(photograph(180, 190, seed=2)).save(folder / "photos" / "p.png")
    return folder


def settings(data: Path, run: Path, **changes: object) -> TrainConfig:
    base = {
        "run": run,
        "model.name": "FlowVSR",
        "model.arguments": ARGUMENTS,
        "data.train_hr": data / "photos",
        "data.train_clips": data / "clips",
        "data.val_clips": data / "clips",
        "data.val_stride": 5,
        "data.patch_size": 32,
        "data.photo_motion": 0.5,
        "data.scenes": 2,
        "data.batch_size": 2,
        "optimizer.warmup_steps": 0,
        "optimizer.learning_rate": 1e-2,
        "steps.total": 6,
        "steps.validate_every": 6,
        "steps.save_every": 2,
        "samples": 0,
    }
    return configuration.load(None, [f"{key}={value}" for key, value in {**base, **changes}.items()])


def moved(run: Path) -> set[str]:
    """The parts of the network, of which the run has moved a weight."""
    last = load(run / "last")
    keras.utils.set_random_seed(0)
    first = FlowVSR(**last.preset_arguments())
    first.start_as_interpolation()
    pairs = zip(first.named_weights().items(), last.named_weights().values(), strict=True)
    return {
        name.split("/")[0] for (name, before), after in pairs if not np.allclose(numpy(before), numpy(after))
    }


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "parts"), [("flow", {"flow"}), ("fusion", {"flow", "fuse", "last"})])
def test_a_stage_moves_its_part_and_resumes_exactly(
    stage: str, parts: set[str], data: Path, tmp_path: Path
) -> None:
    whole = settings(data, tmp_path / "whole", stage=stage)
    Trainer(whole).train()
    assert moved(tmp_path / "whole") <= parts and "flow" in moved(tmp_path / "whole")
    stopped = settings(data, tmp_path / "stopped", stage=stage)
    early = Callback(lambda what, done, _: not (what.startswith("train") and done >= 3))
    with pytest.raises(Cancelled):
        Trainer(stopped, progress=early).train()
    Trainer(stopped).train()
    for name, value in load(tmp_path / "whole" / "last").named_weights().items():
        again = load(tmp_path / "stopped" / "last").named_weights()[name]
        np.testing.assert_allclose(numpy(again), numpy(value), atol=1e-6, err_msg=name)


PYRAMID = ("to_l2/", "l2_conv/", "to_l3/", "l3_conv/")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "some"),
    [
        ("path", {"head/bias", "tail/bias"}),
        ("flow", {"to_l3/bias", "align/l3/dcn/conv_offset/bias", "align/cascade_dcn/conv_offset/bias"}),
    ],
)
def test_a_stage_of_edvr_moves_its_layers_alone(
    stage: str, some: set[str], data: Path, tmp_path: Path
) -> None:
    arguments = "{num_features: 8, num_frames: 3, deform_groups: 2, num_extract_blocks: 1, with_tsa: false}"
    changes = {"model.name": "EDVR", "model.arguments": arguments, "stage": stage, "steps.total": 2}
    trainer = Trainer(settings(data, tmp_path / "run", **changes))
    before = {name: numpy(value) for name, value in trainer.model.named_weights().items()}
    trainer.train()
    moved = {
        name
        for name, value in load(tmp_path / "run" / "last").named_weights().items()
        if not np.allclose(numpy(value), before[name], atol=1e-3)
    }
    offsets = ("conv_offset", "offset_conv", "cascade_conv")
    aligning = {name for name in moved if name.startswith(PYRAMID) or any(part in name for part in offsets)}
    assert some <= moved and aligning == (moved if stage == "flow" else set())
    assert not any(name.startswith(("align/", "fusion/")) for name in moved - aligning)


def test_a_stage_is_refused_where_the_network_has_none(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="stage path: TDAN has no such stage here"):
        arguments = "{num_features: 8, num_frames: 3, deform_groups: 2, num_reconstruct_blocks: 0}"
        changes = {"model.name": "TDAN", "model.arguments": arguments, "stage": "path"}
        Trainer(settings(data, tmp_path / "run", **changes))


def test_patches_of_a_single_frame_serve_as_often_as_is_asked(data: Path, tmp_path: Path) -> None:
    changes = {"model.name": "EDVR", "model.arguments": "{with_tsa: false}", "stage": "path"}
    asked = {**changes, "data.degradation": "real", "data.echoes": 2}
    model = EDVR(
        num_features=8, deform_groups=2, num_extract_blocks=1, num_reconstruct_blocks=1, with_tsa=False
    )
    sources = Sources(settings(data, tmp_path / "run", **asked), model, tmp_path, Silent())
    assert isinstance(sources.batches(), EchoedBatches)


def test_frames_are_enlarged_once_in_fine_levels(data: Path, tmp_path: Path) -> None:
    calls = []

    def upscale(frame: np.ndarray) -> np.ndarray:
        calls.append(frame.dtype)
        return np.repeat(np.repeat(frame, 2, 0), 2, 1) // 2 + np.uint16(1)

    clips = Clips(find_clips(data / "clips"), 2, 3, tmp_path)
    for _ in range(2):
        (enlarged,) = enlarge_clips(clips, upscale, "key", tmp_path)
        assert enlarged.scale == 1 and enlarged.lr.shape == enlarged.hr.shape == (5, 64, 80, 3)
        np.testing.assert_array_equal(enlarged.hr, clips[0].hr)
        expected = clips[0].lr.astype(np.uint16)[:, 3, 4] * 257 // 2 + 1
        np.testing.assert_array_equal(enlarged.lr[:, 7, 8], expected)
    assert calls == [np.uint16] * 5
    enlarge_clips(clips, upscale, "another", tmp_path)
    assert len(calls) == 10


def test_noise_is_added_before_frames_are_enlarged(data: Path, tmp_path: Path) -> None:
    def repeat(frame: np.ndarray) -> np.ndarray:
        return frame.repeat(2, 0).repeat(2, 1)

    clips = Clips(find_clips(data / "clips"), 2, 3, tmp_path)
    (plain,) = enlarge_clips(clips, repeat, "key", tmp_path)
    noisy, again, other = (
        enlarge_clips(clips, repeat, "key", tmp_path, noise=(9.0, 9.0), seed=seed)[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(noisy.hr, plain.hr)
    assert again.enlarged == noisy.enlarged and other.enlarged != noisy.enlarged != plain.enlarged
    inner = (plain.lr > 40 * 257) & (plain.lr < 215 * 257)  # nothing is clipped there
    noise = (noisy.lr.astype(np.float64) - plain.lr) / 257
    # Rounding to whole levels adds a variance of 1/12.
    np.testing.assert_allclose(noise[inner].std(), np.hypot(9, 12**-0.5), rtol=0.03)
    assert abs(noise[inner].mean()) < 0.3
    # What the base enlarges has the noise, and every frame, channel and clip has its own.
    np.testing.assert_array_equal(noise[:, ::2, ::2], noise[:, 1::2, 1::2])
    for one, two in (
        (noise[0], noise[1]),
        (noise[..., 0], noise[..., 1]),
        (noise, (other.lr.astype(np.float64) - plain.lr) / 257),
    ):
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.05


@pytest.mark.slow
def test_a_share_of_the_windows_is_noisy_with_a_target_that_is_not(data: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = FlowVSR(**yaml.safe_load(ARGUMENTS))
    model.start_as_interpolation()
    noise = {"data.noise_share": 0.5, "data.noise_sigma": "[40, 40]", "data.photo_motion": 0}
    config = settings(data, tmp_path / "run", stage="fusion", **{**noise, "data.batch_size": 40})
    batch = Sources(config, model, tmp_path, Silent()).batches()[0]
    # Of the base, which interpolates here, differences of rows that lie next to each other.
    grain = np.abs(np.diff(batch.lr[:, 1] - batch.hr, axis=1)).mean((1, 2, 3)) * 255
    noisy = grain > 15
    assert 10 <= noisy.sum() <= 30 and np.median(grain[noisy]) > 2 * np.median(grain[~noisy]), grain
    # Noise of that sigma alone has 0.18 (2 sigma / sqrt(pi)).
    assert np.abs(np.diff(batch.hr[noisy], axis=1)).mean() < 0.12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "flow", "model.name": "EDSR", "model.arguments": "{scale: 2}"}, "stage flow: EDSR"),
        ({"stage": "fusion", "model.arguments": ARGUMENTS[:-1] + ", freeze_base: false}"}, "freeze_base"),
        ({"stage": "fusion", "model.name": "EDVR", "model.arguments": "{}"}, "stage fusion: EDVR"),
        ({"stage": "both"}, "stage"),
        ({"stage": "flow", "data.noise_share": 0.5}, "data.noise_share: over 0 is for the stage fusion"),
        ({"stage": "flow", "perceptual.phase_weight": 0.5}, "perceptual.phase_weight: is for pictures"),
        ({"stage": "flow", "perceptual.content_weight": 0.5}, "perceptual.content_weight: is for pictures"),
        (
            {"stage": "flow", "optimizer.only": "[fuse]", "optimizer.only_steps": 1},
            "optimizer.only: no weight of FlowVSR has 'fuse' in its name",
        ),
    ],
    ids=[
        "another network",
        "a base that moves",
        "no base",
        "no stage",
        "noise that nothing has",
        "a phase of a flow",
        "features of a flow",
        "nothing that moves",
    ],
)
def test_stages_that_cannot_work_are_refused(
    changes: dict[str, object], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        Trainer(settings(data, tmp_path / "run", **changes))


@pytest.mark.parametrize("power", [1.0, 0.4])
def test_the_end_point_error_is_of_the_places_that_count(power: float) -> None:
    truth = np.zeros((1, 2, 2, 3), np.float32)
    truth[0, :, :, 2] = [[1, 0], [0, 1]]
    flow = np.zeros((1, 2, 2, 2), np.float32)
    flow[0, 0, 0], flow[0, 0, 1], flow[0, 1, 1] = (3, 4), (100, 100), (0, 1)
    loss = EndPointError(power=power)
    expected = (5.01**power + 1.01**power) / 2
    assert float(loss(truth, flow)) == pytest.approx(expected, abs=1e-3)
    guesses = np.concatenate([flow, truth[..., :2]], axis=-1)
    assert float(loss(truth, guesses)) == pytest.approx((expected + 0.01**power) / 2, abs=1e-3)
    truth[..., 2] = 0
    assert float(loss(truth, flow)) == 0
