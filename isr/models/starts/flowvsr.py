"""How FlowVSR begins: as its base, or with the flow and the fusion of another one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keras import ops

from isr.models.flowvsr import FlowVSR
from isr.models.starts import adopt, interpolate


@interpolate.register(FlowVSR)
def interpolate_flowvsr(model: FlowVSR) -> None:
    """Let the fusion add nothing, and a base of random weights interpolate; a trained base stays as it is."""
    if not model.base_has_weights:
        interpolate(model.enlarge)
    for weight in (model.last.kernel, model.last.bias):
        weight.assign(ops.zeros(weight.shape))


@adopt.register(FlowVSR)
def adopt_flowvsr(model: FlowVSR, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over the weights of another one, but for a base that came with its own.

    Where the other's fusion has another shape, the model keeps its own, and takes the flow alone.
    """
    own = {name: np.asarray(variable) for name, variable in model.named_weights().items()}
    keeps = ["base"] if model.base_has_weights else []
    if any(
        name not in values or values[name].shape != value.shape
        for name, value in own.items()
        if part(name) == "fusion"
    ):
        keeps.append("fusion")
    kept = {name: value for name, value in own.items() if part(name) in keeps}
    taken = {name: value for name, value in values.items() if part(name) not in keeps}
    model.load_named_weights({**taken, **kept}, source)
    return list(kept)


def part(name: str) -> str:
    """Tell which part of the network a weight belongs to: "base", "flow" or "fusion"."""
    first = name.split("/")[0]
    return first if first in ("base", "flow") else "fusion"
