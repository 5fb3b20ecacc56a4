"""`isr models`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from isr import presets
from isr.errors import RequestError
from isr.predict.source import BICUBIC


def models(
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="FOLDER", help="List the presets in this folder instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks and the presets, one per line.

    Tabs separate the fields when the output is not a terminal.
    """
    if folder is not None and not folder.is_dir():
        raise RequestError(f"--dir {folder}: no such folder")
    rows = [*presets.describe(), _bicubic()] if folder is None else presets.describe_folder(folder)
    if not rows:
        raise RequestError(f"--dir {folder}: holds no presets (folders with {presets.CONFIG})")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    cells = [[_text(cell) for cell in row.values()] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            typer.echo("\t".join(row))
        return
    table = [list(rows[0]), *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _text(cell: object) -> str:
    """A cell as text; every figure in dB has two decimals."""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def _bicubic() -> dict[str, Any]:
    """The row of the preset that is no network."""
    known = {"name": BICUBIC, "model": "interpolation", "scale": "any"}
    return {column: known.get(column, "") for column in presets.COLUMNS}
