"""Exported models, as a process without this package sees them, against the package itself."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from children import run_python
from hypothesis import given
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tiny_models import TINY, Case, randomise

import isr
from isr.cli.app import run
from isr.errors import Cancelled, ISRError, RequestError
from isr.export import ExportOptions, export_savedmodel, savedmodel
from isr.export.exif import orientation
from isr.export.graphs import Bounds, Spans, fill_transparent
from isr.io.exif import reset_orientation
from isr.io.pictures import read
from isr.layers.strips import strips
from isr.models import EDSR, EDVR, MDSR, TDAN, MultiFrameModel, SuperResolutionModel
from isr.predict import picture
from isr.predict.tiling import OVERLAP
from isr.spec import ModelSpec
from isr.tiles import fitted, spans

SMALL = ExportOptions(tile=40, overlap=8, max_pixels=20_000)
TILES: dict[str, Any] = {"tile": 40, "tile_overlap": 8}
Ask = Callable[..., list[Any]]


def asker(folder: Path, tmp: Path) -> Ask:
    """A function that has a child process answer requests."""

    def ask(*requests: tuple[str, dict[str, Any]]) -> list[Any]:
        (tmp / "requests").write_bytes(pickle.dumps(requests))
        run_python("tests/serving_child.py", str(folder), str(tmp / "requests"), str(tmp / "answers"))
        return pickle.loads((tmp / "answers").read_bytes())

    return ask


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """Floats equal but for sums in another order; integers but for what such a difference rounds otherwise."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if np.issubdtype(found.dtype, np.floating):
        assert np.abs(found - expected).max() <= 1e-5
    else:
        difference = np.abs(found.astype(int) - expected.astype(int))
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.01


def png(pixels: np.ndarray) -> bytes:
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(flat)))


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    # Cameras write other entries before it.
    exif[271], exif[274] = "a camera", orientation
    return exif


def pixels_of(data: bytes, tmp_path: Path, suffix: str = ".png") -> np.ndarray:
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(data)
    return read(path).pixels


# ---------------------------------------------------------------------------------------------- geometry


@given(
    st.integers(1, 700), st.integers(1, 60), st.integers(0, 14), st.sampled_from([1, 2, 4, 16]), st.booleans()
)
def test_a_graph_cuts_a_side_as_predict_does(
    length: int, kept: int, overlap: int, multiple: int, small: bool
) -> None:
    overlap += -overlap % multiple
    tile = 2 * overlap + kept + (0 if small else 100)
    tile += -tile % multiple
    length += -length % multiple
    side = Spans.of(tf.constant(length), multiple, Bounds(tile, overlap, 1))
    expected = spans(length, fitted(length, tile, overlap, multiple), overlap)
    found = [side.span(tf.constant(index)) for index in range(int(side.count))]
    assert [tuple(map(int, span)) for span in found] == [
        (s.start, s.stop, s.inner_start, s.inner_stop) for s in expected
    ]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 13), (16, 16)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_graph_fills_what_is_transparent_as_predict_does(size: tuple[int, int], dtype: Any) -> None:
    rng = np.random.default_rng(size)
    for share in (0.0, 0.1, 0.9, 1.0):
        pixels = rng.integers(0, np.iinfo(dtype).max, (*size, 4), dtype=dtype)
        pixels[..., 3][rng.random(size) < share] = 0
        np.testing.assert_array_equal(fill_transparent(tf.constant(pixels)), picture.fill_transparent(pixels))


# ---------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
def test_a_graph_finds_an_orientation_as_predict_does(order: str, kind: int) -> None:
    def block(value: int) -> bytes:
        entries = [
            struct.pack(f"{order}HHI4s", 271, 2, 2, b"a"),
            struct.pack(f"{order}HHI", 274, kind, 1)
            + struct.pack(f"{order}{'HH' if kind == 3 else 'I'}", *([value, 0] if kind == 3 else [value])),
        ]
        head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 12) + b"more"
        return head + struct.pack(f"{order}H", 2) + b"".join(entries) + bytes(4)

    for value in range(11):
        exif = block(value)
        expected = reset_orientation(exif)[0]
        assert expected == (value if 1 <= value <= 8 else 1)
        jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xe1\0\x50Exif\0\0" + exif + b"\xff\xda"
        assert int(orientation(tf.constant(jpeg), tf.constant(False))) == expected
        png = b"\x89PNG\r\n\x1a\n" + bytes(25) + b"\0\0\0\x30eXIf" + exif
        assert int(orientation(tf.constant(png), tf.constant(True))) == expected
    rng = np.random.default_rng(0)
    for end in range(0, len(jpeg), 11):
        damaged = bytearray(jpeg[:end] + bytes(rng.integers(0, 256, 4, np.uint8)))
        assert 1 <= int(orientation(tf.constant(bytes(damaged)), tf.constant(False))) <= 8


@pytest.fixture(scope="module")
def edsr() -> SuperResolutionModel:
    return randomise(Case(EDSR, TINY["EDSR"][0]).build())


@pytest.fixture(scope="module")
def folder(edsr: SuperResolutionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = export_savedmodel(edsr, tmp_path_factory.mktemp("models") / "edsr", 3, options=SMALL)
    assert made.folder.name == "3" and made.difference <= 1e-5
    return made.folder


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = [(2, 17, 23), (1, 1, 1), (3, 40, 40), (2, 41, 97), (1, 150, 5)]
    floats = [rng.random((*size, 3), np.float32) * 1.2 - 0.1 for size in sizes]
    return [*floats, photograph(70, 55)[None], photograph(12, 9)[None]]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    photo = photograph(50, 61)
    alpha = (np.hypot(*np.mgrid[-25:25, -30:31]) < 24).astype(np.uint8)[..., None] * 200
    deep = rng.integers(0, 65536, (33, 47, 3)).astype(np.uint16)
    buffers = {
        "jpeg": io.BytesIO(),
        "gray.jpeg": io.BytesIO(),
        "palette": io.BytesIO(),
        "cmyk.jpeg": io.BytesIO(),
    }
    Image.fromarray(photo).save(buffers["jpeg"], "JPEG", quality=90)
    Image.fromarray(photo[..., 0]).save(buffers["gray.jpeg"], "JPEG")
    Image.fromarray(photo).quantize(9).save(buffers["palette"], "PNG")
    Image.fromarray(photo).convert("CMYK").save(buffers["cmyk.jpeg"], "JPEG")
    for number in range(1, 9):
        name = f"turned {number}.jpeg"
        buffers[name] = io.BytesIO()
        Image.fromarray(photo).save(buffers[name], "JPEG", quality=90, exif=exif_of(number))
    buffers["turned.png"] = io.BytesIO()
    Image.fromarray(photo).save(buffers["turned.png"], "PNG", exif=exif_of(8))
    return {
        "rgb": png(photo),
        "one pixel": png(photo[:1, :1]),
        "gray": png(photo[..., :1]),
        "rgba": png(np.concatenate([photo, alpha], -1)),
        "even alpha": png(np.concatenate([photo, np.full_like(alpha, 128)], -1)),
        "gray and alpha": png(np.concatenate([photo[..., :1], alpha], -1)),
        "deep": png(deep),
        "deep gray": png(deep[..., :1]),
        "deep rgba": png(np.concatenate([deep, np.where(deep[..., :1] > 30000, deep[..., :1], 0)], -1)),
        **{name: buffer.getvalue() for name, buffer in buffers.items()},
    }


REFUSED = {
    "no picture": "neither a PNG nor a JPEG file",
    "nothing": "neither a PNG nor a JPEG file",
    "cut off": "PNG",
    "too large": "at most 20000 pixels",
    "too large jpeg": "at most 20000 pixels",
}


@pytest.fixture(scope="module")
def answers(
    folder: Path,
    arrays: Sequence[np.ndarray],
    files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """All that the tests below ask of one process."""
    large = io.BytesIO()
    Image.fromarray(photograph(101, 199)).save(large, "JPEG")
    bad = {
        "no picture": b"GIF89a and so on, which is none of ours",
        "nothing": b"",
        "cut off": files["rgb"][:400],
        "too large": png(photograph(101, 199)),
        "too large jpeg": large.getvalue(),
    }
    wrong = {
        "no numbers": np.full((1, 4, 4, 3), np.nan, np.float32),
        "no rows": np.zeros((1, 0, 4, 3), np.float32),
        "no batch": np.zeros((0, 4, 4, 3), np.float32),
        "large": np.zeros((1, 2, 10_001, 3), np.float32),
    }
    requests: dict[str, tuple[str, dict[str, Any]]] = {}
    for index, array in enumerate(arrays):
        name = "serving_default" if array.dtype == np.float32 else "serving_uint8"
        requests[f"array {index}"] = (name, {"lr": array})
    requests["files"] = ("serving_bytes", {"lr_bytes": list(files.values())})
    requests["no files"] = ("serving_bytes", {"lr_bytes": np.zeros(0, object).astype("S1")})
    requests |= {name: ("serving_bytes", {"lr_bytes": [files["rgb"], data]}) for name, data in bad.items()}
    requests |= {name: ("serving_default", {"lr": array}) for name, array in wrong.items()}
    requests["spec"] = ("spec", {"any": ["", "x"]})
    found = asker(folder, tmp_path_factory.mktemp("answers"))(*requests.values())
    return dict(zip(requests, found, strict=True))


def test_arrays_equal_upscale(
    edsr: SuperResolutionModel, arrays: Sequence[np.ndarray], answers: dict[str, Any]
) -> None:
    for index, array in enumerate(arrays):
        sr = answers[f"array {index}"]["sr"]
        assert len(sr) == len(array)
        for found, pixels in zip(sr, array, strict=True):
            close(found, isr.upscale(edsr, pixels, **TILES))


def test_files_of_a_mixed_batch_equal_upscale(
    edsr: SuperResolutionModel, files: dict[str, bytes], answers: dict[str, Any], tmp_path: Path
) -> None:
    sr = dict(zip(files, answers["files"]["sr_bytes"], strict=True))
    for name, data in files.items():
        if name == "cmyk.jpeg":  # each library has its own idea of what such inks look like
            assert pixels_of(sr[name], tmp_path).shape == (100, 122, 3)
            continue
        pixels = pixels_of(data, tmp_path, ".jpg" if "jpeg" in name else ".png")
        if name.startswith("turned"):
            assert pixels.shape == ((61, 50, 3) if name[7] in "5678p" else (50, 61, 3)), "read() turns it"
        close(pixels_of(sr[name], tmp_path), isr.upscale(edsr, pixels, **TILES))
    assert answers["no files"]["sr_bytes"].shape == (0,)


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_no_picture_are_refused_with_a_reason(name: str, answers: dict[str, Any]) -> None:
    assert REFUSED[name] in answers[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no numbers", "no numbers (NaN or infinite)"),
        ("no rows", "without pixels"),
        ("no batch", "without pixels"),
        ("large", "at most 20000 pixels"),
    ],
)
def test_arrays_that_are_no_picture_are_refused_with_a_reason(
    name: str, words: str, answers: dict[str, Any]
) -> None:
    assert words in answers[name]


def test_the_model_says_what_it_is(edsr: SuperResolutionModel, folder: Path, answers: dict[str, Any]) -> None:
    about = json.loads((folder / "assets.extra" / "isr.json").read_text())
    assert [json.loads(text) for text in answers["spec"]["spec"]] == [about, about]
    assert ModelSpec.from_json(about["spec"]) == edsr.spec
    again = EDSR(**about["arguments"])
    again.set_weights(edsr.get_weights())
    same, other = (
        savedmodel.describe(model, SMALL)["weights_sha256"] for model in (again, EDSR(**TINY["EDSR"][0]))
    )
    assert about["weights_sha256"] == same != other
    assert (about["tile"], about["overlap"], about["max_pixels"]) == (40, 8, 20_000)


@pytest.mark.slow
def test_a_network_of_several_scales_has_signatures_for_each(tmp_path: Path) -> None:
    model = randomise(Case(MDSR, TINY["MDSR"][1]).build())
    made = export_savedmodel(model, tmp_path / "mdsr", options=SMALL)
    kinds = ("serving_default", "serving_uint8", "serving_bytes")
    assert made.signatures == (*kinds, *(f"{kind}_x8" for kind in kinds), "spec")
    picture = photograph(13, 18)
    found = tf.saved_model.load(str(made.folder)).signatures
    for end, scale in (("", 4), ("_x8", 8)):
        sr = found[f"serving_uint8{end}"](lr=tf.constant(picture[None]))["sr"].numpy()[0]
        close(sr, isr.upscale(model, picture, scale=scale, **TILES))


# ---------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("model_class", "variant", "xla"),
    [
        pytest.param(EDVR, 1, False, id="EDVR", marks=pytest.mark.slow),
        pytest.param(TDAN, 1, True, id="TDAN with XLA", marks=pytest.mark.slow),
    ],
)
def test_windows(model_class: type[MultiFrameModel], variant: int, xla: bool, tmp_path: Path) -> None:
    model = randomise(Case(model_class, TINY[model_class.__name__][variant]).build())
    assert isinstance(model, MultiFrameModel)
    options = ExportOptions(tile=64, overlap=8, max_pixels=10_000, xla=xla)
    made = export_savedmodel(model, tmp_path / "model", options=options)
    saved = saved_model_pb2.SavedModel.FromString((made.folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    assert any(function.attr["_XlaMustCompile"].b for function in functions) == xla

    clip = np.stack([photograph(37, 90, seed=index) for index in range(3)])
    frames = [png(frame) for frame in clip]
    floats = (clip / np.float32(255)).astype(np.float32)
    tile = floats[:, :36, :64]
    ask = asker(made.folder, tmp_path)
    answers = ask(
        ("serving_default", {"lr": floats[None]}),
        ("serving_uint8", {"lr": clip[None]}),
        ("serving_bytes", {"lr_bytes": [frames, frames[::-1]]}),
        ("encode", {"lr": tile}),
        ("encode", {"lr": np.zeros((1, 64, 68, 3), np.float32)}),
        ("encode", {"lr": np.zeros((1, 7, 8, 3), np.float32)}),
        ("serving_bytes", {"lr_bytes": [[frames[0], frames[1], png(clip[2, 1:])]]}),
    )
    center = model.spec.center_frame
    upscaled = {"tile": 64, "tile_overlap": 8}
    with strips(compiled=False):  # compiling takes longer than such frames
        expected = [
            list(isr.upscale_frames(model, stream, **upscaled))[center] for stream in (clip, clip[::-1])
        ]
        whole = list(isr.upscale_frames(model, floats, **upscaled))[center]
    close(answers[0]["sr"][0], whole)
    close(answers[1]["sr"][0], expected[0])
    for data, wanted in zip(answers[2]["sr_bytes"], expected, strict=True):
        close(pixels_of(data, tmp_path), wanted)
    features = {name: value[None] for name, value in answers[3].items()}
    (decoded,) = ask(("decode", features))
    close(decoded["sr"], np.asarray(model(tile[None])))
    assert "at most 4096 pixels" in answers[4]
    if model.spec.size_multiple > 1:
        assert "multiples of 4" in answers[5]
    assert isinstance(answers[6], str)


# ---------------------------------------------------------------------------------------------- the folder


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_existing_version_is_kept(edsr: SuperResolutionModel, tmp_path: Path) -> None:
    (tmp_path / "edsr" / "1").mkdir(parents=True)
    with pytest.raises(RequestError, match="exists already"):
        export_savedmodel(edsr, tmp_path / "edsr", 1)
    assert entries(tmp_path) == ["edsr", "edsr/1"]


def test_what_differs_after_reloading_is_not_kept(
    edsr: SuperResolutionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_what_is_compared(graphs: dict[str, Any], _: Any) -> dict[str, Any]:
        given = tf.TensorSpec(graphs[""].shape, tf.float32, "lr")
        graph = tf.function(graphs[""].arrays, input_signature=[given], autograph=False)
        return {"serving_default": graph.get_concrete_function()}

    monkeypatch.setattr(savedmodel, "trace_signatures", only_what_is_compared)
    monkeypatch.setattr(savedmodel, "enlarge", lambda _, pixels, *__, **___: pixels.repeat(2, 0).repeat(2, 1))
    with pytest.raises(ISRError, match="differs from the network"):
        export_savedmodel(edsr, tmp_path / "deep" / "edsr", options=SMALL)
    assert entries(tmp_path) == []


def test_a_cancelled_export_leaves_nothing(
    edsr: SuperResolutionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(isr.progress.Silent):
        cancelled = True

    monkeypatch.setattr(savedmodel, "trace_signatures", lambda *_: {})
    with pytest.raises(Cancelled):
        export_savedmodel(edsr, tmp_path / "edsr", options=SMALL, progress=Stop())
    assert entries(tmp_path) == []


def test_requests_that_cannot_be_met(
    edsr: SuperResolutionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RequestError, match="version -1"):
        export_savedmodel(edsr, tmp_path, -1)
    with pytest.raises(RequestError, match="max_pixels 0"):
        ExportOptions(max_pixels=0)
    with pytest.raises(RequestError, match="keeps nothing"):
        ExportOptions(tile=40, overlap=20)
    spoiled = randomise(Case(EDSR, TINY["EDSR"][0]).build())
    spoiled.variables[0].assign(spoiled.variables[0] * np.nan)
    with pytest.raises(RequestError, match="no numbers"):
        export_savedmodel(spoiled, tmp_path)
    monkeypatch.setattr(savedmodel.keras.backend, "backend", lambda: "jax")
    with pytest.raises(RequestError, match="KERAS_BACKEND=tensorflow"):
        export_savedmodel(edsr, tmp_path)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "options", [("--version", "1"), ("--max-pixels", "64000000"), ("--no-xla",), ("--tile", "64")]
)
def test_options_of_a_savedmodel_are_refused_elsewhere_whatever_their_value(
    options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--preset", "edsr_fast_x2", "--output", str(tmp_path / "m"), "--format", "onnx"]
    assert run([*command, *options]) == 2
    assert "are for a SavedModel" in capsys.readouterr().err
    assert entries(tmp_path) == []


def test_the_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert f"default: {ExportOptions().max_pixels // 10**6} million" in said and "default: 1." in said


def test_the_command(edsr: SuperResolutionModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edsr.save_preset(tmp_path / "preset")
    command = [
        "export",
        "--preset",
        str(tmp_path / "preset"),
        "--output",
        str(tmp_path / "m"),
        "--version",
        "7",
    ]
    assert run([*command, "--tile", "64"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "m" / "7")
    assert "reloaded, at most" in said.err
    about = json.loads((tmp_path / "m" / "7" / "assets.extra" / "isr.json").read_text())
    assert about["tile"] == 64 and about["overlap"] == OVERLAP
    assert run(command) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(["export", "--output", str(tmp_path / "n")]) == 2
    assert "--preset and --weights" in capsys.readouterr().err
