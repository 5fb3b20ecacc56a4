"""What pictures are computed in: what was asked for, and what network and processor have."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from isr.errors import RequestError
from isr.predict.choice import PRECISIONS, PRECISIONS_OF_KERAS, choose
from isr.runtimes import devices
from isr.runtimes.engines import BACKENDS, ENGINES, backend

if TYPE_CHECKING:
    from isr.predict.source import Network


def check_precision(name: str) -> None:
    """Check the name of a precision.

    Raises:
        RequestError: it is unknown.
    """
    if name not in PRECISIONS:
        raise RequestError(f"precision {name!r} is unknown; it is one of {', '.join(PRECISIONS)}")


def resolve_precision(
    asked: str, dtype: np.dtype[Any], networks: Collection[Network] = ()
) -> tuple[str, str]:
    """Choose the precision of a picture of this dtype, and say why it is not the one asked for ("" where it is).

    Args:
        asked: one of `PRECISIONS`; "auto" and "fast" as of `isr.predict.choice.choose`, where all networks have it.
        dtype: of the picture.
        networks: those that it goes through.

    Raises:
        RequestError: the name is unknown, or a network lacks the precision.
    """
    check_precision(asked)
    networks = [network for network in networks if network.precisions]

    if asked == "float32":
        return asked, ""
    if dtype != np.uint8:
        # bfloat16 has 8 significant bits, fewer than such a picture.
        explicit = asked in ("bfloat16", "int8")
        return "float32", f"{dtype} pixels are computed in float32" if explicit else ""
    if asked in ("auto", "fast"):
        mixed = asked == "fast" and any(network.is_mixed for network in networks)
        why = "8 bits exist at the corners alone, such as denoise 0 or 1: computed without" if mixed else ""
        for purpose in ("fast", "auto") if asked == "fast" else ("auto",):
            found = {network.fastest_precision(purpose) for network in networks}
            found = found or {choose({backend(): PRECISIONS_OF_KERAS}).precision}
            if len(found) == 1:
                return found.pop(), why
        return "float32", why
    for network in networks:
        if asked not in network.precisions:
            raise RequestError(f"{network.name}: {network.lacks(asked)}")
    return asked, ""


def expected_device(asked: str | None, networks: Collection[Network]) -> str:
    """Guess what `use_device` will answer, as far as that is known without a backend: "CPU" or "GPU"."""
    engines = [network.engine for network in networks]
    if any(engine in ENGINES and ENGINES[engine].gpus for engine in engines):
        return "CPU" if asked in (None, "cpu") else "GPU"
    if not any(engine in BACKENDS for engine in engines):
        return "CPU"
    if asked is None:
        return "CPU" if shutil.which("nvidia-smi") is None else "GPU"
    return "CPU" if asked == "cpu" else "GPU"


def supported_precision(precision: str, device: str) -> tuple[str, str]:
    """Choose the precision for a device, as `use_device` calls it, and say why it is not the one asked for."""
    if precision == "bfloat16" and not devices.computes_bfloat16(device):
        return "float32", "this processor has no bfloat16 arithmetic: computed in float32"
    return precision, ""
