"""`isr page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def page(
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root", metavar="FOLDER", help="A folder that the page may read and write; repeatable."
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The next free one is taken.")] = 7860,
    host: Annotated[
        str, typer.Option("--host", help="0.0.0.0 opens the page to the network, which must be trusted.")
    ] = "127.0.0.1",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    watch: Annotated[
        Path | None, typer.Option("--watch", metavar="FOLDER", help="What lands here is made larger.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", metavar="FOLDER", help="Results of --watch; default: beside it, FOLDER_larger."
        ),
    ] = None,
) -> None:
    """Open a page in the browser where photos and videos are made larger.

    Everything stays on this computer.
    """
    from isr.page import serve

    serve(root or [], host=host, port=port, browser=not no_browser, watch=watch, into=into, say=typer.echo)
