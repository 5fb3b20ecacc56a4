"""Benchmark tables: bicubic beside the model, per picture and on average."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean

import numpy as np

from isr.data.pairs import PairFiles, read_pair
from isr.errors import RequestError
from isr.imresize import imresize
from isr.levels import from_float, to_float
from isr.metrics import Channel, psnr, ssim
from isr.progress import Progress, Silent, check_cancelled


@dataclass(frozen=True)
class Protocol:
    """What a figure means; printed with every table.

    Attributes:
        scale: factor of the enlargement.
        channel: "y" (studio-range BT.601 luma, not rounded) or "rgb".
        border: pixels left out on every side; None: as many as the scale.
        rounded: outputs are rounded to 8 bits before they are compared.
        lr: how the low resolution came to be, in words.
    """

    scale: int
    channel: Channel = "y"
    border: int | None = None
    rounded: bool = True
    lr: str = "MATLAB bicubic, 8 bit"

    @property
    def pixels(self) -> int:
        """The border in pixels."""
        return self.scale if self.border is None else self.border

    def describe(self) -> str:
        """One line."""
        channel = "luma (BT.601 studio range, not rounded)" if self.channel == "y" else "RGB"
        rounding = "output rounded to 8 bits" if self.rounded else "output not rounded"
        return f"x{self.scale}, {channel}, border {self.pixels} px, {rounding}, LR: {self.lr}"


@dataclass(frozen=True)
class Row:
    """One picture's figures; dB and 0 to 1."""

    name: str
    bicubic_psnr: float
    psnr: float
    bicubic_ssim: float
    ssim: float


@dataclass(frozen=True)
class Table:
    """The figures of a set under one protocol."""

    model: str
    protocol: Protocol
    rows: Sequence[Row] = field(default_factory=tuple)

    @property
    def mean(self) -> Row:
        """Mean over the pictures of each column (never the PSNR of a mean error)."""
        columns = {name: fmean(getattr(row, name) for row in self.rows) for name in COLUMNS}
        return Row("mean", **columns)

    @property
    def better(self) -> int:
        """How many pictures the model improves over bicubic, by PSNR."""
        return sum(row.psnr > row.bicubic_psnr for row in self.rows)

    def to_text(self) -> str:
        """All rows and the mean, with the protocol above and a count of the improved pictures below."""
        width = max(len(row.name) for row in (*self.rows, self.mean))
        heads = ("bicubic dB", "model dB", "bicubic SSIM", "model SSIM")
        lines = [f"{self.model}: {self.protocol.describe()}", "  ".join(["picture".ljust(width), *heads])]
        for row in (*self.rows, self.mean):
            cells = (
                f"{row.bicubic_psnr:.3f}",
                f"{row.psnr:.3f}",
                f"{row.bicubic_ssim:.4f}",
                f"{row.ssim:.4f}",
            )
            numbers = (cell.rjust(len(head)) for cell, head in zip(cells, heads, strict=True))
            lines.append("  ".join([row.name.ljust(width), *numbers]))
        return "\n".join([*lines, f"better than bicubic: {self.better} of {len(self.rows)}"])

    def to_csv(self) -> str:
        """All rows and the mean as CSV."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, ["name", *COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in (*self.rows, self.mean))
        return stream.getvalue()

    def to_json(self) -> str:
        """Model, protocol, rows and mean as JSON."""
        content = {
            "model": self.model,
            "protocol": {**asdict(self.protocol), "border": self.protocol.pixels},
            "rows": [asdict(row) for row in self.rows],
            "mean": asdict(self.mean),
        }
        return json.dumps(content, indent=2) + "\n"


COLUMNS = ("bicubic_psnr", "psnr", "bicubic_ssim", "ssim")


def evaluate(
    upscale: Callable[[np.ndarray], np.ndarray],
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    protocol: Protocol,
    *,
    model: str = "model",
    progress: Progress | None = None,
) -> Table:
    """Score an upscaling function on pairs of pictures.

    Args:
        upscale: takes LR `[h, w, c]` float32 in [0, 1], gives `[scale * h, scale * w, c]` float, unclipped.
        pairs: `(name, lr, hr)` as `read_pair` gives them.
        protocol: how to compare.
        model: name in the table.
        progress: advanced by one for every picture.

    Returns:
        The table, rows in the order of the pairs.

    Raises RequestError, naming the picture, where it is too small for the border or for SSIM.
    """
    progress = progress or Silent()
    rows = []
    for name, lr, hr in pairs:
        check_cancelled(progress)
        bicubic = imresize(lr, size=hr.shape[:2])
        sr = np.clip(upscale(to_float(lr)), 0, 1)
        if protocol.rounded:
            sr = from_float(sr, np.dtype(np.uint8))
        try:
            figures = [
                metric(picture, hr, channel=protocol.channel, border=protocol.pixels)
                for metric in (psnr, ssim)
                for picture in (bicubic, sr)
            ]
        except ValueError as error:
            raise RequestError(f"{name}: cannot be scored: {error}") from None
        rows.append(Row(name, *figures))
        progress.advance()
    return Table(model, protocol, tuple(rows))


def read_pairs(
    files: Sequence[PairFiles], scale: int, num_channels: int
) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """`(name, lr, hr)` of each pair, read when its turn comes.

    Gray pictures stay gray: their values are what is scored, as in the scripts of the literature, not the luma that
    they would have as RGB (which reads 1.32 dB higher).
    """
    for pair in files:
        yield pair.name, *read_pair(pair, scale, num_channels, keep_gray=True)
