"""SRVGGNetCompact, the small network of Real-ESRGAN."""

from __future__ import annotations

from isr.convert.family import Family, Tensors


def is_compact(tensors: Tensors) -> bool:
    """Whether plain convolutions alternate with PReLUs, whose weights have one dimension."""
    first, second = tensors.get("body.0.weight"), tensors.get("body.1.weight")
    return first is not None and second is not None and first.ndim == 4 and second.ndim == 1


FAMILIES = (
    Family(
        "SRVGGNetCompact",
        is_compact,
        refused="a small network of Real-ESRGAN for which this package has no counterpart",
    ),
)
