"""What a model server is given, and the client that asks it, over its own messages."""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from pictures import photograph
from PIL import Image
from ruamel.yaml import YAML as Yaml
from serving_server import Server, serve
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2
from test_export import close, png
from tiny_models import TINY, Case, randomise

import isr
from isr.cli.app import run
from isr.errors import ISRError, MachineError, RequestError
from isr.export import ExportOptions, export_savedmodel
from isr.export import serving as configuration
from isr.layers.strips import strips
from isr.models import EDSR, EDVR, SuperResolutionModel
from isr.predict import PredictRequest, plan
from isr.predict.jobs.job import Job
from isr.predict.networks import Networks
from isr.progress import Silent
from isr.runtimes import serving
from isr.runtimes.engines.conversion import describe_model
from isr.runtimes.serving import ServingClient

ROOT = Path(__file__).parents[2]
YAML = Yaml(typ="safe")
OPTIONS = ExportOptions(tile=64, max_pixels=2_000_000, serving=True)


@pytest.fixture(scope="module")
def edsr() -> SuperResolutionModel:
    return randomise(Case(EDSR, TINY["EDSR"][0]).build())


@pytest.fixture(scope="module")
def edvr() -> SuperResolutionModel:
    return randomise(Case(EDVR, TINY["EDVR"][1]).build())


@pytest.fixture(scope="module")
def models(
    edsr: SuperResolutionModel, edvr: SuperResolutionModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("models")
    export_savedmodel(edsr, folder / "edsr", 2, options=OPTIONS)
    export_savedmodel(edvr, folder / "edvr", options=OPTIONS)
    return folder


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[Server]:
    with serve({name: models / name for name in ("edsr", "edvr")}) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    running.calls.clear()
    yield running
    running.failures.clear()
    running.pause = 0.0


def addresses(server: Server, model: str) -> list[str]:
    return [f"grpc://127.0.0.1:{server.grpc_port}/{model}", f"http://127.0.0.1:{server.rest_port}/{model}"]


# ---------------------------------------------------------------------------------------- configuration


def text_message(name: str, **fields: tuple[int, str]) -> Any:
    """An empty message of a schema that no package has: number and type of each field, by its name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    message = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
        if kind.startswith("."):
            message.field.add(name=field, number=number, label=1, type=11, type_name=kind)
        else:
            message.field.add(name=field, number=number, label=1, type={"bool": 8, "string": 9}[kind])
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.{name}"))()


def test_models_config_lists_all_models(models: Path, tmp_path: Path) -> None:
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((models / "models.config").read_text(), config)
    listed = [
        (entry.name, entry.base_path, entry.model_platform) for entry in config.model_config_list.config
    ]
    assert listed == [("edsr", "/models/edsr", "tensorflow"), ("edvr", "/models/edvr", "tensorflow")]
    before = (models / "models.config").read_text()
    assert configuration.write_configuration(models, "edvr") == [models / "models.config"]
    assert (models / "models.config").read_text() == before
    (tmp_path / "models.config").write_text("models: [edsr]")
    with pytest.raises(RequestError, match="not the configuration of a model server"):
        configuration.write_configuration(tmp_path, "edsr")


def test_parameters_of_batching_and_monitoring(models: Path) -> None:
    number = ".google.protobuf.Int64Value"
    batching = text_message(
        "BatchingParameters",
        max_batch_size=(1, number),
        batch_timeout_micros=(2, number),
        max_enqueued_batches=(3, number),
        num_batch_threads=(4, number),
        pad_variable_length_inputs=(7, "bool"),
    )
    text_format.Parse((models / "batching_parameters.txt").read_text(), batching)
    assert batching.pad_variable_length_inputs is False and batching.max_batch_size.value >= 1
    monitoring = text_message("PrometheusConfig", enable=(1, "bool"), path=(2, "string"))
    lines = (models / "monitoring.config").read_text().strip().splitlines()
    assert lines[0] == "prometheus_config {" and lines[-1] == "}"
    text_format.Parse("\n".join(lines[1:-1]), monitoring)
    assert monitoring.enable and monitoring.path.startswith("/")


def test_compose_and_kubernetes(models: Path, tmp_path: Path) -> None:
    compose = YAML.load(models / "compose.yml")["services"]["serving"]
    assert "--model_config_file=/models/models.config" in compose["command"]
    assert compose["volumes"] == ["./:/models:ro"]
    parts = list(YAML.load_all(models / "kubernetes.yml"))
    kinds = {part["kind"]: part for part in parts}
    assert set(kinds) == {"PersistentVolumeClaim", "Deployment", "Service", "HorizontalPodAutoscaler"}
    pod = kinds["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["args"] == compose["command"]
    assert container["startupProbe"]["httpGet"]["path"] == "/v1/models/edsr"
    assert pod["metadata"]["labels"] == kinds["Service"]["spec"]["selector"]
    assert pod["metadata"]["labels"] == kinds["Deployment"]["spec"]["selector"]["matchLabels"]
    assert (
        kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == kinds["Deployment"]["metadata"]["name"]
    )
    (volume,) = pod["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == kinds["PersistentVolumeClaim"]["metadata"]["name"]
    assert pod["metadata"]["annotations"]["prometheus.io/path"] in (models / "monitoring.config").read_text()

    (tmp_path / "compose.yml").write_text("mine")
    configuration.write_configuration(tmp_path, "edsr", xla=True)
    assert (tmp_path / "compose.yml").read_text() == "mine"
    (container,) = list(YAML.load_all(tmp_path / "kubernetes.yml"))[1]["spec"]["template"]["spec"][
        "containers"
    ]
    assert "--xla_cpu_compilation_enabled=true" in container["args"]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "version"), [("edsr", "2"), ("edvr", "1")])
def test_warm_up_requests_are_answered(models: Path, server: Server, model: str, version: str) -> None:
    path = models / model / version / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    requests = [log.predict_log.request for log in logs]
    asked = {request.model_spec.signature_name for request in requests}
    assert asked == {"serving_default", "serving_uint8", "serving_bytes"}
    for request in requests:
        assert request.model_spec.name == model
        assert server.Predict(request, None).outputs


# ----------------------------------------------------------------------------------------------- client


def test_pictures(edsr: SuperResolutionModel, server: Server) -> None:
    for address in addresses(server, "edsr"):
        client = ServingClient(address)
        assert client.spec == edsr.spec
        alpha = np.full((35, 41, 1), 255, np.uint8)
        alpha[:9] = 0
        for picture in (photograph(35, 41), np.concatenate([photograph(35, 41), alpha], -1)):
            close(
                isr.upscale(client, picture, tile=32, tile_overlap=6),
                isr.upscale(edsr, picture, tile=32, tile_overlap=6),
            )
        batch = np.random.default_rng(0).random((2, 7, 9, 3), np.float32)
        close(client(batch, scale=2), np.asarray(edsr(batch)))
        with pytest.raises(ValueError, match="not by 3"):
            client(batch, scale=3)


@pytest.mark.parametrize("encoded", [True, False])
def test_videos(edvr: SuperResolutionModel, server: Server, encoded: bool) -> None:
    clip = [photograph(18, 21, seed=index) for index in range(4)]
    with strips(compiled=False):
        expected = list(isr.upscale_frames(edvr, clip))
    for address in addresses(server, "edvr")[: 1 + encoded]:
        server.calls.clear()
        found = list(isr.upscale_frames(ServingClient(address, encoded=encoded), clip))
        for one, other in zip(found, expected, strict=True):
            close(one, other)
        asked = [name for name in server.calls if name != "spec"]
        # Every frame once, whatever the number of windows that it stands in.
        assert sorted(asked) == (["decode"] * 4 + ["encode"] * 4 if encoded else ["serving_default"] * 4)


def test_files_and_bytes(edsr: SuperResolutionModel, server: Server) -> None:
    pictures = [photograph(12, 17), photograph(9, 5)]
    for address in addresses(server, "edsr"):
        files = np.array([png(picture) for picture in pictures], object)
        (answer,) = ServingClient(address).predict("serving_bytes", {"lr_bytes": files}).values()
        for data, picture in zip(answer, pictures, strict=True):
            close(np.asarray(Image.open(io.BytesIO(data))), isr.upscale(edsr, picture))


def test_an_answer_of_over_64_megabytes(server: Server) -> None:
    batch = np.full((1, 1200, 1200, 3), 0.5, np.float32)
    sr = ServingClient(addresses(server, "edsr")[0])(batch)
    assert sr.shape == (1, 2400, 2400, 3) and sr.nbytes > 64 * 2**20


def test_unavailable_servers_are_asked_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in addresses(server, "edsr"):
        client = ServingClient(address, attempts=3)
        server.calls.clear()
        server.failures += [grpc.StatusCode.UNAVAILABLE] * 2
        assert client(np.zeros((1, 4, 4, 3), np.float32)).shape == (1, 8, 8, 3)
        assert server.calls == ["serving_default"] * 3
        server.failures += [grpc.StatusCode.UNAVAILABLE] * 3
        with pytest.raises(MachineError, match="cannot be reached, or is busy"):
            client(np.zeros((1, 4, 4, 3), np.float32))


def test_memory_that_runs_out_on_the_server_shrinks_tiles(server: Server) -> None:
    for address in addresses(server, "edsr"):
        client = ServingClient(address)
        server.failures += [grpc.StatusCode.RESOURCE_EXHAUSTED]
        with pytest.raises(MemoryError):
            client(np.zeros((1, 4, 4, 3), np.float32))
        server.failures += [grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert isr.upscale(client, photograph(40, 50)).shape == (80, 100, 3)


def test_refusals_are_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in addresses(server, "edsr"):
        client = ServingClient(address)
        with pytest.raises(RequestError, match=r"edsr: neither a PNG nor a JPEG file: bytes 4$"):
            client.predict("serving_bytes", {"lr_bytes": np.array([b"what"], object)})
        with pytest.raises(RequestError, match="serving_none"):
            client.predict("serving_none", {"lr": np.zeros(1)})
        with pytest.raises(RequestError, match="no such model or version"):
            ServingClient(address, version=1)
        with pytest.raises(RequestError, match="no such model or version"):
            ServingClient(address.removesuffix("edsr"), "none")
        server.failures += [grpc.StatusCode.INTERNAL] if address.startswith("grpc") else []
        if server.failures:
            with pytest.raises(ISRError, match="the server failed"):
                client(np.zeros((1, 4, 4, 3), np.float32))
        server.pause = 1.0
        with pytest.raises(MachineError, match="no answer in time"):
            ServingClient(address, timeout=0.2)
        server.pause = 0.0


@pytest.mark.parametrize(
    "address", ["", "host:8500", "ftp://host/edsr", "grpc://host/edsr/2", "grpc:///edsr", "host:port/edsr"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(RequestError, match="server"):
        ServingClient(address)


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for scheme in ("grpc", "http"):
        with pytest.raises(MachineError, match=f"127.0.0.1:{port}/edsr: the server cannot be reached"):
            ServingClient(f"{scheme}://127.0.0.1:{port}/edsr", attempts=2)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "find_spec", lambda _: None)
    with pytest.raises(MachineError, match=r"pip install 'keras-isr\[serving\]'"):
        ServingClient("host:8500", "edsr")


def test_the_command_predicts_on_a_server(
    edsr: SuperResolutionModel, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = photograph(20, 30)
    (tmp_path / "photo.png").write_bytes(png(picture))
    address = addresses(server, "edsr")[0]
    assert run(["predict", str(tmp_path / "photo.png"), "--server", address]) == 0
    close(np.asarray(Image.open(tmp_path / "photo_x2.png")), isr.upscale(edsr, picture))
    assert run(["predict", str(tmp_path / "photo.png"), "--server", address, "--preset", "edsr_fast_x2"]) == 2
    assert "give one of them" in capsys.readouterr().err
    # Over REST, nothing beside the standard library.
    without = ({"keras": None}, {"tensorflow": None, "requests": None})
    for address, absent in zip(addresses(server, "edsr"), without, strict=True):
        line = ["predict", str(tmp_path / "photo.png"), "--server", address, "--overwrite"]
        code = f"import sys; sys.modules.update({absent!r}); from isr.cli.app import run; sys.exit(run({line!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------- page


@pytest.mark.slow
def test_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command, program and request of `docs/serving.md` but those of containers, with the answers it shows."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "docs" / "images").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "images" / "robin.png", tmp_path / "docs" / "images")
    Image.fromarray(photograph(16, 24)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    commands = [line for language, block in fences if language == "bash" for line in block.splitlines()]
    (export,) = [line for line in commands if line.startswith("isr export")]
    assert run(shlex.split(export)[1:]) == 0
    names: dict[str, Any] = {}
    answered = 0
    with serve({"edsr": tmp_path / "models" / "edsr"}) as server:
        ports = {
            "localhost:8500": f"127.0.0.1:{server.grpc_port}",
            "localhost:8501": f"127.0.0.1:{server.rest_port}",
        }
        for language, block in fences:
            for documented, real in ports.items():
                block = block.replace(documented, real)
            if language == "python":
                capsys.readouterr()
                exec(compile(block, "serving.md", "exec"), names)
                said = capsys.readouterr().out
            elif language == "bash":
                said = ""
                for line in block.splitlines():
                    if line.startswith("isr predict"):
                        assert run(shlex.split(line)[1:]) == 0
                    elif line.startswith(("curl", "echo")) and shutil.which("curl"):
                        said = subprocess.run(
                            ["bash", "-c", line], capture_output=True, text=True, check=True
                        ).stdout
            elif language == "text":
                assert said == block
                answered += 1
            elif said:
                assert json.loads(said) == json.loads(block)
                answered += 1
    assert Image.open(tmp_path / "photo_x2.jpg").size == (48, 32)
    if shutil.which("curl"):
        files = json.loads((tmp_path / "answer.json").read_text())["outputs"]
        assert Image.open(io.BytesIO(base64.b64decode(files[0]["b64"]))).size == (480, 720)
        assert answered == 4


@pytest.mark.slow
def test_the_notebook(tmp_path: Path) -> None:
    from notebook_runs import run as run_notebook

    folder, shown = run_notebook("serving.ipynb", tmp_path)
    assert (folder / "models" / "edsr" / "1" / "assets.extra" / "isr.json").is_file()
    before, after = (Image.open(folder / name).size for name in ("photo.png", "answer.png"))
    assert after == (2 * before[0], 2 * before[1])
    assert any("image/png" in data for data in shown)


def test_records_know_the_weights_of_a_server(
    server: Server, edsr: SuperResolutionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that `--resume` makes again what other weights made; exports of earlier versions do not say them."""
    Image.fromarray(photograph(8, 10)).save(tmp_path / "a.png")

    def planned() -> Job:
        sources = (addresses(server, "edsr")[0],)
        (job,) = plan(PredictRequest((tmp_path / "a.png",), tmp_path, sources)).jobs
        return job

    job = planned()
    assert ServingClient(job.networks[0].source).weights_sha256 == describe_model(edsr)["weights_sha256"]
    assert pickle.loads(pickle.dumps(job)).run(Networks(), Silent()).status == "written"

    class Before(ServingClient):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.weights_sha256 = ""

    job.target.unlink()
    monkeypatch.setattr(serving, "ServingClient", Before)
    other = planned()
    assert other.record["weights"] != job.record["weights"]
    assert other.run(Networks(), Silent()).status == "written"
    assert "the weights were changed" in job.run(Networks(), Silent()).error
