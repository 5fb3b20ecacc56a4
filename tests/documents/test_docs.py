"""The documentation: it builds, its links lead somewhere, and what it says of options, keys and names is true.

`python tests/documents/test_docs.py` prints the table of `docs/configuration.md`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import typer

from isr import config, presets
from isr.arguments import argument_names
from isr.cli.app import app_of
from isr.predict.frames import window_indices
from isr.spec import ModelSpec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS: dict[str, Any] = typer.main.get_command(app_of()).commands  # type: ignore[attr-defined]

# Pages whose Python needs more than a photo and a clip.
RUN_ELSEWHERE = {"coming-from-idealo.md", "serving.md"}

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


# The table of the configuration


def configuration_table() -> str:
    """Every key of `config.yml` as a Markdown table, read off the schema."""
    rows = [
        f"| `{key}` | {field.description} | {values(field)} | {default(field)} |"
        for key, field in config.keys()
    ]
    return "\n".join(["| key | meaning, unit | values | default |", "|---|---|---|---|", *rows])


def values(field: Any) -> str:
    """What a key may hold, in words."""
    kinds = [field.annotation]
    if get_origin(field.annotation) in (Union, UnionType):
        kinds = list(get_args(field.annotation))
    parts = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            parts += [f"`{value}`" for value in get_args(kind)]
        elif kind is type(None):
            parts.append("`null`")
        else:
            names = {int: "whole number", float: "number", str: "text", bool: "`true`, `false`", list: "list"}
            parts.append(names.get(get_origin(kind) or kind, "mapping") + "".join(map(limit, field.metadata)))
    return ", ".join(parts)


def limit(constraint: Any) -> str:
    """A bound of a number, in words."""
    words = {"ge": "from", "gt": "over", "le": "to", "lt": "under"}
    found = [(word, getattr(constraint, name)) for name, word in words.items() if hasattr(constraint, name)]
    return "".join(f" {word} {value:g}" for word, value in found)


def default(field: Any) -> str:
    """The default as it stands in the file."""
    return f"`{config._scalar(field.default)}`"


def test_the_configuration_page_is_the_schema() -> None:
    text = read(ROOT / "docs" / "configuration.md")
    assert configuration_table() in text, "run python tests/documents/test_docs.py and paste its table"
    named = re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)
    assert named == [key for key, _ in config.keys()]


# What the pages name


@page
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = without_code(read(page))
    for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)|<img[^>]+src=\"([^\"]+)\"", text):
        address = "".join(target)
        if not re.match(r"[a-z]+:", address) and not address.startswith("#"):
            path, _, anchor = address.partition("#")
            there = page.parent / path
            assert there.is_file(), f"{page.name}: {address}"
            if anchor and there.name != "api.md":  # mkdocs checks the names of the API
                assert anchor in anchors(there), f"{page.name}: {address}"


@page
def test_every_option_exists(page: Path) -> None:
    for line in command_lines(read(page)):
        words = shlex.split(line, comments=True)
        command = next((word for word in words[1:] if not word.startswith("-")), None)
        if command is None:
            continue
        assert command in COMMANDS, f"{page.name}: {line}"
        for word in words[words.index(command) + 1 :]:
            if word.startswith("-"):
                assert word.partition("=")[0] in options(command), f"{page.name}: {line}"


@page
def test_options_in_prose_exist(page: Path) -> None:
    known = {option for command in COMMANDS for option in options(command)} | {"--debug", "--version"}
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", own_words(read(page))):
        assert option in known, f"{page.name}: {option}"


@pytest.mark.parametrize(
    ("command", "names"), [("predict", ["predict.md", "video.md"]), ("evaluate", ["metrics.md"])]
)
def test_every_option_is_in_one_table(command: str, names: list[str]) -> None:
    in_tables = [
        option
        for name in names
        for row in re.findall(r"^\| (`-[^|]*) \|", read(ROOT / "docs" / name), re.MULTILINE)
        for option in re.findall(r"`(-[^`]+)`", row)
    ]
    assert sorted(in_tables) == sorted(options(command) - {"--help", "-h"})


def test_every_option_is_on_some_page() -> None:
    text = "".join(read(path) for path in PAGES)
    for command in COMMANDS:
        for option in options(command) - {"--help", "-h"}:
            assert option in text, f"isr {command} {option}"


@page
def test_every_key_that_is_set_exists(page: Path) -> None:
    text = read(page)
    # The --set of `isr convert` is another one.
    training = "\n".join(line for line in text.splitlines() if "isr convert" not in line)
    for setting in re.findall(r"--set ([\w.]+=\S*)", training):
        if not setting.startswith("key="):
            config.load(None, [setting.rstrip("`.,")])
    for key in re.findall(r"`((?:model|data|optimizer|perceptual|steps)\.[a-z_]+)\b", text):
        # A key, or a section of keys.
        known = any(f"{name}.".startswith(f"{key}.") for name, _ in config.keys())
        # `model` is also what the pages call a network in Python.
        assert known or key.startswith("model."), f"{page.name}: {key}"


@page
def test_configurations_load(page: Path, tmp_path: Path) -> None:
    for index, block in enumerate(blocks(read(page), "yaml")):
        path = tmp_path / f"{index}.yml"
        path.write_text(block, encoding="utf-8")
        config.load(path)


@page
def test_python_compiles(page: Path) -> None:
    for block in blocks(read(page), "python"):
        compile(block, page.name, "exec")


def test_programs_that_pages_run_exist() -> None:
    for path in PAGES:
        for program in re.findall(r"\bpython ((?:benchmarks|tests)/\w+\.py)", read(path)):
            assert (ROOT / program).is_file(), f"{path.name}: {program}"


def test_every_dependency_has_its_reason() -> None:
    required = re.search(r"install_requires=\[(.*?)\]", read(ROOT / "setup.py"), re.DOTALL)
    assert required is not None
    names = re.findall(r'"([\w.-]+)>=', required[1])
    text = read(ROOT / "docs" / "decisions.md").partition("## Dependencies")[2].partition("## ")[0]
    rows = re.findall(r"^\| ([\w.-]+) \|", text, re.MULTILINE)[1:]
    assert sorted(rows) == sorted(names)


def test_every_extra_is_on_the_first_page() -> None:
    extras = re.search(r"extras_require=\{(.*?)\n    \}", read(ROOT / "setup.py"), re.DOTALL)
    assert extras is not None
    text = read(ROOT / "docs" / "index.md")
    for name in re.findall(r'^ +"(\w+)":', extras[1], re.MULTILINE):
        assert f".[{name}]" in text, name


def test_the_readme_names_every_preset() -> None:
    text = read(PAGES[0])
    for name in presets.shipped():
        assert f"`{name}`" in text, name
    assert "A+" in text


def test_fields_that_are_keywords_of_upscale() -> None:
    """What the docstring of `PredictOptions` says of its fields."""
    import isr

    said = re.search(
        r"From `(\w+)` to `(\w+)`, the fields are keywords of `isr.upscale`",
        isr.predict.PredictOptions.__doc__,
    )
    assert said is not None
    fields = [field.name for field in dataclasses.fields(isr.predict.PredictOptions)]
    named = fields[fields.index(said[1]) : fields.index(said[2]) + 1]
    assert set(named) == set(inspect.signature(isr.upscale).parameters) & set(fields)


def test_the_default_presets_for_video() -> None:
    table = read(ROOT / "docs" / "video.md").partition("| scale | preset |")[2].partition("\n\n")[0]
    named = {int(scale): name for scale, name in re.findall(r"^\| (\d) \| `(\w+)` \|$", table, re.MULTILINE)}
    assert named == {scale: presets.default_for(scale, video=True) for scale in presets.default_scales()}


def test_the_border_rules_of_frames() -> None:
    """The windows in video.md, of a clip of 100 frames."""
    table = read(ROOT / "docs" / "video.md").partition("| rule |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d*| ]+) \|", table, re.MULTILINE)
    assert [rule for rule, _ in rows] == ["reflect", "circle", "replicate"]
    for rule, cells in rows:
        spec = ModelSpec("", (4,), num_frames=5, center_frame=2, frame_border=rule)
        for center, cell in zip((0, 1, 98, 99), cells.split("|"), strict=True):
            assert cell.replace("*", "").split() == [str(i) for i in window_indices(center, 99, spec)]
            assert f"**{center}**" in cell


def test_every_figure_is_measured() -> None:
    left = [
        f"{path.name}: {line}"
        for path in PAGES
        for line in read(path).splitlines()
        if re.match(r"MEASURE:|.*@[A-Z]+@", line)
    ]
    assert not left, "\n".join(left)


def test_every_page_is_in_the_navigation() -> None:
    navigation = read(ROOT / "mkdocs.yml").partition("nav:")[2]
    assert sorted(re.findall(r"[\w-]+\.md", navigation)) == sorted(
        path.relative_to(ROOT / "docs").as_posix() for path in PAGES[1:]
    )


# What the pages run


def test_models_that_the_pages_count(tmp_path: Path) -> None:
    """The parameters and radii in edsr.md, models.md and tiling.md, of the networks they are said of."""
    from isr.models import EDSR

    text = read(ROOT / "docs" / "edsr.md")
    for scale in (2, 3, 4, 8):
        model = EDSR(scale)
        assert f"{model.count_params():,}" in text
        assert scale == 8 or model.receptive_radius == 36
    text = read(ROOT / "docs" / "models.md")
    fast = EDSR(2, num_features=32, num_blocks=8)
    assert f"| {fast.count_params():,} |" in text and fast.receptive_radius == 20
    radii = read(ROOT / "docs" / "tiling.md")
    assert "`_x3`, `_x4` | 36 |" in radii and "`edsr_fast_x2` | 20 |" in radii


def defaults(model: Any) -> dict[str, Any]:
    """Arguments of a network, those of its pictures last, with their defaults."""
    own = {p.name: p.default for p in inspect.signature(model).parameters.values() if p.name != "kwargs"}
    return own | (dict(model.PICTURES) if "pixel_mean" in argument_names(model) else {})


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("edsr", "EDSR"),
        ("mdsr", "MDSR"),
        ("rdn", "RDN"),
        ("rrdn", "RRDBNet"),
        ("rrdn", "RRDN"),
        ("compact", "Compact"),
        ("span", "SPAN"),
    ],
)
def test_arguments_of_the_networks_for_photographs(page: str, name: str) -> None:
    """The table of each has every argument with its default."""
    from isr import models

    text = read(ROOT / "docs" / f"{page}.md").partition(f"## Arguments of {name}\n")[2]
    table = text.partition("| argument |")[2].partition("\n\n")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", table, re.MULTILINE))
    assert documented == {key: str(default) for key, default in defaults(getattr(models, name)).items()}


@pytest.mark.slow
def test_networks_for_photographs_are_as_large_as_their_pages_say() -> None:
    """Parameters, operations per input pixel and radius in the tables whose first column is code."""
    import keras
    import numpy as np

    from isr import models

    operations = 0
    convolve = keras.layers.Conv2D.call

    def counted(layer: Any, x: Any) -> Any:
        nonlocal operations
        operations += 2 * int(np.prod(layer.kernel.shape)) * x.shape[1] * x.shape[2]
        return convolve(layer, x)

    rows = []
    for name in ("mdsr", "rdn", "rrdn", "compact", "span"):
        row = r"^\| `(\w+[.(].*\))` \| ([\d,]+) \| ([\d., ]+) \| (\d+) \|$"
        rows += re.findall(row, read(ROOT / "docs" / f"{name}.md"), re.MULTILINE)
    assert len(rows) == 24
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.layers.Conv2D, "call", counted)
        for code, parameters, mflop, radius in rows:
            model = eval(code, vars(models))
            assert f"{model.count_params():,}" == parameters, code
            assert str(model.receptive_radius) == radius, code
            found = []
            for scale in model.scales:
                operations = 0
                model.at_scale(np.zeros((1, 4, 4, 3), "float32"), scale)
                found.append(f"{operations / 16 / 1e6:.2f}")
            assert ", ".join(found) == mflop, code


@pytest.mark.parametrize("name", ["TDAN", "EDVR", "FlowVSR"])
def test_arguments_of_the_video_networks(name: str) -> None:
    """The table of each page has every argument with its default, and the drawings show layers that are there."""
    from isr import models

    folder = ROOT / "docs"
    text = read(folder / f"{name.lower()}.md")
    table = text.partition("| argument |")[2].partition("\n\n")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \|.*\| `?([^|`]+)`? \|$", table, re.MULTILINE))
    arguments = defaults(getattr(models, name))
    assert list(documented) == list(arguments)
    for argument, default in arguments.items():
        said = "None" if documented[argument] == "the middle" else documented[argument].strip('"')
        assert said == str(default), argument

    code = read(ROOT / "isr" / "models" / f"{name.lower()}.py")
    for drawing in re.findall(r"images/([\w-]+\.svg)", text):
        for label in re.findall(r'class="small">(\w+_\w+)<', read(folder / "images" / drawing)):
            assert re.search(rf"\b{label}\b", code), f"{drawing}: {label}"


def test_parameters_of_the_video_networks() -> None:
    """Those of the published variants, which `test_video_models.py` counts."""
    pages = read(ROOT / "docs" / "tdan.md") + read(ROOT / "docs" / "edvr.md")
    counted = re.findall(
        r"\b(\d{1,3}(?:_\d{3}){2})\b", read(ROOT / "tests" / "models" / "test_video_models.py")
    )
    assert sorted(re.findall(r"\b\d{1,2}(?:,\d{3}){2}\b", pages)) == sorted(
        n.replace("_", ",") for n in counted
    )


def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    run_blocks([PAGES[0]], tmp_path)


@pytest.mark.slow
def test_python_of_the_pages_runs(tmp_path: Path) -> None:
    run_blocks(PAGES[1:], tmp_path)


def run_blocks(pages: list[Path], folder: Path) -> None:
    """Run the Python blocks of pages, each page in its own namespace, in one process, beside photos and a clip."""
    from pictures import folder_of_photographs

    sample = ROOT / "docs" / "images" / "robin.png"
    photo = sample if sample.is_file() else folder_of_photographs(folder / "made", 1) / "0.png"
    (folder / "docs" / "images").mkdir(parents=True)
    (folder / "docs" / "images" / "robin.png").write_bytes(photo.read_bytes())
    shutil.copy(ROOT / "tests" / "samples" / "friday_aac.mp4", folder / "clip.mp4")
    folder_of_photographs(folder / "photos" / "train", 4)
    folder_of_photographs(folder / "photos" / "val", 1)
    named = [
        [(f"{path.name}, block {i}", block) for i, block in enumerate(blocks(read(path), "python"), start=1)]
        for path in pages
        if path.name not in RUN_ELSEWHERE
    ]
    program = (
        f"for page in {named!r}:\n    names = {{'__name__': 'page'}}\n"
        "    for name, code in page:\n        exec(compile(code, name, 'exec'), names)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_mkdocs_builds_without_a_warning(tmp_path: Path) -> None:
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed: pip install -e .[docs]")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for path in PAGES[1:]:
        html = read(tmp_path / "site" / path.with_suffix(".html").name)
        loaded = re.findall(
            r"<(?:script|img|source)[^>]+src=\"?([^\"\s>]+)|<link[^>]+href=\"?([^\"\s>]+)", html
        )
        assert not [address for pair in loaded for address in pair if re.match(r"(https?:)?//", address)], (
            path.name
        )


# Reading pages


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def fences(text: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page: language and content."""
    for match in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [content for name, content in fences(text) if name == language]


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def command_lines(text: str) -> Iterator[str]:
    """Every `isr ...` in a block of commands or in prose, such as `isr predict photo.jpg`."""
    for language, content in fences(text):
        if language in ("", "bash", "sh", "console"):
            for line in content.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;|\|", line):
                    words = part.strip().lstrip("$ ").split()
                    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                        words = words[1:]
                    if words and re.fullmatch(r"(\S*[/\\])?isr(\.exe)?", words[0]):
                        yield " ".join(words)
    # Not "isr.upscale", and not a sentence.
    yield from re.findall(
        r"`(isr (?:--\w+|[a-z]+)[^`\n]*)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    )


def own_words(text: str) -> str:
    """A page without the lines that run other programs than ours."""
    other = r"(?:git|pip|python3?|mkdocs|tensorboard|pytest|ray)\b"
    text = re.sub(rf"^.*(?:^|[\s/\\`]){other} .*$", "", text, flags=re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def options(command: str) -> set[str]:
    """The options of a command, with their dashes."""
    found = {
        option
        for parameter in COMMANDS[command].params
        for option in parameter.opts + parameter.secondary_opts
    }
    return {option for option in found if option.startswith("-")} | {"--help", "-h"}


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as mkdocs makes them."""
    headings = re.findall(r"^#+ (.+)$", read(path), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


if __name__ == "__main__":
    print(configuration_table())
