"""Deformable convolution on TensorFlow: in strips, with compiled sampling and a gradient that recomputes.

The samples of an image take `taps` times the memory of its features. So a strip of pixels at a time is located,
sampled and multiplied with the kernel, while the strip before it is finished. XLA compiles locating and sampling one
by one: what the first hands to the second is then computed once, and not again for every channel. The matrix products
stay with TensorFlow's own kernels, which are faster, above all in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import tensorflow as tf

from isr.layers.sampling import Points, Sampling, kernel_matrix, locate, sample, shares, table, whole
from isr.layers.strips import Strips
from isr.ops import Tensor

SMALLEST = 1024  # output pixels from which on compiling pays
BLOCK = 16  # pixels whose contributions are added at a time, so that they stay in the cache


def convolve(
    sampling: Sampling, strips: Strips, x: Tensor, offset: Tensor, mask: Tensor | None, kernel: Tensor
) -> Tensor:
    """Do what `isr.layers.sampling.whole` does in strips, and keep nothing but the inputs for the gradient."""
    if tf.config.list_logical_devices("GPU"):
        return whole(sampling, x, offset, mask, kernel)

    @tf.custom_gradient
    def run(x: Tensor, offset: Tensor, kernel: Tensor, *mask: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        work = Work(sampling, strips, x, offset, kernel, *mask)
        return work.forward(), work.backward

    return run(x, offset, kernel, *([] if mask is None else [mask]))


class Parts(NamedTuple):
    """What XLA compiles: functions of the tensors of one strip, whose arrays begin with `[pixels, samples]`."""

    locate: Callable[..., Points]
    sample: Callable[..., Tensor]
    offset_gradient: Callable[..., Any]
    scatter: Callable[..., Tensor]


@cache
def parts(sampling: Sampling, dtype: str, compiled: bool) -> Parts:
    """Make the parts for one geometry, of any size.

    No reshape stands in them: XLA would find elements by divisions.
    """

    def locate_strip(first: Tensor, sizes: Tensor, offset: Tensor) -> Points:
        height, width, rows, columns = tf.unstack(sizes)
        numbers = first + tf.range(tf.shape(offset)[0])
        return locate(sampling, (height, width), (rows, columns), numbers, offset)

    def neighbours(rows: Tensor, points: Points) -> Tensor:
        return tf.gather(rows, points.index[..., None] + points.steps)  # [p, samples, 4, c]

    def sample_strip(rows: Tensor, points: Points) -> Tensor:
        if compiled:
            values = tf.reduce_sum(neighbours(rows, points) * shares(points)[..., None], axis=-2)
        else:
            values = sample(rows, points)
        return tf.cast(values, dtype)

    def offset_gradient(rows: Tensor, points: Points, d_samples: Tensor) -> Any:
        d_samples = tf.cast(d_samples, rows.dtype)[..., None, :]
        s00, s01, s10, s11 = tf.unstack(tf.reduce_sum(neighbours(rows, points) * d_samples, axis=-1), axis=-1)
        down, right, weight = points.down, points.right, points.weight
        d_down = (1 - right) * (s10 - s00) + right * (s11 - s01)
        d_right = (1 - down) * (s01 - s00) + down * (s11 - s10)
        if weight is None:
            return (tf.stack([d_down, d_right], axis=-1),)
        d_weight = (1 - down) * ((1 - right) * s00 + right * s01) + down * ((1 - right) * s10 + right * s11)
        return tf.stack([weight * d_down, weight * d_right], axis=-1), d_weight

    def scatter(d_rows: Tensor, points: Points, d_samples: Tensor) -> Tensor:
        def add(d_rows: Tensor, first: Tensor, count: Tensor) -> Tensor:
            def cut(value: Tensor) -> Tensor:
                size = tf.concat([[count], tf.shape(value)[1:]], 0)
                return tf.slice(value, [first] + [0] * (len(value.shape) - 1), size)

            index, values = cut(points.index), tf.cast(cut(d_samples), d_rows.dtype)
            weight = None if points.weight is None else cut(points.weight)
            share = shares(Points(index, points.steps, cut(points.down), cut(points.right), weight))
            for corner in range(4):
                row = index[..., None] + points.steps[corner]
                d_rows = tf.tensor_scatter_nd_add(d_rows, row, share[..., corner, None] * values)
            return d_rows

        pixels = tf.shape(d_samples)[0]
        if not compiled:
            return add(d_rows, 0, pixels)
        block = tf.minimum(BLOCK, pixels)
        blocks = pixels // block
        _, d_rows = tf.while_loop(
            lambda i, _: i < blocks,
            lambda i, d_rows: (i + 1, add(d_rows, i * block, block)),
            (tf.constant(0), d_rows),
        )
        return add(d_rows, blocks * block, pixels - blocks * block)

    functions: list[Callable[..., Any]] = [locate_strip, sample_strip, offset_gradient, scatter]
    if compiled:
        functions = [
            tf.function(f, jit_compile=True, autograph=False, reduce_retracing=True) for f in functions
        ]
    return Parts(*functions)


class Work:
    """One call: its tensors, and how they are cut into strips."""

    def __init__(
        self,
        sampling: Sampling,
        strips: Strips,
        x: Tensor,
        offset: Tensor,
        kernel: Tensor,
        mask: Tensor | None = None,
    ) -> None:
        self.sampling, self.strips = sampling, strips
        self.x, self.kernel = x, kernel
        batch, height, width = sides(x)
        _, rows, columns = self.output = sides(offset)
        self.sizes = tf.stack([height, width, rows, columns])
        self.pixels = batch * rows * columns
        self.channels = x.shape[-1] // sampling.groups
        self.offset = tf.reshape(offset, (self.pixels, 2 * sampling.samples))
        self.mask = None if mask is None else tf.reshape(mask, (self.pixels, sampling.samples))

        compiled = strips.compiled
        if compiled is None:
            tiny = isinstance(self.pixels, int) and self.pixels < SMALLEST
            compiled = None not in x.shape[1:3] and not tiny
        self.parts = parts(sampling, x.dtype.name, compiled)

        assert strips.megabytes is not None
        most = max(1, int(strips.megabytes * 1e6) // (4 * sampling.samples * self.channels))
        self.count = 1 + self.pixels // (most + 1)
        self.length = -(-self.pixels // self.count)
        if isinstance(self.pixels, int) and self.count > 1:
            # Strips that fit exactly are joined without a copy.
            self.length = next((n for n in range(most, most // 2, -1) if not self.pixels % n), self.length)
            self.count = -(-self.pixels // self.length)

    def forward(self) -> Tensor:
        """Compute `[b, ho, wo, filters]`."""
        rows, matrix = self.table(), kernel_matrix(self.sampling, self.kernel)

        def strip(i: Tensor) -> Any:
            return (), (tf.matmul(self.samples(rows, self.points(i)), matrix),)

        _, (y,) = self.loop(strip, (), [(self.x.dtype, self.kernel.shape[-1])])
        return tf.reshape(y, (*self.output, self.kernel.shape[-1]))

    def backward(self, dy: Tensor) -> tuple[Tensor, ...]:
        """Compute gradients of `x`, `offset`, `kernel`, and `mask` where there is one."""
        samples = self.sampling.samples
        dy = tf.reshape(dy, (self.pixels, self.kernel.shape[-1]))
        with tf.GradientTape() as tape:
            tape.watch((self.x, self.kernel))
            rows, matrix = self.table(), kernel_matrix(self.sampling, self.kernel)

        def strip(i: Tensor, d_rows: Tensor, d_matrix: Tensor) -> Any:
            points, d_strip = self.points(i), self.cut(dy, i)
            if not self.exact:  # the last strip begins with pixels that the one before it ended with
                again = self.first(i) + tf.range(self.length) < i * self.length
                d_strip = tf.where(again[:, None], tf.zeros_like(d_strip), d_strip)
            d_matrix += tf.cast(
                tf.matmul(self.samples(rows, points), d_strip, transpose_a=True), d_matrix.dtype
            )
            d_samples = tf.matmul(d_strip, matrix, transpose_b=True)
            d_samples = tf.reshape(d_samples, (self.length, samples, self.channels))
            d_rows = tf.ensure_shape(self.parts.scatter(d_rows, points, d_samples), d_rows.shape)
            return (d_rows, d_matrix), self.parts.offset_gradient(rows, points, d_samples)

        start = tf.zeros(tf.shape(rows), rows.dtype), tf.zeros(matrix.shape, rows.dtype)
        widths = [2 * samples] if self.mask is None else [2 * samples, samples]
        (d_rows, d_matrix), found = self.loop(strip, start, [(rows.dtype, width) for width in widths])
        d_x, d_kernel = tape.gradient(
            (rows, matrix), (self.x, self.kernel), (d_rows, tf.cast(d_matrix, matrix.dtype))
        )
        d_offset, *d_mask = (tf.reshape(value, (*self.output, value.shape[-1])) for value in found)
        return d_x, d_offset, d_kernel, *d_mask

    def loop(
        self, strip: Callable[..., Any], carried: tuple[Tensor, ...], made: list[tuple[Any, int]]
    ) -> Any:
        """Run `strip(i, *carried) -> carried, values` over all strips; `made` is dtype and width of each value.

        Returns what was carried, and each value for all pixels, `[pixels, width]`.
        """

        def shaped(i: Tensor, carried: Any) -> Any:
            carried, values = strip(i, *carried)
            shapes = [(self.length, width) for _, width in made]
            return carried, [tf.reshape(value, shape) for value, shape in zip(values, shapes, strict=True)]

        if known(self.count) == 1:
            return shaped(tf.constant(0), carried)

        def body(i: Tensor, carried: Any, arrays: Any) -> Any:
            carried, values = shaped(i, carried)
            written = [array.write(i, value) for array, value in zip(arrays, values, strict=True)]
            return i + 1, carried, tuple(written)

        arrays = tuple(
            tf.TensorArray(dtype, self.count, element_shape=(known(self.length), width))
            for dtype, width in made
        )
        _, carried, arrays = tf.while_loop(
            lambda i, *_: i < self.count,
            body,
            (tf.constant(0), carried, arrays),
            parallel_iterations=self.strips.in_flight,
        )
        return carried, [self.joined(array) for array in arrays]

    def table(self) -> Tensor:
        """Compute the table of `x`, in the dtype of the offsets."""
        return table(self.sampling, tf.cast(self.x, self.offset.dtype))

    def points(self, i: Tensor) -> Points:
        """Sampling points of a strip, `[pixels, samples]`."""
        points = self.parts.locate(self.first(i), self.sizes, self.cut(self.offset, i))
        return points if self.mask is None else points._replace(weight=self.cut(self.mask, i))

    def samples(self, rows: Tensor, points: Points) -> Tensor:
        """Compute the samples of a strip as `[pixels, samples * c]`, in the dtype of `x`."""
        values = self.parts.sample(rows, points)
        return tf.reshape(values, (self.length, self.sampling.samples * self.channels))

    @property
    def exact(self) -> bool:
        """Tell whether no pixel stands in two strips, as far as is known."""
        return isinstance(self.pixels, int) and self.count * self.length == self.pixels

    def first(self, i: Tensor) -> Tensor:
        """Number of the first pixel of a strip; the last one begins early, to be as long as the others."""
        return tf.minimum(i * self.length, self.pixels - self.length)

    def cut(self, values: Tensor, i: Tensor) -> Tensor:
        """Take the rows of a strip out of those of all pixels."""
        return tf.slice(values, [self.first(i), 0], [self.length, values.shape[1]])

    def joined(self, pieces: tf.TensorArray) -> Tensor:
        """Join the strips' rows, one after the other, `[pixels, any]`."""
        stacked = pieces.stack()
        flat = tf.reshape(stacked, (self.count * self.length, stacked.shape[-1]))
        if self.exact:
            return flat
        rest = self.pixels - (self.count - 1) * self.length
        return tf.concat([flat[: (self.count - 1) * self.length], flat[self.count * self.length - rest :]], 0)


def sides(tensor: Tensor) -> list[Any]:
    """Batch, height and width: numbers where they are known."""
    dynamic = tf.shape(tensor)
    return [dynamic[axis] if side is None else side for axis, side in enumerate(tensor.shape[:3])]


def known(number: Any) -> int | None:
    """Give a number, or None for a tensor."""
    return number if isinstance(number, int) else None
