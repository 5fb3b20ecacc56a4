"""Options that have one name and one meaning in several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isr.errors import RequestError

Preset = Annotated[
    str | None, typer.Option("--preset", help="Name or folder of a preset; `isr models` lists the names.")
]
Weights = Annotated[Path | None, typer.Option("--weights", help="A preset folder or a .keras file.")]
Denoise = Annotated[
    str | None,
    typer.Option(
        "--denoise", metavar="D|auto", help="Of presets for real photographs, 0 to 1; auto: by each picture."
    ),
]
Texture = Annotated[
    float | None, typer.Option("--texture", help="Of presets for real photographs, 0 to 1; default: 0.")
]
Device = Annotated[str | None, typer.Option("--device", help="cpu, gpu, gpu:0, ...")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no messages on stderr, except errors.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")]


def output(help: str) -> Any:
    """Declare `--output PATH`, or `-o PATH`."""
    return typer.Option("--output", "-o", help=help)


def setting(help: str) -> Any:
    """Declare `--set KEY=VALUE`, which a command may be given several times."""
    return typer.Option("--set", metavar="KEY=VALUE", help=f"{help}; repeatable.")


def check_cluster(cluster: str | None, workers: int | None) -> None:
    """Check what `--cluster` and `--workers` say.

    Raises:
        RequestError: it is no cluster.
    """
    if cluster not in (None, "ray"):
        raise RequestError(f"--cluster {cluster}: it is ray")
    if workers is not None and (cluster is None or workers < 1):
        raise RequestError("--workers: at least 1, and only with --cluster ray")
