"""How EDVR begins: nearly as an interpolation, or with an EDVR without TSA or an EDSR."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from isr.errors import RequestError
from isr.models.base import DIV2K_MEAN
from isr.models.edvr import EDVR
from isr.models.starts import adopt, interpolate, kernels
from isr.models.weights import compare_weights
from isr.ops import Tensor


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
    before the alignment and behind the fusion, its upsampler this one's; see `adopt_edsr`.
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
    """Start where an EDSR for photographs stands: its features of the centre frame reach the reconstruction.

    EDSR's features have signs and pass its blocks without activations between them, where leaky ReLUs stand
    here. A shift per channel, as large as the most negative feature of a test picture, carries them through; the
    fusion takes it off again. The neighbours add little at first, their offsets being 0.
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
    taken = {"head": model.head, "upsampler/conv0": model.up1, "upsampler/conv1": model.up2}
    for number, block in enumerate(blocks):
        taken |= {f"block{number}/conv1": block.conv1, f"block{number}/conv2": block.conv2}
    needed = {
        f"{name}/{part}": tuple(getattr(layer, part).shape)
        for name, layer in taken.items()
        for part in ("kernel", "bias")
    }
    compare_weights(needed, {name: values[name].shape for name in needed if name in values}, source)
    for name, layer in taken.items():
        kernel, bias = (np.asarray(values[f"{name}/{part}"], np.float32) for part in ("kernel", "bias"))
        # The pictures' range reaches the layers by their biases alone.
        layer.set_weights([kernel, bias * model.pixel_range / 255])
    shift_mean(model)

    features = model.head(model.normalise(rectangles(model.num_channels)))
    before = shift_of(features)
    for block in model.extract:
        features = block(features)
    after = shift_of(features)
    shift(model.head, before)
    for block in model.extract:
        shift(block.conv1, -np.einsum("hwio,i->o", np.asarray(block.conv1.kernel), before))
    carry_center(model)
    shift(model.align.levels[0].feat_conv, after - before)
    model.fusion.bias.assign(-after.astype(np.float32))
    kernels.shrink([model.tail])

    names = {layer.name for layer in (model.head, *blocks, model.up1, model.up2)}
    return [name for name in model.named_weights() if name.split("/")[0] not in names]


def shift_mean(model: EDVR) -> None:
    """Make a head that was trained on pictures less the mean of DIV2K take those less the model's own."""
    channels = model.num_channels
    mean = np.asarray(DIV2K_MEAN if channels == 3 else [np.mean(DIV2K_MEAN)] * channels)
    difference = (np.asarray(model.pixel_mean) - mean) * model.pixel_range
    shift(model.head, np.einsum("hwco,c->o", np.asarray(model.head.kernel), difference))


def carry_center(model: EDVR) -> None:
    """Make the features of the centre frame pass the alignment and the fusion, and those of others add little."""
    count, finest = model.num_features, model.align.levels[0]
    # A deformable convolution starts as half of one, since an untrained mask is a half.
    for layer, gain, rest in (
        (finest.dcn, 2, 0.0),
        (finest.feat_conv, 1, 0.05),
        (model.align.cascade_dcn, 2, 0.0),
    ):
        kernel = np.asarray(layer.kernel, np.float64) * rest
        kernel[1, 1, :count] += gain * np.eye(count)
        layer.kernel.assign(kernel)
    kernel = np.asarray(model.fusion.kernel, np.float64) * 0.1
    first = model.center_frame_idx * count
    kernel[0, 0, first : first + count] += np.eye(count)
    model.fusion.kernel.assign(kernel)


def shift(layer: keras.layers.Layer, by: np.ndarray) -> None:
    """Add to the bias of a layer, `[f]`."""
    layer.bias.assign(layer.bias + by.astype(np.float32))


def rectangles(num_channels: int) -> np.ndarray:
    """Draw many edges as strong as those of photographs, `[1, 96, 96, num_channels]`, always the same."""
    rng = np.random.default_rng(0)
    picture = np.full((1, 96, 96, num_channels), 0.5, np.float32)
    for size in np.geomspace(64, 2, 500).astype(int):
        top, left = rng.integers(-size // 2, 96, 2).clip(0)
        height, width = rng.integers(1, size + 1, 2)
        picture[:, top : top + height, left : left + width] = rng.uniform(0.35, 0.65, num_channels)
    return picture


def shift_of(features: Tensor) -> np.ndarray:
    """Find what to add to each channel so that one value in a thousand is negative, `[f]`."""
    values = ops.convert_to_numpy(ops.cast(features, "float32"))
    return np.maximum(-np.quantile(values, 0.001, axis=(0, 1, 2)), 0)
