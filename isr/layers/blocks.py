"""Residual and dense blocks, and the upsampler: what the single-image networks are made of."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any, ClassVar

import keras
from keras import layers, ops

from isr.arguments import ConfigFromArguments, at_least
from isr.ops import Tensor, enlarge_nearest, pixel_shuffle, scaled


def conv(
    filters: int,
    name: str,
    policy: keras.DTypePolicy,
    kernel_size: int = 3,
    activation: str | None = None,
    use_bias: bool = True,
) -> layers.Conv2D:
    """Make a convolution that keeps height and width; bias and ReLU fuse with it on a CPU.

    Args:
        filters: channels out.
        name: of the layer, by which presets know its weights.
        policy: dtype policy.
        kernel_size: side of the kernel.
        activation: as in Keras; None: none.
        use_bias: whether there is a bias.

    Returns:
        The layer, not built.
    """
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        activation=activation,
        use_bias=use_bias,
        dtype=policy,
        name=name,
    )


def exact(policy: keras.DTypePolicy) -> keras.DTypePolicy:
    """Give the policy of the convolutions that take a picture in, end the body and give the picture out.

    Between the first and the last of them the values of the picture itself pass as features, beside the body.
    bfloat16 has 8 significant bits, fewer than they need. The body, nearly all of the work, only adds corrections.
    """
    return keras.DTypePolicy("float32") if policy.name == "mixed_bfloat16" else policy


@keras.saving.register_keras_serializable(package="isr")
class ResidualBlock(ConfigFromArguments, layers.Layer):
    """`x + res_scale * conv(relu(conv(x)))`, without batch normalisation (Lim et al. 2017, figure 2c).

    Args:
        num_features: channels in and out.
        res_scale: factor on the residual; 0.1 steadies wide networks (section 3.3 there).
        kernel_size: side of both kernels.

    Input and output: `[b, h, w, num_features]` in the compute dtype of the layer's policy.
    """

    def __init__(
        self, num_features: int, res_scale: float = 1.0, kernel_size: int = 3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.keep(locals())
        self.conv1 = conv(num_features, "conv1", self.dtype_policy, kernel_size, activation="relu")
        self.conv2 = conv(num_features, "conv2", self.dtype_policy, kernel_size)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.conv1.build(shape)
        self.conv2.build(shape)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        return x + scaled(self.conv2(self.conv1(x)), self.res_scale)


@keras.saving.register_keras_serializable(package="isr")
class ResidualDenseBlock(ConfigFromArguments, layers.Layer):
    """`x + res_scale * fusion([x, y1, ..., yn])`, where yi is a convolution of all that stands before it.

    With a 1x1 fusion the block of RDN (Zhang et al. 2018, figure 3); with a 3x3 one and `res_scale` 0.2 that of
    ESRGAN (Wang et al. 2018, figure 4).

    Args:
        num_features: channels in and out.
        growth: channels of every yi.
        num_layers: n, at least 1.
        fusion_size: side of the fusion's kernel; it has no activation.
        negative_slope: of the leaky ReLU behind the others; 0: ReLU.
        res_scale: factor on the residual.

    Input and output: `[b, h, w, num_features]` in the compute dtype of the layer's policy.

    Raises:
        ValueError: there is less than one layer.
    """

    def __init__(
        self,
        num_features: int,
        growth: int,
        num_layers: int,
        fusion_size: int = 1,
        negative_slope: float = 0.0,
        res_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        at_least(1, num_layers=num_layers)
        super().__init__(**kwargs)
        self.keep(locals())
        activation = None if negative_slope else "relu"
        self.convs = [
            conv(growth, f"conv{i}", self.dtype_policy, activation=activation) for i in range(num_layers)
        ]
        self.fusion = conv(num_features, "fusion", self.dtype_policy, fusion_size)

    def build(self, shape: tuple[int | None, ...]) -> None:
        for i, layer in enumerate((*self.convs, self.fusion)):
            layer.build((*shape[:-1], self.num_features + i * self.growth))
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        seen = x  # [b, h, w, f + i * g]
        for layer in self.convs:
            y = layer(seen)
            if self.negative_slope:
                y = ops.leaky_relu(y, self.negative_slope)
            seen = ops.concatenate([seen, y], axis=-1)
        return x + scaled(self.fusion(seen), self.res_scale)


@keras.saving.register_keras_serializable(package="isr")
class Upsampler(ConfigFromArguments, layers.Layer):
    """Enlarges by convolution and pixel shuffle (Lim et al. 2017, figure 3).

    Scales 2, 4 and 8 take one, two and three steps of 2; scale 3 takes one of 3.

    Args:
        scale: 2, 3, 4 or 8.
        num_features: channels out, also of every step.

    Input `[b, h, w, c]`, output `[b, scale * h, scale * w, num_features]`.

    Raises:
        ValueError: the scale is another.
    """

    FACTORS: ClassVar = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}

    def __init__(self, scale: int, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if scale not in self.FACTORS:
            raise ValueError(f"scale={scale!r}: this upsampler enlarges by one of {sorted(self.FACTORS)}")
        self.keep(locals())
        self.factors = self.FACTORS[scale]
        self.convs = [
            conv(num_features * factor**2, f"conv{i}", self.dtype_policy)
            for i, factor in enumerate(self.factors)
        ]

    def build(self, shape: tuple[int | None, ...]) -> None:
        for layer in self.convs:
            layer.build(shape)
            shape = (*shape[:-1], self.num_features)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        for layer, factor in zip(self.convs, self.factors, strict=True):
            x = pixel_shuffle(layer(x), factor)
        return x

    @property
    def reach(self) -> int:
        """Input pixels on each side that a 3x3 convolution of the result depends on, rounded up."""
        # Every convolution sees one pixel further, the first of the input, the later ones of finer ones.
        sides = itertools.accumulate(self.factors, operator.mul)
        return 1 + math.ceil(sum(1 / side for side in sides))


@keras.saving.register_keras_serializable(package="isr")
class IdealoUpsampler(ConfigFromArguments, layers.Layer):
    """Enlarges as idealo's ISR does: three convolutions, then pixels repeated (`ups`) or shuffled (`shuffle`).

    Args:
        scale: factor, at least 2.
        num_channels: c, the pictures' channels.
        nearest: repeat the pixels of all `c * scale**2` channels; otherwise shuffle these to c.

    Input `[b, h, w, f]`, output `[b, scale * h, scale * w, c * scale**2]`, or c channels without `nearest`.

    Raises:
        ValueError: the scale is under 2.
    """

    def __init__(self, scale: int, num_channels: int, nearest: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        at_least(2, scale=scale)
        self.keep(locals())
        self.conv1 = conv(64, "conv1", self.dtype_policy, 5, activation="relu")
        self.conv2 = conv(32, "conv2", self.dtype_policy, activation="relu")
        self.conv3 = conv(num_channels * scale**2, "conv3", self.dtype_policy)

    def build(self, shape: tuple[int | None, ...]) -> None:
        for layer in (self.conv1, self.conv2, self.conv3):
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        x = self.conv3(self.conv2(self.conv1(x)))  # [b, h, w, s^2 * c]
        return enlarge_nearest(x, self.scale) if self.nearest else pixel_shuffle(x, self.scale)

    @property
    def num_features(self) -> int:
        """Return the channels out."""
        return self.num_channels * self.scale**2 if self.nearest else self.num_channels

    @property
    def reach(self) -> int:
        """Input pixels on each side that a 3x3 convolution of the result depends on, rounded up."""
        return 2 + 1 + 1 + 1  # a 5x5 and two 3x3 convolutions; then less than a pixel


@keras.saving.register_keras_serializable(package="isr")
class HalvingConv(layers.Conv2D):
    """A 3x3 convolution of stride 2 around every second pixel, one pixel of zeros on each side, as PyTorch pads.

    Keras' "same" begins at another pixel where a side is even. Input `[b, h, w, c]`, output
    `[b, ceil(h / 2), ceil(w / 2), filters]`.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(filters, **{**kwargs, "kernel_size": 3, "strides": 2, "padding": "valid"})

    def build(self, shape: tuple[int | None, ...]) -> None:
        # Without sides: Keras would refuse those under 3, knowing no padding.
        super().build((shape[0], None, None, shape[-1]))

    def call(self, x: Tensor) -> Tensor:
        return super().call(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))))


@keras.saving.register_keras_serializable(package="isr")
class PairConv(layers.Conv2D):
    """A convolution of two inputs, `conv([a, b])`, whose halves can be computed apart: `first(a) + second(b)`.

    In a sliding window the half of a frame is the same whatever frame it is compared with, so it is computed once.
    The kernel, `[k, k, 2 * f, filters]`, is that of one convolution of the concatenation. `build` takes the shape
    of one input.
    """

    def __init__(self, filters: int, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(filters, kernel_size, **{**kwargs, "padding": "same"})

    def build(self, shape: tuple[int | None, ...]) -> None:
        assert shape[-1] is not None
        super().build((*shape[:-1], 2 * shape[-1]))
        self.input_spec = None

    def first(self, a: Tensor) -> Tensor:
        """Compute the share of `a`, `[n, h, w, f]`, with the bias: `[n, h, w, filters]`."""
        # By a plain addition: TensorFlow fuses convolution, `bias_add`, addition and leaky ReLU to a kernel that
        # takes 0.2 for the slope, whatever was asked for.
        return self._half(a, slice(None, self.kernel.shape[2] // 2)) + ops.cast(self.bias, self.compute_dtype)

    def second(self, b: Tensor) -> Tensor:
        """Compute the share of `b`, `[n, h, w, f]`, without the bias: `[n, h, w, filters]`."""
        return self._half(b, slice(self.kernel.shape[2] // 2, None))

    def call(self, a: Tensor, b: Tensor) -> Tensor:
        return self.first(a) + self.second(b)

    def _half(self, x: Tensor, channels: slice) -> Tensor:
        kernel = ops.cast(self.kernel[:, :, channels], self.compute_dtype)
        return ops.conv(ops.cast(x, self.compute_dtype), kernel, padding="same")
