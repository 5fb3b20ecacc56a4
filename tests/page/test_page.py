"""The page's server: its queue, its workers, its uploads; asked as a program asks."""

from __future__ import annotations

import asyncio
import functools
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types
import zipfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from children import ROOT, run_python
from page_server import PROGRAM, Client, served
from pictures import photograph
from PIL import Image, ImageCms

from isr import presets
from isr.errors import MachineError, RequestError

pytest.importorskip("starlette", reason="pip install keras-isr[page]")
pytest.importorskip("uvicorn", reason="pip install keras-isr[page]")

from isr.page.items import Queue, new_item, request_of
from isr.page.looks import look_of
from isr.page.reasons import KNOWN, key
from isr.page.supervisor import Supervisor
from isr.page.uploads import check_kind, receive
from isr.predict.choice import choose_here, kind_of
from isr.predict.speeds import NAME, Kind, Speeds
from isr.runtimes.engines import ENGINES, candidates

CLIP = ROOT / "tests" / "samples" / "friday_aac.mp4"


def png(height: int = 40, width: int = 60, seed: int = 0) -> bytes:
    written = io.BytesIO()
    Image.fromarray(photograph(height, width, seed=seed)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root") / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(png(seed=1))
    (folder / "sub" / "b.png").write_bytes(png(seed=2))
    (folder / "notes.txt").write_text("secret", encoding="utf-8")
    (folder.parent / "outside.png").write_bytes(png(seed=3))
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "out").symlink_to(folder.parent, target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Client]:
    """A page that the tests of this file share; each brings its own items."""
    with served(tmp_path_factory.mktemp("state"), (root,)) as client:
        yield client


def test_an_upload_comes_back_larger(page: Client) -> None:
    id = page.upload("cat.png", png())
    item = page.wait(id, lambda item: item["size_out"] is not None)
    assert (item["state"], item["size_in"], item["size_out"]) == ("waiting", [60, 40], [120, 80])
    page.json("POST", "/go", {"do": "start"})
    page.wait(id, "finished")
    status, content, headers = page.ask("GET", f"/items/{id}/result")
    assert status == 200 and "cat_x2.png" in headers["content-disposition"]
    # The worker of these tests repeats every pixel.
    expected = photograph(40, 60).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), expected)
    about = page.json("GET", f"/items/{id}")
    assert about["command"] == f"isr predict {about['source']}" and about["target"].endswith("cat_x2.png")


def test_the_command_of_an_item_is_its_settings(page: Client, root: Path) -> None:
    wanted = {"options.scale": 4, "sources": ["edsr_fast_x2"], "options.quality": 80, "options.format": "jpg"}
    wanted |= {"options.denoise": "auto", "options.texture": 0.25, "options.name": "{stem}-{scale}"}
    page.json("PUT", "/settings", wanted)
    id = page.json("POST", "/add", {"root": 0, "path": "a.png"})["ids"][0]
    knobs = "--denoise auto --texture 0.25"
    named = "--format jpg --name '{stem}-{scale}' --quality 80"
    line = f"isr predict --scale 4 {knobs} --preset edsr_fast_x2 {named} {root / 'a.png'}"
    assert page.json("GET", f"/items/{id}")["command"] == line
    page.json("PUT", "/settings", {})
    assert page.json("GET", f"/items/{id}")["command"] == f"isr predict {root / 'a.png'}"
    page.json("POST", f"/items/{id}", {"do": "remove"})


@pytest.mark.parametrize(
    "wanted",
    [
        {"inputs": ["/etc/passwd"]},
        {"output": "/tmp/x"},
        {"sources": ["/tmp/evil.keras"]},
        {"sources": ["grpc://example.com/model"]},
        {"sources": "edsr_fast_x2"},
        {"sources": ["bicubic"] * 9},
        {"options.scale": "two"},
        {"options.scale": -1},
        {"options.quality": 0},
        {"options.name": "../{stem}"},
        {"options.denoise": 2},
        {"options.format": "exe"},
        {"options.resume": True},
        {"options.video.crf": []},
        {"options.size": [None, None]},
        {"options": {}},
        {"look": "other"},
        {"look": ["quick"]},
        {"look": "quick", "sources": ["bicubic"]},
    ],
    ids=str,
)
def test_settings_that_are_refused(page: Client, wanted: dict[str, object]) -> None:
    assert page.ask("PUT", "/settings", wanted)[0] == 400
    assert page.json("GET", "/state?since=0")["settings"] == {}


def test_a_setting_that_changes_leaves_the_others(page: Client) -> None:
    page.json("PUT", "/settings", {"look": "quick", "options.scale": 4, "options.quality": 80})
    page.json("PATCH", "/settings", {"options.scale": 3, "options.quality": None})
    assert page.ask("PATCH", "/settings", {"options.scale": -1})[0] == 400
    state = page.json("GET", "/state?since=0")
    assert state["settings"] == {"look": "quick", "options.scale": 3}
    # What shows it is known by its number.
    assert page.json("PUT", "/settings", {})["now"] > state["now"]


@pytest.mark.parametrize(
    ("look", "values", "expected"),
    [
        ("best", {"options.scale": 4}, ()),
        ("quick", {"options.scale": 4}, ("fast",)),
        ("live", {"options.scale": 3}, ("live_x2",)),
        ("classic", {"options.scale": 1.5}, ("aplus_x2",)),
        ("classic", {"options.scale": 3}, ("aplus_x3",)),
        ("classic", {"options.scale": 8}, ("aplus_x4",)),
        ("classic", {"options.scale": 4, "options.size": [None, 90]}, ("aplus_x2",)),
        ("plain", {}, ("bicubic",)),
    ],
)
def test_a_look_is_a_network_by_the_scale_of_each_file(
    look: str, values: dict[str, object], expected: tuple[str, ...], tmp_path: Path
) -> None:
    item = replace(new_item("a.png", tmp_path / "a.png", True), changes=values)
    request = request_of(item, {"look": look, "options.scale": 2})
    assert request.sources == expected


def test_every_network_that_ships_has_a_look() -> None:
    looks = {name: look_of(name) for name in presets.shipped()}
    assert looks["edsr_fast_x4"] == looks["edsr_fast_x2"] == "quick"
    assert looks["edsr_baseline_x2"] == looks["photo_x4"] == looks["mdsr_baseline"] == "best"
    assert (looks["live_x2"], looks["aplus_x3"], look_of("bicubic")) == ("live", "classic", "plain")
    assert look_of("mine") == ""


def test_graphics_cards_are_named_as_their_driver_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isr.runtimes.devices import graphics_cards

    monkeypatch.setenv("PATH", str(tmp_path))
    graphics_cards.cache_clear()
    assert graphics_cards() == ()
    (tmp_path / "nvidia-smi").write_text(
        "#!/bin/sh\necho 'NVIDIA H200'\necho 'NVIDIA T4'\n", encoding="utf-8"
    )
    (tmp_path / "nvidia-smi").chmod(0o700)
    graphics_cards.cache_clear()
    assert graphics_cards() == ("NVIDIA H200", "NVIDIA T4")
    graphics_cards.cache_clear()


def test_animations_have_no_codec(tmp_path: Path) -> None:
    """Chosen for videos, it stops no GIF."""
    values = {"options.video.codec": "h265", "options.video.crf": 20}
    clip = replace(new_item("a.gif", tmp_path / "a.gif", True), clip=True)
    for item, more, codec in (
        (clip, {}, None),
        (clip, {"clip.format": "mkv"}, "h265"),
        (replace(clip, source=tmp_path / "a.mp4"), {}, "h265"),
        (replace(clip, source=tmp_path / "a.mp4"), {"clip.format": "webp"}, None),
    ):
        assert request_of(item, {**values, **more}).options.video.codec == codec


def test_networks_of_ones_own_lie_in_the_roots(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "good", root / "leads", root / "corner", outside):
        shutil.copytree(presets.find("live_x2"), folder)
    for name in ("link", "damaged", "empty"):
        (root / name).mkdir()
    (root / "damaged" / "config.json").write_text('{"model": "EDSR"}', encoding="utf-8")
    (root / "link").rmdir()
    (root / "link").symlink_to(outside, target_is_directory=True)
    weights = root / "leads" / "weights.safetensors"
    weights.unlink()
    weights.symlink_to(outside / "weights.safetensors")
    for name, clean in (("good", "live_x2"), ("corner", "../../outside/weights.safetensors")):
        config = root / name / "config.json"
        corners = {"corners": {"clean": clean}}
        config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | corners), encoding="utf-8")
    with served(tmp_path / "state", (root,)) as client:
        found = client.json("GET", "/folders?root=0&path=")["networks"]
        expected = {"path": str(root / "good"), "name": "good", "model": found[0]["model"], "scales": [2]}
        assert found == [{**expected, "knobs": ["denoise"]}]
        bad = [
            "leads",
            "corner",
            "link",
            "damaged",
            "empty",
            "missing",
            "../outside",
            "good/weights.safetensors",
        ]
        for path in [
            *(f"{root}/{name}" for name in bad),
            str(outside),
            "good",
            "root/good",
            "/\0",
            "/" * 5000,
            [1],
        ]:
            assert client.ask("PUT", "/settings", {"sources": [path]})[0] == 400, path
        client.json("PUT", "/settings", {"sources": [str(root / "good")], "options.denoise": 0.5})
        knobs = client.json("GET", "/machine")["knobs"]
        assert knobs[str(root / "good")] == ["denoise"] and knobs["live"] == []
        # Turned without a name are the presets with corners, one of which has texture.
        assert knobs["best"] == ["denoise", "texture"]
        id = client.upload("cat.png", png())
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, "finished")
        assert f"--preset {root / 'good'}" in client.json("GET", f"/items/{id}")["command"]
        client.json("PATCH", "/settings", {"options.scale": 4})
    # Where it is allowed no more, it is chosen no more, and its knobs with it.
    with served(tmp_path / "state") as client:
        assert client.json("GET", "/state?since=0")["settings"] == {"options.scale": 4}


def test_a_folder_is_added_file_by_file_and_its_results_lie_in_the_root(page: Client, root: Path) -> None:
    ids = page.json("POST", "/add", {"root": 0, "path": ""})["ids"]
    items = page.items()
    assert [items[id]["name"] for id in ids] == ["photos/a.png", "photos/sub/b.png"]
    page.json("POST", "/go", {"do": "start"})
    for id in ids:
        page.wait(id, "finished")
    assert (root / "photos_x2" / "a_x2.png").is_file()
    assert (root / "photos_x2" / "sub" / "b_x2.png").is_file()
    # Results of an earlier run are not added again, and all else is.
    (root / "photos_1920x").mkdir()
    (root / "photos_1920x" / "a_1920x.png").write_bytes(png())
    again = page.json("POST", "/add", {"root": 0, "path": ""})["ids"]
    assert len(again) == len(ids)
    (root / "photos_xl.png").write_bytes(png())
    (root / "photos_xmas").mkdir()
    (root / "photos_xmas" / "b.png").write_bytes(png())
    more = page.json("POST", "/add", {"root": 0, "path": ""})["ids"]
    named = {page.items()[id]["name"] for id in more} - {page.items()[id]["name"] for id in ids}
    assert named == {"photos/photos_xl.png", "photos/photos_xmas/b.png"}
    for id in more:
        page.json("POST", f"/items/{id}", {"do": "remove"})
    for name in ("photos_xmas", "photos_1920x"):
        shutil.rmtree(root / name)
    (root / "photos_xl.png").unlink()
    status, content, _ = page.ask("GET", "/results.zip")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {"photos/a_x2.png", "photos/sub/b_x2.png"} <= set(archive.namelist())
    # Without one that was moved.
    moved = (root / "photos_x2" / "sub" / "b_x2.png").rename(root / "elsewhere.png")
    with zipfile.ZipFile(io.BytesIO(page.ask("GET", "/results.zip")[1])) as archive:
        assert "photos/a_x2.png" in archive.namelist() and "photos/sub/b_x2.png" not in archive.namelist()
    moved.unlink()
    for id in [*ids, *again]:
        page.json("POST", f"/items/{id}", {"do": "remove"})
    # Files of this computer are not the page's to delete.
    assert (root / "a.png").is_file() and (root / "photos_x2" / "a_x2.png").is_file()


def test_results_of_this_computer_go_into_a_folder_of_the_roots(page: Client, root: Path) -> None:
    into, source = root / "larger", root / "from"
    for folder in (into, source):
        folder.mkdir()
    for name in ("one.png", "two.png"):
        (source / name).write_bytes(png())
    for bad in (str(root.parent), "/", "larger", str(into / "no"), 1, "\0", str(into / ".." / "..")):
        assert page.ask("PUT", "/settings", {"results.folder": bad})[0] == 400, bad
    page.json("PUT", "/settings", {"results.folder": str(into)})
    ids = page.json("POST", "/add", {"root": 0, "path": "from/one.png"})["ids"]
    ids += page.json("POST", "/add", {"root": 0, "path": "from"})["ids"]
    ids.append(page.upload("mine.png", png()))
    page.json("POST", "/go", {"do": "start"})
    for id in ids:
        page.wait(id, "finished")
    made = sorted(path.relative_to(into).as_posix() for path in into.rglob("*.png"))
    assert made == ["from_x2/one_x2.png", "from_x2/two_x2.png", "one_x2.png"]
    for id in ids:
        page.json("POST", f"/items/{id}", {"do": "remove"})
    shutil.rmtree(source)
    page.json("PUT", "/settings", {})


def test_the_same_name_twice_gives_two_results(page: Client) -> None:
    ids = [page.upload("same.png", png(seed=seed)) for seed in (1, 2)]
    page.json("POST", "/go", {"do": "start"})
    results = []
    for id in ids:
        page.wait(id, "finished")
        results.append(page.ask("GET", f"/items/{id}/result")[1])
    assert results[0] != results[1]
    with zipfile.ZipFile(io.BytesIO(page.ask("GET", "/results.zip")[1])) as archive:
        assert {"same_x2.png", "same_x2 (2).png"} <= set(archive.namelist())


def test_a_file_that_exists_is_not_replaced_unasked(page: Client, root: Path) -> None:
    (root / "here.png").write_bytes(png())
    (root / "here_x2.png").write_bytes(b"mine")
    id = page.json("POST", "/add", {"root": 0, "path": "here.png"})["ids"][0]
    item = page.wait(id, lambda item: bool(item["reason"]))
    assert (item["reason"], item["remedy"]) == (key("exists"), "replace")
    page.json("POST", "/go", {"do": "start"})
    page.wait(id, "failed")
    assert (root / "here_x2.png").read_bytes() == b"mine"
    page.json("POST", f"/items/{id}", {"do": "again", "changes": {"options.overwrite": True}})
    page.json("POST", "/go", {"do": "start"})
    page.wait(id, "finished")
    assert (root / "here_x2.png").read_bytes() != b"mine"
    for name in ("here.png", "here_x2.png"):
        (root / name).unlink()


def test_a_damaged_file_fails_in_plain_words_and_stops_no_other(page: Client) -> None:
    bad, good = page.upload("bad.png", png()[:900]), page.upload("good.png", png())
    page.json("POST", "/go", {"do": "start"})
    assert page.wait(bad, "failed")["reason"] == key("damaged")
    # As the package said it, for those who can help.
    assert "bad.png: cannot be read" in page.json("GET", f"/items/{bad}")["notes"][-1]
    page.wait(good, "finished")


@pytest.mark.parametrize(
    ("name", "said"),
    [("letter.pdf", "pdf"), ("notes.txt", "otherKind"), ("", "noName")],
)
def test_files_of_other_kinds_are_refused_by_name(page: Client, name: str, said: str) -> None:
    status, content, _ = page.ask("PUT", f"/upload?name={name}", b"x" * 10)
    assert status == 400 and json.loads(content)["error"].startswith(key(said))


def test_every_sentence_of_the_server_has_words() -> None:
    folder = ROOT / "isr" / "page"
    asked = {
        name
        for path in folder.glob("*.py")
        for name in re.findall(r'\bkey\("(\w+)"', path.read_text("utf-8"))
    }
    texts = (folder / "static" / "words.js").read_text("utf-8")
    words = texts.partition("  reasons: {")[2].partition("\n  },")[0]
    assert asked == set(re.findall(r"^    (\w+): ", words, re.MULTILINE))
    assert {remedy for _, _, remedy in KNOWN} - {"", "format"} <= set(
        re.findall(r"^    (\w+): ", texts, re.MULTILINE)
    )
    assert key("tooLarge", "a|b", 3) == "@tooLarge|a/b|3"


def test_heic_without_its_extra_is_refused_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=key("heic")):
        check_kind("IMG_1.HEIC")


def test_views_show_the_part_that_is_asked_for(page: Client) -> None:
    id = page.upload("view.png", png())
    page.json("POST", "/go", {"do": "start"})
    page.wait(id, "finished")
    about = page.json("GET", f"/items/{id}/size")
    assert (about["before"], about["after"]) == ([60, 40], [120, 80])
    for side in ("before", "after"):
        status, content, _ = page.ask(
            "GET", f"/items/{id}/part?side={side}&box=0.5,0.25,0.5,0.5&size=120,80&way=plain"
        )
        assert status == 200
        shown = np.asarray(Image.open(io.BytesIO(content))).astype(int)
        # A quarter of the picture at four times its size, but for what JPEG does.
        expected = photograph(40, 60)[10:30, 30:60].repeat(4, 0).repeat(4, 1)
        assert np.abs(shown - expected).mean() < 4
    assert page.ask("GET", f"/items/{id}/thumb")[2]["content-type"] == "image/jpeg"
    # A picture's colours are those of its profile.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    written = io.BytesIO()
    Image.fromarray(photograph(40, 60)).save(written, "PNG", icc_profile=profile)
    coloured = page.upload("coloured.png", written.getvalue())
    for view in ("thumb", "part?side=before&box=0,0,1,1&size=60,40"):
        shown = Image.open(io.BytesIO(page.ask("GET", f"/items/{coloured}/{view}")[1]))
        assert shown.info["icc_profile"] == profile
    for bad in (
        "box=0,0,2,1&size=9,9",
        "box=0,0,1,1&size=99999,9",
        "box=a&size=9,9",
        "box=nan,0,1,1&size=9,9",
    ):
        assert page.ask("GET", f"/items/{id}/part?{bad}")[0] == 400


def test_a_piece_is_tried_beside_the_queue(page: Client) -> None:
    id = page.upload("large.png", png(300, 400))
    asked = {"number": 1, "place": [1, 1], "sources": ["edsr_fast_x2"]}
    made = page.json("POST", f"/items/{id}/try", asked)
    assert made["size_out"] == [480, 480] and made["seconds"] > 0 and made["whole"] > 0
    status, content, _ = page.ask("GET", f"/items/{id}/tried/1")
    assert status == 200
    expected = photograph(300, 400)[60:, 160:].repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), expected)
    clip = page.upload("friday.mp4", CLIP.read_bytes())
    made = page.json("POST", f"/items/{clip}/try", {"number": 0, "start": 1, "sources": []})
    assert made["clip"] and page.ask("GET", f"/items/{clip}/tried/0")[2]["content-type"] == "video/mp4"
    assert [page.items()[item]["state"] for item in (id, clip)] == ["waiting", "waiting"]
    for bad in ({"number": 9}, {"place": [2, 0]}, {"place": "x"}, {"start": -1}, {"sources": ["/etc/x"]}):
        assert page.ask("POST", f"/items/{id}/try", {**asked, **bad})[0] == 400
    for item in (id, clip):
        page.json("POST", f"/items/{item}", {"do": "remove"})


def test_stopping_after_a_file_begins_no_other(tmp_path: Path) -> None:
    with served(tmp_path, env={"SLOW": "0.05"}) as client:
        client.json("PUT", "/settings", {"options.tile": 32})
        ids = [client.upload(name, png(96, 96)) for name in ("one.png", "two.png")]
        client.json("POST", "/go", {"do": "start"})
        client.wait(ids[0], lambda item: item.get("progress", {}).get("done", 0) >= 1)
        client.json("POST", "/go", {"do": "finish"})
        # What is added while others are made waits too.
        ids.append(client.upload("three.png", png()))
        client.wait(ids[0], "finished")
        state = client.json("GET", "/state?since=0")["queue"]
        assert (state["running"], state["current"]) == (False, None)
        assert [client.items()[id]["state"] for id in ids[1:]] == ["waiting", "waiting"]


# Says what it is asked for, and does that when a file is there.
HELD = """
import json, sys, time
from pathlib import Path
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] != "run":
        continue
    target = Path(asked["request"]["request"]["output"])
    target.write_bytes(b"a piece")
    Path(sys.argv[1]).touch()
    while Path(sys.argv[1]).exists():
        time.sleep(0.01)
    print(json.dumps({"say": "finished", "id": asked["id"], "seconds": 1, "size_out": [2, 2]}), flush=True)
"""


def test_a_piece_of_a_file_that_was_removed_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    held = tmp_path / "held"
    with (
        served(tmp_path / "state", worker=[sys.executable, "-c", HELD, str(held)]) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        id = client.upload("cat.png", png())
        asked = pool.submit(client.ask, "POST", f"/items/{id}/try", {"number": 0, "look": "quick"})
        while not held.exists():
            assert not asked.done(), asked.result()
        client.json("POST", f"/items/{id}", {"do": "remove"})
        held.unlink()
        status, said, _ = asked.result()
        assert (status, json.loads(said)["error"]) == (400, key("notListed"))
        assert list((tmp_path / "state" / "files").iterdir()) == []


def test_times_are_known_before_the_first_job(tmp_path: Path) -> None:
    """Where nothing was ever made, what waits is measured while nobody does anything."""
    fast = "import isr.page.estimates\nisr.page.estimates.PACE = 0.1\n" + PROGRAM
    env = {"ISR_CACHE": str(tmp_path / "cache"), "SLOW": "0.05"}
    with served(tmp_path / "state", env=env, program=fast) as client:
        client.json("PUT", "/settings", {"options.size": [None, 240]})
        ids = [client.upload("cat.png", png()), client.upload("friday.mp4", CLIP.read_bytes())]
        client.wait_for(lambda items: all(items[id].get("left") for id in ids))
        assert {item["state"] for item in client.items().values()} == {"waiting"}


def test_this_machine_is_measured_unless_it_works(tmp_path: Path) -> None:
    with served(tmp_path / "state", env={"ISR_CACHE": str(tmp_path / "cache"), "SLOW": "0.2"}) as client:
        id = client.upload("cat.png", png())
        assert client.wait(id, lambda item: item["size_out"] is not None)["left"] is None
        pace = client.json("POST", "/measure", {"sources": []})["pace"]
        assert pace > 0
        assert client.items()[id]["left"] == pytest.approx(pace * 60 * 40 / 1e6, rel=0.05)
        machine = client.json("GET", "/machine")
        assert {row["look"] for row in machine["speeds"]} == {"best"}
        assert machine["versions"] == {name: ENGINES[name].version for name in machine["engines"][1:]}
        assert len(client.items()) == 1
        assert client.ask("POST", "/measure", {"sources": ["/etc/x"]})[0] == 400
        client.json("PUT", "/settings", {"options.tile": 32})
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, "working")
        assert client.ask("POST", "/measure", {"sources": []})[0] == 400
        # What `isr engines --measure` notes beside the page.
        assert client.json("GET", "/machine")["auto"]["pace"] is None
        record = Speeds(tmp_path / "cache" / NAME)
        # Of what was measured in several ways, the fastest is told.
        networks = machine["speeds"][0]["networks"]
        for engine, pace in (("slow", 90.0), ("quick", 1e-9), ("middling", 2.0)):
            record.add(Kind(networks, engine, "float32", "CPU"), 0.01, pace)
        record.add(Kind("mine", "tensorflow", "float32", "CPU"), 0.01, 3.0)
        told = client.json("GET", "/machine")["speeds"]
        assert [(row["look"], row["engine"]) for row in told] == [("best", "quick"), ("", "tensorflow")]
        for way, pace in {
            ("openvino", "float32"): 9.0,
            ("openvino", "bfloat16"): 8.0,
            ("ncnn", "float32"): 1.0,
        }.items():
            record.add(kind_of(*way), 0.01, pace)
        auto, expected = client.json("GET", "/machine")["auto"], choose_here(speeds=record)
        assert auto == {"engine": expected.engine, "precision": expected.precision, "pace": expected.pace}
        assert auto["engine"] == "ncnn" or "ncnn" not in candidates()


def test_the_order_can_be_changed_and_is_kept(page: Client) -> None:
    ids = [page.upload(f"{n}.png", png()) for n in range(3)]
    page.json("POST", f"/items/{ids[2]}", {"do": "move", "before": ids[0]})
    page.json("POST", f"/items/{ids[0]}", {"do": "move", "before": None})
    places = {id: item["place"] for id, item in page.items().items() if id in ids}
    assert sorted(ids, key=places.__getitem__) == [ids[2], ids[1], ids[0]]
    for step in (-1, -1, 1):
        page.json("POST", f"/items/{ids[0]}", {"do": "move", "step": step})
    places = {id: item["place"] for id, item in page.items().items() if id in ids}
    assert sorted(ids, key=places.__getitem__) == [ids[2], ids[0], ids[1]]
    assert page.ask("POST", f"/items/{ids[0]}", {"do": "move", "step": 9})[0] == 400
    for id in ids:
        page.json("POST", f"/items/{id}", {"do": "remove"})


def test_places_never_run_out(tmp_path: Path) -> None:
    """Moved between the same two again and again, each lies half as far from the first."""
    queue = Queue(tmp_path)
    queue._write = lambda *_: None  # type: ignore[method-assign]
    a, b, c = (queue.append(new_item(name, tmp_path / name, True)).id for name in "abc")
    for n in range(200):
        moved, before = ((c, b), (b, c))[n % 2]
        queue.move(moved, before)
        assert [item.id for item in queue.items] == [a, moved, before]
    for step, order in ((-1, [a, b, c]), (1, [b, a, c]), (1, [b, c, a]), (1, [b, c, a])):
        queue.shift(a, step)
        assert [item.id for item in queue.items] == order
    queue.close()


def test_a_poll_tells_what_changed_and_no_more(page: Client) -> None:
    first = page.json("GET", "/state?since=0")
    quiet = page.json("GET", f"/state?since={first['now']}&boot={first['boot']}")
    assert quiet["items"] == [] and not first["more"]
    id = page.upload("one.png", png())
    page.wait(id, lambda item: item["size_out"] is not None)
    later = page.json("GET", f"/state?since={first['now']}&boot={first['boot']}")
    assert [item["id"] for item in later["items"]] == [id]
    page.json("POST", f"/items/{id}", {"do": "remove"})
    last = page.json("GET", f"/state?since={later['now']}&boot={first['boot']}")
    assert last["gone"] == [id]
    # A server that was started anew knows another count.
    assert page.json("GET", f"/state?since={last['now']}&boot=other")["now"] == last["now"]


def test_a_poll_of_a_thousand_items_stays_small(tmp_path: Path) -> None:
    from isr.page.items import new_item
    from isr.predict.plain import to_plain

    (tmp_path / "items").mkdir()
    for n in range(1000):
        item = new_item(f"a picture with a rather long name {n:04d}.png", tmp_path / f"{n}.png", False)
        # Not by the queue, which waits for the disk a thousand times.
        (tmp_path / "items" / f"{item.id}.json").write_text(json.dumps(to_plain(item)), encoding="utf-8")
    with served(tmp_path) as client:
        now, boot, more, seen = 0, "", True, 0
        while more:
            _, content, _ = client.ask("GET", f"/state?since={now}&boot={boot}")
            assert len(content) < 50_000
            said = json.loads(content)
            now, boot, more, seen = said["now"], said["boot"], said["more"], seen + len(said["items"])
        assert seen >= 1000


def test_twenty_uploads_at_once(page: Client) -> None:
    content = np.random.default_rng(0).bytes(5_000_000)

    def send(n: int) -> tuple[int, str]:
        status, body, _ = page.ask("PUT", f"/upload?name=large{n}.mp4", content)
        return status, json.loads(body)["ids"][0]

    answers: list[tuple[int, str]] = []
    with ThreadPoolExecutor(20) as pool:
        # They are 100 MB. Each thread of the server keeps some memory of its own.
        assert page.grown(lambda: answers.extend(pool.map(send, range(20)))) <= 60
    assert [status for status, _ in answers] == [200] * 20
    items = page.items()
    assert {items[id]["name"] for _, id in answers} == {f"large{n}.mp4" for n in range(20)}
    for _, id in answers:
        assert page.ask("POST", f"/items/{id}", {"do": "remove"})[0] == 200


def test_a_gibibyte_takes_little_memory(page: Client) -> None:
    block, count = bytes(2**20), 1024
    head = {"X-ISR-Token": page.token, "Content-Length": str(count * len(block))}
    said: list[tuple[int, bytes]] = []

    def send() -> None:
        said.append(page.ask("PUT", "/upload?name=huge.mp4", itertools.repeat(block, count), head)[:2])

    assert page.grown(send) <= 30
    assert said[0][0] == 200
    id = json.loads(said[0][1])["ids"][0]
    assert Path(page.json("GET", f"/items/{id}")["source"]).stat().st_size == count * len(block)
    page.json("POST", f"/items/{id}", {"do": "remove"})


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    import socket

    with served(tmp_path) as client:
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            head = (
                f"PUT /upload?name=half.png HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
                f"X-ISR-Token: {client.token}\r\nContent-Length: 1000\r\n\r\n"
            )
            connection.sendall(head.encode() + b"x" * 100)
        id = client.upload("whole.png", png())
        assert list(client.items()) == [id]
        left = [path.name for path in (tmp_path / "files").iterdir()]
        assert left == [id]


def test_limits_of_uploads(tmp_path: Path) -> None:
    smaller = "import functools, isr.page.app as app\napp.Page = functools.partial(app.Page, largest=2000)\n"
    program = PROGRAM.replace("given =", smaller + "given =")
    with served(tmp_path, program=program) as client:
        assert client.ask("PUT", "/upload?name=a.png", b"x" * 2001)[0] == 400
        assert client.ask("PUT", "/upload?name=a.png", b"x" * 2000)[0] == 200


def test_limits_of_the_list_and_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(tmp_path)
    monkeypatch.setattr("isr.page.items.MOST_ITEMS", 1)
    queue.append(new_item("a.png", tmp_path / "a.png", True))
    with pytest.raises(RequestError, match="fullList"):
        queue.append(new_item("b.png", tmp_path / "b.png", True))
    monkeypatch.setattr("isr.page.items.MOST_ITEMS", 3)
    queue.check_room(2)
    with pytest.raises(RequestError, match="fullList"):
        queue.check_room(3)
    # New ones come last, also behind one that was moved.
    queue.append(new_item("b.png", tmp_path / "b.png", True))
    queue.move(queue.items[0].id, None)
    queue.append(new_item("c.png", tmp_path / "c.png", True))
    assert [item.name for item in queue.items] == ["b.png", "a.png", "c.png"]
    queue.close()

    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40, 100))  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match="fullDisk"):
        asyncio.run(receive(tmp_path / "files" / "x", "a.png", 1, body()))
    assert list((tmp_path / "files").iterdir()) == []


def test_a_worker_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    async def press() -> None:
        queue = Queue(tmp_path / "state")
        id = queue.append(new_item("a.png", tmp_path / "a.png", False)).id
        (tmp_path / "a.png").write_bytes(png())
        supervisor = Supervisor(queue, ["/nonexistent"])
        queue.set(running=True)
        supervisor.next()
        for _ in range(200):
            await asyncio.sleep(0.05)
            if queue[id].state == "failed":
                break
        assert (queue[id].state, supervisor.current) == ("failed", None)
        assert "the worker cannot be started" in queue[id].lines[0]
        await supervisor.stop()
        await supervisor.remove(id)
        queue.close()

    asyncio.run(press())


def test_what_a_kill_left_of_uploads_is_cleared(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    kept = queue.append(new_item("a.png", tmp_path / "a.png", True)).id
    queue.close()
    for name in (kept, "cutoff", "damaged"):
        (tmp_path / "files" / name).mkdir()
        (tmp_path / "files" / name / ".upload").write_bytes(b"x")
    (tmp_path / "items" / "damaged.json").write_text("{")
    for _ in range(2):
        Queue(tmp_path).close()
        assert {path.name for path in (tmp_path / "files").iterdir()} == {kept, "damaged"}


def test_pause_stands_between_tiles_and_goes_on(tmp_path: Path) -> None:
    with served(tmp_path, env={"SLOW": "0.05"}) as client:
        client.json("PUT", "/settings", {"options.tile": 32})
        id = client.upload("tiles.png", png(160, 240))
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, lambda item: item.get("progress", {}).get("done", 0) >= 1)
        client.json("POST", "/go", {"do": "pause"})
        item = client.wait(id, "paused")
        before = item["progress"]["done"]
        # The small picture shows what is finished.
        assert item["progress"]["shown"] >= 1
        live = Image.open(io.BytesIO(client.ask("GET", f"/items/{id}/live")[1]))
        assert abs(live.width / live.height - 240 / 160) < 0.02
        for _ in range(4):
            assert client.items()[id]["progress"]["done"] == before
        assert client.json("GET", "/state?since=0")["queue"]["paused"]
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, lambda item: item["state"] == "working" and item["progress"]["done"] > before)
        # What was asked of one that waited is refused of one at work.
        asked = {"do": "again", "changes": {"options.scale": 4}}
        status, said, _ = client.ask("POST", f"/items/{id}", asked)
        assert (status, json.loads(said)["error"]) == (400, key("begunMeanwhile"))
        client.json("POST", "/go", {"do": "stop"})
        item = client.wait(id, "waiting")
        assert item["begun"]
        # Another device needs another process.
        before = worker_of(client)
        client.json("PUT", "/settings", {"options.tile": 32, "options.device": "cpu"})
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, lambda item: item.get("progress", {}).get("pace"))
        assert worker_of(client) != before


def test_a_killed_worker_and_a_killed_server_lose_a_segment_at_most(tmp_path: Path) -> None:
    """A clip of three segments: it goes on behind those that are finished."""
    with served(tmp_path, env={"SLOW": "0.04"}) as client:
        id = client.upload("clip.mp4", long_clip(tmp_path / "made.mp4"))
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, lambda item: item.get("progress", {}).get("done", 0) >= 62)
        os.kill(worker_of(client), signal.SIGKILL)
        client.wait(id, lambda _: went_on(client, id))
        # What stands still goes on when it is told to.
        client.json("POST", "/go", {"do": "pause"})
        client.process.kill()
        client.process.wait()
    with served(tmp_path, env={"SLOW": "0.001"}) as client:
        assert client.json("GET", "/state?since=0")["queue"]["paused"]
        assert client.items()[id]["state"] == "waiting"
        client.json("POST", "/go", {"do": "start"})
        item = client.wait(id, "finished")
        assert item["frames"] == 150 and item["name"] == "clip.mp4"
        assert went_on(client, id)


def went_on(client: Client, id: str) -> bool:
    notes = client.json("GET", f"/items/{id}")["notes"]
    return any("going on behind frame 60 of 150" in note for note in notes)


def test_stopping_now_keeps_the_part_of_a_clip_that_is_done(tmp_path: Path) -> None:
    from isr.io.clips import probe

    with served(tmp_path, env={"SLOW": "0.03"}) as client:
        id = client.upload("clip.mp4", long_clip(tmp_path / "made.mp4"))
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, lambda item: item.get("progress", {}).get("done", 0) >= 64)
        client.json("POST", "/go", {"do": "stop"})
        client.wait(id, lambda item: item["state"] == "waiting" and item["part"])
        (tmp_path / "part.mp4").write_bytes(client.ask("GET", f"/items/{id}/result")[1])
        info = probe(tmp_path / "part.mp4", timeline=True)
        assert (info.frames, info.width, info.height) == (60, 64, 48)


def test_a_worker_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    dying = [sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit(9)"]
    with served(tmp_path, worker=dying) as client:
        id = client.upload("cat.png", png())
        client.json("POST", "/go", {"do": "start"})
        item = client.wait(id, "failed")
        assert (item["remedy"], item["pieces"]) == ("tile", 128)


# Has memory for small pieces alone.
LITTLE = """
import json, sys
asked = []
def say(what, **more):
    print(json.dumps({"say": what, "id": id, **more}), flush=True)
for line in sys.stdin:
    given = json.loads(line)
    id, tile = given["id"], given["request"]["request"]["options"].get("tile")
    asked.append(tile)
    if tile == 32:
        say("message", text="memory ran out; going on with tiles of 48 pixels")
        say("progress", done=0, total=9, unit="tiles", seconds=None, pace=None, shown=0, phase=None)
    else:
        say("failed", text=f"not enough memory, asked for {asked}")
"""


def test_what_lacks_memory_is_tried_in_smaller_pieces(tmp_path: Path) -> None:
    with served(tmp_path, worker=[sys.executable, "-c", LITTLE]) as client:
        id = client.upload("cat.png", png())
        client.json("POST", "/go", {"do": "start"})
        item = client.wait(id, "failed")
        assert (item["reason"], item["remedy"]) == (key("memory"), "tile")
        assert item["pieces"] == 64
    with served(tmp_path, worker=[sys.executable, "-c", LITTLE]) as client:
        # What it said is kept.
        assert "asked for [None, 128, 64]" in client.json("GET", f"/items/{id}")["notes"][-1]
        client.json("POST", f"/items/{id}", {"do": "again", "changes": {"options.tile": 32}})
        client.json("POST", "/go", {"do": "start"})
        assert client.wait(id, lambda item: item.get("progress"))["pieces"] == 48


def test_a_file_has_a_size_of_its_own(page: Client) -> None:
    ids = [page.upload(f"{n}.png", png()) for n in range(2)]
    page.json("PUT", "/settings", {"options.size": [None, 90]})
    for own, size in (
        ({"options.scale": 4, "options.size": None}, [240, 160]),
        ({"options.scale": None, "options.size": [100, None]}, [150, 100]),
        ({"options.scale": None, "options.size": None}, [90, 60]),
    ):
        page.json("POST", f"/items/{ids[0]}", {"do": "again", "changes": own})
        item = page.wait(ids[0], lambda item, size=size: item["size_out"] == size)
        assert item.get("own_size") == (list(own.values()) if any(own.values()) else None)
        page.wait(ids[1], lambda item: item["size_out"] == [90, 60])
    bad = {"options.scale": -1, "options.size": None}
    assert page.ask("POST", f"/items/{ids[0]}", {"do": "again", "changes": bad})[0] == 400
    for id in ids:
        page.json("POST", f"/items/{id}", {"do": "remove"})
    page.json("PUT", "/settings", {})


# Gets one unit further in each of five lives, and no further in those after them.
GETS_ON = """
import json, sys
from pathlib import Path
asked = json.loads(sys.stdin.readline())
lives = Path(sys.argv[1])
count = len(lives.read_text()) + 1 if lives.exists() else 1
lives.write_text("x" * count)
progress = {"done": min(count, 5), "total": 9, "unit": "frames", "seconds": None, "pace": None, "shown": 0}
progress["phase"] = None
print(json.dumps({"say": "progress", "id": asked["id"], **progress}), flush=True)
sys.exit(9)
"""


def test_deaths_are_counted_anew_when_an_item_gets_further(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    with served(tmp_path / "state", worker=[sys.executable, "-c", GETS_ON, str(lives)]) as client:
        id = client.upload("cat.png", png())
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, "failed")
    assert len(lives.read_text(encoding="utf-8")) == 7


def all_finished(count: int, items: dict[str, dict[str, object]]) -> bool:
    return [item["state"] for item in items.values()] == ["finished"] * count


def test_what_lands_in_a_watched_folder_is_made_once(tmp_path: Path) -> None:
    fast = "import isr.page.watched\nisr.page.watched.PACE = 0.2\n" + PROGRAM
    watched = tmp_path / "in"
    (watched / "sub").mkdir(parents=True)
    for name, count in (("0.png", 2), ("1.png", 3)):
        with served(tmp_path / "state", watch=watched, program=fast) as client:
            for path in (watched / name, watched / "sub" / "a.png"):
                if not path.exists():
                    path.write_bytes(png())
            client.wait_for(functools.partial(all_finished, count))
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("in_larger/**/*.png"))
    assert found == ["in_larger/0_x2.png", "in_larger/1_x2.png", "in_larger/sub/a_x2.png"]


def test_a_second_server_on_the_same_state_opens_the_first(tmp_path: Path) -> None:
    with served(tmp_path) as client, served(tmp_path) as second:
        assert second.process.wait(60) == 0
        assert second.token == client.token


def test_of_two_that_start_at_once_one_opens_the_other(tmp_path: Path) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: stack.enter_context(served(tmp_path)), range(2)))
        assert both[0].token == both[1].token
        ended = next(client for client in itertools.cycle(both) if client.process.poll() is not None)
        other = next(client for client in both if client is not ended)
        assert ended.process.returncode == 0
        assert other.items() == {} and other.process.poll() is None


def test_a_link_leads_through_colabs_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for Colab's module, with the two functions that its documentation names."""
    import isr.page

    shown: list[tuple[int, str]] = []
    colab = types.ModuleType("google.colab")
    colab.output = types.SimpleNamespace(  # type: ignore[attr-defined]
        eval_js=lambda code: "https://p.example/",
        serve_kernel_port_as_window=lambda port, path, anchor_text: shown.append((port, path)),
    )
    monkeypatch.setitem(sys.modules, "google", sys.modules.get("google", types.ModuleType("google")))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    address = isr.page.colab(tmp_path)
    process = isr.page._OF_NOTEBOOK.pop()
    try:
        ((port, path),) = shown
        assert address == f"https://p.example{path}"
        client = Client(f"http://127.0.0.1:{port}{path}", process)
        for host, status in (("p.example", 200), ("q.example", 403)):
            head = {"Host": host, "X-ISR-Token": client.token}
            assert client.ask("GET", "/state?since=0", headers=head)[0] == status
    finally:
        process.communicate()


# Writes down that a process began, and whom it asks: connections and look-ups of names.
AUDIT = """
import os, sys
def heard(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{event}:{args[1:]!r}\\n".replace(" ", ""))
sys.addaudithook(heard)
with open(os.environ["ASKED"], "a") as file:
    file.write("started\\n")
"""


def traced(calls: Path) -> list[str]:
    """What is put before a command so that its connections are written down; nothing where that may not be done."""
    strace = ["strace", "-f", "-qq", "-o", str(calls), "-e", "trace=connect,sendto,sendmsg"]
    if shutil.which("strace") is None or subprocess.run([*strace, sys.executable, "-c", ""]).returncode:
        return []
    return strace


def test_a_real_photo_by_the_real_worker(tmp_path: Path) -> None:
    """As `isr predict` makes it, to the byte; the server needs no Keras, and neither process asks another machine."""
    report = "import atexit\natexit.register(lambda: print(json.dumps(sorted(sys.modules)), flush=True))\n"
    program = AUDIT + PROGRAM.replace("given =", report + "given =")
    asked, calls = tmp_path / "asked.txt", tmp_path / "calls.txt"
    worker = [*traced(calls), sys.executable, "-c", AUDIT + "from isr.page.worker import main\nmain()"]
    with served(tmp_path / "state", worker=worker, program=program, env={"ASKED": str(asked)}) as client:
        client.json("PUT", "/settings", {"sources": ["edsr_fast_x2"]})
        id = client.upload("cat.png", png())
        client.json("POST", "/go", {"do": "start"})
        client.wait(id, lambda item: item["state"] in ("finished", "failed"))
        assert client.items()[id]["state"] == "finished"
        result = client.ask("GET", f"/items/{id}/result")[1]
        client.json("GET", f"/items/{id}/size")
        client.json("GET", "/machine")
        client.process.terminate()
        assert client.process.stdout is not None
        loaded = set(json.loads(client.process.stdout.read().splitlines()[-1]))
    assert len(asked.read_text(encoding="utf-8").split()) == 2, (
        "both processes listened to themselves, and heard nothing"
    )
    # What libraries do behind Python's back, where it can be seen.
    assert not calls.exists() or "AF_INET" not in calls.read_text(encoding="utf-8")
    assert "isr.page.app" in loaded and not {"keras", "tensorflow", "jax"} & loaded
    (tmp_path / "cat.png").write_bytes(png())
    run_python("-m", "isr", "predict", "--preset", "edsr_fast_x2", str(tmp_path / "cat.png"))
    assert (tmp_path / "cat_x2.png").read_bytes() == result


def worker_of(client: Client) -> int:
    """The process id of the server's worker."""
    import psutil

    children = psutil.Process(client.process.pid).children()
    return next(child.pid for child in children if any("worker" in part for part in child.cmdline()))


def long_clip(path: Path) -> bytes:
    """150 frames of 32 x 24: three segments."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for n in range(150):
            picture = np.full((24, 32, 3), n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    path.unlink()
    return content


def test_state_is_private(tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("Windows keeps the user's folders private by itself")
    with served(tmp_path / "state") as client:
        client.upload("cat.png", png())
        for path in [tmp_path / "state", *(tmp_path / "state").iterdir()]:
            if path.is_dir():
                assert path.stat().st_mode & 0o077 == 0, path
    shutil.rmtree(tmp_path / "state")
