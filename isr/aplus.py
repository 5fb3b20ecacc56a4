"""A+, anchored neighbourhood regression: the classical upscaler, without a network and without Keras.

Timofte, De Smet, Van Gool, "A+: Adjusted Anchored Neighborhood Regression for Fast Super-Resolution" (ACCV 2014),
with the larger dictionary, the hierarchical search and the cascade of Timofte, Rothe, Van Gool, "Seven Ways to
Improve Example-Based Single Image Super Resolution" (CVPR 2016), and the symmetries of Perez-Pellitero et al.,
"PSyCo: Manifold Span Reduction for Super Resolution" (CVPR 2016). `isr.train.aplus` fits it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from isr import presets
from isr.errors import RequestError
from isr.imresize import imresize
from isr.metrics import LUMA_WEIGHTS
from isr.spec import ModelSpec

WINDOW = 5  # input pixels: side of what the features of a place see
PATCH = 3  # input pixels: side of what is predicted at a place; each pixel of the result is a mean of nine
NUM_VIEWS = 8  # flips and quarter turns; their negatives are the other eight
PROBES = 4  # cells whose anchors are compared with a feature
ROWS = 2**14  # places whose windows are copied at a time, so that they stay in the cache
REACHES = (3, 8)  # input pixels on each side: how far the surroundings of a place are looked at
QUIET = 1e-6  # energy of a place without any features, so that it has a logarithm
TIE = 1e-5  # features this close to a tie count as tied, so that rounding does not choose a view

# Luma whose change is the change of R, G and B alike: what keeps both chroma as they are.
LUMA = (LUMA_WEIGHTS / LUMA_WEIGHTS.sum()).astype(np.float32)


@dataclass(frozen=True)
class Stage:
    """One pass over a picture that was enlarged already: what is missing of its luma, patch by patch.

    Attributes:
        filters: `[d, (WINDOW * scale)^2]`, the features of a window: first and second differences, reduced to
            their principal components.
        patches: `[q, (PATCH * scale)^2]`, orthonormal: what a prediction is a combination of.
        anchors: `[k, d]` of length 1, cell by cell.
        cells: `[c, d]` of length 1: the middles of the cells.
        cell_sizes: `[c]`, anchors of each cell.
        regressors: `[max(m, 1) * k, q, d]`, from features to a combination of patches, for each anchor; with contexts
            those of all anchors for each context.
        contexts: `[m, 1 + len(REACHES)]`, middles of kinds of surroundings (`surroundings`): each anchor has a
            regressor for each. None: one regressor, whatever is around.

    `filters` and `patches` are symmetric: turning or mirroring a window only permutes and negates its features.
    """

    filters: np.ndarray
    patches: np.ndarray
    anchors: np.ndarray
    cells: np.ndarray
    cell_sizes: np.ndarray
    regressors: np.ndarray
    contexts: np.ndarray = field(default_factory=lambda: np.zeros((0, 1 + len(REACHES)), np.float32))

    @cached_property
    def scale(self) -> int:
        return round(self.patches.shape[1] ** 0.5) // PATCH

    @cached_property
    def views(self) -> Views:
        return Views.of(self.filters, self.patches)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Compute what to add to an enlarged luma `[scale * h, scale * w]`, the same shape, float32."""
        border = PATCH // 2 * self.scale  # places outside, so that every pixel is a mean of nine
        places = self.encode(np.pad(picture, border, mode="symmetric"))
        return without_border(self.decode(places, self.regressors), 2 * border)

    def encode(self, picture: np.ndarray) -> Places:
        """Find the features of every place of an enlarged luma `[scale * h, scale * w]`, in a canonical view."""
        height, width = (side // self.scale for side in picture.shape)
        features = self.features(picture)
        view = self.views.choose(features)
        features = self.views.turn_features(features, view)
        anchor = self.search(features)
        if len(self.contexts):
            around = surroundings(features, height, width)
            anchor += nearest(around, self.contexts) * np.int32(len(self.anchors))
        order = np.argsort(anchor, kind="stable")
        bounds = np.searchsorted(anchor[order], np.arange(len(self.regressors) + 1))
        return Places(height, width, features[order], view[order], order, bounds)

    def decode(self, places: Places, regressors: np.ndarray) -> np.ndarray:
        """Average all predicted patches, `[scale * (h + 2), scale * (w + 2)]`: one place more on each side."""
        predicted = np.empty((len(places.order), regressors.shape[1]), np.float32)
        for anchor, rows in places.of_each_anchor():
            np.matmul(places.features[rows], regressors[anchor].T, out=predicted[rows])
        combined = np.empty_like(predicted)
        combined[places.order] = self.views.turn_patches_back(predicted, places.view)
        return overlap_add(combined @ self.patches, places.height, places.width, self.scale) / PATCH**2

    def features(self, picture: np.ndarray) -> np.ndarray:
        """Filter the window around every input pixel of an enlarged luma: `[h * w, d]`."""
        scale = self.scale
        view = windows(picture, scale)
        height, width = view.shape[:2]
        result = np.empty((height * width, len(self.filters)), np.float32)
        step = max(1, ROWS // width)
        for top in range(0, height, step):
            part = view[top : top + step].reshape(-1, self.filters.shape[1])
            np.matmul(part, self.filters.T, out=result[top * width : (top + step) * width])
        return result

    def search(self, features: np.ndarray) -> np.ndarray:
        """Find the anchor of the smallest angle to each feature `[n, d]`, among those of the nearest cells, `[n]`."""
        result = np.empty(len(features), np.int32)
        for start in range(0, len(features), ROWS):
            result[start : start + ROWS] = self._search(features[start : start + ROWS])
        return result

    def _search(self, features: np.ndarray) -> np.ndarray:
        best = np.full(len(features), -np.inf, np.float32)
        result = np.zeros(len(features), np.int32)
        stops = np.cumsum(self.cell_sizes)
        to_cells = features @ self.cells.T
        probes = min(PROBES, len(self.cells))
        near = np.argpartition(to_cells, -probes, axis=1)[:, -probes:]
        probed = np.zeros(to_cells.shape, bool)
        np.put_along_axis(probed, near, True, axis=1)
        for cell, stop in enumerate(stops):
            start = stop - self.cell_sizes[cell]
            rows = np.flatnonzero(probed[:, cell])
            if start == stop or not len(rows):
                continue
            to_anchors = features[rows] @ self.anchors[start:stop].T
            found = to_anchors.argmax(axis=1)
            likeness = np.take_along_axis(to_anchors, found[:, None], axis=1)[:, 0]
            nearer = likeness > best[rows]
            best[rows[nearer]] = likeness[nearer]
            result[rows[nearer]] = start + found[nearer]
        return result


def surroundings(features: np.ndarray, height: int, width: int) -> np.ndarray:
    """Describe what is around every place: how strong its features are, and those in larger and larger windows.

    Args:
        features: `[height * width, d]`.
        height, width: of the picture in input pixels.

    Returns:
        `[height * width, 1 + len(REACHES)]`: the logarithm of the energy, then by how much each window has less than
        the one before. Flips, turns and the negative do not change it.
    """
    energy = (np.square(features).sum(axis=1, dtype=np.float64) + QUIET).reshape(height, width)
    levels = [np.log(energy), *(np.log(mean_around(energy, reach)) for reach in REACHES)]
    steps = [levels[0], *(before - after for before, after in itertools.pairwise(levels))]
    return np.stack(steps, axis=-1).reshape(height * width, -1).astype(np.float32)


def mean_around(values: np.ndarray, reach: int) -> np.ndarray:
    """Average over windows of `2 * reach + 1` on each side, mirrored at the borders; `[h, w]` both."""
    for axis in (0, 1):
        border = [(reach, reach) if each == axis else (0, 0) for each in (0, 1)]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(values, border, mode="symmetric"), 2 * reach + 1, axis=axis
        )
        values = windows.mean(axis=-1)
    return values


def nearest(vectors: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Find the middle `[m, d]` that is nearest to each vector `[n, d]`: its number, `[n]`."""
    distances = np.square(middles).sum(axis=1) - 2 * vectors @ middles.T
    return distances.argmin(axis=1).astype(np.int32)


@dataclass(frozen=True)
class Places:
    """The input pixels of a picture, sorted by the anchor that each belongs to.

    Attributes:
        height, width: of the picture in input pixels.
        features: `[n, d]` in the canonical view, sorted.
        view: `[n]`, the view that made them canonical, sorted.
        order: `[n]`, index in the picture of each of them.
        bounds: `[k + 1]`: the places of anchor i are `bounds[i]:bounds[i + 1]`; with contexts, of each in each.
    """

    height: int
    width: int
    features: np.ndarray
    view: np.ndarray
    order: np.ndarray
    bounds: np.ndarray

    def of_each_anchor(self) -> Iterator[tuple[int, slice]]:
        """Walk over every anchor that has places, and which they are."""
        for anchor in np.flatnonzero(np.diff(self.bounds)):
            yield int(anchor), slice(self.bounds[anchor], self.bounds[anchor + 1])


@dataclass(frozen=True)
class Views:
    """The sixteen symmetries of a patch, flips, quarter turns and the negative, as permutations with signs.

    A patch and its mirror image are one to the dictionary, so it serves sixteen times as many (PSyCo, section 3).

    Attributes:
        features, features_sign: `[16, d]`: feature i of view v is `sign[v, i] * f[features[v, i]]`.
        back, back_sign: `[16, q]`, the same for the inverse view of combinations of patches.
        forth, forth_sign: `[16, q]`, for the view itself.
        pair: indices of the two features that choose flips and turns, a gradient across and one along.
        even: index of the feature that chooses the sign.
        chosen: `[8]`, view for the signs and the order of the pair.
    """

    features: np.ndarray
    features_sign: np.ndarray
    forth: np.ndarray
    forth_sign: np.ndarray
    back: np.ndarray
    back_sign: np.ndarray
    pair: tuple[int, int]
    even: int
    chosen: np.ndarray

    @classmethod
    def of(cls, filters: np.ndarray, patches: np.ndarray) -> Views:
        """Read off symmetric filters and patches; ValueError where they are not symmetric."""
        features, features_sign = _signed_permutations(filters)
        forth, forth_sign = _signed_permutations(patches)
        back = np.argsort(forth, axis=1)
        back_sign = np.take_along_axis(forth_sign, back, axis=1)
        own = np.arange(features.shape[1])
        swapped = np.flatnonzero((features != own).any(axis=0))
        even = np.flatnonzero(((features == own) & (features_sign > 0))[:NUM_VIEWS].all(axis=0))
        if not len(swapped) or not len(even):
            raise ValueError("the filters have no gradient or no even feature")
        first = int(swapped[0])
        second = int(features[features[:, first] != first, first][0])
        chosen = np.zeros(8, np.uint8)
        for code in range(8):
            # A pair with these signs and this order, and the one view that makes it (2, 1).
            sizes = (1, 2) if code & 4 else (2, 1)
            pair = np.zeros(len(own))
            pair[first] = -sizes[0] if code & 1 else sizes[0]
            pair[second] = -sizes[1] if code & 2 else sizes[1]
            turned = (pair[features] * features_sign)[:NUM_VIEWS]
            found = np.flatnonzero((turned[:, first] == 2) & (turned[:, second] == 1))
            if len(found) != 1:
                raise ValueError("the first gradients of the filters do not tell the views apart")
            chosen[code] = found[0]
        tables = (features, features_sign, forth, forth_sign, back, back_sign)
        return cls(*tables, (first, second), int(even[0]), chosen)

    def choose(self, features: np.ndarray) -> np.ndarray:
        """Choose the view `[n]` in which each vector is canonical: gradients positive and in order, even part too."""
        across, along = features[:, self.pair[0]], features[:, self.pair[1]]
        negative = features[:, self.even] < -TIE
        # The negative turns the gradients round, so the flips have to turn them the other way.
        sign = np.where(negative, np.float32(-1), np.float32(1))
        code = (across * sign < -TIE) + 2 * (along * sign < -TIE) + 4 * (np.abs(along) > np.abs(across) + TIE)
        return self.chosen[code] + np.uint8(NUM_VIEWS) * negative

    def turn_features(self, features: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Turn feature vectors `[n, d]` to those of windows seen in the views `[n]`."""
        return _turn(features, view, self.features, self.features_sign)

    def turn_patches(self, combined: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Turn combinations of patches `[n, q]` to those seen in the views `[n]`."""
        return _turn(combined, view, self.forth, self.forth_sign)

    def turn_patches_back(self, combined: np.ndarray, view: np.ndarray) -> np.ndarray:
        """Undo `turn_patches`."""
        return _turn(combined, view, self.back, self.back_sign)


def _turn(values: np.ndarray, view: np.ndarray, table: np.ndarray, sign: np.ndarray) -> np.ndarray:
    result = np.empty_like(values)
    for each in range(2 * NUM_VIEWS):
        rows = np.flatnonzero(view == each)
        result[rows] = values[rows][:, table[each]] * sign[each]
    return result


def view_indices(side: int) -> np.ndarray:
    """Order the pixels of a flat patch as each view shows them: `[8, side^2]`."""
    square = np.arange(side**2).reshape(side, side)
    return np.stack([np.rot90(s, turns).ravel() for s in (square, square[:, ::-1]) for turns in range(4)])


def _signed_permutations(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the coefficients of flat patches on `rows` `[n, side^2]` change in the sixteen views: `[16, n]` twice."""
    rows = rows.astype(np.float64)
    inverse = np.linalg.pinv(rows)
    turned = np.stack([rows @ inverse[indices] for indices in view_indices(round(rows.shape[1] ** 0.5))])
    whole = np.rint(turned)
    if np.abs(turned - whole).max() > 0.1 or not np.all(np.abs(whole).sum(axis=2) == 1):
        raise ValueError("filters or patches are not symmetric")
    table = np.abs(whole).argmax(axis=2)
    sign = np.take_along_axis(whole, table[..., None], axis=2)[..., 0].astype(np.float32)
    return np.concatenate([table, table]), np.concatenate([sign, -sign])


def windows(picture: np.ndarray, scale: int) -> np.ndarray:
    """View the window around every input pixel of an enlarged luma, mirrored outside: `[h, w, side, side]`."""
    padded = np.pad(picture, (WINDOW - 1) // 2 * scale, mode="symmetric")
    side = WINDOW * scale
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side))[::scale, ::scale]


def overlap_add(patches: np.ndarray, height: int, width: int, scale: int) -> np.ndarray:
    """Add patches `[h * w, (PATCH * scale)^2]`, each at its place: `[scale * (h + 2), scale * (w + 2)]`."""
    blocks = patches.reshape(height, width, PATCH, scale, PATCH, scale)
    total = np.zeros((height + PATCH - 1, scale, width + PATCH - 1, scale), np.float32)
    for row in range(PATCH):
        for column in range(PATCH):
            block = blocks[:, :, row, :, column, :].transpose(0, 2, 1, 3)
            total[row : row + height, :, column : column + width] += block
    return total.reshape(total.shape[0] * scale, -1)


def extract_patches(picture: np.ndarray, height: int, width: int, scale: int) -> np.ndarray:
    """Cut a picture `[scale * (h + 2), scale * (w + 2)]` into patches `[h * w, (PATCH * scale)^2]`.

    The adjoint of `overlap_add`.
    """
    blocks = picture.reshape(height + PATCH - 1, scale, width + PATCH - 1, scale)
    patches = np.empty((height, width, PATCH, scale, PATCH, scale), np.float32)
    for row in range(PATCH):
        for column in range(PATCH):
            block = blocks[row : row + height, :, column : column + width]
            patches[:, :, row, :, column, :] = block.transpose(0, 2, 1, 3)
    return patches.reshape(height * width, -1)


def without_border(picture: np.ndarray, border: int) -> np.ndarray:
    """Leave out `border` pixels on each side."""
    return picture[border : picture.shape[0] - border, border : picture.shape[1] - border]


class APlus(presets.SavedAsPreset):
    """An upscaler for photographs: bicubic, and luma corrected by the regressor of the nearest anchor.

    Chroma is bicubic. It has no gradients, so of the contract of the networks (`SuperResolutionModel`) what needs
    them, or layers, does not apply; what it takes and gives, the spec and presets are the same. It is an
    `isr.spec.Upscaler`; `isr.upscale`, `Predictor` and the command line take it, or the folder that `save_preset`
    writes. `isr.train.aplus.fit` makes one of photographs.

    Args:
        scale: what it enlarges by.
        stages: passes over the luma, each on the result of the one before; none: bicubic.
        name: for messages.

    Raises:
        ValueError: the arrays of a stage do not fit the scale or each other.

    Example:
        >>> model = APlus.from_preset("aplus_x2")
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 48, 64, 3)
    """

    def __init__(self, scale: int, stages: Sequence[Stage], *, name: str = "aplus") -> None:
        self.scale = scale
        self.stages = tuple(stages)
        self.name = name
        for index, stage in enumerate(self.stages):
            try:
                _check(stage, scale)
            except ValueError as error:
                raise ValueError(f"stage {index}: {error}") from None

    @property
    def spec(self) -> ModelSpec:
        """Return what tiling and evaluation need to know."""
        # Bicubic sees 2 pixels; a window and the patches that a pixel is a mean of, half a side each.
        radius = 2 + len(self.stages) * (WINDOW // 2 + PATCH // 2)
        radius += sum(max(REACHES) for stage in self.stages if len(stage.contexts))
        return ModelSpec(self.name, (self.scale,), num_channels=3, receptive_radius=radius)

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        """Enlarge pictures.

        Args:
            batch: `[b, h, w, 3]`, float about [0, 1].
            scale: None or the upscaler's own.

        Returns:
            `[b, scale * h, scale * w, 3]`, float32, about [0, 1], unclipped.

        Raises:
            ValueError: the scale or shape is another.
        """
        self.spec.check_scale(scale)
        if batch.ndim != 4 or batch.shape[-1] != 3:
            raise ValueError(f"{self.name} takes [batch, height, width, 3], not {batch.shape}")
        return np.stack([self._enlarge(picture) for picture in batch.astype(np.float32, copy=False)])

    def _enlarge(self, lr: np.ndarray) -> np.ndarray:
        bicubic = imresize(lr, scale=self.scale)
        luma = bicubic @ LUMA
        corrected = luma
        for stage in self.stages:
            corrected = corrected + stage(corrected)
        return bicubic + (corrected - luma)[..., None]

    # Weights by name: presets

    def named_weights(self) -> dict[str, np.ndarray]:
        """Name every array as a preset does, such as `stage0/anchors`."""
        return {
            f"stage{index}/{field.name}": getattr(stage, field.name)
            for index, stage in enumerate(self.stages)
            for field in fields(Stage)
            if field.name != "contexts" or len(stage.contexts)
        }

    def get_weights(self) -> list[np.ndarray]:
        """Give the arrays of `named_weights`."""
        return list(self.named_weights().values())

    def preset_arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain JSON values; the stages lie in the weights."""
        return {"scale": self.scale}

    @classmethod
    def from_preset(cls, preset: str | Path) -> Self:
        """Open the upscaler that a preset describes.

        Args:
            preset: a shipped name or a folder.

        Raises:
            RequestError: there is no such preset, it holds something else, or its arrays do not fit.
        """
        folder = presets.find(preset)
        config = presets.read_config(folder)
        if config["model"] != cls.__name__:
            raise RequestError(f"{preset}: holds the network {config['model']}, not {cls.__name__}")
        path = folder / presets.WEIGHTS
        stored = presets.read_safetensors(path)
        presets.check_numbers(stored, str(path))
        values = {name: v.astype(np.float32) if v.dtype.kind == "f" else v for name, v in stored.items()}
        count = len({name.partition("/")[0] for name in values})
        expected = {
            f"stage{index}/{field.name}"
            for index in range(count)
            for field in fields(Stage)
            if field.name != "contexts" or f"stage{index}/contexts" in values
        }
        if differing := sorted(expected.symmetric_difference(values)):
            raise RequestError(
                f"{path}: not the arrays of {cls.__name__} (first that differs: {differing[0]})"
            )
        try:
            stages = [
                Stage(
                    **{
                        path.partition("/")[2]: v
                        for path, v in values.items()
                        if path.startswith(f"stage{index}/")
                    }
                )
                for index in range(count)
            ]
            return cls(int(config["arguments"]["scale"]), stages, name=folder.resolve().name)
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(f"{path}: {error}") from None


def _check(stage: Stage, scale: int) -> None:
    """Raise ValueError unless shapes agree and the symmetries hold."""
    count, q, d = stage.regressors.shape
    k = len(stage.anchors)
    if count != k * max(1, len(stage.contexts)):
        raise ValueError(f"{count} regressors for {k} anchors and {len(stage.contexts)} contexts")
    shapes = {
        "filters": (d, (WINDOW * scale) ** 2),
        "patches": (q, (PATCH * scale) ** 2),
        "anchors": (k, d),
        "contexts": (len(stage.contexts), 1 + len(REACHES)),
        "cells": (len(stage.cells), d),
        "cell_sizes": (len(stage.cells),),
    }
    for name, shape in shapes.items():
        if getattr(stage, name).shape != shape:
            raise ValueError(f"{name} has shape {getattr(stage, name).shape}, not {shape}")
    if stage.cell_sizes.dtype.kind != "i" or stage.cell_sizes.min() < 0 or stage.cell_sizes.sum() != k:
        raise ValueError(f"cell_sizes must be whole numbers that add up to {k} anchors")
    _ = stage.views
