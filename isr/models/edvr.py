"""EDVR (Wang, Chan, Yu, Dong, Loy: Video Restoration with Enhanced Deformable Convolutional Networks, 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self, Unpack

import keras
from keras import ops

from isr.arguments import ConfigFromArguments, at_least
from isr.layers import DeformableConv2D, HalvingConv, PairConv, ResidualBlock, conv
from isr.models.base import UNIT_RANGE, Features, MultiFrameModel, Pictures, join_frames, split_frames
from isr.ops import Tensor, average_pool_halves, enlarge_bilinear, max_pool_halves, pixel_shuffle


def lrelu(x: Tensor) -> Tensor:
    """Apply the activation of the network, but for its residual blocks."""
    return ops.leaky_relu(x, 0.1)


@keras.saving.register_keras_serializable(package="isr")
class Predeblur(ConfigFromArguments, keras.layers.Layer):
    """Sharpens blurred frames before they are aligned (section 3.1): residual blocks on a pyramid of three levels.

    Args:
        num_features: channels out.
        hr_in: begin with two convolutions of stride 2.

    Input `[n, h, w, c]`, output `[n, h, w, f]`, or a quarter of the sides with `hr_in`.
    """

    def __init__(self, num_features: int, hr_in: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(locals())
        policy = self.dtype_policy

        def block(name: str) -> ResidualBlock:
            return ResidualBlock(num_features, dtype=policy, name=name)

        self.head = conv(num_features, "head", policy)
        names = ("to_half", "to_quarter") if hr_in else ()
        self.strides = [HalvingConv(num_features, dtype=policy, name=name) for name in names]
        self.to_l2 = HalvingConv(num_features, dtype=policy, name="to_l2")
        self.to_l3 = HalvingConv(num_features, dtype=policy, name="to_l3")
        self.l3_block = block("l3_block")
        self.l2_blocks = [block(f"l2_block{i}") for i in range(2)]
        self.l1_blocks = [block(f"l1_block{i}") for i in range(5)]

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.head.build(shape)
        features = (*shape[:-1], self.num_features)
        layers: list[keras.layers.Layer] = [*self.strides, self.to_l2, self.to_l3, self.l3_block]
        for layer in (*layers, *self.l2_blocks, *self.l1_blocks):
            layer.build(features)
        self.built = True

    def call(self, frames: Tensor) -> Tensor:
        l1 = lrelu(self.head(frames))  # [n, h, w, f]
        for layer in self.strides:
            l1 = lrelu(layer(l1))  # each halves the sides
        l2 = lrelu(self.to_l2(l1))  # [n, h/2, w/2, f]
        l3 = lrelu(self.to_l3(l2))  # [n, h/4, w/4, f]

        l2 = self.l2_blocks[0](l2) + enlarge_bilinear(self.l3_block(l3), 2)
        for block in self.l1_blocks[:2]:
            l1 = block(l1)
        l1 = l1 + enlarge_bilinear(self.l2_blocks[1](l2), 2)
        for block in self.l1_blocks[2:]:
            l1 = block(l1)
        return l1


@keras.saving.register_keras_serializable(package="isr")
class AlignmentLevel(ConfigFromArguments, keras.layers.Layer):
    """One level of the alignment's pyramid (equations 3 and 4).

    Args:
        num_features: channels of the features.
        deform_groups: groups of channels that share their offsets.
        coarsest: there is no level below.
    """

    def __init__(self, num_features: int, deform_groups: int, coarsest: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(locals())
        policy = self.dtype_policy
        self.offset_conv1 = PairConv(num_features, dtype=policy, name="offset_conv1")
        if coarsest:
            self.offset_conv2 = conv(num_features, "offset_conv2", policy)
        else:
            self.offset_conv2 = PairConv(num_features, dtype=policy, name="offset_conv2")
            self.offset_conv3 = conv(num_features, "offset_conv3", policy)
            self.feat_conv = PairConv(num_features, dtype=policy, name="feat_conv")
        self.dcn = DeformableConv2D(num_features, deform_groups=deform_groups, dtype=policy, name="dcn")

    def build(self, shape: tuple[int | None, ...]) -> None:
        own = [self.offset_conv1, self.offset_conv2, self.dcn]
        for layer in own if self.coarsest else [*own, self.offset_conv3, self.feat_conv]:
            layer.build(shape)
        self.built = True

    def call(
        self, features: Tensor, half: Tensor, center: int, below: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Align the frames of a window at this level.

        Args:
            features: of the frames, `[b, t, h, w, f]`.
            half: the frames' share in `offset_conv1`, `[b, t, h, w, f]`; the other one is the reference's.
            center: place of the reference among the t.
            below: what the level of half the sides gave.

        Returns:
            Features of the offsets, and the aligned features before their activation, both `[b * t, h, w, f]`.
        """
        neighbour = join_frames(features)
        reference = self.offset_conv1.second(features[:, center])
        offsets = lrelu(join_frames(half + reference[:, None]))
        if below is None:
            offsets = lrelu(self.offset_conv2(offsets))
            return offsets, self.dcn(neighbour, offsets)
        offsets_below, aligned_below = below
        # An offset counts pixels, of which there are twice as many here.
        offsets = lrelu(self.offset_conv2(offsets, enlarge_bilinear(offsets_below, 2) * 2))
        offsets = lrelu(self.offset_conv3(offsets))
        aligned = self.dcn(neighbour, offsets)
        return offsets, self.feat_conv(aligned, enlarge_bilinear(lrelu(aligned_below), 2))


@keras.saving.register_keras_serializable(package="isr")
class PCDAlignment(ConfigFromArguments, keras.layers.Layer):
    """Alignment with pyramid, cascading and deformable convolution (figure 3): neighbours to the reference.

    Args:
        num_features: channels of the features.
        deform_groups: groups of channels that share their offsets.
    """

    def __init__(self, num_features: int, deform_groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(locals())
        policy = self.dtype_policy
        self.levels = [  # finest first
            AlignmentLevel(num_features, deform_groups, coarsest=level == 3, dtype=policy, name=f"l{level}")
            for level in (1, 2, 3)
        ]
        self.cascade_conv1 = PairConv(num_features, dtype=policy, name="cascade_conv1")
        self.cascade_conv2 = conv(num_features, "cascade_conv2", policy)
        self.cascade_dcn = DeformableConv2D(
            num_features, deform_groups=deform_groups, dtype=policy, name="cascade_dcn"
        )

    def build(self, shape: tuple[int | None, ...]) -> None:
        for layer in (*self.levels, self.cascade_conv1, self.cascade_conv2, self.cascade_dcn):
            layer.build(shape)
        self.built = True

    def halves(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Compute the share of a frame, as the neighbour, in the first offset convolution of every level.

        It is the same whatever frame is the reference, because that convolution is linear in the pair.

        Args:
            pyramid: features of frames: `[n, h, w, f]`, `[n, h/2, w/2, f]` and `[n, h/4, w/4, f]`.

        Returns:
            One tensor for each level, of the same shape.
        """
        return [
            level.offset_conv1.first(features) for level, features in zip(self.levels, pyramid, strict=True)
        ]

    def call(self, pyramid: Sequence[Tensor], halves: Sequence[Tensor], center: int) -> Tensor:
        """Move all frames of a window, the centre one included, to where the centre one is.

        Args:
            pyramid: features of the frames: `[b, t, h, w, f]`, `[b, t, h/2, w/2, f]` and `[b, t, h/4, w/4, f]`.
            halves: `halves` of them, of the same shapes.
            center: place of the reference among the t.

        Returns:
            `[b, t, h, w, f]`.
        """
        levels, offsets = self._offsets(pyramid, halves, center)
        _, aligned = levels[-1]
        return split_frames(lrelu(self.cascade_dcn(aligned, offsets)), pyramid[0].shape[1])

    def motion(self, pyramid: Sequence[Tensor], halves: Sequence[Tensor]) -> Tensor:
        """Read from the offsets how the second of two frames has moved.

        Args:
            pyramid, halves: as for `call`, t being 2.

        Returns:
            Guesses of the flow from the first to the second frame, down and right in pixels of `l1`, `[b, h, w, 2 *
            4]`: of the coarsest level to the finest, and of the finest and the cascade together; each is the mean
            over groups and taps.
        """
        levels, cascade = self._offsets(pyramid, halves, 0)
        guesses: list[Tensor] = []
        for level, (offsets, _) in zip(reversed(self.levels), levels, strict=True):
            factor = 2 ** (len(self.levels) - 1 - len(guesses))
            guess = factor * mean_offset(level.dcn, offsets)
            guesses.append(guess if factor == 1 else enlarge_bilinear(guess, factor))
        guesses.append(guesses[-1] + mean_offset(self.cascade_dcn, cascade))
        return split_frames(ops.concatenate(guesses, axis=-1), 2)[:, 1]

    def _offsets(
        self, pyramid: Sequence[Tensor], halves: Sequence[Tensor], center: int
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """What every level gives, the coarsest first, and the cascade's features of the offsets."""
        l1, l2, l3 = pyramid
        half1, half2, half3 = halves
        level1, level2, level3 = self.levels

        # The offsets of a level, and its aligned frames, refine those of the level below it.
        quarter = level3(l3, half3, center=center)  # [b * t, h/4, w/4, f]
        half = level2(l2, half2, center=center, below=quarter)  # [b * t, h/2, w/2, f]
        whole = level1(l1, half1, center=center, below=half)  # [b * t, h, w, f]

        # The cascade compares what was aligned with the reference once more.
        reference = self.cascade_conv1.second(l1[:, center])
        comparison = split_frames(self.cascade_conv1.first(whole[1]), l1.shape[1]) + reference[:, None]
        return [quarter, half, whole], lrelu(self.cascade_conv2(lrelu(join_frames(comparison))))


def mean_offset(layer: DeformableConv2D, guide: Tensor) -> Tensor:
    """Average the offsets that a layer predicts over its groups and taps, `[n, h, w, 2]`."""
    offsets, _ = layer.predict_offsets(guide)
    return ops.mean(ops.stack(ops.split(offsets, offsets.shape[-1] // 2, axis=-1), axis=-2), axis=-2)


@keras.saving.register_keras_serializable(package="isr")
class TSAFusion(ConfigFromArguments, keras.layers.Layer):
    """Fusion with temporal and spatial attention (figure 4; equations 5 to 7 and below).

    Args:
        num_features: channels of the features.

    Input: aligned frames `[b, t, h, w, f]`, sides multiples of 4, and the place of the reference among them.
    Output: `[b, h, w, f]`.
    """

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_features = num_features
        policy = self.dtype_policy
        self.embed_reference = conv(num_features, "embed_reference", policy)
        self.embed_frame = conv(num_features, "embed_frame", policy)
        self.fuse = conv(num_features, "fuse", policy, 1)
        self.spatial1 = conv(num_features, "spatial1", policy, 1)
        self.spatial2 = conv(num_features, "spatial2", policy, 1)
        self.spatial3 = conv(num_features, "spatial3", policy)
        self.spatial4 = conv(num_features, "spatial4", policy, 1)
        self.spatial5 = conv(num_features, "spatial5", policy)
        self.quarter1 = conv(num_features, "quarter1", policy, 1)
        self.quarter2 = conv(num_features, "quarter2", policy)
        self.quarter3 = conv(num_features, "quarter3", policy)
        self.add1 = conv(num_features, "add1", policy, 1)
        self.add2 = conv(num_features, "add2", policy, 1)

    def build(self, shape: tuple[int | None, ...]) -> None:
        batch, frames, height, width, f = shape
        assert frames is not None and f is not None
        one, two, all_frames = ((batch, height, width, n * f) for n in (1, 2, frames))
        self.fuse.build(all_frames)
        self.spatial1.build(all_frames)
        self.spatial2.build(two)
        self.quarter2.build(two)
        for layer in (self.embed_reference, self.embed_frame, self.spatial3, self.spatial4, self.spatial5):
            layer.build(one)
        for layer in (self.quarter1, self.quarter3, self.add1, self.add2):
            layer.build(one)
        self.built = True

    def call(self, aligned: Tensor, center: int) -> Tensor:
        num_frames = aligned.shape[1]
        # Temporal attention: how like the reference each frame is at each pixel.
        reference = ops.cast(self.embed_reference(aligned[:, center]), "float32")[:, None]
        embedded = ops.cast(split_frames(self.embed_frame(join_frames(aligned)), num_frames), "float32")
        likeness = ops.sigmoid(ops.sum(embedded * reference, axis=-1, keepdims=True))  # [b, t, h, w, 1]
        weighted = aligned * ops.cast(likeness, aligned.dtype)
        frames = ops.concatenate([weighted[:, i] for i in range(num_frames)], axis=-1)  # [b, h, w, t * f]

        # Spatial attention, on a pyramid of half and quarter the sides.
        features = lrelu(self.fuse(frames))  # [b, h, w, f]
        half = lrelu(self.spatial2(pools(lrelu(self.spatial1(frames)))))  # [b, h/2, w/2, f]
        quarter = lrelu(self.quarter2(pools(lrelu(self.quarter1(half)))))  # [b, h/4, w/4, f]
        quarter = enlarge_bilinear(lrelu(self.quarter3(quarter)), 2)  # [b, h/2, w/2, f]
        half = lrelu(self.spatial4(lrelu(self.spatial3(half)) + quarter))
        attention = self.spatial5(enlarge_bilinear(half, 2))  # [b, h, w, f]
        return features * ops.sigmoid(attention) * 2 + self.add2(lrelu(self.add1(attention)))


def pools(x: Tensor) -> Tensor:
    """Take maximum and mean over 3x3 pixels at half the sides, `[b, h/2, w/2, 2 * f]`."""
    return ops.concatenate([max_pool_halves(x), average_pool_halves(x)], axis=-1)


@keras.saving.register_keras_serializable(package="isr")
class EDVR(MultiFrameModel):
    """The video restoration network of enhanced deformable convolutions (figure 2 of the paper).

    Features of all frames are aligned with the centre one on a pyramid (PCD), fused by attention (TSA), and
    enlarged by four; the result is added to the bilinearly enlarged centre frame. The defaults are EDVR-M.

    Args:
        num_features: channels, a multiple of `deform_groups`; 64 (M) or 128 (L).
        num_frames: frames of the window; 5 (REDS) or 7 (Vimeo-90K).
        deform_groups: groups of channels that share their offsets.
        num_extract_blocks: residual blocks before the alignment.
        num_reconstruct_blocks: residual blocks behind the fusion; 10 (M) or 40 (L).
        center_frame_idx: place of the output's frame in the window; None: the middle.
        hr_in: the input has the output's size, and is reduced to a quarter inside (deblurring); scale 1.
        with_predeblur: sharpen blurred frames before they are aligned.
        with_tsa: fuse by attention; otherwise by one convolution.
        num_upsample_features: channels after the second step of the upsampler; 64 in all published weights.
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, 0 and 1.

    Input: `lr`, float [0, 1], `[b, num_frames, h, w, num_channels]`, sides multiples of 4 (16 with `hr_in`).
    Output: `sr`, float32, about [0, 1], unclipped, `[b, 4 * h, 4 * w, num_channels]` (`[b, h, w, ...]` with
    `hr_in`).

    Raises:
        ValueError: the frames or groups do not fit, or a count is too small.

    Example:
        >>> model = EDVR()
        >>> model(np.zeros((1, 5, 24, 32, 3), "float32")).shape
        (1, 96, 128, 3)
    """

    PICTURES: ClassVar = UNIT_RANGE

    # Of the published networks: M and L for REDS, L for Vimeo-90K, for blurred clips, for deblurring, second stage.
    VARIANTS: ClassVar = {
        "medium": {},
        "large": {"num_features": 128, "num_reconstruct_blocks": 40},
        "large_vimeo": {"num_features": 128, "num_reconstruct_blocks": 40, "num_frames": 7},
        "large_blur": {"num_features": 128, "num_reconstruct_blocks": 40, "with_predeblur": True},
        "large_deblur": {
            "num_features": 128,
            "num_reconstruct_blocks": 40,
            "with_predeblur": True,
            "hr_in": True,
        },
        "large_second_stage": {"num_features": 128, "num_reconstruct_blocks": 20, "hr_in": True},
    }

    def __init__(
        self,
        num_features: int = 64,
        num_frames: int = 5,
        deform_groups: int = 8,
        num_extract_blocks: int = 5,
        num_reconstruct_blocks: int = 10,
        center_frame_idx: int | None = None,
        hr_in: bool = False,
        with_predeblur: bool = False,
        with_tsa: bool = True,
        num_upsample_features: int = 64,
        **kwargs: Unpack[Pictures],
    ) -> None:
        super().__init__(num_frames=num_frames, center_frame_idx=center_frame_idx, **kwargs)
        at_least(0, num_extract_blocks=num_extract_blocks, num_reconstruct_blocks=num_reconstruct_blocks)
        self.keep(locals())

        policy = self.dtype_policy

        def halving(name: str) -> HalvingConv:
            return HalvingConv(num_features, dtype=policy, name=name)

        def blocks(name: str, count: int) -> list[ResidualBlock]:
            return [ResidualBlock(num_features, dtype=policy, name=f"{name}{i}") for i in range(count)]

        if with_predeblur:
            self.predeblur = Predeblur(num_features, hr_in, dtype=policy, name="predeblur")
            self.mix = conv(num_features, "mix", policy, 1)
        else:
            self.head = conv(num_features, "head", policy)
            self.strides = [halving(name) for name in (("to_half", "to_quarter") if hr_in else ())]
        self.extract = blocks("extract", num_extract_blocks)
        self.to_l2, self.l2_conv = halving("to_l2"), conv(num_features, "l2_conv", policy)
        self.to_l3, self.l3_conv = halving("to_l3"), conv(num_features, "l3_conv", policy)
        self.align = PCDAlignment(num_features, deform_groups, dtype=policy, name="align")
        self.fusion = (
            TSAFusion(num_features, dtype=policy, name="fusion")
            if with_tsa
            else conv(num_features, "fusion", policy, 1)
        )
        self.reconstruct = blocks("reconstruct", num_reconstruct_blocks)
        self.up1 = conv(4 * num_features, "up1", policy)
        self.up2 = conv(4 * num_upsample_features, "up2", policy)
        self.hr_conv = conv(num_upsample_features, "hr_conv", policy)
        self.tail = conv(self.num_channels, "tail", policy)
        self.build((None, num_frames, None, None, self.num_channels))

    @classmethod
    def large(cls, **kwargs: Any) -> Self:
        """Build the paper's network, EDVR-L: 128 features and 40 reconstruction blocks."""
        return cls.variant("large", **kwargs)

    def build(self, shape: tuple[int | None, ...]) -> None:
        batch, frames, height, width, channels = shape
        features = (batch, height, width, self.num_features)
        upsampled = (batch, height, width, self.num_upsample_features)
        front = [self.predeblur, self.mix] if self.with_predeblur else [self.head, *self.strides]
        front[0].build((batch, height, width, channels))
        pyramid = (self.to_l2, self.l2_conv, self.to_l3, self.l3_conv)
        for layer in (*front[1:], *self.extract, *pyramid, self.align, *self.reconstruct, self.up1, self.up2):
            layer.build(features)
        if self.with_tsa:
            self.fusion.build((batch, frames, height, width, self.num_features))
        else:
            self.fusion.build((batch, height, width, self.num_frames * self.num_features))
        self.hr_conv.build(upsampled)
        self.tail.build(upsampled)
        self.built = True

    def encode(self, frames: Tensor) -> Features:
        l1 = self._extract(frames)
        l2 = lrelu(self.l2_conv(lrelu(self.to_l2(l1))))  # [n, h/2, w/2, f]
        l3 = lrelu(self.l3_conv(lrelu(self.to_l3(l2))))  # [n, h/4, w/4, f]

        half1, half2, half3 = self.align.halves((l1, l2, l3))
        frame = ops.cast(frames, "float32")
        return {
            "frame": frame,
            "l1": l1,
            "l2": l2,
            "l3": l3,
            "half1": half1,
            "half2": half2,
            "half3": half3,
        }

    def enlarge_alone(self, frames: Tensor) -> Tensor:
        """Enlarge frames each on its own: windows of one frame, repeated, whose alignment lets all pass as it is.

        Args:
            frames: `[b, h, w, c]`, float [0, 1].

        Returns:
            As `call`.
        """
        l1 = self._extract(frames)
        bias = self.align.levels[0].feat_conv.bias
        aligned = lrelu(l1 + ops.cast(bias, l1.dtype))[:, None]
        return self._reconstruct(
            self._fuse(ops.repeat(aligned, self.num_frames, axis=1)), ops.cast(frames, "float32")
        )

    def follow(self, frames: Tensor) -> Tensor:
        """Read from the alignment how the second of two frames has moved.

        Args:
            frames: `[b, 2, h, w, c]`, float [0, 1].

        Returns:
            As `PCDAlignment.motion`.
        """
        features = {name: split_frames(x, 2) for name, x in self.encode(join_frames(frames)).items()}
        return self.align.motion(
            [features[name] for name in ("l1", "l2", "l3")],
            [features[name] for name in ("half1", "half2", "half3")],
        )

    def decode(self, window: Features) -> Tensor:
        center = self.center_frame_idx
        pyramid = window["l1"], window["l2"], window["l3"]
        halves = window["half1"], window["half2"], window["half3"]
        aligned = self.align(pyramid, halves, center=center)  # [b, t, h, w, f]
        return self._reconstruct(self._fuse(aligned), window["frame"][:, center])

    def _fuse(self, aligned: Tensor) -> Tensor:
        """Make one of the aligned features of a window, `[b, t, h, w, f]` to `[b, h, w, f]`."""
        if self.with_tsa:
            return self.fusion(aligned, center=self.center_frame_idx)
        return self.fusion(ops.concatenate([aligned[:, i] for i in range(self.num_frames)], axis=-1))

    def _extract(self, frames: Tensor) -> Tensor:
        """Features of frames `[n, H, W, c]` on the finest level, `[n, h, w, f]`."""
        self.check_sides(frames)
        normalised = self.normalise(frames)  # [n, H, W, c]

        # Below, h and w are H and W, or a quarter of them with `hr_in`.
        if self.with_predeblur:
            l1 = self.mix(self.predeblur(normalised))  # [n, h, w, f]
        else:
            l1 = lrelu(self.head(normalised))  # [n, H, W, f]
            for layer in self.strides:
                l1 = lrelu(layer(l1))  # [n, h, w, f] at last
        for block in self.extract:
            l1 = block(l1)
        return l1

    def _reconstruct(self, deep: Tensor, frame: Tensor) -> Tensor:
        """Enlarge fused features `[b, h, w, f]` and add them to the centre frame, float32 `[b, H, W, c]`."""
        for block in self.reconstruct:
            deep = block(deep)
        deep = lrelu(pixel_shuffle(self.up1(deep), 2))  # [b, 2*h, 2*w, f]
        deep = lrelu(pixel_shuffle(self.up2(deep), 2))  # [b, 4*h, 4*w, num_upsample_features]
        residual = self.tail(lrelu(self.hr_conv(deep)))  # [b, 4*h, 4*w, c]

        base = self.normalise(frame)
        base = base if self.hr_in else enlarge_bilinear(base, 4)
        return self.denormalise(base + ops.cast(residual, "float32"))

    @property
    def scales(self) -> tuple[int, ...]:
        return (1,) if self.hr_in else (4,)

    @property
    def receptive_radius(self) -> None:
        return None  # offsets have no bound

    @property
    def frame_border(self) -> str:
        """As the authors test: circled for super-resolution, replicated for deblurring."""
        return "replicate" if self.hr_in or self.with_predeblur else "circle"

    @property
    def size_multiple(self) -> int:
        return 16 if self.hr_in else 4
