"""FlowVSR: a network for single pictures, and what the neighbouring frames add to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from isr.layers import OpticalFlow, ResidualBlock, confidence, conv, warp_blocks
from isr.models.base import Features, MultiFrameModel, SuperResolutionModel, join_frames, split_frames
from isr.models.cascade import open_network
from isr.models.weights import weights_by_name
from isr.ops import Tensor, pixel_shuffle, pixel_unshuffle

LUMA = (0.299, 0.587, 0.114)  # of RGB, BT.601
FLOW_SIDE = 2  # pixels of the flow's pictures to one of low resolution, in each direction
DIFFERENCE = 15.0  # what the differences of aligned frames are multiplied by: they are a few levels of 255
RESIDUAL = 0.1  # and what the network gives, for the same reason
# Mean square of such differences at which half of the network's result counts.
NEWS = (DIFFERENCE * 0.5 / 255) ** 2


@keras.saving.register_keras_serializable(package="isr")
class FlowVSR(MultiFrameModel):
    """Video super-resolution by optical flow, at the resolution of the result.

    As in VESPCN (Caballero et al. 2017) the neighbours are aligned with the centre frame by optical flow, and a small
    network fuses them; as in SOF-VSR (Wang et al. 2018) flow and alignment have high resolution, and as in both only
    the luma takes part. Here the frames are enlarged first, by any network for single pictures. The fusion is added to
    its result and begins at zero, so an untrained network gives exactly what the base gives. So does a trained one
    where the neighbours show nothing new, or cannot be trusted.

    Args:
        base: the network that enlarges every frame, of one scale from 2 on: a description `{"model": class,
            "arguments": {...}}` as in a preset's `config.json`, a network, or a preset's name or folder. Networks and
            presets are copied with their weights, descriptions start at random.
        num_frames: frames of the window.
        center_frame_idx: place of the output's frame in it; None: the middle.
        num_features: channels of the fusion.
        num_blocks: residual blocks of the fusion.
        flow_features: channels of the flow's network.
        flow_rounds: its corrections on every level from the coarsest to the finest, which has twice the sides of the
            input.
        freeze_base: leave the base's weights as they are in training.

    Input: `lr`, float [0, 1], `[b, num_frames, h, w, num_channels]`.
    Output: `sr`, float32, about [0, 1], unclipped, `[b, scale * h, scale * w, num_channels]`.

    Raises:
        ValueError: the base takes several frames or does not enlarge, the frames do not fit, or a count is too small.

    Example:
        >>> model = FlowVSR("edsr_fast_x2", num_frames=3)
        >>> model(np.zeros((1, 3, 24, 32, 3), "float32")).shape
        (1, 48, 64, 3)
    """

    def __init__(
        self,
        base: SuperResolutionModel | Mapping[str, Any] | str = "edsr_baseline_x4",
        num_frames: int = 5,
        center_frame_idx: int | None = None,
        num_features: int = 32,
        num_blocks: int = 2,
        flow_features: int = 24,
        flow_rounds: Sequence[int] = (1, 1, 1, 1, 1),
        freeze_base: bool = True,
        **kwargs: Any,
    ) -> None:
        opened = open_network(base)
        if opened.spec.num_frames > 1:
            raise ValueError(f"base: {type(opened).__name__} takes several frames")
        if opened.scales[0] < 2:
            raise ValueError(f"base: {type(opened).__name__} of scale {opened.scales[0]} does not enlarge")
        super().__init__(
            num_frames=num_frames,
            center_frame_idx=center_frame_idx,
            num_channels=opened.num_channels,
            pixel_mean=0.0,
            pixel_range=1.0,
            **kwargs,
        )
        if num_features < 1 or num_blocks < 0:
            raise ValueError(
                f"num_features={num_features}, num_blocks={num_blocks}: at least 1 and at least 0 are needed"
            )
        self.base = (
            dict(base)
            if isinstance(base, Mapping)
            else {"model": type(opened).__name__, "arguments": opened.preset_arguments()}
        )
        self.num_features = num_features
        self.num_blocks = num_blocks
        self.flow_features = flow_features
        self.flow_rounds = list(flow_rounds)  # as JSON has it
        self.freeze_base = freeze_base
        self.scale = opened.scales[0]
        self.base_has_weights = not isinstance(base, Mapping)  # of its own, which a start leaves alone

        policy = self.dtype_policy
        self.enlarge = type(opened)(**opened.preset_arguments(), dtype=policy, name="base")
        self.enlarge.set_weights(opened.get_weights())
        self.enlarge.trainable = not freeze_base
        self.flow = OpticalFlow(flow_features, flow_rounds, dtype=policy, name="flow")
        self.fuse = conv(num_features, "fuse", policy, activation="relu")
        self.blocks = [ResidualBlock(num_features, dtype=policy, name=f"block{i}") for i in range(num_blocks)]
        self.last = conv(self.scale**2, "last", policy)
        self.build((None, num_frames, None, None, self.num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        block = self.scale**2
        self.flow.build((None, None, None, 1))
        self.fuse.build((None, None, None, block + (self.num_frames - 1) * (block + 1)))
        for layer in (*self.blocks, self.last):
            layer.build((None, None, None, self.num_features))
        self.last.kernel.assign(ops.zeros(self.last.kernel.shape))
        self.built = True

    def encode(self, frames: Tensor) -> Features:
        self.check_sides(frames)
        return self.observe(self.enlarge.at_scale(frames, self.scale))

    def observe(self, sr: Tensor) -> Features:
        """Compute what `encode` gives, of frames that the base has enlarged already, `[n, s*h, s*w, c]`."""
        sr = ops.cast(sr, "float32")
        mix = LUMA if self.num_channels == 3 else [1 / self.num_channels] * self.num_channels
        luma = ops.matmul(sr, ops.convert_to_tensor(mix, "float32")[:, None])
        guide = ops.matmul(pixel_unshuffle(luma, self.scale), averages_by_area(self.scale))
        return {"sr": sr, "luma": luma, "guide": pixel_shuffle(guide, FLOW_SIDE)}

    def decode(self, window: Features) -> Tensor:
        center = self.center_frame_idx
        moved, trust = self.align(window)  # [b, t - 1, h, w, s*s] and [b, t - 1, h, w, 1]
        block = pixel_unshuffle(window["luma"][:, center], self.scale)  # [b, h, w, s*s]
        news = DIFFERENCE * trust * (moved - block[:, None])
        unmoved = self._split(pixel_unshuffle(join_frames(self._without_center(window["luma"])), self.scale))
        # Of the frames as they are, too: a flow is hardly ever exactly 0, so moving makes news of a still picture.
        energy = ops.minimum(mean_square(news), mean_square(DIFFERENCE * (unmoved - block[:, None])))
        seen = [2.0 * block - 1.0]
        for i in range(self.num_frames - 1):
            seen += [news[:, i], trust[:, i]]
        x = self.fuse(ops.concatenate(seen, axis=-1))
        for layer in self.blocks:
            x = layer(x)
        residual = RESIDUAL * ops.cast(self.last(x), "float32") * energy / (energy + NEWS)
        return window["sr"][:, center] + pixel_shuffle(residual, self.scale)

    def refine(self, sr: Tensor) -> Tensor:
        """Compute the result of a window whose frames the base has enlarged already, `[b, t, s*h, s*w, c]`."""
        features = self.observe(join_frames(sr))
        return self.decode({name: split_frames(value, self.num_frames) for name, value in features.items()})

    def follow(self, sr: Tensor) -> Tensor:
        """Compute the flow from the first to the second of two frames that the base has enlarged already.

        Args:
            sr: `[b, 2, s*h, s*w, c]`, float [0, 1].

        Returns:
            Down and right in pixels of the input, `[b, h, w, 2]`.
        """
        guide = split_frames(self.observe(join_frames(sr))["guide"], 2)
        return self.flow(guide[:, 0], guide[:, 1])

    def align(self, window: Features) -> tuple[Tensor, Tensor]:
        """Move the neighbours to where the centre frame has what they show.

        Args:
            window: what `encode` gave for t frames, `[b, t, ...]`.

        Returns:
            The luma of the enlarged neighbours in order, moved, as blocks of `pixel_unshuffle`, `[b, t - 1, h, w,
            s*s]`; and how far each can be trusted, `[b, t - 1, h, w, 1]`, 0 to 1.
        """
        there, trust = self.motion(window["guide"])
        neighbours = join_frames(self._without_center(window["luma"]))
        moved = warp_blocks(neighbours, self.scale * join_frames(there), self.scale)
        return self._split(moved), trust

    def motion(self, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Find the flow from the centre frame to its neighbours.

        Args:
            guide: of the window's frames, as `encode` gave it, `[b, t, 2*h, 2*w, 1]`.

        Returns:
            Flow down and right in pixels of the input, `[b, t - 1, h, w, 2]`, and how far it can be trusted, 0 to 1,
            `[b, t - 1, h, w, 1]`.
        """
        neighbours = self._without_center(guide)
        center = guide[:, self.center_frame_idx : self.center_frame_idx + 1]
        center = join_frames(ops.broadcast_to(center, ops.shape(neighbours)))
        neighbours = join_frames(neighbours)
        # Both directions as one batch.
        both = self.flow(
            ops.concatenate([center, neighbours], axis=0), ops.concatenate([neighbours, center], axis=0)
        )
        count = ops.shape(center)[0]
        there, back = both[:count], both[count:]
        return self._split(there), self._split(confidence(there, back))

    def _without_center(self, x: Tensor) -> Tensor:
        center = self.center_frame_idx
        return ops.concatenate([x[:, :center], x[:, center + 1 :]], axis=1)

    def _split(self, x: Tensor) -> Tensor:
        """Turn `[b * (t - 1), ...]` into `[b, t - 1, ...]`."""
        return ops.reshape(x, (-1, self.num_frames - 1, *ops.shape(x)[1:]))

    def named_weights(self) -> dict[str, keras.Variable]:
        """Name every variable by its path below the model; those of the base by `base/` and their path there."""
        base = {f"base/{name}": variable for name, variable in self.enlarge.named_weights().items()}
        inner = {id(variable) for variable in base.values()}
        own = weights_by_name(self).items()
        return {**base, **{name: variable for name, variable in own if id(variable) not in inner}}

    @property
    def receptive_radius(self) -> None:
        return None  # motion has no bound

    @property
    def size_multiple(self) -> int:
        return self.enlarge.size_multiple


def mean_square(differences: Tensor) -> Tensor:
    """Average the squares over neighbours and the pixels of a block: `[b, t - 1, h, w, n]` to `[b, h, w, 1]`."""
    return ops.mean(ops.square(differences), axis=(1, 4))[..., None]


def averages_by_area(scale: int) -> np.ndarray:
    """Make the weights that turn the enlarged luma into the flow's pictures, block by block.

    Returns:
        `[scale**2, FLOW_SIDE**2]`: averages by area of the pixels of a block of `pixel_unshuffle`, in the order of
        `pixel_shuffle`.
    """
    edges = np.arange(scale + 1) * FLOW_SIDE / scale
    cells = np.arange(FLOW_SIDE)[:, None]
    # How much of each cell every row of pixels covers.
    share = np.clip(np.minimum(edges[1:], cells + 1) - np.maximum(edges[:-1], cells), 0, None)
    weights = np.einsum("ip,jq->pqij", share, share)
    return weights.reshape(scale**2, FLOW_SIDE**2).astype(np.float32)
