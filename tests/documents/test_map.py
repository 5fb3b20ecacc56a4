"""The map: every module of the package stands in its tree, and what it and CONTRIBUTING name is there."""

from __future__ import annotations

import re
import tomllib
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = ROOT / "docs" / "architecture.md"
GUIDE = ROOT / "CONTRIBUTING.md"


def drawn(tree: str) -> list[str]:
    """The modules of a tree: a line is a folder, which ends with `/`, or modules, and perhaps what they are."""
    folders: list[tuple[int, str]] = []
    modules = []
    for line in filter(None, tree.splitlines()):
        depth = len(line) - len(line.lstrip())
        folders = [folder for folder in folders if folder[0] < depth]
        place = "".join(name for _, name in folders)
        words = line.split()
        if words[0].endswith("/"):
            folders.append((depth, words[0]))
        modules += [place + word for word in takewhile(lambda word: word.endswith(".py"), words)]
    return modules


def fence(title: str) -> str:
    """The first block below a heading of the map."""
    text = MAP.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2]
    return text.partition("```text\n")[2].partition("```")[0]


def test_every_module_is_in_the_tree_once() -> None:
    there = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "isr").rglob("*.py")
        if path.name != "__init__.py" or path.parent == ROOT / "isr"
    ]
    tree = drawn(fence("The tree"))
    missing, gone = sorted(set(there) - set(tree)), sorted(set(tree) - set(there))
    assert not missing, "draw them in the tree of docs/architecture.md"
    assert not gone, "take them out of the tree of docs/architecture.md"
    assert len(tree) == len(set(tree))


def test_every_room_is_in_the_tree() -> None:
    rooms = {path.parent.name for path in (ROOT / "isr").rglob("__init__.py")}
    assert set(re.findall(r"^ *(\w+)/", fence("The tree"), re.MULTILINE)) == rooms


def test_the_floors_are_those_of_the_linter() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "floors")
    assert fence("Floors").split("\n")[:-1] == layers


@pytest.mark.parametrize("page", [MAP, GUIDE], ids=lambda path: path.name)
def test_what_it_names_is_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for path in re.findall(r"`((?:isr|tests|docs|benchmarks)/[\w./-]*)`", text):
        # A name in capitals stands for the one that is added.
        assert re.search(r"\b[A-Z]{4,}\b", path) or (ROOT / path).exists(), path
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        assert re.match(r"[a-z]+:", target) or (page.parent / target).exists(), target
