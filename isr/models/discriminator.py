"""Discriminators: networks that tell photographs from enlarged pictures, for adversarial training."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from isr.arguments import ConfigFromArguments
from isr.layers import conv
from isr.ops import Tensor, enlarge_bilinear

SLOPE = 0.2  # of every leaky ReLU here


@keras.saving.register_keras_serializable(package="isr")
class Discriminator(ConfigFromArguments, keras.Model):
    """The discriminator of SRGAN (Ledig et al. 2017, figure 4) that judges patches instead of the whole picture.

    Eight convolutions, two of them halving, then two layers for every pixel of the map by itself: each logit judges
    its own patch, so pictures may have any size. With 64 features it is the network of idealo's ISR, before its
    sigmoid.

    Args:
        num_features: of the first convolution; the others have up to 8 times as many.
        kernel_size: side of the kernels.
        num_channels: channels of the pictures.
        kwargs: `name`, `dtype`, as in Keras.

    Input: pictures, float [0, 1], `[b, h, w, num_channels]`.
    Output: logits, over 0 for a photograph, float32, `[b, ceil(h / 4), ceil(w / 4), 1]`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> Discriminator()(np.zeros((1, 96, 96, 3), "float32")).shape
        (1, 24, 24, 1)
    """

    def __init__(
        self, num_features: int = 64, kernel_size: int = 3, num_channels: int = 3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.keep(locals())

        policy = self.dtype_policy
        plan = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 1), (8, 1), (8, 1))  # features, stride
        self.convs = [
            layers.Conv2D(
                num_features * factor, kernel_size, stride, padding="same", dtype=policy, name=f"conv{i}"
            )
            for i, (factor, stride) in enumerate(plan, start=1)
        ]
        # The first convolution has none.
        self.norms = [
            layers.BatchNormalization(momentum=0.8, dtype=policy, name=f"norm{i}")
            for i in range(2, len(plan) + 1)
        ]
        self.dense = conv(16 * num_features, "dense", policy, kernel_size=1)
        self.tail = conv(1, "tail", policy, kernel_size=1)
        self.build((None, None, None, num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.input_spec = layers.InputSpec(ndim=4, axes={-1: self.num_channels})
        for layer in (*self.convs, self.dense, self.tail):
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        for layer, norm in zip(self.convs[1:], self.norms, strict=True):
            norm.build((*shape[:-1], layer.filters))
        self.built = True

    def call(self, pictures: Tensor, training: bool = False) -> Tensor:
        first, *others = self.convs
        x = ops.leaky_relu(first(pictures), SLOPE)
        for layer, norm in zip(others, self.norms, strict=True):
            x = norm(ops.leaky_relu(layer(x), SLOPE), training=training)
        x = ops.leaky_relu(self.dense(x), SLOPE)  # [b, h/4, w/4, 16 f]
        return ops.cast(self.tail(x), "float32")


@keras.saving.register_keras_serializable(package="isr")
class SpectralConv2D(ConfigFromArguments, layers.Layer):
    """A convolution without bias whose kernel is divided by its largest singular value (Miyato et al. 2018).

    The kernel counts as a matrix `[k * k * c, filters]`. Its largest singular value is estimated by one step of power
    iteration in every call with `training=True` (algorithm 1 there); the gradient passes through the division.
    Keras' `SpectralNormalization` writes the divided kernel over the trained one, past the gradient.

    Args:
        filters: channels out.
        kernel_size: side of the kernel.
        strides: 2 halves height and width, rounded up.

    Input `[b, h, w, c]`, output `[b, ceil(h / strides), ceil(w / strides), filters]`, in the compute dtype.
    """

    def __init__(self, filters: int, kernel_size: int = 3, strides: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(locals())

    def build(self, shape: tuple[int | None, ...]) -> None:
        sides = (self.kernel_size, self.kernel_size)
        # Without autocast: the singular value is for float32.
        self.kernel = self.add_weight(name="kernel", shape=(*sides, shape[-1], self.filters), autocast=False)
        self.singular = self.add_weight(
            name="singular",
            shape=(self.filters,),
            initializer="random_normal",
            trainable=False,
            autocast=False,
        )
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        kernel = ops.cast(self.kernel, "float32")
        matrix = ops.reshape(kernel, (-1, self.filters))
        fixed = ops.stop_gradient(matrix)
        right = unit(ops.cast(self.singular, "float32"))
        left = unit(ops.matmul(fixed, right))
        if training:
            right = unit(ops.matmul(left, fixed))
            self.singular.assign(right)
        largest = ops.matmul(ops.matmul(left, matrix), right)
        kernel = ops.cast(kernel / ops.maximum(largest, 1e-12), self.compute_dtype)
        return ops.conv(x, kernel, self.strides, padding="same")


def unit(vector: Tensor) -> Tensor:
    """Scale a vector to length 1; 0 stays."""
    return vector / ops.maximum(ops.sqrt(ops.sum(ops.square(vector))), 1e-12)


@keras.saving.register_keras_serializable(package="isr")
class UNetDiscriminator(ConfigFromArguments, keras.Model):
    """The spectrally normalised U-Net of Real-ESRGAN (Wang et al. 2021, figure 6): one logit for every pixel.

    Args:
        num_features: of the first convolution; the deepest has 8 times as many.
        num_channels: channels of the pictures.
        kwargs: `name`, `dtype`, as in Keras.

    Input: pictures, float [0, 1], `[b, h, w, num_channels]`, of any size.
    Output: logits, over 0 for a photograph, float32, `[b, h, w, 1]`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> UNetDiscriminator()(np.zeros((1, 50, 63, 3), "float32")).shape
        (1, 50, 63, 1)
    """

    def __init__(self, num_features: int = 64, num_channels: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(locals())

        policy = self.dtype_policy
        self.head = conv(num_features, "head", policy)
        self.down = [
            SpectralConv2D(factor * num_features, 4, strides=2, dtype=policy, name=f"down{i}")
            for i, factor in enumerate((2, 4, 8))
        ]
        self.up = [
            SpectralConv2D(factor * num_features, dtype=policy, name=f"up{i}")
            for i, factor in enumerate((4, 2, 1))
        ]
        self.refine = [SpectralConv2D(num_features, dtype=policy, name=f"refine{i}") for i in range(2)]
        self.tail = conv(1, "tail", policy)
        self.build((None, None, None, num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.input_spec = layers.InputSpec(ndim=4, axes={-1: self.num_channels})
        for layer in (self.head, *self.down, *self.up, *self.refine, self.tail):
            layer.build(shape)
            shape = (*shape[:-1], layer.filters)
        self.built = True

    def call(self, pictures: Tensor, training: bool = False) -> Tensor:
        x = ops.leaky_relu(self.head(pictures), SLOPE)  # [b, h, w, f]
        skips = []
        for layer in self.down:  # [b, h/2, w/2, 2 f], then 4 f, then 8 f; odd sides are rounded up
            skips.append(x)
            x = ops.leaky_relu(layer(x, training=training), SLOPE)
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            height, width = ops.shape(skip)[1:3]
            x = enlarge_bilinear(x, 2)[:, :height, :width]
            x = ops.leaky_relu(layer(x, training=training), SLOPE) + skip
        for layer in self.refine:
            x = ops.leaky_relu(layer(x, training=training), SLOPE)
        return ops.cast(self.tail(x), "float32")
