"""Benchmark tables: bicubic beside the model, per picture or clip and on average."""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from isr.data.clips import ClipFiles, read_clip
from isr.data.degrade import SIGMA, Degradation
from isr.data.pairs import PairFiles, read_pair
from isr.errors import RequestError
from isr.imresize import imresize
from isr.io.clips import VIDEO_SUFFIXES, probe
from isr.io.files import walk
from isr.io.pictures import READABLE
from isr.levels import from_float, to_float
from isr.metrics import Channel, flicker, psnr, ssim
from isr.progress import Progress, Silent, check_cancelled

BICUBIC = "bicubic"


# Pictures


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

    def output(self, sr: np.ndarray) -> np.ndarray:
        """An upscaled picture as it is compared: clipped, and rounded where that is the rule; integers as they are."""
        if np.issubdtype(sr.dtype, np.integer):
            return sr
        sr = np.clip(sr, 0, 1)
        return from_float(sr, np.dtype(np.uint8)) if self.rounded else sr


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
        heads = ("bicubic dB", "model dB", "bicubic SSIM", "model SSIM")
        cells = [
            (
                row.name,
                f"{row.bicubic_psnr:.3f}",
                f"{row.psnr:.3f}",
                f"{row.bicubic_ssim:.4f}",
                f"{row.ssim:.4f}",
            )
            for row in (*self.rows, self.mean)
        ]
        lines = [f"{self.model}: {self.protocol.describe()}", *_aligned("picture", heads, cells)]
        return "\n".join([*lines, f"better than bicubic: {self.better} of {len(self.rows)}"])

    def to_csv(self) -> str:
        """All rows and the mean as CSV."""
        return _as_csv(("name", *COLUMNS), (asdict(row) for row in (*self.rows, self.mean)))

    def to_json(self) -> str:
        """Model, protocol, rows and mean as JSON."""
        return _as_json(self)


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
        sr = protocol.output(upscale(to_float(lr)))
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


# Clips


@dataclass(frozen=True)
class ClipProtocol(Protocol):
    """What a figure of clips means.

    Attributes:
        skip_frames: so many first and last frames of every clip are upscaled but not scored.

    The others as of `Protocol`.
    """

    skip_frames: int = 0

    def describe(self) -> str:
        """One line."""
        skipped = f"all but the first and last {self.skip_frames}" if self.skip_frames else "all"
        levels = "luma" if self.channel == "y" else "RGB"
        return (
            f"{super().describe()}; frames: {skipped}; means: over the frames of a clip, then over clips; "
            f"flicker: mean |(SR[t+1]-SR[t]) - (HR[t+1]-HR[t])| in levels of {levels}, lower is better"
        )


@dataclass(frozen=True)
class Figures:
    """What a method reaches: PSNR in dB, SSIM, and flicker in levels of 0 to 255 (None of a single frame)."""

    psnr: float
    ssim: float
    flicker: float | None


@dataclass(frozen=True)
class ClipRow:
    """One clip: how many frames were scored, and the figures of bicubic and of every network, by their names."""

    name: str
    frames: int
    figures: Mapping[str, Figures]


@dataclass(frozen=True)
class ClipTable:
    """The figures of a set of clips under one protocol; there is at least one."""

    model: str
    protocol: ClipProtocol
    rows: Sequence[ClipRow]

    @property
    def methods(self) -> tuple[str, ...]:
        """Bicubic, the model, and what stands beside it."""
        return tuple(self.rows[0].figures)

    @property
    def mean(self) -> ClipRow:
        """Mean over the clips, each counting the same however long it is; its frames are all that were scored."""
        means = {method: _mean([row.figures[method] for row in self.rows]) for method in self.methods}
        return ClipRow("mean", sum(row.frames for row in self.rows), means)

    def better(self, method: str) -> int:
        """How many clips a method improves over bicubic, by PSNR."""
        return sum(row.figures[method].psnr > row.figures[BICUBIC].psnr for row in self.rows)

    def to_text(self) -> str:
        """A block for each measure, with the protocol above and a count of the improved clips below."""
        lines = [f"{self.model}: {self.protocol.describe()}"]
        for measure, unit, digits in (("psnr", "dB", 3), ("ssim", "SSIM", 4), ("flicker", "flicker", 3)):
            heads = ("frames", *(f"{method} {unit}" for method in self.methods))
            cells = []
            for row in (*self.rows, self.mean):
                values = (getattr(figures, measure) for figures in row.figures.values())
                numbers = ("-" if value is None else f"{value:.{digits}f}" for value in values)
                cells.append((row.name, str(row.frames), *numbers))
            lines += [*_aligned("clip", heads, cells), ""]
        counts = (f"{method} {self.better(method)} of {len(self.rows)}" for method in self.methods[1:])
        return "\n".join([*lines, f"better than bicubic: {', '.join(counts)}"])

    def to_csv(self) -> str:
        """A line for each clip and method, and for each method's mean, as CSV."""
        lines = (
            {"name": row.name, "frames": row.frames, "method": method, **asdict(figures)}
            for row in (*self.rows, self.mean)
            for method, figures in row.figures.items()
        )
        return _as_csv(("name", "frames", "method", "psnr", "ssim", "flicker"), lines)

    def to_json(self) -> str:
        """Model, protocol, rows and mean as JSON."""
        return _as_json(self)


def evaluate_clips(
    upscalers: Mapping[str, Callable[[Iterator[np.ndarray]], Iterable[np.ndarray]]],
    clips: Iterable[tuple[str, Iterable[tuple[np.ndarray, np.ndarray]]]],
    protocol: ClipProtocol,
    *,
    progress: Progress | None = None,
) -> ClipTable:
    """Score functions that upscale streams of frames, beside bicubic, in one pass over every clip.

    Frames are held only as long as a function reads ahead, and `protocol.skip_frames` more.

    Args:
        upscalers: by name, the model first. Each takes the LR frames of a clip in order, `[h, w, c]` as the clips
            have them, and gives as many `[scale * h, scale * w, c]`, uint8 or float about [0, 1].
        clips: name and `(lr, hr)` of every frame, uint8, as `read_clips` gives them.
        protocol: how to compare.
        progress: advanced by one for every frame.

    Returns:
        The table, rows in the order of the clips.

    Raises RequestError, naming the clip, where it has too few frames or is too small for the border or for SSIM.

    Example:
        >>> clip = [(np.zeros((24, 24, 3), "uint8"), np.zeros((48, 48, 3), "uint8"))] * 3
        >>> evaluate_clips({"edsr": lambda lr: isr.upscale_frames("edsr_fast_x2", lr)}, [("a", clip)], ClipProtocol(2))
    """
    progress = progress or Silent()
    bicubic = {BICUBIC: lambda frames: (imresize(lr, scale=protocol.scale) for lr in frames)}
    rows = [_score_clip(name, frames, {**bicubic, **upscalers}, protocol, progress) for name, frames in clips]
    if not rows:
        raise RequestError("there are no clips to score")
    return ClipTable(next(iter(upscalers)), protocol, tuple(rows))


def _score_clip(
    name: str,
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    upscalers: Mapping[str, Callable[[Iterator[np.ndarray]], Iterable[np.ndarray]]],
    protocol: ClipProtocol,
    progress: Progress,
) -> ClipRow:
    originals, *copies = _streams(frames, len(upscalers))
    results = [upscale(lr) for upscale, lr in zip(upscalers.values(), copies, strict=True)]
    scores = {method: _Scores(protocol) for method in upscalers}
    skip = protocol.skip_frames
    latest: deque[tuple[np.ndarray, ...]] = deque(maxlen=skip + 1)
    scored = 0
    for count, pictures in enumerate(zip(originals, *results, strict=True)):
        check_cancelled(progress)
        latest.append(pictures)
        if count >= 2 * skip:  # then `skip` frames precede the oldest of the latest, and `skip` follow
            hr, *enlarged = latest[0]
            try:
                for score, sr in zip(scores.values(), enlarged, strict=True):
                    score.add(protocol.output(sr), hr)
            except ValueError as error:
                raise RequestError(f"{name}: cannot be scored: {error}") from None
            scored += 1
        progress.advance()
    if not scored:
        raise RequestError(f"{name}: has too few frames to leave out {skip} at each end")
    return ClipRow(name, scored, {method: _mean(score.frames) for method, score in scores.items()})


def _streams(frames: Iterable[tuple[np.ndarray, np.ndarray]], copies: int) -> list[Iterator[np.ndarray]]:
    """HR of the frames, then so many times LR; a frame is held until every stream has passed it.

    `itertools.tee` does the same, but lets go of frames by the dozen.
    """
    source = iter(frames)
    queues: list[deque[np.ndarray]] = [deque() for _ in range(1 + copies)]

    def stream(queue: deque[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            if not queue:
                pair = next(source, None)
                if pair is None:
                    return
                lr, hr = pair
                for each, picture in zip(queues, (hr, *[lr] * copies), strict=True):
                    each.append(picture)
            yield queue.popleft()

    return [stream(queue) for queue in queues]


class _Scores:
    """The figures of one method on one clip, frame by frame."""

    def __init__(self, protocol: ClipProtocol) -> None:
        self.frames: list[Figures] = []
        self._how: dict[str, Any] = {"channel": protocol.channel, "border": protocol.pixels}
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, sr: np.ndarray, hr: np.ndarray) -> None:
        change = None
        if self._before is not None:
            sr_before, hr_before = self._before
            change = flicker((sr_before, sr), (hr_before, hr), **self._how)
        self.frames.append(Figures(psnr(sr, hr, **self._how), ssim(sr, hr, **self._how), change))
        self._before = sr, hr


def _mean(figures: Sequence[Figures]) -> Figures:
    changes = [each.flicker for each in figures if each.flicker is not None]
    return Figures(
        fmean(each.psnr for each in figures),
        fmean(each.ssim for each in figures),
        fmean(changes) if changes else None,
    )


def describe_degradation(kind: Degradation, scale: int) -> str:
    """How `degrade` makes the low resolution, in words."""
    if kind == "bi":
        return "MATLAB bicubic (BI), 8 bit"
    # An LR pixel lies on the first pixel of its block; MATLAB's rule takes it for the middle.
    shift = f"bicubic and networks for BI lie {(scale - 1) / 2:g} px off"
    return f"Gaussian blur of sigma {SIGMA * scale:g}, sub-sampled (BD), 8 bit ({shift})"


def holds_clips(hr: Path) -> bool:
    """Whether a path is a video file, a list of clips, or a folder of nothing but clips.

    Such a folder has no loose pictures: video files, and sub-folders of numbered frames of one size, two or more.
    """
    if hr.is_file():
        return hr.suffix.lower() in {".txt", *VIDEO_SUFFIXES}
    found = list(walk(hr, READABLE | VIDEO_SUFFIXES)) if hr.is_dir() else []
    folders = {path.parent for path in found if path.suffix.lower() not in VIDEO_SUFFIXES}
    return bool(found) and hr not in folders and all(map(_holds_frames, folders))


def _holds_frames(folder: Path) -> bool:
    try:
        return probe(folder, exact=True).frames > 1
    except RequestError:
        return False


def count_frames(clips: Iterable[ClipFiles], skip_frames: int = 0) -> int:
    """How many frames clips have in all.

    Raises RequestError, naming the clip, where it has too few frames to leave out `skip_frames` at each end, or
    another number of them in low resolution.
    """
    total = 0
    for clip in clips:
        frames = _count_frames(clip.hr)
        if frames <= 2 * skip_frames:
            raise RequestError(
                f"{clip.name}: has {frames} frames, too few to leave out {skip_frames} at each end"
            )
        if clip.lr is not None and (given := _count_frames(clip.lr)) != frames:
            raise RequestError(f"{clip.name}: has {frames} frames, but {given} in low resolution")
        total += frames
    return total


def _count_frames(files: Sequence[Path]) -> int:
    video = files[0].suffix.lower() in VIDEO_SUFFIXES
    return probe(files[0], exact=True).frames if video else len(files)


def read_clips(
    files: Sequence[ClipFiles], scale: int, num_channels: int, degradation: Degradation = "bi"
) -> Iterator[tuple[str, Iterator[tuple[np.ndarray, np.ndarray]]]]:
    """Name and frames of each clip, as `read_clip` gives them, read when its turn comes."""
    for clip in files:
        yield clip.name, read_clip(clip, scale, num_channels, degradation)


# Tables as text


def _aligned(first: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: its heads, then names at the left and numbers at the right of their columns."""
    width = max(len(name) for name, *_ in rows)
    lines = ["  ".join([first.ljust(width), *heads])]
    for name, *cells in rows:
        numbers = (cell.rjust(len(head)) for cell, head in zip(cells, heads, strict=True))
        lines.append("  ".join([name.ljust(width), *numbers]))
    return lines


def _as_csv(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _as_json(table: Table | ClipTable) -> str:
    content = {
        "model": table.model,
        "protocol": {**asdict(table.protocol), "border": table.protocol.pixels},
        "rows": [asdict(row) for row in table.rows],
        "mean": asdict(table.mean),
    }
    return json.dumps(content, indent=2) + "\n"
