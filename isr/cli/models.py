"""`isr models`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from isr import presets


def models(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the networks, and the presets with their weights: one line each, tab-separated when not on a terminal."""
    rows = presets.describe()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    cells = [[str(cell) for cell in row.values()] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            typer.echo("\t".join(row))
        return
    table = [list(rows[0]), *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
