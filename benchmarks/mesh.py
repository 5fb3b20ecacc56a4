"""How much of a mesh networks lay over photographs: energy that repeats with the scale, beside that of the original.

    python benchmarks/mesh.py PHOTOS/val restored=photo_x4 textured=runs/textured/last --side 256

A network that enlarges s times treats all LR pixels alike, so what it adds without cause in the picture repeats every
s pixels: its energy lies at the frequencies i / s, j / s. In blocks of 32 x 32 pixels, half over each other, the
energy there is compared with that two and three steps of 1 / 32 away, in dB. The first number is the mean over the
blocks, less that of the original: 0 where the picture has no more of a mesh than the photograph, and below 0 where it
lacks detail there, as bicubic interpolation does. A mesh that comes and goes lies beside these frequencies. So the
second number is the most that any frequency has over the original, in dB, with the frequency behind it in steps of
1 / 32 down and across: texture that is well spread stays at 0 or below.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
from corners import DAMAGES, enlarged, middles
from measure import machine

from isr.data.degrade import STRENGTHS, FixedDegradation
from isr.data.pairs import find_pairs
from isr.evaluate import read_pairs
from isr.imresize import imresize
from isr.metrics import luma
from isr.models.loading import load
from isr.runtimes import as_upscaler

SIDE = 32
# Of a value of 8 bits: what rounding adds to every frequency, so that flat blocks do not count as a mesh.
NOISE = 1 / 12


def spectrum(picture: np.ndarray) -> np.ndarray:
    """Compute the energy of the blocks of a picture at every frequency.

    Args:
        picture: uint8 `[h, w, c]`, at least 32 pixels high and wide.

    Returns:
        float `[n, 32, 32]`, by steps of 1 / 32 down and across.
    """
    y = np.asarray(luma(picture), np.float64)
    blocks = np.lib.stride_tricks.sliding_window_view(y, (SIDE, SIDE))[:: SIDE // 2, :: SIDE // 2]
    blocks = blocks.reshape(-1, SIDE, SIDE)
    window = np.hanning(SIDE + 1)[:-1]
    window = np.outer(window, window)
    blocks = (blocks - blocks.mean((-2, -1), keepdims=True)) * window
    return np.asarray(np.abs(np.fft.fft2(blocks)) ** 2 / np.sum(window**2) + NOISE)


def mesh(energy: np.ndarray, period: int) -> float:
    """Measure the mesh of a picture.

    Args:
        energy: what `spectrum` gave.
        period: of the mesh in pixels, a divisor of 32.

    Returns:
        Energy at the frequencies of the mesh over that of their surroundings, in dB, mean over the blocks.
    """
    step = SIDE // period
    places = np.zeros((SIDE, SIDE), bool)
    places[::step, ::step] = True
    places[0, 0] = False
    # The window spreads a frequency over its neighbours; those beyond them are the surroundings.
    distance = np.minimum(np.arange(SIDE) % step, -np.arange(SIDE) % step)
    around = np.maximum.outer(distance, distance)
    near = (around >= 2) & (around <= 3)
    near[:4, :4] = near[-3:, :4] = near[:4, -3:] = near[-3:, -3:] = False
    ratio = energy[:, places].mean(-1) / energy[:, near].mean(-1)
    return float(decibel(ratio).mean())


def highest(excess: np.ndarray) -> tuple[float, int, int]:
    """Find the frequency with the most energy over the original.

    Args:
        excess: in dB, `[32, 32]`.

    Returns:
        How much, and where, down and across, of the half that stands for all.
    """
    half = excess[: SIDE // 2 + 1].copy()
    # Brightness and slow gradients are no pattern.
    half[:2, :2] = half[:2, -1:] = -np.inf
    down, across = np.unravel_index(half.argmax(), half.shape)
    return float(half[down, across]), int(down), int(across)


def decibel(ratio: np.ndarray) -> np.ndarray:
    """Express a ratio of energies in dB."""
    return 10 * np.log10(ratio)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("networks", nargs="+", help="NAME=PRESET, all of one scale: 2 or 4")
    parser.add_argument(
        "--side", type=int, help="of the middle of each photograph, in HR pixels; default: all of it"
    )
    parser.add_argument("--damages", nargs="+", choices=DAMAGES, default=["real"])
    arguments = parser.parse_args()

    networks = {}
    for name, preset in (text.split("=", 1) for text in arguments.networks):
        network = load(preset)
        (scale,) = network.scales
        networks[name] = partial(enlarged, as_upscaler(network.with_policy("mixed_bfloat16")), scale)
    networks = {"bicubic": partial(imresize, scale=scale), **networks}
    files = find_pairs(arguments.photos, None, scale)
    print(f"{machine()}; x{scale}, {len(files)} photographs\n")
    print(f"| damage | {' | '.join(networks)} |\n{'|---' * (len(networks) + 1)}|")
    for fixed in (
        FixedDegradation(damage, strength) for damage in arguments.damages for strength in STRENGTHS
    ):
        meshes: dict[str, list[float]] = {name: [] for name in networks}
        excess = {name: np.zeros((SIDE, SIDE)) for name in networks}
        for _, lr, hr in read_pairs(files, scale, 3, fixed):
            if arguments.side:
                lr, hr = middles(lr, hr, arguments.side, scale)
            own = spectrum(hr)
            for name, network in networks.items():
                found = spectrum(network(lr))
                meshes[name].append(mesh(found, scale) - mesh(own, scale))
                excess[name] += decibel(found / own).mean(0) / len(files)
        cells = []
        for name in networks:
            most, down, across = highest(excess[name])
            cells.append(f"{fmean(meshes[name]):+.1f}, {most:+.1f} ({down}, {across})")
        print(f"| {fixed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
