"""Checkpoints of every format: what is read is what was written; hostile and damaged ones run nothing.

The files are written byte by byte in `checkpoint_files.py`; where PyTorch is installed, it writes some and reads ours.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import sys
import tempfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkpoint_files import (
    Call,
    Instance,
    Name,
    Ordered,
    Persistent,
    Pickler,
    Raw,
    Storage,
    Tensor,
    bfloat16,
    code,
    legacy_bytes,
    module,
    parameter,
    safetensors_bytes,
    storage,
    tar_bytes,
    tar_of,
    tensor,
    write_hdf5,
    zip_bytes,
    zip_of,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from isr.convert import pickled
from isr.convert.checkpoint import Checkpoint, read
from isr.errors import RequestError

CONTAINERS: dict[str, Callable[[Any], bytes]] = {
    "zip": zip_bytes,
    "legacy": legacy_bytes,
    "legacy of Python 2": partial(legacy_bytes, python2=True),
    "tar": tar_bytes,
}
every_container = pytest.mark.parametrize("container", CONTAINERS)

ROW = np.arange(100, dtype=np.float32) / 7
SHARED = storage(ROW)
SAMPLE = Ordered(
    {
        "transposed.weight": Tensor(SHARED, 3, (4, 6), (1, 4)),
        "view.weight": Tensor(SHARED, 50, (5, 2, 5), (10, 5, 1)),
        "steps.weight": Tensor(SHARED, 1, (3, 4), (30, 7)),
        "half.weight": tensor(np.float16([[1.5, -2.25]])),
        "brain.weight": bfloat16([1.5, -2.0, 3.0e38]),
        "double.weight": tensor(np.float64([1 / 3])),
        "single": tensor(np.float32(3.5)),
        "long.bias": tensor(np.array([-5, 2**40])),
        "int.bias": tensor(np.int32([-7])),
        "short.bias": tensor(np.int16([-300])),
        "char.bias": tensor(np.int8([-3])),
        "byte.bias": tensor(np.uint8([200])),
        "flag.bias": tensor(np.array([True, False])),
        "nothing.weight": tensor(np.zeros((0, 3), np.float32)),
        "parameter.weight": parameter(tensor(np.float32([[1, 2]]))),
    }
)
EXPECTED: dict[str, np.ndarray] = {
    "transposed.weight": ROW[3:27].reshape(6, 4).T,
    "view.weight": ROW[50:].reshape(5, 2, 5),
    "steps.weight": np.float32([[ROW[1 + 30 * i + 7 * j] for j in range(4)] for i in range(3)]),
    "half.weight": np.float16([[1.5, -2.25]]),
    "brain.weight": np.float32([1.5, -2.0, struct.unpack(">f", b"\x7f\x61\0\0")[0]]),
    "double.weight": np.float64([1 / 3]),
    "single": np.float32(3.5),
    "long.bias": np.array([-5, 2**40]),
    "int.bias": np.int32([-7]),
    "short.bias": np.int16([-300]),
    "char.bias": np.int8([-3]),
    "byte.bias": np.uint8([200]),
    "flag.bias": np.array([True, False]),
    "nothing.weight": np.zeros((0, 3), np.float32),
    "parameter.weight": np.float32([[1, 2]]),
}
ONE = tensor(np.float32([1, 2]))
TWO = tensor(np.float32([3, 4]))


def read_bytes(folder: Path, data: bytes, name: str = "weights.pth") -> Checkpoint:
    path = folder / name
    path.write_bytes(data)
    return read(path)


def refusal(folder: Path, data: bytes) -> str:
    """What the error says, which has to be one line that begins with the file."""
    with pytest.raises(RequestError) as caught:
        read_bytes(folder, data)
    said = str(caught.value)
    assert said.startswith(f"{folder / 'weights.pth'}: ")
    assert said.isprintable()
    return said.removeprefix(f"{folder / 'weights.pth'}: ")


@contextmanager
def memory_below(size: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype and found[name].dtype.isnative, name
        np.testing.assert_array_equal(found[name], values, err_msg=name, strict=True)


# ------------------------------------------------------------------------------------------ PyTorch's three formats


@every_container
def test_tensors_of_every_type_and_layout(tmp_path: Path, container: str) -> None:
    checkpoint = read_bytes(tmp_path, CONTAINERS[container](SAMPLE))
    assert checkpoint.format == f"PyTorch {container.split()[0]}"
    assert checkpoint.wrappers == ()
    same(checkpoint.tensors, EXPECTED)


@pytest.mark.parametrize("data", [zip_bytes(SAMPLE, big=True), zip_bytes(SAMPLE, folder="a folder/of.it")])
def test_zip_of_another_byte_order_or_folder(tmp_path: Path, data: bytes) -> None:
    same(read_bytes(tmp_path, data).tensors, EXPECTED)


@pytest.mark.parametrize("write", [zip_bytes, legacy_bytes])
def test_tensors_that_were_on_a_gpu(tmp_path: Path, write: Callable[..., bytes]) -> None:
    same(read_bytes(tmp_path, write(SAMPLE, device="cuda:0")).tensors, EXPECTED)


def test_views_of_storages_in_old_files(tmp_path: Path) -> None:
    pair = storage(np.float32([0, 1, 2, 3, 4, 5]))
    reference = Persistent(("storage", Name("torch", "FloatStorage"), "0", "cpu", 6, ("77", 2, 3)))
    view = Call(Name("torch._utils", "_rebuild_tensor"), (reference, 1, (2,), (1,)))
    # The whole storage comes with another tensor, which gives it its place in the file.
    data = legacy_bytes({"whole.weight": Tensor(pair, 0, (6,), (1,)), "part.weight": view})
    np.testing.assert_array_equal(read_bytes(tmp_path, data).tensors["part.weight"], [3, 4])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 40),
    offset=st.integers(0, 45),
    size=st.lists(st.integers(0, 5), max_size=4),
    data=st.data(),
)
def test_strides_are_followed_or_refused(
    tmp_path: Path, count: int, offset: int, size: list[int], data: st.DataObject
) -> None:
    stride = data.draw(st.lists(st.integers(0, 12), min_size=len(size), max_size=len(size)))
    row = np.arange(count, dtype=np.float32)
    file = zip_bytes({"x": Tensor(storage(row), offset, tuple(size), tuple(stride)), "y": tensor(ROW)})
    places = np.full(size, offset)
    for axis, step in enumerate(stride):
        places += (np.arange(size[axis]) * step).reshape([-1] + [1] * (len(size) - 1 - axis))
    if places.size and places.max() >= count:
        assert "does not lie within" in refusal(tmp_path, file)
    else:
        found = read_bytes(tmp_path, file).tensors["x"]
        np.testing.assert_array_equal(found, row[places] if places.size else np.zeros(size))


def test_sizes_and_offsets_that_lie(tmp_path: Path) -> None:
    row = storage(ROW)
    huge = 1 << 400_000
    for hostile in (
        Tensor(row, -1, (2,), (1,)),
        Tensor(row, 5, (2,), (-1,)),
        Tensor(row, 0, (-2,), (1,)),
        Tensor(row, 0, (101,), (1,)),
        Tensor(row, 100, (1,), (1,)),
        Tensor(row, 2**62, (1,), (1,)),
        Tensor(row, 0, (2, 2), (2**62, 1)),
        Tensor(row, 0, (2**31, 2**31, 2**31), (0, 0, 0)),
        Tensor(row, 0, (2,), (1, 1)),
        Tensor(row, 0, (1,) * 9, (1,) * 9),
        Tensor(row, 0, (True,), (1,)),
        Tensor(row, 0.0, (1,), (1,)),
        Tensor(row, 0, [1], [1]),
        Tensor(row, None, "1", "1"),
        Tensor(row, 0, (Raw(b"\x8b" + struct.pack("<i", 50_001) + huge.to_bytes(50_001, "little")),), (1,)),
        Tensor(Raw(b"N"), 0, (1,), (1,)),
        Tensor(ONE, 0, (1,), (1,)),
    ):
        with memory_below(10_000_000):
            assert "damaged" in refusal(tmp_path, zip_bytes({"a.weight": hostile}))


def test_tensors_larger_than_the_file(tmp_path: Path) -> None:
    row = storage(np.zeros(10_000, np.float32))
    many = {f"{name}.weight": Tensor(row, 0, (10_000,), (1,)) for name in range(100)}
    for write in CONTAINERS.values():
        assert "larger than the file" in refusal(tmp_path, write(many))
    assert "larger than the file" in refusal(tmp_path, zip_bytes({"a": Tensor(row, 0, (10**9,), (0,))}))


def test_storages_that_are_not_what_the_pickle_says(tmp_path: Path) -> None:
    good = {"a.weight": ONE}

    def of_kind(kind: str) -> Callable[[Any], bytes]:
        reference = ("storage", Name("torch", kind), "0", "cpu", 2)
        return Pickler(lambda item: reference if isinstance(item, Storage) else None).dump

    data = of_kind("FloatStorage")
    for members in (
        {"archive/data.pkl": data(good)},  # no storage at all
        {"archive/data.pkl": data(good), "archive/data/0": bytes(4)},
        {"archive/data.pkl": data(good), "archive/data/0": bytes(400)},
    ):
        assert "damaged" in refusal(tmp_path, zip_of(members))
    for kind in ("ComplexFloatStorage", "UntypedStorage", "system"):
        odd = zip_of({"a/data.pkl": of_kind(kind)(good), "a/data/0": bytes(16)})
        assert "a type that no network" in refusal(tmp_path, odd)


# ------------------------------------------------------------------------------------------- wrappers and prefixes


@every_container
@pytest.mark.parametrize(
    ("value", "wrappers", "chosen"),
    [
        ({"params": {"a.w": ONE}}, ("params",), ["a.w"]),
        ({"params": {"x.w": TWO}, "params_ema": {"a.w": ONE}}, ("params_ema",), ["a.w"]),
        ({"params_ema": {}, "params": {"a.w": ONE}}, ("params",), ["a.w"]),
        ({"params-ema": {"a.w": ONE}, "iter": 3}, ("params-ema",), ["a.w"]),
        ({"state_dict": {"a.w": ONE}, "optimizer": {"x.w": TWO}}, ("state_dict",), ["a.w"]),
        ({"model_state_dict": {"a.w": ONE}, "epoch": tensor(np.int64(3))}, ("model_state_dict",), ["a.w"]),
        ({"model": "EDSR", "net": Ordered({"a.w": ONE})}, ("net",), ["a.w"]),
        ({"weights of mine": {"a.w": ONE}}, ("weights of mine",), ["a.w"]),
        ({"state_dict": {"params": {"module.a.w": ONE}}}, ("state_dict", "params", "module."), ["a.w"]),
        ({"module.a.w": ONE, "module.b.w": TWO, "steps": ONE}, ("module.",), ["a.w", "b.w"]),
        ({"module.a.w": ONE, "b.w": TWO}, (), ["module.a.w", "b.w"]),
        ({"netG.a.w": ONE, "netD.b.w": TWO}, ("netG.",), ["a.w"]),
        ({"generator.a.w": ONE, "discriminator.b.w": TWO, "step_counter": TWO}, ("generator.",), ["a.w"]),
        (
            {
                "state_dict": {
                    "generator.a.w": TWO,
                    "generator_ema.module.a.w": ONE,
                    "generator_ema.steps": TWO,
                }
            },
            ("state_dict", "generator_ema.", "module."),
            ["a.w"],
        ),
    ],
)
def test_wrappers_are_taken_off(
    tmp_path: Path, container: str, value: Any, wrappers: tuple[str, ...], chosen: list[str]
) -> None:
    checkpoint = read_bytes(tmp_path, CONTAINERS[container](value))
    assert checkpoint.wrappers == wrappers
    assert list(checkpoint.tensors) == chosen
    np.testing.assert_array_equal(checkpoint.tensors["module.a.w" if not wrappers else "a.w"], [1, 2])


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"epoch": 3, "optimizers": []}, "its keys: 'epoch', 'optimizers'"),
        ({"a": {"x": ONE}, "b": {"x": TWO}}, "its keys: 'a', 'b'"),
        ({"line\nbreak": 3}, r"'line\nbreak'"),
        ({}, "its keys: none"),
        ([ONE], "no network's tensors"),
        (3, "no network's tensors"),
        ({"model": Instance(Name("argparse", "Namespace"), {"x": ONE})}, "no network's tensors"),
    ],
)
def test_files_without_a_network(tmp_path: Path, value: Any, said: str) -> None:
    for container in CONTAINERS.values():
        assert said in refusal(tmp_path, container(value))


def pickled_network() -> Instance:
    """A DataParallel with what a TDAN of old has: parameters, buffers, a block used twice, no data elsewhere."""
    block = module(
        "model.Res_Block", modules={"conv1": module("torch.nn.modules.conv.Conv2d", {"weight": ONE})}
    )
    network = module(
        "model.TDAN_VSR",
        {"scale": Call(Name("torch.nn.parameter", "Parameter"), (TWO,))},
        {
            "relu": module("torch.nn.modules.activation.ReLU"),
            "residual": module("torch.nn.modules.container.Sequential", modules={"0": block, "1": block}),
            "missing": None,
        },
        {"counter": tensor(np.int64(7)), "gone": None},
    )
    return module("torch.nn.parallel.data_parallel.DataParallel", modules={"module": network})


@every_container
def test_pickled_modules(tmp_path: Path, container: str) -> None:
    found = read_bytes(tmp_path, CONTAINERS[container](pickled_network()))
    assert found.wrappers == ("pickled module", "module.")
    expected = {
        "scale": np.float32([3, 4]),
        "counter": np.int64(7),
        "residual.0.conv1.weight": np.float32([1, 2]),
        "residual.1.conv1.weight": np.float32([1, 2]),
    }
    same(found.tensors, {name: np.asarray(values) for name, values in expected.items()})


def test_a_module_beside_other_things(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, zip_bytes({"model": pickled_network(), "optimizer": {"x": ONE}, "epoch": 3}))
    assert found.wrappers == ("model", "pickled module", "module.")


def test_what_other_libraries_add_is_passed_over(tmp_path: Path) -> None:
    numpy_scalar = Call(
        Name("numpy.core.multiarray", "scalar"), (Call(Name("numpy", "dtype"), ("f8",)), "12345678")
    )
    defaults = Call(Name("collections", "defaultdict"), (Name("builtins", "list"),))
    value = {
        "meta": {"psnr": numpy_scalar, 3: "three", "hooks": Raw(code(defaults) + b"(K\x01]u")},
        "queue": Raw(code(Call(Name("collections", "deque"), ())) + b"(K\x01K\x02e"),
        "names": Raw(b"\x8f(K\x01K\x02\x90"),
        "state_dict": Raw(code({})[:1] + b"}b"),
        "params": {"a.w": ONE},
    }
    assert read_bytes(tmp_path, zip_bytes(value)).wrappers == ("params",)


# -------------------------------------------------------------------------------------- against PyTorch, where it is


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_files_that_pytorch_wrote(tmp_path: Path, new: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    base = torch.randn(60)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    plain = {
        "a.weight": torch.randn(4, 6).t(),
        "b.weight": base[3:27].view(4, 6),
        "c.weight": base[10:].view(5, 10)[:, ::3],
        "d": torch.tensor(3.5),
        "e.weight": torch.randn(3, 2).half(),
        "f.weight": torch.randn(7).bfloat16(),
        "g.bias": torch.arange(4),
        "h.bias": torch.tensor([True, False]),
        "i.weight": torch.nn.Parameter(torch.randn(2, 2)),
    }
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    values = {
        "plain": (plain, plain),
        "in a dictionary": ({"params_ema": plain, "epoch": 3, "optimizer": optimizer.state_dict()}, plain),
        "module": (torch.nn.DataParallel(network), network.state_dict()),
        "state": (torch.nn.DataParallel(network).state_dict(), network.state_dict()),
    }
    for name, (value, expected) in values.items():
        torch.save(value, tmp_path / name, _use_new_zipfile_serialization=new)
        found = read(tmp_path / name)
        assert list(found.tensors) == list(expected)
        for key, item in expected.items():
            numbers = item.detach().float() if item.dtype == torch.bfloat16 else item.detach()
            np.testing.assert_array_equal(found.tensors[key], numbers.numpy(), strict=True)


@every_container
def test_pytorch_reads_the_files_of_these_tests(tmp_path: Path, container: str) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "x").write_bytes(CONTAINERS[container](SAMPLE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of storages without a type
        found = torch.load(tmp_path / "x", weights_only=False)
    for name, values in EXPECTED.items():
        numbers = found[name].detach()
        numbers = numbers.float() if numbers.dtype == torch.bfloat16 else numbers
        np.testing.assert_array_equal(numbers.numpy(), values, strict=True)


# ------------------------------------------------------------------------------------------------------- safetensors


def test_safetensors_of_every_type(tmp_path: Path) -> None:
    kinds = {
        "F32": "<f4",
        "F16": "<f2",
        "F64": "<f8",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U8": "u1",
    }
    expected = {f"{kind}.w": np.arange(6).reshape(2, 3).astype(dtype) for kind, dtype in kinds.items()}
    stored = {name: (name[:-2], (2, 3), values.tobytes()) for name, values in expected.items()}
    stored["brain.w"] = ("BF16", (2,), b"\x20\x40\x80\xbf")
    stored["flag.w"] = ("BOOL", (2,), b"\1\0")
    stored["one.w"] = ("F32", (), struct.pack("<f", 2.5))
    expected |= {
        "brain.w": np.float32([2.5, -1]),
        "flag.w": np.array([True, False]),
        "one.w": np.array(np.float32(2.5)),
    }
    checkpoint = read_bytes(tmp_path, safetensors_bytes(stored))
    assert checkpoint.format == "safetensors"
    same(checkpoint.tensors, expected)


def test_safetensors_of_its_own_library_and_prefixes(tmp_path: Path) -> None:
    from safetensors.numpy import save

    checkpoint = read_bytes(tmp_path, save({"module.a.weight": ROW, "module.b.weight": ROW[:9]}))
    assert checkpoint.wrappers == ("module.",)
    same(checkpoint.tensors, {"a.weight": ROW, "b.weight": ROW[:9]})


def test_safetensors_that_lie(tmp_path: Path) -> None:
    good = ("F32", (2,), bytes(8))
    assert "no tensors" in refusal(tmp_path, safetensors_bytes({}))
    assert "has the type F8_E4M3" in refusal(tmp_path, safetensors_bytes({"a": ("F8_E4M3", (2,), bytes(2))}))
    for entry in (("F32", (3,), bytes(8)), ("F32", (2**62, 4), bytes(8)), ("F99", (2,), bytes(8))):
        assert "damaged" in refusal(tmp_path, safetensors_bytes({"a": entry}))
    whole = safetensors_bytes({"a": good})
    for broken in (
        whole[:-1],
        whole + b"\0",
        whole[:8] + b"{]" + whole[10:],
        struct.pack("<Q", 2**40) + whole[8:],
    ):
        refusal(tmp_path, broken)


# -------------------------------------------------------------------------------------------------------------- HDF5

LAYERS = {
    "input_1": {},
    "F_m1": {"kernel": ROW[:54].reshape(3, 3, 3, 2), "bias": ROW[:2]},
    "F_1_1": {"kernel": ROW[:36].reshape(3, 3, 2, 2).astype(">f4"), "bias": ROW[2:4].astype(np.float64)},
    "add_1": {},
    "SR": {"kernel": ROW[:2].reshape(1, 1, 2, 1).astype(np.float16), "bias": np.int32([7])},
    **{f"lambda_{number}": {} for number in range(40)},
}


@pytest.mark.parametrize(
    "texts",
    [
        lambda names: np.array([name.encode() for name in names]),
        lambda names: [name.encode() for name in names],
        list,
    ],
    ids=["bytes of fixed length", "bytes", "str"],
)
@pytest.mark.parametrize("limit", [64512, 100], ids=["whole", "split"])
@pytest.mark.parametrize("top", [None, "model_weights"])
def test_hdf5_of_keras_2(
    tmp_path: Path, texts: Callable[[list[str]], Any], limit: int, top: str | None
) -> None:
    path = tmp_path / "weights.hdf5"
    write_hdf5(path, LAYERS, texts=texts, limit=limit, top=top)
    checkpoint = read(path)
    assert (checkpoint.format, checkpoint.wrappers) == ("Keras HDF5", ())
    expected = {
        f"{layer}.{name}": values for layer, stored in LAYERS.items() for name, values in stored.items()
    }
    same(checkpoint.tensors, {n: np.asarray(v, v.dtype.newbyteorder("=")) for n, v in expected.items()})
    with h5py.File(path) as file:
        layer = file[top or "/"]["F_1_1"]
        np.testing.assert_array_equal(layer["F_1_1/kernel:0"], checkpoint.tensors["F_1_1.kernel"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.text("abcXYZ_019", min_size=1, max_size=30), min_size=1, max_size=300, unique=True),
    shape=st.lists(st.integers(0, 4), max_size=4),
    dtype=st.sampled_from(["<f4", ">f4", "<f2", ">f8", "<i8", ">i2", "u1"]),
)
def test_hdf5_of_many_layers(tmp_path: Path, names: list[str], shape: list[int], dtype: str) -> None:
    values = (np.arange(np.prod(shape, dtype=int)).reshape(shape) * 3).astype(dtype)
    path = tmp_path / "weights.hdf5"
    write_hdf5(path, {name: {"kernel": values} for name in names})
    same(
        read(path).tensors,
        {f"{name}.kernel": values.astype(values.dtype.newbyteorder("=")) for name in names},
    )


def test_hdf5_that_keras_2_does_not_write(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(bytes(400))
    path = tmp_path / "weights.pth"
    kernel = "a/a/kernel:0"

    def changed(change: Callable[[h5py.File], Any], **options: Any) -> str:
        write_hdf5(path, {"a": {"kernel": ROW}})
        with h5py.File(path, "r+") as file:
            change(file)
        return refusal(tmp_path, path.read_bytes())

    def replaced(**options: Any) -> Callable[[h5py.File], Any]:
        def change(file: h5py.File) -> None:
            del file[kernel]
            file.create_dataset(kernel, **options)

        return change

    def linked(link: Any) -> Callable[[h5py.File], Any]:
        def change(file: h5py.File) -> None:
            del file[kernel]
            file[kernel] = link

        return change

    assert "compressed or scattered" in changed(replaced(data=ROW, chunks=(10,)))
    assert "compressed or scattered" in changed(replaced(data=ROW, compression="gzip"))
    assert "another file" in changed(
        replaced(shape=(100,), dtype="f4", external=[(tmp_path / "other.bin", 0, 400)])
    )
    assert "outside of the file" in changed(replaced(shape=(100,), dtype="f4"))  # never written
    assert "neither integers nor" in changed(replaced(data=np.array([b"text"])))
    assert "though it lists that" in changed(linked(h5py.SoftLink("/a/other")))
    assert "though it lists that" in changed(linked(h5py.ExternalLink("other.hdf5", "/a")))
    assert "twice" in changed(lambda file: file.attrs.create("layer_names", [b"a", b"a"]))
    assert "no 'b' in it" in changed(lambda file: file.attrs.create("layer_names", [b"b"]))
    assert "no text" in changed(lambda file: file.attrs.create("layer_names", [1.0, 2.0]))
    assert "no weights as Keras 2" in changed(lambda file: file.attrs.__delitem__("layer_names"))
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = ROW
    assert "newer layout" in refusal(tmp_path, path.read_bytes())


# ---------------------------------------------------------------------------------------- what only looks like a file


@pytest.mark.parametrize("suffix", ["pth", "pt", "ckpt", "safetensors", "hdf5", "h5", "jpg", ""])
def test_the_suffix_does_not_matter(tmp_path: Path, suffix: str) -> None:
    name = f"weights.{suffix}".rstrip(".")
    write_hdf5(tmp_path / "h", {"a": {"w": ROW}})
    for data in (
        zip_bytes({"a.w": tensor(ROW)}),
        legacy_bytes({"a.w": tensor(ROW)}),
        tar_bytes({"a.w": tensor(ROW)}),
    ):
        same(read_bytes(tmp_path, data, name).tensors, {"a.w": ROW})
    same(read_bytes(tmp_path, (tmp_path / "h").read_bytes(), name).tensors, {"a.w": ROW})
    data = safetensors_bytes({"a.w": ("F32", (100,), ROW.tobytes())})
    same(read_bytes(tmp_path, data, name).tensors, {"a.w": ROW})


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1816f1d3\nsize 66071288\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty file"),
        (LFS, "Git LFS pointer"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><html><head>", "web page"),
        (b"<HTML>\n<title>Sign in</title>", "web page"),
        (b'{"error": "not found"}' + bytes(40), "no checkpoint"),
        (b"\x89PNG\r\n\x1a\n" + bytes(600), "no checkpoint"),
        (bytes(2000), "no checkpoint"),
        (pickle.dumps({"a": 1}), "none of PyTorch"),
        (pickle.dumps({"a": np.ones(3)}, 4), "none of PyTorch"),
        (zip_of({"photo.jpg": b"x"}), "none of PyTorch"),
        (zip_of({"RealESRGAN_x4plus.pth": zip_bytes(SAMPLE)}), "unpack it first"),
        (zip_of({"m/data.pkl": b"N.", "m/constants.pkl": b"N.", "m/code/x.py": b""}), "TorchScript"),
        (tar_of({"readme": b"x"}), "unpack it first"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refusal(tmp_path, data)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        read(tmp_path / "missing.pth")
    with pytest.raises(RequestError, match="folder"):
        read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.pth")
        with pytest.raises(RequestError, match="a pipe"):
            read(tmp_path / "pipe.pth")


def test_a_file_that_is_far_too_large(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_bytes(SAMPLE))
    os.truncate(path, 5 << 30)  # sparse
    with memory_below(1_000_000), pytest.raises(RequestError, match="5368709120 bytes are more"):
        read(path)


# ---------------------------------------------------------------------------------------------- nothing is executed


def attacks(command: str, python: str) -> dict[str, Any]:
    """What would create a file if any of it were called or looked up."""
    system = Call(Name("os", "system"), (command,))
    name = Name("os", "system")
    return {
        "os.system": system,
        "posix": Call(Name("posix", "system"), (command,)),
        "eval": Call(Name("builtins", "eval"), (python,)),
        "exec of Python 2": Call(Name("__builtin__", "execfile"), (python,)),
        "Popen": Call(Name("subprocess", "Popen"), (["sh", "-c", command],)),
        "partial": Call(Call(Name("functools", "partial"), (name, command)), ()),
        "getattr": Call(Call(Name("builtins", "getattr"), (Name("os", "x"), "system")), (command,)),
        "import": Call(Name("a_module_that_strikes", "strike"), ()),
        "importing name": Name("a_module_that_strikes", "strike"),
        "stack global": Raw(code("os") + code("system") + b"\x93" + code((command,)) + b"R"),
        "inst": Raw(b"(" + code(command) + b"ios\nsystem\n"),
        "obj": Raw(b"(" + code(name) + code(command) + b"o"),
        "newobj": Raw(code(Name("subprocess", "Popen")) + code((command,)) + b"\x81"),
        "newobj_ex": Raw(
            code(Name("subprocess", "Popen")) + code((command,)) + code({"shell": True}) + b"\x92"
        ),
        "extension": Raw(b"\x82\xf0" + code((command,)) + b"R"),
        "setstate": Instance(Name("a_module_that_strikes", "Striking"), {"a": 1}),
        "state": Instance(Name("x", "y"), system),
        "state of a name": Raw(code(name) + code((None, {"__call__": system})) + b"b"),
        "dictionary key": Raw(b"}(" + code(system) + b"Nu"),
        "persistent id": Persistent(system),
        "class of a storage": Persistent(("storage", system, "0", "cpu", 1)),
        "key of a storage": Persistent(("storage", Name("torch", "FloatStorage"), system, "cpu", 1)),
        "size of a tensor": Call(Name("torch._utils", "_rebuild_tensor_v2"), (ONE, 0, system, (1,))),
        "hooks of a tensor": Call(
            Name("torch._utils", "_rebuild_tensor_v2"), (ONE, 0, (), (), False, system)
        ),
        "parameter": Call(Name("torch.nn.parameter", "Parameter"), (system,)),
        "ordered": Call(Name("collections", "OrderedDict"), (system,)),
        "ordered's method": Call(Name("collections", "OrderedDict.fromkeys"), (system,)),
        "known name's inside": Call(Name("torch._utils", "_rebuild_tensor.__globals__"), ()),
        "module": module("os.system", {"weight": system}, {"a": system}),
        "torch.load": Call(Name("torch", "load"), ("weights.pth",)),
    }


@pytest.mark.parametrize("attack", attacks("", ""))
def test_nothing_of_a_pickle_is_executed(
    tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "struck"
    (tmp_path / "a_module_that_strikes.py").write_text(
        f"open({str(marker)!r}, 'w')\n"
        "class Striking:\n    def __setstate__(self, state): pass\n"
        "def strike(): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(copyreg._inverted_registry, 0xF0, ("os", "system"))  # type: ignore[attr-defined]
    touch = f"{sys.executable} -c \"open({str(marker)!r}, 'w')\""
    value = attacks(touch, f"open({str(marker)!r}, 'w')")[attack]
    for container in CONTAINERS.values():
        for whole in (value, [value, {"a.w": ONE}], {"a.w": value}, {"a.w": ONE, "epoch": value}):
            try:
                read_bytes(tmp_path, container(whole))
            except RequestError as error:
                assert "\n" not in str(error)
    assert not marker.exists()
    assert "a_module_that_strikes" not in sys.modules


def test_an_attack_by_pickle_itself_strikes_and_is_harmless_here(tmp_path: Path) -> None:
    marker = tmp_path / "struck"

    class Attack:
        def __reduce__(self) -> Any:
            return open, (str(marker), "w")

    data = pickle.dumps({"state_dict": Attack()}, 2)
    refusal(tmp_path, zip_of({"a/data.pkl": data}))
    assert not marker.exists()
    pickle.loads(data)["state_dict"].close()
    assert marker.exists()


def test_attacks_do_not_hinder_reading_what_stands_beside_them(tmp_path: Path) -> None:
    value = {"params": {"a.w": ONE}, "meta": Call(Name("os", "system"), ("exit 1",))}
    for container in CONTAINERS.values():
        same(read_bytes(tmp_path, container(value)).tensors, {"a.w": np.float32([1, 2])})


# --------------------------------------------------------------------------------------- pickles that are too much


DEEP = 20_000  # beyond the limit of recursion
MANY = 30_000


def hostile_pickles() -> dict[str, bytes]:
    start = b"\x80\x02"
    chain = code(module("a.B")) + b"q\x00"
    chain += 40 * (code(module("a.B", modules={"l": Raw(b"h\x00"), "r": Raw(b"h\x00")})) + b"q\x00")
    itself = b"ca\nB\n)\x81q\x00}X\x08\0\0\0_modules}X\x01\0\0\0lh\x00ssb"
    pairs = b"](" + 400 * b"](X\x01\0\0\0aNe" + b"eq\x00"
    return {
        "empty": b"",
        "only an end": b".",
        "no end": start + b"}",
        "unknown instruction": start + b"\xff.",
        "too little on the stack": start + b"}s.",
        "tuple of too little": start + b"N\x87.",
        "no mark": start + b"}u.",
        "pop of nothing": start + b"0N.",
        "no memo": start + b"h\x05.",
        "memo of a huge number": start + b"}r\xff\xff\xff\xff.",
        "memo of a negative number": start + b"}p-5\n.",
        "odd number of items": start + b"}(Nu.",
        "append to None": start + b"NNa.",
        "items of a tuple": start + b"))Ns.",
        "call without a tuple": start + b"cos\nsystem\nNR.",
        "call of None": start + b"N)R.",
        "state of None": start + b"NNb.",
        "name of numbers": start + b"K\x01K\x02\x93.",
        "bytes of a lying length": start + b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
        "text of a lying length": start + b"X\xff\xff\xff\xffx.",
        "number of a lying length": start + b"\x8b\xff\xff\xff\x7fx.",
        "number of a negative length": start + b"\x8b\xff\xff\xff\xffx.",
        "frame of a lying length": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        "long number in digits": start + b"L" + b"9" * 500_000 + b"L\n.",
        "extension": start + b"\x82\x01.",
        "persistent text": start + b"P0\n.",
        "buffers": b"\x80\x05\x97\x98.",
        "deep tuples": start + b")" + b"\x85" * DEEP + b".",
        "deep tuple as a key": start + b"})" + b"\x85" * DEEP + b"Ns.",
        "deep lists": start + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
        "deep dictionaries": start + b"}" + b"X\x05\0\0\0model}" * DEEP + b"s" * DEEP + b".",
        "a dictionary in itself": start + b"}q\x00X\x05\0\0\0modelh\x00s.",
        "a module in itself": start + itself + b".",
        "modules by the power of two": start + chain + b".",
        "marks": start + b"(" * DEEP + b".",
        "steps": start + b"N0" * MANY + b"N.",
        "the same pairs again and again": start
        + pairs
        + b"ccollections\nOrderedDict\n(h\x00tR0" * 30_000
        + b"N.",
        "the same arguments again and again": start
        + b"("
        + b"N" * MANY
        + b"tq\x000"
        + b"ca\nb\nh\x00R0" * MANY
        + b".",
        "prefixes": start + b"}X" + struct.pack("<I", 7 * DEEP + 1) + b"module." * DEEP + b"w" + b"Ns.",
    }


@pytest.mark.parametrize("name", hostile_pickles())
def test_pickles_that_are_too_much(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MAX_STEPS", 50_000)
    data = hostile_pickles()[name]
    header = b"".join(Pickler().dump(part) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
    for file in (zip_of({"a/data.pkl": data}), header + data + Pickler().dump([])):
        refusal(tmp_path, file)


def test_names_with_prefixes_without_end(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, zip_bytes({"module." * DEEP + "a.w": ONE}))
    assert len(found.wrappers) == 8


@pytest.mark.parametrize("name", ["bytes of a lying length", "memo of a huge number", "marks", "deep lists"])
def test_the_memory_that_pickles_take(tmp_path: Path, name: str) -> None:
    data = zip_of({"a/data.pkl": hostile_pickles()[name]})
    with memory_below(10_000_000):
        refusal(tmp_path, data)


# ----------------------------------------------------------------------------------------------- archives that lie


def test_compressed_archives(tmp_path: Path) -> None:
    bomb = zip_of({"a/data.pkl": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    with memory_below(5_000_000):
        assert "compressed" in refusal(tmp_path, bomb)
    data = Pickler(lambda item: ("storage", Name("torch", "FloatStorage"), "0", "cpu", 10**7)).dump(
        {"a.w": ONE}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", data)
        archive.writestr("a/data/0", bytes(40_000_000), zipfile.ZIP_DEFLATED)
    with memory_below(5_000_000):
        refusal(tmp_path, buffer.getvalue())


def lying_zip(size: int, *, directory: bool = True, local: bool = True) -> bytes:
    """A good file whose largest member has another size in its two headers."""
    data = bytearray(zip_bytes({"a.w": tensor(ROW)}))
    old = struct.pack("<II", 400, 400)
    places = [place for place in range(len(data)) if data[place : place + 8] == old]
    assert len(places) == 2
    for place, wanted in zip(places, (local, directory), strict=True):
        if wanted:
            data[place : place + 8] = struct.pack("<II", size, size)
    return bytes(data)


@pytest.mark.parametrize("size", [0, 4, 396, 404, 100_000, 2**31, 2**32 - 1])
def test_archives_that_lie_about_sizes(tmp_path: Path, size: int) -> None:
    for file in (lying_zip(size), lying_zip(size, local=False)):
        with memory_below(2_000_000):
            refusal(tmp_path, file)


def test_an_archive_that_is_all_directory(tmp_path: Path) -> None:
    entry = (
        struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
        + b"x"
    )
    directory = entry * 200_000
    start = zip_of({"a/data.pkl": b"N."})[:40]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(directory), len(start), 0)
    with memory_below(20_000_000):
        assert "damaged" in refusal(tmp_path, start + directory + end)


def test_a_checksum_that_does_not_hold(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a.w": tensor(ROW)}))
    place = data.find(ROW[50:60].tobytes())
    data[place] ^= 1
    assert "CRC" in refusal(tmp_path, bytes(data))


def test_tar_archives_that_lie(tmp_path: Path) -> None:
    whole = tar_bytes({"a.w": tensor(ROW)})
    number = Pickler().dump
    for members in (
        {"storages": number(10**9), "tensors": number(0), "pickle": number({})},
        {"storages": number("many"), "tensors": number(0), "pickle": number({})},
        {
            "storages": number(1) + number((1, "cpu", Name("torch", "FloatStorage"))) + struct.pack("<q", -5),
            "tensors": number(0),
            "pickle": number({}),
        },
        {"storages": number(0) + number([(1, 2, 3, 4)]), "tensors": number(0), "pickle": number({})},
        {
            "storages": number(0) + number([]),
            "tensors": number(1) + number((1, 2, 3)) + struct.pack("<ii", 2**31 - 1, 0) + bytes(10_000_000),
            "pickle": number({}),
        },
    ):
        with memory_below(40_000_000):
            refusal(tmp_path, tar_of(members))
    negative = bytearray(whole)
    negative[124:136] = b"\xff" * 12  # in base 256: -1
    negative[148:156] = b"%06o\0 " % (sum(negative[:148]) + 8 * 32 + sum(negative[156:512]))
    refusal(tmp_path, bytes(negative))


# ----------------------------------------------------------------------------------------------- memory and damage


@pytest.mark.parametrize("kind", ["zip", "legacy", "tar", "safetensors", "hdf5"])
def test_memory_stays_below_twice_the_file(tmp_path: Path, kind: str) -> None:
    rows = {f"{number}.w": np.full(500_000, number, np.float32) for number in range(4)}
    whole = storage(np.concatenate(list(rows.values())))
    views = {name: Tensor(whole, 500_000 * number, (500_000,), (1,)) for number, name in enumerate(rows)}
    path = tmp_path / "weights"
    if kind == "safetensors":
        path.write_bytes(
            safetensors_bytes({name: ("F32", (500_000,), row.tobytes()) for name, row in rows.items()})
        )
    elif kind == "hdf5":
        write_hdf5(path, {name[:-2]: {"w": row} for name, row in rows.items()})
    else:
        path.write_bytes(CONTAINERS[kind](views))
    read(path)  # what it imports is no part of it
    with memory_below(int(2.1 * path.stat().st_size)):
        found = read(path)
    same(found.tensors, rows)


@cache
def sound_files() -> dict[str, bytes]:
    """A small file of every kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.hdf5"
        write_hdf5(path, {name: LAYERS[name] for name in ("input_1", "F_m1", "SR")})
        hdf5 = path.read_bytes()
    few = Ordered({"params": {name: SAMPLE.entries[name] for name in list(SAMPLE.entries)[:5]}})
    return {
        "zip": zip_bytes(few),
        "legacy": legacy_bytes(few),
        "module": legacy_bytes(pickled_network(), python2=True),
        "tar": tar_bytes(few),
        "safetensors": safetensors_bytes(
            {"a.w": ("F32", (100,), ROW.tobytes()), "b.w": ("BF16", (2,), bytes(4))}
        ),
        "hdf5": hdf5,
    }


KINDS = ["zip", "legacy", "module", "tar", "safetensors", "hdf5"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(tmp_path: Path, kind: str) -> None:
    data = sound_files()[kind]
    read_bytes(tmp_path, data)
    for length in range(0, len(data.rstrip(b"\0")) - 8, 97):
        refusal(tmp_path, data[:length])


# Bytes overwritten: place (a part of the whole), how many, with what. Then cut, then a piece of another file in it.
damage = given(
    kind=st.sampled_from(KINDS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9), st.integers(0, 255)), max_size=8),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
    spliced=st.one_of(st.none(), st.tuples(st.sampled_from(KINDS), *[st.floats(0, 1)] * 3)),
)
# Instructions of a pickle, and now and then a sensible piece.
PIECES = [bytes([code]) for code in range(256)]
PIECES += [
    code(ONE.size),
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"X\x01\0\0\0w",
    b"K\x05",
    b"q\x00",
    b"h\x00",
]
PIECES += [
    b"ccollections\nOrderedDict\n)R",
    b"X\x05\0\0\0model}",
    b"X\x08\0\0\0_modules",
    b"J\xff\xff\xff\x7f",
]
instructions = given(pieces=st.lists(st.sampled_from(PIECES), max_size=60))
quick = settings(max_examples=150, suppress_health_check=list(HealthCheck))
long = settings(max_examples=6000, suppress_health_check=list(HealthCheck))


def read_or_refuse(folder: Path, data: bytes) -> None:
    with memory_below(30_000_000):
        try:
            read_bytes(folder, data)
        except RequestError as error:
            assert str(error).isprintable()


def check_damaged(
    folder: Path,
    kind: str,
    changes: list[tuple[float, int, int]],
    cut: float,
    spliced: tuple[str, float, float, float] | None,
) -> None:
    data = bytearray(sound_files()[kind])
    for place, count, value in changes:
        start = int(place * (len(data) - 1))
        data[start : start + count] = bytes([value]) * count
    data = data[: int(cut * len(data))]
    if spliced:
        other, first, last, place = spliced
        donor = sound_files()[other]
        piece = donor[int(first * len(donor)) : int(last * len(donor))]
        start = int(place * len(data))
        data[start : start + len(piece)] = piece
    read_or_refuse(folder, bytes(data))


def check_instructions(folder: Path, pieces: list[bytes]) -> None:
    reference = ("storage", Name("torch", "FloatStorage"), "0", "cpu", 2)
    body = Pickler(lambda item: reference if isinstance(item, Storage) else None).code(ONE)
    for value in (b"".join(pieces), b"}X\x03\0\0\0a.w" + body + b"s" + b"".join(pieces)):
        read_or_refuse(folder, zip_of({"a/data.pkl": b"\x80\x02" + value + b".", "a/data/0": bytes(8)}))


@quick
@damage
def test_damaged_files_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, **damaged: Any) -> None:
    check_damaged(tmp_path_factory.getbasetemp(), **damaged)


@quick
@instructions
@example(pieces=[b"\x80"])
def test_random_pickles_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    check_instructions(tmp_path_factory.getbasetemp(), pieces)


@pytest.mark.slow
@long
@damage
def test_damaged_files_at_length(tmp_path_factory: pytest.TempPathFactory, **damaged: Any) -> None:
    check_damaged(tmp_path_factory.getbasetemp(), **damaged)


@pytest.mark.slow
@long
@instructions
def test_random_pickles_at_length(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    check_instructions(tmp_path_factory.getbasetemp(), pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_pytorch_is_not_needed(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    assert read_bytes(tmp_path, sound_files()[kind]).tensors
