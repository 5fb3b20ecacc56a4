"""Training of networks of several frames: phases, exact resume, what they learn from and are judged by."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from pictures import folder_of_photographs, photograph
from PIL import Image
from training_runs import StopAfter, assert_same_curve, rows, run_of_24, train_on_jax, trainer

from isr.config import TrainConfig
from isr.errors import Cancelled, RequestError
from isr.layers import Upsampler, conv
from isr.models.base import MultiFrameModel, join_frames, split_frames
from isr.progress import Callback


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs under a moving crop: `train` has two clips of 6 frames, `val` one, and `photos` large pictures."""
    folder = tmp_path_factory.mktemp("clips")
    for split, count in (("train", 2), ("val", 1)):
        for clip in range(count):
            picture = photograph(80, 100, seed=10 * count + clip)
            (folder / split / f"c{clip}").mkdir(parents=True)
            for frame in range(6):
                moved = picture[2 * frame :][:64, 3 * frame :][:, :80]
                Image.fromarray(moved).save(folder / split / f"c{clip}" / f"{frame}.png")
    folder_of_photographs(folder / "photos", 1, 160, 160)
    return folder


@keras.saving.register_keras_serializable(package="test")
class Window(MultiFrameModel):
    """The smallest network of several frames: it mixes them, gives them back as aligned, and enlarges."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(
            num_frames=3, center_frame_idx=None, num_channels=3, pixel_mean=0.5, pixel_range=1.0, **kwargs
        )
        policy = self.dtype_policy
        self.head = conv(8, "head", policy)
        self.fusion = conv(8, "fusion", policy)
        self.to_frame = conv(3, "to_frame", policy)
        self.upsampler = Upsampler(2, 8, dtype=policy, name="upsampler")
        self.tail = conv(3, "tail", policy)
        shape = (None, None, None)
        for layer, channels in (
            (self.head, 3),
            (self.fusion, 24),
            (self.to_frame, 8),
            (self.upsampler, 8),
            (self.tail, 8),
        ):
            layer.build((*shape, channels))
        self.built = True

    scales = (2,)
    receptive_radius = 4
    size_multiple = 2

    def encode(self, frames):  # type: ignore[no-untyped-def]
        return {"frame": self.normalise(frames), "features": self.head(self.normalise(frames))}

    def decode(self, window, return_aligned=False):  # type: ignore[no-untyped-def]
        features = window["features"]
        aligned = split_frames(self.to_frame(join_frames(features)), 3)
        fused = self.fusion(keras.ops.concatenate([features[:, t] for t in range(3)], axis=-1))
        sr = self.denormalise(self.tail(self.upsampler(fused)))
        return (sr, self.denormalise(aligned)) if return_aligned else sr

    def call(self, lr, return_aligned=False):  # type: ignore[no-untyped-def]
        return self.decode(self.encode_window(lr), return_aligned)

    def get_config(self) -> dict:
        return keras.Model.get_config(self)


def clip_settings(clips: Path, run: Path, **changes: object) -> TrainConfig:
    base = {
        "data.train_clips": clips / "train",
        "data.val_clips": clips / "val",
        "data.val_stride": 3,
        "data.train_hr": clips / "photos",
        "data.photo_motion": 0.5,
        "data.frame_intervals": "[1, 2]",
        "optimizer.loss": "charbonnier",
        "model.start_from": "null",
    }
    return run_of_24(clips, run, **{**base, **changes})


def test_video_networks_learn_and_resume_across_all_phases(clips: Path, tmp_path: Path) -> None:
    changes = {
        "optimizer.only": "[fusion]",
        "optimizer.only_steps": 7,
        "optimizer.multipliers": "{head: 0.1}",
        "optimizer.schedule": "restarts",
        "optimizer.periods": "[10, 14]",
        "optimizer.restart_weights": "[1, 0.5]",
        "optimizer.alignment_weight": 0.25,
    }
    config = clip_settings(clips, tmp_path / "whole", **changes)
    keras.utils.set_random_seed(0)
    trainer(config, model=Window()).train()
    log = rows(tmp_path / "whole")
    assert [row["step"] for row in log] == ["0", "5", "7", "8", "10", "15", "16", "20", "24"]
    assert float(log[-1]["loss"]) < float(log[1]["loss"])
    assert float(log[-1]["val_psnr_y"]) > float(log[0]["val_psnr_y"])

    parts = clip_settings(clips, tmp_path / "parts", **changes)
    for stop in (6, 9, 3):  # in the first phase, after its end, and in the second cosine
        steps = iter(range(stop))
        keras.utils.set_random_seed(0)
        with pytest.raises(Cancelled):
            trainer(parts, model=Window(), progress=StopAfter(steps)).train()
    keras.utils.set_random_seed(0)
    trainer(parts, model=Window()).train()
    assert_same_curve(tmp_path / "whole", tmp_path / "parts")


def test_at_first_only_the_named_weights_move(clips: Path, tmp_path: Path) -> None:
    changes = {
        "optimizer.only": "[fusion, tail]",
        "optimizer.only_steps": 5,
        "steps.total": 5,
        "data.photo_motion": 0,
        "optimizer.clip_norm": 1.0,
    }
    model = Window()
    model.compile("sgd", "mse")  # as a user may have left it
    before = {name: np.array(value) for name, value in model.named_weights().items()}
    trainer(clip_settings(clips, tmp_path / "run", **changes), model=model).train()
    for name, value in model.named_weights().items():
        moved = np.abs(np.asarray(value) - before[name]).max() > 0
        assert moved == name.startswith(("fusion", "tail")), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.only": "[fusions]"}, "optimizer.only: no weight of Window has 'fusions' in its name"),
        ({"optimizer.multipliers": "{dcn: 0.1}"}, "optimizer.multipliers: no weight of Window has 'dcn'"),
        ({"data.train_clips": "null", "data.photo_motion": 0}, "data.train_clips: Window needs a folder"),
        ({"data.val_clips": "null"}, "data.val_clips: Window needs a folder"),
        ({"data.clip_weights": "{x: 1}"}, "data.clip_weights: no clip's name matches 'x'"),
        ({"data.patch_size": 22}, "data.patch_size 22 is no multiple of 4, which Window needs"),
        ({"data.patch_size": 72}, "data.patch_size 72 needs photographs of at least"),
        ({"data.patch_size": 72, "data.photo_motion": 0}, "smaller than the patch of 72"),
    ],
)
def test_requests_for_clips_that_cannot_work_are_refused(
    clips: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        trainer(clip_settings(clips, tmp_path / "run", **changes), model=Window()).train()


def test_photographs_alone_train_a_video_network(clips: Path, tmp_path: Path) -> None:
    changes = {"data.train_clips": "null", "data.photo_motion": 1, "data.degradation": "bd", "steps.total": 4}
    trainer(clip_settings(clips, tmp_path / "run", **changes), model=Window()).train()
    assert rows(tmp_path / "run")[-1]["val_psnr_y"]


def test_validation_is_the_psnr_of_whole_frames(clips: Path, tmp_path: Path) -> None:
    from isr.data.clips import Clips, find_clips
    from isr.imresize import imresize
    from isr.levels import from_float, to_float
    from isr.metrics import psnr
    from isr.runtimes import as_upscaler
    from isr.train.validation import Bicubic, score_clips

    model = Window()
    found = Clips(find_clips(clips / "val"), 2, 3, tmp_path)
    score = score_clips(as_upscaler(model), found, 3, samples=1, bicubic=Bicubic())
    expected = []
    for center in (1, 4):  # the middles of 0 to 2 and of 3 to 5
        window = found[0].lr[center - 1 : center + 2]
        hr = found[0].hr[center]
        sr = from_float(np.asarray(model(to_float(window)[None]))[0], np.dtype(np.uint8))
        bicubic = imresize(window[1], scale=2)
        expected.append([psnr(x, hr, channel="y", border=2) for x in (sr, bicubic)])
        if center == 1:
            assert np.array_equal(score.pictures["c0"], sr)
    assert np.mean(expected, axis=0) == pytest.approx([score.psnr, score.bicubic_psnr], abs=1e-3)


def test_far_offsets_are_warned_of_once(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isr.train import watch

    said: list[str] = []
    progress = Callback(lambda *_: True)
    progress.message = said.append  # type: ignore[method-assign]
    monkeypatch.setattr(watch, "mean_offsets", lambda model, lr: {"align/dcn": 60.0, "align/near": 2.0})
    config = clip_settings(clips, tmp_path / "run", **{"data.photo_motion": 0, "steps.total": 10})
    trainer(config, model=Window(), progress=progress).train()
    (warning,) = [line for line in said if "offset" in line]
    assert "align/dcn is 60 pixels" in warning


@pytest.mark.slow
def test_tdan_trains_on_jax_without_tensorflow(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="the extra keras-isr[jax] is not installed")
    changes = {
        "model.name": "TDAN",
        "model.arguments": "{scale: 2, num_features: 8, num_frames: 3, num_extract_blocks: 0, "
        "num_reconstruct_blocks: 1, deform_groups: 2}",
        "optimizer.only": "[fuse]",
        "optimizer.only_steps": 4,
        "optimizer.multipliers": "{conv_offset: 0.1}",
        "optimizer.clip_norm": 1.0,
        "steps.total": 12,
        "steps.validate_every": 12,
    }
    train_on_jax(clip_settings(clips, tmp_path / "run", **changes))
    log = rows(tmp_path / "run")
    assert [row["step"] for row in log] == ["0", "4", "5", "10", "12"]
    assert float(log[-1]["val_psnr_y"]) > float(log[0]["val_psnr_y"])
