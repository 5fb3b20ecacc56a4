"""The figures of a run: `log.csv`, and events for TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from isr.io.files import atomic


class Log:
    """Write the figures of a run as CSV and for TensorBoard (by tensorboardX, so TensorFlow is not needed).

    A context manager, which closes the event file.

    Args:
        run: folder; rows go to `log.csv`, events to `tensorboard/`.
        step: where the run starts, -1 for a new one; later rows, left by a run that was killed, are dropped.
    """

    COLUMNS = (
        *("step", "loss", "learning_rate", "seconds"),
        *("val_psnr_y", "val_bicubic_psnr_y", "best_psnr_y", "mean_offset"),
        *("pixel_loss", "alignment_loss", "content_loss", "adversarial_loss", "total_variation_loss"),
        "phase_loss",
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

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Flush and close the event file."""
        self.writer.close()


def read_log(path: Path) -> list[dict[str, str]]:
    """Read the rows of a run's `log.csv`, as text; empty where there is none."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _text(value: float | int | None) -> str:
    return "" if value is None else f"{value:.9g}"
