"""MDSR, in the names of EDSR-PyTorch."""

from __future__ import annotations

from isr.convert.families.edsr import DIV2K, EDSR_PYTORCH
from isr.convert.family import Family, Plan, Tensors, count, has, outputs, steps_of

MDSR_PYTORCH = {**{k: v for k, v in EDSR_PYTORCH.items() if "upsampler" not in k}, "tail": "tail.0"}


def mdsr_plan(tensors: Tensors) -> Plan:
    """Read the plan; the upsamplers tell the scales: 9f outputs are x3, one step of 4f is x2, two are x4."""
    features = outputs(tensors, "head.0")
    blocks = count(tensors, "body.{}.body.0.weight")
    layers: dict[str, str] = {"body_end": f"body.{blocks}"}
    scales: list[int] = []
    shuffles: dict[str, int] = {}
    for branch in range(count(tensors, "upsample.{}.0.weight")):
        scale, factors = steps_of(tensors, f"upsample.{branch}.{{}}", features)
        scales.append(scale)
        layers[f"x{scale}_pre{{i}}/conv1"] = f"pre_process.{branch}.{{i}}.body.0"
        layers[f"x{scale}_pre{{i}}/conv2"] = f"pre_process.{branch}.{{i}}.body.2"
        layers[f"x{scale}_upsampler/conv{{u}}"] = f"upsample.{branch}.{{2u}}"
        shuffles |= {f"x{scale}_upsampler/conv{i}": factor for i, factor in enumerate(factors)}
    taken = {
        "scales": scales,
        "num_features": features,
        "num_blocks": blocks,
        "num_channels": outputs(tensors, "tail.0"),
    }
    shifts = ("sub_mean", "add_mean") if "sub_mean.weight" in tensors else ()
    return Plan("MDSR", taken, dict(DIV2K), shuffles, layers=layers, shifts=shifts)


FAMILIES = (
    Family(
        "MDSR (EDSR-PyTorch)",
        has("head.0.weight", "pre_process.0.0.body.0.weight"),
        mdsr_plan,
        MDSR_PYTORCH,
    ),
)
