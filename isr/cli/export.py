"""`isr export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from isr import presets
from isr.cli.options import Preset, Quiet, Texture, Weights, output
from isr.cli.terminal import terminal
from isr.errors import RequestError

# Formats of the bare network, and the engine that opens each.
FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "litert": "litert", "ncnn": "ncnn"}


def export(
    output: Annotated[
        Path,
        output("Folder of the model; a SavedModel's version is a folder in it."),
    ],
    version: Annotated[
        int | None, typer.Option("--version", min=0, help="SavedModel: version number; default: 1.")
    ] = None,
    format: Annotated[
        str,
        typer.Option("--format", help="savedmodel, onnx, openvino, litert or ncnn."),
    ] = "savedmodel",
    precision: Annotated[
        str,
        typer.Option("--precision", help="float32; with openvino also bfloat16 or int8, with ncnn float16."),
    ] = "float32",
    preset: Preset = None,
    weights: Weights = None,
    denoise: Annotated[
        float | None,
        typer.Option("--denoise", help="Of a preset for real photographs, 0 to 1, fixed; default: 1."),
    ] = None,
    texture: Texture = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile",
            help="SavedModel: side in input pixels above which a picture is tiled; default: by the scale.",
        ),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            "--overlap",
            help="SavedModel: input pixels on each side of a tile that its neighbours keep; default: as predict.",
        ),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels", help="SavedModel: the server refuses larger pictures; default: 64 million."
        ),
    ] = None,
    xla: Annotated[
        bool | None,
        typer.Option(
            "--xla/--no-xla",
            help="SavedModel of a video network: compile parts with XLA; the server must have it enabled.",
        ),
    ] = None,
    serving_config: Annotated[
        bool,
        typer.Option(
            "--serving-config",
            help="SavedModel: also write warm-up requests, and the configuration of a server beside --output.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write a model for TensorFlow Serving, or as ONNX, OpenVINO, LiteRT or ncnn files.

    Prints the folder.
    """
    if (preset is None) == (weights is None):
        raise RequestError("--preset and --weights: give one of them")
    if format not in ("savedmodel", *FORMATS):
        raise RequestError(f"--format {format}: must be one of savedmodel, {', '.join(FORMATS)}")
    if format == "savedmodel" and precision != "float32":
        raise RequestError(
            f"--precision {precision}: a SavedModel computes in float32; --format openvino has others"
        )
    limits: dict[str, Any] = {"tile": tile, "overlap": overlap, "max_pixels": max_pixels, "xla": xla}
    given = {name: value for name, value in limits.items() if value is not None}
    if format != "savedmodel" and (given or version is not None or serving_config):
        raise RequestError(
            f"--format {format}: writes the bare network; --version, --tile, --overlap, --max-pixels, --xla and "
            "--serving-config are for a SavedModel"
        )
    mixture = presets.Mixture.of(denoise, texture)
    variant: Path | None = None
    if mixture is not None and weights is not None and weights.suffix == ".keras":
        raise RequestError(
            f"{weights}: has nothing to mix; --denoise and --texture are for presets with corners"
        )
    if mixture is not None:
        folder = presets.find(weights or str(preset))
        presets.weight_files(folder, mixture)
        variant = presets.folder_of(folder, mixture)
        if precision == "int8" and variant is None:
            raise RequestError(
                f"--precision int8: 8 bits exist at corners alone, such as --denoise 1, not at {mixture}"
            )
    from isr.runtimes.devices import import_keras

    import_keras()
    from isr.export import ExportOptions, export_savedmodel
    from isr.models.loading import load

    options = ExportOptions(**given, serving=serving_config)
    source = weights if weights is not None else str(preset)
    model = load(source) if mixture is None else load(source, denoise=denoise, texture=texture)
    if format != "savedmodel":
        from isr.runtimes.eight_bits import read
        from isr.runtimes.engines.conversion import write

        convs = read(variant or presets.find(source)) if precision == "int8" else None
        difference = write(model, output, FORMATS[format], precision, convs)
        with terminal(quiet) as progress:
            progress.message(f"{output}: opened again, at most {difference:.1e} from {model.name}")
        typer.echo(output)
        return
    with terminal(quiet) as progress:
        made = export_savedmodel(
            model, output, 1 if version is None else version, options=options, progress=progress
        )
        progress.message(f"{made.folder}: reloaded, at most {made.difference:.1e} from {model.name}")
        progress.message(f"signatures: {', '.join(made.signatures)}")
    typer.echo(made.folder)
