"""The list of what a new network touches, in CONTRIBUTING.md, holds for every network there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from children import ROOT

import isr
from isr import models
from isr.models import SuperResolutionModel, list_models


def read(place: str) -> str:
    return (ROOT / place).read_text(encoding="utf-8")


def page(network: str) -> str:
    """The page that a network's row in the table of networks links to."""
    row = re.search(
        rf"^\| \[{network}\]\(([\w-]+\.md)(?:#[\w-]+)?\) \|", read("docs/models.md"), re.MULTILINE
    )
    assert row, f"docs/models.md has no row of {network}"
    return row[1]


def stands_in_its_file(network: str) -> bool:
    module = getattr(models, network).__module__
    return module.startswith("isr.models.") and f"class {network}(" in read(f"{module.replace('.', '/')}.py")


def stands_in_a_test(network: str) -> bool:
    files = Path(ROOT / "tests" / "models").glob("test_*.py")
    return any(re.search(rf"\b{network}\b", file.read_text(encoding="utf-8")) for file in files)


# What each place of the list must hold of a network.
PLACES: dict[str, Callable[[str], bool]] = {
    "isr/models/NETWORK.py": stands_in_its_file,
    "isr/models/__init__.py": lambda network: network in models.__all__,
    "isr/__init__.py": lambda network: network in isr.__all__ and hasattr(isr, network),
    "isr/runtimes/wirings.py": lambda network: any(
        f'"{network}"' in read(place)
        for place in ("isr/runtimes/wirings.py", "tests/runtimes/test_wirings.py")
    ),
    "tests/tiny_models.py": lambda network: (
        network in tiny_models.TINY and network in tiny_models.BAD_ARGUMENTS
    ),
    "tests/models/": stands_in_a_test,
    "docs/models.md": lambda network: bool(page(network)),
    "docs/NETWORK.md": lambda network: network in read(f"docs/{page(network)}"),
    "mkdocs.yml": lambda network: f": {page(network)}" in read("mkdocs.yml"),
    "docs/api.md": lambda network: f"::: isr.models.{network}\n" in read("docs/api.md"),
    "CHANGELOG.md": lambda network: bool(re.search(rf"\b{network}\b", read("CHANGELOG.md"))),
}


def listed() -> list[str]:
    section = read("CONTRIBUTING.md").partition("## A new network\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_the_list_names_what_is_tested_here() -> None:
    assert listed() == list(PLACES)


@pytest.mark.parametrize("model", list_models(), ids=lambda model: model.__name__)
def test_every_network_is_in_every_place_of_the_list(model: type[SuperResolutionModel]) -> None:
    missing = [place for place in listed() if not PLACES[place](model.__name__)]
    assert not missing, f"{model.__name__} is missing in {', '.join(missing)}"


def test_a_start_has_the_name_of_its_networks_file_and_is_imported() -> None:
    starts = {path.stem for path in (ROOT / "isr" / "models" / "starts").glob("*.py")}
    networks = {path.stem for path in (ROOT / "isr" / "models").glob("*.py")}
    for name in starts - {"__init__", "kernels"}:
        assert name in networks
        assert f"import isr.models.starts.{name}" in read("isr/models/__init__.py")
