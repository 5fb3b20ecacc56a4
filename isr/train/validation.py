"""What a run is judged by: PSNR of the averaged weights on whole pictures, or on frames of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np

from isr.config import TrainConfig
from isr.data.clips import Clip
from isr.data.degrade import FixedDegradation
from isr.data.pairs import PairFiles
from isr.errors import RequestError
from isr.evaluate import Protocol, read_pairs
from isr.imresize import imresize
from isr.levels import from_float, to_float
from isr.metrics import psnr
from isr.predict.frames import enlarge_frames
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.spec import MultiFrameUpscaler, Upscaler
from isr.train.sources import Sources


@dataclass(frozen=True)
class Score:
    """Mean PSNR of luma in dB, of the network and of bicubic interpolation, and the first results as uint8.

    `by_scale` has the scores of which this is the mean.
    """

    psnr: float
    bicubic_psnr: float
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)
    by_scale: Mapping[int, Score] = field(default_factory=dict)

    def describe(self) -> str:
        """Write `34.125 dB (+1.502 over bicubic)`, and that of every scale if there are several."""
        line = f"{self.psnr:.3f} dB ({self.psnr - self.bicubic_psnr:+.3f} over bicubic)"
        return ", ".join([line, *(f"x{scale} {score.describe()}" for scale, score in self.by_scale.items())])


class Bicubic:
    """PSNR of bicubic interpolation, which never changes: computed once for each picture of a run."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], float] = {}

    def psnr(self, name: str, lr: np.ndarray, hr: np.ndarray, protocol: Protocol) -> float:
        """Return that of a picture by its name, in dB."""
        key = name, protocol.scale
        if key not in self._known:
            self._known[key] = _psnr(name, imresize(lr, size=hr.shape[:2]), hr, protocol)
        return self._known[key]


def validator(upscaler: Upscaler, sources: Sources, config: TrainConfig) -> Callable[[], Score]:
    """Find and decode what a run is judged on.

    Args:
        upscaler: scored with the weights that it has when it is scored.
        sources: of the run.
        config: how much is looked at.

    Returns:
        A function that scores the upscaler.

    Raises:
        RequestError: what the configuration names is missing, or not readable.
    """
    bicubic = Bicubic()
    if upscaler.spec.num_frames > 1:
        clips = sources.validation_clips()
        return partial(score_clips, upscaler, clips, config.data.val_stride, config.samples, bicubic)
    files = {scale: sources.validation_pictures(scale) for scale in upscaler.spec.scales}
    return partial(score_scales, upscaler, files, config.samples, bicubic, sources.validation_damage)


def score_scales(
    upscaler: Upscaler,
    files: Mapping[int, Sequence[PairFiles]],
    samples: int,
    bicubic: Bicubic,
    degradation: FixedDegradation | None = None,
) -> Score:
    """Score every scale with `score_pictures` on its files, and return the mean over the scales."""
    scores = {
        scale: score_pictures(upscaler, files[scale], samples, scale, bicubic, degradation) for scale in files
    }
    if len(scores) == 1:
        return next(iter(scores.values()))
    means = np.mean([(score.psnr, score.bicubic_psnr) for score in scores.values()], axis=0)
    pictures = {
        f"x{scale}/{name}": picture
        for scale, score in scores.items()
        for name, picture in score.pictures.items()
    }
    return Score(float(means[0]), float(means[1]), pictures, scores)


def score_pictures(
    upscaler: Upscaler,
    files: Sequence[PairFiles],
    samples: int,
    scale: int,
    bicubic: Bicubic,
    degradation: FixedDegradation | None = None,
) -> Score:
    """Score whole pictures, degraded where their LR is made, and return the mean; `samples` results are kept.

    Raises:
        RequestError: a picture is too small to be scored; the message names it.
    """
    protocol = Protocol(scale)
    pictures: dict[str, np.ndarray] = {}
    figures = []
    for name, lr, hr in read_pairs(files, scale, upscaler.spec.num_channels, degradation):
        sr = enlarge(upscaler, to_float(lr), TileOptions(), scale=scale)
        figures.append([_psnr(name, sr, hr, protocol), bicubic.psnr(name, lr, hr, protocol)])
        if len(pictures) < samples:
            pictures[name] = _shown(sr)
    mean, bicubic_mean = np.mean(figures, axis=0)
    return Score(float(mean), float(bicubic_mean), pictures)


def score_clips(
    upscaler: Upscaler, clips: Sequence[Clip], stride: int, samples: int, bicubic: Bicubic
) -> Score:
    """Score every `stride`-th frame of clips and return the mean over clips of the mean over their frames.

    One result of each of the first `samples` clips is kept.

    Raises:
        RequestError: a clip is too small to be scored; the message names it.
    """
    pictures: dict[str, np.ndarray] = {}
    means = []
    for clip in clips:
        protocol = Protocol(clip.scale)
        figures = []
        for frame in range(min(stride, clip.num_frames) // 2, clip.num_frames, stride):
            sr, lr, hr = _upscale_frame(upscaler, clip, frame), clip.lr[frame], clip.hr[frame]
            before = bicubic.psnr(f"{clip.name}:{frame}", lr, hr, protocol)
            figures.append([_psnr(clip.name, sr, hr, protocol), before])
            if len(pictures) < samples:
                pictures.setdefault(clip.name, _shown(sr))
        means.append(np.mean(figures, axis=0))
    mean, bicubic_mean = np.mean(means, axis=0)
    return Score(float(mean), float(bicubic_mean), pictures)


def _psnr(name: str, sr: np.ndarray, hr: np.ndarray, protocol: Protocol) -> float:
    try:
        return psnr(protocol.output(sr), hr, channel=protocol.channel, border=protocol.pixels)
    except ValueError as error:
        raise RequestError(f"{name}: cannot be scored: {error}") from None


def _upscale_frame(upscaler: Upscaler, clip: Clip, frame: int) -> np.ndarray:
    """One enlarged frame of a clip, uint8."""
    # No rule for the ends of a clip looks further.
    reach = upscaler.spec.num_frames
    first = max(frame - reach, 0)
    near = clip.lr[first : frame + reach + 1]
    return next(enlarge_frames(cast(MultiFrameUpscaler, upscaler), near, skip=frame - first))


def _shown(sr: np.ndarray) -> np.ndarray:
    eight = from_float(sr, np.dtype(np.uint8)) if sr.dtype != np.uint8 else sr
    return eight[..., : 3 if eight.shape[-1] >= 3 else 1]
