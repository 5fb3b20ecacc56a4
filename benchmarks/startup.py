"""Seconds from the shell to the picture: `isr predict` as a whole command, with its start.

    python benchmarks/startup.py PHOTO [--against CHECKOUT] [--part NAME ...] [--rounds 5]

PHOTO is made 360x240. Commands run in turn, each the best of the rounds; with another checkout of this repository, its
commands take turns with ours, and a ratio is printed. Every part warms up first, so that bytecode is there and, but
for `first`, what a cache keeps. Parts: `baseline`, `fast` and `aplus` (edsr_baseline_x2, edsr_fast_x2, aplus_x2),
`first` (an empty cache), `hundred` (100 pictures in one command, and the network's own time), `deep` (RRDBNet of 23
blocks with random weights, as `isr convert` would write it: its first run and later ones), `help`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import interleaved, machine
from PIL import Image

HERE = Path(__file__).resolve().parent.parent
PRESETS = {"baseline": "edsr_baseline_x2", "fast": "edsr_fast_x2", "aplus": "aplus_x2"}
PARTS = ("help", *PRESETS, "first", "hundred", "deep")


class Command:
    """`isr` of one checkout, with a cache folder of its own."""

    def __init__(self, name: str, checkout: Path, folder: Path) -> None:
        self.name = name
        self.cache = folder / f"cache of {name}"
        self.env = {**os.environ, "PYTHONPATH": str(checkout), "ISR_CACHE": str(self.cache)}
        # As installed: bytecode is kept.
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.checkout = checkout

    def __call__(self, *arguments: object) -> float:
        """Run it; returns seconds."""
        began = time.perf_counter()
        words = [sys.executable, "-m", "isr", *map(str, arguments)]
        subprocess.run(words, env=self.env, cwd=self.checkout, check=True, capture_output=True)
        return time.perf_counter() - began

    def forget(self) -> None:
        """Empty its cache."""
        shutil.rmtree(self.cache, ignore_errors=True)


def best(functions: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The least seconds of each, called in turn after one round that does not count."""
    found = [{name: function() for name, function in functions.items()} for _ in range(rounds + 1)][1:]
    return {name: min(each[name] for each in found) for name in functions}


def show(what: str, seconds: dict[str, float]) -> None:
    print(f"{what}: " + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()), end="")
    ours, *other = seconds.values()
    print(f", ratio {ours / other[0]:.2f}" if other else "", flush=True)


def deep_preset(folder: Path) -> None:
    """Write RRDBNet of 23 blocks and 64 features with random weights as a preset, x4."""
    from isr.runtimes.devices import import_keras

    import_keras()
    from isr.models import RRDBNet

    model = RRDBNet(num_blocks=23, num_features=64, scale=4)
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        for variable in layer.weights:
            fan = np.prod(variable.shape[:-1])
            if len(variable.shape) == 4:
                variable.assign(rng.standard_normal(variable.shape, np.float32) / np.sqrt(fan) * 0.7)
    model.save_preset(folder)


def network_seconds(preset: str, pixels: np.ndarray) -> float:
    """The network's own time for a picture, in this process."""
    from isr.predict.precision import resolve_precision
    from isr.predict.source import Network

    network = Network(preset, "auto")
    precision, _ = resolve_precision("auto", pixels.dtype, [network])
    upscaler = network.open(precision)
    batch = pixels[None].astype(np.float32) / 255
    return interleaved({"network": lambda: upscaler(batch)})["network"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deep-preset", type=Path, help="where it is, or is written")
    given = parser.parse_args()
    parts = given.part or PARTS
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photo = folder / "photo.png"
        picture = Image.open(given.photo).convert("RGB").resize((360, 240))
        picture.save(photo)
        commands = [Command("this", HERE, folder)]
        if given.against:
            commands.append(Command("other", given.against.resolve(), folder))

        def predict(command: Command, preset: object, *inputs: object) -> float:
            larger = ["predict", *inputs, "--preset", preset, "-o", folder / command.name, "--overwrite"]
            return command(*larger)

        if "help" in parts:
            show("isr --help", best({c.name: lambda c=c: c("--help") for c in commands}, given.rounds))
        for part, preset in PRESETS.items():
            if part in parts:
                runs = {c.name: lambda c=c, p=preset: predict(c, p, photo) for c in commands}
                show(f"{preset}, 240x360", best(runs, given.rounds))
        if "first" in parts:
            command = commands[0]

            def first() -> float:
                command.forget()
                return predict(command, "edsr_baseline_x2", photo)

            runs = {"first": first, "later": lambda: predict(command, "edsr_baseline_x2", photo)}
            show("edsr_baseline_x2, an empty cache", best(runs, given.rounds))
        if "hundred" in parts:
            many = folder / "many"
            many.mkdir()
            for index in range(100):
                shutil.copy(photo, many / f"{index:03}.png")
            command, preset = commands[0], "edsr_baseline_x2"
            predict(command, preset, photo)
            one = min(predict(command, preset, photo) for _ in range(3))
            own = network_seconds(preset, np.asarray(picture))
            hundred = predict(command, preset, many)
            bound = one - own + 100 * own
            print(
                f"100 pictures: {hundred:.1f} s; one start and 100 times {own:.3f} s: {bound:.1f} s, ", end=""
            )
            print(f"ratio {hundred / bound:.2f}", flush=True)
        if "deep" in parts:
            preset = given.deep_preset or folder / "deep"
            if not preset.is_dir():
                deep_preset(preset)
            command = commands[0]
            command.forget()
            command("--version")
            first_run = predict(command, preset, photo)
            later = min(predict(command, preset, photo) for _ in range(2))
            print(f"RRDBNet, 23 blocks, x4: first run {first_run:.2f} s, later {later:.2f} s", flush=True)


if __name__ == "__main__":
    main()
