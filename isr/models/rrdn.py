"""RRDBNet (Wang et al.: ESRGAN, Enhanced Super-Resolution Generative Adversarial Networks, 2018) and idealo's RRDN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self, Unpack

import keras
from keras import ops

from isr.arguments import ConfigFromArguments, at_least
from isr.layers import ResidualDenseBlock, conv, exact
from isr.models.base import UNIT_RANGE, Pictures, SuperResolutionModel
from isr.models.rdn import idealo_arguments
from isr.ops import Tensor, enlarge_nearest, pixel_shuffle, pixel_unshuffle, scaled


@keras.saving.register_keras_serializable(package="isr")
class RRDB(ConfigFromArguments, keras.layers.Layer):
    """`x + res_scale * blocks(x)`, the residual in residual dense block (Wang et al. 2018, figure 4).

    Args:
        num_features: channels in and out.
        growth: channels that every layer of a dense block adds.
        num_dense_blocks: dense blocks, one behind the other.
        num_layers: layers of each, beside the one that ends it.
        negative_slope: of the leaky ReLU; 0: ReLU.
        res_scale: factor on the residual of the whole and on that of every dense block.

    Input and output: `[b, h, w, num_features]`.
    """

    def __init__(
        self,
        num_features: int,
        growth: int,
        num_dense_blocks: int,
        num_layers: int,
        negative_slope: float,
        res_scale: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        at_least(1, num_dense_blocks=num_dense_blocks)
        self.keep(locals())
        self.dense_blocks = [
            ResidualDenseBlock(
                num_features,
                growth,
                num_layers,
                fusion_size=3,
                negative_slope=negative_slope,
                res_scale=res_scale,
                dtype=self.dtype_policy,
                name=f"dense{i}",
            )
            for i in range(num_dense_blocks)
        ]

    def build(self, shape: tuple[int | None, ...]) -> None:
        for block in self.dense_blocks:
            block.build(shape)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        deep = x
        for block in self.dense_blocks:
            deep = block(deep)
        return x + scaled(deep, self.res_scale)


class RRDBModel(SuperResolutionModel):
    """What RRDBNet and RRDN share: the first convolution, the RRDBs, and the convolution that ends the body."""

    # Of the leaky ReLUs; 0: ReLU.
    SLOPE: ClassVar[float]

    PICTURES: ClassVar = UNIT_RANGE

    def make_body(self) -> None:
        """Make the layers of the body, by the arguments that the network has kept.

        Raises:
            ValueError: a count is too small.
        """
        at_least(0, num_blocks=self.num_blocks)
        policy = self.dtype_policy
        self.head = conv(self.num_features, "head", exact(policy))
        self.blocks = [
            RRDB(
                self.num_features,
                self.growth,
                self.num_dense_blocks,
                self.num_layers,
                self.SLOPE,
                self.res_scale,
                dtype=policy,
                name=f"block{i}",
            )
            for i in range(self.num_blocks)
        ]
        self.body_end = conv(self.num_features, "body_end", exact(policy))

    def body(self, x: Tensor) -> Tensor:
        """Compute features of what the first convolution takes, `[b, h, w, num_features]`."""
        shallow = self.head(x)
        deep = shallow
        for block in self.blocks:
            deep = block(deep)
        return shallow + self.body_end(deep)

    @property
    def body_radius(self) -> int:
        """Count the pixels to each side on which a feature of the body depends."""
        # One for each 3x3 convolution.
        return 1 + self.num_blocks * self.num_dense_blocks * (self.num_layers + 1) + 1


@keras.saving.register_keras_serializable(package="isr")
class RRDBNet(RRDBModel):
    """The generator of ESRGAN (section 3.1), which Real-ESRGAN uses too.

    The defaults are the network of both for x4.

    Args:
        scale: 1, 2, 4 or 8.
        num_features: channels between the blocks.
        growth: channels that every layer of a dense block adds.
        num_blocks: RRDBs; 23, or 6 in the small network of Real-ESRGAN.
        num_dense_blocks: dense blocks of an RRDB.
        num_layers: layers of a dense block, beside the one that ends it.
        res_scale: factor on the residuals, those of the dense blocks and those of the RRDBs.
        unshuffle: side of the blocks of pixels that are put into channels first, so that the body sees a smaller
            picture; 1, 2 or 4. None: what makes the body's enlargement 4 (Real-ESRGAN), 1 for x8. The first
            networks of ESRGAN have 1 at every scale.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, 0 and 1.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`, sides multiples of `unshuffle`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: the scale or `unshuffle` is another, or a count is too small.

    Example:
        >>> model = RRDBNet(num_blocks=2)
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 96, 128, 3)
    """

    # ESRGAN and the large network of Real-ESRGAN, and the small one of Real-ESRGAN.
    VARIANTS: ClassVar = {"large": {}, "small": {"num_blocks": 6}}

    SLOPE = 0.2

    def __init__(
        self,
        scale: int = 4,
        num_features: int = 64,
        growth: int = 32,
        num_blocks: int = 23,
        num_dense_blocks: int = 3,
        num_layers: int = 4,
        res_scale: float = 0.2,
        unshuffle: int | None = None,
        **kwargs: Unpack[Pictures],
    ) -> None:
        if scale not in (1, 2, 4, 8):
            raise ValueError(f"scale={scale!r}: this network enlarges by 1, 2, 4 or 8")
        if unshuffle not in (None, 1, 2, 4):
            raise ValueError(f"unshuffle={unshuffle!r}: must be 1, 2 or 4")
        super().__init__(**kwargs)
        self.keep(locals())
        self.unshuffle = unshuffle or max(4 // scale, 1)
        self.make_body()

        policy = self.dtype_policy
        steps = int(math.log2(scale * self.unshuffle))
        self.up_convs = [conv(num_features, f"up{i}", policy) for i in range(steps)]
        self.hr_conv = conv(num_features, "hr_conv", policy)
        self.tail = conv(self.num_channels, "tail", exact(policy))
        self.build((None, None, None, self.num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.head.build((*shape[:-1], self.num_channels * self.unshuffle**2))
        features = (*shape[:-1], self.num_features)
        for layer in (*self.blocks, self.body_end, *self.up_convs, self.hr_conv, self.tail):
            layer.build(features)
        self.built = True

    def call(self, lr: Tensor) -> Tensor:
        self.check_sides(lr)
        x = self.normalise(lr)
        if self.unshuffle > 1:
            x = pixel_unshuffle(x, self.unshuffle)  # [b, h/u, w/u, u^2 * c]
        deep = self.body(x)  # [b, h/u, w/u, f]
        for layer in self.up_convs:
            deep = self._lrelu(layer(enlarge_nearest(deep, 2)))  # twice the sides
        sr = self.tail(self._lrelu(self.hr_conv(deep)))  # [b, s*h, s*w, c]
        return self.denormalise(sr)

    def _lrelu(self, x: Tensor) -> Tensor:
        return ops.leaky_relu(x, self.SLOPE)

    @property
    def size_multiple(self) -> int:
        return self.unshuffle

    @property
    def receptive_radius(self) -> int:
        # The convolutions behind the body see finer pixels, two of the body's in all.
        return (self.body_radius + 2) * self.unshuffle


@keras.saving.register_keras_serializable(package="isr")
class RRDN(RRDBModel):
    """The residual in residual dense network of idealo's ISR: ESRGAN's body with ReLUs, enlarged in one step.

    The defaults are its published network for x4.

    Args:
        scale: 2 or more.
        num_features: G0, channels between the blocks.
        growth: G, channels that every layer of a dense block adds.
        num_blocks: T, RRDBs.
        num_dense_blocks: D, dense blocks of an RRDB.
        num_layers: C, layers of a dense block, beside the one that ends it.
        res_scale: beta, factor on the residuals, those of the dense blocks and those of the RRDBs.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, 0 and 1.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: the scale is under 2, or a count is too small.

    Example:
        >>> model = RRDN(scale=2, num_blocks=2)
        >>> model(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 48, 64, 3)
    """

    SLOPE = 0.0

    def __init__(
        self,
        scale: int = 4,
        num_features: int = 32,
        growth: int = 32,
        num_blocks: int = 10,
        num_dense_blocks: int = 3,
        num_layers: int = 4,
        res_scale: float = 0.2,
        **kwargs: Unpack[Pictures],
    ) -> None:
        super().__init__(**kwargs)
        at_least(2, scale=scale)
        self.keep(locals())
        self.make_body()

        policy = self.dtype_policy
        self.up_conv = conv(self.num_channels * scale**2, "up", policy)
        self.tail = conv(self.num_channels, "tail", exact(policy))
        self.build((None, None, None, self.num_channels))

    @classmethod
    def from_idealo(cls, arch_params: Mapping[str, int], **kwargs: Any) -> Self:
        """Build the network that idealo's ISR builds from its `arch_params`.

        Args:
            arch_params: `C`, `D`, `G`, `G0`, `T` and `x`: layers of a dense block, dense blocks, growth, features,
                RRDBs, scale.
            kwargs: further arguments of the constructor, such as `num_channels`.

        Raises:
            ValueError: a key is missing or unknown; the message names it.
        """
        names = {"C": "num_layers", "D": "num_dense_blocks", "G": "growth", "G0": "num_features"}
        arguments = idealo_arguments(arch_params, {**names, "T": "num_blocks", "x": "scale"})
        return cls(**arguments, **kwargs)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.head.build(shape)
        features = (*shape[:-1], self.num_features)
        for layer in (*self.blocks, self.body_end, self.up_conv):
            layer.build(features)
        self.tail.build(shape)
        self.built = True

    def call(self, lr: Tensor) -> Tensor:
        deep = self.body(self.normalise(lr))  # [b, h, w, f]
        sr = self.tail(pixel_shuffle(self.up_conv(deep), self.scale))  # [b, s*h, s*w, c]
        return self.denormalise(sr)

    @property
    def receptive_radius(self) -> int:
        # One pixel for each of the two convolutions behind the body, of which the last sees finer ones.
        return self.body_radius + 2
