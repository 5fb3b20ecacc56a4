"""`isr engines`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from isr.cli.options import Quiet
from isr.cli.terminal import terminal


def engines(
    clear: Annotated[bool, typer.Option("--clear", help="Delete the converted networks.")] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="Measure the engines on this machine first; `auto` and --fast follow."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """List the engines that can run networks, and what `auto` and `--fast` take, and why.

    Also prints the GPUs that an engine finds by itself, and where converted networks are kept.
    """
    from isr.predict import choice
    from isr.runtimes.engines import ENGINES, backend
    from isr.runtimes.engines.cache import cache_folder, cache_size, clear_cache

    folder = cache_folder()
    if clear:
        typer.echo(f"{folder}: {clear_cache() / 1e6:.1f} MB removed")
        return
    if measure:
        with terminal(quiet) as progress:
            choice.measure(progress)
    chosen = {asked: choice.choose_here(asked) for asked in ("auto", "fast")}
    taken = chosen["auto"].engine
    rows: list[dict[str, Any]] = [
        {
            "name": engine.name,
            "version": engine.version if engine.installed else "",
            "precisions": list(engine.precisions),
            "install": f"pip install 'keras-isr[{engine.name}]'",
            "auto": engine.name == taken,
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
            "auto": backend() == taken,
            "devices": [],
        },
    )
    kept: dict[str, Any] = {"folder": str(folder), "bytes": cache_size()}
    paces = choice.measured()
    if as_json:
        ways = {asked: {**asdict(own), "why": own.why} for asked, own in chosen.items()}
        measured = [
            {"engine": engine, "precision": precision, "seconds_per_megapixel": pace}
            for (engine, precision), pace in paces.items()
        ]
        typer.echo(
            json.dumps({"engines": rows, "chosen": ways, "measured": measured, "cache": kept}, indent=2)
        )
        return
    for row in rows:
        state = row["version"] or f"not installed: {row['install']}"
        mark = "  (auto, for photographs)" if row["auto"] else ""
        typer.echo(f"{row['name']:<12} {state:<44} {', '.join(row['precisions'])}{mark}")
        for number, device in enumerate(row["devices"]):
            typer.echo(f"{'':<12} --device gpu:{number}: {device}")
    for asked, own in chosen.items():
        option = "auto" if asked == "auto" else "--fast"
        typer.echo(f"{option}: {own.engine} in {own.precision}, {own.why}")
    for (engine, precision), pace in paces.items():
        typer.echo(f"{'':<12} {engine} in {precision}: {pace:.2f} s per megapixel")
    if not paces:
        typer.echo(f"{'':<12} `isr engines --measure` measures this machine, in a few seconds")
    typer.echo(
        f"converted networks: {kept['folder']}, {kept['bytes'] / 1e6:.1f} MB ($ISR_CACHE names another folder)"
    )
