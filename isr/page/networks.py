"""Networks of the reader's own: folders of presets below the roots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isr import presets
from isr.errors import RequestError
from isr.page.reasons import key
from isr.page.roots import Roots
from isr.predict.source import Network
from isr.presets.corners import CLEAN, TEXTURED

WEIGHTS = ".safetensors"
# What can be turned, and the corner of a preset that it needs.
KNOBS = {"denoise": CLEAN, "texture": TEXTURED}
MOST_FILES = 1000  # in the folder of a preset


def check_network(source: str, roots: Roots | None) -> Network:
    """Find a network as `isr predict --preset FOLDER` does, in the roots alone.

    Args:
        source: the absolute path of a preset's folder.
        roots: that it, and every file in it, must lie in; None: there are none.

    Raises RequestError where it is none, or leads out of the roots.
    """
    folder = Path(source)
    if roots is None or not folder.is_absolute():
        raise RequestError(f"{source!r}: no network of that name ships; `isr models` lists them")
    try:
        # Before anything is read.
        inside = roots.holds(folder / presets.CONFIG) and folder.is_dir()
        files = (
            [path for path, _ in zip(folder.rglob("*"), range(MOST_FILES), strict=False)] if inside else []
        )
    except (OSError, ValueError, RuntimeError):
        inside, files = False, []
    if not inside or not all(map(roots.holds, files)):
        raise RequestError(key("networkOutside"))
    network = Network(folder)
    corners = presets.read_config(folder).get("corners", {})
    for name in corners.values() if isinstance(corners, dict) else ():
        if str(name).endswith(WEIGHTS) and not roots.holds(folder / str(name)):
            raise RequestError(key("networkOutside"))
    return network


def knobs_of(folder: Path) -> list[str]:
    """Name what can be turned of a preset; raises as `presets.read_config`."""
    corners = presets.read_config(folder).get("corners", {})
    return [knob for knob, corner in KNOBS.items() if corner in corners]


def networks_in(folder: Path, roots: Roots) -> list[dict[str, Any]]:
    """List the networks that are a folder, or folders in it.

    Returns:
        A row for each: its `path`, `name`, `model`, the `scales` that it enlarges by, and the `knobs` that it has.
    """
    rows = []
    for path in [folder / presets.CONFIG, *sorted(folder.glob(f"*/{presets.CONFIG}"))]:
        try:
            network = check_network(str(path.parent), roots)
            model = str(presets.read_config(path.parent)["model"])
        except (RequestError, KeyError, TypeError, ValueError, AttributeError):
            continue
        rows.append(
            {
                "path": str(path.parent),
                "name": network.name,
                "model": model,
                "scales": list(network.scales),
                "knobs": knobs_of(path.parent),
            }
        )
    return rows
