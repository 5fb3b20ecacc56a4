"""`isr evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isr.cli.terminal import terminal
from isr.errors import RequestError


def evaluate(
    hr: Annotated[Path, typer.Option("--hr", help="Folder of high-resolution pictures.")],
    scale: Annotated[int | None, typer.Option("--scale", help="Factor; default: the preset's.")] = None,
    lr: Annotated[
        Path | None,
        typer.Option(
            "--lr", help="Folder of given low-resolution partners; default: made by MATLAB's bicubic."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="A preset's name or folder.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A preset folder or a .keras file.")
    ] = None,
    channel: Annotated[str, typer.Option("--channel", help="y or rgb.")] = "y",
    border: Annotated[
        int | None, typer.Option("--border", min=0, help="Pixels left out on every side; default: the scale.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="float32 or bfloat16.")] = "float32",
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Mean over the eight flips and turns; eight times slower.")
    ] = False,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", help="Write the table into a file, .csv or .json; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="cpu, gpu, gpu:0, ...")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no messages on stderr.")] = False,
) -> None:
    """Print PSNR and SSIM of a model beside bicubic, for every picture of a folder and on average."""
    from isr import presets
    from isr.data.pairs import find_pairs
    from isr.io.files import atomic
    from isr.predict.networks import Network

    if channel not in ("y", "rgb"):
        raise RequestError(f"--channel {channel}: must be y or rgb")
    for path in output or ():
        if path.suffix.lower() not in (".csv", ".json"):
            raise RequestError(f"--output {path}: must end with .csv or .json")
    if preset is not None and weights is not None:
        raise RequestError("--preset and --weights: give one of them")
    network = Network(weights or preset or presets.default_for(scale or 2))
    scale = scale or network.scales[0]
    if scale not in network.scales:
        raise RequestError(
            f"--scale {scale}: {network.name} enlarges by {', '.join(map(str, network.scales))}"
        )
    files = find_pairs(hr, lr, scale)

    from isr.runtimes.devices import use_device

    use_device(device)
    from isr.evaluate import Protocol, read_pairs
    from isr.evaluate import evaluate as score
    from isr.predict.image import TileOptions, enlarge

    upscaler = network.open(precision)
    tiles = TileOptions(self_ensemble=self_ensemble)
    origin = "MATLAB bicubic, 8 bit" if lr is None else f"given in {lr}"
    protocol = Protocol(scale, channel, border, lr=origin)  # type: ignore[arg-type]
    with terminal(quiet) as progress:
        progress.start("evaluate", len(files), "pictures")
        table = score(
            lambda picture: enlarge(upscaler, picture, tiles, scale=scale),
            read_pairs(files, scale, upscaler.spec.num_channels),
            protocol,
            model=network.name + (" with self-ensemble" if self_ensemble else ""),
            progress=progress,
        )
    for path in output or ():
        text = table.to_csv() if path.suffix.lower() == ".csv" else table.to_json()
        with atomic(path) as temporary:
            temporary.write_text(text, "utf-8")
    typer.echo(table.to_json().rstrip("\n") if as_json else table.to_text())
