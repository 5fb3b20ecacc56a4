"""`isr degrade`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isr.cli.options import Overwrite, Quiet, output
from isr.cli.terminal import terminal
from isr.errors import RequestError


def degrade(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A sharp picture.")],
    strength: Annotated[int, typer.Option("--strength", help="1 (light), 2 or 3 (heavy).")] = 2,
    scale: Annotated[
        int, typer.Option("--scale", min=1, help="How many times smaller the result is; 1: as large.")
    ] = 4,
    degradation: Annotated[
        str,
        typer.Option("--degradation", help="real (blur, noise and JPEG), or one of them: blur, noise, jpeg."),
    ] = "real",
    output: Annotated[
        Path | None,
        output("A file or folder; default: PHOTO_real-2_x4.png beside PHOTO."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a photograph small, blurred, noisy and JPEG-compressed, as networks for real photographs are judged on.

    The same photograph gives the same result every time. Prints the file.
    """
    from isr.data.degrade import FixedDegradation
    from isr.data.pairs import as_channels
    from isr.io import pictures

    damage = FixedDegradation(degradation, strength)  # type: ignore[arg-type]
    name = f"{photo.stem}_{damage}_x{scale}.png"
    path = photo.with_name(name) if output is None else output / name if output.is_dir() else output
    if path.exists() and not overwrite:
        raise RequestError(f"{path}: exists; give --overwrite to replace it")
    if path.exists() and photo.exists() and path.samefile(photo):
        raise RequestError(f"{path}: is PHOTO itself; name another file")
    with terminal(quiet) as progress:
        pixels = pictures.read(photo).pixels
        pixels = as_channels(pixels, 1 if pixels.shape[-1] <= 2 else 3)
        height, width = (side // scale * scale for side in pixels.shape[:2])
        if not (height and width):
            raise RequestError(
                f"{photo}: {pixels.shape[1]}x{pixels.shape[0]} pixels are too few for --scale {scale}"
            )
        pictures.write(path, pictures.Picture(damage(pixels[:height, :width], scale)))
        progress.message(damage.describe(scale))
    typer.echo(path)
