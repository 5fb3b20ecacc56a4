"""EDVR and TDAN as they were published, in plain TensorFlow: what `benchmarks/video.py` measures our models against.

Written from descriptions of the published programs, not from the models of this package, and tested to be equal to
them. Every window is computed from scratch, every frame is aligned on its own, and deformable convolution gathers the
four corners of every sampling point: as simple as it can be said, and as slow.

Weights go by the names of `model.named_weights()`. The options follow from them: blocks, deformable groups, TSA,
predeblur, high-resolution input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import tensorflow as tf

Weights = Mapping[str, Any]


# EDVR: Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPRW 2019.


def edvr(weights: Weights, lr: tf.Tensor, center: int) -> tf.Tensor:
    """One frame of a window, restored (figure 2).

    Args:
        weights: of an `EDVR` with the mean and range of the published files, 0 and 1.
        lr: float32 `[b, t, h, w, 3]` in [0, 1], shape known, sides a multiple of 4 (16 with high-resolution input).
        center: number of that frame.

    Returns:
        float32 `[b, 4 * h, 4 * w, 3]`, with high-resolution input `[b, h, w, 3]`.
    """
    batch, frames = lr.shape[:2]
    pyramid = edvr_features(weights, tf.reshape(lr, [batch * frames, *lr.shape[2:]]))
    levels = [tf.reshape(level, [batch, frames, *level.shape[1:]]) for level in pyramid]
    reference = [level[:, center] for level in levels]
    aligned = [
        pcd_align(weights, [level[:, frame] for level in levels], reference) for frame in range(frames)
    ]
    if "fusion/fuse/kernel" in weights:
        x = tsa_fusion(weights, aligned, center)
    else:
        x = conv(weights, "fusion", tf.concat(aligned, -1))
    x = residual_blocks(weights, "reconstruct", x)
    for name in ("up1", "up2"):
        x = lrelu(tf.nn.depth_to_space(conv(weights, name, x), 2))
    x = conv(weights, "tail", lrelu(conv(weights, "hr_conv", x)))
    base = lr[:, center]
    return x + (base if x.shape[1:3] == base.shape[1:3] else enlarge(base, 4))


def edvr_features(weights: Weights, frames: tf.Tensor) -> list[tf.Tensor]:
    """Three levels `[n, h, w, f]`, each half the size of the one before, of every frame alone."""
    if "predeblur/head/kernel" in weights:
        x = conv(weights, "mix", predeblur(weights, frames))
    else:
        x = shrink_high_resolution(weights, "", lrelu(conv(weights, "head", frames)))
    l1 = residual_blocks(weights, "extract", x)
    l2 = lrelu(conv(weights, "l2_conv", lrelu(conv(weights, "to_l2", l1, stride=2))))
    l3 = lrelu(conv(weights, "l3_conv", lrelu(conv(weights, "to_l3", l2, stride=2))))
    return [l1, l2, l3]


def predeblur(weights: Weights, frames: tf.Tensor) -> tf.Tensor:
    """A pyramid of residual blocks, added up from its coarsest level (section 3.1, "PreDeblur module")."""

    def block(name: str, x: tf.Tensor) -> tf.Tensor:
        return residual_block(weights, f"predeblur/{name}", x)

    l1 = lrelu(conv(weights, "predeblur/head", frames))
    l1 = shrink_high_resolution(weights, "predeblur/", l1)
    l2 = lrelu(conv(weights, "predeblur/to_l2", l1, stride=2))
    l3 = lrelu(conv(weights, "predeblur/to_l3", l2, stride=2))
    l2 = block("l2_block0", l2) + enlarge(block("l3_block", l3), 2)
    l1 = block("l1_block1", block("l1_block0", l1)) + enlarge(block("l2_block1", l2), 2)
    for name in ("l1_block2", "l1_block3", "l1_block4"):
        l1 = block(name, l1)
    return l1


def shrink_high_resolution(weights: Weights, prefix: str, x: tf.Tensor) -> tf.Tensor:
    """To a quarter of the size, where the network takes high-resolution input."""
    if f"{prefix}to_half/kernel" in weights:
        for name in ("to_half", "to_quarter"):
            x = lrelu(conv(weights, prefix + name, x, stride=2))
    return x


def pcd_align(weights: Weights, neighbour: list[tf.Tensor], reference: list[tf.Tensor]) -> tf.Tensor:
    """The features of one frame, brought to where the reference has them (figure 3, equations 2 to 4)."""
    offset: tf.Tensor | None = None
    feature: tf.Tensor | None = None
    for number in (3, 2, 1):
        name = f"align/l{number}"
        own, other = neighbour[number - 1], reference[number - 1]
        below, offset = offset, lrelu(conv(weights, f"{name}/offset_conv1", tf.concat([own, other], -1)))
        if below is None:
            offset = lrelu(conv(weights, f"{name}/offset_conv2", offset))
        else:
            offset = tf.concat([offset, enlarge(below, 2) * 2], -1)
            offset = lrelu(conv(weights, f"{name}/offset_conv2", offset))
            offset = lrelu(conv(weights, f"{name}/offset_conv3", offset))
        below, feature = feature, modulated_deformable(weights, f"{name}/dcn", own, offset)
        if below is not None:
            feature = conv(weights, f"{name}/feat_conv", tf.concat([feature, enlarge(below, 2)], -1))
        if number > 1:
            feature = lrelu(feature)
    offset = lrelu(conv(weights, "align/cascade_conv1", tf.concat([feature, reference[0]], -1)))
    offset = lrelu(conv(weights, "align/cascade_conv2", offset))
    return lrelu(modulated_deformable(weights, "align/cascade_dcn", feature, offset))


def tsa_fusion(weights: Weights, aligned: list[tf.Tensor], center: int) -> tf.Tensor:
    """The aligned frames, weighted by likeness to the centre and by place (figure 4, equations 5 to 8)."""
    embedded = conv(weights, "fusion/embed_reference", aligned[center])
    weighted = []
    for frame in aligned:
        likeness = tf.reduce_sum(conv(weights, "fusion/embed_frame", frame) * embedded, -1, keepdims=True)
        weighted.append(frame * tf.sigmoid(likeness))
    together = tf.concat(weighted, -1)

    feature = lrelu(conv(weights, "fusion/fuse", together))
    attention = lrelu(conv(weights, "fusion/spatial1", together))
    attention = lrelu(conv(weights, "fusion/spatial2", pools(attention)))
    level = lrelu(conv(weights, "fusion/quarter1", attention))
    level = lrelu(conv(weights, "fusion/quarter2", pools(level)))
    level = lrelu(conv(weights, "fusion/quarter3", level))
    attention = lrelu(conv(weights, "fusion/spatial3", attention)) + enlarge(level, 2)
    attention = lrelu(conv(weights, "fusion/spatial4", attention))
    attention = conv(weights, "fusion/spatial5", enlarge(attention, 2))
    added = conv(weights, "fusion/add2", lrelu(conv(weights, "fusion/add1", attention)))
    return feature * tf.sigmoid(attention) * 2 + added


# TDAN: Tian et al., "TDAN: Temporally-Deformable Alignment Network for Video Super-Resolution", CVPR 2020.


def tdan(
    weights: Weights, lr: tf.Tensor, center: int, border: Literal["v1", "v2"] = "v1"
) -> tuple[tf.Tensor, tf.Tensor]:
    """One frame of a window, enlarged, and what it was made from (figure 2).

    Args:
        weights: of a `TDAN` with the mean and range of the published files, 0.5 and 1.
        lr: float32 `[b, t, h, w, 3]` in [0, 1], shape known.
        center: number of that frame.
        border: what deformable convolution finds outside the picture.

    Returns:
        float32 `[b, s * h, s * w, 3]`, and the aligned frames `[b, t, h, w, 3]`.
    """
    batch, frames = lr.shape[:2]
    lr = lr - 0.5
    x = tf.nn.relu(conv(weights, "head", tf.reshape(lr, [batch * frames, *lr.shape[2:]])))
    x = residual_blocks(weights, "extract", x)
    features = tf.reshape(x, [batch, frames, *x.shape[1:]])

    def align(neighbour: tf.Tensor, reference: tf.Tensor) -> tf.Tensor:
        x = conv(weights, "align/bottleneck", tf.concat([reference, neighbour], -1))
        x = plain_deformable(weights, "align/refine1", x, x, border)
        x = plain_deformable(weights, "align/refine2", x, x, border)
        x = plain_deformable(weights, "align/sample", neighbour, x, border)
        x = plain_deformable(weights, "align/polish", x, x, border)
        return conv(weights, "to_frame", x)

    aligned = [
        lr[:, frame] if frame == center else align(features[:, frame], features[:, center])
        for frame in range(frames)
    ]
    x = tf.nn.relu(conv(weights, "fuse", tf.concat(aligned, -1)))
    x = residual_blocks(weights, "reconstruct", x)
    step = 0
    while f"upsampler/conv{step}/kernel" in weights:
        x = tf.nn.depth_to_space(conv(weights, f"upsampler/conv{step}", x), 2)
        step += 1
    return conv(weights, "tail", x) + 0.5, tf.stack(aligned, 1) + 0.5


# What both are made of.


def conv(weights: Weights, name: str, x: tf.Tensor, stride: int = 1) -> tf.Tensor:
    """A convolution with as many zeros on all four sides as the kernel reaches, whatever the stride."""
    kernel = tf.convert_to_tensor(weights[f"{name}/kernel"])
    reach = kernel.shape[0] // 2
    padding = [[0, 0], [reach, reach], [reach, reach], [0, 0]]
    x = tf.nn.conv2d(x, kernel, stride, padding)
    if f"{name}/bias" in weights:
        x = tf.nn.bias_add(x, tf.convert_to_tensor(weights[f"{name}/bias"]))
    return x


def residual_blocks(weights: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    """`name`0, `name`1, ... as many as there are."""
    number = 0
    while f"{name}{number}/conv1/kernel" in weights:
        x = residual_block(weights, f"{name}{number}", x)
        number += 1
    return x


def residual_block(weights: Weights, name: str, x: tf.Tensor) -> tf.Tensor:
    return x + conv(weights, f"{name}/conv2", tf.nn.relu(conv(weights, f"{name}/conv1", x)))


def lrelu(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.leaky_relu(x, 0.1)


def enlarge(x: tf.Tensor, factor: int) -> tf.Tensor:
    """Bilinear, pixels as areas (`align_corners=False`)."""
    return tf.image.resize(x, (x.shape[1] * factor, x.shape[2] * factor), "bilinear")


def pools(x: tf.Tensor) -> tf.Tensor:
    """Maximum and mean of 3x3 pixels at every second one; beyond the picture there are zeros for the mean alone."""
    around = [[0, 0], [1, 1], [1, 1], [0, 0]]
    highest = tf.nn.max_pool2d(tf.pad(x, around, constant_values=x.dtype.min), 3, 2, "VALID")
    mean = tf.nn.avg_pool2d(tf.pad(x, around), 3, 2, "VALID")
    return tf.concat([highest, mean], -1)


def modulated_deformable(weights: Weights, name: str, x: tf.Tensor, predictor: tf.Tensor) -> tf.Tensor:
    """Deformable convolution v2 of `x` by the offsets and masks that one convolution predicts (Zhu et al., 2019)."""
    predicted = conv(weights, f"{name}/conv_offset", predictor)
    channels = predicted.shape[-1] // 3
    offset, mask = predicted[..., : 2 * channels], tf.sigmoid(predicted[..., 2 * channels :])
    return deformable(weights, name, x, offset, mask, "v2")


def plain_deformable(
    weights: Weights, name: str, x: tf.Tensor, predictor: tf.Tensor, border: Literal["v1", "v2"]
) -> tf.Tensor:
    """Deformable convolution v1 of `x` by the offsets that a convolution predicts (Dai et al., 2017)."""
    return deformable(weights, name, x, conv(weights, f"{name}/conv_offset", predictor), None, border)


def deformable(
    weights: Weights,
    name: str,
    image: tf.Tensor,
    offset: tf.Tensor,
    mask: tf.Tensor | None,
    border: Literal["v1", "v2"],
) -> tf.Tensor:
    """A 3x3 convolution whose nine taps are moved at every pixel, in groups of channels.

    Args:
        weights, name: kernel `[3, 3, c, o]`, and a bias where there is one.
        image: `[b, h, w, c]`.
        offset: `[b, h, w, g * 9 * 2]`, by group, by tap, rows before columns; in pixels.
        mask: `[b, h, w, g * 9]`, what each sample is multiplied by, or None.
        border: "v2": zeros lie around the picture. "v1": a sample outside `0 <= y < h, 0 <= x < w` is zero, and the
            last row and column are held from `h - 1` to `h` and from `w - 1` to `w`.

    Returns:
        `[b, h, w, o]`.
    """
    batch, height, width, channels = image.shape
    groups = offset.shape[-1] // 18
    offset = tf.reshape(offset, [batch, height, width, groups, 9, 2])
    tap = tf.range(9)
    row = tf.range(height)[:, None, None, None] + tap // 3 - 1
    column = tf.range(width)[None, :, None, None] + tap % 3 - 1
    # [b, h, w, g, 9]
    y = tf.cast(row, offset.dtype) + offset[..., 0]
    x = tf.cast(column, offset.dtype) + offset[..., 1]

    inside = None
    if border == "v1":
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = tf.minimum(y, height - 1.0), tf.minimum(x, width - 1.0)
    top, left = tf.floor(y), tf.floor(x)
    down, right = y - top, x - left

    table = tf.reshape(image, [batch * height * width * groups, channels // groups])
    picture = tf.range(batch)[:, None, None, None, None] * height
    group = tf.range(groups)[:, None]

    def corner(rows: tf.Tensor, columns: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        """The pixels there times their bilinear weight, zero where there is no pixel."""
        exists = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows = tf.cast(tf.clip_by_value(rows, 0, height - 1), tf.int32)
        columns = tf.cast(tf.clip_by_value(columns, 0, width - 1), tf.int32)
        index = ((picture + rows) * width + columns) * groups + group
        return tf.gather(table, index) * (share * tf.cast(exists, share.dtype))[..., None]

    # [b, h, w, g, 9, c / g]
    samples = (
        corner(top, left, (1 - down) * (1 - right))
        + corner(top, left + 1, (1 - down) * right)
        + corner(top + 1, left, down * (1 - right))
        + corner(top + 1, left + 1, down * right)
    )
    if inside is not None:
        samples *= tf.cast(inside, samples.dtype)[..., None]
    if mask is not None:
        samples *= tf.reshape(mask, [batch, height, width, groups, 9, 1])

    kernel = tf.convert_to_tensor(weights[f"{name}/kernel"])
    output = kernel.shape[-1]
    by_group = tf.transpose(tf.reshape(kernel, [9, groups, channels // groups, output]), [1, 0, 2, 3])
    columns = tf.reshape(samples, [batch * height * width, 9 * channels])
    result = tf.matmul(columns, tf.reshape(by_group, [9 * channels, output]))
    result = tf.reshape(result, [batch, height, width, output])
    if f"{name}/bias" in weights:
        result = tf.nn.bias_add(result, tf.convert_to_tensor(weights[f"{name}/bias"]))
    return result
