"""Checkpoint files of every format, written byte by byte, without the libraries that usually write them."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

KINDS = {"f4": "Float", "f2": "Half", "f8": "Double", "i8": "Long", "i4": "Int", "i2": "Short", "i1": "Char"}
KINDS |= {"u1": "Byte", "b1": "Bool"}

# ------------------------------------------------------------------------------------------- what a pickle holds


@dataclass(frozen=True, eq=False)
class Storage:
    """A row of numbers; `kind` is PyTorch's name of their type."""

    numbers: np.ndarray
    kind: str

    def raw(self, big: bool = False) -> bytes:
        return self.numbers.astype(self.numbers.dtype.newbyteorder(">" if big else "<")).tobytes()


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage, in elements."""

    storage: Storage
    offset: Any
    size: Any
    stride: Any


def storage(numbers: Any) -> Storage:
    row = np.asarray(numbers).reshape(-1)
    return Storage(row, KINDS[row.dtype.str[1:]])


def tensor(values: Any) -> Tensor:
    """A contiguous tensor with a storage of its own."""
    array = np.asarray(values)
    strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    return Tensor(storage(array), 0, array.shape, tuple(strides))


def bfloat16(values: Any) -> Tensor:
    """Of float32 values that bfloat16 holds exactly."""
    array = np.asarray(values, np.float32)
    upper = (array.view(np.uint32) >> 16).astype(np.uint16)
    whole = tensor(upper.view(np.int16))
    return Tensor(Storage(whole.storage.numbers, "BFloat16"), 0, whole.size, whole.stride)


@dataclass(frozen=True)
class Raw:
    """Instructions of a pickle that leave one value."""

    code: bytes


@dataclass(frozen=True)
class Name:
    """A class or function, by module and name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    function: Any
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Instance:
    """An object made without its constructor, as classes are pickled."""

    kind: Any
    state: Any


@dataclass(frozen=True)
class Persistent:
    """A reference that the reader resolves."""

    identity: Any


@dataclass(frozen=True)
class Class:
    """The class of a module, which comes with its source."""

    name: Name

    @property
    def source(self) -> tuple[Any, ...]:
        return self.name, f"/home/me/{self.name.name}.py", "class ..."


@dataclass(frozen=True)
class Ordered:
    """A `collections.OrderedDict`, which PyTorch makes its state dicts of."""

    entries: Mapping[str, Any] = field(default_factory=dict)


def module(
    kind: str,
    parameters: Mapping[str, Any] | None = None,
    modules: Mapping[str, Any] | None = None,
    buffers: Mapping[str, Any] | None = None,
) -> Instance:
    """A whole `torch.nn.Module`."""
    path, name = kind.rsplit(".", 1)
    state = {
        "training": True,
        "_backward_hooks": Ordered(),
        "_parameters": Ordered(parameters or {}),
        "_buffers": Ordered(buffers or {}),
        "_modules": Ordered(modules or {}),
        "kernel_size": (3, 3),
    }
    return Instance(Class(Name(path, name)), state)


def parameter(value: Tensor) -> Call:
    return Call(Name("torch._utils", "_rebuild_parameter"), (value, True, Ordered()))


class Pickler:
    """Pickles of protocol 2 with the memo that Python's own would use for texts and names.

    Args:
        reference: the persistent id of a storage, a class, or a tensor that is not rebuilt from a storage.
        python2: write texts and ordered dictionaries as Python 2 did.
        remember: False leaves the memo alone, for parts that are put into another pickle.
    """

    def __init__(
        self,
        reference: Callable[[Any], Any] = lambda value: None,
        python2: bool = False,
        remember: bool = True,
    ) -> None:
        self.reference = reference
        self.python2 = python2
        self.remember = remember
        self.memo: dict[Any, int] = {}

    def dump(self, value: Any) -> bytes:
        self.memo.clear()
        return b"\x80\x02" + self.code(value) + b"."

    def code(self, value: Any) -> bytes:
        match value:
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int() if -(2**31) <= value < 2**31:
                return b"J" + struct.pack("<i", value)
            case int():
                number = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
                return b"\x8a" + bytes([len(number)]) + number
            case float():
                return b"G" + struct.pack(">d", value)
            case str() | Name():
                return self._remembered(value)
            case list():
                return b"](" + self._all(value) + b"e"
            case tuple():
                return b"(" + self._all(value) + b"t"
            case dict():
                return b"}(" + self._all(part for pair in value.items() for part in pair) + b"u"
            case Raw():
                return value.code
            case Call():
                return self.code(value.function) + self.code(value.arguments) + b"R"
            case Instance():
                return self.code(value.kind) + b")\x81" + self.code(value.state) + b"b"
            case Persistent():
                return self.code(value.identity) + b"Q"
            case Ordered() if self.python2:
                pairs = [list(pair) for pair in value.entries.items()]
                return self.code(Call(Name("collections", "OrderedDict"), (pairs,)))
            case Ordered():
                empty = self.code(Call(Name("collections", "OrderedDict"), ()))
                return empty + self.code(dict(value.entries))[1:]
        if (identity := self.reference(value)) is not None:
            return self.code(Persistent(identity))
        if isinstance(value, Class):
            return self.code(value.name)
        parts = (value.storage, value.offset, value.size, value.stride)
        if self.python2:
            return self.code(Call(Name("torch._utils", "_rebuild_tensor"), parts))
        return self.code(Call(Name("torch._utils", "_rebuild_tensor_v2"), (*parts, False, Ordered())))

    def _all(self, values: Any) -> bytes:
        return b"".join(self.code(value) for value in values)

    def _remembered(self, value: str | Name) -> bytes:
        if value in self.memo:
            place = self.memo[value]
            return b"h" + bytes([place]) if place < 256 else b"j" + struct.pack("<I", place)
        put = b""
        if self.remember:
            place = self.memo[value] = len(self.memo)
            put = b"q" + bytes([place]) if place < 256 else b"r" + struct.pack("<I", place)
        if isinstance(value, Name):
            return f"c{value.module}\n{value.name}\n".encode() + put
        text = value.encode()
        if self.python2 and len(text) < 256:
            return b"U" + bytes([len(text)]) + text + put
        return b"X" + struct.pack("<I", len(text)) + text + put


def code(value: Any) -> bytes:
    """The instructions that leave a value, for use in `Raw`."""
    return Pickler(remember=False).code(value)


# ------------------------------------------------------------------------------------------------------ the files


class Storages:
    """Numbers the storages of a file as they are met, and refers to them and to classes as PyTorch does."""

    def __init__(self, device: str = "cpu", tail: tuple[Any, ...] = ()) -> None:
        self.device = device
        self.tail = tail
        self.keys: dict[Storage, str] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Class):
            return ("module", *value.source)
        if not isinstance(value, Storage):
            return None
        key = self.keys.setdefault(value, str(len(self.keys)))
        place = "torch.cuda" if self.device.startswith("cuda") else "torch"
        kind = Name(place, f"{value.kind}Storage")
        return ("storage", kind, key, self.device, len(value.numbers), *self.tail)


def zip_bytes(value: Any, *, folder: str = "archive", big: bool = False, device: str = "cpu") -> bytes:
    """A file of `torch.save` since PyTorch 1.6."""
    storages = Storages(device)
    data = Pickler(storages).dump(value)
    return zip_of(
        {
            f"{folder}/data.pkl": data,
            f"{folder}/byteorder": b"big" if big else b"little",
            **{f"{folder}/data/{key}": one.raw(big) for one, key in storages.keys.items()},
            f"{folder}/version": b"3\n",
        }
    )


def zip_of(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def legacy_bytes(value: Any, *, python2: bool = False, device: str = "cpu") -> bytes:
    """A file of `torch.save` before PyTorch 1.6."""
    storages = Storages(device, (None,))
    write = Pickler(storages, python2)
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [write.dump(part) for part in (0x1950A86A20F9469CFC6C, 1001, system, value)]
    order = sorted(storages.keys.items(), key=lambda item: item[1])
    parts.append(write.dump([key for _, key in order]))
    for one, _ in order:
        parts.append(struct.pack("<q", len(one.numbers)) + one.raw())
    return b"".join(parts)


def tar_bytes(value: Any) -> bytes:
    """A file of `torch.save` of PyTorch 0.1."""
    storages: dict[Storage, int] = {}
    tensors: dict[Tensor, int] = {}

    def reference(item: Any) -> Any:
        if isinstance(item, Tensor):
            storages.setdefault(item.storage, 1000 + len(storages))
            return tensors.setdefault(item, 2000 + len(tensors))
        return item.source if isinstance(item, Class) else None

    plain = Pickler()
    data = Pickler(reference, python2=True).dump(value)
    members = {"sys_info": plain.dump({"little_endian": True}), "pickle": data}
    members["storages"] = plain.dump(len(storages))
    for one, key in storages.items():
        members["storages"] += plain.dump((key, "cpu", Name("torch", f"{one.kind}Storage")))
        members["storages"] += struct.pack("<q", len(one.numbers)) + one.raw()
    members["storages"] += plain.dump([])
    members["tensors"] = plain.dump(len(tensors))
    for item, key in tensors.items():
        kind = Name("torch", f"{item.storage.kind}Tensor")
        members["tensors"] += plain.dump((key, storages[item.storage], kind))
        numbers = (len(item.size), 0, *item.size, *item.stride, item.offset)
        members["tensors"] += struct.pack(f"<ii{len(numbers) - 2}q", *numbers)
    return tar_of(members)


def tar_of(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1479300000.25  # type: ignore[assignment]  # what puts a header of its own before each
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def safetensors_bytes(tensors: Mapping[str, tuple[str, Sequence[int], bytes]]) -> bytes:
    """Names to type, shape and bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def write_hdf5(
    path: Path,
    layers: Mapping[str, Mapping[str, np.ndarray]],
    *,
    texts: Callable[[list[str]], Any] = lambda names: np.array([name.encode() for name in names]),
    limit: int = 64512,
    top: str | None = None,
) -> None:
    """Weights as Keras 2 saves them.

    Args:
        path: the file.
        layers: arrays by name, such as `kernel`, by layer; an empty one is a layer without weights.
        texts: makes of names what is stored; h5py gives lists a variable length.
        limit: bytes of an attribute beyond which it is cut into pieces.
        top: the group of it all, `model_weights` in a file with the whole model.
    """

    def store(group: h5py.Group, attribute: str, names: list[str]) -> None:
        longest = max(map(len, names), default=1)
        some = max(limit // longest, 1)
        if len(names) * longest <= limit:
            group.attrs[attribute] = texts(names)
            return
        for number, start in enumerate(range(0, len(names), some)):
            group.attrs[f"{attribute}{number}"] = texts(names[start : start + some])

    with h5py.File(path, "w") as file:
        group = file.create_group(top) if top else file
        group.attrs["backend"] = b"tensorflow"
        group.attrs["keras_version"] = b"2.2.4"
        store(group, "layer_names", list(layers))
        for layer, weights in layers.items():
            inner = group.create_group(layer)
            store(inner, "weight_names", [f"{layer}/{name}:0" for name in weights])
            for name, values in weights.items():
                inner.create_dataset(f"{layer}/{name}:0", data=values)
