"""The engines beside Keras' backend: one suite over all of them, and how predict chooses and keeps them."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from children import run_python
from PIL import Image
from tiny_models import TINY, randomise

import isr
from isr.cli.app import run
from isr.errors import ISRError, MachineError, RequestError, Unconvertible
from isr.models import EDSR, EDVR, MDSR, MODELS, RDN, SPAN, TDAN, Compact, SuperResolutionModel
from isr.predict import source as source_module
from isr.predict.precision import resolve_precision
from isr.predict.source import Network, networks_of
from isr.progress import Silent
from isr.runtimes import engines
from isr.runtimes.engines import ENGINES
from isr.runtimes.engines.cache import cache_folder
from isr.runtimes.exported import ABOUT, open_exported

ALL = list(ENGINES)
# Winograd's convolutions round more than direct ones; the networks here give values of up to 30.
ROUNDING = {name: 10 if name == "ncnn" else 1 for name in ALL}


def mostly_slow(fast: str) -> list[Any]:
    """All engines; but one, they are left to the slow tests where the conformance suite has shown the most of it."""
    return [pytest.param(name, marks=[] if name == fast else pytest.mark.slow) for name in ALL]


TINY_PHOTO = TINY["EDSR"][0]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def photo_model() -> SuperResolutionModel:
    return randomise(EDSR(**TINY_PHOTO))


@pytest.fixture(scope="module", params=ALL)
def written(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    photo_model: SuperResolutionModel,
) -> Iterator[tuple[Path, Any, float]]:
    """A network written for each engine, and opened, and how much more than others the engine may round."""
    from isr.runtimes.engines.conversion import write

    pytest.importorskip(ENGINES[request.param].package)
    folder = tmp_path_factory.mktemp(request.param) / "edsr"
    assert write(photo_model, folder, request.param) < 1e-5
    yield folder, open_exported(folder), ROUNDING[request.param]


# ------------------------------------------------------------------------------------------------- conformance


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 5), (3, 17, 9), (2, 30, 31)])
def test_an_engine_gives_what_keras_gives_at_any_size(
    written: tuple[Path, Any, float], photo_model: SuperResolutionModel, shape: tuple[int, int, int]
) -> None:
    lr = np.random.default_rng(0).random((*shape, 3), np.float32)
    found = written[1](lr)
    assert found.dtype == np.float32
    expected = keras.ops.convert_to_numpy(photo_model(lr))
    np.testing.assert_allclose(found, expected, atol=2e-5 * written[2])


def test_an_earlier_result_outlives_a_later_call(written: tuple[Path, Any, float]) -> None:
    first = written[1](np.zeros((1, 9, 9, 3), np.float32))
    kept = first.copy()
    written[1](np.ones((1, 9, 9, 3), np.float32))
    np.testing.assert_array_equal(first, kept)


def test_an_engine_takes_any_layout_and_dtype(written: tuple[Path, Any, float]) -> None:
    lr = np.random.default_rng(1).random((1, 3, 12, 10)).transpose(0, 2, 3, 1)  # float64, not contiguous
    np.testing.assert_allclose(written[1](lr), written[1](np.ascontiguousarray(lr, np.float32)), atol=1e-6)


def test_an_engine_refuses_what_the_network_does(written: tuple[Path, Any, float]) -> None:
    for shape in ((1, 8, 8, 4), (8, 8, 3), (1, 2, 8, 8, 3)):
        with pytest.raises(ValueError, match="takes"):
            written[1](np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match="by 2, not by 3"):
        written[1](np.zeros((1, 8, 8, 3), np.float32), scale=3)


def test_tiles_are_exact_with_an_engine(written: tuple[Path, Any, float]) -> None:
    lr = np.random.default_rng(2).random((40, 50, 3)).astype(np.float32)
    whole = isr.upscale(written[1], lr)
    tiled = isr.upscale(written[1], lr, tile=32, tile_overlap="exact")
    np.testing.assert_allclose(tiled, whole, atol=2e-6 if written[2] == 1 else 2e-5 * written[2])


def test_the_folder_says_what_it_holds(
    written: tuple[Path, Any, float], photo_model: SuperResolutionModel
) -> None:
    about = json.loads((written[0] / ABOUT).read_text())
    assert about["spec"] == photo_model.spec.to_json()
    assert about["functions"] == ["x2"] and about["model"] == "EDSR"
    assert about["arguments"]["num_features"] == TINY_PHOTO["num_features"]


def test_a_folder_opens_where_there_is_no_keras(written: tuple[Path, Any, float], tmp_path: Path) -> None:
    lr = np.random.default_rng(3).random((1, 11, 13, 3), np.float32)
    np.save(tmp_path / "lr.npy", lr)
    code = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        "import numpy as np\n"
        "from isr.runtimes.exported import open_exported\n"
        f"np.save({str(tmp_path / 'sr.npy')!r}, open_exported({str(written[0])!r})(np.load({str(tmp_path / 'lr.npy')!r})))"  # noqa: E501
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ}, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / "sr.npy"), written[1](lr))


# -------------------------------------------------------------------------------------------------- other networks


@pytest.mark.parametrize("engine", mostly_slow("onnxruntime"))
def test_every_scale_of_a_network_has_its_file(engine: str, tmp_path: Path) -> None:
    from isr.runtimes.engines.conversion import write

    pytest.importorskip(ENGINES[engine].package)
    model = randomise(MDSR(**TINY["MDSR"][0]))
    write(model, tmp_path / "mdsr", engine)
    opened = open_exported(tmp_path / "mdsr")
    lr = np.random.default_rng(0).random((1, 9, 10, 3), np.float32)
    for scale in model.scales:
        expected = keras.ops.convert_to_numpy(model(lr, scale=scale))
        np.testing.assert_allclose(opened(lr, scale=scale), expected, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", [TDAN, EDVR, RDN, Compact, SPAN])
@pytest.mark.parametrize("engine", ALL)
def test_other_networks_convert(engine: str, network: type[SuperResolutionModel], tmp_path: Path) -> None:
    from isr.runtimes.engines.conversion import write

    pytest.importorskip(ENGINES[engine].package)
    model = randomise(network(**TINY[network.__name__][0]))
    if model.spec.num_frames > 1 and not ENGINES[engine].converts:
        with pytest.raises(RequestError, match=f"{engine} has no operations for {network.__name__}"):
            write(model, tmp_path / "x", engine)
        return
    assert write(model, tmp_path / "x", engine) < 1e-4
    opened: Any = open_exported(tmp_path / "x")
    if model.spec.num_frames > 1:
        side = 2 * model.spec.size_multiple + 8
        frames = np.random.default_rng(0).random((model.spec.num_frames, side, side, 3), np.float32)
        features = [opened.encode(frame[np.newaxis]) for frame in frames]
        assert opened.size(features[0]) == sum(value.nbytes for value in features[0].values())
        expected = keras.ops.convert_to_numpy(model(frames[np.newaxis]))
        np.testing.assert_allclose(opened.decode(features), expected, atol=1e-4)


@pytest.mark.slow
def test_a_small_video_network_converts(tmp_path: Path) -> None:
    """The deformable layers of the one that converts fastest."""
    from isr.runtimes.engines.conversion import write

    pytest.importorskip("ai_edge_litert")
    model = randomise(TDAN(**TINY["TDAN"][0]))
    assert write(model, tmp_path / "x", "litert", halves_only=True) < 1e-4
    files = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert files == ["decode.tflite", "encode.tflite", "isr.json"]


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_what_cannot_be_converted_is_said_and_nothing_is_left(
    tmp_path: Path, photo_model: SuperResolutionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isr.runtimes.engines import comparison, conversion

    pytest.importorskip("openvino")
    target = tmp_path / "new" / "edsr"
    with pytest.raises(RequestError, match="computes in float32 here"):
        conversion.write(photo_model, target, "litert", "bfloat16")
    with pytest.raises(RequestError, match="several frames are converted in float32"):
        conversion.write(TDAN(**TINY["TDAN"][0]), target, "openvino", "bfloat16")
    broken = EDSR(**TINY_PHOTO)
    broken.head.kernel.assign(broken.head.kernel * np.nan)
    with pytest.raises(RequestError, match="no numbers"):
        conversion.write(broken, target, "openvino")
    monkeypatch.setattr(comparison, "open_exported", lambda folder: lambda lr, scale: np.full(1, np.nan))
    with pytest.raises(ISRError, match="gives"):
        conversion.write(photo_model, target, "openvino")
    assert not (tmp_path / "new").exists()
    target.mkdir(parents=True)
    with pytest.raises(RequestError, match="exists already"):
        conversion.write(photo_model, target, "openvino")


def test_a_result_that_is_no_number_is_found(
    tmp_path: Path, photo_model: SuperResolutionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LiteRT makes NaN of Keras' variables when it is given the function itself, and says nothing."""
    import tensorflow as tf

    from isr.runtimes.engines import conversion, litert

    pytest.importorskip("ai_edge_litert")

    def unfrozen(function: Any, path: Path) -> None:
        concrete = function.get_concrete_function()
        path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], photo_model).convert())

    monkeypatch.setattr(litert, "convert", unfrozen)
    with pytest.raises((ISRError, ValueError, RuntimeError)):
        conversion.write(photo_model, tmp_path / "edsr", "litert")
    assert not (tmp_path / "edsr").exists()


def test_a_folder_that_is_none_is_refused(written: tuple[Path, Any, float], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not a folder of an exported network"):
        open_exported(tmp_path)
    (tmp_path / ABOUT).write_text((written[0] / ABOUT).read_text())
    with pytest.raises(RequestError, match=r"x2\.\w+ is missing"):
        open_exported(tmp_path)


def test_an_engine_that_is_not_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"pip install 'keras-isr\[openvino\]"):
        Network("edsr_fast_x2", "openvino")
    assert Network("edsr_fast_x2", "auto").engine == "tensorflow"
    with pytest.raises(RequestError, match="unknown; it is one of auto, tensorflow"):
        Network("edsr_fast_x2", "caffe")
    with pytest.raises(RequestError, match="KERAS_BACKEND=jax"):
        Network("edsr_fast_x2", "jax")


def test_auto_is_tensorflow_where_openvino_has_no_wheel(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photo)
    code = f"""
import sys
sys.modules["openvino"] = None
from isr.cli.app import run
sys.exit(run(["predict", {str(photo)!r}, "--preset", "edsr_fast_x2"]))
"""
    run_python("-c", code)
    assert Image.open(tmp_path / "photo_x2.png").size == (18, 18)


def test_auto_is_openvino_for_photographs_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    assert Network("edsr_fast_x2", "auto").engine == "openvino"
    assert Network("tdan_small_x4", "auto").engine == "tensorflow"
    assert Network(EDSR(**TINY_PHOTO), "auto").engine == "tensorflow"
    assert Network("aplus_x2", "auto").engine == ""
    monkeypatch.setattr(engines.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert Network("edsr_fast_x2", "auto").engine == "tensorflow"
    monkeypatch.setattr(engines, "backend", lambda: "jax")
    assert engines.fastest() == "jax"


def test_what_weights_are_put_into_tells_networks_apart(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    one = randomise(EDSR(**TINY_PHOTO))
    other = EDSR(**{**TINY_PHOTO, "pixel_mean": 0.0, "pixel_range": 1.0})
    other.set_weights(one.get_weights())
    pixels = np.random.default_rng(0).random((12, 12, 3), np.float32)
    for model in (one, other):
        made = isr.upscale(model, pixels, engine="openvino", precision="float32")
        np.testing.assert_allclose(made, isr.upscale(model, pixels), atol=1e-4)
    assert Network(one, "openvino").fingerprint() != Network(other, "openvino").fingerprint()


def test_passing_trouble_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from isr.runtimes.engines import conversion

    def fails(*_: Any, **__: Any) -> float:
        raise ISRError("cache: input/output error")

    model = randomise(EDSR(**TINY_PHOTO))
    with monkeypatch.context() as broken:
        broken.setattr(conversion, "write", fails)
        with pytest.raises(ISRError, match="input/output error"):
            isr.upscale(model, np.zeros((8, 8, 3), np.uint8), engine="openvino")
    assert isr.upscale(model, np.zeros((8, 8, 3), np.uint8), engine="openvino").shape == (16, 16, 3)


@pytest.mark.parametrize("engine", [name for name, engine in ENGINES.items() if engine.builds])
@pytest.mark.parametrize(
    ("name", "axis"),
    [("body_end/kernel", 2), ("tail/kernel", 3), ("tail/bias", 0)],
    ids=lambda value: str(value),
)
def test_weights_of_other_shapes_are_refused(engine: str, name: str, axis: int, tmp_path: Path) -> None:
    pytest.importorskip(ENGINES[engine].package)
    from isr.presets import read_safetensors, write_safetensors
    from isr.runtimes.engines.built import open_preset

    save_tiny(tmp_path / "tiny")
    weights = read_safetensors(tmp_path / "tiny" / "weights.safetensors")
    names = [name, "tail/bias"] if name == "tail/kernel" else [name]
    for each, along in zip(names, (axis, 0), strict=False):
        weights[each] = np.take(weights[each], [0], along)
    write_safetensors(tmp_path / "tiny" / "weights.safetensors", weights)
    with pytest.raises(RequestError, match="weights do not fit the network"):
        open_preset(tmp_path / "tiny", engine, "float32")


def test_what_failed_to_open_fails_alike_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("isr.runtimes.engines.openvino")
    from isr.runtimes.engines.built import open_preset

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such device")

    randomise(MDSR(scales=(2, 3), num_features=4, num_blocks=1)).save_preset(tmp_path / "several")
    upscaler = open_preset(tmp_path / "several", "openvino", "float32")
    assert upscaler is not None
    monkeypatch.setattr(openvino, "session", fails)
    for _ in range(2):
        with pytest.raises(ISRError, match="no such device"):
            upscaler(np.zeros((1, 8, 8, 3), np.float32), scale=3)


def test_an_engine_of_another_distribution_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """As onnxruntime-gpu, which is imported as onnxruntime."""
    import importlib.metadata

    version = importlib.metadata.version

    def missing(name: str) -> str:
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"onnxruntime": ["numpy"]})
    assert ENGINES["onnxruntime"].version == np.__version__
    monkeypatch.setattr(importlib.metadata, "packages_distributions", dict)
    assert ENGINES["onnxruntime"].version == "unknown"


# ------------------------------------------------------------------------------------------------------ predict


def save_tiny(folder: Path, **changes: Any) -> SuperResolutionModel:
    model = randomise(EDSR(**{**TINY_PHOTO, **changes}))
    model.save_preset(folder)
    return model


@pytest.mark.parametrize("engine", mostly_slow("openvino"))
def test_predict_converts_once_and_then_knows_no_keras(engine: str, tmp_path: Path) -> None:
    from PIL import Image

    pytest.importorskip(ENGINES[engine].package)
    model = save_tiny(tmp_path / "tiny")
    model.save(tmp_path / "tiny.keras")  # of a preset OpenVINO would build the network itself
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    file = str(tmp_path / "tiny.keras")
    line = ["predict", str(tmp_path / "photo.png"), "--weights", file, "--engine", engine]
    line += ["--precision", "float32", "--overwrite"]
    assert run(line) == 0
    first = np.asarray(Image.open(tmp_path / "photo_x2.png"))
    expected = isr.upscale(model, pixels)
    assert np.abs(first.astype(int) - expected).max() <= 1 and (first == expected).mean() > 0.99
    kept = sorted(path for path in cache_folder().rglob("*") if path.is_file())
    assert kept

    code = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None\n"
        f"from isr.cli.app import run; sys.exit(run({line!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"on CPU, {engine}, float32" in done.stderr and "converted" not in done.stderr
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "photo_x2.png")), first)
    assert sorted(path for path in cache_folder().rglob("*") if path.is_file()) == kept


@pytest.mark.slow
def test_other_weights_are_converted_anew(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    results = []
    told: list[str] = []

    class Told(Silent):
        def doing(self, phase: str | None, of: str = "") -> None:
            told.append(f"{phase} {of}" if phase else "")

    for seed in (0, 1):
        model = randomise(EDSR(**TINY_PHOTO))
        model.tail.bias.assign(model.tail.bias + 20.0 * seed)
        model.save_preset(tmp_path / "tiny")
        results.append(isr.upscale(tmp_path / "tiny", pixels, engine="litert", progress=Told()))
        assert np.abs(results[-1].astype(int) - isr.upscale(model, pixels)).max() <= 1
    assert (results[0] != results[1]).any()
    assert told == ["opening tiny", "", "converting tiny", "", "opening tiny", ""] * 2
    model = EDSR(**TINY_PHOTO)
    first = isr.upscale(model, pixels, engine="litert")
    randomise(model)
    assert (isr.upscale(model, pixels, engine="litert") != first).any()


def test_the_cache_is_listed_and_cleared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    isr.upscale(randomise(EDSR(**TINY_PHOTO)), np.zeros((8, 8, 3), np.uint8) + np.uint8(9), engine="litert")
    other = cache_folder() / "mine.txt"
    other.write_text("not a network")
    assert run(["engines", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in told["engines"]} == {"tensorflow", *ENGINES}
    assert told["cache"]["folder"] == str(cache_folder()) and told["cache"]["bytes"] > 1000
    assert run(["engines", "--clear"]) == 0
    assert "MB removed" in capsys.readouterr().out
    assert list(cache_folder().iterdir()) == [other]
    assert run(["engines"]) == 0
    assert "0.0 MB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "litert", "--precision", "bfloat16"], "litert computes it in float32, not in bfloat16"),
        (
            ["--engine", "openvino", "--precision", "int8"],
            "edsr_fast_x2: has no 8-bit variant; `isr quantise`",
        ),
        (["--engine", "tensorflow", "--precision", "int8"], "int8 needs the engine openvino"),
        (["--engine", "openvino", "--device", "gpu"], "computes on the CPU, not on gpu"),
        (["--fast", "--precision", "float32"], "give one of them"),
        (["--engine", "caffe"], "engine 'caffe' is unknown"),
    ],
)
def test_what_an_engine_cannot_do_is_said_before_any_work(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    pytest.importorskip("openvino")
    pytest.importorskip("ai_edge_litert")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    assert run(["predict", str(tmp_path / "red.png"), "--preset", "edsr_fast_x2", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["red.png"]


# ---------------------------------------------------------------------------------------------------- precisions


def test_bfloat16_in_openvino_is_that_of_the_policy(tmp_path: Path) -> None:
    """Not bfloat16 from end to end, which OpenVINO takes by itself where the processor has it."""
    pytest.importorskip("openvino")
    model = EDSR(2, num_features=16, num_blocks=4)
    model.start_as_interpolation()
    lr = np.random.default_rng(0).random((24, 24, 3)).astype(np.float32)
    model.save_preset(tmp_path / "net")
    networks = {name: Network(tmp_path / "net", name) for name in ("openvino", "tensorflow")}
    exact = networks["tensorflow"].open("float32")(lr[None])
    found = {name: network.open("bfloat16")(lr[None]) for name, network in networks.items()}
    errors = {name: float(np.sqrt(np.mean((sr - exact) ** 2))) for name, sr in found.items()}
    assert 0 < errors["tensorflow"] < 2e-3
    assert 0 < errors["openvino"] < 1.1 * errors["tensorflow"]


def test_openvino_rounds_to_the_nearest_bfloat16(tmp_path: Path) -> None:
    """By itself it cuts the bits off, and features become smaller by 0.14 %."""
    import tensorflow as tf

    pytest.importorskip("openvino")
    from isr.runtimes.engines import openvino

    kernel = np.zeros((1, 1, 4, 4), np.float32)
    kernel[0, 0] = np.eye(4)

    def cast(lr: Any) -> Any:
        return tf.nn.conv2d(tf.cast(lr, tf.bfloat16), tf.constant(kernel, tf.bfloat16), 1, "SAME")

    lr = tf.TensorSpec((None, None, None, 4), tf.float32, "lr")
    function = tf.function(lambda lr: {"sr": tf.cast(cast(lr), tf.float32)}, input_signature=[lr])
    openvino.convert(function, tmp_path / "cast.xml")
    values = np.random.default_rng(0).normal(size=(1, 16, 16, 4)).astype(np.float32)
    found = openvino.load(tmp_path / "cast.xml")({"lr": values})["sr"]
    np.testing.assert_array_equal(found, tf.cast(tf.cast(values, tf.bfloat16), tf.float32))


def test_precisions_that_stand_for_others() -> None:
    eight, sixteen = np.dtype(np.uint8), np.dtype(np.uint16)
    plain = Network(EDSR(**TINY_PHOTO))
    assert resolve_precision("fast", eight, [plain])[0] in ("bfloat16", "float32")  # as auto: it has no int8
    assert resolve_precision("fast", sixteen, [plain]) == ("float32", "")
    assert resolve_precision("int8", sixteen)[0] == "float32"
    assert "uint16" in resolve_precision("int8", sixteen)[1]
    assert networks_of("aplus_x2")[2].precisions == ()
    pytest.importorskip("openvino")
    assert Network("tdan_small_x4", "openvino").precisions == ("float32",)
    assert Network("edsr_baseline_x2", "openvino").precisions == ("float32", "bfloat16", "int8")


# ---------------------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize(
    "format", ["onnx", *(pytest.param(x, marks=pytest.mark.slow) for x in ("openvino", "litert"))]
)
def test_isr_export_writes_other_formats(
    format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(ENGINES["onnxruntime" if format == "onnx" else format].package)
    model = save_tiny(tmp_path / "tiny")
    line = ["export", "--weights", str(tmp_path / "tiny"), "--format", format, "-o", str(tmp_path / "out")]
    assert run(line) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(tmp_path / "out")] and "opened again, at most" in captured.err
    lr = np.random.default_rng(0).random((1, 9, 14, 3), np.float32)
    found = open_exported(tmp_path / "out")(lr)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(lr)), atol=2e-5)
    assert run(line) == 2
    assert "exists already" in capsys.readouterr().err
    assert run([*line, "--tile", "64"]) == 2
    assert "writes the bare network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("preset", "precision"),
    [
        ("edsr_fast_x2", "bfloat16"),
        pytest.param("edsr_fast_x2", "float32", marks=pytest.mark.slow),
        pytest.param("edsr_baseline_x2", "int8", marks=pytest.mark.slow),
        pytest.param("mdsr_baseline", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_an_openvino_file_is_what_the_engine_runs(preset: str, precision: str, tmp_path: Path) -> None:
    """As another program opens it: with OpenVINO alone, by the signature that the documentation has."""
    openvino = pytest.importorskip("openvino")
    line = ["export", "--preset", preset, "--format", "openvino", "--precision", precision]
    assert run([*line, "-o", str(tmp_path / "out")]) == 0
    engine = Network(preset, "openvino").open(precision)
    lr = np.random.default_rng(0).random((2, 17, 30, 3), np.float32)
    for scale in engine.spec.scales:
        model = openvino.Core().read_model(tmp_path / "out" / f"x{scale}.xml")
        (given,), (made,) = model.inputs, model.outputs
        assert (given.any_name, made.any_name) == ("lr", "sr")
        assert str(given.partial_shape) == "[?,?,?,3]" and given.element_type == openvino.Type.f32
        compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        np.testing.assert_array_equal(compiled(lr)["sr"], engine(lr, scale=scale))


class Bent(EDSR):
    """What a user may make of a network: its wiring is not the package's."""

    def at_scale(self, lr: Any, scale: int) -> Any:
        return 0.5 * super().at_scale(lr, scale)


def test_a_subclass_is_converted_as_it_computes(tmp_path: Path) -> None:
    from isr.runtimes.engines.conversion import write

    pytest.importorskip("openvino")
    model = randomise(Bent(**TINY_PHOTO))
    write(model, tmp_path / "bent", "openvino")
    lr = np.random.default_rng(0).random((1, 9, 14, 3), np.float32)
    found = open_exported(tmp_path / "bent")(lr)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model.at_scale(lr, 2)), atol=2e-5)


def test_an_onnx_file_is_one_that_onnx_accepts(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    save_tiny(tmp_path / "tiny")
    line = ["export", "--weights", str(tmp_path / "tiny"), "--format", "onnx", "-o", str(tmp_path / "out")]
    assert run(line) == 0
    model = onnx.load(tmp_path / "out" / "x2.onnx")
    onnx.checker.check_model(model, full_check=True)
    (given,), (made,) = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("lr", "sr")
    assert [bool(side.dim_param) for side in given.type.tensor_type.shape.dim] == [True, True, True, False]
    assert run([*line[:-2], "-o", str(tmp_path / "two"), "--format", "caffe"]) == 2
    assert run([*line[:-2], "-o", str(tmp_path / "two"), "--precision", "int8"]) == 2


# --------------------------------------------------------------------------------------- auto is never an error

# The scale that published weights of a network have is the quick one.
SCALED = [
    pytest.param(
        cls,
        {**TINY[cls.__name__][0], "res_scale": scale},
        id=f"{cls.__name__}-{scale}",
        marks=[] if (scale == 0.1) == (cls is EDSR) else pytest.mark.slow,
    )
    for cls in MODELS
    if "res_scale" in inspect.signature(cls).parameters
    for scale in (0.1, 0.2)
]


@pytest.mark.parametrize(("cls", "arguments"), SCALED)
def test_scaled_residuals_convert_in_bfloat16(
    cls: type[SuperResolutionModel], arguments: dict[str, Any], tmp_path: Path
) -> None:
    from isr.runtimes.engines.conversion import write

    pytest.importorskip("openvino")
    write(randomise(cls(**arguments)), tmp_path / "net", "openvino", "bfloat16")


def fail_in(monkeypatch: pytest.MonkeyPatch, *precisions: str) -> list[str]:
    """Let the conversion fail in these precisions; returns a list of all that are asked for."""
    from isr.runtimes.engines import conversion

    asked = []
    write = conversion.write

    def failing(
        model: Any, folder: Path, engine: str, precision: str = "float32", *more: Any, **kw: Any
    ) -> float:
        asked.append(precision)
        if precision in precisions:
            raise Unconvertible(f"{model.name}: differs")
        return write(model, folder, engine, precision, *more, **kw)

    monkeypatch.setattr(conversion, "write", failing)
    return asked


@pytest.fixture
def tiny_file(tmp_path: Path, photo_model: SuperResolutionModel) -> Path:
    """A network that has to be converted."""
    photo_model.save(tmp_path / "tiny.keras")
    return tmp_path / "tiny.keras"


@pytest.fixture
def tiny_preset(tmp_path: Path, photo_model: SuperResolutionModel) -> Path:
    """A network that OpenVINO builds."""
    photo_model.save_preset(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize(
    ("failing", "engine", "precision"),
    [(["bfloat16"], "openvino", "float32"), (["bfloat16", "float32"], "tensorflow", "float32")],
)
def test_auto_falls_back_and_says_so(
    failing: list[str],
    engine: str,
    precision: str,
    tiny_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("isr.runtimes.devices.computes_bfloat16", lambda device: True)
    asked = fail_in(monkeypatch, *failing)
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(photo)
    for overwrite in ([], ["--overwrite"]):
        source_module._of_file.cache_clear()  # as in a process of its own
        assert run(["predict", str(photo), "--weights", str(tiny_file), *overwrite]) == 0
        said = capsys.readouterr().err
        assert said.count("differs") == len(failing)
        assert f"computed by {engine} in {precision} instead of openvino in {failing[-1]}" in said
        assert f"{engine}, {precision}" in said.splitlines()[-1]
    assert len(asked) == len({*failing, "float32"}), "what failed is remembered"


def test_an_engine_that_was_asked_for_is_not_replaced(
    tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    fail_in(monkeypatch, "float32")
    lr = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ISRError, match="differs"):
        isr.upscale(tiny_file, lr, engine="openvino")
    assert isr.upscale(tiny_file, lr, engine="auto").shape == (18, 18, 3)


def test_auto_falls_back_where_a_graph_cannot_be_built(
    tiny_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = pytest.importorskip("isr.runtimes.engines.openvino_graph")
    messages: list[str] = []

    def broken(*_: Any, **__: Any) -> Any:
        raise ISRError("tiny: does not open")

    class Listener(Silent):
        def message(self, text: str) -> None:
            messages.append(text)

    monkeypatch.setattr(graphs, "build", broken)
    lr = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    found = isr.upscale(tiny_preset, lr, engine="auto", progress=Listener())
    np.testing.assert_array_equal(found, isr.upscale(tiny_preset, lr, engine="tensorflow"))
    assert messages == [
        "tiny: does not open; computed by tensorflow in float32 instead of openvino in float32"
    ]


def test_what_a_converter_raises_becomes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("isr.runtimes.engines.openvino")
    from isr.runtimes.engines import conversion

    def broken(function: Any, path: Path) -> None:
        raise RuntimeError("a long story\nwhose end says why")

    monkeypatch.setattr(openvino, "convert", broken)
    with pytest.raises(ISRError, match=r"cannot take it in float32: whose end says why$"):
        conversion.write(Bent(**TINY_PHOTO), tmp_path / "net", "openvino")


def test_no_host_is_looked_up(tiny_preset: Path, tmp_path: Path) -> None:
    """Telemetry of OpenVINO is on by default; the processes that it forks inherit the hook."""
    pytest.importorskip("openvino")
    photo, seen = tmp_path / "photo.png", tmp_path / "seen.txt"
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(photo)
    code = f"""
import os, sys, time
file = os.open({str(seen)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def hook(event, given):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        os.write(file, f"{{event}} {{given}}\\n".encode())
sys.addaudithook(hook)
from isr.cli.app import run
assert run(["predict", {str(photo)!r}, "--preset", {str(tiny_preset)!r}, "--engine", "openvino"]) == 0
assert "openvino" in sys.modules
time.sleep(1)
"""
    run_python("-c", code)
    assert seen.read_text() == ""
