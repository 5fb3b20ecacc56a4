"""The contract that every network of the package keeps."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict, Unpack

import keras
import numpy as np
from keras import ops

from isr import presets
from isr.arguments import ConfigFromArguments, at_least
from isr.errors import RequestError, first_line
from isr.models import starts
from isr.models.weights import assign_by_name, compare_weights, hdf5_shapes, weights_by_name
from isr.ops import Tensor
from isr.presets import Mixture, SavedAsPreset, check_numbers, read_safetensors
from isr.spec import ModelSpec

Features = dict[str, Tensor]  # what a video network computes of one frame, or of a window of them
Step = Callable[..., Any]  # as in `MultiFrameModel.combine`
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB, [0, 1]: the mean that published EDSR weights subtract


class Pictures(TypedDict, total=False):
    """The keywords that every network takes, beside arguments of its own: as `SuperResolutionModel` describes them."""

    num_channels: int
    pixel_mean: Sequence[float] | float | None
    pixel_range: float
    name: str | None
    dtype: Any
    trainable: bool
    autocast: bool


UNIT_RANGE: Pictures = {"num_channels": 3, "pixel_mean": 0.0, "pixel_range": 1.0}  # pictures as they come in


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

    # What the keywords of the pictures are where none is given. A subclass may have its own.
    PICTURES: ClassVar[Pictures] = {"num_channels": 3, "pixel_mean": None, "pixel_range": 255.0}

    def __init__(self, **kwargs: Unpack[Pictures]) -> None:
        given: Pictures = {**self.PICTURES, **kwargs}
        num_channels, pixel_range = given.pop("num_channels"), given.pop("pixel_range")
        pixel_mean = given.pop("pixel_mean")
        # Without autocast the input reaches `call` as it is, so that mean and range are applied in float32.
        super().__init__(**{"autocast": False, **given})
        at_least(1, num_channels=num_channels)
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
        """Return the factors this model can enlarge by; the first is the default of `call`. Here: its one `scale`."""
        return (self.scale,)

    @property
    def receptive_radius(self) -> int | None:
        """Input pixels to each side on which an output pixel depends, rounded up; None if unbounded."""
        raise NotImplementedError

    @property
    def size_multiple(self) -> int:
        """Return what the sides of the input must be multiples of."""
        return 1

    @property
    def enlarges_last(self) -> bool:
        """Tell whether every convolution is at the size of the input."""
        return False

    @property
    def spec(self) -> ModelSpec:
        """Return what tiling, evaluation and export need to know."""
        return ModelSpec(
            self.name,
            self.scales,
            self.num_channels,
            receptive_radius=self.receptive_radius,
            size_multiple=self.size_multiple,
            enlarges_last=self.enlarges_last,
        )

    def at_scale(self, lr: Tensor, scale: int) -> Tensor:
        """Enlarge by one of `scales`, whether or not there is a choice."""
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
        """Bring `[0, 1]` to the range the convolutions expect, in float32 whatever the policy."""
        return (ops.cast(lr, "float32") - self._mean()) * self.pixel_range

    def denormalise(self, sr: Tensor) -> Tensor:
        """Undo `normalise`, in float32."""
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
        """Copy this model with its weights under another dtype policy ("mixed_bfloat16", ...)."""
        copy = type(self).from_config({**self.get_config(), "dtype": policy})
        copy.set_weights(self.get_weights())
        return copy

    def reparametrise(self) -> Self:
        """Give the network in the form that it is run in; this one itself where training has no other form.

        A network whose convolutions have branches in training (`SPAN`) returns one with the same name, policy and
        pictures, without them. The presets of a run are in this form.
        """
        return self

    # Weights by name: presets

    def named_weights(self) -> dict[str, keras.Variable]:
        """Name every variable by its path below the model, such as `block0/conv1/kernel`."""
        return weights_by_name(self)

    def load_named_weights(self, values: Mapping[str, np.ndarray], source: str) -> None:
        """Assign arrays to variables of the same names and shapes.

        Args:
            values: arrays by the names of `named_weights`; any float dtype.
            source: what the error names, usually the file.

        Raises:
            RequestError: names and shapes are not exactly those of the model, or a value is not finite; nothing is
                assigned then.
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

        Args:
            filepath: of either form.
            skip_mismatch: take what fits of a `.weights.h5`, and leave the rest as it is.
            kwargs: as in Keras.

        Raises:
            RequestError: the set of names and shapes in the file is another than the model's, which Keras would not
                mind, or its values are not finite; the model keeps its weights then.
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
        """Give the constructor's arguments without those of Keras (name, dtype, trainable, autocast)."""
        config = self.get_config()
        of_keras = ("name", "dtype", "trainable", "autocast")
        return {key: config[key] for key in config if key not in of_keras}

    @classmethod
    def from_preset(
        cls,
        preset: str | Path,
        *,
        denoise: float | None = None,
        texture: float | None = None,
        **kwargs: Any,
    ) -> Self:
        """Open the model that a preset describes, with its weights.

        Args:
            preset: a shipped name (`isr models` lists them) or a folder.
            denoise, texture: 0 to 1, of a preset for real photographs: how its corners are mixed (`presets.Mixture`);
                None: 1 and 0, the preset's own weights.
            kwargs: override arguments of the constructor, such as `dtype`.

        Raises:
            RequestError: there is no such preset, or it holds another network than this class, arguments that the
                network refuses, or no corners to mix.
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
        mixture = Mixture.of(denoise, texture)
        source = folder / presets.WEIGHTS
        if mixture is None:
            model.load_weights(source)
        else:
            model.load_named_weights(presets.read_weights(folder, mixture), str(source))
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

    def __init__(self, *, num_frames: int, center_frame_idx: int | None, **kwargs: Unpack[Pictures]) -> None:
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
        """Return what stands for frames beyond the ends of a clip, as in `ModelSpec`."""
        return "reflect"

    def encode(self, frames: Tensor) -> Features:
        """Compute all that depends on one frame alone.

        Args:
            frames: `[n, h, w, c]`, float [0, 1].

        Returns:
            Tensors by name, `[n, ...]`.
        """
        raise NotImplementedError

    @property
    def frame_network(self) -> SuperResolutionModel | None:
        """Return the network of single pictures that `encode` begins with, for an engine to run; None: none."""
        return None

    def observe(self, sr: Tensor) -> Features:
        """Compute what `encode` gives, of frames that `frame_network` has enlarged already.

        Args:
            sr: `[n, s*h, s*w, c]`, about [0, 1].
        """
        raise NotImplementedError

    def decode(self, window: Features) -> Tensor:
        """Make the enlarged centre frame.

        Args:
            window: what `encode` gave for t consecutive frames, `[b, t, ...]`.

        Returns:
            Float32 about [0, 1], `[b, s*h, s*w, c]`.
        """
        raise NotImplementedError

    def combine(self, frames: Sequence[Any], step: Step) -> Any:
        """Do what `decode` does, in steps whose results neighbouring windows can share.

        A network whose `decode` computes anything of a part of the window overrides this; here all of it is one step.

        Args:
            frames: of the window, each as `encode` gave it, `[b, ...]`; or what stands for that to `step`.
            step: calls a method of the network, its first argument, with features; its result stands for features,
                too. The same method with the same features may give what it gave before.

        Returns:
            As the steps give it: "sr", what `decode` gives.
        """
        return step(self.decode_frames, *frames)

    def decode_frames(self, *frames: Features) -> Features:
        """Give as "sr" what `decode` makes of the frames of a window."""
        window = {name: ops.stack([frame[name] for frame in frames], axis=1) for name in frames[0]}
        return {"sr": self.decode(window)}

    def call(self, lr: Tensor) -> Tensor:
        return self.decode(self.encode_window(lr))

    def encode_window(self, lr: Tensor) -> Features:
        """Encode all frames of `[b, t, h, w, c]`, as `decode` takes them."""
        features = self.encode(join_frames(lr))
        return {name: split_frames(value, self.spec.num_frames) for name, value in features.items()}

    @property
    def spec(self) -> ModelSpec:
        return replace(
            super().spec,
            num_frames=self.num_frames,
            center_frame=self.center_frame_idx,
            frame_border=self.frame_border,
        )


def join_frames(x: Tensor) -> Tensor:
    """Turn `[b, t, ...]` into `[b * t, ...]`, for layers that know no time."""
    return ops.reshape(x, (-1, *ops.shape(x)[2:]))


def split_frames(x: Tensor, num_frames: int) -> Tensor:
    """Undo `join_frames`."""
    return ops.reshape(x, (-1, num_frames, *ops.shape(x)[1:]))
