"""`isr engines`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def engines(
    clear: Annotated[bool, typer.Option("--clear", help="Delete the converted networks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the engines that can run networks, and which one `auto` takes.

    Also prints the GPUs that an engine finds by itself, and where converted networks are kept.
    """
    from isr.runtimes.engines import ENGINES, backend, fastest
    from isr.runtimes.engines.cache import cache_folder, cache_size, clear_cache

    folder = cache_folder()
    if clear:
        typer.echo(f"{folder}: {clear_cache() / 1e6:.1f} MB removed")
        return
    rows: list[dict[str, Any]] = [
        {
            "name": engine.name,
            "version": engine.version if engine.installed else "",
            "precisions": list(engine.precisions),
            "install": f"pip install 'keras-isr[{engine.name}]'",
            "auto": engine.name == fastest(),
            "devices": engine.devices,
        }
        for engine in ENGINES.values()
    ]
    rows.insert(
        0,
        {
            "name": backend(),
            "version": "Keras' own backend",
            "precisions": ["float32", "bfloat16"],
            "install": "",
            "auto": backend() == fastest(),
            "devices": [],
        },
    )
    kept: dict[str, Any] = {"folder": str(folder), "bytes": cache_size()}
    if as_json:
        typer.echo(json.dumps({"engines": rows, "cache": kept}, indent=2))
        return
    for row in rows:
        state = row["version"] or f"not installed: {row['install']}"
        mark = "  (auto, for photographs)" if row["auto"] else ""
        typer.echo(f"{row['name']:<12} {state:<44} {', '.join(row['precisions'])}{mark}")
        for number, device in enumerate(row["devices"]):
            typer.echo(f"{'':<12} --device gpu:{number}: {device}")
    typer.echo(
        f"converted networks: {kept['folder']}, {kept['bytes'] / 1e6:.1f} MB ($ISR_CACHE names another folder)"
    )
