"""Networks as graphs of ncnn, straight from weights: text and numbers, as its pairs of files hold them.

The graphs are those that the networks' authors publish, where there are such: other programs open them, and so does
`isr.convert.ncnn`. They take `data`, `[c, h, w]` about [0, 1], and give `output`. NumPy alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from isr.runtimes import wirings

MAGIC = "7767517"
INPUT, OUTPUT = "data", "output"
# What stands before the weights of a convolution.
FLOAT32, FLOAT16 = 0, 0x01306B47
# Of `BinaryOp`.
ADD, SUBTRACT, MULTIPLY = 0, 1, 2
SUM = 1  # of `Eltwise`
NEAREST = 1  # of `Interp`


@dataclass(frozen=True)
class Graph:
    """A network as ncnn takes it.

    Attributes:
        text: of the `.param`.
        numbers: of the `.bin`.
    """

    text: str
    numbers: bytes


def build(network: wirings.Network, scale: int, precision: str = "float32") -> Graph:
    """Build a network as a graph of ncnn.

    Args:
        network: with its weights.
        scale: one of its scales.
        precision: "float32" or "float16", of the kernels as they are stored.

    Raises:
        KeyError: weights are missing.
        RuntimeError: shapes do not fit, or float16 does not hold a weight.
    """
    operations = _Operations(network)
    result = network.wire(operations, _Value(INPUT), scale)
    graph = operations.graph(result, precision == "float16")
    _check_channels(graph.text, network.arguments["num_channels"])
    return graph


def save(graph: Graph, path: Path) -> None:
    """Write `path`, a `.param`, and the `.bin` of the same name."""
    path.write_text(graph.text, encoding="utf-8")
    path.with_suffix(".bin").write_bytes(graph.numbers)


@dataclass
class _Layer:
    """A line of the graph, and the numbers that belong to it.

    Attributes:
        settings: by their number, as text.
        kernel: of a convolution, `[out, in, h, w]`.
        plain: further numbers, float32.
    """

    kind: str
    name: str
    inputs: list[str]
    output: str
    settings: dict[int, str] = field(default_factory=dict)
    kernel: np.ndarray | None = None
    plain: np.ndarray | None = None

    def numbers(self, half: bool) -> bytes:
        found = b""
        if self.kernel is not None:
            kernel = self.kernel.astype("<f2" if half else "<f4").tobytes()
            flag = FLOAT16 if half else FLOAT32
            found = flag.to_bytes(4, "little") + kernel + bytes(-len(kernel) % 4)
        return found if self.plain is None else found + self.plain.astype("<f4").tobytes()


@dataclass(frozen=True)
class _Value:
    """Features `[c, h, w]`.

    Attributes:
        blob: their name.
        factor: by which they are still to be multiplied: an addition does it on the way.
        conv: the convolution that they are, shuffled by `shuffle`: what follows may become part of its weights.
    """

    blob: str
    factor: float = 1.0
    conv: _Layer | None = None
    shuffle: int = 1


class _Operations(wirings.Operations):
    """`isr.runtimes.wirings.Operations` on lines of a graph."""

    def __init__(self, network: wirings.Network) -> None:
        super().__init__(network)
        self.layers = [_Layer("Input", INPUT, [], INPUT)]

    def _add(
        self, kind: str, inputs: Sequence[_Value], settings: Mapping[int, str], name: str = ""
    ) -> _Layer:
        blobs = [self._whole(value).blob for value in inputs]
        name = name or f"{kind.lower()}{len(self.layers)}"
        layer = _Layer(kind, name, blobs, f"{name}_out", dict(settings))
        self.layers.append(layer)
        return layer

    def _value(self, kind: str, inputs: Sequence[_Value], settings: Mapping[int, str]) -> _Value:
        return _Value(self._add(kind, inputs, settings).output)

    def _whole(self, x: _Value) -> _Value:
        """`x` with its factor in it."""
        if x.factor == 1.0:
            return x
        return self._with_number(MULTIPLY, replace(x, factor=1.0), x.factor)

    def _with_number(self, operation: int, x: _Value, number: float | np.float32) -> _Value:
        return self._value("BinaryOp", [x], {0: str(operation), 1: "1", 2: _text(number)})

    def _with_mean(self, operation: int, x: _Value) -> _Value:
        mean = self._add("MemoryData", [], {0: "1", 1: "1", 2: str(self.mean.size)})
        mean.plain = self.mean
        return self._value("BinaryOp", [x, _Value(mean.output)], {0: str(operation)})

    def normalise(self, lr: _Value) -> _Value:
        x = self._with_mean(SUBTRACT, lr) if self.mean.any() else lr
        return x if self.range == 1 else self._with_number(MULTIPLY, x, self.range)

    def denormalise(self, sr: _Value) -> _Value:
        if self.range == 1 and not self.mean.any():
            return sr
        if sr.conv is not None:
            conv = sr.conv
            assert conv.kernel is not None and conv.plain is not None
            conv.kernel = conv.kernel / self.range
            conv.plain = conv.plain / self.range + self.mean.repeat(sr.shuffle**2)
            return sr
        x = sr if self.range == 1 else self._with_number(MULTIPLY, sr, 1 / self.range)
        return self._with_mean(ADD, x) if self.mean.any() else x

    def convolve(
        self,
        x: _Value,
        name: str,
        weights: wirings.ConvWeights,
        slope: float | None,
        factor: float,
        exact: bool,
    ) -> _Value:
        kernel, bias = weights
        count, _, side, _ = kernel.shape
        settings = {0: str(count), 1: str(side), 4: str(side // 2), 5: "1", 6: str(kernel.size)}
        if slope is not None:
            settings |= {9: "1"} if slope == 0 else {9: "2", 10: _list(slope)}
        layer = self._add("Convolution", [x], settings, name)
        layer.kernel, layer.plain = kernel, bias
        if slope is not None:
            return _Value(layer.output, factor)
        return _Value(layer.output, factor, layer if factor == 1.0 else None)

    def lower(self, x: _Value) -> _Value:
        return x

    def add(self, x: _Value, y: _Value) -> _Value:
        if x.factor == y.factor == 1.0:
            return self._value("BinaryOp", [x, y], {0: str(ADD)})
        factors = _list(x.factor, y.factor)
        parts = [replace(x, factor=1.0), replace(y, factor=1.0)]
        return self._value("Eltwise", parts, {0: str(SUM), 1: factors})

    def multiply(self, x: _Value, y: _Value) -> _Value:
        return self._value("BinaryOp", [x, y], {0: str(MULTIPLY)})

    def scale(self, x: _Value, factor: float) -> _Value:
        return _Value(x.blob, x.factor * factor)

    def shift(self, x: _Value, amount: float) -> _Value:
        return self._with_number(ADD, x, amount)

    def sigmoid(self, x: _Value) -> _Value:
        return self._value("Sigmoid", [x], {})

    def silu(self, x: _Value) -> _Value:
        return self._value("Swish", [x], {})

    def prelu(self, x: _Value, name: str) -> _Value:
        slopes = self.network.read(f"{name}/alpha").ravel()
        layer = self._add("PReLU", [x], {0: str(slopes.size)}, name)
        layer.plain = slopes
        return _Value(layer.output)

    def concatenate(self, parts: Sequence[_Value]) -> _Value:
        return self._value("Concat", parts, {0: "0"})

    def pixel_shuffle(self, x: _Value, factor: int) -> _Value:
        if factor == 1:
            return x
        if x.conv is None or x.shuffle > 1:
            # Channels in the order of this package.
            return self._value("PixelShuffle", [x], {0: str(factor), 1: "1"})
        # In PyTorch's, as the networks are published.
        conv = x.conv
        assert conv.kernel is not None and conv.plain is not None
        order = np.arange(len(conv.kernel)).reshape(factor**2, -1).T.ravel()
        conv.kernel, conv.plain = conv.kernel[order], conv.plain[order]
        layer = self._add("PixelShuffle", [x], {0: str(factor)})
        return _Value(layer.output, conv=conv, shuffle=factor)

    def pixel_unshuffle(self, x: _Value, factor: int) -> _Value:
        return self._value("Reorg", [x], {0: str(factor), 1: "1"}) if factor > 1 else x

    def enlarge_nearest(self, x: _Value, factor: int) -> _Value:
        return self._value("Interp", [x], {0: str(NEAREST), 1: _text(factor), 2: _text(factor)})

    def graph(self, result: _Value, half: bool) -> Graph:
        """Write the lines; where a value is used several times, ncnn wants as many copies of it."""
        last = self._whole(result).blob
        uses = Counter(blob for layer in self.layers for blob in layer.inputs)
        assert last not in uses, "something is computed of the result"
        copies: dict[str, list[str]] = {}
        lines, blobs = [], 0
        for layer in self.layers:
            inputs = [copies[blob].pop(0) if blob in copies else blob for blob in layer.inputs]
            output = OUTPUT if layer.output == last else layer.output
            lines.append(_line(layer.kind, layer.name, inputs, [output], layer.settings))
            blobs += 1
            if (count := uses[layer.output]) > 1:
                copies[layer.output] = [f"{layer.output}_{i}" for i in range(count)]
                lines.append(_line("Split", f"split{len(lines)}", [output], copies[layer.output], {}))
                blobs += count
        with np.errstate(over="ignore"):
            if half and not all(
                np.isfinite(layer.kernel.astype(np.float16)).all()
                for layer in self.layers
                if layer.kernel is not None
            ):
                raise RuntimeError("it has weights that float16 does not hold")
        numbers = b"".join(layer.numbers(half) for layer in self.layers)
        return Graph("\n".join([MAGIC, f"{len(lines)} {blobs}", *lines, ""]), numbers)


@dataclass(frozen=True)
class Waist:
    """Where a network can be cut: all that is computed behind depends on one value, and perhaps on the input.

    Attributes:
        blob: its name.
        reach: of its pixels on each side, on which a pixel of the result depends.
        scale: pixels of the result along the side of one of its own.
        takes_input: whether the input, of the same size, is needed behind it, too.
    """

    blob: str
    reach: int
    scale: int
    takes_input: bool = False


def find_waist(text: str) -> Waist | None:
    """Find where the body of a network ends.

    Behind it a network enlarges, and holds features at the size of the result: the most of its memory. That part sees
    a few pixels, so that it can go piece by piece.

    Args:
        text: of a `.param`.

    Returns:
        The end of the body; None where the network does not enlarge, or there is no such place.
    """
    kinds, settings, inputs, outputs = _read(text)
    enlarging = [i for i, kind in enumerate(kinds) if kind in ("PixelShuffle", "Interp")]
    if not enlarging:
        return None
    free: set[str] = set()
    given = {INPUT}
    for kind, taken, made in zip(kinds, inputs, outputs, strict=True):
        free |= set(made) if kind == "MemoryData" else set()
        given |= set(made) if kind == "Split" and given >= set(taken) else set()
    # A picture that is made smaller first is of another size than features.
    beside = free if "Reorg" in kinds else free | given
    needed: set[str] = set()
    for i in range(len(kinds) - 1, -1, -1):
        # A convolution that is shuffled has as much to hold as what follows.
        shuffled = kinds[i] == "Convolution" and outputs[i] == inputs[enlarging[0]]
        alone = len(outputs[i]) == 1 and set(outputs[i]) == needed - beside
        if i < enlarging[0] and not shuffled and alone:
            break
        needed = (needed - set(outputs[i])) | set(inputs[i])
    else:
        return None
    (blob,) = outputs[i]
    reach, scale = dict.fromkeys([blob, *given], Fraction(0)), dict.fromkeys([blob, *given], 1)
    for kind, setting, taken, made in list(zip(kinds, settings, inputs, outputs, strict=True))[i + 1 :]:
        seen = [name for name in taken if name in scale]
        if not seen:
            continue
        far, factor = max(reach[name] for name in seen), scale[seen[0]]
        if kind == "Convolution":
            far += Fraction(int(setting["1"]) // 2, factor)
        elif kind == "PixelShuffle":
            factor *= int(setting["0"])
        elif kind == "Interp":
            factor *= int(float(setting["1"]))
        reach |= dict.fromkeys(made, far)
        scale |= dict.fromkeys(made, factor)
    return Waist(blob, math.ceil(reach[OUTPUT]), scale[OUTPUT], bool(needed & given))


def _check_channels(text: str, channels: int) -> None:
    """Raise RuntimeError where a layer takes another number of channels than it gets: ncnn would read beyond them."""
    kinds, settings, inputs, outputs = _read(text)
    found: dict[str, int] = {}
    for line, kind, setting, taken, made in zip(
        text.splitlines()[2:], kinds, settings, inputs, outputs, strict=True
    ):
        name, got = line.split()[1], [found[blob] for blob in taken]
        gives = got[0] if got else channels
        if kind == "Convolution":
            count, side = int(setting["0"]), int(setting["1"])
            takes, gives = int(setting["6"]) // (count * side**2), count
            if takes != got[0]:
                raise RuntimeError(f"{name}/kernel takes {takes} channels, not {got[0]}")
        elif kind in ("PixelShuffle", "Reorg"):
            area = int(setting["0"]) ** 2
            if kind == "PixelShuffle" and gives % area:
                raise RuntimeError(f"{name} takes a multiple of {area} channels, not {gives}")
            gives = gives // area if kind == "PixelShuffle" else gives * area
        elif kind == "Concat":
            gives = sum(got)
        elif kind == "MemoryData":
            gives = int(setting["2"])
        elif len(set(got)) > 1 or (kind == "PReLU" and int(setting["0"]) not in (1, gives)):
            raise RuntimeError(f"{name} takes other channels than {', '.join(map(str, got))}")
        found |= dict.fromkeys(made, gives)
    if found[OUTPUT] != channels:
        raise RuntimeError(f"it makes {found[OUTPUT]} channels")


def widest(text: str) -> int:
    """Return the most channels that a convolution of a `.param` takes."""
    kinds, settings, _, _ = _read(text)
    convolutions = [s for kind, s in zip(kinds, settings, strict=True) if kind == "Convolution"]
    return max((int(s["6"]) // (int(s["0"]) * int(s["1"]) ** 2) for s in convolutions), default=1)


def _read(text: str) -> tuple[list[str], list[dict[str, str]], list[list[str]], list[list[str]]]:
    """The kind, the settings, the inputs and the outputs of every line of a `.param`."""
    lines = [line.split() for line in text.splitlines()[2:]]
    ends = [(4 + int(line[2]), 4 + int(line[2]) + int(line[3])) for line in lines]
    return (
        [line[0] for line in lines],
        [dict(item.split("=", 1) for item in line if "=" in item) for line in lines],
        [line[4:first] for line, (first, _) in zip(lines, ends, strict=True)],
        [line[first:last] for line, (first, last) in zip(lines, ends, strict=True)],
    )


def _line(kind: str, name: str, inputs: list[str], outputs: list[str], settings: Mapping[int, str]) -> str:
    told = [f"{-23300 - key if ',' in text else key}={text}" for key, text in settings.items()]
    return " ".join([kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, *told])


def _text(number: float | np.float32) -> str:
    return f"{number:.8e}"


def _list(*numbers: float) -> str:
    return ",".join([str(len(numbers)), *map(_text, numbers)])
