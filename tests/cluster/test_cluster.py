"""Prediction on a Ray of this machine, with processes that end in the middle of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import run_python
from pictures import photograph
from PIL import Image

from isr.cli import app
from isr.cluster.clips import Stage
from isr.cluster.connection import warning
from isr.errors import Cancelled
from isr.io import places
from isr.predict import PredictOptions, PredictRequest, plan
from isr.predict.jobs.job import Outcome
from isr.predict.stream import Maker, Settled, items_of
from isr.progress import Callback, Silent

NAMES = [f"{number:02}.png" for number in range(24)]


@pytest.mark.parametrize(
    ("machines", "mode", "warned"),
    [
        ([], "", False),
        (["127.0.0.1"], "", False),
        (["::1", "127.0.0.2"], "", False),
        (["127.0.0.1", "10.0.0.7"], "", True),
        (["fd00::7"], "", True),
        (["10.0.0.7"], "token", False),
    ],
)
def test_a_ray_that_anyone_may_use_is_told(machines: list[str], mode: str, warned: bool) -> None:
    assert bool(warning(machines, mode)) == warned


@pytest.mark.parametrize(
    "arguments", [["--cluster", "dask"], ["--workers", "2"], ["--cluster", "ray", "--workers", "0"]]
)
def test_what_is_no_cluster_is_said(arguments: list[str]) -> None:
    assert app.run(["predict", "a.png", *arguments]) == 2


@pytest.fixture(scope="module")
def ray(store: str) -> Iterator[Any]:
    """A Ray of this machine, for all tests here; its processes speak to each other alone."""
    # Not imported before it is told how to run.
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    from isr.cluster.connection import connected

    with connected(Silent()) as ray:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        yield ray


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for seed, name in enumerate(NAMES):
        Image.fromarray(photograph(24, 32, seed)).save(f"photos/{name}")
    return tmp_path


def request(preset: str) -> PredictRequest:
    return PredictRequest((Path("photos"),), "out", (preset,), PredictOptions(resume=True))


# A process that was connected to a Ray was seen to end later, in the middle of another file's tests. So what is marked
# slow below runs in a process of its own.
def test_a_cluster_in_a_process_of_its_own() -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    chosen = ("-m", "slow", "-k", "bicubic or bucket_is_made", "-p", "no:cacheprovider")
    report = run_python("-m", "pytest", "tests/cluster/test_cluster.py", "-q", "-n", "0", *chosen)
    assert re.search(r"\b2 passed", report), report[-2000:]


# Processes with a network import Keras, seven times.
@pytest.mark.slow
@pytest.mark.parametrize("preset", ["bicubic", "aplus_x2"])
def test_processes_that_end_lose_nothing_and_take_nothing_with_them(
    preset: str, ray: Any, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One is killed once, behind a picture; one picture ends each process that reads it."""
    from isr.cluster import prediction

    # In a function, so that actors get the class itself and not its name.
    class Mortal(prediction.Upscale):
        def make(self, unit: str) -> Outcome:
            name = Path(json.loads(unit)["job"]["source"]).name
            if name == "05.png":
                os.kill(os.getpid(), signal.SIGKILL)
            outcome = super().make(unit)
            with Path("made.txt").open("a") as file:
                file.write(f"{name} {outcome.status}\n")
            if name == "18.png" and outcome.status == "written":
                os.kill(os.getpid(), signal.SIGKILL)
            return outcome

    with monkeypatch.context() as patch:
        patch.setattr(prediction, "Upscale", Mortal)
        patch.setattr(prediction, "RETRIES", 0)
        arguments = ["photos", "-o", "out", "--preset", preset, "--resume", "--json", "--quiet"]
        assert app.run(["predict", *arguments, "--cluster", "ray", "--workers", "2"]) == 1
    done = json.loads(capsys.readouterr().out)
    assert sorted(Path(one["source"]).name for one in done) == NAMES
    failed = [one for one in done if one["status"] == "failed"]
    assert [Path(one["source"]).name for one in failed] == ["05.png"]
    assert failed[0]["error"].startswith(str(Path("photos/05.png"))) and "process ended" in failed[0]["error"]
    # What an actor had finished is found by its records, and not made again.
    written = [line for line in Path("made.txt").read_text().splitlines() if line.endswith("written")]
    assert sorted(written) == [f"{name} written" for name in NAMES if name != "05.png"]
    assert app.run(["predict", "photos", "-o", "alone", "--preset", preset, "--quiet"]) == 0
    for name in set(NAMES) - {"05.png"}:
        assert Path("out", name).read_bytes() == Path("alone", name).read_bytes()
    assert not list(Path("out").glob(".*.png"))
    planned = plan(request(preset))
    assert [job.source.name for job in planned.jobs] == ["05.png"] and len(planned.finished) == 23
    Path("photos/05.png").unlink()
    capsys.readouterr()
    assert app.run(["predict", *arguments, "--cluster", "ray", "--workers", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told) == 23 and {one["status"] for one in told} == {"skipped"}


@pytest.mark.slow
def test_a_bucket_is_made_by_the_command(
    ray: Any, store: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES[:3]:
        places.put(Path("photos", name), f"{store}/cluster/{name}")
    lines = [f"{store}/cluster/{name}" for name in (*NAMES[:3], "missing.png")]
    Path("list.txt").write_text("\n".join(lines))
    arguments = ["predict", "@list.txt", "-o", f"{store}/made", "--preset", "bicubic", "--resume", "--quiet"]
    assert app.run([*arguments, "--cluster", "ray", "--workers", "1"]) == 1
    said = capsys.readouterr()
    assert sorted(said.out.split()) == [f"{store}/made/cluster/{name}" for name in NAMES[:3]]
    assert "missing.png: no such object" in said.err and "1 of 4" in said.err
    # Another process, of no cluster, trusts what the actors noted.
    assert app.run([*arguments, "--json"]) == 1
    statuses = [one["status"] for one in json.loads(capsys.readouterr().out)]
    assert statuses == ["skipped", "skipped", "skipped", "failed"]
    assert app.run(["predict", "photos", "-o", "alone", "--preset", "bicubic", "--quiet"]) == 0
    for name in NAMES[:3]:
        places.fetch(f"{store}/made/cluster/{name}", Path("back.png"))
        assert Path("back.png").read_bytes() == Path("alone", name).read_bytes()

    from isr.cluster.prediction import run_plan_on_ray

    progress = Callback(print)
    progress.cancelled = True
    with pytest.raises(Cancelled):
        list(run_plan_on_ray(plan(request("bicubic")), progress, workers=1))
    assert progress.phase == "opening networks in 1 processes"


def film(path: str, count: int) -> Path:
    """A clip of a picture that moves, with scenes of 35 frames."""
    import av

    large = [photograph(16, 24 + count, seed) for seed in range(2)]
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv444p"
        for index in range(count):
            pixels = np.ascontiguousarray(large[index // 35 % 2][:, index : index + 24])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return Path(path)


@pytest.mark.slow
def test_a_clip_over_two_processes_of_which_one_ends(
    ray: Any, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from isr.cluster import clips, prediction
    from isr.predict.jobs.job import Job

    class Mortal(prediction.Upscale):
        def run(self, job: Job, run: range | None) -> Outcome:
            first = not Path("ended.txt").exists()
            with Path("runs.txt").open("a") as file:
                file.write(f"{run} {os.getpid()}\n")
            if run == range(1, 2) and first:
                Path("ended.txt").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().run(job, run)

    film("film.mp4", 200)
    arguments = ["film.mp4", "--preset", "tdan_small_x4", "--scale", "4", "--scene-cut", "0.08", "--quiet"]
    assert app.run(["predict", *arguments, "-o", "alone.mp4"]) == 0
    monkeypatch.setattr(clips, "RUN", 1)
    monkeypatch.setattr(prediction, "Upscale", Mortal)
    capsys.readouterr()
    command = ["predict", *arguments, "-o", "film_x4.mp4", "--cluster", "ray", "--workers", "2", "--json"]
    assert app.run(command) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["status"] == "written" and told["frames"] == 200
    assert Path("film_x4.mp4").read_bytes() == Path("alone.mp4").read_bytes()
    assert not list(Path().glob(".film*"))
    # Four segments; the one whose process ended is made by another.
    runs = [line.rsplit(" ", 1) for line in Path("runs.txt").read_text().splitlines()]
    assert sorted(run for run, _ in runs) == sorted(
        str(range(number, number + 1)) for number in (0, 1, 1, 2, 3)
    )
    assert len({process for _, process in runs}) >= 2
    assert app.run([*command, "--resume"]) == 0
    assert [one["status"] for one in json.loads(capsys.readouterr().out)] == ["skipped"]


@pytest.mark.slow
def test_a_clip_of_a_bucket_in_runs(
    ray: Any, store: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched once, made in two runs, joined, put; nothing else stays anywhere."""
    places.put(film("film.mp4", 700), f"{store}/films/film.mp4")
    places.put(film("short.mp4", 20), f"{store}/films/short.mp4")
    command = [
        "predict",
        f"{store}/films",
        "-o",
        f"{store}/larger",
        "--preset",
        "bicubic",
        "--quiet",
        "--json",
    ]
    capsys.readouterr()
    for status in ("written", "skipped"):
        assert app.run([*command, "--resume", "--cluster", "ray", "--workers", "2"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert {one["source"]: one["status"] for one in told} == {
            f"{store}/films/{name}.mp4": status for name in ("film", "short")
        }
    bucket = places._filesystem("s3").find(f"{store}/larger")
    assert sorted(bucket) == ["pictures/larger/film.mp4", "pictures/larger/short.mp4"]
    for name in ("film.mp4", "short.mp4"):
        assert app.run(["predict", name, "-o", f"alone/{name}", "--preset", "bicubic", "--quiet"]) == 0
        places.fetch(f"{store}/larger/{name}", Path("back.mp4"))
        assert Path("back.mp4").read_bytes() == Path("alone", name).read_bytes()
    left = Path(tempfile.gettempdir(), f"isr-clips-{os.getuid()}")
    assert not [path for path in left.glob("*") if path.is_dir()]


def test_a_machine_fetches_a_clip_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []

    def fetch(path: Path) -> None:
        fetched.append(path)
        path.write_text("a film")

    one, other = Stage(here / "stage"), Stage(here / "stage")
    first = one.file("a", "film.mp4", fetch)
    assert other.file("a", "film.mp4", fetch) == first and len(fetched) == 1
    # What another process holds stays; what nobody holds goes with the next clip.
    assert one.file("b", "film.mp4", fetch) != first and first.read_text() == "a film"
    second = other.file("b", "film.mp4", fetch)
    assert len(fetched) == 2 and not first.exists()
    one.leave()
    assert not other.clear() and second.exists()
    other.leave()
    assert one.clear() and not second.exists()


def test_a_machine_that_computes_otherwise_refuses(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mixed cluster makes the same results or none."""
    from isr.cluster.prediction import lacking, obeyed
    from isr.runtimes import devices

    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    asked = PredictRequest(
        (Path("photos/00.png"),), "out", ("edsr_fast_x2",), PredictOptions(precision="bfloat16")
    )
    (job,) = plan(asked).jobs
    assert lacking(job) == "" and not obeyed(job).networks[0].automatic
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: False)
    assert "give --precision float32" in lacking(job)
    assert not lacking(replace(job, networks=()))
    Path("list.txt").write_text("photos/00.png")
    listed = PredictRequest(("@list.txt",), "out", ("edsr_fast_x2",))
    choice = ("openvino", "bfloat16")
    maker = Maker(listed, Settled(choice, choice))
    outcome = maker.make(next(items_of(listed)), Silent())
    assert outcome.status == "failed" and "give --precision float32" in outcome.error
