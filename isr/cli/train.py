"""`isr train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from isr.cli.options import Device, Quiet, check_cluster, output, setting
from isr.cli.terminal import only_results, terminal
from isr.errors import RequestError


def train(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file (YAML); `isr config` prints one with comments."),
    ] = None,
    settings: Annotated[
        list[str] | None, setting("Set a key over the file, such as data.batch_size=8")
    ] = None,
    output: Annotated[
        Path | None, output("Folder of the run; default: the key `run` of the configuration.")
    ] = None,
    device: Device = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", metavar="NAME", help="ray: here, or on the machines of RAY_ADDRESS."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="Processes; default: one a GPU, or one a machine."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a network on your photographs or clips.

    Give the same command again to resume an interrupted run. Prints the folder of the best weights, or of
    the last ones in the stage flow, which PSNR cannot judge.
    """
    from isr import config as configuration

    # JSON text is YAML, whatever the name of the folder.
    run = () if output is None else (f"run={json.dumps(str(output))}",)
    chosen = configuration.load(config, (*(settings or ()), *run))
    if cluster is not None or workers is not None:
        check_cluster(cluster, workers)
        if device is not None:
            raise RequestError("--device: Ray gives the processes their devices; leave it out")
        from isr.cluster.training import train_on_ray

        with only_results() as out, terminal(quiet) as progress:
            best = train_on_ray(chosen, workers, progress)
        typer.echo(best, file=out)
        return
    from isr.runtimes.devices import check_name, import_keras, use_device

    check_name(device)
    import_keras()
    from isr.train import Trainer, ranks

    # JAX meets the other processes before it looks for devices.
    ranks.join()
    name = use_device(device)

    with terminal(quiet) as progress:
        progress.message(f"{chosen.run}: training on {name}, {chosen.precision}")
        best = Trainer(chosen, progress=progress).train()
    typer.echo(best)
