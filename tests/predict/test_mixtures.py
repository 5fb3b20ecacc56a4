"""Mixtures of corners, from the command line to the pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tensorflow as tf
from pictures import photograph
from PIL import Image

import isr
from isr import presets
from isr.cli import app
from isr.errors import RequestError
from isr.evaluate import EvaluateOptions, evaluate_files
from isr.io.clips import FrameReader
from isr.models import EDSR
from isr.predict.jobs.picture import PictureJob
from isr.predict.options import PredictOptions
from isr.predict.request import PredictRequest, job_from_json, plan
from isr.presets import Mixture
from isr.runtimes.engines import ENGINES


def network(seed: int) -> EDSR:
    model = EDSR(scale=2, num_features=8, num_blocks=1)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(rng.normal(0, 0.05, variable.shape))
    return model


@pytest.fixture(scope="module")
def corners() -> dict[str, EDSR]:
    return {name: network(seed) for seed, name in enumerate(("clean", "restored", "textured"))}


@pytest.fixture
def photo(tmp_path: Path, corners: dict[str, EDSR], monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset with corners, in the current folder, beside a picture."""
    monkeypatch.chdir(tmp_path)
    corners["restored"].save_preset("photo")
    arrays = {
        name: {path: np.asarray(value) for path, value in corners[name].named_weights().items()}
        for name in ("clean", "textured")
    }
    presets.write_corners(Path("photo"), clean=arrays["clean"], textured=arrays["textured"], dtype="float32")
    Image.fromarray(photograph(24, 32, 0)).save("a.png")
    return "photo"


def by_hand(corners: dict[str, EDSR], denoise: float, texture: float) -> EDSR:
    model = network(9)
    clean, restored, textured = (corners[name].get_weights() for name in ("clean", "restored", "textured"))
    model.set_weights(
        [c + denoise * (r - c) + texture * (t - r) for c, r, t in zip(clean, restored, textured, strict=True)]
    )
    return model


def planned(photo: str, **options: Any) -> PictureJob:
    request = PredictRequest((Path("a.png"),), sources=(photo,), options=PredictOptions(**options))
    (job,) = plan(request).jobs
    assert isinstance(job, PictureJob)
    return job


@pytest.mark.parametrize(
    "engine",
    [None]
    + [
        # The converter of LiteRT takes seconds.
        pytest.param(name, marks=[pytest.mark.slow] if name == "litert" else [])
        for name, engine in ENGINES.items()
        if engine.installed
    ],
)
def test_a_mixture_is_computed_by_every_engine(
    photo: str, corners: dict[str, EDSR], engine: str | None
) -> None:
    image = photograph(24, 32, 1).astype(np.float32) / 255
    expected = isr.upscale(by_hand(corners, 0.6, 0.3), image)
    found = isr.upscale(photo, image, denoise=0.6, texture=0.3, engine=engine)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    # Another mixture is another network, not what was opened before.
    other = isr.upscale(photo, image, denoise=0.1, engine=engine)
    assert np.abs(other - found).max() > 1e-3


@pytest.mark.parametrize(
    ("denoise", "texture", "corner"), [(0, 0, "clean"), (1, 0, "restored"), (1, 1, "textured")]
)
def test_a_corner_is_its_network_to_the_bit(
    photo: str, corners: dict[str, EDSR], denoise: float, texture: float, corner: str
) -> None:
    image = photograph(24, 32, 1)
    found = isr.upscale(photo, image, denoise=denoise, texture=texture)
    assert np.array_equal(found, isr.upscale(corners[corner], image))
    model = EDSR.from_preset(photo, denoise=denoise, texture=texture)
    for own, other in zip(model.get_weights(), corners[corner].get_weights(), strict=True):
        assert own.tobytes() == other.tobytes()


def test_without_the_options_a_preset_is_itself(photo: str, corners: dict[str, EDSR]) -> None:
    image = photograph(24, 32, 1)
    assert np.array_equal(isr.upscale(photo, image), isr.upscale(corners["restored"], image))
    assert planned(photo).mixture is None


def test_records_jobs_and_plans_hold_the_mixture(photo: str) -> None:
    job = planned(photo, denoise=0.6, texture=0.3)
    assert job.mixture == Mixture(0.6, 0.3)
    assert (job.record["denoise"], job.record["texture"]) == (0.6, 0.3)
    assert job_from_json(json.loads(json.dumps(job.to_json()))) == job
    others = [planned(photo, denoise=0.5, texture=0.3), planned(photo, denoise=0.6), planned(photo)]
    weights = {json.dumps(each.record["weights"]) for each in (job, *others)}
    assert len(weights) == 4


def test_resume_makes_another_mixture_again(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["predict", "a.png", "--preset", photo, "-o", "out.png", "--resume", "--quiet"]
    assert app.run([*line, "--denoise", "0.5"]) == 0
    first = Path("out.png").read_bytes()
    assert app.run([*line, "--denoise", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines() == ["out.png"]
    assert app.run([*line, "--denoise", "0"]) == 0
    assert Path("out.png").read_bytes() != first


@pytest.mark.slow
@pytest.mark.parametrize(("denoise", "texture"), [(0.6, 0.3), pytest.param(0, None, marks=pytest.mark.slow)])
def test_export_writes_one_fixed_mixture(
    photo: str, corners: dict[str, EDSR], denoise: float, texture: float | None, tmp_path: Path
) -> None:
    knobs = ["--denoise", str(denoise), *([] if texture is None else ["--texture", str(texture)])]
    assert app.run(["export", "--preset", photo, "-o", "model", "--tile", "64", "--quiet", *knobs]) == 0
    image = photograph(24, 32, 1)[np.newaxis]
    served = tf.saved_model.load("model/1").signatures["serving_uint8"]
    found = served(lr=tf.constant(image))["sr"].numpy()[0]
    expected = isr.upscale(by_hand(corners, denoise, texture or 0), image[0])
    difference = np.abs(found.astype(int) - expected)
    # Sums in another order round otherwise, in places.
    assert difference.max() <= 1 and np.mean(difference > 0) < 0.01
    restored = isr.upscale(corners["restored"], image[0]).astype(int)
    assert np.abs(found - restored).max() > 1


def test_export_refuses_a_mixture_of_what_has_no_corners(
    photo: str, corners: dict[str, EDSR], capsys: pytest.CaptureFixture[str]
) -> None:
    corners["clean"].save_preset("single")
    corners["clean"].save("single.keras")
    for line in (["--preset", "single"], ["--weights", "single.keras"]):
        assert app.run(["export", *line, "-o", "model", "--denoise", "0.5"]) == 2
        assert "corners" in capsys.readouterr().err
    assert app.run(["export", "--preset", photo, "-o", "model", "--denoise", "2"]) == 2
    assert "denoise 2: must be 0 to 1" in capsys.readouterr().err
    assert not Path("model").exists()


def test_auto_looks_at_every_file(photo: str) -> None:
    noisy = np.clip(photograph(96, 96, 0) + np.random.default_rng(0).normal(0, 25, (96, 96, 3)), 0, 255)
    Image.fromarray(noisy.astype(np.uint8)).save("noisy.png")
    flat = np.full((96, 96, 3), 90, np.uint8)
    Image.fromarray(flat).save("flat.png")
    Image.fromarray(flat).save("flat.jpg", quality=20)
    options = PredictOptions(denoise="auto")
    inputs = tuple(map(Path, ("noisy.png", "flat.png", "flat.jpg")))
    jobs = plan(PredictRequest(inputs, sources=(photo,), options=options)).jobs
    found = {job.source.name: job for job in jobs}
    assert {name: job.mixture for name, job in found.items()} == {
        "noisy.png": Mixture(1),
        "flat.png": Mixture(0),
        "flat.jpg": Mixture(1),
    }
    assert any("looks like JPEG q~20, noise ~0" in note for note in found["flat.jpg"].notes)
    assert isr.upscale(photo, flat, denoise="auto").shape == (192, 192, 3)


def test_only_the_first_of_several_networks_denoises(photo: str, corners: dict[str, EDSR]) -> None:
    image = photograph(12, 16, 0)
    first = isr.upscale(by_hand(corners, 0.6, 0.3), image / np.float32(255))
    expected = isr.upscale(corners["clean"], np.clip(first, 0, 1)) * 255
    found = isr.upscale(photo, image, scale=4, denoise=0.6, texture=0.3)
    np.testing.assert_allclose(found.astype(float), np.clip(expected, 0, 255), atol=0.51)
    line = ["predict", "a.png", "--preset", photo, "--scale", "4", "-o", "out.png", "--quiet"]
    assert app.run([*line, "--denoise", "0.6", "--texture", "0.3", "--engine", "tensorflow"]) == 0
    through = isr.upscale(photo, np.asarray(Image.open("a.png")), scale=4, denoise=0.6, texture=0.3)
    np.testing.assert_allclose(np.asarray(Image.open("out.png")).astype(int), through.astype(int), atol=1)


def test_a_clip_is_mixed_too(photo: str, corners: dict[str, EDSR]) -> None:
    frames = [photograph(24, 32, seed) for seed in range(3)]
    Path("clip").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(f"clip/{number:04d}.png")
    request = PredictRequest(
        (Path("clip"),), Path("big.mkv"), (photo,), PredictOptions(denoise="auto", texture=0.5)
    )
    (job,) = plan(request).jobs
    assert job.mixture is not None
    assert job.mixture.texture == 0.5
    assert any("denoise" in note for note in job.notes)
    expected = isr.upscale(by_hand(corners, 0.5, 0), frames[1])
    made = list(isr.upscale_frames(photo, frames, denoise=0.5))
    np.testing.assert_allclose(made[1].astype(int), expected.astype(int), atol=1)
    line = ["predict", "clip", "--preset", photo, "-o", "big.mkv", "--codec", "ffv1", "--denoise", "0.5"]
    assert app.run([*line, "--quiet"]) == 0
    assert Path("big.mkv").stat().st_size > 0


def h264(path: Path, frames: list[np.ndarray], quantiser: int) -> Path:
    """A file of frames, every block of which has this quantisation parameter."""
    options = {"preset": "ultrafast", "x264-params": f"qp={quantiser}:ipratio=1:scenecut=0:threads=1"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def test_of_h264_the_quantiser_decides(photo: str, corners: dict[str, EDSR]) -> None:
    for folder in ("low", "hr"):
        Path(folder).mkdir()
    # Smooth and sharp enough that the pixels alone ask for nothing.
    frames = [np.full((48, 64, 3), 60, np.uint8) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame[8:40, 12 + 4 * number : 44] = 190
    taken = {}
    for asked in (12, 26, 36):
        source = h264(Path(f"low/{asked}.mp4"), frames, asked)
        request = PredictRequest((source,), Path(f"{asked}.mkv"), (photo,), PredictOptions(denoise="auto"))
        (job,) = plan(request).jobs
        assert job.mixture is not None
        taken[asked] = job.mixture.denoise
        assert any(f"looks like H.264 qp~{asked}" in note for note in job.notes)
        h264(Path(f"hr/{asked}.mp4"), [frame.repeat(2, 0).repeat(2, 1) for frame in frames], 12)
    assert taken == {12: 0.0, 26: 0.5, 36: 0.8}

    line = [
        "predict",
        "low/26.mp4",
        "--preset",
        photo,
        "-o",
        "26.mkv",
        "--codec",
        "ffv1",
        "--denoise",
        "auto",
    ]
    assert app.run([*line, "--engine", "tensorflow", "--precision", "float32", "--quiet"]) == 0
    with FrameReader("low/26.mp4") as low, FrameReader("26.mkv") as made:
        expected = isr.upscale_frames(by_hand(corners, 0.5, 0), (frame.pixels for frame in low))
        for frame, pixels in zip(made, expected, strict=True):
            assert np.abs(frame.pixels.astype(int) - pixels).max() <= 3

    table = evaluate_files("hr", photo, EvaluateOptions(lr=Path("low"), denoise="auto"))
    for row in table.rows:
        fixed = EvaluateOptions(lr=Path(f"low/{row.name}.mp4"), denoise=taken[int(row.name)])
        (alone,) = evaluate_files(f"hr/{row.name}.mp4", photo, fixed).rows
        assert list(row.figures.values()) == list(alone.figures.values())


def test_evaluation_mixes_too(photo: str) -> None:
    Path("hr").mkdir()
    Image.fromarray(photograph(48, 48, 0)).save("hr/a.png")
    fixed = evaluate_files("hr", photo, EvaluateOptions(denoise=0.5, beside=["edsr_fast_x2"]))
    assert fixed.methods == ("bicubic", "photo denoise 0.5", "edsr_fast_x2")
    by_picture = evaluate_files("hr", photo, EvaluateOptions(denoise="auto", texture=0.5))
    assert by_picture.methods[1] == "photo denoise auto, texture 0.5"
    assert by_picture.mean.psnr != fixed.mean.psnr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "edsr_fast_x2", "--denoise", "0.5"], "edsr_fast_x2: has one set of weights"),
        (["--preset", "edsr_fast_x2", "--denoise", "1"], "edsr_fast_x2: has one set of weights"),
        (["--preset", "bicubic", "--texture", "0.5"], "bicubic: is no network"),
        (["--preset", "photo", "--denoise", "1.5"], "denoise 1.5: must be 0 to 1"),
        (["--preset", "photo", "--denoise", "much"], "--denoise much: must be 0 to 1, or auto"),
        (
            ["--preset", "photo", "--denoise", "0.5", "--precision", "int8"],
            "photo: has no 8 bits at denoise 0.5",
        ),
    ],
)
def test_what_cannot_be_mixed_is_one_line(
    photo: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    if "int8" in arguments and not ENGINES["openvino"].installed:
        pytest.skip("8 bits need OpenVINO")
    assert app.run(["predict", "a.png", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_a_server_mixes_nothing(photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Served:
        spec = EDSR(scale=2, num_features=8, num_blocks=0).spec

    monkeypatch.setattr("isr.runtimes.serving.ServingClient", lambda address: Served())
    options = PredictOptions(denoise=0.5)
    with pytest.raises(RequestError, match="has one set of weights and nothing to mix"):
        plan(PredictRequest((Path("a.png"),), sources=("grpc://host:8500/edsr",), options=options))


def test_beside_a_mixture_others_stay_as_they_are(photo: str) -> None:
    request = PredictRequest(
        (Path("a.png"),), sources=(photo, "edsr_fast_x2", "bicubic"), options=PredictOptions(denoise=0.5)
    )
    assert [job.mixture for job in plan(request).jobs] == [Mixture(0.5), None, None]


def test_without_a_preset_those_for_photographs_are_taken(
    photo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "HERE", Path.cwd())
    monkeypatch.setitem(presets.BY_SCALE, presets.PHOTO, {2: "photo"})
    request = PredictRequest((Path("a.png"),), options=PredictOptions(texture=0.5, scale=3))
    (job,) = plan(request).jobs
    assert [network.name for network in job.networks] == ["photo", "photo"]
    assert job.mixture == Mixture(1, 0.5)


def test_8_bits_are_those_of_the_corner(photo: str) -> None:
    (Path(photo) / presets.INT8).mkdir()
    presets.variant(Path(photo)).write_bytes(b"")
    from isr.predict.source import networks_of

    if not ENGINES["openvino"].installed:
        pytest.skip("8 bits need OpenVINO")

    def precisions(mixture: Mixture | None) -> tuple[str, ...]:
        return networks_of(photo, engine="openvino", mixture=mixture)[2].precisions

    assert "int8" in precisions(None)
    assert "int8" in precisions(Mixture(1))
    assert "int8" not in precisions(Mixture(0.5))
    assert "int8" not in precisions(Mixture(0))
    (note,) = [note for note in planned(photo, denoise=0.5, precision="fast").notes if "8 bits" in note]
    assert "at the corners alone" in note
