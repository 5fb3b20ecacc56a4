"""RDN and RRDN, in the names of idealo's ISR."""

from __future__ import annotations

import math

from isr.convert.family import Family, Plan, Tensors, count, has

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


FAMILIES = (
    Family("RDN (idealo)", has("F_m1.kernel", "UPN3.kernel"), idealo_rdn_plan, IDEALO_RDN),
    Family(
        "RRDN (idealo)", has("Pre_blocks_conv.kernel", "PreShuffle.kernel"), idealo_rrdn_plan, IDEALO_RRDN
    ),
)
