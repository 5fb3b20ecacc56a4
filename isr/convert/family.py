"""What a family of published weights is: how a file is told, what its shapes say, and where its tensors belong.

A family has a table of names: this package's layer on the left, the file's on the right, where `{b}` stands for any
number, and `{b+1}` and `{2b}` for what is made of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Tensors = Mapping[str, np.ndarray]
Layers = Mapping[str, str]

NUMBER = re.compile(r"\{(\d*)([a-z])(?:\+(\d+))?\}")  # {b}, {2u}, {b+1} in the tables of names


@dataclass(frozen=True)
class Plan:
    """What a file's names and shapes say of its network.

    Attributes:
        model: the class.
        taken: arguments that follow from the file.
        assumed: arguments that no file tells, as the published files of that shape have them.
        shuffles: the layers before a pixel shuffle, and its factor.
        unshuffles: the layers behind a pixel unshuffle, and its factor.
        layers: names that depend on the arguments, beside those of the family.
        shifts: the fixed layers that take the mean off and put it back, folded into the first and the last one.
        notes: tensors that say something of the network and belong to no layer.
        bare: our last layer, where the file's gives the picture itself in [0, 1], with no mean and range after it.
    """

    model: str
    taken: dict[str, Any]
    assumed: dict[str, Any] = field(default_factory=dict)
    shuffles: Mapping[str, int] = field(default_factory=dict)
    unshuffles: Mapping[str, int] = field(default_factory=dict)
    layers: Layers = field(default_factory=dict)
    shifts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bare: str = ""


@dataclass(frozen=True)
class Family:
    """One naming of one network.

    Attributes:
        name: network and whose names.
        matches: whether a file is of this family.
        plan: its arguments; None for a family that is told, but refused.
        layers: the table of names.
        refused: why it cannot be converted.
        after: names of the families that are tried before this one, where a file could be of both.
        rewrite: what makes the tensors that `plan` and `layers` speak of; None: those of the file.
    """

    name: str
    matches: Callable[[Tensors], bool]
    plan: Callable[[Tensors], Plan] | None = None
    layers: Layers = field(default_factory=dict)
    refused: str = ""
    after: tuple[str, ...] = ()
    rewrite: Callable[[Tensors], Tensors] | None = None


# Names


def as_pattern(template: str) -> str:
    """Return the regular expression for a name of a table, each number a group."""
    parts, end = [], 0
    for match in NUMBER.finditer(template):
        parts += [re.escape(template[end : match.start()]), r"(\d+)"]
        end = match.end()
    return "".join([*parts, re.escape(template[end:])])


def name_in_file(layer: str, tables: Iterable[Layers]) -> str | None:
    """Return what a file calls a layer of ours, by the first entry that fits, or None."""
    for table in tables:
        if layer in table and "{" not in layer:
            return table[layer]
        for ours, theirs in table.items():
            match = re.fullmatch(as_pattern(ours), layer)
            if match and "{" in ours:
                letters = [found[2] for found in NUMBER.finditer(ours)]
                numbers = dict(zip(letters, map(int, match.groups()), strict=True))

                def number(found: re.Match[str], numbers: dict[str, int] = numbers) -> str:
                    return str(int(found[1] or 1) * numbers[found[2]] + int(found[3] or 0))

                return NUMBER.sub(number, theirs)
    return None


# Shapes


def has(*names: str) -> Callable[[Tensors], bool]:
    """Return the condition that all of these tensors are there."""
    return lambda tensors: all(name in tensors for name in names)


def count(tensors: Tensors, pattern: str) -> int:
    """Count the numbers that stand for the braces in a name, such as `body.{}.conv1.weight`."""
    before, after = map(re.escape, pattern.split("{}"))
    found = (re.match(f"{before}(\\d+){after}", name) for name in tensors)
    return len({match[1] for match in found if match})


def outputs(tensors: Tensors, name: str) -> int:
    """Return the output channels of a PyTorch convolution."""
    return int(tensors[f"{name}.weight"].shape[0])


def inputs(tensors: Tensors, name: str) -> int:
    """Return the input channels of a PyTorch convolution."""
    return int(tensors[f"{name}.weight"].shape[1])


def steps_of(tensors: Tensors, pattern: str, features: int) -> tuple[int, list[int]]:
    """Read the scale and the factors of an upsampler off the output channels of its convolutions."""
    names = sorted(
        (
            name
            for name in tensors
            if re.fullmatch(re.escape(pattern).replace(r"\{\}", r"\d+") + ".weight", name)
        ),
        key=lambda name: [int(number) for number in re.findall(r"\d+", name)],
    )
    factors = [math.isqrt(tensors[name].shape[0] // features) for name in names]
    return math.prod(factors), factors
