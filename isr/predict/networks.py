"""The networks of a prediction: known by their scales at once, opened when a picture needs them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isr import presets
from isr.errors import MachineError, RequestError
from isr.io.files import file_error
from isr.spec import ModelSpec, Upscaler

if TYPE_CHECKING:
    from isr.models import SuperResolutionModel

    Source = SuperResolutionModel | Upscaler | str | Path | None

PRECISIONS = ("auto", "float32", "bfloat16")
# What "auto" means for 8-bit pictures. bfloat16 would have to lose less than 0.01 dB on the validation
# pictures and deviate by less than 2/255 from float32.
AUTOMATIC_PRECISION = "bfloat16"


class Network:
    """Something that upscales: a preset, a file, a model or an upscaler; the latter two as they are.

    Args:
        source: a preset's name or folder, a `.keras` file, a network of the package, or an upscaler.

    Raises RequestError where a preset or file is none.
    """

    def __init__(self, source: SuperResolutionModel | Upscaler | str | Path) -> None:
        self._folder: Path | None = None
        self._object: Any = None
        self._upscalers: dict[str, Upscaler] = {}
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
            self.scales, self.num_frames = presets.scales(source), presets.num_frames(source)

    def fingerprint(self) -> str:
        """A hash of the weights, as they are now, and of what they are put into."""
        digest = hashlib.sha256()
        if self._folder is not None:
            names = [""] if self._folder.is_file() else [presets.CONFIG, presets.WEIGHTS]
            for name in names:
                digest.update((self._folder / name).read_bytes())
        else:
            digest.update(json.dumps(self._object.spec.to_json()).encode())
            for weight in _weights(self._object):
                digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()[:32]

    @property
    def spec(self) -> ModelSpec:
        """What tiling needs to know; loads the network. Raises as `open`."""
        if self._object is None:
            from isr.models.loading import load_upscaler

            assert self._folder is not None
            self._object = load_upscaler(self._folder)
        spec: ModelSpec = self._object.spec
        return spec

    def open(self, precision: str = "float32") -> Upscaler:
        """The network ready to run; opened once per precision.

        Raises RequestError where its weights do not fit or hold values that are no numbers.
        """
        from isr.runtimes import as_upscaler

        self.spec  # noqa: B018  loads it
        if self._folder is None:
            self._check_numbers()  # the caller may have trained it since
        if precision not in self._upscalers:
            self._upscalers[precision] = as_upscaler(self._object, precision)
        upscaler = self._upscalers[precision]
        copy = getattr(upscaler, "model", self._object)
        if copy is not self._object and self._folder is None:
            copy.set_weights(self._object.get_weights())
        return upscaler

    def _check_numbers(self) -> None:
        # The output alone does not show it: fused convolution and ReLU turn NaN into 0 on a CPU. Files are
        # checked when they are loaded.
        if not all(np.all(np.isfinite(weight)) for weight in _weights(self._object)):
            raise RequestError(f"{self.name}: the weights hold values that are no numbers (NaN)")


Networks = Mapping[int, Network]  # for every scale, the network that enlarges by it


def networks_of(source: Source, video: bool = False) -> Networks:
    """The networks of one source, as for `Network`; None: the package's own default of every scale.

    Opened ones are kept, so that upscaling one array after another opens them once.

    Args:
        video: whether frames of a video are to be upscaled, and not a picture.

    Raises RequestError where a preset or file is none, takes frames for a picture, or none ships.
    """
    networks = _networks_of(source, video)
    for network in networks.values():
        if network.num_frames > 1 and not video:
            raise RequestError(f"{network.name}: takes {network.num_frames} frames of a video, not a picture")
    return networks


def _networks_of(source: Source, video: bool) -> Networks:
    if source is None:
        scales = presets.default_scales()
        if not scales:
            raise RequestError("no preset ships with this installation: give --preset or --weights")
        names = {scale: presets.default_for(scale, video) for scale in scales}
        return {scale: _networks_of(presets.HERE / name, video)[scale] for scale, name in names.items()}
    if isinstance(source, (str, Path)):
        return _of_file(str(source), _stamp(source))
    if hasattr(source, "get_weights"):
        return _of_model(source)  # type: ignore[arg-type]  # models are hashed by identity
    return _by_scale(Network(source))


@lru_cache(maxsize=8)
def _of_file(source: str, stamp: tuple[Path, int, int]) -> Networks:
    return _by_scale(Network(source))


@lru_cache(maxsize=2)
def _of_model(model: SuperResolutionModel) -> Networks:
    return _by_scale(Network(model))


def _by_scale(network: Network) -> Networks:
    return dict.fromkeys(network.scales, network)


def default_scale(source: Source, networks: Networks) -> int:
    """The scale of the output where the user names none: the network's own, or 2 where no network is named."""
    return 2 if source is None else next(iter(networks))


def _stamp(source: str | Path) -> tuple[Path, int, int]:
    """What changes when the files of a source do."""
    path = Path(source)
    if path.suffix != ".keras" and not path.is_file():
        path = presets.find(source) / presets.WEIGHTS
    try:
        status = path.stat()
    except OSError as error:
        raise file_error(path, error) from error
    return path.resolve(), status.st_mtime_ns, status.st_size


def _weights(source: Any) -> list[np.ndarray]:
    """The weights of a model, of a runtime's model, or none."""
    model: Any = source if hasattr(source, "get_weights") else getattr(source, "model", None)
    return model.get_weights() if hasattr(model, "get_weights") else []


def keras_file_facts(path: Path) -> tuple[tuple[int, ...], int]:
    """Scales and frames of the network in a `.keras` file, read off its configuration without Keras.

    Raises RequestError where it is missing or holds no network of this package.
    """
    if not path.is_file():
        raise RequestError(f"{path}: no such model file")
    try:
        with zipfile.ZipFile(path) as archive:
            content = json.loads(archive.read("config.json"))
        config = content["config"]
        return presets.scales_of(content["class_name"], config), int(config.get("num_frames", 1))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        raise RequestError(f"{path}: not a .keras file of a network of this package") from None


def resolve_precision(asked: str, dtype: np.dtype[Any]) -> tuple[str, str]:
    """The precision a picture of this dtype is computed in, and why not the one asked for ("" where it is).

    Raises RequestError for an unknown name.
    """
    if asked not in PRECISIONS:
        raise RequestError(f"precision {asked!r} is unknown; it is one of {', '.join(PRECISIONS)}")
    wanted = AUTOMATIC_PRECISION if asked == "auto" else asked
    if wanted == "float32":
        return wanted, ""
    if dtype != np.uint8:
        # bfloat16 has 8 significant bits, fewer than such a picture.
        return "float32", f"{dtype} pixels are computed in float32" if asked != "auto" else ""
    return wanted, ""


def supported_precision(precision: str, device: str) -> tuple[str, str]:
    """The precision that a device, as `use_device` calls it, is given, and why not the one asked for."""
    from isr.runtimes.devices import computes_bfloat16

    if precision == "bfloat16" and not computes_bfloat16(device):
        return "float32", "this processor has no bfloat16 arithmetic: computed in float32"
    return precision, ""


def check_memory(needed: int, what: str) -> None:
    """Raise MachineError where arrays of `needed` bytes do not fit into the memory that is free now.

    Asked before the work: where memory is promised and then not there, the system kills the process.
    """
    import psutil

    free = psutil.virtual_memory().available
    if needed > free:
        raise MachineError(
            f"{what}: needs {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free"
        )
