"""The records of finished files: several writers, torn lines, those of earlier versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from children import ROOT

from isr.io.files import append_line
from isr.predict.jobs import journal
from isr.predict.jobs.journal import NAME, OLD_NAME, Journal

WRITER = """
import sys
from pathlib import Path
from isr.predict.jobs.journal import Journal
folder, name = Path(sys.argv[1]), sys.argv[2]
for number in range(150):
    Journal(folder).finish(folder / f"{name}{number}.png", {"made by": name, "number": number, "pad": "x" * 5000})
"""


def test_two_writers_keep_all_records(tmp_path: Path) -> None:
    """Records as long as several blocks of a file, so that writes could interleave."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], cwd=ROOT) for name in "ab"
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    records = Journal(tmp_path).read()
    for name in "ab":
        for number in range(150):
            record = records.get(tmp_path / f"{name}{number}.png")
            assert record is not None and (record["made by"], record["number"]) == (name, number)


def test_computers_have_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for computer in ("one", "two", "two (new)"):
        monkeypatch.setattr(journal.platform, "node", lambda name=computer: name)
        Journal(tmp_path).finish(tmp_path / f"{computer}.png", {"by": computer})
        Journal(tmp_path).finish(tmp_path / "both.png", {"by": computer})
    assert len(list((tmp_path / NAME).iterdir())) == 3
    records = Journal(tmp_path).read()
    assert records.get(tmp_path / "one.png") == {"by": "one"}
    assert records.get(tmp_path / "both.png") == {"by": "two (new)"}  # the latest one counts


@pytest.mark.parametrize(
    "torn", ['{"file": "b.png", "ti', '{"file": "b.png", "time": 1.0, "record": {"n": 2']
)
def test_half_a_line_costs_its_record_alone(tmp_path: Path, torn: str) -> None:
    Journal(tmp_path).finish(tmp_path / "a.png", {"n": 1})
    with Journal(tmp_path).path.open("a") as file:
        file.write(torn)
    Journal(tmp_path).finish(tmp_path / "sub" / "ä 图.png", {"n": 3})
    records = Journal(tmp_path).read()
    assert records.get(tmp_path / "a.png") == {"n": 1}
    assert records.get(tmp_path / "b.png") is None
    assert records.get(tmp_path / "sub" / "ä 图.png") == {"n": 3}


def test_a_file_that_is_begun_is_ours_and_not_finished(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    Journal(tmp_path).start(target)
    records = Journal(tmp_path).read()
    assert target in records and not records.agrees(target, {})
    Journal(tmp_path).finish(target, {"n": 1})
    assert Journal(tmp_path).read().agrees(target, {"n": 1})
    Journal(tmp_path).start(target)  # made again, and killed
    assert not Journal(tmp_path).read().agrees(target, {"n": 1})


def test_records_of_earlier_versions_count_as_far_as_they_go(tmp_path: Path) -> None:
    old = {"weights": "abc", "output": {"bytes": 3}}
    (tmp_path / OLD_NAME).write_text(json.dumps({"version": 1, "files": {"a.png": old, "b.png": old}}))
    Journal(tmp_path).finish(tmp_path / "b.png", {**old, "engine": "openvino"})
    records = Journal(tmp_path).read()
    now = {**old, "engine": "tensorflow"}
    assert records.agrees(tmp_path / "a.png", now)
    assert not records.agrees(tmp_path / "a.png", {**now, "weights": "abd"})
    assert not records.agrees(tmp_path / "b.png", now)  # a new record says more, and all of it counts
    assert json.loads((tmp_path / OLD_NAME).read_text())["files"] == {"a.png": old, "b.png": old}


def test_of_many_records_few_are_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).mkdir()
    line = '{{"file": "{0}.png", "time": 1.0, "record": {{"number": {0}, "pad": "{1}"}}}}'
    text = "\n".join(line.format(number, "x" * 600) for number in range(10_000))
    (tmp_path / NAME / "one.jsonl").write_text(text + "\n")
    taken = []
    loads = json.loads
    monkeypatch.setattr(journal.json, "loads", lambda text: (taken.append(len(text)), loads(text))[1])
    records = Journal(tmp_path).read()
    assert records.get(tmp_path / "77.png") == {"number": 77, "pad": "x" * 600}
    assert len([size for size in taken if size > 300]) == 1


def test_appended_lines_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.txt"
    append_line(path, "one")
    append_line(path, "zwei ä", to_disk=True)
    assert path.read_text(encoding="utf-8") == "one\nzwei ä\n"
    path.write_text("half")
    append_line(path, "three")
    assert path.read_text() == "half\nthree\n"
