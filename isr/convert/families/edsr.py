"""EDSR, in the names of BasicSR, mmagic and EDSR-PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isr.convert.family import Family, Plan, Tensors, count, has, outputs, steps_of
from isr.models.base import DIV2K_MEAN

DIV2K = {"pixel_mean": list(DIV2K_MEAN), "pixel_range": 255.0}

EDSR_BASICSR = {
    "head": "conv_first",
    "block{b}/conv{c}": "body.{b}.conv{c}",
    "body_end": "conv_after_body",
    "upsampler/conv{u}": "upsample.{2u}",
    "tail": "conv_last",
}
EDSR_MMAGIC = {**EDSR_BASICSR, "upsampler/conv{u}": "upsample.{u}.upsample_conv"}
EDSR_PYTORCH = {
    "head": "head.0",
    "block{b}/conv1": "body.{b}.body.0",
    "block{b}/conv2": "body.{b}.body.2",
    "upsampler/conv{u}": "tail.0.{2u}",
    "tail": "tail.1",
}


def edsr_plan(
    first: str, last: str, block: str, upsampler: str, pixels: dict[str, Any], **names: Any
) -> Callable[[Tensors], Plan]:
    """Return the plan of an EDSR whose layers have these names."""

    def plan(tensors: Tensors) -> Plan:
        features = outputs(tensors, first)
        scale, factors = steps_of(tensors, upsampler, features)
        blocks = count(tensors, block)
        return Plan(
            "EDSR",
            {
                "scale": scale,
                "num_features": features,
                "num_blocks": blocks,
                "num_channels": outputs(tensors, last),
            },
            {"res_scale": 0.1 if features == 256 else 1.0, **pixels},
            shuffles={f"upsampler/conv{i}": factor for i, factor in enumerate(factors)},
            layers={"body_end": f"body.{blocks}"} if names.get("numbered_end") else {},
            shifts=("sub_mean", "add_mean") if "sub_mean.weight" in tensors else (),
        )

    return plan


FAMILIES = (
    Family(
        "EDSR (BasicSR)",
        has("conv_after_body.weight", "body.0.conv1.weight", "upsample.0.weight"),
        edsr_plan("conv_first", "conv_last", "body.{}.conv1.weight", "upsample.{}", DIV2K),
        EDSR_BASICSR,
    ),
    Family(
        "EDSR (mmagic)",
        has("conv_after_body.weight", "body.0.conv1.weight", "upsample.0.upsample_conv.weight"),
        edsr_plan(
            "conv_first",
            "conv_last",
            "body.{}.conv1.weight",
            "upsample.{}.upsample_conv",
            {**DIV2K, "pixel_range": 1.0},
        ),
        EDSR_MMAGIC,
    ),
    Family(
        "EDSR (EDSR-PyTorch)",
        has("head.0.weight", "body.0.body.0.weight", "tail.0.0.weight"),
        edsr_plan("head.0", "tail.1", "body.{}.body.0.weight", "tail.0.{}", DIV2K, numbered_end=True),
        EDSR_PYTORCH,
    ),
)
