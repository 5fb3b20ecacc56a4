"""One file to make: data that goes to another process or into a file, and runs there."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from isr.errors import Cancelled, ISRError, MachineError, RequestError
from isr.io.files import stamp_of
from isr.io.pictures import PictureInfo
from isr.predict.crop import Crop, size_of
from isr.predict.jobs.journal import Journal
from isr.predict.jobs.places import Input
from isr.predict.naming import filled
from isr.predict.networks import ChosenNetwork, Networks, Opened
from isr.predict.options import PredictOptions
from isr.predict.plain import from_plain, readable, to_plain
from isr.predict.precision import expected_device, resolve_precision, supported_precision
from isr.predict.quality import Quality
from isr.predict.report import Units, Watch, estimate, took
from isr.predict.route import Route, Target
from isr.predict.source import BICUBIC, ByScale, Network, Windows, networks_along
from isr.predict.speeds import Kind, Speeds, speeds_here
from isr.predict.tiling import OVERLAPS_OF_A_TILE, TileOptions
from isr.presets import Mixture
from isr.progress import Estimate, Progress

if TYPE_CHECKING:
    from isr.io.clips import VideoInfo

# The version of a job in a file.
VERSION = 1


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        source: the input; an address of an object store is text.
        target: the output; None where the input could not be read.
        status: "written", "skipped" (finished earlier) or "failed".
        error: one line that names the file, where it failed.
        warning: one line that names the file, where it is written but the source was damaged.
        frames: of a clip; None for a picture.
        size_in, size_out: `(width, height)` in pixels.
        networks: names, in the order in which they ran; none for a reduction.
        device, engine, precision: what it was computed on, by and in; the latter two are empty for A+ and a server.
        seconds: from reading to written, without pauses.
        fatal: whether the reason of a failure would befall every other file too.
        failure: the error itself.
    """

    source: Path | str
    target: Path | str | None
    status: Literal["written", "skipped", "failed"]
    error: str = ""
    warning: str = ""
    frames: int | None = None
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    networks: tuple[str, ...] = ()
    device: str = ""
    engine: str = ""
    precision: str = ""
    seconds: float = 0.0
    fatal: bool = False
    failure: ISRError | None = field(default=None, repr=False, compare=False)

    def describe(self) -> str:
        """Tell in one line what was made, by what, where, how fast."""
        if self.status != "written":
            return self.error or f"{self.target}: finished earlier, skipped"
        assert self.size_in is not None and self.size_out is not None
        sizes = f"{self.size_in[0]}x{self.size_in[1]} to {self.size_out[0]}x{self.size_out[1]}"
        how = ", ".join(filter(None, (self.device, self.engine, self.precision)))
        by = f"by {' then '.join(self.networks)} on {how}" if self.networks else "no network"
        count = "" if self.frames is None else f", {self.frames} frames"
        return f"{self.target}: {sizes}{count}, {by}, {self.seconds:.1f} s"

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values, but for the error itself."""
        plain: dict[str, Any] = to_plain(replace(self, failure=None))
        del plain["failure"]
        return plain


class Unreadable(Exception):
    """A source from which nothing can be made: of a folder, the others are made nevertheless."""

    def __init__(self, reason: ISRError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True)
class Setting:
    """What the jobs of one kind share that are planned together.

    Attributes:
        options: what is asked for.
        networks: by their scales; none where pictures are resized without.
        target: with a scale or a size.
        preset: a part of the names of results, where several presets make some; else empty.
        windows: of several frames, for clips, where no preset is named.
    """

    options: PredictOptions
    networks: ByScale
    target: Target
    preset: str = ""
    windows: Windows = field(default_factory=Windows)
    _chosen: dict[tuple[Network, str], tuple[ChosenNetwork, tuple[str, ...]]] = field(
        default_factory=dict, repr=False
    )

    def for_clip(self, route: Route) -> tuple[Setting, str]:
        """Return this setting with the networks of a clip along its route, and a line as of `Windows.along`."""
        networks, line = self.windows.along(route.stages, self.networks)
        return self if networks is self.networks else replace(self, networks=networks), line

    def result_name(self, stem: str, in_tree: bool, route: Route, height: int, width: int) -> str:
        """Name the result of a source, without suffix.

        Args:
            stem: of the source.
            in_tree: whether it goes into a mirrored folder, where names stay unless a pattern is given.
            route: that it takes.
            height, width: of what is upscaled, in pixels.
        """
        if self.options.name is not None:
            model = "+".join(self.networks[scale].name for scale in route.stages) or BICUBIC
            scale = self.target.factor(height, width)
            return filled(self.options.name, stem, scale, route.size[1], route.size[0], model)
        label = "" if in_tree else self.target.file_label(height, width)
        return "_".join(filter(None, (stem, label, self.preset)))

    def settle(
        self, route: Route, height: int, width: int, dtype: str, looks: Quality | None = None
    ) -> tuple[tuple[ChosenNetwork, ...], str, tuple[str, ...]]:
        """Choose networks and precision for a source.

        Args:
            route: that it takes.
            height, width: of what is upscaled, in pixels.
            dtype: of its pixels.
            looks: what the source looks like, where that decides how much is denoised; else None.

        Returns:
            The networks of the route, the processor that is expected, and what a user should know: first of the
            way, then of the rest.

        Raises:
            RequestError: a network lacks the precision that is asked for.
        """
        own = networks_along(route, self.networks)
        if looks is not None and own:
            # Those after the first do not denoise.
            own[0] = own[0].remixed(Mixture(looks.denoise, self.options.texture or 0.0))
        notes = [route.describe() if self.networks else ""]
        processor = expected_device(self.options.device, own)
        asked = self.options.precision
        wanted, why_not = resolve_precision(asked, np.dtype(dtype), own)
        precision, why_not_here = supported_precision(wanted, processor)
        chosen = []
        for network in own:
            # Hashed once for all files, and only where a file needs it.
            key = network, precision
            if key not in self._chosen:
                self._chosen[key] = ChosenNetwork.of(network, precision, self.options.device)
            known, lines = self._chosen[key]
            chosen.append(known)
            notes += lines
        if own:
            notes += [why_not, "" if asked in ("auto", "fast") else why_not_here]
        if looks is not None and own:
            notes.append(looks.describe())
        if self.target.changes_aspect(height, width):
            notes.append(f"{width}x{height} becomes {route.size[1]}x{route.size[0]}: the aspect changes")
        return tuple(chosen), processor, tuple(notes)


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """One file to make of one input.

    Everything that can be refused was refused when it was planned; what only running can show is an `Outcome`.

    Attributes:
        source, target: the files. Relative paths belong to the folder in which the job was planned.
        folder: of the results, whose journal records them.
        named: whether the user named the source, and not a folder that it lies in.
        stamp: bytes of the source, and its time in ns, as it was planned.
        crop: the part that is upscaled, in pixels of the source; None: all of it.
        route: how it reaches its size.
        networks: those of the route, in order.
        tiles: how it goes through the networks.
        device: asked for; None: what the backend takes by itself.
        processor: what that is expected to be, "CPU" or "GPU".
        notes: what a user should know, a line each.
    """

    KIND: ClassVar[str]

    source: Path
    target: Path
    folder: Path
    named: bool
    stamp: tuple[int, int]
    crop: Crop | None
    route: Route
    networks: tuple[ChosenNetwork, ...]
    tiles: TileOptions
    device: str | None
    processor: str
    notes: tuple[str, ...]

    @classmethod
    def _shared(
        cls,
        source: Input,
        info: PictureInfo | VideoInfo,
        setting: Setting,
        target: Path,
        route: Route,
        note: str,
        looks: Quality | None,
    ) -> dict[str, Any]:
        """Choose the networks, and give the fields that all kinds of jobs have.

        Args:
            source, info, setting, target, route: those of the job.
            note: what a user should know of the source and the result.
            looks: what the source looks like, where that decides how much is denoised.

        Raises:
            RequestError: a network lacks the precision that is asked for.
        """
        options = setting.options
        width, height = size_of(options.crop, info.width, info.height)
        networks, processor, (way, *rest) = setting.settle(route, height, width, info.dtype, looks)
        return {
            "source": source.path,
            "target": target,
            "folder": source.folder,
            "named": source.tree is None,
            "stamp": stamp_of(source.path),
            "crop": options.crop,
            "route": route,
            "networks": networks,
            "tiles": replace(
                options.tiles, overlaps=min((own.overlaps for own in networks), default=OVERLAPS_OF_A_TILE)
            ),
            "device": options.device,
            "processor": processor,
            "notes": tuple(filter(None, (way, note, *rest))),
        }

    # What a kind of job has of its own.

    @property
    @abstractmethod
    def size_in(self) -> tuple[int, int]:
        """Return `(width, height)` of what is upscaled."""

    @property
    @abstractmethod
    def units(self) -> Units:
        """Tell how much work it is."""

    @property
    @abstractmethod
    def bytes_out(self) -> int:
        """Count the bytes of the result, before it is encoded."""

    @property
    @abstractmethod
    def bytes_needed(self) -> int:
        """Count the bytes of all arrays that are in memory at once, at least; without what the networks take."""

    @abstractmethod
    def _pixels_in(self) -> int:
        """Count the pixels of all the source, of every frame."""

    @abstractmethod
    def _record(self) -> dict[str, Any]:
        """What of a record this kind alone has."""

    @abstractmethod
    def _read(self) -> Any:
        """What is read before the networks are opened; raises ISRError where the source cannot be read."""

    @abstractmethod
    def _make(self, read: Any, opened: Opened, watch: Watch) -> str:
        """Make the target, whole; gives a line where the source was damaged."""

    # What all have.

    @property
    def mixture(self) -> Mixture | None:
        """Return how the corners of its presets are mixed; None: not at all."""
        return next((network.mixture for network in self.networks), None)

    @property
    def exists(self) -> bool:
        """Tell whether there is something that the result would replace.

        Raises:
            RequestError: a folder is there.
        """
        if self.target.is_dir():
            raise RequestError(f"{self.target}: is a folder, but would be written as a file")
        return self.target.exists()

    @property
    def part(self) -> Path | None:
        """Return the file that is kept of a job that was stopped; None where nothing is kept."""
        return None

    def on_cores(self, count: int) -> Self:
        """Return the job as machines of `count` cores make it, on which the bytes of a clip may depend."""
        return self

    @property
    def divides(self) -> bool:
        """Tell whether several processes can make it, each some of its segments."""
        return False

    def runs(self, length: int) -> list[range]:
        """List the segments that are missing, for processes that share them; none of what does not divide.

        Call it before these processes begin.

        Args:
            length: most segments of a run.

        Returns:
            Numbers of neighbouring segments, each for `of_run`. When all are made, this job joins them.
        """
        return []

    def of_run(self, run: range) -> Self:
        """Return the job that makes these segments and joins nothing; itself, where it does not divide."""
        return self

    @property
    def joins(self) -> bool:
        """Tell whether its result is the target, and not a part of it."""
        return True

    @property
    def frames_out(self) -> int | None:
        """Count the frames of the result; None for a picture."""
        return None

    @property
    def engine(self) -> str:
        """Name what runs the networks; empty for what runs itself."""
        return _joined(engine for network in self.networks for engine in (network.engine, network.frames))

    @property
    def precision(self) -> str:
        """Name what the networks are computed in; empty where that is their own matter."""
        return _joined(network.precision for network in self.networks)

    @property
    def kind(self) -> Kind:
        """Return what decides how fast it is."""
        names = " then ".join(network.name for network in self.networks)
        return Kind(names or BICUBIC, self.engine, self.precision, self.processor)

    def estimate(self, speeds: Speeds) -> Estimate:
        """Tell how long it will take, from what earlier jobs of its kind took."""
        return estimate(self.units, 0, speeds.get(self.kind))

    @property
    def record(self) -> dict[str, Any]:
        """Return what has to be the same for a finished result to be up to date, as plain JSON values."""
        # Where several stages share a scale, the first: it alone is mixed.
        weights = {
            str(scale): own.weights
            for scale, own in reversed(list(zip(self.route.stages, self.networks, strict=True)))
        }
        mixture = self.mixture
        return {
            "source": self.source.name,
            "input": {"bytes": self.stamp[0], "mtime_ns": self.stamp[1]},
            "weights": weights,
            "stages": list(self.route.stages),
            "tile": self.tiles.tile,
            "overlap": self.tiles.overlap,
            "batch": self.tiles.batch,
            "self_ensemble": self.tiles.self_ensemble,
            "back_projection": self.tiles.back_projection,
            "engine": self.engine,
            "precision": self.precision,
            "crop": None if self.crop is None else list(self.crop),
            # Earlier versions knew none.
            **({} if mixture is None else {"denoise": mixture.denoise, "texture": mixture.texture}),
            **self._record(),
        }

    def finished_record(self) -> dict[str, Any]:
        """Return the record of a job whose result is on the disk."""
        return {**self.record, "output": {"bytes": stamp_of(self.target)[0]}}

    @property
    def bytes_on_disk(self) -> int:
        """Estimate the bytes of the file: per pixel as many as the source has."""
        frames = 1 if self.frames_out is None else self.frames_out
        share = math.prod(self.route.size) * frames / self._pixels_in()
        return int(self.stamp[0] * share)

    def describe(self) -> dict[str, Any]:
        """Give what it is and what it needs as plain JSON values."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "frames": self.frames_out,
            "size_in": list(self.size_in),
            "size_out": [self.route.size[1], self.route.size[0]],
            "networks": [network.name for network in self.networks],
            "engine": self.engine,
            "precision": self.precision,
            "units": {"count": self.units.count, "name": self.units.name},
            "bytes_on_disk": self.bytes_on_disk,
            "bytes_of_memory": self.bytes_needed,
            "notes": list(self.notes),
        }

    def line(self, seconds: float | None) -> str:
        """Tell the same in one line, and how long it will take."""
        (width, height), (down, across) = self.size_in, self.route.size
        how = ", ".join(filter(None, (self.engine, self.precision)))
        names = " then ".join(network.name for network in self.networks)
        by = f"by {names}{' on ' * bool(how)}{how}" if names else "no network"
        count = "" if self.frames_out is None else f", {self.frames_out} frames"
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.target}: {width}x{height} to {across}x{down}{count}, {by}, {took(seconds)}{notes}"

    def run(self, networks: Networks, progress: Progress) -> Outcome:
        """Make the target, and note that it is made.

        Args:
            networks: those that are open in this process.
            progress: told of tiles or frames; asked to pause and to stop between them.

        Returns:
            What became of it; an error is told, not raised.

        Raises:
            Cancelled: the progress asks for it; what is finished is whole then.
        """
        speeds = speeds_here()
        watch = Watch(progress, self.units, speeds.get(self.kind))
        journal = Journal(self.folder)
        fatal = False
        try:
            read = self._read()
            begun = watch.seconds
            try:
                opened = networks.open(self, watch)
            except ISRError:
                fatal = True
                raise
            watch.leave_out(watch.seconds - begun)
            # By another engine than was planned, where that one failed.
            settled = replace(self, networks=opened.networks)
            journal.start(self.target)
            damage = settled._make(read, opened, watch)
            if self.joins:
                with disk_needed():
                    journal.finish(self.target, settled.finished_record())
        except Cancelled:
            raise
        except (ISRError, MemoryError, DiskError) as error:
            if isinstance(error, DiskError):
                fatal, error = True, error.reason
            failure = error if isinstance(error, ISRError) else MachineError(line_of(self.source, error))
            failed = Outcome(self.source, self.target, "failed", line_of(self.source, error))
            return replace(failed, fatal=fatal, failure=failure)
        known = all(network.live is None for network in self.networks)
        kind = settled.kind._replace(device=opened.device or "CPU")
        speeds.add(kind, *watch.measured(opened.fresh), keep=known)
        return Outcome(
            self.source,
            self.target,
            "written",
            warning=damage,
            frames=self.frames_out,
            size_in=self.size_in,
            size_out=(self.route.size[1], self.route.size[0]),
            networks=tuple(network.name for network in opened.networks),
            device=opened.device,
            engine=settled.engine,
            precision=settled.precision,
            seconds=watch.seconds,
        )

    def to_json(self) -> dict[str, Any]:
        """Give the job as plain JSON values; `job_from_json` is the inverse.

        Raises:
            RequestError: a network is an object in Python.
        """
        for network in self.networks:
            network.check_portable()
        return {"version": VERSION, "kind": self.KIND, "job": to_plain(self)}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read what `to_json` gave.

        Raises:
            RequestError: it is no job, or one of another version or kind.
        """
        with readable("job", "; plan it again"):
            if content["version"] != VERSION or content["kind"] != cls.KIND:
                raise RequestError(
                    f"a job of kind {content['kind']}, version {content['version']}: "
                    f"kind {cls.KIND}, version {VERSION} is wanted; plan it again"
                )
            job: Self = from_plain(cls, content["job"])
        return job


class DiskError(Exception):
    """A result cannot be written, and neither could any other: `reason` says why."""

    def __init__(self, reason: MachineError) -> None:
        super().__init__(str(reason))
        self.reason = reason


@contextmanager
def disk_needed() -> Iterator[None]:
    """Raise DiskError where the machine cannot write what the block writes."""
    try:
        yield
    except MachineError as error:
        raise DiskError(error) from error


def line_of(source: Path | str, error: BaseException) -> str:
    """Tell of an error in one line that names the file."""
    text = str(error) or "not enough memory"
    return text if text.startswith(str(source)) else f"{source}: {text}"


def frame_bytes(size: tuple[int, int], channels: int, dtype: str) -> int:
    """Count the bytes of the pixels of a picture of `(height, width)`."""
    return math.prod(size) * channels * np.dtype(dtype).itemsize


def _joined(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name for name in names if name))
