"""Optical flow as a layer: a small network that warps and corrects, from coarse to fine, and what a flow is used for.

The scheme is that of SPyNet (Ranjan and Black 2017, section 3). There every level has a network of its own; here one
serves them all, since what it sees is normalised by the picture's own gradients. And here all pixels of a block of 2x2
move together: the network sees every pixel, and computes for a quarter of them.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from isr.arguments import ConfigFromArguments, at_least
from isr.layers.blocks import conv
from isr.ops import Tensor, enlarge_bilinear, pixel_shuffle, pixel_unshuffle, take_rows

BLOCK = 2  # pixels of the pictures to one of the flow, in each direction
WINDOW = 5  # blocks on each side over which the mean gradient is taken
FAINT = 1 / 255  # the least mean gradient: flatter parts count as flat, not as noise to be followed
LARGEST = 4.0  # of the network's inputs, and their least with the other sign
STEP = 2.0  # blocks of its level that one correction moves a block at most
TOLERANCE = 0.25, 0.05  # pixels by which there and back may differ, and their share of the flow's length


@keras.saving.register_keras_serializable(package="isr")
class OpticalFlow(ConfigFromArguments, layers.Layer):
    """The motion from one picture to another, for every block of 2x2 pixels.

    The flow of the coarsest level starts at zero. On each level the second picture is warped by the flow so far, and
    a network corrects what is left, as often as `rounds` says; the enlarged flow goes on to the next finer level.

    Args:
        num_features: channels of the network's four hidden convolutions.
        rounds: corrections on each level from the coarsest to the finest, each of twice the sides of the one before.
    """

    def __init__(
        self, num_features: int = 24, rounds: Sequence[int] = (1, 1, 1, 1, 1), **kwargs: Any
    ) -> None:
        # Without autocast the pictures keep their float32: motion is a matter of small differences.
        super().__init__(**{"autocast": False, **kwargs})
        at_least(1, num_features=num_features)
        if not rounds or min(rounds) < 0 or max(rounds) == 0:
            raise ValueError(f"rounds={tuple(rounds)}: a count for every level, not under 0 and not all 0")
        self.num_features = num_features
        self.rounds = tuple(rounds)
        policy = self.dtype_policy
        self.convs = [conv(num_features, f"conv{i}", policy, activation="relu") for i in range(4)]
        self.correct = conv(2, "correct", policy)

    def build(self, shape: tuple[int | None, ...]) -> None:
        features = (*shape[:-1], self.num_features)
        for index, layer in enumerate((*self.convs, self.correct)):
            layer.build(features if index else (*shape[:-1], OBSERVATIONS))
        self.built = True

    def call(self, first: Tensor, second: Tensor) -> Tensor:
        """Find where each block of the first picture is in the second.

        Args:
            first, second: luma, float32 [0, 1], `[n, 2 * h, 2 * w, 1]`.

        Returns:
            `flow`, float32, `[n, h, w, 2]`, down and right in blocks: what `first` shows in block y, x, `second` shows
            `flow[..., 0]` blocks below and `flow[..., 1]` to the right.
        """
        pyramid = [(first, second)]
        for _ in self.rounds[1:]:
            first, second = (even(halve(picture)) for picture in (first, second))
            pyramid.append((first, second))
        flow = ops.zeros_like(halve(ops.concatenate(pyramid[-1], axis=-1)))
        for level, (count, (first, second)) in enumerate(zip(self.rounds, reversed(pyramid), strict=True)):
            if level:
                height, width = ops.shape(first)[1:3]
                flow = 2 * enlarge_bilinear(flow, 2)[:, : height // BLOCK, : width // BLOCK]
            for _ in range(count):
                flow = flow + self._correction(first, second, flow)
        return flow

    def _correction(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        warped = warp_blocks(second, BLOCK * flow, BLOCK, linear_weights)
        x = observations(first, pixel_shuffle(warped, BLOCK))
        for layer in self.convs:
            x = layer(x)
        return STEP * ops.tanh(ops.cast(self.correct(x), "float32"))

    def compute_output_shape(self, first: Any, second: Any) -> tuple[int | None, ...]:
        sides = (side if side is None else side // BLOCK for side in first[1:3])
        return (first[0], *sides, 2)


OBSERVATIONS = 5 + 2 * BLOCK**2


def observations(first: Tensor, second: Tensor) -> Tensor:
    """Compute what the network sees of two pictures that nearly match, `[n, 2 * h, 2 * w, 1]`: `[n, h, w, 13]`.

    With d the difference, m the mean picture, and g its root mean square gradient nearby: the five products from which
    the least-squares motion of a block is made (Lucas and Kanade 1981), over g^2; and every pixel of d and m, over g.
    """
    mean = (first + second) / 2
    pictures = (second - first, mean, gradient(mean, axis=1), gradient(mean, axis=2))
    difference, mean, down, right = (pixel_unshuffle(picture, BLOCK) for picture in pictures)
    products = [difference * down, difference * right, down * down, down * right, right * right]
    products = ops.matmul(ops.concatenate(products, axis=-1), averages_of_blocks(len(products)))
    strength = ops.sqrt(box(products[..., 2:3] + products[..., 4:5])) + FAINT
    texture = (mean - box(ops.matmul(mean, averages_of_blocks(1)))) / strength / 2
    seen = [products / ops.square(strength), difference / strength, texture]
    return ops.clip(ops.concatenate(seen, axis=-1), -LARGEST, LARGEST)


def averages_of_blocks(count: int) -> np.ndarray:
    """Make the weights that turn `count` pictures as blocks into their means, `[count * 4, count]`."""
    return np.kron(np.eye(count), np.full((BLOCK**2, 1), BLOCK**-2)).astype(np.float32)


def gradient(x: Tensor, axis: int) -> Tensor:
    """Take central differences of `[n, h, w, c]` along rows (axis 1) or columns (axis 2), edges repeated."""
    if axis == 1:
        padded = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
        return (padded[:, 2:] - padded[:, :-2]) / 2
    padded = ops.concatenate([x[:, :, :1], x, x[:, :, -1:]], axis=2)
    return (padded[:, :, 2:] - padded[:, :, :-2]) / 2


def box(x: Tensor) -> Tensor:
    """Average over the neighbours in a square of `WINDOW`, as far as there are any."""
    rows = ops.average_pool(x, (WINDOW, 1), (1, 1), padding="same")  # the pixels beyond the edge do not count
    return ops.average_pool(rows, (1, WINDOW), (1, 1), padding="same")


def halve(x: Tensor) -> Tensor:
    """Average every 2x2 pixels, `[n, ceil(h / 2), ceil(w / 2), c]`."""
    return ops.average_pool(x, 2, 2, padding="same")


def even(x: Tensor) -> Tensor:
    """Repeat the last row and column of `[n, h, w, c]` where they are the first of a block."""
    height, width = ops.shape(x)[1:3]
    x = ops.concatenate([x, x[:, -1:]], axis=1)[:, : height + height % BLOCK]
    return ops.concatenate([x, x[:, :, -1:]], axis=2)[:, :, : width + width % BLOCK]


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
    upper, lower = take_rows(table, index), take_rows(table, index + width)
    both = upper + down * (lower - upper)
    return both[..., :channels] + right * (both[..., channels:] - both[..., :channels])


def linear_weights(fraction: Tensor) -> Tensor:
    """Weigh the pixels at 0 and 1 for a place between them: `[..., 2]`."""
    return ops.stack([1.0 - fraction, fraction], axis=-1)


def cubic_weights(fraction: Tensor) -> Tensor:
    """Weigh the pixels at -1, 0, 1 and 2 for a place between 0 and 1 (Keys 1981, a = -1/2): `[..., 4]`."""
    t = fraction
    before = t * (-0.5 + t * (1.0 - 0.5 * t))
    first = 1.0 + t * t * (1.5 * t - 2.5)
    second = t * (0.5 + t * (2.0 - 1.5 * t))
    behind = t * t * (0.5 * t - 0.5)
    return ops.stack([before, first, second, behind], axis=-1)


def warp_blocks(
    image: Tensor, flow: Tensor, side: int, weigh: Callable[[Tensor], Tensor] = cubic_weights
) -> Tensor:
    """Look at a picture through a flow that is the same for all pixels of a block.

    Between the blocks of a pixel of low resolution the flow hardly changes, and moved as one, they cost a fifth of
    moving every pixel by itself. Edges are repeated.

    Args:
        image: `[n, side * h, side * w, 1]`, float32.
        flow: down and right in pixels of `image`, of every block, `[n, h, w, 2]`.
        side: of a block.
        weigh: the interpolation, `cubic_weights` or `linear_weights`.

    Returns:
        `[n, h, w, side**2]`, in the order of `pixel_unshuffle`.
    """
    height, width = ops.shape(flow)[1:3]
    planes = warp_planes(image, flow, side, weigh)
    return ops.reshape(ops.transpose(planes), (-1, height, width, side * side))


def warp_planes(
    image: Tensor, flow: Tensor, side: int, weigh: Callable[[Tensor], Tensor] = cubic_weights
) -> Tensor:
    """Do the same as `warp_blocks`, but return `[side**2, n * h * w]`: planes, which are fast to compute with."""
    count, rows, columns, _ = ops.shape(image)
    height, width = ops.shape(flow)[1:3]
    whole = ops.floor(flow)
    weights = weigh(flow - whole)  # [n, h, w, 2, taps]
    taps = weights.shape[-1]
    reach = side + taps - 1  # pixels that a block looks at in each direction
    # The blocks stand last, so that every product below runs over all of them at once.
    weights = ops.reshape(ops.transpose(weights, (3, 4, 0, 1, 2)), (2, taps, -1))
    steps = ops.arange(reach, dtype="int32")[:, None, None, None] - (taps // 2 - 1)
    row = side * ops.arange(height, dtype="int32")[:, None] + ops.cast(whole[..., 0], "int32") + steps
    column = side * ops.arange(width, dtype="int32") + ops.cast(whole[..., 1], "int32") + steps
    row, column = ops.clip(row, 0, rows - 1), ops.clip(column, 0, columns - 1)  # [reach, n, h, w]
    row = row + rows * ops.reshape(ops.arange(count, dtype="int32"), (-1, 1, 1))
    index = ops.reshape(row * columns, (reach, 1, -1)) + ops.reshape(column, (1, reach, -1))
    seen = take_rows(ops.reshape(image, (-1,)), index)

    down, right = weights[0], weights[1]
    seen = add_up(down[i] * seen[i : i + side] for i in range(taps))
    seen = add_up(right[i] * seen[:, i : i + side] for i in range(taps))
    return ops.reshape(seen, (side * side, -1))


def add_up(tensors: Iterable[Tensor]) -> Tensor:
    """Add tensors; unlike `sum`, nothing to a 0, which would be one operation more on all of their values."""
    return functools.reduce(operator.add, tensors)


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
