"""`isr evaluate`, `isr models` and `isr config`, as a user calls them."""

from __future__ import annotations

import csv
import inspect
import json
from pathlib import Path

import pytest
from pictures import folder_of_photographs
from tiny_models import TINY

from isr import config as configuration
from isr.cli.app import run
from isr.data.degrade import FixedDegradation
from isr.imresize import imresize
from isr.io.pictures import read
from isr.metrics import psnr


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from isr.models import EDSR

    folder = tmp_path_factory.mktemp("presets") / "tiny_x2"
    model = EDSR(2, num_features=8, num_blocks=1)
    model.start_as_interpolation()
    model.save_preset(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_photographs(tmp_path_factory.mktemp("photos"), 2, 40, 48)


def test_the_table_has_protocol_pictures_and_mean(
    preset: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = tmp_path / "table.csv", tmp_path / "table.json"
    outputs = [part for path in files for part in ("--output", str(path))]
    assert run(["evaluate", "--hr", str(photos), "--preset", str(preset), *outputs]) == 0
    text = capsys.readouterr().out
    for part in ("tiny_x2", "border 2 px", "not rounded", "0.png", "1.png", "mean", "of 2"):
        assert part in text
    mean = json.loads(files[1].read_text())["mean"]
    assert list(csv.DictReader(files[0].open()))[-1]["psnr"] == str(mean["psnr"])
    assert f"{mean['psnr']:.3f}" in text and f"{mean['bicubic_psnr']:.3f}" in text

    assert run(["evaluate", "--hr", str(photos), "--preset", str(preset), "--json", "--border", "4"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["protocol"]["border"] == 4 and content["mean"]["psnr"] != mean["psnr"]


def test_a_file_that_cannot_be_written_costs_no_figures(
    preset: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = photos / "0.png" / "table.csv"
    assert run(["evaluate", "--hr", str(photos), "--preset", str(preset), "-o", str(nowhere)]) != 0
    said = capsys.readouterr()
    assert "mean" in said.out and len(said.err.strip().splitlines()[-1:]) == 1


@pytest.mark.parametrize("source", ["aplus_x2", "edsr_fast_x2"])
@pytest.mark.parametrize(
    "option",
    [["--device", "nonsense"], ["--engine", "foo"], ["--precision", "foo"]],
    ids=lambda words: words[0],
)
def test_engines_that_are_none_are_refused_for_every_preset(
    photos: Path, source: str, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "--hr", str(photos), "--preset", source, *option]) == 2
    assert option[1] in capsys.readouterr().err


def test_a_sheet_does_not_replace_its_photo(photos: Path, tmp_path: Path) -> None:
    photo = tmp_path / "p.png"
    photo.write_bytes((photos / "0.png").read_bytes())
    arguments = ["--preset", "bicubic", "--scale", "2", "-o", str(photo), "--overwrite"]
    assert run(["compare", str(photo), *arguments]) == 2
    assert photo.read_bytes() == (photos / "0.png").read_bytes()


def test_pictures_are_scored_at_a_fixed_strength(
    preset: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--hr", str(photos), "--preset", str(preset)]
    assert run([*command, "--degradation", "real", "--strength", "3", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["protocol"]["lr"] == (
        "strength 3: Gaussian blur of sigma 1.8 HR px, MATLAB bicubic, noise of sigma 10 of 255, "
        "JPEG of quality 30; 8 bit"
    )
    hr = read(photos / "0.png").pixels
    bicubic = imresize(FixedDegradation("real", 3)(hr, 2), scale=2)
    assert content["rows"][0]["bicubic_psnr"] == pytest.approx(psnr(bicubic, hr, channel="y", border=2))

    for arguments, message in (
        (["--strength", "2"], "--strength 2: give a --degradation that has one: blur, noise, jpeg, real"),
        (["--strength", "5", "--degradation", "blur"], "--strength 5: must be 1, 2 or 3"),
        (["--back-projection", "1", "--degradation", "jpeg"], "--back-projection: is for small versions"),
    ):
        assert run([*command, *arguments]) == 2
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1


def test_pictures_have_a_column_for_every_preset_beside(
    preset: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "--hr", str(photos), "--border", "3", "--json"]
    alone = {}
    for source in ("edsr_fast_x2", str(preset)):
        assert run([*arguments, "--preset", source]) == 0
        alone[Path(source).name] = json.loads(capsys.readouterr().out)
    csv_file = tmp_path / "table.csv"
    command = [*arguments, "--preset", "edsr_fast_x2", "--beside", str(preset), "-o", str(csv_file)]
    assert run(command) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["model"] == "edsr_fast_x2" and list(content["rows"][0]) == ["name", "figures"]
    assert content["protocol"] == alone["tiny_x2"]["protocol"]
    for number, row in enumerate([*content["rows"], content["mean"]]):
        assert list(row["figures"]) == ["bicubic", "edsr_fast_x2", "tiny_x2"]
        for name, single in alone.items():
            expected = [*single["rows"], single["mean"]][number]
            assert row["name"] == expected["name"]
            assert row["figures"][name] == {"psnr": expected["psnr"], "ssim": expected["ssim"]}
            assert row["figures"]["bicubic"]["psnr"] == expected["bicubic_psnr"]
    lines = list(csv.DictReader(csv_file.open()))
    assert [line["method"] for line in lines] == ["bicubic", "edsr_fast_x2", "tiny_x2"] * 3
    assert list(lines[0]) == ["name", "method", "psnr", "ssim"]

    assert run(command[: command.index("--json")] + command[command.index("--json") + 1 :]) == 0
    text = capsys.readouterr().out.splitlines()
    heads = [line.split() for line in text if line.startswith("picture")]
    assert [head[-2:] for head in heads] == [["tiny_x2", "dB"], ["tiny_x2", "SSIM"]]
    assert text[-1].startswith("better than bicubic: edsr_fast_x2 2 of 2, tiny_x2 ")


def test_evaluation_from_python_is_the_command(
    preset: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from isr.errors import RequestError
    from isr.evaluate import EvaluateOptions, evaluate_files
    from isr.models import EDSR

    assert run(["evaluate", "--hr", str(photos), "--preset", str(preset), "--channel", "rgb"]) == 0
    said = capsys.readouterr().out
    table = evaluate_files(photos, preset, EvaluateOptions(channel="rgb"))
    assert table.to_text() == said.rstrip("\n")
    model = EDSR.from_preset(preset)
    same = evaluate_files(photos, model, EvaluateOptions(beside=[preset]))
    one, other = (same.mean.figures[name] for name in same.methods[1:])
    assert one == other
    with pytest.raises(RequestError, match="--channel hsv"):
        EvaluateOptions(channel="hsv")  # type: ignore[arg-type]


def test_given_pairs_and_self_ensemble(
    preset: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of_photographs(tmp_path / "lr", 2, 20, 24)
    arguments = ["evaluate", "--hr", str(photos), "--lr", str(tmp_path / "lr"), "--preset", str(preset)]
    assert run([*arguments, "--self-ensemble"]) == 0
    text = capsys.readouterr().out
    assert "self-ensemble" in text and f"given in {tmp_path / 'lr'}" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hr", "nowhere"], "nowhere: no such folder"),
        (["--scale", "3"], "--scale 3: tiny_x2 enlarges by 2"),
        (["--beside", "bicubic"], "bicubic: has a column in every table"),
        (["--channel", "hsv"], "--channel hsv: must be y or rgb"),
        (["--output", "table.txt"], "must end with .csv or .json"),
        (["--border", "25"], "0.png: cannot be scored: border=25 leaves nothing"),
        (["--weights", "nothing.keras"], "--preset and --weights"),
        (["--device", "tpu"], "device 'tpu' is unknown"),
    ],
)
def test_wrong_requests_are_one_line(
    arguments: list[str], message: str, preset: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "--hr", str(photos), "--preset", str(preset), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_config_prints_the_defaults_and_they_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config"]) == 0
    path = tmp_path / "config.yml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert configuration.load(path) == configuration.TrainConfig()
    assert run(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["batch_size"] == 16


def test_config_of_a_preset_and_of_none(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", str(preset)]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "EDSR"
    assert run(["config", "nothing"]) == 2
    assert "'nothing' is neither a shipped name" in capsys.readouterr().err


def test_models_lists_what_ships(capsys: pytest.CaptureFixture[str]) -> None:
    from isr import presets

    assert run(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [*presets.NETWORKS, *presets.shipped(), "bicubic"]
    assert [line.split("\t")[0] for line in lines] == names
    assert all(line.count("\t") == 7 for line in lines)
    figures = [cell for line in lines for cell in line.split("\t") if "." in cell and cell[0].isdigit()]
    assert len(figures) > 8 and all(len(figure.partition(".")[2]) == 2 for figure in figures)
    assert run(["models", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == names


def test_the_networks_that_are_listed_are_those_that_exist() -> None:
    from isr import presets
    from isr.models import list_models

    assert list(presets.NETWORKS) == [model.__name__ for model in list_models()]
    for model in list_models():
        for scale in presets.NETWORKS[model.__name__]:
            arguments = dict(TINY[model.__name__][0])
            if "scale" in inspect.signature(model).parameters:
                arguments["scale"] = scale
            assert scale in model(**arguments).scales
