"""`isr config`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from isr import presets


def config(
    name: Annotated[
        str | None,
        typer.Argument(help="Name or folder of a preset; without it, the default configuration is printed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a commented configuration for `isr train`.

    Without a name it is the default one, otherwise the recipe that the preset was trained with.
    """
    # Pydantic takes its time; `isr --help` does without.
    from isr import config as configuration

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
