"""The looks of the page: what each is by the name that `isr predict --preset` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isr import presets
from isr.predict.source import BICUBIC

LOOK = "look"
# For each, what is named, by the largest factor that it is for; nothing where the package is to choose.
LOOKS: dict[str, dict[int, str]] = {
    "best": {},
    "quick": {2: presets.FAST},
    "live": {2: "live_x2"},
    "classic": {2: "aplus_x2", 3: "aplus_x3", 4: "aplus_x4"},
    "plain": {2: BICUBIC},
}


def sources_of(values: Mapping[str, Any]) -> list[str]:
    """Name the networks that are asked for, as `PredictRequest.sources` has them.

    Args:
        values: fields of a request by their dotted names, and a `look`, which stands for a network by the scale.

    Returns:
        The names; none where the package is to choose.
    """
    if values.get("sources") or values.get(LOOK) is None:
        return list(values.get("sources") or [])
    scale = 2 if values.get("options.size") is not None else values.get("options.scale") or 2
    names = LOOKS[values[LOOK]]
    return [name for most, name in names.items() if scale <= most or most == max(names)][:1]


def look_of(network: str) -> str:
    """Tell whose look a network is, by its name; empty where it is none's."""
    by_scale = presets.BY_SCALE
    own = {name: look for look, names in LOOKS.items() for name in names.values()}
    own |= {name: "best" for use in by_scale for name in by_scale[use].values()}
    own |= dict.fromkeys(by_scale[presets.FAST].values(), "quick")
    return own.get(network, "")
