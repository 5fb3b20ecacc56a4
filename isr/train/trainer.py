"""The trainer: fit from one saved state to the next, validate the averaged weights, keep the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import keras
import numpy as np

from isr.config import TrainConfig
from isr.data.batches import Batches
from isr.models import VGG, SuperResolutionModel
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes import as_upscaler
from isr.train import ranks
from isr.train.build import all_devices, build_model, build_objective, build_optimizer, find_strategy
from isr.train.environment import note_environment
from isr.train.feed import feed
from isr.train.folder import RunFolder, State
from isr.train.log import Log
from isr.train.sources import Sources
from isr.train.stages import loss_of
from isr.train.validation import Score, validator
from isr.train.watch import Report, Watch, check_healthy


class Trainer:
    """Train a network as a configuration says, and resume exactly.

    Every batch is a function of (seed, step), so a run that was killed goes on from its last saved state and
    reaches the weights it would have reached.

    The run's folder holds `config.yml`, `environment.json` (what it was made with), `state.safetensors` (weights,
    optimizer, step, best so far), `log.csv`, `tensorboard/`, and the presets `best/` (highest `val_psnr_y`) and
    `last/`, both of the averaged weights. PSNR falls in adversarial training, whose result is `last/`; its
    discriminator lies in `discriminator.safetensors`.

    Args:
        config: what to train on what and for how long; see `isr.config.TrainConfig`.
        model: train this instance instead of the one that `config.model` describes.
        discriminator: use this instance instead of the one that `config.perceptual` describes.
        extractor: use this instance instead of the one that `config.perceptual` describes. With `config.mirrored` no
            instances can be given.
        progress: told of every step.

    Raises:
        RequestError: folders, sizes or arguments do not fit.
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
        self.folder = RunFolder(config)
        self.state = State()
        # Before anything computes.
        self.ranks = ranks.join()
        ranks.check(config, self.ranks)
        self.strategy = find_strategy(config, [model, discriminator, extractor])

        keras.utils.set_random_seed(config.seed)
        with all_devices(self.strategy):
            if model is None:
                # A state replaces what the network would start from.
                model = build_model(config, None if self.folder.begun else self.progress)
            self.model = model
            self.objective = build_objective(config, self.model, discriminator, extractor, self.strategy)
            self.optimizer = build_optimizer(config, self.objective)
        # What is validated and kept.
        self.averaged = self.model.with_policy("float32")

    def train(self) -> Path:
        """Train to the last step.

        Returns:
            The folder of the best weights, a preset; of the last ones in the stage flow, which PSNR cannot judge.

        Raises:
            ISRError: training diverges; the last good state stays.
            RequestError: what is trained on does not fit.
            Cancelled: the progress asked for it.
        """
        folder, state, progress = self.folder, self._take_up(), self.progress
        sources = Sources(self.config, self.model, folder.cache, progress)
        batches = sources.batches()
        validate = validator(as_upscaler(self.averaged), sources, self.config)
        watch = Watch(folder.path, self.objective, progress)
        if self.ranks.writes:
            note_environment(folder.path, state.step)

        total, fresh = self.config.steps.total, not folder.begun
        progress.start(f"train {folder.path.name}", total, "steps")
        progress.advance(state.step)
        with folder.log(-1 if fresh else state.step) if self.ranks.writes else nullcontext() as log:
            if fresh:
                # The start is a candidate for the best, and validating it shows that validation works.
                self._record(log, validate)
            while state.step < total:
                stop, began = self._next_stop(), time.perf_counter()
                losses = self._fit(batches, stop)
                loss = losses["pixel_loss"]
                check_healthy(self.objective.variables, loss, state.lowest_loss, stop, folder.path)
                check_cancelled(progress)
                offset = watch.offsets(batches, stop * self.config.optimizer.accumulate - 1)
                watch.discriminator(losses, stop - state.step)
                state.step, state.lowest_loss = stop, min(state.lowest_loss, loss)
                state.seconds += time.perf_counter() - began
                self._record(log, validate, losses, offset)

        self._keep(folder.last)
        if self.objective.discriminator is not None and self.ranks.writes:
            folder.write_discriminator(self.objective.discriminator)
        # None leaves before the results are whole.
        self.ranks.meet("end")
        return folder.last if self.config.stage == "flow" else folder.best

    def _take_up(self) -> State:
        """Go on from the folder's last state, if it has one, and note the configuration."""
        changed = self.folder.compare_configuration(self.progress)
        if self.folder.begun:
            self.state = self.folder.read_state(self.objective, self.optimizer)
            if changed & {"optimizer.loss", "stage"}:
                # Another measure: the lowest loss of the old one says nothing.
                self.state.lowest_loss = float("inf")
            self.progress.message(f"{self.folder.path}: going on at step {self.state.step}")
        # None writes before all have read.
        self.ranks.meet("begin")
        if self.ranks.writes:
            self.folder.note_configuration()
        return self.state

    # Steps

    def _next_stop(self) -> int:
        """The next step with a state, a validation, or a change of what is trained."""
        step, steps = self.state.step, self.config.steps
        ends = [(step // every + 1) * every for every in (steps.save_every, steps.validate_every)]
        starts = [self.config.perceptual.from_step, *(self.optimizer.starts or ())]
        return min(*ends, *(start for start in starts if start > step), steps.total)

    def _fit(self, batches: Batches, stop: int) -> dict[str, float]:
        """Train up to step `stop`; the mean of every loss since the last state."""
        accumulate = self.config.optimizer.accumulate
        first, end = self.state.step * accumulate, stop * accumulate
        data = feed(batches, first, end, self.ranks)
        self._compile()
        report = Report(self.progress, end - first, accumulate)
        history = self.objective.fit(data, verbose=0, shuffle=False, callbacks=[report])
        return {name: float(values[0]) for name, values in history.history.items()}

    def _compile(self) -> None:
        """Build the training step, at the start of the run and where further weights or losses begin to count."""
        released = self.optimizer.release(self.state.step)
        perceptual = self.state.step >= self.config.perceptual.from_step
        changed = released or perceptual != self.objective.perceptual
        if not changed and getattr(self.objective, "optimizer", None) is self.optimizer:
            return
        self.objective.perceptual = perceptual
        with all_devices(self.strategy):
            self.objective.compile(
                self.optimizer,
                loss_of(self.config),
                # XLA loses the fused convolutions on a CPU; JAX knows nothing else.
                jit_compile=keras.backend.backend() != "tensorflow",
                steps_per_execution=self.config.steps.per_execution * self.config.optimizer.accumulate,
            )

    # What is kept of them

    def _record(
        self,
        log: Log | None,
        validate: Callable[[], Score],
        losses: Mapping[str, float] | None = None,
        offset: float | None = None,
    ) -> None:
        """Log this step, validated where it is time, keep the best weights, and save the state."""
        state = self.state
        row: dict[str, float | int] = {"step": state.step, "seconds": state.seconds}
        if losses is not None:
            row |= {**losses, "learning_rate": float(np.asarray(self.optimizer.learning_rate))}
        if offset is not None:
            row["mean_offset"] = offset
        if state.step % self.config.steps.validate_every == 0 or state.step == self.config.steps.total:
            self._average()
            score = validate()
            if score.psnr > state.best_psnr_y:
                state.best_psnr_y, state.best_step = score.psnr, state.step
                self._keep(self.folder.best)
            row |= {"val_psnr_y": score.psnr, "val_bicubic_psnr_y": score.bicubic_psnr}
            row["best_psnr_y"] = state.best_psnr_y
            if log is not None:
                log.add_pictures(state.step, score.pictures)
            self.progress.message(
                f"step {state.step}: val_psnr_y {score.describe()}, best {state.best_psnr_y:.3f}"
            )
        if log is not None:
            log.add(row)
            self.folder.write_state(state, self.objective, self.optimizer)

    def _average(self) -> None:
        """Copy the averaged weights (or the plain ones where none are kept) into `self.averaged`."""
        weights = self.model.named_weights()
        for name, variable in self.averaged.named_weights().items():
            variable.assign(np.asarray(self.optimizer.average_of(weights[name])))

    def _keep(self, preset: Path) -> None:
        """Write the averaged weights as a preset, with the recipe that made them."""
        self._average()
        if not self.ranks.writes:
            return
        self.averaged.reparametrise().save_preset(
            preset, files={"recipe.yml": self.folder.recipe(self.state)}
        )
