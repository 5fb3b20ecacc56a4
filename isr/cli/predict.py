"""`isr predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isr.cli.terminal import terminal

if TYPE_CHECKING:
    from isr.predict.predictor import Outcome


def predict(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Pictures, videos, and folders of them.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A folder; or a file, if it ends in .png, .mp4, ... and there is one input. "
            "Default: photo_x2.jpg beside photo.jpg, clip_x2.mp4 beside clip.mp4, photos_x2/ beside photos/.",
        ),
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", help="Factor of the output, such as 2 or 2.5; default: 2.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="WxH", help="Size of the output: 3840x2160; 3840x or x2160 keeps the aspect."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="A preset's name or folder (`isr models` lists the names).")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A preset folder or a .keras file.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server", metavar="URL", help="A model server: grpc://host:8500/edsr, http://host:8501/edsr."
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="png, jpg, ...; mp4, mkv, ...; default: the input's.")
    ] = None,
    quality: Annotated[int, typer.Option("--quality", help="1 to 100, of JPEG, WebP and AVIF.")] = 95,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip what is finished, by the same input, weights and options.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option("--tile", help="Largest side of a tile in input pixels; default: by the scale."),
    ] = None,
    overlap: Annotated[
        str | None,
        typer.Option(
            "--overlap", metavar="N|exact", help="Pixels of a tile that its neighbours keep; default: 12."
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Tiles per call of the network.")] = 1,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Mean over the eight flips and turns; eight times slower.")
    ] = False,
    back_projection: Annotated[
        int,
        typer.Option(
            "--back-projection",
            metavar="N",
            help="Rounds; for pictures shrunk by MATLAB's bicubic rule only.",
        ),
    ] = 0,
    precision: Annotated[
        str,
        typer.Option("--precision", help="auto, float32, bfloat16, int8, or fast: int8 where there is one."),
    ] = "auto",
    fast: Annotated[bool, typer.Option("--fast", help="The same as --precision fast.")] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", help="auto, tensorflow, jax, openvino, onnxruntime, litert (`isr engines`)."
        ),
    ] = "auto",
    device: Annotated[str | None, typer.Option("--device", help="cpu, gpu, gpu:0, ...")] = None,
    strip_metadata: Annotated[
        bool, typer.Option("--strip-metadata", help="Leave out EXIF, XMP, resolution and colour profile.")
    ] = False,
    max_pixels: Annotated[int, typer.Option("--max-pixels", help="Refuse larger inputs.")] = 10**9,
    codec: Annotated[
        str | None,
        typer.Option("--codec", help="Videos: h264, h265, vp9, av1, prores; default: the container's."),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option("--crf", help="Videos: constant quality, smaller is better; default: 17 of h264."),
    ] = None,
    pixel_format: Annotated[
        str | None, typer.Option("--pixel-format", help="Videos: yuv420p, yuv444p, yuv420p10le, ...")
    ] = None,
    start: Annotated[float | None, typer.Option("--start", help="Videos: begin at this second.")] = None,
    duration: Annotated[
        float | None, typer.Option("--duration", help="Videos: stop after these seconds.")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option("--crop", metavar="WxH+X+Y", help="Videos: only this part: width, height, left, top."),
    ] = None,
    scene_cut: Annotated[
        float | None,
        typer.Option(
            "--scene-cut", help="Videos: no window across cuts that score so much, 0 to 1; try 0.08."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no messages on stderr.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what became of each file as JSON.")] = False,
) -> int:
    """Upscale pictures and videos; prints the paths of the files it wrote."""
    from isr.errors import RequestError
    from isr.predict.jobs.clip import parse_crop
    from isr.predict.options import PredictOptions, VideoOptions
    from isr.predict.predictor import predict_files
    from isr.predict.route import Target

    if sum(source is not None for source in (preset, weights, server)) > 1:
        raise RequestError("--preset, --weights and --server: give one of them")
    if fast and precision != "auto":
        raise RequestError("--fast and --precision: give one of them")
    if scale is not None and size is not None:
        raise RequestError("--scale and --size: give one of them")
    if overlap not in ("exact", None) and not overlap.isdecimal():
        raise RequestError(f"--overlap {overlap}: must be 'exact' or a number of pixels")
    options = PredictOptions(
        scale=scale,
        size=None if size is None else Target.parse_size(size).size,
        tile=tile,
        tile_overlap="exact" if overlap == "exact" else None if overlap is None else int(overlap),
        batch=batch,
        self_ensemble=self_ensemble,
        back_projection=back_projection,
        precision="fast" if fast else precision,
        engine=engine,
        device=device,
        format=format,
        quality=quality,
        strip_metadata=strip_metadata,
        overwrite=overwrite,
        resume=resume,
        max_pixels=max_pixels,
        video=VideoOptions(
            codec=codec,
            crf=crf,
            pixel_format=pixel_format,
            start=start,
            duration=duration,
            crop=None if crop is None else parse_crop(crop),
            scene_cut=scene_cut,
        ),
    )
    for path in inputs:
        if not path.exists():
            raise RequestError(f"{path}: no such file or folder: check the spelling of the path")
    model: Any = weights if weights is not None else preset
    if server is not None:
        from isr.runtimes.serving import ServingClient

        model = ServingClient(server)
    outcomes: list[Outcome] = []
    try:
        with terminal(quiet) as progress:
            for outcome in predict_files(inputs, output, model, options, progress):
                outcomes.append(outcome)
                if outcome.status != "failed":
                    progress.message(outcome.describe())
                if outcome.status == "written" and not json:
                    typer.echo(str(outcome.target))
    finally:
        if json:
            typer.echo(_as_json(outcomes))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        typer.echo(f"isr: {len(failed)} of {len(outcomes)} pictures and clips have no result:", err=True)
        for outcome in failed:
            typer.echo(f"  {outcome.error}", err=True)
    damaged = [outcome for outcome in outcomes if outcome.warning]
    if damaged:
        typer.echo("isr: written, but the source is damaged:", err=True)
        for outcome in damaged:
            typer.echo(f"  {outcome.warning}", err=True)
    return 1 if failed or damaged else 0


def _as_json(outcomes: list[Outcome]) -> str:
    import json
    from dataclasses import asdict

    return json.dumps([asdict(outcome) for outcome in outcomes], indent=2, default=str, ensure_ascii=False)
