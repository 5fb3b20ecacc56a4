"""Inputs one by one: lists with options of their own, shards, and places in an object store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_store import SECRET
from pictures import photograph
from PIL import Image

from isr.cli import app
from isr.errors import ISRError, RequestError
from isr.io import places
from isr.io.places import is_remote, place_of
from isr.predict import PredictOptions, PredictRequest, plan
from isr.predict.jobs.job import Job
from isr.predict.jobs.journal import Journal, Records
from isr.predict.jobs.shards import shard_of
from isr.predict.speeds import Speeds
from isr.predict.stream import Maker, Settled, items_of
from isr.presets import Mixture
from isr.progress import Silent

NAMES = [f"{letter}.png" for letter in "abcdefgh"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(NAMES):
        save(f"photos/{name}", seed)
    return tmp_path


def save(name: str, seed: int = 0) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(16, 20, seed)).save(path)


def names_below(folder: str) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.png"))


# ------------------------------------------------------------------------------------------------------ shards


@given(st.text(min_size=1), st.integers(1, 1000))
def test_a_name_lies_in_one_shard(name: str, count: int) -> None:
    assert 0 <= shard_of(name, count) < count
    assert shard_of(name, count) == shard_of(name, count)


def test_shards_are_the_same_on_every_machine_and_even() -> None:
    """Written down once: a hash that changed with the version of Python or with the machine would fail."""
    assert [shard_of(name, 1000) for name in ("a.png", "sea/b.png", "ä.jpg")] == [982, 375, 805]
    sizes = [0] * 10
    for number in range(10_000):
        sizes[shard_of(f"{number}.jpg", 10)] += 1
    assert max(sizes) - min(sizes) < 200


def test_shards_together_are_all(here: Path) -> None:
    made: list[str] = []
    for number in range(3):
        before = names_below("out") if Path("out").exists() else []
        shard = ["--shard", f"{number}/3"]
        assert app.run(["predict", "photos", "-o", "out", "--preset", "bicubic", "--quiet", *shard]) == 0
        made += sorted(set(names_below("out")) - set(before))
    assert sorted(made) == NAMES
    # A list and a folder have the same shards.
    Path("photos/list.txt").write_text("".join(f"{name}\n" for name in NAMES))
    for number in range(3):
        listed = [
            item.name for item in items_of(PredictRequest(("@photos/list.txt",), "o", shard=(number, 3)))
        ]
        assert listed == [name for name in NAMES if shard_of(name, 3) == number]


def test_a_shard_without_files_is_no_error(here: Path) -> None:
    save("one/a.png")
    empty = 1 - shard_of("a.png", 2)
    assert app.run(["predict", "one", "-o", "out", "--preset", "bicubic", "--shard", f"{empty}/2"]) == 0
    assert not Path("out").exists()


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "0/0", "a/b"])
def test_a_shard_that_is_none_is_said(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["predict", "photos", f"--shard={text}"]) == 2
    assert "shard" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ lists


def test_a_list_gives_inputs_and_their_options(here: Path) -> None:
    lines = [
        "a.png",
        json.dumps({"source": "b.png", "scale": 3}),
        "",
        json.dumps({"source": "c.png", "result": "x/y.png"}),
    ]
    Path("photos/list.txt").write_text("\n".join(lines))
    arguments = [
        "predict",
        "@photos/list.txt",
        "-o",
        "out",
        "--preset",
        "bicubic",
        "--resume",
        "--quiet",
        "--json",
    ]
    assert app.run(arguments) == 0
    assert names_below("out") == ["a.png", "b.png", "x/y.png"]
    assert [Image.open(f"out/{name}").size for name in names_below("out")] == [(40, 32), (60, 48), (40, 32)]


def test_a_list_is_resumed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/list.txt").write_text("a.png\nb.png\n")
    arguments = ["predict", "@photos/list.txt", "-o", "out", "--preset", "bicubic", "--quiet", "--json"]
    assert app.run([*arguments, "--resume"]) == 0
    capsys.readouterr()
    assert app.run([*arguments, "--resume"]) == 0
    assert [one["status"] for one in json.loads(capsys.readouterr().out)] == ["skipped", "skipped"]
    assert app.run(arguments) == 1
    assert "exists; give --overwrite" in capsys.readouterr().err
    save("photos/a.png", 9)
    assert app.run([*arguments, "--resume"]) == 0
    assert [one["status"] for one in json.loads(capsys.readouterr().out)] == ["written", "skipped"]


def test_finished_results_are_found_by_one_reading(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the records, which a list of many makes long."""
    Path("photos/list.txt").write_text("".join(f"{name}\n" for name in NAMES))
    request = PredictRequest(("@photos/list.txt",), "out", ("bicubic",))
    choice = ("auto", "auto")
    readings = []

    def read(journal: Journal) -> Records:
        readings.append(journal)
        return Records(journal.folder)

    monkeypatch.setattr(Journal, "read", read)
    for status in ("written", "skipped"):
        maker = Maker(request, Settled(choice, choice))
        readings.clear()
        assert {maker.make(item, Silent()).status for item in items_of(request)} == {status}
    assert len(readings) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"source": 3}', "says no source"),
        ('{"source": "a.png"', "not JSON"),
        ('{"source": "a.png", "colour": 1}', "'colour' is neither"),
        ('{"source": "a.png", "resume": true}', "'resume' is neither"),
        ('{"source": "a.png", "width": 0}', "whole numbers from 1"),
    ],
)
def test_a_line_that_is_none_is_said(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/list.txt").write_text(f"{line}\n")
    assert app.run(["predict", "@photos/list.txt", "-o", "out", "--preset", "bicubic", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "list.txt: line 1" in error and said in error


def test_one_that_fails_does_not_stop_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/broken.png").write_text("no picture")
    Path("photos/list.txt").write_text(
        'missing.png\nbroken.png\n{"source": "b.png", "scale": "x"}\n'
        '{"source": "c.png", "result": "../c.png"}\na.png\n'
    )
    assert app.run(["predict", "@photos/list.txt", "-o", "out", "--preset", "bicubic", "--quiet"]) == 1
    assert names_below("out") == ["a.png"]
    error = capsys.readouterr().err
    for said in ("4 of 5", "missing.png", "broken.png", "scale: 'x'", "leads out of"):
        assert said in error


def test_a_list_has_the_corners_that_files_have(here: Path) -> None:
    Path("photos/list.txt").write_text('a.png\n{"source": "b.png", "denoise": "1"}\n')
    request = PredictRequest(("@photos/list.txt",), "out", (), PredictOptions(denoise=0.3))
    maker = Maker(request)
    jobs = [maker.plan_here(item, Path("out", item.name).absolute()) for item in items_of(request)]
    assert [job.mixture for job in jobs if isinstance(job, Job)] == [Mixture(0.3, 0.0), Mixture(1.0, 0.0)]
    (alone,) = plan(replace(request, inputs=("photos/a.png",))).jobs
    assert isinstance(jobs[0], Job) and jobs[0].networks == alone.networks
    words = ["predict", "@photos/list.txt", "-o", "out", "--preset", "bicubic", "--denoise", "0.5", "--quiet"]
    assert app.run(words) == 2


def test_a_result_replaces_no_input_and_no_other_result(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos/list.txt").write_text("a.png\n")
    before = Path("photos/a.png").read_bytes()
    arguments = ["--preset", "bicubic", "--overwrite", "--quiet"]
    assert app.run(["predict", "@photos/list.txt", "-o", "photos", *arguments]) == 1
    assert Path("photos/a.png").read_bytes() == before
    assert "a.png: is an input" in capsys.readouterr().err
    save("other/a.png", 9)
    Path("list.txt").write_text("".join(f"{here / name}\n" for name in ("photos/a.png", "other/a.png")))
    assert app.run(["predict", "@list.txt", "-o", "out", *arguments]) == 1
    first = Path("out/a.png").read_bytes()
    assert "a.png: is the result of another input, too" in capsys.readouterr().err
    Path("list.txt").write_text(f"{here / 'photos/a.png'}\n")
    assert app.run(["predict", "@list.txt", "-o", "out", *arguments]) == 0
    assert Path("out/a.png").read_bytes() == first


@pytest.mark.parametrize(
    "option",
    ['"self_ensemble": "false"', '"fast": "no"', '"tile": 64.7', '"tile": 1e999', '"start": NaN'],
)
def test_an_option_of_a_line_is_taken_as_it_is_or_not_at_all(
    here: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("photos/list.txt").write_text(f'{{"source": "a.png", {option}}}\nb.png\n')
    assert app.run(["predict", "@photos/list.txt", "-o", "out", "--preset", "bicubic", "--quiet"]) == 1
    assert names_below("out") == ["b.png"]
    assert option.split('"')[1] in capsys.readouterr().err


def test_a_list_with_a_byte_order_mark_is_whole(here: Path) -> None:
    Path("photos/list.txt").write_text("a.png\nb.png\n", encoding="utf-8-sig")
    assert app.run(["predict", "@photos/list.txt", "-o", "out", "--preset", "bicubic", "--quiet"]) == 0
    assert names_below("out") == ["a.png", "b.png"]


def test_a_list_of_nothing_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("\n")
    assert app.run(["predict", "@list.txt", "-o", "out", "--preset", "bicubic", "--quiet"]) == 2
    assert "list.txt: no pictures and no clips" in capsys.readouterr().err


def test_what_a_list_needs_is_said(here: Path) -> None:
    Path("list.txt").write_text("photos/a.png\n")
    for arguments in (
        ["@list.txt"],
        ["@list.txt", "-o", "a.png"],
        ["@no.txt", "-o", "out"],
        ["@list.txt", "-o", "s3://"],
    ):
        assert app.run(["predict", *arguments, "--quiet"]) == 2
    assert (
        app.run(
            ["predict", "@list.txt", "-o", "out", "--preset", "bicubic", "--preset", "aplus_x2", "--quiet"]
        )
        == 2
    )


def test_what_a_list_would_take_is_added_up_and_nothing_made(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Speeds, "get", lambda self, kind: 3.0)
    lines = [json.dumps({"source": f"s3://in/{n}.jpg", "width": 2000, "height": 1000}) for n in range(10)]
    clip = {"source": "s3://in/clip.mp4", "width": 1000, "height": 1000, "frames": 50}
    Path("list.txt").write_text("\n".join([*lines, json.dumps(clip), "s3://in/none.jpg", "photos/a.png"]))
    arguments = ["predict", "@list.txt", "-o", "s3://out/x", "--preset", "edsr_fast_x2", "--dry-run"]
    assert app.run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # As jobs count them, with the overlap of their tiles.
    Image.new("RGB", (2000, 1000)).save("large.png")
    request = PredictRequest((Path("large.png"), Path("photos/a.png")), "local", ("edsr_fast_x2",))
    large, small = (job.units.megapixels for job in plan(request).jobs)
    megapixels = 10 * large + small + 50
    assert (found["files"], found["unknown"]) == (13, 1)
    assert found["megapixels"] == pytest.approx(megapixels)
    assert found["seconds"] == pytest.approx(3 * megapixels)
    # Twelve pictures in blocks of eight, and a clip that is one run.
    assert found["driver_seconds"] == pytest.approx(12 * 0.002 + 0.013)
    # Of 12 objects the size is asked for and they are fetched; of 13 results it is asked whether they are there.
    assert found["requests"] == {"read": 2 * 12 + 13, "write": 13, "list": 0}
    assert app.run(arguments) == 0
    assert f"13 files, {megapixels:.1f} MP" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------ places


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a/b.png", Path("a/b.png")),
        ("file:///tmp/a%20b.png", Path("/tmp/a b.png")),
        ("s3://bucket/a/", "s3://bucket/a"),
        ("gs://bucket", "gs://bucket"),
        ("az://container/a b", "az://container/a b"),
    ],
)
def test_a_place_is_a_path_or_an_address(text: str, place: Path | str) -> None:
    assert place_of(text) == place
    assert is_remote(place) == isinstance(place, str)


@pytest.mark.parametrize("text", ["http://host/a.png", "s3://", "s3://key:secret@bucket/a"])
def test_an_address_that_is_none_is_said(text: str) -> None:
    with pytest.raises(RequestError) as error:
        place_of(text)
    assert "secret" not in str(error.value)


def send(store: str, folder: str) -> None:
    for name in NAMES[:4]:
        places.put(Path("photos") / name, f"{store}/{folder}/{name}")


def test_a_bucket_is_made_like_a_folder(
    store: str, here: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    send(store, "in/sea")
    arguments = ["predict", f"{store}/in", "-o", f"{store}/out", "--preset", "bicubic", "--resume", "--json"]
    assert app.run(arguments) == 0
    capsys.readouterr()
    assert [found.name for found in places.listing(f"{store}/out")] == [f"sea/{name}" for name in NAMES[:4]]
    assert app.run(["predict", "photos", "-o", "local", "--preset", "bicubic", "--quiet"]) == 0
    for name in NAMES[:4]:
        places.fetch(f"{store}/out/sea/{name}", Path("back.png"))
        assert Path("back.png").read_bytes() == Path("local", name).read_bytes()

    def statuses(*more: str) -> list[str]:
        capsys.readouterr()
        app.run([*arguments, *more])
        said = capsys.readouterr()
        assert SECRET not in said.out + said.err + caplog.text
        return [one["status"] for one in json.loads(said.out)]

    assert statuses() == ["skipped"] * 4
    # The input's identity is its content's; another one is made again, with the same options only.
    places.put(Path("photos/h.png"), f"{store}/in/sea/b.png")
    assert statuses() == ["skipped", "written", "skipped", "skipped"]
    assert statuses("--scale", "3") == ["written"] * 4
    # Without a record nothing is replaced.
    places.put(Path("photos/a.png"), f"{store}/out/sea/a.png")
    assert statuses("--scale", "3") == ["failed"] + ["skipped"] * 3
    assert statuses("--scale", "3", "--overwrite") == ["written"] + ["skipped"] * 3


def test_between_a_bucket_and_a_folder(store: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    send(store, "mixed")
    for source, target in ((f"{store}/mixed", "down"), ("photos", f"{store}/up")):
        for status in ("written", "skipped"):
            arguments = [
                "predict",
                source,
                "-o",
                target,
                "--preset",
                "bicubic",
                "--resume",
                "--quiet",
                "--json",
            ]
            capsys.readouterr()
            assert app.run(arguments) == 0
            assert {one["status"] for one in json.loads(capsys.readouterr().out)} == {status}
    assert names_below("down") == NAMES[:4]
    assert not [
        path for path in Path("down").rglob("*") if path.is_file() and SECRET in path.read_text("latin-1")
    ]


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_other_stores_by_the_same_interface(
    scheme: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In memory, with the metadata that Google's has and Microsoft's lacks."""
    memory = pytest.importorskip("fsspec.implementations.memory", reason="fsspec is not installed")

    class Store(memory.MemoryFileSystem):  # type: ignore[misc,name-defined]
        cachable = False
        store: ClassVar[dict[str, Any]] = {}
        pseudo_dirs: ClassVar[list[str]] = [""]
        notes: ClassVar[dict[str, dict[str, str]]] = {}

        def put_file(self, lpath: str, rpath: str, metadata: Any = None, **more: Any) -> None:
            assert (metadata is not None) == (scheme == "gs")
            super().put_file(lpath, rpath, **more)
            self.notes[self._strip_protocol(rpath)] = metadata

        def info(self, path: str, **more: Any) -> dict[str, Any]:
            found = super().info(path, **more)
            return {**found, "metadata": self.notes.get(self._strip_protocol(path)), "etag": "one"}

        def walk(self, path: str, **more: Any) -> Iterator[Any]:
            # Names begin with a slash in memory alone.
            for folder, folders, files in super().walk(path, **more):
                yield folder.lstrip("/"), folders, files

    monkeypatch.setattr(places, "_filesystem", lambda _: Store())
    send(f"{scheme}://bucket", "in/sea")
    out = f"{scheme}://bucket/out"
    arguments = ["predict", f"{scheme}://bucket/in", "-o", out, "--preset", "bicubic", "--resume", "--json"]
    for more, status in (([], "written"), ([], "skipped"), (["--scale", "3"], "written")):
        capsys.readouterr()
        assert app.run([*arguments, "--quiet", *more]) == 0
        assert {one["status"] for one in json.loads(capsys.readouterr().out)} == {status}
    assert [found.name for found in places.listing(out)] == [f"sea/{name}" for name in NAMES[:4]]
    assert (
        app.run(["predict", "photos", "-o", "local", "--preset", "bicubic", "--scale", "3", "--quiet"]) == 0
    )
    for name in NAMES[:4]:
        places.fetch(f"{out}/sea/{name}", Path("back.png"))
        assert Path("back.png").read_bytes() == Path("local", name).read_bytes()
    assert places.find(f"{scheme}://bucket/none.png") is None
    assert places.note_of(f"{scheme}://bucket/none.png") is None
    places.remove(out)
    assert not list(places.listing(out))


def test_a_list_in_a_bucket_and_pages_of_a_listing(
    store: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(store, "listed")
    Path("list.txt").write_text(f"a.png\n{store}/listed/b.png\n")
    places.put(Path("list.txt"), f"{store}/listed/list.txt")
    names = [item.name for item in items_of(PredictRequest((f"@{store}/listed/list.txt",), "out"))]
    assert names == ["a.png", "listed/b.png"]
    files = places._filesystem("s3")
    asked: list[Any] = []
    plain = files.call_s3

    def two_at_a_time(*arguments: Any, **options: Any) -> Any:
        asked.append(options)
        return plain(*arguments, **options, MaxKeys=2)

    monkeypatch.setattr(files, "call_s3", two_at_a_time)
    assert [found.name for found in places.listing(f"{store}/listed")] == [*NAMES[:4], "list.txt"]
    assert len(asked) == 3


def test_what_a_store_refuses_is_said(store: str) -> None:
    with pytest.raises(RequestError, match=r"s3://nowhere/a\.png: no such object or bucket"):
        places.fetch("s3://nowhere/a.png", Path("a.png"))
    with pytest.raises(ISRError, match="s3://nowhere"):
        list(places.listing("s3://nowhere/a"))
    assert places.find(f"{store}/none.png") is None
    assert places.note_of(f"{store}/none.png") is None


def test_an_object_is_whole_or_not_there(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it goes up in parts, of which the last one is never sent."""
    big = Path("big.bin")
    big.write_bytes(os.urandom(12 * 2**20))
    files = places._filesystem("s3")
    plain = files._call_s3

    async def torn(method: str, *arguments: Any, **options: Any) -> Any:
        if method == "upload_part" and options["PartNumber"] > 1:
            raise ConnectionError("the line went dead")
        return await plain(method, *arguments, **options)

    monkeypatch.setattr(files, "_call_s3", torn)
    put_file = files.put_file
    monkeypatch.setattr(files, "put_file", lambda *a, **k: put_file(*a, **k, chunksize=5 * 2**20))
    with pytest.raises(ISRError, match="the line went dead"):
        places.put(big, f"{store}/big.bin", "note")
    monkeypatch.undo()
    assert places.find(f"{store}/big.bin") is None
