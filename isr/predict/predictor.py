"""Files and folders of them: planned, upscaled one after another, written whole, resumed where they stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isr.errors import Cancelled, RequestError
from isr.predict.jobs.job import Outcome
from isr.predict.networks import NETWORKS
from isr.predict.options import PredictOptions
from isr.predict.report import Report
from isr.predict.request import Plan, PredictRequest, plan
from isr.predict.speeds import speeds_here
from isr.progress import Progress, Silent, check_cancelled
from isr.spec import Upscaler

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel
    from isr.predict.source import Source


@dataclass
class Predictions:
    """What became of the files of a folder."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def written(self) -> list[Path]:
        """List the files that were made."""
        return [Path(o.target) for o in self.outcomes if o.status == "written" and o.target is not None]

    @property
    def skipped(self) -> list[Path]:
        """List the results that were finished earlier."""
        return [Path(o.target) for o in self.outcomes if o.status == "skipped" and o.target is not None]

    @property
    def failed(self) -> list[tuple[Path, str]]:
        """List the inputs that have no result, each with a line that says why."""
        return [(Path(o.source), o.error) for o in self.outcomes if o.status == "failed"]


class Predictor:
    """Upscale the pictures and clips of a folder and of the folders in it into a mirrored tree.

    Args:
        input_dir: the folder.
        output_dir: made where missing; None: beside `input_dir`, named after it and the scale (`photos_x2`).
        options: how; `PredictOptions()` where None.
        progress: told of every tile; asked for `cancelled` and `paused`.
        changes: fields of `PredictOptions` by name, instead or on top of `options`.

    Raises:
        RequestError: there is no such folder, or an option is out of its range.
        TypeError: an option is unknown.

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

        Raises:
            RequestError: before any work: the folder holds no pictures, weights do not fit, or a result would replace
                a file (`overwrite`, `resume`).
            MachineError: the disk is full. What is finished then is whole.
            Cancelled: the progress asks for it. What is finished then is whole.
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
    """Upscale files and folders of them, and tell what became of each as it is known.

    Everything that can be refused is refused before the first outcome, and before Keras is imported.

    Args:
        inputs: files and folders, at least one.
        output: as of `PredictRequest`.
        model: as of `Predictor.get_predictions`.
        options: how.
        progress: told of tiles and of what is worth a line; asked for `cancelled` between tiles.

    Raises:
        ISRError: as `Predictor.get_predictions`; also where the one file that was named cannot be done.
    """
    sources = () if model is None else (model,)
    yield from run_plan(plan(PredictRequest(tuple(inputs), output, sources, options)), progress)


def run_plan(planned: Plan, progress: Progress) -> Iterator[Outcome]:
    """Run the jobs of a plan in this process, and tell what became of each file as it is known.

    Args:
        planned: by `plan`.
        progress: told of all jobs as one stretch of work, and asked between tiles, frames and files.

    Raises:
        ISRError: that of a file that is all of the plan, or one that would befall every other file too.
        Cancelled: the progress asks for it. What is finished then is whole.
    """
    for source, line in planned.unreadable:
        yield Outcome(source, None, "failed", line)
    for job in planned.finished:
        yield Outcome(job.source, job.target, "skipped")
    report = Report(planned.jobs, progress, speeds_here())
    for job in planned.jobs:
        check_cancelled(report)
        report.enter(job)
        outcome = job.run(NETWORKS, report)
        report.leave()
        if outcome.failure is not None and (planned.alone or outcome.fatal):
            raise outcome.failure
        yield outcome
        if report.finishing and job is not planned.jobs[-1]:
            raise Cancelled("stopped on request, after this file; what was finished is whole")
