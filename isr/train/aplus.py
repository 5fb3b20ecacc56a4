"""Fitting A+: features, anchors and regressors from a folder of photographs.

The way is that of A+ (see `isr.aplus` for the papers), with one change. A+ fits every regressor by ridge
regression to patches, as if patches did not overlap, and averages them afterwards. Here the regressors of all
anchors are fitted together, so that the averages are right: the least squares of the result, by preconditioned
conjugate gradients. The first step of these is A+'s own solution up to its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from isr.aplus import (
    LUMA,
    PATCH,
    ROWS,
    WINDOW,
    APlus,
    Places,
    Stage,
    extract_patches,
    nearest,
    surroundings,
    view_indices,
    windows,
    without_border,
)
from isr.data.pairs import find_pairs, read_pair
from isr.errors import RequestError
from isr.imresize import imresize
from isr.levels import to_float
from isr.progress import Progress, Silent, check_cancelled

# Sizes that every photograph is learnt from.
SHRINKS = (1.0, 0.7)
# Features that the anchors are the means of.
SAMPLES = 100_000
# Of k-means.
ROUNDS = 10
# Conjugate gradients for the regressor that all anchors have in common.
SHARED_ROUNDS = 2
# How much the mean of all anchors' samples counts beside an anchor's own.
FALLBACK = 0.1
# Weight of the penalty on regressors, relative to the mean square of their features.
RIDGE = 1e-3
# Mean square error below which a picture does not count more.
FLOOR = 1e-5
# Sizes of a picture that is learnt from by itself, and how many of its patches a fitted regressor counts as.
PYRAMID = (1.0, 0.8, 0.65)
TRUST = 10_000.0


@dataclass(frozen=True)
class Size:
    """How large a stage is: `num_anchors` regressors from `num_features` numbers to `num_patches`, in each context."""

    num_anchors: int
    num_features: int
    num_patches: int
    num_contexts: int = 1


@dataclass
class Sample:
    """A piece of a photograph while stages are fitted.

    Attributes:
        picture: its luma as enlarged so far, `[scale * h, scale * w]`.
        missing: the original's luma less `picture`.
        places: its features, sorted by anchor; None before there are anchors.
    """

    picture: np.ndarray
    missing: np.ndarray
    places: Places | None = None

    @property
    def weight(self) -> float:
        """Return what squared errors count: as in the mean PSNR, where an error is relative to the others."""
        return 1 / (float(np.mean(np.square(self.missing))) + FLOOR)


def fit(
    folder: str | Path,
    scale: int,
    *,
    num_anchors: Sequence[int] = (256, 128, 64),
    num_features: int = 36,
    num_patches: int = 36,
    megapixels: float = 36,
    rounds: int = 2,
    num_contexts: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> APlus:
    """Fit an A+ upscaler for photographs like those of a folder.

    Args:
        folder: photographs in high resolution; sub-folders are walked. The low resolution is made by MATLAB's
            bicubic rule.
        scale: what it shall enlarge by, 2 or more.
        num_anchors: regressors of each stage, all of which together are a cascade; fewer stages are faster.
        num_features: numbers that a window is described by.
        num_patches: components that a predicted patch is a sum of.
        megapixels: how much of the photographs is learnt from, in high resolution; about 60 bytes a pixel at scale 2.
        rounds: steps of the conjugate gradients; few of them also keep the regressors from learning by heart.
        num_contexts: kinds of surroundings, for each of which every anchor has a regressor of its own; 1: one.
        seed: the same seed gives the same upscaler on the same machine.
        progress: told of every photograph and step; asked for `cancelled` between them.

    Returns:
        The upscaler; `save_preset` writes it.

    Raises:
        RequestError: the folder holds no photographs or too few, a photograph cannot be read, or an argument is out
            of its range.
        Cancelled: the progress asked for it.

    Example:
        >>> model = fit("photos/train", scale=2)
        >>> model.save_preset("my_aplus")
    """
    smallest = {"scale": 2, "num_features": 6, "num_patches": 1, "rounds": 1, "num_contexts": 1}
    given = {
        "scale": scale,
        "num_features": num_features,
        "num_patches": num_patches,
        "rounds": rounds,
        "num_contexts": num_contexts,
    }
    for name, value in given.items():
        if value < smallest[name]:
            raise RequestError(f"{name}={value}: must be at least {smallest[name]}")
    if min(num_anchors, default=0) < 1:
        raise RequestError(f"num_anchors={tuple(num_anchors)}: give a count of 1 or more for every stage")
    progress = progress or Silent()
    rng = np.random.default_rng(seed)
    samples = list(read_samples(Path(folder), scale, megapixels, rng, progress))
    places = sum(sample.picture.size for sample in samples) // scale**2
    if max(num_anchors) > min(places, SAMPLES):
        raise RequestError(
            f"num_anchors={tuple(num_anchors)}: {folder} has {places} input pixels, and {SAMPLES} at most are "
            "drawn: take fewer anchors or add photographs"
        )
    if not any(float(np.mean(np.square(sample.missing))) > FLOOR for sample in samples):
        raise RequestError(f"{folder}: bicubic misses nothing in these photographs: take others, with edges")
    model = APlus(scale, ())
    for index, count in enumerate(num_anchors):
        size = Size(count, num_features, num_patches, num_contexts)
        steps = SHARED_ROUNDS + rounds * (2 if num_contexts > 1 else 1)
        progress.start(f"stage {index + 1} of {len(num_anchors)}", steps, "steps")
        model = APlus(scale, (*model.stages, fit_stage(samples, scale, size, rounds, rng, progress)))
    return model


def read_samples(
    folder: Path, scale: int, megapixels: float, rng: np.random.Generator, progress: Progress
) -> Iterator[Sample]:
    """Read a square of every photograph in every size, `megapixels` in all unless the photographs are smaller."""
    files = find_pairs(folder, None, scale)
    side = max(WINDOW, int((megapixels * 1e6 / (len(files) * len(SHRINKS))) ** 0.5) // scale)
    progress.start("read", len(files), "photographs")
    for file in files:
        check_cancelled(progress)
        for shrink in SHRINKS:
            lr, hr = read_pair(replace(file, shrink=shrink), scale, 3)
            height, width = (min(side, length) for length in lr.shape[:2])
            top, left = (
                rng.integers(0, length - side + 1) if length > side else 0 for length in lr.shape[:2]
            )
            if min(height, width) < WINDOW:
                continue
            lr = lr[top : top + height, left : left + width]
            hr = hr[scale * top : scale * (top + height), scale * left : scale * (left + width)]
            picture = imresize(to_float(lr) @ LUMA, scale=scale)
            yield Sample(picture, to_float(hr) @ LUMA - picture)
        progress.advance()


def fit_stage(
    samples: Sequence[Sample],
    scale: int,
    size: Size,
    rounds: int,
    rng: np.random.Generator,
    progress: Progress,
) -> Stage:
    """Fit the stage that adds to the samples' pictures what is missing; afterwards they are what it makes of them."""
    filters = make_filters(samples, scale, size.num_features)
    patches = make_patches(samples, scale, size.num_patches)
    nothing = np.zeros((size.num_anchors, len(patches), len(filters)), np.float32)
    stage = Stage(filters, patches, *make_anchors(samples, filters, patches, size.num_anchors, rng), nothing)
    for sample in samples:
        check_cancelled(progress)
        sample.places = stage.encode(sample.picture)
    problem = Regression(stage, samples, progress)
    common = problem.solve(SHARED_ROUNDS, common=True)
    stage = replace(stage, regressors=common + problem.solve(rounds))
    if size.num_contexts > 1:
        stage = with_contexts(stage, samples, size.num_contexts, rounds, rng, progress)
    for sample in samples:
        sample.places = None
    return stage


def with_contexts(
    stage: Stage,
    samples: Sequence[Sample],
    count: int,
    rounds: int,
    rng: np.random.Generator,
    progress: Progress,
) -> Stage:
    """Give every anchor of a fitted stage a regressor for each kind of surroundings (Timofte et al. 2016).

    They begin with the anchor's own and are fitted to what that misses, so where a context has few samples it stays
    near.

    Args:
        stage: without contexts.
        samples: after the stage, with places.
        count: of contexts.
        rounds: steps of the conjugate gradients.
        rng: of the samples that contexts are the means of.
        progress: told of every step.
    """
    drawn = []
    for sample in samples:
        places = _places(sample)
        features = np.empty_like(places.features)
        features[places.order] = places.features
        around = surroundings(features, places.height, places.width)
        drawn.append(
            around[rng.choice(len(around), min(len(around), SAMPLES // len(samples) + 1), replace=False)]
        )
    contexts = middles(np.concatenate(drawn), count, rng)
    regressors = np.tile(stage.regressors, (len(contexts), 1, 1))
    blank = replace(stage, contexts=contexts, regressors=np.zeros_like(regressors))
    for sample in samples:
        check_cancelled(progress)
        # As the places were found, before what was missing was added.
        sample.places = in_contexts(_places(sample), blank)
    return replace(blank, regressors=regressors + Regression(blank, samples, progress).solve(rounds))


def in_contexts(places: Places, stage: Stage) -> Places:
    """Sort places by anchor and context instead of by anchor alone."""
    anchor = np.repeat(np.arange(len(stage.anchors), dtype=np.int32), np.diff(places.bounds))
    features = np.empty_like(places.features)
    features[places.order] = places.features
    around = nearest(surroundings(features, places.height, places.width), stage.contexts)[places.order]
    anchor += around * np.int32(len(stage.anchors))
    order = np.argsort(anchor, kind="stable")
    bounds = np.searchsorted(anchor[order], np.arange(len(stage.regressors) + 1))
    return replace(
        places,
        features=places.features[order],
        view=places.view[order],
        order=places.order[order],
        bounds=bounds,
    )


def middles(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Means `[count, d]` of groups of vectors `[n, d]` that lie near each other (k-means)."""
    means = vectors[rng.choice(len(vectors), count, replace=False)]
    for _ in range(ROUNDS):
        group = nearest(vectors, means)
        means = np.stack(
            [
                vectors[group == each].mean(axis=0) if (group == each).any() else means[each]
                for each in range(count)
            ]
        )
    return means.astype(np.float32)


def specialise(model: APlus, image: np.ndarray, *, trust: float = TRUST, rounds: int = 2) -> APlus:
    """Let an upscaler learn from the one picture that it shall enlarge: from patches of the picture's own pyramid.

    The picture and reductions of it are made smaller by the bicubic rule. What the upscaler misses of them is what its
    regressors learn (the self-similarities of Timofte et al. 2016).

    Args:
        model: fitted to photographs; it is not changed.
        image: `[h, w, c]`, gray or RGB, integers of the full range or float in [0, 1].
        trust: how many patches of the picture a regressor counts as, beside its own.
        rounds: steps of the conjugate gradients.

    Returns:
        An upscaler for this picture; the model itself where the picture is too small or too even to learn from.

    Example:
        >>> picture = np.random.default_rng(0).random((64, 64, 3))
        >>> model = specialise(APlus.from_preset("aplus_x2"), picture)
        >>> model(picture[None].astype("float32")).shape
        (1, 128, 128, 3)
    """
    samples = list(pyramid(image, model.scale))
    if not any(float(np.mean(np.square(sample.missing))) > FLOOR for sample in samples):
        return model
    stages = []
    for stage in model.stages:
        for sample in samples:
            sample.places = stage.encode(sample.picture)
            made = without_border(stage.decode(sample.places, stage.regressors), stage.scale)
            sample.picture += made
            sample.missing -= made
        change = Regression(stage, samples, Silent()).solve(rounds, trust=trust)
        stages.append(replace(stage, regressors=stage.regressors + change))
    return APlus(model.scale, stages, name=model.name)


def pyramid(image: np.ndarray, scale: int) -> Iterator[Sample]:
    """A picture and reductions of it, as samples."""
    picture = to_float(image)
    luma = picture @ LUMA if picture.shape[-1] == 3 else picture[..., 0]
    for shrink in PYRAMID:
        hr = luma if shrink == 1 else imresize(luma, scale=shrink)
        height, width = (side - side % scale for side in hr.shape)
        if min(height, width) < 2 * WINDOW * scale:
            continue
        hr = hr[:height, :width]
        # As coarse as a picture of 8 bits.
        lr = np.rint(np.clip(imresize(hr, scale=1 / scale), 0, 1) * 255).astype(np.float32) / np.float32(255)
        enlarged = imresize(lr, scale=scale)
        yield Sample(enlarged, hr - enlarged)


# Features, patches and anchors


def make_filters(samples: Sequence[Sample], scale: int, count: int) -> np.ndarray:
    """Make the principal components `[count, (WINDOW * scale)^2]` of first and second differences of windows.

    The differences themselves are never made: with G the sum of their squares as a quadratic form of the window, their
    principal components are those of G^(1/2) C G^(1/2), C the covariance of windows.
    """
    side = WINDOW * scale
    covariance = np.zeros((side**2, side**2))
    for sample in samples:
        rows = windows(sample.picture, scale)[2::5, 2::5].reshape(-1, side**2).astype(np.float64)
        covariance += sample.weight * (rows.T @ rows)
    values, vectors = np.linalg.eigh(sum_of_squared_differences(side, scale))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    components = symmetric_components(root @ all_views(covariance) @ root, count)
    return (components @ root).astype(np.float32)


def make_patches(samples: Sequence[Sample], scale: int, count: int) -> np.ndarray:
    """Make the principal components `[count, (PATCH * scale)^2]` of what is missing of patches."""
    side = PATCH * scale
    covariance = np.zeros((side**2, side**2))
    for sample in samples:
        height, width = (length // scale - PATCH + 1 for length in sample.missing.shape)
        rows = extract_patches(sample.missing, height, width, scale)[::7].astype(np.float64)
        covariance += sample.weight * (rows.T @ rows)
    return symmetric_components(all_views(covariance), count).astype(np.float32)


def all_views(covariance: np.ndarray) -> np.ndarray:
    """Compute the covariance `[side^2, side^2]` of flat patches and of their flips and turns, of trace 1."""
    total = sum(covariance[np.ix_(view, view)] for view in view_indices(round(len(covariance) ** 0.5)))
    return np.asarray(total / max(float(np.trace(total)), 1e-30))


def sum_of_squared_differences(side: int, step: int) -> np.ndarray:
    """Compute the quadratic form `[side^2, side^2]` of A+'s gradients, across and along.

    With s the step, an input pixel: x[i + s] - x[i] and x[i + 2s] / 2 - x[i + s] + x[i] / 2.
    """
    form = np.zeros((side**2, side**2))
    index = np.arange(side**2).reshape(side, side)
    for lines in (index, index.T):
        for kernel in ((-1.0, 1.0), (0.5, -1.0, 0.5)):
            reach = side - step * (len(kernel) - 1)
            rows = np.zeros((side * reach, side**2))
            for tap, value in enumerate(kernel):
                rows[np.arange(len(rows)), lines[:, tap * step : tap * step + reach].ravel()] = value
            form += rows.T @ rows
    return form


def symmetric_components(form: np.ndarray, count: int) -> np.ndarray:
    """Compute the first principal components `[count, side^2]`, by size, that flips and turns only permute and negate.

    A form that is the same in all views has eigenvectors of five kinds: those that each of a flip across, a flip
    along and a transposition keep or negate, and pairs that are odd one way, which the transposition exchanges.
    `count` may be missed by one, as pairs are not parted.
    """
    side = round(len(form) ** 0.5)
    index = np.arange(side**2).reshape(side, side)
    eye = np.eye(side**2)
    across, along, transposed = eye[index[:, ::-1].ravel()], eye[index[::-1].ravel()], eye[index.T.ravel()]

    def eigenvectors(projector: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
        kept, basis = np.linalg.eigh(projector)
        basis = basis[:, kept > 0.5]
        values, vectors = np.linalg.eigh(basis.T @ form @ basis)
        yield from zip(values.tolist(), (basis @ vectors).T, strict=True)

    found: list[tuple[float, list[np.ndarray]]] = []
    for flips in (1, -1):
        for swap in (1, -1):
            kind = (eye + flips * across) @ (eye + flips * along) @ (eye + swap * transposed) / 8
            found += [(value, [vector]) for value, vector in eigenvectors(kind)]
    odd = (eye - across) @ (eye + along) / 4
    found += [(value, [vector, transposed @ vector]) for value, vector in eigenvectors(odd)]
    found.sort(key=lambda each: -each[0])
    rows: list[np.ndarray] = []
    for _, vectors in found:
        if len(rows) + len(vectors) <= count:
            rows += vectors
    return np.array(rows)


def make_anchors(
    samples: Sequence[Sample], filters: np.ndarray, patches: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Anchors, cells and sizes of cells of a `Stage`: means of features, and means of these.

    Places are drawn by the square of their features: smooth ones need no anchor.
    """
    blank = Stage(filters, patches, *(np.zeros((0, len(filters)), np.float32),) * 4)
    drawn = []
    for sample in samples:
        features = blank.features(sample.picture)
        energy = np.square(features).sum(axis=1) + 1e-12
        drawn.append(
            features[rng.choice(len(features), SAMPLES // len(samples) + 1, p=energy / energy.sum())]
        )
    features = np.concatenate(drawn)
    anchors = kmeans(blank.views.turn_features(features, blank.views.choose(features)), count, rng)
    cells = kmeans(anchors, max(1, round(count**0.5)), rng)
    cell = (anchors @ cells.T).argmax(axis=1)
    sizes = np.bincount(cell, minlength=len(cells)).astype(np.int32)
    return anchors[np.argsort(cell, kind="stable")], cells, sizes


def kmeans(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Find means `[count, d]` of length 1 of the directions of vectors `[n, d]`, n at least `count` (k-means)."""
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    means = vectors[rng.choice(len(vectors), count, replace=False)]
    for _ in range(ROUNDS):
        parts = (vectors[start : start + ROWS] for start in range(0, len(vectors), ROWS))
        nearest = np.concatenate([(part @ means.T).argmax(axis=1) for part in parts])
        order = np.argsort(nearest, kind="stable")
        bounds = np.searchsorted(nearest[order], np.arange(count + 1))
        for index in np.flatnonzero(np.diff(bounds)):
            mean = vectors[order[bounds[index] : bounds[index + 1]]].sum(axis=0)
            means[index] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return means.astype(np.float32)


# Regressors


class Regression:
    """The regressors R of a stage as a problem of least squares, and what of it is solved so far.

    It minimises the sum over samples of weight * |missing - D R|^2, D R the overlapping means of what R predicts, plus
    R[i] P[i] R[i]^T for every anchor i. P is a ridge and, once a common regressor is taken off, a share of the mean
    of all anchors' features: an anchor with few samples of its own stays near the common one.

    Args:
        stage: all but the regressors.
        samples: with places.
        progress: told of every step.
    """

    def __init__(self, stage: Stage, samples: Sequence[Sample], progress: Progress) -> None:
        self.stage = stage
        self.samples = samples
        self.progress = progress
        self.weights = [sample.weight for sample in samples]
        k, _, d = stage.regressors.shape
        self.gram = np.zeros((k, d, d))
        for sample, weight in zip(samples, self.weights, strict=True):
            for anchor, rows in _places(sample).of_each_anchor():
                features = _places(sample).features[rows]
                self.gram[anchor] += weight * (features.T @ features)
        # Every pixel is the mean of so many predictions.
        self.gram /= PATCH**2

    def solve(self, rounds: int, *, common: bool = False, trust: float | None = None) -> np.ndarray:
        """Compute regressors `[k, q, d]` that lessen what is missing most, and take it off the samples.

        Args:
            rounds: steps of the conjugate gradients.
            common: one regressor for all anchors, `[1, q, d]`.
            trust: how many mean samples a regressor counts as that stays as it is; None: a tenth of an anchor's.
        """
        gram = self.gram.sum(axis=0, keepdims=True) if common else self.gram
        d = gram.shape[-1]
        ridge = RIDGE * np.trace(gram, axis1=1, axis2=2) / d + 1e-9
        penalty = ridge[:, None, None] * np.eye(d)
        if trust is not None:
            count = sum(len(_places(sample).order) for sample in self.samples)
            penalty = penalty + trust / count * self.gram.sum(axis=0)
        elif not common:
            penalty = penalty + FALLBACK * self.gram.mean(axis=0)
        nearly_inverse = np.linalg.inv(gram + penalty).astype(np.float32)
        penalty = penalty.astype(np.float32)

        found = np.zeros((len(gram), *self.stage.regressors.shape[1:]), np.float32)
        direction = np.zeros_like(found)
        before = 1.0
        for _ in range(rounds):
            check_cancelled(self.progress)
            gradient = self.gradient(common) - found @ penalty
            downhill = gradient @ nearly_inverse
            slope = float(np.vdot(gradient, downhill))
            direction = downhill + slope / before * direction
            before = slope
            changes = [self.predict(sample, direction) for sample in self.samples]
            curvature = float(np.vdot(direction, direction @ penalty))
            for change, weight in zip(changes, self.weights, strict=True):
                curvature += weight * float(np.vdot(change, change))
            step = np.float32(slope / max(curvature, 1e-30))
            found += step * direction
            for sample, change in zip(self.samples, changes, strict=True):
                sample.picture += step * change
                sample.missing -= step * change
            self.progress.advance()
        return found

    def predict(self, sample: Sample, regressors: np.ndarray) -> np.ndarray:
        """D R for a sample; regressors `[k, q, d]` or `[1, q, d]`."""
        whole = np.broadcast_to(regressors, self.stage.regressors.shape)
        return without_border(self.stage.decode(_places(sample), whole), self.stage.scale)

    def gradient(self, common: bool) -> np.ndarray:
        """Compute the transpose of D on what is missing, `[k, q, d]` or `[1, q, d]`."""
        stage, total = self.stage, np.zeros_like(self.stage.regressors)
        for sample, weight in zip(self.samples, self.weights, strict=True):
            places = _places(sample)
            missing = np.pad(sample.missing * np.float32(weight / PATCH**2), stage.scale)
            combined = extract_patches(missing, places.height, places.width, stage.scale) @ stage.patches.T
            combined = stage.views.turn_patches(combined[places.order], places.view)
            for anchor, rows in places.of_each_anchor():
                total[anchor] += combined[rows].T @ places.features[rows]
        return total.sum(axis=0, keepdims=True) if common else total


def _places(sample: Sample) -> Places:
    assert sample.places is not None
    return sample.places
