"""Learning rates over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras.optimizers import schedules

from isr.config import OptimizerConfig


def schedule(config: OptimizerConfig, total_steps: int) -> schedules.LearningRateSchedule:
    """Make the learning rate a function of the step; with `accumulate`, of the batch, which Keras counts.

    "constant": `learning_rate`; "halving": times `halve_by` every `halve_every` steps (EDSR halves); "cosine":
    half a cosine from `learning_rate` down to `final_fraction` of it at `total_steps`; "restarts": one such half
    cosine after another, each with its length and height (the EDVR paper). Each rises from 0 during the first
    `warmup_steps`.
    """
    of_step = _of_step(config, total_steps)
    return of_step if config.accumulate == 1 else Accumulated(of_step, config.accumulate)


def _of_step(config: OptimizerConfig, total_steps: int) -> schedules.LearningRateSchedule:
    rate, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        decay = max(total_steps - warmup, 1)
        if warmup:
            return schedules.CosineDecay(
                0.0, decay, alpha=config.final_fraction, warmup_target=rate, warmup_steps=warmup
            )
        return schedules.CosineDecay(rate, decay, alpha=config.final_fraction)
    if config.schedule == "restarts":
        restarts = CosineRestarts(rate, config.periods, config.restart_weights, config.final_fraction)
        return WarmedUp(restarts, warmup)
    every = config.halve_every if config.schedule == "halving" else total_steps + 1
    return WarmedUp(schedules.ExponentialDecay(rate, every, config.halve_by, staircase=True), warmup)


class CosineRestarts(schedules.LearningRateSchedule):
    """Half cosines of given lengths, one after the other; the last rate stays.

    Args:
        rate: highest of all.
        periods: length of each, in steps.
        weights: height of each over the lowest rate, as a share of the highest's.
        final_fraction: lowest rate / highest rate.
    """

    def __init__(
        self, rate: float, periods: Sequence[int], weights: Sequence[float], final_fraction: float
    ) -> None:
        self.rate, self.final_fraction = rate, final_fraction
        self.periods, self.weights = list(periods), list(weights)

    def __call__(self, step):  # type: ignore[no-untyped-def]
        from keras import ops

        step = ops.cast(step, "float32")
        height, begin = 0.0, 0
        for period, weight in zip(self.periods, self.weights, strict=True):
            # At 1 the cosine gives 0, and stays there.
            done = ops.minimum((step - begin) / period, 1.0)
            cosine = weight * 0.5 * (1 + ops.cos(math.pi * done))
            height = height + ops.where(done >= 0, cosine, 0.0)
            begin += period
        return self.rate * (self.final_fraction + (1 - self.final_fraction) * height)

    def get_config(self) -> dict:
        names = ("rate", "periods", "weights", "final_fraction")
        return {name: getattr(self, name) for name in names}


class WarmedUp(schedules.LearningRateSchedule):
    """Another schedule that rises linearly from 0 during its first `steps` steps."""

    def __init__(self, schedule: schedules.LearningRateSchedule, steps: int) -> None:
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):  # type: ignore[no-untyped-def]
        from keras import ops

        rise = ops.minimum(ops.cast(step + 1, "float32") / max(self.steps, 1), 1.0)
        return self.schedule(step) * rise

    def get_config(self) -> dict:
        return {"schedule": schedules.serialize(self.schedule), "steps": self.steps}


class Accumulated(schedules.LearningRateSchedule):
    """Another schedule, of the step, for an optimizer that makes a step of `batches` batches and counts those."""

    def __init__(self, schedule: schedules.LearningRateSchedule, batches: int) -> None:
        self.schedule = schedule
        self.batches = batches

    def __call__(self, step):  # type: ignore[no-untyped-def]
        from keras import ops

        return self.schedule(ops.floor_divide(step, self.batches))

    def get_config(self) -> dict:
        return {"schedule": schedules.serialize(self.schedule), "batches": self.batches}
