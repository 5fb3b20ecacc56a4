"""The weights of a model by name, and how they are compared with those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from isr.errors import RequestError
from isr.presets import check_numbers


def weights_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Name every variable of a model by its path below it, such as `block0/conv1/kernel`."""
    prefix = f"{model.path}/"  # more than the name where an outer name scope was open
    return {variable.path.removeprefix(prefix): variable for variable in model.variables}


def assign_by_name(
    variables: Mapping[str, keras.Variable], values: Mapping[str, np.ndarray], source: str
) -> None:
    """Assign arrays to variables of the same names, as `SuperResolutionModel.load_named_weights` does."""
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    compare_weights(shapes, {name: tuple(value.shape) for name, value in values.items()}, source)
    check_numbers(values, source)
    for name, variable in variables.items():
        variable.assign(np.asarray(values[name], variable.dtype))


def hdf5_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the weights in a `.weights.h5` by their path in the file, the optimizer's left out."""
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            shapes[name] = tuple(item.shape)

    try:
        with h5py.File(path) as file:
            file.visititems(note)
    except OSError:
        raise RequestError(f"{path}: not a readable .weights.h5 file") from None
    return shapes


def compare_weights(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], source: str
) -> None:
    """Raise RequestError, naming the first difference, unless names and shapes are the same."""
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    if missing or surplus:
        parts = [f"{len(missing)} missing (first {missing[0]})"] if missing else []
        parts += [f"{len(surplus)} unknown (first {surplus[0]})"] if surplus else []
        raise RequestError(f"{source}: weights of another model: {', '.join(parts)}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise RequestError(f"{source}: {name} has shape {found[name]}, the model's is {shape}")
