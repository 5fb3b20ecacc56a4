"""The networks that a job names as data, and those that are open in this process."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from isr.errors import ISRError, RequestError
from isr.predict.precision import supported_precision
from isr.predict.source import Network, network_at
from isr.predict.tiling import OVERLAPS_OF_A_TILE
from isr.presets import Mixture
from isr.progress import Progress
from isr.runtimes.engines import BACKENDS, ENGINES
from isr.spec import ModelSpec, Upscaler

if TYPE_CHECKING:
    from isr.predict.jobs.job import Job


@dataclass(frozen=True)
class ChosenNetwork:
    """A network as a job names it.

    Attributes:
        name: for messages.
        source: a preset's name or folder, a `.keras` file, a model server's address; empty for an object in Python.
        engine: what runs it; empty for what runs itself.
        automatic: whether the engine was chosen here, so that another may do.
        precision: what it is computed in; empty where that is its own matter.
        weights: a hash of them and of what they are put into.
        spec: what is known of it without opening it.
        mixture: of a preset's corners; None: its own weights.
        frames: the engine of the network of single pictures in one of several frames; empty: what runs all of it.
        overlaps: how many of them its automatic tiles are wide.
        live: the object in Python.
    """

    name: str
    source: str
    engine: str
    automatic: bool
    precision: str
    weights: str
    spec: ModelSpec
    mixture: Mixture | None = None
    frames: str = ""
    overlaps: int = OVERLAPS_OF_A_TILE
    live: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls, network: Network, precision: str, device: str | None
    ) -> tuple[ChosenNetwork, tuple[str, ...]]:
        """Name a network that computes in one of its precisions, and tell where another one has to do."""
        engine, computed = network.engine, ""
        lines: tuple[str, ...] = ()
        if network.precisions:
            engine, computed, lines = network.settled(precision)
        chosen = cls(
            network.name,
            network.source,
            engine,
            network.automatic,
            computed,
            network.fingerprint(computed),
            network.outline,
            network.mixture,
            network.frame_engine(computed, device),
            network.overlaps_of_a_tile(computed, device),
            None if network.source else network,
        )
        return chosen, lines

    def check_portable(self) -> None:
        """Check that it can leave this process.

        Raises:
            RequestError: it is an object in Python.
        """
        if self.live is not None:
            raise RequestError(
                f"{self.name}: a network given as an object runs in this process only; save it, and name the file"
            )

    def __getstate__(self) -> dict[str, Any]:
        self.check_portable()
        return dict(self.__dict__)


@dataclass(frozen=True)
class Opened:
    """The networks of a job, ready to run.

    Attributes:
        upscalers: in the order of the route.
        networks: as they are computed here, which may be by another engine than was chosen.
        device: what a reader calls it; empty without a network.
        fresh: whether the first call is slower than the next, since one of them never ran in this process.
        sources: what the upscalers were opened from.
    """

    upscalers: tuple[Upscaler, ...]
    networks: tuple[ChosenNetwork, ...]
    device: str
    fresh: bool
    sources: tuple[Network, ...] = ()


class Networks:
    """The networks that are open in this process; every job asks for its own."""

    def __init__(self) -> None:
        self._served: dict[tuple[str, str], Network] = {}
        self._used: set[int] = set()

    def open(self, job: Job, progress: Progress) -> Opened:
        """Open what a job needs, or find it open.

        Args:
            job: names networks, precision and device.
            progress: told what takes long, and where another engine or precision has to do.

        Raises:
            RequestError: weights do not fit or hold values that are no numbers.
            MachineError: the engine or the device is missing.
            ISRError: weights were changed since the job was planned.
        """
        if not job.networks:
            return Opened((), (), "", False)
        networks = [self._network(chosen) for chosen in job.networks]
        device = "CPU"
        if any(network.engine in BACKENDS for network in networks):
            from isr.runtimes.devices import use_device

            device = use_device(job.device)
        for network in networks:
            if network.engine in ENGINES and job.device is not None:
                device = ENGINES[network.engine].describe_device(job.device)
        upscalers, used = [], []
        for chosen, network in zip(job.networks, networks, strict=True):
            precision = supported_precision(chosen.precision, device)[0]
            upscalers.append(network.open(precision, progress, job.device, chosen.frames))
            computed = network.computed_in(precision) if network.precisions else ""
            frames = chosen.frames if getattr(upscalers[-1], "enlarger", None) else ""
            used.append(replace(chosen, engine=network.engine, precision=computed, frames=frames))
        fresh = any(id(upscaler) not in self._used for upscaler in upscalers)
        self._used.update(map(id, upscalers))
        return Opened(tuple(upscalers), tuple(used), device, fresh, tuple(networks))

    def _network(self, chosen: ChosenNetwork) -> Network:
        if chosen.live is not None:
            return chosen.live
        key = chosen.source, chosen.weights
        if "://" not in chosen.source:
            network = network_at(chosen.source, chosen.engine, chosen.automatic, chosen.mixture)
        elif key in self._served:
            return self._served[key]
        else:
            network = self._served[key] = Network(chosen.source)
        if network.fingerprint(chosen.precision) != chosen.weights:
            self._served.pop(key, None)
            raise ISRError(f"{chosen.name}: the weights were changed since this was planned; plan it again")
        return network


# One for all jobs of a process: opening takes seconds, and memory.
NETWORKS = Networks()
