"""What the techniques of Timofte et al. 2016 bring, on pictures of high resolution: PSNR-Y and seconds.

    python benchmarks/seven_ways.py PHOTOS [--crop 480] [--only PATTERN] [--contexts FOLDER]

Each picture is cropped about its middle, reduced by MATLAB's rule, enlarged in float32 and rounded to 8 bits; the
border of `scale` pixels does not count. Seconds are processor time for all pictures, of all threads. FOLDER is an A+
for x2 that was fitted with contexts, as a preset.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from measure import machine

from isr import presets
from isr.aplus import APlus
from isr.data.pairs import find_pairs
from isr.imresize import imresize
from isr.io.pictures import read
from isr.metrics import psnr
from isr.models import Cascade
from isr.predict.picture import enlarge
from isr.predict.source import Network
from isr.predict.tiling import TileOptions
from isr.spec import Upscaler
from isr.train.aplus import specialise


@dataclass(frozen=True)
class Way:
    """A row of the table: `make` gives the network, None for bicubic; A+ may learn from each picture first."""

    scale: int
    name: str
    make: Callable[[], Upscaler | None]
    options: TileOptions = TileOptions()  # noqa: RUF009  frozen
    learns: bool = False


def ways(contexts: Path | None) -> Iterator[Way]:
    """The rows, in the order of the table."""

    def preset(name: str) -> Callable[[], Upscaler]:
        return lambda: Network(name).open()

    def cascade(name: str) -> Callable[[], Upscaler]:
        return lambda: Network(Cascade([name, name])).open()

    ensemble = TileOptions(self_ensemble=True)
    yield Way(2, "bicubic", lambda: None)
    for name in ("aplus_x2", "edsr_fast_x2", "edsr_baseline_x2"):
        if name not in presets.shipped():
            continue
        yield Way(2, name, preset(name))
        for rounds in (1, 2, 5):
            yield Way(
                2, f"{name}, back projection {rounds}", preset(name), TileOptions(back_projection=rounds)
            )
        yield Way(2, f"{name}, enhanced prediction", preset(name), ensemble)
        both = TileOptions(self_ensemble=True, back_projection=2)
        yield Way(2, f"{name}, enhanced prediction, back projection 2", preset(name), both)
    yield Way(2, "aplus_x2, self-similarities", lambda: APlus.from_preset("aplus_x2"), learns=True)
    if contexts is not None:
        fitted = APlus.from_preset(contexts)
        count = len(fitted.stages[0].contexts)
        yield Way(2, f"aplus_x2 with {count} contexts", lambda: fitted)
        yield Way(2, f"aplus_x2 with {count} contexts, self-similarities", lambda: fitted, learns=True)
    yield Way(4, "bicubic", lambda: None)
    for name in ("aplus_x4", "edsr_baseline_x4", "mdsr_baseline"):
        if name in presets.shipped():
            yield Way(4, name, preset(name))
    for name in ("edsr_fast_x2", "edsr_baseline_x2"):
        if name in presets.shipped():
            yield Way(4, f"cascade of {name} twice", cascade(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--crop", type=int, default=480, help="side of the crops, pixels, a multiple of 4")
    parser.add_argument("--only", default="", help="rows whose name this regular expression matches")
    parser.add_argument("--contexts", type=Path, help="an A+ fitted with contexts")
    arguments = parser.parse_args()
    pictures = [crop(read(pair.hr).pixels, arguments.crop) for pair in find_pairs(arguments.photos, None, 4)]
    print(f"{machine()}; {len(pictures)} pictures, at most {arguments.crop} pixels on a side")
    print("| scale | way | PSNR-Y | seconds |\n|---|---|---|---|")
    for way in ways(arguments.contexts):
        if not re.search(arguments.only, way.name):
            continue
        scale, upscaler = way.scale, way.make()
        # The first call compiles.
        if upscaler is not None:
            enlarge(upscaler, pictures[0][:64, :64].astype(np.float32) / 255, way.options, scale=scale)
        figures, seconds = [], 0.0
        for hr in pictures:
            lr = imresize(hr, scale=1 / scale).astype(np.float32) / 255
            began = time.process_time()
            own = specialise(upscaler, lr) if way.learns and isinstance(upscaler, APlus) else upscaler
            sr = enlarge(own, lr, way.options, scale=scale) if own else imresize(lr, size=hr.shape[:2])
            seconds += time.process_time() - began
            eight = np.floor(np.clip(sr, 0, 1) * 255 + 0.5).astype(np.uint8)
            figures.append(psnr(eight, hr, channel="y", border=scale))
        print(f"| x{scale} | {way.name} | {fmean(figures):.3f} dB | {seconds:.1f} |", flush=True)


def crop(picture: np.ndarray, side: int) -> np.ndarray:
    """The middle of a picture, RGB, with sides that are multiples of 4."""
    height, width = (min(n, side) // 4 * 4 for n in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width, :3]


if __name__ == "__main__":
    main()
