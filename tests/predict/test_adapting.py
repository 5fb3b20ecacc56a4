"""Adaptation from the command line to the file: planned, recorded, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import photograph
from PIL import Image
from upscalers import Repeat

from isr.adaptation.kernels import reduce
from isr.cli import app
from isr.data.degrade.blur import gaussian_kernel
from isr.errors import RequestError
from isr.models import EDSR
from isr.predict import PredictOptions, PredictRequest, plan
from isr.predict.jobs.picture import PictureJob
from isr.predict.request import job_from_json
from isr.predict.speeds import Speeds
from isr.runtimes.engines import ENGINES

LARGE = photograph(96, 112, 3)
BLUR = gaussian_kernel(12, (1.6, 1.6))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preset that interpolates, and a picture that is blurred more than it expects."""
    monkeypatch.chdir(tmp_path)
    model = EDSR(scale=2, num_features=8, num_blocks=1)
    model.start_as_interpolation()
    model.save_preset("own")
    small = np.clip(np.rint(reduce(LARGE.astype(np.float32), BLUR, 2)), 0, 255).astype(np.uint8)
    Image.fromarray(small).save("a.png")
    np.save("blur.npy", BLUR)
    return tmp_path


def planned(source: Any = "own", **options: Any) -> PictureJob:
    request = PredictRequest((Path("a.png"),), sources=(source,), options=PredictOptions(**options))
    (job,) = plan(request).jobs
    assert isinstance(job, PictureJob)
    return job


def error_of(path: str) -> float:
    made = np.asarray(Image.open(path)).astype(float)
    return float(np.square(made - LARGE)[8:-8, 8:-8].mean())


@pytest.mark.slow
def test_the_adapted_network_makes_the_file(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line = ["predict", "a.png", "--preset", "own", "--precision", "float32"]
    assert app.run([*line, "-o", "plain.png"]) == 0
    assert app.run([*line, "-o", "made.png", "--adapt", "3", "--kernel", "blur.npy"]) == 0
    said = capfd.readouterr().err
    assert "own: adapted to the picture: held-out crops have" in said
    assert error_of("made.png") < error_of("plain.png")
    # Finished, by the same picture, seconds and kernel; with others it is made again.
    again = [*line, "-o", "made.png", "--resume", "--dry-run"]
    assert app.run([*again, "--adapt", "3", "--kernel", "blur.npy"]) == 0
    assert "finished earlier" in capfd.readouterr().out
    for other in (["--adapt", "4", "--kernel", "blur.npy"], ["--adapt", "3"], []):
        assert app.run([*again, *other]) == 0
        assert "1 to make" in capfd.readouterr().out


@pytest.mark.parametrize(
    "engine", ["tensorflow", *(name for name in ("openvino", "ncnn") if ENGINES[name].installed)]
)
def test_engines_run_other_weights(engine: str) -> None:
    from isr.predict.source import Network

    other = EDSR(scale=2, num_features=8, num_blocks=1)
    network = Network("own", engine)
    batch = photograph(12, 14, 5)[np.newaxis].astype(np.float32) / 255
    found = network.open_adapted(other)(batch)
    np.testing.assert_allclose(found, np.asarray(other(batch)), atol=2e-5)
    assert np.abs(network.open()(batch) - found).max() > 1e-3


def test_a_record_tells_seconds_and_the_numbers_of_a_kernel() -> None:
    first = planned(adapt=5.0, kernel="blur.npy").record
    np.save("same.npy", 2 * BLUR)
    assert planned(adapt=5.0, kernel="same.npy").record == first
    np.save("blur.npy", BLUR[1:-1, 1:-1])
    assert planned(adapt=5.0, kernel="blur.npy").record != first
    assert planned(adapt=5.0).record["kernel"] == "estimate"
    assert "adapt" not in planned().record and "kernel" not in planned().record


def test_a_job_is_its_json() -> None:
    job = planned(adapt=5.0, kernel="blur.npy")
    assert job_from_json(json.loads(json.dumps(job.to_json()))) == job


def test_seconds_are_part_of_the_estimate() -> None:
    speeds = Speeds()
    speeds.add(planned().kind, 1.0, 2.0, keep=False)
    plain, adapted = (planned(**options).estimate(speeds).seconds for options in ({}, {"adapt": 50.0}))
    assert plain is not None and adapted == pytest.approx(plain + 50)


def test_what_is_too_small_is_made_without(capfd: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(LARGE[:9, :20]).save("b.png")
    assert app.run(["predict", "b.png", "--preset", "own", "--adapt", "1"]) == 0
    assert "own: not adapted: 20x9 pixels are too few" in capfd.readouterr().err
    assert Path("b_x2.png").is_file()


def test_what_is_not_enlarged_is_not_learned_from() -> None:
    assert planned(adapt=5.0, scale=1.0).adaptation is None


def test_in_a_row_the_first_learns() -> None:
    assert planned(adapt=5.0, scale=4.0).adaptation is not None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"adapt": 0.0}, "adapt 0: must be over 0"),
        ({"kernel": "bicubic"}, "kernel bicubic: is for pictures that a network adapts to: give --adapt"),
        ({"adapt": 5.0, "precision": "int8"}, "8 bits are found for the preset's own weights"),
        ({"adapt": 5.0, "precision": "fast"}, "leave out --fast"),
        ({"adapt": 5.0, "kernel": "a.png"}, "a.png: no kernel"),
        ({"adapt": 5.0, "kernel": "nowhere.npy"}, "nowhere.npy: no such file"),
    ],
)
def test_wishes_that_cannot_hold_are_refused(options: dict[str, Any], line: str) -> None:
    with pytest.raises(RequestError, match=line):
        planned(**options)


def test_what_cannot_learn_is_refused() -> None:
    for source, line in (
        ("bicubic", "is no network"),
        ("aplus_x2", "no network that could"),
        (Repeat(), "no network"),
    ):
        with pytest.raises(RequestError, match=line):
            planned(source, adapt=5.0)
    if ENGINES["onnxruntime"].installed:
        with pytest.raises(RequestError, match="own: onnxruntime converts networks and keeps them"):
            planned(adapt=5.0, engine="onnxruntime")


def test_clips_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    frames = [Image.fromarray(np.roll(LARGE, shift, 0)) for shift in range(3)]
    frames[0].save("clip.gif", save_all=True, append_images=frames[1:])
    assert app.run(["predict", "clip.gif", "--preset", "own", "--adapt", "5"]) == 2
    assert "clip.gif: is a clip; --adapt learns from single pictures" in capfd.readouterr().err
