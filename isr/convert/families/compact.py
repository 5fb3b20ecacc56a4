"""Compact, the small network of Real-ESRGAN, in its authors' names: SRVGGNetCompact."""

from __future__ import annotations

import math

from isr.convert.family import Family, Plan, Tensors, inputs, outputs

COMPACT = {
    "head": "body.0",
    "conv{i}": "body.{2i+2}",
    "prelu{i}": "body.{2i+1}",
}


def is_compact(tensors: Tensors) -> bool:
    """Tell whether plain convolutions alternate with PReLUs, whose weights have one dimension."""
    first, second = tensors.get("body.0.weight"), tensors.get("body.1.weight")
    return first is not None and second is not None and first.ndim == 4 and second.ndim == 1


def compact_plan(tensors: Tensors) -> Plan:
    """Read the plan; there is a PReLU behind every convolution but the last."""
    slopes = [name for name, value in tensors.items() if name.endswith(".weight") and value.ndim == 1]
    last = 2 * len(slopes)
    channels = inputs(tensors, "body.0")
    scale = math.isqrt(outputs(tensors, f"body.{last}") // channels)
    taken = {
        "scale": scale,
        "num_features": outputs(tensors, "body.0"),
        "num_convs": len(slopes) - 1,
        "num_channels": channels,
    }
    assumed = {"pixel_mean": 0.0, "pixel_range": 1.0}
    return Plan("Compact", taken, assumed, shuffles={"tail": scale}, layers={"tail": f"body.{last}"})


FAMILIES = (Family("SRVGGNetCompact", is_compact, compact_plan, COMPACT),)
