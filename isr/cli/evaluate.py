"""`isr evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isr.cli.terminal import terminal
from isr.errors import RequestError

if TYPE_CHECKING:
    from isr.data.degrade import Degradation
    from isr.evaluate import ClipProtocol, ClipTable, Protocol, Table
    from isr.predict.source import Network


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
    preset: Annotated[str | None, typer.Option("--preset", help="Name or folder of a preset.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="A preset folder or a .keras file.")
    ] = None,
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
    degradation: Annotated[
        str | None,
        typer.Option(
            "--degradation",
            help="Clips: how the small versions are made, bi (bicubic, default) or bd (blur).",
        ),
    ] = None,
    skip_frames: Annotated[
        int, typer.Option("--skip-frames", min=0, help="Clips: leave out this many frames at each end.")
    ] = 0,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--beside", metavar="PRESET", help="Clips: a further preset, in a column of its own; repeatable."
        ),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", help="Write the table to this file, .csv or .json; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="tensorflow, openvino, ... (`isr engines`); default: Keras' backend."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, gpu, gpu:0, ...")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress and no messages on stderr, except errors.")
    ] = False,
) -> None:
    """Compare a model with bicubic interpolation, in PSNR and SSIM.

    Prints a table with a line for every picture or clip, and the mean.
    """
    from isr import presets
    from isr.evaluate import ClipProtocol, Protocol, describe_degradation, holds_clips
    from isr.io.files import atomic
    from isr.predict.source import networks_of

    if channel not in ("y", "rgb"):
        raise RequestError(f"--channel {channel}: must be y or rgb")
    if degradation not in (None, "bi", "bd"):
        raise RequestError(f"--degradation {degradation}: must be bi or bd")
    for path in output or ():
        if path.suffix.lower() not in (".csv", ".json"):
            raise RequestError(f"--output {path}: must end with .csv or .json")
    if preset is not None and weights is not None:
        raise RequestError("--preset and --weights: give one of them")
    if degradation is not None and lr is not None:
        raise RequestError("--degradation and --lr: give one of them")

    clips = holds_clips(hr)
    sources = [str(weights or preset or presets.default_for(scale or 2, video=clips)), *(beside or ())]
    networks = [next(iter(networks_of(source, video=True, engine=engine).values())) for source in sources]
    scale = scale or networks[0].scales[0]
    for network in networks:
        if scale not in network.scales:
            raise RequestError(
                f"--scale {scale}: {network.name} enlarges by {', '.join(map(str, network.scales))}"
            )

    run = _Run(precision, engine, self_ensemble, back_projection, device, quiet)
    table: Table | ClipTable
    if clips or any(network.num_frames > 1 for network in networks):
        if scale == 1 and lr is None:
            raise RequestError(f"{networks[0].name}: does not enlarge: give what it is to restore with --lr")
        kind: Degradation = "bd" if degradation == "bd" else "bi"
        origin = describe_degradation(kind, scale) if lr is None else f"given in {lr}"
        protocol = ClipProtocol(scale, channel, border, lr=origin, skip_frames=skip_frames)  # type: ignore[arg-type]
        table = _score_clips(hr, lr, _labelled(sources, networks), kind, protocol, run)
    else:
        for option, given in (
            ("--degradation", degradation),
            ("--skip-frames", skip_frames),
            ("--beside", beside),
        ):
            if given:
                raise RequestError(f"{option}: is for clips, and {hr} is a folder of pictures")
        origin = "MATLAB bicubic, 8 bit" if lr is None else f"given in {lr}"
        table = _score_pictures(hr, lr, networks[0], Protocol(scale, channel, border, lr=origin), run)  # type: ignore[arg-type]
    for path in output or ():
        text = table.to_csv() if path.suffix.lower() == ".csv" else table.to_json()
        with atomic(path) as temporary:
            temporary.write_text(text, "utf-8")
    typer.echo(table.to_json().rstrip("\n") if as_json else table.to_text())


@dataclass(frozen=True)
class _Run:
    """How networks are run."""

    precision: str
    engine: str | None
    self_ensemble: bool
    back_projection: int
    device: str | None
    quiet: bool

    def label(self, name: str) -> str:
        name += " with self-ensemble" if self.self_ensemble else ""
        return name + (f", {self.back_projection} rounds of back projection" if self.back_projection else "")


def _score_pictures(hr: Path, lr: Path | None, network: Network, protocol: Protocol, run: _Run) -> Table:
    from isr.data.pairs import find_pairs
    from isr.evaluate import evaluate, read_pairs
    from isr.predict.picture import TileOptions, enlarge
    from isr.runtimes.devices import use_device
    from isr.runtimes.engines import BACKENDS

    files = find_pairs(hr, lr, protocol.scale)
    if network.engine in BACKENDS:
        use_device(run.device)
    upscaler = network.open(run.precision)
    tiles = TileOptions(self_ensemble=run.self_ensemble, back_projection=run.back_projection)
    with terminal(run.quiet) as progress:
        progress.start("evaluate", len(files), "pictures")
        return evaluate(
            lambda picture: enlarge(upscaler, picture, tiles, scale=protocol.scale),
            read_pairs(files, protocol.scale, upscaler.spec.num_channels),
            protocol,
            model=run.label(network.name),
            progress=progress,
        )


def _score_clips(
    hr: Path,
    lr: Path | None,
    networks: Mapping[str, tuple[str, Network]],
    degradation: Degradation,
    protocol: ClipProtocol,
    run: _Run,
) -> ClipTable:
    """Score `networks`, each a source and what it is, by the names of their columns."""
    from isr.data.clips import find_clips
    from isr.evaluate import count_frames, evaluate_clips, read_clips
    from isr.predict.api import upscale_frames
    from isr.runtimes.devices import use_device
    from isr.runtimes.engines import BACKENDS

    files = find_clips(hr, lr)
    frames = count_frames(files, protocol.skip_frames)
    if any(network.engine in BACKENDS for _, network in networks.values()):
        use_device(run.device)
    channels = {label: network.spec.num_channels for label, (_, network) in networks.items()}
    if len(set(channels.values())) > 1:
        said = ", ".join(f"{label} {count}" for label, count in channels.items())
        raise RequestError(f"--beside: the networks take different numbers of channels: {said}")
    upscalers = {
        run.label(label): partial(
            upscale_frames,
            source,
            scale=protocol.scale,
            self_ensemble=run.self_ensemble,
            back_projection=run.back_projection,
            precision=run.precision,
            engine=run.engine,
        )
        for label, (source, _) in networks.items()
    }
    with terminal(run.quiet) as progress:
        progress.start("evaluate", frames, "frames")
        clips = read_clips(files, protocol.scale, next(iter(channels.values())), degradation)
        return evaluate_clips(upscalers, clips, protocol, progress=progress)


def _labelled(sources: Sequence[str], networks: Sequence[Network]) -> dict[str, tuple[str, Network]]:
    """Sources and networks by the names of their columns: the network's own, or the source where that is taken."""
    from isr.evaluate import BICUBIC

    labelled: dict[str, tuple[str, Network]] = {}
    for source, network in zip(sources, networks, strict=True):
        free = (label for label in (network.name, source) if label not in {BICUBIC, *labelled})
        label = next(free, None)
        if label is None:
            raise RequestError(f"--beside {source}: there is a column of that name already")
        labelled[label] = source, network
    return labelled
