"""The files of a preset's folder: written whole, read and checked. Knows NumPy alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isr.errors import RequestError
from isr.io.files import atomic

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
RECIPE = "recipe.yml"
CARD = "card.md"
INT8 = "int8"
# What bfloat16 may cost, where it was measured, for "auto" to take it: decibels, and levels of 255.
MOST_LOSS, MOST_LEVELS = 0.01, 2.0


class SavedAsPreset:
    """What can be written as a preset: named arrays, and the arguments of a constructor."""

    def named_weights(self) -> Mapping[str, Any]:
        """Return every array by the name that it has in a preset, such as `block0/conv1/kernel`."""
        raise NotImplementedError

    def preset_arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain JSON values."""
        raise NotImplementedError

    def save_preset(
        self,
        folder: str | Path,
        *,
        dtype: str = "float32",
        files: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
        bfloat16: Mapping[str, float] | None = None,
    ) -> None:
        """Write a preset: a folder that `from_preset` reads.

        Args:
            folder: made where missing; an existing preset there is replaced, file by file, and its 8-bit variant
                removed.
            dtype: what weights are stored as, "float32", "float16", or "exact": each array as float16 if that
                holds all its numbers, else as float32.
            files: further texts by file name, such as `card.md`.
            facts: what `isr models` prints of it: `parameters`, `val_psnr_y`, `over_bicubic`, `licence`.
            bfloat16: what bfloat16 costs, `psnr_loss` in dB and `levels` of 255 at most; see `suits_bfloat16`.

        Raises:
            RequestError, MachineError: a file cannot be written, or a weight is too large for the dtype; a file that
                was there stays as it was.
        """
        target = Path(folder)
        arrays = {name: np.asarray(value) for name, value in self.named_weights().items()}
        stored = {
            name: _stored(value, dtype) if value.dtype.kind == "f" else value
            for name, value in arrays.items()
        }
        for name, value in stored.items():
            if np.isinf(value).any() and not np.isinf(arrays[name]).any():
                raise RequestError(
                    f"{target}: {name} holds values that {dtype} does not; store it as float32"
                )
        # Of the weights that are replaced.
        variant(target).unlink(missing_ok=True)
        write_safetensors(target / WEIGHTS, stored)
        kinds = ", ".join(sorted({value.dtype.name for value in stored.values()}))
        config = {"model": type(self).__name__, "arguments": self.preset_arguments(), "weights": kinds}
        if facts:
            config["facts"] = dict(facts)
        if bfloat16:
            config["bfloat16"] = dict(bfloat16)
        for name, text in {**(files or {}), CONFIG: json.dumps(config, indent=2) + "\n"}.items():
            write_text(target / name, text)


def _stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Floats as `save_preset` stores them."""
    if dtype != "exact":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(values.dtype), values) else values.astype(np.float32)


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json` of a preset.

    Returns:
        At least `model` (the name of its class) and `arguments` (its constructor's).

    Raises:
        RequestError: the file cannot be read, or lacks one of the two.
    """
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return {**config, "model": str(config["model"]), "arguments": dict(config["arguments"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path}: not the configuration of a preset ({error})") from None


def suits_bfloat16(folder: Path) -> bool:
    """Tell whether "auto" may compute a preset in bfloat16.

    Where `config.json` notes nothing, it costs little. `isr convert` measures what it costs, and notes it.

    Args:
        folder: of the preset.

    Returns:
        False where the note says that it costs more than `MOST_LOSS` or `MOST_LEVELS`.

    Raises:
        RequestError: the configuration cannot be read, or the note is none.
    """
    noted = read_config(folder).get("bfloat16")
    try:
        return noted is None or (
            float(noted["psnr_loss"]) <= MOST_LOSS and float(noted["levels"]) <= MOST_LEVELS
        )
    except (KeyError, TypeError, ValueError):
        raise RequestError(
            f"{folder / CONFIG}: bfloat16 must have the numbers psnr_loss and levels"
        ) from None


def variant(folder: Path, name: str = INT8) -> Path:
    """Return where the weights of a preset's variant lie, whether or not there is one."""
    return folder / name / WEIGHTS


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a `.safetensors` file by name.

    Raises:
        RequestError: the file is missing, or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise RequestError(f"{path}: not a readable safetensors file ({error})") from None


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], contents: str = "keras-isr") -> None:
    """Write arrays as a `.safetensors` file, whole or not at all.

    Args:
        path: of the file; its folder is made where missing.
        arrays: by name.
        contents: what the file says that it holds.

    Raises:
        RequestError, MachineError: the file cannot be written.
    """
    from safetensors.numpy import save

    contiguous = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    with atomic(path) as temporary:
        temporary.write_bytes(save(contiguous, {"format": contents}))


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; raises as `write_safetensors`."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_numbers(arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Raise RequestError, naming the array, where a value is not finite.

    The pictures alone do not show it: on a CPU a convolution that is fused with its ReLU gives 0 for NaN.
    """
    for name, value in arrays.items():
        if not np.all(np.isfinite(np.asarray(value))):
            raise RequestError(f"{source}: {name} holds values that are no numbers; take other weights")
