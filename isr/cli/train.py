"""`isr train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file; `isr config` prints a commented one.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key, such as data.batch_size=8; repeatable."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train a network, or go on where the run stopped: the same command resumes it."""
    from isr import config as configuration
    from isr.progress import Terminal

    chosen = configuration.load(config, settings or ())
    progress = Terminal(quiet)
    from isr.train import Trainer

    try:
        best = Trainer(chosen, progress=progress).train()
    finally:
        progress.close()
    typer.echo(best)
