"""ncnn's pairs of files, `.param` and `.bin`: what Upscayl, chaiNNer and the Real-ESRGAN programs keep weights in.

The first holds a graph as text, a line for each operation; the second holds the numbers, in the order of the lines.
Where the graph is exactly that of a network of this package, its tensors get the names that the network's authors use,
as in a `.pth`. Every other graph is refused.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAGIC = "7767517"  # the first line of a graph
MAX_TEXT = 4 << 20  # bytes; the largest graph here has 0.1 MB
MAX_LAYERS = 20_000
FLOAT32 = (0, 0x0002C056)  # flags in front of weights
FLOAT16 = 0x01306B47
INT8 = 0x000D4B38

NEAREST = 1  # of an Interp


class Unusable(Exception):
    """Why a pair of files is of no use, without its name."""


@dataclass(frozen=True)
class Layer:
    """A line of a graph.

    Attributes:
        kind: of operation, such as "Convolution".
        name: its own.
        inputs, outputs: names of the tensors that go in and come out.
        settings: numbers by their number; a list for those that ncnn stores as lists.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: Mapping[int, Any]

    def whole(self, key: int, default: int = 0) -> int:
        """Look a setting up that is an integer from 0; ValueError where it is none."""
        value = self.settings.get(key, default)
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{self.name} has {value!r} for setting {key}")
        return value


def parse(text: str) -> list[Layer]:
    """Read a graph; Unusable or ValueError where it is none."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != [MAGIC]:
        raise Unusable("no graph of ncnn (or its binary form, .param.bin: convert the text)")
    count = int(lines[1][0])
    if count != len(lines) - 2 or count > MAX_LAYERS:
        raise ValueError(f"{len(lines) - 2} operations, not {count}")
    layers = []
    for kind, name, num_inputs, num_outputs, *rest in lines[2:]:
        first, last = int(num_inputs), int(num_inputs) + int(num_outputs)
        settings = dict(_setting(item) for item in rest[last:])
        layers.append(Layer(kind, name, tuple(rest[:first]), tuple(rest[first:last]), settings))
    return layers


def _setting(item: str) -> tuple[int, Any]:
    """`6=1728`, or `-23310=1,0.2`: a list, its length in front, of setting 10."""
    key, _, value = item.partition("=")
    if int(key) <= -23300:
        length, *values = value.split(",")
        if int(length) != len(values):
            raise ValueError(f"a list of {len(values)} numbers, not {length}")
        return -int(key) - 23300, [_number(value) for value in values]
    return int(key), _number(value)


def _number(text: str) -> int | float:
    return float(text) if any(letter in text for letter in ".eEn") else int(text)


# ------------------------------------------------------------------------------------------------------- the numbers


class Numbers:
    """The `.bin`, read from its beginning to its end.

    Every method raises EOFError where less is left than is asked for.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def _take(self, size: int) -> bytes:
        part = self.data[self.place : self.place + size]
        if len(part) != size:
            raise EOFError("the .bin ends too early")
        self.place += size
        return part

    def plain(self, count: int) -> np.ndarray:
        """Read float32 numbers with nothing in front of them."""
        return np.frombuffer(self._take(4 * count), "<f4").astype(np.float32)

    def weights(self, count: int) -> np.ndarray:
        """Read numbers behind a flag that tells their type, as float32."""
        (flag,) = struct.unpack("<I", self._take(4))
        if flag == FLOAT16:
            values = np.frombuffer(self._take(2 * count), "<f2").astype(np.float32)
            self._take(-2 * count % 4)
            return values
        if flag in FLOAT32:
            return self.plain(count)
        if flag == INT8:
            raise Unusable(
                "weights in 8 bits, of which nothing here can be made: take the file with float weights"
            )
        raise Unusable(f"weights of a kind (0x{flag:08X}) that is not read: save them as float32 or float16")


def _read_numbers(layers: list[Layer], numbers: Numbers) -> dict[str, dict[str, np.ndarray]]:
    """Read the numbers of every layer that has some, by the layer's name and what they are."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer in layers:
        if layer.name in found:
            raise ValueError(f"two operations called {layer.name[:80]!a}")
        if layer.kind == "Convolution":
            filters, side, count = layer.whole(0), layer.whole(1), layer.whole(6)
            inputs = count // max(filters * side**2, 1)
            if not count or inputs * filters * side**2 != count:
                raise ValueError(f"{layer.name[:80]!a} has {count} weights")
            if not layer.whole(5):
                raise Unusable("a convolution without bias, which no network here has")
            kernel = numbers.weights(count).reshape(filters, inputs, side, side)
            found[layer.name] = {"weight": kernel, "bias": numbers.plain(filters)}
        elif layer.kind == "PReLU":
            found[layer.name] = {"weight": numbers.plain(layer.whole(0))}
        elif layer.kind == "MemoryData":
            sides = [side for key in (0, 1, 11, 2) if (side := layer.whole(key))]
            found[layer.name] = {"value": numbers.plain(math.prod(sides))}
    if numbers.place != len(numbers.data):
        raise ValueError(f"{len(numbers.data) - numbers.place} bytes of the .bin are left over")
    return found


# --------------------------------------------------------------------------------------------------------- the graph


@dataclass
class Expressions:
    """All that graphs compute, each expression once and by its number, so that equal graphs have equal numbers.

    Weights are not compared: a convolution is told by its place among the convolutions.
    """

    numbers: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def __call__(self, *parts: Any) -> int:
        return self.numbers.setdefault(parts, len(self.numbers))

    def add(self, a: int, b: int) -> int:
        return self("add", *sorted((a, b)))

    def multiply(self, a: int, b: int) -> int:
        for x, y in ((a, b), (b, a)):
            if self.numbers.get(("sigmoid", x)) == y:
                return self("silu", x)
        return self("multiply", *sorted((a, b)))

    def scale(self, x: int, factor: float) -> int:
        return x if factor == 1 else self("scale", x, _rounded(factor))

    def shift(self, x: int, by: float) -> int:
        return self("shift", x, _rounded(by))


def _rounded(value: float) -> float:
    """Round to as many digits as a graph's text keeps."""
    return float(f"{value:.5e}")


def _expression(layers: list[Layer], e: Expressions) -> int:
    """Find the number of what a graph gives at its end; Unusable for an operation that no network here has."""
    blobs: dict[str, int] = {}
    counts = {"Convolution": 0, "PReLU": 0, "MemoryData": 0}
    result = -1
    for layer in layers:
        xs = [blobs[name] for name in layer.inputs]
        number = counts.get(layer.kind, 0)
        result = _operation(layer, xs, number, e)
        if layer.kind in counts:
            counts[layer.kind] += 1
        blobs |= dict.fromkeys(layer.outputs, result)
    return result


def _operation(layer: Layer, xs: list[int], number: int, e: Expressions) -> int:
    """Find the number of what one line of a graph computes of the expressions `xs`."""
    match layer.kind, xs:
        case "Input", []:
            return e("input")
        case "MemoryData", []:
            return e("constant", number)
        case "Split", [x]:
            return x
        case "Convolution", [x]:
            if not _keeps_size(layer):
                raise Unusable(f"a convolution as no network here has it ({layer.name[:80]!a})")
            y = e("conv", number, x)
            match layer.whole(9):
                case 0:
                    return y
                case 1:
                    return e("leaky", y, 0.0)
                case 2:
                    return e("leaky", y, _rounded(layer.settings[10][0]))
            raise Unusable(f"an activation (number {layer.whole(9)}) that no network here has")
        case "PReLU", [x]:
            return e("prelu", number, x)
        case "ReLU", [x]:
            return e("leaky", x, _rounded(layer.settings.get(0, 0.0)))
        case "Swish", [x]:
            return e("silu", x)
        case "Sigmoid", [x]:
            return e("sigmoid", x)
        case "Concat", _ if layer.settings.get(0, 0) == 0:
            return e("concat", *xs)
        case "PixelShuffle", [x] if layer.settings.get(1, 0) == 0:
            return e("shuffle", x, layer.whole(0))
        case "Interp", [x] if layer.whole(0) == NEAREST and layer.settings.get(1) == layer.settings.get(2):
            return e("nearest", x, _rounded(layer.settings[1]))
        case "Interp", [x] if layer.settings.get(1, 1.0) < 1:
            raise Unusable(
                "a network whose result is made smaller at the end: take the file of its larger scale"
            )
        case "Eltwise", [a, b] if layer.whole(0) == 0:
            return e.multiply(a, b)
        case "Eltwise", [a, b] if layer.whole(0) == 1:
            p, q = layer.settings.get(1) or (1.0, 1.0)
            return e.add(e.scale(a, p), e.scale(b, q))
        case "BinaryOp", [x] if layer.whole(1) == 1:
            value = float(layer.settings.get(2, 0.0))
            match layer.whole(0):
                case 0:
                    return e.shift(x, value)
                case 1:
                    return e.shift(x, -value)
                case 2:
                    return e.scale(x, value)
        case "BinaryOp", [a, b]:
            match layer.whole(0):
                case 0:
                    return e.add(a, b)
                case 1:
                    return e("subtract", a, b)
                case 2:
                    return e.multiply(a, b)
    raise Unusable(f"an operation {layer.kind[:40]!a} ({layer.name[:80]!a}) as no network here has it")


def _keeps_size(layer: Layer) -> bool:
    """Whether a convolution has a square kernel, strides of 1, as many zeros around, and nothing else of note."""
    get, side = layer.settings.get, layer.whole(1)
    known = {0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16}
    border = get(4, 0)
    return (
        layer.settings.keys() <= known
        and get(11, side) == side
        and all(get(key, 1) == 1 for key in (2, 3, 12, 13))
        and border == side // 2
        and all(get(key, border) == border for key in (14, 15, 16))
    )


# ------------------------------------------------------------------------------------- the graphs of the networks here


@dataclass(frozen=True)
class Network:
    """A network's expression, and what its authors call the layers in the order of the file.

    Attributes:
        result: the number of its expression.
        convs, prelus: names.
        facts: arguments that the graph tells.
    """

    result: int
    convs: list[str]
    prelus: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def _compact(layers: list[Layer], e: Expressions) -> Network:
    """SRVGGNetCompact."""
    count = sum(layer.kind == "PReLU" for layer in layers)
    factor = next((layer.whole(0) for layer in layers if layer.kind == "PixelShuffle"), 1)
    x = y = e("input")
    for i in range(count):
        y = e("prelu", i, e("conv", i, y))
    y = e("shuffle", e("conv", count, y), factor)
    convs, prelus = ([f"body.{2 * i + odd}" for i in range(count + 1 - odd)] for odd in (0, 1))
    return Network(e.add(y, e("nearest", x, float(factor))), convs, prelus)


def _span(layers: list[Layer], e: Expressions) -> Network:
    """SPAN, with or without the mean and the range in front."""
    blocks = sum(layer.kind == "Sigmoid" for layer in layers)
    factor = next((layer.whole(0) for layer in layers if layer.kind == "PixelShuffle"), 1)
    with_mean = any(layer.kind == "MemoryData" for layer in layers)
    x = e("input")
    facts: dict[str, Any] = {}
    if with_mean:
        x = e("subtract", x, e("constant", 0))
        first = [layer for layer in layers if layer.kind == "BinaryOp"][1:2]
        factors = [
            float(layer.settings.get(2, 0)) for layer in first if layer.whole(1) == 1 and layer.whole(0) == 2
        ]
        facts["pixel_range"] = factors[0] if factors else 1.0
        x = e.scale(x, facts["pixel_range"])
    head = x = e("conv", 0, x)
    convs, results, act = ["conv_1.eval_conv"], [], head
    for b in range(blocks):
        act = e("silu", e("conv", 3 * b + 1, x))
        h = e("conv", 3 * b + 3, e("silu", e("conv", 3 * b + 2, act)))
        x = e.multiply(e.add(h, x), e.shift(e("sigmoid", h), -0.5))
        results.append(x)
        convs += [f"block_{b + 1}.c{i}_r.eval_conv" for i in (1, 2, 3)]
    end = 3 * blocks + 1
    mixed = e("conv", end + 1, e("concat", head, e("conv", end, x), results[0], act))
    convs += ["conv_2.eval_conv", "conv_cat", "upsampler.0"]
    return Network(e("shuffle", e("conv", end + 2, mixed), factor), convs, facts=facts)


def _rrdbnet(layers: list[Layer], e: Expressions) -> Network:
    """RRDBNet for x4, with dense blocks of five convolutions in threes."""
    blocks = (sum(layer.kind == "Convolution" for layer in layers) - 6) // 15
    convs = ["conv_first"]

    def conv(x: int, name: str, leaky: bool = False) -> int:
        y = e("conv", len(convs), x)
        convs.append(name)
        return e("leaky", y, 0.2) if leaky else y

    head = x = e("conv", 0, e("input"))
    for b in range(blocks):
        start = x
        for r in (1, 2, 3):
            seen = [x]
            for c in (1, 2, 3, 4):
                source = seen[0] if c == 1 else e("concat", *seen)
                seen.append(conv(source, f"body.{b}.rdb{r}.conv{c}", leaky=True))
            x = e.add(e.scale(conv(e("concat", *seen), f"body.{b}.rdb{r}.conv5"), 0.2), x)
        x = e.add(e.scale(x, 0.2), start)
    x = e.add(head, conv(x, "conv_body"))
    for name in ("conv_up1", "conv_up2"):
        x = conv(e("nearest", x, 2.0), name, leaky=True)
    result = conv(conv(x, "conv_hr", leaky=True), "conv_last")
    return Network(result, convs, facts={"res_scale": 0.2})


def read(text: str, data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the tensors of a pair of files.

    Args:
        text: the `.param`.
        data: the `.bin`.

    Returns:
        The tensors under the names of their authors' PyTorch code, out x in x kh x kw, float32; and arguments of the
        network that the graph tells, such as `pixel_range`.

    Raises:
        Unusable: it is no network of this package.
        ValueError, KeyError, EOFError and others: the files are damaged.
    """
    layers = parse(text)
    e = Expressions()
    result = _expression(layers, e)
    kinds = {layer.kind for layer in layers}
    name, build = (
        ("SRVGGNetCompact", _compact)
        if "PReLU" in kinds
        else ("SPAN", _span)
        if "Sigmoid" in kinds
        else ("RRDBNet", _rrdbnet)
    )
    network = build(layers, e)
    if network.result != result:
        raise Unusable(
            f"a graph of ncnn that resembles {name} and differs from it; only the published form is read"
        )
    numbers = _read_numbers(layers, Numbers(data))
    facts = dict(network.facts)
    tensors: dict[str, np.ndarray] = {}
    for kind, names in (("Convolution", network.convs), ("PReLU", network.prelus)):
        found = [numbers[layer.name] for layer in layers if layer.kind == kind]
        for layer_name, parts in zip(names, found, strict=True):
            tensors |= {f"{layer_name}.{part}": value for part, value in parts.items()}
    constants = [numbers[layer.name]["value"] for layer in layers if layer.kind == "MemoryData"]
    if constants:
        facts["pixel_mean"] = [round(float(value), 6) for value in constants[0]]
    elif name == "SPAN":
        tensors["no_norm"] = np.zeros(1, np.float32)
    return tensors, facts
