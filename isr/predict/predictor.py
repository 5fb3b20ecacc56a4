"""Files and folders of them: planned, upscaled one after another, written whole, resumed where they stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isr.errors import Cancelled, ISRError, MachineError, RequestError
from isr.io.clips import ANIMATION_SUFFIXES, VIDEO_SUFFIXES
from isr.io.pictures import READABLE, Picture, read, write
from isr.predict.chain import upscale_along
from isr.predict.jobs.clip import ClipJob, find_clips, is_clip_input, upscale_clip
from isr.predict.jobs.job import (
    Job,
    find_jobs,
    finished_record,
    pictures_of,
    precision_along,
    split_finished,
)
from isr.predict.jobs.journal import STARTED, Journal
from isr.predict.options import PredictOptions
from isr.predict.picture import plan_tiles
from isr.predict.precision import supported_precision
from isr.predict.report import Report
from isr.predict.route import Target
from isr.predict.source import (
    Networks,
    check_memory,
    default_scale,
    networks_of,
)
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes.engines import BACKENDS
from isr.spec import Upscaler

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel
    from isr.predict.source import Source


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        source: the input.
        target: the output; None where the input could not be read.
        status: "written", "skipped" (finished earlier) or "failed".
        error: one line that names the file, where it failed.
        warning: one line that names the file, where it is written but the source was damaged.
        frames: of a clip; None for a picture.
        size_in, size_out: `(width, height)` in pixels.
        networks: names, in the order in which they ran; none for a reduction.
        device, engine, precision: what it was computed on, by and in; the latter two are empty for A+ and a server.
        seconds: from reading to written.
    """

    source: Path
    target: Path | None
    status: Literal["written", "skipped", "failed"]
    error: str = ""
    warning: str = ""
    frames: int | None = None
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    networks: tuple[str, ...] = ()
    device: str = ""
    engine: str = ""
    precision: str = ""
    seconds: float = 0.0

    def describe(self) -> str:
        """One line: what was made, by what, where, how fast."""
        if self.status != "written":
            return self.error or f"{self.target}: finished earlier, skipped"
        assert self.size_in is not None and self.size_out is not None
        sizes = f"{self.size_in[0]}x{self.size_in[1]} to {self.size_out[0]}x{self.size_out[1]}"
        how = ", ".join(filter(None, (self.device, self.engine, self.precision)))
        by = f"by {' then '.join(self.networks)} on {how}" if self.networks else "no network"
        count = "" if self.frames is None else f", {self.frames} frames"
        return f"{self.target}: {sizes}{count}, {by}, {self.seconds:.1f} s"


@dataclass
class Predictions:
    """What became of the files of a folder."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def written(self) -> list[Path]:
        """The files that were made."""
        return [o.target for o in self.outcomes if o.status == "written" and o.target is not None]

    @property
    def skipped(self) -> list[Path]:
        """The results that were finished earlier."""
        return [o.target for o in self.outcomes if o.status == "skipped" and o.target is not None]

    @property
    def failed(self) -> list[tuple[Path, str]]:
        """The inputs that have no result, each with a line that says why."""
        return [(o.source, o.error) for o in self.outcomes if o.status == "failed"]


class Predictor:
    """Upscales the pictures of a folder and of the folders in it into a mirrored tree.

    Args:
        input_dir: the folder.
        output_dir: made where missing; None: beside `input_dir`, named after it and the scale (`photos_x2`).
        options: how; `PredictOptions()` where None.
        progress: told of every tile; asked for `cancelled`.
        changes: fields of `PredictOptions` by name, instead or on top of `options`.

    Raises RequestError where there is no such folder or an option is out of its range, TypeError for an unknown
    option.

    Example:
        >>> predictor = Predictor("photos", "large", scale=4, resume=True)
        >>> predictor.get_predictions("edsr_baseline_x4").written
    """

    def __init__(
        self,
        input_dir: str | Path,
        output_dir: str | Path | None = None,
        *,
        options: PredictOptions | None = None,
        progress: Progress | None = None,
        **changes: Any,
    ) -> None:
        self.input_dir = Path(input_dir)
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.options = replace(options or PredictOptions(), **changes)
        self.progress = progress or Silent()
        if not self.input_dir.is_dir():
            raise RequestError(f"{self.input_dir}: no such folder; isr.upscale takes one picture")

    def get_predictions(
        self,
        model: SuperResolutionModel | Upscaler | str | Path | None = None,
        weights_path: str | Path | None = None,
    ) -> Predictions:
        """Upscale every picture.

        Args:
            model: a network, an upscaler, a preset's name or folder, or a `.keras` file; None: the shipped presets,
                each for its scale.
            weights_path: `.safetensors` or `.weights.h5` that is loaded into the network first; with `model` None,
                a preset's folder or a `.keras` file.

        Returns:
            What became of each file. Pictures that cannot be read do not stop the others: see `failed`.

        Raises RequestError before any work where the folder holds no pictures, weights do not fit, or a result
        would replace a file (`overwrite`, `resume`); MachineError where the disk is full; Cancelled where the
        progress asks for it. What is finished then is whole.
        """
        if weights_path is not None:
            if model is None:
                model = weights_path
            elif isinstance(model, (str, Path)) or not hasattr(model, "load_weights"):
                raise RequestError(f"{weights_path}: give a network to load these weights into, or no model")
            else:
                model.load_weights(weights_path)
        done = predict_files([self.input_dir], self.output_dir, model, self.options, self.progress)
        return Predictions(list(done))


def predict_files(
    inputs: Sequence[Path],
    output: Path | None,
    model: Source,
    options: PredictOptions,
    progress: Progress,
) -> Iterator[Outcome]:
    """Upscale files and folders of them; yields what became of each as it is known.

    Everything that can be refused is refused before the first outcome, and before Keras is imported.

    Args:
        inputs: files and folders, at least one.
        output: as of `find_jobs`.
        model: as of `Predictor.get_predictions`.
        options: how.
        progress: told of tiles and of what is worth a line; asked for `cancelled` between tiles.

    Raises as `Predictor.get_predictions`; also where the one file that was named cannot be done.
    """
    jobs, finished, unreadable = [], [], []
    works: dict[type[Job], _Work] = {}
    report = Report(progress)
    for kind, find in ((Job, _find_pictures), (ClipJob, _find_clips)):
        found, broken, works[kind] = find(inputs, output, model, options, report)
        todo, done = split_finished(found, options)
        jobs += todo
        finished += done
        unreadable += broken
    if not (jobs or finished or unreadable):
        known = ", ".join(sorted(READABLE | VIDEO_SUFFIXES | ANIMATION_SUFFIXES))
        raise RequestError(
            f"{inputs[0]}: no pictures and no clips in this folder (files that end in {known})"
        )
    alone = len(jobs) + len(finished) == 1 and not unreadable and (jobs + finished)[0].named
    for source, error in unreadable:
        yield Outcome(source, None, "failed", str(error))
    for job in finished:
        yield Outcome(job.source, job.target, "skipped")

    journals = {folder: Journal(folder) for folder in {job.journal for job in jobs}}
    try:
        for job in jobs:
            check_cancelled(progress)
            started = time.monotonic()
            work = works[type(job)]
            try:
                picture = None if isinstance(job, ClipJob) else _read(job, options)
                if not work.begun:
                    # Only now: a first file that is broken is said before Keras is imported.
                    own = [other for other in jobs if type(other) is type(job)]
                    try:
                        work.begin(own)
                    except ISRError as error:
                        raise _Hopeless from error
                    for other in own:
                        # That these files are ours, should the process be killed before they have a record.
                        journals[other.journal].put(other.target, STARTED)
                    for journal in journals.values():
                        journal.flush()
                    started = time.monotonic()  # opening the networks is no work of this picture
                warning = ""
                if isinstance(job, ClipJob):
                    warning = work.make_clip(job)
                else:
                    assert picture is not None
                    sr = replace(picture, pixels=work.upscale(job, picture.pixels))
                try:
                    if not isinstance(job, ClipJob):
                        write(job.target, sr, quality=options.quality, strip_metadata=options.strip_metadata)
                    journals[job.journal].put(job.target, finished_record(job))
                except MachineError as error:
                    raise _Hopeless from error  # a disk that is full
            except _Hopeless as error:
                assert error.__cause__ is not None
                raise error.__cause__ from None
            except (ISRError, MemoryError) as error:
                if alone or isinstance(error, Cancelled):
                    raise
                yield Outcome(job.source, job.target, "failed", _line(job.source, error))
                continue
            yield work.outcome(job, time.monotonic() - started, warning)
    finally:
        for journal in journals.values():
            journal.flush_if_possible()


def _find_pictures(
    inputs: Sequence[Path], output: Path | None, model: Source, options: PredictOptions, report: Report
) -> tuple[list[Job], list[tuple[Path, ISRError]], _Work]:
    """The pictures of a request, those that cannot be read, and what works on them."""
    clips = networks_of(model, video=True, engine=options.runs_on)
    pictures = [
        path
        for path in inputs
        if not is_clip_input(path, clips, output)
        and (not path.is_dir() or any(True for _ in pictures_of(path)))
    ]
    if not pictures:
        return [], [], _Work({}, options.target, options, report)
    networks = networks_of(model, engine=options.runs_on)
    target = options.target.or_scale(default_scale(model, networks))
    jobs, unreadable = find_jobs(pictures, output, networks, target, options, several=len(inputs) > 1)
    return jobs, unreadable, _Work(networks, target, options, report)


def _find_clips(
    inputs: Sequence[Path], output: Path | None, model: Source, options: PredictOptions, report: Report
) -> tuple[list[ClipJob], list[tuple[Path, ISRError]], _Work]:
    """The clips of a request, those that cannot be read, and what works on them."""
    networks = networks_of(model, video=True, engine=options.runs_on)
    target = options.target.or_scale(default_scale(model, networks))
    clips = [path for path in inputs if path.is_dir() or is_clip_input(path, networks, output)]
    jobs, unreadable = find_clips(clips, output, networks, target, options, several=len(inputs) > 1)
    return jobs, unreadable, _Work(networks, target, options, report)


class _Hopeless(Exception):
    """Its cause would befall every other file too."""


def _read(job: Job, options: PredictOptions) -> Picture:
    size = f"{job.route.size[1]}x{job.route.size[0]}"
    check_memory(job.bytes_needed, f"{job.source}: a result of {size} pixels")
    picture = read(job.source, max_pixels=options.max_pixels)
    if picture.pixels.shape != (job.info.height, job.info.width, job.info.channels):
        raise ISRError(f"{job.source}: the file was changed while this ran; run it again")
    return picture


class _Work:
    """The networks at work on one job after another."""

    def __init__(self, networks: Networks, target: Target, options: PredictOptions, report: Report) -> None:
        self.networks = networks
        self.target = target
        self.options = options
        self.report = report
        self.begun = False
        self.device = ""
        self._precision = ""
        self._said: set[str] = set()

    def begin(self, jobs: Sequence[Job]) -> None:
        """Choose the device, open the networks, and plan the tiles of all jobs."""
        used = {scale: self.networks[scale] for job in jobs for scale in job.route.stages}
        if any(network.engine in BACKENDS for network in used.values()):
            from isr.runtimes.devices import use_device

            self.device = use_device(self.options.device)
        elif used:
            self.device = "CPU"
        for scale, precision in {(s, job.record["precision"]) for job in jobs for s in job.route.stages}:
            used[scale].open(supported_precision(precision, self.device)[0], self.report)
        areas = [area for job in jobs if not isinstance(job, ClipJob) for area in self._areas(job)]
        self.report.begin(areas, max(job.bytes_needed for job in jobs))
        self.begun = True

    def upscale(self, job: Job, pixels: np.ndarray) -> np.ndarray:
        """The result of a job; raises as `isr.upscale`."""
        self._prepare(job)
        self.report.enter(self._areas(job))
        try:
            return upscale_along(
                job.route, pixels, self.networks, self.options.tiles, self._precision, self.report
            )
        finally:
            self.report.leave()

    def make_clip(self, job: ClipJob) -> str:
        """Make a clip, whole; what of the source was damaged, or nothing. Raises as `upscale_clip`."""
        self._prepare(job)
        replaced = upscale_clip(job, self.networks, self._precision, self.report.progress)
        damage = []
        if replaced:
            some = ", ".join(map(str, replaced[:5])) + (" ..." if len(replaced) > 5 else "")
            damage.append(f"{len(replaced)} frames could not be decoded and repeat their neighbours ({some})")
        if job.info.truncated:
            damage.append(
                f"the file is cut off; the result ends where it does, after {job.info.frames} frames"
            )
        return f"{job.source}: {'; '.join(damage)}" if damage else ""

    def _prepare(self, job: Job) -> None:
        """Settle the precision of a job, and say what is worth a line."""
        precision, lines = job.record["precision"], [job.route.describe(), job.message()]
        if job.route.stages:
            asked = self.options.precision
            _, why_not = precision_along(job.route, self.networks, asked, job.info.dtype)
            precision, why_not_here = supported_precision(precision, self.device)
            lines += [why_not, "" if asked in ("auto", "fast") else why_not_here]
        width, height = job.size_in
        if self.target.changes_aspect(height, width):
            lines.append(
                f"{width}x{height} becomes {job.route.size[1]}x{job.route.size[0]}: the aspect changes"
            )
        for line in lines:
            if line and line not in self._said:  # once, not for every file of a folder
                self._said.add(line)
                self.report.message(line)
        self._precision = precision

    def outcome(self, job: Job, seconds: float, warning: str = "") -> Outcome:
        """What is told of a job that is written."""
        height, width = job.route.size
        used = [self.networks[scale] for scale in job.route.stages]
        return Outcome(
            job.source,
            job.target,
            "written",
            warning=warning,
            frames=len(job.frames) if isinstance(job, ClipJob) else None,
            size_in=job.size_in,
            size_out=(width, height),
            networks=tuple(network.name for network in used),
            device=self.device if job.route.stages else "",
            engine=", ".join(dict.fromkeys(filter(None, (n.engine for n in used)))),
            precision=", ".join(dict.fromkeys(n.computed_in(self._precision) for n in used if n.engine)),
            seconds=seconds,
        )

    def _areas(self, job: Job) -> list[int]:
        """The input pixels of every tile of a job."""
        height, width, areas = job.info.height, job.info.width, []
        for scale in job.route.stages:
            spec = self.networks[scale].spec
            alpha = job.info.channels in (2, 4) and job.info.channels != spec.num_channels
            tiles = plan_tiles(height, width, spec, self.options.tiles, scale)
            rows, columns = tiles[0].rows, tiles[0].columns
            areas += [(rows.stop - rows.start) * (columns.stop - columns.start)] * len(tiles) * (1 + alpha)
            height, width = height * scale, width * scale
        return areas


def _line(source: Path, error: BaseException) -> str:
    """One line that names the file."""
    text = str(error) or "not enough memory"
    return text if text.startswith(str(source)) else f"{source}: {text}"
