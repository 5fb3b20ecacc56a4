"""A 24-megapixel photograph at x2: peak memory, and time against that of one large tile.

    python benchmarks/tiled.py

Each measurement has its own process. The bar for the time is pixels times the time per pixel of a 512x512 tile.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import machine

HEIGHT, WIDTH = 4000, 6000


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def per_pixel(precision: str, queue) -> None:  # type: ignore[no-untyped-def]
    from isr.models import EDSR
    from isr.runtimes import as_upscaler

    upscaler = as_upscaler(EDSR(2), precision)
    lr = np.random.default_rng(0).random((1, 512, 512, 3), np.float32)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        upscaler(lr)
        times.append(time.perf_counter() - began)
    queue.put(np.median(times[2:]) / lr.size * 3)


def whole(precision: str, queue) -> None:  # type: ignore[no-untyped-def]
    from isr.io import pictures
    from isr.models import EDSR
    from isr.predict.picture import enlarge
    from isr.predict.tiling import TileOptions
    from isr.runtimes import as_upscaler

    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        photo = small.repeat(8, 0).repeat(8, 1)
        pictures.write(Path(folder) / "photo.jpg", pictures.Picture(photo, pictures.Metadata(), "JPEG"))
        del small, photo
        model = EDSR(2)
        model.start_as_interpolation()
        upscaler = as_upscaler(model, precision)
        picture = pictures.read(Path(folder) / "photo.jpg")
        began = time.perf_counter()
        sr = enlarge(upscaler, picture.pixels, TileOptions())
        seconds = time.perf_counter() - began
        pictures.write(Path(folder) / "large.jpg", pictures.Picture(sr, pictures.Metadata(), "JPEG"))
    queue.put((seconds, peak_gib()))


def main() -> None:
    print(machine())
    context = multiprocessing.get_context("spawn")
    for precision in sys.argv[1:] or ["float32", "bfloat16"]:
        results = []
        for function in (per_pixel, whole, per_pixel):
            queue = context.Queue()
            process = context.Process(target=function, args=(precision, queue))
            process.start()
            results.append(queue.get())
            process.join()
        pixel = (results[0] + results[2]) / 2
        seconds, peak = results[1]
        print(
            f"  {precision}: {seconds:.0f} s, {seconds / (pixel * HEIGHT * WIDTH):.2f}x of pixels x time per pixel of "
            f"a 512x512 tile ({pixel * 1e6:.2f} us), peak {peak:.2f} GiB"
        )


if __name__ == "__main__":
    main()
