"""How TensorFlow works through an image in a deformable convolution: what it holds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Strips:
    """How TensorFlow works through an image: strips of pixels whose samples are held at a time.

    Attributes:
        megabytes: of samples in one strip; None: no strips, as on other backends, and no gradient of our own.
        in_flight: strips worked on at a time.
        compiled: whether XLA compiles the sampling, once per shape; None: where height and width are known when the
            graph is traced, no GPU is there, and the image is not tiny.
    """

    megabytes: float | None = 7.0
    in_flight: int = 2
    compiled: bool | None = None


CURRENT = ContextVar("strips", default=Strips())  # noqa: B039  it is frozen


@contextmanager
def strips(**changes: Any) -> Iterator[None]:
    """Change how TensorFlow works through the images of the layers that are called, or traced, inside.

    Args:
        changes: attributes of `Strips`. `megabytes=2, in_flight=1` needs the least memory; `compiled=False` keeps
            XLA out of graphs that are exported, `megabytes=None` loops too.
    """
    token = CURRENT.set(replace(CURRENT.get(), **changes))
    try:
        yield
    finally:
        CURRENT.reset(token)
