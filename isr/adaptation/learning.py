"""Internal learning: a network goes on learning from the one picture that it shall enlarge.

Shocher, Cohen, Irani, "Zero-Shot Super-Resolution using Deep Internal Learning" (CVPR 2018), but from a trained
network instead of from nothing. The picture is made smaller by the kernel that made it what it is; the network learns
to undo that, and then enlarges the picture itself.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from isr.adaptation.kernels import reduce
from isr.dihedral import NUM_VIEWS, dihedral
from isr.errors import RequestError
from isr.levels import from_float, to_float
from isr.models import SuperResolutionModel
from isr.ops import Tensor
from isr.progress import Progress, Silent, check_cancelled

# Of a crop of the smaller picture, in its pixels, and crops of a step.
PATCH, BATCH = 24, 8
LEARNING_RATE = 5e-4
# The weights of this last share of the steps are averaged.
AVERAGED = 0.5
# Held-out cells of the smaller picture: their side in its pixels, what is seen around them, one of how many, at most.
CELL, SEEN, ONE_OF, MOST_CELLS = 16, 12, 8, 24
# The smaller picture has at least so many pixels on each side.
SMALLEST = 8
# What changes in the picture is looked at in its middle, and must be earned: the error on held-out cells falls by at
# least this share of the mean square of the change.
MIDDLE, EARNED = 128, 0.5


@dataclass(frozen=True)
class Adapted:
    """What came of learning from a picture.

    Attributes:
        model: the adapted network; one with the weights of the start where that is better.
        steps: that were made.
        before, after: PSNR in dB of the start and of the averaged weights, on the held-out crops.
        change: mean square by which their results differ on the picture itself, of values in [0, 1].
    """

    model: SuperResolutionModel
    steps: int
    before: float
    after: float
    change: float

    @property
    def better(self) -> bool:
        """Tell whether the adapted weights were taken.

        A step towards the truth lessens the squared error by its own square, and one that goes too far by less. So a
        change of the result that is large beside what held-out crops gain is not trusted.
        """
        earned = 10 ** (-self.before / 10) - 10 ** (-self.after / 10)
        return self.after > self.before and earned >= EARNED * self.change

    def describe(self) -> str:
        """Tell in one line what came of it."""
        found = f"{self.before:.2f} dB before, {self.after:.2f} dB after {self.steps} steps"
        if self.better:
            return f"{self.model.name}: adapted to the picture: held-out crops have {found}"
        why = "they gain too little" if self.after > self.before else "the start is better"
        return f"{self.model.name}: not adapted, {why}: held-out crops have {found}"


class Pupil(keras.Model):
    """A network at one of its scales, as something that Keras trains."""

    def __init__(self, network: SuperResolutionModel, scale: int) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def call(self, lr: Tensor) -> Tensor:
        return self.network.at_scale(lr, self.scale)


def smallest_side(model: SuperResolutionModel, scale: int) -> int:
    """Return how many pixels a picture needs on each side."""
    return -(-SMALLEST // model.size_multiple) * model.size_multiple * scale


def learn(
    model: SuperResolutionModel,
    picture: np.ndarray,
    kernel: np.ndarray,
    *,
    scale: int,
    seconds: float = 60.0,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Adapted:
    """Go on training a network on one picture and its smaller copy.

    Some cells of the picture are held out. On these the result is compared with the start, and the better one is
    returned; the start, too, where they gain little beside what changes in the picture itself.

    Args:
        model: the start; it is not changed.
        picture: `[h, w, c]` with the network's channels, integers of the full range or float in [0, 1].
        kernel: `[k, k]` that made the picture out of a larger one, its side odd or even as the scale is.
        scale: one of the network's.
        seconds: how long to learn, without the comparison.
        steps: how many steps instead; the same seed then gives the same network.
        seed: of crops and cells.
        progress: told of steps; asked for `cancelled` between them.

    Returns:
        The better network, and the comparison.

    Raises:
        RequestError: the picture is too small.
        Cancelled: the progress asks for it.
    """
    progress = progress or Silent()
    least = smallest_side(model, scale)
    if min(picture.shape[:2]) < least:
        raise RequestError(
            f"{picture.shape[1]}x{picture.shape[0]} pixels are too few to learn from at x{scale}: {least} on each "
            "side are needed"
        )
    pairs = Pairs.of(picture, kernel, scale, model.size_multiple, np.random.default_rng(seed))
    network = model.with_policy("float32")
    pupil = Pupil(network, scale)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    # XLA loses the fused kernels of a CPU, and takes long to compile.
    pupil.compile(optimizer, "mean_absolute_error", jit_compile=keras.backend.backend() == "jax")
    start, middle = pairs.score(network), _middle(picture, model.size_multiple)
    seen = _enlarged(network, middle, scale)
    mean = RunningMean()
    progress.start("adapt", steps or math.ceil(seconds), "steps" if steps else "seconds")
    begun = time.monotonic()
    done, share = 0, 0.0
    while share < 1:
        check_cancelled(progress)
        optimizer.learning_rate.assign(LEARNING_RATE * (1 + math.cos(math.pi * share)) / 2)
        with warnings.catch_warnings():
            # Of several scales, one learns.
            warnings.filterwarnings("ignore", "Gradients do not exist")
            pupil.train_on_batch(*pairs.draw())
        done += 1
        if share >= 1 - AVERAGED:
            mean.add(network.get_weights())
        before, share = share, done / steps if steps else (time.monotonic() - begun) / seconds
        progress.advance(1 if steps else int(min(share, 1) * seconds) - int(before * seconds))
    if mean.count:
        network.set_weights(mean.values)
    change = float(np.square(_enlarged(network, middle, scale) - seen).mean(dtype=np.float64))
    adapted = Adapted(network, done, start, pairs.score(network), change)
    if not adapted.better:
        network.set_weights(model.get_weights())
    return adapted


class RunningMean:
    """The mean of lists of arrays, one after another."""

    def __init__(self) -> None:
        self.count = 0
        self.values: list[np.ndarray] = []

    def add(self, values: list[np.ndarray]) -> None:
        """Count one more list of arrays of the same shapes."""
        self.count += 1
        self.values = [
            mean + (value - mean) / self.count
            for mean, value in zip(self.values or values, values, strict=True)
        ]


@dataclass(frozen=True)
class Pairs:
    """What is learned from: a picture and its smaller copy, and the cells that are held out.

    Attributes:
        small: `[h, w, c]` float32.
        large: `[scale * h, scale * w, c]` float32.
        counts: `[scale * h, scale * w]` float32, 0 where a cell is held out, else 1.
        cells: `(top, left)` of the held-out cells in the smaller picture.
        cell: side of a cell.
        patch: side of the crops that are drawn, in pixels of the smaller picture.
        scale: between the two.
        multiple: of which the sides of a network's input are.
        rng: where crops are drawn from.
    """

    small: np.ndarray
    large: np.ndarray
    counts: np.ndarray
    cells: tuple[tuple[int, int], ...]
    cell: int
    patch: int
    scale: int
    multiple: int
    rng: np.random.Generator

    @classmethod
    def of(
        cls, picture: np.ndarray, kernel: np.ndarray, scale: int, multiple: int, rng: np.random.Generator
    ) -> Pairs:
        """Make a picture smaller, and hold out about an eighth of it."""
        step = scale * multiple
        height, width = (side - side % step for side in picture.shape[:2])
        large = to_float(picture[:height, :width])
        # As coarse as the picture, so that the network does not learn to enhance what rounding leaves.
        small = to_float(from_float(reduce(large, kernel, scale), _stored(picture)))
        height, width = small.shape[:2]
        cell = max(2, min(CELL, height // 4, width // 4))
        places = [
            (top, left)
            for top in range(0, height - cell + 1, cell)
            for left in range(0, width - cell + 1, cell)
        ]
        count = min(MOST_CELLS, max(1, len(places) // ONE_OF))
        chosen = rng.choice(len(places), count, replace=False)
        cells = tuple(places[number] for number in chosen)
        counts = np.ones(large.shape[:2], np.float32)
        for top, left in cells:
            counts[top * scale : (top + cell) * scale, left * scale : (left + cell) * scale] = 0
        patch = min(PATCH, height, width)
        return cls(small, large, counts, cells, cell, patch - patch % multiple, scale, multiple, rng)

    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw a batch: crops of both in a random view, and how much each pixel counts."""
        items = []
        for _ in range(BATCH):
            top, left = (int(self.rng.integers(side - self.patch + 1)) for side in self.small.shape[:2])
            view = int(self.rng.integers(NUM_VIEWS))
            small = self.small[top : top + self.patch, left : left + self.patch]
            rows, columns = (slice(at * self.scale, (at + self.patch) * self.scale) for at in (top, left))
            counts = self.counts[rows, columns, np.newaxis]
            items.append([dihedral(each, view) for each in (small, self.large[rows, columns], counts)])
        lr, hr, counts = (np.stack(each) for each in zip(*items, strict=True))
        return lr, hr, counts[..., 0]

    def score(self, model: SuperResolutionModel) -> float:
        """Return PSNR in dB over the pixels of all held-out cells."""
        height, width = self.small.shape[:2]
        window = tuple(min(self.cell + 2 * SEEN, side) for side in (height, width))
        window = tuple(side - side % self.multiple for side in window)
        corners = [
            tuple(
                min(max(at - SEEN, 0), side - seen)
                for at, side, seen in zip(cell, (height, width), window, strict=True)
            )
            for cell in self.cells
        ]
        lr = np.stack([self.small[top : top + window[0], left : left + window[1]] for top, left in corners])
        sr = np.asarray(model.at_scale(lr, self.scale))
        total = 0.0
        for made, cell, corner in zip(sr, self.cells, corners, strict=True):
            inside, outside = (
                tuple(slice(at * self.scale, (at + self.cell) * self.scale) for at in place)
                for place in (np.subtract(cell, corner), cell)
            )
            total += float(
                np.square(np.clip(made[inside], 0, 1) - self.large[outside]).mean(dtype=np.float64)
            )
        error = total / len(self.cells)
        return -10 * math.log10(error) if error > 0 else math.inf


def _enlarged(model: SuperResolutionModel, picture: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge `[h, w, c]` float32 at once, to values in [0, 1]."""
    return np.clip(np.asarray(model.at_scale(picture[np.newaxis], scale))[0], 0, 1)


def _middle(picture: np.ndarray, multiple: int) -> np.ndarray:
    """The middle of a picture as float32, of sides that a network takes."""
    height, width = (min(side, MIDDLE) // multiple * multiple for side in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return to_float(picture[top : top + height, left : left + width])


def _stored(picture: np.ndarray) -> np.dtype[Any]:
    """The type whose levels a picture has."""
    return picture.dtype if np.issubdtype(picture.dtype, np.integer) else np.dtype(np.float32)
