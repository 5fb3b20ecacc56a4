"""The trainer: compile, fit from one saved state to the next, validate the averaged weights, keep the best."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from isr import config as configuration
from isr import presets
from isr.config import TrainConfig
from isr.data.batches import WORKERS, Batches, MixedBatches, PatchBatches, PatchRecipe
from isr.data.clips import ClipFiles, Clips, WindowBatches, WindowRecipe, find_clips
from isr.data.motion import MotionBatches
from isr.data.pairs import PicturePairs, find_pairs
from isr.errors import RequestError
from isr.io.files import atomic
from isr.layers.deformable import mean_offsets
from isr.losses import pixel_loss
from isr.models import SuperResolutionModel, get_model
from isr.models.base import first_line, read_safetensors
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes import PRECISIONS, as_upscaler
from isr.train.callbacks import Log, Report, check_healthy
from isr.train.schedules import schedule
from isr.train.steps import AlignmentTraining, AveragingAdam, aligns_frames
from isr.train.validation import Score, score_clips, score_pictures

STATE = "state.safetensors"
FAR_OFFSET = 50.0  # pixels, mean over a batch: the published threshold, beyond which alignment has failed


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
        progress: told of every step.

    Raises RequestError for folders, sizes and arguments that do not fit.

    The run's folder holds `config.yml`, `state.safetensors` (weights, optimizer, step, best so far), `log.csv`,
    `tensorboard/`, and the presets `best/` (highest `val_psnr_y`) and `last/`, both of the averaged weights.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        model: SuperResolutionModel | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config = config
        self.progress = progress or Silent()
        self.run = Path(config.run)
        self.state = State()

        keras.utils.set_random_seed(config.seed)
        resuming = (self.run / STATE).is_file()
        self.model = model if model is not None else build_model(config, None if resuming else self.progress)
        self.scale = self.model.scales[0]
        weight = config.optimizer.alignment_weight
        aligned = weight > 0 and aligns_frames(self.model)
        self.training: keras.Model = AlignmentTraining(self.model, weight) if aligned else self.model
        self.optimizer = build_optimizer(config, self.model)
        self.warned = False  # of far offsets
        self.averaged = self.model.with_policy("float32")  # what is validated and kept

    def train(self) -> Path:
        """Train to the last step and return the folder of the best weights.

        Raises ISRError where training diverges (the last good state stays), Cancelled on request.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        self._restore()
        batches, validate = self._batches(), self._validator()
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
                loss = self._fit(batches, stop)
                check_healthy(self.model.variables, loss, self.state.lowest_loss, stop, self.run)
                check_cancelled(self.progress)
                offset = self._watch_offsets(batches[stop - 1].lr)
                self.state.step = stop
                self.state.lowest_loss = min(self.state.lowest_loss, loss)
                self.state.seconds += time.perf_counter() - began
                self._log(log, validate, loss, offset)
                self._save()
        finally:
            log.close()
        self._export(self.run / "last")
        return self.run / "best"

    # Steps

    def _next_stop(self) -> int:
        steps = self.config.steps
        ends = [(self.state.step // every + 1) * every for every in (steps.save_every, steps.validate_every)]
        ends += [start for start in self.optimizer.starts or () if start > self.state.step]
        return min(*ends, steps.total)

    def _compile(self) -> None:
        """Build the training step, at the start of the run and where further weights begin to move."""
        released = self.optimizer.release(self.state.step)
        if not released and getattr(self.training, "optimizer", None) is self.optimizer:
            return
        # XLA loses the fused convolutions on a CPU; JAX knows nothing else.
        self.training.compile(
            self.optimizer,
            pixel_loss(self.config.optimizer.loss),
            jit_compile=keras.backend.backend() != "tensorflow",
        )

    def _fit(self, batches: Batches, stop: int) -> float:
        if keras.backend.backend() == "tensorflow":
            from isr.data.tfdata import dataset

            data: Any = dataset(batches, self.state.step, stop)
        else:
            data = KerasBatches(batches, self.state.step, stop)
        self._compile()
        history = self.training.fit(data, verbose=0, shuffle=False, callbacks=[Report(self.progress)])
        return float(history.history["loss"][0])

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
        if data.patch_size % self.scale:
            raise RequestError(f"data.patch_size {data.patch_size} is no multiple of the scale {self.scale}")
        if (data.patch_size // self.scale) % spec.size_multiple:
            raise RequestError(
                f"data.patch_size {data.patch_size} is no multiple of {self.scale * spec.size_multiple}, "
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
        files = find_pairs(Path(data.train_hr), Path(data.train_lr) if data.train_lr else None, self.scale)
        pairs = PicturePairs(
            files,
            self.scale,
            self.model.num_channels,
            self._cache(),
            smallest=data.patch_size,
            progress=self.progress,
        )
        return PatchBatches(pairs, self.scale, patches)

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
        if value > FAR_OFFSET and not self.warned:
            self.warned = True
            self.progress.message(
                f"{self.run}: the mean offset of {name} is {value:.0f} pixels, so it no longer aligns; "
                "lower optimizer.learning_rate, or that of conv_offset in optimizer.multipliers"
            )
        return value

    # Validation

    def _log(
        self,
        log: Log,
        validate: Callable[[], Score],
        loss: float | None = None,
        offset: float | None = None,
    ) -> None:
        state = self.state
        row: dict[str, float | int] = {"step": state.step, "seconds": state.seconds}
        if loss is not None:
            row |= {"loss": loss, "learning_rate": float(np.asarray(self.optimizer.learning_rate))}
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
                f"step {state.step}: val_psnr_y {score.psnr:.3f} dB "
                f"({score.psnr - score.bicubic_psnr:+.3f} over bicubic), best {state.best_psnr_y:.3f}"
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
            files = find_pairs(Path(data.val_hr), Path(data.val_lr) if data.val_lr else None, self.scale)
            score = partial(score_pictures, upscaler, files, samples)

        def validate() -> Score:
            self._average()
            return score()

        return validate

    def _average(self) -> None:
        """Copy the averaged weights (or the plain ones where none are kept) into `self.averaged`."""
        self.averaged.set_weights(self.model.get_weights())
        averages = self.optimizer.averages if self.state.step else []  # set by the first step
        sources = averages or self.model.trainable_variables
        for variable, source in zip(self.averaged.trainable_variables, sources, strict=True):
            variable.assign(np.asarray(source, np.float32))

    def _export(self, folder: Path) -> None:
        self._average()
        self.averaged.save_preset(folder, files={"recipe.yml": self._recipe()})

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
        from safetensors.numpy import save

        arrays = {f"model/{name}": np.asarray(value) for name, value in self.model.named_weights().items()}
        for index, variable in enumerate(self.optimizer.variables):
            arrays[f"optimizer/{index:05d}"] = np.asarray(variable)
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

        arrays = read_safetensors(path)
        with safe_open(path, "np") as file:
            self.state = State(**json.loads(file.metadata()["state"]))
        weights = {name[6:]: array for name, array in arrays.items() if name.startswith("model/")}
        self.model.load_named_weights(weights, str(path))
        slots = [arrays[name] for name in sorted(arrays) if name.startswith("optimizer/")]
        if [slot.shape for slot in slots] != [tuple(v.shape) for v in self.optimizer.variables]:
            raise RequestError(
                f"{path}: the state of another optimizer; restore optimizer.average_momentum or start another run"
            )
        for variable, slot in zip(self.optimizer.variables, slots, strict=True):
            variable.assign(slot)

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
    """Batches `start` to `stop - 1` in order, drawn ahead in threads, for the backends without tf.data."""

    def __init__(self, batches: Batches, start: int, stop: int) -> None:
        super().__init__(workers=WORKERS, max_queue_size=8)
        self.batches, self.start, self.stop = batches, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self.batches[self.start + index]
        return batch.lr, batch.hr


def build_optimizer(config: TrainConfig, model: SuperResolutionModel) -> AveragingAdam:
    """The optimizer that `config.optimizer` describes, built for a network.

    Raises RequestError where no weight's name contains a text of `multipliers` or `only`.
    """
    settings = config.optimizer
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
    optimizer = AveragingAdam(
        schedule(settings, config.steps.total),
        average_momentum=settings.average_momentum,
        multipliers=multipliers if settings.multipliers else None,
        starts=starts if any(starts) else None,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        global_clipnorm=settings.clip_norm,
    )
    optimizer.build(model.trainable_variables)
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
    values = read_safetensors(
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
