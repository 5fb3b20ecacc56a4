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

from isr.errors import MachineError, Unconvertible
from isr.runtimes.devices import quiet_stderr
from isr.runtimes.engines import Session
from isr.runtimes.engines.ncnn_graph import INPUT, OUTPUT, Graph, find_waist, save, widest
from isr.runtimes.engines.pieces import pieces

SUFFIX = ".param"  # the weights lie beside it in a .bin


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
        Unconvertible: ncnn does not take it.
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
        raise Unconvertible(f"{path.name}: ncnn does not take it")
    text = path.read_text(encoding="utf-8")
    waist, channels = find_waist(text), widest(text)
    memory = _Memory()

    def compute(given: Mapping[str, np.ndarray | ncnn.Mat], wanted: str, packed: bool = False) -> ncnn.Mat:
        """What is wanted, in ncnn's memory: as planes, or packed as the network goes on with it."""
        extractor = net.create_extractor()
        extractor.set_blob_allocator(memory.features)
        extractor.set_workspace_allocator(memory.workspaces)
        status = 0
        for name, value in given.items():
            status = status or extractor.input(name, _mat(value) if isinstance(value, np.ndarray) else value)
        if not status:
            status, found = extractor.extract(wanted, int(packed))
        if status:
            raise MemoryError(f"no memory for what follows {', '.join(given)}")
        return found

    def enlarge(picture: np.ndarray) -> np.ndarray:
        planes = picture.transpose(2, 0, 1)
        if index is None:
            memory.reserve(channels, *planes.shape[1:])
        if waist is None:
            return np.array(compute({INPUT: planes}, OUTPUT)).transpose(1, 2, 0)
        features = compute({INPUT: planes}, waist.blob, packed=True)
        height, width = features.h, features.w
        result = np.empty((height * waist.scale, width * waist.scale, len(planes)), np.float32)
        for piece in pieces(height, width, waist.reach, waist.scale):
            rows, columns = piece.rows, piece.columns
            borders = (rows.start, height - rows.stop, columns.start, width - columns.stop)
            given = {waist.blob: ncnn.copy_cut_border(features, *borders)}
            if waist.takes_input:
                given[INPUT] = planes[:, rows, columns]
            made = np.asarray(compute(given, OUTPUT))
            # Plane by plane, which is faster than all numbers of a pixel together.
            for channel, plane in enumerate(made):
                result[(*piece.placed, channel)] = plane[piece.kept]
        return result

    def run(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = [enlarge(picture) for picture in given["lr"]]
        return {"sr": found[0][np.newaxis] if len(found) == 1 else np.stack(found)}

    return run


class _Memory:
    """Memory for features, and workspaces in which convolutions prepare them: ncnn's pools, with blocks that fit.

    Left alone, a pool keeps a block for every number of channels that a network has, and gives out the first that is
    large enough: an RRDBNet of 6 blocks takes 1300 MB for 240x360 pixels, and 650 from these.
    """

    # Of workspaces, at most so many are in use at once: padded, transformed, and computed features.
    WORKSPACES = 3
    # Bytes for a feature: F(4x4, 3x3) holds 36 numbers for 16.
    TRANSFORMED = 9

    def __init__(self) -> None:
        self.features, self.workspaces = ncnn.PoolAllocator(), ncnn.PoolAllocator()
        # What is smaller than this share of a block gets another one: of features, all that is concatenated has one.
        self.features.set_size_compare_ratio(0.45)
        self.workspaces.set_size_compare_ratio(0.03)
        self._size = 0

    def reserve(self, channels: int, height: int, width: int) -> None:
        """Have blocks for so many channels; what of a block is not written to takes no memory."""
        size = channels * (height + 8) * (width + 8)
        if size <= self._size:
            return
        self._size = size
        for pool, count, each in (
            (self.features, 1, 4),
            (self.workspaces, self.WORKSPACES, self.TRANSFORMED),
        ):
            pool.clear()
            blocks = [pool.fastMalloc(each * size) for _ in range(count)]
            for block in blocks:
                pool.fastFree(block)
            if None in blocks:
                # There is not so much: ncnn asks for what it needs.
                pool.clear()


def _mat(planes: np.ndarray) -> ncnn.Mat:
    """A copy in ncnn's own memory: it writes into what it is given."""
    # Named, since a Mat does not keep it.
    planes = np.ascontiguousarray(planes)
    return ncnn.Mat(planes).clone()


def session(graph: Graph, device: str | None = None) -> Session:
    """Open a graph; raises as `load`."""
    # ncnn may keep pointers into memory that it is given, but copies what it reads of a file.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"network{SUFFIX}"
        save(graph, path)
        return load(path, device)
