"""`isr compare`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from isr.cli.options import Overwrite, Quiet, output
from isr.cli.terminal import terminal
from isr.errors import RequestError

# Of the parts that are chosen: how many, and their side in pixels of the picture.
COUNT, SIDE = 2, 80


def compare(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A picture.")],
    preset: Annotated[
        list[str], typer.Option("--preset", metavar="NAME", help="A preset's name or folder; repeatable.")
    ],
    scale: Annotated[int | None, typer.Option("--scale", help="Factor; default: the first preset's.")] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            "--crop", metavar="WxH+X+Y", help="The part that is shown; default: where results differ most."
        ),
    ] = None,
    denoise: Annotated[
        list[str] | None,
        typer.Option(
            "--denoise", metavar="D|auto", help="Of presets with corners, as of predict; repeatable."
        ),
    ] = None,
    texture: Annotated[list[float] | None, typer.Option("--texture", help="The same.")] = None,
    output: Annotated[Path | None, output("A .png; default: PHOTO_compared.png beside PHOTO.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show parts of a picture by bicubic interpolation and by several presets on one sheet, at 1:1 and 3:1.

    Without --crop all of the picture is enlarged by all presets. A preset with corners is shown at every --denoise
    with every --texture, and where several of both are given, as a grid of rows and columns. Prints the file.
    """
    from isr.data.pairs import as_channels
    from isr.io import pictures
    from isr.predict.api import enlarged_by
    from isr.predict.command import read_denoise
    from isr.predict.crop import check_crop, cropped, parse_crop
    from isr.predict.sheet import differing, sheet
    from isr.predict.source import default_scale, has_corners, networks_of

    path = photo.with_name(f"{photo.stem}_compared.png") if output is None else output
    if path.suffix.lower() != ".png":
        raise RequestError(f"{path}: the sheet is a .png")
    if path.exists() and not overwrite:
        raise RequestError(f"{path}: exists; give --overwrite to replace it")
    if path.exists() and photo.exists() and path.samefile(photo):
        raise RequestError(f"{path}: is PHOTO itself; name another file")
    part = None if crop is None else parse_crop(crop)
    wanted = tuple(map(read_denoise, denoise or ()))
    knobs = list(itertools.product(wanted or (None,), texture or (None,)))
    if (denoise or texture) and not any(map(has_corners, preset)):
        raise RequestError(f"{preset[0]}: has one set of weights; --denoise and --texture need corners")
    scale = scale or default_scale(preset[0], networks_of(preset[0], engine="auto"))
    with terminal(quiet) as progress:
        pixels = pictures.read(photo).pixels
        pixels = as_channels(pixels, 1 if pixels.shape[-1] <= 2 else 3)
        if part is not None:
            check_crop(part, pixels.shape[1], pixels.shape[0], photo, "the picture")
        results = enlarged_by(preset, cropped(pixels, part), scale, knobs, progress)
        most = differing(list(results.values()), scale, SIDE, COUNT)
        crops = most if part is None else [(0, 0, *part[2:])]
        origin = (0, 0) if part is None else part[:2]
        columns = None
        if min(len(wanted), len(texture or ())) > 1:
            # A grid: a row for each denoise, a column for each texture, and below it what has no knobs.
            results = dict(sorted(results.items(), key=lambda result: "texture" not in result[0]))
            columns = len(texture or ())
        pictures.write(path, pictures.Picture(sheet(results, crops, scale, origin, columns)))
    typer.echo(path)
