"""EDVR-M and TDAN, seconds per output frame: the published networks transcribed, and ours in its forms.

    python benchmarks/video.py [--network EDVR] [--size 64x64] [--rounds 5]
    python benchmarks/video.py --preset NAME --clips FOLDER
    python benchmarks/video.py --memory
    python benchmarks/video.py --overlap [--preset NAME --clips FOLDER]
    python benchmarks/video.py --repeats [--preset NAME]

The transcription (`benchmarks/transcription.py`) computes every window from scratch and gathers naively. Ours runs
from scratch, and through `enlarge_frames`, which keeps the features of a frame; frames are not tiled. Processor time,
of all threads, is steadier than wall time where the machine has other work. Weights are random without `--preset`;
offsets then have a standard deviation of 2 pixels. With clips of high resolution the cost of bfloat16 is measured
against them, otherwise between the two outputs.

`--repeats` is what it spares not to compute what equals the frame before, on a screen recording and on an animation
that are drawn here.

`--memory` is the peak of one 1920x1080 frame, in a process of its own; `--overlap` is how far tiled output is from
that of whole frames.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

import numpy as np
from measure import machine, timed
from tiled import peak_gib

NETWORKS = ("EDVR", "TDAN")
SIZES = ("64x64", "180x320")
# Of random offsets, pixels.
SIGMA = 2.0
OVERLAPS = (12, 16, 24, 32, 48)
TILE = 128
# A tile that no frame exceeds.
WHOLE = 100_000
# Of the drawn clips.
FRAMES = 48


def network(name: str, preset: str | None) -> Any:
    """The preset, or the network of this name with random weights."""
    import keras

    from isr import models
    from isr.models.loading import load

    if preset:
        return load(preset)
    keras.utils.set_random_seed(0)
    model = getattr(models, name)()
    rng = np.random.default_rng(0)
    # Zero biases and zero offsets would be faster than any trained network.
    for variable in model.variables:
        variable.assign(variable + rng.normal(0, 0.01, variable.shape).astype(np.float32))
    spread_offsets(model)
    return model


def spread_offsets(model: Any) -> None:
    """Scale the layers that predict offsets, one after the other, until these have the standard deviation `SIGMA`."""
    from isr.layers.deformable import mean_offsets

    lr = pictures(model.num_frames, 64, 64)[None]
    weights = model.named_weights()
    # Absolute, of a normal distribution.
    mean = SIGMA * math.sqrt(2 / math.pi)
    for layer in mean_offsets(model, lr):
        factor = mean / mean_offsets(model, lr)[layer]
        for part in ("kernel", "bias"):
            value = weights[f"{layer}/conv_offset/{part}"]
            value.assign(value * factor)


def pictures(count: int, height: int, width: int) -> np.ndarray:
    """Random frames."""
    return np.random.default_rng(1).random((count, height, width, 3), np.float32)


def transcribed(model: Any) -> Callable[[np.ndarray], Any]:
    """The published network with the weights of ours, as one graph."""
    import tensorflow as tf
    import transcription

    weights, center = model.named_weights(), model.center_frame_idx

    def run(lr: tf.Tensor) -> tf.Tensor:
        if type(model).__name__ == "EDVR":
            return transcription.edvr(weights, lr, center)
        return transcription.tdan(weights, lr, center, model.border)[0]

    graph = tf.function(run, jit_compile=False, autograph=False)
    return lambda lr: graph(tf.constant(lr)).numpy()


def stream(upscaler: Any, frames: np.ndarray, tile: int = WHOLE) -> Iterator[np.ndarray]:
    """The upscaled frames of an endless clip."""
    from isr.predict.frames import WindowOptions, enlarge_frames
    from isr.predict.tiling import TileOptions

    return enlarge_frames(upscaler, itertools.cycle(frames), WindowOptions(TileOptions(tile)))


def deformable_calls(model: Any, lr: np.ndarray) -> Callable[[], None]:
    """The deformable convolutions of one window, with the tensors they have there, one after the other."""
    import tensorflow as tf

    from isr.layers import deformable

    with mock.patch.object(deformable, "deform_conv2d", wraps=deformable.deform_conv2d) as spy:
        model(lr)
    graphs = []
    for call in spy.call_args_list:
        tensors = [None if value is None else tf.convert_to_tensor(value) for value in call.args]
        operator = functools.partial(deformable.deform_conv2d, **call.kwargs)
        graphs.append((tf.function(operator, jit_compile=False, autograph=False), tensors))

    def run() -> None:
        for graph, tensors in graphs:
            graph(*tensors)

    return run


def speed(name: str, preset: str | None, size: str, rounds: int) -> None:
    """One table."""
    from isr.runtimes import as_upscaler

    model = network(name, preset)
    height, width = map(int, size.split("x"))
    frames = pictures(model.num_frames, height, width)
    window = frames[None]
    original = transcribed(model)
    full, half = (as_upscaler(model, precision) for precision in ("float32", "bfloat16"))
    full_stream, half_stream = stream(full, frames), stream(half, frames)
    functions: dict[str, Callable[[], object]] = {
        "transcription, float32": lambda: original(window),
        "window by window, float32": lambda: full(window),
        "its deformable calls": deformable_calls(model, window),
        "cached, float32": lambda: next(full_stream),
        "cached, bfloat16": lambda: next(half_stream),
    }
    times = timed(functions, rounds)
    print(f"\n{name}, {size}, seconds per output frame{'wall':>12}{'processor':>12}")
    for row, seconds in times.items():
        print(f"  {row:<41}" + "".join(f"{value:>12.3f}" for value in seconds))
    for title, one, other in (
        ("window by window / cached", "window by window, float32", "cached, float32"),
        ("deformable calls / window by window", "its deformable calls", "window by window, float32"),
        ("transcription / window by window", "transcription, float32", "window by window, float32"),
        ("transcription / cached", "transcription, float32", "cached, float32"),
        ("transcription / cached in bfloat16", "transcription, float32", "cached, bfloat16"),
    ):
        ratios = (a / b for a, b in zip(times[one], times[other], strict=True))
        print(f"  {title:<41}" + "".join(f"{ratio:>12.3f}" for ratio in ratios))

    expected, exact, rounded = original(window), full(window), half(window)
    apart = np.abs(exact - expected).max() / np.abs(expected).max()
    print(f"  float32 deviates from the transcription by {apart:.1e} of its largest value")
    noise = float(((rounded - exact) ** 2).mean())
    cost = 10 * math.log10(1 + 1e3 * noise)
    print(
        f"  bfloat16 is {-10 * math.log10(noise):.1f} dB from float32: {cost:.4f} dB less for a result of 30 dB"
    )


def clips(folder: Path, scale: int, cache: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, reduced and original frames (float, uint8) of every clip of a folder."""
    from isr.data.clips import Clips, find_clips

    for clip in Clips(find_clips(folder), scale, 3, cache):
        yield clip.name, clip.lr.astype(np.float32) / 255, clip.hr


def precision(preset: str, folder: Path) -> None:
    """What bfloat16 costs on clips: PSNR of both precisions on Y, in 8 bits, over all frames."""
    from isr.levels import from_float
    from isr.metrics import psnr
    from isr.runtimes import as_upscaler

    model = network("", preset)
    scale = model.scales[0]
    upscalers = [as_upscaler(model, precision) for precision in ("float32", "bfloat16")]
    print(f"\n{preset}, {folder}")
    differences = []
    with tempfile.TemporaryDirectory() as cache:
        for name, lr, hr in clips(folder, scale, Path(cache)):
            values = []
            for upscaler in upscalers:
                results = itertools.islice(stream(upscaler, lr), len(lr))
                scores = (
                    psnr(from_float(np.clip(sr, 0, 1), np.dtype(np.uint8)), target, channel="y", border=scale)
                    for sr, target in zip(results, hr, strict=True)
                )
                values.append(fmean(scores))
            differences.append(values[0] - values[1])
            print(f"  {name:<20} float32 {values[0]:.3f} dB, bfloat16 {values[1]:.3f} dB")
    print(f"  bfloat16 costs {fmean(differences):+.4f} dB on average (worst {max(differences):+.4f})")


def memory(name: str, preset: str | None, queue: Any) -> None:
    """Seconds and peak of the first frame of a 1920x1080 clip, which needs all its neighbours."""
    from isr.predict.frames import enlarge_frames
    from isr.runtimes import as_upscaler

    upscaler: Any = as_upscaler(network(name, preset))
    small = np.random.default_rng(0).integers(0, 256, (5, 135, 240, 3), np.uint8)
    frames = small.repeat(8, 1).repeat(8, 2)
    before = peak_gib()
    began = time.perf_counter()
    next(enlarge_frames(upscaler, iter(frames)))
    queue.put((time.perf_counter() - began, before, peak_gib()))


def overlap(name: str, preset: str | None, folder: Path | None) -> None:
    """The largest and the root-mean-square deviation of tiled output by overlap, in levels of 255."""
    from isr.predict.frames import WindowOptions, enlarge_frames
    from isr.predict.tiling import TileOptions
    from isr.runtimes import as_upscaler

    model = network(name, preset)
    upscaler: Any = as_upscaler(model)
    with tempfile.TemporaryDirectory() as cache:
        if folder:
            found = clips(folder, model.scales[0], Path(cache))
            windows = [lr[: model.num_frames] for _, lr, _ in found if max(lr.shape[1:3]) > TILE]
            if not windows:
                raise SystemExit(f"{folder}: no reduced clip is larger than a tile of {TILE} pixels")
        else:
            windows = [pictures(model.num_frames, 180, 320)]

        def enlarged(frames: np.ndarray, tiles: TileOptions) -> np.ndarray:
            """Its middle frame."""
            results = enlarge_frames(upscaler, iter(frames), WindowOptions(tiles), skip=len(frames) // 2)
            return next(results)

        whole = [enlarged(frames, TileOptions(WHOLE)) for frames in windows]
        print(f"\n{name}, {len(windows)} frames, tiles of {TILE} pixels; deviation in levels of 255")
        for width in OVERLAPS:
            tiled = [enlarged(frames, TileOptions(TILE, width)) for frames in windows]
            errors = [np.abs(a - b) * 255 for a, b in zip(tiled, whole, strict=True)]
            square = fmean(float((error**2).mean()) for error in errors)
            largest = max(float(error.max()) for error in errors)
            print(f"  overlap {width:>3}: largest {largest:8.4f}, root mean square {math.sqrt(square):.4f}")


def screen_recording() -> Iterator[np.ndarray]:
    """A desktop of 1280x720: a window with lines of text, of which a letter more stands in every third frame."""
    rng = np.random.default_rng(2)
    screen = np.full((720, 1280, 3), 225, np.uint8)
    screen[80:680, 120:1160] = 250
    for number in range(FRAMES):
        if number % 3 == 0:
            row, column = divmod(number // 3, 90)
            glyph = rng.integers(0, 2, (12, 8), np.uint8)[..., None] * 230
            top, left = 100 + 18 * row, 140 + 10 * column
            screen[top : top + 12, left : left + 8] = 250 - glyph
        yield screen.copy()


def animation() -> Iterator[np.ndarray]:
    """A cartoon of 640x360, drawn on twos: a disc crosses a still background, each drawing shown in two frames."""
    rng = np.random.default_rng(3)
    background = rng.integers(90, 200, (9, 16, 3), np.uint8).repeat(40, 0).repeat(40, 1)
    rows, columns = np.mgrid[:360, :640]
    for number in range(FRAMES):
        frame = background.copy()
        frame[(rows - 180) ** 2 + (columns - 40 - 6 * (number // 2)) ** 2 < 30**2] = (220, 40, 40)
        yield frame


def repeats(preset: str) -> None:
    """Seconds of the processor per frame with and without, whose results are compared."""
    from isr.predict.chain import upscale_frames_along
    from isr.predict.frames import WindowOptions
    from isr.predict.repeats import Repeats
    from isr.predict.route import Route
    from isr.predict.source import networks_of
    from isr.progress import Silent

    networks = networks_of(preset, engine="auto")
    ((scale, network),) = networks.items()
    upscaler = network.open("float32", Silent())
    for clip in (screen_recording, animation):
        frames = [(None, frame) for frame in clip()]
        size = tuple(scale * side for side in frames[0][1].shape[:2])
        spent, results, spared = [], [], Repeats()
        for reuse in (False, True):
            began = time.process_time()
            along = upscale_frames_along(
                Route((scale,), size, False),
                frames,
                [upscaler],
                WindowOptions(reuse=reuse),
                Silent(),
                repeats=spared if reuse else None,
            )
            results.append([hash(result.tobytes()) for _, result in along])
            spent.append((time.process_time() - began) / len(frames))
        same = "the same" if results[0] == results[1] else "DIFFERENT"
        print(
            f"  {preset}, {clip.__name__.replace('_', ' '):<17}{spent[0]:8.3f} s of the processor per frame, "
            f"{spent[1]:.3f} with what is spared ({spared.frames / len(frames):.0%} of the tiles); {same} results"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--size", action="append", help="rows x columns of the low resolution")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--preset")
    parser.add_argument("--clips", type=Path, help="folder of clips in high resolution")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--repeats", action="store_true")
    arguments = parser.parse_args()
    print(machine())
    if arguments.repeats:
        repeats(arguments.preset or "edsr_fast_x2")
        return
    names = [arguments.preset] if arguments.preset else arguments.network or NETWORKS
    for name in names:
        if arguments.memory:
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=memory, args=(name, arguments.preset, queue))
            process.start()
            seconds, before, peak = queue.get()
            process.join()
            print(
                f"  {name}, 1920x1080: first frame {seconds:.0f} s, peak {peak:.2f} GiB ({before:.2f} before)"
            )
        elif arguments.overlap:
            overlap(name, arguments.preset, arguments.clips)
        else:
            for size in arguments.size or SIZES:
                speed(name, arguments.preset, size, arguments.rounds)
            if arguments.preset and arguments.clips:
                precision(arguments.preset, arguments.clips)


if __name__ == "__main__":
    main()
