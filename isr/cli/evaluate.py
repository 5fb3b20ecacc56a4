"""`isr evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isr.cli.options import Denoise, Device, Preset, Quiet, Texture, Weights, output
from isr.cli.terminal import terminal
from isr.errors import RequestError


def evaluate(
    hr: Annotated[
        Path,
        typer.Option("--hr", help="The originals: a folder of pictures, a video, or a folder of clips."),
    ],
    scale: Annotated[int | None, typer.Option("--scale", help="Factor; default: that of the preset.")] = None,
    lr: Annotated[
        Path | None,
        typer.Option(
            "--lr", help="Their small versions, with matching names; default: made by MATLAB's bicubic rule."
        ),
    ] = None,
    preset: Preset = None,
    weights: Weights = None,
    channel: Annotated[str, typer.Option("--channel", help="What to compare: y (luma) or rgb.")] = "y",
    border: Annotated[
        int | None,
        typer.Option("--border", min=0, help="Pixels to leave out on every side; default: the scale."),
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="float32, bfloat16 or int8.")] = "float32",
    self_ensemble: Annotated[
        bool,
        typer.Option("--self-ensemble", help="Average over the eight flips and turns; eight times slower."),
    ] = False,
    back_projection: Annotated[
        int,
        typer.Option(
            "--back-projection",
            metavar="N",
            help="Rounds of back projection; only for small versions made by MATLAB's bicubic rule.",
        ),
    ] = 0,
    denoise: Denoise = None,
    texture: Texture = None,
    degradation: Annotated[
        str | None,
        typer.Option(
            "--degradation",
            help="How the small versions are made: bicubic, and before or after it blur, noise or jpeg; real: all "
            "of them. Clips also: bi (bicubic) or bd (blur, sub-sampled). Default: bicubic.",
        ),
    ] = None,
    strength: Annotated[
        int | None, typer.Option("--strength", help="Of blur, noise, jpeg and real: 1 to 3; default: 2.")
    ] = None,
    perceptual: Annotated[
        bool,
        typer.Option("--perceptual", help="Pictures: also NIQE, and the distance of VGG19 features."),
    ] = False,
    skip_frames: Annotated[
        int, typer.Option("--skip-frames", min=0, help="Clips: leave out this many frames at each end.")
    ] = 0,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--beside", metavar="PRESET", help="A further preset, in a column of its own; repeatable."
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        output("Write the table to this file, .csv or .json; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="tensorflow, openvino, ... (`isr engines`); default: Keras' backend."),
    ] = None,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Compare a model with bicubic interpolation, in PSNR and SSIM.

    Prints a table with a line for every picture or clip, and the mean.
    """
    for path in output or ():
        if path.suffix.lower() not in (".csv", ".json"):
            raise RequestError(f"--output {path}: must end with .csv or .json")
    if preset is not None and weights is not None:
        raise RequestError("--preset and --weights: give one of them")
    from isr.evaluate import EvaluateOptions, evaluate_files
    from isr.io.files import atomic
    from isr.predict.command import read_denoise

    options = EvaluateOptions(
        scale=scale,
        lr=lr,
        beside=beside or (),
        channel=channel,  # type: ignore[arg-type]
        border=border,
        precision=precision,
        engine=engine,
        device=device,
        self_ensemble=self_ensemble,
        back_projection=back_projection,
        denoise=None if denoise is None else read_denoise(denoise),
        texture=texture,
        degradation=degradation,  # type: ignore[arg-type]
        strength=strength,
        perceptual=perceptual,
        skip_frames=skip_frames,
    )
    with terminal(quiet) as progress:
        table = evaluate_files(hr, weights or preset, options, progress)
    # First: a file that cannot be written costs no figures.
    typer.echo(table.to_json().rstrip("\n") if as_json else table.to_text())
    for path in output or ():
        text = table.to_csv() if path.suffix.lower() == ".csv" else table.to_json()
        with atomic(path) as temporary:
            temporary.write_text(text, "utf-8")
