"""The notebooks: stripped in the repository, and every cell runs outside Colab."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from notebook_runs import run

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stripped_and_compiles(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            compile("".join(cell["source"]), notebook.name, "exec")


def test_the_page_outside_colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its link leads to a page that ends with the notebook."""
    pytest.importorskip("starlette", reason="pip install keras-isr[page]")
    monkeypatch.setenv("ISR_PAGE", str(tmp_path / "state"))
    _, shown = run("page.ipynb", tmp_path)
    (link,) = re.findall(r'href="(http://127\.0\.0\.1:\d+/\?token=[\w-]+)"', shown[0]["text/html"])
    end, port = time.monotonic() + 30, urlsplit(link).port
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            assert time.monotonic() < end, "the page has ended with the notebook"
            time.sleep(0.1)


@pytest.mark.slow
def test_a_photograph_outside_colab(tmp_path: Path) -> None:
    from isr.io import pictures

    folder, shown = run("predict.ipynb", tmp_path)
    sample = ROOT / "docs" / "images" / "robin.png"
    source = sample if sample.is_file() else folder / "rings.png"
    before = pictures.probe(source)
    after = pictures.probe(folder / f"{source.stem}_x2{source.suffix}")
    assert (after.width, after.height) == (2 * before.width, 2 * before.height)
    assert any("image/png" in data for data in shown)


@pytest.mark.slow
def test_a_clip_outside_colab(tmp_path: Path) -> None:
    from isr.io.clips import probe

    folder, shown = run("video.ipynb", tmp_path)
    sample = ROOT / "tests" / "samples" / "friday_aac.mp4"
    source = sample if sample.is_file() else folder / "rings.mp4"
    before, after = probe(source, timeline=True), probe(folder / f"{source.stem}_x2.mp4", timeline=True)
    assert (after.width, after.height) == (2 * before.width, 2 * before.height)
    assert after.frames == before.frames_between(duration=2).stop and after.rate == before.rate
    assert [(s.kind, s.codec) for s in after.streams] == [(s.kind, s.codec) for s in before.streams]
    assert sum("image/png" in data for data in shown) == 2
    assert any("<video" in data.get("text/html", "") for data in shown)


@pytest.mark.slow
def test_a_training_outside_colab(tmp_path: Path) -> None:
    from isr.train.log import read_log

    folder, shown = run("train.ipynb", tmp_path)
    log = [row for row in read_log(folder / "runs" / "small" / "log.csv") if row["val_psnr_y"]]
    assert [row["step"] for row in log] == [str(step) for step in range(0, 301, 50)]
    assert float(log[-1]["val_psnr_y"]) > float(log[-1]["val_bicubic_psnr_y"])
    assert sum("image/png" in data for data in shown) == 2
