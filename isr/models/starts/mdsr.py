"""How MDSR begins: as an interpolation, or with an MDSR of other scales or an EDSR, of the same body."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from isr.models.mdsr import MDSR
from isr.models.starts import adopt, interpolate, kernels

BRANCH = r"x(\d+)_"  # how the names of the weights of one scale begin


@interpolate.register(MDSR)
def interpolate_mdsr(model: MDSR) -> None:
    """Interpolate at every scale, as EDSR does at one."""
    kernels.require_features(model.num_features, model.num_channels)
    kernels.carry(model.head, model.num_channels)
    kernels.shrink([*(block.conv2 for block in model.blocks), model.body_end])
    # No `body_end` stands behind the pre-processing.
    kernels.shrink((block.conv2 for blocks in model.pre_blocks for block in blocks), 0.01)
    for upsampler in model.upsamplers:
        kernels.interpolate_upsampler(upsampler, model.num_channels, rest=0.1)
    kernels.carry(model.tail, model.num_channels, rest=0.1)


@adopt.register(MDSR)
def adopt_mdsr(model: MDSR, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over an MDSR of other scales, or an EDSR, of the same body.

    A scale that the other network lacks starts with pre-processing that changes nothing and with an upsampler made of
    that of the next scale below, or above. At the scale of an EDSR the result equals the EDSR's.
    """
    values = {name: np.asarray(value, np.float32) for name, value in values.items()}
    if steps := kernels.below("upsampler/", values):
        values = {name: value for name, value in values.items() if not name.startswith("upsampler/")}
        scale = math.prod(
            math.isqrt(value.size // model.num_features)
            for name, value in steps.items()
            if name.endswith("bias")
        )
        values |= {f"x{scale}_upsampler/{name}": value for name, value in steps.items()}
    own = model.named_weights()
    kernels.compare_but(BRANCH, own, values, source)

    known = {int(match[1]) for name in values if (match := re.match(BRANCH, name))}
    weights = {name: values.get(name, value) for name, value in own.items()}
    made = [name for name in own if name not in values]
    for upsampler in model.upsamplers:
        nearest = max((scale for scale in known if scale <= upsampler.scale), default=min(known, default=0))
        steps, _ = kernels.adopted_upsampler(upsampler, kernels.below(f"x{nearest}_upsampler/", values))
        weights |= {f"x{upsampler.scale}_upsampler/{name}": value for name, value in steps.items()}
    for name in made:
        if "_pre" in name and "/conv2/" in name:
            weights[name] = np.zeros(own[name].shape, np.float32)
    model.load_named_weights(weights, source)
    return made
