"""Losses: between pictures, between their features, and of logits that a discriminator gave them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import keras
from keras import ops

from isr.arguments import ConfigFromArguments, at_least
from isr.ops import Tensor


@keras.saving.register_keras_serializable(package="isr")
class Charbonnier(ConfigFromArguments, keras.losses.Loss):
    """`mean(sqrt((sr - hr)^2 + epsilon^2))`, a differentiable L1 (Lai et al. 2017, LapSRN, equation 5).

    Args:
        epsilon: in the unit of the pictures, [0, 1].
        kwargs: `reduction="sum"` for the sum over the batch instead of the mean, as in Keras.

    `y_true` and `y_pred`: float `[b, h, w, c]`.
    """

    def __init__(self, epsilon: float = 1e-3, name: str = "charbonnier", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.sqrt(ops.square(y_pred - y_true) + self.epsilon**2)


def alignment_loss(aligned: Tensor, lr: Tensor, center: int) -> Tensor:
    """Compute the mean squared difference of the aligned frames from the centre frame (Tian et al. 2020, TDAN).

    Args:
        aligned: what the network made of every frame of the window, float [0, 1], `[b, t, h, w, c]`.
        lr: the window, same unit and shape.
        center: index of the centre frame.

    Returns:
        A scalar.
    """
    return ops.mean(ops.square(aligned - lr[:, center : center + 1]))


@keras.saving.register_keras_serializable(package="isr")
class EndPointError(ConfigFromArguments, keras.losses.Loss):
    """Compute `mean((|flow - truth| + epsilon)^power)`, where the true flow is known (Sun et al. 2018, PWC-Net).

    A power under 1 lets the last hundredths of a pixel count where most of the flow is found, and what is far away and
    hopeless count little.

    Args:
        power: 1 for the end-point error of the benchmarks; 0.4 as published.
        epsilon: in the unit of the flow.

    `y_true`: flow and whether it counts, 1 or 0, float `[b, h, w, 3]`. `y_pred`: one guess or more of the flow, float
    `[b, h, w, 2 * n]`, which count the same. Both have one unit.
    """

    def __init__(
        self, power: float = 0.4, epsilon: float = 0.01, name: str = "end_point_error", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.power = power
        self.epsilon = epsilon

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        counts = y_true[..., 2]
        # The addend keeps the derivative of the root finite.
        guesses = ops.stack(ops.split(y_pred, y_pred.shape[-1] // 2, axis=-1), axis=-2)  # [b, h, w, n, 2]
        error = ops.sqrt(ops.sum(ops.square(guesses - y_true[..., None, :2]), axis=-1) + 1e-8)
        distance = ops.mean(ops.power(error + self.epsilon, self.power), axis=-1)
        return counts * distance / (ops.mean(counts) + 1e-6)


def pixel_loss(name: str) -> keras.losses.Loss:
    """Make the pixel loss of a name.

    Args:
        name: "l1", "mse", "charbonnier"; or "charbonnier_sum", the sum over the batch with the epsilon of 1e-6 that
            EDVR was published with.

    Raises:
        ValueError: the name is another.
    """
    losses: dict[str, Callable[[], keras.losses.Loss]] = {
        "l1": keras.losses.MeanAbsoluteError,
        "mse": keras.losses.MeanSquaredError,
        "charbonnier": Charbonnier,
        "charbonnier_sum": partial(Charbonnier, epsilon=1e-6, reduction="sum"),
    }
    if name not in losses:
        raise ValueError(f"loss {name!r} is unknown; the pixel losses are {', '.join(losses)}")
    return losses[name]()


@keras.saving.register_keras_serializable(package="isr")
class ContentLoss(ConfigFromArguments, keras.losses.Loss):
    """Distance between the features of two pictures (Johnson et al. 2016, equation 2; SRGAN, equation 5).

    `sum_i weights[i] * mean(d((f_i(sr) - f_i(hr)) / scale))` with d the square or the absolute value. No gradient
    goes to `hr`.

    Args:
        extractor: gives the feature maps of a batch of pictures, such as `isr.models.VGG`.
        weights: one per map, in the extractor's order; None: the mean over the maps.
        kind: d: "mse" or "l1".
        scale: what features are divided by. A VGG takes pictures of 0 to 255 and its layers are homogeneous but for
            their biases, so divided by 255 its features have about the unit of pictures in [0, 1].
        kwargs: `reduction="sum"` for the sum over the batch instead of the mean, as in Keras.

    `y_true` and `y_pred`: `hr` and `sr`, float [0, 1], `[b, h, w, c]`.

    Raises:
        ValueError: the kind is another, the scale not over 0, or the weights are not as many as the maps.
    """

    def __init__(
        self,
        extractor: Callable[[Tensor], Any],
        weights: Sequence[float] | None = None,
        kind: Literal["mse", "l1"] = "mse",
        scale: float = 255.0,
        name: str = "content",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if kind not in ("mse", "l1"):
            raise ValueError(f"kind={kind!r}: features are compared by mse or l1")
        if scale <= 0:
            raise ValueError(f"scale={scale}: must be over 0")
        self.extractor = extractor
        self.weights = None if weights is None else list(weights)
        self.kind = kind
        self.scale = scale

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        expected = [ops.stop_gradient(feature) for feature in self._features(y_true)]
        found = self._features(y_pred)
        weights = [1 / len(found)] * len(found) if self.weights is None else self.weights
        if len(weights) != len(found):
            raise ValueError(f"{len(weights)} weights for the {len(found)} feature maps of the content loss")
        distance = ops.square if self.kind == "mse" else ops.abs
        terms = [
            weight * ops.mean(distance(sr - hr), (1, 2, 3))
            for weight, hr, sr in zip(weights, expected, found, strict=True)
        ]
        return sum(terms)  # [b]

    def _features(self, pictures: Tensor) -> list[Tensor]:
        return [_float32(feature) / self.scale for feature in keras.tree.flatten(self.extractor(pictures))]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "extractor": keras.saving.serialize_keras_object(self.extractor)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ContentLoss:
        return cls(**{**config, "extractor": keras.saving.deserialize_keras_object(config["extractor"])})


@keras.saving.register_keras_serializable(package="isr")
class TotalVariation(keras.losses.Loss):
    """Absolute differences of neighbouring pixels, per value of the picture: what noise has much of.

    `(sum |x[i + 1, j] - x[i, j]| + sum |x[i, j + 1] - x[i, j]|) / (h * w * c)`: the anisotropic form, of the rows and
    of the columns.

    `y_true` is not looked at. `y_pred`: float, `[b, h, w, c]`.
    """

    def __init__(self, name: str = "total_variation", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        down = ops.sum(ops.abs(y_pred[:, 1:] - y_pred[:, :-1]), (1, 2, 3))
        right = ops.sum(ops.abs(y_pred[:, :, 1:] - y_pred[:, :, :-1]), (1, 2, 3))
        return (down + right) / ops.cast(ops.prod(ops.shape(y_pred)[1:]), y_pred.dtype)  # [b]


@keras.saving.register_keras_serializable(package="isr")
class PhaseLoss(ConfigFromArguments, keras.losses.Loss):
    """Compute how much of the error repeats from cell to cell of `period` pixels: the mesh that a network adds.

    A network that enlarges `period` times treats all LR pixels alike, so what it adds without cause in the picture
    repeats every `period` pixels. The error `sr - hr` at each of the `period^2` places of a cell is averaged over
    `cells x cells` neighbouring cells, which leaves a mesh as it is and little of true texture. Less the mean over the
    places, which is no mesh but a wrong colour, its absolute value is averaged.

    Args:
        period: of the mesh, in pixels: the factor that the network enlarges by. Rows and columns beyond the last whole
            cell do not count.
        cells: side of a neighbourhood, in cells; all of a picture that has fewer.
        kwargs: `reduction="sum"` for the sum over the batch instead of the mean, as in Keras.

    `y_true` and `y_pred`: `hr` and `sr`, float [0, 1], `[b, h, w, c]`, at least a cell high and wide.

    Raises:
        ValueError: the period is below 2, or the cells below 1.
    """

    def __init__(self, period: int, cells: int = 2, name: str = "phase", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        at_least(2, period=period)
        at_least(1, cells=cells)
        self.period = period
        self.cells = cells

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        period = self.period
        height, width, channels = (int(length) for length in y_true.shape[1:])
        rows, columns = height // period, width // period
        error = (y_pred - y_true)[:, : rows * period, : columns * period]
        error = ops.reshape(error, (-1, rows, period, columns, period, channels))
        error -= ops.mean(error, axis=(2, 4), keepdims=True)
        # [b, rows, columns, period * period * c]: the places of a cell are channels.
        places = ops.reshape(
            ops.transpose(error, (0, 1, 3, 2, 4, 5)), (-1, rows, columns, period * period * channels)
        )
        sides = (min(self.cells, rows), min(self.cells, columns))
        steps = tuple(max(side // 2, 1) for side in sides)
        return ops.mean(ops.abs(ops.average_pool(places, sides, steps)), (1, 2, 3))  # [b]


class AdversarialLoss:
    """What a generator and a discriminator minimise against each other.

    Both methods take logits of any shape, those of photographs and those of enlarged pictures, high where the
    discriminator sees a photograph. They give a float32 scalar. `E` below is the mean over all logits of a batch, `s`
    the sigmoid. Who calls sees to it that each loss moves its own network alone.
    """

    def generator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Compute the generator's loss: low where its pictures are taken for photographs."""
        raise NotImplementedError

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """Compute the discriminator's loss: low where it tells the two apart."""
        raise NotImplementedError


class VanillaGAN(AdversarialLoss):
    """Binary cross-entropy, with the generator's loss that does not saturate (Goodfellow et al. 2014, section 3).

    D: `-E[log s(real)] - E[log(1 - s(fake))]`, G: `-E[log s(fake)]`.
    """

    def generator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return _cross_entropy(fake_logits, real=True)

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return _cross_entropy(real_logits, real=True) + _cross_entropy(fake_logits, real=False)


class LeastSquaresGAN(AdversarialLoss):
    """Squared distance from 1 for photographs and from 0 for enlarged pictures (Mao et al. 2017, equation 9).

    D: `E[(real - 1)^2] / 2 + E[fake^2] / 2`, G: `E[(fake - 1)^2] / 2`.
    """

    def generator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return ops.mean(ops.square(_float32(fake_logits) - 1)) / 2

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return (
            ops.mean(ops.square(_float32(real_logits) - 1)) + ops.mean(ops.square(_float32(fake_logits)))
        ) / 2


class RelativisticGAN(AdversarialLoss):
    """Cross-entropy of how much more a picture is like a photograph than the others are on average.

    The relativistic average GAN (Wang et al. 2018, ESRGAN, equations 1 and 2). With `a = real - E[fake]` and
    `b = fake - E[real]`: D: `-E[log s(a)] - E[log(1 - s(b))]`, G: `-E[log(1 - s(a))] - E[log s(b)]`.
    """

    def generator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return self.discriminator(fake_logits, real_logits)  # each in the other's place

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        real, fake = _float32(real_logits), _float32(fake_logits)
        return _cross_entropy(real - ops.mean(fake), real=True) + _cross_entropy(
            fake - ops.mean(real), real=False
        )


class HingeGAN(AdversarialLoss):
    """Logits count until they are 1 on the right side of 0 (Lim and Ye 2017; Miyato et al. 2018, equations 16, 17).

    D: `E[max(0, 1 - real)] + E[max(0, 1 + fake)]`, G: `-E[fake]`, which has no lower bound.
    """

    def generator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return -ops.mean(_float32(fake_logits))

    def discriminator(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return ops.mean(ops.relu(1 - _float32(real_logits))) + ops.mean(ops.relu(1 + _float32(fake_logits)))


def adversarial_loss(name: str) -> AdversarialLoss:
    """Make the adversarial loss of a name.

    Args:
        name: "vanilla", "least_squares", "relativistic" or "hinge".

    Raises:
        ValueError: the name is another.
    """
    losses: dict[str, Callable[[], AdversarialLoss]] = {
        "vanilla": VanillaGAN,
        "least_squares": LeastSquaresGAN,
        "relativistic": RelativisticGAN,
        "hinge": HingeGAN,
    }
    if name not in losses:
        raise ValueError(f"loss {name!r} is unknown; the adversarial losses are {', '.join(losses)}")
    return losses[name]()


def _cross_entropy(logits: Tensor, real: bool) -> Tensor:
    """`-E[log s(logits)]` or `-E[log(1 - s(logits))]`, finite for every finite logit."""
    logits = _float32(logits)
    return ops.mean(ops.softplus(-logits if real else logits))


def _float32(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")
