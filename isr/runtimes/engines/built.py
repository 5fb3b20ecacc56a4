"""Networks built in an engine straight from a preset's weights: no Keras, no TensorFlow, no file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isr import presets
from isr.errors import ISRError, RequestError
from isr.runtimes import wirings
from isr.runtimes.eight_bits import read
from isr.runtimes.engines import ENGINES, Session
from isr.runtimes.exported import SessionUpscaler


def open_preset(
    folder: Path,
    engine: str,
    precision: str,
    device: str | None = None,
    mixture: presets.Mixture = presets.ITSELF,
) -> SessionUpscaler | None:
    """Open the network of a preset in an engine.

    Args:
        folder: of the preset.
        engine: one that builds networks.
        precision: one of the engine's.
        device: for an engine that has GPUs; None: the processor.
        mixture: of the preset's corners, which alone have 8 bits.

    Returns:
        The network; None where no wiring serves it.

    Raises:
        RequestError: the weights do not fit the network, or hold values that are no numbers.
        MachineError: the engine or the device is missing.
        ISRError: the engine does not take it.
    """
    config = presets.read_config(folder)
    if wirings.find(config["model"], config["arguments"]) is None:
        return None
    more: dict[str, Any] = {}
    if precision == "int8":
        more["convs"] = read(presets.folder_of(folder, mixture) or folder)
    weights = presets.read_weights(folder, mixture)
    source = str(folder / presets.WEIGHTS)
    return open_weights(folder.name, config, weights, engine, precision, device, source, **more)


def open_weights(
    name: str,
    config: Mapping[str, Any],
    weights: Mapping[str, np.ndarray],
    engine: str,
    precision: str,
    device: str | None = None,
    source: str = "",
    **more: Any,
) -> SessionUpscaler | None:
    """Open the network of a configuration with weights that are at hand.

    Args:
        name: of the network.
        config: with `model` and `arguments`, as in a preset.
        weights: arrays by the names of a preset.
        engine, precision, device: as for `open_preset`.
        source: what errors name; empty: the network.
        more: what the engine's graph takes further.

    Returns and raises as `open_preset`.
    """
    model, arguments = config["model"], config["arguments"]
    if wirings.find(model, arguments) is None:
        return None
    known = ENGINES[engine]
    source = source or name
    network = wirings.Network(model, arguments, weights)
    scales = presets.scales_of(model, arguments)
    try:
        spec = wirings.spec_of(name, model, arguments, scales)
        graphs = {f"x{s}": known.graphs.build(network, s, precision, **more) for s in scales}
    except KeyError as error:
        raise RequestError(f"{source}: {error} is missing; the weights do not fit the network") from None
    except RuntimeError as error:
        raise RequestError(f"{source}: the weights do not fit the network ({_last_line(error)})") from None
    if unknown := sorted(network.weights.keys() - network.used):
        raise RequestError(f"{source}: holds {unknown[0]}, which the network does not have")
    for conv in sorted(network.inner ^ more["convs"].keys()) if "convs" in more else ():
        raise RequestError(
            f"{source}: its 8 bits are of another network, which differs in {conv}; quantise it anew"
        )
    for conv, eight in more.get("convs", {}).items():
        if eight.kernel.shape != network.read(f"{conv}/kernel").shape:
            raise RequestError(f"{source}: its 8 bits have another shape in {conv}; quantise it anew")

    def open(graph: str) -> Session:
        try:
            opened: Session = known.module.session(graphs[graph], **known.on(device))
        except ISRError:
            raise
        except RuntimeError as error:
            raise ISRError(
                f"{spec.name}: {engine} cannot open it in {precision}: {_last_line(error)}"
            ) from error
        del graphs[graph]
        return opened

    upscaler = SessionUpscaler(spec, open)
    if len(scales) == 1:
        upscaler.session(f"x{scales[0]}")  # what fails, fails here
    return upscaler


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
