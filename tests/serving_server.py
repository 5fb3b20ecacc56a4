"""A small model server for tests: TensorFlow Serving's own messages over gRPC, and its REST form, over a SavedModel.

The real server comes as a container, not as a package. What is the same here: the messages, the statuses of errors,
the forms of JSON, and the unlimited size of messages. `python serving_server.py MODEL_FOLDER` serves a folder of
versions under its name, on ports 8500 and 8501.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 412,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class Refused(Exception):
    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Models by name and version.

    Attributes:
        calls: the signatures that were asked for.
        failures: statuses that the next calls end with, instead of an answer.
        pause: seconds before an answer.
    """

    def __init__(self, folders: dict[str, Path]) -> None:
        self.models = {
            name: {
                int(path.name): tf.saved_model.load(str(path))
                for path in folder.iterdir()
                if path.name.isdecimal()
            }
            for name, folder in folders.items()
        }
        self.calls: list[str] = []
        self.failures: list[grpc.StatusCode] = []
        self.pause = 0.0
        self.grpc_port = self.rest_port = 0

    def signature(self, model: str, version: int | None, name: str) -> Any:
        versions = self.models.get(model, {})
        version = max(versions, default=0) if version is None else version
        if version not in versions:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {model}/{version}")
        signatures = versions[version].signatures
        if name not in signatures:
            said = f'Serving signature key "{name}" not found.'
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, said)
        return signatures[name]

    def answer(self, signature: Any, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append(name)
        time.sleep(self.pause)
        if self.failures:
            raise Refused(self.failures.pop(0), "as the test asked for")
        specs = signature.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "input size does not match signature")
        try:
            given = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
            return {name: value.numpy() for name, value in signature(**given).items()}
        except tf.errors.InvalidArgumentError as error:
            # Without what Python adds before and behind.
            message = error.message.rpartition("<stack traces unavailable>\n")[2].partition(" [Op:")[0]
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, message) from None
        except (ValueError, TypeError) as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None

    def Predict(self, request: Any, context: Any) -> Any:
        try:
            name = request.model_spec.signature_name or "serving_default"
            version = request.model_spec.version.value if request.model_spec.HasField("version") else None
            signature = self.signature(request.model_spec.name, version, name)
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            outputs = self.answer(signature, name, inputs)
        except Refused as error:
            context.abort(error.code, str(error))
        response = predict_pb2.PredictResponse()
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response

    def predict_json(self, model: str, version: int | None, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("signature_name", "serving_default")
        signature = self.signature(model, version, name)
        specs = signature.structured_input_signature[1]
        rows = "instances" in body
        given = body["instances"] if rows else body.get("inputs")
        if rows and given and isinstance(given[0], dict) and "b64" not in given[0]:
            given = {key: [instance[key] for instance in given] for key in given[0]}
        if not isinstance(given, dict) or "b64" in given:
            given = {next(iter(specs)): given}  # the only input comes without its name
        try:
            inputs = {key: from_json(value, specs[key].dtype) for key, value in given.items()}
        except (KeyError, ValueError, TypeError) as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Failed to process element: {error}") from None
        outputs = {key: to_json(value, key) for key, value in self.answer(signature, name, inputs).items()}
        single = next(iter(outputs.values())) if len(outputs) == 1 else None
        if not rows:
            return {"outputs": outputs if single is None else single}
        if single is not None:
            return {"predictions": single}
        count = len(next(iter(outputs.values())))
        return {"predictions": [{key: value[i] for key, value in outputs.items()} for i in range(count)]}


def from_json(value: Any, dtype: Any) -> Any:
    def read(item: Any) -> Any:
        if isinstance(item, list):
            return [read(part) for part in item]
        return base64.b64decode(item["b64"]) if isinstance(item, dict) else item

    return np.array(read(value), object) if dtype == tf.string else np.asarray(value, dtype.as_numpy_dtype)


def to_json(value: np.ndarray, name: str) -> Any:
    def spell(item: Any) -> Any:
        if isinstance(item, list):
            return [spell(part) for part in item]
        if isinstance(item, bytes):
            return {"b64": base64.b64encode(item).decode()} if name.endswith("_bytes") else item.decode()
        return item

    return spell(value.tolist())


def http_handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            model = self.path.removeprefix("/v1/models/").split("/")[0]
            versions = sorted(server.models.get(model, {}), reverse=True)
            states = [
                {"version": str(v), "state": "AVAILABLE", "status": {"error_code": "OK"}} for v in versions
            ]
            self.send(
                200 if versions else 404, {"model_version_status": states} if versions else {"error": model}
            )

        def do_POST(self) -> None:
            path, _, verb = self.path.removeprefix("/v1/models/").partition(":")
            model, _, version = path.partition("/versions/")
            try:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if verb != "predict":
                    raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: POST {self.path}")
                self.send(200, server.predict_json(model, int(version) if version else None, body))
            except Refused as error:
                self.send(HTTP_STATUS[error.code], {"error": str(error)})
            except ValueError as error:
                self.send(400, {"error": f"JSON Parse error: {error}"})

        def send(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    return Handler


@contextmanager
def serve(folders: dict[str, Path], grpc_port: int = 0, rest_port: int = 0) -> Iterator[Server]:
    """A server of models, on free ports unless they are given."""
    server = Server(folders)
    rpc = grpc.server(ThreadPoolExecutor(4), options=UNLIMITED)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(server, rpc)
    server.grpc_port = rpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
    rpc.start()
    http = ThreadingHTTPServer(("127.0.0.1", rest_port), http_handler(server))
    server.rest_port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        rpc.stop(None)
        http.shutdown()
        http.server_close()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with serve({folder.resolve().name: folder}, 8500, 8501) as running:
        print(f"gRPC on {running.grpc_port}, REST on {running.rest_port}", flush=True)
        threading.Event().wait()
