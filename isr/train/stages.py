"""The stages in which a video network is trained: its way of a single frame, its flow, and what comes after a base."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from isr.config import TrainConfig
from isr.data.clips import Clip
from isr.data.enlarged import EnlargedClip, enlarge_clips
from isr.data.motion import Camera
from isr.errors import RequestError
from isr.losses import EndPointError, pixel_loss
from isr.models import EDVR, FlowVSR, SuperResolutionModel
from isr.ops import Tensor
from isr.predict.picture import TileOptions, enlarge
from isr.progress import Progress
from isr.runtimes import as_upscaler

# Slower than in `data.photo_motion` of other networks: a scene is longer than a window.
SCENE_CAMERA = Camera(pan=16.0, zoom=0.007, turn=0.4, shake=0.7)
# Of other scenes over a scene: real clips move in more ways than two at a time.
SCENE_PIECES = 6
# Of EDVR, whose offsets learned nothing in some hundred steps of the motion above, nor yet of this one.
OFFSET_CAMERA = Camera(pan=6.0, zoom=0.007, turn=0.4, shake=0.7)

# Layers of EDVR that a single frame does not pass.
PYRAMID = ("to_l2/", "l2_conv/", "to_l3/", "l3_conv/")
AROUND_PATH = (*PYRAMID, "align/", "fusion/")


def check_stage(config: TrainConfig, model: SuperResolutionModel) -> None:
    """Raise RequestError, naming the key, where a stage does not go with the network or the rest."""
    if config.data.noise_share and config.stage != "fusion":
        raise RequestError("data.noise_share: over 0 is for the stage fusion")
    if config.stage == "all":
        return
    for loss in ("content", "adversarial", "total_variation", "phase"):
        if config.stage == "flow" and getattr(config.perceptual, f"{loss}_weight"):
            raise RequestError(f"perceptual.{loss}_weight: is for pictures; set it to 0 in the stage flow")
    if isinstance(model, EDVR) and config.stage in ("path", "flow") and not model.hr_in:
        return
    if not isinstance(model, FlowVSR):
        raise RequestError(
            f"stage {config.stage}: {type(model).__name__} has no such stage here; leave it out"
        )
    if config.stage == "fusion" and not model.freeze_base:
        raise RequestError("stage fusion: the base does not move; set freeze_base of model.arguments to true")


def part_of(config: TrainConfig, model: SuperResolutionModel) -> Callable[[Tensor], Tensor] | None:
    """Choose what makes the result of a batch in place of the whole network; None: nothing."""
    if config.stage == "flow" and isinstance(model, (EDVR, FlowVSR)):
        return model.follow
    if config.stage == "path" and isinstance(model, EDVR):
        return model.enlarge_alone
    return model.refine if config.stage == "fusion" and isinstance(model, FlowVSR) else None


def loss_of(config: TrainConfig) -> keras.losses.Loss:
    """Choose what a batch is judged by."""
    return EndPointError() if config.stage == "flow" else pixel_loss(config.optimizer.loss)


def trains(config: TrainConfig, weight: str) -> bool:
    """Tell whether the stage moves a weight, given by its name in the network."""
    if config.stage == "path":
        return not weight.startswith(AROUND_PATH)
    if config.stage != "flow":
        return True
    # Of EDVR: what predicts offsets; kernels that gather what they point at have nothing to learn from motion.
    return weight.startswith(("flow/", *PYRAMID)) or any(
        part in weight for part in ("offset_conv", "conv_offset", "cascade_conv")
    )


def enlarge_by_base(
    model: SuperResolutionModel,
    clips: Sequence[Clip],
    cache: Path,
    progress: Progress,
    *,
    noise: tuple[float, float] | None = None,
    seed: int = 0,
) -> list[EnlargedClip]:
    """Let the base of a FlowVSR enlarge every frame of clips once; `noise` and `seed` as `enlarge_clips` has them."""
    assert isinstance(model, FlowVSR)
    base = model.enlarge
    digest = hashlib.sha256(f"{model.base} {base.dtype_policy.name}".encode())
    for weight in base.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    upscaler = as_upscaler(base)
    return enlarge_clips(
        clips,
        lambda frame: enlarge(upscaler, frame, TileOptions()),
        digest.hexdigest()[:24],
        cache,
        progress,
        noise=noise,
        seed=seed,
    )
