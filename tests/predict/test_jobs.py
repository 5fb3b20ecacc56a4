"""Jobs as data: into a file and back, to another process, paused, stopped, measured."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from children import ROOT
from hypothesis import given
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image
from tiny_models import randomise
from upscalers import Lines, Repeat

from isr.errors import Cancelled, RequestError
from isr.io.clips import FrameReader
from isr.models import EDSR
from isr.predict import PredictOptions, PredictRequest, VideoOptions, plan
from isr.predict.jobs import clip
from isr.predict.jobs.job import Job
from isr.predict.networks import Networks
from isr.predict.predictor import run_plan
from isr.predict.report import MEASURED, Units, Watch, estimate, together
from isr.predict.request import job_from_json
from isr.predict.speeds import LARGEST, LATEST, Kind, Speeds
from isr.progress import Callback, Estimate, Phase, Silent, Terminal, check_cancelled

pytestmark = pytest.mark.usefixtures("keras_in_float32")


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets") / "tiny"
    randomise(EDSR(scale=2, num_features=8, num_blocks=1, pixel_range=1.0)).save_preset(folder)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder; segments are short, and so are cached speeds."""
    monkeypatch.setattr(clip, "SEGMENT", 4)
    monkeypatch.setenv("ISR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path


def save_picture(name: str = "a.png", height: int = 20, width: int = 28) -> Path:
    Image.fromarray(photograph(height, width, 0)).save(name)
    return Path(name)


def save_clip(name: str = "clip.mp4", count: int = 11, rate: int = 10) -> Path:
    large = photograph(16, 24 + count, seed=3)
    with av.open(name, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv444p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(large[:, index : index + 24]), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(name)


def jobs_of(*inputs: Path, source: Any, **options: Any) -> tuple[Job, ...]:
    return plan(PredictRequest(inputs, sources=(source,), options=PredictOptions(**options))).jobs


# ----------------------------------------------------------------------------------------------- jobs as data


def test_jobs_go_into_a_file_and_back(preset: Path) -> None:
    video = VideoOptions(start=0.2, duration=0.5, codec="ffv1", pixel_format="bgr0")
    inputs = (save_picture(), save_clip("clip.mkv"))
    jobs = jobs_of(*inputs, source=str(preset), crop=(2, 2, 10, 8), video=video, tile_overlap="exact")
    assert [job.KIND for job in jobs] == ["picture", "clip"]
    for job in jobs:
        text = json.dumps(job.to_json())
        for copy in (job_from_json(json.loads(text)), pickle.loads(pickle.dumps(job))):
            assert type(copy) is type(job)
            assert copy.to_json() == job.to_json()
            assert (copy.record, copy.units, copy.kind) == (job.record, job.units, job.kind)


def test_another_process_makes_the_same_file(preset: Path) -> None:
    inputs = (save_picture(), save_clip())
    jobs = jobs_of(*inputs, source=str(preset))
    Path("jobs.json").write_text(json.dumps([job.to_json() for job in jobs]))
    code = (
        "import json\n"
        "from pathlib import Path\n"
        "from isr.predict.networks import NETWORKS\n"
        "from isr.predict.request import job_from_json\n"
        "from isr.progress import Silent\n"
        "for content in json.loads(Path('jobs.json').read_text()):\n"
        "    outcome = job_from_json(content).run(NETWORKS, Silent())\n"
        "    print(outcome.status, outcome.error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**_environment(), "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines() == ["written ", "written "], done.stderr
    elsewhere = [job.target.read_bytes() for job in jobs]
    for job in jobs:
        job.target.unlink()
        assert job.run(Networks(), Silent()).status == "written"
    assert [job.target.read_bytes() for job in jobs] == elsewhere
    assert not jobs_of(*inputs, source=str(preset), resume=True)  # both are up to date


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_a_network_of_python_stays_in_its_process() -> None:
    (job,) = jobs_of(save_picture(), source=Repeat())
    for send in (job.to_json, lambda: pickle.dumps(job)):
        with pytest.raises(
            RequestError, match="repeat: a network given as an object runs in this process only"
        ):
            send()
    assert job.run(Networks(), Silent()).status == "written"


def test_weights_that_were_changed_since_are_no_surprise(tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    model = EDSR(scale=2, num_features=8, num_blocks=1)
    model.start_as_interpolation()
    model.save_preset(folder)
    (job,) = jobs_of(save_picture(), source=str(folder))
    randomise(model).save_preset(folder)
    outcome = job.run(Networks(), Silent())
    assert outcome.status == "failed" and "the weights were changed since" in outcome.error
    assert not job.target.exists()


@pytest.mark.parametrize("content", [None, {}, {"kind": "song"}, {"kind": "picture", "version": 99}])
def test_what_is_no_job_is_said(content: Any) -> None:
    with pytest.raises(RequestError, match="job"):
        job_from_json(content)
    (job,) = jobs_of(save_picture(), source="bicubic")
    with pytest.raises(RequestError, match="not a job, or a damaged one"):
        job_from_json({**job.to_json(), "job": {"source": "a.png"}})


def test_what_only_running_shows_is_an_outcome(preset: Path) -> None:
    path = save_picture()
    (job,) = jobs_of(path, source=str(preset))
    path.write_bytes(path.read_bytes()[:200])
    outcome = job.run(Networks(), Silent())
    assert (outcome.status, outcome.fatal) == ("failed", False) and outcome.error.startswith("a.png: ")
    assert json.loads(json.dumps(outcome.to_json()))["error"] == outcome.error


# ------------------------------------------------------------------------------------------ pauses and stops


class Reader(Lines):
    """A progress that a page could be: pauses, stops, keeps the estimates."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__(stop)
        self.paused = self.finishing = self.keeping = False
        self.estimates: list[tuple[Estimate, Estimate]] = []

    def estimated(self, job: Estimate, overall: Estimate) -> None:
        self.estimates.append((job, overall))


def test_work_waits_while_it_is_paused_and_goes_on() -> None:
    class Paused(Reader):
        def advance(self, amount: int = 1) -> None:
            super().advance(amount)
            if self.done == 5:
                self.paused = True
                threading.Timer(0.6, lambda: setattr(self, "paused", False)).start()

    upscaler, reader = Repeat(), Paused()
    request = PredictRequest((save_clip(),), sources=(upscaler,))
    began = time.monotonic()
    (outcome,) = run_plan(plan(request), reader)
    passed = time.monotonic() - began
    assert (outcome.status, len(upscaler.batches)) == ("written", 11)
    assert passed >= 0.6 and outcome.seconds <= passed - 0.5  # the pause is no work


def test_a_pause_ends_with_a_stop() -> None:
    reader = Reader()
    reader.paused = True
    threading.Timer(0.1, lambda: setattr(reader, "cancelled", True)).start()
    with pytest.raises(Cancelled):
        check_cancelled(reader)


def test_a_progress_of_before_pauses_still_serves() -> None:
    planned = plan(PredictRequest((save_picture(),), sources=(Repeat(),)))
    (outcome,) = run_plan(planned, Lines())
    assert outcome.status == "written"
    assert planned.jobs[0].run(Networks(), Lines()).status == "written"


def test_stopping_after_a_file_leaves_the_rest() -> None:
    for name in ("a.png", "b.png", "c.png"):
        save_picture(name)

    class After(Reader):
        def advance(self, amount: int = 1) -> None:
            super().advance(amount)
            self.finishing = self.done == 2

    made = []
    with pytest.raises(Cancelled, match="after this file"):
        request = PredictRequest((Path("a.png"), Path("b.png"), Path("c.png")), sources=(Repeat(),))
        for outcome in run_plan(plan(request), After()):
            made.append(outcome.target)
    assert made == [Path("a_x2.png"), Path("b_x2.png")]


@pytest.mark.parametrize("suffix", [".mkv", ".gif"])
def test_what_is_whole_of_a_clip_can_be_kept(suffix: str) -> None:
    source = save_clip(count=11)
    reader = Reader(stop=9)
    reader.keeping = True
    request = PredictRequest((source,), sources=(Repeat(),), options=PredictOptions(format=suffix[1:]))
    with pytest.raises(Cancelled):
        list(run_plan(plan(request), reader))
    kept = Path(f"clip_x2.part{suffix}")
    assert any(str(kept) in line and "the first 8 of 11 frames" in line for line in reader.lines)
    with FrameReader(kept) as frames:
        assert len(list(frames)) == 8
    upscaler = Repeat()
    (outcome,) = run_plan(plan(request), Reader())
    assert outcome.frames == 11 and not kept.exists() and not list(Path().glob(".clip*"))
    assert upscaler.batches == []


def test_nothing_is_kept_where_nothing_is_whole() -> None:
    reader = Reader(stop=2)
    reader.keeping = True
    with pytest.raises(Cancelled):
        list(run_plan(plan(PredictRequest((save_clip(),), sources=(Repeat(),))), reader))
    assert not list(Path().glob("clip_x2*"))


# -------------------------------------------------------------------------------------------------- estimates


@given(st.integers(1, 1000), st.floats(0.001, 100), st.floats(0.001, 100), st.data())
def test_an_estimate_is_in_proportion(count: int, megapixels: float, pace: float, data: Any) -> None:
    done = data.draw(st.integers(0, count))
    found = estimate(Units(count, "tiles", megapixels), done, pace)
    assert (found.done, found.left) == (done, count - done)
    assert found.seconds == pytest.approx(pace * megapixels * (count - done) / count)
    unknown = estimate(Units(count, "tiles", megapixels), done, None)
    assert unknown.seconds == (0.0 if done == count else None)


def test_estimates_add_up_where_all_are_known() -> None:
    assert together([Estimate(1, 2, 3.0), Estimate(4, 5, 6.0)]) == Estimate(5, 7, 9.0)
    assert together([Estimate(1, 2, 3.0), Estimate(4, 5)]) == Estimate(5, 7, None)
    assert together([]) == Estimate(0, 0, 0.0)


def test_a_pace_is_measured_without_the_first_unit_and_without_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    reader = Reader()
    watch = Watch(reader, Units(10, "tiles", 20.0))
    clock[0] += 2.0  # reading
    watch.start("upscale", 10, "tiles")
    clock[0] += 30.0  # the first unit, which builds the graph
    watch.advance()
    assert watch.pace is None and reader.estimates[-1][0] == Estimate(1, 9, None)
    for _ in range(MEASURED - 1):
        reader.paused = True
        assert watch.paused
        clock[0] += 1000.0
        reader.paused = False
        assert not watch.paused
        clock[0] += 3.0
        watch.advance()
    # Two units of two megapixels each in six seconds, and two seconds of reading.
    assert watch.pace == pytest.approx((6.0 + 2.0) / 4.0)
    assert reader.estimates[-1][0].seconds == pytest.approx(2.0 * 2.0 * 7)
    assert watch.seconds == pytest.approx(2.0 + 30.0 + 6.0)


def test_bars_end_where_they_were_planned_to() -> None:
    """Whatever the networks and the memory make of the number of tiles."""
    save_picture("a.png", 90, 90)
    save_clip(count=5)
    reader = Reader()
    request = PredictRequest(
        (Path("a.png"), Path("clip.mp4")),
        sources=(Repeat(),),
        options=PredictOptions(tile=40, tile_overlap=4),
    )
    list(run_plan(plan(request), reader))
    assert reader.starts == 1 and reader.done == reader.total == 9 + 5
    assert reader.estimates[-1][1].left == 0
    done = [overall.done for _, overall in reader.estimates]
    assert done == sorted(done)


def test_the_pace_of_one_file_tells_of_those_that_wait() -> None:
    for name in ("a.png", "b.png"):
        save_picture(name, 90, 90)
    reader = Reader()
    options = PredictOptions(tile=40, tile_overlap=4)
    list(
        run_plan(
            plan(PredictRequest((Path("a.png"), Path("b.png")), sources=(Repeat(),), options=options)), reader
        )
    )
    known = [overall for job, overall in reader.estimates if job.done == MEASURED]
    assert len(known) == 2 and known[0].left == 15 and known[0].seconds is not None


def test_a_callback_finds_the_estimates() -> None:
    seen: list[tuple[int, int]] = []
    callback = Callback(lambda what, done, total: seen.append((callback.overall.done, callback.overall.left)))
    list(run_plan(plan(PredictRequest((save_clip(count=3),), sources=(Repeat(),))), callback))
    assert seen == [(1, 2), (2, 1), (3, 0)]


def test_a_callback_finds_what_is_done_between_units(preset: Path) -> None:
    """A network is opened once for two files."""
    told: list[str] = []

    class Told(Callback):
        def doing(self, phase: Phase | None, of: str = "") -> None:
            super().doing(phase, of)
            told.append(self.phase)

    shutil.copytree(preset, "mine")
    callback = Told(lambda what, done, total: told.append(what))
    options = PredictOptions(engine="tensorflow")
    request = PredictRequest((save_picture(), save_clip(count=2)), sources=("mine",), options=options)
    list(run_plan(plan(request), callback))
    picture, clip = ["upscale", "writing a_x2.png", ""], ["upscale", "upscale", "joining segments", ""]
    assert told == ["opening mine", "", *picture, *clip]


def test_a_terminal_shows_it_in_place_of_what_is_counted() -> None:
    terminal = Terminal()
    terminal._drawn = True

    def shown() -> tuple[str, int | None]:
        (task,) = terminal._bars.tasks
        return task.description, task.total

    terminal.doing("opening", "edsr_fast_x2")
    assert shown() == ("opening edsr_fast_x2", None)
    terminal.doing(None)
    terminal.start("upscale", 9, "tiles")
    assert shown() == ("upscale", 9)
    terminal.doing("writing", "a_x2.png")
    assert shown() == ("writing a_x2.png", 9)
    terminal.doing(None)
    assert shown() == ("upscale", 9)
    terminal.close()


# ----------------------------------------------------------------------------------------------------- speeds

KIND = Kind("edsr", "openvino", "bfloat16", "CPU")


def test_speeds_are_those_of_the_latest_jobs(tmp_path: Path) -> None:
    path = tmp_path / "speeds.jsonl"
    assert Speeds(path).get(KIND) is None
    for number in range(LATEST + 5):
        Speeds(path).add(KIND, 2.0, float(number))
    Speeds(path).add(KIND._replace(engine="tensorflow"), 1.0, 7.0)
    latest = range(5, LATEST + 5)
    assert Speeds(path).get(KIND) == pytest.approx(sum(latest) / len(latest))
    assert Speeds(path).get(KIND._replace(engine="tensorflow")) == pytest.approx(7.0)


def test_speeds_of_a_gpu_are_found_before_its_name_is_known(tmp_path: Path) -> None:
    speeds = Speeds(tmp_path / "speeds.jsonl")
    speeds.add(KIND._replace(device="GPU 0 (NVIDIA H200)"), 1.0, 0.5)
    assert speeds.get(KIND._replace(device="GPU")) == pytest.approx(0.5)
    assert speeds.get(KIND) is None


def test_the_file_of_speeds_stays_small_and_survives_damage(tmp_path: Path) -> None:
    path = tmp_path / "speeds.jsonl"
    path.write_text("{\n[1]\n" + json.dumps([*KIND, 1.0, 3.0]) + "\n" + "x" * LARGEST)
    speeds = Speeds(path)
    assert speeds.get(KIND) == pytest.approx(3.0)
    speeds.add(KIND, 1.0, 5.0)
    assert path.stat().st_size < 1000 and Speeds(path).get(KIND) == pytest.approx(4.0)


def test_finished_jobs_tell_how_fast_they_were(preset: Path) -> None:
    source = save_clip()
    request = PredictRequest((source,), sources=(str(preset),), options=PredictOptions(overwrite=True))
    assert plan(request).estimate().seconds is None
    (outcome,) = run_plan(plan(request), Silent())
    seconds = plan(request).estimate().seconds
    assert seconds is not None and 0 < seconds < 10 * outcome.seconds
    (job,) = plan(request).jobs
    assert job.kind == Kind("tiny", "tensorflow", "float32", "CPU")
    described = plan(request).describe()
    assert described["seconds"] == seconds and described["jobs"][0]["units"] == {
        "count": 11,
        "name": "frames",
    }


def test_networks_of_python_leave_no_speeds() -> None:
    list(run_plan(plan(PredictRequest((save_clip(),), sources=(Repeat(),))), Silent()))
    assert not (Path("..") / "cache" / "speeds.jsonl").exists()


def test_resumed_frames_count_as_done_and_not_as_fast() -> None:
    source = save_clip()
    with pytest.raises(Cancelled):
        list(run_plan(plan(PredictRequest((source,), sources=(Repeat(),))), Reader(stop=9)))
    reader = Reader()
    list(run_plan(plan(PredictRequest((source,), sources=(Repeat(),))), reader))
    first, _ = reader.estimates[0]
    assert (first.done, first.left, first.seconds) == (8, 3, None)
    assert reader.done == reader.total == 11


def test_the_plan_of_a_job_needs_no_second_look(preset: Path) -> None:
    """What a job is asked for does not change with its network being open."""
    (job,) = jobs_of(save_picture("a.png", 90, 90), source=str(preset), tile=40)
    units = job.units
    job.run(Networks(), Silent())
    (again,) = jobs_of(Path("a.png"), source=str(preset), tile=40, overwrite=True)
    assert again.units == units and replace(again, notes=()).record == job.record
