"""What happens beside the steps: reporting, the run's logs, and what it was made with."""

from __future__ import annotations

import csv
import importlib
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from isr.errors import ISRError
from isr.io.files import atomic
from isr.progress import Progress


class Report(keras.callbacks.Callback):
    """Advances a `Progress` by every step, stops when it is cancelled, and when the loss is not a number.

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


class Log:
    """The figures of a run, as CSV and for TensorBoard (written by tensorboardX, so TensorFlow is not needed).

    Args:
        run: folder; rows go to `log.csv`, events to `tensorboard/`.
        step: where the run starts, -1 for a new one; later rows, left by a run that was killed, are dropped.
    """

    COLUMNS = (
        *("step", "loss", "learning_rate", "seconds"),
        *("val_psnr_y", "val_bicubic_psnr_y", "best_psnr_y", "mean_offset"),
        *("pixel_loss", "alignment_loss", "content_loss", "adversarial_loss", "total_variation_loss"),
        *("discriminator_loss", "real_score", "fake_score"),
    )

    def __init__(self, run: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.path = run / "log.csv"
        earlier = [row for row in read_log(self.path) if int(row["step"]) <= step]
        self.rows = [{name: row.get(name, "") for name in self.COLUMNS} for row in earlier]
        self.writer = SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)

    def add(self, row: Mapping[str, float | int]) -> None:
        """Append one row; the file is whole at every moment."""
        self.rows.append({name: _text(row.get(name)) for name in self.COLUMNS})
        with atomic(self.path) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        for name in self.COLUMNS[1:]:
            if row.get(name) is not None:
                self.writer.add_scalar(name, row[name], row["step"])
        self.writer.flush()

    def add_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Show uint8 pictures `[h, w, c]` by name."""
        for name, picture in pictures.items():
            self.writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        self.writer.close()


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a run's `log.csv`, as text; empty where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def note_environment(run: Path, step: int) -> None:
    """Write to the run's `environment.json` what it goes on with from this step, if that is something new.

    A list, each entry with the step, the versions of what computes, the platform, and the git revision of the
    current folder: "-dirty" is appended where tracked files were changed, None stands for no repository.
    """
    from isr import __version__

    backend = keras.backend.backend()
    entry = {
        "keras-isr": __version__,
        "keras": keras.__version__,
        "backend": backend,
        backend: importlib.import_module(backend).__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _revision(),
    }
    path = run / "environment.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    if entries and {**entries[-1], "step": None} == {**entry, "step": None}:
        return
    with atomic(path) as temporary:
        temporary.write_text(
            json.dumps([*entries, {"step": step, **entry}], indent=1) + "\n", encoding="utf-8"
        )


def _revision() -> str | None:
    # The whole hash, no tag; nothing is written into the repository.
    command = "git describe --always --abbrev=40 --exclude=* --dirty"
    try:
        done = subprocess.run(
            command.split(),
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


EXPLODED = 20.0  # times the lowest loss of the run: no pixel loss recovers from there to where it was


def check_healthy(variables: Sequence[Any], loss: float, lowest: float, step: int, run: Path) -> None:
    """Raise ISRError where a weight or the loss is not a number, or the loss has exploded.

    The weights are looked at, too: the fused convolution on a CPU turns NaN into 0, so the loss may look healthy.

    Args:
        variables: of the model.
        loss: mean pixel loss since the last state.
        lowest: the lowest such mean of the run so far.
        step, run: for the message.
    """
    broken = next((v.path for v in variables if not np.all(np.isfinite(np.asarray(v)))), None)
    if broken is None and math.isfinite(loss) and loss <= EXPLODED * lowest:
        return
    what = f"the loss is {loss:.3g}" if broken is None else f"{broken} is not a number"
    raise ISRError(
        f"{run}: training diverged before step {step} ({what}); the last good state and the best weights are kept. "
        "Lower optimizer.learning_rate or set optimizer.clip_norm, then run again"
    )


def _text(value: float | int | None) -> str:
    return "" if value is None else f"{value:.9g}"
