"""EDVR, in the names of BasicSR, of 2019 and of mmagic."""

from __future__ import annotations

from collections.abc import Callable

from isr.convert.family import Family, Layers, Plan, Tensors, count, has, inputs, outputs

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
    """Return the plan of an EDVR of these names."""

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


FAMILIES = (
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
        refused="the front part of an EDVR, for IconVSR; it makes no picture by itself",
        after=("EDVR (BasicSR)", "EDVR (2019)"),
    ),
)
