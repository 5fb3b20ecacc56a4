"""`isr predict`: what is written where, what is said, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from children import ROOT, run_python
from pictures import folder_of_photographs, photograph
from PIL import Image
from tiny_models import randomise, save_baselines

import isr
from isr import presets
from isr.cli.app import COMMANDS, run
from isr.cli.predict import carry_out
from isr.errors import RequestError
from isr.models import EDSR
from isr.predict.command import PANELS
from isr.predict.jobs.job import Outcome
from isr.predict.jobs.journal import NAME
from isr.progress import Progress

pytestmark = pytest.mark.usefixtures("keras_in_float32")


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: list[str]
    err: list[str]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `isr predict ARGUMENTS` in this process."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run(["predict", *map(str, arguments)])
        said = capsys.readouterr()
        return Done(code, said.out.splitlines(), said.err.splitlines())

    return call


@pytest.fixture(scope="module")
def tiny_presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    save_baselines(folder)
    return folder


@pytest.fixture(autouse=True)
def installation(tiny_presets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """As if tiny presets were shipped; the current folder is an empty one."""
    monkeypatch.setattr(presets, "HERE", tiny_presets)
    monkeypatch.chdir(tmp_path)
    yield


def save(path: str | Path, seed: int = 0, height: int = 20, width: int = 28) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(height, width, seed)).save(path)
    return path


def files() -> list[str]:
    """All files below the current folder but journals."""
    return sorted(p.as_posix() for p in Path().rglob("*") if p.is_file() and NAME not in p.parts)


# ------------------------------------------------------------------------------------------ one photo, one line


def test_a_photo_becomes_a_larger_one_beside_it(cli: Callable[..., Done]) -> None:
    source = save("photo.jpg")
    done = cli(source)
    assert done.code == 0
    assert done.out == ["photo_x2.jpg"]
    (line,) = done.err
    assert line.startswith("photo_x2.jpg: 28x20 to 56x40, by edsr_baseline_x2 on CPU, tensorflow, float32, ")
    assert Image.open("photo_x2.jpg").size == (56, 40) and Image.open("photo_x2.jpg").format == "JPEG"
    assert files() == ["photo.jpg", "photo_x2.jpg"]


def test_the_file_holds_what_the_array_function_gives(cli: Callable[..., Done]) -> None:
    source = save("sub/photo.png")
    assert cli(source, "--scale", 3).out == [str(Path("sub/photo_x3.png"))]
    expected = isr.upscale("edsr_baseline_x3", photograph(20, 28))
    assert np.array_equal(np.asarray(Image.open("sub/photo_x3.png")), expected)


@pytest.mark.parametrize(
    ("options", "name", "size", "said"),
    [
        (["--scale", "2.5"], "photo_x2.5.png", (70, 50), "x3, then resized to 70x50"),
        (["--scale", "8"], "photo_x8.png", (224, 160), "x4 then x2"),
        (["--scale", "0.5"], "photo_x0.5.png", (14, 10), "no network"),
        (["--size", "100x70"], "photo_100x70.png", (100, 70), "x4, then resized to 100x70"),
        (["--size", "56x"], "photo_56x40.png", (56, 40), ""),
        (["--size", "x10"], "photo_14x10.png", (14, 10), "no network"),
        (["--size", "56x60"], "photo_56x60.png", (56, 60), "28x20 becomes 56x60: the aspect changes"),
        (["--preset", "edsr_baseline_x4"], "photo_x4.png", (112, 80), ""),
        (
            ["--preset", "edsr_baseline_x4", "--scale", "2"],
            "photo_x2.png",
            (56, 40),
            "x4, then resized to 56x40",
        ),
        (["--format", "webp"], "photo_x2.webp", (56, 40), ""),
        (["--format", "JPEG", "--quality", "50"], "photo_x2.jpeg", (56, 40), ""),
        (["--output", "other.tif"], "other.tif", (56, 40), ""),
        (["--output", "other.jpg", "--format", "jpeg"], "other.jpg", (56, 40), ""),
        (["--output", "out"], "out/photo_x2.png", (56, 40), ""),
        (["--name", "big {stem}, {scale} times"], "big photo, 2 times.png", (56, 40), ""),
        (
            ["--name", "{stem}_{width}x{height}_x{scale}_{{{model}}}", "--size", "x50", "--format", "jpg"],
            "photo_70x50_x2.5_{edsr_baseline_x3}.jpg",
            (70, 50),
            "x3, then resized to 70x50",
        ),
        (["--output", "out/deep/x.png", "--format", "png"], "out/deep/x.png", (56, 40), ""),
    ],
)
def test_options_lead_to_names_and_sizes(
    cli: Callable[..., Done], options: list[str], name: str, size: tuple[int, int], said: str
) -> None:
    save("photo.png")
    done = cli("photo.png", *options)
    assert (done.code, done.out) == (0, [str(Path(name))])
    assert Image.open(name).size == size
    assert files() == sorted(["photo.png", name])
    assert any(said in line for line in done.err)
    if not said:
        assert len(done.err) == 1


def test_names_of_every_alphabet_are_kept(cli: Callable[..., Done]) -> None:
    save("größe 图 ✓.png")
    assert cli("größe 图 ✓.png").out == ["größe 图 ✓_x2.png"]
    assert Path("größe 图 ✓_x2.png").is_file()


def test_a_picture_without_suffix_gets_its_own(cli: Callable[..., Done]) -> None:
    save("photo.png").rename("photo.v1")
    assert cli("photo.v1").out == ["photo.v1_x2.png"]


def test_quiet_says_nothing_and_json_says_all(cli: Callable[..., Done]) -> None:
    save("photo.png")
    quiet = cli("photo.png", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, ["photo_x2.png"], [])
    table = cli("photo.png", "--json", "--scale", "8")
    (row,) = json.loads("\n".join(table.out))
    assert row["target"] == "photo_x8.png" and row["status"] == "written"
    assert row["networks"] == ["edsr_baseline_x4", "edsr_baseline_x2"]
    assert (row["size_in"], row["size_out"], row["device"], row["precision"]) == (
        [28, 20],
        [224, 160],
        "CPU",
        "float32",
    )


def test_weights_are_a_preset_folder_or_a_keras_file(cli: Callable[..., Done], tiny_presets: Path) -> None:
    save("photo.png")
    model = EDSR(scale=3, num_features=8, num_blocks=1, pixel_range=1.0)
    randomise(model)
    model.save("mine.keras")
    assert cli("photo.png", "--weights", "mine.keras").out == ["photo_x3.png"]
    expected = isr.upscale(model, photograph(20, 28))
    assert np.array_equal(np.asarray(Image.open("photo_x3.png")), expected)
    assert cli("photo.png", "--weights", tiny_presets / "edsr_baseline_x2").out == ["photo_x2.png"]


def test_tiles_and_precision_are_options(cli: Callable[..., Done]) -> None:
    save("photo.png", height=90, width=90)
    whole = cli("photo.png", "--output", "a.png")
    exact = cli("photo.png", "--output", "b.png", "--tile", 32, "--overlap", "exact", "--batch", 3)
    assert whole.code == exact.code == 0
    difference = np.asarray(Image.open("a.png")).astype(int) - np.asarray(Image.open("b.png"))
    assert np.abs(difference).max() <= 1  # of what rounds up here and down there
    ensemble = cli(
        "photo.png", "--output", "c.png", "--self-ensemble", "--precision", "float32", "--device", "cpu"
    )
    assert ensemble.code == 0
    assert not np.array_equal(np.asarray(Image.open("c.png")), np.asarray(Image.open("a.png")))


# -------------------------------------------------------------------------------------------------- folders


def test_a_folder_is_mirrored_beside_itself(cli: Callable[..., Done]) -> None:
    for name in ("a.png", "sub/b.jpg", "sub/c.PNG"):
        save(Path("photos") / name)
    done = cli("photos/")
    assert done.code == 0
    expected = [str(Path("photos_x2") / name) for name in ("a.png", "sub/b.jpg", "sub/c.PNG")]
    assert sorted(done.out) == sorted(expected)
    again = cli("photos")
    assert again.code == 2 and "exists; give --overwrite" in again.err[0] and len(again.err) == 1
    resumed = cli("photos", "--resume")
    assert (resumed.code, resumed.out) == (0, []) and all("skipped" in line for line in resumed.err)
    assert cli("photos", "--overwrite").code == 0
    assert len(files()) == 6


def test_the_folder_here_has_a_folder_beside_it(
    cli: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    save("photos/a.png")
    monkeypatch.chdir("photos")
    done = cli(".")
    assert done.code == 0 and Path("../photos_x2/a.png").is_file()


def test_several_inputs_go_into_one_folder(cli: Callable[..., Done]) -> None:
    save("one/a.png")
    save("two/a.png")
    save("b.png")
    done = cli("one", "two", "b.png", "--output", "out")
    assert done.code == 0
    assert files() == ["b.png", "one/a.png", "out/b_x2.png", "out/one/a.png", "out/two/a.png", "two/a.png"]


def test_what_failed_is_listed_at_the_end(cli: Callable[..., Done]) -> None:
    save("photos/a.png")
    Path("photos/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Path("photos/text.jpg").write_text("text")
    done = cli("photos")
    assert done.code == 1
    assert done.out == [str(Path("photos_x2/a.png"))]
    assert done.err[-3] == "isr: 2 of 3 pictures and clips have no result:"
    assert [line.split(":")[0].strip() for line in done.err[-2:]] == [
        str(Path("photos/broken.png")),
        str(Path("photos/text.jpg")),
    ]
    table = cli("photos", "--json", "--resume")
    assert table.code == 1
    assert [row["status"] for row in json.loads("\n".join(table.out))] == ["failed", "failed", "skipped"]


def test_one_photo_can_be_resumed_too(cli: Callable[..., Done]) -> None:
    save("photo.png")
    assert cli("photo.png").out == ["photo_x2.png"]
    done = cli("photo.png", "--resume")
    assert (done.code, done.out, done.err) == (0, [], ["photo_x2.png: finished earlier, skipped"])
    save("photo.png", seed=4)
    assert cli("photo.png", "--resume").out == ["photo_x2.png"]


# -------------------------------------------------------------------------------------------------- dry runs


def test_a_dry_run_tells_and_does_nothing(cli: Callable[..., Done]) -> None:
    save("photos/a.png")
    Path("photos/broken.png").write_text("no picture")
    save("b.png")
    before = files()
    done = cli("photos", "b.png", "--scale", "2.5", "--dry-run")
    assert done.code == 1 and done.err == []  # one has no result
    whole = "x3, then resized to 70x50"
    assert [line.split(": ")[0] for line in done.out] == [
        str(Path("photos_x2.5/a.png")),
        "b_x2.5.png",
        "no result",
        "2 to make",
    ]
    assert all(
        "28x20 to 70x50, by edsr_baseline_x3 on tensorflow, float32, " in line and whole in line
        for line in done.out[:2]
    )
    assert "broken.png" in done.out[2]
    assert files() == before and not Path("photos_x2.5").exists()
    assert cli("b.png", "--preset", "nothing", "--dry-run").code == 2


def test_a_dry_run_as_json_tells_what_it_takes(cli: Callable[..., Done]) -> None:
    save("a.png", height=60, width=80)
    done = cli(
        "a.png",
        "--crop",
        "40x20+3+4",
        "--preset",
        "edsr_baseline_x2",
        "--preset",
        "bicubic",
        "--dry-run",
        "--json",
    )
    plan = json.loads("\n".join(done.out))
    assert [job["target"] for job in plan["jobs"]] == ["a_x2_edsr_baseline_x2.png", "a_x2_bicubic.png"]
    first = plan["jobs"][0]
    assert (first["size_in"], first["size_out"], first["units"]) == (
        [40, 20],
        [80, 40],
        {"count": 1, "name": "tiles"},
    )
    assert plan["bytes_on_disk"] > 0 and plan["bytes_of_memory"] >= 80 * 40 * 3
    assert (plan["finished"], plan["unreadable"]) == ([], [])


# ----------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_values_in_words(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    said = capsys.readouterr().out
    # Not as Python's types: <bool>, <int range>, <list[str]>.
    assert "--help" in said and not re.search(r"<(bool|int|str|float|path|list)", said)


def test_help_of_predict_has_panels(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", "--help"]) == 0
    said = capsys.readouterr().out
    places = [said.index(f" {panel} ") for panel in PANELS]
    assert places == sorted(places)


def test_isr_alone_begins_with_three_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["predict", "predict", "models"]
    assert run(["predict"]) == 2


@pytest.mark.parametrize("command", ["predict", "evaluate", "train", "convert", "export", "quantise"])
def test_what_writes_takes_output_and_quiet(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--quiet" in said and re.search(r"--output +-o ", said)


def test_a_run_lies_where_output_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from isr import config

    load, found = config.load, []

    def only_load(path: Path | None, settings: Sequence[str]) -> None:
        found.append(load(path, settings))
        raise RequestError("only loaded")

    monkeypatch.setattr(config, "load", only_load)
    assert run(["train", "--set", "run=runs/a", "-o", "runs/ä: [b"]) == 2
    assert Path(found[0].run) == Path("runs/ä: [b")


def test_bicubic_is_listed_and_figures_have_two_decimals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = dict.fromkeys(presets.COLUMNS, "") | {"name": "mine", "val_psnr_y": 33.2}
    monkeypatch.setattr(presets, "describe", lambda: [row])
    assert run(["models"]) == 0
    mine, bicubic = capsys.readouterr().out.splitlines()
    assert "33.20" in mine.split("\t") and bicubic.split("\t")[0] == "bicubic"


# --------------------------------------------------------------------------------------------------- errors

# Arguments, exit code, what the one line says. Run on: photo.png, empty.png, text.png, photo_x4.png, photos/a.png,
# photos/A.jpg, occupied (a file).
WRONG: list[tuple[list[str], int, str]] = [
    (["nowhere.png"], 2, "nowhere.png: no such file"),
    (["photo.png", "nowhere"], 2, "nowhere: no such file"),
    (["empty.png"], 2, "empty.png: the file is empty"),
    (["text.png"], 2, "text.png: not a picture"),
    (["photo.png", "text.png"], 2, "text.png: not a picture"),
    (["photo.png", "--max-pixels", "100"], 2, "photo.png: 28x20 pixels are more than the limit"),
    (["photo.png", "--scale", "4"], 2, "photo_x4.png: exists; give --overwrite"),
    (["photo.png", "--scale", "4", "--resume"], 2, "photo_x4.png: exists, and no record"),
    (["photo.png", "photo_x4.png", "--scale", "4", "--overwrite"], 2, "photo_x4.png: is an input"),
    (["photo.png", "--output", "photo.png", "--overwrite"], 2, "photo.png: is an input"),
    (["photo.png", "photo.png"], 2, "would be written there"),
    (["photo.png", "--output", "a.png", "--format", "jpg"], 2, "a.png: is no jpg file"),
    (["photo.png", "photos", "--output", "a.png"], 2, "a.png: names one file"),
    (["photos", "--output", "a.png"], 2, "a.png: names one file"),
    (["photo.png", "--output", "occupied"], 2, "occupied: is a file"),
    (["photo.png", "--output", "occupied/a.png"], 2, "a part of this path is a file"),
    (["photos", "--format", "png"], 2, "would be written there"),
    (["photo.png", "--scale", "0"], 2, "scale 0"),
    (["photo.png", "--scale", "much"], 2, "--scale"),
    (["photo.png", "--scale", "2", "--size", "3x3"], 2, "--scale and --size"),
    (["photo.png", "--size", "huge"], 2, "'huge': give it as 3840x2160"),
    (["photo.png", "--size", "20000x", "--format", "webp"], 2, "WEBP holds 16383 a side"),
    (["photo.png", "--size", "70000x", "--format", "jpg"], 2, "JPEG holds 65500 a side"),
    (["photo.png", "--preset", "edsr_baseline_x9"], 2, "'edsr_baseline_x9' is neither"),
    (
        ["photo.png", "--preset", "edsr_baseline_x2", "--weights", "x.keras"],
        2,
        "--preset, --weights and --server",
    ),
    (["photo.png", "--weights", "x.keras"], 2, "x.keras: no such file"),
    (["photo.png", "--weights", "text.png"], 2, "text.png: give a preset folder"),
    (["photo.png", "--format", "psd"], 2, "format 'psd' is unknown"),
    (["photo.png", "--format", "mp4"], 2, "a picture cannot be written as mp4"),
    (["photo.png", "--name", "large"], 2, "name 'large': put {stem} into it"),
    (["photo.png", "--name", "../{stem}"], 2, "without folders"),
    (["photo.png", "--name", "..\\{stem}"], 2, "without folders"),
    (["photo.png", "--name", "{stem}{stem.__class__}"], 2, "the places in it are"),
    (["photo.png", "--name", "{stem!r}"], 2, "the places in it are"),
    (["photo.png", "--name", "{stem"], 2, "a brace is open"),
    (["photo.png", "--name", "{stem}", "--overwrite"], 2, "photo.png: is an input"),
    (["photo.png", "--name", "{stem}_x{scale}", "--scale", "4"], 2, "photo_x4.png: exists"),
    (["photo.png", "--name", "{stem}", "--output", "a.png"], 2, "a.png: is the name already"),
    (["photos", "--name", "{stem}", "--format", "png", "--output", "o"], 2, "would be written there"),
    (["photo.png", "--quality", "101"], 2, "quality 101"),
    (["photo.png", "--tile", "5"], 2, "tile 5"),
    (["photo.png", "--overlap", "some"], 2, "--overlap some"),
    (["photo.png", "--precision", "half"], 2, "precision 'half' is unknown"),
    (["photo.png", "--device", "tpu"], 2, "device 'tpu' is unknown"),
    (["photo.png", "--colour"], 2, "--colour"),
    (["photo.png", "--size", "90000000x90000000", "--format", "tif"], 3, "the disk has"),
    ([], 2, "INPUT"),
]


def prepare() -> None:
    save("photo.png")
    save("photo_x4.png", seed=3)
    save("photos/a.png")
    save("photos/A.jpg")
    Path("empty.png").write_bytes(b"")
    Path("text.png").write_text("text")
    Path("occupied").write_text("")


@pytest.mark.parametrize(("arguments", "code", "said"), WRONG, ids=[" ".join(w[0]) or "-" for w in WRONG])
def test_wrong_requests_are_one_line_and_touch_nothing(
    cli: Callable[..., Done], arguments: list[str], code: int, said: str
) -> None:
    prepare()
    before = {name: Path(name).read_bytes() for name in files()}
    done = cli(*arguments)
    assert (done.code, done.out) == (code, [])
    (line,) = done.err
    assert line.startswith("isr: ") and said in line
    assert before == {name: Path(name).read_bytes() for name in files()}


def test_wrong_requests_are_refused_without_keras(tmp_path: Path, tiny_presets: Path) -> None:
    prepare()
    code = (
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "os.chdir(sys.argv[1])\n"
        "from isr import presets\n"
        "presets.HERE = Path(sys.argv[2])\n"
        "from isr.cli.app import run\n"
        "codes = [run(['predict', *arguments]) for arguments in json.loads(sys.argv[3])]\n"
        "codes.append(run(['predict', 'photo.png', '--scale', '0.5']))\n"
        "loaded = [name for name in ('keras', 'tensorflow', 'jax') if name in sys.modules]\n"
        "print(json.dumps([codes, loaded]))\n"
    )
    arguments = json.dumps([wrong[0] for wrong in WRONG])
    codes, loaded = json.loads(
        run_python("-c", code, str(tmp_path), str(tiny_presets), arguments).splitlines()[-1]
    )
    assert codes == [wrong[1] for wrong in WRONG] + [0]  # a reduction needs no network, and no Keras either
    assert loaded == []


def test_a_device_that_is_not_there_is_an_exit_code_of_its_own(cli: Callable[..., Done]) -> None:
    save("photo.png")
    done = cli("photo.png", "--device", "gpu:7")
    assert (done.code, done.out) == (3, [])
    (line,) = done.err
    assert line.startswith("isr: device gpu:7: no such GPU") and files() == ["photo.png"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_said_at_once(cli: Callable[..., Done]) -> None:
    save("photo.png")
    Path("locked").mkdir(mode=0o500)
    done = cli("photo.png", "--output", "locked")
    assert (done.code, done.out) == (2, []) and "locked: permission denied" in done.err[0]


@pytest.mark.parametrize("header_only", [False, True])
def test_one_broken_photo_is_one_line(cli: Callable[..., Done], header_only: bool) -> None:
    whole = bytearray(save("photo.png").read_bytes())
    if header_only:
        at = whole.index(b"IDAT") + 40
        whole[at : at + 60] = bytes(60)
    else:
        del whole[len(whole) // 2 :]
    Path("photo.png").write_bytes(whole)
    done = cli("photo.png")
    assert (done.code, done.out) == (2, [])
    (line,) = done.err
    assert line.startswith("isr: photo.png: cannot be read") and files() == ["photo.png"]


def test_weights_of_no_numbers_write_nothing(cli: Callable[..., Done]) -> None:
    model = EDSR(scale=2, num_features=8, num_blocks=1)
    for name in ("block0/conv1/kernel", "block0/conv1/bias"):
        variable = model.named_weights()[name]
        variable.assign(np.full(variable.shape, np.nan, "float32"))
    model.save_preset("bad")
    save("photo.png")
    done = cli("photo.png", "--preset", "bad")
    assert (done.code, done.out) == (2, []) and "no numbers" in done.err[0] and len(done.err) == 1
    assert not Path("photo_x2.png").exists()


def test_one_colour_of_several_writes_nothing(cli: Callable[..., Done]) -> None:
    model = EDSR(scale=2, num_features=8, num_blocks=1)
    for variable in model.variables:
        variable.assign(np.zeros(variable.shape, "float32"))
    model.save_preset("zero")
    save("photo.png")
    done = cli("photo.png", "--preset", "zero")
    assert (done.code, done.out) == (1, []) and "one colour" in done.err[0] and len(done.err) == 1
    assert not Path("photo_x2.png").exists()


# ------------------------------------------------------------------------------------------- a process of its own


def test_help_is_fast_and_needs_neither_keras_nor_tensorflow() -> None:
    code = (
        "import sys\n"
        "from isr.cli.app import run\n"
        "assert run(['predict', '--help']) == 0\n"
        "print([name for name in ('keras', 'tensorflow', 'PIL', 'jax') if name in sys.modules])\n"
    )
    said = run_python("-c", code)
    assert "--self-ensemble" in said
    assert said.splitlines()[-1] in ("[]", "['PIL']")


def test_what_libraries_print_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is what a thread of theirs prints, such as Ray's on a process that ended."""

    def work(progress: Progress) -> Iterator[Outcome]:
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()
        print("from here")
        yield Outcome(Path("a.png"), Path("b.png"), "skipped")

    assert carry_out(work, quiet=True, as_json=True) == 0
    said = capsys.readouterr()
    assert [one["status"] for one in json.loads(said.out)] == ["skipped"]
    assert said.err == "from a thread\nfrom here\n"


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "isr", "predict", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "viele 图"
    for index in range(30):
        save(folder / f"{index:02}.png", seed=index % 3, height=240, width=240)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_leaves_whole_files_and_resume_goes_on(many: Path, tiny_presets: Path) -> None:
    preset = str(tiny_presets / "edsr_baseline_x2")
    process = start(str(many), "--preset", preset, "--self-ensemble")
    assert process.stdout is not None and process.stderr is not None
    first = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "isr: stopped on request; what was finished is whole"
    target = many.parent / f"{many.name}_x2"
    there = sorted(path for path in target.iterdir() if path.name != NAME)
    assert 1 <= len(there) < 30 and first == str(there[0])
    for path in there:
        assert Image.open(path).convert("RGB").size == (480, 480)  # reads it to its end

    resumed = start(str(many), "--preset", preset, "--self-ensemble", "--resume", "--json")
    out, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    status = {row["target"]: row["status"] for row in json.loads(out)}
    assert {path for path, what in status.items() if what == "skipped"} == {str(path) for path in there}
    assert len(status) == 30


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_at_any_moment_resume_goes_on(many: Path, tiny_presets: Path) -> None:
    preset = str(tiny_presets / "edsr_baseline_x2")
    target = many.parent / f"{many.name}_x2"
    arguments = (str(many), "--preset", preset, "--self-ensemble", "--resume")
    for delay in (0.0, 0.05, 0.13, 0.31, 0.5):
        process = start(*arguments)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.communicate(timeout=60)
        for path in target.iterdir():
            if not path.name.startswith("."):
                assert Image.open(path).convert("RGB").size == (480, 480)
    process = start(*arguments)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert len([path for path in target.iterdir() if not path.name.startswith(".")]) == 30


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_12_megapixels_take_less_than_800_megabytes(tmp_path: Path) -> None:
    """The whole command, from a JPEG to a JPEG of 48 megapixels."""
    pytest.importorskip("openvino")
    source, target = tmp_path / "photo.jpg", tmp_path / "large.jpg"
    Image.fromarray(photograph(750, 1000).repeat(4, 0).repeat(4, 1)).save(source)
    line = ["predict", str(source), "-o", str(target), "--preset", "edsr_baseline_x2", "--engine", "openvino"]
    # What resource.getrusage gives begins with the peak of the process that started this one.
    code = f"""
import re
from pathlib import Path
from isr.cli.app import run
assert run({[*line, "--quiet"]!r}) == 0
print(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""
    # Under two minutes on two idle cores.
    peak = 1024 * int(run_python("-c", code, timeout=3600).splitlines()[-1])
    assert Image.open(target).size == (8000, 6000)
    assert peak < 800e6


def test_the_command_says_nothing_but_its_lines(tiny_presets: Path) -> None:
    save("photo.png")
    process = start("photo.png", "--preset", str(tiny_presets / "edsr_baseline_x2"))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "photo_x2.png\n")
    assert len(err.splitlines()) == 1 and err.startswith("photo_x2.png: 28x20 to 56x40")


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "avif"])
@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
def test_a_named_result_is_made_again(
    cli: Callable[..., Done], tmp_path: Path, tiny_presets: Path, suffix: str, option: str
) -> None:
    source, target = tmp_path / "a.png", tmp_path / f"q.{suffix}"
    Image.fromarray(photograph(12, 10)).save(source)
    arguments = (source, "-o", target, "--preset", tiny_presets / "edsr_baseline_x2", option)
    assert [cli(*arguments).code for _ in range(3)] == [0, 0, 0]
    assert target.is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text here")
def test_a_name_that_is_no_text_ends_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder_of_photographs(folder, 1, 12, 14)
    (folder / "0.png").rename(folder / os.fsdecode(b"\xff.png"))
    folder_of_photographs(folder, 1, 12, 14)
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "isr", "predict", "photos", "--preset", "bicubic", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, env=strict, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines() == [b"photos_x2/0.png", b"photos_x2/\xff.png"]
