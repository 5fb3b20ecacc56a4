"""Finish the first stage: average weights of a run, and move the last convolution towards its least squares.

    python recipes/edvr_m/finish.py photos/train runs/edvr_m/finished WEIGHTS WEIGHTS ...

The weights are preset folders of one run (Wortsman et al. 2022). A result is linear in its last convolution, so what
lowers the squared error on photographs most is found at once. Half of the way is gone: all of it takes from clips.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from keras import ops
from small import small_photographs

from isr.models import EDVR
from isr.models.loading import load

SHARE = 0.5
# Of the mean of the diagonal.
RIDGE = 1e-4
# Of the pixels, which are many more than the weights; and how far they are from a border.
DRAWN, EDGE = 0.08, 8


def average(folders: list[Path]) -> EDVR:
    """Load the mean of weights."""
    models = [load(folder) for folder in folders]
    named = [{name: np.asarray(value) for name, value in model.named_weights().items()} for model in models]
    means = {name: np.mean([values[name] for values in named], axis=0) for name in named[0]}
    models[0].load_named_weights(means, "the average")
    assert isinstance(models[0], EDVR)
    return models[0]


def rows(model: EDVR, photographs: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give what the last convolution sees, `[n, 577]` with a 1 behind, and what its results lack, `[n, 3]`."""
    seen: list[np.ndarray] = []
    call = model.tail.call
    model.tail.call = lambda features: (seen.append(np.asarray(features)), call(features))[1]
    rng = np.random.default_rng(0)
    for _, lr, hr in small_photographs(photographs):
        sr = np.asarray(model.enlarge_alone(ops.convert_to_tensor(lr[None] / np.float32(255))))[0]
        lack = (hr / np.float32(255) - sr)[EDGE:-EDGE, EDGE:-EDGE] * model.pixel_range
        windows = np.lib.stride_tricks.sliding_window_view(seen.pop()[0], (3, 3), (0, 1))
        windows = windows[EDGE - 1 : 1 - EDGE, EDGE - 1 : 1 - EDGE].transpose(0, 1, 3, 4, 2)
        drawn = rng.random(lack.shape[:2]) < DRAWN
        given = windows[drawn].reshape(drawn.sum(), -1)
        yield np.concatenate([given, np.ones_like(given[:, :1])], axis=1), lack[drawn]
    model.tail.call = call


def main() -> None:
    photographs, result, *folders = map(Path, sys.argv[1:])
    model = average(folders)
    moments, wanted = 0.0, 0.0
    for given, lack in rows(model, photographs):
        moments, wanted = moments + given.T @ given, wanted + given.T @ lack
    size = len(moments)
    step = np.linalg.solve(moments + RIDGE * np.trace(moments) / size * np.eye(size), wanted)
    kernel, bias = model.tail.get_weights()
    model.tail.set_weights([kernel + SHARE * step[:-1].reshape(kernel.shape), bias + SHARE * step[-1]])
    model.save_preset(result)


if __name__ == "__main__":
    main()
