"""FlowVSR: a network for single pictures, and what the neighbouring frames add to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from isr.arguments import at_least
from isr.layers import OpticalFlow, ResidualBlock, confidence, conv, warp_blocks, warp_planes
from isr.layers.flow import add_up
from isr.models.base import (
    Features,
    MultiFrameModel,
    Step,
    SuperResolutionModel,
    join_frames,
    split_frames,
)
from isr.models.cascade import open_network
from isr.models.weights import weights_by_name
from isr.ops import Tensor, pixel_shuffle, pixel_unshuffle
from isr.spec import ModelSpec

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
        num_frames: frames that the fusion looks at.
        center_frame_idx: place of the output's frame among them; None: the middle.
        num_features: channels of the fusion.
        num_blocks: residual blocks of the fusion.
        flow_features: channels of the flow's network.
        flow_rounds: its corrections on every level from the coarsest to the finest, which has twice the sides of the
            input.
        freeze_base: leave the base's weights as they are in training.
        passes: how often the frames are fused. In all passes but the first, the neighbours are results of the pass
            before, so that a frame draws on `passes * (num_frames - 1) + 1` frames, the window; flow and centre frame
            remain those of the base.

    Input: `lr`, float [0, 1], `[b, passes * (num_frames - 1) + 1, h, w, num_channels]`.
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
        passes: int = 1,
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
        at_least(1, num_features=num_features, passes=passes)
        at_least(0, num_blocks=num_blocks)
        self.passes = passes
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
        window = self.spec.num_frames
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={1: window, -1: self.num_channels})
        self.build((None, window, None, None, self.num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        block = self.scale**2
        self.flow.build((None, None, None, 1))
        self.fuse.build((None, None, None, block + (self.num_frames - 1) * (block + 1)))
        for layer in (*self.blocks, self.last):
            layer.build((None, None, None, self.num_features))
        self.last.kernel.assign(ops.zeros(self.last.kernel.shape))
        self.built = True

    @property
    def frame_network(self) -> SuperResolutionModel:
        return self.enlarge

    def encode(self, frames: Tensor) -> Features:
        self.check_sides(frames)
        return self.observe(self.enlarge.at_scale(frames, self.scale))

    def observe(self, sr: Tensor) -> Features:
        sr = ops.cast(sr, "float32")
        mix = LUMA if self.num_channels == 3 else [1 / self.num_channels] * self.num_channels
        luma = ops.matmul(sr, ops.convert_to_tensor(mix, "float32")[:, None])
        guide = ops.matmul(pixel_unshuffle(luma, self.scale), averages_by_area(self.scale))
        return {"sr": sr, "luma": luma, "guide": pixel_shuffle(guide, FLOW_SIDE)}

    def decode(self, window: Features) -> Tensor:
        # For each pass, the places of the frames that it makes: the last makes one, of what those before it made.
        made = [[self.spec.center_frame]]
        while len(made) < self.passes:
            made.insert(0, sorted({i for place in made[0] for i in self._around(place)}))
        pairs = list(
            dict.fromkeys((place, i) for places in made for place in places for i in self._around(place))
        )
        flow, trust = self._follow(window["guide"], pairs)
        luma = [window["luma"][:, i] for i in range(self.spec.num_frames)]
        shown = dict(enumerate(luma))
        for places in made:
            # All frames of a pass as one batch.
            ways = [[(place, i) for i in self._around(place)] for place in places]
            neighbours = [ops.stack([shown[i] for _, i in some], axis=1) for some in ways]
            flows, trusts = (
                [ops.stack([found[:, pairs.index(way)] for way in some], axis=1) for some in ways]
                for found in (flow, trust)
            )
            batch = ([luma[place] for place in places], neighbours, flows, trusts)
            center, around, *motion = (join_frames(ops.stack(each, axis=1)) for each in batch)
            around = [around[:, i] for i in range(self.num_frames - 1)]
            residual = split_frames(self._fuse(center, around, *motion), len(places))
            shown = {place: luma[place] + residual[:, i] for i, place in enumerate(places)}
        return window["sr"][:, self.spec.center_frame] + residual[:, 0]

    def combine(self, frames: Sequence[Any], step: Step) -> Any:
        center = self.center_frame_idx

        def between(first: int, last: int) -> Any:
            return step(
                self.motion, *(frames[last - center : last] if self._even else [frames[first]]), frames[last]
            )

        def shown(place: int, passes: int) -> Any:
            if not passes:
                return frames[place]
            around = self._around(place)
            neighbours = [shown(i, passes - 1) for i in around]
            motions = [between(min(i, place), max(i, place)) for i in around]
            fuse = self.fuse_frames if passes == self.passes else self.refine_frame
            return step(fuse, frames[place], *neighbours, *motions)

        return shown(self.spec.center_frame, self.passes)

    def motion(self, *frames: Features) -> Features:
        """Find the flow between the last of some frames and those before it.

        Args:
            frames: n of them and the last, what `encode` gave for each, `[b, ...]`.

        Returns:
            "flow" from the last frame to every other, down and right in pixels of the input, `[b, n, h, w, 2]`;
            "trust", how far it can be trusted, 0 to 1, `[b, n, h, w, 1]`; "flow_back" and "trust_back": the way back.
        """
        last = len(frames) - 1
        guide = ops.stack([frame["guide"] for frame in frames], axis=1)
        flow, trust = self._follow(
            guide, [*((last, i) for i in range(last)), *((i, last) for i in range(last))]
        )
        return {
            "flow": flow[:, :last],
            "trust": trust[:, :last],
            "flow_back": flow[:, last:],
            "trust_back": trust[:, last:],
        }

    def fuse_frames(self, center: Features, *given: Features) -> Features:
        """Give as "sr" the result of a frame, of its neighbours, and of a motion for each of them, as in `combine`."""
        return {"sr": center["sr"] + self._add(center, *given)}

    def refine_frame(self, center: Features, *given: Features) -> Features:
        """Give as "luma" that of the result of a frame, of what `fuse_frames` takes."""
        return {"luma": center["luma"] + self._add(center, *given)}

    def _add(self, center: Features, *given: Features) -> Tensor:
        """Compute what neighbours add to a frame: `_fuse` of what `fuse_frames` takes."""
        count = self.num_frames - 1
        neighbours, motions = given[:count], given[count:]
        middle = self.center_frame_idx
        places = self._around(middle)
        flow, trust = (
            ops.stack(
                [
                    # Of frames before the centre one, which is the last then, and of frames behind it.
                    motion[name if i < middle else f"{name}_back"][
                        :, middle - abs(i - middle) if self._even else 0
                    ]
                    for i, motion in zip(places, motions, strict=True)
                ],
                axis=1,
            )
            for name in ("flow", "trust")
        )
        return self._fuse(center["luma"], [neighbour["luma"] for neighbour in neighbours], flow, trust)

    def _around(self, place: int) -> list[int]:
        """Number the neighbours of a frame of the window."""
        first = place - self.center_frame_idx
        return [i for i in range(first, first + self.num_frames) if i != place]

    @property
    def _even(self) -> bool:
        """Whether all motions that end at a frame serve windows alike, so that they are found in one go."""
        return 2 * self.center_frame_idx == self.num_frames - 1

    def refine(self, sr: Tensor) -> Tensor:
        """Compute the result of a window whose frames the base has enlarged already, `[b, t, s*h, s*w, c]`."""
        features = self.observe(join_frames(sr))
        return self.decode(
            {name: split_frames(value, self.spec.num_frames) for name, value in features.items()}
        )

    def follow(self, sr: Tensor) -> Tensor:
        """Compute the flow from the first to the second of two frames that the base has enlarged already.

        Args:
            sr: `[b, 2, s*h, s*w, c]`, float [0, 1].

        Returns:
            Down and right in pixels of the input, `[b, h, w, 2]`.
        """
        guide = split_frames(self.observe(join_frames(sr))["guide"], 2)
        return self.flow(guide[:, 0], guide[:, 1])

    def align(self, neighbours: Tensor, flow: Tensor) -> Tensor:
        """Move neighbours to where the centre frame has what they show.

        Args:
            neighbours: their luma as `encode` gave it, `[b, n, s*h, s*w, 1]`.
            flow: from the centre frame to each, in pixels of the input, `[b, n, h, w, 2]`.

        Returns:
            The luma, moved, as blocks of `pixel_unshuffle`, `[b, n, h, w, s*s]`.
        """
        moved = [
            warp_blocks(neighbours[:, i], self.scale * flow[:, i], self.scale)
            for i in range(neighbours.shape[1])
        ]
        return ops.stack(moved, axis=1)

    def _fuse(self, luma: Tensor, neighbours: Sequence[Tensor], flow: Tensor, trust: Tensor) -> Tensor:
        """Compute what the neighbours add to the centre frame.

        Args:
            luma: of the centre frame, `[b, s*h, s*w, 1]`.
            neighbours: the luma of each of them in order, `[b, s*h, s*w, 1]`.
            flow, trust: from the centre frame to each, `[b, t - 1, h, w, 2]` and `[b, t - 1, h, w, 1]`.

        Returns:
            Float32, `[b, s*h, s*w, 1]`.
        """
        block = pixel_unshuffle(luma, self.scale)  # [b, h, w, s*s]
        height, width = ops.shape(block)[1:3]
        # As planes, of which each sub-pixel has one: so that every product runs over whole planes.
        center = ops.transpose(ops.reshape(block, (-1, self.scale**2)))
        seen, surprises, changes = [2.0 * center - 1.0], [], []
        # One by one: what is computed of one neighbour fits into the processor's caches.
        for i, neighbour in enumerate(neighbours):
            trusted = ops.reshape(trust[:, i], (1, -1))
            moved = warp_planes(neighbour, self.scale * flow[:, i], self.scale)
            news = DIFFERENCE * trusted * (moved - center)
            seen += [news, trusted]
            surprises.append(ops.mean(ops.square(news), axis=0))
            changes.append(ops.square(neighbour - luma))
        # Of the frames as they are, too: a flow is hardly ever exactly 0, so moving makes news of a still picture.
        change = add_up(changes) / len(neighbours)
        unmoved = DIFFERENCE**2 * ops.average_pool(change, self.scale, self.scale)
        surprise = ops.reshape(add_up(surprises) / len(neighbours), (-1, height, width, 1))
        energy = ops.minimum(surprise, unmoved)
        planes = ops.cast(ops.concatenate(seen, axis=0), self.fuse.compute_dtype)
        x = self.fuse(ops.reshape(ops.transpose(planes), (-1, height, width, planes.shape[0])))
        for layer in self.blocks:
            x = layer(x)
        residual = RESIDUAL * ops.cast(self.last(x), "float32") * energy / (energy + NEWS)
        return pixel_shuffle(residual, self.scale)

    def _follow(self, guide: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Find the flow from one frame to another, and how far it can be trusted, for pairs of their places.

        Args:
            guide: of frames, as `encode` gave it, `[b, t, 2*h, 2*w, 1]`.
            pairs: from and to.

        Returns:
            `[b, len(pairs), h, w, 2]` and `[b, len(pairs), h, w, 1]`.
        """
        # Both directions of all as one batch.
        ways = list(dict.fromkeys([*pairs, *((end, start) for start, end in pairs)]))
        first, second = (
            join_frames(ops.stack([guide[:, way[end]] for way in ways], axis=1)) for end in (0, 1)
        )
        found = split_frames(self.flow(first, second), len(ways))
        there, back = (
            join_frames(ops.stack([found[:, ways.index(way)] for way in some], axis=1))
            for some in (pairs, [(end, start) for start, end in pairs])
        )
        count = len(pairs)
        return split_frames(there, count), split_frames(confidence(there, back), count)

    def named_weights(self) -> dict[str, keras.Variable]:
        """Name every variable by its path below the model; those of the base by `base/` and their path there."""
        base = {f"base/{name}": variable for name, variable in self.enlarge.named_weights().items()}
        inner = {id(variable) for variable in base.values()}
        own = weights_by_name(self).items()
        return {**base, **{name: variable for name, variable in own if id(variable) not in inner}}

    @property
    def spec(self) -> ModelSpec:
        return replace(
            super().spec,
            num_frames=self.passes * (self.num_frames - 1) + 1,
            center_frame=self.passes * self.center_frame_idx,
        )

    @property
    def receptive_radius(self) -> None:
        return None  # motion has no bound

    @property
    def size_multiple(self) -> int:
        return self.enlarge.size_multiple


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
