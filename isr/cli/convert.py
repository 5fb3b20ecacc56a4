"""`isr convert`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from isr.cli.options import Quiet, output, setting
from isr.cli.terminal import terminal
from isr.errors import RequestError


def convert(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Published weights: .pth, .pt, .ckpt, .safetensors, .hdf5, .h5, or .param with its .bin.",
        ),
    ],
    output: Annotated[
        Path | None,
        output("Folder of the preset; default: named after the file, in the current folder."),
    ] = None,
    settings: Annotated[
        list[str] | None, setting("A setting that is not in the file, such as res_scale=0.1")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Turn weights that others published into a preset.

    No code in the file is run. Prints the folder.
    """
    target = output or Path(file.stem)
    if target.exists():
        raise RequestError(f"{target}: exists already; give another folder with --output")
    from isr.runtimes.devices import import_keras

    import_keras()
    from isr import convert as converting
    from isr import presets
    from isr.config import parse_setting

    with terminal(quiet) as progress:
        conversion = converting.convert(file, dict(map(parse_setting, settings or ())))
        checkpoint = conversion.checkpoint
        wrapped = f", in {', '.join(checkpoint.wrappers)}" if checkpoint.wrappers else ""
        progress.message(f"{file}: {checkpoint.format}{wrapped}")
        name, parameters = type(conversion.model).__name__, conversion.model.count_params()
        progress.message(f"recognised as {conversion.family}: {name}, {parameters:,} parameters")
        for what, arguments in (("from the file", conversion.taken), ("assumed", conversion.assumed)):
            if arguments:
                progress.message(f"{what}: {', '.join(f'{key}={value}' for key, value in arguments.items())}")
        hashed = re.search(r"-([0-9a-f]{8})$", file.stem)
        if hashed and not conversion.sha256.startswith(hashed[1]):
            progress.message(
                f"note: the name ends with {hashed[1]}, the SHA-256 begins with {conversion.sha256[:8]}; if the name "
                "is a checksum, the file is not the published one"
            )
        cost = converting.save(conversion, target, progress)
        taken = "bfloat16" if presets.suits_bfloat16(target) else "float32"
        progress.message(
            f"bfloat16 costs {cost['psnr_loss']:.3f} dB and {cost['levels']:.1f} levels of 255 at most: "
            f"auto computes in {taken}"
        )
    typer.echo(target)
