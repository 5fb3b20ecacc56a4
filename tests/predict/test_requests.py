"""Requests and plans as data: the command they are, and what is refused before any work."""

from __future__ import annotations

import inspect
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image
from upscalers import Repeat

from isr.cli import app
from isr.cli import predict as command_line
from isr.errors import RequestError
from isr.io.clips import WRITABLE_SUFFIXES
from isr.io.pictures import WRITABLE
from isr.predict import PredictOptions, PredictRequest, VideoOptions, plan, source, upscale
from isr.predict.command import OPTIONS, value_of
from isr.predict.tiling import MOST_ROUNDS, SMALLEST_TILE
from isr.runtimes import devices
from isr.runtimes.engines import BACKENDS, ENGINES
from isr.tiles import tiles

SIDES = st.integers(1, 99_999)
# Without what no file may be called; beginning with a dash, and with what shells take apart, on purpose.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12
).map(lambda name: f"-{name}" if len(name) % 3 == 0 else name)
PATHS = NAMES.map(Path)
ADDRESSES = st.sampled_from(["s3://bucket/a b", "gs://bucket", "az://container/a/b.png"])


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=True, allow_nan=False).map(float)


VIDEO = st.builds(
    VideoOptions,
    codec=st.none() | st.sampled_from(["h264", "ffv1"]),
    crf=st.none() | numbers(-1, 60),
    pixel_format=st.none() | st.just("yuv444p"),
    start=st.none() | st.just(0.0) | numbers(0, 1e6),
    duration=st.none() | numbers(0, 1e6),
    scene_cut=st.none() | numbers(0, 1),
)
OPTION_VALUES = st.fixed_dictionaries(
    {
        "tile": st.none() | st.integers(SMALLEST_TILE + 100, 5000),
        "tile_overlap": st.none() | st.just("exact") | st.integers(0, 60),
        "batch": st.integers(1, 64),
        "self_ensemble": st.booleans(),
        "back_projection": st.integers(0, MOST_ROUNDS),
        "denoise": st.none() | st.just("auto") | st.just(0.0) | numbers(0, 1),
        "texture": st.none() | st.just(0.0) | numbers(0, 1),
        "precision": st.sampled_from(["auto", "fast", "float32", "bfloat16", "int8"]),
        "engine": st.sampled_from(["auto", *BACKENDS, *ENGINES]),
        "device": st.sampled_from([None, "cpu"]),
        "adapt": st.none() | numbers(0, 1e4),
        "kernel": st.none() | st.sampled_from(["estimate", "bicubic"]) | NAMES,
        "format": st.none() | st.sampled_from(sorted(s[1:] for s in WRITABLE | WRITABLE_SUFFIXES)),
        "name": st.none() | st.sampled_from(["{stem}", "-{stem} x{scale}", "{model}_{width}x{height}{stem}"]),
        "quality": st.integers(1, 100),
        "strip_metadata": st.booleans(),
        "overwrite": st.booleans(),
        "resume": st.booleans(),
        "max_pixels": st.integers(1, 10**12),
        "crop": st.none() | st.tuples(st.integers(0, 999_999), st.integers(0, 999_999), SIDES, SIDES),
        "video": VIDEO,
    }
).map(
    lambda values: (
        # What excludes each other.
        {**values, "kernel": None}
        if values["adapt"] is None
        else {**values, "precision": values["precision"].replace("int8", "auto").replace("fast", "auto")}
    )
)
SIZES = st.one_of(
    st.just({}),
    numbers(0, 4096).map(lambda scale: {"scale": scale}),
    st.tuples(st.none() | SIDES, st.none() | SIDES).filter(any).map(lambda size: {"size": size}),
)
PRESETS = NAMES.filter(lambda name: "://" not in name and Path(name).suffix != ".keras")
SOURCES = st.one_of(
    st.just(()),
    st.lists(PRESETS, min_size=1, max_size=3).map(tuple),
    NAMES.map(lambda name: (f"{name}.keras",)),
    st.just(("grpc://host:8500/edsr",)),
)
REQUESTS = st.builds(
    lambda inputs, output, sources, options, size, shard: PredictRequest(
        tuple(inputs), output, sources, PredictOptions(**options, **size), shard
    ),
    st.lists(PATHS | ADDRESSES | ADDRESSES.map(lambda place: f"@{place}"), min_size=1, max_size=3),
    st.none() | PATHS | ADDRESSES,
    SOURCES,
    OPTION_VALUES,
    SIZES,
    st.none() | st.tuples(st.integers(0, 9), st.integers(10, 10**6)),
)
MANY = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def parsed(arguments: list[str]) -> PredictRequest:
    """The request of a command line, as the command line itself makes it."""
    found: list[PredictRequest] = []

    def keep(request: PredictRequest) -> Any:
        found.append(request)
        raise RequestError("only parsed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isr.predict.request.plan", keep)
        patch.setattr("isr.predict.stream.run_stream", lambda request, progress: keep(request))
        assert app.run(["predict", *arguments]) == 2
    return found[0]


@given(REQUESTS)
@MANY
def test_a_request_is_its_command_line(request: PredictRequest) -> None:
    assert parsed(request.arguments()) == request


@given(REQUESTS)
@MANY
def test_a_request_is_its_json(request: PredictRequest) -> None:
    assert PredictRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


@given(REQUESTS)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_line_is_taken_apart_by_a_shell(request: PredictRequest) -> None:
    assert shlex.split(request.command(windows=False)) == ["isr", "predict", *request.arguments()]
    assert request.command(windows=True) == subprocess.list2cmdline(["isr", "predict", *request.arguments()])


def test_every_field_has_an_option_and_every_option_a_field() -> None:
    request = PredictRequest(inputs=())
    said = {option.field for option in OPTIONS}
    assert all(value_of(request, field) is value_of(request, field) for field in said)
    own = {field.name for field in fields(PredictRequest)} - {"inputs", "options"}
    options = {f"options.{field.name}" for field in fields(PredictOptions)} - {"options.video"}
    video = {f"options.video.{field.name}" for field in fields(VideoOptions)}
    assert said == own | options | video


def test_paths_with_a_dash_follow_two_dashes() -> None:
    request = PredictRequest((Path("-a b.png"),), Path("-out"), options=PredictOptions(scale=2.5))
    assert request.command(windows=False) == "isr predict --scale 2.5 --output -out -- '-a b.png'"
    assert parsed(request.arguments()) == request


def test_a_network_of_python_has_no_command_and_no_file() -> None:
    request = PredictRequest((Path("a.png"),), sources=(Repeat(),))
    for spell in (request.command, request.arguments, request.to_json):
        with pytest.raises(RequestError, match="Repeat given as an object runs in this process only"):
            spell()


@pytest.mark.parametrize("content", [None, {}, {"version": 7}, {"version": 1, "request": {"inputs": 3}}])
def test_what_is_no_request_is_said(content: Any) -> None:
    with pytest.raises(RequestError, match="request"):
        PredictRequest.from_json(content)


@pytest.mark.parametrize(("name", "key"), [(option.name, option.key) for option in OPTIONS])
def test_every_option_is_in_the_help_in_a_panel(name: str, key: str) -> None:
    assert command_line.predict.__signature__.parameters[key]  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------ plans


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def save(name: str, height: int = 20, width: int = 28) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(height, width, 0)).save(path)
    return path


def test_a_plan_holds_jobs_finished_and_unreadable(here: Path) -> None:
    for name in ("photos/a.png", "photos/b.png"):
        save(name)
    Path("photos/broken.png").write_text("no picture")
    request = PredictRequest((Path("photos"),), sources=("bicubic",), options=PredictOptions(resume=True))
    planned = plan(request)
    assert [job.target.as_posix() for job in planned.jobs] == ["photos_x2/a.png", "photos_x2/b.png"]
    assert [path.as_posix() for path, _ in planned.unreadable] == ["photos/broken.png"]
    assert planned.unreadable[0][1].startswith(str(Path("photos/broken.png")))
    assert not Path("photos_x2").exists()
    assert app.run(["predict", *request.arguments(), "--quiet"]) == 1
    planned = plan(request)
    assert (len(planned.jobs), len(planned.finished)) == (0, 2)


def test_records_hold_engine_and_precision(here: Path) -> None:
    """A result of another engine, or of another precision, is not up to date."""
    save("a.png")
    options = PredictOptions(resume=True, engine="tensorflow", precision="float32")
    first = plan(PredictRequest((Path("a.png"),), sources=("edsr_fast_x2",), options=options)).jobs[0]
    assert (first.record["engine"], first.record["precision"]) == ("tensorflow", "float32")
    if ENGINES["openvino"].installed:
        other = replace(options, engine="openvino")
        second = plan(PredictRequest((Path("a.png"),), sources=("edsr_fast_x2",), options=other)).jobs[0]
        assert second.record == {**first.record, "engine": "openvino"}


def test_what_failed_earlier_is_planned_otherwise(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the record says what will compute it, also where the engine that was taken by itself cannot."""
    monkeypatch.setenv("ISR_CACHE", str(here / "cache"))
    monkeypatch.setattr(source, "candidates", lambda: ["openvino"])
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    monkeypatch.setattr(source.Network, "_is_built", False)  # else nothing is converted
    save("a.png")
    network = source.Network("edsr_fast_x2", "auto")

    def planned() -> tuple[str, str, tuple[str, ...]]:
        (job,) = plan(PredictRequest((Path("a.png"),), sources=("edsr_fast_x2",))).jobs
        return job.engine, job.precision, job.notes

    assert planned() == ("openvino", "bfloat16", ())
    lines: tuple[str, ...] = ()
    for precision, engine in (("bfloat16", "openvino"), ("float32", "tensorflow")):
        failure = network._kept(precision)[1]
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text("edsr_fast_x2: cannot be taken")
        line = f"edsr_fast_x2: cannot be taken; computed by {engine} in float32 instead of openvino in {precision}"
        lines = (*lines, line)
        assert planned() == (engine, "float32", lines)


def test_units_are_those_of_the_network_without_opening_it(here: Path) -> None:
    """EDSR's reach is known from its arguments, and with it the tiles of an exact overlap."""
    save("a.png", 200, 300)
    options = PredictOptions(tile=128, tile_overlap="exact")
    (job,) = plan(PredictRequest((Path("a.png"),), sources=("edsr_fast_x2",), options=options)).jobs
    reach = job.networks[0].spec.receptive_radius
    assert reach is not None and reach > 12
    assert job.units.count == len(list(tiles(200, 300, 128, reach, 1)))


def test_arrays_take_the_first_options_as_keywords() -> None:
    names = [field.name for field in fields(PredictOptions)]
    assert set(names[: names.index("engine") + 1]) <= set(inspect.signature(upscale).parameters)


def test_several_presets_make_results_beside_each_other(here: Path) -> None:
    save("a.png")
    save("photos/b.png")
    sources = ("edsr_baseline_x3", "bicubic")
    planned = plan(PredictRequest((Path("a.png"), Path("photos")), sources=sources))
    assert [job.target.as_posix() for job in planned.jobs] == [
        "a_x3_edsr_baseline_x3.png",
        "photos_x3/b_edsr_baseline_x3.png",
        "a_x3_bicubic.png",
        "photos_x3/b_bicubic.png",
    ]
    assert {job.route.size for job in planned.jobs} == {(60, 84)}
    with pytest.raises(RequestError, match="names one file"):
        plan(PredictRequest((Path("a.png"),), Path("out.png"), sources))


def test_bicubic_is_plain_interpolation(here: Path) -> None:
    from isr.imresize import imresize
    from isr.levels import from_float, to_float

    save("a.png")
    assert app.run(["predict", "a.png", "--preset", "bicubic", "--scale", "2.5", "--quiet"]) == 0
    expected = from_float(imresize(to_float(photograph(20, 28, 0)), size=(50, 70)), np.dtype(np.uint8))
    assert np.array_equal(np.asarray(Image.open("a_x2.5.png")), expected)


def test_a_part_of_a_picture(here: Path) -> None:
    from isr.predict.predictor import predict_files
    from isr.progress import Silent

    save("photos/a.png")
    save("photos/small.png", 6, 6)
    options = PredictOptions(crop=(3, 2, 10, 8), scale=2)
    outcomes = list(predict_files([Path("photos")], None, Repeat(), options, Silent()))
    written, failed = sorted(outcomes, key=lambda outcome: outcome.source)
    assert (written.size_in, written.size_out) == ((10, 8), (20, 16))
    expected = photograph(20, 28, 0)[2:10, 3:13].repeat(2, 0).repeat(2, 1)
    assert np.array_equal(np.asarray(Image.open("photos_x2/a.png")), expected)
    assert "crop 10x8+3+2 reaches beyond the picture of 6x6" in failed.error
    resumed = replace(options, resume=True)
    again = list(predict_files([Path("photos/a.png")], Path("photos_x2"), Repeat(), resumed, Silent()))
    assert again[0].target == Path("photos_x2/a_x2.png")
    with pytest.raises(RequestError, match="reaches beyond the picture"):
        plan(PredictRequest((Path("photos/small.png"),), sources=("bicubic",), options=options))


def test_planning_imports_no_keras(here: Path) -> None:
    save("a.png")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from isr.predict import PredictRequest, plan\n"
        "planned = plan(PredictRequest((Path('a.png'),)))\n"
        "planned.describe(), [job.to_json() for job in planned.jobs]\n"
        "print([name for name in ('keras', 'tensorflow', 'jax') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_pattern_names_results_in_trees_and_of_several_presets(here: Path) -> None:
    save("photos/sea/b.png")
    options = PredictOptions(name="{stem}-{model}")
    planned = plan(
        PredictRequest((Path("photos"),), sources=("edsr_baseline_x3", "bicubic"), options=options)
    )
    assert [job.target.as_posix() for job in planned.jobs] == [
        "photos_x3/sea/b-edsr_baseline_x3.png",
        "photos_x3/sea/b-bicubic.png",
    ]
    with pytest.raises(RequestError, match="would be written there"):
        plan(
            PredictRequest(
                (Path("photos"),), sources=("edsr_fast_x2", "bicubic"), options=PredictOptions(name="{stem}")
            )
        )
