"""What each part of A+ brings on photographs that it was not fitted to.

    python benchmarks/aplus.py PHOTOS/train PHOTOS/val --scale 2 --megapixels 6

Fits small upscalers that differ in one thing, scores them, and then the shipped one in several ways. Seconds are
processor time for a megapixel of the result.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from measure import machine

from isr import aplus as model_module
from isr.aplus import APlus, Views
from isr.data.pairs import find_pairs
from isr.evaluate import Protocol, evaluate, read_pairs
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.progress import Silent
from isr.train.aplus import Sample, Size, fit_stage, read_samples, specialise

ROUNDS = 2
FEATURES = 36


def fitted(samples: Iterable[Sample], scale: int, counts: Sequence[int], contexts: int = 1) -> APlus:
    """An upscaler with a stage for each count of anchors, with regressors for so many contexts."""
    samples, rng, model = copy.deepcopy(list(samples)), np.random.default_rng(0), APlus(scale, ())
    for count in counts:
        size = Size(count, FEATURES, min(FEATURES, 9 * scale**2), contexts)
        model = APlus(scale, (*model.stages, fit_stage(samples, scale, size, ROUNDS, rng, Silent())))
    return model


def report(
    what: str,
    model: APlus,
    val: Path,
    options: TileOptions = TileOptions(),  # noqa: B008  frozen
    trust: float | None = None,
) -> None:
    """One line of the table; with `trust`, the upscaler learns from each picture first."""
    scale = model.scale
    seconds, pixels = 0.0, 0

    def upscale(lr: np.ndarray) -> np.ndarray:
        nonlocal seconds, pixels
        began = time.process_time()
        own = model if trust is None else specialise(model, lr, trust=trust)
        sr = enlarge(own, lr, options)
        seconds, pixels = seconds + time.process_time() - began, pixels + sr.shape[0] * sr.shape[1]
        return sr

    mean = evaluate(upscale, read_pairs(find_pairs(val, None, scale), scale, 3), Protocol(scale)).mean
    gain, speed = mean.psnr - mean.bicubic_psnr, seconds / pixels * 1e6
    print(f"| {what} | {mean.psnr:.3f} dB | {gain:+.3f} dB | {speed:.2f} |", flush=True)


def no_views(views: Views, features: np.ndarray) -> np.ndarray:
    """Every feature as it is."""
    return np.zeros(len(features), np.uint8)


def compare_fits(train: Path, val: Path, scale: int, megapixels: float) -> None:
    """Small upscalers that differ in one thing."""
    samples = list(read_samples(train, scale, megapixels, np.random.default_rng(0), Silent()))
    for count in (16, 64, 256, 1024):
        report(f"{count} anchors", fitted(samples, scale, [count]), val)
    report("256 and 256 anchors, a cascade", fitted(samples, scale, [256, 256]), val)
    choose = Views.choose
    Views.choose = no_views  # type: ignore[method-assign]
    report("256 anchors, without the sixteen views", fitted(samples, scale, [256]), val)
    Views.choose = choose  # type: ignore[method-assign]


def compare_last_ways(train: Path, val: Path, scale: int, megapixels: float) -> None:
    """The sixth and the seventh of the seven ways: self-similarities, and reasoning with context."""
    samples = list(read_samples(train, scale, megapixels, np.random.default_rng(0), Silent()))
    for contexts in (1, 4):
        name = f"256 anchors, {contexts} context{'s' * (contexts > 1)}"
        report(name, fitted(samples, scale, [256], contexts), val)
    model = APlus.from_preset(f"aplus_x{scale}")
    report(f"aplus_x{scale}", model, val)
    for trust in (1000, 10_000):
        report(f"aplus_x{scale}, self-similarities, trust {trust}", model, val, trust=trust)


def compare_uses(val: Path, scale: int) -> None:
    """The shipped one in several ways."""
    shipped = f"aplus_x{scale}"
    model = APlus.from_preset(shipped)
    probes = model_module.PROBES
    for cells in (1, 2, 4, 8, max(len(stage.cells) for stage in model.stages)):
        model_module.PROBES = cells
        report(f"{shipped}, cells searched: {cells}", model, val)
    model_module.PROBES = probes
    report(f"{shipped}, back projection 2", model, val, TileOptions(back_projection=2))
    report(f"{shipped}, self-ensemble", model, val, TileOptions(self_ensemble=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--megapixels", type=float, default=6)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--shipped", action="store_true", help="only the shipped one")
    only.add_argument("--last-ways", action="store_true", help="only self-similarities and contexts")
    given = parser.parse_args()
    scale, val = given.scale, given.val

    print(machine())
    print("| A+ | PSNR-Y | over bicubic | seconds per megapixel |\n|---|---|---|---|")
    if given.last_ways:
        compare_last_ways(given.train, val, scale, given.megapixels)
        return
    if not given.shipped:
        compare_fits(given.train, val, scale, given.megapixels)
    compare_uses(val, scale)


if __name__ == "__main__":
    main()
