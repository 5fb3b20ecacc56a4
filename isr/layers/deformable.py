"""Deformable convolution (Dai et al. 2017; with modulation, Zhu et al. 2019) by plain gathers.

`deform_conv2d` is the operator, `DeformableConv2D` the layer that predicts its own offsets. Both sample as
`isr.layers.sampling` says; `deformable_tensorflow` does so in strips, compiled, with a hand-written gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from isr.arguments import ConfigFromArguments, at_least
from isr.layers.sampling import Sampling, check, pair, resolve_padding, whole
from isr.layers.strips import CURRENT
from isr.ops import Tensor


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
    """Convolve at moved places: `y(p) = sum over k of w_k x(p + p_k + dp_k) m_k` (Zhu et al. 2019, equation 1).

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

    Raises:
        ValueError: shapes do not fit each other.

    The derivative by an offset is the one towards larger coordinates where the sampling point has an integer
    coordinate, as in the published operators.
    """
    kernel_size = (kernel.shape[0], kernel.shape[1])
    samples, rest = divmod(offset.shape[-1], 2)
    groups, odd = divmod(samples, kernel_size[0] * kernel_size[1])
    if rest or odd or not groups:
        raise ValueError(
            f"offset has {offset.shape[-1]} channels, which is no multiple of the "
            f"{2 * kernel_size[0] * kernel_size[1]} of a {kernel_size[0]}x{kernel_size[1]} kernel"
        )
    zeros = resolve_padding(padding, kernel_size, dilation_rate)
    sampling = Sampling(kernel_size, pair(strides), zeros, pair(dilation_rate), groups, border)
    check(sampling, x, offset, mask, kernel)
    wide = "float64" if keras.backend.standardize_dtype(x.dtype) == "float64" else "float32"
    offset = ops.cast(offset, wide)
    mask = None if mask is None else ops.cast(mask, wide)
    kernel = ops.cast(kernel, x.dtype)
    cut = CURRENT.get()
    if keras.backend.backend() == "tensorflow" and cut.megabytes is not None:
        from isr.layers.deformable_tensorflow import convolve

        y = convolve(sampling, cut, x, offset, mask, kernel)
    else:
        y = whole(sampling, x, offset, mask, kernel)
    return y if bias is None else y + ops.cast(bias, x.dtype)


_WATCHED: ContextVar[dict[str, list[Tensor]] | None] = ContextVar("watched offsets", default=None)


def mean_offsets(model: keras.Layer, *inputs: Any) -> dict[str, float]:
    """Measure the mean absolute offset, in pixels, of every deformable convolution of a model.

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
class DeformableConv2D(ConfigFromArguments, layers.Layer):
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

    Raises:
        ValueError: arguments do not fit each other or the input.

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
        at_least(1, filters=filters, deform_groups=deform_groups)
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
        """Predict offsets `[b, ho, wo, groups * taps * 2]` and factors `[b, ho, wo, groups * taps]`, float32."""
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
        return {**super().get_config(), "activation": keras.activations.serialize(self.activation)}
