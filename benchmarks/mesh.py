"""How much of a mesh networks lay over photographs: energy that repeats with the scale, beside that of the original.

    python benchmarks/mesh.py PHOTOS/val restored=photo_x4 textured=runs/textured/last --side 256

A network that enlarges s times treats all LR pixels alike, so what it adds without cause in the picture repeats every
s pixels: its energy lies at the frequencies i / s, j / s. In blocks of 32 x 32 pixels, half over each other, the
energy there is compared with that two and three steps of 1 / 32 away, in dB. What is printed is the mean over the
blocks, less that of the original: 0 where the picture has no more of a mesh than the photograph, and below 0 where it
lacks detail there, as bicubic interpolation does.
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


def mesh(picture: np.ndarray, period: int) -> float:
    """Measure the mesh of a picture.

    Args:
        picture: uint8 `[h, w, c]`, at least 32 pixels high and wide.
        period: of the mesh in pixels, a divisor of 32.

    Returns:
        Energy at the frequencies of the mesh over that of their surroundings, in dB, mean over the blocks.
    """
    y = np.asarray(luma(picture), np.float64)
    blocks = np.lib.stride_tricks.sliding_window_view(y, (SIDE, SIDE))[:: SIDE // 2, :: SIDE // 2]
    window = np.hanning(SIDE + 1)[:-1]
    window = np.outer(window, window)
    blocks = (blocks - blocks.mean((-2, -1), keepdims=True)) * window
    energy = np.abs(np.fft.fft2(blocks)) ** 2 / np.sum(window**2) + NOISE
    step = SIDE // period
    places = np.zeros((SIDE, SIDE), bool)
    places[::step, ::step] = True
    places[0, 0] = False
    # The window spreads a frequency over its neighbours; those beyond them are the surroundings.
    distance = np.minimum(np.arange(SIDE) % step, -np.arange(SIDE) % step)
    around = np.maximum.outer(distance, distance)
    near = (around >= 2) & (around <= 3)
    near[:4, :4] = near[-3:, :4] = near[:4, -3:] = near[-3:, -3:] = False
    ratio = energy[..., places].mean(-1) / energy[..., near].mean(-1)
    return float(10 * np.log10(ratio).mean())


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
    parser.add_argument("--each", action="store_true", help="a row for every photograph, too")
    arguments = parser.parse_args()

    networks = {}
    for name, preset in (text.split("=", 1) for text in arguments.networks):
        network = load(preset)
        (scale,) = network.scales
        networks[name] = partial(enlarged, as_upscaler(network.with_policy("mixed_bfloat16")), scale)
    networks = {"bicubic": partial(imresize, scale=scale), **networks}
    files = find_pairs(arguments.photos, None, scale)
    print(f"{machine()}; x{scale}, {len(files)} photographs\n")
    print(f"| damage | photograph | {' | '.join(networks)} |\n{'|---' * (len(networks) + 2)}|")
    for fixed in (
        FixedDegradation(damage, strength) for damage in arguments.damages for strength in STRENGTHS
    ):
        found: dict[str, list[float]] = {name: [] for name in networks}
        for photograph, lr, hr in read_pairs(files, scale, 3, fixed):
            if arguments.side:
                lr, hr = middles(lr, hr, arguments.side, scale)
            own = mesh(hr, scale)
            for name, network in networks.items():
                found[name].append(mesh(network(lr), scale) - own)
            if arguments.each:
                cells = " | ".join(f"{values[-1]:+.2f} dB" for values in found.values())
                print(f"| {fixed} | {photograph} | {cells} |", flush=True)
        cells = " | ".join(f"{fmean(values):+.2f} dB" for values in found.values())
        print(f"| {fixed} | mean | {cells} |", flush=True)


if __name__ == "__main__":
    main()
