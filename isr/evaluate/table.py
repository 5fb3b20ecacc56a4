"""What figures mean, and the table that they stand in: bicubic, the model, and what stands beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from isr.levels import from_float
from isr.metrics import Channel

BICUBIC = "bicubic"


@dataclass(frozen=True)
class Protocol:
    """What the figures of pictures mean; printed with every table.

    Attributes:
        scale: factor of the enlargement.
        channel: "y" (studio-range BT.601 luma, not rounded) or "rgb".
        border: pixels left out on every side; None: as many as the scale.
        rounded: outputs are rounded to 8 bits before they are compared.
        lr: how the low resolution came to be, in words.
        perceptual: pictures also have NIQE and the distance of their VGG19 features, see `Figures`.
    """

    scale: int
    channel: Channel = "y"
    border: int | None = None
    rounded: bool = True
    lr: str = "MATLAB bicubic, 8 bit"
    perceptual: bool = False

    @property
    def pixels(self) -> int:
        """Return the border in pixels."""
        return self.scale if self.border is None else self.border

    def describe(self) -> str:
        """Say all of it in one line."""
        channel = "luma (BT.601 studio range, not rounded)" if self.channel == "y" else "RGB"
        rounding = "output rounded to 8 bits" if self.rounded else "output not rounded"
        more = "; NIQE, VGG: lower is better" if self.perceptual else ""
        return f"x{self.scale}, {channel}, border {self.pixels} px, {rounding}, LR: {self.lr}{more}"

    def output(self, sr: np.ndarray) -> np.ndarray:
        """Prepare an upscaled picture: clipped, and rounded where that is the rule; integers as they are."""
        if np.issubdtype(sr.dtype, np.integer):
            return sr
        sr = np.clip(sr, 0, 1)
        return from_float(sr, np.dtype(np.uint8)) if self.rounded else sr


@dataclass(frozen=True)
class ClipProtocol(Protocol):
    """What the figures of clips mean.

    Attributes:
        skip_frames: so many first and last frames of every clip are upscaled but not scored.

    The others as of `Protocol`.
    """

    skip_frames: int = 0

    def describe(self) -> str:
        """Say all of it in one line."""
        skipped = f"all but the first and last {self.skip_frames}" if self.skip_frames else "all"
        levels = "luma" if self.channel == "y" else "RGB"
        return (
            f"{super().describe()}; frames: {skipped}; means: over the frames of a clip, then over clips; "
            f"flicker: mean |(SR[t+1]-SR[t]) - (HR[t+1]-HR[t])| in levels of {levels}, lower is better"
        )


@dataclass(frozen=True)
class Figures:
    """What a method reaches.

    Attributes:
        psnr: dB.
        ssim: 0 to 1.
        flicker: levels of 0 to 255; None of pictures and of a single frame.
        niqe: see `isr.niqe`, without an original; None where it was not asked for, or the picture is too small.
        vgg: root of the mean square by which the features block3_conv3 of VGG19 differ from the original's, over 255;
            None where it was not asked for.
    """

    psnr: float
    ssim: float
    flicker: float | None = None
    niqe: float | None = None
    vgg: float | None = None

    @classmethod
    def mean(cls, figures: Sequence[Figures]) -> Figures:
        """Give the mean of each measure, never the PSNR of a mean error."""

        def known(name: str) -> float | None:
            values = [value for each in figures if (value := getattr(each, name)) is not None]
            return fmean(values) if values else None

        return cls(
            fmean(each.psnr for each in figures),
            fmean(each.ssim for each in figures),
            known("flicker"),
            known("niqe"),
            known("vgg"),
        )


@dataclass(frozen=True)
class Row:
    """One picture or clip.

    Attributes:
        name: its path below the folder.
        figures: of bicubic, the model, and what stands beside it, in this order.
        frames: how many frames of a clip were scored; None of a picture.
    """

    name: str
    figures: Mapping[str, Figures]
    frames: int | None = None

    @property
    def model(self) -> Figures:
        """Return what the model reaches."""
        return list(self.figures.values())[1]

    @property
    def psnr(self) -> float:
        """Return the model's, dB."""
        return self.model.psnr

    @property
    def ssim(self) -> float:
        """Return the model's."""
        return self.model.ssim

    @property
    def bicubic_psnr(self) -> float:
        """Bicubic's, dB."""
        return self.figures[BICUBIC].psnr

    @property
    def bicubic_ssim(self) -> float:
        """Bicubic's."""
        return self.figures[BICUBIC].ssim


# Measure, its unit in a head, and its digits.
PICTURE_MEASURES = (("psnr", "dB", 3), ("ssim", "SSIM", 4))
PERCEPTUAL_MEASURES = (("niqe", "NIQE", 2), ("vgg", "VGG", 4))
CLIP_MEASURES = (*PICTURE_MEASURES, ("flicker", "flicker", 3))


@dataclass(frozen=True)
class Table:
    """The figures of a set of pictures or clips under one protocol.

    Pictures of one model make one block with a line each; clips, and pictures of several models, a block for every
    measure. The files follow: a line for every picture, or one for every clip or picture and method.

    Attributes:
        model: its name.
        protocol: what the figures mean; that of clips where there are clips.
        rows: at least one, all with the same methods.
    """

    model: str
    protocol: Protocol
    rows: Sequence[Row]

    @property
    def methods(self) -> tuple[str, ...]:
        """Bicubic, the model, and what stands beside it."""
        return tuple(self.rows[0].figures)

    @property
    def mean(self) -> Row:
        """Mean over the rows, each counting the same however long a clip is; its frames are all that were scored."""
        means = {method: Figures.mean([row.figures[method] for row in self.rows]) for method in self.methods}
        return Row("mean", means, sum(row.frames or 0 for row in self.rows) if self._of_clips else None)

    def better(self, method: str | None = None) -> int:
        """Count the rows that a method, by default the model, improves over bicubic, by PSNR."""
        method = method or self.methods[1]
        return sum(row.figures[method].psnr > row.bicubic_psnr for row in self.rows)

    @property
    def _of_clips(self) -> bool:
        return isinstance(self.protocol, ClipProtocol)

    @property
    def _in_one_block(self) -> bool:
        return not self._of_clips and len(self.methods) == 2

    @property
    def _measures(self) -> tuple[tuple[str, str, int], ...]:
        if self._of_clips:
            return CLIP_MEASURES
        return (*PICTURE_MEASURES, *PERCEPTUAL_MEASURES) if self.protocol.perceptual else PICTURE_MEASURES

    def to_text(self) -> str:
        """Write all rows and the mean, with the protocol above and a count of the improved ones below."""
        lines, counts = (
            [f"{self.model}: {self.protocol.describe()}"],
            [f"{self.better()} of {len(self.rows)}"],
        )
        if self._in_one_block:
            lines += self._block(self._measures, (BICUBIC, "model"))
        else:
            for measure in self._measures:
                lines += [*self._block([measure], self.methods), ""]
            counts = [f"{method} {self.better(method)} of {len(self.rows)}" for method in self.methods[1:]]
        return "\n".join([*lines, f"better than bicubic: {', '.join(counts)}"])

    def _block(self, measures: Sequence[tuple[str, str, int]], heads: Sequence[str]) -> list[str]:
        """The lines of a table of measures: for each the methods, under these heads."""
        first, counted = ("clip", ("frames",)) if self._of_clips else ("picture", ())
        cells = []
        for row in (*self.rows, self.mean):
            values = [
                (getattr(row.figures[method], measure), digits)
                for measure, _, digits in measures
                for method in self.methods
            ]
            numbers = ("-" if value is None else f"{value:.{digits}f}" for value, digits in values)
            cells.append((row.name, *(str(row.frames) for _ in counted), *numbers))
        return _aligned(
            first, (*counted, *(f"{head} {unit}" for _, unit, _ in measures for head in heads)), cells
        )

    def to_csv(self) -> str:
        """Write all rows and the mean as CSV."""
        rows = (*self.rows, self.mean)
        if self._in_one_block:
            lines = [self._in_one_line(row) for row in rows]
        else:
            lines = [
                {**self._head(row), "method": method, **self._shown(figures)}
                for row in rows
                for method, figures in row.figures.items()
            ]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return stream.getvalue()

    def to_json(self) -> str:
        """Write model, protocol, rows and mean as JSON."""
        protocol = {**asdict(self.protocol), "border": self.protocol.pixels}
        if not self.protocol.perceptual:
            del protocol["perceptual"]
        content = {
            "model": self.model,
            "protocol": protocol,
            "rows": [self._as_json(row) for row in self.rows],
            "mean": self._as_json(self.mean),
        }
        return json.dumps(content, indent=2) + "\n"

    def _as_json(self, row: Row) -> dict[str, Any]:
        if self._in_one_block:
            return self._in_one_line(row)
        figures = {method: self._shown(each) for method, each in row.figures.items()}
        return {**self._head(row), "figures": figures}

    def _in_one_line(self, row: Row) -> dict[str, Any]:
        line: dict[str, Any] = {"name": row.name}
        for measure, _, _ in self._measures:
            line[f"bicubic_{measure}"] = getattr(row.figures[BICUBIC], measure)
            line[measure] = getattr(row.model, measure)
        return line

    def _head(self, row: Row) -> dict[str, Any]:
        return {"name": row.name, "frames": row.frames} if self._of_clips else {"name": row.name}

    def _shown(self, figures: Figures) -> dict[str, Any]:
        return {measure: getattr(figures, measure) for measure, _, _ in self._measures}


def _aligned(first: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: its heads, then names at the left and numbers at the right of their columns."""
    width = max(len(name) for name, *_ in rows)
    lines = ["  ".join([first.ljust(width), *heads])]
    for name, *cells in rows:
        numbers = (cell.rjust(len(head)) for cell, head in zip(cells, heads, strict=True))
        lines.append("  ".join([name.ljust(width), *numbers]))
    return lines
