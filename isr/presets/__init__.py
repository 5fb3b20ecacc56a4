"""Presets: the files of their folders, and the index of those that ship. Imports no model.

A preset is a folder with `config.json` (network and arguments), `weights.safetensors`, `recipe.yml` (how it was
trained) and `card.md` (what a user should know). A variant of the weights, such as `int8`, has a folder in it. Some
have corners to mix (`isr.presets.corners`).
`from_preset` of a model takes a name from here or a path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isr.errors import RequestError
from isr.presets.corners import (
    ITSELF,
    Mixture,
    can_mix,
    folder_of,
    has_corners,
    hash_weights,
    read_weights,
    weight_files,
    write_corners,
)
from isr.presets.files import (
    CARD,
    CONFIG,
    INT8,
    RECIPE,
    WEIGHTS,
    SavedAsPreset,
    check_numbers,
    read_config,
    read_safetensors,
    suits_bfloat16,
    variant,
    write_safetensors,
)

__all__ = [
    "ALIASES",
    "CARD",
    "CONFIG",
    "INT8",
    "ITSELF",
    "RECIPE",
    "WEIGHTS",
    "Mixture",
    "SavedAsPreset",
    "can_mix",
    "check_numbers",
    "default_for",
    "default_scales",
    "describe",
    "describe_folder",
    "find",
    "folder_of",
    "has_corners",
    "hash_weights",
    "num_frames",
    "read_config",
    "read_safetensors",
    "read_weights",
    "scales",
    "scales_of",
    "shipped",
    "suits_bfloat16",
    "variant",
    "weight_files",
    "write_corners",
    "write_safetensors",
]

HERE = Path(__file__).parent

# Name and scales; a test holds it to isr.models, which needs Keras to be read.
NETWORKS = {
    "EDSR": (2, 3, 4, 8),
    "MDSR": (2, 3, 4),
    "RDN": (2, 3, 4, 8),
    "RRDN": (2, 3, 4, 8),
    "RRDBNet": (1, 2, 4, 8),
    "Compact": (2, 3, 4),
    "SPAN": (2, 3, 4),
    "TDAN": (2, 3, 4, 8),
    "EDVR": (4,),
    # Those of its base.
    "FlowVSR": (),
    "Cascade": (),
}
# Which preset is meant, by scale: where none is named, for a picture and for the frames of a video, and by two names
# that stay while presets come and go. Of those that take less than a second for a frame of 320x180 pixels
# (docs/video.md), "video" is the best on the validation clips; "best" is what has the highest PSNR on the validation
# photographs (but for 0.009 dB at x4), "best video" on the validation clips, and "fast" what has most of it in a
# fraction of the time. What has none here takes the default's. Networks of several frames enlarge once and need Keras:
# where that does not do, frames go one by one through "frames" or "best". Where corners are mixed, "photo" is meant,
# and nothing else.
DEFAULT, VIDEO, FRAMES, FAST, BEST, BEST_VIDEO, PHOTO = (
    "default",
    "video",
    "frames",
    "fast",
    "best",
    "best video",
    "photo",
)
BY_SCALE: dict[str, dict[int, str]] = {
    DEFAULT: {2: "edsr_baseline_x2", 3: "edsr_baseline_x3", 4: "edsr_baseline_x4"},
    VIDEO: {2: "flowvsr_x2", 4: "flowvsr_x4"},
    FRAMES: {2: "edsr_fast_x2"},
    FAST: {2: "edsr_fast_x2", 3: "edsr_fast_x3", 4: "edsr_fast_x4"},
    BEST: {3: "mdsr_baseline"},
    BEST_VIDEO: {2: "flowvsr_x2", 4: "flowvsr_x4"},
    PHOTO: {2: "photo_x2", 4: "photo_x4"},
}
# What is taken for a video, by what is named: those of several frames, and those for frames one by one.
FOR_VIDEO = {None: (VIDEO, FRAMES), FAST: (FAST, FAST), BEST: (BEST_VIDEO, BEST)}
# Those that can be named.
ALIASES = (FAST, BEST)


COLUMNS = ("name", "model", "scale", "parameters", "val_psnr_y", "over_bicubic", "licence", "default")


def shipped() -> list[str]:
    """Return the names of the presets in the package, sorted."""
    return sorted(folder.name for folder in HERE.iterdir() if (folder / CONFIG).is_file())


def find(preset: str | Path) -> Path:
    """Find the folder of a preset.

    Args:
        preset: a shipped name, or the path of a folder.

    Returns:
        The folder.

    Raises:
        RequestError: there is none; the message lists the names.
    """
    for folder in (HERE / str(preset), Path(preset)):
        if (folder / CONFIG).is_file():
            return folder
    names = ", ".join(shipped()) or "none"
    raise RequestError(
        f"preset {str(preset)!r} is neither a shipped name ({names}) nor a folder with {CONFIG}"
    )


def scales(preset: str | Path) -> tuple[int, ...]:
    """Read the factors that a preset enlarges by off its configuration.

    Raises:
        RequestError: as `find` does, or the arguments are no network's.
    """
    return _scales(find(preset))


def _scales(folder: Path) -> tuple[int, ...]:
    config = read_config(folder)
    try:
        return scales_of(config["model"], config["arguments"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RequestError(f"{folder / CONFIG}: describes no network of this package ({error})") from None


def scales_of(model: str, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Read the factors that a network enlarges by off its arguments, without Keras.

    Args:
        model: name of the class.
        arguments: its constructor's, all of them.

    Returns:
        The factors; the first is the network's default.
    """
    if "models" in arguments:  # a cascade's
        factors = (scales_of(part["model"], part["arguments"])[0] for part in arguments["models"])
        return (math.prod(factors),)
    if "base" in arguments:  # what FlowVSR stands on
        return scales_of(arguments["base"]["model"], arguments["base"]["arguments"])[:1]
    if "scales" in arguments:
        return tuple(int(scale) for scale in arguments["scales"])
    if arguments.get("hr_in"):
        return (1,)
    return (int(arguments["scale"]),) if "scale" in arguments else NETWORKS[model]


def num_frames(preset: str | Path) -> int:
    """Read how many frames a preset takes at once off its configuration; 1 for pictures. Raises as `find`."""
    return frames_of(read_config(find(preset))["arguments"])


def frames_of(arguments: Mapping[str, Any]) -> int:
    """Read how many frames a network takes at once off its arguments: a pass more looks as far again."""
    return int(arguments.get("passes", 1)) * (int(arguments.get("num_frames", 1)) - 1) + 1


def default_scales(use: str = DEFAULT) -> tuple[int, ...]:
    """Return the scales that a preset of a use ships for, smallest first: "default", or "photo", with corners."""
    return tuple(scale for scale, name in sorted(BY_SCALE[use].items()) if (HERE / name / CONFIG).is_file())


def default_for(scale: int, video: bool = False, alias: str | None = None, one_by_one: bool = False) -> str:
    """Return the preset that is taken for a scale when none is named, or by an alias.

    Args:
        scale: what it shall enlarge by.
        video: whether frames of a video are enlarged, and not a picture.
        alias: "fast" or "best"; "photo" where corners are mixed; None: no preset is named.
        one_by_one: whether a video's frames are enlarged one by one, so that networks of several frames will not do.

    Raises:
        RequestError: none ships for the scale.
    """
    uses: tuple[str, ...] = (alias or DEFAULT,)
    if alias != PHOTO:
        uses = (*(FOR_VIDEO[alias][one_by_one:] if video else uses), DEFAULT)
    meant = (BY_SCALE[use].get(scale) for use in uses)
    name = next((name for name in meant if name and (HERE / name / CONFIG).is_file()), None)
    if name is None:
        known = ", ".join(f"x{s}" for s in sorted(BY_SCALE[uses[-1]]))
        raise RequestError(
            f"no shipped preset enlarges by {scale} (there are {known}); give --preset or --weights"
        )
    return name


def describe() -> list[dict[str, Any]]:
    """List what `isr models` prints: the networks, to be trained, then the presets that ship.

    Returns:
        A row for each, by the names of `COLUMNS`.
    """
    rows = [{"name": name, "model": name, "scale": _label(factors)} for name, factors in NETWORKS.items()]
    for name in shipped():
        default = ", ".join(use for use, names in BY_SCALE.items() if name in names.values())
        rows.append({**_facts(HERE / name), "default": default})
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]


def describe_folder(folder: Path) -> list[dict[str, Any]]:
    """List the presets in a folder as `describe` does, by their folders' names."""
    rows = [_facts(path.parent) for path in sorted(folder.glob(f"*/{CONFIG}"))]
    return [{column: row.get(column, "") for column in COLUMNS} for row in rows]


def _facts(folder: Path) -> dict[str, Any]:
    config = read_config(folder)
    own = {"name": folder.name, "model": config["model"], "scale": _label(_scales(folder))}
    return {**own, **config.get("facts", {})}


def _label(factors: tuple[int, ...]) -> str:
    return ",".join(f"x{factor}" for factor in factors)
