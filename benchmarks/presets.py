"""Quality of every preset for photographs over the time it takes: a table, and the picture in the docs.

    python benchmarks/presets.py docs/images/presets.svg

Times are seconds of processor time per megapixel of input, by the engine and precision that `isr predict` takes by
itself, the least of several rounds in turn; gains over bicubic are those of the presets' cards.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from measure import machine

import isr
from isr import presets

SIDES = (240, 360)  # of the input


def known() -> dict[str, tuple[int, float]]:
    """Presets of one scale for single pictures: their scales, and gains in dB."""
    found = {}
    for name in presets.shipped():
        facts = presets.read_config(presets.find(name)).get("facts", {})
        # Gains of presets with corners are on damaged pictures.
        plain = presets.num_frames(name) == 1 and not presets.has_corners(presets.find(name))
        if plain and len(presets.scales(name)) == 1:
            found[name] = (presets.scales(name)[0], float(facts["over_bicubic"].split()[0]))
    return found


def measure(names: list[str], rounds: int) -> dict[str, float]:
    """Processor seconds per megapixel of input."""
    photo = np.random.default_rng(0).integers(0, 256, (*SIDES, 3), np.uint8)
    best = dict.fromkeys(names, np.inf)
    for turn in range(rounds + 1):
        for name in names:
            started = time.process_time()
            isr.upscale(name, photo, engine="auto", precision="auto")
            if turn:  # the first opens the network
                best[name] = min(best[name], time.process_time() - started)
    return {name: seconds / (SIDES[0] * SIDES[1] / 1e6) for name, seconds in best.items()}


def draw(path: Path, gains: dict[str, tuple[int, float]], seconds: dict[str, float]) -> None:
    """Gain over time, a colour for each scale."""
    plt.rcParams.update({"svg.hashsalt": "presets", "font.size": 10, "font.family": "sans-serif"})
    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    for scale, colour in ((2, "#1f6feb"), (3, "#2da44e"), (4, "#bf5700")):
        own = sorted((name for name in gains if gains[name][0] == scale), key=seconds.__getitem__)
        axes.plot([seconds[n] for n in own], [gains[n][1] for n in own], "o", color=colour, label=f"x{scale}")
        place, aside = {2: ((0, 6), "center"), 3: ((7, -3), "left"), 4: ((0, -14), "center")}[scale]
        for name in own:
            point = (seconds[name], gains[name][1])
            axes.annotate(name, point, place, ha=aside, textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("processor seconds per megapixel of input")
    axes.set_ylabel("dB over bicubic, validation photographs")
    axes.margins(x=0.2, y=0.12)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path, nargs="?", help="an .svg file to draw")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    gains = known()
    seconds = measure(list(gains), arguments.rounds)
    print(machine())
    print("| preset | scale | seconds per megapixel | over bicubic |\n|---|---|---|---|")
    for name in sorted(gains, key=lambda name: (gains[name][0], seconds[name])):
        print(f"| `{name}` | x{gains[name][0]} | {seconds[name]:.2f} | {gains[name][1]:+.2f} dB |")
    if arguments.picture is not None:
        draw(arguments.picture, gains, seconds)


if __name__ == "__main__":
    main()
