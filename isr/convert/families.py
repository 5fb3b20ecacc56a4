"""The families of published weights: how each is told, what its shapes say, and where its tensors belong.

A family is one entry below. `matches` are the conditions on names and shapes that tell it; they are tried in the
order of `FAMILIES`. `plan` reads the network's arguments off the shapes. `layers` is the table of names: this
package's layer on the left, the file's on the right, where `{b}` stands for any number, `{b+1}` and `{2b}` for what is
made of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from isr.models.base import DIV2K_MEAN

Tensors = Mapping[str, np.ndarray]
Layers = Mapping[str, str]


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
    """

    model: str
    taken: dict[str, Any]
    assumed: dict[str, Any] = field(default_factory=dict)
    shuffles: Mapping[str, int] = field(default_factory=dict)
    unshuffles: Mapping[str, int] = field(default_factory=dict)
    layers: Layers = field(default_factory=dict)
    shifts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """One naming of one network.

    Attributes:
        name: network and whose names.
        matches: whether a file is of this family.
        plan: its arguments; None for a family that is told, but refused.
        layers: the table of names.
        refused: why it cannot be converted.
    """

    name: str
    matches: Callable[[Tensors], bool]
    plan: Callable[[Tensors], Plan] | None = None
    layers: Layers = field(default_factory=dict)
    refused: str = ""


# Names and shapes


def has(*names: str) -> Callable[[Tensors], bool]:
    """A condition: all of these tensors are there."""
    return lambda tensors: all(name in tensors for name in names)


def count(tensors: Tensors, pattern: str) -> int:
    """How many numbers stand for the braces in a name, such as `body.{}.conv1.weight`."""
    before, after = map(re.escape, pattern.split("{}"))
    found = (re.match(f"{before}(\\d+){after}", name) for name in tensors)
    return len({match[1] for match in found if match})


def outputs(tensors: Tensors, name: str) -> int:
    """Output channels of a PyTorch convolution."""
    return int(tensors[f"{name}.weight"].shape[0])


def inputs(tensors: Tensors, name: str) -> int:
    """Input channels of a PyTorch convolution."""
    return int(tensors[f"{name}.weight"].shape[1])


def steps_of(tensors: Tensors, pattern: str, features: int) -> tuple[int, list[int]]:
    """Scale and factors of an upsampler whose convolutions have this name, by their output channels."""
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


# EDSR and MDSR


def edsr_plan(
    first: str, last: str, block: str, upsampler: str, pixels: dict[str, Any], **names: Any
) -> Callable[[Tensors], Plan]:
    """The plan of an EDSR whose layers have these names."""

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
MDSR_PYTORCH = {**{k: v for k, v in EDSR_PYTORCH.items() if "upsampler" not in k}, "tail": "tail.0"}


def mdsr_plan(tensors: Tensors) -> Plan:
    """Scales are told by the upsamplers: 9f outputs are x3, one step of 4f is x2, two are x4."""
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


# RDN

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
    """Its upsampler works on the growth's channels; the last convolution has the last number."""
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


# RRDBNet

RRDB_NEW = {
    "head": "conv_first",
    "block{b}/dense{r}/conv{c}": "body.{b}.rdb{r+1}.conv{c+1}",
    "block{b}/dense{r}/fusion": "body.{b}.rdb{r+1}.conv5",
    "body_end": "conv_body",
    "up{u}": "conv_up{u+1}",
    "hr_conv": "conv_hr",
    "tail": "conv_last",
}
RRDB_MIDDLE = {
    "head": "conv_first",
    "block{b}/dense{r}/conv{c}": "RRDB_trunk.{b}.RDB{r+1}.conv{c+1}",
    "block{b}/dense{r}/fusion": "RRDB_trunk.{b}.RDB{r+1}.conv5",
    "body_end": "trunk_conv",
    "up{u}": "upconv{u+1}",
    "hr_conv": "HRconv",
    "tail": "conv_last",
}
RRDB_OLD = {
    "head": "model.0",
    "block{b}/dense{r}/conv{c}": "model.1.sub.{b}.RDB{r+1}.conv{c+1}.0",
    "block{b}/dense{r}/fusion": "model.1.sub.{b}.RDB{r+1}.conv5.0",
}


def rrdb_plan(block: str, growth: str) -> Callable[[Tensors], Plan]:
    """The plan of an RRDBNet of two up steps; the input's channels tell how it was unshuffled, and so the scale."""

    def plan(tensors: Tensors) -> Plan:
        channels = outputs(tensors, "conv_last")
        unshuffle = math.isqrt(inputs(tensors, "conv_first") // channels)
        taken = {
            "scale": 4 // unshuffle,
            "num_features": outputs(tensors, "conv_first"),
            "growth": outputs(tensors, growth),
            "num_blocks": count(tensors, block),
            "unshuffle": unshuffle,
            "num_channels": channels,
        }
        return Plan("RRDBNet", taken, {"res_scale": 0.2}, unshuffles={"head": unshuffle})

    return plan


def rrdb_old_plan(tensors: Tensors) -> Plan:
    """Three numbers for each up step: `model.10` is the last convolution at x4."""
    last = max(int(name.split(".")[1]) for name in tensors if re.fullmatch(r"model\.\d+\.weight", name))
    blocks = count(tensors, "model.1.sub.{}.RDB1.conv1.0.weight")
    steps = (last - 4) // 3
    layers = {
        "body_end": f"model.1.sub.{blocks}",
        **{f"up{i}": f"model.{3 + 3 * i}" for i in range(steps)},
        "hr_conv": f"model.{last - 2}",
        "tail": f"model.{last}",
    }
    taken = {
        "scale": 2**steps,
        "num_features": outputs(tensors, "model.0"),
        "growth": outputs(tensors, "model.1.sub.0.RDB1.conv1.0"),
        "num_blocks": blocks,
        "unshuffle": 1,
        "num_channels": outputs(tensors, f"model.{last}"),
    }
    return Plan("RRDBNet", taken, {"res_scale": 0.2}, layers=layers)


# TDAN

TDAN_OFFICIAL = {
    "head": "conv_first",
    "extract{b}/conv{c}": "residual_layer.{b}.conv{c}",
    "align/bottleneck": "cr",
    "align/refine1/conv_offset": "off2d_1",
    "align/refine1": "dconv_1",
    "align/refine2/conv_offset": "off2d_2",
    "align/refine2": "deconv_2",
    "align/sample/conv_offset": "off2d_3",
    "align/sample": "deconv_3",
    "align/polish/conv_offset": "off2d",
    "align/polish": "dconv",
    "to_frame": "recon_lr",
    "fuse": "fea_ex.0",
    "reconstruct{b}/conv{c}": "recon_layer.{b}.conv{c}",
    "upsampler/conv{u}": "up.0.{2u}",
    "tail": "up.1",
}
TDAN_MMAGIC = {
    "head": "feat_extract.0.conv",
    "extract{b}/conv{c}": "feat_extract.1.{b}.conv{c}",
    "align/bottleneck": "feat_aggregate.0",
    "align/refine{i}/conv_offset": "feat_aggregate.{i}.conv_offset",
    "align/refine{i}": "feat_aggregate.{i}",
    "align/sample/conv_offset": "align_1.conv_offset",
    "align/sample": "align_1",
    "align/polish/conv_offset": "align_2.conv_offset",
    "align/polish": "align_2",
    "to_frame": "to_rgb",
    "fuse": "reconstruct.0.conv",
    "reconstruct{b}/conv{c}": "reconstruct.1.{b}.conv{c}",
    "upsampler/conv{u}": "reconstruct.{u+2}.upsample_conv",
    "tail": "reconstruct.4",
}


def tdan_plan(layers: Layers, offsets: str, border: str) -> Callable[[Tensors], Plan]:
    """The plan of a TDAN of these names; its last layer has no bias, and its frames are fused as pictures."""
    up = layers["upsampler/conv{u}"].replace("{2u}", "{}").replace("{u+2}", "{}")

    def blocks(tensors: Tensors, layer: str) -> int:
        return count(tensors, layers[layer].replace("{b}", "{}").replace("{c}", "1") + ".weight")

    def plan(tensors: Tensors) -> Plan:
        features = outputs(tensors, layers["head"])
        channels = outputs(tensors, layers["tail"])
        scale, factors = steps_of(tensors, up, features)
        taken = {
            "scale": scale,
            "num_features": features,
            "num_frames": inputs(tensors, layers["fuse"]) // channels,
            "num_extract_blocks": blocks(tensors, "extract{b}/conv{c}"),
            "num_reconstruct_blocks": blocks(tensors, "reconstruct{b}/conv{c}"),
            "deform_groups": outputs(tensors, offsets) // 18,
            "num_channels": channels,
        }
        shuffles = {f"upsampler/conv{i}": factor for i, factor in enumerate(factors)}
        return Plan("TDAN", taken, {"border": border, "pixel_mean": 0.5, "pixel_range": 1.0}, shuffles)

    return plan


# EDVR

EDVR_BASICSR = {
    "head": "conv_first",
    "predeblur/head": "predeblur.conv_first",
    "predeblur/to_half": "predeblur.stride_conv_hr1",
    "predeblur/to_quarter": "predeblur.stride_conv_hr2",
    "predeblur/to_l{i}": "predeblur.stride_conv_l{i}",
    "predeblur/l3_block/conv{c}": "predeblur.resblock_l3.conv{c}",
    "predeblur/l2_block{i}/conv{c}": "predeblur.resblock_l2_{i+1}.conv{c}",
    "predeblur/l1_block{i}/conv{c}": "predeblur.resblock_l1.{i}.conv{c}",
    "mix": "conv_1x1",
    "extract{b}/conv{c}": "feature_extraction.{b}.conv{c}",
    "to_l{i}": "conv_l{i}_1",
    "l{i}_conv": "conv_l{i}_2",
    "align/l{i}/offset_conv{k}": "pcd_align.offset_conv{k}.l{i}",
    "align/l{i}/dcn": "pcd_align.dcn_pack.l{i}",
    "align/l{i}/dcn/conv_offset": "pcd_align.dcn_pack.l{i}.conv_offset",
    "align/l{i}/feat_conv": "pcd_align.feat_conv.l{i}",
    "align/cascade_conv{k}": "pcd_align.cas_offset_conv{k}",
    "align/cascade_dcn": "pcd_align.cas_dcnpack",
    "align/cascade_dcn/conv_offset": "pcd_align.cas_dcnpack.conv_offset",
    "fusion": "fusion",
    "fusion/embed_reference": "fusion.temporal_attn1",
    "fusion/embed_frame": "fusion.temporal_attn2",
    "fusion/fuse": "fusion.feat_fusion",
    "fusion/spatial{i}": "fusion.spatial_attn{i}",
    "fusion/quarter{i}": "fusion.spatial_attn_l{i}",
    "fusion/add{i}": "fusion.spatial_attn_add{i}",
    "reconstruct{b}/conv{c}": "reconstruction.{b}.conv{c}",
    "up{u}": "upconv{u}",
    "hr_conv": "conv_hr",
    "tail": "conv_last",
}
EDVR_2019 = {
    **EDVR_BASICSR,
    "to_half": "conv_first_2",
    "to_quarter": "conv_first_3",
    "predeblur/head": "pre_deblur.conv_first",
    "predeblur/to_half": "pre_deblur.conv_first_2",
    "predeblur/to_quarter": "pre_deblur.conv_first_3",
    "predeblur/to_l{i}": "pre_deblur.deblur_L{i}_conv",
    "predeblur/l3_block/conv{c}": "pre_deblur.RB_L3_1.conv{c}",
    "predeblur/l2_block{i}/conv{c}": "pre_deblur.RB_L2_{i+1}.conv{c}",
    "predeblur/l1_block{i}/conv{c}": "pre_deblur.RB_L1_{i+1}.conv{c}",
    "to_l{i}": "fea_L{i}_conv1",
    "l{i}_conv": "fea_L{i}_conv2",
    "align/l{i}/offset_conv{k}": "pcd_align.L{i}_offset_conv{k}",
    "align/l{i}/dcn": "pcd_align.L{i}_dcnpack",
    "align/l{i}/dcn/conv_offset": "pcd_align.L{i}_dcnpack.conv_offset_mask",
    "align/l{i}/feat_conv": "pcd_align.L{i}_fea_conv",
    "align/cascade_dcn/conv_offset": "pcd_align.cas_dcnpack.conv_offset_mask",
    "fusion": "tsa_fusion",
    "fusion/embed_reference": "tsa_fusion.tAtt_2",  # the other way round than in the later names
    "fusion/embed_frame": "tsa_fusion.tAtt_1",
    "fusion/fuse": "tsa_fusion.fea_fusion",
    "fusion/spatial{i}": "tsa_fusion.sAtt_{i}",
    "fusion/quarter{i}": "tsa_fusion.sAtt_L{i}",
    "fusion/add{i}": "tsa_fusion.sAtt_add_{i}",
    "reconstruct{b}/conv{c}": "recon_trunk.{b}.conv{c}",
    "hr_conv": "HRconv",
}
EDVR_MMAGIC = {
    **{k: v for k, v in EDVR_BASICSR.items() if not k.startswith(("predeblur", "mix"))},
    "to_l{i}": "feat_l{i}_conv1.conv",
    "l{i}_conv": "feat_l{i}_conv2.conv",
    "align/l{i}/offset_conv{k}": "pcd_alignment.offset_conv{k}.l{i}.conv",
    "align/l{i}/dcn": "pcd_alignment.dcn_pack.l{i}",
    "align/l{i}/dcn/conv_offset": "pcd_alignment.dcn_pack.l{i}.conv_offset",
    "align/l{i}/feat_conv": "pcd_alignment.feat_conv.l{i}.conv",
    "align/cascade_conv{k}": "pcd_alignment.cas_offset_conv{k}.conv",
    "align/cascade_dcn": "pcd_alignment.cas_dcnpack",
    "align/cascade_dcn/conv_offset": "pcd_alignment.cas_dcnpack.conv_offset",
    "fusion/fuse": "fusion.feat_fusion.conv",
    "fusion/spatial5": "fusion.spatial_attn5",
    "fusion/spatial{i}": "fusion.spatial_attn{i}.conv",
    "fusion/quarter{i}": "fusion.spatial_attn_l{i}.conv",
    "fusion/add1": "fusion.spatial_attn_add1.conv",
    "fusion/add2": "fusion.spatial_attn_add2",
    "up{u}": "upsample{u}.upsample_conv",
}


def edvr_plan(layers: Layers) -> Callable[[Tensors], Plan]:
    """The plan of an EDVR of these names."""

    def plan(tensors: Tensors) -> Plan:
        def there(layer: str) -> bool:
            return f"{layers.get(layer, layer)}.weight" in tensors

        own: dict[str, str] = {}
        with_predeblur = there("mix")
        if "pre_deblur.conv_first_1.weight" in tensors:
            own["predeblur/head"] = "pre_deblur.conv_first_1"
        if "conv_first_1.weight" in tensors:
            own["head"] = "conv_first_1"
        names = {**layers, **own}
        first = names["predeblur/head" if with_predeblur else "head"]
        features = outputs(tensors, names["hr_conv"])
        width = outputs(tensors, first)
        with_tsa = there("fusion/fuse")
        fusion = names["fusion/fuse" if with_tsa else "fusion"]
        offsets = names["align/cascade_dcn/conv_offset"]
        taken = {
            "num_features": width,
            "num_frames": inputs(tensors, fusion) // width,
            "deform_groups": outputs(tensors, offsets) // 27,
            "num_extract_blocks": count(tensors, "feature_extraction.{}.conv1.weight"),
            "num_reconstruct_blocks": count(
                tensors, names["reconstruct{b}/conv{c}"].replace("{b}", "{}").replace("{c}", "1") + ".weight"
            ),
            "hr_in": there("predeblur/to_half") or there("to_half"),
            "with_predeblur": with_predeblur,
            "with_tsa": with_tsa,
            "num_upsample_features": features,
            "num_channels": outputs(tensors, names["tail"]),
        }
        return Plan("EDVR", taken, {}, {"up1": 2, "up2": 2}, layers=own)

    return plan


# idealo's ISR

IDEALO_RDN = {
    "head1": "F_m1",
    "head2": "F_0",
    "block{d}/conv{c}": "F_{d+1}_{c+1}",
    "block{d}/fusion": "LFF_{d+1}",
    "fusion1": "GFF_1",
    "fusion2": "GFF_2",
    "enlarge/conv{i}": "UPN{i}",
    "tail": "SR",
}
IDEALO_RRDN = {
    "head": "Pre_blocks_conv",
    "block{t}/dense{d}/conv{c}": "F_{t+1}_{d+1}_{c+1}",
    "block{t}/dense{d}/fusion": "LFF_{t+1}_{d+1}",
    "body_end": "post_blocks_conv",
    "up": "PreShuffle",
    "tail": "SR",
}


def idealo_rdn_plan(tensors: Tensors) -> Plan:
    channels = int(tensors["SR.bias"].shape[0])
    wide = int(tensors["UPN3.bias"].shape[0])
    repeated = int(tensors["SR.kernel"].shape[2]) == wide
    taken = {
        "scale": math.isqrt(wide // channels),
        "num_features": int(tensors["F_m1.bias"].shape[0]),
        "growth": int(tensors["F_1_1.bias"].shape[0]),
        "num_blocks": count(tensors, "LFF_{}.kernel"),
        "num_layers": count(tensors, "F_1_{}.kernel"),
        "upsampler": "idealo_ups" if repeated else "idealo_shuffle",
        "num_channels": channels,
    }
    return Plan("RDN", taken, {"pixel_mean": 0.0, "pixel_range": 1.0})


def idealo_rrdn_plan(tensors: Tensors) -> Plan:
    channels = int(tensors["SR.bias"].shape[0])
    taken = {
        "scale": math.isqrt(int(tensors["PreShuffle.bias"].shape[0]) // channels),
        "num_features": int(tensors["Pre_blocks_conv.bias"].shape[0]),
        "growth": int(tensors["F_1_1_1.bias"].shape[0]),
        "num_blocks": count(tensors, "LFF_{}_1.kernel"),
        "num_dense_blocks": count(tensors, "LFF_1_{}.kernel"),
        "num_layers": count(tensors, "F_1_1_{}.kernel"),
        "num_channels": channels,
    }
    return Plan("RRDN", taken, {"res_scale": 0.2, "pixel_mean": 0.0, "pixel_range": 1.0})


def is_compact(tensors: Tensors) -> bool:
    """Whether plain convolutions alternate with PReLUs, whose weights have one dimension."""
    first, second = tensors.get("body.0.weight"), tensors.get("body.1.weight")
    return first is not None and second is not None and first.ndim == 4 and second.ndim == 1


COMPACT = "a small network of Real-ESRGAN for which this package has no counterpart"
ICONVSR = "the front part of an EDVR, for IconVSR; it makes no picture by itself"

FAMILIES: tuple[Family, ...] = (
    Family("SRVGGNetCompact", is_compact, refused=COMPACT),
    Family(
        "ESRGAN+",
        lambda tensors: any(".conv1x1" in name for name in tensors),
        refused="its dense blocks have 1x1 convolutions that RRDBNet lacks",
    ),
    Family(
        "RRDBNet (first ESRGAN names)",
        has("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"),
        rrdb_old_plan,
        RRDB_OLD,
    ),
    Family(
        "RRDBNet (ESRGAN)",
        has("RRDB_trunk.0.RDB1.conv1.weight", "trunk_conv.weight"),
        rrdb_plan("RRDB_trunk.{}.RDB1.conv1.weight", "RRDB_trunk.0.RDB1.conv1"),
        RRDB_MIDDLE,
    ),
    Family(
        "RRDBNet (BasicSR, Real-ESRGAN)",
        has("body.0.rdb1.conv1.weight", "conv_body.weight"),
        rrdb_plan("body.{}.rdb1.conv1.weight", "body.0.rdb1.conv1"),
        RRDB_NEW,
    ),
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
        "MDSR (EDSR-PyTorch)",
        has("head.0.weight", "pre_process.0.0.body.0.weight"),
        mdsr_plan,
        MDSR_PYTORCH,
    ),
    Family(
        "EDSR (EDSR-PyTorch)",
        has("head.0.weight", "body.0.body.0.weight", "tail.0.0.weight"),
        edsr_plan("head.0", "tail.1", "body.{}.body.0.weight", "tail.0.{}", DIV2K, numbered_end=True),
        EDSR_PYTORCH,
    ),
    Family(
        "RDN (yjn870, mmagic)", has("sfe1.weight", "rdbs.0.layers.0.conv.weight"), rdn_yjn870_plan, RDN_YJN870
    ),
    Family(
        "RDN (EDSR-PyTorch)",
        has("SFENet1.weight", "RDBs.0.convs.0.conv.0.weight"),
        rdn_pytorch_plan,
        RDN_PYTORCH,
    ),
    Family(
        "TDAN (official)",
        has("off2d_1.weight", "deconv_2.weight", "recon_lr.weight"),
        tdan_plan(TDAN_OFFICIAL, "off2d_1", "v1"),
        TDAN_OFFICIAL,
    ),
    Family(
        "TDAN (mmagic)",
        has("feat_aggregate.1.conv_offset.weight", "to_rgb.weight"),
        tdan_plan(TDAN_MMAGIC, "feat_aggregate.1.conv_offset", "v2"),
        TDAN_MMAGIC,
    ),
    Family(
        "EDVR (BasicSR)",
        has("pcd_align.dcn_pack.l1.weight", "reconstruction.0.conv1.weight"),
        edvr_plan(EDVR_BASICSR),
        EDVR_BASICSR,
    ),
    Family(
        "EDVR (2019)",
        has("pcd_align.L1_dcnpack.weight", "recon_trunk.0.conv1.weight"),
        edvr_plan(EDVR_2019),
        EDVR_2019,
    ),
    Family(
        "EDVR (mmagic)",
        has("pcd_alignment.dcn_pack.l1.weight", "reconstruction.0.conv1.weight"),
        edvr_plan(EDVR_MMAGIC),
        EDVR_MMAGIC,
    ),
    Family(
        "EDVR of IconVSR",
        lambda tensors: (
            any(name.startswith("pcd_align.") for name in tensors) and "upconv1.weight" not in tensors
        ),
        refused=ICONVSR,
    ),
    Family("RDN (idealo)", has("F_m1.kernel", "UPN3.kernel"), idealo_rdn_plan, IDEALO_RDN),
    Family(
        "RRDN (idealo)", has("Pre_blocks_conv.kernel", "PreShuffle.kernel"), idealo_rrdn_plan, IDEALO_RRDN
    ),
)
