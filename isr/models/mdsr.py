"""MDSR (Lim, Son, Kim, Nah, Lee: Enhanced Deep Residual Networks for Single Image Super-Resolution, 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self, Unpack

import keras

from isr.arguments import at_least
from isr.layers import ResidualBlock, Upsampler, conv, exact
from isr.models.base import Pictures, SuperResolutionModel
from isr.ops import Tensor


@keras.saving.register_keras_serializable(package="isr")
class MDSR(SuperResolutionModel):
    """The multi-scale deep super-resolution network (figure 5 of the paper): several scales with one body.

    Each scale has its own pre-processing blocks and upsampler; only those of the scale asked for are computed. The
    defaults are the paper's baseline; `MDSR.large()` is its final model.

    Args:
        scales: of 2, 3, 4 and 8, each once; the first is the default of the call.
        num_features: channels of all convolutions.
        num_blocks: residual blocks of the body.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, None and 255.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`, and `scale`, one of `scales`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: a scale is another or comes twice, or a count is too small.

    Example:
        >>> model = MDSR()
        >>> model(np.zeros((1, 24, 32, 3), "float32"), scale=3).shape
        (1, 72, 96, 3)
    """

    # Table 1 of the paper.
    VARIANTS: ClassVar = {"baseline": {}, "large": {"num_blocks": 80}}

    def __init__(
        self,
        scales: Sequence[int] = (2, 3, 4),
        num_features: int = 64,
        num_blocks: int = 16,
        **kwargs: Unpack[Pictures],
    ) -> None:
        super().__init__(**kwargs)
        if not scales or len(set(scales)) != len(scales):
            raise ValueError(f"scales={tuple(scales)}: at least one is needed, and each once")
        at_least(0, num_blocks=num_blocks)
        self._scales = tuple(int(scale) for scale in scales)
        self.num_features = num_features
        self.num_blocks = num_blocks

        policy = self.dtype_policy
        self.head = conv(num_features, "head", exact(policy))
        self.pre_blocks = [
            [
                ResidualBlock(num_features, kernel_size=5, dtype=policy, name=f"x{scale}_pre{i}")
                for i in range(2)
            ]
            for scale in self.scales
        ]
        self.blocks = [ResidualBlock(num_features, dtype=policy, name=f"block{i}") for i in range(num_blocks)]
        self.body_end = conv(num_features, "body_end", exact(policy))
        self.upsamplers = [
            Upsampler(scale, num_features, dtype=policy, name=f"x{scale}_upsampler") for scale in self.scales
        ]
        self.tail = conv(self.num_channels, "tail", exact(policy))
        self.build((None, None, None, self.num_channels))

    @classmethod
    def large(cls, scales: Sequence[int] = (2, 3, 4), **kwargs: Any) -> Self:
        """Build the paper's final model: 80 blocks of 64 features."""
        return cls.variant("large", scales=scales, **kwargs)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.head.build(shape)
        features = (*shape[:-1], self.num_features)
        branches = [layer for blocks in self.pre_blocks for layer in blocks] + self.upsamplers
        for layer in (*branches, *self.blocks, self.body_end, self.tail):
            layer.build(features)
        self.built = True

    def call(self, lr: Tensor, scale: int | None = None) -> Tensor:
        branch = self.scales.index(self.spec.check_scale(scale))

        shallow = self.head(self.normalise(lr))  # [b, h, w, f]
        for block in self.pre_blocks[branch]:
            shallow = block(shallow)

        deep = shallow
        for block in self.blocks:
            deep = block(deep)
        deep = keras.ops.add(shallow, self.body_end(deep))  # of the wider dtype

        sr = self.tail(self.upsamplers[branch](deep))  # [b, s*h, s*w, c]
        return self.denormalise(sr)

    @property
    def scales(self) -> tuple[int, ...]:
        return self._scales

    @property
    def receptive_radius(self) -> int:
        # Four 5x5 convolutions of the pre-processing see two pixels each.
        before = 1 + 4 * 2 + 2 * self.num_blocks + 1
        return before + max(upsampler.reach for upsampler in self.upsamplers)
