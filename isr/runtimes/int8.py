"""Convolutions in 8 bits: found on photographs, stored beside the weights, and computed with.

The convolutions that a bfloat16 policy computes in bfloat16 get 8-bit inputs and kernels; features between them, and
the convolutions at the ends of the network, stay float32. Engines with integer arithmetic then multiply integers.

Kernels are rounded one weight after another, and the error of each rounding is made good by the weights that are
still to come, as far as the photographs' features allow (Frantar et al. 2023, "GPTQ"; Frantar and Alistarh 2022,
section 3).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from isr import presets
from isr.data.pairs import find_pairs, read_channels
from isr.errors import RequestError
from isr.imresize import imresize
from isr.io.files import whole_folder
from isr.levels import to_float
from isr.models import MultiFrameModel, SuperResolutionModel
from isr.models.loading import load
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes.eight_bits import STEPS, EightBitConv, save

LARGEST = 127  # of a kernel's
SAMPLES = 1500  # values of each channel that a picture gives to find the range of an input
GRAM_PICTURES = 12  # how many pictures roundings are made good on
GRAM_PIXELS = 96  # the side of their parts
SIDE = 96  # input pixels of the part of a photograph that is looked at
DAMPING = 0.01  # of the mean square of a feature, added to every feature's
SHRINKS = np.linspace(0.3, 1, 36)  # of the range of an input: what lies outside is clipped


def quantise(
    preset: str | Path,
    photos: str | Path,
    *,
    count: int = 60,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make the 8-bit variant of a preset from photographs.

    Args:
        preset: a shipped name or a folder.
        photos: folder of photographs in high resolution like those that the network is for; sub-folders are walked.
            Their channels become the network's: gray is repeated, RGB becomes luma.
        count: how many of them to look at, spread over the folder.
        output: a new folder for the whole preset with the variant; None: the variant goes into the preset's own.
        overwrite: replace the variant that the preset has.
        progress: told of every photograph; asked for `cancelled` between them.

    Returns:
        The file of the variant.

    Raises:
        RequestError: there is no such preset, its network takes several frames, it has a variant, `output` exists, or
            a photograph cannot be read.
        Cancelled: the progress asked for it. Nothing is written then.

    Example:
        >>> quantise("runs/mine/best", "photos")
        PosixPath('runs/mine/best/int8/weights.safetensors')
    """
    folder = presets.find(preset)
    if output is not None and Path(output).exists():
        raise RequestError(f"{output}: exists already; give another folder with --output")
    if output is None and presets.variant(folder).exists() and not overwrite:
        raise RequestError(f"{presets.variant(folder)}: exists; give --overwrite to replace it")
    model = load(folder)
    convs = calibrate(model, read_parts(Path(photos), count, model.scales[0], model.num_channels), progress)
    if output is None:
        return save(convs, folder)
    with whole_folder(Path(output)) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        save(convs, temporary)
    return presets.variant(Path(output))


def read_parts(photos: Path, count: int, scale: int, num_channels: int) -> list[np.ndarray]:
    """Read photographs of a folder as the network sees them: the middles, made small by MATLAB's bicubic rule.

    Args:
        photos: the folder.
        count: how many of its photographs, spread over it.
        scale: what the network enlarges by.
        num_channels: what it takes.

    Returns:
        Float32 in [0, 1], `[h, w, num_channels]`, `SIDE` pixels or fewer each way.

    Raises:
        RequestError: there are none, or one cannot be read or has too few pixels.
    """
    files = find_pairs(photos, None, scale)
    parts = []
    for file in files[:: -(-len(files) // count)]:
        hr = read_channels(file.hr, num_channels)
        sides = [min(side, SIDE * scale) // scale * scale for side in hr.shape[:2]]
        if not all(sides):
            raise RequestError(f"{file.hr}: {hr.shape[1]}x{hr.shape[0]} pixels are too few for scale {scale}")
        top, left = ((whole - side) // 2 for whole, side in zip(hr.shape[:2], sides, strict=True))
        parts.append(to_float(imresize(hr[top : top + sides[0], left : left + sides[1]], scale=1 / scale)))
    return parts


def convolutions(model: SuperResolutionModel) -> dict[str, keras.layers.Conv2D]:
    """Find the convolutions that may compute in 8 bits: those that bfloat16 policies compute in bfloat16.

    Args:
        model: a network of single pictures.

    Returns:
        The layers by their paths.

    Raises:
        RequestError: the network takes several frames: places that it samples at are no matter for 8 bits.
    """
    if isinstance(model, MultiFrameModel):
        raise RequestError(f"{model.name}: networks of several frames have no 8 bits; take bfloat16")
    names = {id(variable): name for name, variable in model.named_weights().items()}
    lower = model.with_policy("mixed_bfloat16")
    pairs = zip(_conv_layers(model), _conv_layers(lower), strict=True)
    return {
        names[id(layer.kernel)].removesuffix("/kernel"): layer
        for layer, twin in pairs
        if twin.compute_dtype == "bfloat16"
    }


def _conv_layers(model: SuperResolutionModel) -> list[keras.layers.Conv2D]:
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Conv2D)]


@contextlib.contextmanager
def _replaced(
    layers: Mapping[str, keras.layers.Conv2D], operation: Callable[[str, keras.layers.Conv2D], Any]
) -> Iterator[None]:
    """While it lasts, what the layers convolve with is `operation(path, layer)`."""
    for path, layer in layers.items():
        layer.convolution_op = operation(path, layer)
    try:
        yield
    finally:
        for layer in layers.values():
            del layer.convolution_op


@contextlib.contextmanager
def computing_in_8_bits(
    model: SuperResolutionModel, convs: Mapping[str, EightBitConv], source: str = "int8"
) -> Iterator[None]:
    """Let a network compute as an engine does in 8 bits, while the block lasts.

    Converters find the steps in its graph. On TensorFlow only. It is slow there: integers are imitated in float32.

    Args:
        model: whose convolutions are those of `convs`.
        convs: by their paths.
        source: what errors name.

    Raises:
        RequestError: paths or shapes are not those of the network.
    """
    import tensorflow as tf

    layers = convolutions(model)
    if differing := sorted(set(layers).symmetric_difference(convs)):
        raise RequestError(f"{source}: not the 8 bits of this network (first that differs: {differing[0]})")
    for path, layer in layers.items():
        if tuple(layer.kernel.shape) != convs[path].kernel.shape:
            raise RequestError(
                f"{source}: {path} has shape {convs[path].kernel.shape}, not {tuple(layer.kernel.shape)}"
            )

    def operation(path: str, layer: keras.layers.Conv2D) -> Any:
        conv, convolve = convs[path], layer.convolution_op
        lowest, highest = (conv.input_step * (end - conv.input_zero) for end in (0, STEPS))
        most = conv.kernel_step * LARGEST
        kernel = conv.kernel * conv.kernel_step

        def rounded(inputs: Any, _: Any) -> Any:
            inputs = tf.quantization.fake_quant_with_min_max_args(inputs, lowest, highest)
            weights = tf.quantization.fake_quant_with_min_max_vars_per_channel(
                tf.constant(kernel, tf.float32), -most, most, narrow_range=True
            )
            return convolve(inputs, weights)

        return rounded

    with _replaced(layers, operation):
        yield


def calibrate(
    model: SuperResolutionModel, pictures: Sequence[np.ndarray], progress: Progress | None = None
) -> dict[str, EightBitConv]:
    """Find the steps of every convolution on photographs, and round the kernels.

    Args:
        model: a float32 network of single pictures.
        pictures: low-resolution photographs, float32 `[h, w, c]` in [0, 1], of about 100 pixels or more.
        progress: told of every picture.

    Returns:
        By the paths of `convolutions`.

    Raises:
        RequestError: there are no pictures, or the network takes several frames.
        Cancelled: the progress asked for it.
    """
    if not len(pictures):
        raise RequestError("8 bits are found on photographs, and there are none")
    progress = progress or Silent()
    layers = convolutions(model)
    samples: dict[str, list[np.ndarray]] = {path: [] for path in layers}
    rng = np.random.default_rng(0)

    def sample(path: str, inputs: np.ndarray) -> None:
        flat = inputs.reshape(-1, inputs.shape[-1])
        drawn = flat[rng.integers(0, len(flat), SAMPLES // 4)].ravel()
        # A few extremes count more than their number says: what they are cut off by goes through all that follows.
        samples[path].append(np.concatenate([drawn, [flat.min(), flat.max()]]))

    some = pictures[:: -(-len(pictures) // GRAM_PICTURES)]
    progress.start("calibrate", len(pictures) + len(some), "pictures")
    _look(model, layers, pictures, sample, progress)
    steps = {path: best_steps(np.concatenate(samples.pop(path))) for path in layers}
    unrounded = {
        path: EightBitConv(np.zeros(0, np.int8), np.zeros(0, np.float32), *steps[path]) for path in layers
    }
    grams: dict[str, Any] = dict.fromkeys(layers, 0.0)

    def correlate(path: str, inputs: np.ndarray) -> None:
        height, width = inputs.shape[1:3]
        top, left = (max(0, (side - GRAM_PIXELS) // 2) for side in (height, width))
        part = inputs[0, top : top + GRAM_PIXELS, left : left + GRAM_PIXELS]
        seen = neighbourhoods(unrounded[path].round(part), layers[path].kernel_size)
        grams[path] = grams[path] + (seen.T @ seen).astype(np.float64)

    _look(model, layers, some, correlate, progress)
    result = {}
    for path, layer in layers.items():
        kernel, step = round_kernel(keras.ops.convert_to_numpy(layer.kernel), grams.pop(path))
        result[path] = EightBitConv(kernel, step, *steps[path])
    return result


def _look(
    model: SuperResolutionModel,
    layers: Mapping[str, keras.layers.Conv2D],
    pictures: Sequence[np.ndarray],
    at: Callable[[str, np.ndarray], None],
    progress: Progress,
) -> None:
    """Show the inputs of all convolutions, at every scale, to `at(path, inputs)`."""

    def operation(path: str, layer: keras.layers.Conv2D) -> Any:
        def watched(convolve: Any, inputs: Any, kernel: Any) -> Any:
            at(path, keras.ops.convert_to_numpy(inputs))
            return convolve(inputs, kernel)

        return partial(watched, layer.convolution_op)

    # Every scale sees one.
    rounds = -(-len(model.scales) // len(pictures))
    with _replaced(layers, operation):
        for index, picture in enumerate([*pictures] * rounds):
            check_cancelled(progress)
            model.at_scale(picture[np.newaxis], model.scales[index % len(model.scales)])
            progress.advance()


def best_steps(values: np.ndarray) -> tuple[float, int]:
    """Find the step and the zero of an input for which rounding and clipping `values` to 256 numbers errs least."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    best, result = np.inf, (1.0, 0)
    for shrink in SHRINKS:
        step = max((high - low) * shrink / STEPS, 1e-12)
        zero = int(np.clip(np.rint(-low * shrink / step), 0, STEPS))
        rounded = (np.clip(np.rint(values / step) + zero, 0, STEPS) - zero) * step
        error = float(np.mean((rounded - values) ** 2))
        if error < best:
            best, result = error, (float(np.float32(step)), zero)
    return result


def neighbourhoods(features: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Lay out what a kernel of `size` sees at each place of `[h, w, c]`, zeros outside.

    Returns:
        `[h * w, rows * columns * c]`.
    """
    height, width, channels = features.shape
    padded = np.pad(features, (*(((side - 1) // 2, side // 2) for side in size), (0, 0)))
    seen = [
        padded[i : i + height, j : j + width].reshape(-1, channels)
        for i in range(size[0])
        for j in range(size[1])
    ]
    return np.concatenate(seen, axis=1)


def round_kernel(kernel: np.ndarray, gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round a kernel to int8.

    Args:
        kernel: `[rows, columns, in, out]`.
        gram: `[n, n]` with n = rows * columns * in: sums of products of what it is multiplied with.

    Returns:
        The kernel, int8, and its steps `[out]`, float32.
    """
    weights = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    step = np.maximum(np.abs(weights).max(axis=0), 1e-12) / LARGEST
    count = len(weights)
    gram = gram + (DAMPING * np.trace(gram) / count + 1e-12) * np.eye(count)
    order = np.argsort(-np.diag(gram))  # what counts most is rounded while most can still make it good
    weights, gram = weights[order], gram[np.ix_(order, order)]
    upper = np.linalg.cholesky(np.linalg.inv(gram)).T
    numbers = np.empty((count, kernel.shape[-1]), np.int8)
    for index in range(count):
        rounded = np.clip(np.rint(weights[index] / step), -LARGEST, LARGEST)
        numbers[order[index]] = rounded
        error = (weights[index] - rounded * step) / upper[index, index]
        weights[index + 1 :] -= np.outer(upper[index, index + 1 :], error)
    return numbers.reshape(kernel.shape), step.astype(np.float32)
