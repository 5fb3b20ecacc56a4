"""What the page says where the package refuses a file, and which button mends it."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import ROOT
from pictures import photograph
from PIL import Image

from isr.errors import ISRError
from isr.io import clips, pictures
from isr.io.errors import file_error
from isr.page import supervisor
from isr.page.items import new_item
from isr.page.reasons import explain, key
from isr.page.supervisor import facts_of
from isr.predict.source import check_memory
from isr.runtimes import devices

CLIP = ROOT / "tests" / "samples" / "friday_aac.mp4"


def png() -> bytes:
    written = io.BytesIO()
    Image.fromarray(photograph(20, 30)).save(written, "PNG")
    return written.getvalue()


def kept(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pages(path: Path) -> Path:
    page = Image.fromarray(photograph(20, 30))
    page.save(path, save_all=True, append_images=[page])
    return path


def wide(path: Path) -> Path:
    Image.fromarray(np.zeros((1, 9000), np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("fails", "reason", "remedy"),
    [
        (lambda a: pictures.read(kept(a, png()[:700])), "damaged", "again"),
        (lambda a: pictures.read(kept(a, b"")), "damaged", "again"),
        (lambda a: clips.probe(kept(a.with_suffix(".mp4"), bytes(99))), "damaged", "again"),
        (lambda a: pictures.read(kept(a, b"something else")), "unknownInside", "again"),
        (lambda a: pictures.read(pages(a.with_suffix(".tif"))), "unknownInside", "again"),
        (lambda a: pictures.read(kept(a, png()), max_pixels=9), "manyPixels", ""),
        (lambda a: pictures.read(a), "gone", "again"),
        (lambda a: check_memory(2**60, f"{a}: a result of 9x9 pixels"), "largeResult", "again"),
        (lambda a: devices._choose("gpu", []), "cannotCalculate", "automatic"),
    ],
)
def test_what_fails_has_plain_words(
    fails: Callable[[Path], object], reason: str, remedy: str, tmp_path: Path
) -> None:
    # Its name says nothing.
    source = tmp_path / "memory.mkv" / "disk.png"
    source.parent.mkdir()
    with pytest.raises(ISRError) as caught:
        fails(source)
    assert explain(str(caught.value), source) == (key(reason), remedy)


@pytest.mark.parametrize(
    ("make", "values", "reason", "remedy"),
    [
        (lambda a: a, {}, "gone", "again"),
        (lambda a: kept(a, png()), {"options.name": "{stem}"}, "replacesItself", "name"),
        (wide, {"options.format": "webp"}, "tooLargeForKind", "format"),
        (
            lambda a: kept(a.with_suffix(".mp4"), CLIP.read_bytes()),
            {"clip.format": "webm"},
            "container",
            "format",
        ),
    ],
)
def test_what_cannot_be_made_says_so_before_it_is_begun(
    make: Callable[[Path], Path], values: dict[str, Any], reason: str, remedy: str, tmp_path: Path
) -> None:
    item = new_item("a", make(tmp_path / "memory.png"), True)
    facts = facts_of(item, {"look": "plain", **values})
    assert (facts.problem, facts.remedy) == (key(reason), remedy)
    # What was said of it stays, for those who can help.
    assert str(tmp_path) in facts.notes[0]
    mended = {"format": {"options.format": "png", "clip.format": "mkv"}, "name": {"options.name": None}}
    if remedy in mended:
        assert not facts_of(replace(item, changes=mended[remedy]), {"look": "plain", **values}).problem


@pytest.mark.parametrize(
    ("error", "of_result", "of_source"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "fullDisk", "fullDisk"),
        (PermissionError(errno.EACCES, "Permission denied"), "noWriting", "noReading"),
        (OSError(errno.EIO, "Input/output error"), "other", "other"),
    ],
)
def test_what_the_system_refuses(error: OSError, of_result: str, of_source: str) -> None:
    source = Path("/photos/a.mkv: b/memory.png")
    for path, reason in ((Path("/photos/memory_x2.mkv"), of_result), (source, of_source)):
        assert explain(str(file_error(path, error)), source)[0] == key(reason)
    # What fails in the worker is told of its source.
    assert explain(f"{source}: something unexpected happened (KeyError: 1)", source)[0] == key("unexpected")


def test_a_folder_that_is_away_is_a_fact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one file; the others are planned all the same."""

    def away(request: object) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(supervisor, "plan", away)
    assert facts_of(new_item("a.png", tmp_path / "a.png", False), {"look": "plain"}).problem
