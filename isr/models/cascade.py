"""Cascade: x4 as x2 of x2 (Timofte, Rothe, Van Gool: Seven ways to improve example-based single image SR, 2016)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from isr import presets
from isr.models.base import SuperResolutionModel
from isr.ops import Tensor


@keras.saving.register_keras_serializable(package="isr")
class Cascade(SuperResolutionModel):
    """Networks one behind the other, each enlarging the result of the one before.

    Args:
        models: networks for single pictures of equal `num_channels`, from the input on, each a description
            `{"model": class, "arguments": {...}}` as in a preset's `config.json`, a network or a preset's name or
            folder. Networks and presets are copied with their weights, descriptions start at random.

    Input: `lr`, float [0, 1], `[b, h, w, num_channels]`. Output: `sr`, float32, about [0, 1], unclipped,
    `[b, scale * h, scale * w, num_channels]` with the product of the networks' (first) scales.

    Raises:
        ValueError: the list is empty, or holds video networks or networks of different channels.

    Example:
        >>> Cascade(["edsr_fast_x2", "edsr_fast_x2"])(np.zeros((1, 24, 32, 3), "float32")).shape
        (1, 96, 128, 3)
    """

    def __init__(
        self, models: Sequence[SuperResolutionModel | Mapping[str, Any] | str], **kwargs: Any
    ) -> None:
        if not models:
            raise ValueError("models: a cascade needs at least one network")
        opened = [open_network(model) for model in models]
        channels = [model.num_channels for model in opened]
        if len(set(channels)) > 1:
            raise ValueError(f"models: the networks take {channels} channels; they must be equal")
        for model in opened:
            if model.spec.num_frames > 1:
                raise ValueError(f"models: {type(model).__name__} takes several frames")
        super().__init__(num_channels=channels[0], pixel_mean=0.0, pixel_range=1.0, **kwargs)
        self.models = [
            dict(given)
            if isinstance(given, Mapping)
            else {"model": type(model).__name__, "arguments": model.preset_arguments()}
            for given, model in zip(models, opened, strict=True)
        ]
        self.networks = [
            type(model)(**model.preset_arguments(), dtype=self.dtype_policy, name=f"network{i}")
            for i, model in enumerate(opened)
        ]
        for network, model in zip(self.networks, opened, strict=True):
            network.set_weights(model.get_weights())
        self.build((None, None, None, self.num_channels))

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.built = True  # the networks' constructors have built them

    def call(self, lr: Tensor) -> Tensor:
        sr = lr
        for network in self.networks:
            sr = network(sr)
        return sr

    def named_weights(self) -> dict[str, keras.Variable]:
        """Name every variable by its network and its path there, such as `network0/block0/conv1/kernel`."""
        return {  # built by themselves, the networks' own paths do not lie below this one's
            f"{network.name}/{name}": variable
            for network in self.networks
            for name, variable in network.named_weights().items()
        }

    @property
    def scales(self) -> tuple[int, ...]:
        return (math.prod(network.scales[0] for network in self.networks),)

    @property
    def receptive_radius(self) -> int | None:
        reach, scale = 0.0, 1
        for network in self.networks:
            if network.receptive_radius is None:
                return None
            reach += network.receptive_radius / scale  # its pixels are that much finer
            scale *= network.scales[0]
        return math.ceil(reach)

    @property
    def size_multiple(self) -> int:
        """Return what the sides of the input must be multiples of."""
        multiple, scale = 1, 1
        for network in self.networks:
            own = network.spec.size_multiple
            multiple = math.lcm(multiple, own // math.gcd(own, scale))
            scale *= network.scales[0]
        return multiple


def open_network(source: SuperResolutionModel | Mapping[str, Any] | str) -> SuperResolutionModel:
    """Open the network of a cascade's argument."""
    from isr.models import get_model

    if isinstance(source, SuperResolutionModel):
        return source
    if isinstance(source, Mapping):
        return get_model(source["model"])(**source["arguments"])
    return SuperResolutionModel.from_preset(presets.find(source))
