"""Optical flow as a layer: a small network that warps and corrects, from coarse to fine, and what a flow is used for.

The scheme is that of SPyNet (Ranjan and Black 2017, section 3). There every level has a network of its own; here one
serves them all, since what it sees is normalised by the picture's own gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from isr.arguments import ConfigFromArguments
from isr.layers.blocks import conv
from isr.ops import Tensor, enlarge_bilinear

WINDOW = 9  # pixels on each side over which the mean gradient is taken
FAINT = 1 / 255  # the least mean gradient: flatter parts count as flat, not as noise to be followed
LARGEST = 4.0  # of the network's inputs, and their least with the other sign
STEP = 2.0  # pixels of its level that one correction moves a pixel at most
TOLERANCE = 0.5, 0.05  # pixels by which there and back may differ, and their share of the flow's length


@keras.saving.register_keras_serializable(package="isr")
class OpticalFlow(ConfigFromArguments, layers.Layer):
    """The motion from one picture to another, for every pixel.

    The flow of the coarsest level starts at zero. On each level the second picture is warped by the flow so far, and
    a network corrects what is left, as often as `rounds` says; the enlarged flow goes on to the next finer level.

    Args:
        num_features: channels of the network's four hidden convolutions.
        rounds: corrections on each level from the coarsest to the finest, each of twice the sides of the one before.
    """

    def __init__(
        self, num_features: int = 24, rounds: Sequence[int] = (1, 1, 1, 1, 2, 1), **kwargs: Any
    ) -> None:
        # Without autocast the pictures keep their float32: motion is a matter of small differences.
        super().__init__(**{"autocast": False, **kwargs})
        if num_features < 1:
            raise ValueError(f"num_features={num_features}: at least one is needed")
        if not rounds or min(rounds) < 0 or max(rounds) == 0:
            raise ValueError(f"rounds={tuple(rounds)}: a count for every level, not under 0 and not all 0")
        self.num_features = num_features
        self.rounds = tuple(rounds)
        policy = self.dtype_policy
        self.convs = [
            conv(num_features, f"conv{i}", policy, kernel_size=3 if i else 5, activation="relu")
            for i in range(4)
        ]
        self.correct = conv(2, "correct", policy)

    def build(self, shape: tuple[int | None, ...]) -> None:
        features = (*shape[:-1], self.num_features)
        for index, layer in enumerate((*self.convs, self.correct)):
            layer.build(features if index else (*shape[:-1], 6))
        self.built = True

    def call(self, first: Tensor, second: Tensor) -> Tensor:
        """Find where each pixel of the first picture is in the second.

        Args:
            first, second: luma, float32 [0, 1], `[n, h, w, 1]`.

        Returns:
            `flow`, float32, `[n, h, w, 2]`, down and right in pixels: what `first` shows at row y and column x,
            `second` shows at `y + flow[..., 0]` and `x + flow[..., 1]`.
        """
        pyramid = [(first, second)]
        for _ in self.rounds[1:]:
            first, second = halve(first), halve(second)
            pyramid.append((first, second))
        flow = ops.zeros_like(ops.concatenate(pyramid[-1], axis=-1))
        for level, (count, (first, second)) in enumerate(zip(self.rounds, reversed(pyramid), strict=True)):
            if level:
                height, width = ops.shape(first)[1:3]
                flow = 2 * enlarge_bilinear(flow, 2)[:, :height, :width]
            for _ in range(count):
                flow = flow + self._correction(first, warp(second, flow))
        return flow

    def _correction(self, first: Tensor, warped: Tensor) -> Tensor:
        x = observations(first, warped)
        for layer in self.convs:
            x = layer(x)
        return STEP * ops.tanh(ops.cast(self.correct(x), "float32"))

    def compute_output_shape(self, first: Any, second: Any) -> tuple[int | None, ...]:
        return (*first[:-1], 2)


def observations(first: Tensor, second: Tensor) -> Tensor:
    """Compute what the network sees of two pictures that nearly match, `[n, h, w, 6]`.

    With d the difference, m the mean picture, and g its root mean square gradient nearby: d, the two gradients and m
    over g, and the two products from which the least-squares motion is made (Lucas and Kanade 1981), over g^2.
    """
    mean, difference = (first + second) / 2, second - first
    right, down = gradient(mean, axis=2), gradient(mean, axis=1)
    strength = ops.sqrt(box(right * right + down * down)) + FAINT
    difference, right, down = difference / strength, right / strength, down / strength
    texture = (mean - box(mean)) / strength / 2
    seen = [difference, right, down, texture, difference * right, difference * down]
    return ops.clip(ops.concatenate(seen, axis=-1), -LARGEST, LARGEST)


def gradient(x: Tensor, axis: int) -> Tensor:
    """Take central differences of `[n, h, w, c]` along rows (axis 1) or columns (axis 2), edges repeated."""
    if axis == 1:
        padded = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        return (padded[:, 2:] - padded[:, :-2]) / 2
    padded = ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)
    return (padded[:, :, 2:] - padded[:, :, :-2]) / 2


def box(x: Tensor) -> Tensor:
    """Average over the pixels nearby, as far as there are any."""
    rows = ops.average_pool(x, (WINDOW, 1), (1, 1), padding="same")  # the pixels beyond the edge do not count
    return ops.average_pool(rows, (1, WINDOW), (1, 1), padding="same")


def halve(x: Tensor) -> Tensor:
    """Average every 2x2 pixels, `[n, ceil(h / 2), ceil(w / 2), c]`."""
    return ops.average_pool(x, 2, 2, padding="same")


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Look at a picture through a flow, by bilinear interpolation, edges repeated.

    Args:
        image: `[n, h, w, c]`, float32.
        flow: down and right in pixels, `[n, h, w, 2]`.

    Returns:
        `[n, h, w, c]`: `image` at row `y + flow[..., 0]` and column `x + flow[..., 1]`.
    """
    count, height, width, channels = ops.shape(image)
    rows, columns = places(flow, (height, width))
    bottom, end = ops.cast(height, "float32") - 1, ops.cast(width, "float32") - 1
    rows, columns = ops.clip(rows, 0.0, bottom), ops.clip(columns, 0.0, end)
    # The last pixel is the upper left one of a square beyond the edge, which is looked up in the repeated row.
    top, left = ops.floor(rows), ops.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    padded = ops.concatenate([image, image[:, -1:]], axis=1)
    pairs = ops.concatenate([padded, ops.concatenate([padded[:, :, 1:], padded[:, :, -1:]], axis=2)], axis=-1)
    table = ops.reshape(pairs, (-1, 2 * channels))
    picture = ops.reshape(ops.arange(count, dtype="int32"), (-1, 1, 1))
    index = (picture * (height + 1) + ops.cast(top, "int32")) * width + ops.cast(left, "int32")
    upper, lower = ops.take(table, index, axis=0), ops.take(table, index + width, axis=0)
    both = upper + down * (lower - upper)
    return both[..., :channels] + right * (both[..., channels:] - both[..., :channels])


def warp_blocks(image: Tensor, flow: Tensor, side: int) -> Tensor:
    """Look at a picture through a flow that is the same for all pixels of a block, by bicubic interpolation.

    Between the blocks of a pixel of low resolution the flow hardly changes, and moved as one, they cost a fifth of
    moving every pixel by itself. Edges are repeated.

    Args:
        image: `[n, side * h, side * w, c]`, float32.
        flow: down and right in pixels of `image`, of every block, `[n, h, w, 2]`.
        side: of a block.

    Returns:
        `[n, h, w, side**2 * c]`, in the order of `pixel_unshuffle`.
    """
    count, rows, columns, channels = ops.shape(image)
    height, width = ops.shape(flow)[1:3]
    reach = side + 3  # pixels that a block of bicubic samples looks at in each direction
    whole = ops.floor(flow)
    weights = cubic_weights(flow - whole)  # [n, h, w, 2, 4]
    # Runs of so many neighbouring pixels; what lies beyond the edge is looked up in its repetition.
    edges = [ops.repeat(edge, reach, axis=2) for edge in (image[:, :, :1], image[:, :, -1:])]
    padded = ops.concatenate([edges[0], image, edges[1]], axis=2)
    starts = columns + reach + 1  # of runs in a row
    runs = ops.concatenate([padded[:, :, i : i + starts] for i in range(reach)], axis=-1)
    table = ops.reshape(runs, (-1, reach * channels))

    row = side * ops.arange(height, dtype="int32")[:, None] + ops.cast(whole[..., 0], "int32") - 1
    row = ops.clip(row[..., None] + ops.arange(reach, dtype="int32"), 0, rows - 1)  # [n, h, w, reach]
    column = side * ops.arange(width, dtype="int32") + ops.cast(whole[..., 1], "int32") - 1
    column = ops.clip(column + reach, 0, starts - 1)[..., None]
    picture = ops.reshape(ops.arange(count, dtype="int32"), (-1, 1, 1, 1))
    seen = ops.take(table, (picture * rows + row) * starts + column, axis=0)  # [n, h, w, reach, reach * c]

    down, right = weights[..., 0, :, None, None], weights[..., 1, :, None, None]
    seen = sum(right[..., i, :, :] * seen[..., i * channels : (i + side) * channels] for i in range(4))
    seen = sum(down[..., i, :, :] * seen[..., i : i + side, :] for i in range(4))
    return ops.reshape(seen, (-1, height, width, side * side * channels))


def cubic_weights(fraction: Tensor) -> Tensor:
    """Weigh the pixels at -1, 0, 1 and 2 for a place between 0 and 1 (Keys 1981, a = -1/2): `[..., 4]`."""
    t = fraction
    before = t * (-0.5 + t * (1.0 - 0.5 * t))
    first = 1.0 + t * t * (1.5 * t - 2.5)
    second = t * (0.5 + t * (2.0 - 1.5 * t))
    behind = t * t * (0.5 * t - 0.5)
    return ops.stack([before, first, second, behind], axis=-1)


def places(flow: Tensor, size: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
    """Find row and column, `[n, h, w]`, at which a flow looks."""
    height, width = size
    rows = ops.cast(ops.arange(height), "float32")[:, None] + flow[..., 0]
    columns = ops.cast(ops.arange(width), "float32") + flow[..., 1]
    return rows, columns


def confidence(there: Tensor, back: Tensor) -> Tensor:
    """Measure how far a flow can be trusted: 1 where the flow back leads home, 0 where it does not.

    Args:
        there: flow from the first to the second picture, `[n, h, w, 2]`, in pixels.
        back: flow from the second to the first.

    Returns:
        `[n, h, w, 1]`: 1 at no difference, 0.37 where it is `TOLERANCE`, falling steeply there; 0 where the flow
        leads out of the picture.
    """
    height, width = ops.shape(there)[1:3]
    missed = there + warp(back, there)
    allowed, share = TOLERANCE
    excess = ops.sum(missed * missed, axis=-1, keepdims=True) / ops.square(
        allowed + share * ops.sqrt(ops.sum(there * there, axis=-1, keepdims=True) + 1e-12)
    )
    rows, columns = places(there, (height, width))
    bottom, end = ops.cast(height, "float32") - 0.5, ops.cast(width, "float32") - 0.5
    inside = (rows > -0.5) & (rows < bottom) & (columns > -0.5) & (columns < end)
    return ops.where(inside[..., None], ops.exp(-excess * excess), 0.0)
