"""RRDBNet, in the three generations of its names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from isr.convert.family import Family, Plan, Tensors, count, has, inputs, outputs

RRDB_NEW = {
    "head": "conv_first",
    "block{b}/dense{r}/conv{c}": "body.{b}.rdb{r+1}.conv{c+1}",
    "block{b}/dense{r}/fusion": "body.{b}.rdb{r+1}.conv5",
    "body_end": "conv_body",
    "up{u}": "conv_up{u+1}",
    "hr_conv": "conv_hr",
    "tail": "conv_last",
}
RRDB_MIDDLE = {
    "head": "conv_first",
    "block{b}/dense{r}/conv{c}": "RRDB_trunk.{b}.RDB{r+1}.conv{c+1}",
    "block{b}/dense{r}/fusion": "RRDB_trunk.{b}.RDB{r+1}.conv5",
    "body_end": "trunk_conv",
    "up{u}": "upconv{u+1}",
    "hr_conv": "HRconv",
    "tail": "conv_last",
}
RRDB_OLD = {
    "head": "model.0",
    "block{b}/dense{r}/conv{c}": "model.1.sub.{b}.RDB{r+1}.conv{c+1}.0",
    "block{b}/dense{r}/fusion": "model.1.sub.{b}.RDB{r+1}.conv5.0",
}


def rrdb_plan(block: str, growth: str) -> Callable[[Tensors], Plan]:
    """Return the plan of an RRDBNet of two up steps.

    The channels of the input tell the factor of the unshuffle, and so the scale.
    """

    def plan(tensors: Tensors) -> Plan:
        channels = outputs(tensors, "conv_last")
        unshuffle = math.isqrt(inputs(tensors, "conv_first") // channels)
        taken = {
            "scale": 4 // unshuffle,
            "num_features": outputs(tensors, "conv_first"),
            "growth": outputs(tensors, growth),
            "num_blocks": count(tensors, block),
            "unshuffle": unshuffle,
            "num_channels": channels,
        }
        return Plan("RRDBNet", taken, {"res_scale": 0.2}, unshuffles={"head": unshuffle})

    return plan


def rrdb_old_plan(tensors: Tensors) -> Plan:
    """Read the plan; each up step takes three numbers: `model.10` is the last convolution at x4."""
    last = max(int(name.split(".")[1]) for name in tensors if re.fullmatch(r"model\.\d+\.weight", name))
    blocks = count(tensors, "model.1.sub.{}.RDB1.conv1.0.weight")
    steps = (last - 4) // 3
    layers = {
        "body_end": f"model.1.sub.{blocks}",
        **{f"up{i}": f"model.{3 + 3 * i}" for i in range(steps)},
        "hr_conv": f"model.{last - 2}",
        "tail": f"model.{last}",
    }
    taken = {
        "scale": 2**steps,
        "num_features": outputs(tensors, "model.0"),
        "growth": outputs(tensors, "model.1.sub.0.RDB1.conv1.0"),
        "num_blocks": blocks,
        "unshuffle": 1,
        "num_channels": outputs(tensors, f"model.{last}"),
    }
    return Plan("RRDBNet", taken, {"res_scale": 0.2}, layers=layers)


FAMILIES = (
    Family(
        "RRDBNet (first ESRGAN names)",
        has("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
        rrdb_old_plan,
        RRDB_OLD,
        after=("ESRGAN+",),
    ),
    Family(
        "RRDBNet (ESRGAN)",
        has("RRDB_trunk.0.RDB1.conv1.weight", "trunk_conv.weight"),
        rrdb_plan("RRDB_trunk.{}.RDB1.conv1.weight", "RRDB_trunk.0.RDB1.conv1"),
        RRDB_MIDDLE,
    ),
    Family(
        "RRDBNet (BasicSR, Real-ESRGAN)",
        has("body.0.rdb1.conv1.weight", "conv_body.weight"),
        rrdb_plan("body.{}.rdb1.conv1.weight", "body.0.rdb1.conv1"),
        RRDB_NEW,
    ),
)
