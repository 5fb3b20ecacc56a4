"""RDN, in the names of yjn870, mmagic and EDSR-PyTorch."""

from __future__ import annotations

import re

from isr.convert.family import Family, Plan, Tensors, count, has, outputs, steps_of

RDN_YJN870 = {
    "head1": "sfe1",
    "head2": "sfe2",
    "block{d}/conv{c}": "rdbs.{d}.layers.{c}.conv",
    "block{d}/fusion": "rdbs.{d}.lff",
    "fusion1": "gff.0",
    "fusion2": "gff.1",
    "enlarge/conv{u}": "upscale.{2u}",
    "tail": "output",
}
RDN_PYTORCH = {
    "head1": "SFENet1",
    "head2": "SFENet2",
    "block{d}/conv{c}": "RDBs.{d}.convs.{c}.conv.0",
    "block{d}/fusion": "RDBs.{d}.LFF",
    "fusion1": "GFF.0",
    "fusion2": "GFF.1",
    "enlarge/conv{u}": "UPNet.{2u}",
}


def rdn_yjn870_plan(tensors: Tensors) -> Plan:
    features = outputs(tensors, "sfe1")
    scale, factors = steps_of(tensors, "upscale.{}", features)
    taken = {
        "scale": scale,
        "num_features": features,
        "growth": outputs(tensors, "rdbs.0.layers.0.conv"),
        "num_blocks": count(tensors, "rdbs.{}.lff.weight"),
        "num_layers": count(tensors, "rdbs.0.layers.{}.conv.weight"),
        "upsampler": "pixelshuffle",
        "num_channels": outputs(tensors, "output"),
    }
    shuffles = {f"enlarge/conv{i}": factor for i, factor in enumerate(factors)}
    return Plan("RDN", taken, {"pixel_mean": 0.0, "pixel_range": 1.0}, shuffles)


def rdn_pytorch_plan(tensors: Tensors) -> Plan:
    """Read the plan; the upsampler works on the growth's channels; the last convolution has the last number."""
    growth = outputs(tensors, "RDBs.0.convs.0.conv.0")
    ends = sorted(int(name.split(".")[1]) for name in tensors if re.fullmatch(r"UPNet\.\d+\.weight", name))
    ups = {name: value for name, value in tensors.items() if not name.startswith(f"UPNet.{ends[-1]}.")}
    scale, factors = steps_of(ups, "UPNet.{}", growth)
    taken = {
        "scale": scale,
        "num_features": outputs(tensors, "SFENet1"),
        "growth": growth,
        "num_blocks": count(tensors, "RDBs.{}.LFF.weight"),
        "num_layers": count(tensors, "RDBs.0.convs.{}.conv.0.weight"),
        "upsampler": "pixelshuffle_growth",
        "num_channels": outputs(tensors, f"UPNet.{ends[-1]}"),
    }
    shuffles = {f"enlarge/conv{i}": factor for i, factor in enumerate(factors)}
    assumed = {"pixel_mean": 0.0, "pixel_range": 255.0}
    return Plan("RDN", taken, assumed, shuffles, layers={"tail": f"UPNet.{ends[-1]}"})


FAMILIES = (
    Family(
        "RDN (yjn870, mmagic)", has("sfe1.weight", "rdbs.0.layers.0.conv.weight"), rdn_yjn870_plan, RDN_YJN870
    ),
    Family(
        "RDN (EDSR-PyTorch)",
        has("SFENet1.weight", "RDBs.0.convs.0.conv.0.weight"),
        rdn_pytorch_plan,
        RDN_PYTORCH,
    ),
)
