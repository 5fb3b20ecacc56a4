"""What a model server wants beside a SavedModel: requests to warm up with, and its configuration."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import tensorflow as tf

from isr.errors import ISRError, RequestError
from isr.io.files import atomic
from isr.runtimes.serving import require_serving_api
from isr.spec import ModelSpec

# In assets.extra, where the server looks for it.
WARM_UP = "tf_serving_warmup_requests"
MODELS_CONFIG = "models.config"
# Where the folder of the models lies in a container.
MOUNTED = "/models"
WARM_UP_SIZE = (24, 32)

# Sizes differ from picture to picture, and padding one to another's would change its result. So only files share
# a batch, and on a processor little is gained by that: the server batches where it is asked to.
BATCHING = """\
# Only requests of one size share a batch, and those of serving_bytes. Used with --enable_batching.
max_batch_size { value: 4 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 64 }
num_batch_threads { value: 2 }
pad_variable_length_inputs: false
"""

MONITORING = """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

COMPOSE = Template("""\
# docker compose up, in this folder; then http://localhost:8501/v1/models/$model
services:
  serving:
    # Better a fixed version, not older than TensorFlow $tensorflow, which wrote the models.
    image: tensorflow/serving:latest
    command:
$compose_flags
    ports:
      - "8500:8500"
      - "8501:8501"
    volumes:
      - ./:$mounted:ro
    mem_limit: 8g
    restart: unless-stopped
""")

KUBERNETES = Template("""\
# kubectl apply -f kubernetes.yml; the claim holds this folder: models.config, monitoring.config, the models.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: isr-models
spec:
  accessModes: [ReadOnlyMany]
  resources:
    requests:
      storage: 2Gi
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: isr-serving
  labels: {app: isr-serving}
spec:
  selector:
    matchLabels: {app: isr-serving}
  template:
    metadata:
      labels: {app: isr-serving}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "8501"
        prometheus.io/path: /monitoring/prometheus/metrics
    spec:
      containers:
        - name: serving
          # Better a fixed version, not older than TensorFlow $tensorflow, which wrote the models.
          image: tensorflow/serving:latest
          args:
$kubernetes_flags
          ports:
            - {name: grpc, containerPort: 8500}
            - {name: http, containerPort: 8501}
          startupProbe:
            httpGet: {path: /v1/models/$model, port: http}
            periodSeconds: 5
            failureThreshold: 60
          # A port that listens: the server answers nothing else while all its cores compute.
          livenessProbe:
            tcpSocket: {port: grpc}
            periodSeconds: 30
            timeoutSeconds: 10
            failureThreshold: 5
          resources:
            requests: {cpu: "2", memory: 4Gi}
            limits: {memory: 8Gi}
          volumeMounts:
            - {name: models, mountPath: $mounted, readOnly: true}
      volumes:
        - name: models
          persistentVolumeClaim: {claimName: isr-models, readOnly: true}
---
apiVersion: v1
kind: Service
metadata:
  name: isr-serving
spec:
  selector: {app: isr-serving}
  ports:
    - {name: grpc, port: 8500, targetPort: grpc}
    - {name: http, port: 8501, targetPort: http}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: isr-serving
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: isr-serving}
  minReplicas: 1
  maxReplicas: 8
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: 70}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
""")


def write_warm_up(folder: Path, model: str, spec: ModelSpec, signatures: tuple[str, ...]) -> None:
    """Write requests that a server answers before it takes others, so that the first client waits no longer.

    Args:
        folder: of the version.
        model: name that it is served under.
        spec: of the network.
        signatures: of the model; those that begin with `serving_` are asked.

    Raises:
        MachineError: `keras-isr[serving]` is not installed.
    """
    require_serving_api()
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    rows, columns = (side + -side % spec.size_multiple for side in WARM_UP_SIZE)
    pixels = np.zeros((1, *spec.frame_axis, rows, columns, spec.num_channels), np.uint8)
    inputs: dict[str, tuple[str, Any]] = {
        "serving_default": ("lr", pixels.astype(np.float32)),
        "serving_uint8": ("lr", pixels),
    }
    if spec.num_channels in (1, 3):
        encoded = tf.io.encode_png(pixels.reshape(-1, *pixels.shape[-3:])[0]).numpy()
        inputs["serving_bytes"] = ("lr_bytes", np.full((1, *spec.frame_axis), encoded, object))
    path = folder / "assets.extra" / WARM_UP
    with tf.io.TFRecordWriter(str(path)) as records:
        for signature in signatures:
            kind = signature.partition("_x")[0]
            if kind not in inputs:
                continue
            name, value = inputs[kind]
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, signature
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            records.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def write_configuration(folder: Path, model: str, xla: bool = False) -> list[Path]:
    """Write what runs a server for the models of a folder.

    Args:
        folder: that holds the models' folders.
        model: name of one of them; it is added to `models.config`, which keeps the others.
        xla: whether its graph has parts that XLA compiles.

    Returns:
        The files that were written. Others than `models.config` are kept where they exist, as somebody's own.

    Raises:
        RequestError: `models.config` is none.
        MachineError: `keras-isr[serving]` is not installed.
    """
    flags = [
        f"--model_config_file={MOUNTED}/{MODELS_CONFIG}",
        f"--monitoring_config_file={MOUNTED}/monitoring.config",
        "--rest_api_timeout_in_ms=300000",
        *(["--xla_cpu_compilation_enabled=true"] if xla else []),
    ]
    values = {
        "model": model,
        "mounted": MOUNTED,
        "tensorflow": tf.__version__,
        "compose_flags": "\n".join(f"      - {flag}" for flag in flags),
        "kubernetes_flags": "\n".join(f"            - {flag}" for flag in flags),
    }
    texts = {
        "batching_parameters.txt": BATCHING,
        "monitoring.config": MONITORING,
        "compose.yml": COMPOSE.substitute(values),
        "kubernetes.yml": KUBERNETES.substitute(values),
    }
    changed = {folder / MODELS_CONFIG: add_model(folder, model)}
    changed |= {folder / name: text for name, text in texts.items() if not (folder / name).exists()}
    for path, text in changed.items():
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return list(changed)


def add_model(folder: Path, model: str) -> str:
    """Return `models.config` of a folder as text, with one more model unless it is there; raises as above."""
    path = folder / MODELS_CONFIG
    require_serving_api()
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    if path.exists():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise RequestError(f"{path}: not the configuration of a model server ({error})") from None
        except OSError as error:
            raise ISRError(f"{path}: {error.strerror}") from error
    known = config.model_config_list.config
    if model not in [entry.name for entry in known]:
        known.add(name=model, base_path=f"{MOUNTED}/{model}", model_platform="tensorflow")
    return str(text_format.MessageToString(config))
