"""How well blur kernels are estimated from one small picture: by its spectrum, and by its patches that recur.

    python benchmarks/kernels.py photos/val --pictures 4

Photographs are made small by five known Gaussian kernels, and rounded to 8 bits. What is printed is the share of each
kernel that lies elsewhere in the estimate, 0 to 1, as a mean over the photographs.

The second way is that of Michaeli and Irani, "Nonparametric Blind Super-Resolution" (ICCV 2013): a patch of the small
picture recurs in a still smaller one, and the part of the picture that the smaller patch was made of shows what the
patch was made of, too. Least squares over such pairs give the kernel, and with it another smaller picture.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import machine

from isr.adaptation.kernels import bicubic_kernel, reduce
from isr.adaptation.spectrum import estimate_blur
from isr.data.degrade.blur import gaussian_kernel
from isr.io.pictures import read
from isr.levels import from_float, to_float
from isr.metrics import LUMA_WEIGHTS

# Sigma along both axes in pixels of the photograph at scale 2, at other scales times scale / 2, and degrees.
KERNELS = ((0.8, 0.8, 0), (1.2, 1.2, 0), (1.8, 1.8, 0), (1.8, 0.8, 30), (2.4, 1.2, 110))
# Of recurrence: rounds, patches, those that each is compared with, their side, and the side of the picture.
ROUNDS, PATCHES, NEAREST, PATCH, SIDE = 4, 400, 2, 5, 150


def known_kernel(number: int, scale: int) -> np.ndarray:
    """One of the five, up to four sigmas."""
    *sigma, angle = KERNELS[number]
    longer, shorter = (each * scale / 2 for each in sigma)
    taps = 2 * math.ceil(4 * longer) + scale % 2
    return gaussian_kernel(taps, (longer, shorter), angle=math.radians(angle))


def name_of(number: int) -> str:
    """How the table calls a kernel."""
    longer, shorter, angle = KERNELS[number]
    return f"{longer:g}" if longer == shorter else f"{longer:g} x {shorter:g}, {angle} degrees"


def made_small(hr: np.ndarray, kernel: np.ndarray, scale: int) -> np.ndarray:
    """A photograph made small, in 8 bits."""
    return from_float(reduce(to_float(hr), kernel, scale), np.dtype(np.uint8))


def by_recurrence(pixels: np.ndarray, scale: int) -> np.ndarray:
    """The kernel by patches that recur."""
    rng = np.random.default_rng(0)
    luma = (to_float(pixels)[:SIDE, :SIDE] @ (LUMA_WEIGHTS / LUMA_WEIGHTS.sum())).astype(np.float32)
    sliding = np.lib.stride_tricks.sliding_window_view
    patches = without_mean(sliding(luma, (PATCH, PATCH)).reshape(-1, PATCH**2))
    energy = np.square(patches).sum(axis=1)
    textured = np.flatnonzero(energy > np.quantile(energy, 0.6))
    patches = patches[rng.choice(textured, min(PATCHES, len(textured)), replace=False)]
    side = 6 * scale + 2 - scale % 2
    under = sliding(np.pad(luma, (side - scale) // 2, mode="symmetric"), (side, side))
    offsets = [(row * scale, column * scale) for row in range(PATCH) for column in range(PATCH)]
    height, width = (length - (PATCH - 1) * scale for length in under.shape[:2])
    rough = roughness(side)
    kernel = gaussian_kernel(side, (0.45 * scale, 0.45 * scale))
    for _ in range(ROUNDS):
        # Of all offsets of the grid of the smaller picture.
        smaller = np.tensordot(under, kernel.astype(np.float32), axes=2)
        candidates = [smaller[row : row + height, column : column + width].ravel() for row, column in offsets]
        candidates = without_mean(np.stack(candidates, axis=-1))
        distances = np.square(candidates).sum(axis=1) - 2 * patches @ candidates.T
        nearest = np.argpartition(distances, NEAREST, axis=1)[:, :NEAREST]
        found = np.take_along_axis(distances, nearest, axis=1) + np.square(patches).sum(axis=1, keepdims=True)
        weights = np.exp(-found / np.median(found))
        matrix, right = np.zeros((side**2, side**2)), np.zeros(side**2)
        for number in range(NEAREST):
            row, column = np.divmod(nearest[:, number], width)
            parents = np.stack(
                [under[row + down, column + across].reshape(len(patches), -1) for down, across in offsets],
                axis=1,
            )
            parents = parents - parents.mean(axis=1, keepdims=True)
            root = np.sqrt(weights[:, number])
            rows = (parents * root[:, None, None]).reshape(-1, side**2)
            matrix += rows.T @ rows
            right += rows.T @ (patches * root[:, None]).ravel()
        penalty = 1e-2 * np.trace(matrix) / len(matrix) * rough + 1e-9 * np.eye(len(matrix))
        kernel = np.maximum(np.linalg.solve(matrix + penalty, right).reshape(side, side), 0)
        kernel[kernel < 0.02 * kernel.max()] = 0
        kernel /= kernel.sum()
    return kernel


def without_mean(patches: np.ndarray) -> np.ndarray:
    return patches - patches.mean(axis=1, keepdims=True)


def roughness(side: int) -> np.ndarray:
    """The sum of squared differences of neighbours in a kernel, as a quadratic form."""
    line = np.diff(np.eye(side), axis=0)
    form = line.T @ line
    return np.kron(form, np.eye(side)) + np.kron(np.eye(side), form)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The share of a kernel that lies elsewhere in another."""
    side = max(len(one), len(other))
    padded = [np.pad(each, (side - len(each)) // 2) for each in (one, other)]
    return float(np.abs(padded[0] - padded[1]).sum() / 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--pictures", type=int, help="only so many; default: all")
    given = parser.parse_args()
    ways: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
        "bicubic": lambda lr, scale: bicubic_kernel(scale),
        "spectrum": lambda lr, scale: estimate_blur(lr).kernel(scale),
        "recurrence": by_recurrence,
    }
    originals = [read(path).pixels for path in sorted(given.photos.glob("*.png"))[: given.pictures]]
    seconds = dict.fromkeys(ways, 0.0)
    means = []
    print(f"| sigma | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|", sep="\n")
    for number in range(len(KERNELS)):
        kernel = known_kernel(number, given.scale)
        rows = []
        for hr in originals:
            lr = made_small(hr, kernel, given.scale)
            row = []
            for name, way in ways.items():
                begun = time.process_time()
                row.append(distance(way(lr, given.scale), kernel))
                seconds[name] += time.process_time() - begun
            rows.append(row)
        means.append(np.mean(rows, axis=0))
        print(f"| {name_of(number)} | {' | '.join(f'{value:.3f}' for value in means[-1])} |", flush=True)
    print(f"| mean | {' | '.join(f'{value:.3f}' for value in np.mean(means, axis=0))} |")
    each = [f"{total / len(means) / len(originals):.2f}" for total in seconds.values()]
    print(f"| seconds of a processor each | {' | '.join(each)} |", machine(), sep="\n")


if __name__ == "__main__":
    main()
