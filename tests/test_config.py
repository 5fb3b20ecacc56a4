"""The configuration: defaults, documentation, and errors that name line and key."""

from pathlib import Path

import pytest

from isr import config, presets
from isr.errors import RequestError

ROOT = Path(__file__).parents[1]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_is_the_schema() -> None:
    assert (ROOT / "config.yml").read_text(encoding="utf-8") == config.to_yaml(config.TrainConfig())


def test_every_key_is_documented_in_the_file_with_its_default() -> None:
    text = (ROOT / "config.yml").read_text(encoding="utf-8")
    for key, field in config.keys():
        assert field.description and f"# {field.description}" in text, key
        assert f"{key.rsplit('.', 1)[-1]}:" in text


@pytest.mark.parametrize("name", ["True", "Null", "off", "runs/1", "3", "a: b", "Läufe"])
def test_names_are_written_so_that_they_stay_names(tmp_path: Path, name: str) -> None:
    written = config.to_yaml(config.TrainConfig(run=name))
    assert config.load(write(tmp_path / "c.yml", written)).run == name


def test_arguments_are_as_a_file_gives_them_back() -> None:
    given = config.ModelConfig(arguments={"pixel_mean": (0.4, 0.5, 0.6), "base": {"scales": (2, 3)}})
    assert given.arguments == {"pixel_mean": [0.4, 0.5, 0.6], "base": {"scales": [2, 3]}}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    changed = config.load(
        None, ["data.batch_size=8", "model.arguments={scale: 4, res_scale: 0.1}", "run=Läufe/1"]
    )
    assert config.load(write(tmp_path / "c.yml", config.to_yaml(changed))) == changed
    assert changed.data.batch_size == 8 and changed.model.arguments == {"scale": 4, "res_scale": 0.1}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yml")), ids=lambda path: path.stem)
def test_recipes_are_configurations(path: Path) -> None:
    found = config.load(path)
    page = (ROOT / "docs" / f"{found.model.name.lower()}.md").read_text(encoding="utf-8")
    assert path.name in page
    earlier = {str(config.load(other).run) for other in path.parent.glob("*.yml") if other.name < path.name}
    start = str(found.model.start_from)
    assert start == "interpolation" or start in presets.shipped() or start.rpartition("/")[0] in earlier


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "data:\n  batchsize: 3\n",
            r"c\.yml:2: unknown key 'data.batchsize'; did you mean 'data.batch_size'",
        ),
        ("seed: 1\nlearning_rate: 3\n", r"c\.yml:2: unknown key .* did you mean 'optimizer.learning_rate'"),
        ("data:\n  batch_size: many\n", r"c\.yml:2: data.batch_size: .*integer.*, not 'many'"),
        ("steps: {total: 0}\n", r"c\.yml:1: steps.total: .*greater than or equal to 1, not 0"),
        ("seed: [\n", r"c\.yml:\d: not YAML"),
        ("- 3\n", "must be a mapping"),
        ("model: 3\n", r"c\.yml:1: model: must be a mapping of keys to values, not 3"),
        ("optimiser: {loss: l1}\n", r"did you mean 'optimizer'"),
        ("optimizer: {loss: l3}\n", r"c\.yml:1: optimizer.loss: .*not 'l3'"),
        (
            "optimizer:\n  periods: [3, 4]\n  restart_weights: [1]\n",
            r"c\.yml:3: optimizer.restart_weights: optimizer.periods has 2 values, .* not \[1",
        ),
        ("data: {frame_intervals: [1, -1]}\n", r"c\.yml:1: data.frame_intervals.1: .*greater .* not -1"),
        ("run: 2024-13-01\n", r"c\.yml: not YAML \(month must be in"),
        ("data: {<<: {foo: 1}}\n", r"c\.yml: unknown key 'data.foo'"),
        ("run: a\tb\x07\n", r"c\.yml.*: not YAML"),
        ("data: {clip_weights: {park: -1}}\n", r"c\.yml:1: data.clip_weights.park: .*not -1"),
    ],
)
def test_errors_are_one_line_with_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        config.load(write(tmp_path / "c.yml", text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such configuration file"):
        config.load(tmp_path / "none.yml")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_size=3", "did you mean 'data.batch_size'"),
        ("seed", "must be key=value"),
        ("seed.x=1", "no keys below"),
        ("seed=x", "--set seed=x: seed: .*integer"),
        ("lr=3", "did you mean 'optimizer.learning_rate'"),
        ("run=2024-13-01", "run=2024-13-01: the value is not YAML"),
    ],
)
def test_bad_settings_are_named(setting: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        config.load(None, [setting])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("res_scale=0.1", ("res_scale", 0.1)),
        ("model.arguments={scale: 4}", ("model.arguments", {"scale": 4})),
        ("data.cache=", ("data.cache", None)),
        ("run=a=b", ("run", "a=b")),
    ],
)
def test_a_setting_is_a_key_and_a_yaml_value(setting: str, expected: tuple[str, object]) -> None:
    assert config.parse_setting(setting) == expected


@pytest.mark.parametrize("command", ["train", "convert"])
@pytest.mark.parametrize(
    ("setting", "message"), [("x", "key=value"), ("=1", "key=value"), ("x=[", "not YAML")]
)
def test_every_command_parses_settings_alike(
    command: str, setting: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from isr.cli.app import run

    file = [str(write(tmp_path / "weights.pth", ""))] if command == "convert" else []
    assert run([command, *file, "--set", setting]) == 2
    assert capsys.readouterr().err.startswith(f"isr: --set {setting}: ")
    with pytest.raises(RequestError, match=message):
        config.parse_setting(setting)


@pytest.mark.parametrize("key", [key for key, _ in config.keys()])
def test_set_works_for_every_key(key: str) -> None:
    node = config.TrainConfig().model_dump()
    for part in key.split("."):
        node = node[part]
    text = config._scalar(node)
    assert config.load(None, [f"{key}={text}"]) == config.TrainConfig()
