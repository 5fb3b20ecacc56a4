"""The published networks in PyTorch, for the goldens: written from their descriptions, apart from `isr`.

Every class has the attribute names of the published code, so that its state dict has the names of the published
files. Each takes what that code takes: N x C x H x W, in the range that the class says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)


def leaky(x: Tensor, slope: float = 0.1) -> Tensor:
    return F.leaky_relu(x, slope)


def enlarged(x: Tensor, factor: int = 2) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def mean(x: Tensor) -> Tensor:
    return x.new_tensor(DIV2K_MEAN).view(1, 3, 1, 1)


class Named(nn.Module):
    """One layer below a name of its own: `conv`, `upsample_conv`, ..."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.add_module(name, layer)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.name)(x)


def up_factors(scale: int) -> list[int]:
    return [scale] if scale == 3 else [2] * {2: 1, 4: 2, 8: 3}[scale]


def up_convs(inputs: int, scale: int, outputs: int | None = None) -> list[nn.Module]:
    """Convolutions and pixel shuffles in turn; `outputs` channels after each shuffle."""
    layers: list[nn.Module] = []
    for factor in up_factors(scale):
        outputs = outputs or inputs
        layers += [conv(inputs, outputs * factor**2), nn.PixelShuffle(factor)]
        inputs = outputs
    return layers


# ------------------------------------------------------------------------------------------------------ EDSR, MDSR


class Block(nn.Module):
    """conv, ReLU, conv, plus the input: `conv1`, `conv2` of BasicSR, mmagic, TDAN and EDVR."""

    def __init__(self, features: int, res_scale: float = 1) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv(features, features), conv(features, features)
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_scale * self.conv2(F.relu(self.conv1(x)))


class BodyBlock(nn.Module):
    """The same as EDSR-PyTorch names it: `body.0`, `body.2`."""

    def __init__(self, features: int, kernel: int = 3, res_scale: float = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(features, features, kernel), nn.ReLU(), conv(features, features, kernel)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_scale * self.body(x)


class BasicEDSR(nn.Module):
    """EDSR in BasicSR's names; RGB 0..1, times `img_range` inside. mmagic: img_range 1, and `mmagic` names."""

    def __init__(
        self,
        features: int,
        blocks: int,
        scale: int,
        res_scale: float = 1,
        img_range: float = 255,
        mmagic: bool = False,
    ) -> None:
        super().__init__()
        self.img_range = img_range
        self.conv_first = conv(3, features)
        self.body = nn.Sequential(*[Block(features, res_scale) for _ in range(blocks)])
        self.conv_after_body = conv(features, features)
        if mmagic:
            self.upsample = nn.Sequential(*[ShufflePack(features, features, s) for s in up_factors(scale)])
        else:
            self.upsample = nn.Sequential(*up_convs(features, scale))
        self.conv_last = conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_first((x - mean(x)) * self.img_range)
        x = x + self.conv_after_body(self.body(x))
        x = self.conv_last(self.upsample(x))
        return x / self.img_range + mean(x)


class ShufflePack(nn.Module):
    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.upsample_conv = conv(inputs, outputs * factor**2)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.upsample_conv(x), self.factor)


class MeanShift(nn.Conv2d):
    """A 1x1 convolution that takes the mean out (sign -1) or adds it (sign 1); its numbers are in the file."""

    def __init__(self, sign: int) -> None:
        super().__init__(3, 3, 1)
        with torch.no_grad():
            self.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.bias.copy_(sign * 255 * torch.tensor(DIV2K_MEAN))


class EDSR(nn.Module):
    """EDSR-PyTorch's; RGB 0..255."""

    def __init__(self, features: int, blocks: int, scale: int, res_scale: float = 1) -> None:
        super().__init__()
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        body = [BodyBlock(features, res_scale=res_scale) for _ in range(blocks)]
        self.head = nn.Sequential(conv(3, features))
        self.body = nn.Sequential(*body, conv(features, features))
        self.tail = nn.Sequential(nn.Sequential(*up_convs(features, scale)), conv(features, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.sub_mean(x))
        return self.add_mean(self.tail(x + self.body(x)))


class MDSR(nn.Module):
    """EDSR-PyTorch's; RGB 0..255. Gives the enlarged pictures of all scales."""

    def __init__(self, features: int, blocks: int, scales: Sequence[int] = (2, 3, 4)) -> None:
        super().__init__()
        self.sub_mean, self.add_mean = MeanShift(-1), MeanShift(1)
        self.pre_process = nn.ModuleList(
            nn.Sequential(BodyBlock(features, 5), BodyBlock(features, 5)) for _ in scales
        )
        self.upsample = nn.ModuleList(nn.Sequential(*up_convs(features, scale)) for scale in scales)
        self.head = nn.Sequential(conv(3, features))
        self.body = nn.Sequential(*[BodyBlock(features) for _ in range(blocks)], conv(features, features))
        self.tail = nn.Sequential(conv(features, 3))
        self.scales = scales

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        x = self.head(self.sub_mean(x))
        pictures = {}
        for scale, before, after in zip(self.scales, self.pre_process, self.upsample, strict=True):
            y = before(x)
            y = y + self.body(y)
            pictures[scale] = self.add_mean(self.tail(after(y)))
        return pictures


# ------------------------------------------------------------------------------------------------------------- RDN


class RDN(nn.Module):
    """Residual dense network; RGB 0..1 (EDSR-PyTorch: 0..255), no mean.

    Args:
        scale: of the upsampler.
        blocks, layers, growth, features: D, C, G and G0 of the paper.
        names: "mmagic" (also yjn870's) or "EDSR-PyTorch", whose upsampler works on G channels.
    """

    def __init__(self, scale: int, blocks: int, layers: int, growth: int, features: int, names: str) -> None:
        super().__init__()
        plain = names == "mmagic"
        self.keys = ("sfe1", "sfe2", "rdbs", "gff") if plain else ("SFENet1", "SFENet2", "RDBs", "GFF")
        first, second, dense, fusion = self.keys
        self.add_module(first, conv(3, features))
        self.add_module(second, conv(features, features))
        self.add_module(
            dense, nn.ModuleList(DenseBlock(layers, growth, features, plain) for _ in range(blocks))
        )
        self.add_module(fusion, nn.Sequential(conv(blocks * features, features, 1), conv(features, features)))
        if plain:
            self.upscale = nn.Sequential(*up_convs(features, scale))
            self.output = conv(features, 3)
        else:
            self.UPNet = nn.Sequential(*up_convs(features, scale, growth), conv(growth, 3))
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        first, second, dense, fusion = map(self.get_submodule, self.keys)
        shallow = first(x)
        x = second(shallow)
        outputs = []
        for block in dense:
            x = block(x)
            outputs.append(x)
        x = fusion(torch.cat(outputs, 1)) + shallow
        return self.output(self.upscale(x)) if self.plain else self.UPNet(x)


class DenseBlock(nn.Module):
    def __init__(self, layers: int, growth: int, features: int, plain: bool) -> None:
        super().__init__()
        convs = [conv(features + number * growth, growth) for number in range(layers)]
        fusion = conv(features + layers * growth, features, 1)
        if plain:
            self.layers = nn.Sequential(*[Named("conv", layer) for layer in convs])
            self.lff = fusion
        else:
            self.convs = nn.Sequential(*[Named("conv", nn.Sequential(layer, nn.ReLU())) for layer in convs])
            self.LFF = fusion
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers if self.plain else self.convs:
            y = torch.cat([y, F.relu(layer(y))], 1)
        return x + (self.lff if self.plain else self.LFF)(y)


class KerasRDN(nn.Module):
    """idealo's RDN, by the names of its Keras layers; RGB 0..1."""

    def __init__(
        self, scale: int, blocks: int, layers: int, growth: int, features: int, upscaling: str
    ) -> None:
        super().__init__()
        self.F_m1, self.F_0 = conv(3, features), conv(features, features)
        for d in range(1, blocks + 1):
            for c in range(1, layers + 1):
                self.add_module(f"F_{d}_{c}", conv(features + (c - 1) * growth, growth))
            self.add_module(f"LFF_{d}", conv(features + layers * growth, features, 1))
        self.GFF_1, self.GFF_2 = conv(blocks * features, features, 1), conv(features, features)
        self.UPN1, self.UPN2, self.UPN3 = conv(features, 64, 5), conv(64, 32), conv(32, 3 * scale**2)
        self.SR = conv(3 * scale**2 if upscaling == "ups" else 3, 3)
        self.scale, self.blocks, self.layers, self.upscaling = scale, blocks, layers, upscaling

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.F_m1(x)
        x = self.F_0(shallow)
        outputs = []
        for d in range(1, self.blocks + 1):
            y = x
            for c in range(1, self.layers + 1):
                y = torch.cat([y, F.relu(self.get_submodule(f"F_{d}_{c}")(y))], 1)
            x = x + self.get_submodule(f"LFF_{d}")(y)
            outputs.append(x)
        x = self.GFF_2(self.GFF_1(torch.cat(outputs, 1))) + shallow
        x = self.UPN3(F.relu(self.UPN2(F.relu(self.UPN1(x)))))
        if self.upscaling == "ups":
            return self.SR(F.interpolate(x, scale_factor=self.scale, mode="nearest"))
        return self.SR(depth_to_space(x, self.scale))


class SRVGGNetCompact(nn.Module):
    """Takes 0..1. `body` holds a convolution and a PReLU in turn, and a convolution at the end."""

    def __init__(self, features: int = 64, convs: int = 16, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = [conv(3, features), nn.PReLU(features)]
        for _ in range(convs):
            layers += [conv(features, features), nn.PReLU(features)]
        self.body = nn.ModuleList([*layers, conv(features, 3 * scale**2)])

    def forward(self, x: Tensor) -> Tensor:
        deep = x
        for layer in self.body:
            deep = layer(deep)
        return F.pixel_shuffle(deep, self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


class Conv3XC(nn.Module):
    """SPAN's convolution: two branches in training, `eval_conv` in their place when it runs.

    A file of training holds both, and its `eval_conv` is older than its branches.
    """

    def __init__(self, inputs: int, outputs: int, gain: int, merged: bool) -> None:
        super().__init__()
        self.merged = merged
        self.eval_conv = conv(inputs, outputs)
        if not merged:
            self.sk = nn.Conv2d(inputs, outputs, 1)
            self.conv = nn.Sequential(
                nn.Conv2d(inputs, inputs * gain, 1),
                nn.Conv2d(inputs * gain, outputs * gain, 3),  # not padded: the picture was
                nn.Conv2d(outputs * gain, outputs, 1),
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.eval_conv(x) if self.merged else self.conv(F.pad(x, (1, 1, 1, 1))) + self.sk(x)


class SPAB(nn.Module):
    def __init__(self, features: int, gain: int, merged: bool) -> None:
        super().__init__()
        self.c1_r = Conv3XC(features, features, gain, merged)
        self.c2_r = Conv3XC(features, features, gain, merged)
        self.c3_r = Conv3XC(features, features, gain, merged)
        self.in_place = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.c1_r(x)
        activated = F.silu(first)
        h = self.c3_r(F.silu(self.c2_r(activated)))
        # The published SiLU writes over what it is given, so that is what comes out beside the result.
        return (h + x) * (torch.sigmoid(h) - 0.5), activated if self.in_place else first


class SPAN(nn.Module):
    """Takes 0..1 and gives it. `norm` takes the mean off and multiplies by 255; nothing undoes that at the end."""

    def __init__(
        self, scale: int, features: int = 48, gain: int = 2, merged: bool = False, norm: bool = True
    ) -> None:
        super().__init__()
        self.norm = norm
        self.merged = merged
        if not norm:
            self.register_buffer("no_norm", torch.zeros(1))
        self.conv_1 = Conv3XC(3, features, gain, merged)
        for i in range(1, 7):
            self.add_module(f"block_{i}", SPAB(features, gain, merged))
        self.conv_cat = nn.Conv2d(4 * features, features, 1)
        self.conv_2 = Conv3XC(features, features, gain, merged)
        self.upsampler = nn.Sequential(conv(features, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm:
            x = (x - mean(x)) * 255
        head = self.conv_1(x)
        first, _ = self.block_1(head)
        deep = first
        for i in range(2, 7):
            deep, activated = self.get_submodule(f"block_{i}")(deep)
        return self.upsampler(self.conv_cat(torch.cat([head, self.conv_2(deep), first, activated], 1)))


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """TensorFlow's order of channels: place in the cell first, colour last."""
    n, channels, h, w = x.shape
    x = x.view(n, factor, factor, channels // factor**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, channels // factor**2, h * factor, w * factor)


# ---------------------------------------------------------------------------------------------------- RRDBNet, RRDN


class DenseConvs(nn.Module):
    """conv1 .. conv5, densely joined; below the five lies another name (`0`) in the oldest files."""

    def __init__(self, features: int, growth: int, old: bool) -> None:
        super().__init__()
        for number in range(1, 6):
            layer: nn.Module = conv(features + (number - 1) * growth, features if number == 5 else growth)
            self.add_module(f"conv{number}", nn.Sequential(layer) if old else layer)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for number in range(1, 5):
            y = torch.cat([y, leaky(self.get_submodule(f"conv{number}")(y), 0.2)], 1)
        return x + 0.2 * self.conv5(y)


class RRDB(nn.Module):
    def __init__(self, features: int, growth: int, names: str) -> None:
        super().__init__()
        self.keys = [f"{'rdb' if names == 'new' else 'RDB'}{number}" for number in (1, 2, 3)]
        for key in self.keys:
            self.add_module(key, DenseConvs(features, growth, names == "old"))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for key in self.keys:
            y = self.get_submodule(key)(y)
        return x + 0.2 * y


class RRDBNet(nn.Module):
    """ESRGAN's generator; RGB 0..1. For scale 2 and 1 the input is un-shuffled first. `names`: "new" or "middle"."""

    def __init__(self, features: int, growth: int, blocks: int, scale: int = 4, names: str = "new") -> None:
        super().__init__()
        self.fold = 4 // scale
        self.keys = (
            ("conv_first", "body", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
            if names == "new"
            else ("conv_first", "RRDB_trunk", "trunk_conv", "upconv1", "upconv2", "HRconv", "conv_last")
        )
        trunk = nn.Sequential(*[RRDB(features, growth, names) for _ in range(blocks)])
        plain = [conv(features, features) for _ in range(4)]
        layers = [conv(3 * self.fold**2, features), trunk, *plain, conv(features, 3)]
        for key, layer in zip(self.keys, layers, strict=True):
            self.add_module(key, layer)

    def forward(self, x: Tensor) -> Tensor:
        first, trunk, after, up1, up2, hr, last = map(self.get_submodule, self.keys)
        x = first(F.pixel_unshuffle(x, self.fold))
        x = x + after(trunk(x))
        for layer in (up1, up2):
            x = leaky(layer(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return last(leaky(hr(x), 0.2))


class OldRRDBNet(nn.Module):
    """The same in the names of ESRGAN's first release; also scales 2 and 8, with one or three enlargements."""

    def __init__(self, features: int, growth: int, blocks: int, scale: int = 4) -> None:
        super().__init__()
        trunk = nn.Module()
        trunk.sub = nn.Sequential(
            *[RRDB(features, growth, "old") for _ in range(blocks)], conv(features, features)
        )
        layers: list[nn.Module] = [conv(3, features), trunk]
        for _ in up_factors(scale):
            layers += [
                nn.Upsample(scale_factor=2, mode="nearest"),
                conv(features, features),
                nn.LeakyReLU(0.2),
            ]
        layers += [conv(features, features), nn.LeakyReLU(0.2), conv(features, 3)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.model[0](x)
        x = x + self.model[1].sub(x)
        return self.model[2:](x)


class KerasRRDN(nn.Module):
    """idealo's RRDN, by the names of its Keras layers; RGB 0..1."""

    def __init__(self, scale: int, trunk: int, blocks: int, layers: int, growth: int, features: int) -> None:
        super().__init__()
        self.Pre_blocks_conv = conv(3, features)
        self.counts = (trunk, blocks, layers)
        for t in range(1, trunk + 1):
            for d in range(1, blocks + 1):
                for c in range(1, layers + 1):
                    self.add_module(f"F_{t}_{d}_{c}", conv(features + (c - 1) * growth, growth))
                self.add_module(f"LFF_{t}_{d}", conv(features + layers * growth, features))
        self.post_blocks_conv = conv(features, features)
        self.PreShuffle, self.SR = conv(features, 3 * scale**2), conv(3, 3)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        trunk, blocks, layers = self.counts
        shallow = x = self.Pre_blocks_conv(x)
        for t in range(1, trunk + 1):
            before = x
            for d in range(1, blocks + 1):
                y = x
                for c in range(1, layers + 1):
                    y = torch.cat([y, F.relu(self.get_submodule(f"F_{t}_{d}_{c}")(y))], 1)
                x = x + 0.2 * self.get_submodule(f"LFF_{t}_{d}")(y)
            x = before + 0.2 * x
        x = shallow + self.post_blocks_conv(x)
        return self.SR(depth_to_space(self.PreShuffle(x), self.scale))


# ------------------------------------------------------------------------------------------ deformable convolution


def deform_conv(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    *,
    border: str,
    stride: int = 1,
    padding: int = 1,
    dilation: int = 1,
) -> Tensor:
    """Deformable convolution, 3x3, the input's channels in groups that move together.

    Args:
        x: N x C x H x W.
        offset: N x 18g x Ho x Wo; channel 18 * group + 2 * tap + (0: y, 1: x).
        mask: N x 9g x Ho x Wo, or None for all 1.
        weight: O x C x 3 x 3.
        bias: O.
        border: "v2": zeros continue the picture. "v1": a sample outside of 0 <= y < H, 0 <= x < W is 0, and
            between the last row and H the last row is held.
        stride, padding, dilation: of the grid.
    """
    n, channels, height, width = x.shape
    groups = offset.shape[1] // 18
    out_h, out_w = offset.shape[2:]
    shift = offset.view(n, groups, 9, 2, out_h, out_w)
    taps = torch.arange(9)
    rows = torch.arange(out_h) * stride - padding
    columns = torch.arange(out_w) * stride - padding
    y = rows.view(1, -1, 1) + (taps // 3 * dilation).view(9, 1, 1) + shift[:, :, :, 0]
    x_ = columns.view(1, 1, -1) + (taps % 3 * dilation).view(9, 1, 1) + shift[:, :, :, 1]
    inside = torch.ones_like(y, dtype=torch.bool)
    if border == "v1":
        inside = (y >= 0) & (y < height) & (x_ >= 0) & (x_ < width)
        y, x_ = y.clamp(max=height - 1), x_.clamp(max=width - 1)
    top, left = y.floor(), x_.floor()
    pixels = x.view(n, groups, channels // groups, height * width)
    samples: Tensor | float = 0.0
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        there = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        share = (1 - (y - row).abs()) * (1 - (x_ - column).abs()) * there
        place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
        place = place.view(n, groups, 1, -1).expand(-1, -1, channels // groups, -1)
        values = pixels.gather(3, place).view(n, groups, -1, 9, out_h, out_w)
        samples = samples + values * share.unsqueeze(2)
    if mask is not None:
        samples = samples * mask.view(n, groups, 1, 9, out_h, out_w)
    samples = samples.reshape(n, channels, 9, out_h, out_w)
    result = torch.einsum("nckhw,ock->nohw", samples, weight.flatten(2))
    return result if bias is None else result + bias.view(1, -1, 1, 1)


class Deformable(nn.Module):
    """Deformable convolution without mask, whose offsets come from outside: `weight` alone."""

    def __init__(self, features: int, border: str, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, features, 3, 3))
        self.bias = nn.Parameter(torch.zeros(features)) if bias else None
        self.border = border

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        return deform_conv(x, offset, mask, self.weight, self.bias, border=self.border)


class DeformablePack(Deformable):
    """The same with the convolution that predicts the offsets, `conv_offset`, and with `mask` also a mask."""

    def __init__(self, features: int, groups: int, mask: bool) -> None:
        super().__init__(features, "v2", bias=mask)
        self.conv_offset = conv(features, (27 if mask else 18) * groups)
        self.groups, self.with_mask = groups, mask

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:  # type: ignore[override]
        out = self.conv_offset(guide)
        if not self.with_mask:
            return super().forward(x, out)
        first, second, mask = out.chunk(3, 1)
        return super().forward(x, torch.cat([first, second], 1), mask.sigmoid())


# ------------------------------------------------------------------------------------------------------------ TDAN


class TDAN(nn.Module):
    """The authors' network; 5 frames N x 5 x 3 x H x W, RGB 0..1 minus 0.5. Gives picture and aligned frames."""

    def __init__(self, features: int = 64, groups: int = 8, blocks: tuple[int, int] = (5, 10)) -> None:
        super().__init__()
        f = features
        self.conv_first = conv(3, f)
        self.residual_layer = nn.Sequential(*[Block(f) for _ in range(blocks[0])])
        self.cr = conv(2 * f, f)
        self.off2d_1, self.dconv_1 = conv(f, 18 * groups), Deformable(f, "v1")
        self.off2d_2, self.deconv_2 = conv(f, 18 * groups), Deformable(f, "v1")
        self.off2d_3, self.deconv_3 = conv(f, 18 * groups), Deformable(f, "v1")
        self.off2d, self.dconv = conv(f, 18 * groups), Deformable(f, "v1")
        self.recon_lr = conv(f, 3)
        self.fea_ex = nn.Sequential(conv(15, f), nn.ReLU())
        self.recon_layer = nn.Sequential(*[Block(f) for _ in range(blocks[1])])
        self.up = nn.Sequential(nn.Sequential(*up_convs(f, 4)), conv(f, 3, bias=False))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        features = [self.residual_layer(F.relu(self.conv_first(frame))) for frame in frames.unbind(1)]
        aligned = []
        for number, neighbour in enumerate(features):
            if number == 2:
                aligned.append(frames[:, number])
                continue
            x = self.cr(torch.cat([features[2], neighbour], 1))
            x = self.dconv_1(x, self.off2d_1(x))
            x = self.deconv_2(x, self.off2d_2(x))
            x = self.deconv_3(neighbour, self.off2d_3(x))
            x = self.dconv(x, self.off2d(x))
            aligned.append(self.recon_lr(x))
        x = self.recon_layer(self.fea_ex(torch.cat(aligned, 1)))
        return self.up(x), torch.stack(aligned, 1)


class MMagicTDAN(nn.Module):
    """mmagic's; the same values in and out, and another border of the deformable convolution."""

    def __init__(self, features: int = 64, groups: int = 8, blocks: tuple[int, int] = (5, 10)) -> None:
        super().__init__()
        f = features
        front = nn.Sequential(*[Block(f) for _ in range(blocks[0])])
        back = nn.Sequential(*[Block(f) for _ in range(blocks[1])])
        self.feat_extract = nn.Sequential(Named("conv", conv(3, f)), front)
        self.feat_aggregate = nn.ModuleList(
            [conv(2 * f, f), DeformablePack(f, groups, False), DeformablePack(f, groups, False)]
        )
        self.align_1, self.align_2 = DeformablePack(f, groups, False), DeformablePack(f, groups, False)
        self.to_rgb = conv(f, 3)
        up = [ShufflePack(f, f, 2), ShufflePack(f, f, 2)]
        self.reconstruct = nn.Sequential(Named("conv", conv(15, f)), back, *up, conv(f, 3, bias=False))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        first, front = self.feat_extract
        features = [front(F.relu(first(frame))) for frame in frames.unbind(1)]
        bottleneck, refine1, refine2 = self.feat_aggregate
        aligned = []
        for number, neighbour in enumerate(features):
            if number == 2:
                aligned.append(frames[:, number])
                continue
            x = bottleneck(torch.cat([features[2], neighbour], 1))
            x = refine1(x, x)
            x = refine2(x, x)
            x = self.align_1(neighbour, x)
            x = self.align_2(x, x)
            aligned.append(self.to_rgb(x))
        x = F.relu(self.reconstruct[0](torch.cat(aligned, 1)))
        return self.reconstruct[1:](x), torch.stack(aligned, 1)


# ------------------------------------------------------------------------------------------------------------ EDVR


class PCD(nn.Module):
    """Pyramid, cascading and deformable alignment of a frame's features with the reference's."""

    def __init__(self, f: int, groups: int) -> None:
        super().__init__()
        three, two = ("l3", "l2", "l1"), ("l2", "l1")
        self.offset_conv1 = nn.ModuleDict({level: conv(2 * f, f) for level in three})
        self.offset_conv2 = nn.ModuleDict({level: conv(f if level == "l3" else 2 * f, f) for level in three})
        self.offset_conv3 = nn.ModuleDict({level: conv(f, f) for level in two})
        self.dcn_pack = nn.ModuleDict({level: DeformablePack(f, groups, True) for level in three})
        self.feat_conv = nn.ModuleDict({level: conv(2 * f, f) for level in two})
        self.cas_offset_conv1, self.cas_offset_conv2 = conv(2 * f, f), conv(f, f)
        self.cas_dcnpack = DeformablePack(f, groups, True)

    def forward(self, frame: list[Tensor], reference: list[Tensor]) -> Tensor:
        below: tuple[Tensor, Tensor] | None = None  # offset feature and feature of the level below, enlarged
        for number in (3, 2, 1):
            level = f"l{number}"
            pair = torch.cat([frame[number - 1], reference[number - 1]], 1)
            offset = leaky(self.offset_conv1[level](pair))
            if below is None:
                offset = leaky(self.offset_conv2[level](offset))
            else:
                offset = leaky(self.offset_conv2[level](torch.cat([offset, below[0]], 1)))
                offset = leaky(self.offset_conv3[level](offset))
            feature = self.dcn_pack[level](frame[number - 1], offset)
            if below is not None:
                feature = self.feat_conv[level](torch.cat([feature, below[1]], 1))
            if number > 1:
                feature = leaky(feature)
                below = (enlarged(offset) * 2, enlarged(feature))
        offset = leaky(self.cas_offset_conv1(torch.cat([feature, reference[0]], 1)))
        offset = leaky(self.cas_offset_conv2(offset))
        return leaky(self.cas_dcnpack(feature, offset))


class TSA(nn.Module):
    """Temporal and spatial attention over the aligned features N x T x C x H x W."""

    def __init__(self, f: int, frames: int, center: int) -> None:
        super().__init__()
        self.center = center
        self.temporal_attn1, self.temporal_attn2 = conv(f, f), conv(f, f)
        self.feat_fusion = conv(frames * f, f, 1)
        self.spatial_attn1, self.spatial_attn2 = conv(frames * f, f, 1), conv(2 * f, f, 1)
        self.spatial_attn3, self.spatial_attn4, self.spatial_attn5 = conv(f, f), conv(f, f, 1), conv(f, f)
        self.spatial_attn_l1, self.spatial_attn_l2 = conv(f, f, 1), conv(2 * f, f)
        self.spatial_attn_l3 = conv(f, f)
        self.spatial_attn_add1, self.spatial_attn_add2 = conv(f, f, 1), conv(f, f, 1)

    def forward(self, aligned: Tensor) -> Tensor:
        def pooled(x: Tensor) -> Tensor:
            average = F.avg_pool2d(x, 3, 2, 1, count_include_pad=True)
            return torch.cat([F.max_pool2d(x, 3, 2, 1), average], 1)

        reference = self.temporal_attn1(aligned[:, self.center])
        weighted = []
        for frame in aligned.unbind(1):
            similarity = (self.temporal_attn2(frame) * reference).sum(1, keepdim=True)
            weighted.append(frame * similarity.sigmoid())
        x = torch.cat(weighted, 1)
        feature = leaky(self.feat_fusion(x))
        attention = leaky(self.spatial_attn2(pooled(leaky(self.spatial_attn1(x)))))
        level = leaky(self.spatial_attn_l2(pooled(leaky(self.spatial_attn_l1(attention)))))
        level = enlarged(leaky(self.spatial_attn_l3(level)))
        attention = leaky(self.spatial_attn4(leaky(self.spatial_attn3(attention)) + level))
        attention = self.spatial_attn5(enlarged(attention))
        added = self.spatial_attn_add2(leaky(self.spatial_attn_add1(attention)))
        return feature * attention.sigmoid() * 2 + added


class Predeblur(nn.Module):
    def __init__(self, f: int, hr_in: bool) -> None:
        super().__init__()
        self.conv_first = conv(3, f)
        if hr_in:
            self.stride_conv_hr1, self.stride_conv_hr2 = conv(f, f, stride=2), conv(f, f, stride=2)
        self.stride_conv_l2, self.stride_conv_l3 = conv(f, f, stride=2), conv(f, f, stride=2)
        self.resblock_l3 = Block(f)
        self.resblock_l2_1, self.resblock_l2_2 = Block(f), Block(f)
        self.resblock_l1 = nn.ModuleList(Block(f) for _ in range(5))
        self.hr_in = hr_in

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(self.conv_first(x))
        if self.hr_in:
            x = leaky(self.stride_conv_hr2(leaky(self.stride_conv_hr1(x))))
        second = leaky(self.stride_conv_l2(x))
        third = leaky(self.stride_conv_l3(second))
        second = self.resblock_l2_1(second) + enlarged(self.resblock_l3(third))
        x = self.resblock_l1[1](self.resblock_l1[0](x)) + enlarged(self.resblock_l2_2(second))
        for block in self.resblock_l1[2:]:
            x = block(x)
        return x


class EDVR(nn.Module):
    """In BasicSR's names; N x T x 3 x H x W, RGB 0..1. `renamed` gives the other two spellings.

    Without predeblur but with hr_in, which BasicSR cannot run, the first convolutions have the authors' names.
    """

    def __init__(
        self,
        features: int = 64,
        frames: int = 5,
        groups: int = 8,
        front: int = 5,
        back: int = 10,
        tsa: bool = True,
        predeblur: bool = False,
        hr_in: bool = False,
    ) -> None:
        super().__init__()
        f = features
        if predeblur:
            self.predeblur, self.conv_1x1 = Predeblur(f, hr_in), conv(f, f, 1)
        elif hr_in:
            self.conv_first_1 = conv(3, f)
            self.conv_first_2, self.conv_first_3 = conv(f, f, stride=2), conv(f, f, stride=2)
        else:
            self.conv_first = conv(3, f)
        self.feature_extraction = nn.Sequential(*[Block(f) for _ in range(front)])
        self.conv_l2_1, self.conv_l2_2 = conv(f, f, stride=2), conv(f, f)
        self.conv_l3_1, self.conv_l3_2 = conv(f, f, stride=2), conv(f, f)
        self.pcd_align = PCD(f, groups)
        self.fusion = TSA(f, frames, frames // 2) if tsa else conv(frames * f, f, 1)
        self.reconstruction = nn.Sequential(*[Block(f) for _ in range(back)])
        self.upconv1, self.upconv2 = conv(f, 4 * f), conv(f, 256)
        self.conv_hr, self.conv_last = conv(64, 64), conv(64, 3)
        self.tsa, self.with_predeblur, self.hr_in = tsa, predeblur, hr_in

    def pyramid(self, frame: Tensor) -> list[Tensor]:
        if self.with_predeblur:
            x = self.conv_1x1(self.predeblur(frame))
        elif self.hr_in:
            x = leaky(self.conv_first_3(leaky(self.conv_first_2(leaky(self.conv_first_1(frame))))))
        else:
            x = leaky(self.conv_first(frame))
        first = self.feature_extraction(x)
        second = leaky(self.conv_l2_2(leaky(self.conv_l2_1(first))))
        third = leaky(self.conv_l3_2(leaky(self.conv_l3_1(second))))
        return [first, second, third]

    def forward(self, frames: Tensor) -> Tensor:
        center = frames.shape[1] // 2
        pyramids = [self.pyramid(frame) for frame in frames.unbind(1)]
        aligned = torch.stack([self.pcd_align(levels, pyramids[center]) for levels in pyramids], 1)
        x = self.fusion(aligned) if self.tsa else self.fusion(aligned.flatten(1, 2))
        x = self.reconstruction(x)
        x = leaky(F.pixel_shuffle(self.upconv1(x), 2))
        x = leaky(F.pixel_shuffle(self.upconv2(x), 2))
        x = self.conv_last(leaky(self.conv_hr(x)))
        base = frames[:, center]
        return x + (base if self.hr_in else enlarged(base, 4))


# From BasicSR's names, as regular expressions; the first that matches counts. The authors' embedding of the
# reference is the second of the two, BasicSR's the first.
OFFICIAL = [
    (r"predeblur\.conv_first\.", r"pre_deblur.conv_first."),
    (r"predeblur\.stride_conv_hr1\.", r"pre_deblur.conv_first_2."),
    (r"predeblur\.stride_conv_hr2\.", r"pre_deblur.conv_first_3."),
    (r"predeblur\.stride_conv_l([23])\.", r"pre_deblur.deblur_L\1_conv."),
    (r"predeblur\.resblock_l3\.", r"pre_deblur.RB_L3_1."),
    (r"predeblur\.resblock_l2_([12])\.", r"pre_deblur.RB_L2_\1."),
    (r"conv_l([23])_([12])\.", r"fea_L\1_conv\2."),
    (r"pcd_align\.offset_conv([123])\.l([123])\.", r"pcd_align.L\2_offset_conv\1."),
    (r"pcd_align\.dcn_pack\.l([123])\.conv_offset\.", r"pcd_align.L\1_dcnpack.conv_offset_mask."),
    (r"pcd_align\.dcn_pack\.l([123])\.", r"pcd_align.L\1_dcnpack."),
    (r"pcd_align\.feat_conv\.l([12])\.", r"pcd_align.L\1_fea_conv."),
    (r"pcd_align\.cas_dcnpack\.conv_offset\.", r"pcd_align.cas_dcnpack.conv_offset_mask."),
    (r"fusion\.temporal_attn1\.", r"tsa_fusion.tAtt_2."),
    (r"fusion\.temporal_attn2\.", r"tsa_fusion.tAtt_1."),
    (r"fusion\.feat_fusion\.", r"tsa_fusion.fea_fusion."),
    (r"fusion\.spatial_attn([1-5])\.", r"tsa_fusion.sAtt_\1."),
    (r"fusion\.spatial_attn_l([123])\.", r"tsa_fusion.sAtt_L\1."),
    (r"fusion\.spatial_attn_add([12])\.", r"tsa_fusion.sAtt_add_\1."),
    (r"fusion\.", r"tsa_fusion."),
    (r"reconstruction\.", r"recon_trunk."),
    (r"conv_hr\.", r"HRconv."),
]
MMAGIC = [
    (r"conv_l([23])_([12])\.", r"feat_l\1_conv\2.conv."),
    (
        r"pcd_align\.(offset_conv[123]\.l[123]|feat_conv\.l[12]|cas_offset_conv[12])\.",
        r"pcd_alignment.\1.conv.",
    ),
    (r"pcd_align\.", r"pcd_alignment."),
    (r"fusion\.(feat_fusion|spatial_attn[1-4]|spatial_attn_l[123]|spatial_attn_add1)\.", r"fusion.\1.conv."),
    (r"upconv([12])\.", r"upsample\1.upsample_conv."),
]


def renamed(name: str, names: str, hr_in: bool = False) -> str:
    """A parameter of `EDVR` as the authors ("official") or mmagic ("mmagic") call it."""
    if names == "official":
        if match := re.match(r"predeblur\.resblock_l1\.(\d)\.", name):
            return f"pre_deblur.RB_L1_{int(match[1]) + 1}.{name[match.end() :]}"
        if hr_in and name.startswith("predeblur.conv_first."):
            return name.replace("predeblur.conv_first.", "pre_deblur.conv_first_1.")
    for pattern, other in {"official": OFFICIAL, "mmagic": MMAGIC}.get(names, []):
        if match := re.match(pattern, name):
            return match.expand(other) + name[match.end() :]
    return name
