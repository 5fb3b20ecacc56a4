"""Published weights: every variant is told from its names and shapes, and every tensor finds its place."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_models import TINY, Case, numpy

from isr import presets
from isr.convert import Conversion, convert, families, load, precision, save
from isr.convert.checkpoint import Checkpoint
from isr.convert.conversion import recognise, shuffled
from isr.convert.families import edsr, edvr, rrdbnet
from isr.convert.family import name_in_file
from isr.errors import RequestError
from isr.models import EDSR, EDVR, SuperResolutionModel, get_model
from isr.models.loading import load as load_preset
from isr.predict.precision import resolve_precision
from isr.predict.source import Network

FILES = [path.stem for path in Path(families.__file__).parent.glob("[!_]*.py")]
EDVR_CASE = Case(EDVR, TINY["EDVR"][0])
GOLDENS = Path(__file__).parents[1] / "goldens" / "convert"
LARGE = 5_000_000  # parameters, from which a variant is slow to build


def variants() -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of every published variant, by the headline of its block."""
    blocks: dict[str, dict[str, tuple[int, ...]]] = {}
    for line in (GOLDENS / "names.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# tensors"):
            headline = line[2:]
        elif line and not line.startswith("#"):
            name, shape = line.rsplit(" ", 1)
            sides = () if shape == "scalar" else tuple(map(int, shape.split("x")))
            blocks.setdefault(headline, {}).update(dict.fromkeys(expand(name), sides))
    return blocks


def expand(name: str) -> list[str]:
    """`a.{0..4..2}.b{1,2}` as all the names it stands for."""
    parts = re.split(r"\{(.*?)\}", name)
    choices = [[parts[0]]]
    for group, after in zip(parts[1::2], parts[2::2], strict=True):
        if ".." in group:
            first, last, *step = map(int, group.split(".."))
            values = list(range(first, last + 1, *step))
        else:
            values = group.split(",")
        choices.append([f"{value}{after}" for value in values])
    return ["".join(parts) for parts in itertools.product(*choices)]


VARIANTS = variants()
REFUSED = {name for name in VARIANTS if "[refuse" in name or "refuse]" in name}


def stand_in(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Tensors of these shapes that take no memory; Keras' layers with a point before the weight's name."""
    keras = any("/kernel" in name for name in shapes)
    return {
        name.replace("/", ".").removesuffix(":0") if keras else name: np.broadcast_to(np.float32(0.01), shape)
        for name, shape in shapes.items()
    }


def elements(headline: str) -> int:
    return sum(math.prod(shape) for shape in VARIANTS[headline].values())


def test_the_list_holds_what_it_says() -> None:
    assert len(VARIANTS) > 50
    text = (GOLDENS / "names.txt").read_text(encoding="utf-8")
    said = [int(number) for number in re.findall(r"^# tensors \d+, elements (\d+)", text, re.MULTILINE)]
    assert said == [elements(headline) for headline in VARIANTS]


@pytest.mark.parametrize("headline", VARIANTS)
def test_every_variant_is_told_by_one_family_alone(headline: str) -> None:
    tensors = {name: value for name, value in stand_in(VARIANTS[headline]).items() if value.ndim}
    found = [family for family in families.FAMILIES if family.matches(tensors)]
    assert len(found) == 1, [family.name for family in found]
    assert bool(found[0].refused) == (headline in REFUSED)
    assert found[0].name.split()[0] in headline or found[0].refused


@cache
def built(name: str, arguments: str) -> SuperResolutionModel:
    return get_model(name)(**json.loads(arguments))


def shared(name: str) -> Callable[..., SuperResolutionModel]:
    """As `get_model`, but variants of one network share it: building takes longest, and all weights are replaced."""
    return lambda **arguments: built(name, json.dumps(arguments))


@pytest.mark.parametrize(
    "headline",
    [
        pytest.param(name, marks=[pytest.mark.slow] if elements(name) > LARGE else [])
        for name in VARIANTS
        if name not in REFUSED
    ],
)
def test_every_tensor_of_every_variant_is_used_once(
    headline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = stand_in(VARIANTS[headline])
    path = tmp_path / "file.pth"
    path.write_bytes(b"stands for the tensors")
    read = Checkpoint(path, "PyTorch zip", (), dict(tensors))
    monkeypatch.setattr("isr.convert.conversion.read", lambda _: read)
    monkeypatch.setattr("isr.convert.conversion.get_model", shared)
    shifts = {name for name in tensors if name.startswith(("sub_mean", "add_mean"))}
    for name in shifts:  # 1x1 convolutions that are meant to be constants
        side = np.array([0.4488, 0.4371, 0.4040]) * 255 * (1 if "add" in name else -1)
        read.tensors[name] = np.eye(3).reshape(3, 3, 1, 1) if name.endswith("weight") else side
    model = convert(path).model
    scalars = sum(value.ndim == 0 for value in tensors.values())
    expected = elements(headline) - scalars - sum(tensors[name].size for name in shifts)
    if headline.startswith("SPAN"):  # what its branches are merged to
        kept = ("eval_conv", "conv_cat", "upsampler")
        expected = sum(value.size for name, value in tensors.items() if any(part in name for part in kept))
    assert model.count_params() == expected


def test_every_file_of_a_family_is_found_and_tried_in_its_order() -> None:
    modules = [importlib.import_module(f"{families.__name__}.{name}") for name in FILES]
    listed = [family.name for module in modules for family in module.FAMILIES]
    tried = [family.name for family in families.FAMILIES]
    assert sorted(tried) == sorted(listed) and len(set(tried)) == len(tried)
    for family in families.FAMILIES:
        assert all(tried.index(name) < tried.index(family.name) for name in family.after)


def test_names_are_made_by_the_tables() -> None:
    assert name_in_file("block3/conv2", [edsr.EDSR_BASICSR]) == "body.3.conv2"
    assert name_in_file("upsampler/conv1", [edsr.EDSR_BASICSR]) == "upsample.2"
    assert name_in_file("block0/dense2/conv3", [rrdbnet.RRDB_NEW]) == "body.0.rdb3.conv4"
    assert name_in_file("fusion/spatial5", [edvr.EDVR_MMAGIC]) == "fusion.spatial_attn5"
    assert name_in_file("nothing", [edvr.EDVR_MMAGIC]) is None


def test_channels_before_a_pixel_shuffle_are_reordered() -> None:
    assert shuffled(12, 2).tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


# Golden files: an independent PyTorch transcription of every network (goldens/convert/README.md)

GOLDEN = sorted(path.stem for path in GOLDENS.glob("*.npz"))


@pytest.mark.parametrize("name", GOLDEN)
def test_the_converted_network_is_the_published_one(name: str, tmp_path: Path) -> None:
    golden = np.load(GOLDENS / f"{name}.npz")
    path = GOLDENS / f"{name}.hdf5"
    if not path.is_file():
        path = tmp_path / f"{name}.safetensors"
        weights = {key.removeprefix("weights/"): golden[key] for key in golden if key.startswith("weights/")}
        save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, path)
    facts = json.loads(str(golden["facts"]))  # what the case was made with
    open_ones = convert(path).assumed
    model = load(path, **{key: value for key, value in facts.items() if key in open_ones})
    for key in (key for key in golden if key.startswith("output")):
        options = {"scale": int(key.removeprefix("output_x"))} if key != "output" else {}
        difference = np.abs(numpy(model(golden["input"], **options)) - golden[key]).max()
        assert difference < 1e-4 * np.ptp(golden[key]), key
    if "aligned" in golden:
        aligned = numpy(model(golden["input"], return_aligned=True)[1])
        assert np.abs(aligned - golden["aligned"]).max() < 1e-4 * np.ptp(golden["aligned"])


def small_edsr(**changes: Any) -> dict[str, np.ndarray]:
    """An EDSR for x2 of 4 features and one block, in BasicSR's names."""
    rng = np.random.default_rng(0)
    shapes = {
        "conv_first": (4, 3),
        "body.0.conv1": (4, 4),
        "body.0.conv2": (4, 4),
        "conv_after_body": (4, 4),
        "upsample.0": (16, 4),
        "conv_last": (3, 4),
    }
    tensors = {f"{name}.weight": rng.normal(0, 0.1, (*shape, 3, 3)) for name, shape in shapes.items()}
    tensors |= {f"{name}.bias": rng.normal(0, 0.1, shape[0]) for name, shape in shapes.items()}
    return {name: value.astype(np.float32) for name, value in {**tensors, **changes}.items()}


def named_as_edsr_pytorch(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a BasicSR file under the names of EDSR-PyTorch."""
    return {
        name.replace("conv_first", "head.0")
        .replace("body.0.conv1", "body.0.body.0")
        .replace("body.0.conv2", "body.0.body.2")
        .replace("conv_after_body", "body.1")
        .replace("upsample.0", "tail.0.0")
        .replace("conv_last", "tail.1"): value
        for name, value in tensors.items()
    }


@pytest.mark.parametrize("top", [255, 1])
def test_layers_that_take_off_the_mean_are_folded_in_where_they_were_trained(
    tmp_path: Path, top: int
) -> None:
    """Against the same network with its 1x1 layers written out, on 0 to 255 or to 1."""
    rng = np.random.default_rng(1)
    tensors = named_as_edsr_pytorch(small_edsr())
    before = np.eye(3) + rng.normal(0, 0.05, (3, 3))
    after = np.eye(3) + rng.normal(0, 0.05, (3, 3))
    shift, back = -top * np.array([0.4, 0.5, 0.3]), top * np.array([0.45, 0.44, 0.41])
    tensors |= {
        "sub_mean.weight": before[:, :, None, None].astype(np.float32),
        "sub_mean.bias": shift.astype(np.float32),
        "add_mean.weight": after[:, :, None, None].astype(np.float32),
        "add_mean.bias": back.astype(np.float32),
    }
    path = tmp_path / "trained.safetensors"
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
        return np.einsum("hwcij,ocij->hwo", windows, weight) + bias

    lr = rng.random((6, 7, 3), np.float32)
    x = conv((top * lr) @ before.T + shift, "head.0")
    deep = x + conv(np.maximum(conv(x, "body.0.body.0"), 0), "body.0.body.2")
    deep = x + conv(deep, "body.1")
    up = conv(deep, "tail.0.0")
    up = up.reshape(6, 7, 4, 2, 2).transpose(0, 3, 1, 4, 2).reshape(12, 14, 4)
    expected = (conv(up, "tail.1") @ after.T + back) / top
    found = numpy(convert(path, {"pixel_range": top}).model(lr[None]))[0]
    assert np.abs(found - expected).max() < 1e-4 * np.ptp(expected)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sub_mean.bias", None, "sub_mean.bias' is missing"),
        ("add_mean.weight", None, "add_mean.weight' is missing"),
        ("sub_mean.weight", np.zeros((3, 3, 1, 1), np.float32), "shifts of the mean make none"),
        ("sub_mean.weight", np.eye(3, dtype=np.float32), "sub_mean is no convolution"),
    ],
)
def test_shifts_that_are_none_are_named(
    tmp_path: Path, name: str, value: np.ndarray | None, said: str
) -> None:
    tensors = named_as_edsr_pytorch(small_edsr())
    for layer in ("sub_mean", "add_mean"):
        tensors[f"{layer}.weight"] = np.eye(3, dtype=np.float32)[:, :, None, None]
        tensors[f"{layer}.bias"] = np.zeros(3, np.float32)
    changed = {key: one for key, one in {**tensors, name: value}.items() if one is not None}
    path = tmp_path / "file.safetensors"
    save_file({key: np.ascontiguousarray(one) for key, one in changed.items()}, path)
    with pytest.raises(RequestError, match=rf"^{re.escape(str(path))}: .*{said}"):
        convert(path)


def test_branches_that_do_not_add_up_are_named(tmp_path: Path) -> None:
    golden = np.load(GOLDENS / "span_x2.npz")
    whole = {key.removeprefix("weights/"): golden[key] for key in golden if key.startswith("weights/")}

    def error(changes: dict[str, np.ndarray | None]) -> str:
        path = tmp_path / "file.safetensors"
        save_file({name: value for name, value in (whole | changes).items() if value is not None}, path)
        with pytest.raises(RequestError, match=re.escape(str(path))) as caught:
            convert(path)
        return str(caught.value)

    wide = np.zeros((3, 6, 3, 3), np.float32)
    assert "has no block_2.c1_r.conv.1" in error({"block_2.c1_r.conv.1.bias": None})
    assert "conv_2.sk is no convolution of 1x1" in error({"conv_2.sk.weight": wide})
    assert "branches of block_6.c3_r do not fit" in error({"block_6.c3_r.conv.1.weight": wide})
    assert "which has no block_1.c1_r.act.weight" in error({"block_1.c1_r.act.weight": wide})


def test_what_no_file_tells_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(small_edsr(), path)
    plain = convert(path)
    assert plain.family == "EDSR (BasicSR)" and plain.assumed["res_scale"] == 1.0
    assert plain.taken == {"scale": 2, "num_features": 4, "num_blocks": 1, "num_channels": 3}
    model = load(path, res_scale=0.1, pixel_range=1.0)
    assert (model.res_scale, model.pixel_range) == (0.1, 1.0)  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match=r"num_blocks: follows from the file .*res_scale"):
        load(path, num_blocks=2)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    def error(tensors: dict[str, np.ndarray]) -> str:
        path = tmp_path / "file.safetensors"
        save_file(tensors, path)
        with pytest.raises(RequestError) as caught:
            convert(path)
        message = str(caught.value)
        assert message.startswith(str(path)) and "\n" not in message
        return message

    whole = small_edsr()
    lacking = {name: value for name, value in whole.items() if name != "conv_last.bias"}
    assert "EDSR (BasicSR), but has no conv_last.bias" in error(lacking)
    assert "which has no extra.weight" in error(whole | {"extra.weight": np.zeros((1, 1), np.float32)})
    assert "another shape" in error(whole | {"conv_after_body.weight": np.zeros((4, 5, 3, 3), np.float32)})
    assert "holds values that are no numbers" in error(
        whole | {"conv_last.bias": np.full(3, np.nan, np.float32)}
    )
    assert "no known network" in error({"a.weight": np.zeros((1, 1), np.float32)})
    strange = {name.replace("conv_after_body", "other"): value for name, value in whole.items()}
    assert "the nearest is EDSR (BasicSR), which has no other.bias" in error(strange)
    del strange["other.bias"], strange["other.weight"]
    assert "only a part of a network, the nearest being EDSR (BasicSR)" in error(strange)
    compact = {"body.0.weight": np.zeros((4, 3, 3, 3), np.float32), "body.1.weight": np.zeros(4, np.float32)}
    assert "is no complete SRVGGNetCompact: 'body.2.weight' is missing" in error(compact)
    plus = {"model.1.sub.0.RDB1.conv1x1.weight": np.zeros((4, 4, 1, 1), np.float32)}
    assert "ESRGAN+ cannot be converted" in error(plus)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_weights_of_16_bits_stay_so_on_the_disk(tmp_path: Path, dtype: str) -> None:
    stored = {name: value.astype(dtype) for name, value in small_edsr().items()}
    save_file(stored, tmp_path / "net.safetensors")
    save(convert(tmp_path / "net.safetensors"), tmp_path / "net")
    weights = tmp_path / "net" / "weights.safetensors"
    numbers = sum(value.nbytes for value in stored.values())
    assert numbers <= weights.stat().st_size <= numbers + 8192
    assert json.loads((tmp_path / "net" / "config.json").read_text())["weights"] == dtype
    opened = load_preset(tmp_path / "net")
    assert {np.asarray(value).dtype.name for value in opened.named_weights().values()} == {"float32"}
    lr = np.random.default_rng(2).random((1, 5, 6, 3), np.float32)
    np.testing.assert_array_equal(numpy(opened(lr)), numpy(load(tmp_path / "net.safetensors")(lr)))


def test_a_preset_is_written_whole_and_works_as_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from isr.cli.app import run

    path = tmp_path / "edsr-01234567.safetensors"
    save_file(small_edsr(), path)
    target = tmp_path / "presets" / "mine"
    assert run(["convert", str(path), "--output", str(target), "--set", "res_scale=0.5"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(target)
    assert (
        "recognised as EDSR (BasicSR)" in said.err and "scale=2" in said.err and "res_scale=0.5" in said.err
    )
    assert "the name ends with 01234567" in said.err
    assert re.search(
        r"bfloat16 costs -?[\d.]+ dB and [\d.]+ levels of 255 at most: auto computes in", said.err
    )
    lr = np.random.default_rng(2).random((1, 5, 6, 3), np.float32)
    np.testing.assert_array_equal(numpy(load_preset(target)(lr)), numpy(load(path, res_scale=0.5)(lr)))
    assert path.name in (target / "card.md").read_text(encoding="utf-8")
    assert run(["models", "--dir", str(target.parent)]) == 0
    assert capsys.readouterr().out.startswith("mine\tEDSR\tx2\t")

    assert run(["convert", str(path), "--output", str(target)]) == 2
    assert f"{target}: exists already" in capsys.readouterr().err
    conversion = convert(path)
    with pytest.raises(RequestError, match="exists already"):
        save(conversion, target)
    assert sorted(p.name for p in target.parent.iterdir()) == ["mine"]
    assert run(["convert", str(tmp_path / "nothing.pth")]) == 2
    capsys.readouterr()
    assert run(["convert", str(path), "-o", str(tmp_path / "other"), "--quiet"]) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("offset", "precision"), [(0.0, "bfloat16"), (4000.0, "float32")])
def test_auto_computes_in_float32_where_bfloat16_costs_too_much(
    offset: float, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that carries features on a large constant, and takes it off again: 8 bits hold steps of 16 there."""
    model = EDSR(2, num_features=3, num_blocks=1, pixel_mean=0.0)
    model.start_as_interpolation()
    block = model.blocks[0]
    identity = np.zeros((3, 3, 3, 3), np.float32)
    identity[1, 1] = np.eye(3)
    # The block takes off what it carried, and what is left of it are the roundings.
    layers = (
        (block.conv1, identity, offset),
        (block.conv2, -identity, offset),
        (model.body_end, identity, 0.0),
    )
    for conv, kernel, bias in layers:
        conv.kernel.assign(kernel)
        conv.bias.assign(np.full(3, bias))
    conversion = Conversion(model, "none", Checkpoint(tmp_path / "x.pth", "none", (), {}), {}, {}, "0" * 64)
    cost = save(conversion, tmp_path / "net")
    noted = json.loads((tmp_path / "net" / "config.json").read_text(encoding="utf-8"))["bfloat16"]
    assert noted == cost and (cost["levels"] > 2) == bool(offset)
    monkeypatch.setattr("isr.runtimes.devices.computes_bfloat16", lambda device: True)
    networks = [Network(tmp_path / "net", "tensorflow")]
    assert resolve_precision("auto", np.dtype(np.uint8), networks) == (precision, "")
    assert resolve_precision("bfloat16", np.dtype(np.uint8), networks) == ("bfloat16", "")


def test_a_note_on_bfloat16_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model": "EDSR", "arguments": {}, "bfloat16": {"levels": "few"}}')
    with pytest.raises(RequestError, match=r"config\.json: bfloat16 must have the numbers"):
        presets.suits_bfloat16(tmp_path)


def test_pictures_to_measure_on_are_those_of_the_network() -> None:
    model = EDVR_CASE.build()
    (lr, hr), *_ = precision.pictures(model, 4)
    assert lr.shape == (model.num_frames, 64, 64, 3) and hr.shape == (256, 256, 3)
    # Every frame shows the one before, moved by a pixel.
    np.testing.assert_allclose(lr[1][4:-6, 4:-6], lr[0][5:-5, 5:-5], atol=1e-5)
    assert 0.1 < hr.std() < 0.5 and hr.min() >= 0 and hr.max() <= 1


def test_families_are_told_before_anything_is_built() -> None:
    tensors = stand_in(VARIANTS["BasicSR EDVR M (with TSA)"])
    family = recognise(tensors, "file")
    assert family.name == "EDVR (BasicSR)" and family.plan is not None
    plan = family.plan(tensors)
    assert plan.model == "EDVR" and plan.taken["num_frames"] == 5 and plan.taken["with_tsa"]
