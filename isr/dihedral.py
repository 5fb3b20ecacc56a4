"""The eight views of a square: flips and quarter turns."""

from __future__ import annotations

import numpy as np

NUM_VIEWS = 8


def dihedral(image: np.ndarray, view: int) -> np.ndarray:
    """Give one of the eight views of a picture or of a batch.

    Args:
        image: `[..., h, w, c]`.
        view: 0 to 7; `view % 4` quarter turns counter-clockwise after a left-right flip where `view >= 4`.

    Returns:
        A view of the same memory, `[..., w, h, c]` after an odd number of turns.
    """
    if view >= 4:
        image = image[..., ::-1, :]
    return np.rot90(image, view % 4, axes=(-3, -2))


def undo_dihedral(image: np.ndarray, view: int) -> np.ndarray:
    """Undo `dihedral`: `undo_dihedral(dihedral(x, v), v)` is x."""
    image = np.rot90(image, -(view % 4), axes=(-3, -2))
    return image[..., ::-1, :] if view >= 4 else image
