"""What a run learns from and is judged on: the pictures and clips of a configuration, found and decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from isr.config import TrainConfig
from isr.data.batches import (
    Batches,
    Degrade,
    EchoedBatches,
    MixedBatches,
    MultiScaleBatches,
    PatchBatches,
    PatchRecipe,
)
from isr.data.clips import Clip, ClipFiles, Clips, WindowBatches, WindowRecipe, find_clips
from isr.data.degrade import Degradation, FixedDegradation, degrade_at_random
from isr.data.enlarged import EnlargedClip
from isr.data.motion import MotionBatches
from isr.data.pairs import PairFiles, PicturePairs, find_pairs
from isr.data.scenes import FlowBatches, Scene, film_scenes, scene_recipe
from isr.errors import RequestError
from isr.io.places import is_remote
from isr.models import EDVR, FlowVSR, SuperResolutionModel
from isr.progress import Progress
from isr.train.stages import OFFSET_CAMERA, SCENE_CAMERA, SCENE_PIECES, enlarge_by_base


class Sources:
    """The pictures and clips of a configuration, for one network.

    Args:
        config: of the run; its section `data` is what is read.
        model: the network, whose `spec` says what it takes.
        cache: folder of what is decoded.
        progress: told of the decoding.
    """

    def __init__(
        self, config: TrainConfig, model: SuperResolutionModel, cache: Path, progress: Progress
    ) -> None:
        self.data = config.data
        self.seed = config.seed
        self.stage = config.stage
        self.model = model
        self.network = type(model).__name__
        self.spec = model.spec
        self.scale = self.spec.scales[0]
        self.cache = cache
        self.progress = progress

    # To train on

    def batches(self) -> Batches:
        """Open what is trained on: patches of photographs, or windows of clips.

        Raises:
            RequestError: a folder, size or file does not fit; the message names the key or the file.
        """
        data, spec = self.data, self.spec
        for scale in spec.scales:
            if data.patch_size % scale:
                raise RequestError(f"data.patch_size {data.patch_size} is no multiple of the scale {scale}")
            if (data.patch_size // scale) % spec.size_multiple:
                raise RequestError(
                    f"data.patch_size {data.patch_size} is no multiple of {scale * spec.size_multiple}, "
                    f"which {self.network} needs"
                )
        patches = PatchRecipe(
            patch_size=data.patch_size,
            batch_size=data.batch_size,
            candidates=data.candidates,
            flatness=data.flatness,
            augment=data.augment,
            seed=self.seed,
        )
        if self.stage == "path":
            return self._echoed(self._patches(self.scale, patches))
        if spec.num_frames > 1:
            windows = WindowRecipe(
                **vars(patches),
                num_frames=spec.num_frames,
                center_frame=spec.center_frame,
                frame_intervals=tuple(data.frame_intervals),
                reverse=data.reverse,
            )
            return self._echoed(self._windows(windows))
        sources = [self._patches(scale, patches) for scale in spec.scales]
        return self._echoed(sources[0] if len(sources) == 1 else MultiScaleBatches(sources))

    def _echoed(self, batches: Batches) -> Batches:
        """Batches whose patches serve as often as `data.echoes` says."""
        data = self.data
        if data.echoes == 1:
            return batches
        if data.degradation not in ("jpeg", "real"):
            raise RequestError("data.echoes: over 1 is for data.degradation jpeg and real")
        if isinstance(batches, MultiScaleBatches):
            raise RequestError(f"data.echoes: {self.network} has several scales, and takes 1")
        if data.batch_size % data.echoes:
            raise RequestError(
                f"data.echoes: {data.echoes} does not divide data.batch_size {data.batch_size}"
            )
        return EchoedBatches(batches, data.echoes)

    def _patches(self, scale: int, recipe: PatchRecipe) -> Batches:
        """Patches of photographs for one scale."""
        data = self.data
        if data.scale_augment and data.train_lr:
            raise RequestError("data.scale_augment: low resolution is made then; leave out data.train_lr")
        degrade = self._degrade(scale, data.train_lr, "train_lr")
        files = find_pairs(Path(data.train_hr), _folder(data.train_lr), scale)
        files += [replace(file, shrink=factor) for factor in data.scale_augment for file in files]
        pairs = PicturePairs(
            files,
            scale,
            self.spec.num_channels,
            self.cache,
            smallest=recipe.patch_size,
            progress=self.progress,
            store=data.cache if is_remote(data.cache) else None,
        )
        return PatchBatches(pairs, scale, recipe, degrade=degrade)

    def _windows(self, recipe: WindowRecipe) -> Batches:
        """Windows of clips, of photographs in motion, or of both."""
        data, share = self.data, self.data.photo_motion
        degrade = self._degrade(self.scale, data.train_clips_lr, "train_clips_lr")
        if self.stage in ("flow", "fusion") and degrade is not None:
            raise RequestError(f"data.degradation: must be bi or bd in the stage {self.stage}")
        if self.stage == "flow":
            scenes = self._scenes(scene_recipe(recipe, 1))
            if isinstance(self.model, FlowVSR):
                # It looks at results of its base.
                return FlowBatches(scenes, self._enlarge(scenes), recipe, pieces=SCENE_PIECES)
            return FlowBatches(scenes, None, recipe)
        if self.stage == "fusion":
            return self._enlarged(recipe)
        motion = None
        if share > 0:
            photos = self._photos()
            motion = MotionBatches(photos, self.scale, recipe, degradation=self._rule, degrade=degrade)
            if left_out := len(photos) - len(motion.photos):
                self.progress.message(f"{left_out} photographs are too small for data.photo_motion")
            if share == 1:
                return motion
        clips = WindowBatches(
            self._decode(self._clip_files("train_clips"), smallest=recipe.patch_size),
            self.scale,
            recipe,
            weights=data.clip_weights,
            degradation=self._rule,
            degrade=degrade,
        )
        return clips if motion is None else MixedBatches(clips, motion, share)

    def _photos(self) -> Clips:
        """Photographs, decoded as clips of one frame."""
        pairs = find_pairs(Path(self.data.train_hr), None, self.scale)
        return self._decode([ClipFiles(pair.name, (pair.hr,)) for pair in pairs])

    def _enlarged(self, recipe: WindowRecipe) -> Batches:
        """Windows of clips and scenes that the base has enlarged, with noise or without."""
        share, noise_share = self.data.photo_motion, self.data.noise_share
        batches: list[Batches] = []
        if share < 1:
            clips = self._decode(self._clip_files("train_clips"), smallest=recipe.patch_size)
            batches.append(
                WindowBatches(
                    self._enlarge(clips), 1, recipe, weights=self.data.clip_weights, grid=self.scale
                )
            )
        scenes = self._scenes(scene_recipe(recipe, 2)) if share > 0 or noise_share > 0 else []
        if share > 0:
            batches.append(WindowBatches(self._enlarge(scenes), 1, recipe, grid=self.scale))
        clean = batches[0] if len(batches) == 1 else MixedBatches(batches[0], batches[1], share)
        if not noise_share:
            return clean
        low, high = self.data.noise_sigma
        noisy = enlarge_by_base(
            self.model, scenes, self.cache, self.progress, noise=(low, high), seed=self.seed
        )
        return MixedBatches(clean, WindowBatches(noisy, 1, recipe, grid=self.scale), noise_share)

    def _enlarge(self, clips: Sequence[Clip]) -> list[EnlargedClip]:
        """What the base of a FlowVSR makes of clips."""
        return enlarge_by_base(self.model, clips, self.cache, self.progress)

    def _scenes(self, recipe: WindowRecipe) -> list[Scene]:
        """Photographs set in motion."""
        motion = MotionBatches(
            self._photos(),
            self.scale,
            recipe,
            degradation=self._rule,
            camera=OFFSET_CAMERA if isinstance(self.model, EDVR) else SCENE_CAMERA,
        )
        return film_scenes(motion, self.data.scenes, self.cache, self.progress)

    def _degrade(self, scale: int, given: str | None, key: str) -> Degrade | None:
        """What makes low resolution for every patch anew; None where it is cut from pictures and clips."""
        name = self.data.degradation
        if name not in ("jpeg", "real"):
            return None
        if given is not None:
            raise RequestError(f"data.degradation: {name} makes low resolution; leave out data.{key}")
        if self.spec.num_channels not in (1, 3):
            raise RequestError(
                f"data.degradation: {name} takes 1 or 3 channels, not {self.spec.num_channels}"
            )
        return partial(degrade_at_random, scale=scale, recipe=getattr(self.data, name))

    @property
    def _rule(self) -> Literal["bi", "bd"]:
        """How the low resolution is made that is kept on disk; of `jpeg` and `real` it only finds detail."""
        return "bd" if self.data.degradation == "bd" else "bi"

    # To validate on

    @property
    def validation_damage(self) -> FixedDegradation | None:
        """Return what is done to the pictures and clips that are scored, where their low resolution is made."""
        name, strength = self.data.degradation, self.data.val_strength
        return FixedDegradation(name, strength) if name in ("jpeg", "real") and strength else None

    def validation_pictures(self, scale: int) -> list[PairFiles]:
        """Find the pictures that are scored, `data.val_count` of them."""
        data = self.data
        files = find_pairs(Path(data.val_hr), _folder(data.val_lr), scale)
        if data.val_count is None or data.val_count >= len(files):
            return files
        return [files[i * len(files) // data.val_count] for i in range(data.val_count)]

    def validation_clips(self) -> Clips:
        """Decode the clips that are scored."""
        return self._decode(self._clip_files("val_clips"), degradation=self.validation_damage or self._rule)

    def _clip_files(self, key: Literal["train_clips", "val_clips"]) -> list[ClipFiles]:
        """The clips that a key of the configuration names."""
        hr, lr = getattr(self.data, key), getattr(self.data, f"{key}_lr")
        if hr is None:
            raise RequestError(f"data.{key}: {self.network} needs a folder of clips here")
        return find_clips(Path(hr), _folder(lr))

    def _decode(
        self, files: list[ClipFiles], smallest: int = 1, degradation: Degradation | None = None
    ) -> Clips:
        return Clips(
            files,
            self.scale,
            self.spec.num_channels,
            self.cache,
            degradation=degradation or self._rule,
            smallest=smallest,
            progress=self.progress,
        )


def _folder(path: str | None) -> Path | None:
    return Path(path) if path else None
