"""SPAN (Wan, Yu, Li, Chen, Zou, Liu, Yin, Zuo: Swift Parameter-free Attention Network, 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, Unpack

import keras
import numpy as np
from keras import layers, ops

from isr.arguments import ConfigFromArguments, at_least
from isr.layers import conv, exact
from isr.models.base import Pictures, SuperResolutionModel
from isr.ops import Tensor, pixel_shuffle

Weights = dict[str, np.ndarray]


@keras.saving.register_keras_serializable(package="isr")
class BranchedConv(ConfigFromArguments, layers.Layer):
    """A 3x3 convolution of several branches that can be written as one (figure 3 of the paper).

    One branch is a 1x1, a 3x3 and a 1x1 convolution with more channels between them, the other a single 1x1
    convolution. Nothing stands between them but convolutions, so their sum is a convolution too. The layer merges the
    kernels first and convolves once: the result is the same, also at the borders, at a fraction of the cost.

    Args:
        filters: channels out.
        expansion: channels between the convolutions of the first branch, as a multiple of those in and out.

    Input `[b, h, w, c]`, output `[b, h, w, filters]`.

    Raises:
        ValueError: the expansion is under 1.
    """

    def __init__(self, filters: int, expansion: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        at_least(1, expansion=expansion)
        self.keep(locals())

    def build(self, shape: tuple[int | None, ...]) -> None:
        assert shape[-1] is not None
        channels, filters = shape[-1], self.filters
        inner, outer = channels * self.expansion, filters * self.expansion
        kernels = {
            "expand": (1, 1, channels, inner),
            "middle": (3, 3, inner, outer),
            "reduce": (1, 1, outer, filters),
            "skip": (1, 1, channels, filters),
        }
        self.branches: dict[str, keras.Variable] = {}
        for name, kernel in kernels.items():
            # Merging is exact in float32 only.
            self.branches[f"{name}_kernel"] = self.add_weight(
                shape=kernel, initializer="glorot_uniform", autocast=False, name=f"{name}_kernel"
            )
            self.branches[f"{name}_bias"] = self.add_weight(
                shape=kernel[-1:], initializer="zeros", autocast=False, name=f"{name}_bias"
            )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        kernel, bias = (ops.cast(value, self.compute_dtype) for value in merge(self.branches))
        return ops.conv(x, kernel, padding="same") + bias


@keras.saving.register_keras_serializable(package="isr")
class AttentionBlock(ConfigFromArguments, layers.Layer):
    """Three convolutions whose result is its own attention (SPAB; equations 3 to 6 of the paper).

    `(h + x) * (sigmoid(h) - 0.5)`, where h is what the convolutions, with SiLU between them, make of x.

    Args:
        num_features: channels in and out.
        reparametrised: plain convolutions, instead of `BranchedConv`.
        expansion: of `BranchedConv`.

    Input `[b, h, w, num_features]`. Output: the block's result, and the first activation within it, both as the input.
    """

    def __init__(self, num_features: int, reparametrised: bool, expansion: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(locals())
        self.convs = [
            conv(num_features, name, self.dtype_policy)
            if reparametrised
            else BranchedConv(num_features, expansion, dtype=self.dtype_policy, name=name)
            for name in ("conv1", "conv2", "conv3")
        ]

    def build(self, shape: tuple[int | None, ...]) -> None:
        for layer in self.convs:
            layer.build(shape)
        self.built = True

    def call(self, x: Tensor) -> tuple[Tensor, Tensor]:
        conv1, conv2, conv3 = self.convs
        first = silu(conv1(x))
        h = conv3(silu(conv2(first)))
        return (h + x) * (ops.sigmoid(h) - 0.5), first


@keras.saving.register_keras_serializable(package="isr")
class SPAN(SuperResolutionModel):
    """The swift parameter-free attention network (figure 2 of the paper), winner of NTIRE 2024's efficiency challenge.

    Args:
        scale: at least 1.
        num_features: channels of the body; 48 in the paper's small network, 52 in the other.
        num_blocks: attention blocks, at least 1; 6 in the paper.
        reparametrised: False for the form that is trained, whose 3x3 convolutions have branches; `reparametrise`
            makes the plain form of it, with the same pictures.
        expansion: channels within the branches, as a multiple of those outside; without meaning for the plain form.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, None and 255.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: an argument is under its least value.

    Example:
        >>> model = SPAN(scale=2)
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 48, 64, 3)
    """

    # Of the paper: the network that it names SPAN, and its small one.
    VARIANTS: ClassVar = {"large": {"num_features": 52}, "small": {}}

    def __init__(
        self,
        scale: int = 2,
        num_features: int = 48,
        num_blocks: int = 6,
        reparametrised: bool = True,
        expansion: int = 2,
        **kwargs: Unpack[Pictures],
    ) -> None:
        super().__init__(**kwargs)
        at_least(1, scale=scale, num_blocks=num_blocks, expansion=expansion)
        self.keep(locals())

        policy = self.dtype_policy
        self.head = self._conv("head", exact(policy))
        self.blocks = [
            AttentionBlock(num_features, reparametrised, expansion, dtype=policy, name=f"block{i}")
            for i in range(num_blocks)
        ]
        self.body_end = self._conv("body_end", policy)
        self.fusion = conv(num_features, "global_fusion", exact(policy), kernel_size=1)
        self.tail = conv(self.num_channels * scale**2, "tail", exact(policy))
        self.build((None, None, None, self.num_channels))

    def _conv(self, name: str, policy: keras.DTypePolicy) -> layers.Layer:
        if self.reparametrised:
            return conv(self.num_features, name, policy)
        return BranchedConv(self.num_features, self.expansion, dtype=policy, name=name)

    def build(self, shape: tuple[int | None, ...]) -> None:
        features = (*shape[:-1], self.num_features)
        self.head.build(shape)
        for layer in (*self.blocks, self.body_end, self.tail):
            layer.build(features)
        self.fusion.build((*shape[:-1], 4 * self.num_features))
        self.built = True

    def call(self, lr: Tensor) -> Tensor:
        shallow = self.head(self.normalise(lr))  # [b, h, w, f]

        deep, results = shallow, []
        for block in self.blocks:
            deep, first = block(deep)
            results.append(deep)
        seen = [shallow, self.body_end(deep), results[0], first]  # the order of the published code

        fused = self.fusion(ops.concatenate([ops.cast(x, shallow.dtype) for x in seen], axis=-1))
        return self.denormalise(pixel_shuffle(self.tail(fused), self.scale))

    # The two forms

    def reparametrise(self) -> Self:
        """Give the plain form, every branched convolution as one; this network itself where it is plain."""
        if self.reparametrised:
            return self
        plain = type(self).from_config({**self.get_config(), "reparametrised": True})
        weights = {name: np.asarray(value) for name, value in self.named_weights().items()}
        plain.load_named_weights(merged(weights), self.name)
        return plain

    @property
    def enlarges_last(self) -> bool:
        return True

    @property
    def receptive_radius(self) -> int:
        return 1 + 3 * self.num_blocks + 1 + 1


def silu(x: Tensor) -> Tensor:
    """Compute `x * sigmoid(x)`.

    Keras' function comes with its own gradient on TensorFlow. OpenVINO keeps such a function apart from the rest of
    the graph and transposes the tensor before and behind it.
    """
    return x * ops.sigmoid(x)


def merge(branches: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Merge the branches of a `BranchedConv` into the one convolution that they add up to, in float32.

    Args:
        branches: its weights by name.

    Returns:
        Its kernel `[3, 3, c, filters]` and bias `[filters]`.
    """
    w = {name: ops.cast(value, "float32") for name, value in branches.items()}
    expand, middle, reduce, skip = (w[f"{n}_kernel"] for n in ("expand", "middle", "reduce", "skip"))
    expand, reduce = expand[0, 0], reduce[0, 0]
    # [c, inner] x [3, 3, inner, outer] x [outer, filters]
    kernel = ops.matmul(ops.matmul(expand, middle), reduce)
    kernel = kernel + ops.pad(skip, ((1, 1), (1, 1), (0, 0), (0, 0)))
    # The input is padded before the first of them, so the biases are the same at the borders.
    bias = ops.matmul(w["expand_bias"], ops.sum(middle, axis=(0, 1))) + w["middle_bias"]
    return kernel, ops.matmul(bias, reduce) + w["reduce_bias"] + w["skip_bias"]


def merged(weights: Mapping[str, np.ndarray]) -> Weights:
    """Merge the branched convolutions among the weights of a network by name; all others stay as they are."""
    values: Weights = {}
    for name, value in weights.items():
        layer, _, part = name.rpartition("/")
        if not part.startswith(("expand_", "middle_", "reduce_", "skip_")):
            values[name] = value
        elif part == "skip_bias":
            own = {n.rpartition("/")[2]: v for n, v in weights.items() if n.rpartition("/")[0] == layer}
            kernel, bias = map(ops.convert_to_numpy, merge(own))
            values |= {f"{layer}/kernel": kernel, f"{layer}/bias": bias}
    return values
