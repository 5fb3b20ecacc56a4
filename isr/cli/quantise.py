"""`isr quantise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isr.cli.options import Quiet, output
from isr.cli.terminal import terminal


def quantise(
    preset: Annotated[
        Path, typer.Argument(metavar="PRESET", help="Folder of a preset, such as best/ of a training run.")
    ],
    photos: Annotated[
        Path,
        typer.Option("--photos", help="Folder with some dozens of photographs, like those you will enlarge."),
    ],
    count: Annotated[int, typer.Option("--count", min=1, help="How many of the photographs to use.")] = 60,
    output: Annotated[
        Path | None,
        output("New folder for a copy of the preset with the variant; default: the folder of PRESET."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an 8-bit variant that exists.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Make the 8-bit variant of a preset, for `isr predict --fast`.

    It goes into int8/ of the preset's folder, or of --output. Prints the file.
    """
    from isr import presets
    from isr.runtimes.devices import import_keras

    # Before Keras, whose import takes seconds.
    presets.find(preset)
    import_keras()
    from isr.runtimes import int8

    with terminal(quiet) as progress:
        made = int8.quantise(
            preset, photos, count=count, output=output, overwrite=overwrite, progress=progress
        )
    typer.echo(made)
