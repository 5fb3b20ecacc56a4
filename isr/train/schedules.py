"""Learning rates over the steps of a run."""

from __future__ import annotations

from keras.optimizers import schedules

from isr.config import OptimizerConfig


def schedule(config: OptimizerConfig, total_steps: int) -> schedules.LearningRateSchedule:
    """The learning rate as a function of the step.

    "constant": `learning_rate`; "halving": halved every `halve_every` steps (the EDSR paper); "cosine": half a
    cosine from `learning_rate` down to `final_fraction` of it at `total_steps`. Each rises from 0 during
    the first `warmup_steps`.
    """
    rate, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        decay = max(total_steps - warmup, 1)
        if warmup:
            return schedules.CosineDecay(
                0.0, decay, alpha=config.final_fraction, warmup_target=rate, warmup_steps=warmup
            )
        return schedules.CosineDecay(rate, decay, alpha=config.final_fraction)
    every = config.halve_every if config.schedule == "halving" else total_steps + 1
    return WarmedUp(schedules.ExponentialDecay(rate, every, 0.5, staircase=True), warmup)


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
