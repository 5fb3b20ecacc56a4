"""TDAN, in the names of its authors and of mmagic."""

from __future__ import annotations

from collections.abc import Callable

from isr.convert.family import Family, Layers, Plan, Tensors, count, has, inputs, outputs, steps_of

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
    """Return the plan of a TDAN of these names; its last layer has no bias, and its frames are fused as pictures."""
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


FAMILIES = (
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
)
