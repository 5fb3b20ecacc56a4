"""The folder of a run: all that repeats it and resumes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save

from isr import config as configuration
from isr import presets
from isr.config import TrainConfig
from isr.errors import RequestError
from isr.io.files import atomic
from isr.io.places import place_of
from isr.models.weights import assign_by_name, weights_by_name
from isr.progress import Progress
from isr.train.log import Log
from isr.train.objective import Objective
from isr.train.optimizer import AveragingAdam


@dataclass
class State:
    """Where a run stands, beside its weights."""

    step: int = 0
    best_psnr_y: float = float("-inf")
    best_step: int = 0
    seconds: float = 0.0
    lowest_loss: float = float("inf")


class RunFolder:
    """The folder of a run.

    It holds `config.yml`, `environment.json`, `state.safetensors` (weights, optimizer, `State`), `log.csv`,
    `tensorboard/`, `cache/`, the presets `best/` and `last/`, and after adversarial training
    `discriminator.safetensors`.

    Args:
        config: of the run, whose key `run` is the folder; made by `note_configuration`.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.path = Path(config.run)
        self.state = self.path / "state.safetensors"
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.discriminator = self.path / "discriminator.safetensors"

    @property
    def begun(self) -> bool:
        """Tell whether there is a state to go on from."""
        return self.state.is_file()

    @property
    def cache(self) -> Path:
        """Return where decoded pictures lie."""
        place = place_of(self.config.data.cache or self.path / "cache")
        # A store keeps it beside.
        return place if isinstance(place, Path) else self.path / "cache"

    def log(self, step: int) -> Log:
        """Open the log of a run that goes on at this step, -1 for a new one."""
        return Log(self.path, step)

    # Configuration

    def compare_configuration(self, progress: Progress) -> set[str]:
        """Tell what changed since the run began, and return the keys; nothing did where no state is there.

        Raises:
            RequestError: the folder holds a run of another network.
        """
        note = self.path / "config.yml"
        if not (self.begun and note.is_file()):
            return set()
        before = configuration.load(note)
        # Where it started from does not matter any more.
        old, new = (c.model.model_copy(update={"start_from": None}) for c in (before, self.config))
        if old != new:
            raise RequestError(
                f"{self.path}: holds a run of {before.model.name} {before.model.arguments}; "
                "give another folder in run, or remove this one"
            )
        changed = set()
        for key, _ in configuration.keys():
            was, now = (reduce(getattr, key.split("."), config) for config in (before, self.config))
            if was != now:
                changed.add(key)
                progress.message(f"{self.path}: {key} was {was!r} and is {now!r} now")
        return changed

    def note_configuration(self) -> None:
        """Write `config.yml`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with atomic(self.path / "config.yml") as path:
            path.write_text(configuration.to_yaml(self.config), encoding="utf-8")

    def recipe(self, state: State) -> str:
        """Tell what trained a preset of this run: the configuration, below what it has reached."""
        return (
            "# isr train --config recipe.yml\n"
            f"# {state.step} of {self.config.steps.total} steps in {state.seconds:.0f} s,"
            f" val_psnr_y {state.best_psnr_y:.3f} dB at step {state.best_step}\n"
        ) + configuration.to_yaml(self.config, comments=False)

    # State

    def write_state(self, state: State, objective: Objective, optimizer: AveragingAdam) -> None:
        """Write all that `read_state` takes up."""
        arrays = {
            f"{part}/{name}": np.asarray(value)
            for part, weights in _weights(objective).items()
            for name, value in weights.items()
        }
        arrays |= {f"optimizer/{index:05d}": array for index, array in enumerate(optimizer.state())}
        with atomic(self.state) as path:
            path.write_bytes(save(arrays, {"state": json.dumps(asdict(state))}))

    def read_state(self, objective: Objective, optimizer: AveragingAdam) -> State:
        """Take up weights and optimizer of the last state, and return where it stood.

        Raises:
            RequestError: it is another network's or optimizer's, or cannot be read.
        """
        from safetensors import safe_open

        arrays = presets.read_safetensors(self.state)
        with safe_open(self.state, "np") as file:
            state = State(**json.loads(file.metadata()["state"]))
        for part, weights in _weights(objective).items():
            assign_by_name(weights, _below(arrays, part), str(self.state))
        slots = _below(arrays, "optimizer")
        try:
            optimizer.restore([slots[index] for index in sorted(slots)])
        except ValueError as error:
            raise RequestError(
                f"{self.state}: {error}; restore optimizer.average_momentum or start another run"
            ) from None
        return state

    def write_discriminator(self, discriminator: keras.Model) -> None:
        """Write the discriminator's weights, which another run may start from."""
        weights = weights_by_name(discriminator)
        with atomic(self.discriminator) as path:
            path.write_bytes(save({name: np.asarray(value) for name, value in weights.items()}))


def _weights(objective: Objective) -> dict[str, dict[str, keras.Variable]]:
    """The weights of every network of a run, by its part of the state and by their names."""
    weights = {"model": objective.network.named_weights()}
    if objective.discriminator is not None:
        weights["discriminator"] = weights_by_name(objective.discriminator)
    return weights


def _below(arrays: Mapping[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    """The arrays of one part of a state, by their names in it."""
    parted = ((name.partition("/"), array) for name, array in arrays.items())
    return {name: array for (found, _, name), array in parted if found == part}
