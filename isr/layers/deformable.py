"""Deformable convolution (Dai et al. 2017; with modulation, Zhu et al. 2019) by plain gathers.

`deform_conv2d` is the operator, `DeformableConv2D` the layer that predicts its own offsets. The formula stands here
once, for every backend; `deformable_tensorflow` runs its parts in strips, compiled, with a hand-written gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from isr.ops import Tensor

MARGIN = 2  # zero pixels around the image: whatever lies outside is sampled from them


@dataclass(frozen=True)
class Strips:
    """How TensorFlow works through an image: strips of pixels whose samples are held at a time.

    Attributes:
        megabytes: of samples in one strip; None: no strips, as on other backends, and no gradient of our own.
        in_flight: strips worked on at a time.
        compiled: whether XLA compiles the sampling, once per shape; None: where height and width are known when the
            graph is traced, no GPU is there, and the image is not tiny.
    """

    megabytes: float | None = 7.0
    in_flight: int = 2
    compiled: bool | None = None


_STRIPS = ContextVar("strips", default=Strips())  # noqa: B039  it is frozen


@contextmanager
def strips(**changes: Any) -> Iterator[None]:
    """Change how TensorFlow works through the images of the layers that are called, or traced, inside.

    Args:
        changes: attributes of `Strips`. `megabytes=2, in_flight=1` needs the least memory; `compiled=False` keeps
            XLA out of graphs that are exported, `megabytes=None` loops too.
    """
    token = _STRIPS.set(replace(_STRIPS.get(), **changes))
    try:
        yield
    finally:
        _STRIPS.reset(token)


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
        """Samples per output pixel: one for each deformable group and tap of the kernel, in this order."""
        return self.groups * self.kernel_size[0] * self.kernel_size[1]

    def output_side(self, side: int, axis: int) -> int:
        """Rows (axis 0) or columns (axis 1) of the output for an image that has `side` of them."""
        reach = self.dilation_rate[axis] * (self.kernel_size[axis] - 1) + 1
        return (side + 2 * self.padding[axis] - reach) // self.strides[axis] + 1

    def taps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of each sample's tap, relative to the first one, and its group: each `[samples]`."""
        group, row, column = int32(np.indices((self.groups, *self.kernel_size)).reshape(3, -1))
        return row * self.dilation_rate[0], column * self.dilation_rate[1], group


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    strides: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | None = None,
    dilation_rate: int | tuple[int, int] = 1,
    border: str = "v2",
) -> Tensor:
    """Deformable convolution (Zhu et al. 2019, equation 1): `y(p) = sum over k of w_k x(p + p_k + dp_k) m_k`.

    Args:
        x: image or features, `[b, h, w, c]`, any float dtype.
        offset: in pixels, `[b, ho, wo, groups * taps * 2]`, computed in float32; the number of deformable groups
            follows from it. Channel `(group * taps + tap) * 2` moves the tap down, the next one to the right.
            Samples at a place that is no number, or far outside, are 0.
        mask: factor of each sample, `[b, ho, wo, groups * taps]`, computed in float32; None: 1 (version 1).
        kernel: `[kh, kw, c, filters]`; the taps are counted row by row.
        bias: `[filters]` or None.
        strides, dilation_rate: one number or (rows, columns).
        padding: zero pixels on each side, one number or (rows, columns); None keeps the size at stride 1, for
            kernels of odd sides.
        border: what a sample beyond the image is. "v2" continues the image by zeros: the value fades over one pixel.
            "v1" is the operator of 2017, as published with TDAN: 0 unless `0 <= y < h` and `0 <= x < w`, and between
            the last row or column and that limit its value is held.

    Returns:
        `[b, ho, wo, filters]`, dtype of `x`.

    The derivative by an offset is the one towards larger coordinates where the sampling point has an integer
    coordinate, as in the published operators. Raises ValueError for shapes that do not fit each other.
    """
    kernel_size = (kernel.shape[0], kernel.shape[1])
    samples, rest = divmod(offset.shape[-1], 2)
    groups, odd = divmod(samples, kernel_size[0] * kernel_size[1])
    if rest or odd or not groups:
        raise ValueError(
            f"offset has {offset.shape[-1]} channels, which is no multiple of the "
            f"{2 * kernel_size[0] * kernel_size[1]} of a {kernel_size[0]}x{kernel_size[1]} kernel"
        )
    sampling = Sampling(
        kernel_size, pair(strides), resolve_padding(padding, kernel_size, dilation_rate),
        pair(dilation_rate), groups, border,
    )  # fmt: skip
    check(sampling, x, offset, mask, kernel)
    wide = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
    offset = ops.cast(offset, wide)
    mask = None if mask is None else ops.cast(mask, wide)
    kernel = ops.cast(kernel, x.dtype)
    cut = _STRIPS.get()
    if keras.backend.backend() == "tensorflow" and cut.megabytes is not None:
        from isr.layers.deformable_tensorflow import convolve

        y = convolve(sampling, cut, x, offset, mask, kernel)
    else:
        y = whole(sampling, x, offset, mask, kernel)
    return y if bias is None else y + ops.cast(bias, x.dtype)


def resample(image: Tensor, y: Tensor, x: Tensor, border: str = "v2") -> Tensor:
    """Bilinear samples of an image, differentiable by image and places; for warping by a flow, for example.

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
    """The convolution in one piece, differentiable by the backend."""
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
    """`[b, h, w, c]` with its margin, as rows of the channels of one pixel and group: `[rows, c / groups]`."""
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
    """Sampling points of some output pixels, `[p, samples]`.

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
    """Sampling points at given coordinates.

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
    """What each of the four neighbours weighs, `[..., 4]`."""
    down, right = points.down[..., None], points.right[..., None]
    upper, left = (ops.convert_to_tensor(one, down.dtype) for one in ([1, 1, 0, 0], [1, 0, 1, 0]))
    share = (upper + (1 - 2 * upper) * down) * (left + (1 - 2 * left) * right)
    return share if points.weight is None else share * points.weight[..., None]


def sample(rows: Tensor, points: Points) -> Tensor:
    """The weighted bilinear samples `[..., c]` of a table `[rows, c]`."""
    share, total = shares(points), 0.0
    for corner in range(4):
        values = ops.take(rows, points.index + points.steps[corner], axis=0)
        total += share[..., corner, None] * values
    return total


def kernel_matrix(sampling: Sampling, kernel: Tensor) -> Tensor:
    """`[kh, kw, c, filters]` as `[samples * c / groups, filters]`, in the order of the samples."""
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
    """An array that meets the backends' integers as one of theirs."""
    return np.asarray(values, np.int32)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """One number for rows and columns, or one each."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def resolve_padding(
    padding: int | tuple[int, int] | None, kernel_size: tuple[int, int], dilation_rate: int | tuple[int, int]
) -> tuple[int, int]:
    """Zero pixels per side; None: what keeps the size at stride 1. Raises ValueError where nothing does."""
    if padding is not None:
        return pair(padding)
    if not all(side % 2 for side in kernel_size):
        raise ValueError(
            f"a kernel of {kernel_size[0]}x{kernel_size[1]} has no middle: padding must be given"
        )
    rows, columns = (d * (k - 1) // 2 for d, k in zip(pair(dilation_rate), kernel_size, strict=True))
    return rows, columns


_WATCHED: ContextVar[dict[str, list[Tensor]] | None] = ContextVar("watched offsets", default=None)


def mean_offsets(model: keras.Layer, *inputs: Any) -> dict[str, float]:
    """Mean absolute offset, in pixels, of every deformable convolution of a model.

    Where it grows over 50, the published training codes warn: the alignment has diverged.

    Args:
        model: a network or layer, which is called once on `inputs`, outside of any graph.

    Returns:
        The value by the layer's path below the model, averaged over all its calls.
    """
    found: dict[str, list[Tensor]] = {}
    token = _WATCHED.set(found)
    try:
        model(*inputs)
    finally:
        _WATCHED.reset(token)
    prefix = f"{model.path or model.name}/"  # Keras gives no path to a model that it builds by itself
    return {path.removeprefix(prefix): float(np.mean(values)) for path, values in found.items()}


@keras.saving.register_keras_serializable(package="isr")
class DeformableConv2D(layers.Layer):
    """Deformable convolution whose offsets, and factors, are predicted by a plain convolution.

    With the defaults it is the modulated form (Zhu et al. 2019, section 3.2) as EDVR uses it; `modulated=False`,
    `use_bias=False` and `border="v1"` make the form of 2017 that TDAN was published with. The predicting convolution
    starts at zero, so the layer starts as a plain convolution (modulated: as half of one).

    Args:
        filters: channels out.
        kernel_size, strides, dilation_rate: one number or (rows, columns).
        padding: zero pixels on each side; None keeps the size at stride 1, for kernels of odd sides.
        deform_groups: groups of input channels that share their offsets.
        modulated: whether each sample has a factor, 0 to 1.
        use_bias: whether the output has a bias.
        border: "v2" or "v1", see `deform_conv2d`.
        activation: of the output, as in Keras.

    Input: `x` `[b, h, w, c]`, and `guide` `[b, h, w, any]` from which the offsets are predicted (None: `x`).
    Output: `[b, ho, wo, filters]`, in the compute dtype; offsets and factors are float32 under any policy.
    Raises ValueError for arguments that do not fit each other or the input.

    Example:
        >>> layer = DeformableConv2D(64, deform_groups=8)
        >>> layer(np.zeros((1, 24, 32, 64), "float32")).shape
        (1, 24, 32, 64)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int] = 3,
        *,
        strides: int | tuple[int, int] = 1,
        dilation_rate: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | None = None,
        deform_groups: int = 1,
        modulated: bool = True,
        use_bias: bool = True,
        border: str = "v2",
        activation: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if filters < 1 or deform_groups < 1:
            raise ValueError(f"filters={filters}, deform_groups={deform_groups}: must be at least 1")
        if border not in ("v1", "v2"):
            raise ValueError(f"border={border!r}: must be 'v1' or 'v2'")
        self.filters = filters
        self.kernel_size = pair(kernel_size)
        self.strides = pair(strides)
        self.dilation_rate = pair(dilation_rate)
        self.padding = resolve_padding(padding, self.kernel_size, self.dilation_rate)
        self.deform_groups = deform_groups
        self.modulated = modulated
        self.use_bias = use_bias
        self.border = border
        self.activation = keras.activations.get(activation)
        taps = self.kernel_size[0] * self.kernel_size[1]
        reach = (d * (k - 1) for d, k in zip(self.dilation_rate, self.kernel_size, strict=True))
        keeps_size = all(2 * pad == far for pad, far in zip(self.padding, reach, strict=True))
        self.conv_offset = layers.Conv2D(
            (3 if modulated else 2) * deform_groups * taps,
            self.kernel_size,
            strides=self.strides,
            dilation_rate=self.dilation_rate,
            # At a larger stride Keras' "same" begins at another pixel than the published networks.
            padding="same" if keeps_size and self.strides == (1, 1) else "valid",
            kernel_initializer="zeros",
            dtype=self.dtype_policy,
            name="conv_offset",
        )

    def build(self, x_shape: Sequence[Any], guide_shape: Sequence[int | None] | None = None) -> None:
        """Make the weights; takes the shape of `x`, and of `guide` beside it or in one tuple with it."""
        if isinstance(x_shape[0], Sequence):
            x_shape, guide_shape = x_shape
        channels = x_shape[-1]
        if channels % self.deform_groups:
            raise ValueError(f"{channels} channels do not divide into {self.deform_groups} deformable groups")
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.filters),
            # Uniform within 1 / sqrt(fan in), as the published operators start.
            initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        )
        self.bias = (
            self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
            if self.use_bias
            else None
        )
        # Without sides, which Keras would compare with the kernel's, knowing nothing of the padding.
        self.conv_offset.build((None, None, None, (guide_shape or x_shape)[-1]))
        self.built = True

    def call(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        offset, mask = self.predict_offsets(x if guide is None else guide)
        y = deform_conv2d(
            x,
            offset,
            mask,
            self.kernel,
            self.bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            border=self.border,
        )
        return self.activation(y)

    def predict_offsets(self, guide: Tensor) -> tuple[Tensor, Tensor | None]:
        """Offsets `[b, ho, wo, groups * taps * 2]` and factors `[b, ho, wo, groups * taps]`, float32."""
        if self.conv_offset.padding == "valid":
            rows, columns = self.padding
            guide = ops.pad(guide, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
        predicted = ops.cast(self.conv_offset(guide), "float32")
        channels = 2 * self.deform_groups * self.kernel_size[0] * self.kernel_size[1]
        offset = predicted[..., :channels]
        watched = _WATCHED.get()
        if watched is not None:
            value = ops.convert_to_numpy(ops.mean(ops.abs(offset)))
            watched.setdefault(self.path, []).append(value)
        return offset, ops.sigmoid(predicted[..., channels:]) if self.modulated else None

    def compute_output_shape(
        self, x_shape: Sequence[int | None], guide_shape: Sequence[int | None] | None = None
    ) -> tuple[int | None, ...]:
        sampling = Sampling(self.kernel_size, self.strides, self.padding, self.dilation_rate, 1, self.border)
        sides = [
            None if side is None else sampling.output_side(side, axis)
            for axis, side in enumerate(x_shape[1:3])
        ]
        return (x_shape[0], *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        names = ("filters", "kernel_size", "strides", "dilation_rate", "padding", "deform_groups", "modulated",
                 "use_bias", "border")  # fmt: skip
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own, "activation": keras.activations.serialize(self.activation)}
