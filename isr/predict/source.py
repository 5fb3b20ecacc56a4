"""The networks of a prediction: known by their scales at once, opened when a picture needs them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isr import presets
from isr.errors import Cancelled, ISRError, MachineError, RequestError, Unconvertible
from isr.io.errors import file_error
from isr.io.files import atomic
from isr.predict.choice import PRECISIONS, PRECISIONS_OF_KERAS, choose, precisions_of
from isr.predict.route import Route, Target
from isr.predict.tiling import OVERLAPS_IN_PIECES, OVERLAPS_OF_A_TILE, UNBOUNDED_OVERLAP, TileOptions
from isr.presets import Mixture
from isr.progress import Progress, Silent, phase
from isr.runtimes import load_upscaler, wirings
from isr.runtimes.engines import BACKENDS, ENGINES, backend, candidates, check_engine, fastest_on_gpu
from isr.runtimes.engines.cache import cache_folder
from isr.spec import ModelSpec, Upscaler

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel

    Source = SuperResolutionModel | Upscaler | str | Path | None

# The preset that is no network, but plain interpolation.
BICUBIC = "bicubic"
# Bytes that are there on any machine: asking what is free means an import, 2 % of the time of a small picture.
SMALL = 2**26


class Network:
    """Something that upscales: a preset, a file, a server, a model or an upscaler; the latter two as they are.

    Args:
        source: a preset's name or folder, a `.keras` file, the address of a model server (`grpc://host:8500/model`),
            a network of the package, or an upscaler.
        engine: what runs it, one of `isr.runtimes.engines.NAMES`; None: Keras' own backend. Where it is to be chosen,
            what for, as of `engine_for`: another one is taken for presets and files of single-picture networks.
            Upscalers run as they are.
        mixture: of the corners of a preset; None: its own weights.

    Raises:
        RequestError: a preset or file is none, has no corners to mix, or the engine has no such networks.
    """

    def __init__(
        self,
        source: SuperResolutionModel | Upscaler | str | Path,
        engine: str | None = None,
        mixture: Mixture | None = None,
    ) -> None:
        self._folder: Path | None = None
        self._object: Any = None
        self._upscalers: dict[str, Upscaler] = {}
        # By a precision that failed, the one that is computed in.
        self._instead: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}
        self.source = ""
        self.mixture = mixture
        self.automatic = engine in PRECISIONS
        if isinstance(source, (str, Path)):
            self.source = str(source)
        if is_address(source):
            from isr.runtimes.serving import ServingClient

            source = ServingClient(self.source)
        if not isinstance(source, (str, Path)):
            spec = getattr(source, "spec", None)
            if not isinstance(spec, ModelSpec):
                raise RequestError(
                    f"a {type(source).__name__} is neither a network of this package nor an upscaler"
                )
            self._object = source
            self.name, self.scales, self.num_frames = spec.name, spec.scales, spec.num_frames
        elif Path(source).suffix == ".keras":
            self._folder = Path(source)
            self.name = self._folder.stem
            self.scales, self.num_frames = keras_file_facts(self._folder)
        else:
            if Path(source).is_file():
                raise RequestError(
                    f"{source}: give a preset folder or a .keras file; bare weights name no network"
                )
            self._folder = presets.find(source)
            self.name = self._folder.name
            if self._folder.parent == presets.HERE:
                # What ships lies elsewhere on another computer.
                self.source = self.name
            self.scales, self.num_frames = presets.scales(source), presets.num_frames(source)
        if mixture is not None:
            if self._folder is None or self._folder.is_file() or not presets.has_corners(self._folder):
                raise RequestError(
                    f"{self.name}: has one set of weights and nothing to mix; denoise and texture are for presets "
                    "with corners, such as photo_x4"
                )
            # Corners that are missing are missed here.
            presets.weight_files(self._folder, mixture)
        self.engine = self._choose(engine)

    def remixed(self, mixture: Mixture) -> Network:
        """Return the same preset with another mixture of its corners; kept as those of `networks_of`."""
        return network_at(self.source, self.engine, self.automatic, mixture)

    @property
    def _mixed(self) -> Mixture:
        """The mixture that its weights are."""
        return self.mixture or presets.ITSELF

    @property
    def is_mixed(self) -> bool:
        """Tell whether its weights lie between corners."""
        return self.mixture is not None and len(self.mixture.parts) > 1

    @property
    def _variant(self) -> Path | None:
        """The folder whose 8 bits hold for these weights."""
        if self._folder is None or self._folder.is_file():
            return None
        folder = presets.folder_of(self._folder, self._mixed)
        return folder if folder is not None and presets.variant(folder).is_file() else None

    def _choose(self, engine: str | None) -> str:
        """The engine's name, "" for what runs itself."""
        if self._folder is None:
            network = hasattr(self._object, "get_config")
        else:
            # A+ is in NumPy; every network is listed.
            network = self._folder.is_file() or presets.read_config(self._folder)["model"] in presets.NETWORKS
        if not network:
            return ""
        if engine is None:
            return backend()
        if engine == "gpu":
            return fastest_on_gpu() if self._is_wired else backend()
        if engine in PRECISIONS:
            return self._fastest(engine)
        check_engine(engine)
        if engine in ENGINES and not ENGINES[engine].converts:
            self._check_wired(engine)
        if engine in BACKENDS and engine != backend():
            raise RequestError(f"engine {engine}: Keras runs on {backend()}; set KERAS_BACKEND={engine}")
        return engine

    def _fastest(self, purpose: str) -> str:
        """The engine that is chosen for a precision."""
        if self._folder is None or self.num_frames > 1:
            return backend()
        if not self._is_wired:
            return candidates()[0]
        offered = {engine: self._offered(engine) for engine in candidates()}
        return choose(offered, purpose, self.suits_bfloat16).engine

    def fastest_precision(self, purpose: str) -> str:
        """Return what 8-bit pictures are computed in, with its engine, for "auto" or "fast"."""
        return choose({self.engine: self.precisions}, purpose, self.suits_bfloat16).precision

    def _check_wired(self, engine: str) -> None:
        """Raise RequestError for a network that an engine of wirings does not know; of a file, writing tells."""
        if self._folder is None:
            wirings.check(type(self._object).__name__, self.name, engine)
        elif not self._folder.is_file():
            wirings.check(presets.read_config(self._folder)["model"], self.name, engine)
        elif self.num_frames > 1:
            wirings.check("networks of several frames", self.name, engine)

    @property
    def precisions(self) -> tuple[str, ...]:
        """List what this network can be computed in, with its engine; empty where that is its own matter."""
        return self._offered(self.engine)

    def _offered(self, engine: str) -> tuple[str, ...]:
        if engine not in ENGINES:
            return PRECISIONS_OF_KERAS if engine else ()
        offered = ENGINES[engine].precisions if self.num_frames == 1 else ("float32",)
        return tuple(name for name in offered if name != "int8" or self._variant is not None)

    @property
    def suits_bfloat16(self) -> bool:
        """Tell whether "auto" may compute it in bfloat16: presets may note that it costs too much."""
        return self._folder is None or self._folder.is_file() or presets.suits_bfloat16(self._folder)

    def fingerprint(self, precision: str = "float32") -> str:
        """Hash the weights, as they are now, and what they are put into; 8-bit ones, too."""
        if self._folder is None:
            digest = hashlib.sha256(json.dumps(self._object.spec.to_json()).encode())
            # What weights are put into; a server tells nothing of it.
            model = getattr(self._object, "model", self._object)
            if isinstance(model, presets.SavedAsPreset):
                kind = f"{type(model).__module__}.{type(model).__qualname__}"
                digest.update(json.dumps([kind, model.preset_arguments()], sort_keys=True).encode())
            for weight in _weights(self._object):
                digest.update(np.ascontiguousarray(weight).tobytes())
            # A server tells a hash of them; exports of earlier versions do not.
            digest.update(str(getattr(self._object, "weights_sha256", "")).encode())
            return digest.hexdigest()[:32]
        if precision not in self._fingerprints:
            # Of changed files, `networks_of` makes another network.
            if self._folder.is_file():
                found = hashlib.sha256(self._folder.read_bytes()).hexdigest()[:32]
            else:
                eight_bits = self._variant if precision == "int8" else None
                further = () if eight_bits is None else (presets.variant(eight_bits),)
                found = presets.hash_weights(self._folder, self._mixed, *further)
            self._fingerprints[precision] = found
        return self._fingerprints[precision]

    @property
    def outline(self) -> ModelSpec:
        """Return what is known of `spec` before opening; of some files, reach and multiple are the usual ones."""
        opened = self._object or next(iter(self._upscalers.values()), None)
        if opened is not None:
            spec: ModelSpec = opened.spec
            return spec
        if self._folder is not None and self._is_wired:
            config = presets.read_config(self._folder)
            return wirings.spec_of(self.name, config["model"], config["arguments"], self.scales)
        reach = 0 if self.num_frames == 1 else None
        return ModelSpec(self.name, self.scales, num_frames=self.num_frames, receptive_radius=reach)

    @property
    def spec(self) -> ModelSpec:
        """Return what tiling needs to know; loads the network where no engine has it open. Raises as `open`."""
        opened = next(iter(self._upscalers.values()), None)
        spec: ModelSpec = (opened or self._loaded()).spec
        return spec

    def check_adaptable(self) -> None:
        """Check that it can learn from a picture, and that its engine runs what it has learned.

        Raises:
            RequestError: it is no network, or on a server, takes frames, or its engine converts networks and keeps
                them.
        """
        if not self.engine:
            what = "runs on a server" if is_address(self.source) else "is no network that could learn"
            raise RequestError(f"{self.name}: {what}; --adapt needs a network of pictures")
        if self.num_frames > 1:
            raise RequestError(f"{self.name}: takes frames of a video; --adapt needs a network of pictures")
        if self.engine in ENGINES and not (self._is_built or self.automatic):
            raise RequestError(
                f"{self.name}: {self.engine} converts networks and keeps them; adapt with --engine {backend()}"
            )

    @property
    def model(self) -> Any:
        """Return the network in Keras; loads it where it is not loaded."""
        return self._loaded()

    def open_adapted(
        self, model: SuperResolutionModel, precision: str = "float32", device: str | None = None
    ) -> Upscaler:
        """Open this network with other weights, which are not kept: by its engine where that takes weights at once.

        Args:
            model: has the weights.
            precision, device: as for `open`; Keras' backend has no 8 bits.

        Raises as `open`.
        """
        if self._folder is not None and self._is_built:
            from isr.runtimes.engines.built import open_weights

            config = presets.read_config(self._folder)
            weights = {name: np.asarray(value) for name, value in model.named_weights().items()}
            built = open_weights(self.name, config, weights, self.engine, precision, device)
            if built is not None:
                return built
        from isr.runtimes import as_upscaler

        return as_upscaler(model, precision)

    def _loaded(self, progress: Progress | None = None) -> Any:
        """The network or upscaler itself."""
        if self._object is None:
            assert self._folder is not None
            with phase(progress or Silent(), "opening", self.name):
                self._object = load_upscaler(self._folder, self.mixture)
        return self._object

    def open(
        self,
        precision: str = "float32",
        progress: Progress | None = None,
        device: str | None = None,
        frames: str = "",
    ) -> Upscaler:
        """Open the network, ready to run; once per precision and device.

        An engine that was taken by itself and fails is no error: float32 follows bfloat16 and 8 bits, Keras' own
        backend follows the engine. `computed_in` tells what it came to.

        Args:
            precision: one of `precisions`.
            progress: told where the network is converted for its engine, which takes seconds, once, and where
                another precision or engine has to do.
            device: for an engine that has GPUs, "cpu", "gpu" or "gpu:N"; None: the processor.
            frames: the engine that runs the network of single pictures in one of several frames, as `frame_engine`
                names it; empty: Keras does.

        Raises:
            MachineError: there is no such device.
            RequestError: its weights do not fit or hold values that are no numbers, or it lacks the precision.
            ISRError: the engine that was asked for fails.
        """
        progress = progress or Silent()
        precision = self.computed_in(precision)
        if not self.engine:
            upscaler: Upscaler = self._loaded(progress)
            return upscaler
        if precision not in self.precisions:
            raise RequestError(f"{self.name}: {self.lacks(precision)}")
        if self._folder is None:
            # The caller may have trained it since.
            self._check_numbers()
        if self.engine in ENGINES:
            try:
                return self._open_built(precision, progress, device) or self._open_converted(
                    precision, progress, device
                )
            except (RequestError, MachineError, Cancelled):
                raise
            except ISRError as error:
                if not self.automatic:
                    raise
                self._fall_back(precision, error, progress)
                return self.open(precision, progress, device)
        key = f"{precision} by {frames}" if frames else precision
        if key not in self._upscalers:
            from isr.runtimes import as_upscaler

            upscaler = as_upscaler(self._loaded(progress), precision)
            if frames:
                self._hand_over_frames(upscaler, frames, precision, progress)
            self._upscalers[key] = upscaler
        upscaler = self._upscalers[key]
        copy = getattr(upscaler, "model", self._object)
        if copy is not self._object and self._folder is None:
            copy.set_weights(self._object.get_weights())
        return upscaler

    def frame_engine(self, precision: str, device: str | None = None) -> str:
        """Return the engine that enlarges single frames for a network of several, where "auto" may take one.

        Args:
            precision: one of `precisions`.
            device: as for `open`.

        Returns:
            Its name; empty where Keras computes all, or there is no such network.
        """
        if not self.automatic or self.num_frames == 1 or device not in (None, "cpu"):
            return ""
        if self._folder is None or self._folder.is_file():
            return ""
        base = presets.read_config(self._folder)["arguments"].get("base")
        if base is None or wirings.find(base["model"], base["arguments"]) is None:
            return ""
        engine = choose({name: precisions_of(name) for name in candidates()}, precision).engine
        return engine if engine in ENGINES else ""

    def _hand_over_frames(self, upscaler: Any, engine: str, precision: str, progress: Progress) -> None:
        """Let an engine run the network of single pictures in one of several frames; if it fails, Keras may do."""
        from isr.runtimes.engines.built import open_weights

        network = upscaler.model.frame_network
        config = {"model": type(network).__name__, "arguments": network.preset_arguments()}
        weights = {name: np.asarray(value) for name, value in network.named_weights().items()}
        try:
            enlarger = open_weights(network.name, config, weights, engine, precision)
        except ISRError as error:
            if not self.automatic:
                raise
            progress.message(f"{error}; computed by {backend()}")
        else:
            upscaler.hand_over(enlarger)

    def computed_in(self, precision: str) -> str:
        """Return the precision that `open` gives for one of its own: another where its engine has failed."""
        return self._instead.get(precision, precision)

    def settled(self, precision: str) -> tuple[str, str, tuple[str, ...]]:
        """Tell what is known before opening of what `open` will come to.

        Args:
            precision: one of `precisions`.

        Returns:
            The engine, the precision, and a line for every other one that has failed earlier.
        """
        engine, precision, lines = self.engine, self.computed_in(precision), []
        if not self.automatic or self._folder is None or self._is_built:
            return engine, precision, ()
        while engine in ENGINES and (failure := self._kept(precision)[1]).exists():
            after, line = self._next(precision, failure.read_text(encoding="utf-8"))
            engine, precision = after, "float32"
            lines.append(line)
        return engine, precision, tuple(lines)

    def _fall_back(self, precision: str, error: ISRError, progress: Progress) -> None:
        """Settle what computes instead of an engine that failed in a precision."""
        engine, line = self._next(precision, str(error))
        if precision != "float32":
            self._instead[precision] = "float32"
        self.engine = engine
        progress.message(line)

    def _next(self, precision: str, error: str) -> tuple[str, str]:
        """The engine that computes in float32 instead of one that failed in a precision, and a line that says so."""
        engine = self.engine if precision != "float32" else backend()
        return engine, f"{error}; computed by {engine} in float32 instead of {self.engine} in {precision}"

    def lacks(self, precision: str) -> str:
        """Tell why it is not computed in a precision."""
        if precision != "int8":
            return f"{self.engine} computes it in {' or '.join(self.precisions)}, not in {precision}"
        if self.engine != "openvino":
            return f"int8 needs the engine openvino, not {self.engine}: pip install 'keras-isr[openvino]'"
        if self.mixture is not None:
            return f"has no 8 bits at {self.mixture}: they exist at corners alone, such as denoise 0 or 1"
        return "has no 8-bit variant; `isr quantise` makes one"

    @property
    def _is_wired(self) -> bool:
        """Whether what it computes is known without Keras."""
        if self._folder is None or self._folder.is_file():
            return False
        config = presets.read_config(self._folder)
        # A folder that an earlier version wrote may not name all arguments.
        complete = "num_channels" in config["arguments"]
        return complete and wirings.find(config["model"], config["arguments"]) is not None

    def overlaps_of_a_tile(self, precision: str, device: str | None = None) -> int:
        """Return how many overlaps wide its tiles should be: more where its engine enlarges in pieces.

        Args:
            precision: one of `precisions`.
            device: as for `open`. What memory a GPU has is not known.
        """
        in_pieces = self._is_built and device in (None, "cpu")
        return OVERLAPS_IN_PIECES.get(precision, OVERLAPS_OF_A_TILE) if in_pieces else OVERLAPS_OF_A_TILE

    @property
    def _is_built(self) -> bool:
        """Whether its engine builds it from a preset's weights at once."""
        return self.engine in ENGINES and ENGINES[self.engine].builds and self._is_wired

    def _open_built(self, precision: str, progress: Progress, device: str | None) -> Upscaler | None:
        """The network as the engine builds it from a preset's weights at once; None where it has to be converted."""
        if self._folder is None or not self._is_built:
            return None
        key = f"{precision} {device or ''}"
        if key not in self._upscalers:
            with phase(progress, "opening", self.name):
                from isr.runtimes.engines.built import open_preset

                built = open_preset(self._folder, self.engine, precision, device, self._mixed)
            if built is None:
                return None
            self._upscalers[key] = built
        return self._upscalers[key]

    def _open_converted(self, precision: str, progress: Progress, device: str | None) -> Upscaler:
        """The network in the engine's own format, converted where the cache does not hold it."""
        from isr.runtimes.exported import open_exported

        folder, failure = self._kept(precision)
        key = f"{folder.name} {device or ''}"
        if key not in self._upscalers:
            if failure.exists():
                raise ISRError(failure.read_text(encoding="utf-8"))
            if not folder.exists():
                try:
                    self._convert(folder, precision, progress)
                except Unconvertible as error:
                    # Converting takes long, and would fail again.
                    with atomic(failure) as temporary:
                        temporary.write_text(str(error), encoding="utf-8")
                    raise
            if self._folder is None:
                # Of weights that have changed.
                self._upscalers.clear()
            with phase(progress, "opening", self.name):
                self._upscalers[key] = open_exported(folder, device)
        return self._upscalers[key]

    def _kept(self, precision: str) -> tuple[Path, Path]:
        """Where the cache has the network in the engine's own format, and why it has it not."""
        from isr import __version__

        engine = ENGINES[self.engine]
        content = f"{__version__} {engine.version} {precision} {self.fingerprint(precision)}"
        key = f"{self.name}-{precision}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        folder = cache_folder() / self.engine / key
        return folder, folder.with_name(f"{key}.failed.txt")

    def _convert(self, folder: Path, precision: str, progress: Progress) -> None:
        model = self._loaded(progress)
        progress.message(f"{self.name}: converted for {self.engine}, {precision}, once: see `isr engines`")
        try:
            with phase(progress, "converting", self.name):
                from isr.runtimes.eight_bits import read
                from isr.runtimes.engines.conversion import write

                convs = None if precision != "int8" or self._variant is None else read(self._variant)
                write(model, folder, self.engine, precision, convs, halves_only=True)
        except ISRError:
            # Else another process has just made it.
            if not folder.exists():
                raise

    def _check_numbers(self) -> None:
        # The output alone does not show it: fused convolution and ReLU turn NaN into 0 on a CPU. Files are
        # checked when they are loaded.
        if not all(np.all(np.isfinite(weight)) for weight in _weights(self._object)):
            raise RequestError(f"{self.name}: the weights hold values that are no numbers (NaN)")


# For every scale, the network that enlarges by it; of bicubic interpolation none.
ByScale = Mapping[int, Network]


def is_address(source: object) -> bool:
    """Tell whether a source is the address of a model server."""
    return isinstance(source, str) and "://" in source


def networks_of(
    source: Source, video: bool = False, engine: str | None = None, mixture: Mixture | None = None
) -> ByScale:
    """Find the networks of one source, as for `Network`; None: the package's own default of every scale.

    "fast" and "best" name one of every scale, too. For a video, both are of frames one by one; `windows_of` finds
    those of several frames. "bicubic" has none: pictures are resized.

    Opened ones are kept, so that upscaling one array after another opens them once.

    Args:
        video: whether frames of a video are to be upscaled, and not a picture.
        engine: as for `Network`.
        mixture: of the corners of presets; by default of those for real photographs. None: weights as they are.

    Raises:
        RequestError: a preset or file is none, takes frames for a picture, has no corners to mix, or none ships.
    """
    networks = _networks_of(source, video, engine, mixture)
    for network in networks.values():
        if network.num_frames > 1 and not video:
            raise RequestError(f"{network.name}: takes {network.num_frames} frames of a video, not a picture")
    return networks


def _networks_of(source: Source, video: bool, engine: str | None, mixture: Mixture | None) -> ByScale:
    alias = _alias(source)
    if source is None or alias:
        use = presets.PHOTO if mixture is not None and source is None else alias
        scales = presets.default_scales(presets.PHOTO if use == presets.PHOTO else presets.DEFAULT)
        if not scales:
            what = "no preset with corners" if use == presets.PHOTO else "no preset"
            raise RequestError(f"{what} ships with this installation: give --preset or --weights")
        names = {scale: presets.default_for(scale, video, use, one_by_one=True) for scale in scales}
        if mixture is not None and source is None:
            # A preset without a corner that is asked for leaves the work to the others, while there are some.
            able = {
                scale: name for scale, name in names.items() if presets.can_mix(presets.HERE / name, mixture)
            }
            names = able or names
        return {
            scale: _networks_of(presets.HERE / name, video, engine, mixture)[scale]
            for scale, name in names.items()
        }
    if isinstance(source, str) and source == BICUBIC:
        if mixture is not None:
            raise RequestError(f"{BICUBIC}: is no network; denoise and texture are for presets with corners")
        return {}
    if isinstance(source, (str, Path)) and not is_address(source):
        chosen = _chosen(str(source), _stamp(source, mixture), engine, mixture)
        return _by_scale(network_at(chosen.source, chosen.engine, chosen.automatic, mixture))
    if mixture is None and hasattr(source, "get_weights"):
        return _of_model(source, engine)  # type: ignore[arg-type]  # models are hashed by identity
    return _by_scale(Network(source, engine, mixture))


@dataclass(frozen=True)
class Windows:
    """The networks of several frames that make clips in one pass where no preset is named.

    Attributes:
        networks: by their scale.
        hindrance: why none of them runs here; empty where they do.
    """

    networks: ByScale = field(default_factory=dict)
    hindrance: str = ""

    @property
    def engine(self) -> str:
        """Return what runs them; empty where there are none, or none runs."""
        return "" if self.hindrance else next((network.engine for network in self.networks.values()), "")

    def along(self, stages: Sequence[int], networks: ByScale) -> tuple[ByScale, str]:
        """Choose the networks of a clip along its route.

        Args:
            stages: of the route.
            networks: of frames one by one, by which it was planned.

        Returns:
            Those of several frames where one pass makes the result, else `networks`; and a line where only the
            hindrance forbids the former.
        """
        if len(stages) != 1 or stages[0] not in self.networks:
            return networks, ""
        if not self.hindrance:
            return self.networks, ""
        own, instead = self.networks[stages[0]].name, networks[stages[0]].name
        return networks, f"frame by frame by {instead}: {own} {self.hindrance}"


def windows_of(
    source: Source,
    engine: str | None = None,
    precision: str = "float32",
    tiles: TileOptions | None = None,
    mixture: Mixture | None = None,
) -> Windows:
    """Find the networks of several frames that a source stands for: of None and aliases, which name none, some.

    Args:
        source, mixture: as for `networks_of`.
        engine, precision, tiles: as they are asked for.
    """
    alias = _alias(source)
    if mixture is not None or not (source is None or alias):
        return Windows()
    hindrance, tiles = "", tiles or TileOptions()
    if engine not in (None, "auto", *BACKENDS):
        hindrance = f"does not run by {engine}"
    elif precision in ("int8", "fast"):
        hindrance = "has no 8 bits"
    elif tiles.back_projection:
        hindrance = "takes no back projection"
    elif tiles.overlap == "exact":
        hindrance = "has no exact overlap"
    elif tiles.overlap is None and tiles.tile is not None and tiles.tile <= 2 * UNBOUNDED_OVERLAP:
        hindrance = f"takes larger tiles than {tiles.tile}"
    elif backend() not in BACKENDS or any(find_spec(package) is None for package in ("keras", backend())):
        hindrance = "needs Keras with TensorFlow or JAX"
    names = {scale: presets.default_for(scale, True, alias) for scale in presets.default_scales()}
    networks = {
        scale: network_at(str(presets.HERE / name), engine if engine in BACKENDS else "", engine == "auto")
        for scale, name in names.items()
        if presets.num_frames(name) > 1
    }
    return Windows(networks, hindrance)


def network_at(source: str, engine: str, automatic: bool, mixture: Mixture | None = None) -> Network:
    """Find the network of a preset or file, run by an engine that was chosen; the same for the same files.

    Args:
        source: a preset's name or folder, or a `.keras` file.
        engine: its name; empty for what runs itself.
        automatic: whether another engine may do where this one fails.
        mixture: of a preset's corners; None: its own weights.

    Raises as `Network`.
    """
    return _of_file(source, _stamp(source, mixture), engine, automatic, mixture)


# Of a path: it, its time in ns, its bytes.
Stamp = tuple[tuple[Path, int, int], ...]


@lru_cache(maxsize=16)
def _chosen(source: str, stamp: Stamp, engine: str | None, mixture: Mixture | None) -> Network:
    return Network(source, engine, mixture)


@lru_cache(maxsize=16)
def _of_file(source: str, stamp: Stamp, engine: str, automatic: bool, mixture: Mixture | None) -> Network:
    network = Network(source, engine or None, mixture)
    network.automatic = automatic
    return network


@lru_cache(maxsize=2)
def _of_model(model: SuperResolutionModel, engine: str | None) -> ByScale:
    return _by_scale(Network(model, engine))


def _by_scale(network: Network) -> ByScale:
    return dict.fromkeys(network.scales, network)


def has_corners(source: Source) -> bool:
    """Tell whether a source has corners to mix; of None, which takes a preset that has some, True."""
    if source is None:
        return True
    if not isinstance(source, (str, Path)) or is_address(source) or source == BICUBIC or _alias(source):
        return False
    path = Path(source)
    return path.suffix != ".keras" and not path.is_file() and presets.has_corners(presets.find(source))


def plan_route(height: int, width: int, target: Target, networks: ByScale) -> Route:
    """Plan the route of a picture of `height` x `width` pixels by these networks, or by interpolation."""
    if not networks:
        return Route.resize(height, width, target)
    return Route.plan(height, width, target, networks)


def networks_along(route: Route, networks: ByScale) -> list[Network]:
    """Find the networks of a route, in order.

    Where corners are mixed, the first one denoises. What it has made is clean, so those after it are their corner
    `clean`: a second pass would take detail for damage.
    """
    own = [networks[scale] for scale in route.stages]
    return own[:1] + [network.remixed(Mixture(0)) if network.mixture else network for network in own[1:]]


def check_video_route(route: Route, networks: ByScale) -> None:
    """Check that no network of several frames follows another one.

    Raises:
        RequestError: one would.
    """
    for scale in route.stages:
        if networks[scale].num_frames > 1 and len(route.stages) > 1:
            raise RequestError(
                f"{networks[scale].name}: enlarges a video once, by {scale}: ask for no more, or upscale the result"
            )


def default_scale(source: Source, networks: ByScale) -> int:
    """Choose the scale where the user names none: the network's own, or 2 where no network is named."""
    return 2 if source is None or _alias(source) else next(iter(networks), 2)


def _alias(source: Source) -> str | None:
    return source if isinstance(source, str) and source in presets.ALIASES else None


def _stamp(source: str | Path, mixture: Mixture | None) -> Stamp:
    """What changes when the files of a source do."""
    path = Path(source)
    files: tuple[Path, ...] = (path,)
    if path.suffix != ".keras" and not path.is_file():
        files = presets.weight_files(presets.find(source), mixture or presets.ITSELF)
    stamps = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise file_error(file, error) from error
        stamps.append((file.resolve(), status.st_mtime_ns, status.st_size))
    return tuple(stamps)


def _weights(source: Any) -> list[np.ndarray]:
    """The weights of a model, of a runtime's model, or none."""
    model: Any = source if hasattr(source, "get_weights") else getattr(source, "model", None)
    return model.get_weights() if hasattr(model, "get_weights") else []


def keras_file_facts(path: Path) -> tuple[tuple[int, ...], int]:
    """Read scales and frames of the network in a `.keras` file off its configuration, without Keras.

    Raises:
        RequestError: it is missing, or holds no network of this package.
    """
    # Here alone: presets do without.
    import zipfile

    if not path.is_file():
        raise RequestError(f"{path}: no such model file")
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("config.json"))
        config = content["config"]
        return presets.scales_of(content["class_name"], config), presets.frames_of(config)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        raise RequestError(f"{path}: not a .keras file of a network of this package") from None


def check_memory(needed: int, what: str) -> None:
    """Check that arrays of `needed` bytes fit into the memory that is free now.

    Asked before the work: where memory is promised and then not there, the system kills the process.

    Raises:
        MachineError: they do not.
    """
    if needed <= SMALL:
        return
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        raise MachineError(
            f"{what}: needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free"
        )
