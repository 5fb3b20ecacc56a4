"""The trainer of idealo's ISR, with its arguments, on this package's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from pydantic import ValidationError

from isr import config as configuration
from isr.config import TrainConfig
from isr.errors import RequestError
from isr.models import VGG, SuperResolutionModel
from isr.progress import Progress, Terminal
from isr.train import trainer

PIXEL_LOSSES = {"mae": "l1", "mean_absolute_error": "l1", "mse": "mse", "mean_squared_error": "mse"}
ADVERSARIAL_LOSSES = {"binary_crossentropy": "vanilla", "mse": "least_squares"}
# Two names of one figure: with a discriminator, idealo prefixes it.
METRICS = ("val_PSNR_Y", "val_generator_PSNR_Y")

Values = Mapping[str, Any]


class Trainer:
    """Train as idealo's `ISR.train.Trainer` does, on `isr.Trainer`, which resumes and validates on whole pictures.

    `docs/coming-from-idealo.md` says what each argument becomes, and what is measured differently.

    Args:
        generator: a network of one picture, such as `RDN.from_idealo(...)`.
        discriminator: `Discriminator()` or None, as `loss_weights` needs it.
        feature_extractor: `VGG(layers=(5, 9))` or None, as `loss_weights` needs it.
        lr_train_dir, hr_train_dir, lr_valid_dir, hr_valid_dir: folders of pictures, paired by name; an LR folder of
            None is made from HR by MATLAB's bicubic rule.
        loss_weights: `generator` (pixels), `discriminator`, `feature_extractor` (mean over its layers); 0 leaves a
            loss out.
        log_dirs: `weights`: where the run's folder is made; `logs` is not used, they lie in that folder.
        fallback_save_every_n_epochs: how often the state is saved from which the run resumes.
        dataname: the name of the run's folder; None: the network's.
        weights_generator, weights_discriminator: files to start from; the latter `discriminator.safetensors`.
        n_validation: how many validation pictures; None: all.
        flatness: not used, and said so: patches are drawn by their detail here, see `data.candidates`.
        learning_rate: `initial_value`, and `decay_factor` every `decay_frequency` epochs, if given.
        adam_optimizer: `beta1`, `beta2`, `epsilon` (None: 1e-7).
        losses: `generator` "mae" or "mse"; `discriminator` "binary_crossentropy" or "mse"; `feature_extractor`
            "mse" or "mae".
        metrics: `generator` "PSNR_Y", which is always measured.
        lr_patch_size: side of the patches in LR pixels, which idealo's networks are given.
        seed: of weights and batches.
        progress: told of every step; None: the terminal.

    Raises:
        RequestError: an argument does not fit; the message names it.
    """

    def __init__(
        self,
        generator: SuperResolutionModel,
        discriminator: keras.Model | None = None,
        feature_extractor: VGG | None = None,
        lr_train_dir: str | Path | None = None,
        hr_train_dir: str | Path = "",
        lr_valid_dir: str | Path | None = None,
        hr_valid_dir: str | Path = "",
        loss_weights: Values | None = None,
        log_dirs: Values | None = None,
        fallback_save_every_n_epochs: int = 2,
        dataname: str | None = None,
        weights_generator: str | Path | None = None,
        weights_discriminator: str | Path | None = None,
        n_validation: int | None = None,
        flatness: Values | None = None,
        learning_rate: Values | None = None,
        adam_optimizer: Values | None = None,
        losses: Values | None = None,
        metrics: Values | None = None,
        lr_patch_size: int = 32,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        weights = _merged(
            "loss_weights",
            loss_weights,
            {"generator": 1.0, "discriminator": 0.003, "feature_extractor": 1 / 12},
        )
        kinds = _merged(
            "losses",
            losses,
            {"generator": "mae", "discriminator": "binary_crossentropy", "feature_extractor": "mse"},
        )
        self.rate = _merged(
            "learning_rate",
            learning_rate,
            {"initial_value": 4e-4, "decay_frequency": None, "decay_factor": 0.5},
        )
        adam = _merged("adam_optimizer", adam_optimizer, {"beta1": 0.9, "beta2": 0.999, "epsilon": None})
        folders = _merged("log_dirs", log_dirs, {"logs": "logs", "weights": "weights"})
        flat = _merged(
            "flatness", flatness, {"min": 0.0, "increase_frequency": None, "increase": 0.0, "max": 0.0}
        )
        if _merged("metrics", metrics, {"generator": "PSNR_Y"})["generator"] != "PSNR_Y":
            raise RequestError("metrics: PSNR_Y is what validation measures here")
        if weights["discriminator"] and discriminator is None:
            weights["discriminator"] = 0.0
        if weights["feature_extractor"] and feature_extractor is None:
            weights["feature_extractor"] = 0.0
        if weights_generator is not None:
            generator.load_weights(weights_generator)

        self.generator = generator
        self.discriminator = discriminator
        self.feature_extractor = feature_extractor
        self.saved_every = fallback_save_every_n_epochs
        self.progress = progress or Terminal()
        if flat["min"] or flat["increase"]:
            self.progress.message("flatness: not used; patches are drawn by their detail (data.candidates)")
        layers = [] if feature_extractor is None else list(feature_extractor.layer_names)
        self.config: dict[str, Any] = {
            "run": str(Path(folders["weights"]) / (dataname or generator.name)),
            "seed": seed,
            "model": {
                "name": type(generator).__name__,
                "arguments": generator.preset_arguments(),
                "start_from": None,
            },
            "data": {
                "train_hr": str(hr_train_dir),
                "train_lr": None if lr_train_dir is None else str(lr_train_dir),
                "val_hr": str(hr_valid_dir),
                "val_lr": None if lr_valid_dir is None else str(lr_valid_dir),
                "val_count": n_validation,
                "patch_size": lr_patch_size * generator.scales[0],
            },
            "optimizer": {
                "loss": _known("losses", "generator", kinds, PIXEL_LOSSES),
                "learning_rate": self.rate["initial_value"],
                "warmup_steps": 0,
                "beta_1": adam["beta1"],
                "beta_2": adam["beta2"],
                "epsilon": 1e-7 if adam["epsilon"] is None else adam["epsilon"],
            },
            "perceptual": {
                "pixel_weight": weights["generator"],
                "content_weight": weights["feature_extractor"],
                "content_loss": _known("losses", "feature_extractor", kinds, PIXEL_LOSSES),
                **({"content_layers": {name: 1 / len(layers) for name in layers}} if layers else {}),
                "adversarial_weight": weights["discriminator"],
                "adversarial_loss": _known("losses", "discriminator", kinds, ADVERSARIAL_LOSSES),
                "discriminator_from": None if weights_discriminator is None else str(weights_discriminator),
            },
        }

    def train(
        self, epochs: int, steps_per_epoch: int, batch_size: int, monitored_metrics: Values | None = None
    ) -> Path:
        """Train, or go on where the run's folder stopped.

        Args:
            epochs, steps_per_epoch: steps are their product; every epoch ends with a validation.
            batch_size: patches per step.
            monitored_metrics: `{"val_PSNR_Y": "max"}`, by which the best weights are kept in any case.

        Returns:
            The folder of the best weights, `<run>/best`, a preset; the last ones lie beside it in `last`.

        Raises:
            ISRError: as `isr.Trainer.train`; RequestError also for another metric.
        """
        for name, direction in (monitored_metrics or {}).items():
            if name not in METRICS or direction != "max":
                raise RequestError(f"monitored_metrics: {name!r} is not measured; {METRICS[0]!r}: 'max' is")
        optimizer = dict(self.config["optimizer"])
        if self.rate["decay_frequency"]:
            every = self.rate["decay_frequency"] * steps_per_epoch
            optimizer |= {"schedule": "halving", "halve_every": every, "halve_by": self.rate["decay_factor"]}
        else:
            optimizer |= {"schedule": "constant"}
        steps = {
            "total": epochs * steps_per_epoch,
            "validate_every": steps_per_epoch,
            "save_every": self.saved_every * steps_per_epoch,
        }
        data = {**self.config["data"], "batch_size": batch_size}
        try:
            config = TrainConfig(**{**self.config, "data": data, "optimizer": optimizer, "steps": steps})
        except ValidationError as error:
            raise RequestError(configuration.describe(error, {}, "the arguments", ())) from None
        return trainer.Trainer(
            config,
            model=self.generator,
            discriminator=self.discriminator,
            extractor=self.feature_extractor,
            progress=self.progress,
        ).train()


def _merged(argument: str, given: Values | None, defaults: Values) -> dict[str, Any]:
    """The given values over the defaults; RequestError for a key that there is not."""
    for key in given or {}:
        if key not in defaults:
            raise RequestError(f"{argument}: {key!r} is unknown; the keys are {', '.join(defaults)}")
    return {**defaults, **(given or {})}


def _known(argument: str, key: str, given: Values, names: Mapping[str, str]) -> str:
    """This package's name of a loss; RequestError where there is none."""
    if given[key] not in names:
        raise RequestError(f"{argument}: {key} {given[key]!r} is unknown; it is one of {', '.join(names)}")
    return names[given[key]]
