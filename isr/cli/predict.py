"""`isr predict`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isr.cli.options import check_cluster
from isr.cli.terminal import only_results, terminal
from isr.predict import command

if TYPE_CHECKING:
    from isr.predict.predictor import Outcome
    from isr.predict.request import Plan, PredictRequest
    from isr.progress import Progress


def predict(**given: Any) -> int:
    """Upscale pictures and videos; prints the paths of the files it wrote."""
    from isr.predict.request import plan

    quiet, as_json, dry_run = (given.pop(name) for name in ("quiet", "json", "dry_run"))
    cluster, workers, as_jobs = (given.pop(name) for name in ("cluster", "workers", "as_jobs"))
    check_cluster(cluster, workers)
    request = request_of(given)
    if as_jobs is not None:
        from isr.cluster.batch import write_jobs

        for path in write_jobs(request, as_jobs):
            typer.echo(str(path))
        return 0
    if request.streams and dry_run:
        from isr.predict.calculation import calculate, lines

        found = calculate(request)
        for line in [_json(found)] if as_json else lines(found):
            typer.echo(line)
        return 0
    if request.streams:
        return carry_out(_stream(request, cluster, workers), quiet, as_json)
    planned = plan(request)
    if dry_run:
        return show_plan(planned, as_json)
    if cluster:
        from isr.cluster.prediction import run_plan_on_ray

        overwrite = request.options.overwrite
        return carry_out(
            lambda progress: run_plan_on_ray(planned, progress, overwrite, workers), quiet, as_json
        )
    from isr.predict.predictor import run_plan

    return carry_out(lambda progress: run_plan(planned, progress), quiet, as_json)


def _stream(
    request: PredictRequest, cluster: str | None, workers: int | None
) -> Callable[[Progress], Iterator[Outcome]]:
    """What makes inputs of object stores and lists."""
    if cluster:
        from isr.cluster.prediction import run_stream_on_ray

        return lambda progress: run_stream_on_ray(request, progress, workers)
    from isr.predict.stream import run_stream

    return lambda progress: run_stream(request, progress)


def request_of(given: dict[str, Any]) -> PredictRequest:
    """Make a request of what the parser made of a command line.

    Args:
        given: `inputs`, and the options by their keys; defaults where they are not on the line.
    """
    from isr.predict.request import request_from

    return request_from({"inputs": tuple(given["inputs"]), **command.values_of(given)})


def carry_out(work: Callable[[Progress], Iterator[Outcome]], quiet: bool, as_json: bool) -> int:
    """Do work on files, tell what becomes of each, and give the exit code."""
    # Of millions of files, those alone are kept that are told at the end.
    made: list[Outcome] = []
    failed: list[str] = []
    damaged: list[str] = []
    count = 0
    try:
        with only_results() as out, terminal(quiet) as progress:
            for outcome in work(progress):
                count += 1
                if as_json:
                    made.append(outcome)
                if outcome.status == "failed":
                    failed.append(outcome.error)
                else:
                    progress.message(outcome.describe())
                if outcome.warning:
                    damaged.append(outcome.warning)
                if outcome.status == "written" and not as_json:
                    typer.echo(str(outcome.target), file=out)
    finally:
        if as_json:
            typer.echo(_json([outcome.to_json() for outcome in made]))
    if failed:
        typer.echo(f"isr: {len(failed)} of {count} pictures and clips have no result:", err=True)
        for line in failed:
            typer.echo(f"  {line}", err=True)
    if damaged:
        typer.echo("isr: written, but the source is damaged:", err=True)
        for line in damaged:
            typer.echo(f"  {line}", err=True)
    return 1 if failed or damaged else 0


def show_plan(planned: Plan, as_json: bool) -> int:
    """Print what would be done, and what it would take; give the exit code that files without a result mean."""
    if as_json:
        typer.echo(_json(planned.describe()))
    else:
        for line in planned.lines():
            typer.echo(line)
    return 1 if planned.unreadable else 0


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)


def _signature() -> inspect.Signature:
    """What the parser is built from: the inputs, the options of a request, and how the command itself speaks."""
    inputs = Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Pictures, videos, and folders of them; s3://..., @list.txt."),
    ]
    own = (
        ("dry_run", "--dry-run", "Print what would be done, and how long it would take; do nothing."),
        ("quiet", "--quiet", "No progress and no messages on stderr, except errors."),
        ("json", "--json", "Print what became of each file as JSON."),
    )
    elsewhere = (
        (
            "cluster",
            "--cluster",
            "NAME",
            str,
            "ray: on all cores of this machine, or on those of RAY_ADDRESS.",
        ),
        ("workers", "--workers", "N", int, "Processes of the cluster; default: one a core."),
        (
            "as_jobs",
            "--as-jobs",
            "FOLDER",
            Path,
            "Write files for Kubernetes and Slurm there that run every shard; do nothing else.",
        ),
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("inputs", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=inputs)]
    for option in command.OPTIONS:
        names = (option.name, option.short) if option.short else (option.name,)
        about = typer.Option(
            *names, help=option.help, metavar=option.unit or None, rich_help_panel=option.panel
        )
        default = command.default_of(option)
        made: Any = option.kind
        made = list[made] if option.many else made
        annotation: Any = Annotated[made if default is not None else made | None, about]
        parameters.append(inspect.Parameter(option.key, keyword, annotation=annotation, default=default))
    for key, name, text in own:
        about = typer.Option(name, help=text, rich_help_panel=command.FILES)
        parameters.append(inspect.Parameter(key, keyword, annotation=Annotated[bool, about], default=False))
    for key, name, unit, kind, text in elsewhere:
        about = typer.Option(name, help=text, metavar=unit, rich_help_panel=command.SPEED)
        value: Any = Annotated[kind | None, about]
        parameters.append(inspect.Parameter(key, keyword, annotation=value, default=None))
    return inspect.Signature(parameters)


# typer reads the options off the signature.
predict.__signature__ = _signature()  # type: ignore[attr-defined]
