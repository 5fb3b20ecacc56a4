"""`Predictor`: a folder in, a mirrored tree out, resumed where it stopped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import photograph
from PIL import Image
from tiny_models import randomise
from upscalers import Lines, Repeat

import isr
from isr.errors import Cancelled, ISRError, MachineError, RequestError
from isr.io.pictures import WRITABLE
from isr.models import EDSR
from isr.predict import PredictOptions, Predictor, report
from isr.predict.jobs import job, picture
from isr.predict.jobs.journal import NAME, OLD_NAME, Journal
from isr.predict.report import duration_of

pytestmark = pytest.mark.usefixtures("keras_in_float32")


def save(path: Path, seed: int = 0, height: int = 20, width: int = 28, channels: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = photograph(height, width, seed, channels)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tree of four pictures, with names of several alphabets."""
    folder = tmp_path / "photos"
    save(folder / "a.png", 0)
    save(folder / "größe 图.png", 1)
    save(folder / "sub" / "b.PNG", 2, channels=4)
    save(folder / "sub" / "deeper" / "ж.webp", 3)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def names(folder: Path) -> list[str]:
    """The files below a folder, without the records."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith(NAME))


TREE = ["a.png", "größe 图.png", "sub/b.PNG", "sub/deeper/ж.webp"]


def test_a_folder_becomes_a_mirrored_tree_beside_it(photos: Path) -> None:
    done = Predictor(photos).get_predictions(Repeat())
    target = photos.parent / "photos_x2"
    assert names(target) == TREE
    assert sorted(done.written) == sorted(target / name for name in TREE)
    assert done.skipped == [] and done.failed == []
    expected = photograph(20, 28, 1).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(np.asarray(Image.open(target / "größe 图.png")), expected)
    assert Image.open(target / "sub" / "b.PNG").mode == "RGBA"


def test_an_output_folder_and_options_are_taken(photos: Path, tmp_path: Path) -> None:
    options = PredictOptions(scale=1.5, format="jpg")
    done = Predictor(photos, tmp_path / "out", options=options, quality=80).get_predictions(Repeat())
    assert names(tmp_path / "out") == ["a.jpg", "größe 图.jpg", "sub/b.jpg", "sub/deeper/ж.jpg"]
    assert {(o.size_in, o.size_out) for o in done.outcomes} == {((28, 20), (42, 30))}


def test_a_network_a_preset_and_weights_are_models(photos: Path, tmp_path: Path) -> None:
    model = EDSR(scale=2, num_features=8, num_blocks=1, pixel_range=1.0, name="mine")
    randomise(model)
    model.save_preset(tmp_path / "preset")
    expected = isr.upscale(model, photograph(20, 28, 0))

    def first(folder: str, *arguments: Any) -> np.ndarray:
        Predictor(photos, tmp_path / folder).get_predictions(*arguments)
        return np.asarray(Image.open(tmp_path / folder / "a.png"))

    assert np.array_equal(first("1", model), expected)
    assert np.array_equal(first("2", tmp_path / "preset"), expected)
    assert np.array_equal(first("3", None, str(tmp_path / "preset")), expected)
    other = EDSR(scale=2, num_features=8, num_blocks=1, pixel_range=1.0)
    assert np.array_equal(first("4", other, tmp_path / "preset" / "weights.safetensors"), expected)
    with pytest.raises(RequestError, match="give a network"):
        first("5", tmp_path / "preset", tmp_path / "preset")


def test_the_shipped_presets_are_the_default(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from isr import presets

    for scale in (2, 3):
        model = EDSR(scale=scale, num_features=8, num_blocks=1)
        model.start_as_interpolation()
        model.save_preset(tmp_path / "presets" / f"edsr_baseline_x{scale}")
    monkeypatch.setattr(presets, "HERE", tmp_path / "presets")
    done = Predictor(photos).get_predictions()
    assert {o.networks for o in done.outcomes} == {("edsr_baseline_x2",)}
    assert {o.size_out for o in done.outcomes} == {(56, 40)}
    assert {(o.device, o.precision) for o in done.outcomes} == {("CPU", "float32")}


def test_what_cannot_be_read_is_told_at_the_end_and_stops_nothing(photos: Path) -> None:
    (photos / "sub" / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no picture")
    whole = (photos / "a.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    at = damaged.index(b"IDAT") + 40
    damaged[at : at + 60] = bytes(60)
    (photos / "damaged.png").write_bytes(damaged)  # its header is whole: only decoding tells
    done = Predictor(photos).get_predictions(Repeat())
    assert len(done.written) == len(TREE) and names(photos.parent / "photos_x2") == TREE
    assert sorted(path.name for path, _ in done.failed) == ["cut.png", "damaged.png", "empty.png", "text.jpg"]
    for path, line in done.failed:
        assert line.startswith(str(path)) and "\n" not in line


@pytest.mark.parametrize("empty", [False, True])
def test_no_folder_and_no_pictures_are_refused(tmp_path: Path, empty: bool) -> None:
    folder = tmp_path / "nothing"
    if empty:
        folder.mkdir()
        (folder / "notes.txt").write_text("")
    with pytest.raises(RequestError, match="no pictures" if empty else "no such folder"):
        Predictor(folder).get_predictions(Repeat())


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0},
        {"quality": 0},
        {"format": "psd"},
        {"precision": "half"},
        {"device": "tpu"},
        {"tile": 3},
        {"scale": 2, "size": (3, 4)},
        {"max_pixels": 0},
    ],
)
def test_options_out_of_range_are_refused(photos: Path, options: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Predictor(photos, **options)
    with pytest.raises(TypeError):
        Predictor(photos, tiles=3)


# --------------------------------------------------------------------------------- what is refused before work


class Untouched(Repeat):
    """Fails the test where it is asked for anything."""

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        raise AssertionError("work was begun")


def test_files_that_exist_are_refused_before_any_work(photos: Path) -> None:
    target = save(photos.parent / "photos_x2" / "sub" / "b.PNG")
    before = target.read_bytes()
    with pytest.raises(RequestError, match=r"b\.PNG: exists.*--overwrite"):
        Predictor(photos).get_predictions(Untouched())
    assert names(target.parent.parent) == ["sub/b.PNG"] and target.read_bytes() == before
    done = Predictor(photos, overwrite=True).get_predictions(Repeat())
    assert len(done.written) == 4 and target.read_bytes() != before


@pytest.mark.parametrize("pair", [("c.png", "c.jpg"), ("D.png", "d.webp"), ("é.png", "e\u0301.jpg")])
def test_two_inputs_for_one_file_are_refused_before_any_work(photos: Path, pair: tuple[str, str]) -> None:
    for name in pair:
        save(photos / name)
    with pytest.raises(RequestError, match="would be written there") as error:
        Predictor(photos, format="png").get_predictions(Untouched())
    assert all(name in str(error.value) for name in pair)
    assert not (photos.parent / "photos_x2").exists()


def test_inputs_are_never_replaced(photos: Path) -> None:
    before = {name: (photos / name).read_bytes() for name in TREE}
    for output in (photos, photos.parent / "photos" / "sub" / ".."):
        with pytest.raises(RequestError, match="is an input"):
            Predictor(photos, output, overwrite=True).get_predictions(Untouched())
    assert before == {name: (photos / name).read_bytes() for name in TREE}


def test_results_inside_the_folder_are_not_upscaled_again(photos: Path) -> None:
    for _ in range(2):
        done = Predictor(photos, photos / "large", overwrite=True).get_predictions(Repeat())
        assert len(done.written) == 4
    assert names(photos / "large") == TREE


def test_limits_of_the_format_are_checked_before_any_work(photos: Path) -> None:
    with pytest.raises(RequestError, match=r"ж\.webp.*16383"):
        Predictor(photos, size=(10, 17000)).get_predictions(Untouched())


def test_inputs_over_the_limit_are_not_read(photos: Path) -> None:
    done = Predictor(photos, max_pixels=100).get_predictions(Untouched())
    assert len(done.failed) == 4 and "limit of 100" in done.failed[0][1]


def test_a_disk_without_room_is_said_before_any_work(photos: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 1000, 0))  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match=r"disk has 0\.0 GiB left"):
        Predictor(photos).get_predictions(Untouched())


def test_memory_that_is_not_there_is_said(photos: Path, monkeypatch: Any) -> None:
    import psutil

    class Memory:
        available = 3000

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    # These photographs are small.
    monkeypatch.setattr("isr.predict.source.SMALL", 0)
    done = Predictor(photos).get_predictions(Untouched())
    assert len(done.failed) == 4
    assert all("GiB of memory" in line and line.startswith(str(path)) for path, line in done.failed)


# ------------------------------------------------------------------------------------------------- resuming


class Counting(Repeat):
    """Counts the pictures, and stops with `error` before the one of that number."""

    def __init__(self, stop: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        super().__init__()
        self.stop, self.error = stop, error

    def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
        if self.stop is not None and len(self.batches) >= self.stop:
            raise self.error
        return super().__call__(batch, scale=scale)


def resumed(folder: Path, **changes: Any) -> tuple[list[str], list[str]]:
    """Names of what was written and skipped."""
    done = Predictor(folder, resume=True, **changes).get_predictions(changes.pop("model", None) or Repeat())
    assert not done.failed
    return sorted(path.name for path in done.written), sorted(path.name for path in done.skipped)


ALL = sorted(Path(name).name for name in TREE)


def test_resume_skips_what_is_finished(photos: Path) -> None:
    assert resumed(photos) == (ALL, [])
    assert resumed(photos) == ([], ALL)
    with pytest.raises(RequestError, match="exists"):
        Predictor(photos).get_predictions(Repeat())


def test_resume_goes_on_after_an_interruption(photos: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Predictor(photos).get_predictions(Counting(stop=2))
    target = photos.parent / "photos_x2"
    assert names(target) == TREE[:2]  # whole files, and no temporary one
    written, skipped = resumed(photos)
    assert (skipped, written) == (sorted(TREE[:2]), ["b.PNG", "ж.webp"])


def test_resume_makes_again_what_was_made_otherwise(photos: Path) -> None:
    resumed(photos)
    source = photos / "a.png"

    save(source, seed=9)
    assert resumed(photos)[0] == ["a.png"]  # other pixels
    status = source.stat()
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    assert resumed(photos)[0] == ["a.png"]  # another time
    target = photos.parent / "photos_x2" / "a.png"
    target.write_bytes(target.read_bytes()[:-20])
    assert resumed(photos)[0] == ["a.png"]  # not whole
    target.unlink()
    assert resumed(photos)[0] == ["a.png"]  # gone
    for changes in ({"self_ensemble": True}, {"quality": 70}, {"tile_overlap": 4}, {"strip_metadata": True}):
        assert resumed(photos, **changes) == (ALL, [])  # other options
        assert resumed(photos, **changes) == ([], ALL)
    assert resumed(photos, size=(40, 57), output_dir=photos.parent / "photos_x2") == (ALL, [])


def test_resume_knows_the_weights(photos: Path, tmp_path: Path) -> None:
    model = EDSR(scale=2, num_features=8, num_blocks=1)
    model.start_as_interpolation()

    def run() -> tuple[int, int]:
        done = Predictor(photos, resume=True).get_predictions(tmp_path / "preset")
        return len(done.written), len(done.skipped)

    model.save_preset(tmp_path / "preset")
    assert run() == (4, 0)
    assert run() == (0, 4)
    randomise(model).save_preset(tmp_path / "preset")
    assert run() == (4, 0)
    done = Predictor(photos, resume=True).get_predictions(model)
    assert len(done.written) == 4  # another hash: of the model, not of its file
    assert len(Predictor(photos, resume=True).get_predictions(model).skipped) == 4
    tail = model.named_weights()["tail/bias"]
    tail.assign(np.full(tail.shape, 0.1, "float32"))
    assert len(Predictor(photos, resume=True).get_predictions(model).written) == 4  # trained meanwhile


def test_resume_does_not_replace_files_of_someone_else(photos: Path) -> None:
    target = save(photos.parent / "photos_x2" / "a.png", seed=5)
    before = target.read_bytes()
    with pytest.raises(RequestError, match="no record says how it was made"):
        resumed(photos)
    assert target.read_bytes() == before
    assert resumed(photos, overwrite=True) == (ALL, [])


def test_a_result_without_its_record_is_made_again(photos: Path, monkeypatch: Any) -> None:
    # As if the process were killed between the file and its record.
    monkeypatch.setattr(Journal, "finish", lambda *_: None)
    Predictor(photos).get_predictions(Repeat())
    monkeypatch.undo()
    assert resumed(photos) == (ALL, [])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', '{"files": {"a.png": 7}}'])
def test_damaged_records_skip_nothing(photos: Path, text: str) -> None:
    resumed(photos)
    folder = photos.parent / "photos_x2"
    for path in (folder / NAME).iterdir():
        path.write_text(text)
    (folder / OLD_NAME).write_text(text)
    written, skipped = resumed(photos, overwrite=True)
    assert (written, skipped) == (ALL, [])
    assert resumed(photos) == ([], ALL)


# --------------------------------------------------------------------------------- on the way, and the words


def test_a_picture_that_fails_stops_nothing_but_itself(photos: Path) -> None:
    class Moody(Repeat):
        def __call__(self, batch: np.ndarray, *, scale: int | None = None) -> np.ndarray:
            result = super().__call__(batch, scale=scale)
            return result * np.float32(np.nan) if len(self.batches) == 2 else result

    done = Predictor(photos).get_predictions(Moody())
    assert [path.name for path, _ in done.failed] == ["größe 图.png"]
    assert "no numbers" in done.failed[0][1] and done.failed[0][1].startswith(str(photos / "größe 图.png"))
    assert len(done.written) == 3 and not (photos.parent / "photos_x2" / "größe 图.png").exists()


def test_a_full_disk_stops_the_rest(photos: Path, monkeypatch: Any) -> None:
    write, written = picture.write, []

    def full(path: Path, *arguments: Any, **options: Any) -> None:
        if len(written) == 2:
            raise MachineError(f"{path}: the disk is full")
        written.append(path)
        write(path, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(MachineError, match="the disk is full"):
        patch.setattr(picture, "write", full)
        Predictor(photos).get_predictions(Repeat())
    assert len(names(photos.parent / "photos_x2")) == 2
    assert len(resumed(photos)[1]) == 2


def test_a_network_that_does_not_fit_stops_at_once(photos: Path) -> None:
    model = EDSR(scale=2, num_features=8, num_blocks=1)
    kernel = model.named_weights()["head/kernel"]
    kernel.assign(np.full(kernel.shape, np.inf, "float32"))
    with pytest.raises(RequestError, match="no numbers"):
        Predictor(photos).get_predictions(model)
    assert not (photos.parent / "photos_x2").exists()


def test_cancelling_leaves_whole_files(photos: Path) -> None:
    told = Lines(stop=2)
    with pytest.raises(Cancelled):
        Predictor(photos, progress=told).get_predictions(Repeat())
    assert names(photos.parent / "photos_x2") == TREE[:2]
    assert len(resumed(photos)[1]) == 2


def test_one_bar_counts_the_tiles_of_all_pictures(photos: Path) -> None:
    save(photos / "z.png", height=90, width=90)
    told = Lines()
    Predictor(photos, progress=told, tile=40, tile_overlap=4).get_predictions(Repeat())
    # Three opaque pictures of one tile, one with alpha (of one tile each), one of nine tiles.
    assert (told.starts, told.total, told.done) == (1, 3 + 2 + 9, 3 + 2 + 9)


def test_long_work_begins_with_an_estimate(photos: Path, monkeypatch: Any) -> None:
    def lines() -> list[str]:
        told = Lines()
        Predictor(photos, progress=told, overwrite=True).get_predictions(Repeat())
        return [line for line in told.lines if "to go" in line]

    assert lines() == []
    monkeypatch.setattr(report, "LONG", 0.0)
    (line,) = lines()
    assert line.startswith("about ") and line.endswith(" GiB of memory")


@pytest.mark.parametrize(("seconds", "said"), [(12.4, "12 s"), (200, "3 min"), (9000, "2.5 h")])
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration_of(seconds) == said


def test_what_the_output_cannot_hold_is_said_once(photos: Path) -> None:
    deep = photos / "deep.tif"
    import tifffile

    tifffile.imwrite(deep, np.arange(300, dtype=np.uint16).reshape(10, 10, 3) * 200, photometric="rgb")
    told = Lines()
    Predictor(photos, progress=told, format="jpg").get_predictions(Repeat())
    assert sorted(told.lines) == ["jpg has no transparency: laid over white", "jpg has only 8 bits"]


def test_16_bits_stay_16_bits_in_files(tmp_path: Path) -> None:
    import imagecodecs

    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = np.stack([levels, levels.T, levels[::-1]], axis=-1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "deep.png").write_bytes(imagecodecs.png_encode(picture))
    Predictor(tmp_path / "in", tmp_path / "out").get_predictions(Repeat())
    result = imagecodecs.png_decode((tmp_path / "out" / "deep.png").read_bytes())
    assert np.array_equal(result, picture.repeat(2, 0).repeat(2, 1))


def test_metadata_comes_along_unless_stripped(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a description"
    exif[0x0112] = 6  # turned
    (tmp_path / "in").mkdir()
    image = Image.fromarray(photograph(20, 30))
    image.save(tmp_path / "in" / "a.jpg", exif=exif, icc_profile=profile, dpi=(300, 300))
    for folder, strip in (("kept", False), ("stripped", True)):
        Predictor(tmp_path / "in", tmp_path / folder, strip_metadata=strip).get_predictions(Repeat())
    kept, stripped = (Image.open(tmp_path / folder / "a.jpg") for folder in ("kept", "stripped"))
    assert kept.size == stripped.size == (40, 60)
    assert kept.getexif()[0x010E] == "a description" and kept.getexif().get(0x0112, 1) == 1
    assert kept.info["icc_profile"] == profile
    assert not stripped.getexif() and "icc_profile" not in stripped.info


@pytest.mark.parametrize("suffix", sorted(WRITABLE))
def test_every_format_goes_through(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "in" / f"a{suffix}")
    done = Predictor(tmp_path / "in", tmp_path / "out").get_predictions(Repeat())
    assert [path.name for path in done.written] == [f"a{suffix}"]
    assert Image.open(done.written[0]).size == (56, 40)


def test_a_file_that_changes_meanwhile_is_told(photos: Path, monkeypatch: Any) -> None:
    read = picture.read

    def other(path: Path, **options: Any) -> Any:
        if path.name == "a.png":
            save(path, height=33)
        return read(path, **options)

    monkeypatch.setattr(picture, "read", other)
    done = Predictor(photos).get_predictions(Repeat())
    assert [path.name for path, _ in done.failed] == ["a.png"] and "changed" in done.failed[0][1]
    assert len(done.written) == 3


def test_errors_name_their_file_once() -> None:
    assert job.line_of(Path("a.png"), ISRError("a.png: broken")) == "a.png: broken"
    assert job.line_of(Path("a.png"), ISRError("broken")) == "a.png: broken"
    assert job.line_of(Path("a.png"), MemoryError()) == "a.png: not enough memory"
