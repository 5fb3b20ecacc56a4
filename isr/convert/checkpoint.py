"""Checkpoints read as data: the tensors of a file by name, whatever program wrote it.

    read("RealESRGAN_x4plus.pth").tensors["conv_first.weight"]  # float32 [64, 3, 3, 3]

The format is told by the content: PyTorch's zip archives, its files before version 1.6, its tar archives of version
0.1, whole pickled modules in any of these, safetensors, Keras 2's HDF5, and ncnn's pairs of `.param` and `.bin`.
PyTorch and ncnn are not needed.

A pickle becomes dictionaries, tensors and inert records (`isr.convert.pickled`). What a file states of its sizes is
held against the file before anything is read, so that memory stays below about twice the file (and some 100 MB
that a pickle of many small parts may take).
"""

from __future__ import annotations

import io
import json
import math
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from isr.convert import hdf5, ncnn, pickled
from isr.convert.pickled import Global, Object
from isr.errors import MachineError, RequestError
from isr.io.errors import file_error

MAX_FILE = 4 << 30  # bytes; the largest published file has 173 MB, with an optimizer it would be some 700
MAX_PICKLE = 64 << 20  # bytes
SMALL_PICKLE = 4 << 10  # bytes, of one that holds a few numbers or names
MAX_DIRECTORY = 4 << 20  # bytes, of a zip archive's table of contents: some 40,000 members
MAX_TENSORS = 100_000
MAX_RANK = 8

# A legacy file begins with this number, pickled; the second is the version of that format.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001

STORAGES = {
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "f8",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "bool",
}
SAFETENSORS = {
    "F32": "f4",
    "F16": "f2",
    "BF16": "bfloat16",
    "F64": "f8",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "bool",
}

# Where programs put a network's tensors in a larger dictionary; the first that is there counts.
WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
# Which of several networks in one dictionary is the one that upscales; names without the prefix are dropped.
NETWORK_PREFIXES = ("generator_ema.", "generator.", "netG.")
# What DataParallel puts before every name.
COMMON_PREFIX = "module."
MAX_WRAPPERS = 8


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Args:
        path: the file; of ncnn's pair the `.bin`.
        format: "PyTorch zip", "PyTorch legacy", "PyTorch tar", "safetensors", "Keras HDF5" or "ncnn".
        wrappers: what was taken off, from the outside in: keys of dictionaries such as "params_ema",
            "pickled module", and prefixes of names with their dot, such as "module.".
        tensors: arrays by name, in the file's order: `conv_first.weight` as PyTorch names and stores them
            (out x in x kh x kw), `F_m1.kernel`, layer and weight, from HDF5 (kh x kw x in x out). Bfloat16
            became float32; all else keeps its type, in native byte order. Single numbers such as counters of
            steps are among them. From ncnn they have the names of the authors' PyTorch code.
        facts: arguments of the network that the file tells beside its tensors.
    """

    path: Path
    format: str
    wrappers: tuple[str, ...]
    tensors: dict[str, np.ndarray]
    facts: Mapping[str, Any] = field(default_factory=dict)


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the tensors of a checkpoint; its content tells the format, and no code of the file runs.

    Args:
        path: of the file, with any suffix.

    Returns:
        The tensors, and what they were wrapped in.

    Raises:
        RequestError: the file is missing, damaged, no checkpoint of a known format, or holds no tensors.
    """
    path = Path(path)
    try:
        if stat.S_ISFIFO(path.stat().st_mode):
            raise RequestError(f"{path}: a pipe, not a file")  # opening it would wait for ever
        file = _File(path)
    except OSError as error:
        raise file_error(path, error) from error
    with file:
        try:
            if path.suffix in (".param", ".bin") and _is_ncnn(path.with_suffix(".param")):
                return _read_ncnn(path)
            return Checkpoint(path, *_read(file))
        except (_Unusable, hdf5.Unsupported, ncnn.Unusable) as error:
            raise RequestError(f"{path}: {error}") from None
        except MemoryError as error:
            raise MachineError(f"{path}: its {file.size >> 20} MB do not fit into the memory") from error
        except Exception as error:  # given damaged bytes, the readers raise every exception there is
            said = " ".join(str(error).split())[:200] or type(error).__name__
            said = "".join(letter if letter.isprintable() else "?" for letter in said)
            raise RequestError(f"{path}: damaged ({said}): get the file once more") from None


def _is_ncnn(graph: Path) -> bool:
    if not graph.is_file():
        return False
    with graph.open("rb") as file:
        return file.read(len(ncnn.MAGIC)) == ncnn.MAGIC.encode()


def _read_ncnn(path: Path) -> Checkpoint:
    """Read the pair that either of its files stands for."""
    graph, weights = path.with_suffix(".param"), path.with_suffix(".bin")
    if not weights.is_file():
        raise _Unusable(f"one file of a pair of ncnn; put {weights.name} beside it")
    if graph.stat().st_size > ncnn.MAX_TEXT or weights.stat().st_size > MAX_FILE:
        raise _Unusable("larger than any network here")
    tensors, facts = ncnn.read(graph.read_text(encoding="ascii"), weights.read_bytes())
    return Checkpoint(weights, "ncnn", (), tensors, facts)


class _Unusable(Exception):
    """Why a file is of no use, without its name."""


class _File(io.BufferedReader):
    """A file whose `read` allocates no more than there is to read."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size
        self.largest = self.size  # bytes of one read

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(self.size - self.tell(), 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self.largest:
            raise ValueError(f"a part of {wanted} bytes")
        return super().read(wanted)

    def exactly(self, size: int) -> bytes:
        data = self.read(max(size, 0))
        if len(data) != size:
            raise EOFError("it ends too early")
        return data


def _read(file: _File) -> tuple[str, tuple[str, ...], dict[str, np.ndarray]]:
    """Format, wrappers and tensors."""
    if file.size > MAX_FILE:
        raise _Unusable(f"{file.size} bytes are more than any checkpoint of these networks has")
    head = file.read(512)
    file.seek(0)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= file.size - 8:
        return "safetensors", *_without_prefixes((), _read_safetensors(file))
    if head.startswith(hdf5.SIGNATURE):
        return "Keras HDF5", (), _read_hdf5(file)
    if head.startswith(b"PK\x03\x04"):
        return "PyTorch zip", *_read_zip(file)
    if head[257:262] == b"ustar":
        return "PyTorch tar", *_read_tar(file)
    if head.startswith(b"\x80"):
        return "PyTorch legacy", *_read_legacy(file)
    raise _Unusable(_why_no_checkpoint(head))


def _why_no_checkpoint(head: bytes) -> str:
    text = head.decode("utf-8-sig", "replace").lstrip().lower()
    if not head:
        return "an empty file: get the weights once more"
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the weights: fetch them with `git lfs pull` or from the project's page"
    if text.startswith(("<!doctype", "<html", "<head", "<?xml")):
        return "a web page, not weights: the download went wrong; get the file itself"
    return "no checkpoint: neither of PyTorch nor safetensors nor HDF5"


# ---------------------------------------------------------------------------------------------- PyTorch's three forms


@dataclass(frozen=True, slots=True)
class _Storage:
    """`count` numbers somewhere in the file, where `key` tells; a tensor's own offset is added to `first`."""

    key: str
    dtype: str
    count: int
    first: int = 0

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self.count * _item_size(self.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Tensor:
    """A view of a storage; offset and strides count elements. Nothing in it is checked yet."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


Persistent = Callable[[Any], Any]
Fetch = Callable[[_Storage], bytes]


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, size, stride)


def _first(value: Any, *_: Any) -> Any:
    return value


KNOWN: Mapping[Global, Callable[..., Any]] = {
    Global("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    Global("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    Global("torch._utils", "_rebuild_parameter"): _first,
    Global("torch.nn.parameter", "Parameter"): _first,
    Global("torch", "Size"): _first,
}


def _persistent(reference: Any) -> Any:
    match reference:
        case ("storage", Global("torch" | "torch.cuda", name), str(key), _, int(count), *rest):
            first = rest[0][1] if rest and rest[0] is not None else 0  # (key, offset, count) of a view
            return _Storage(key, STORAGES.get(name, "unknown"), count, first)
        case ("module", Global() as kind, *_):  # then its source, which is of no interest
            return kind
    raise ValueError("a reference to what is neither a storage nor a class")


def _read_zip(file: _File) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    file.largest = MAX_DIRECTORY  # which zipfile reads at once, and makes ten times as much of
    with zipfile.ZipFile(file) as archive:
        file.largest = file.size
        names = archive.namelist()
        if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
            raise _Unusable("a TorchScript program, not a checkpoint: save the module's state_dict instead")
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _Unusable(
                "a zip archive, but none of PyTorch: where it holds a checkpoint, unpack it first"
            )
        folder = pickles[0].removesuffix("data.pkl")

        def member(name: str, most: int) -> bytes:
            info = archive.getinfo(folder + name)
            if info.compress_type != zipfile.ZIP_STORED:
                raise _Unusable("a compressed archive, which PyTorch does not write: get the original file")
            if info.file_size != info.compress_size or info.file_size > min(most, file.size):
                raise ValueError(f"{name} has {info.file_size} bytes")
            return archive.read(info)

        def fetch(storage: _Storage) -> bytes:
            return member(f"data/{storage.key}", file.size)

        big = f"{folder}byteorder" in names and member("byteorder", 16).strip() == b"big"
        root = pickled.load(io.BytesIO(member("data.pkl", MAX_PICKLE)), KNOWN, _persistent)
        wrappers, tensors = _state_dict(root)
        return wrappers, _arrays(tensors, fetch, file.size, big)


def _read_legacy(file: _File) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    if _unpickle(file) != LEGACY_MAGIC:
        raise _Unusable("a pickle, but none of PyTorch")
    if _unpickle(file, most=SMALL_PICKLE) != LEGACY_VERSION:
        raise ValueError("another version of the format")
    _unpickle(file, most=SMALL_PICKLE)  # facts about the machine; the numbers are little-endian on every one
    storages: dict[str, _Storage] = {}

    def persistent(reference: Any) -> Any:
        value = _persistent(reference)
        if isinstance(value, _Storage):
            storages.setdefault(value.key, value)
        return value

    root = _unpickle(file, persistent)
    places: dict[str, int] = {}
    for key in _unpickle(file):
        (count,) = struct.unpack("<q", file.exactly(8))
        if count != storages[key].count:
            raise ValueError(f"a storage of {count} numbers")
        places[key] = file.tell()
        _skip(file, storages[key].size)

    def fetch(storage: _Storage) -> bytes:
        file.seek(places[storage.key])
        return file.exactly(storage.size)

    wrappers, tensors = _state_dict(root)
    return wrappers, _arrays(tensors, fetch, file.size)


def _read_tar(file: _File) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    places = _tar_members(file)
    storages: dict[int, tuple[_Storage, int]] = {}
    tensors: dict[int, _Tensor] = {}

    def key_of(value: Any) -> int:
        if not isinstance(value, int):
            raise TypeError("a key that is no number")
        return value

    def counted() -> Iterator[Any]:
        count = _unpickle(file, most=SMALL_PICKLE)
        if count > MAX_TENSORS:
            raise ValueError(f"{count} tensors")
        for _ in range(count):
            yield _unpickle(file, most=SMALL_PICKLE)

    file.seek(places["storages"])
    for key, _, kind in counted():
        (count,) = struct.unpack("<q", file.exactly(8))
        storage = _Storage(str(key_of(key)), STORAGES[kind.name], count)
        storages[key] = storage, file.tell()
        _skip(file, storage.size)
    for key, root, first, _ in _unpickle(file):  # views
        whole, place = storages[root]
        storages[key_of(key)] = _Storage(whole.key, whole.dtype, whole.count, first), place
    file.seek(places["tensors"])
    for key, storage_key, _ in counted():
        (dimensions,) = struct.unpack("<i4x", file.exactly(8))
        if not 0 <= dimensions <= MAX_RANK:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        numbers = struct.unpack(f"<{2 * dimensions + 1}q", file.exactly(8 * (2 * dimensions + 1)))
        size, stride = numbers[:dimensions], numbers[dimensions:-1]
        tensors[key_of(key)] = _Tensor(storages[storage_key][0], numbers[-1], size, stride)

    def persistent(reference: Any) -> Any:
        match reference:
            case int():
                return tensors.get(reference) or storages[reference][0]
            case (Global() as kind, *_):  # then its source
                return kind
        raise ValueError("a reference to what is neither a tensor nor a class")

    def fetch(storage: _Storage) -> bytes:
        file.seek(storages[int(storage.key)][1])
        return file.exactly(storage.size)

    file.seek(places["pickle"])
    wrappers, state_dict = _state_dict(_unpickle(file, persistent))
    return wrappers, _arrays(state_dict, fetch, file.size)


def _tar_members(file: _File) -> dict[str, int]:
    """Where the content of each member begins."""
    places: dict[str, int] = {}
    wanted = {"storages", "tensors", "pickle"}
    # tarfile parses a header; its own walk through an archive has been made to run for ever.
    for _ in range(50):
        block = file.read(tarfile.BLOCKSIZE)
        if not block.strip(b"\0"):
            break
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if member.isreg():
            places[member.name] = file.tell()
        _skip(file, -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    if not wanted <= places.keys():
        raise _Unusable("a tar archive, but none of PyTorch: where it holds a checkpoint, unpack it first")
    return places


def _unpickle(file: _File, persistent: Persistent = _persistent, most: int = MAX_PICKLE) -> Any:
    """The value of the pickle at the position of the file, which is left behind it."""
    start = file.tell()
    data = io.BytesIO(file.read(most))
    value = pickled.load(data, KNOWN, persistent)
    file.seek(start + data.tell())
    return value


def _skip(file: _File, size: int) -> None:
    if size < 0 or size > file.size - file.tell():
        raise EOFError("it ends too early")
    file.seek(size, os.SEEK_CUR)


# ------------------------------------------------------------------------------- what all of PyTorch's forms contain


def _state_dict(root: Any) -> tuple[tuple[str, ...], dict[str, _Tensor]]:
    """The tensors of the network in what was pickled, without wrappers."""
    wrappers: tuple[str, ...] = ()
    value = root
    while isinstance(value, dict) and len(wrappers) < MAX_WRAPPERS:
        tensors = {name: entry for name, entry in value.items() if isinstance(entry, _Tensor)}
        inner = {key: entry for key, entry in value.items() if entry and isinstance(entry, (dict, Object))}
        key = next((key for key in WRAPPERS if key in inner), None)
        if key is None and tensors:
            return _without_prefixes(wrappers, tensors)
        if key is None and len(inner) != 1:
            keys = ", ".join(ascii(key[:40]) for key in list(value)[:6]) or "none"
            raise _Unusable(f"no network's tensors in it (its keys: {keys})")
        key = key or next(iter(inner))
        wrappers += (key,)
        value = inner[key]
    if isinstance(value, Object) and (tensors := _module_tensors(value)):
        return _without_prefixes((*wrappers, "pickled module"), tensors)
    raise _Unusable("no network's tensors in it")


def _module_tensors(root: Object) -> dict[str, _Tensor]:
    """What `state_dict()` of a pickled module would give."""
    tensors: dict[str, _Tensor] = {}
    seen = 0

    def entries(module: Object, group: str) -> dict[str, Any]:
        nonlocal seen
        found = module.state.get(group) if isinstance(module.state, dict) else None
        found = found if isinstance(found, dict) else {}
        seen += 1 + len(found)
        return found

    def walk(module: Object, prefix: str) -> None:
        if seen > MAX_TENSORS or len(prefix) > 300:
            raise ValueError("modules within modules without end")
        for group in ("_parameters", "_buffers"):
            for name, tensor in entries(module, group).items():
                if isinstance(tensor, _Tensor):
                    tensors[prefix + name] = tensor
        for name, child in entries(module, "_modules").items():
            if isinstance(child, Object):
                walk(child, f"{prefix}{name}.")

    walk(root, "")
    return tensors


def _without_prefixes(
    wrappers: tuple[str, ...], tensors: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    for prefix in (*NETWORK_PREFIXES, COMMON_PREFIX):
        kept = {
            name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
        }
        # Counters of steps stand beside the networks, under names without a dot.
        whole = all(name.startswith(prefix) for name in tensors if "." in name)
        if kept and (whole or prefix != COMMON_PREFIX) and len(wrappers) < MAX_WRAPPERS:
            return _without_prefixes((*wrappers, prefix), kept)
    return wrappers, tensors


def _arrays(
    tensors: dict[str, _Tensor], fetch: Fetch, file_size: int, big: bool = False
) -> dict[str, np.ndarray]:
    """The tensors' numbers, storage by storage, so that only one of these is in memory beside them."""
    views: dict[_Storage, list[str]] = {}
    total = 0
    for name, tensor in tensors.items():
        _check_view(name, tensor)
        views.setdefault(replace(tensor.storage, first=0), []).append(name)
        total += math.prod(tensor.size) * _item_size(tensor.storage.dtype)
    if len(tensors) > MAX_TENSORS or max(total, sum(storage.size for storage in views)) > 2 * file_size:
        raise ValueError("its tensors are together larger than the file")
    arrays: dict[str, Any] = dict.fromkeys(tensors)  # keeps the order
    for storage, names in views.items():
        data = fetch(storage)
        if len(data) != storage.size:
            raise ValueError(f"a storage of {len(data)} bytes, not {storage.size}")
        numbers = _numbers(data, storage.dtype, big)
        for name in names:
            tensor = tensors[name]
            begin = numbers[tensor.storage.first + tensor.offset :]
            stride = [numbers.itemsize * step for step in tensor.stride]
            arrays[name] = np.array(np.lib.stride_tricks.as_strided(begin, tensor.size, stride))
    return arrays


def _check_view(name: str, tensor: _Tensor) -> None:
    """Raise ValueError unless all that the tensor refers to lies in its storage."""
    storage, size, stride = tensor.storage, tensor.size, tensor.stride
    if not (isinstance(storage, _Storage) and isinstance(size, tuple) and isinstance(stride, tuple)):
        raise TypeError(f"{name[:80]!a} is no tensor")
    numbers = (storage.count, storage.first, tensor.offset, *size, *stride)
    within = len(size) == len(stride) <= MAX_RANK and all(
        type(n) is int and 0 <= n < 1 << 48 for n in numbers
    )
    if within and math.prod(size):
        last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        within = storage.first + tensor.offset + last < storage.count
    if not within:
        raise ValueError(f"{name[:80]!a} does not lie within its storage")


def _item_size(dtype: str) -> int:
    if dtype == "unknown":
        raise _Unusable("numbers of a type that no network here has")
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _numbers(data: bytes | bytearray, dtype: str, big: bool = False) -> np.ndarray:
    order = ">" if big else "<"
    if dtype == "bool":
        return np.frombuffer(data, np.uint8) != 0
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, f"{order}u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, order + dtype).astype(dtype, copy=False)


# --------------------------------------------------------------------------------------------- safetensors and HDF5


def _read_safetensors(file: _File) -> dict[str, np.ndarray]:
    from safetensors import deserialize

    data = file.read()
    entries = dict(deserialize(data))  # in no order
    tensors: dict[str, np.ndarray] = {}
    for name in json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]):
        if name not in entries:  # facts about the file
            continue
        entry = entries[name]
        if entry["dtype"] not in SAFETENSORS:
            raise _Unusable(f"{name[:80]!a} has the type {entry['dtype']}, which no network here has")
        tensors[name] = _numbers(entry["data"], SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
    if not tensors:
        raise _Unusable("no tensors in it")
    return tensors


def _read_hdf5(file: _File) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    total = 0

    def names(group: hdf5.Node, attribute: str) -> list[str]:
        """Return the names in an attribute, which Keras cuts into numbered pieces where it is long."""
        if (whole := group.text(attribute)) is not None:
            return whole
        pieces: list[list[str]] = []
        while (piece := group.text(f"{attribute}{len(pieces)}")) is not None:
            pieces.append(piece)
        return [name for piece in pieces for name in piece]

    top = hdf5.File(file.read()).root
    if "model_weights" in top.members:
        top = top["model_weights"]
    for layer in names(top, "layer_names"):
        group = top[layer]
        for path in names(group, "weight_names"):
            weight = group[path].array()
            name = f"{layer}.{path.rsplit('/', 1)[-1].removesuffix(':0')}"
            total += weight.nbytes
            if name in tensors or total > file.size:
                raise ValueError(f"{name[:80]!a} is there twice, or larger than the file")
            tensors[name] = weight.astype(weight.dtype.newbyteorder("="))
    if not tensors:
        raise _Unusable("HDF5, but no weights as Keras 2 saves them")
    return tensors
