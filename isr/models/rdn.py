"""RDN (Zhang, Tian, Kong, Zhong, Fu: Residual Dense Network for Image Super-Resolution, 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from isr.arguments import ConfigFromArguments
from isr.errors import RequestError
from isr.layers import (
    ResidualDenseBlock,
    Upsampler,
    carry,
    carry_enlarged,
    carry_signed,
    conv,
    exact,
    shrink,
    take_signed,
)
from isr.models.base import SuperResolutionModel
from isr.ops import Tensor, enlarge_nearest, pixel_shuffle

# Before pixels are repeated and smoothed, which is bilinear interpolation; by 2 both together are bicubic.
SHARPEN = np.array([-3, 38, -3]) / 32
UPSAMPLERS = ("pixelshuffle", "pixelshuffle_growth", "idealo_ups", "idealo_shuffle")


@keras.saving.register_keras_serializable(package="isr")
class IdealoUpsampler(ConfigFromArguments, keras.layers.Layer):
    """Enlarges as idealo's ISR does: three convolutions, then pixels repeated (`ups`) or shuffled (`shuffle`).

    Args:
        scale: factor, at least 2.
        num_channels: c, the pictures' channels.
        nearest: repeat the pixels of all `c * scale**2` channels; otherwise shuffle these to c.

    Input `[b, h, w, f]`, output `[b, scale * h, scale * w, c * scale**2]`, or c channels without `nearest`.
    Raises ValueError for a scale under 2.
    """

    def __init__(self, scale: int, num_channels: int, nearest: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if scale < 2:
            raise ValueError(f"scale={scale}: must be at least 2")
        self.scale = scale
        self.num_channels = num_channels
        self.nearest = nearest
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

    def start_as_interpolation(self, count: int, rest: float = 1.0) -> None:
        """Make its first `count` channels interpolate the first `count` features; see `smooth_repeated`."""
        carry_signed(self.conv1, count)
        carry(self.conv2, 2 * count)
        if not self.nearest:
            carry_enlarged(self.conv3, self.scale, count, rest, signed=True)
            return
        take_signed(self.conv3, count, rest)
        kernel = ops.convert_to_numpy(self.conv3.kernel).copy()
        sharper = np.outer(SHARPEN, SHARPEN)[:, :, None]
        kernel[:, :, : 2 * count, :count] = kernel[1, 1, : 2 * count, :count] * sharper[..., None]
        self.conv3.kernel.assign(kernel)

    @property
    def num_features(self) -> int:
        """Channels out."""
        return self.num_channels * self.scale**2 if self.nearest else self.num_channels

    @property
    def carries(self) -> int:
        """How many channels of a picture can pass it, each as its positive and its negative part."""
        return self.conv2.filters // 2

    @property
    def reach(self) -> int:
        """Input pixels on each side that a 3x3 convolution of the result depends on, rounded up."""
        return 2 + 1 + 1 + 1  # a 5x5 and two 3x3 convolutions; then less than a pixel


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
        num_channels: channels of the pictures.
        pixel_mean: subtracted from the input and added to the output, [0, 1]; per channel or one for all.
        pixel_range: what [0, 1] is multiplied by inside.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.
    Raises ValueError for an argument out of its range.

    Example:
        >>> model = RDN(scale=2, num_blocks=4, num_layers=3)
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 48, 64, 3)
    """

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
        num_channels: int = 3,
        pixel_mean: Sequence[float] | float | None = 0.0,
        pixel_range: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_channels=num_channels, pixel_mean=pixel_mean, pixel_range=pixel_range, **kwargs)
        if num_blocks < 1:
            raise ValueError(f"num_blocks={num_blocks}: at least one is needed")
        if upsampler not in UPSAMPLERS:
            raise ValueError(f"upsampler={upsampler!r}: must be one of {', '.join(UPSAMPLERS)}")
        self.scale = scale
        self.num_features = num_features
        self.growth = growth
        self.num_blocks = num_blocks
        self.num_layers = num_layers
        self.upsampler = upsampler

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
            self.enlarge = IdealoUpsampler(scale, num_channels, nearest, dtype=policy, name="enlarge")
        else:
            channels = growth if upsampler == "pixelshuffle_growth" else num_features
            self.enlarge = Upsampler(scale, channels, dtype=policy, name="enlarge")
        self.tail = conv(num_channels, "tail", exact(policy))
        self.build((None, None, None, num_channels))

    @classmethod
    def paper_a(cls, scale: int = 2, **kwargs: Any) -> RDN:
        """The paper's RDN A: 20 blocks of 6 layers that add 32 channels each (section 4.1)."""
        return cls(scale, **{"growth": 32, "num_blocks": 20, "num_layers": 6, **kwargs})

    @classmethod
    def paper_b(cls, scale: int = 2, **kwargs: Any) -> RDN:
        """The paper's RDN B, which are the defaults: 16 blocks of 8 layers that add 64 channels each."""
        return cls(scale, **kwargs)

    @classmethod
    def from_idealo(
        cls,
        arch_params: Mapping[str, int],
        upscaling: Literal["ups", "shuffle"] = "ups",
        **kwargs: Any,
    ) -> RDN:
        """The network that idealo's ISR builds from its `arch_params`.

        Args:
            arch_params: `C`, `D`, `G`, `G0` and `x`: layers of a block, blocks, growth, features, scale.
            upscaling: "ups" or "shuffle".
            kwargs: further arguments of the constructor, such as `num_channels`.

        Raises ValueError, naming it, for a key that is missing or unknown, or another upscaling.
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

    def start_as_interpolation(self) -> None:
        """Set the weights so that the untrained network interpolates.

        The pictures' channels pass the blocks as the first features, everything else starts as a small correction.
        Raises RequestError where there are too few features for the channels.
        """
        channels = self.num_channels
        if min(self.num_features, self.enlarge.carries) < channels:
            raise RequestError(f"too few features to carry {channels} channels; start at random")
        carry(self.head1, channels)
        shrink(block.fusion for block in self.blocks)
        shrink([self.fusion2], 0.01)  # without a mean to subtract, features are far from 0
        self.enlarge.start_as_interpolation(channels, rest=0.1)
        if self.upsampler == "idealo_ups":
            smooth_repeated(self.tail, self.scale, channels)
        else:
            carry(self.tail, channels, rest=0.1)

    @property
    def scales(self) -> tuple[int, ...]:
        return (self.scale,)

    @property
    def receptive_radius(self) -> int:
        # One pixel for each 3x3 convolution before the upsampler.
        return 1 + 1 + self.num_blocks * self.num_layers + 1 + self.enlarge.reach


def smooth_repeated(layer: keras.layers.Conv2D, factor: int, count: int) -> None:
    """Make a 3x3 convolution of repeated pixels interpolate their first `count` channels.

    Args:
        layer: built.
        factor: how often each pixel was repeated; up to 3 the result is bilinear interpolation.
        count: channels that go in and out.
    """
    carry(layer, count)
    side = (factor - 1) / (2 * factor)
    taps = np.array([side, 1 / factor, side])
    kernel = ops.convert_to_numpy(layer.kernel).copy()
    for channel in range(count):
        kernel[:, :, channel, channel] = np.outer(taps, taps)
    layer.kernel.assign(kernel)


def idealo_arguments(arch_params: Mapping[str, int], names: Mapping[str, str]) -> dict[str, int]:
    """Arguments of a constructor by the keys of idealo's `arch_params`.

    Args:
        arch_params: as in idealo's ISR.
        names: the argument that each key stands for.

    Raises ValueError, naming it, for a key that is missing or unknown.
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
