"""TDAN (Tian, Zhang, Fu, Xu: TDAN, Temporally Deformable Alignment Network for Video Super-Resolution, 2020)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Unpack

import keras
from keras import ops

from isr.arguments import ConfigFromArguments, at_least
from isr.layers import DeformableConv2D, PairConv, ResidualBlock, Upsampler, conv
from isr.models.base import UNIT_RANGE, Features, MultiFrameModel, Pictures, join_frames, split_frames
from isr.ops import Tensor


@keras.saving.register_keras_serializable(package="isr")
class Alignment(ConfigFromArguments, keras.layers.Layer):
    """Aligns the features of a neighbour with those of the centre frame (section 3.2 of the paper).

    Four deformable convolutions in a row, each with offsets from a convolution of what came before. The first two
    refine the feature that the third predicts its offsets from; the third samples the neighbour itself.

    Args:
        num_features: channels of the features.
        deform_groups: groups of channels that share their offsets.
        border: rule of the deformable convolutions beyond the picture, "v1" or "v2".
    """

    def __init__(self, num_features: int, deform_groups: int, border: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keep(locals())
        self.bottleneck = PairConv(num_features, dtype=self.dtype_policy, name="bottleneck")
        self.refine1, self.refine2, self.sample, self.polish = (
            DeformableConv2D(
                num_features,
                deform_groups=deform_groups,
                modulated=False,
                use_bias=False,
                border=border,
                dtype=self.dtype_policy,
                name=name,
            )
            for name in ("refine1", "refine2", "sample", "polish")
        )

    def build(self, shape: tuple[int | None, ...]) -> None:
        for layer in (self.bottleneck, self.refine1, self.refine2, self.sample, self.polish):
            layer.build(shape)
        self.built = True

    def call(self, neighbour: Tensor, guide: Tensor) -> Tensor:
        """Move neighbours to where the centre frame is.

        Args:
            neighbour: features of the neighbours, `[n, h, w, f]`.
            guide: `bottleneck` of the centre frame and each neighbour, `[n, h, w, f]`.
        """
        feature = self.refine1(guide)
        feature = self.refine2(feature)
        feature = self.sample(neighbour, feature)
        return self.polish(feature)


@keras.saving.register_keras_serializable(package="isr")
class TDAN(MultiFrameModel):
    """The temporally deformable alignment network (figure 2 of the paper).

    Every frame next to the centre one is aligned with it by deformable convolutions, all frames come back as
    pictures, and a residual network makes one large picture of them. Without optical flow; the defaults are the
    paper's network.

    Args:
        scale: 2, 3, 4 or 8; the paper has 4.
        num_features: channels of all convolutions, a multiple of `deform_groups`.
        num_frames: frames of the window.
        center_frame_idx: place of the output's frame in it; None: the middle.
        num_extract_blocks: residual blocks before the alignment.
        num_reconstruct_blocks: residual blocks behind it.
        deform_groups: groups of channels that share their offsets.
        border: "v1", the rule of the authors' operator, or "v2", that of today's (`docs/deformable.md`).
        num_channels, pixel_mean, pixel_range: of the pictures, as in `SuperResolutionModel`; here 3, 0.5 and 1.

    Input: `lr`, float [0, 1], `[b, num_frames, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`; with
    `return_aligned=True` a pair of it and the aligned frames, float32, of the shape of `lr`.

    Raises:
        ValueError: the scale or border is another, the frames do not fit, or a count is too small.

    Example:
        >>> model = TDAN()
        >>> model(np.zeros((1, 5, 24, 32, 3), "float32")).shape
        (1, 96, 128, 3)
    """

    PICTURES: ClassVar = {**UNIT_RANGE, "pixel_mean": 0.5}

    def __init__(
        self,
        scale: int = 4,
        num_features: int = 64,
        num_frames: int = 5,
        center_frame_idx: int | None = None,
        num_extract_blocks: int = 5,
        num_reconstruct_blocks: int = 10,
        deform_groups: int = 8,
        border: Literal["v1", "v2"] = "v1",
        **kwargs: Unpack[Pictures],
    ) -> None:
        super().__init__(num_frames=num_frames, center_frame_idx=center_frame_idx, **kwargs)
        at_least(0, num_extract_blocks=num_extract_blocks, num_reconstruct_blocks=num_reconstruct_blocks)
        self.keep(locals())

        policy = self.dtype_policy
        self.head = conv(num_features, "head", policy, activation="relu")
        self.extract = [
            ResidualBlock(num_features, dtype=policy, name=f"extract{i}") for i in range(num_extract_blocks)
        ]
        self.align = Alignment(num_features, deform_groups, border, dtype=policy, name="align")
        self.to_frame = conv(self.num_channels, "to_frame", policy)
        self.fuse = conv(num_features, "fuse", policy, activation="relu")
        self.reconstruct = [
            ResidualBlock(num_features, dtype=policy, name=f"reconstruct{i}")
            for i in range(num_reconstruct_blocks)
        ]
        self.upsampler = Upsampler(scale, num_features, dtype=policy, name="upsampler")
        self.tail = conv(self.num_channels, "tail", policy, use_bias=False)
        self.build((None, num_frames, None, None, self.num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        _, _, height, width, channels = shape
        features = (None, height, width, self.num_features)
        self.head.build((None, height, width, channels))
        for layer in (*self.extract, self.align, self.to_frame):
            layer.build(features)
        self.fuse.build((None, height, width, self.num_frames * self.num_channels))
        for layer in (*self.reconstruct, self.upsampler, self.tail):
            layer.build(features)
        self.built = True

    def call(self, lr: Tensor, return_aligned: bool = False) -> Tensor:
        return self.decode(self.encode_window(lr), return_aligned)

    def encode(self, frames: Tensor) -> Features:
        frames = self.normalise(frames)  # [n, h, w, c]
        features = self.head(frames)  # [n, h, w, f]
        for block in self.extract:
            features = block(features)
        return {"frame": frames, "features": features, "half": self.align.bottleneck.second(features)}

    def decode(self, window: Features, return_aligned: bool = False) -> Tensor:
        aligned = self._align(window)  # t times [b, h, w, c]

        deep = self.fuse(ops.concatenate(aligned, axis=-1))  # [b, h, w, f]
        for block in self.reconstruct:
            deep = block(deep)
        sr = self.denormalise(self.tail(self.upsampler(deep)))  # [b, s*h, s*w, c]
        return (sr, self.denormalise(ops.stack(aligned, axis=1))) if return_aligned else sr

    def _align(self, window: Features) -> list[Tensor]:
        """Give the frames of the window where the centre one is, which stays as it came."""
        center = self.center_frame_idx
        reference = self.align.bottleneck.first(window["features"][:, center])
        neighbours = self._without_center(window["features"])  # [b, t - 1, h, w, f]
        guides = self._without_center(window["half"]) + reference[:, None]
        features = self.align(join_frames(neighbours), join_frames(guides))
        moved = split_frames(ops.cast(self.to_frame(features), "float32"), self.num_frames - 1)
        frames = [moved[:, index] for index in range(self.num_frames - 1)]
        return [*frames[:center], window["frame"][:, center], *frames[center:]]

    def _without_center(self, x: Tensor) -> Tensor:
        center = self.center_frame_idx
        return ops.concatenate([x[:, :center], x[:, center + 1 :]], axis=1)

    @property
    def receptive_radius(self) -> None:
        return None  # offsets have no bound
