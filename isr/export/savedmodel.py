"""Export to a SavedModel: a folder that TensorFlow Serving runs without a line of Python."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from isr.errors import ISRError, RequestError
from isr.export.graphs import Bounds, Graph
from isr.export.serving import add_model, write_configuration, write_warm_up
from isr.io.files import whole_folder
from isr.layers.strips import strips
from isr.models import MultiFrameModel, SuperResolutionModel
from isr.predict.frames import WindowOptions, enlarge_frames
from isr.predict.picture import enlarge
from isr.predict.tiling import TileOptions
from isr.presets import check_numbers
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes import as_upscaler
from isr.runtimes.engines.conversion import describe_model
from isr.runtimes.serving import require_serving_api
from isr.spec import MultiFrameUpscaler

# In assets.extra, and what the signature `spec` answers.
ABOUT = "isr.json"
# Of what is reloaded, to the network; float32 sums in another order stay far below.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class ExportOptions:
    """What an exported graph does by itself.

    Attributes:
        tile: side in input pixels above which a picture goes through the network in tiles; None: as predict does.
        overlap: input pixels at each side of a tile that its neighbours keep; None: as predict does.
        max_pixels: height times width of the largest picture that is not refused.
        xla: whether deformable convolutions sample by parts that XLA compiles, once per size of tile. The server has
            to be built with XLA and started with `--xla_cpu_compilation_enabled`.
        serving: whether to write what a server wants, too: requests to warm up with into the version, and its
            configuration beside the model's folder. Needs `keras-isr[serving]`.

    Raises:
        RequestError: a value is out of its range.
    """

    tile: int | None = None
    overlap: int | None = None
    max_pixels: int = 64 * 10**6
    xla: bool = False
    serving: bool = False

    def __post_init__(self) -> None:
        _ = self.tiles
        if self.max_pixels < 1:
            raise RequestError(f"max_pixels {self.max_pixels}: must be at least 1")

    @property
    def tiles(self) -> TileOptions:
        """Return the same tiles for predict."""
        return TileOptions(self.tile, self.overlap)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: of this version.
        signatures: what a client can ask for.
        difference: largest one between what was reloaded and the network, of values in [0, 1].
    """

    folder: Path
    signatures: tuple[str, ...]
    difference: float


def export_savedmodel(
    model: SuperResolutionModel,
    folder: str | Path,
    version: int = 1,
    *,
    options: ExportOptions | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write a network as `folder/version/`, reload it, and compare the two.

    Signatures, each with one set per scale (`..._x3`; the first scale has no suffix):

    - `serving_default`: `lr` float32 `[b, h, w, c]`, or `[b, t, h, w, c]`, about [0, 1], any size, gives `sr`.
    - `serving_uint8`: the same in 8 bits, clipped and rounded.
    - `serving_bytes`: `lr_bytes`, whole PNG or JPEG files `[b]`, or `[b, t]`, gives `sr_bytes`, PNG files. The sizes
      in a batch may differ. Gray, alpha and 16 bits are treated as by `isr.predict`.
    - `encode`, `decode` of networks of several frames: as of `MultiFrameModel`, for tiles of frames.
    - `spec`: any string gives `isr.json`.

    `serving_bytes` turns pictures as their EXIF orientation asks. Other than `isr.predict`, it looks for none in XMP,
    and carries no metadata and no colour profile; of an animated PNG it takes the first frame; a transparent colour of
    a PNG without alpha (`tRNS`) counts only where there is a palette; frames of windows have no alpha.

    Args:
        model: computes in float32, whatever its policy.
        folder: of the model; versions lie side by side in it. Made where missing.
        version: 0 or more; of all in the folder a server runs the highest.
        options: tiles, limits, XLA, and whether to write a server's configuration.
        progress: told of the steps; asked for `cancelled` between them.

    Returns:
        Where it lies and how far it is from the network.

    Raises:
        RequestError: the version exists, the backend is not TensorFlow, or weights are no numbers.
        MachineError: an optional package is missing.
        ISRError: what was reloaded differs.
        Cancelled: the progress asked for it. In every case nothing is left.

    Example:
        >>> export_savedmodel(isr.EDSR.from_preset("edsr_fast_x2"), "models/edsr").folder
        PosixPath('models/edsr/1')
    """
    options, progress = options or ExportOptions(), progress or Silent()
    if keras.backend.backend() != "tensorflow":
        raise RequestError(
            f"a SavedModel is exported on TensorFlow, and Keras runs on {keras.backend.backend()}: "
            "set KERAS_BACKEND=tensorflow"
        )
    if options.serving:
        require_serving_api()
    if version < 0:
        raise RequestError(f"version {version}: must be 0 or more")
    check_numbers(model.named_weights(), model.name)
    if model.dtype_policy.name != "float32":
        model = model.with_policy("float32")
    spec, served_as = model.spec, Path(folder).resolve().name
    about = describe(model, options)
    graphs = {}
    for scale in spec.scales:
        tile, overlap = options.tiles.geometry(spec, scale)
        graphs[suffix(scale, spec.scales)] = Graph(model, scale, Bounds(tile, overlap, options.max_pixels))

    if options.serving:
        # What cannot be added to is said before anything is made.
        add_model(Path(folder).parent, served_as)
    with whole_folder(Path(folder) / str(version)) as temporary:
        progress.start("export", 2, "steps")
        with strips(compiled=options.xla):
            signatures = trace_signatures(graphs, about)
        # Keras' own archive would trace every graph a second time.
        root = tf.Module()
        root.parameters = [variable.value for variable in model.variables]
        # Nobody trains a served model, and the gradient of deformable convolution is larger than itself.
        plain = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(root, str(temporary), signatures, plain)
        extra = temporary / "assets.extra"
        extra.mkdir()
        (extra / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if options.serving:
            write_warm_up(temporary, served_as, spec, tuple(signatures))
        progress.advance()
        check_cancelled(progress)
        difference = compare(temporary, model, graphs, options)
        progress.advance()
        check_cancelled(progress)
    if options.serving:
        write_configuration(Path(folder).parent, served_as, options.xla)
    return Exported(Path(folder) / str(version), tuple(signatures), difference)


def suffix(scale: int, scales: tuple[int, ...]) -> str:
    """Tell what the names of the signatures of one scale end with."""
    return "" if scale == scales[0] else f"_x{scale}"


def describe(model: SuperResolutionModel, options: ExportOptions) -> dict[str, Any]:
    """Describe a model to a client, or to a reader of the folder, in plain JSON values."""
    tile, overlap = options.tiles.geometry(model.spec, model.spec.scales[0])
    return {
        **describe_model(model),
        "input": {"dtype": "float32", "range": [0, 1], "clipped": False},
        "tile": tile,
        "overlap": overlap,
        "max_pixels": options.max_pixels,
        "xla": options.xla,
    }


def trace_signatures(graphs: dict[str, Graph], about: dict[str, Any]) -> dict[str, Any]:
    """Trace the concrete functions of every scale, by their names."""
    traced: dict[str, Any] = {}

    def add(name: str, function: Any, given: Any) -> Any:
        graph = tf.function(function, input_signature=[given], autograph=False, jit_compile=False)
        traced[name] = graph.get_concrete_function()
        return traced[name]

    for end, graph in graphs.items():
        add(f"serving_default{end}", graph.arrays, tf.TensorSpec(graph.shape, tf.float32, "lr"))
        add(f"serving_uint8{end}", graph.arrays, tf.TensorSpec(graph.shape, tf.uint8, "lr"))
        # A server that speaks JSON takes for binary what is called so.
        add(
            f"serving_bytes{end}",
            graph.files,
            tf.TensorSpec((None, *graph.spec.frame_axis), tf.string, "lr_bytes"),
        )
    first = graphs[""]
    if isinstance(first.model, MultiFrameModel):
        frame = tf.TensorSpec((None, *first.shape[2:]), tf.float32, "lr")
        features = add("encode", first.encode, frame).structured_outputs
        window = {
            name: tf.TensorSpec((None, first.spec.num_frames, *value.shape[1:]), value.dtype, name)
            for name, value in features.items()
        }
        add("decode", first.decode, window)
    text = json.dumps(about)
    add("spec", lambda any: {"spec": tf.fill(tf.shape(any), text)}, tf.TensorSpec((None,), tf.string, "any"))
    return traced


def compare(
    folder: Path, model: SuperResolutionModel, graphs: dict[str, Graph], options: ExportOptions
) -> float:
    """Reload what was written and compare it with the network as predict runs it, at odd sizes and in tiles.

    Returns:
        The largest difference.

    Raises:
        ISRError: it is no rounding.
    """
    log = logging.getLogger("absl")
    before = log.level
    # The gradients that were left out are no news.
    log.setLevel(logging.ERROR)
    try:
        loaded = tf.saved_model.load(str(folder))
    finally:
        log.setLevel(before)
    # Belongs to `loaded`, which has to live as long.
    ask = loaded.signatures
    rng = np.random.default_rng(0)
    spec = model.spec
    upscaler = as_upscaler(model)
    worst = 0.0
    for end, graph in graphs.items():
        for size in ((17, 23), (8, graph.bounds.tile + 9)):
            pixels = rng.random((*spec.frame_axis, *size, spec.num_channels), np.float32)
            if spec.frame_axis:
                stream = partial(
                    enlarge_frames, cast(MultiFrameUpscaler, upscaler), options=WindowOptions(options.tiles)
                )
                # Compiling takes longer than such frames.
                with strips(compiled=False):
                    expected = next(iter(stream(frames=list(pixels), skip=spec.center_frame)))
            else:
                expected = enlarge(upscaler, pixels, options.tiles, scale=graph.scale)
            found = ask[f"serving_default{end}"](lr=tf.constant(pixels[np.newaxis]))["sr"].numpy()[0]
            if found.shape != expected.shape:
                raise ISRError(
                    f"the reloaded model gives {found.shape} where the network gives {expected.shape}"
                )
            worst = max(worst, float(np.abs(found - expected).max()))
    # A NaN is no rounding, either.
    if not worst <= TOLERANCE:
        raise ISRError(f"the reloaded model differs from the network by {worst:.1e}; nothing was written")
    return worst
