"""Which processor Keras computes on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from isr.errors import MachineError, RequestError


def check_name(name: str | None) -> None:
    """Raise RequestError unless `name` is None, "cpu", "gpu" or "gpu:N". Imports no backend."""
    if name is not None and not re.fullmatch(r"cpu|gpu(:\d+)?", name):
        raise RequestError(f"device {name!r} is unknown; it is cpu, gpu, or gpu:0, gpu:1, ...")


def use_device(name: str | None = None) -> str:
    """Compute on a device from now on; before any model is made.

    Args:
        name: "cpu", "gpu" (the first) or "gpu:N"; None: what the backend takes by itself.

    Returns:
        What a reader calls the device: "CPU", or "GPU 0 (NVIDIA H100)".

    Raises:
        RequestError: the name is unknown.
        MachineError: there is no such device, or the backend has been running on others.
    """
    check_name(name)
    import_keras()
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(name)
    if backend == "jax":
        return _jax(name)
    return backend


def import_keras() -> None:
    """Import Keras and its backend, without what TensorFlow prints to stderr at that moment and later.

    Those lines come whatever `TF_CPP_MIN_LOG_LEVEL` says, so they are caught where it asks for silence, and
    shown where the import fails.
    """
    if "keras" in sys.modules or os.environ.get("TF_CPP_MIN_LOG_LEVEL", "0") == "0":
        import keras

        return
    import logging

    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # its advice about retracing is for programmers
    with quiet_stderr():
        import keras  # noqa: F401


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Catch what libraries print to the file of stderr in the block, and show it where the block fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException:
            caught.seek(0)
            os.write(stderr, caught.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _tensorflow(name: str | None) -> str:
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if name is None:
        wanted = tf.config.get_visible_devices("GPU")
    else:
        wanted = [] if name == "cpu" else [_choose(name, found)]
        try:
            tf.config.set_visible_devices(wanted, "GPU")
            for gpu in wanted:
                tf.config.experimental.set_memory_growth(gpu, True)  # not all of it from the start
        except (RuntimeError, ValueError):
            if tf.config.get_visible_devices("GPU") != wanted:
                raise MachineError(
                    f"device {name}: choose it before TensorFlow has computed anything"
                ) from None
    if not wanted:
        return "CPU"
    model = tf.config.experimental.get_device_details(wanted[0]).get("device_name")
    return f"GPU {found.index(wanted[0])}" + (f" ({model})" if model else "")


def _jax(name: str | None) -> str:
    import jax

    if name is None:
        device = jax.devices()[0]
    elif name == "cpu":
        device = jax.devices("cpu")[0]
    else:
        try:
            found = jax.devices("gpu")
        except RuntimeError:
            found = []
        device = _choose(name, found)
    if name is not None:
        jax.config.update("jax_default_device", device)
    return (
        "CPU" if device.platform == "cpu" else f"{device.platform.upper()} {device.id} ({device.device_kind})"
    )


def _choose(name: str, found: list[Any]) -> Any:
    index = int(name.partition(":")[2] or 0)
    if index >= len(found):
        there = f"there are {len(found)}" if found else "there is none that the backend can use"
        raise MachineError(
            f"device {name}: no such GPU ({there}); use --device cpu, or install keras-isr[gpu]"
        )
    return found[index]


@cache
def graphics_cards() -> tuple[str, ...]:
    """Name the GPUs of NVIDIA as their driver does; none where there is no driver. Imports no backend."""
    try:
        said = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in said.splitlines() if line.strip())


def computes_bfloat16(device: str) -> bool:
    """Tell whether a device, as `use_device` calls it, computes in bfloat16; True where that is unknown.

    A processor needs AVX512_BF16, AMX or ARM's bf16: without, it emulates bfloat16, slower than float32.
    """
    if device != "CPU" or not _cpuinfo():
        return True
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", _cpuinfo()) is not None


def has_amx() -> bool:
    """Tell whether the processor has AMX, whose bfloat16 is as fast as 8 bits; False where that is unknown."""
    return re.search(r"\bamx_bf16\b", _cpuinfo()) is not None


def processor() -> str:
    """Return what the processor calls itself, and its cores: "AMD EPYC, 2 cores"."""
    model = re.search(r"^model name\s*: *(.+)$", _cpuinfo(), re.MULTILINE)
    name = model[1] if model else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


@cache
def _cpuinfo() -> str:
    """What Linux tells of the processor; empty elsewhere."""
    if platform.system() != "Linux":
        return ""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
