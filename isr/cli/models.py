"""`isr models`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from isr import presets

COLUMNS = ("name", "model", "scale", "parameters", "val_psnr_y", "over_bicubic", "licence", "default")


def models(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the presets that ship with the package: one line each, tab-separated when not on a terminal."""
    rows = [presets.describe(name) for name in presets.shipped()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    cells = [[str(row[column]) for column in COLUMNS] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            typer.echo("\t".join(row))
        return
    table = [list(COLUMNS), *cells]
    widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
    for row in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
