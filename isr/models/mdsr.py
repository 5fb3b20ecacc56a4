"""MDSR (Lim, Son, Kim, Nah, Lee: Enhanced Deep Residual Networks for Single Image Super-Resolution, 2017)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from isr.errors import RequestError
from isr.layers import ResidualBlock, Upsampler, adopted_upsampler, carry, conv, exact, shrink
from isr.models.base import SuperResolutionModel, compare_weights
from isr.ops import Tensor

BRANCH = re.compile(r"x(\d+)_")  # how the names of the weights of one scale begin


@keras.saving.register_keras_serializable(package="isr")
class MDSR(SuperResolutionModel):
    """The multi-scale deep super-resolution network (figure 5 of the paper): several scales with one body.

    Each scale has its own pre-processing blocks and upsampler; only those of the scale asked for are computed. The
    defaults are the paper's baseline; `MDSR.large()` is its final model.

    Args:
        scales: of 2, 3, 4 and 8, each once; the first is the default of the call.
        num_features: channels of all convolutions.
        num_blocks: residual blocks of the body.
        num_channels: channels of the pictures.
        pixel_mean: per channel, subtracted from the input and added to the output, [0, 1]; None: the mean of
            DIV2K for RGB, its average for other counts of channels.
        pixel_range: what [0, 1] is multiplied by inside; published weights expect 255.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`, and `scale`, one of `scales`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.
    Raises ValueError for an argument out of its range.

    Example:
        >>> model = MDSR()
        >>> model(np.zeros((1, 24, 32, 3), "float32"), scale=3).shape
        (1, 72, 96, 3)
    """

    def __init__(
        self,
        scales: Sequence[int] = (2, 3, 4),
        num_features: int = 64,
        num_blocks: int = 16,
        num_channels: int = 3,
        pixel_mean: Sequence[float] | float | None = None,
        pixel_range: float = 255.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_channels=num_channels, pixel_mean=pixel_mean, pixel_range=pixel_range, **kwargs)
        if not scales or len(set(scales)) != len(scales):
            raise ValueError(f"scales={tuple(scales)}: at least one is needed, and each once")
        if num_blocks < 0:
            raise ValueError(f"num_blocks={num_blocks}: must not be under 0")
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
        self.tail = conv(num_channels, "tail", exact(policy))
        self.build((None, None, None, num_channels))

    @classmethod
    def large(cls, scales: Sequence[int] = (2, 3, 4), **kwargs: Any) -> MDSR:
        """The paper's final model: 80 blocks of 64 features (table 1)."""
        return cls(scales, **{"num_blocks": 80, **kwargs})

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

    def start_as_interpolation(self) -> None:
        """Set the weights so that the untrained network interpolates at every scale, as `EDSR` does.

        Raises RequestError where there are fewer features than channels.
        """
        if self.num_features < self.num_channels:
            raise RequestError(
                f"{self.num_features} features cannot carry {self.num_channels} channels; start at random"
            )
        carry(self.head, self.num_channels)
        shrink([*(block.conv2 for block in self.blocks), self.body_end])
        shrink(
            (block.conv2 for blocks in self.pre_blocks for block in blocks), 0.01
        )  # no `body_end` behind them
        for upsampler in self.upsamplers:
            upsampler.start_as_interpolation(self.num_channels, rest=0.1)
        carry(self.tail, self.num_channels, rest=0.1)

    def adopt(self, values: Mapping[str, np.ndarray], source: str) -> list[str]:
        """Take over the weights of an MDSR of other scales, or of an EDSR, of the same body.

        A scale that the other network lacks starts with pre-processing that changes nothing and with an upsampler
        made of that of the next scale below, or above. At the scale of an EDSR the result equals the EDSR's.
        """
        values = {name: np.asarray(value, np.float32) for name, value in values.items()}
        if steps := below("upsampler/", values):
            factors = [
                math.isqrt(v.size // self.num_features) for n, v in steps.items() if n.endswith("bias")
            ]
            branch = {f"x{math.prod(factors)}_upsampler/{name}": value for name, value in steps.items()}
            values = {n: v for n, v in values.items() if not n.startswith("upsampler/")} | branch
        own = self.named_weights()
        shared, given = (
            {name: tuple(value.shape) for name, value in weights.items() if not BRANCH.match(name)}
            for weights in (own, values)
        )
        compare_weights(shared, given, source)  # before anything is made of the branches

        known = {int(match[1]) for match in map(BRANCH.match, values) if match}
        weights = {name: values.get(name, value) for name, value in own.items()}
        made = [name for name in own if name not in values]
        for upsampler in self.upsamplers:
            scale = upsampler.scale
            source_scale = max((s for s in known if s <= scale), default=min(known, default=0))
            steps, _ = adopted_upsampler(upsampler, below(f"x{source_scale}_upsampler/", values))
            weights |= {f"x{scale}_upsampler/{name}": value for name, value in steps.items()}
        for name in made:
            if "_pre" in name and "/conv2/" in name:
                weights[name] = np.zeros(own[name].shape, np.float32)
        self.load_named_weights(weights, source)
        return made

    @property
    def scales(self) -> tuple[int, ...]:
        return self._scales

    @property
    def receptive_radius(self) -> int:
        # Four 5x5 convolutions of the pre-processing see two pixels each.
        before = 1 + 4 * 2 + 2 * self.num_blocks + 1
        return before + max(upsampler.reach for upsampler in self.upsamplers)


def below(prefix: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The values whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
