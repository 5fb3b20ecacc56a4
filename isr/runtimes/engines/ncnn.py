"""Networks in ncnn, on the processor or on a GPU by Vulkan."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import ncnn
import numpy as np

from isr.errors import ISRError, MachineError
from isr.runtimes.devices import quiet_stderr
from isr.runtimes.engines import Session
from isr.runtimes.engines.ncnn_graph import INPUT, OUTPUT, Graph, Waist, find_waist, save
from isr.tiles import Span, spans

SUFFIX = ".param"  # the weights lie beside it in a .bin
# Pixels of the result along the side of a piece that is enlarged at a time.
PIECE = 320


def devices() -> list[str]:
    """List the GPUs that Vulkan finds, by name; a driver that computes on the processor is one of them."""
    return list(_gpus())


def _gpus() -> tuple[str, ...]:
    return _asked()[0]


@cache
def _asked() -> tuple[tuple[str, ...], int]:
    """The names of the GPUs, and which of them is taken by itself.

    Asked in a process of its own: a driver may crash, and one that compiles for the processor crashes TensorFlow in
    the same process later.
    """
    code = f"import json; from {__name__} import _found; print(json.dumps(_found()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    names, first = json.loads(done.stdout) if done.returncode == 0 else ([], 0)
    return tuple(names), first


def _found() -> tuple[tuple[str, ...], int]:
    with quiet_stderr():  # on which ncnn describes what it finds
        names = tuple(ncnn.get_gpu_info(i).device_name() for i in range(ncnn.get_gpu_count()))
        return names, ncnn.get_default_gpu_index() if names else 0


def describe(device: str | None) -> str:
    """Return what a reader calls a device: "CPU", or "GPU 0 (AMD Radeon 780M)".

    Args:
        device: "gpu", "gpu:N" or "cpu"; None: the processor.

    Raises:
        MachineError: there is no such GPU.
    """
    index = _index(device)
    return "CPU" if index is None else f"GPU {index} ({_gpus()[index]})"


def _index(device: str | None) -> int | None:
    if device is None or device == "cpu":
        return None
    found = _gpus()
    _, _, number = device.partition(":")
    index = int(number) if number else _asked()[1] if found else 0
    if index >= len(found):
        there = f"there are {len(found)}" if found else "Vulkan finds none"
        raise MachineError(f"device {device}: no such GPU ({there}); `isr engines` lists them")
    return index


def load(path: Path, device: str | None = None) -> Session:
    """Open the network in a `.param` and the `.bin` of the same name.

    Args:
        path: of the `.param`.
        device: as of `describe`.

    Raises:
        MachineError: there is no such GPU.
        ISRError: ncnn does not take it.
    """
    index = _index(device)
    net = ncnn.Net()
    # In float32; on processors that have it, ncnn would take half precision.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_vulkan_compute = index is not None
    if index is not None:
        net.set_vulkan_device(index)
    with quiet_stderr():
        failed = net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin")))
    if failed:
        raise ISRError(f"{path.name}: ncnn does not take it")
    waist = find_waist(path.read_text(encoding="utf-8"))
    # ncnn's own pools give out the first block that is large enough, be it ten times as large: from tile to tile they
    # grow by another set of blocks at some sizes. Blocks of these fit, and computing is a little faster.
    blobs, workspaces = ncnn.PoolAllocator(), ncnn.PoolAllocator()
    workspaces.set_size_compare_ratio(0.3)

    def compute(planes: np.ndarray, start: str, end: str) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.set_blob_allocator(blobs)
        extractor.set_workspace_allocator(workspaces)
        planes = np.ascontiguousarray(planes)  # named, since a Mat does not keep it
        # A copy in ncnn's own memory: it writes into what it is given.
        status = extractor.input(start, ncnn.Mat(planes).clone())
        if not status:
            status, found = extractor.extract(end)
        if status:
            raise MemoryError(f"no memory for an array of {planes.shape}")
        return np.array(found)

    def enlarge(planes: np.ndarray) -> np.ndarray:
        if waist is None:
            return compute(planes, INPUT, OUTPUT)
        features = compute(planes, INPUT, waist.blob)
        rows, columns = (_pieces(length, waist) for length in features.shape[1:])
        parts: list[list[np.ndarray]] = []
        for down in rows:
            parts.append([])
            for right in columns:
                part = features[:, down.start : down.stop, right.start : right.stop]
                part = compute(part, waist.blob, OUTPUT)
                parts[-1].append(part[:, _kept(down, waist), _kept(right, waist)])
        return np.block(parts)

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = [enlarge(picture.transpose(2, 0, 1)).transpose(1, 2, 0) for picture in given["lr"]]
        return {"sr": np.stack(found)}

    return run


def _pieces(length: int, waist: Waist) -> list[Span]:
    """As few pieces along one side as `PIECE` allows, and as short as they can be then."""
    inside = max(1, length - 2 * waist.reach)
    count = -(-inside * waist.scale // PIECE)
    return spans(length, -(-inside // count) + 2 * waist.reach, waist.reach)


def _kept(span: Span, waist: Waist) -> slice:
    """What is kept of a piece along one side, in its own pixels of the result."""
    scale = waist.scale
    return slice(scale * (span.inner_start - span.start), scale * (span.inner_stop - span.start))


def session(graph: Graph, device: str | None = None) -> Session:
    """Open a graph; raises as `load`."""
    # ncnn may keep pointers into memory that it is given, but copies what it reads of a file.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{SUFFIX}"
        save(graph, path)
        return load(path, device)
