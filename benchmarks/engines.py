"""Seconds and decibels of every engine and precision, for networks of photographs and of video.

    python benchmarks/engines.py [PHOTOS] [--quick]

Time is measured on 180x320 pixels, for EDVR on windows of 88x160, all in turn in one run, against plain float32
TensorFlow; a line gives seconds per megapixel of input. With a folder of photographs the presets are also scored on
them: what is lost against float32 TensorFlow, in dB of PSNR-Y of 8-bit results, on average and at worst, and how far
the results are apart (PSNR between them). `--quick` leaves out RDN and EDVR.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from inference import torch_edsr
from measure import interleaved, machine

from isr.data.pairs import find_pairs
from isr.evaluate import read_pairs
from isr.metrics import psnr
from isr.models import EDVR, RDN
from isr.predict.picture import enlarge
from isr.predict.source import Network
from isr.predict.tiling import TileOptions
from isr.runtimes.engines import ENGINES

HEIGHT, WIDTH = 180, 320
PRESETS = ("edsr_baseline_x2", "edsr_baseline_x4")


def ways(source: Any) -> dict[str, Any]:
    """Every engine that is installed, in every precision that it has for this network, opened."""
    opened = {}
    for name in ("tensorflow", *(name for name, engine in ENGINES.items() if engine.installed)):
        network = Network(source, name)
        for precision in network.precisions:
            opened[f"{name} {precision}"] = network.open(precision)
    if network.num_frames == 1 and "openvino float32" in opened:
        opened["openvino, its own way"] = Untold(opened["openvino float32"])
    return opened


@dataclass
class Untold:
    """OpenVINO on the float32 file without a word on precision, as it takes the processor's fastest."""

    told: Any

    def __post_init__(self) -> None:
        import openvino

        self.spec = self.told.spec
        path = self.told.folder / f"x{self.spec.scales[0]}.xml"
        self.model = openvino.Core().compile_model(path, "CPU")

    def __call__(self, lr: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        return np.array(self.model({"lr": lr})[0], np.float32)


def random_model(model: Any) -> Any:
    """Weights of a network whose time alone matters; no bias stays zero, or it would be folded away."""
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(variable + 0.01 * rng.normal(size=variable.shape).astype("float32"))
    return model


def score(opened: dict[str, Any], scale: int, photos: Path) -> dict[str, str]:
    """What every way loses against the first, on photographs made smaller."""
    losses: dict[str, list[float]] = {name: [] for name in opened}
    apart: dict[str, list[float]] = {name: [] for name in opened}
    for _, lr, hr in read_pairs(find_pairs(photos, None, scale), scale, 3):
        lr = lr.astype(np.float32) / 255
        exact: tuple[np.ndarray, float] | None = None
        for name, upscaler in opened.items():
            sr = np.clip(enlarge(upscaler, lr, TileOptions()), 0, 1)
            found = psnr(np.floor(sr * 255 + 0.5).astype(np.uint8), hr, channel="y", border=scale)
            exact = exact or (sr, found)
            losses[name].append(exact[1] - found)
            apart[name].append(-10 * np.log10(np.mean((sr - exact[0]) ** 2) + 1e-20))
    return {
        name: f"{fmean(losses[name]):+.4f} dB, worst {max(losses[name]):+.4f}, {fmean(apart[name]):.1f} dB apart"
        for name in opened
    }


def report(title: str, opened: dict[str, Any], shape: tuple[int, ...], scores: dict[str, str]) -> None:
    """Time every way and print a table."""
    lr = np.random.default_rng(1).random(shape, np.float32)
    functions: dict[str, Callable[[], Any]] = {
        name: lambda upscaler=upscaler: upscaler(lr) for name, upscaler in opened.items()
    }
    torch_run = torch_edsr(HEIGHT, WIDTH) if title == PRESETS[0] else None
    if torch_run is not None:
        functions["PyTorch float32"] = torch_run
    seconds = interleaved(functions, rounds=7)
    plain = seconds["tensorflow float32"]
    print(f"\n{title}")
    for name, value in seconds.items():
        each = value / (shape[-3] * shape[-2] / 1e6)
        print(f"  {name:<22} {each:7.2f} s/MP  {value / plain:5.2f}x  {scores.get(name, '')}")


def main() -> None:
    print(machine())
    arguments = [argument for argument in sys.argv[1:] if argument != "--quick"]
    for preset in PRESETS:
        opened = ways(preset)
        scale = Network(preset).scales[0]
        scores = score(opened, scale, Path(arguments[0])) if arguments else {}
        report(preset, opened, (1, HEIGHT, WIDTH, 3), scores)
    if "--quick" in sys.argv:
        return
    rdn = random_model(RDN(2, num_features=64, growth=64, num_blocks=10, num_layers=3))
    report("RDN C3 D10 G64 x2", ways(rdn), (1, HEIGHT, WIDTH, 3), {})
    # Smaller: without the strips that Keras' backends compute in, deformable layers take gigabytes.
    report("EDVR-M x4, windows of 88x160", ways(random_model(EDVR())), (1, 5, 88, 160, 3), {})


if __name__ == "__main__":
    main()
