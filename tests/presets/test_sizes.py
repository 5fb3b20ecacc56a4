"""What ships is small, by the table of bytes and the bounds of files and package, and its recipes fit any machine."""

from __future__ import annotations

import re
from pathlib import Path

from isr import presets

ROOT = Path(__file__).parents[2]
LARGEST_FILE = 7e6
LARGEST_WHEEL = 60e6


def test_the_page_lists_the_bytes_of_the_weights() -> None:
    table = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").partition("| weights | megabytes |")[2]
    said = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|$", table.partition("\n\n")[0], re.MULTILINE))
    files = {name: presets.find(name).rglob("*.safetensors") for name in presets.shipped()}
    sizes = {name: sum(file.stat().st_size for file in own) for name, own in files.items()}
    assert said == {name: f"{size / 1e6:.2f}" for name, size in sizes.items()}


def test_no_file_and_no_wheel_is_large() -> None:
    """Of the wheel, the files as they lie: compressed, it is smaller."""
    files = [file for file in (ROOT / "isr").rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    assert max(file.stat().st_size for file in files) < LARGEST_FILE
    assert sum(file.stat().st_size for file in files) < LARGEST_WHEEL


def test_no_recipe_names_a_folder_of_the_machine_it_ran_on() -> None:
    recipes = [file for name in presets.shipped() for file in presets.find(name).rglob("*.yml")]
    assert recipes
    named = {
        str(file): re.findall(r"""[\s"'\[{]/\w[^\s"']*""", file.read_text(encoding="utf-8"))
        for file in recipes
    }
    assert not any(named.values()), {file: found for file, found in named.items() if found}
