"""Batches of patches, each a pure function of (seed, step).

Nothing else decides what a batch holds: no shuffling state, no worker count, no backend. Resuming at step n is
asking for batch n.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from isr.dihedral import NUM_VIEWS, dihedral
from isr.levels import to_float

Place = TypeVar("Place")

# Makes the low resolution of an HR patch `[h, w, c]` or window `[t, h, w, c]`; all chance comes from the generator.
Degrade = Callable[[np.ndarray, np.random.Generator], np.ndarray]

WORKERS = max(2, (os.cpu_count() or 2) // 2)  # threads that draw batches ahead of the steps that need them


@dataclass(frozen=True)
class PatchRecipe:
    """How patches are drawn.

    Attributes:
        patch_size: side of an HR patch in pixels, a multiple of the scale.
        batch_size: patches per batch.
        candidates: places drawn for each patch; the one taken is drawn from them with a probability
            proportional to its gradient energy, so that detail is seen more often than sky. 1: uniform.
        flatness: patches whose gradient energy (mean absolute difference of neighbours, of 0 to 1) is below
            this are drawn again.
        augment: apply one of the eight flips and quarter turns, drawn for every patch.
        seed: of all of it.
    """

    patch_size: int = 96
    batch_size: int = 16
    candidates: int = 4
    flatness: float = 0.0
    augment: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """`lr` `[b, p / scale, p / scale, c]` or `[b, t, ...]`, and `hr` `[b, p, p, c]`, float32 in [0, 1]."""

    lr: np.ndarray
    hr: np.ndarray


class Batches:
    """`batches[step]` is the batch of that step; a subclass says how one patch is drawn."""

    def __init__(self, recipe: PatchRecipe, scale: int) -> None:
        if recipe.patch_size % scale:
            raise ValueError(f"patch_size {recipe.patch_size} is no multiple of the scale {scale}")
        self.recipe = recipe
        self.scale = scale
        self.side = recipe.patch_size // scale  # of an LR patch

    def __getitem__(self, step: int) -> Batch:
        return stacked(self.drawn(step, self.recipe.batch_size))

    @property
    def lr_side(self) -> int | None:
        """Side of the LR patches; None where it differs from batch to batch."""
        return self.side

    def drawn(self, step: int, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Draw the first `count` patches of a step."""
        rng = np.random.default_rng((self.recipe.seed, step))
        return [self.draw(rng) for _ in range(count)]

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Give one `(lr, hr)`, integers of the full range or floats in [0, 1]; all chance comes from `rng`."""
        raise NotImplementedError


def stacked(patches: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Put patches `(lr, hr)` into a batch; each becomes floats on its own, since a set may have 8 and 16 bits."""
    return Batch(*(np.stack([to_float(array) for array in arrays]) for arrays in zip(*patches, strict=True)))


class EchoedBatches(Batches):
    """Batches whose patches serve in several steps, which saves drawing them (data echoing, Choi et al. 2019).

    A batch is made of as many groups of patches as there are echoes. One group is new, and the others have served
    before; each time, a patch is another one of its eight flips and turns. Groups meet in one batch at most once.

    Args:
        source: draws the patches.
        echoes: steps in which a patch serves, 1 to 8, a divisor of the batch size; 1: the batches of `source`.

    Raises:
        ValueError: the echoes are no such divisor.
    """

    # Marks of a ruler on which no two pairs lie equally far apart (Golomb), and the steps between its marks, so many
    # that a group is drawn before it is asked for again.
    MARKS = (0, 1, 4, 9, 15, 22, 32, 34)
    SPACING = 8

    def __init__(self, source: Batches, echoes: int) -> None:
        super().__init__(source.recipe, source.scale)
        if not 1 <= echoes <= len(self.MARKS) or self.recipe.batch_size % echoes:
            raise ValueError(f"{echoes} echoes: must be 1 to 8, and divide the batch size")
        self.source = source
        self.group_size = self.recipe.batch_size // echoes
        self.ages = [self.SPACING * mark for mark in self.MARKS[:echoes]]
        self.groups: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}

    def __getitem__(self, step: int) -> Batch:
        # The first step already has groups of every age.
        newest = step + self.ages[-1]
        batch = stacked(
            [
                (self._seen(lr, echo), self._seen(hr, echo))
                for echo, age in enumerate(self.ages)
                for lr, hr in self._group(newest - age)
            ]
        )
        # Threads draw several steps at once: one that is a little behind still finds its groups.
        for past in [number for number in list(self.groups) if number < step - self.SPACING]:
            self.groups.pop(past, None)
        return batch

    def _group(self, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        if (group := self.groups.get(number)) is None:
            group = self.groups[number] = self.source.drawn(number, self.group_size)
        return group

    def _seen(self, patch: np.ndarray, echo: int) -> np.ndarray:
        return dihedral(patch, echo) if self.recipe.augment else patch


class MultiScaleBatches(Batches):
    """Every batch of one scale, drawn for it, as MDSR is trained (Lim et al. 2017).

    Args:
        sources: batches of one recipe, for each scale.
    """

    def __init__(self, sources: Sequence[Batches]) -> None:
        super().__init__(sources[0].recipe, sources[0].scale)
        self.sources = list(sources)

    def __getitem__(self, step: int) -> Batch:
        # A stream of its own: the numbers that choose the scale must not choose the places, too.
        rng = np.random.default_rng((self.recipe.seed, step, 1))
        return self.sources[int(rng.integers(len(self.sources)))][step]

    @property
    def lr_side(self) -> None:
        return None


class MixedBatches(Batches):
    """Every patch from one of two sources.

    Args:
        first, second: sources of one recipe and scale.
        share: how many patches come from the second, 0 to 1.
    """

    def __init__(self, first: Batches, second: Batches, share: float) -> None:
        super().__init__(first.recipe, first.scale)
        self.first, self.second, self.share = first, second, share

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return (self.second if rng.random() < self.share else self.first).draw(rng)


class PatchBatches(Batches):
    """Patches of pictures.

    Args:
        pairs: `(lr, hr)` pictures, integers or floats in [0, 1], every HR at least `patch_size` on each side.
        scale: HR side / LR side.
        recipe: how patches are drawn.
        degrade: makes the low resolution of every HR patch; None: it is cut from the LR of the pair.

    Raises ValueError where the patch size is no multiple of the scale or there is no picture.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        scale: int,
        recipe: PatchRecipe,
        *,
        degrade: Degrade | None = None,
    ) -> None:
        super().__init__(recipe, scale)
        self.degrade = degrade
        if not len(pairs):
            raise ValueError("there are no pictures to draw patches from")
        self.pairs = pairs
        # Every place of every picture is equally likely, so large pictures give more patches than small ones.
        places = [(lr.shape[0] - self.side + 1) * (lr.shape[1] - self.side + 1) for lr, _ in pairs]
        self.ends = np.cumsum(places)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        place = detailed(rng, self.recipe, self._place, self._lr)
        picture, row, column = place
        lr, hr = self._lr(place), self.pairs[picture][1]
        top, left, size = row * self.scale, column * self.scale, self.recipe.patch_size
        view = int(rng.integers(NUM_VIEWS)) if self.recipe.augment else 0
        hr = dihedral(hr[top : top + size, left : left + size], view)
        return dihedral(lr, view) if self.degrade is None else self.degrade(hr, own_stream(rng)), hr

    def _place(self, rng: np.random.Generator) -> tuple[int, int, int]:
        index = int(rng.integers(self.ends[-1]))
        picture = int(np.searchsorted(self.ends, index, side="right"))
        lr = self.pairs[picture][0]
        index -= int(self.ends[picture - 1]) if picture else 0
        row, column = divmod(index, lr.shape[1] - self.side + 1)
        return picture, row, column

    def _lr(self, place: tuple[int, int, int]) -> np.ndarray:
        picture, row, column = place
        patch: np.ndarray = self.pairs[picture][0][row : row + self.side, column : column + self.side]
        return patch


def own_stream(rng: np.random.Generator) -> np.random.Generator:
    """Start a stream for one patch: what it draws is a function of seed, step and patch, and moves no other draw."""
    (stream,) = rng.spawn(1)
    return stream


REDRAWS = 20  # tries for a patch over the flatness threshold before the last one is taken as it is


def detailed(
    rng: np.random.Generator,
    recipe: PatchRecipe,
    place: Callable[[np.random.Generator], Place],
    lr: Callable[[Place], np.ndarray],
) -> Place:
    """Give one of `recipe.candidates` places, the more likely the more detail its LR patch `[h, w, c]` has."""
    for _ in range(REDRAWS):
        candidates = [place(rng) for _ in range(recipe.candidates)]
        energies = np.array([gradient_energy(lr(candidate)) for candidate in candidates])
        share = rng.random() * energies.sum()
        chosen = min(int(np.searchsorted(np.cumsum(energies), share)), len(candidates) - 1)
        if energies[chosen] >= recipe.flatness:
            break
    return candidates[chosen]


def gradient_energy(patch: np.ndarray) -> float:
    """Mean absolute difference of neighbours over both directions, in units of the full range (0 to 1)."""
    signed = to_float(patch)
    return float(np.abs(np.diff(signed, axis=0)).mean() + np.abs(np.diff(signed, axis=1)).mean()) / 2
