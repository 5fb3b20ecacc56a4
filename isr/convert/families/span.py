"""SPAN, in its authors' names: with the branches that it was trained with, or the convolutions they were merged to."""

from __future__ import annotations

import math
import re

import numpy as np

from isr.convert.family import Family, Plan, Tensors, count, inputs, outputs
from isr.models.base import DIV2K_MEAN

SPAN = {
    "head": "conv_1",
    "block{b}/conv{c}": "block_{b+1}.c{c}_r",
    "body_end": "conv_2",
    "global_fusion": "conv_cat",
    "tail": "upsampler.0",
}
# What a branched convolution consists of, with the sides of the kernels.
BRANCHES = {"conv.0": (1, 1), "conv.1": (3, 3), "conv.2": (1, 1), "sk": (1, 1)}
PART = re.compile(r"(conv_[12]|block_\d+\.c[123]_r)\.(conv\.[012]|sk|eval_conv)\.(weight|bias)")


def is_span(tensors: Tensors) -> bool:
    """Tell whether there are attention blocks of three convolutions, in either form."""
    return "conv_cat.weight" in tensors and any(
        f"block_1.c1_r.{part}.weight" in tensors for part in ("sk", "eval_conv")
    )


def plain(tensors: Tensors) -> dict[str, np.ndarray]:
    """Write every convolution of several branches as one: `conv_1.weight` for `conv_1.sk.weight` and the others.

    A file holds merged convolutions too, but a step of training leaves them as they were, so they count only where
    there are no branches.
    Raises KeyError and ValueError, which say what is wrong, for branches that do not add up.
    """
    values: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        match = PART.fullmatch(name)
        if match is None:
            values[name] = value
            continue
        layer, branch, kind = match.groups()
        if f"{layer}.sk.weight" not in tensors and branch == "eval_conv":
            values[f"{layer}.{kind}"] = value
        elif branch != "eval_conv" and f"{layer}.weight" not in values:
            values |= merged(tensors, layer)
    return values


def merged(tensors: Tensors, layer: str) -> dict[str, np.ndarray]:
    """Add up the branches of one convolution, in PyTorch's order of dimensions."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for branch, sides in BRANCHES.items():
        name = f"{layer}.{branch}"
        if not {f"{name}.weight", f"{name}.bias"} <= tensors.keys():
            raise KeyError(f"has no {name}")
        kernel, bias = (np.asarray(tensors[f"{name}.{kind}"], np.float64) for kind in ("weight", "bias"))
        if kernel.shape[2:] != sides:
            raise ValueError(f"{name} is no convolution of {sides[0]}x{sides[1]}")
        parts.append((kernel, bias))
    (w1, b1), (w2, b2), (w3, b3), (skip, skip_bias) = parts
    w1, w3, skip = w1[..., 0, 0], w3[..., 0, 0], skip[..., 0, 0]
    try:
        kernel = np.einsum("mc,nmhw,on->ochw", w1, w2, w3, optimize=True)
        kernel[..., 1, 1] += skip
        bias = w3 @ (w2.sum((2, 3)) @ b1 + b2) + b3 + skip_bias
    except ValueError:
        raise ValueError(f"the branches of {layer} do not fit together") from None
    return {f"{layer}.weight": kernel, f"{layer}.bias": bias}


def span_plan(tensors: Tensors) -> Plan:
    """Read the plan; a tensor `no_norm` tells that no mean is taken off."""
    channels = inputs(tensors, "conv_1")
    scale = math.isqrt(outputs(tensors, "upsampler.0") // channels)
    taken: dict[str, object] = {
        "scale": scale,
        "num_features": outputs(tensors, "conv_1"),
        "num_blocks": count(tensors, "block_{}.c1_r.weight"),
        "num_channels": channels,
    }
    assumed = {"pixel_mean": list(DIV2K_MEAN) if channels == 3 else None, "pixel_range": 255.0}
    if "no_norm" in tensors:
        taken |= {"pixel_mean": 0.0, "pixel_range": 1.0}
        assumed = {}
    return Plan("SPAN", taken, assumed, shuffles={"tail": scale}, notes=("no_norm",), bare="tail")


FAMILIES = (Family("SPAN", is_span, span_plan, SPAN, rewrite=plain),)
