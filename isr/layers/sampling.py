"""Where deformable convolution looks, and what it finds there: bilinear samples of an image by plain gathers.

A `Sampling` is the geometry that is known before the tensors are; `locate` makes sampling points of it and of offsets,
`sample` takes their values out of a `table` of the image. The formulas stand here once, for every backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from isr.ops import Tensor

MARGIN = 2  # zero pixels around the image: whatever lies outside is sampled from them


@dataclass(frozen=True)
class Sampling:
    """Where a deformable convolution looks: all of its geometry that is known before the tensors are.

    Attributes:
        kernel_size, strides, padding, dilation_rate: rows and columns.
        groups: deformable groups.
        border: "v2" or "v1".
    """

    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int]
    dilation_rate: tuple[int, int]
    groups: int
    border: str

    @property
    def samples(self) -> int:
        """Return the samples per output pixel: one for each deformable group and tap of the kernel, in this order."""
        return self.groups * self.kernel_size[0] * self.kernel_size[1]

    def output_side(self, side: int, axis: int) -> int:
        """Count the rows (axis 0) or columns (axis 1) of the output for an image that has `side` of them."""
        reach = self.dilation_rate[axis] * (self.kernel_size[axis] - 1) + 1
        return (side + 2 * self.padding[axis] - reach) // self.strides[axis] + 1

    def taps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give row and column of each sample's tap, relative to the first one, and its group: each `[samples]`."""
        group, row, column = int32(np.indices((self.groups, *self.kernel_size)).reshape(3, -1))
        return row * self.dilation_rate[0], column * self.dilation_rate[1], group


def resample(image: Tensor, y: Tensor, x: Tensor, border: str = "v2") -> Tensor:
    """Sample an image bilinearly, differentiable by image and places; for warping by a flow, for example.

    With the default border it has the values and derivatives of `tfa.image.resampler`.

    Args:
        image: `[b, h, w, c]`, float32 or float64.
        y, x: places in pixels, 0 is the middle of the first one; `[b, ...]`, dtype of `image`.
        border: what lies beyond the image, see `deform_conv2d`.

    Returns:
        `[b, ..., c]`.
    """
    batch, height, width, _ = ops.shape(image)
    one = Sampling((1, 1), (1, 1), (0, 0), (1, 1), 1, border)
    picture = ops.reshape(ops.arange(batch, dtype="int32"), (batch, *[1] * (len(y.shape) - 1)))
    points = neighbours(one, (height, width), picture, int32(0), y, x)
    return sample(table(one, image), points)


def whole(sampling: Sampling, x: Tensor, offset: Tensor, mask: Tensor | None, kernel: Tensor) -> Tensor:
    """Convolve in one piece, differentiable by the backend; shapes as for `isr.layers.deform_conv2d`."""
    batch, height, width, channels = ops.shape(x)
    rows, columns = ops.shape(offset)[1:3]
    pixels, samples = batch * rows * columns, sampling.samples
    numbers = ops.arange(pixels, dtype="int32")
    offset = ops.reshape(offset, (pixels, 2 * samples))
    points = locate(sampling, (height, width), (rows, columns), numbers, offset)
    if mask is not None:
        points = points._replace(weight=ops.reshape(mask, (pixels, samples)))
    values = sample(table(sampling, ops.cast(x, offset.dtype)), points)  # [pixels, samples, c / groups]
    values = ops.reshape(ops.cast(values, x.dtype), (pixels, samples * (channels // sampling.groups)))
    y = ops.matmul(values, kernel_matrix(sampling, kernel))
    return ops.reshape(y, (batch, rows, columns, kernel.shape[-1]))


def table(sampling: Sampling, x: Tensor) -> Tensor:
    """Lay `[b, h, w, c]` out with its margin, as rows of the channels of one pixel and group: `[rows, c / groups]`."""
    behind = MARGIN
    if sampling.border == "v1":  # the value is held behind the last row and column
        x = ops.concatenate([x, x[:, -1:]], axis=1)
        x = ops.concatenate([x, x[:, :, -1:]], axis=2)
        behind -= 1
    padded = ops.pad(x, ((0, 0), (MARGIN, behind), (MARGIN, behind), (0, 0)))
    return ops.reshape(padded, (-1, x.shape[-1] // sampling.groups))


class Points(NamedTuple):
    """Sampling points.

    Attributes:
        index: row of the table that holds each one's upper left neighbour, int32, any shape.
        steps: from that neighbour to all four in the table (00, 01, 10, 11), int32 `[4]`.
        down, right: distance from that neighbour, 0 to 1, shape of `index`.
        weight: factor of the sample, shape of `index`, or None for 1.
    """

    index: Tensor
    steps: Tensor
    down: Tensor
    right: Tensor
    weight: Tensor | None = None


def locate(
    sampling: Sampling, image: tuple[Any, Any], output: tuple[Any, Any], numbers: Tensor, offset: Tensor
) -> Points:
    """Find the sampling points of some output pixels, `[p, samples]`.

    Args:
        image, output: height and width.
        numbers: of the pixels, int32 `[p]`, counted through the whole batch, row by row.
        offset: `[p, 2 * samples]`.
    """
    rows, columns = output
    tap_row, tap_column, group = sampling.taps()
    picture, place = numbers // (rows * columns), numbers % (rows * columns)
    first_row = place // columns * sampling.strides[0] - sampling.padding[0]
    first_column = place % columns * sampling.strides[1] - sampling.padding[1]
    y = ops.cast(first_row[:, None] + tap_row, offset.dtype) + offset[:, 0::2]
    x = ops.cast(first_column[:, None] + tap_column, offset.dtype) + offset[:, 1::2]
    return neighbours(sampling, image, picture[:, None], group, y, x)


def neighbours(
    sampling: Sampling, image: tuple[Any, Any], picture: Tensor, group: Any, y: Tensor, x: Tensor
) -> Points:
    """Find the sampling points at given coordinates.

    Args:
        image: height and width.
        picture, group: number in the batch, and of the group of channels, int32; broadcast against `y`.
        y, x: in pixels, 0 is the middle of the first one.
    """
    # What is to be 0 is looked up in the margin. By selection, so there is no derivative, and NaN goes there, too.
    height, width = image
    bottom, end = ops.cast(height, y.dtype), ops.cast(width, x.dtype)
    if sampling.border == "v1":
        inside = (y >= 0) & (y < bottom) & (x >= 0) & (x < end)
        y, x = ops.where(inside, y, -MARGIN), ops.where(inside, x, -MARGIN)
    else:
        y = ops.where((y > -MARGIN) & (y < bottom), y, -MARGIN)
        x = ops.where((x > -MARGIN) & (x < end), x, -MARGIN)
    top, left = ops.floor(y), ops.floor(x)

    line = width + 2 * MARGIN
    origin = (picture * (height + 2 * MARGIN) + MARGIN) * line + MARGIN
    pixel = origin + ops.cast(top, "int32") * line + ops.cast(left, "int32")
    steps = int32([0, 0, 1, 1]) * line + int32([0, 1, 0, 1])
    return Points(pixel * sampling.groups + group, steps * sampling.groups, y - top, x - left)


def shares(points: Points) -> Tensor:
    """Weigh the four neighbours of each point, `[..., 4]`."""
    down, right = points.down[..., None], points.right[..., None]
    upper, left = (ops.convert_to_tensor(one, down.dtype) for one in ([1, 1, 0, 0], [1, 0, 1, 0]))
    share = (upper + (1 - 2 * upper) * down) * (left + (1 - 2 * left) * right)
    return share if points.weight is None else share * points.weight[..., None]


def sample(rows: Tensor, points: Points) -> Tensor:
    """Take the weighted bilinear samples `[..., c]` of a table `[rows, c]`."""
    share, total = shares(points), 0.0
    for corner in range(4):
        values = ops.take(rows, points.index + points.steps[corner], axis=0)
        total += share[..., corner, None] * values
    return total


def kernel_matrix(sampling: Sampling, kernel: Tensor) -> Tensor:
    """Lay `[kh, kw, c, filters]` out as `[samples * c / groups, filters]`, in the order of the samples."""
    taps = sampling.samples // sampling.groups
    channels, filters = kernel.shape[2:]
    split = ops.reshape(kernel, (taps, sampling.groups, channels // sampling.groups, filters))
    return ops.reshape(ops.transpose(split, (1, 0, 2, 3)), (-1, filters))


def check(sampling: Sampling, x: Tensor, offset: Tensor, mask: Tensor | None, kernel: Tensor) -> None:
    """Raise ValueError where shapes do not fit each other, as far as they are known."""
    if sampling.border not in ("v1", "v2"):
        raise ValueError(f"border={sampling.border!r}: must be 'v1' or 'v2'")
    if x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"x has {x.shape[-1]} channels and the kernel takes {kernel.shape[2]}")
    if x.shape[-1] % sampling.groups:
        raise ValueError(f"{x.shape[-1]} channels do not divide into {sampling.groups} deformable groups")
    if mask is not None and mask.shape[-1] != sampling.samples:
        raise ValueError(f"mask has {mask.shape[-1]} channels; the offset has {sampling.samples} pairs")
    for name, tensor in (("offset", offset), ("mask", mask)):
        if tensor is None:
            continue
        for axis, (side, found) in enumerate(zip(x.shape[1:3], tensor.shape[1:3], strict=True)):
            if None not in (side, found) and found != (wanted := sampling.output_side(side, axis)):
                raise ValueError(f"{name} has {found} {('rows', 'columns')[axis]}; the output has {wanted}")


def int32(values: Any) -> np.ndarray:
    """Make an array that meets the backends' integers as one of theirs."""
    return np.asarray(values, np.int32)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Give one number for rows and one for columns."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def resolve_padding(
    padding: int | tuple[int, int] | None, kernel_size: tuple[int, int], dilation_rate: int | tuple[int, int]
) -> tuple[int, int]:
    """Count the zero pixels per side; None: what keeps the size at stride 1.

    Raises:
        ValueError: nothing keeps it, since the kernel has no middle.
    """
    if padding is not None:
        return pair(padding)
    if not all(side % 2 for side in kernel_size):
        raise ValueError(
            f"a kernel of {kernel_size[0]}x{kernel_size[1]} has no middle: padding must be given"
        )
    rows, columns = (d * (k - 1) // 2 for d, k in zip(pair(dilation_rate), kernel_size, strict=True))
    return rows, columns
