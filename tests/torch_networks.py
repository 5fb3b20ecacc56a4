"""Forward passes of the published networks for photographs in plain PyTorch, on weights by their published names.

Each is written from the networks' papers and the names in their files, not from the package's models. `Weights`
brings the weights of a model into the form of a PyTorch file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Tensor = torch.Tensor


class Weights:
    """A model's weights as PyTorch holds them, under names given to its convolutions; each is to be read.

    Args:
        values: by the model's names, such as `head/kernel`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = {name: np.asarray(value, np.float64) for name, value in values.items()}
        self.convs: dict[str, tuple[Tensor, Tensor]] = {}

    def conv(self, published: str, own: str, shuffled: int = 1, unshuffled: int = 1) -> None:
        """Name the convolution `own` as published.

        Args:
            shuffled: factor of a pixel shuffle behind it, which orders its outputs otherwise in PyTorch.
            unshuffled: factor of a pixel unshuffle before it, likewise its inputs.
        """
        kernel, bias = self.values.pop(f"{own}/kernel"), self.values.pop(f"{own}/bias")
        kernel, bias = torch_order(kernel, shuffled, -1), torch_order(bias, shuffled, -1)
        kernel = torch_order(kernel, unshuffled, 2).transpose(3, 2, 0, 1)
        self.convs[published] = torch.tensor(kernel.copy()), torch.tensor(bias)

    def __call__(self, name: str, x: Tensor) -> Tensor:
        kernel, bias = self.convs[name]
        return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)


def torch_order(array: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """Channels `(i * factor + j) * c + k`, as in this package, put to `k * factor**2 + i * factor + j`."""
    count = array.shape[axis] // factor**2
    places = np.arange(array.shape[axis]).reshape(factor**2, count).T.ravel()
    return np.take(array, places, axis)


def run(network: Any, weights: Weights, lr: np.ndarray, *arguments: Any) -> np.ndarray:
    """A network's output for pictures `[b, h, w, c]`, in float64."""
    with torch.no_grad():
        sr = network(weights, torch.tensor(lr.astype(np.float64).transpose(0, 3, 1, 2)), *arguments)
    return sr.numpy().transpose(0, 2, 3, 1)


# Names as in EDSR-PyTorch (MDSR), yjn870's RDN-pytorch, idealo's ISR and BasicSR (RRDBNet).


def name_mdsr(weights: Weights, scales: tuple[int, ...], num_blocks: int) -> None:
    weights.conv("head.0", "head")
    for index, scale in enumerate(scales):
        for block in range(2):
            for layer, own in ((0, "conv1"), (2, "conv2")):
                weights.conv(f"pre_process.{index}.{block}.body.{layer}", f"x{scale}_pre{block}/{own}")
        factors = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]
        for step, factor in enumerate(factors):
            weights.conv(f"upsample.{index}.{2 * step}", f"x{scale}_upsampler/conv{step}", shuffled=factor)
    for block in range(num_blocks):
        weights.conv(f"body.{block}.body.0", f"block{block}/conv1")
        weights.conv(f"body.{block}.body.2", f"block{block}/conv2")
    weights.conv(f"body.{num_blocks}", "body_end")
    weights.conv("tail.0", "tail")


def mdsr(w: Weights, lr: Tensor, scales: tuple[int, ...], num_blocks: int, scale: int) -> Tensor:
    """Input and output in [0, 1], the network's own range is 0 to 255 without the mean of DIV2K."""
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040], dtype=torch.float64).view(1, 3, 1, 1)
    index = scales.index(scale)

    def block(x: Tensor, name: str) -> Tensor:
        return x + w(f"{name}.body.2", F.relu(w(f"{name}.body.0", x)))

    x = w("head.0", 255 * lr - mean)
    for i in range(2):
        x = block(x, f"pre_process.{index}.{i}")
    y = x
    for i in range(num_blocks):
        y = block(y, f"body.{i}")
    x = x + w(f"body.{num_blocks}", y)
    for step, factor in enumerate({2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]):
        x = F.pixel_shuffle(w(f"upsample.{index}.{2 * step}", x), factor)
    return (w("tail.0", x) + mean) / 255


def name_rdn(weights: Weights, num_blocks: int, num_layers: int, scale: int) -> None:
    weights.conv("sfe1", "head1")
    weights.conv("sfe2", "head2")
    for d in range(num_blocks):
        for c in range(num_layers):
            weights.conv(f"rdbs.{d}.layers.{c}.conv", f"block{d}/conv{c}")
        weights.conv(f"rdbs.{d}.lff", f"block{d}/fusion")
    weights.conv("gff.0", "fusion1")
    weights.conv("gff.1", "fusion2")
    for step, factor in enumerate({2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]):
        weights.conv(f"upscale.{2 * step}", f"enlarge/conv{step}", shuffled=factor)
    weights.conv("output", "tail")


def rdn(w: Weights, lr: Tensor, num_blocks: int, num_layers: int, scale: int) -> Tensor:
    x = rdn_trunk(w, lr, num_blocks, num_layers)
    for step, factor in enumerate({2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[scale]):
        x = F.pixel_shuffle(w(f"upscale.{2 * step}", x), factor)
    return w("output", x)


def rdn_trunk(w: Weights, lr: Tensor, num_blocks: int, num_layers: int) -> Tensor:
    sfe1 = w("sfe1", lr)
    x = w("sfe2", sfe1)
    features = []
    for d in range(num_blocks):
        dense = [x]
        for c in range(num_layers):
            dense.append(F.relu(w(f"rdbs.{d}.layers.{c}.conv", torch.cat(dense, 1))))
        x = x + w(f"rdbs.{d}.lff", torch.cat(dense, 1))
        features.append(x)
    return w("gff.1", w("gff.0", torch.cat(features, 1))) + sfe1


def name_idealo_rdn(weights: Weights, num_blocks: int, num_layers: int) -> None:
    """The trunk under yjn870's names, the rest under idealo's; TensorFlow's order of channels is our own."""
    weights.conv("sfe1", "head1")
    weights.conv("sfe2", "head2")
    for d in range(num_blocks):
        for c in range(num_layers):
            weights.conv(f"rdbs.{d}.layers.{c}.conv", f"block{d}/conv{c}")
        weights.conv(f"rdbs.{d}.lff", f"block{d}/fusion")
    weights.conv("gff.0", "fusion1")
    weights.conv("gff.1", "fusion2")
    for i in (1, 2, 3):
        weights.conv(f"UPN{i}", f"enlarge/conv{i}")
    weights.conv("SR", "tail")


def idealo_rdn(
    w: Weights, lr: Tensor, num_blocks: int, num_layers: int, scale: int, upscaling: str
) -> Tensor:
    x = rdn_trunk(w, lr, num_blocks, num_layers)
    x = w("UPN3", F.relu(w("UPN2", F.relu(w("UPN1", x)))))
    repeated = F.interpolate(x, scale_factor=scale, mode="nearest")
    return w("SR", repeated if upscaling == "ups" else depth_to_space(x, scale))


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """TensorFlow's: output (h * f + i, w * f + j), channel k takes channel `(i * f + j) * c + k`."""
    b, depth, h, w = x.shape
    c = depth // factor**2
    return x.view(b, factor, factor, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c, h * factor, w * factor)


def name_idealo_rrdn(weights: Weights, num_blocks: int, num_dense: int, num_layers: int) -> None:
    weights.conv("Pre_blocks_conv", "head")
    for t in range(num_blocks):
        for d in range(num_dense):
            for c in range(num_layers):
                weights.conv(f"F_{t + 1}_{d + 1}_{c + 1}", f"block{t}/dense{d}/conv{c}")
            weights.conv(f"LFF_{t + 1}_{d + 1}", f"block{t}/dense{d}/fusion")
    weights.conv("post_blocks_conv", "body_end")
    weights.conv("PreShuffle", "up")
    weights.conv("SR", "tail")


def idealo_rrdn(
    w: Weights, lr: Tensor, num_blocks: int, num_dense: int, num_layers: int, scale: int, beta: float
) -> Tensor:
    pre = w("Pre_blocks_conv", lr)
    x = pre
    for t in range(1, num_blocks + 1):
        entry = x
        for d in range(1, num_dense + 1):
            dense = x
            for c in range(1, num_layers + 1):
                dense = torch.cat([dense, F.relu(w(f"F_{t}_{d}_{c}", dense))], 1)
            x = x + beta * w(f"LFF_{t}_{d}", dense)
        x = entry + beta * x
    x = pre + w("post_blocks_conv", x)
    return w("SR", depth_to_space(w("PreShuffle", x), scale))


def name_rrdbnet(weights: Weights, num_blocks: int, num_ups: int, unshuffle: int) -> None:
    weights.conv("conv_first", "head", unshuffled=unshuffle)
    for b in range(num_blocks):
        for r in range(3):
            for c in range(4):
                weights.conv(f"body.{b}.rdb{r + 1}.conv{c + 1}", f"block{b}/dense{r}/conv{c}")
            weights.conv(f"body.{b}.rdb{r + 1}.conv5", f"block{b}/dense{r}/fusion")
    weights.conv("conv_body", "body_end")
    for step in range(num_ups):
        weights.conv(f"conv_up{step + 1}", f"up{step}")
    weights.conv("conv_hr", "hr_conv")
    weights.conv("conv_last", "tail")


def rrdbnet(w: Weights, lr: Tensor, num_blocks: int, num_ups: int, unshuffle: int) -> Tensor:
    def lrelu(x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.2)

    def rdb(x: Tensor, name: str) -> Tensor:
        x1 = lrelu(w(f"{name}.conv1", x))
        x2 = lrelu(w(f"{name}.conv2", torch.cat((x, x1), 1)))
        x3 = lrelu(w(f"{name}.conv3", torch.cat((x, x1, x2), 1)))
        x4 = lrelu(w(f"{name}.conv4", torch.cat((x, x1, x2, x3), 1)))
        return w(f"{name}.conv5", torch.cat((x, x1, x2, x3, x4), 1)) * 0.2 + x

    first = w("conv_first", F.pixel_unshuffle(lr, unshuffle))
    x = first
    for b in range(num_blocks):
        x = rdb(rdb(rdb(x, f"body.{b}.rdb1"), f"body.{b}.rdb2"), f"body.{b}.rdb3") * 0.2 + x
    x = first + w("conv_body", x)
    for step in range(num_ups):
        x = lrelu(w(f"conv_up{step + 1}", F.interpolate(x, scale_factor=2, mode="nearest")))
    return w("conv_last", lrelu(w("conv_hr", x)))
