"""Synthetic photographs for the tests: edges, textures and smooth parts, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def photograph(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """uint8 `[height, width, channels]`: sinusoids of several frequencies, discs and mild noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = []
    for _ in range(channels):
        plane = 0.5 + 0.2 * np.sin(x * rng.uniform(0.02, 0.9) + y * rng.uniform(0.02, 0.9))
        for _ in range(4):
            cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(3, height / 3 + 4)
            plane = np.where((y - cy) ** 2 + (x - cx) ** 2 < radius**2, rng.uniform(0, 1), plane)
        planes.append(plane + rng.normal(0, 0.01, plane.shape))
    return (np.clip(np.stack(planes, -1), 0, 1) * 255 + 0.5).astype(np.uint8)


def folder_of_photographs(
    folder: Path, count: int, height: int = 72, width: int = 96, digits: int = 1
) -> Path:
    """A folder of `count` PNG files, `0.png` and so on, or `00.png` with two digits."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(photograph(height, width, seed=index)).save(folder / f"{index:0{digits}}.png")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that training is tested on, in the folders `train` and `val`."""
    folder = tmp_path_factory.mktemp("photos")
    folder_of_photographs(folder / "train", 3)
    folder_of_photographs(folder / "val", 2, 40, 48)
    return folder
