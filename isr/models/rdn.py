"""RDN (Zhang, Tian, Kong, Zhong, Fu: Residual Dense Network for Image Super-Resolution, 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, Unpack

import keras
from keras import ops

from isr.arguments import at_least
from isr.layers import IdealoUpsampler, ResidualDenseBlock, Upsampler, conv, exact
from isr.models.base import UNIT_RANGE, Pictures, SuperResolutionModel
from isr.ops import Tensor

UPSAMPLERS = ("pixelshuffle", "pixelshuffle_growth", "idealo_ups", "idealo_shuffle")


@keras.saving.register_keras_serializable(package="isr")
class RDN(SuperResolutionModel):
    """The residual dense network (figure 2 of the paper).

    The defaults are the paper's RDN B; `paper_a` is its RDN A, and `from_idealo` builds the variants of idealo's ISR.

    Args:
        scale: 2, 3, 4 or 8; with idealo's upsamplers any from 2.
        num_features: G0, channels between the blocks.
        growth: G, channels that every layer of a block adds.
        num_blocks: D, residual dense blocks.
        num_layers: C, layers of a block.
        upsampler: "pixelshuffle": convolutions to `num_features` channels and pixel shuffle, as in the weights of
            yjn870 and mmagic. "pixelshuffle_growth": the same on `growth` channels, as in EDSR-PyTorch.
            "idealo_ups", "idealo_shuffle": three convolutions, then pixels repeated or shuffled, as in idealo's ISR.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, 0 and 1.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: the scale does not suit the upsampler, the upsampler is another, or a count is too small.

    Example:
        >>> model = RDN(scale=2, num_blocks=4, num_layers=3)
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 48, 64, 3)
    """

    PICTURES: ClassVar = UNIT_RANGE

    # Section 4.1 of the paper.
    VARIANTS: ClassVar = {"paper_a": {"growth": 32, "num_blocks": 20, "num_layers": 6}, "paper_b": {}}

    def __init__(
        self,
        scale: int = 2,
        num_features: int = 64,
        growth: int = 64,
        num_blocks: int = 16,
        num_layers: int = 8,
        upsampler: Literal[
            "pixelshuffle", "pixelshuffle_growth", "idealo_ups", "idealo_shuffle"
        ] = "pixelshuffle",
        **kwargs: Unpack[Pictures],
    ) -> None:
        super().__init__(**kwargs)
        at_least(1, num_blocks=num_blocks)
        if upsampler not in UPSAMPLERS:
            raise ValueError(f"upsampler={upsampler!r}: must be one of {', '.join(UPSAMPLERS)}")
        self.keep(locals())

        policy = self.dtype_policy
        self.head1 = conv(num_features, "head1", exact(policy))
        self.head2 = conv(num_features, "head2", policy)
        self.blocks = [
            ResidualDenseBlock(num_features, growth, num_layers, dtype=policy, name=f"block{i}")
            for i in range(num_blocks)
        ]
        self.fusion1 = conv(num_features, "fusion1", policy, 1)
        self.fusion2 = conv(num_features, "fusion2", exact(policy))
        self.enlarge: Upsampler | IdealoUpsampler
        if upsampler.startswith("idealo"):
            nearest = upsampler == "idealo_ups"
            self.enlarge = IdealoUpsampler(scale, self.num_channels, nearest, dtype=policy, name="enlarge")
        else:
            channels = growth if upsampler == "pixelshuffle_growth" else num_features
            self.enlarge = Upsampler(scale, channels, dtype=policy, name="enlarge")
        self.tail = conv(self.num_channels, "tail", exact(policy))
        self.build((None, None, None, self.num_channels))

    @classmethod
    def paper_a(cls, scale: int = 2, **kwargs: Any) -> Self:
        """Build the paper's RDN A: 20 blocks of 6 layers that add 32 channels each."""
        return cls.variant("paper_a", scale=scale, **kwargs)

    @classmethod
    def paper_b(cls, scale: int = 2, **kwargs: Any) -> Self:
        """Build the paper's RDN B, which are the defaults: 16 blocks of 8 layers that add 64 channels each."""
        return cls.variant("paper_b", scale=scale, **kwargs)

    @classmethod
    def from_idealo(
        cls,
        arch_params: Mapping[str, int],
        upscaling: Literal["ups", "shuffle"] = "ups",
        **kwargs: Any,
    ) -> Self:
        """Build the network that idealo's ISR builds from its `arch_params`.

        Args:
            arch_params: `C`, `D`, `G`, `G0` and `x`: layers of a block, blocks, growth, features, scale.
            upscaling: "ups" or "shuffle".
            kwargs: further arguments of the constructor, such as `num_channels`.

        Raises:
            ValueError: a key is missing or unknown, and named, or the upscaling is another.
        """
        if upscaling not in ("ups", "shuffle"):
            raise ValueError(f"upscaling={upscaling!r}: must be 'ups' or 'shuffle'")
        names = {"C": "num_layers", "D": "num_blocks", "G": "growth", "G0": "num_features", "x": "scale"}
        return cls(**idealo_arguments(arch_params, names), upsampler=f"idealo_{upscaling}", **kwargs)  # type: ignore[arg-type]

    def build(self, shape: tuple[int | None, ...]) -> None:
        features = (*shape[:-1], self.num_features)
        self.head1.build(shape)
        self.fusion1.build((*shape[:-1], self.num_blocks * self.num_features))
        for layer in (self.head2, *self.blocks, self.fusion2, self.enlarge):
            layer.build(features)
        self.tail.build((*shape[:-1], self.enlarge.num_features))
        self.built = True

    def call(self, lr: Tensor) -> Tensor:
        shallow = self.head1(self.normalise(lr))  # [b, h, w, G0], F_-1 of equation 1

        deep = self.head2(shallow)  # F_0, equation 2
        results = []
        for block in self.blocks:
            deep = block(deep)
            results.append(deep)
        fused = self.fusion2(self.fusion1(ops.concatenate(results, axis=-1)))  # global feature fusion
        deep = shallow + fused  # global residual learning

        sr = self.tail(self.enlarge(deep))  # [b, s*h, s*w, c]
        return self.denormalise(sr)

    @property
    def receptive_radius(self) -> int:
        # One pixel for each 3x3 convolution before the upsampler.
        return 1 + 1 + self.num_blocks * self.num_layers + 1 + self.enlarge.reach


def idealo_arguments(arch_params: Mapping[str, int], names: Mapping[str, str]) -> dict[str, Any]:
    """Translate idealo's `arch_params` into arguments of a constructor.

    Args:
        arch_params: as in idealo's ISR.
        names: the argument that each key stands for.

    Raises:
        ValueError: a key is missing or unknown; the message names it.
    """
    missing = [key for key in names if key not in arch_params]
    unknown = [key for key in arch_params if key not in names]
    if missing or unknown:
        parts = [
            f"{what} {', '.join(keys)}"
            for what, keys in (("lacks", missing), ("has unknown", unknown))
            if keys
        ]
        raise ValueError(f"arch_params {' and '.join(parts)}; its keys are {', '.join(names)}")
    return {argument: int(arch_params[key]) for key, argument in names.items()}
