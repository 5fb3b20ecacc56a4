"""How the networks for photographs compute, in a few operations that every engine can have.

A network's wiring calls the operations in the order in which its Keras model calls its layers, by the names that the
weights have in a preset. What the values are is the engine's matter: tensors of OpenVINO, or, in `spec_of`, how far a
pixel sees. So a preset is opened without Keras and TensorFlow, and one function per network serves every engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from isr.errors import RequestError
from isr.spec import ModelSpec

Value = Any  # whatever an engine computes with
ConvWeights = tuple[np.ndarray, np.ndarray]  # kernel and bias, float32 `[out, in, k, k]` and `[out]`
Arguments = Mapping[str, Any]  # those of a network's constructor, all of them


@dataclass(frozen=True)
class Network:
    """A network as an engine builds it.

    Attributes:
        model: name of its class, with a wiring.
        arguments: its constructor's, all of them.
        weights: by their names in a preset, any float dtype, finite; kernels are `[k, k, in, out]`.
        used: the names of the weights that were read.
        inner: the names of the convolutions that need not be exact.
    """

    model: str
    arguments: Arguments
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    inner: set[str] = field(default_factory=set)

    def wire(self, operations: Any, lr: Value, scale: int) -> Value:
        """Compute `sr` of `lr`.

        Args:
            operations: `Operations` of an engine, or whatever has methods like theirs.
            lr: what they take for the pictures.
            scale: one of the network's.

        Raises:
            KeyError: weights are missing.
            RuntimeError: shapes do not fit.
        """
        return WIRINGS[self.model](operations, lr, scale, self.arguments)

    def read(self, name: str) -> np.ndarray:
        """Read a weight, float32 in the shape of the preset."""
        self.used.add(name)
        return np.asarray(self.weights[name], np.float32)

    def read_conv(self, name: str, kernel_size: int) -> ConvWeights:
        """Read the weights of a convolution as engines take them."""
        kernel, bias = self.read(f"{name}/kernel"), self.read(f"{name}/bias")
        if kernel.shape[:2] != (kernel_size, kernel_size) or bias.shape != kernel.shape[3:]:
            raise RuntimeError(f"{name}/kernel is {kernel.shape}, not {kernel_size}x{kernel_size}")
        return kernel.transpose(3, 2, 0, 1), bias


class Operations:
    """What an engine does with its values, all of them features `[b, h, w, c]` in some layout.

    Every engine derives its own. The body of a network may be computed in less than 32 bits: `exact` operations are
    not, nor are additions and concatenations with an exact value.

    Args:
        network: whose weights they have.
    """

    def __init__(self, network: Network) -> None:
        arguments = network.arguments
        self.network = network
        self.mean = np.broadcast_to(np.float32(arguments["pixel_mean"]), (arguments["num_channels"],))
        self.range = np.float32(arguments["pixel_range"])

    def normalise(self, lr: Value) -> Value:
        """Compute `(lr - mean) * range`, exact."""

    def denormalise(self, sr: Value) -> Value:
        """Undo `normalise`, exact."""

    def conv(
        self,
        x: Value,
        name: str,
        *,
        kernel_size: int = 3,
        slope: float | None = None,
        factor: float = 1.0,
        exact: bool = False,
    ) -> Value:
        """Compute the convolution whose weights are `name/kernel` and `name/bias`, zeros outside, times `factor`.

        Args:
            slope: of a leaky ReLU behind it; 0: ReLU, None: neither.
        """
        if not exact:
            self.network.inner.add(name)
        return self.convolve(x, name, self.network.read_conv(name, kernel_size), slope, factor, exact)

    def convolve(
        self, x: Value, name: str, weights: ConvWeights, slope: float | None, factor: float, exact: bool
    ) -> Value:
        """Compute `conv` with its weights."""

    def lower(self, x: Value) -> Value:
        """Compute `x` as the body holds it."""

    def add(self, x: Value, y: Value) -> Value:
        """Compute the sum of two features of one shape."""

    def multiply(self, x: Value, y: Value) -> Value:
        """Compute their product, place by place."""

    def scale(self, x: Value, factor: float) -> Value:
        """Compute `x * factor`."""

    def shift(self, x: Value, amount: float) -> Value:
        """Compute `x + amount`."""

    def sigmoid(self, x: Value) -> Value:
        """Compute the logistic function."""

    def silu(self, x: Value) -> Value:
        """Compute `x * sigmoid(x)`."""

    def prelu(self, x: Value, name: str) -> Value:
        """Compute the leaky ReLU whose slopes are `name/alpha`, `[1, 1, c]`."""

    def concatenate(self, parts: Sequence[Value]) -> Value:
        """Join all channels, one after another."""

    def pixel_shuffle(self, x: Value, factor: int) -> Value:
        """Compute what `isr.ops.pixel_shuffle` does."""

    def pixel_unshuffle(self, x: Value, factor: int) -> Value:
        """Compute what `isr.ops.pixel_unshuffle` does."""

    def enlarge_nearest(self, x: Value, factor: int) -> Value:
        """Compute what `isr.ops.enlarge_nearest` does."""

    def end_body(self, x: Value) -> Value:
        """Return `x`, where all that follows enlarges and depends on it alone."""
        return x


# Blocks


def residual_block(g: Operations, x: Value, name: str, res_scale: float = 1.0, kernel_size: int = 3) -> Value:
    """Compute `isr.layers.ResidualBlock`."""
    x = g.lower(x)
    residual = g.conv(x, f"{name}/conv1", kernel_size=kernel_size, slope=0.0)
    return g.add(x, g.conv(residual, f"{name}/conv2", kernel_size=kernel_size, factor=res_scale))


def dense_block(
    g: Operations, x: Value, name: str, num_layers: int, fusion_size: int, slope: float, res_scale: float
) -> Value:
    """Compute `isr.layers.ResidualDenseBlock`."""
    x = g.lower(x)
    seen = [x]
    for i in range(num_layers):
        seen.append(g.conv(_all(g, seen), f"{name}/conv{i}", slope=slope))
    return g.add(x, g.conv(_all(g, seen), f"{name}/fusion", kernel_size=fusion_size, factor=res_scale))


def _all(g: Operations, parts: Sequence[Value]) -> Value:
    return g.concatenate(parts) if len(parts) > 1 else parts[0]


def upsampler(g: Operations, x: Value, name: str, scale: int) -> Value:
    """Compute `isr.layers.Upsampler`."""
    for i, factor in enumerate((3,) if scale == 3 else (2,) * int(math.log2(scale))):
        x = g.pixel_shuffle(g.conv(x, f"{name}/conv{i}"), factor)
    return x


# Networks: each gives `sr` of `lr`


def edsr(g: Operations, lr: Value, scale: int, a: Arguments) -> Value:
    """EDSR."""
    shallow = g.conv(g.normalise(lr), "head", exact=True)
    deep = shallow
    for i in range(a["num_blocks"]):
        deep = residual_block(g, deep, f"block{i}", a["res_scale"])
    deep = g.add(shallow, g.conv(deep, "body_end", exact=True))
    return g.denormalise(g.conv(upsampler(g, deep, "upsampler", scale), "tail", exact=True))


def mdsr(g: Operations, lr: Value, scale: int, a: Arguments) -> Value:
    """MDSR, at one of its scales."""
    shallow = g.conv(g.normalise(lr), "head", exact=True)
    for i in range(2):
        shallow = residual_block(g, shallow, f"x{scale}_pre{i}", kernel_size=5)
    deep = shallow
    for i in range(a["num_blocks"]):
        deep = residual_block(g, deep, f"block{i}")
    deep = g.add(shallow, g.conv(deep, "body_end", exact=True))
    return g.denormalise(g.conv(upsampler(g, deep, f"x{scale}_upsampler", scale), "tail", exact=True))


def rdn(g: Operations, lr: Value, scale: int, a: Arguments) -> Value:
    """RDN, with each of its upsamplers."""
    shallow = g.conv(g.normalise(lr), "head1", exact=True)
    deep = g.conv(shallow, "head2")
    results = []
    for i in range(a["num_blocks"]):
        deep = dense_block(g, deep, f"block{i}", a["num_layers"], 1, 0.0, 1.0)
        results.append(deep)
    fused = g.conv(_all(g, results), "fusion1", kernel_size=1)
    deep = g.add(shallow, g.conv(fused, "fusion2", exact=True))
    if a["upsampler"].startswith("idealo"):
        deep = g.conv(deep, "enlarge/conv1", kernel_size=5, slope=0.0)
        deep = g.conv(g.conv(deep, "enlarge/conv2", slope=0.0), "enlarge/conv3")
        nearest = a["upsampler"] == "idealo_ups"
        deep = g.enlarge_nearest(deep, scale) if nearest else g.pixel_shuffle(deep, scale)
    else:
        deep = upsampler(g, deep, "enlarge", scale)
    return g.denormalise(g.conv(deep, "tail", exact=True))


def _rrdbs(g: Operations, shallow: Value, a: Arguments, slope: float) -> Value:
    """The body of RRDBNet and RRDN."""
    deep = shallow
    for i in range(a["num_blocks"]):
        x = deep = g.lower(deep)
        for j in range(a["num_dense_blocks"]):
            deep = dense_block(g, deep, f"block{i}/dense{j}", a["num_layers"], 3, slope, a["res_scale"])
        deep = g.add(x, g.scale(deep, a["res_scale"]))
    return g.end_body(g.add(shallow, g.conv(deep, "body_end", exact=True)))


def rrdbnet(g: Operations, lr: Value, scale: int, a: Arguments) -> Value:
    """RRDBNet: ESRGAN and Real-ESRGAN."""
    slope = 0.2
    x, unshuffle = g.normalise(lr), a["unshuffle"]
    if unshuffle > 1:
        x = g.pixel_unshuffle(x, unshuffle)
    deep = _rrdbs(g, g.conv(x, "head", exact=True), a, slope)
    for i in range(int(math.log2(scale * unshuffle))):
        deep = g.conv(g.enlarge_nearest(deep, 2), f"up{i}", slope=slope)
    return g.denormalise(g.conv(g.conv(deep, "hr_conv", slope=slope), "tail", exact=True))


def rrdn(g: Operations, lr: Value, scale: int, a: Arguments) -> Value:
    """RRDN, of idealo's ISR."""
    deep = _rrdbs(g, g.conv(g.normalise(lr), "head", exact=True), a, slope=0.0)
    return g.denormalise(g.conv(g.pixel_shuffle(g.conv(deep, "up"), scale), "tail", exact=True))


def span(g: Operations, lr: Value, scale: int, a: Arguments) -> Value:
    """SPAN in its plain form."""
    shallow = g.conv(g.normalise(lr), "head", exact=True)
    deep, results, first = shallow, [], shallow
    for i in range(a["num_blocks"]):
        x = g.lower(deep)
        first = g.silu(g.conv(x, f"block{i}/conv1"))
        h = g.conv(g.silu(g.conv(first, f"block{i}/conv2")), f"block{i}/conv3")
        deep = g.multiply(g.add(h, x), g.shift(g.sigmoid(h), -0.5))
        results.append(deep)
    seen = [shallow, g.conv(deep, "body_end"), results[0], first]
    fused = g.conv(g.concatenate(seen), "global_fusion", kernel_size=1, exact=True)
    return g.denormalise(g.pixel_shuffle(g.conv(fused, "tail", exact=True), scale))


def compact(g: Operations, lr: Value, scale: int, a: Arguments) -> Value:
    """Compact: SRVGGNetCompact of Real-ESRGAN."""
    picture = g.normalise(lr)
    deep = g.lower(g.conv(picture, "head", exact=True))
    for i in range(a["num_convs"]):
        deep = g.conv(g.prelu(deep, f"prelu{i}"), f"conv{i}")
    deep = g.prelu(deep, f"prelu{a['num_convs']}")
    residual = g.pixel_shuffle(g.conv(deep, "tail", exact=True), scale)
    return g.denormalise(g.add(residual, g.enlarge_nearest(picture, scale)))


Wiring = Callable[[Operations, Value, int, Arguments], Value]
WIRINGS: dict[str, Wiring] = {
    "EDSR": edsr,
    "MDSR": mdsr,
    "RDN": rdn,
    "RRDBNet": rrdbnet,
    "RRDN": rrdn,
    "SPAN": span,
    "Compact": compact,
}


def find(model: str, arguments: Arguments) -> Wiring | None:
    """Find the wiring of a network by the name of its class; None where it has none in this form."""
    if not arguments.get("reparametrised", True):
        return None
    return WIRINGS.get(model)


def check(model: str, name: str, engine: str) -> None:
    """Check that an engine that knows wirings alone can have a network, in its plain form.

    Args:
        model: name of the network's class.
        name: of the network, for the message.
        engine: name of the engine.

    Raises:
        RequestError: the network has no wiring.
    """
    if model not in WIRINGS:
        raise RequestError(f"{name}: {engine} has no operations for {model}; use --engine tensorflow")


# How far a pixel sees


@dataclass(frozen=True)
class _Sight:
    """What a wiring's value depends on.

    Attributes:
        side: of one of its pixels, in pixels of the body.
        reach: pixels of the body on each side.
    """

    side: Fraction
    reach: Fraction


class _Sights:
    """`Operations` on `_Sight`s, which need no weights."""

    def __init__(self) -> None:
        self.multiple = 1
        self.enlarges_last = True

    def _same(self, x: _Sight, *_: Any) -> _Sight:
        return x

    normalise = denormalise = lower = scale = shift = sigmoid = silu = prelu = end_body = _same

    def conv(self, x: _Sight, name: str, *, kernel_size: int = 3, **_: Any) -> _Sight:
        self.enlarges_last &= x.side == 1
        return _Sight(x.side, x.reach + x.side * (kernel_size // 2))

    def concatenate(self, parts: Sequence[_Sight]) -> _Sight:
        return max(parts, key=lambda part: part.reach)

    def add(self, x: _Sight, y: _Sight) -> _Sight:
        return self.concatenate([x, y])

    multiply = add

    def pixel_shuffle(self, x: _Sight, factor: int) -> _Sight:
        return _Sight(x.side / factor, x.reach)

    enlarge_nearest = pixel_shuffle

    def pixel_unshuffle(self, x: _Sight, factor: int) -> _Sight:
        assert x.reach == 0, "the body begins behind it"
        self.multiple = factor
        return x


def spec_of(name: str, model: str, arguments: Arguments, scales: tuple[int, ...]) -> ModelSpec:
    """Give the spec that the Keras model of these arguments has, read off its wiring.

    Args:
        name: of the spec.
        model: name of the network's class, with a wiring.
        arguments: its constructor's, all of them.
        scales: the factors it enlarges by.
    """
    radius, multiple, enlarges_last = 0, 1, True
    for scale in scales:
        sights = _Sights()
        seen = Network(model, arguments).wire(sights, _Sight(Fraction(1), Fraction(0)), scale)
        multiple = sights.multiple
        enlarges_last &= sights.enlarges_last
        radius = max(radius, math.ceil(seen.reach) * multiple)
    return ModelSpec(
        name=name,
        scales=scales,
        num_channels=arguments["num_channels"],
        receptive_radius=radius,
        size_multiple=multiple,
        enlarges_last=enlarges_last,
    )
