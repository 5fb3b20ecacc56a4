"""How EDVR begins: nearly as an interpolation, or with an EDVR without TSA or an EDSR."""

from __future__ import annotations

import re
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw

from isr.errors import RequestError
from isr.imresize import imresize
from isr.models.base import DIV2K_MEAN
from isr.models.edsr import EDSR
from isr.models.edvr import EDVR
from isr.models.starts import adopt, interpolate, kernels
from isr.models.weights import compare_weights
from isr.ops import Tensor, enlarge_bilinear

# Of the mean square of a feature, added to all, so that features that hang together can be fitted with.
RIDGE = 1e-7


@interpolate.register(EDVR)
def interpolate_edvr(model: EDVR) -> None:
    """Nearly interpolate, since the base is interpolated: the tail and the residual blocks start small."""
    kernels.shrink([*(block.conv2 for block in (*model.extract, *model.reconstruct)), model.tail])


@adopt.register(EDVR)
def adopt_edvr(model: EDVR, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over the same network, also one without TSA, or an EDSR.

    Without TSA: its one convolution becomes that of the attention's features, and the rest of the attention
    starts at random, as the authors train it (section 4.1).
    An EDSR for x4 with its default mean and range, into a network without TSA: its residual blocks become those
    before the alignment and behind the fusion, and what follows them is fitted to its results; see `adopt_edsr`.
    """
    if "body_end/kernel" in values:
        return adopt_edsr(model, values, source)
    if model.with_tsa and "fusion/kernel" in values:
        return adopt_without_attention(model, values, source)
    model.load_named_weights(values, source)
    return []


def adopt_without_attention(model: EDVR, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Take over the same network without TSA, whose fusion becomes that of the attention's features."""
    own = {name: np.asarray(value) for name, value in model.named_weights().items()}
    plain = kernels.below("fusion/", values)
    fuse = {part: own[f"fusion/fuse/{part}"].shape for part in ("kernel", "bias")}
    compare_weights(fuse, {part: plain[part].shape for part in fuse if part in plain}, source)

    others = {name: value for name, value in values.items() if not name.startswith("fusion/")}
    attention = {name: value for name, value in own.items() if name.startswith("fusion/")}
    # An untrained weight of a frame is a sigmoid about 0: a half.
    attention["fusion/fuse/kernel"] = 2 * np.asarray(plain["kernel"], np.float32)
    attention["fusion/fuse/bias"] = np.asarray(plain["bias"], np.float32)
    model.load_named_weights(others | attention, source)
    return list(attention)


def adopt_edsr(model: EDVR, values: Mapping[str, np.ndarray], source: str) -> list[str]:
    """Start where an EDSR for photographs stands, but for what a residual block less and one convolution cost.

    Its head and its residual blocks become those of this network. What comes behind them in an EDSR is linear, and is
    fitted anew by one convolution, in least squares over drawn pictures, since EDVR adds its result to an interpolated
    frame and not to its first features; see `fit_result`. EDSR's features have signs and pass no activations, where
    leaky ReLUs stand here: a shift per channel, as large as the most negative feature of these pictures, carries them
    through, and the fusion takes it off again. The neighbours add nothing yet, their offsets being 0.
    """
    if (
        model.with_tsa
        or model.with_predeblur
        or model.hr_in
        or model.num_upsample_features != model.num_features
    ):
        raise RequestError(
            f"{source}: an EDSR starts an EDVR without TSA, predeblur and hr_in, of as many features after the "
            "upsampler as before"
        )
    blocks = [*model.extract, *model.reconstruct]
    kept = kept_blocks(values, len(blocks))
    taken = {"head": model.head, "upsampler/conv0": model.up1, "upsampler/conv1": model.up2}
    for number, block in zip(kept, blocks, strict=True):
        taken |= {f"block{number}/conv1": block.conv1, f"block{number}/conv2": block.conv2}
    needed = {
        f"{name}/{part}": tuple(getattr(layer, part).shape)
        for name, layer in taken.items()
        for part in ("kernel", "bias")
    }
    compare_weights(needed, {name: values[name].shape for name in needed if name in values}, source)
    kernels.require_features(model.num_features, 8 * model.num_channels)
    for name, layer in taken.items():
        kernel, bias = (np.asarray(values[f"{name}/{part}"], np.float32) for part in ("kernel", "bias"))
        # The pictures' range reaches the layers by their biases alone.
        layer.set_weights([kernel, bias * model.pixel_range / 255])
    shift_mean(model)
    carry_center(model)
    pictures = leaves(model.num_channels)
    features = shift_features(model, pictures)
    fit_result(model, features, build_edsr(model, values, source)(pictures) - enlarge_bilinear(pictures, 4))

    names = {layer.name for layer in (model.head, *blocks)}
    return [name for name in model.named_weights() if name.split("/")[0] not in names]


def count_blocks(values: Mapping[str, np.ndarray]) -> int:
    """Count the residual blocks of an EDSR."""
    return sum(re.fullmatch(r"block\d+/conv1/kernel", name) is not None for name in values)


def kept_blocks(values: Mapping[str, np.ndarray], count: int) -> list[int]:
    """Choose which residual blocks of an EDSR stay: the first, the last, and those between spread evenly."""
    there = count_blocks(values)
    return [int(place) for place in np.linspace(0, max(there, count) - 1, count).round()]


def build_edsr(model: EDVR, values: Mapping[str, np.ndarray], source: str) -> EDSR:
    """Build the EDSR for x4 that weights are of."""
    edsr = EDSR(
        scale=4,
        num_features=model.num_features,
        num_blocks=count_blocks(values),
        num_channels=model.num_channels,
    )
    edsr.load_named_weights(values, source)
    return edsr


def shift_features(model: EDVR, pictures: Tensor) -> Tensor:
    """Shift what stands before the activations up to the fusion, so that it is seldom below 0; what follows undoes it.

    Returns:
        The features of pictures behind the last residual block.
    """
    features = model.head(model.normalise(pictures))
    before = shift_of(features)
    for block in model.extract:
        features = block(features)
    after = shift_of(features)
    for block in model.reconstruct:
        features = block(features)

    shift(model.head, before)
    for block in model.extract:
        shift(block.conv1, -np.einsum("hwio,i->o", np.asarray(block.conv1.kernel), before))
    shift(model.align.levels[0].feat_conv, after)
    model.fusion.bias.assign(-(before + after).astype(np.float32))
    return features


def fit_result(model: EDVR, features: Tensor, residual: Tensor) -> None:
    """Let the layers behind the last residual block give what one convolution gives that is fitted to a residual.

    Their other features add nothing to the result yet.

    Args:
        model: whose weights are set.
        features: of pictures, `[n, h, w, f]`.
        residual: what shall be added to the pictures, enlarged bilinearly, `[n, 4 * h, 4 * w, c]`, [0, 1].
    """
    values = np.asarray(ops.cast(features, "float32"))
    n, h, w, f = values.shape
    c, edge = model.num_channels, 4
    windows = sliding_window_view(values[:, edge - 1 : 1 - edge, edge - 1 : 1 - edge], (3, 3), (1, 2))
    given = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 9 * f).astype(np.float64)
    wanted = model.pixel_range * np.asarray(residual, np.float64).reshape(n, h, 2, 2, w, 2, 2, c)
    # The sub-pixels of the first pixel shuffle stand before those of the second.
    wanted = wanted.transpose(0, 1, 4, 2, 5, 3, 6, 7)[:, edge:-edge, edge:-edge].reshape(len(given), 16 * c)
    mean, wanted_mean = given.mean(axis=0), wanted.mean(axis=0)
    moments = (given - mean).T @ (given - mean)
    moments += RIDGE * np.trace(moments) / len(moments) * np.eye(len(moments))
    fitted = np.linalg.solve(moments, (given - mean).T @ (wanted - wanted_mean))

    set_pairs(model.up1, fitted.reshape(3, 3, f, 4, 4 * c), wanted_mean - mean @ fitted)
    set_pairs(model.up2, from_pairs(np.eye(4 * c).reshape(1, 1, 4 * c, 4, c)))
    set_pairs(model.hr_conv, from_pairs(np.eye(c).reshape(1, 1, c, 1, c)))
    kernel, bias = model.tail.get_weights()
    kernel[:] = 0
    kernel[1, 1, : 2 * c] = from_pairs(np.eye(c)[None, None])[0, 0]
    model.tail.set_weights([kernel, np.zeros_like(bias)])


def from_pairs(kernel: np.ndarray) -> np.ndarray:
    """Make a kernel `[k, k, i, ...]` take every input as two: itself and its negative, behind leaky ReLUs."""
    # lrelu(x) - lrelu(-x) = 1.1 x
    return np.concatenate([kernel, -kernel], axis=2) / 1.1


def set_pairs(layer: keras.layers.Layer, kernel: np.ndarray, bias: np.ndarray | None = None) -> None:
    """Let the first features of a convolution, of each of its sub-pixels, be some values and their negatives.

    Args:
        layer: built, with a 3x3 kernel.
        kernel: of the values, `[k, k, i, sub-pixels, values]`, i being the first of the layer's inputs.
        bias: of the values, `[sub-pixels * values]`; None: 0.
    """
    size, _, inputs, phases, count = kernel.shape
    own = [weight.reshape(*weight.shape[:-1], phases, -1) for weight in layer.get_weights()]
    own[0][..., : 2 * count], own[1][..., : 2 * count] = 0, 0
    inner = slice(1, 2) if size == 1 else slice(None)
    own[0][inner, inner, :inputs, :, : 2 * count] = np.concatenate([kernel, -kernel], axis=-1)
    if bias is not None:
        bias = bias.reshape(phases, count)
        own[1][:, : 2 * count] = np.concatenate([bias, -bias], axis=-1)
    layer.set_weights([weight.reshape(*weight.shape[:-2], -1) for weight in own])


def shift_mean(model: EDVR) -> None:
    """Make a head that was trained on pictures less the mean of DIV2K take those less the model's own."""
    channels = model.num_channels
    mean = np.asarray(DIV2K_MEAN if channels == 3 else [np.mean(DIV2K_MEAN)] * channels)
    difference = (np.asarray(model.pixel_mean) - mean) * model.pixel_range
    shift(model.head, np.einsum("hwco,c->o", np.asarray(model.head.kernel), difference))


def carry_center(model: EDVR) -> None:
    """Make the features of the centre frame pass the alignment and the fusion, and those of others add nothing yet."""
    count, finest = model.num_features, model.align.levels[0]
    # A deformable convolution starts as half of one, since an untrained mask is a half.
    for layer, gain in ((finest.dcn, 2), (finest.feat_conv, 1), (model.align.cascade_dcn, 2)):
        kernel = np.zeros(layer.kernel.shape)
        kernel[1, 1, :count] += gain * np.eye(count)
        layer.kernel.assign(kernel)
    kernel = np.zeros(model.fusion.kernel.shape)
    first = model.center_frame_idx * count
    kernel[0, 0, first : first + count] += np.eye(count)
    model.fusion.kernel.assign(kernel)


def shift(layer: keras.layers.Layer, by: np.ndarray) -> None:
    """Add to the bias of a layer, `[f]`."""
    layer.bias.assign(layer.bias + by.astype(np.float32))


def leaves(num_channels: int, count: int = 6, side: int = 384) -> np.ndarray:
    """Draw shapes of all sizes over one another, whose edges are like those of photographs; always the same.

    Returns:
        The pictures at a quarter of their sides, `[count, side / 4, side / 4, num_channels]`, [0, 1].
    """
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        layers = [Image.new("L", (side, side), 128) for _ in range(num_channels)]
        for size in np.geomspace(2 * side / 3, 6, 700).astype(int):
            middle, sides = rng.integers(-size // 2, side, 2), rng.integers(3, size + 3, 2)
            angle, round_ = np.pi * rng.random(), rng.random() < 0.5
            # Gray for the most part, as photographs are.
            levels = 0.7 * rng.integers(20, 236) + 0.3 * rng.integers(20, 236, num_channels)
            axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2 * sides @ axes + middle
            box = [*(middle - sides / 2), *(middle + sides / 2)]
            for layer, level in zip(layers, levels, strict=True):
                draw = ImageDraw.Draw(layer)
                if round_:
                    draw.ellipse(box, fill=int(level))
                else:
                    draw.polygon([tuple(corner) for corner in corners], fill=int(level))
        pictures.append(imresize(np.stack([np.asarray(layer) for layer in layers], axis=-1), scale=1 / 4))
    return np.stack(pictures).astype(np.float32) / 255


def shift_of(features: Tensor) -> np.ndarray:
    """Find what to add to each channel so that one value in a thousand is negative, `[f]`."""
    values = ops.convert_to_numpy(ops.cast(features, "float32"))
    return np.maximum(-np.quantile(values, 0.001, axis=(0, 1, 2)), 0)
