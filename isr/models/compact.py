"""Compact, the small network of Real-ESRGAN (SRVGGNetCompact; Wang, Xie, Dong, Shan: Real-ESRGAN, 2021)."""

from __future__ import annotations

from typing import ClassVar, Unpack

import keras
from keras import layers, ops

from isr.arguments import at_least
from isr.layers import conv, exact
from isr.models.base import UNIT_RANGE, Pictures, SuperResolutionModel
from isr.ops import Tensor, enlarge_nearest, pixel_shuffle


@keras.saving.register_keras_serializable(package="isr")
class Compact(SuperResolutionModel):
    """Convolutions with PReLU at the size of the small picture, and one pixel shuffle.

    What the convolutions make is added to the picture whose pixels are repeated.

    The defaults are the network for animations of Real-ESRGAN (`realesr-animevideov3`); the one for photographs
    (`realesr-general-x4v3`) has 32 convolutions.

    Args:
        scale: at least 1.
        num_features: channels of the body.
        num_convs: convolutions of the body, beside the first and the last one.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, 0 and 1.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: the scale or a count is too small.

    Example:
        >>> model = Compact(num_convs=2)
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 96, 128, 3)
    """

    PICTURES: ClassVar = UNIT_RANGE

    # The published networks for animations and for photographs.
    VARIANTS: ClassVar = {"animation": {}, "general": {"num_convs": 32}}

    SLOPE = 0.25  # of an untrained PReLU, as in PyTorch

    def __init__(
        self, scale: int = 4, num_features: int = 64, num_convs: int = 16, **kwargs: Unpack[Pictures]
    ) -> None:
        super().__init__(**kwargs)
        at_least(1, scale=scale)
        at_least(0, num_convs=num_convs)
        self.keep(locals())

        policy = self.dtype_policy
        self.head = conv(num_features, "head", exact(policy))
        self.convs = [conv(num_features, f"conv{i}", policy) for i in range(num_convs)]
        self.activations = [
            layers.PReLU(
                alpha_initializer=keras.initializers.Constant(self.SLOPE),
                shared_axes=(1, 2),
                dtype=policy,
                name=f"prelu{i}",
            )
            for i in range(num_convs + 1)
        ]
        self.tail = conv(self.num_channels * scale**2, "tail", exact(policy))
        self.build((None, None, None, self.num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        features = (*shape[:-1], self.num_features)
        self.head.build(shape)
        for layer in (*self.convs, *self.activations, self.tail):
            layer.build(features)
        self.built = True

    def call(self, lr: Tensor) -> Tensor:
        picture = self.normalise(lr)
        deep = self.head(picture)  # [b, h, w, f]
        for activation, layer in zip(self.activations, self.convs, strict=False):
            deep = layer(activation(deep))
        deep = self.activations[-1](deep)

        residual = pixel_shuffle(self.tail(deep), self.scale)  # [b, s*h, s*w, c]
        return self.denormalise(ops.cast(residual, "float32") + enlarge_nearest(picture, self.scale))

    @property
    def enlarges_last(self) -> bool:
        return True

    @property
    def receptive_radius(self) -> int:
        return 1 + self.num_convs + 1
