"""`isr config`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from isr import presets


def config(
    name: Annotated[
        str | None, typer.Argument(help="A preset or its folder; without it, the default configuration.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print the commented default configuration of `isr train`, or the recipe that trained a preset."""
    from isr import config as configuration  # pydantic takes its time; `isr --help` does without

    if name is None:
        default = configuration.TrainConfig()
        text = default.model_dump_json(indent=2) if as_json else configuration.to_yaml(default).rstrip("\n")
    else:
        folder = presets.find(name)
        recipe = folder / presets.RECIPE
        if recipe.is_file() and not as_json:
            text = recipe.read_text(encoding="utf-8").rstrip("\n")
        elif recipe.is_file():
            text = configuration.load(recipe).model_dump_json(indent=2)
        else:
            text = json.dumps(presets.read_config(folder), indent=2)
    typer.echo(text)
