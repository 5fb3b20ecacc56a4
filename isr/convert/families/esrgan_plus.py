"""ESRGAN+, a relative of RRDBNet."""

from __future__ import annotations

from isr.convert.family import Family

FAMILIES = (
    Family(
        "ESRGAN+",
        lambda tensors: any(".conv1x1" in name for name in tensors),
        refused="its dense blocks have 1x1 convolutions that RRDBNet lacks",
    ),
)
