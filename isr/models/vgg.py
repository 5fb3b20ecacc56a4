"""VGG (Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014)."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from isr.errors import RequestError, first_line
from isr.ops import Tensor
from isr.presets import check_numbers

CONVS_PER_BLOCK = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # columns D and E of the paper's table 1
FEATURES_PER_BLOCK = (64, 128, 256, 512, 512)
MEAN_RGB = (123.68, 116.779, 103.939)  # of the training pictures, 0 to 255
SHIPPED = Path(__file__).with_name("vgg19_features.npz")
DEEPEST_SHIPPED = "block3_conv4"  # of VGG19


@keras.saving.register_keras_serializable(package="isr")
class VGG(keras.Model):
    """The features of a VGG classifier for ImageNet, frozen: what content losses compare.

    Only the layers up to the deepest one asked for exist. The features are those of Keras' model fed with its own
    `preprocess_input`. They pass 10,000, so all is computed in float32, whatever the global policy is.

    Args:
        depth: 16 or 19.
        layers: whose features to give, by Keras' name ("block3_conv3", "block3_pool") or index (9).
        before_activation: give the features of convolutions before their ReLU, as ESRGAN compares them.
        weights: "shipped": the file of the package, VGG19 up to block3_conv4. A path: a `.h5` of Keras' VGG of this
            depth, with or without the classifier, or a `.npz` like the shipped one. "imagenet": what
            `keras.applications` downloads. None: random.
        kwargs: `name`, `dtype`, as in Keras.

    Input: RGB, float [0, 1], `[b, h, w, 3]`.
    Output: one map per entry of `layers`, in that order, `[b, h / 2**n, w / 2**n, f]` behind n poolings; a tuple.

    Raises:
        RequestError: an argument is out of its range, or weights cannot be had or read.
        ValueError: a picture is smaller than one pixel of the deepest map.

    Example:
        >>> shallow, deep = VGG(layers=("block2_conv2", "block3_conv3"))(np.zeros((1, 64, 48, 3), "float32"))
        >>> deep.shape
        (1, 16, 12, 256)
    """

    def __init__(
        self,
        depth: Literal[16, 19] = 19,
        layers: Sequence[str | int] = ("block2_conv2", "block3_conv3"),
        before_activation: bool = False,
        weights: str | Path | None = "shipped",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"name": f"vgg{depth}", "dtype": "float32", "autocast": False, **kwargs})
        if depth not in CONVS_PER_BLOCK:
            raise RequestError(f"depth={depth!r}: the VGG networks here are of depth 16 and 19")
        names = layer_names(depth)
        self.depth = depth
        # Keras has properties `layers` and `weights`.
        self.layer_names = tuple(_find_layer(layer, names) for layer in layers)
        self.weights_source = weights
        self.before_activation = before_activation
        if not self.layer_names:
            raise RequestError("layers=(): name at least one layer, such as block3_conv3")

        deepest = max(names.index(name) for name in self.layer_names)
        self.trunk = [self._layer(name) for name in names[1 : deepest + 1]]
        self.build((None, None, None, 3))
        if weights is not None:
            self._take(weights)
        self.trainable = False

    def _layer(self, name: str) -> keras.layers.Layer:
        if name.endswith("pool"):
            return keras.layers.MaxPooling2D(2, dtype=self.dtype_policy, name=name)
        features = FEATURES_PER_BLOCK[int(name[5]) - 1]
        return keras.layers.Conv2D(features, 3, padding="same", dtype=self.dtype_policy, name=name)

    @property
    def convs(self) -> list[keras.layers.Conv2D]:
        """Return the convolutions, from the first on."""
        return [layer for layer in self.trunk if isinstance(layer, keras.layers.Conv2D)]

    def build(self, shape: tuple[int | None, ...]) -> None:
        channels = shape[-1]
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: channels})
        for layer in self.trunk:
            layer.build((None, None, None, channels))
            channels = getattr(layer, "filters", channels)
        self.built = True

    def call(self, pictures: Tensor) -> tuple[Tensor, ...]:
        least = 2 ** (len(self.trunk) - len(self.convs))
        height, width = pictures.shape[1:3]
        if any(side is not None and side < least for side in (height, width)):
            raise ValueError(
                f"pictures of {width}x{height}: no pixel of {self.trunk[-1].name} is left; {self.name} takes sides of "
                f"{least} or more"
            )
        # The zeros that pad the convolutions are the mean colour, not black.
        x = ops.cast(pictures, "float32") * 255.0 - ops.convert_to_tensor(MEAN_RGB, "float32")
        maps = {}
        for layer in self.trunk:
            x = maps[layer.name] = layer(x)
            if isinstance(layer, keras.layers.Conv2D):
                x = ops.relu(x)
                if not self.before_activation:
                    maps[layer.name] = x
        return tuple(maps[name] for name in self.layer_names)

    def _take(self, weights: str | Path) -> None:
        """Assign the weights of a source, as the argument of that name takes it."""
        names = [layer.name for layer in self.convs]
        if weights == "shipped":
            values = _shipped(self.depth, names)
        elif weights == "imagenet":
            values = _downloaded(self.depth, names)
        else:
            values = _read(Path(weights), self.depth, names)
        for layer in self.convs:
            for variable, value in zip(layer.weights, values[layer.name], strict=True):
                if value.shape != tuple(variable.shape):
                    raise RequestError(
                        f"{weights}: the {variable.name} of {layer.name} has shape {value.shape}, that of "
                        f"VGG{self.depth} is {tuple(variable.shape)}; give a file of that network"
                    )
                check_numbers({f"{layer.name}/{variable.name}": value}, str(weights))
                variable.assign(np.asarray(value, "float32"))

    def get_config(self) -> dict[str, Any]:
        weights = self.weights_source
        return {
            **super().get_config(),
            "depth": self.depth,
            "layers": list(self.layer_names),
            "before_activation": self.before_activation,
            "weights": str(weights) if isinstance(weights, Path) else weights,
        }


def layer_names(depth: int) -> list[str]:
    """List the layers of a VGG without its classifier; the place in the list is the index in Keras' model."""
    names = ["input"]
    for block, convs in enumerate(CONVS_PER_BLOCK[depth], start=1):
        names += [f"block{block}_conv{index}" for index in range(1, convs + 1)]
        names.append(f"block{block}_pool")
    return names


def _find_layer(layer: str | int, names: list[str]) -> str:
    """Find the name of a layer that is given by name or index."""
    if isinstance(layer, int) and 0 < layer < len(names):
        return names[layer]
    if layer in names[1:]:
        return str(layer)
    raise RequestError(
        f"layer {layer!r} is unknown; this network has {', '.join(names[1:])}, or their places 1 to {len(names) - 1}"
    )


# Where weights come from: kernel and bias of the convolutions, the first kernel's input channels in the order R, G, B

Weights = dict[str, tuple[np.ndarray, np.ndarray]]


def _shipped(depth: int, names: list[str]) -> Weights:
    if depth == 19 and names[-1] <= DEEPEST_SHIPPED:
        return _read(SHIPPED, depth, names)
    wanted = names[-1] if depth == 19 else f"VGG{depth}"
    raise RequestError(
        f"{wanted} does not come with the package, which has VGG19 up to {DEEPEST_SHIPPED}; give weights=PATH of "
        f'Keras\' file {_published_name(depth)}, or weights="imagenet" to download it'
    )


def _downloaded(depth: int, names: list[str]) -> Weights:
    network = {16: keras.applications.VGG16, 19: keras.applications.VGG19}[depth]
    try:
        model = network(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises it bare where there is no network
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")) / "models"
        raise RequestError(
            f"the weights of VGG{depth} cannot be downloaded ({first_line(error)}); put {_published_name(depth)} "
            f"into {folder}, or give its path as weights=PATH"
        ) from error
    return _in_rgb({name: tuple(model.get_layer(name).get_weights()) for name in names})


def _published_name(depth: int) -> str:
    return f"vgg{depth}_weights_tf_dim_ordering_tf_kernels_notop.h5"


def _read(path: Path, depth: int, names: list[str]) -> Weights:
    """Read the weights of these layers from a file; RequestError where it does not hold them."""
    if not path.is_file():
        raise RequestError(f"{path}: no such weights file; give a .h5 of Keras' VGG{depth}")
    is_npz = path.suffix == ".npz"
    try:
        found = _read_npz(path) if is_npz else _read_hdf5(path)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        raise RequestError(
            f"{path}: not a readable .h5 or .npz file; give one of Keras' VGG{depth}"
        ) from None
    for other, convs in CONVS_PER_BLOCK.items():
        if other != depth and len(found) == sum(convs):  # the first layers have the same names and shapes
            raise RequestError(f"{path}: holds a VGG{other}; give a file of VGG{depth}, or depth={other}")
    weights = {}
    for index, name in enumerate(names):
        arrays = found.get(name) or found.get(f"conv2d_{index}" if index else "conv2d", [])
        try:
            kernel, bias = sorted(arrays, key=np.ndim, reverse=True)
        except ValueError:
            raise RequestError(f"{path}: holds no kernel and bias of {name}; give a file that does") from None
        weights[name] = (kernel, bias)
    return weights if is_npz else _in_rgb(weights)


def _read_npz(path: Path) -> dict[str, list[np.ndarray]]:
    """Kernel and bias of every convolution, stored as `block1_conv1_kernel`."""
    found: dict[str, list[np.ndarray]] = {}
    with np.load(path) as file:
        for key in file.files:
            layer, _, what = key.rpartition("_")
            if what in ("kernel", "bias"):
                found.setdefault(layer, []).append(file[key])
    return found


def _read_hdf5(path: Path) -> dict[str, list[np.ndarray]]:
    """Kernel and bias of every convolution by its name, or by its number in a `.weights.h5` of Keras 3."""
    import h5py

    found: dict[str, list[np.ndarray]] = {}

    def note(key: str, item: Any) -> None:
        layer = re.match(r"layers/(conv2d(?:_\d+)?)/", key) or re.search(r"(?:^|/)(block\d_conv\d)/", key)
        if layer and isinstance(item, h5py.Dataset) and not key.startswith("optimizer"):
            found.setdefault(layer[1], []).append(np.asarray(item, "float32"))

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def _in_rgb(weights: dict[str, Any]) -> Weights:
    """Turn the first kernel, which Keras has for BGR, to RGB."""
    kernel, bias = weights["block1_conv1"]
    return {**weights, "block1_conv1": (kernel[:, :, ::-1], bias)}
