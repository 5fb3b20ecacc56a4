"""Networks built of OpenVINO's own operations, straight from weights.

What is 8 bits, bfloat16 or float32 is decided here. The ends of a network are float32 and its body what is asked for,
as under Keras' policies (`isr.layers.exact`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isr.runtimes import wirings
from isr.runtimes.eight_bits import STEPS, EightBitConv
from isr.runtimes.engines.openvino import WAIST, openvino, opset

Output = Any  # of an operation of OpenVINO


def build(
    network: wirings.Network,
    scale: int,
    precision: str = "float32",
    convs: Mapping[str, EightBitConv] | None = None,
) -> openvino.Model:
    """Build a network as a model of OpenVINO.

    Args:
        network: with its weights.
        scale: one of its scales.
        precision: "float32", "bfloat16" or "int8", of the body.
        convs: for "int8", the convolutions in 8 bits by their names.

    Returns:
        `lr`, float32 `[b, h, w, c]` of any size, to `sr`, float32 `[b, scale * h, scale * w, c]`.

    Raises:
        KeyError: weights are missing.
        RuntimeError: shapes do not fit.
    """
    lr = opset.parameter([-1, -1, -1, network.arguments["num_channels"]], openvino.Type.f32, "lr")
    lr.output(0).set_names({"lr"})
    operations = _Operations(network, precision == "bfloat16", convs or {})
    sr = network.wire(operations, lr.output(0), scale)
    # An only channel would be added to the mean of all.
    if operations.channels != network.arguments["num_channels"]:
        raise RuntimeError(f"it makes {operations.channels} channels")
    sr.set_names({"sr"})
    return openvino.Model([opset.result(sr)], [lr], network.model)


def save(model: openvino.Model, path: Path) -> None:
    """Write a model as `path`, an `.xml`, and the `.bin` of the same name; the numbers stay as they are."""
    openvino.save_model(model, path, compress_to_fp16=False)


class _Operations(wirings.Operations):
    """`isr.runtimes.wirings.Operations` on outputs `[b, c, h, w]` of OpenVINO's operations."""

    def __init__(self, network: wirings.Network, half: bool, convs: Mapping[str, EightBitConv]) -> None:
        super().__init__(network)
        self.half = half
        self.convs = convs
        # Of the result.
        self.channels = 0
        # By value and type: what is used twice is converted once.
        self._converted: dict[tuple[Any, int], Output] = {}

    def normalise(self, lr: Output) -> Output:
        x = opset.multiply(opset.subtract(lr, _constant(self.mean)), _constant(self.range))
        return opset.transpose(x, _whole(0, 3, 1, 2)).output(0)

    def denormalise(self, sr: Output) -> Output:
        self.channels = sr.get_partial_shape()[1].get_length()
        sr = opset.transpose(self._exact(sr), _whole(0, 2, 3, 1))
        return opset.add(opset.divide(sr, _constant(self.range)), _constant(self.mean)).output(0)

    def convolve(
        self,
        x: Output,
        name: str,
        weights: wirings.ConvWeights,
        slope: float | None,
        factor: float,
        exact: bool,
    ) -> Output:
        (kernel, bias), factor32 = weights, np.float32(factor)
        half = self.half and not exact
        if not exact and name in self.convs:
            x, factors = self._in_8_bits(x, self.convs[name], factor32)
        else:
            x = self.lower(x) if half else self._exact(x)
            factors = _constant(kernel * factor32, half)
        pads = [kernel.shape[-1] // 2] * 2
        y = opset.convolution(x, factors, [1, 1], pads, pads, [1, 1])
        y = opset.add(y, _constant(bias.reshape(1, -1, 1, 1) * factor32, half))
        if slope is not None:
            y = opset.relu(y) if slope == 0 else opset.prelu(y, _constant(np.array([slope]), half))
        return y.output(0)

    def _in_8_bits(self, x: Output, conv: EightBitConv, factor: np.float32) -> tuple[Output, Output]:
        """The input rounded to 8 bits, and the kernel that is 8 bits times a step."""
        low = np.float32(-conv.input_zero * conv.input_step)
        high = np.float32((STEPS - conv.input_zero) * conv.input_step)
        ends = [_constant(low), _constant(high)]
        rounded = opset.fake_quantize(self._exact(x), *ends, *ends, STEPS + 1)
        whole = opset.constant(np.ascontiguousarray(conv.kernel.transpose(3, 2, 0, 1)))
        step = (conv.kernel_step * factor).astype(np.float32).reshape(-1, 1, 1, 1)
        return rounded, opset.multiply(opset.convert(whole, "f32"), _constant(step))

    def lower(self, x: Output) -> Output:
        if not self.half or x.get_element_type() == openvino.Type.bf16:
            return x

        # OpenVINO cuts the bits off, which makes all features smaller by 0.14 %. Veltkamp's split rounds before: of
        # the 24 significant bits of float32 to the nearest 8.
        def rounded() -> Output:
            large = opset.multiply(x, _constant(np.float32(2**16 + 1)))
            return opset.convert(opset.subtract(large, opset.subtract(large, x)), "bf16")

        return self._once(x, rounded)

    def _exact(self, x: Output) -> Output:
        if x.get_element_type() == openvino.Type.f32:
            return x
        return self._once(x, lambda: opset.convert(x, "f32"))

    def _once(self, x: Output, make: Callable[[], Any]) -> Output:
        key = (x.get_node().get_friendly_name(), x.get_index())
        if key not in self._converted:
            self._converted[key] = make().output(0)
        return self._converted[key]

    def _alike(self, values: Sequence[Output]) -> list[Output]:
        """All in the widest of their types."""
        if any(value.get_element_type() == openvino.Type.f32 for value in values):
            return [self._exact(value) for value in values]
        return list(values)

    def add(self, x: Output, y: Output) -> Output:
        return opset.add(*self._alike([x, y])).output(0)

    def multiply(self, x: Output, y: Output) -> Output:
        return opset.multiply(*self._alike([x, y])).output(0)

    def scale(self, x: Output, factor: float) -> Output:
        return x if factor == 1.0 else opset.multiply(x, _constant(np.float32(factor), _is_half(x))).output(0)

    def shift(self, x: Output, amount: float) -> Output:
        return opset.add(x, _constant(np.float32(amount), _is_half(x))).output(0)

    def sigmoid(self, x: Output) -> Output:
        return opset.sigmoid(x).output(0)

    def silu(self, x: Output) -> Output:
        return opset.swish(x, _constant(np.float32(1), _is_half(x))).output(0)

    def prelu(self, x: Output, name: str) -> Output:
        slopes = self.network.read(f"{name}/alpha").ravel()
        return opset.prelu(x, _constant(slopes, _is_half(x))).output(0)

    def concatenate(self, parts: Sequence[Output]) -> Output:
        return opset.concat(self._alike(parts), 1).output(0)

    def pixel_shuffle(self, x: Output, factor: int) -> Output:
        return opset.depth_to_space(x, "blocks_first", factor).output(0)

    def pixel_unshuffle(self, x: Output, factor: int) -> Output:
        return opset.space_to_depth(x, "blocks_first", factor).output(0)

    def enlarge_nearest(self, x: Output, factor: int) -> Output:
        # A shuffle of repeated channels: OpenVINO's resampling has no bfloat16.
        return self.pixel_shuffle(opset.concat([x] * factor**2, 1).output(0), factor)

    def end_body(self, x: Output) -> Output:
        x.get_node().set_friendly_name(WAIST)
        return x


def _is_half(x: Output) -> bool:
    return bool(x.get_element_type() == openvino.Type.bf16)


def _whole(*values: int) -> Output:
    return opset.constant(np.array(values, np.int32))


def _constant(values: np.ndarray | np.float32, half: bool = False) -> Output:
    """A constant of float32, or of the nearest numbers of bfloat16."""
    values = np.asarray(values, np.float32, order="C")
    if not half:
        return opset.constant(values)
    return opset.convert(opset.constant(nearest_bfloat16(values)), "bf16")


def nearest_bfloat16(values: np.ndarray) -> np.ndarray:
    """Float32 numbers rounded to those that bfloat16 holds, ties to even."""
    bits = np.asarray(values, np.float32, order="C").view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)
