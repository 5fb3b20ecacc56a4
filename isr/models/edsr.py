"""EDSR (Lim, Son, Kim, Nah, Lee: Enhanced Deep Residual Networks for Single Image Super-Resolution, 2017)."""

from __future__ import annotations

from typing import Any, ClassVar, Self, Unpack

import keras

from isr.arguments import at_least
from isr.layers import ResidualBlock, Upsampler, conv, exact
from isr.models.base import Pictures, SuperResolutionModel
from isr.ops import Tensor


@keras.saving.register_keras_serializable(package="isr")
class EDSR(SuperResolutionModel):
    """The enhanced deep super-resolution network for one scale (figure 3 of the paper).

    The defaults are the paper's baseline; `EDSR.large(scale)` is its final model.

    Args:
        scale: 2, 3, 4 or 8.
        num_features: channels of the body.
        num_blocks: residual blocks of the body.
        res_scale: factor on every residual; 0.1 for 256 features.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, None and 255.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: the scale is another, or a count is too small.

    Example:
        >>> model = EDSR(scale=2)
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 48, 64, 3)
    """

    # Table 1 of the paper.
    VARIANTS: ClassVar = {
        "baseline": {},
        "large": {"num_features": 256, "num_blocks": 32, "res_scale": 0.1},
    }

    def __init__(
        self,
        scale: int = 2,
        num_features: int = 64,
        num_blocks: int = 16,
        res_scale: float = 1.0,
        **kwargs: Unpack[Pictures],
    ) -> None:
        super().__init__(**kwargs)
        at_least(0, num_blocks=num_blocks)
        self.keep(locals())

        policy = self.dtype_policy
        self.head = conv(num_features, "head", exact(policy))
        self.blocks = [
            ResidualBlock(num_features, res_scale, dtype=policy, name=f"block{i}") for i in range(num_blocks)
        ]
        self.body_end = conv(num_features, "body_end", exact(policy))
        self.upsampler = Upsampler(scale, num_features, dtype=policy, name="upsampler")
        self.tail = conv(self.num_channels, "tail", exact(policy))
        self.build((None, None, None, self.num_channels))

    @classmethod
    def large(cls, scale: int = 2, **kwargs: Any) -> Self:
        """Build the paper's final model: 32 blocks of 256 features, residuals scaled by 0.1."""
        return cls.variant("large", scale=scale, **kwargs)

    def build(self, shape: tuple[int | None, ...]) -> None:
        features = (*shape[:-1], self.num_features)
        self.head.build(shape)
        for layer in (*self.blocks, self.body_end, self.upsampler, self.tail):
            layer.build(features)
        self.built = True

    def call(self, lr: Tensor) -> Tensor:
        shallow = self.head(self.normalise(lr))  # [b, h, w, f], in the compute dtype from here on

        deep = shallow
        for block in self.blocks:
            deep = block(deep)
        deep = shallow + self.body_end(deep)

        sr = self.tail(self.upsampler(deep))  # [b, s*h, s*w, c]
        return self.denormalise(sr)

    @property
    def receptive_radius(self) -> int:
        return 1 + 2 * self.num_blocks + 1 + self.upsampler.reach
