"""Residual and dense blocks, and the upsampler: what the single-image networks are made of."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from isr.arguments import ConfigFromArguments
from isr.imresize import cubic
from isr.ops import Tensor, pixel_shuffle, scaled


def conv(
    filters: int,
    name: str,
    policy: keras.DTypePolicy,
    kernel_size: int = 3,
    activation: str | None = None,
    use_bias: bool = True,
) -> layers.Conv2D:
    """A convolution that keeps height and width; bias and ReLU fuse with it on a CPU."""
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
    """The policy of the convolutions that take a picture in, end the body and give the picture out.

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
        self.num_features = num_features
        self.res_scale = res_scale
        self.kernel_size = kernel_size
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
    Raises ValueError for less than one layer.
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
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers}: a dense block has at least one")
        self.num_features = num_features
        self.growth = growth
        self.num_layers = num_layers
        self.fusion_size = fusion_size
        self.negative_slope = negative_slope
        self.res_scale = res_scale
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
    Raises ValueError for another scale.
    """

    FACTORS: ClassVar = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}

    def __init__(self, scale: int, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if scale not in self.FACTORS:
            raise ValueError(f"scale={scale!r}: this upsampler enlarges by one of {sorted(self.FACTORS)}")
        self.scale = scale
        self.num_features = num_features
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

    def start_as_interpolation(self, count: int, rest: float = 1.0) -> None:
        """Make it interpolate the first `count` features, as `carry_enlarged` does in every step."""
        for layer, factor in zip(self.convs, self.factors, strict=True):
            carry_enlarged(layer, factor, count, rest)

    @property
    def carries(self) -> int:
        """How many features can pass it."""
        return self.num_features

    @property
    def reach(self) -> int:
        """Input pixels on each side that a 3x3 convolution of the result depends on, rounded up."""
        # Every convolution sees one pixel further, the first of the input, the later ones of finer ones.
        sides = itertools.accumulate(self.factors, operator.mul)
        return 1 + math.ceil(sum(1 / side for side in sides))


@keras.saving.register_keras_serializable(package="isr")
class HalvingConv(layers.Conv2D):
    """A 3x3 convolution of stride 2 around every second pixel, one pixel of zeros on each side, as PyTorch pads.

    Keras' "same" begins at another pixel where a side is even. Input `[b, h, w, c]`, output
    `[b, ceil(h / 2), ceil(w / 2), filters]`.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(filters, **{**kwargs, "kernel_size": 3, "strides": 2, "padding": "valid"})

    def build(self, shape: tuple[int | None, ...]) -> None:
        super().build(
            (shape[0], None, None, shape[-1])
        )  # Keras would refuse sides under 3, knowing no padding

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
        """The share of `a`, `[n, h, w, f]`, with the bias: `[n, h, w, filters]`."""
        # By a plain addition: TensorFlow fuses convolution, `bias_add`, addition and leaky ReLU to a kernel that
        # takes 0.2 for the slope, whatever was asked for.
        return self._half(a, slice(None, self.kernel.shape[2] // 2)) + ops.cast(self.bias, self.compute_dtype)

    def second(self, b: Tensor) -> Tensor:
        """The share of `b`, `[n, h, w, f]`, without the bias: `[n, h, w, filters]`."""
        return self._half(b, slice(self.kernel.shape[2] // 2, None))

    def call(self, a: Tensor, b: Tensor) -> Tensor:
        return self.first(a) + self.second(b)

    def _half(self, x: Tensor, channels: slice) -> Tensor:
        kernel = ops.cast(self.kernel[:, :, channels], self.compute_dtype)
        return ops.conv(ops.cast(x, self.compute_dtype), kernel, padding="same")


def carry(layer: layers.Layer, count: int, rest: float = 1.0) -> None:
    """Make the first `count` features pass a convolution unchanged.

    Args:
        layer: built, with a kernel of odd side.
        count: features that go in and out as they are.
        rest: factor on what the other inputs add to them and on all other weights.
    """
    kernel = ops.convert_to_numpy(layer.kernel) * rest
    kernel[..., :count] = 0
    centre = kernel.shape[0] // 2
    for feature in range(count):
        kernel[centre, centre, feature, feature] = 1
    layer.kernel.assign(kernel)


def carry_signed(layer: layers.Layer, count: int, first: int = 0) -> None:
    """Make `count` channels pass a convolution and the ReLU behind it, as `2 * count` features.

    Args:
        layer: built, with a kernel of odd side.
        count: channels; feature i becomes the positive part of channel i, feature count + i the negative.
        first: the input channel that they begin at.
    """
    kernel = ops.convert_to_numpy(layer.kernel).copy()
    kernel[..., : 2 * count] = 0
    centre = kernel.shape[0] // 2
    for channel in range(count):
        kernel[centre, centre, first + channel, channel] = 1
        kernel[centre, centre, first + channel, count + channel] = -1
    layer.kernel.assign(kernel)


def take_signed(layer: layers.Layer, count: int, rest: float = 0.1) -> None:
    """Make a convolution give the `count` channels that `carry_signed` carried, and `rest` of its other weights."""
    kernel = ops.convert_to_numpy(layer.kernel) * rest
    kernel[:, :, : 2 * count] = 0
    centre = kernel.shape[0] // 2
    for channel in range(count):
        kernel[centre, centre, channel, channel] = 1
        kernel[centre, centre, count + channel, channel] = -1
    layer.kernel.assign(kernel)


def carry_enlarged(
    layer: layers.Conv2D, factor: int, count: int, rest: float = 1.0, signed: bool = False
) -> None:
    """Make the convolution before a pixel shuffle enlarge its first `count` features by interpolation.

    Args:
        layer: built, one convolution of an `Upsampler`.
        factor: of the pixel shuffle behind it.
        count: features to interpolate, bicubically with the outer taps folded into the 3x3 kernel.
        rest: factor on what the other inputs add to them.
        signed: the input is what `carry_signed` carried.
    """
    kernel, bias = layer.get_weights()
    num_features = kernel.shape[-1] // factor**2
    weights = interpolation(factor)
    for i, j in np.ndindex(factor, factor):
        for feature in range(count):
            out = (i * factor + j) * num_features + feature  # the order of pixel_shuffle
            kernel[..., out] *= rest
            kernel[:, :, : 2 * count if signed else count, out] = 0
            kernel[:, :, feature, out] = np.outer(weights[i], weights[j])
            if signed:
                kernel[:, :, count + feature, out] = -kernel[:, :, feature, out]
    layer.set_weights([kernel, bias])


def shrink(convs: Iterable[layers.Layer], factor: float = 0.1) -> None:
    """Make convolutions that end residuals add little: their kernels times `factor`."""
    for layer in convs:
        layer.kernel.assign(layer.kernel * factor)


def adopted_upsampler(
    upsampler: Upsampler, given: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Weights for an upsampler, made of those of one for the same or another scale.

    A step that the other has with another factor is resampled from it, one that it lacks interpolates the features.

    Args:
        upsampler: built; its own weights may be overwritten.
        given: the other's weights by their names below it, such as `conv0/kernel`.

    Returns:
        Its weights by name, and the names of those that were made rather than copied.
    """
    weights: dict[str, np.ndarray] = {}
    made: list[str] = []
    for i, (layer, factor) in enumerate(zip(upsampler.convs, upsampler.factors, strict=True)):
        names = [f"conv{i}/kernel", f"conv{i}/bias"]
        if not all(name in given for name in names):
            carry_enlarged(layer, factor, upsampler.num_features)
            weights |= dict(zip(names, layer.get_weights(), strict=True))
            made += names
            continue
        old = math.isqrt(given[names[1]].size // upsampler.num_features)
        if old == factor:
            weights |= {name: given[name] for name in names}
        else:
            weights |= {name: resample_phases(given[name], old, factor) for name in names}
            made += names
    return weights, made


def resample_phases(weights: np.ndarray, old: int, new: int) -> np.ndarray:
    """Weights of the convolution before a pixel shuffle by `new`, made of those before one by `old`.

    Each sub-pixel's filter is interpolated linearly between the filters of the nearest old sub-pixels.

    Args:
        weights: kernel `[3, 3, f, old**2 * f]` or bias `[old**2 * f]`.

    Returns:
        `[..., new**2 * f]`.
    """
    places_old, places_new = ((np.arange(n) + 0.5) / n for n in (old, new))
    mix = np.stack([np.interp(places_new, places_old, row) for row in np.eye(old)], axis=1)  # [new, old]
    phases = weights.reshape(*weights.shape[:-1], old, old, -1)
    phases = np.einsum("ip,jq,...pqf->...ijf", mix, mix, phases)
    return phases.reshape(*weights.shape[:-1], -1)


def interpolation(factor: int) -> np.ndarray:
    """Weights `[factor, 3]` of the three nearest pixels for each sub-pixel of one; rows sum to 1."""
    places = (np.arange(factor) + 0.5) / factor - 0.5
    weights = cubic(places[:, None] - np.arange(-2, 3))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.stack([weights[:, 0] + weights[:, 1], weights[:, 2], weights[:, 3] + weights[:, 4]], axis=1)
