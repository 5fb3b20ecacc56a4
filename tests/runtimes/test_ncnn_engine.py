"""ncnn: its files by this package's reader and by the wheel, memory by pieces, Vulkan, what it cannot have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import run_python
from PIL import Image
from tiny_models import TINY, numpy, randomise

import isr
from isr.cli.app import run
from isr.convert import convert
from isr.errors import MachineError, RequestError
from isr.models import EDSR, SPAN, Cascade, Compact, RRDBNet, SuperResolutionModel
from isr.predict import PredictOptions
from isr.predict.source import Network
from isr.runtimes import wirings
from isr.runtimes.engines import ncnn_graph, pieces
from isr.runtimes.exported import open_exported


@pytest.fixture
def engine() -> Any:
    pytest.importorskip("ncnn")
    from isr.runtimes.engines import ncnn

    return ncnn


@pytest.fixture
def vulkan(engine: Any) -> str:
    """A GPU, which may be Mesa's driver that computes on the processor."""
    if not engine.devices():
        pytest.skip("Vulkan finds no device; mesa-vulkan-drivers has one")
    return "gpu"


def graph_of(model: SuperResolutionModel, scale: int, precision: str = "float32") -> ncnn_graph.Graph:
    weights = {name: numpy(value) for name, value in model.named_weights().items()}
    return ncnn_graph.build(
        wirings.Network(type(model).__name__, model.preset_arguments(), weights), scale, precision
    )


# Networks in the form in which their authors' programs keep them.
PUBLISHED = [
    (RRDBNet, {"scale": 4, "num_features": 8, "growth": 4, "num_blocks": 2}),
    (Compact, {"scale": 3, "num_features": 8, "num_convs": 2}),
    (SPAN, {"scale": 2, "num_features": 8, "num_blocks": 2}),
    (SPAN, {"scale": 4, "num_features": 8, "num_blocks": 2, "pixel_mean": 0.0, "pixel_range": 1.0}),
]


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(("cls", "arguments"), PUBLISHED)
def test_a_pair_is_what_the_reader_reads(
    cls: type[SuperResolutionModel], arguments: dict[str, Any], precision: str, tmp_path: Path
) -> None:
    model = randomise(cls(**arguments))
    ncnn_graph.save(graph_of(model, arguments["scale"], precision), tmp_path / "net.param")
    conversion = convert(tmp_path / "net.param")
    again = conversion.model
    assert type(again) is cls and again.preset_arguments() == model.preset_arguments()
    lr = np.random.default_rng(0).random((1, 12, 15, 3), np.float32)
    expected = numpy(model(lr))
    tolerance = 1e-5 if precision == "float32" else 2e-2
    assert np.abs(numpy(again(lr)) - expected).max() < tolerance * max(1, np.abs(expected).max())


def test_a_pair_is_named_as_other_programs_expect(engine: Any, tmp_path: Path) -> None:
    line = ["export", "--preset", "edsr_fast_x2", "--format", "ncnn", "-o"]
    assert run([*line, str(tmp_path / "half"), "--precision", "float16"]) == 0
    assert run([*line, str(tmp_path / "full")]) == 0
    names = sorted(path.name for path in (tmp_path / "full").iterdir())
    assert names == ["edsr_fast_x2.bin", "edsr_fast_x2.param", "isr.json"]
    first, second, *lines = (tmp_path / "full" / "edsr_fast_x2.param").read_text().splitlines()
    outputs = [blob for line in lines for blob in line.split()[4 + int(line.split()[2]) :] if "=" not in blob]
    assert (first, second) == ("7767517", f"{len(lines)} {len(outputs)}")
    assert lines[0].split()[-1] == "data" and outputs[-1] == "output"
    half, full = ((tmp_path / name / "edsr_fast_x2.bin").stat().st_size for name in ("half", "full"))
    assert half < 0.51 * full
    lr = np.random.default_rng(0).random((1, 20, 30, 3), np.float32)
    found, exact = (open_exported(tmp_path / name)(lr) for name in ("half", "full"))
    assert 0 < np.abs(found - exact).max() < 1e-3
    assert run([*line, str(tmp_path / "full")]) == 2
    assert run([*line, str(tmp_path / "other"), "--precision", "bfloat16"]) == 2


def test_the_wheel_computes_a_pair_by_itself(engine: Any, tmp_path: Path) -> None:
    """As other programs do: planes in, planes out, and ncnn's own settings but for half precision."""
    import ncnn

    model = randomise(EDSR(**TINY["EDSR"][0]))
    ncnn_graph.save(graph_of(model, 2), tmp_path / "net.param")
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(tmp_path / "net.param")) == 0
    net.load_model(str(tmp_path / "net.bin"))
    lr = np.random.default_rng(0).random((3, 17, 23), np.float32)
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(lr).clone())
    found = np.array(extractor.extract("output")[1]).transpose(1, 2, 0)
    expected = numpy(model(lr.transpose(1, 2, 0)[None]))[0]
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)


def test_what_float16_does_not_hold_is_refused() -> None:
    model = randomise(Compact(**TINY["Compact"][0]))
    model.head.kernel.assign(model.head.kernel + 1e5)
    graph_of(model, 2)
    with pytest.raises(RuntimeError, match="float16 does not hold"):
        graph_of(model, 2, "float16")


# The network, how far what enlarges sees, and whether it takes the input, too.
WAISTS = [(EDSR, 2, False), (RRDBNet, 2, False), (Compact, 1, True), (SPAN, 1, False)]


@pytest.mark.parametrize(("cls", "reach", "takes_input"), WAISTS)
def test_what_is_enlarged_piece_by_piece_is_the_same(
    cls: type[SuperResolutionModel],
    reach: int,
    takes_input: bool,
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = randomise(cls(**TINY[cls.__name__][0]))
    scale = model.spec.scales[0]
    graph = graph_of(model, scale)
    waist = ncnn_graph.find_waist(graph.text)
    assert waist is not None
    assert (waist.reach, waist.scale, waist.takes_input) == (reach, scale, takes_input)
    side = 23 + -23 % model.spec.size_multiple
    lr = np.random.default_rng(0).random((2, side, 60, 3), np.float32)
    whole = engine.session(graph)({"lr": lr})["sr"]
    monkeypatch.setattr(pieces, "PIECE", 10 * scale)
    by_pieces = engine.session(graph)({"lr": lr})["sr"]
    assert np.abs(by_pieces - whole).max() <= 1e-5 * np.abs(whole).max()
    np.testing.assert_allclose(whole, numpy(model(lr)), rtol=0, atol=1e-4 * np.abs(whole).max())


def test_what_does_not_enlarge_has_no_waist() -> None:
    text = graph_of(randomise(Compact(**TINY["Compact"][0])), 2).text
    body = "\n".join(line for line in text.splitlines() if not line.startswith(("PixelShuffle", "Interp")))
    assert ncnn_graph.find_waist(body) is None


def test_memory_that_is_not_there_is_not_reserved(engine: Any, capfd: pytest.CaptureFixture[str]) -> None:
    model = randomise(Compact(**TINY["Compact"][0]))
    memory = engine._Memory()
    memory.reserve(2**20, 2**14, 2**14)
    block = memory.workspaces.fastMalloc(1000)
    assert block is not None
    memory.workspaces.fastFree(block)
    del memory
    assert capfd.readouterr().err == ""
    assert ncnn_graph.widest(graph_of(model, 2).text) == TINY["Compact"][0]["num_features"]


def test_the_input_stays_as_it_is(engine: Any) -> None:
    """ncnn computes in place where it can, and of one channel a plane is the picture itself."""
    arguments = {"scale": 2, "num_features": 8, "num_convs": 1, "num_channels": 1, "pixel_range": 255.0}
    lr = np.random.default_rng(0).random((1, 9, 11, 1), np.float32)
    kept = lr.copy()
    engine.session(graph_of(randomise(Compact(**arguments)), 2))({"lr": lr})
    np.testing.assert_array_equal(lr, kept)


def test_vulkan_gives_the_same(
    vulkan: str, engine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own: where TensorFlow is loaded, Mesa's driver for the processor crashes (two LLVMs)."""
    model = randomise(EDSR(**TINY["EDSR"][0]))
    ncnn_graph.save(graph_of(model, 2), tmp_path / "net.param")
    lr = np.random.default_rng(0).random((1, 21, 30, 3), np.float32)
    np.save(tmp_path / "lr.npy", lr)
    Image.fromarray((lr[0] * 255).astype(np.uint8)).save(tmp_path / "photo.png")
    code = f"""
import sys
sys.modules["keras"] = sys.modules["tensorflow"] = None
from pathlib import Path
import numpy as np
from isr.cli.app import run
from isr.runtimes.engines import ncnn
folder = Path({str(tmp_path)!r})
found = ncnn.load(folder / "net.param", {vulkan!r})(dict(lr=np.load(folder / "lr.npy")))
np.save(folder / "sr.npy", found["sr"])
line = ["predict", str(folder / "photo.png"), "--preset", "edsr_fast_x2", "--engine", "ncnn", "-o"]
assert run([*line, str(folder / "cpu.png")]) == 0
assert run([*line, str(folder / "gpu.png"), "--device", "gpu:0"]) == 0
"""
    run_python("-c", code)
    expected = numpy(model(lr))
    assert np.abs(np.load(tmp_path / "sr.npy") - expected).max() <= 1e-4 * np.abs(expected).max()
    pictures = [np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("cpu.png", "gpu.png")]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert run(["engines", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["name"]: row for row in told["engines"]}["ncnn"]["devices"] == engine.devices()


def test_a_gpu_that_is_not_there(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_gpus", lambda: ("Radeon",))
    with pytest.raises(MachineError, match=r"gpu:77: no such GPU \(there are 1\)"):
        Network("edsr_fast_x2", "ncnn").open(device="gpu:77")
    assert engine.describe("gpu:0") == "GPU 0 (Radeon)"
    monkeypatch.setattr(engine, "_gpus", tuple)
    with pytest.raises(MachineError, match="Vulkan finds none"):
        engine.describe("gpu")
    assert engine.describe("cpu") == engine.describe(None) == "CPU"


def test_a_gpu_without_cuda_is_ncnns(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from isr.runtimes import engines

    asked = PredictOptions(device="gpu").runs_on
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    assert Network("edsr_fast_x2", asked).engine == "ncnn"
    assert Network("tdan_small_x4", asked).engine == "tensorflow"
    assert Network("aplus_x2", asked).engine == ""
    monkeypatch.setattr(engines.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert Network("edsr_fast_x2", asked).engine == "tensorflow"


def test_networks_with_gathers_stay_on_tensorflow(
    engine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clip").mkdir()
    for i in range(3):
        Image.new("RGB", (16, 12)).save(tmp_path / "clip" / f"{i}.png")
    line = ["predict", str(tmp_path / "clip"), "--preset", "tdan_small_x4", "--engine", "ncnn"]
    assert run([*line, "-o", str(tmp_path / "out.mp4")]) == 2
    said = capsys.readouterr().err
    assert said == "isr: tdan_small_x4: ncnn has no operations for TDAN; use --engine tensorflow\n"
    with pytest.raises(RequestError, match="no operations for Cascade"):
        Network(Cascade(["edsr_fast_x2", "edsr_fast_x2"]), "ncnn")


def test_a_model_and_a_file_are_converted(engine: Any, tmp_path: Path) -> None:
    model = randomise(SPAN(**TINY["SPAN"][2]))
    model.save(tmp_path / "span.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    expected = isr.upscale(model, pixels).astype(int)
    for source in (model, tmp_path / "span.keras"):
        assert np.abs(isr.upscale(source, pixels, engine="ncnn") - expected).max() <= 1


def test_the_import_speaks_to_nobody(engine: Any) -> None:
    """The wheel lists packages of downloads, which only its collection of models imports."""
    code = """
import sys
def hook(event, given):
    assert not event.startswith("socket."), event
sys.addaudithook(hook)
import isr.runtimes.engines.ncnn
assert not {"ncnn.model_zoo", "ncnn.utils", "requests", "tqdm", "cv2", "portalocker"} & set(sys.modules)
"""
    run_python("-c", code)
