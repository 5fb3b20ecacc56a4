"""Makes the goldens of this folder: small networks with published names, an input and the output it must give.

    python tests/goldens/convert/make.py        # needs PyTorch and h5py; two minutes

Before anything is written, `networks.py` is checked: its deformable convolution against `../dcn_oracle.npz`, the
names, shapes and counts of the full-sized networks against `names.txt` and further published counts. Of every
golden it is then checked that each tensor in it, and each mistake that is easily made in converting, shows in the
output.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from networks import (
    EDSR,
    EDVR,
    MDSR,
    RDN,
    SPAB,
    SPAN,
    TDAN,
    BasicEDSR,
    Deformable,
    DeformablePack,
    KerasRDN,
    KerasRRDN,
    MeanShift,
    MMagicTDAN,
    OldRRDBNet,
    RRDBNet,
    SRVGGNetCompact,
    deform_conv,
    renamed,
)
from torch import Tensor, nn

HERE = Path(__file__).parent
State = dict[str, np.ndarray]

# --------------------------------------------------------------------------------------- the transcription is right


def check_deformable() -> None:
    oracle = {key: torch.from_numpy(value) for key, value in np.load(HERE.parent / "dcn_oracle.npz").items()}
    for case in ("v2_dg1", "v2_dg2", "v2_stride2", "v2_dil2", "nomask", "tdan", "tdan under v2"):
        name, _, other = case.partition(" under ")
        part = {key.split("__")[1]: value for key, value in oracle.items() if key.startswith(f"{name}__")}
        stride, padding, dilation, _ = part["params"].tolist()
        out = deform_conv(
            *(
                part[key].double() if key in part else None
                for key in ("x", "offset", "mask", "weight", "bias")
            ),
            border="v1" if case == "tdan" else "v2",
            stride=stride,
            padding=padding,
            dilation=dilation,
        )
        expected = part["out_if_v2_border" if other else "out"]
        assert (out - expected).abs().max() < 1e-5, case
    pack = {
        key.split("__")[1]: value.double() for key, value in oracle.items() if key.startswith("pack_v2__")
    }
    module = DeformablePack(4, 2, mask=True).double()
    module.weight = nn.Parameter(pack["weight"])
    module.bias = nn.Parameter(pack["bias"])
    module.conv_offset.weight = nn.Parameter(pack["conv_offset_weight"])
    module.conv_offset.bias = nn.Parameter(pack["conv_offset_bias"])
    assert (module(pack["x"], pack["feat"]) - pack["out"]).abs().max() < 1e-5


def listed() -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes by name, by the headline of each variant in `names.txt`."""
    variants: dict[str, dict[str, tuple[int, ...]]] = {}
    headline = ""
    for line in (HERE / "names.txt").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"# tensors (\d+), elements (\d+)", line):
            variants[headline]["counts"] = int(match[1]), int(match[2])
        elif line.startswith("# "):
            headline = line[2:]
            variants[headline] = {}
        elif line:
            pattern, shape = line.split()
            for name in expanded(pattern):
                variants[headline][name] = tuple(map(int, shape.split("x")))
    return {headline: shapes for headline, shapes in variants.items() if shapes}


def expanded(pattern: str) -> Iterator[str]:
    """`a.{0..4..2}.{1,2}`: every name it stands for."""
    choices = []
    for part in re.split(r"(\{[^}]*\})", pattern):
        if not part.startswith("{"):
            choices.append([part])
        elif ".." in part:
            first, last, *step = map(int, part[1:-1].split(".."))
            choices.append([str(number) for number in range(first, last + 1, *step)])
        else:
            choices.append(part[1:-1].split(","))
    return map("".join, itertools.product(*choices))


def file_names(network: nn.Module, names: str = "") -> dict[str, str]:
    """The name in a file of each entry of a network's state."""
    if isinstance(network, (KerasRDN, KerasRRDN)):
        kinds = {"weight": "kernel:0", "bias": "bias:0"}
        parts = {name: name.split(".") for name in network.state_dict()}
        return {name: f"{layer}/{kinds[kind]}" for name, (layer, kind) in parts.items()}
    hr_in = getattr(network, "hr_in", False)
    return {name: renamed(name, names, hr_in) for name in network.state_dict()}


def check_full_size() -> None:
    edvr_l = partial(EDVR, 128, back=40)
    rdn = {"A": (20, 6, 32, 64), "B": (16, 8, 64, 64)}
    makers: dict[str, Callable[[], nn.Module]] = {}
    for scale in (2, 3, 4, 8):
        if scale < 8:
            makers[f"BasicSR EDSR large x{scale}"] = partial(BasicEDSR, 256, 32, scale)
            makers[f"EDSR-PyTorch EDSR baseline x{scale}"] = partial(EDSR, 64, 16, scale)
            makers[f"EDSR-PyTorch EDSR large x{scale}"] = partial(EDSR, 256, 32, scale)
            makers[f"mmagic EDSRNet x{scale}"] = partial(BasicEDSR, 64, 16, scale, mmagic=True)
            makers[f"EDSR-PyTorch RDN config B x{scale}"] = partial(RDN, scale, *rdn["B"], "EDSR-PyTorch")
            for names in ("yjn870 RDN", "mmagic RDNNet"):
                makers[f"{names} x{scale}"] = partial(RDN, scale, *rdn["B"], "mmagic")
        makers[f"BasicSR EDSR baseline x{scale}"] = partial(BasicEDSR, 64, 16, scale)
    for scale in (2, 4):
        makers[f"EDSR-PyTorch RDN config A x{scale}"] = partial(RDN, scale, *rdn["A"], "EDSR-PyTorch")
    makers |= {
        "EDSR-PyTorch MDSR baseline": partial(MDSR, 64, 16),
        "EDSR-PyTorch MDSR full": partial(MDSR, 64, 80),
        "RRDBNet x4 23 blocks, new": partial(RRDBNet, 64, 32, 23),
        "RRDBNet x4 6 blocks, new": partial(RRDBNet, 64, 32, 6),
        "RRDBNet x2 23 blocks, new": partial(RRDBNet, 64, 32, 23, 2),
        "RRDBNet x4 23 blocks, middle": partial(RRDBNet, 64, 32, 23, 4, "middle"),
        "RRDBNet x4 23 blocks, old": partial(OldRRDBNet, 64, 32, 23),
        "SPAN x2": partial(SPAN, 2),
        "SPAN x4": partial(SPAN, 4),
        "SPAN x4, 52": partial(SPAN, 4, 52),
        "SPAN x4, merged": partial(SPAN, 4, merged=True),
        "SPAN x4, no_norm": partial(SPAN, 4, norm=False),
        "SRVGGNetCompact 16": SRVGGNetCompact,
        "SRVGGNetCompact 32": partial(SRVGGNetCompact, convs=32),
        "TDAN official": TDAN,
        "mmagic TDANNet": MMagicTDAN,
        "ISR (idealo) RDN psnr-large": partial(KerasRDN, 2, 20, 6, 64, 64, "ups"),
        "ISR (idealo) RDN psnr-small": partial(KerasRDN, 2, 10, 3, 64, 64, "ups"),
        "ISR (idealo) RDN C6 D20": partial(KerasRDN, 2, 20, 6, 64, 64, "shuffle"),
        "ISR (idealo) RRDN gans": partial(KerasRRDN, 4, 10, 3, 4, 32, 32),
    }
    for names in ("BasicSR EDVR", "Official EDVR"):
        makers |= {
            f"{names} M": EDVR,
            f"{names} M without": partial(EDVR, tsa=False),
            f"{names} L REDS": edvr_l,
            f"{names} L Vimeo90K": partial(edvr_l, frames=7),
            f"{names} L SRblur": partial(edvr_l, predeblur=True),
            f"{names} L deblur": partial(edvr_l, predeblur=True, hr_in=True),
        }
    makers |= {
        "Official EDVR stage 2 after SR ": partial(EDVR, 128, back=20, hr_in=True),
        "Official EDVR stage 2 after SRblur": partial(EDVR, 128, back=20, predeblur=True, hr_in=True),
        "mmagic EDVRNet M (": EDVR,
        "mmagic EDVRNet M without": partial(EDVR, tsa=False),
        "mmagic EDVRNet L (": edvr_l,
        "mmagic EDVRNet L without": partial(edvr_l, tsa=False),
    }
    checked = 0
    for headline, shapes in listed().items():
        maker = makers[max((start for start in makers if headline.startswith(start)), key=len)]
        with torch.device("meta"):
            network = maker()
        names = {"O": "official", "m": "mmagic"}.get(headline[0], "") if "EDVR" in headline else ""
        state, stored = network.state_dict(), file_names(network, names)
        found = {stored[name]: tuple(value.shape) for name, value in state.items()}
        if "idealo" in headline:  # Keras stores height x width x in x out
            found = {
                name: shape[2:] + shape[1::-1] if len(shape) == 4 else shape for name, shape in found.items()
            }
        counts = shapes.pop("counts")
        assert found == shapes, (headline, set(found.items()) ^ set(shapes.items()))
        assert counts == (len(state), sum(value.numel() for value in state.values())), headline
        checked += 1
    assert checked == 65, checked

    further = [
        (partial(BasicEDSR, 256, 32, 8), 45_450_243),
        (partial(RDN, 3, *rdn["A"], "EDSR-PyTorch"), 5_634_115),
        (partial(RDN, 2, *rdn["A"], "mmagic"), 5_616_515),
        (partial(RDN, 3, *rdn["A"], "mmagic"), 5_801_155),
        (partial(RDN, 4, *rdn["A"], "mmagic"), 5_764_227),
        (partial(RRDBNet, 64, 32, 23, 1), 16_723_907),
        (partial(RRDBNet, 64, 32, 6, 2), 4_472_963),
        (partial(RRDBNet, 64, 32, 6, 1), 4_493_699),
        (partial(MDSR, 64, 16, (2, 3, 4, 8)), 4_080_195 + 24),
        (partial(MDSR, 64, 80, (2, 3, 4, 8)), 8_806_979 + 24),
        (partial(MDSR, 64, 16, (2,)), 1_779_715 + 24),
        (partial(MDSR, 64, 16, (4,)), 1_927_427 + 24),
        (partial(KerasRDN, 2, 10, 3, 64, 64, "shuffle"), 2_619_392),
    ]
    for maker, expected in further:
        with torch.device("meta"):
            network = maker()
        assert sum(value.numel() for value in network.state_dict().values()) == expected, maker


def check_spellings() -> None:
    """Two transcriptions of one network give the same, as the authors' codes do."""
    x = torch.from_numpy(np.random.default_rng(0).random((1, 3, 6, 8)))
    clip = torch.stack([x, x.flip(3), x.flip(2), x**2, 1 - x], 1) - 0.5
    blocks = (1, 2)
    pairs: list[tuple[nn.Module, nn.Module, Tensor, float]] = [
        *((BasicEDSR(8, 2, s), EDSR(8, 2, s), x, 255.0) for s in (2, 3, 4, 8)),
        *((RDN(s, 2, 3, 8, 8, "mmagic"), RDN(s, 2, 3, 8, 8, "EDSR-PyTorch"), x, 1.0) for s in (2, 3, 4)),
        (RRDBNet(8, 4, 2), RRDBNet(8, 4, 2, names="middle"), x, 1.0),
        (RRDBNet(8, 4, 2), OldRRDBNet(8, 4, 2), x, 1.0),
        (TDAN(8, 2, blocks), MMagicTDAN(8, 2, blocks), clip, 1.0),
    ]
    for one, other, lr, factor in pairs:
        one, other = one.double(), other.double()
        values = list(one.state_dict().values())
        if isinstance(one, TDAN):  # the offsets' convolution comes before the deformable one there
            first = list(one.state_dict()).index("off2d_1.weight")
            for place in range(first, first + 12, 3):
                values[place : place + 3] = values[place + 2], values[place], values[place + 1]
            for layer in one.modules():
                if isinstance(layer, Deformable):
                    layer.border = "v2"
                    nn.init.normal_(layer.weight, 0, 0.2)
        names = [name for name in other.state_dict() if "_mean." not in name]
        other.load_state_dict(dict(zip(names, values, strict=True)), strict=False)
        with torch.no_grad():
            a, b = one(lr), other(lr * factor)
        a, b = (a[0], b[0]) if isinstance(a, tuple) else (a, b / factor)
        assert a.std() > 1e-3 and (a - b).abs().max() < 1e-6, type(other)  # the means are float32 numbers


# ----------------------------------------------------------------------------------------------------- the goldens


@dataclass(frozen=True)
class Case:
    """One golden.

    Args:
        network: what makes it.
        size: of the input: (h, w), with frames (t, h, w).
        facts: what the file cannot tell, and what it is.
        names: the spelling of EDVR's names.
        factor, shift: the network takes the picture of 0..1 times `factor` plus `shift`.
        batch: pictures or clips.
        drift: of the numbers in the mean-shift layers.
    """

    network: Callable[[], nn.Module]
    size: tuple[int, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    names: str = ""
    factor: float = 1
    shift: float = 0
    batch: int = 1
    drift: float = 0


def cases() -> dict[str, Case]:
    edvr = partial(EDVR, 4, groups=2, front=1, back=2)
    tdan = {"features": 8, "groups": 2, "blocks": (1, 2)}
    of_255 = {"factor": 255.0}
    shifted = {"shift": -0.5}
    clip, blurred = (5, 8, 12), (5, 32, 32)
    return {
        "edsr_basicsr_x2": Case(partial(BasicEDSR, 8, 2, 2), (7, 9), {"res_scale": 1}),
        "edsr_basicsr_x3": Case(partial(BasicEDSR, 8, 2, 3), (7, 9), {"res_scale": 1}),
        "edsr_basicsr_x4": Case(partial(BasicEDSR, 8, 3, 4, 0.1), (7, 9), {"res_scale": 0.1}),
        "edsr_basicsr_x8": Case(partial(BasicEDSR, 8, 1, 8), (5, 4), {"res_scale": 1}),
        "edsr_pytorch_x2": Case(partial(EDSR, 8, 2, 2), (7, 9), {"res_scale": 1}, **of_255),
        "edsr_pytorch_x3": Case(partial(EDSR, 8, 2, 3), (7, 9), {"res_scale": 1}, **of_255),
        "edsr_pytorch_x4": Case(partial(EDSR, 8, 3, 4, 0.1), (7, 9), {"res_scale": 0.1}, **of_255),
        "edsr_pytorch_x2_trained_means": Case(
            partial(EDSR, 8, 2, 2), (7, 9), {"res_scale": 1}, **of_255, drift=0.05
        ),
        "edsr_mmagic_x2": Case(partial(BasicEDSR, 8, 2, 2, 1, 1, True), (7, 9), {"res_scale": 1}),
        "edsr_mmagic_x3": Case(partial(BasicEDSR, 8, 2, 3, 1, 1, True), (7, 9), {"res_scale": 1}),
        "edsr_mmagic_x4": Case(partial(BasicEDSR, 8, 2, 4, 1, 1, True), (7, 9), {"res_scale": 1}),
        "mdsr_pytorch": Case(partial(MDSR, 8, 2), (7, 9), **of_255),
        "rdn_yjn870_x2": Case(partial(RDN, 2, 2, 3, 8, 8, "mmagic"), (7, 9)),
        "rdn_yjn870_x3": Case(partial(RDN, 3, 2, 3, 8, 8, "mmagic"), (7, 9)),
        "rdn_mmagic_x4": Case(partial(RDN, 4, 3, 2, 6, 10, "mmagic"), (7, 9)),
        "rdn_pytorch_x2": Case(partial(RDN, 2, 2, 3, 6, 10, "EDSR-PyTorch"), (7, 9), **of_255),
        "rdn_pytorch_x3": Case(partial(RDN, 3, 2, 3, 6, 10, "EDSR-PyTorch"), (7, 9), **of_255),
        "rdn_pytorch_x4": Case(partial(RDN, 4, 2, 3, 6, 10, "EDSR-PyTorch"), (7, 9), **of_255),
        "rdn_idealo_ups_x2": Case(partial(KerasRDN, 2, 2, 3, 6, 4, "ups"), (7, 9)),
        "rdn_idealo_shuffle_x2": Case(partial(KerasRDN, 2, 2, 2, 6, 4, "shuffle"), (7, 9)),
        "rrdn_idealo_x4": Case(partial(KerasRRDN, 4, 2, 2, 3, 4, 6), (7, 9)),
        "rrdb_new_x4": Case(partial(RRDBNet, 8, 4, 2), (7, 9)),
        "rrdb_new_x2": Case(partial(RRDBNet, 6, 4, 1, 2), (6, 8)),
        "rrdb_new_x1": Case(partial(RRDBNet, 6, 4, 1, 1), (12, 16)),
        "rrdb_middle_x4": Case(partial(RRDBNet, 8, 4, 2, 4, "middle"), (7, 9)),
        "rrdb_old_x2": Case(partial(OldRRDBNet, 6, 4, 1, 2), (7, 9)),
        "rrdb_old_x4": Case(partial(OldRRDBNet, 8, 4, 2, 4), (7, 9)),
        "rrdb_old_x8": Case(partial(OldRRDBNet, 6, 4, 1, 8), (5, 4)),
        "compact_x2": Case(partial(SRVGGNetCompact, 6, 2, 2), (7, 9)),
        "compact_x4": Case(partial(SRVGGNetCompact, 8, 3, 4), (7, 9)),
        "span_x2": Case(partial(SPAN, 2, 6), (7, 9)),
        "span_x3_merged": Case(partial(SPAN, 3, 8, merged=True), (7, 9)),
        "span_x4_no_norm": Case(partial(SPAN, 4, 6, norm=False), (7, 9)),
        "tdan_official": Case(partial(TDAN, **tdan), clip, {"border": "v1"}, **shifted, batch=2),
        "tdan_mmagic": Case(partial(MMagicTDAN, **tdan), clip, {"border": "v2"}, **shifted),
        "edvr_basicsr": Case(edvr, clip, batch=2),
        "edvr_basicsr_7_frames": Case(partial(edvr, frames=7), (7, 8, 12)),
        "edvr_basicsr_without_tsa": Case(partial(edvr, tsa=False), clip),
        "edvr_basicsr_predeblur": Case(partial(edvr, predeblur=True), clip),
        "edvr_basicsr_predeblur_hr_in": Case(partial(edvr, predeblur=True, hr_in=True), blurred),
        "edvr_official": Case(edvr, clip, names="official"),
        "edvr_official_without_tsa": Case(partial(edvr, tsa=False), clip, names="official"),
        "edvr_official_predeblur": Case(partial(edvr, predeblur=True), clip, names="official"),
        "edvr_official_predeblur_hr_in": Case(
            partial(edvr, predeblur=True, hr_in=True), blurred, names="official"
        ),
        "edvr_official_hr_in": Case(partial(edvr, hr_in=True), blurred, names="official"),
        "edvr_mmagic": Case(edvr, clip, names="mmagic"),
        "edvr_mmagic_without_tsa": Case(partial(edvr, tsa=False), clip, names="mmagic"),
    }


def pictures(case: Case, random: np.random.Generator) -> np.ndarray:
    """Waves with noise on them, moving from frame to frame: batch [x t] x h x w x 3 in steps of 1/256."""
    *frames, h, w = case.size
    count = frames[0] if frames else 1
    y, x = np.mgrid[:h, :w]
    clips = []
    for _ in range(case.batch):
        wave, start, motion = random.normal(0, 0.6, (3, 2)), random.uniform(0, 6, 3), random.uniform(-1, 1, 2)
        for t in range(count):
            phase = np.tensordot(wave, np.stack([y + t * motion[0], x + t * motion[1]]), 1)
            clips.append(0.5 + 0.3 * np.sin(phase + start[:, None, None]))
    values = np.stack(clips).transpose(0, 2, 3, 1) + random.normal(0, 0.08, (len(clips), h, w, 3))
    levels = np.round(values.clip(0, 1) * 256).reshape(case.batch, *frames, h, w, 3)
    return (levels / 256).astype(np.float32)


def run(case: Case, network: nn.Module, lr: np.ndarray) -> dict[str, np.ndarray]:
    """The network's outputs by name, channels last, as the contract has them: 0..1, unclipped."""
    fed = torch.from_numpy(lr).double().movedim(-1, -3) * case.factor + case.shift
    with torch.no_grad():
        out = network(fed)
    if isinstance(out, tuple):
        named = {"output": out[0], "aligned": out[1]}
    elif isinstance(out, dict):
        named = {f"output_x{scale}": picture for scale, picture in out.items()}
    else:
        named = {"output": out}
    return {name: ((x - case.shift) / case.factor).movedim(-3, -1).numpy() for name, x in named.items()}


def fill(case: Case, network: nn.Module, lr: np.ndarray, random: np.random.Generator) -> None:
    """Random weights under which every layer's output has about the size that it should have.

    All are multiples, from -3 to 3, of a step of few digits: float16 holds them exactly, and they compress well.
    """
    wide = case.factor > 1 or getattr(network, "img_range", 1) > 1  # 0..255 inside
    unit = 50.0 if wide else 1.0
    *_, final = network.modules()

    def size(name: str, layer: nn.Module) -> float:
        if isinstance(network, SPAN):  # between 1 and 2 the attention is neither linear nor saturated
            return 0.25 if name == "upsampler.0" else 1.5
        if re.search(r"conv5|^LFF_\d_\d$", name):  # times 0.2, twice, before it is added
            return unit / 0.1
        if re.search(r"\.(conv2|body\.2)$", name):
            return unit / case.facts.get("res_scale", 1)
        name = name.split(".")[-1]
        if name == "conv_offset" or name.startswith("off2d"):  # pixels
            return 1.5
        if layer is final or name in ("conv_last", "recon_lr", "to_rgb"):
            return 64 if wide else 0.25
        return 0.6 if name.startswith("temporal_attn") else unit

    def rounded(step: float) -> float:
        mantissa, exponent = np.frexp(step)
        return float(np.ldexp(np.round(mantissa * 64) / 64, exponent))

    def draw(shape: torch.Size) -> Tensor:
        return torch.from_numpy(np.clip(np.round(random.normal(0, 1.5, tuple(shape))), -3, 3))

    def draw_bias(shape: torch.Size) -> Tensor:
        """None of them 0."""
        return torch.from_numpy(
            random.integers(1, 4, tuple(shape)) * random.choice([-1.0, 1.0], tuple(shape))
        )

    steps: dict[nn.Module, float] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, MeanShift):
            for values in (layer.weight, layer.bias) if case.drift else ():
                values.data += case.drift * values.abs().max() * draw(values.shape) / 3
                values.data = values.data.half().double()
        elif isinstance(layer, nn.PReLU):
            layer.weight.data = draw(layer.weight.shape) / 8
        elif isinstance(layer, (nn.Conv2d, Deformable)):
            layer.weight.data = draw(layer.weight.shape)
            if layer.bias is not None:
                layer.bias.data = draw_bias(layer.bias.shape) * rounded(size(name, layer) / 4)

            def settle(layer: nn.Module, _: Any, out: Tensor, wanted: float = size(name, layer)) -> Tensor:
                bias = 0 if layer.bias is None else layer.bias.view(1, -1, 1, 1)
                if layer not in steps:
                    steps[layer] = rounded(wanted / float((out - bias).std()))
                    layer.weight.data *= steps[layer]
                    return (out - bias) * steps[layer] + bias
                return out

            layer.register_forward_hook(settle)
    run(case, network, lr)
    for layer in network.modules():
        layer._forward_hooks.clear()


def stored(case: Case, network: nn.Module) -> State:
    """The weights by their names in the file; float16 where it holds them exactly."""
    names = file_names(network, case.names)
    state = {names[name]: value.numpy() for name, value in network.state_dict().items()}
    halves = {name: value.astype(np.float16) for name, value in state.items()}
    return {
        name: halves[name] if np.array_equal(halves[name], value) else value.astype(np.float32)
        for name, value in state.items()
    }


def sensitive(name: str, case: Case, network: nn.Module, lr: np.ndarray) -> bool:
    """Whether every tensor and every usual mistake shows in the output, so that the golden finds it."""
    expected = run(case, network, lr)
    state = {key: value.clone() for key, value in network.state_dict().items()}

    def change(altered: dict[str, Tensor]) -> float:
        """The largest difference, as a part of the range of the output."""
        network.load_state_dict({**state, **altered})
        found = run(case, network, lr)
        network.load_state_dict(state)
        return max(
            float(np.abs(found[key] - expected[key]).max() / np.ptp(expected[key])) for key in expected
        )

    def other_border() -> None:
        for layer in network.modules():
            if isinstance(layer, Deformable):
                layer.border = {"v1": "v2", "v2": "v1"}[layer.border]

    def other_activation() -> None:
        for layer in network.modules():
            if isinstance(layer, SPAB):
                layer.in_place = not layer.in_place

    changes: dict[str, float] = {}
    for key, value in state.items():  # half of a kernel is lost, all of a bias
        if key == "no_norm" or ("eval_conv" in key and not getattr(network, "merged", True)):
            continue  # the one says something by being there, the other are left over from before
        changes[key] = change({key: value * (value.ndim > 1) / 2})
        if changes[key] < 1e-3:
            return False
    least = min(changes, key=lambda key: changes[key])
    said = [f"{least} {changes[least]:.3f} at least"]
    for mistake, altered in usual_mistakes(network, state).items():
        changes[mistake] = change(altered)
        said.append(f"{mistake} {changes[mistake]:.3f}")
    if name.startswith("tdan"):
        other_border()
        changes["border"] = change({})
        other_border()
        said.append(f"other border {changes['border']:.3f}")
    if name.startswith("span"):
        other_activation()
        changes["activation"] = change({})
        other_activation()
        said.append(f"before the activation {changes['activation']:.3f}")
    print(f"{name}: {', '.join(said)}", flush=True)
    return min(changes.values()) > 1e-3


# Convolutions before a pixel shuffle or depth_to_space, in all the spellings.
BEFORE_SHUFFLE = re.compile(
    r"upsample\.(\d+\.)*(weight|bias)|upsample\.\d\.upsample_conv|reconstruct\.[23]\.upsample_conv|up\.0\.[02]\."
    r"|tail\.0\.[02]\.|upsampler\.0\.|upscale\.|UPNet\.[02]\.|upconv[12]\.|PreShuffle\.|UPN3\."
)


def usual_mistakes(network: nn.Module, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What a wrong conversion would make of the state, by the mistake; the tensors that it changes."""
    mistakes: dict[str, dict[str, Tensor]] = {}

    def note(mistake: str, key: str, order: Tensor) -> None:
        mistakes.setdefault(mistake, {})[key] = state[key][order]

    for key, value in state.items():
        order = torch.arange(len(value))
        cell = 9 if len(value) % 9 == 0 else 4
        last = isinstance(network, SRVGGNetCompact) and key.startswith(f"body.{len(network.body) - 1}.")
        if (last or BEFORE_SHUFFLE.match(key)) and not isinstance(network, RRDBNet) and len(value) > cell:
            note("order of the shuffle", key, order.view(-1, cell).T.flatten())
        if re.search(r"conv_offset\.|off2d", key):
            masks = isinstance(network, EDVR)
            offsets = order[: len(order) // 3 * 2] if masks else order
            rest = order[len(offsets) :]
            note("x before y", key, torch.cat([offsets.view(-1, 2).flip(1).flatten(), rest]))
            note("all y, then all x", key, torch.cat([offsets.view(2, -1).T.flatten(), rest]))
            if masks:
                note("mask first", key, order.roll(len(rest)))
        if key == "conv_cat.weight":
            parts = value.chunk(4, 1)
            mistakes["head behind the blocks"] = {key: torch.cat([*parts[1:], parts[0]], 1)}
            mistakes["first block behind the last"] = {key: torch.cat([parts[i] for i in (0, 2, 1, 3)], 1)}
        if key.startswith("fusion.temporal_attn"):
            other = key.replace("attn1", "attn2") if "attn1" in key else key.replace("attn2", "attn1")
            mistakes.setdefault("embeddings swapped", {})[key] = state[other]
    return mistakes


def write_keras(path: Path, state: State) -> None:
    """Weights as Keras 2 saves them, among the layers that have none."""
    layers: dict[str, dict[str, np.ndarray]] = {"LR": {}}
    for name, value in state.items():
        layer, weight = name.split("/")
        value = value.astype(np.float32)
        layers.setdefault(layer, {})[weight] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
        if len(layers) % 5 == 0:
            layers[f"lambda_{len(layers)}"] = {}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([layer.encode() for layer in layers])
        file.attrs["backend"] = np.bytes_(b"tensorflow")
        file.attrs["keras_version"] = np.bytes_(b"2.2.4-tf")
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/{weight}".encode() for weight in weights])
            for weight, value in weights.items():
                group.create_dataset(f"{layer}/{weight}", data=value)


def main() -> None:
    torch.set_num_threads(1)
    check_deformable()
    check_full_size()
    check_spellings()
    for name, case in cases().items():
        for attempt in itertools.count():
            random = np.random.default_rng([*name.encode(), attempt])
            network = case.network().double()
            lr = pictures(case, random)
            fill(case, network, lr, random)
            if sensitive(name, case, network, lr):
                break
        outputs = {key: value.astype(np.float32) for key, value in run(case, network, lr).items()}
        state = stored(case, network)
        arrays = {"input": lr, **outputs, "facts": np.array(json.dumps(case.facts))}
        if isinstance(network, (KerasRDN, KerasRRDN)):
            write_keras(HERE / f"{name}.hdf5", state)
        else:
            arrays |= {f"weights/{key}": value for key, value in state.items()}
        np.savez_compressed(HERE / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main()
