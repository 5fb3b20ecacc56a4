"""A model on a server (TensorFlow Serving, gRPC or REST) as an upscaler."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from importlib.util import find_spec
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np

from isr.errors import ISRError, MachineError, RequestError
from isr.spec import ModelSpec

PORTS = {"grpc": 8500, "grpcs": 8500, "http": 8501, "https": 8501}
FORM = "give grpc://HOST:8500/MODEL or http://HOST:8501/MODEL"


class ServingClient:
    """A network that `isr export` wrote and a server runs, as an upscaler.

    Pictures and windows travel as float32, so results are those of the network here. gRPC is by far faster than
    REST, which spells every number out. Requests that find no server, or a busy one, are repeated, with longer and
    longer pauses.

    Args:
        server: `host:8500` (gRPC), or `grpc://host:8500/model`, `grpcs://...`, `http://host:8501/model`, `https://...`.
        model: name that the model is served under, unless it stands in `server`.
        version: of the model; None: the server's choice, usually the highest.
        timeout: seconds for one answer.
        attempts: how often a request is made that finds the server unreachable or busy.
        encoded: for networks of several frames: whether every frame is encoded once, and what the network made of it
            travels there and back, which is many times its pixels. Otherwise windows of pixels are sent, and the
            server encodes each frame once per window.

    Raises:
        RequestError: the address is none, the server does not know the model, or it was not exported by this package.
        MachineError: the server cannot be reached, or `keras-isr[serving]` is not installed.

    Example:
        >>> isr.upscale(ServingClient("host:8500", "edsr"), np.zeros((24, 32, 3), "uint8")).shape
        (48, 64, 3)
    """

    def __init__(
        self,
        server: str,
        model: str | None = None,
        *,
        version: int | None = None,
        timeout: float = 300.0,
        attempts: int = 5,
        encoded: bool = True,
    ) -> None:
        if timeout <= 0 or attempts < 1:
            raise RequestError(f"timeout {timeout}, attempts {attempts}: must be over 0, and at least 1")
        try:
            address = urlsplit(server if "://" in server else f"grpc://{server}")
            port = address.port or PORTS[address.scheme]
        except (ValueError, KeyError):
            raise RequestError(f"server {server!r}: {FORM}") from None
        named = address.path.strip("/")
        if not address.hostname or "/" in named or (named and model):
            raise RequestError(f"server {server!r}: {FORM}, with the model named once")
        self.model_name = model or named
        if not self.model_name:
            raise RequestError(f"server {server!r}: {FORM}")
        require_serving_api()
        # The brackets of IPv6.
        host = f"[{address.hostname}]:{port}" if ":" in address.hostname else f"{address.hostname}:{port}"
        transport = _Rest if address.scheme.startswith("http") else _Grpc
        self._attempts = attempts
        self._encoded = encoded
        self._transport: _Transport = transport(
            host, address.scheme.endswith("s"), self.model_name, version, timeout
        )
        try:
            text = self._one("spec", {"any": np.array([b""], object)}).ravel()[0]
            about = json.loads(text)
            self.spec: ModelSpec = ModelSpec.from_json(about["spec"])
            # Exports of earlier versions do not say it.
            self.weights_sha256 = str(about.get("weights_sha256", ""))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"{self._where}: this model was not exported by isr export") from None

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        scale = self.spec.check_scale(scale)
        end = "" if scale == self.spec.scales[0] else f"_x{scale}"
        return self._one(f"serving_default{end}", {"lr": np.asarray(batch, np.float32)})

    def encode(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        frames = np.asarray(frames, np.float32)
        return self.predict("encode", {"lr": frames}) if self._encoded else {"lr": frames}

    def decode(self, window: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        stacked = {name: np.stack([frame[name] for frame in window], axis=1) for name in window[0]}
        return self._one("decode" if self._encoded else "serving_default", stacked)

    def size(self, features: dict[str, np.ndarray]) -> int:
        return sum(value.nbytes for value in features.values())

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Ask the server once.

        Args:
            signature: such as "serving_uint8" or "serving_bytes".
            inputs: by name; files as an array of bytes objects.

        Returns:
            The outputs by name, as arrays; over REST all numbers are float32, and text is no bytes.

        Raises:
            RequestError: the server refuses the request; the message has its words.
            MemoryError: the answer or the work is too large for it, which smaller tiles are not.
            MachineError: it cannot be reached, or takes too long.
            ISRError: it fails.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            retry=retry_if_exception_type(_Unavailable),
            reraise=True,
        )
        try:
            answer: dict[str, np.ndarray] = retrying(self._transport.predict, signature, inputs)
            return answer
        except _Refused as error:
            self._raise(error)
            raise

    def _one(self, signature: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The only output of a signature."""
        (value,) = self.predict(signature, inputs).values()
        return value

    @property
    def _where(self) -> str:
        return f"{self._transport.host}/{self.model_name}"

    def _raise(self, error: _Refused) -> None:
        said = error.message
        if error.code in ("UNAVAILABLE", "ABORTED"):
            raise MachineError(f"{self._where}: the server cannot be reached, or is busy ({said})") from None
        if error.code == "DEADLINE_EXCEEDED":
            raise MachineError(
                f"{self._where}: no answer in time: allow more, or send smaller tiles"
            ) from None
        if error.code == "RESOURCE_EXHAUSTED":
            raise MemoryError(f"{self._where}: too large for the server ({said})") from None
        if error.code == "NOT_FOUND":
            raise RequestError(f"{self._where}: the server knows no such model or version ({said})") from None
        if error.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED"):
            raise RequestError(f"{self._where}: {said}") from None
        raise ISRError(f"{self._where}: the server failed ({said})") from None


def require_serving_api() -> None:
    """Raise MachineError unless the optional packages for servers are installed."""
    if find_spec("tensorflow_serving") is None or find_spec("tenacity") is None:
        raise MachineError("model servers need optional packages: pip install 'keras-isr[serving]'")


class _Refused(Exception):
    """An answer that is none: the name of its gRPC status, and one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        # The words of a check in the graph, without the name of the node; of all else the first line.
        asserted = re.search(r"assertion failed: \[(.*)\]", message)
        self.message = asserted[1] if asserted else next(iter(message.strip().splitlines()), code)


class _Unavailable(_Refused):
    """Worth another attempt."""


def _refused(code: str, message: str) -> _Refused:
    return (_Unavailable if code in ("UNAVAILABLE", "ABORTED") else _Refused)(code, message)


class _Transport(Protocol):
    host: str

    def __init__(self, host: str, secure: bool, model: str, version: int | None, timeout: float) -> None: ...

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


class _Grpc:
    def __init__(self, host: str, secure: bool, model: str, version: int | None, timeout: float) -> None:
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        # Without these an answer of over 4 MB fails, which is a tile of 400x400 pixels at scale 2.
        sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if secure:
            channel = grpc.secure_channel(host, grpc.ssl_channel_credentials(), options=sizes)
        else:
            channel = grpc.insecure_channel(host, options=sizes)
        self.host, self._model, self._version, self._timeout = host, model, version, timeout
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            answer = self._stub.Predict(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise _refused(error.code().name, error.details() or "") from None
        return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}


# What the server makes of a gRPC status.
_HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Rest:
    def __init__(self, host: str, secure: bool, model: str, version: int | None, timeout: float) -> None:
        self.host, self._timeout = host, timeout
        chosen = "" if version is None else f"/versions/{version}"
        self._url = f"http{'s' * secure}://{host}/v1/models/{model}{chosen}:predict"

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        body = {
            "signature_name": signature,
            "inputs": {name: _to_json(value) for name, value in inputs.items()},
        }
        status, reason, text = self._post(json.dumps(body).encode())
        try:
            content: Any = json.loads(text)
            if status == 200:
                outputs = content["outputs"]
                # A single output comes without its name.
                named = outputs if isinstance(outputs, dict) and "b64" not in outputs else {"": outputs}
                return {name: _from_json(value) for name, value in named.items()}
            message = str(content["error"])
        except (ValueError, KeyError, TypeError):
            message = f"HTTP {status} {reason}"
            if status == 200:
                raise _refused("UNKNOWN", "an answer that is not a model server's") from None
        raise _refused(_HTTP_CODES.get(status, "UNKNOWN"), message)

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, its words and the content of the answer to a request."""
        request = Request(self._url, body, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=self._timeout) as answer:
                return answer.status, answer.reason, answer.read()
        except HTTPError as error:
            with error:
                return error.code, error.reason, error.read()
        except (OSError, HTTPException) as error:
            # A URLError wraps the error of a connection that was never made.
            cause = getattr(error, "reason", error)
            code = "DEADLINE_EXCEEDED" if isinstance(cause, TimeoutError) else "UNAVAILABLE"
            raise _refused(code, str(cause)) from None


def _to_json(value: np.ndarray) -> Any:
    if value.dtype != object:
        return value.tolist()

    def spell(item: Any) -> Any:
        return (
            [spell(part) for part in item]
            if isinstance(item, list)
            else {"b64": base64.b64encode(item).decode()}
        )

    return spell(value.tolist())


def _from_json(value: Any) -> np.ndarray:
    def read(item: Any) -> Any:
        if isinstance(item, list):
            return [read(part) for part in item]
        return base64.b64decode(item["b64"]) if isinstance(item, dict) else item

    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, (dict, str)):
        return np.array(read(value), object)
    return np.asarray(value, np.float32)
