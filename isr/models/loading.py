"""Opening a network from whatever it is stored in."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from isr.errors import RequestError, first_line
from isr.models.base import SuperResolutionModel
from isr.models.weights import compare_weights, hdf5_shapes
from isr.presets import check_numbers


def load(source: str | Path, **kwargs: Any) -> SuperResolutionModel:
    """Open the model of a preset's name, a preset's folder or a `.keras` file, with its weights.

    Args:
        source: what to open.
        kwargs: of presets, as of `from_preset`: `denoise`, `texture`, and arguments of the constructor.

    Raises:
        RequestError: the source is none of these; the message names it.
    """
    path = Path(source)
    if path.suffix == ".keras":
        return load_keras_file(path)
    if path.is_file():
        raise RequestError(f"{path}: give a preset folder or a .keras file; bare weights name no network")
    return SuperResolutionModel.from_preset(source, **kwargs)


def load_keras_file(path: str | Path) -> SuperResolutionModel:
    """Load a `.keras` file that holds one of the package's models, without its optimizer.

    Raises:
        RequestError: the file is missing, no Keras archive, another kind of model, or holds weights that the model
            has no place for (which Keras would drop without a word).
    """
    path = Path(path)
    if not path.is_file():
        raise RequestError(f"{path}: no such model file")
    try:
        model = keras.saving.load_model(path, compile=False)
        with tempfile.TemporaryDirectory() as folder:
            stored, own = Path(folder) / "stored.weights.h5", Path(folder) / "own.weights.h5"
            with (
                zipfile.ZipFile(path) as archive,
                archive.open("model.weights.h5") as source,
                stored.open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
            model.save_weights(own)
            compare_weights(hdf5_shapes(own), hdf5_shapes(stored), str(path))
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path}: not a Keras model this package can read ({first_line(error)})") from None
    if not isinstance(model, SuperResolutionModel):
        raise RequestError(f"{path}: holds a {type(model).__name__}, which is no network of this package")
    check_numbers(model.named_weights(), str(path))
    return model
