"""What watches a run: its progress, weights and losses that have gone wrong, and signs that they will."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from isr.data.batches import Batches
from isr.errors import ISRError
from isr.layers.deformable import mean_offsets
from isr.progress import Progress
from isr.train.objective import Objective

# Times the lowest loss of the run: no pixel loss recovers from there to where it was.
EXPLODED = 20.0
# Pixels, mean over a batch: the published threshold, beyond which alignment has failed.
FAR_OFFSET = 50.0
# Of the loss of a discriminator that cannot decide: under that it has nothing left to learn.
COLLAPSED = 0.03
# Steps in a row, before that is said.
COLLAPSED_STEPS = 500


class Report(keras.callbacks.Callback):
    """Advance a `Progress` by every step; stop when it is cancelled, and when the loss is not a number.

    Args:
        progress: told of the steps.
        batches: that `fit` is given.
        accumulate: batches in a step.
    """

    def __init__(self, progress: Progress, batches: int, accumulate: int) -> None:
        super().__init__()
        self.progress = progress
        self.batches = batches
        self.accumulate = accumulate
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        # Keras calls once for all batches of an execution, and says the last one's index as if none were missing.
        before, self.steps = self.steps, min(batch + 1, self.batches) // self.accumulate
        if self.steps > before:
            self.progress.advance(self.steps - before)
        if self.progress.cancelled or not math.isfinite(float((logs or {}).get("loss", 0.0))):
            assert self.model is not None
            self.model.stop_training = True


def check_healthy(variables: Sequence[Any], loss: float, lowest: float, step: int, run: Path) -> None:
    """Refuse a state in which a weight or the loss is not a number, or the loss has exploded.

    The weights are looked at, too: the fused convolution on a CPU turns NaN into 0, so the loss may look healthy.

    Args:
        variables: of the model.
        loss: mean pixel loss since the last state.
        lowest: the lowest such mean of the run so far; 0 (of black patches) says nothing.
        step: for the message.
        run: for the message.

    Raises:
        ISRError: the run has diverged.
    """
    broken = next((v.path for v in variables if not np.all(np.isfinite(np.asarray(v)))), None)
    if broken is None and math.isfinite(loss) and (lowest == 0 or loss <= EXPLODED * lowest):
        return
    what = f"the loss is {loss:.3g}" if broken is None else f"{broken} is not a number"
    raise ISRError(
        f"{run}: training diverged before step {step} ({what}); the last good state and the best weights are kept. "
        "Lower optimizer.learning_rate or set optimizer.clip_norm, then run again"
    )


class Watch:
    """Tell, once each, of what a loss does not show and a run seldom recovers from.

    Args:
        run: folder of the run, for the messages.
        objective: of the run.
        progress: told of it.
    """

    def __init__(self, run: Path, objective: Objective, progress: Progress) -> None:
        self.run = run
        self.objective = objective
        self.progress = progress
        self.told: set[str] = set()
        # Steps in a row in which the discriminator was sure.
        self.sure = 0

    def offsets(self, batches: Batches, index: int) -> float | None:
        """Measure how far the deformable convolutions reach in one batch, and tell where that is too far.

        Args:
            batches: of the run.
            index: of the batch to look at.

        Returns:
            The largest mean absolute offset of a layer, in pixels; None for networks without such layers.
        """
        network = self.objective.network
        whole = self.objective.forward is None
        offsets = mean_offsets(network, batches[index].lr) if whole and network.spec.num_frames > 1 else {}
        if not offsets:
            return None
        name, value = max(offsets.items(), key=lambda item: item[1])
        if value > FAR_OFFSET:
            self._tell(
                "offsets",
                f"the mean offset of {name} is {value:.0f} pixels, so it no longer aligns; "
                "lower optimizer.learning_rate, or that of conv_offset in optimizer.multipliers",
            )
        return value

    def discriminator(self, losses: Mapping[str, float], steps: int) -> None:
        """Tell where the discriminator has been sure of every picture for a while.

        Args:
            losses: their means over the steps.
            steps: since the last state.
        """
        judge = self.objective.adversarial
        if judge is None or not self.objective.perceptual:
            return
        undecided = float(np.asarray(judge.discriminator(np.zeros(1, "float32"), np.zeros(1, "float32"))))
        sure = losses["discriminator_loss"] < COLLAPSED * undecided
        self.sure = self.sure + steps if sure else 0
        if self.sure >= COLLAPSED_STEPS:
            self._tell(
                "discriminator",
                f"the discriminator has told all pictures apart for {self.sure} steps, so the network learns nothing "
                "from it; lower perceptual.discriminator_rate or perceptual.adversarial_weight",
            )

    def _tell(self, what: str, text: str) -> None:
        if what not in self.told:
            self.told.add(what)
            self.progress.message(f"{self.run}: {text}")
