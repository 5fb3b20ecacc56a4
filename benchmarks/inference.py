"""EDSR-baseline x2 against the roof of its convolutions, bfloat16 against float32, and PyTorch where it is installed.

    python benchmarks/inference.py

The roof is what one 3x3 64->64 convolution of the same size reaches alone (at 64x64: a chain of 33 of them), in the
same interleaved run. Operations are nominal: 2 per multiply-add, 2.745 MFLOP per input pixel of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from measure import interleaved, machine

from isr.models import EDSR
from isr.runtimes import as_upscaler

FLOP_PER_PIXEL = 2 * (9 * 3 * 64 + 33 * 9 * 64 * 64 + 9 * 64 * 256 + 4 * 9 * 64 * 3)


def convolutions(height: int, width: int, count: int, dtype: str) -> Callable[[], Any]:
    """`count` convolutions 64->64 in a row, kernels in variables, as one graph."""
    shape = (1, height, width, 64)
    layers = [keras.layers.Conv2D(64, 3, padding="same", use_bias=False, dtype=dtype) for _ in range(count)]
    for layer in layers:
        layer.build(shape)
    x = tf.cast(tf.random.normal(shape), dtype)

    @tf.function(jit_compile=False)
    def run(x: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            x = layer(x)
        return x

    # Without a copy of the 64 features: the roof is the convolution alone.
    return lambda: run(x)


def torch_edsr(height: int, width: int) -> Callable[[], Any] | None:
    """The same network in PyTorch, or None where it is not installed."""
    try:
        import torch
        from torch import nn
    except ImportError:
        return None

    def conv(i: int, o: int) -> nn.Module:
        return nn.Conv2d(i, o, 3, padding=1)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(conv(64, 64), nn.ReLU(inplace=True), conv(64, 64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x)

    head, body = conv(3, 64), nn.Sequential(*(Block() for _ in range(16)), conv(64, 64))
    tail = nn.Sequential(conv(64, 256), nn.PixelShuffle(2), conv(64, 3))
    x = torch.rand(1, 3, height, width)

    def run() -> Any:
        with torch.inference_mode():
            shallow = head(x)
            return tail(shallow + body(shallow)).numpy()

    return run


def main() -> None:
    print(machine())
    model = EDSR(2)
    # Zero biases would be folded away.
    for variable in model.variables:
        variable.assign(
            variable + 0.01 * np.random.default_rng(0).normal(size=variable.shape).astype("float32")
        )
    runs = {precision: as_upscaler(model, precision) for precision in ("float32", "bfloat16")}
    for height, width, chain in ((180, 320, 1), (64, 64, 33)):
        lr = np.random.default_rng(1).random((1, height, width, 3), np.float32)
        functions: dict[str, Callable[[], Any]] = {
            "roof float32": convolutions(height, width, chain, "float32"),
            "EDSR float32": lambda lr=lr: runs["float32"](lr),
            "roof bfloat16": convolutions(height, width, chain, "bfloat16"),
            "EDSR bfloat16": lambda lr=lr: runs["bfloat16"](lr),
        }
        torch_run = torch_edsr(height, width)
        if torch_run is not None:
            functions["PyTorch float32"] = torch_run
        seconds = interleaved(functions)
        pixels = height * width
        roof_flop = 2 * 9 * 64 * 64 * pixels * chain
        print(f"\n{height}x{width}")
        for name, value in seconds.items():
            flop = roof_flop if name.startswith("roof") else FLOP_PER_PIXEL * pixels
            print(f"  {name:<16} {value * 1000:8.1f} ms  {flop / value / 1e9:7.0f} GFLOP/s")
        for precision in runs:
            reached = FLOP_PER_PIXEL * pixels / seconds[f"EDSR {precision}"]
            share = reached / (roof_flop / seconds[f"roof {precision}"])
            print(f"  EDSR {precision} / roof: {share:.2f}")
        print(f"  bfloat16 is {seconds['EDSR float32'] / seconds['EDSR bfloat16']:.2f}x faster than float32")
        if torch_run is not None:
            print(f"  PyTorch / ours, float32: {seconds['PyTorch float32'] / seconds['EDSR float32']:.2f}")


if __name__ == "__main__":
    main()
