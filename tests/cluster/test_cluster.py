"""Prediction on a Ray of this machine, with processes that end in the middle of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from children import run_python
from pictures import folder_of_photographs, photograph
from PIL import Image

from isr.cli import app
from isr.cluster.clips import Stage
from isr.cluster.connection import connected, warning
from isr.errors import Cancelled, MachineError
from isr.io import places
from isr.predict import PredictOptions, PredictRequest, plan
from isr.predict.jobs.job import Outcome
from isr.predict.stream import Maker, Settled, items_of
from isr.progress import Callback, Phase, Silent

NAMES = [f"{number:02}.png" for number in range(24)]
# Seconds after which a test of a Ray hangs: many times what it takes.
HANGS = 300


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


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Something in the place of Ray that notes what it is asked for: a cluster with 8 cores and 2 GPUs."""
    modules = ("ray", "ray.data", "ray._private", "ray._private.auto_init_hook")
    ray = MagicMock(__path__=[])
    for name in modules:
        found = ray
        for part in name.split(".")[1:]:
            found = getattr(found, part)
        monkeypatch.setitem(sys.modules, name, found)
    ray.is_initialized.return_value = False
    ray.init.return_value.dashboard_url = "10.0.0.7:8265"
    ray.nodes.return_value = [{"NodeManagerAddress": "10.0.0.7", "Alive": True}]
    ray.cluster_resources.return_value = {"CPU": 8.0, "GPU": 2.0}
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.7:6379")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    return ray


def test_a_cluster_is_told_and_left(stand_in: MagicMock) -> None:
    said: list[str] = []

    class Listener(Silent):
        def message(self, text: str) -> None:
            said.append(text)

    late = stand_in._private.auto_init_hook
    connects: list[bool] = []
    stand_in.shutdown.side_effect = lambda: connects.append(late.enable_auto_connect)
    with connected(Listener()) as ray:
        assert ray is stand_in and ray.init.call_args.args == ("10.0.0.7:6379",)
        ray.shutdown.assert_not_called()
    assert said[0] == "Ray's dashboard: http://10.0.0.7:8265" and "RAY_AUTH_MODE=token" in said[1]
    ray.shutdown.assert_called_once()
    # Else what Ray leaves behind would connect this process to any Ray that it finds, or start one.
    assert connects == [False]
    # One that is the user's own stays.
    ray.is_initialized.return_value = True
    with connected(Silent()):
        pass
    ray.shutdown.assert_called_once()


def test_each_gpu_has_one_process(stand_in: MagicMock) -> None:
    from isr.cluster.prediction import RETRIES, Work, _run

    work = Work("", None, None, False, 1)
    units = [(f"{number}.png", "{}") for number in range(24)]
    blocks = stand_in.data.from_items.return_value
    answers = [json.dumps(Outcome(name, name, "written").to_json()) for name, _ in units]
    made = {"number": np.arange(len(units)), "answer": np.array(answers)}
    blocks.map_batches.return_value.iter_batches.return_value = [made]
    done = list(_run(iter(units), len(units), [], work, Silent(), None, gpu=True))
    assert [str(outcome.source) for outcome in done] == [name for name, _ in units]
    asked = blocks.map_batches.call_args.kwargs
    assert asked["num_gpus"] == 1 and stand_in.data.ActorPoolStrategy.call_args.kwargs["size"] == 2
    assert asked["max_restarts"] == -1 and asked["max_task_retries"] == RETRIES
    with pytest.raises(MachineError, match="--workers 3: the cluster has room for 2"):
        list(_run(iter(units), len(units), [], work, Silent(), 3, gpu=True))


@pytest.fixture(scope="module")
def ray(store: str) -> Iterator[Any]:
    """A Ray of this machine, for all tests here; its processes speak to each other alone."""
    # Not imported before it is told how to run.
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    with connected(Silent()) as ray:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        yield ray
    # What Ray leaves behind makes calls after the end. They connect this process to no other Ray of the machine.
    with pytest.raises(ray.exceptions.RaySystemError):
        ray.put(0)
    assert not ray.is_initialized()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder_of_photographs(Path("photos"), len(NAMES), 24, 32, digits=2)
    return tmp_path


def request(preset: str) -> PredictRequest:
    return PredictRequest((Path("photos"),), "out", (preset,), PredictOptions(resume=True))


def test_a_cluster_in_a_process_of_its_own() -> None:
    """What is marked slow below and always runs: in one process, as the command does, on one Ray."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    chosen = (
        test_processes_that_end_lose_nothing_and_take_nothing_with_them,
        test_a_bucket_is_made_by_the_command,
        test_a_run_tells_how_far_it_is_and_is_stopped,
    )
    names = [f"tests/cluster/test_cluster.py::{test.__name__}" for test in chosen]
    # One that hangs ends, and says where.
    limits = ("-o", f"faulthandler_timeout={HANGS}", "-o", "faulthandler_exit_on_timeout=true")
    words = ("-q", "-n", "0", "-p", "no:cacheprovider", *limits)
    report = run_python("-m", "pytest", *names, *words, timeout=len(chosen) * HANGS)
    assert re.search(rf"\b{len(chosen)} passed", report), report[-2000:]


@pytest.mark.slow
def test_processes_that_end_lose_nothing_and_take_nothing_with_them(
    ray: Any, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
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
        # With none, a block that is given to a process which is just starting again is lost, too.
        patch.setattr(prediction, "RETRIES", 1)
        arguments = ["photos", "-o", "out", "--preset", "aplus_x2", "--resume", "--json", "--quiet"]
        assert app.run(["predict", *arguments, "--cluster", "ray", "--workers", "2"]) == 1
    done = json.loads(capsys.readouterr().out)
    assert sorted(Path(one["source"]).name for one in done) == NAMES
    failed = [one for one in done if one["status"] == "failed"]
    assert [Path(one["source"]).name for one in failed] == ["05.png"]
    assert failed[0]["error"].startswith(str(Path("photos/05.png"))) and "process ended" in failed[0]["error"]
    # What an actor had finished is found by its records, and not made again.
    written = [line for line in Path("made.txt").read_text().splitlines() if line.endswith("written")]
    assert sorted(written) == [f"{name} written" for name in NAMES if name != "05.png"]
    assert app.run(["predict", "photos", "-o", "alone", "--preset", "aplus_x2", "--quiet"]) == 0
    for name in set(NAMES) - {"05.png"}:
        assert Path("out", name).read_bytes() == Path("alone", name).read_bytes()
    assert not list(Path("out").glob(".*.png"))
    planned = plan(request("aplus_x2"))
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


@pytest.mark.slow
def test_a_run_tells_how_far_it_is_and_is_stopped(ray: Any, here: Path) -> None:
    from isr.cluster.prediction import BLOCK, run_plan_on_ray

    phases: list[str] = []

    class Watched(Callback):
        def doing(self, phase: Phase | None, of: str = "") -> None:
            super().doing(phase, of)
            phases.append(self.phase)

    progress = Watched(lambda what, done, total: done < BLOCK)
    with pytest.raises(Cancelled):
        list(run_plan_on_ray(plan(request("bicubic")), progress, workers=1))
    assert phases[0] == "opening networks in 1 processes" and phases[-1] == ""
    assert (progress.what, progress.done, progress.total) == ("upscale", BLOCK, len(NAMES))
    assert (progress.overall.done, progress.overall.left) == (BLOCK, len(NAMES) - BLOCK)
    assert progress.overall.seconds > 0
    for path in Path("out").glob("[!.]*.png"):
        with Image.open(path) as picture:
            picture.load()


@pytest.mark.slow
def test_a_run_that_is_stopped_leaves_a_ray_of_the_users_idle(
    ray: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No picture is begun after the one at work, and the cores are free again."""
    from isr.cluster import prediction

    class Slow(prediction.Upscale):
        def make(self, unit: str) -> Outcome:
            number = NAMES.index(Path(json.loads(unit)["job"]["source"]).name)
            # The second waits until the run is stopped, each later one until its process ends.
            end = time.monotonic() + HANGS
            while number and not (number == 1 and Path("stopped").exists()) and time.monotonic() < end:
                time.sleep(0.02)
            return super().make(unit)

    monkeypatch.setattr(prediction, "Upscale", Slow)
    monkeypatch.setattr(prediction, "BLOCK", 1)
    cores = ray.available_resources()["CPU"]
    with pytest.raises(Cancelled):
        progress = Callback(lambda what, done, total: done < 1)
        list(prediction.run_plan_on_ray(plan(request("bicubic")), progress, workers=1))
    assert ray.is_initialized()
    Path("stopped").touch()
    end = time.monotonic() + HANGS / 3
    while ray.available_resources().get("CPU") != cores:
        assert time.monotonic() < end, "its process lives on"
        time.sleep(0.1)
    assert sorted(path.name for path in Path("out").glob("[!.]*.png")) in (NAMES[:1], NAMES[:2])


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

    def away(path: Path) -> None:
        raise OSError("away")

    one, other = Stage(here / "stage"), Stage(here / "stage")
    first = one.file("a", "film.mp4", fetch)
    assert other.file("a", "film.mp4", fetch) == first and len(fetched) == 1
    # What another process holds stays; what nobody holds goes with the next clip.
    assert one.file("b", "film.mp4", fetch) != first and first.read_text() == "a film"
    second = other.file("b", "film.mp4", fetch)
    assert len(fetched) == 2 and not first.exists()
    # One that fails keeps nobody waiting, itself neither.
    for stage in (one, other):
        with pytest.raises(OSError, match="away"):
            stage.file("c", "film.mp4", away)
    second = one.file("b", "film.mp4", fetch)
    assert other.file("b", "film.mp4", fetch) == second and len(fetched) == 3
    one.leave()
    assert not other.clear() and second.exists()
    other.leave()
    assert one.clear() and not second.exists()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes stay on no cores here")
def test_processes_stay_on_cores_of_their_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isr.cluster.prediction import pinned

    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(here))
    all_cores = os.sched_getaffinity(0)
    try:
        held, taken = [], []
        for _ in all_cores:
            held.append(pinned(1))
            taken.append(os.sched_getaffinity(0))
            os.sched_setaffinity(0, all_cores)
        assert {len(cores) for cores in taken} == {1} and set().union(*taken) == all_cores
        # None is left for another one, until one lets go.
        assert not pinned(1) and os.sched_getaffinity(0) == all_cores
        for file in held.pop():
            file.close()
        assert pinned(1) and os.sched_getaffinity(0) == taken[-1]
    finally:
        os.sched_setaffinity(0, all_cores)


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
