"""The corners of a preset, several weights of one network, and their linear mixtures. Knows NumPy alone.

A preset's own weights are its corner `restored`. Its `config.json` names the others under `corners`: `clean`, and
perhaps `textured`, each a `.safetensors` file in the folder or the name of a shipped preset of the same network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isr.errors import RequestError
from isr.presets.files import (
    CONFIG,
    WEIGHTS,
    check_numbers,
    read_config,
    read_safetensors,
    write_safetensors,
    write_text,
)

CLEAN, RESTORED, TEXTURED = "clean", "restored", "textured"
CORNERS = (CLEAN, RESTORED, TEXTURED)


@dataclass(frozen=True)
class Mixture:
    """A point between the corners of a preset: `clean + d (restored - clean) + t (textured - restored)`.

    Linear mixtures of networks that were trained one from another are networks between them (deep network
    interpolation, Wang et al., CVPR 2019).

    Attributes:
        denoise: d, 0 to 1.
        texture: t, 0 to 1.

    Raises:
        RequestError: a number is out of its range.
    """

    denoise: float = 1.0
    texture: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("denoise", self.denoise), ("texture", self.texture)):
            if not 0 <= value <= 1:
                raise RequestError(f"{name} {value:g}: must be 0 to 1")
            # So that equal mixtures are equal in a file, too.
            object.__setattr__(self, name, float(value))

    @classmethod
    def of(cls, denoise: float | None, texture: float | None) -> Mixture | None:
        """Make the mixture that is asked for: denoise is 1 and texture 0 where the other is given alone.

        Returns:
            None where neither is given.

        Raises:
            RequestError: a number is out of its range.
        """
        if denoise is None and texture is None:
            return None
        return cls(1.0 if denoise is None else denoise, texture or 0.0)

    def __str__(self) -> str:
        texture = f", texture {self.texture:g}" if self.texture else ""
        return f"denoise {self.denoise:g}{texture}"

    @property
    def parts(self) -> dict[str, float]:
        """Return the corners that it takes, and how much of each; of a corner alone, all."""
        shares = (1 - self.denoise, self.denoise - self.texture, self.texture)
        return {corner: share for corner, share in zip(CORNERS, shares, strict=True) if share}


# What a preset is by itself.
ITSELF = Mixture()


def has_corners(folder: Path) -> bool:
    """Tell whether a preset has corners to mix; raises as `read_config`."""
    return "corners" in read_config(folder)


def can_mix(folder: Path, mixture: Mixture) -> bool:
    """Tell whether a preset has every corner that a mixture takes; raises as `read_config`."""
    corners = read_config(folder).get("corners")
    return isinstance(corners, dict) and all(part == RESTORED or part in corners for part in mixture.parts)


def weight_files(folder: Path, mixture: Mixture = ITSELF) -> tuple[Path, ...]:
    """Find the files that a mixture is made of.

    Args:
        folder: of the preset; one without corners is itself alone.
        mixture: of its corners.

    Returns:
        A file for each of `mixture.parts`.

    Raises:
        RequestError: the preset lacks a corner that the mixture takes, or its configuration cannot be read.
    """
    return tuple(_file(folder, corner) for corner in mixture.parts)


def folder_of(folder: Path, mixture: Mixture = ITSELF) -> Path | None:
    """Find the preset that a mixture is, where it is one corner alone: what it has of 8 bits holds for the mixture.

    Returns:
        The folder; None where weights are mixed, or are those of a file beside others.
    """
    files = weight_files(folder, mixture)
    return files[0].parent if len(files) == 1 and files[0].name == WEIGHTS else None


def read_weights(folder: Path, mixture: Mixture = ITSELF) -> dict[str, np.ndarray]:
    """Read the weights of a preset, mixed of its corners.

    Args:
        folder: of the preset.
        mixture: of its corners; by default the preset's own weights.

    Returns:
        Arrays by name: those of the file, to the bit, where the mixture is one corner; else float32.

    Raises:
        RequestError: a corner is missing, holds values that are no numbers, or is of another network.
    """
    mixed: dict[str, np.ndarray] = {}
    shares = mixture.parts.values()
    for path, share in zip(weight_files(folder, mixture), shares, strict=True):
        arrays = read_safetensors(path)
        check_numbers(arrays, str(path))
        if len(shares) == 1:
            return arrays
        if mixed:
            _check_alike(mixed, arrays, path)
        for name, value in arrays.items():
            part = np.float32(share) * value.astype(np.float32)
            mixed[name] = mixed[name] + part if name in mixed else part
    return mixed


def hash_weights(folder: Path, mixture: Mixture = ITSELF, *further: Path) -> str:
    """Hash the files of a preset's weights and of what they are put into, and how much of each is taken.

    Args:
        folder: of the preset.
        mixture: of its corners.
        further: files that are hashed after these.

    Returns:
        32 hexadecimal digits; of the preset itself those of its files alone.

    Raises:
        RequestError: as `weight_files`.
    """
    digest = hashlib.sha256((folder / CONFIG).read_bytes())
    for path in (*weight_files(folder, mixture), *further):
        digest.update(path.read_bytes())
    if mixture != ITSELF:
        digest.update(json.dumps(mixture.parts).encode())
    return digest.hexdigest()[:32]


def write_corners(
    folder: Path,
    *,
    clean: Mapping[str, np.ndarray] | str,
    textured: Mapping[str, np.ndarray] | str | None = None,
    dtype: str = "float16",
) -> None:
    """Give a preset corners; its own weights, which are written before, become the corner `restored`.

    Args:
        folder: of a preset that exists; corners that it has are replaced.
        clean: the corner for clean pictures: arrays by the names of the preset's own, or a shipped preset's name.
        textured: the corner that invents texture; None: none.
        dtype: what arrays are stored as, "float32" or "float16".

    Raises:
        RequestError: a corner is of another network than the preset; nothing is written then.
        MachineError: a file cannot be written.
    """
    own = read_safetensors(folder / WEIGHTS)
    config = read_config(folder)
    named: dict[str, str] = {}
    stored: dict[Path, dict[str, np.ndarray]] = {}
    for corner, value in ((CLEAN, clean), (TEXTURED, textured)):
        if isinstance(value, str):
            named[corner] = value
            other = _shipped(folder, corner, value, config)
            _check_alike(own, read_safetensors(other), other)
        elif value is not None:
            named[corner] = f"{corner}.safetensors"
            path = folder / named[corner]
            stored[path] = {
                name: np.asarray(each).astype(dtype)
                if np.asarray(each).dtype.kind == "f"
                else np.asarray(each)
                for name, each in value.items()
            }
            check_numbers(stored[path], str(path))
            _check_alike(own, stored[path], path)
    for path, arrays in stored.items():
        write_safetensors(path, arrays)
    text = json.dumps({**config, "corners": named}, indent=2) + "\n"
    write_text(folder / CONFIG, text)


def _file(folder: Path, corner: str) -> Path:
    """Where the weights of a corner lie."""
    if corner == RESTORED:
        return folder / WEIGHTS
    config = read_config(folder)
    corners = config.get("corners")
    if corners is None:
        raise RequestError(
            f"{folder.name}: has one set of weights and nothing to mix; denoise and texture are for presets with "
            f"corners, such as photo_x4"
        )
    if not isinstance(corners, dict) or not all(isinstance(value, str) for value in corners.values()):
        raise RequestError(f"{folder / CONFIG}: corners must name clean, and perhaps textured")
    if corner not in corners:
        lacks = "no texture: give --texture 0" if corner == TEXTURED else f"no corner {corner!r}"
        raise RequestError(f"{folder.name}: has {lacks}")
    value = corners[corner]
    if value.endswith(".safetensors"):
        return folder / value
    return _shipped(folder, corner, value, config)


def _shipped(folder: Path, corner: str, name: str, config: Mapping[str, object]) -> Path:
    """The weights of the shipped preset that is a corner of another."""
    other = Path(__file__).parent / name
    if not (other / CONFIG).is_file():
        raise RequestError(
            f"{folder / CONFIG}: the corner {corner} is {name!r}, which is neither a .safetensors file nor a "
            "shipped preset"
        )
    found = read_config(other)
    if any(found[key] != config[key] for key in ("model", "arguments")):
        raise RequestError(f"{folder / CONFIG}: the corner {corner} is {name}, which is another network")
    return other / WEIGHTS


def _check_alike(own: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise RequestError, naming the first array, where two sets of weights are not of one network."""
    for name in sorted(own.keys() | other.keys()):
        if name not in own or name not in other or own[name].shape != other[name].shape:
            raise RequestError(f"{path}: {name} is not that of the preset's other corners")
