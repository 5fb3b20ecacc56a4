"""The contract that every network of the package keeps, and the two forms its weights are stored in."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np
from keras import ops

from isr import presets
from isr.arguments import ConfigFromArguments
from isr.errors import RequestError
from isr.models import starts
from isr.ops import Tensor
from isr.presets import SavedAsPreset, check_numbers, read_safetensors
from isr.spec import ModelSpec

Features = dict[str, Tensor]  # what a video network computes of one frame, or of a window of them
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB, [0, 1]: the mean that published EDSR weights subtract


class SuperResolutionModel(ConfigFromArguments, SavedAsPreset, keras.Model):
    """Base of the networks: float [0, 1] in, float32 about [0, 1] out, channels last, unclipped.

    A subclass takes plain values as arguments and keeps each as an attribute of the same name; passes
    `dtype=self.dtype_policy` to every sub-layer and names every one; has an explicit `build` for all branches and
    calls it in the constructor, so that all variables exist when that returns.
    It defines `call`, `receptive_radius`, and `scales` where it has another number of them than one `scale`.

    Args:
        num_channels: channels of the pictures, at least 1.
        pixel_mean: subtracted from the input and added to the output, [0, 1]; per channel or one for all. None:
            `DIV2K_MEAN` for 3 channels, else its average.
        pixel_range: what [0, 1] is multiplied by before the first convolution, over 0; published EDSR weights expect
            255.
        kwargs: `name`, `dtype` (a policy such as "mixed_bfloat16"), `trainable`, as in Keras.

    Raises:
        ValueError: an argument is out of its range.
    """

    scale: int

    # The networks of the paper by name: what differs from the defaults. A subclass has its own.
    VARIANTS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init__(
        self,
        *,
        num_channels: int,
        pixel_mean: Sequence[float] | float | None,
        pixel_range: float,
        **kwargs: Any,
    ) -> None:
        # Without autocast the input reaches `call` as it is, so that mean and range are applied in float32.
        super().__init__(**{"autocast": False, **kwargs})
        if num_channels < 1:
            raise ValueError(f"num_channels={num_channels}: at least one channel is needed")
        if pixel_range <= 0:
            raise ValueError(f"pixel_range={pixel_range}: must be over 0")
        if pixel_mean is None:
            pixel_mean = DIV2K_MEAN if num_channels == 3 else sum(DIV2K_MEAN) / 3
        mean = np.ravel(np.asarray(pixel_mean, float)).tolist()  # plain numbers, which JSON can hold
        mean = mean * num_channels if len(mean) == 1 else mean
        if len(mean) != num_channels:
            raise ValueError(f"pixel_mean has {len(mean)} values for {num_channels} channels")
        self.num_channels = num_channels
        self.pixel_mean = tuple(mean)
        self.pixel_range = float(pixel_range)
        # Without it a gray picture would be broadcast against the mean of an RGB network.
        self.input_spec = keras.layers.InputSpec(axes={-1: num_channels})

    # What a subclass says of itself

    @property
    def scales(self) -> tuple[int, ...]:
        """The factors this model can enlarge by; the first is the default of `call`. Here: its one `scale`."""
        return (self.scale,)

    @property
    def receptive_radius(self) -> int | None:
        """Input pixels to each side on which an output pixel depends, rounded up; None if unbounded."""
        raise NotImplementedError

    @property
    def size_multiple(self) -> int:
        """What the sides of the input must be multiples of."""
        return 1

    @property
    def spec(self) -> ModelSpec:
        """What tiling, evaluation and export need to know."""
        return ModelSpec(
            name=self.name,
            scales=self.scales,
            num_channels=self.num_channels,
            receptive_radius=self.receptive_radius,
            size_multiple=self.size_multiple,
        )

    def at_scale(self, lr: Tensor, scale: int) -> Tensor:
        """The call at one of `scales`, whether or not there is a choice."""
        return self(lr, scale=scale) if len(self.scales) > 1 else self(lr)

    def check_sides(self, lr: Tensor) -> None:
        """Raise ValueError where the sides of `[..., h, w, c]` are known and no multiples of `size_multiple`."""
        height, width = lr.shape[-3:-1]
        if any(side is not None and side % self.size_multiple for side in (height, width)):
            raise ValueError(
                f"pictures of {width}x{height}: {self.name} takes sides that are multiples of {self.size_multiple}; "
                "isr.upscale and isr.upscale_frames pad them"
            )

    def start_as_interpolation(self) -> None:
        """Set the weights so that the untrained network interpolates, as `isr.models.starts.interpolate` does.

        Raises:
            RequestError: the network cannot begin so.
        """
        starts.interpolate(self)

    def normalise(self, lr: Tensor) -> Tensor:
        """`[0, 1]` to the range the convolutions expect, in float32 whatever the policy."""
        return (ops.cast(lr, "float32") - self._mean()) * self.pixel_range

    def denormalise(self, sr: Tensor) -> Tensor:
        """The inverse of `normalise`, in float32."""
        return ops.cast(sr, "float32") / self.pixel_range + self._mean()

    def _mean(self) -> Tensor:
        return ops.convert_to_tensor(self.pixel_mean, "float32")

    @classmethod
    def variant(cls, name: str, **kwargs: Any) -> Self:
        """Build a network of the paper by its name in `VARIANTS`.

        Args:
            name: such as "large".
            kwargs: further arguments of the constructor, which go before those of the variant.

        Raises:
            ValueError: there is no such variant.
        """
        if name not in cls.VARIANTS:
            known = ", ".join(cls.VARIANTS) or "none"
            raise ValueError(f"{cls.__name__} has no variant {name!r}; its variants: {known}")
        return cls(**{**cls.VARIANTS[name], **kwargs})

    # Copies

    def with_policy(self, policy: str) -> Self:
        """A copy of this model with the same weights under another dtype policy ("mixed_bfloat16", ...)."""
        copy = type(self).from_config({**self.get_config(), "dtype": policy})
        copy.set_weights(self.get_weights())
        return copy

    def reparametrise(self) -> Self:
        """The network in the form that it is run in; this one itself where training has no other form.

        A network whose convolutions have branches in training (`SPAN`) returns one with the same name, policy and
        pictures, without them. The presets of a run are in this form.
        """
        return self

    # Weights by name: presets

    def named_weights(self) -> dict[str, keras.Variable]:
        """Every variable by its path below the model, such as `block0/conv1/kernel`."""
        return weights_by_name(self)

    def load_named_weights(self, values: Mapping[str, np.ndarray], source: str) -> None:
        """Assign arrays to variables of the same names and shapes.

        Args:
            values: arrays by the names of `named_weights`; any float dtype.
            source: what the error names, usually the file.

        Raises RequestError unless names and shapes are exactly those of the model and all values are finite;
        nothing is assigned then.
        """
        assign_by_name(self.named_weights(), values, source)

    def adopt(self, values: Mapping[str, np.ndarray], source: str) -> list[str]:
        """Take over the weights of a related model, such as one for another scale, as `isr.models.starts.adopt` does.

        Args:
            values: arrays by the names of the other model's `named_weights`; any float dtype.
            source: what the error names, usually the file.

        Returns:
            The names that were made from others rather than copied.

        Raises:
            RequestError: the models are not related.
        """
        return starts.adopt(self, values, source)

    def load_weights(self, filepath: str | Path, skip_mismatch: bool = False, **kwargs: Any) -> None:
        """Load `.safetensors` (names as in a preset) or Keras' `.weights.h5`.

        Unlike Keras, this refuses a file whose set of names and shapes differs from the model's
        (`skip_mismatch=True` turns that off for `.weights.h5`), or whose values are not finite; the model keeps
        its weights then. Raises RequestError, which names the file.
        """
        path = Path(filepath)
        if not path.is_file():
            raise RequestError(f"{path}: no such weights file")
        if path.suffix == ".safetensors":
            self.load_named_weights(read_safetensors(path), str(path))
            return
        if not skip_mismatch:
            with tempfile.TemporaryDirectory() as folder:
                own = Path(folder) / "own.weights.h5"
                self.save_weights(own)
                compare_weights(hdf5_shapes(own), hdf5_shapes(path), str(path))
        before = self.get_weights()
        super().load_weights(path, skip_mismatch=skip_mismatch, **kwargs)
        try:
            check_numbers(self.named_weights(), str(path))
        except RequestError:
            self.set_weights(before)
            raise

    def preset_arguments(self) -> dict[str, Any]:
        """The constructor's arguments without what Keras adds (name, dtype, trainable)."""
        config = self.get_config()
        return {key: config[key] for key in config if key not in ("name", "dtype", "trainable")}

    @classmethod
    def from_preset(cls, preset: str | Path, **kwargs: Any) -> Self:
        """The model that a preset describes, with its weights.

        Args:
            preset: a shipped name (`isr models` lists them) or a folder.
            kwargs: override arguments of the constructor, such as `dtype`.

        Raises RequestError where there is no such preset, or it holds another network than this class, or
        arguments that the network refuses.
        """
        from isr.models import get_model

        folder = presets.find(preset)
        config = presets.read_config(folder)
        model_class = get_model(config["model"])
        if not issubclass(model_class, cls):
            raise RequestError(f"{preset}: holds the network {config['model']}, not {cls.__name__}")
        # TensorFlow takes no other characters in the names of a graph.
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", folder.resolve().name).lstrip("_-") or None
        arguments = {"name": name, **config["arguments"], **kwargs}
        try:
            model = model_class(**arguments)
        except (TypeError, ValueError) as error:
            what = f"{config['model']} cannot be built from its arguments ({first_line(error)})"
            raise RequestError(f"{folder / presets.CONFIG}: {what}") from None
        model.load_weights(folder / presets.WEIGHTS)
        return model


class MultiFrameModel(SuperResolutionModel):
    """Base of the video networks: windows `[b, t, h, w, c]` in, the enlarged centre frame `[b, s*h, s*w, c]` out.

    A subclass defines `encode` and `decode` instead of `call`, so that a video computes once what depends on one
    frame alone.

    Args:
        num_frames: t, at least 2.
        center_frame_idx: place of the output's frame in the window; None: the middle.
        kwargs: as for `SuperResolutionModel`.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, *, num_frames: int, center_frame_idx: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_frames < 2:
            raise ValueError(f"num_frames={num_frames}: a window has at least 2 frames")
        center = num_frames // 2 if center_frame_idx is None else center_frame_idx
        if not 0 <= center < num_frames:
            raise ValueError(f"center_frame_idx={center}: a window of {num_frames} frames has no such frame")
        self.num_frames = num_frames
        self.center_frame_idx = center
        self.input_spec = keras.layers.InputSpec(ndim=5, axes={1: num_frames, -1: self.num_channels})

    # What a subclass says of itself

    @property
    def frame_border(self) -> str:
        """What stands for frames beyond the ends of a clip, as in `ModelSpec`."""
        return "reflect"

    def encode(self, frames: Tensor) -> Features:
        """All that depends on one frame alone.

        Args:
            frames: `[n, h, w, c]`, float [0, 1].

        Returns:
            Tensors by name, `[n, ...]`.
        """
        raise NotImplementedError

    def decode(self, window: Features) -> Tensor:
        """The enlarged centre frame.

        Args:
            window: what `encode` gave for t consecutive frames, `[b, t, ...]`.

        Returns:
            Float32 about [0, 1], `[b, s*h, s*w, c]`.
        """
        raise NotImplementedError

    def call(self, lr: Tensor) -> Tensor:
        return self.decode(self.encode_window(lr))

    def encode_window(self, lr: Tensor) -> Features:
        """`encode` for all frames of `[b, t, h, w, c]`, as `decode` takes it."""
        features = self.encode(join_frames(lr))
        return {name: split_frames(value, self.num_frames) for name, value in features.items()}

    @property
    def spec(self) -> ModelSpec:
        return replace(
            super().spec,
            num_frames=self.num_frames,
            center_frame=self.center_frame_idx,
            frame_border=self.frame_border,
        )


def join_frames(x: Tensor) -> Tensor:
    """`[b, t, ...]` as `[b * t, ...]`, for layers that know no time."""
    return ops.reshape(x, (-1, *ops.shape(x)[2:]))


def split_frames(x: Tensor, num_frames: int) -> Tensor:
    """The inverse of `join_frames`."""
    return ops.reshape(x, (-1, num_frames, *ops.shape(x)[1:]))


def weights_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """Every variable of a model by its path below it, such as `block0/conv1/kernel`."""
    prefix = f"{model.path}/"  # more than the name where an outer name scope was open
    return {variable.path.removeprefix(prefix): variable for variable in model.variables}


def assign_by_name(
    variables: Mapping[str, keras.Variable], values: Mapping[str, np.ndarray], source: str
) -> None:
    """Assign arrays to variables of the same names, as `SuperResolutionModel.load_named_weights` does."""
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    compare_weights(shapes, {name: tuple(value.shape) for name, value in values.items()}, source)
    check_numbers(values, source)
    for name, variable in variables.items():
        variable.assign(np.asarray(values[name], variable.dtype))


def hdf5_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights in a `.weights.h5` by their path in the file, the optimizer's left out."""
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer/"):
            shapes[name] = tuple(item.shape)

    try:
        with h5py.File(path) as file:
            file.visititems(note)
    except OSError:
        raise RequestError(f"{path}: not a readable .weights.h5 file") from None
    return shapes


def compare_weights(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], source: str
) -> None:
    """Raise RequestError, naming the first difference, unless names and shapes are the same."""
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    if missing or surplus:
        parts = [f"{len(missing)} missing (first {missing[0]})"] if missing else []
        parts += [f"{len(surplus)} unknown (first {surplus[0]})"] if surplus else []
        raise RequestError(f"{source}: weights of another model: {', '.join(parts)}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise RequestError(f"{source}: {name} has shape {found[name]}, the model's is {shape}")


def load_keras_file(path: str | Path) -> SuperResolutionModel:
    """Load a `.keras` file that holds one of the package's models, without its optimizer.

    Raises RequestError where the file is missing, no Keras archive, another kind of model, or holds weights
    that the model has no place for (which Keras would drop without a word).
    """
    import zipfile

    import isr.models  # noqa: F401  registers every class, which Keras does not do by itself

    path = Path(path)
    if not path.is_file():
        raise RequestError(f"{path}: no such model file")
    try:
        model = keras.saving.load_model(path, compile=False)
        with tempfile.TemporaryDirectory() as folder:
            stored, own = Path(folder) / "stored.weights.h5", Path(folder) / "own.weights.h5"
            with (
                zipfile.ZipFile(path) as archive,
                archive.open("model.weights.h5") as source,
                stored.open("wb") as target,
            ):
                shutil.copyfileobj(source, target)
            model.save_weights(own)
            compare_weights(hdf5_shapes(own), hdf5_shapes(stored), str(path))
    except (ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path}: not a Keras model this package can read ({first_line(error)})") from None
    if not isinstance(model, SuperResolutionModel):
        raise RequestError(f"{path}: holds a {type(model).__name__}, which is no network of this package")
    check_numbers(model.named_weights(), str(path))
    return model


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
