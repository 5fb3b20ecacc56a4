"""How SPAN begins: as an interpolation, or with a SPAN of the same body, of either form and any scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isr.models.span import SPAN, Weights, merged
from isr.models.starts import adopt, interpolate, kernels


@interpolate.register(SPAN)
def interpolate_span(model: SPAN) -> None:
    """Carry the channels to the last convolution as the first features of the head, and enlarge them there."""
    kernels.require_features(model.num_features, model.num_channels)
    plain = model.reparametrise()
    kernels.carry(plain.head, model.num_channels)
    kernels.carry(plain.fusion, model.num_channels)
    kernels.carry_enlarged(plain.tail, model.scale, model.num_channels, rest=0.1)
    weights = {name: np.asarray(value) for name, value in plain.named_weights().items()}
    take_plain(model, weights, "start")


@adopt.register(SPAN)
def adopt_span(model: SPAN, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over a SPAN of the same body: of either form, also of another scale.

    For another scale, the filters of its sub-pixels are interpolated between those of the old one.
    """
    weights = merged({name: np.asarray(value, np.float32) for name, value in values.items()})
    made = kernels.resample_last(weights, "tail", model.scale, model.num_channels)
    take_plain(model, weights, source)
    return made


def take_plain(model: SPAN, values: Mapping[str, np.ndarray], source: str) -> None:
    """Assign weights of the plain form, to branches that add up to them where the model has branches."""
    if model.reparametrised:
        model.load_named_weights(values, source)
        return
    rng = np.random.default_rng(0)
    own = model.named_weights()
    weights: Weights = {}
    for name, value in values.items():
        layer, _, part = name.rpartition("/")
        if f"{layer}/skip_bias" not in own:
            weights[name] = value
        elif part == "kernel":
            branches = branch(value, values[f"{layer}/bias"], model.expansion, rng)
            weights |= {f"{layer}/{name}": value for name, value in branches.items()}
    model.load_named_weights(weights, source)


def branch(kernel: np.ndarray, bias: np.ndarray, expansion: int, rng: np.random.Generator) -> Weights:
    """Give branches that add up to a convolution: the inverse of `merge`, one of many.

    The 1x1 convolutions around the 3x3 one turn their channels by orthogonal matrices, so all of them learn at the
    same pace.

    Args:
        kernel: `[3, 3, c, filters]`.
        bias: `[filters]`.
        expansion: of the layer.
        rng: draws the matrices.
    """
    channels, filters = kernel.shape[2:]
    expand = np.linalg.qr(rng.normal(size=(channels * expansion, channels)))[0].T
    reduce = np.linalg.qr(rng.normal(size=(filters * expansion, filters)))[0]
    weights = {
        "expand_kernel": expand[None, None],
        "expand_bias": np.zeros(channels * expansion),
        "middle_kernel": expand.T @ kernel @ reduce.T,
        "middle_bias": np.zeros(filters * expansion),
        "reduce_kernel": reduce[None, None],
        "reduce_bias": bias,
        "skip_kernel": np.zeros((1, 1, channels, filters)),
        "skip_bias": np.zeros(filters),
    }
    return {name: np.asarray(value, np.float32) for name, value in weights.items()}
