"""The trainer: compile, fit from one saved state to the next, validate the averaged weights, keep the best."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from safetensors.numpy import save

from isr import config as configuration
from isr import presets
from isr.config import TrainConfig
from isr.data.batches import (
    WORKERS,
    Batch,
    Batches,
    MixedBatches,
    MultiScaleBatches,
    PatchBatches,
    PatchRecipe,
)
from isr.data.clips import ClipFiles, Clips, WindowBatches, WindowRecipe, find_clips
from isr.data.motion import MotionBatches
from isr.data.pairs import PairFiles, PicturePairs, find_pairs
from isr.errors import RequestError
from isr.io.files import atomic
from isr.layers.deformable import mean_offsets
from isr.losses import ContentLoss, adversarial_loss, pixel_loss
from isr.models import VGG, Discriminator, SuperResolutionModel, UNetDiscriminator, get_model
from isr.models.base import assign_by_name, first_line, weights_by_name
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes import PRECISIONS, as_upscaler
from isr.train.callbacks import Log, Report, check_healthy, note_environment
from isr.train.schedules import schedule
from isr.train.steps import AveragingAdam, LossWeights, Objective, aligns_frames
from isr.train.validation import Score, score_clips, score_scales

STATE = "state.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
FAR_OFFSET = 50.0  # pixels, mean over a batch: the published threshold, beyond which alignment has failed
COLLAPSED = 0.03  # of the loss of a discriminator that cannot decide: under that it has nothing left to learn
COLLAPSED_STEPS = 500  # in a row, before that is said


@dataclass
class State:
    """Where a run stands, beside its weights."""

    step: int = 0
    best_psnr_y: float = float("-inf")
    best_step: int = 0
    seconds: float = 0.0
    lowest_loss: float = float("inf")


class Trainer:
    """Trains a network as a configuration says, and resumes exactly.

    Every batch is a function of (seed, step), so a run that was killed goes on from its last saved state and
    reaches the weights it would have reached.

    Args:
        config: what to train on what and for how long; see `isr.config.TrainConfig`.
        model: train this instance instead of the one that `config.model` describes.
        discriminator, extractor: use these instances instead of those that `config.perceptual` describes. With
            `config.mirrored` no instances can be given.
        progress: told of every step.

    Raises RequestError for folders, sizes and arguments that do not fit.

    The run's folder holds `config.yml`, `environment.json` (what it was made with), `state.safetensors` (weights,
    optimizer, step, best so far), `log.csv`, `tensorboard/`, and the presets `best/` (highest `val_psnr_y`) and
    `last/`, both of the averaged weights. PSNR falls in adversarial training, whose result is `last/`; its
    discriminator lies in `discriminator.safetensors`.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        model: SuperResolutionModel | None = None,
        discriminator: keras.Model | None = None,
        extractor: VGG | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config = config
        self.progress = progress or Silent()
        self.run = Path(config.run)
        self.state = State()
        self.strategy = find_strategy(config, [model, discriminator, extractor])

        keras.utils.set_random_seed(config.seed)
        resuming = (self.run / STATE).is_file()
        with self._on_all_devices():
            self.model = (
                model if model is not None else build_model(config, None if resuming else self.progress)
            )
            self.scale = self.model.scales[0]
            self.objective = build_objective(
                config, self.model, discriminator, extractor, replicas=num_replicas(self.strategy)
            )
            self.optimizer = build_optimizer(config, self.objective)
        self.told_of_offsets = False
        self.told_of_collapse = False
        self.collapsed = 0  # steps in a row in which the discriminator was sure
        self.averaged = self.model.with_policy("float32")  # what is validated and kept

    def train(self) -> Path:
        """Train to the last step and return the folder of the best weights.

        Raises ISRError where training diverges (the last good state stays), Cancelled on request.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        self._restore()
        batches, validate = self._batches(), self._validator()
        note_environment(self.run, self.state.step)
        fresh = not (self.run / STATE).is_file()
        log = Log(self.run, -1 if fresh else self.state.step)
        total = self.config.steps.total
        self.progress.start(f"train {self.run.name}", total, "steps")
        self.progress.advance(self.state.step)
        try:
            if fresh:  # the start is a candidate for the best, and validating it shows that validation works
                self._log(log, validate)
                self._save()
            while self.state.step < total:
                stop = self._next_stop()
                began = time.perf_counter()
                losses = self._fit(batches, stop)
                loss = losses["pixel_loss"]
                check_healthy(self.objective.variables, loss, self.state.lowest_loss, stop, self.run)
                check_cancelled(self.progress)
                offset = self._watch_offsets(batches[stop * self.config.optimizer.accumulate - 1].lr)
                self._watch_discriminator(losses, stop - self.state.step)
                self.state.step = stop
                self.state.lowest_loss = min(self.state.lowest_loss, loss)
                self.state.seconds += time.perf_counter() - began
                self._log(log, validate, losses, offset)
                self._save()
        finally:
            log.close()
        self._export(self.run / "last")
        if discriminator := self.objective.discriminator:
            with atomic(self.run / DISCRIMINATOR) as path:
                weights = weights_by_name(discriminator)
                path.write_bytes(save({name: np.asarray(value) for name, value in weights.items()}))
        return self.run / "best"

    # Steps

    def _next_stop(self) -> int:
        steps = self.config.steps
        ends = [(self.state.step // every + 1) * every for every in (steps.save_every, steps.validate_every)]
        starts = [self.config.perceptual.from_step, *(self.optimizer.starts or ())]
        ends += [start for start in starts if start > self.state.step]
        return min(*ends, steps.total)

    def _compile(self) -> None:
        """Build the training step, at the start of the run and where further weights begin to move."""
        released = self.optimizer.release(self.state.step)
        perceptual = self.state.step >= self.config.perceptual.from_step
        changed = released or perceptual != self.objective.perceptual
        if not changed and getattr(self.objective, "optimizer", None) is self.optimizer:
            return
        self.objective.perceptual = perceptual
        with self._on_all_devices():
            self.objective.compile(
                self.optimizer,
                pixel_loss(self.config.optimizer.loss),
                # XLA loses the fused convolutions on a CPU; JAX knows nothing else.
                jit_compile=keras.backend.backend() != "tensorflow",
                steps_per_execution=self.config.steps.per_execution * self.config.optimizer.accumulate,
            )

    def _on_all_devices(self) -> AbstractContextManager:
        """Where variables are made, so that every replica has its copy."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def _fit(self, batches: Batches, stop: int) -> dict[str, float]:
        """Train up to step `stop`; the mean of every loss since the last state."""
        accumulate = self.config.optimizer.accumulate
        first, end = self.state.step * accumulate, stop * accumulate
        if keras.backend.backend() == "tensorflow":
            from isr.data.tfdata import dataset

            data: Any = dataset(batches, first, end)
        else:
            data = KerasBatches(batches, first, end)
        self._compile()
        report = Report(self.progress, end - first, accumulate)
        history = self.objective.fit(data, verbose=0, shuffle=False, callbacks=[report])
        return {name: float(values[0]) for name, values in history.history.items()}

    def _batches(self) -> Batches:
        data, spec = self.config.data, self.model.spec
        patches = PatchRecipe(
            patch_size=data.patch_size,
            batch_size=data.batch_size,
            candidates=data.candidates,
            flatness=data.flatness,
            augment=data.augment,
            seed=self.config.seed,
        )
        for scale in spec.scales:
            if data.patch_size % scale:
                raise RequestError(f"data.patch_size {data.patch_size} is no multiple of the scale {scale}")
            if (data.patch_size // scale) % spec.size_multiple:
                raise RequestError(
                    f"data.patch_size {data.patch_size} is no multiple of {scale * spec.size_multiple}, "
                    f"which {type(self.model).__name__} needs"
                )
        if spec.num_frames > 1:
            return self._windows(
                WindowRecipe(
                    **vars(patches),
                    num_frames=spec.num_frames,
                    center_frame=spec.center_frame,
                    frame_intervals=tuple(data.frame_intervals),
                    reverse=data.reverse,
                )
            )
        sources = [self._patches(scale, patches) for scale in spec.scales]
        return sources[0] if len(sources) == 1 else MultiScaleBatches(sources)

    def _patches(self, scale: int, recipe: PatchRecipe) -> Batches:
        """Patches of photographs for one scale."""
        data = self.config.data
        if data.scale_augment and data.train_lr:
            raise RequestError("data.scale_augment: low resolution is made then; leave out data.train_lr")
        files = find_pairs(Path(data.train_hr), Path(data.train_lr) if data.train_lr else None, scale)
        files += [replace(file, shrink=factor) for factor in data.scale_augment for file in files]
        pairs = PicturePairs(
            files,
            scale,
            self.model.num_channels,
            self._cache(),
            smallest=recipe.patch_size,
            progress=self.progress,
        )
        return PatchBatches(pairs, scale, recipe)

    def _windows(self, recipe: WindowRecipe) -> Batches:
        """Windows of clips, of photographs in motion, or of both."""
        data, share = self.config.data, self.config.data.photo_motion
        motion = None
        if share > 0:
            pairs = find_pairs(Path(data.train_hr), None, self.scale)
            photos = self._decode([ClipFiles(pair.name, (pair.hr,)) for pair in pairs])
            motion = MotionBatches(photos, self.scale, recipe, degradation=data.degradation)
            if left_out := len(photos) - len(motion.photos):
                self.progress.message(f"{left_out} photographs are too small for data.photo_motion")
            if share == 1:
                return motion
        clips = WindowBatches(
            self._decode(self._clip_files("train_clips"), smallest=recipe.patch_size),
            self.scale,
            recipe,
            weights=data.clip_weights,
            degradation=data.degradation,
        )
        return clips if motion is None else MixedBatches(clips, motion, share)

    def _clip_files(self, key: Literal["train_clips", "val_clips"]) -> list[ClipFiles]:
        """The clips that a key of the configuration names."""
        hr, lr = getattr(self.config.data, key), getattr(self.config.data, f"{key}_lr")
        if hr is None:
            raise RequestError(f"data.{key}: {type(self.model).__name__} needs a folder of clips here")
        return find_clips(Path(hr), Path(lr) if lr else None)

    def _decode(self, files: list[ClipFiles], smallest: int = 1) -> Clips:
        return Clips(
            files,
            self.scale,
            self.model.num_channels,
            self._cache(),
            degradation=self.config.data.degradation,
            smallest=smallest,
            progress=self.progress,
        )

    def _cache(self) -> Path:
        return Path(self.config.data.cache or self.run / "cache")

    def _watch_offsets(self, lr: np.ndarray) -> float | None:
        """The largest mean absolute offset of a deformable convolution, in pixels; a warning, once, if too large.

        None for networks without.
        """
        offsets = mean_offsets(self.model, lr) if self.model.spec.num_frames > 1 else {}
        if not offsets:
            return None
        name, value = max(offsets.items(), key=lambda item: item[1])
        if value > FAR_OFFSET and not self.told_of_offsets:
            self.told_of_offsets = True
            self.progress.message(
                f"{self.run}: the mean offset of {name} is {value:.0f} pixels, so it no longer aligns; "
                "lower optimizer.learning_rate, or that of conv_offset in optimizer.multipliers"
            )
        return value

    def _watch_discriminator(self, losses: dict[str, float], steps: int) -> None:
        """A warning, once, where the discriminator has been sure of every picture for a while.

        Args:
            losses: their means over the steps.
            steps: since the last state.
        """
        judge = self.objective.adversarial
        if judge is None or not self.objective.perceptual:
            return
        undecided = float(np.asarray(judge.discriminator(np.zeros(1, "float32"), np.zeros(1, "float32"))))
        sure = losses["discriminator_loss"] < COLLAPSED * undecided
        self.collapsed = self.collapsed + steps if sure else 0
        if self.collapsed >= COLLAPSED_STEPS and not self.told_of_collapse:
            self.told_of_collapse = True
            self.progress.message(
                f"{self.run}: the discriminator has told all pictures apart for {self.collapsed} steps, so the "
                "network learns nothing from it; lower perceptual.discriminator_rate or perceptual.adversarial_weight"
            )

    # Validation

    def _log(
        self,
        log: Log,
        validate: Callable[[], Score],
        losses: dict[str, float] | None = None,
        offset: float | None = None,
    ) -> None:
        state = self.state
        row: dict[str, float | int] = {"step": state.step, "seconds": state.seconds}
        if losses is not None:
            row |= {**losses, "learning_rate": float(np.asarray(self.optimizer.learning_rate))}
        if offset is not None:
            row["mean_offset"] = offset
        if state.step % self.config.steps.validate_every == 0 or state.step == self.config.steps.total:
            score = validate()
            if score.psnr > state.best_psnr_y:
                state.best_psnr_y, state.best_step = score.psnr, state.step
                self._export(self.run / "best")
            row |= {"val_psnr_y": score.psnr, "val_bicubic_psnr_y": score.bicubic_psnr}
            row["best_psnr_y"] = state.best_psnr_y
            log.add_pictures(state.step, score.pictures)
            self.progress.message(
                f"step {state.step}: val_psnr_y {score.describe()}, best {state.best_psnr_y:.3f}"
            )
        log.add(row)

    def _validator(self) -> Callable[[], Score]:
        """What scores the averaged weights; what it needs is found and decoded here."""
        data, samples = self.config.data, self.config.samples
        upscaler = as_upscaler(self.averaged)
        if self.averaged.spec.num_frames > 1:
            clips = self._decode(self._clip_files("val_clips"))
            score = partial(score_clips, upscaler, clips, data.val_stride, samples)
        else:
            files = {scale: self._validation_files(scale) for scale in self.averaged.scales}
            score = partial(score_scales, upscaler, files, samples)

        def validate() -> Score:
            self._average()
            return score()

        return validate

    def _validation_files(self, scale: int) -> list[PairFiles]:
        data = self.config.data
        files = find_pairs(Path(data.val_hr), Path(data.val_lr) if data.val_lr else None, scale)
        if data.val_count is None or data.val_count >= len(files):
            return files
        return [files[i * len(files) // data.val_count] for i in range(data.val_count)]

    def _average(self) -> None:
        """Copy the averaged weights (or the plain ones where none are kept) into `self.averaged`."""
        self.averaged.set_weights(self.model.get_weights())
        averages = self.optimizer.averages if self.state.step else []  # set by the first step
        sources = averages or self.model.trainable_variables
        for variable, source in zip(self.averaged.trainable_variables, sources):  # noqa: B905  the discriminator's follow
            variable.assign(np.asarray(source, np.float32))

    def _export(self, folder: Path) -> None:
        self._average()
        self.averaged.reparametrise().save_preset(folder, files={"recipe.yml": self._recipe()})

    def _recipe(self) -> str:
        state = self.state
        head = [
            "# isr train --config recipe.yml",
            f"# {state.step} of {self.config.steps.total} steps in {state.seconds:.0f} s,"
            f" val_psnr_y {state.best_psnr_y:.3f} dB at step {state.best_step}",
        ]
        return "\n".join(head) + "\n" + configuration.to_yaml(self.config, comments=False)

    # State

    def _save(self) -> None:
        weights = {f"model/{name}": value for name, value in self.model.named_weights().items()}
        if discriminator := self.objective.discriminator:
            judge = weights_by_name(discriminator)
            weights |= {f"discriminator/{name}": value for name, value in judge.items()}
        arrays = {name: np.asarray(value) for name, value in weights.items()}
        arrays |= {f"optimizer/{index:05d}": array for index, array in enumerate(self.optimizer.state())}
        with atomic(self.run / STATE) as path:
            path.write_bytes(save(arrays, {"state": json.dumps(asdict(self.state))}))

    def _restore(self) -> None:
        """Take up the run's last state, if it has one, and note the configuration."""
        note = self.run / "config.yml"
        if note.is_file():
            self._compare(configuration.load(note))
        path = self.run / STATE
        if path.is_file():
            self._read_state(path)
            self.progress.message(f"{self.run}: going on at step {self.state.step}")
        with atomic(note) as temporary:
            temporary.write_text(configuration.to_yaml(self.config), encoding="utf-8")

    def _read_state(self, path: Path) -> None:
        from safetensors import safe_open

        arrays = presets.read_safetensors(path)
        with safe_open(path, "np") as file:
            self.state = State(**json.loads(file.metadata()["state"]))
        weights = {name[6:]: array for name, array in arrays.items() if name.startswith("model/")}
        self.model.load_named_weights(weights, str(path))
        if discriminator := self.objective.discriminator:
            judge = {name[14:]: array for name, array in arrays.items() if name.startswith("discriminator/")}
            assign_by_name(weights_by_name(discriminator), judge, str(path))
        slots = [arrays[name] for name in sorted(arrays) if name.startswith("optimizer/")]
        try:
            self.optimizer.restore(slots)
        except ValueError as error:
            raise RequestError(
                f"{path}: {error}; restore optimizer.average_momentum or start another run"
            ) from None

    def _compare(self, before: TrainConfig) -> None:
        """Say what changed since the run began; refuse another network."""
        if before.model.model_copy(update={"start_from": None}) != self.config.model.model_copy(
            update={"start_from": None}
        ):
            raise RequestError(
                f"{self.run}: holds a run of {before.model.name} {before.model.arguments}; "
                "give another folder in run, or remove this one"
            )
        for key, _ in configuration.keys():
            old, new = _look_up(before, key), _look_up(self.config, key)
            if old != new:
                self.progress.message(f"{self.run}: {key} was {old!r} and is {new!r} now")


class KerasBatches(keras.utils.PyDataset):
    """Batches `start` to `stop - 1` in order, drawn ahead in threads, for the backends without tf.data.

    Not by Keras' workers: when `fit` has looked at the first batch to build a model, they go on behind it and bring
    it last.
    """

    AHEAD = 8  # batches

    def __init__(self, batches: Batches, start: int, stop: int) -> None:
        super().__init__()
        self.batches, self.start, self.stop = batches, start, stop
        self.threads = ThreadPoolExecutor(WORKERS)
        self.drawn: dict[int, Future[Batch]] = {}

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        for i in range(index, min(index + self.AHEAD, len(self))):
            if i not in self.drawn:
                self.drawn[i] = self.threads.submit(self.batches.__getitem__, self.start + i)
        batch = self.drawn.pop(index).result()
        return batch.lr, batch.hr


def find_strategy(config: TrainConfig, given: Sequence[keras.Model | None]) -> Any:
    """TensorFlow's strategy that `config.mirrored` asks for; None without it.

    Raises RequestError, naming the key, for what does not go with it, such as instances of networks.
    """
    if not config.mirrored:
        return None
    if keras.backend.backend() != "tensorflow":
        raise RequestError(
            f"mirrored: works on TensorFlow, not on {keras.backend.backend()}; set it to false"
        )
    if config.optimizer.accumulate > 1:
        raise RequestError("mirrored: optimizer.accumulate must be 1 then; raise data.batch_size instead")
    if config.steps.per_execution > 1:
        raise RequestError("mirrored: steps.per_execution must be 1 then")
    from isr.train.replicas_tensorflow import mirrored

    strategy = mirrored()
    replicas = num_replicas(strategy)
    if config.data.batch_size % replicas:
        raise RequestError(
            f"mirrored: data.batch_size {config.data.batch_size} cannot be divided by the {replicas} devices"
        )
    if replicas > 1 and any(model is not None for model in given):
        raise RequestError(
            "mirrored: an instance of a network lies on one device; describe it by config.model"
        )
    return strategy


def num_replicas(strategy: Any) -> int:
    """How many devices share a batch."""
    return 1 if strategy is None else strategy.num_replicas_in_sync


def build_objective(
    config: TrainConfig,
    model: SuperResolutionModel,
    discriminator: keras.Model | None = None,
    extractor: VGG | None = None,
    replicas: int = 1,
) -> Objective:
    """The losses that the configuration asks for, with the networks that they need where none are given.

    `replicas` is how many devices share a batch.

    Raises RequestError, naming the key, for files and layers that do not fit.
    """
    settings = config.perceptual
    weights = LossWeights(
        pixel=settings.pixel_weight,
        alignment=config.optimizer.alignment_weight if aligns_frames(model) else 0.0,
        content=settings.content_weight,
        adversarial=settings.adversarial_weight,
        total_variation=settings.total_variation_weight,
    )
    content = adversarial = None
    if model.num_channels != 3 and weights.content:
        raise RequestError(
            f"perceptual.content_weight: VGG knows RGB only, not {model.num_channels} channels"
        )
    if weights.content:
        layers = settings.content_layers
        try:
            extractor = extractor or VGG(
                layers=tuple(layers),
                before_activation=settings.before_activation,
                weights=settings.vgg or "shipped",
                dtype=PRECISIONS[config.precision],
            )
        except ValueError as error:
            raise RequestError(f"perceptual.content_layers: {first_line(error)}") from None
        content = ContentLoss(extractor, tuple(layers.values()), kind=settings.content_loss)
    if not weights.adversarial:
        discriminator = None
    else:
        adversarial = adversarial_loss(settings.adversarial_loss)
        judge = {"patch": Discriminator, "unet": UNetDiscriminator}[settings.discriminator]
        discriminator = discriminator or judge(
            num_features=settings.discriminator_features,
            num_channels=model.num_channels,
            dtype=PRECISIONS[config.precision],
            name="discriminator",
        )
        if settings.discriminator_from is not None:
            source = Path(settings.discriminator_from)
            assign_by_name(weights_by_name(discriminator), presets.read_safetensors(source), str(source))
    return Objective(model, weights, content, adversarial, discriminator, config.data.patch_size, replicas)


def build_optimizer(config: TrainConfig, objective: Objective) -> AveragingAdam:
    """The optimizer that `config.optimizer` describes, built for a network and its discriminator.

    Raises RequestError where no weight's name contains a text of `multipliers` or `only`.
    """
    settings, model = config.optimizer, objective.network
    names = {variable.path: name for name, variable in model.named_weights().items()}
    trained = [names[variable.path] for variable in model.trainable_variables]
    for key in ("multipliers", "only"):
        for text in getattr(settings, key):
            if not any(text in name for name in trained):
                raise RequestError(
                    f"optimizer.{key}: no weight of {type(model).__name__} has {text!r} in its name"
                )
    multipliers = [
        math.prod(factor for text, factor in settings.multipliers.items() if text in name) for name in trained
    ]
    starts = [
        settings.only_steps if settings.only and not any(text in name for text in settings.only) else 0
        for name in trained
    ]
    if objective.discriminator is not None:
        judging = len(objective.discriminator.trainable_variables)
        multipliers += [config.perceptual.discriminator_rate] * judging
        starts += [config.perceptual.from_step] * judging
    optimizer = AveragingAdam(
        schedule(settings, config.steps.total),
        average_momentum=settings.average_momentum,
        multipliers=multipliers if set(multipliers) != {1.0} else None,
        starts=starts if any(starts) else None,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        epsilon=settings.epsilon,
        global_clipnorm=settings.clip_norm,
        replicas=objective.replicas,
        gradient_accumulation_steps=settings.accumulate if settings.accumulate > 1 else None,
    )
    optimizer.build(objective.trainable_variables)
    return optimizer


def build_model(config: TrainConfig, progress: Progress | None) -> SuperResolutionModel:
    """The network that `config.model` describes, started from other weights where it says so.

    `progress` is told what was taken; None leaves the start out, for a run whose state replaces it.

    Raises RequestError, naming the key, for arguments the network does not take.
    """
    model_class = get_model(config.model.name)
    try:
        model = model_class(**{"dtype": PRECISIONS[config.precision], **config.model.arguments})
    except (TypeError, ValueError) as error:
        raise RequestError(f"model.arguments: {first_line(error)}") from None
    if progress is None:
        return model
    if config.model.start_from == "interpolation":
        model.start_as_interpolation()
    elif config.model.start_from is not None:
        start_from(model, config.model.start_from, progress)
    return model


def start_from(model: SuperResolutionModel, source: str, progress: Progress) -> None:
    """Take over the weights of a preset or file, also those of another scale; RequestError where they do not fit."""
    path = Path(source)
    values = presets.read_safetensors(
        path if path.suffix == ".safetensors" else presets.find(source) / presets.WEIGHTS
    )
    made = model.adopt(values, f"model.start_from: {source}")
    parts = dict.fromkeys(name.split("/")[0] for name in made)
    rest = f"; made for this network: {', '.join(parts)}" if made else ""
    progress.message(f"started from {source}: {len(model.named_weights()) - len(made)} weights taken{rest}")


def _look_up(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config
