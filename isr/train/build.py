"""What a configuration describes, built: the devices, the network, what it minimises, and the optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import keras

from isr import presets
from isr.config import TrainConfig
from isr.errors import RequestError, first_line
from isr.losses import ContentLoss, PhaseLoss, adversarial_loss
from isr.models import VGG, Discriminator, SuperResolutionModel, UNetDiscriminator, get_model
from isr.models.weights import assign_by_name, weights_by_name
from isr.progress import Progress
from isr.runtimes import PRECISIONS
from isr.train.objective import LossWeights, Objective, aligns_frames
from isr.train.optimizer import AveragingAdam, AveragingMuon, is_inner_kernel
from isr.train.schedules import schedule
from isr.train.stages import check_stage, part_of, trains

# The first step of a weight that stays as it is.
NEVER = 2**31 - 1


def find_strategy(config: TrainConfig, given: Sequence[keras.Model | None]) -> Any:
    """Find the devices that `config.mirrored` asks for.

    Args:
        config: of the run.
        given: instances of networks, which lie on one device.

    Returns:
        TensorFlow's strategy; None without `config.mirrored`.

    Raises:
        RequestError: something does not go with it; the message names the key.
    """
    if not config.mirrored:
        return None
    if keras.backend.backend() != "tensorflow":
        raise RequestError(
            f"mirrored: works on TensorFlow, not on {keras.backend.backend()}; set it to false"
        )
    if config.optimizer.accumulate > 1:
        raise RequestError("mirrored: optimizer.accumulate must be 1 then; raise data.batch_size instead")
    if config.steps.per_execution > 1:
        raise RequestError("mirrored: steps.per_execution must be 1 then")
    from isr.train.replicas_tensorflow import mirrored

    strategy = mirrored()
    replicas = num_replicas(strategy)
    if config.data.batch_size % replicas:
        raise RequestError(
            f"mirrored: data.batch_size {config.data.batch_size} cannot be divided by the {replicas} devices"
        )
    if replicas > 1 and any(model is not None for model in given):
        raise RequestError(
            "mirrored: an instance of a network lies on one device; describe it by config.model"
        )
    return strategy


def num_replicas(strategy: Any) -> int:
    """Count the devices that share a batch."""
    return 1 if strategy is None else strategy.num_replicas_in_sync


def all_devices(strategy: Any) -> AbstractContextManager:
    """Open the scope in which variables are made, so that every replica has its copy."""
    return nullcontext() if strategy is None else strategy.scope()


def build_model(config: TrainConfig, progress: Progress | None) -> SuperResolutionModel:
    """Build the network that `config.model` describes, started from other weights where it says so.

    Args:
        config: of the run.
        progress: told what was taken; None leaves the start out, for a run whose state replaces it.

    Raises:
        RequestError: the network does not take the arguments, or the weights do not fit; the message names the key.
    """
    model_class = get_model(config.model.name)
    try:
        model = model_class(**{"dtype": PRECISIONS[config.precision], **config.model.arguments})
    except (TypeError, ValueError) as error:
        raise RequestError(f"model.arguments: {first_line(error)}") from None
    if progress is None:
        return model
    if config.model.start_from == "interpolation":
        model.start_as_interpolation()
    elif config.model.start_from is not None:
        start_from(model, config.model.start_from, progress)
    return model


def start_from(model: SuperResolutionModel, source: str, progress: Progress) -> None:
    """Take over the weights of a preset or file, also those of another scale.

    Raises:
        RequestError: they do not fit.
    """
    path = Path(source)
    values = presets.read_safetensors(
        path if path.suffix == ".safetensors" else presets.find(source) / presets.WEIGHTS
    )
    made = model.adopt(values, f"model.start_from: {source}")
    parts = dict.fromkeys(name.split("/")[0] for name in made)
    rest = f"; made for this network: {', '.join(parts)}" if made else ""
    progress.message(f"started from {source}: {len(model.named_weights()) - len(made)} weights taken{rest}")


def build_objective(
    config: TrainConfig,
    model: SuperResolutionModel,
    discriminator: keras.Model | None = None,
    extractor: VGG | None = None,
    strategy: Any = None,
) -> Objective:
    """Build the losses that the configuration asks for.

    Args:
        config: of the run.
        model: what they train.
        discriminator: used where the adversarial loss counts; None: built as `config.perceptual` says.
        extractor: used where the content loss counts; None: built as `config.perceptual` says.
        strategy: of the devices that share a batch.

    Raises:
        RequestError: a file, layer or patch does not fit; the message names the key.
    """
    check_stage(config, model)
    settings = config.perceptual
    if config.data.patch_size <= settings.off_grid > 1:
        raise RequestError(
            f"perceptual.off_grid {settings.off_grid}: leaves nothing of patches of {config.data.patch_size} px"
        )
    if settings.phase_weight and max(model.scales) < 2:
        raise RequestError(
            f"perceptual.phase_weight: is for networks that enlarge; {type(model).__name__} does not"
        )
    weights = LossWeights(
        pixel=settings.pixel_weight,
        alignment=config.optimizer.alignment_weight if aligns_frames(model) else 0.0,
        content=settings.content_weight,
        adversarial=settings.adversarial_weight,
        total_variation=settings.total_variation_weight,
        phase=settings.phase_weight,
    )
    return Objective(
        model,
        weights,
        content=build_content_loss(config, model, extractor) if weights.content else None,
        adversarial=adversarial_loss(settings.adversarial_loss) if weights.adversarial else None,
        discriminator=build_discriminator(config, model, discriminator) if weights.adversarial else None,
        patch_size=config.data.patch_size,
        replicas=num_replicas(strategy),
        forward=part_of(config, model),
        # A mesh of any of the periods has that of all.
        phase=PhaseLoss(math.lcm(*model.scales)) if weights.phase else None,
        off_grid=settings.off_grid,
    )


def build_content_loss(
    config: TrainConfig, model: SuperResolutionModel, extractor: VGG | None = None
) -> ContentLoss:
    """Build the content loss, and the VGG that it looks through where none is given.

    Raises:
        RequestError: pictures that are not RGB, unknown layers, or a file of weights that does not fit.
    """
    settings = config.perceptual
    if model.num_channels != 3:
        raise RequestError(
            f"perceptual.content_weight: VGG knows RGB only, not {model.num_channels} channels"
        )
    layers = settings.content_layers
    try:
        extractor = extractor or VGG(
            layers=tuple(layers),
            before_activation=settings.before_activation,
            weights=settings.vgg or "shipped",
            dtype=PRECISIONS[config.precision],
        )
    except ValueError as error:
        raise RequestError(f"perceptual.content_layers, perceptual.vgg: {first_line(error)}") from None
    return ContentLoss(extractor, tuple(layers.values()), kind=settings.content_loss)


def build_discriminator(
    config: TrainConfig, model: SuperResolutionModel, discriminator: keras.Model | None = None
) -> keras.Model:
    """Build the discriminator where none is given, and start it from the weights that the configuration names.

    Raises:
        RequestError: these are another network's.
    """
    settings = config.perceptual
    judge = {"patch": Discriminator, "unet": UNetDiscriminator}[settings.discriminator]
    discriminator = discriminator or judge(
        num_features=settings.discriminator_features,
        num_channels=model.num_channels,
        dtype=PRECISIONS[config.precision],
        name="discriminator",
    )
    if settings.discriminator_from is not None:
        source = Path(settings.discriminator_from)
        assign_by_name(weights_by_name(discriminator), presets.read_safetensors(source), str(source))
    return discriminator


def build_optimizer(config: TrainConfig, objective: Objective) -> AveragingAdam:
    """Build the optimizer that `config.optimizer` describes, for a network and its discriminator.

    Raises:
        RequestError: no weight's name contains a text of `multipliers` or `only`.
    """
    settings, model = config.optimizer, objective.network
    names = {id(variable): name for name, variable in model.named_weights().items()}
    trained = [weight for v in model.trainable_variables if trains(config, weight := names[id(v)])]
    for key in ("multipliers", "only"):
        for text in getattr(settings, key):
            if not any(text in name for name in trained):
                raise RequestError(
                    f"optimizer.{key}: no weight of {type(model).__name__} has {text!r} in its name"
                )
    multipliers, starts, inner = [], [], []
    for variable in objective.trainable_variables:
        name = names.get(id(variable))
        if name is None:
            # The discriminator's.
            multipliers.append(config.perceptual.discriminator_rate)
            starts.append(config.perceptual.from_step)
            inner.append(False)
            continue
        multipliers.append(math.prod(factor for text, factor in settings.multipliers.items() if text in name))
        waits = settings.only and not any(text in name for text in settings.only)
        starts.append((settings.only_steps if waits else 0) if trains(config, name) else NEVER)
        inner.append(is_inner_kernel(variable))
    make = partial(AveragingMuon, inner=inner) if settings.method == "muon" else AveragingAdam
    optimizer = make(
        schedule(settings, config.steps.total),
        average_momentum=settings.average_momentum,
        multipliers=multipliers if set(multipliers) != {1.0} else None,
        starts=starts if any(starts) else None,
        beta_1=settings.beta_1,
        beta_2=settings.beta_2,
        epsilon=settings.epsilon,
        global_clipnorm=settings.clip_norm,
        replicas=objective.replicas,
        gradient_accumulation_steps=settings.accumulate if settings.accumulate > 1 else None,
    )
    optimizer.build(objective.trainable_variables)
    return optimizer
