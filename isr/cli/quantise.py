"""`isr quantise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isr.cli.terminal import terminal
from isr.errors import RequestError

SIDE = 96  # input pixels of the part of a photograph that is looked at


def quantise(
    preset: Annotated[
        Path, typer.Argument(metavar="PRESET", help="Folder of a preset, such as best/ of a training run.")
    ],
    photos: Annotated[
        Path,
        typer.Option("--photos", help="Folder with some dozens of photographs, like those you will enlarge."),
    ],
    count: Annotated[int, typer.Option("--count", min=1, help="How many of the photographs to use.")] = 60,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an 8-bit variant that exists.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress and no messages on stderr, except errors.")
    ] = False,
) -> None:
    """Make the 8-bit variant of a preset, for `isr predict --fast`.

    It goes into int8/ of the preset's folder. Prints the file.
    """
    from isr import presets
    from isr.data.pairs import find_pairs
    from isr.imresize import imresize
    from isr.io.pictures import read
    from isr.levels import to_float
    from isr.runtimes.devices import import_keras

    folder = presets.find(preset)
    scale = presets.scales(preset)[0]
    import_keras()
    from isr.models.loading import load
    from isr.runtimes.int8 import calibrate, save

    if presets.variant(folder).exists() and not overwrite:
        raise RequestError(f"{presets.variant(folder)}: exists; give --overwrite to replace it")
    model = load(folder)
    files = find_pairs(photos, None, scale)
    files = files[:: -(-len(files) // count)]
    pictures = []
    for file in files:
        hr = read(file.hr).pixels[..., : model.num_channels]
        sides = [min(side, SIDE * scale) // scale * scale for side in hr.shape[:2]]
        top, left = ((whole - side) // 2 for whole, side in zip(hr.shape[:2], sides, strict=True))
        part = hr[top : top + sides[0], left : left + sides[1]]
        pictures.append(to_float(imresize(part, scale=1 / scale)))
    with terminal(quiet) as progress:
        made = save(calibrate(model, pictures, progress), folder)
    typer.echo(made)
