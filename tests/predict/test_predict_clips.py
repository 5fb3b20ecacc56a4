"""Clips through `isr predict`: what is written, what is kept, and what an interruption costs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from children import ROOT
from pictures import photograph
from PIL import Image
from tiny_models import Case, randomise, save_baselines
from upscalers import Lines, Repeat

import isr
from isr import presets
from isr.cli.app import run
from isr.errors import Cancelled, ISRError, RequestError
from isr.io.clips import FrameReader
from isr.models import EDSR, EDVR, FlowVSR
from isr.predict import PredictRequest, plan
from isr.predict import source as source_module
from isr.predict.jobs import clip
from isr.predict.jobs.clip import ClipJob
from isr.predict.networks import NETWORKS
from isr.predict.options import PredictOptions, VideoOptions
from isr.predict.predictor import Outcome, predict_files
from isr.predict.stream import Item, Maker

EDVR_TINY = Case(
    EDVR, {"num_features": 8, "deform_groups": 2, "num_extract_blocks": 1, "num_reconstruct_blocks": 1}
)

pytestmark = pytest.mark.usefixtures("keras_in_float32")


@pytest.fixture(scope="module")
def tiny_presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    save_baselines(folder)
    EDSR(scale=2, num_features=8, num_blocks=0).save_preset(folder / "edsr_fast_x2")
    randomise(EDVR_TINY.build()).save_preset(folder / "edvr")
    return folder


@pytest.fixture(autouse=True)
def installation(tiny_presets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """As if tiny presets were shipped; the current folder is an empty one; segments are short."""
    monkeypatch.setattr(presets, "HERE", tiny_presets)
    monkeypatch.setattr(clip, "SEGMENT", 4)
    monkeypatch.chdir(tmp_path)
    yield


def frames(count: int, height: int = 16, width: int = 24) -> list[np.ndarray]:
    """A picture that moves by a pixel from frame to frame."""
    large = photograph(height, width + count, seed=3)
    return [np.ascontiguousarray(large[:, i : i + width]) for i in range(count)]


def save_clip(path: str, pictures: Sequence[np.ndarray], sound: bool = False, rate: int = 10) -> Path:
    """A clip of 4:4:4, of the frames at `rate` per second, with a tone of as many seconds."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "1"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        audio = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            samples = np.arange(44100 * len(pictures) // rate)
            tone = av.AudioFrame.from_ndarray(
                np.float32(0.3 * np.sin(samples / 20))[None], format="fltp", layout="mono"
            )
            tone.sample_rate, tone.pts, tone.time_base = 44100, 0, Fraction(1, 44100)
            container.mux(audio.encode(tone))
            container.mux(audio.encode(None))
    return Path(path)


def read_clip(path: str | Path) -> list[np.ndarray]:
    with FrameReader(path) as reader:
        return [frame.pixels for frame in reader]


def sound_of(path: str | Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def predict(
    source: str | Path, model: object = None, progress: Lines | None = None, **options: object
) -> list[Outcome]:
    known = PredictOptions(**options)  # type: ignore[arg-type]
    return list(predict_files([Path(source)], None, model, known, progress or Lines()))  # type: ignore[arg-type]


# A clip becomes a larger one


def test_a_clip_becomes_a_larger_one_with_its_sound(capsys: pytest.CaptureFixture[str]) -> None:
    source = save_clip("clip.mp4", frames(10), sound=True)
    assert run(["predict", "clip.mp4"]) == 0
    said = capsys.readouterr()
    assert said.out == "clip_x2.mp4\n"
    assert "clip_x2.mp4: 24x16 to 48x32, 10 frames, by edsr_fast_x2 on CPU, tensorflow, float32, " in said.err
    assert [frame.shape for frame in read_clip("clip_x2.mp4")] == [(32, 48, 3)] * 10
    assert sound_of("clip_x2.mp4") == sound_of(source) != []
    assert sorted(path.name for path in Path().iterdir()) == [".isr-predict", "clip.mp4", "clip_x2.mp4"]


def test_the_frames_are_those_of_the_array_function() -> None:
    """Encoded without loss, across the borders of segments, by a network of several frames."""
    source = save_clip("clip.mkv", frames(11))
    options = VideoOptions(codec="ffv1", pixel_format="bgr0")
    (outcome,) = predict(source, "edvr", video=options)
    assert outcome.status == "written" and outcome.frames == 11
    expected = list(isr.upscale_frames("edvr", read_clip(source)))
    np.testing.assert_array_equal(read_clip("clip_x4.mkv"), expected)


def test_sizes_stretches_and_parts() -> None:
    source = save_clip("clip.mp4", frames(20))
    video = VideoOptions(start=0.5, duration=0.6, codec="ffv1", pixel_format="bgr0")
    (outcome,) = predict(source, Repeat(), video=video, crop=(4, 2, 10, 8), scale=2, format="mkv")
    assert (outcome.frames, outcome.size_in, outcome.size_out) == (6, (10, 8), (20, 16))
    expected = [frame[2:10, 4:14].repeat(2, 0).repeat(2, 1) for frame in read_clip(source)[5:11]]
    np.testing.assert_array_equal(read_clip("clip_x2.mkv"), expected)
    predict(source, Repeat(), size=(None, 72), overwrite=True)
    assert read_clip("clip_72x48.mp4")[0].shape == (48, 72, 3)


def test_a_clip_becomes_numbered_pictures_and_they_a_clip() -> None:
    source = save_clip("clip.mp4", frames(9))
    (outcome,) = predict(source, Repeat(), format="png")
    assert outcome.target == Path("clip_x2")
    names = sorted(path.name for path in Path("clip_x2").iterdir() if not path.name.startswith("."))
    assert names == [f"frame_{number:06d}.png" for number in range(1, 10)]
    expected = [frame.repeat(2, 0).repeat(2, 1) for frame in read_clip(source)]
    found = [np.asarray(Image.open(Path("clip_x2") / name)) for name in names]
    np.testing.assert_array_equal(found, expected)

    made = list(predict_files([Path("clip_x2")], Path("again.mkv"), Repeat(), PredictOptions(), Lines()))
    assert made[0].frames == 9 and len(read_clip("again.mkv")) == 9


def test_a_folder_of_frames_is_a_clip_to_a_network_of_several_and_pictures_to_others() -> None:
    for index, frame in enumerate(frames(5)):
        Path("shots").mkdir(exist_ok=True)
        Image.fromarray(frame).save(f"shots/{index:04d}.png")
    assert len(predict("shots", Repeat())) == 5
    (outcome,) = predict("shots", "edvr")
    assert outcome.frames == 5 and outcome.target == Path("shots_x4")
    expected = list(isr.upscale_frames("edvr", frames(5)))
    found = [np.asarray(Image.open(f"shots_x4/{index:04d}.png")) for index in range(5)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "scale", "result"),
    [("clip.mp4", 2.5, "clip_x2.5"), ("my.holiday.mp4", 2, "my.holiday_x2"), ("clip.mp4", 2, "to/clip_x2")],
)
def test_a_folder_of_pictures_may_have_a_dot_in_its_name(name: str, scale: float, result: str) -> None:
    save_clip(name, frames(3))
    output = Path("to") if result.startswith("to/") else None
    (outcome,) = predict_files(
        [Path(name)], output, Repeat(), PredictOptions(scale=scale, format="png"), Lines()
    )
    assert outcome.error == "" and Path(result, "frame_000003.png").is_file()


def test_folders_of_frames_may_have_dots_and_share_a_folder() -> None:
    for folder in ("shots.v1", "shots.v2"):
        Path(folder).mkdir()
        for index, frame in enumerate(frames(3)):
            Image.fromarray(frame).save(f"{folder}/{index:04d}.png")
    request = PredictRequest(("shots.v1", "shots.v2"), None, ("edvr",))
    assert [job.target.name for job in plan(request).jobs] == ["shots.v1_x4", "shots.v2_x4"]
    names = [job.target.as_posix() for job in plan(replace(request, output="out")).jobs]
    assert names == ["out/shots.v1_x4", "out/shots.v2_x4"]
    alone = replace(request, inputs=("shots.v1",), output="out", options=PredictOptions(format="mkv"))
    assert [job.target.as_posix() for job in plan(alone).jobs] == ["out/shots.v1_x4.mkv"]


def test_what_was_lost_of_a_folder_of_pictures_is_made_again() -> None:
    source = save_clip("clip.mp4", frames(3))
    assert predict(source, Repeat(), format="png")[0].status == "written"
    made = Path("clip_x2/frame_000002.png")
    for spoil in (made.unlink, lambda: made.write_bytes(b"")):
        before = made.read_bytes()
        spoil()
        assert [one.status for one in predict(source, Repeat(), format="png", resume=True)] == ["written"]
        assert made.read_bytes() == before
    assert [one.status for one in predict(source, Repeat(), format="png", resume=True)] == ["skipped"]


def test_a_changed_frame_of_a_folder_is_seen() -> None:
    Path("shots").mkdir()
    for index, frame in enumerate(frames(6)):
        Image.fromarray(frame).save(f"shots/{index:04d}.png")
    made = list(predict_files([Path("shots")], Path("a.mkv"), Repeat(), PredictOptions(), Lines()))
    assert made[0].frames == 6
    Image.fromarray(255 - frames(6)[2]).save("shots/0002.png")
    again = predict_files([Path("shots")], Path("a.mkv"), Repeat(), PredictOptions(resume=True), Lines())
    assert [one.status for one in again] == ["written"]


def test_a_folder_of_clips_and_pictures_becomes_a_mirrored_one() -> None:
    Path("media/sub").mkdir(parents=True)
    save_clip("media/sub/clip.mp4", frames(5))
    Image.fromarray(photograph(10, 12)).save("media/photo.png")
    first, *others = (Image.fromarray(frame) for frame in frames(3))
    first.save("media/moving.gif", save_all=True, append_images=others, duration=[50, 80, 100], loop=2)
    Path("media/broken.mp4").write_bytes(b"no video")
    outcomes = predict("media")
    written = sorted(outcome.target.as_posix() for outcome in outcomes if outcome.status == "written")
    assert written == ["media_x2/moving.gif", "media_x2/photo.png", "media_x2/sub/clip.mp4"]
    (failed,) = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert failed.source == Path("media/broken.mp4") and "broken.mp4" in failed.error
    moving = Image.open("media_x2/moving.gif")
    assert (moving.n_frames, moving.size, moving.info["loop"]) == (3, (48, 32), 2)


def test_default_presets_are_those_for_video() -> None:
    source = save_clip("clip.mp4", frames(3))
    assert predict(source)[0].networks == ("edsr_fast_x2",)
    assert predict(source, scale=4)[0].networks == ("edsr_baseline_x4",)


@pytest.fixture(scope="module")
def presets_with_windows(tiny_presets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows") / "presets"
    shutil.copytree(tiny_presets, folder)
    base = EDSR(scale=2, num_features=8, num_blocks=0)
    model = FlowVSR(
        base, num_frames=3, num_features=4, num_blocks=0, flow_features=2, flow_rounds=(1,), passes=2
    )
    randomise(model).save_preset(folder / "flowvsr_x2")
    return folder


@pytest.fixture
def with_windows(presets_with_windows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a network of several frames shipped for video at x2, too."""
    monkeypatch.setattr(presets, "HERE", presets_with_windows)


def planned(source: Path, model: str | None = None, **options: object) -> ClipJob:
    known = PredictOptions(**options)  # type: ignore[arg-type]
    (job,) = plan(PredictRequest((source,), None, () if model is None else (model,), known)).jobs
    assert isinstance(job, ClipJob)
    return job


@pytest.mark.usefixtures("with_windows")
@pytest.mark.parametrize(
    ("model", "options", "networks"),
    [
        (None, {}, ["flowvsr_x2"]),
        (None, {"scale": 1.5}, ["flowvsr_x2"]),
        ("best", {}, ["flowvsr_x2"]),
        ("fast", {}, ["edsr_fast_x2"]),
        ("edsr_fast_x2", {}, ["edsr_fast_x2"]),
        (None, {"scale": 3}, ["edsr_baseline_x3"]),
        (None, {"scale": 8}, ["edsr_baseline_x4", "edsr_fast_x2"]),
        ("best", {"scale": 8}, ["edsr_baseline_x4", "edsr_baseline_x2"]),
    ],
)
def test_one_pass_is_made_by_several_frames_and_others_frame_by_frame(
    model: str | None, options: dict[str, float], networks: list[str]
) -> None:
    job = planned(save_clip("clip.mp4", frames(3)), model, **options)
    assert [network.name for network in job.networks] == networks
    assert not any("frame by frame" in note for note in job.notes)


@pytest.mark.usefixtures("with_windows")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"engine": "openvino"}, "does not run by openvino"),
        ({"precision": "fast"}, "has no 8 bits"),
        ({"back_projection": 2}, "takes no back projection"),
        ({"tile_overlap": "exact"}, "has no exact overlap"),
        ({"tile": 40}, "takes larger tiles than 40"),
    ],
)
def test_where_several_frames_do_not_do_a_line_says_so(options: dict[str, object], why: str) -> None:
    job = planned(save_clip("clip.mp4", frames(3)), **options)
    assert [network.name for network in job.networks] == ["edsr_fast_x2"]
    assert job.notes == (f"frame by frame by edsr_fast_x2: flowvsr_x2 {why}",)


@pytest.mark.usefixtures("with_windows")
def test_by_default_a_clip_is_made_as_its_frames_are() -> None:
    source = save_clip("clip.mkv", frames(4))
    options = VideoOptions(codec="ffv1", pixel_format="bgr0")
    (outcome,) = predict(source, video=options)
    assert outcome.networks == ("flowvsr_x2",)
    np.testing.assert_array_equal(read_clip("clip_x2.mkv"), list(isr.upscale_frames(None, read_clip(source))))
    lines = Lines()
    assert list(isr.upscale_frames(None, read_clip(source)[:1], tile_overlap="exact", progress=lines))
    assert lines.lines == ["frame by frame by edsr_fast_x2: flowvsr_x2 has no exact overlap"]


@pytest.mark.usefixtures("with_windows")
def test_frames_go_to_the_engine_for_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isr.predict.source.candidates", lambda: ["openvino"])
    source = save_clip("clip.mkv", frames(4))
    assert planned(source).engine == "tensorflow, openvino"
    assert planned(source, "flowvsr_x2").engine == "tensorflow, openvino"
    assert planned(source, device="gpu").engine == "tensorflow"
    assert planned(source, engine="tensorflow").engine == "tensorflow"


@pytest.mark.slow
@pytest.mark.usefixtures("with_windows")
def test_the_engine_for_photographs_gives_the_same_clip_or_leaves_it_to_keras(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("isr.predict.source.candidates", lambda: ["openvino"])
    source = save_clip("clip.mkv", frames(4))
    options: dict[str, Any] = {
        "video": VideoOptions(codec="ffv1", pixel_format="bgr0"),
        "precision": "float32",
    }
    (own,) = predict(source, engine="tensorflow", **options)
    assert own.engine == "tensorflow"
    expected = read_clip("clip_x2.mkv")
    (shared,) = predict(source, overwrite=True, engine="auto", **options)
    assert shared.engine == "tensorflow, openvino"
    differences = np.abs(np.subtract(read_clip("clip_x2.mkv"), expected, dtype=int))
    assert differences.max() <= 1 and differences.mean() < 0.01

    def failing(*_: object) -> None:
        raise ISRError("cannot be opened")

    source_module._of_file.cache_clear()
    monkeypatch.setattr("isr.runtimes.engines.built.open_weights", failing)
    lines = Lines()
    (alone,) = predict(source, None, lines, overwrite=True, engine="auto", **options)
    source_module._of_file.cache_clear()
    assert alone.engine == "tensorflow" and "cannot be opened; computed by tensorflow" in lines.lines
    np.testing.assert_array_equal(read_clip("clip_x2.mkv"), expected)


@pytest.mark.usefixtures("with_windows")
def test_numbered_pictures_stay_pictures_by_default() -> None:
    Path("shots").mkdir()
    for index, frame in enumerate(frames(3)):
        Image.fromarray(frame).save(f"shots/{index:04d}.png")
    jobs = plan(PredictRequest((Path("shots"),))).jobs
    assert [job.KIND for job in jobs] == ["picture"] * 3


@pytest.mark.usefixtures("with_windows")
def test_machines_agree_whether_several_frames_are_looked_at() -> None:
    source = save_clip("clip.mp4", frames(3))
    request = PredictRequest((f"@{source}",), Path("out"), (), PredictOptions())
    settled = Maker(request).settle()
    assert settled.windows == "tensorflow"
    item = Item(str(source), "clip.mp4")
    for kept, network in ((settled, "flowvsr_x2"), (replace(settled, windows=""), "edsr_fast_x2")):
        job = Maker(request, kept).plan_here(item, Path("out/clip.mp4").absolute())
        assert isinstance(job, ClipJob)
        assert [chosen.name for chosen in job.networks] == [network]


# Interruptions


def interrupted(source: Path, stop: int, **options: object) -> None:
    with pytest.raises(Cancelled):
        predict(source, Repeat(), Lines(stop=stop), **options)


@pytest.mark.parametrize("stop", [1, 5, 9, 10])
def test_an_interrupted_run_goes_on_to_the_same_file(stop: int) -> None:
    source = save_clip("clip.mp4", frames(11), sound=True)
    predict(source, Repeat())
    whole = Path("clip_x2.mp4").read_bytes()
    Path("clip_x2.mp4").unlink()

    interrupted(source, stop)
    assert not Path("clip_x2.mp4").exists()
    upscaler, progress = Repeat(), Lines()
    predict(source, upscaler, progress)
    assert Path("clip_x2.mp4").read_bytes() == whole
    done = stop // 4 * 4
    assert len(upscaler.batches) == 11 - done
    assert any("going on behind frame" in line for line in progress.lines) == (done > 0)
    assert not list(Path().glob(".clip*"))


def test_a_network_of_several_frames_goes_on_to_the_same_frames() -> None:
    source = save_clip("clip.mp4", frames(13))
    options = {"video": VideoOptions(codec="ffv1", pixel_format="bgr0", scene_cut=0.2), "format": "mkv"}
    predict(source, "edvr", **options)
    whole = read_clip("clip_x4.mkv")
    Path("clip_x4.mkv").unlink()
    with pytest.raises(Cancelled):
        predict(source, "edvr", Lines(stop=9), **options)
    predict(source, "edvr", **options)
    np.testing.assert_array_equal(read_clip("clip_x4.mkv"), whole)


class Edges(Repeat):
    """As `Repeat`, of five frames, and each result shows all of them; borders as a window's `frame_border` says."""

    def __init__(self, border: str) -> None:
        super().__init__(num_frames=5, center_frame=1, frame_border=border)  # type: ignore[arg-type]

    def encode(self, frame: np.ndarray) -> np.ndarray:
        return frame

    def decode(self, window: list[np.ndarray]) -> np.ndarray:
        shares = np.float32([0.3, 0.4, 0.1, 0.15, 0.05])
        mixed = sum(frame * share for frame, share in zip(window, shares, strict=True))
        return np.asarray(mixed).repeat(2, axis=1).repeat(2, axis=2)

    def size(self, features: np.ndarray) -> int:
        return features.nbytes


@pytest.mark.parametrize(
    ("border", "cuts"), [("circle", (6, 14, 15)), ("reflect", (7, 9)), ("replicate", (8,))]
)
def test_runs_of_segments_in_any_order_make_the_same_file(border: str, cuts: tuple[int, ...]) -> None:
    """Also where scenes begin beside their borders; what one of several processes had lost is made by the next."""
    pictures = frames(19)
    for cut in cuts:
        pictures[cut:] = [255 - picture for picture in pictures[cut:]]
    source = save_clip("clip.mp4", pictures, sound=True)
    options = PredictOptions(video=VideoOptions(pixel_format="yuv444p", crf=1, scene_cut=0.1))
    predict(source, Edges(border), video=options.video)
    whole = Path("clip_x2.mp4").read_bytes()
    Path("clip_x2.mp4").unlink()
    (job,) = plan(PredictRequest((source,), None, (Edges(border),), options)).jobs
    runs = job.runs(2)
    assert runs == [range(2), range(2, 4), range(4, 5)]
    for numbers in (runs[2], runs[0]):
        outcome = job.of_run(numbers).run(NETWORKS, Lines())
        assert outcome.status == "written" and outcome.frames == len(numbers) * 4 - (numbers[-1] == 4)
    assert job.runs(2) == [runs[1]] and not Path("clip_x2.mp4").exists()
    # This one makes what is missing, and joins.
    job.run(NETWORKS, Lines())
    assert Path("clip_x2.mp4").read_bytes() == whole and not list(Path().glob(".clip*"))
    assert "its segments are gone" in job.of_run(runs[0]).run(NETWORKS, Lines()).error


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no process is kept on some cores here")
@pytest.mark.parametrize("height", [16, 200])
def test_an_encoder_with_fixed_threads_writes_the_same_on_fewer_cores(height: int) -> None:
    source = save_clip("clip.mp4", frames(6, height, 32))
    (job,) = plan(PredictRequest((source,), None, (Repeat(),))).jobs
    assert isinstance(job, clip.ClipJob)
    cores = sorted(os.sched_getaffinity(0))
    job.run(NETWORKS, Lines())
    whole = Path("clip_x2.mp4").read_bytes()

    def on_one_core() -> None:
        os.sched_setaffinity(0, cores[:1])
        replace(job, output=job.output.on_cores(len(cores))).run(NETWORKS, Lines())

    # The affinity is that of a thread, and of those that it starts.
    thread = threading.Thread(target=on_one_core)
    thread.start()
    thread.join()
    assert Path("clip_x2.mp4").read_bytes() == whole


def test_segments_of_other_options_are_made_anew() -> None:
    source = save_clip("clip.mp4", frames(11))
    interrupted(source, 9)
    upscaler = Repeat()
    predict(source, upscaler, video=VideoOptions(crf=30))
    assert len(upscaler.batches) == 11
    assert not list(Path().glob(".clip*"))


def test_a_damaged_record_costs_no_more_than_the_work() -> None:
    source = save_clip("clip.mp4", frames(11))
    interrupted(source, 9)
    (parts,) = Path().glob(".clip*")
    (parts / "record.json").write_text("{")
    predict(source, Repeat())
    assert len(read_clip("clip_x2.mp4")) == 11


def test_finished_clips_are_skipped_and_others_not_replaced() -> None:
    source = save_clip("clip.mp4", frames(3))
    predict(source, Repeat())
    assert predict(source, Repeat(), resume=True)[0].status == "skipped"
    with pytest.raises(RequestError, match="exists"):
        predict(source, Repeat())
    assert predict(source, Repeat(), overwrite=True)[0].status == "written"
    predict(source, Repeat(), format="png")
    assert predict(source, Repeat(), resume=True, format="png")[0].status == "skipped"
    with pytest.raises(RequestError, match="exists"):
        predict(source, Repeat(), format="png")


def test_a_failing_network_leaves_no_file() -> None:
    source = save_clip("clip.mp4", frames(11))

    class Breaks(Repeat):
        def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
            return super().__call__(batch) * (np.nan if len(self.batches) >= 6 else 1)

    with pytest.raises(isr.errors.ISRError, match="no numbers"):
        predict(source, Breaks())
    assert not Path("clip_x2.mp4").exists()


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_makes_the_same_clip(tiny_presets: Path) -> None:
    source = save_clip("clip.mp4", frames(400, 64, 96), sound=True, rate=25).resolve()
    command = [sys.executable, "-m", "isr", "predict", source, "--preset", tiny_presets / "edsr_baseline_x2"]

    def start(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*map(str, command), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    whole = start("--output", str(source.with_name("whole.mp4")))
    assert whole.wait(timeout=300) == 0
    target = source.with_name("clip_x2.mp4")
    parts = source.with_name(".clip_x2.mp4.parts")
    segments = 0
    while not target.exists():
        process = start()
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < 120:
            now = len(list(parts.glob("*.nut")))
            if now > segments:
                segments = now
                time.sleep(0.1)
                process.kill()
            time.sleep(0.005)
        process.wait(timeout=60)
    assert segments > 2
    assert target.read_bytes() == source.with_name("whole.mp4").read_bytes()
    if parts.exists():
        # Killed after the target was whole and before its segments were removed: the next run joins them again.
        assert start("--resume").wait(timeout=300) == 0
        assert target.read_bytes() == source.with_name("whole.mp4").read_bytes()
    assert not parts.exists()


# Damaged clips


def damage(path: Path, share: float, length: int) -> None:
    """Overwrite a stretch of the coded pictures."""
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 8
    place = begin + int((len(data) - begin) * share)
    data[place : place + length] = bytes(byte ^ 0x5A for byte in data[place : place + length])
    path.write_bytes(bytes(data))


def test_broken_frames_repeat_their_neighbours_and_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    source = save_clip("clip.mp4", frames(30, 64, 96), sound=True)
    damage(source, 0.4, 2000)
    code = run(["predict", "clip.mp4"])
    said = capsys.readouterr()
    assert code == 1
    assert "written, but the source is damaged" in said.err and "could not be decoded" in said.err
    assert len(read_clip("clip_x2.mp4")) == 30
    assert sound_of("clip_x2.mp4") == sound_of(source)


def test_a_file_that_is_cut_off_gives_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    source = save_clip("clip.mkv", frames(30, 64, 96))
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 2 // 3])
    assert run(["predict", "clip.mkv"]) == 1
    assert "cut off" in capsys.readouterr().err
    assert 5 < len(read_clip("clip_x2.mkv")) < 30


# Requests


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clip.mp4", "--crop", "30x20"], "crop 30x20+0+0 reaches beyond the frames of 24x16"),
        (["clip.mp4", "--crop", "left half"], "give it as 640x360"),
        (["clip.mp4", "--start", "9"], "no frame begins in the chosen stretch"),
        (["clip.mp4", "--start", "-1"], "start -1"),
        (["clip.mp4", "--start", "nan"], "start nan"),
        (["clip.mp4", "--duration", "0"], "duration 0"),
        (["clip.mp4", "--duration", "inf"], "duration inf"),
        (["clip.mp4", "-o", "large.jpg"], "clip.mp4 becomes no jpg file"),
        (["photo.png", "-o", "large.mp4"], "photo.png becomes no mp4 file"),
        (["clip.mp4", "--codec", "mpeg8"], "codec mpeg8"),
        (["clip.mp4", "--crf", "99"], "crf 99"),
        (["clip.mp4", "--scene-cut", "2"], "scene cut 2"),
        (["clip.mp4", "--format", "doc"], "format 'doc'"),
        (["clip.mp4", "--max-pixels", "100"], "24x16 pixels are over the limit of 100"),
        (["photo.png", "--preset", "edvr"], "takes 5 frames of a video, not a picture"),
        (["clip.mp4", "--preset", "edvr", "--scale", "16"], "enlarges a video once, by 4"),
        (["text.mp4"], "text.mp4"),
        (["empty"], "no pictures and no clips in this folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_requests_are_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_clip("clip.mp4", frames(2))
    Image.fromarray(photograph(8, 8)).save("photo.png")
    Path("text.mp4").write_text("text")
    Path("empty").mkdir()
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    code = run(["predict", *arguments])
    lines = capsys.readouterr().err.splitlines()
    assert (code, len(lines)) == (2, 1), lines
    assert said in lines[0]
    assert sorted(Path().rglob("*")) == before


def test_what_became_of_a_clip_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    save_clip("clip.mp4", frames(3))
    assert run(["predict", "clip.mp4", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["frames"], outcome["warning"], outcome["size_out"]) == (3, "", [48, 32])


# In Python


def test_frames_in_frames_out() -> None:
    gray = [frame[..., 0] for frame in frames(4)]
    results = list(isr.upscale_frames(Repeat(), iter(gray)))
    assert all(np.array_equal(r, g.repeat(2, 0).repeat(2, 1)) for r, g in zip(results, gray, strict=True))
    assert list(isr.upscale_frames(Repeat(), [])) == []
    clear = [np.concatenate([frame, frame[..., :1]], axis=-1) for frame in frames(6)]
    results = list(isr.upscale_frames("edvr", clear, size=(24, 36)))
    assert len(results) == 6 and results[0].shape == (24, 36, 4)
    opaque = [replace_alpha(frame, 255) for frame in clear]
    plain = list(isr.upscale_frames("edvr", [frame[..., :3] for frame in clear], size=(24, 36)))
    with_alpha = list(isr.upscale_frames("edvr", opaque, size=(24, 36)))
    np.testing.assert_array_equal([frame[..., :3] for frame in with_alpha], plain)
    assert all((frame[..., 3] == 255).all() for frame in with_alpha)


def replace_alpha(frame: np.ndarray, value: int) -> np.ndarray:
    return np.concatenate([frame[..., :3], np.full_like(frame[..., :1], value)], axis=-1)


def test_a_job_is_refused_by_what_its_network_is(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="5 frames of a video"):
        isr.upscale("edvr", np.zeros((8, 8, 3), np.uint8))
    upscaler = Repeat()
    upscaler.spec = replace(upscaler.spec, num_frames=3)
    with pytest.raises(RequestError, match="3 frames of a video"):
        isr.upscale(upscaler, np.zeros((8, 8, 3), np.uint8))
