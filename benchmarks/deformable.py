"""Deformable convolution against the naive spelling of four gathers, and torchvision's operator where it is installed.

    python benchmarks/deformable.py

64 channels in and out, 8 deformable groups, 3x3, modulated, batch 1, float32, offsets normal with sigma 2 pixels.
Times are medians of calls in turn, on the clock and (in parentheses) of the processor, which depend less on what else
the machine does. Memory is what a call adds to the peak of a fresh process that has computed a small image before.
Compilations are those that XLA reports for a video in the three sizes of EDVR's pyramid, and for one size more.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Before TensorFlow: the other way round, some builds crash.
try:
    import torch
    from torchvision.ops import deform_conv2d as torchvision_deform_conv2d
except (ImportError, RuntimeError):
    # RuntimeError: a torchvision of another build than torch.
    torch = None
import numpy as np
import tensorflow as tf
from measure import machine, timed
from transcription import deformable

from isr.layers.deformable import deform_conv2d
from isr.layers.strips import strips

CHANNELS, GROUPS, TAPS = 64, 8, 9
SIZES = ((180, 320), (64, 64))
LOW_MEMORY = {"megabytes": 2.0, "in_flight": 1}


def naive(x: tf.Tensor, offset: tf.Tensor, mask: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The formula as it stands: four gathers of the whole image, differentiated by TensorFlow."""
    return deformable({"it/kernel": kernel}, "it", x, offset, mask, "v2")


def tensors(height: int, width: int) -> list[np.ndarray]:
    """`x`, `offset`, `mask`, `kernel` and a cotangent."""
    rng = np.random.default_rng(0)
    samples = GROUPS * TAPS
    return [
        rng.standard_normal((1, height, width, CHANNELS), np.float32),
        rng.standard_normal((1, height, width, 2 * samples), np.float32) * np.float32(2),
        rng.random((1, height, width, samples), np.float32),
        rng.standard_normal((3, 3, CHANNELS, CHANNELS), np.float32) * np.float32(0.04),
        rng.standard_normal((1, height, width, CHANNELS), np.float32),
    ]


def forward(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The operator as a graph."""
    return tf.function(lambda *inputs: operator(*inputs[:4]), autograph=False, jit_compile=False)


def with_gradients(operator: Callable[..., Any], **changes: Any) -> Callable[..., Any]:
    """The operator and the gradients of its four inputs as a graph; `changes` are those of `strips`."""

    @tf.function(autograph=False, jit_compile=False)
    def run(*inputs: tf.Tensor) -> Any:
        *inputs, cotangent = inputs
        with strips(**changes), tf.GradientTape() as tape:
            tape.watch(inputs)
            y = operator(*inputs)
        return y, tape.gradient(y, inputs, output_gradients=cotangent)

    return run


FORMS: dict[str, Callable[[], Callable[..., Any]]] = {
    "forward, naive": lambda: forward(naive),
    "forward": lambda: forward(deform_conv2d),
    "forward and backward, naive": lambda: with_gradients(naive),
    "forward and backward": lambda: with_gradients(deform_conv2d),
    "forward and backward, low memory": lambda: with_gradients(deform_conv2d, **LOW_MEMORY),
}


def torchvision_forms(height: int, width: int) -> dict[str, Callable[[], Any]]:
    """The same with torchvision's operator, or nothing where it is not installed."""
    if torch is None:
        return {}
    *inputs, cotangent = (
        torch.from_numpy(np.ascontiguousarray(a.transpose((3, 2, 0, 1) if a.shape[0] == 3 else (0, 3, 1, 2))))
        for a in tensors(height, width)
    )

    def run(*inputs: Any) -> Any:
        x, offset, mask, kernel = inputs
        return torchvision_deform_conv2d(x, offset, kernel, padding=1, mask=mask)

    def inference() -> Any:
        with torch.inference_mode():
            return run(*inputs)

    def training() -> Any:
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        return torch.autograd.grad(run(*leaves), leaves, cotangent)

    return {"forward, torchvision": inference, "forward and backward, torchvision": training}


def speed(height: int, width: int) -> None:
    """Print the times of all forms, and how many times faster than the naive one and torchvision's they are."""
    inputs = [tf.constant(array) for array in tensors(height, width)]
    functions: dict[str, Callable[[], Any]] = {name: partial(make(), *inputs) for name, make in FORMS.items()}
    functions |= torchvision_forms(height, width)
    print(f"\n{height}x{width}")
    times = timed(functions, rounds=7)
    for name, (wall, processor) in times.items():
        what = name.partition(",")[0]
        print(f"  {name:<34} {wall * 1000:8.1f} ms {processor * 1000:8.1f} ms of processor time", end="")
        for other in ("naive", "torchvision"):
            rival = f"{what}, {other}"
            if rival in functions and rival != name:
                slower = times[rival]
                ratios = f"{slower.wall / wall:.1f}x ({slower.processor / processor:.1f}x)"
                print(f"  {other} / this: {ratios}", end="")
        print()


def peak_megabytes() -> float:
    """Peak resident memory since `forget_peak`."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")


def forget_peak() -> None:
    """Begin a new peak at the memory in use now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(name: str, queue: Any) -> None:
    """Put what one call at the first size adds to the memory, its output included."""
    run = FORMS[name]()
    run(*map(tf.constant, tensors(40, 40)))
    inputs = [tf.constant(array) for array in tensors(*SIZES[0])]
    run = FORMS[name]()
    forget_peak()
    before = peak_megabytes()
    run(*inputs)
    queue.put(peak_megabytes() - before)


COMPILE = """
import sys
sys.path.insert(0, {folder!r})
import deformable, tensorflow as tf
forward, training = deformable.FORMS["forward"](), deformable.FORMS["forward and backward"]()
for run in (forward, training):
    for sizes in (((180, 320), (90, 160), (45, 80)), ((180, 320), (90, 160), (45, 80)), ((192, 192),)):
        for size in sizes:
            run(*map(tf.constant, deformable.tensors(*size)))
        print("done", file=sys.stderr, flush=True)
"""


def compilations() -> None:
    """Print how often XLA compiles, and for how long."""
    names = ["three sizes of a video", "the same again", "one more size"]
    code = COMPILE.format(folder=str(Path(__file__).parent))
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "device_compilation_profiler=1"}
    report = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stderr
    print("\ncompilations")
    for part, what in zip(report.split("done\n"), [*names, *names], strict=False):
        times = [int(found) / 1e6 for found in re.findall(r"times, compile time: (\d+) us", part)]
        print(f"  {what:<34} {len(times):3} in {sum(times):.1f} s")


def main() -> None:
    print(machine())
    for size in SIZES:
        speed(*size)
    print(f"\nmemory at {SIZES[0][0]}x{SIZES[0][1]}, the output included")
    context = multiprocessing.get_context("spawn")
    for name in FORMS:
        queue = context.Queue()
        process = context.Process(target=memory, args=(name, queue))
        process.start()
        print(f"  {name:<34} {queue.get():8.0f} MB")
        process.join()
    compilations()


if __name__ == "__main__":
    main()
