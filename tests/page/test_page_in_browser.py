"""The page as a person meets it, in a real browser; skipped where there is none."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import ROOT
from page_server import Client, served
from pictures import photograph
from PIL import Image

from isr import presets

playwright = pytest.importorskip("playwright.sync_api", reason="pip install keras-isr[test]")
pytest.importorskip("starlette", reason="pip install keras-isr[page]")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SAMPLES = ROOT / "tests" / "samples"
DROP = """
([name, kind, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, { type: kind }));
  for (const event of ["dragenter", "dragover", "drop"]) {
    document.querySelector(".drop").dispatchEvent(
      new DragEvent(event, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}
"""
PASTE = """
([name, kind, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, { type: kind }));
  document.body.dispatchEvent(
    new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData: transfer }));
}
"""

# The page looks for news once a second; tests need not wait as long.
HASTE = """
const wait = window.setTimeout;
window.setTimeout = (act, ms, ...given) => wait(act, ms === 1000 ? 150 : ms, ...given);
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


def png(height: int = 40, width: int = 60, seed: int = 0) -> bytes:
    written = io.BytesIO()
    Image.fromarray(photograph(height, width, seed=seed)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture, and a network that has both knobs."""
    root = tmp_path_factory.mktemp("browser") / "holiday"
    root.mkdir()
    (root / "beach.png").write_bytes(png(seed=5))
    mine = root / "nets" / "mine"
    shutil.copytree(presets.find("live_x2"), mine)
    config = json.loads((mine / "config.json").read_text(encoding="utf-8"))
    config["corners"] = {"clean": "live_x2", "textured": "live_x2"}
    (mine / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(tmp_path_factory.mktemp("state"), (root,)) as client:
        yield client


def empty(server: Client) -> None:
    """Take everything off the list, and choose nothing."""
    server.json("PUT", "/settings", {})
    for id in server.items():
        server.json("POST", f"/items/{id}", {"do": "remove"})


@pytest.fixture
def page(browser: Any, server: Client) -> Iterator[Any]:
    """A tab on an empty list, whose console stays empty and whose requests all go to the server."""
    empty(server)
    context = browser.new_context(viewport={"width": 1100, "height": 900}, accept_downloads=True)
    context.add_init_script(HASTE)
    tab = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("console", lambda line: said.append(line.text) if "Content Security Policy" in line.text else None)
    tab.goto(server.address)
    # Whatever comes later would move what is clicked at.
    tab.get_by_label("Remove grain and blocks").wait_for()
    yield tab
    context.close()
    assert not said, said
    own = (f"http://127.0.0.1:{server.port}/", "blob:http://127.0.0.1")
    assert asked and not [url for url in asked if not url.startswith(own)]


def row(page: Any, name: str, state: str) -> Any:
    """The row of a file, once it is in a state."""
    found = page.locator(f'isr-row[data-state="{state}"]', has_text=name)
    found.wait_for(timeout=60_000)
    return found


def until(page: Any, is_so: Callable[[], object]) -> None:
    """Wait for what the page does not show, while its requests go on."""
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        page.wait_for_timeout(20)


def held(page: Any, address: Any) -> list[Any]:
    """Hold back what is asked for at an address, until `page.unroute` lets it go on."""
    routes: list[Any] = []
    page.route(address, lambda route: routes.append(route))
    return routes


def settings(server: Client) -> dict[str, Any]:
    found: dict[str, Any] = server.json("GET", "/state?since=0")["settings"]
    return found


# A worker that converts, and never gets further.
BETWEEN = """
import json, sys
from isr.page.worker import Reports
reports = Reports(sys.stdout)
for line in sys.stdin:
    reports.clear(json.loads(line).get("id"), None)
    reports.doing("converting", "edsr_fast_x2")
"""


def test_a_row_tells_what_is_done_between_units(browser: Any, tmp_path: Path) -> None:
    with served(tmp_path, worker=[sys.executable, "-c", BETWEEN]) as client:
        tab = browser.new_page()
        tab.goto(client.address)
        id = client.upload("cat.png", png())
        client.json("POST", "/go", {"do": "start"})
        row(tab, "cat.png", "working").get_by_text("getting this look ready, once").wait_for()
        assert client.items()[id]["progress"]["phase"] == "converting"
        tab.close()


def test_drop_run_reload_compare_save(page: Any, tmp_path: Path) -> None:
    """The whole way of a photo."""
    assert "token" not in page.url
    page.evaluate(DROP, ["cat.png", "image/png", list(png())])
    found = row(page, "cat.png", "waiting")
    found.get_by_text(re.compile("60.40 → 120.80")).wait_for()
    page.get_by_role("radio", name="4 times").check()
    found.get_by_text(re.compile("60.40 → 240.160")).wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    row(page, "cat.png", "finished")
    page.reload()
    found = row(page, "cat.png", "finished")
    page.locator('input[name="size"][value="4"]:checked').wait_for()
    page.get_by_text("1 of 1 done").wait_for()
    found.get_by_role("button", name="Details: cat.png").click()
    found.locator("code", has_text="isr predict --scale 4").wait_for()
    # By keyboard alone.
    found.get_by_role("button", name="Compare: cat.png").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="cat.png")
    dialog.locator("img.after[src]").wait_for()
    page.keyboard.press("4")
    page.keyboard.press("ArrowRight")
    page.keyboard.down(" ")
    page.locator(".stage.blink").wait_for()
    page.keyboard.up(" ")
    assert page.locator(".stage.blink").count() == 0
    divider = dialog.get_by_role("slider")
    clip = dialog.locator("img.after").evaluate("node => node.style.clipPath")
    divider.focus()
    page.keyboard.press("Home")
    assert dialog.locator("img.after").evaluate("node => node.style.clipPath") != clip
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    with page.expect_download() as download:
        found.get_by_role("link", name="Save: cat.png").click()
    assert download.value.suggested_filename == "cat_x4.png"
    download.value.save_as(tmp_path / "cat_x4.png")
    expected = photograph(40, 60).repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "cat_x4.png")), expected)
    page.get_by_role("radio", name="2 times").check()


def test_several_kinds_of_files_and_one_that_fails(page: Any, tmp_path: Path) -> None:
    gif = tmp_path / "wave.gif"
    frames = [Image.fromarray(photograph(24, 32, seed=n)) for n in range(3)]
    frames[0].save(gif, save_all=True, append_images=frames[1:], duration=80)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 no more")
    page.locator("#files").set_input_files([gif, SAMPLES / "friday_aac.mp4", bad])
    for name in ("wave.gif", "friday_aac.mp4"):
        row(page, name, "waiting").get_by_text("→").wait_for()
    page.evaluate(PASTE, ["image.png", "image/png", list(png())])
    row(page, "image.png", "waiting")
    page.get_by_role("button", name="Start", exact=True).click()
    for name in ("wave.gif", "friday_aac.mp4", "image.png"):
        row(page, name, "finished")
    row(page, "bad.jpg", "failed").get_by_role("button", name="Remove: bad.jpg").click()
    page.get_by_text("3 of 3 done").wait_for()
    row(page, "wave.gif", "finished").get_by_role("button", name="Compare: wave.gif").click()
    page.locator("img.after[src]").wait_for()
    first = page.locator("img.after").get_attribute("src")
    page.get_by_role("button", name="Later picture").click()
    page.locator(f'img.after:not([src="{first}"])').wait_for()
    page.get_by_role("button", name="Close").click()
    # The browser may lack the patent-encumbered codecs; then it says so.
    row(page, "friday_aac.mp4", "finished").get_by_role("button", name="Compare: friday_aac.mp4").click()
    page.locator("img.after[src]").wait_for()
    page.get_by_role("button", name="Play both").click()
    page.get_by_role("button", name="Stop playing").click()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Clear what is done").click()
    page.get_by_text("Nothing here yet.").wait_for()


def test_a_folder_of_this_computer(page: Any) -> None:
    page.get_by_role("button", name="A folder on this computer").click()
    page.get_by_role("button", name="holiday").click()
    page.get_by_text("beach.png").wait_for()
    page.get_by_role("button", name="Add all in this folder").click()
    row(page, "holiday/beach.png", "waiting")


def test_results_go_into_a_chosen_folder(page: Any, root: Path) -> None:
    page.get_by_label("Files of this computer go").select_option("Choose a folder")
    page.get_by_role("button", name="holiday").click()
    page.get_by_role("button", name="nets").click()
    # What is shown is taken.
    page.locator("isr-picker p", has_text=re.compile("^nets$")).wait_for()
    page.get_by_role("button", name="Take this folder").click()
    page.reload()
    page.locator(f'select[name="into"] option:checked[value="{root / "nets"}"]').wait_for(state="attached")
    page.get_by_label("Files of this computer go").select_option("beside the old ones")


def test_a_folder_is_dropped(page: Any, tmp_path: Path) -> None:
    """As the file manager drops it: the browser makes the entries, and the page walks them."""
    folder = tmp_path / "trip"
    (folder / "day").mkdir(parents=True)
    for name in ("a.png", "day/b.png", ".hidden.png"):
        (folder / name).write_bytes(png())
    box = page.locator(".drop").bounding_box()
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    devtools = page.context.new_cdp_session(page)
    for event in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": event, **at, "data": data})
    for name in ("trip/a.png", "trip/day/b.png"):
        row(page, name, "waiting")
    page.get_by_text("2 files added").wait_for()
    assert page.locator("isr-row").count() == 2


def names(page: Any) -> list[str]:
    found: list[str] = page.locator("isr-row .name").all_inner_texts()
    return found


def test_the_order_is_changed_by_drag_and_by_keys(page: Any, server: Client) -> None:
    for name in ("a.png", "b.png", "c.png"):
        server.upload(name, png())
    row(page, "c.png", "waiting").drag_to(row(page, "a.png", "waiting"))
    page.locator("isr-row:first-child", has_text="c.png").wait_for()
    assert names(page) == ["c.png", "a.png", "b.png"]
    row(page, "a.png", "waiting").get_by_role("button", name="Later: a.png").focus()
    page.keyboard.press("Enter")
    page.locator("isr-row:last-child", has_text="a.png").wait_for()
    page.reload()
    row(page, "a.png", "waiting")
    assert names(page) == ["c.png", "b.png", "a.png"]
    # A row that moves keeps the focus, and one that goes hands it on.
    earlier = row(page, "a.png", "waiting").get_by_role("button", name="Earlier: a.png")
    earlier.focus()
    for place in (2, 1):
        page.keyboard.press("Enter")
        page.locator(f"isr-row:nth-child({place})", has_text="a.png").wait_for()
    page.get_by_role("button", name="Remove: a.png").focus()
    page.keyboard.press("Enter")
    page.locator("isr-row:first-child", has_text="c.png").wait_for()
    page.wait_for_function("document.querySelector('isr-row').contains(document.activeElement)")


def test_what_is_not_added_is_counted(page: Any, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("text")
    page.locator('input[type="file"]').first.set_input_files(sorted(tmp_path.glob("*.txt")))
    page.get_by_text("2 more were not added").wait_for()


def test_a_network_of_ones_own_is_a_look(page: Any, server: Client) -> None:
    server.upload("cat.png", png(300, 400))
    page.get_by_text("More", exact=True).click()
    assert not page.get_by_role("radio", name="Your own").is_visible()
    page.get_by_role("button", name="Choose a folder", exact=True).click()
    page.get_by_role("button", name="holiday").click()
    page.get_by_text("There is none in this folder").wait_for()
    page.get_by_role("button", name="nets").click()
    page.get_by_role("button", name="Use: mine").click()
    page.locator('input[name="look"][value="own"]:checked').wait_for()
    page.reload()
    page.locator('input[name="look"][value="own"]:checked').wait_for()
    found = row(page, "cat.png", "waiting")
    found.get_by_role("button", name="Details: cat.png").click()
    found.locator("code", has_text=re.compile("--preset .*/holiday/nets/mine")).wait_for()
    found.get_by_role("button", name="Try a piece: cat.png").click()
    dialog = page.get_by_role("dialog")
    boxes = {
        name: dialog.get_by_role("checkbox", name=name) for name in ("Best", "Quick", "Gentle", "Your own")
    }
    boxes["Gentle"].check()
    # Three are tried at most, and one at least.
    assert boxes["Your own"].is_disabled()
    for name in ("Best", "Quick", "Gentle"):
        boxes[name].uncheck()
    assert dialog.get_by_role("button", name="Try it").is_disabled()
    boxes["Your own"].check()
    dialog.get_by_role("button", name="Try it").click()
    dialog.locator("figure", has_text="Your own").wait_for(timeout=60_000)


def test_this_machine_is_tested_by_a_button(page: Any) -> None:
    page.get_by_text("This computer", exact=True).click()
    page.get_by_role("button", name="Test this machine").click()
    page.get_by_text("Tested: waiting files").wait_for(timeout=60_000)
    page.locator("isr-machine li", has_text="bicubic").wait_for()


def test_eight_tabs_see_the_same(page: Any, server: Client) -> None:
    server.upload("shared.png", png())
    tabs = [page.context.new_page() for _ in range(7)]
    for tab in tabs:
        tab.goto(f"http://127.0.0.1:{server.port}/")
    for tab in [page, *tabs]:
        row(tab, "shared.png", "waiting")


def test_a_piece_is_tried_by_several_looks(page: Any, server: Client) -> None:
    server.upload("large.png", png(300, 400))
    row(page, "large.png", "waiting").get_by_role("button", name="Try a piece: large.png").click()
    dialog = page.get_by_role("dialog", name="Try a piece of large.png")
    page.keyboard.press("ArrowRight")
    dialog.get_by_role("button", name="Try it").click()
    # Ordinary enlargement stands beside them.
    dialog.locator("figure", has_text="Plain").wait_for(timeout=60_000)
    assert dialog.locator("figure").count() == 3
    dialog.locator(
        "figcaption", has_text=re.compile(r"Quick · this piece took .* · its file has about [\d.]+ MB")
    ).wait_for()
    assert dialog.locator("figure img").first.evaluate("node => node.naturalWidth") == 480
    dialog.get_by_role("button", name="Take this look: Quick").click()
    page.locator('input[name="look"][value="quick"]:checked').wait_for()
    page.get_by_role("radio", name="Best").check()


def test_the_wheel_zooms_at_the_pointer(page: Any, server: Client) -> None:
    server.upload("large.png", png(300, 400))
    page.get_by_role("button", name="Start", exact=True).click()
    row(page, "large.png", "finished").get_by_role("button", name="Compare: large.png").click()
    page.locator("img.after[src]").wait_for()
    view = (
        "const { scale, middle, full } = document.querySelector('isr-compare'); return [scale, middle, full];"
    )
    before, middle, full = page.evaluate(f"() => {{ {view} }}")
    box = page.locator(".stage").bounding_box()
    away = (-150.0, 100.0)
    page.mouse.move(box["x"] + box["width"] / 2 + away[0], box["y"] + box["height"] / 2 + away[1])
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"document.querySelector('isr-compare').scale > {before}")
    after, moved, _ = page.evaluate(f"() => {{ {view} }}")
    assert after == pytest.approx(before * np.e)
    # The same place of the picture lies under the pointer; edges are whole pixels.
    for n in range(2):
        assert middle[n] + away[n] / before / full[n] == pytest.approx(
            moved[n] + away[n] / after / full[n], abs=2e-3
        )
    page.mouse.wheel(0, 4000)
    page.wait_for_function(f"document.querySelector('isr-compare').scale < {after}")
    # So do two fingers.
    page.keyboard.press("1")
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, apart in (("touchStart", 20), ("touchMove", 60)):
        points = [{"x": x + side * apart, "y": y, "id": n} for n, side in enumerate((-1, 1))]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_function("document.querySelector('isr-compare').scale > 2")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.get_by_label("Show the difference").check()
    assert (
        page.locator(".stage.differ img.after").evaluate("n => getComputedStyle(n).mixBlendMode")
        == "difference"
    )


def test_the_knobs_of_a_look_are_turned_and_kept(page: Any, server: Client, root: Path) -> None:
    server.upload("cat.png", png())
    own = str(root / "nets" / "mine")
    server.json("PUT", "/settings", {"sources": [own], "options.scale": 4})
    page.reload()
    page.get_by_label("Remove grain and blocks").select_option("half")
    page.get_by_label("Invent fine detail").select_option("a little")
    for _ in range(2):
        found = row(page, "cat.png", "waiting")
        found.get_by_text(re.compile("60.40 → 240.160")).wait_for()
        found.get_by_role("button", name="Details: cat.png").click()
        found.locator("code", has_text=f"--scale 4 --denoise 0.5 --texture 0.25 --preset {own}").wait_for()
        page.reload()
    # Other looks have both, or none.
    page.get_by_role("radio", name="Best").check()
    page.get_by_label("Remove grain and blocks").wait_for()
    assert page.get_by_label("Invent fine detail").is_visible()
    page.get_by_role("radio", name="Plain").check()
    assert not page.get_by_label("Remove grain and blocks").is_visible()
    assert not page.get_by_label("Invent fine detail").is_visible()
    found.get_by_role("button", name="Details: cat.png").click()
    found.locator("code", has_text=re.compile("--preset bicubic ((?!texture|denoise).)*$")).wait_for()


def test_what_was_chosen_the_last_time_is_safe_until_it_is_shown(page: Any, server: Client) -> None:
    server.json("PUT", "/settings", {"look": "plain", "options.scale": 4})
    page.route("**/state*", lambda request: request.abort())
    page.reload()
    page.get_by_text("The program does not answer").wait_for()
    page.locator("isr-how form[inert]").wait_for(state="attached")
    page.unroute("**/state*")
    # As where another one was started, which knows other tokens.
    page.route("**/state*", lambda request: request.fulfill(status=403, body="open the page by its address"))
    page.get_by_text("The program was started again").wait_for()
    page.unroute("**/state*")
    held(page, "**/state*")
    page.reload()
    page.locator("isr-how form[inert]").wait_for(state="attached")
    assert not page.get_by_label("Remove grain and blocks").is_visible()
    page.unroute("**/state*")  # what waited goes on
    page.locator("isr-how form:not([inert])").wait_for()
    assert page.get_by_role("radio", name="Plain").is_checked()


def test_choices_made_at_once_are_kept_in_their_order(page: Any, server: Client) -> None:
    asked = held(page, "**/settings")
    page.get_by_role("radio", name="4 times").check()
    until(page, lambda: asked)
    page.get_by_role("radio", name="Quick").check()
    page.get_by_label("Save pictures as").select_option("PNG")
    for _ in range(2):
        with page.expect_response("**/state*"):
            pass
    # What the server knew before does not come back.
    assert page.get_by_role("radio", name="4 times").is_checked()
    assert page.get_by_role("radio", name="Quick").is_checked()
    page.unroute("**/settings")
    until(page, lambda: "options.format" in settings(server))
    assert settings(server) == {"options.scale": 4, "look": "quick", "options.format": "png"}
    # One that is refused is not shown as if it were kept.
    page.route("**/settings", lambda request: request.fulfill(status=400, json={"error": "@gone"}))
    page.get_by_role("radio", name="2 times").check()
    page.locator(".news", has_text="no longer there").wait_for()
    page.locator('input[name="size"][value="4"]:checked').wait_for()


def test_start_waits_for_what_was_chosen_before_it(page: Any, server: Client) -> None:
    id = server.upload("cat.png", png())
    row(page, "cat.png", "waiting")
    asked = held(page, "**/settings")
    page.get_by_role("radio", name="4 times").check()
    until(page, lambda: asked)
    page.get_by_role("button", name="Start", exact=True).click()
    with page.expect_response("**/state*"):
        pass
    assert server.items()[id]["state"] == "waiting"
    page.unroute("**/settings")
    row(page, "cat.png", "finished").get_by_text(re.compile("60.40 → 240.160")).wait_for()


def test_a_button_mends_what_failed(page: Any, server: Client, root: Path) -> None:
    result = root / "beach_x2.png"
    result.write_bytes(b"of another program")
    server.json("POST", "/add", {"root": 0, "path": "beach.png"})
    found = row(page, "beach.png", "waiting")
    found.get_by_text("A file of that name is there already.").wait_for()
    found.get_by_role("button", name="Replace it").click()
    found.get_by_text(re.compile("^waiting.*60.40 → 120.80")).wait_for()
    page.get_by_role("button", name="Start", exact=True).click()
    row(page, "beach.png", "finished")
    assert Image.open(result).size == (120, 80)
    result.unlink()


def test_what_is_not_known_yet_is_not_overwritten(page: Any, server: Client, root: Path) -> None:
    engine = server.json("GET", "/machine")["engines"][-1]
    kept = {"sources": [str(root / "nets" / "mine")], "options.engine": engine, "options.texture": 0.5}
    server.json("PUT", "/settings", kept)
    held(page, "**/machine")
    page.reload()
    page.get_by_role("radio", name="4 times").check()
    until(page, lambda: settings(server) == {**kept, "options.scale": 4})
    page.unroute("**/machine")
    page.get_by_label("Invent fine detail").wait_for()
    assert page.locator('select[name="engine"]').input_value() == engine


def test_two_tabs_leave_each_other_what_they_chose(page: Any, server: Client) -> None:
    page.get_by_text("More", exact=True).click()
    names = page.get_by_label("Names of new files")
    names.fill("{stem}-larger")
    server.json("PATCH", "/settings", {"options.scale": 4})
    with page.expect_response("**/state*"):
        pass
    names.press("Enter")
    until(page, lambda: settings(server) == {"options.scale": 4, "options.name": "{stem}-larger"})
    names.blur()
    page.locator('input[name="size"][value="4"]:checked').wait_for()


def test_the_folder_that_is_shown_is_added(page: Any) -> None:
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="A folder on this computer").click()
    dialog.get_by_role("button", name="holiday").click()
    dialog.get_by_text("beach.png").wait_for()
    asked = held(page, re.compile("path=nets"))
    dialog.get_by_role("button", name="nets").click()
    until(page, lambda: asked)
    dialog.get_by_role("button", name="Add all in this folder").click()
    row(page, "holiday/beach.png", "waiting")
    # An answer that comes late does not replace what was asked for later.
    page.get_by_role("button", name="A folder on this computer").click()
    dialog.get_by_role("button", name="holiday").click()
    dialog.get_by_text("beach.png").wait_for()
    with page.expect_response(re.compile("path=nets")):
        page.unroute(re.compile("path=nets"))
    page.evaluate("new Promise(requestAnimationFrame)")
    assert dialog.get_by_role("button", name="Add: beach.png").is_visible()


def test_the_picture_that_was_opened_last_is_compared(page: Any, server: Client) -> None:
    ids = [
        server.upload(name, png(*size)) for name, size in (("first.png", (40, 60)), ("last.png", (80, 50)))
    ]
    server.json("POST", "/go", {"do": "start"})
    for name in ("first.png", "last.png"):
        row(page, name, "finished")
    first = re.compile(f"{ids[0]}/size")
    asked = held(page, first)
    page.get_by_role("button", name="Compare: first.png").click()
    until(page, lambda: asked)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Compare: last.png").click()
    with page.expect_response(first):
        page.unroute(first)
    page.locator(f'img.after[src*="{ids[1]}"]').wait_for()
    assert page.evaluate("document.querySelector('isr-compare').full") == [100, 160]


def test_a_button_pressed_twice_moves_twice(page: Any, server: Client) -> None:
    ids = [server.upload(f"{name}.png", png()) for name in "abc"]
    row(page, "c.png", "waiting")
    later = row(page, "a.png", "waiting").get_by_role("button", name="Later: a.png")
    asked = held(page, f"**/items/{ids[0]}")
    for count in (1, 2):
        later.click()
        until(page, lambda count=count: len(asked) == count)
    page.unroute(f"**/items/{ids[0]}")
    page.locator("isr-row:last-child", has_text="a.png").wait_for()
    assert names(page) == ["b.png", "c.png", "a.png"]


def test_a_piece_is_of_the_file_as_it_is_now(page: Any, server: Client, root: Path) -> None:
    file = root / "grows.png"
    file.write_bytes(png(300, 400))
    server.json("POST", "/add", {"root": 0, "path": file.name})
    found = row(page, file.name, "waiting")
    found.get_by_text(re.compile("400.300 → 800.600")).wait_for()
    file.write_bytes(png(600, 800))
    # Then it is looked at again; its buttons stay as they were drawn.
    server.json("PUT", "/settings", {"options.scale": 4})
    found.get_by_text(re.compile("800.600 → 3200.2400")).wait_for()
    found.get_by_role("button", name="Try a piece: grows.png").click()
    share = "node => node.offsetWidth / node.parentElement.querySelector('img').clientWidth"
    until(page, lambda: abs(page.locator("isr-try .square").evaluate(share) - 240 / 800) < 0.01)
    file.unlink()


def test_a_state_from_before_start_is_not_shown_after_it(page: Any, server: Client) -> None:
    id = server.upload("cat.png", png())
    row(page, "cat.png", "waiting")
    late: list[Any] = []

    def hold(route: Any) -> None:
        if late:
            route.continue_()
        else:
            late.append((route, route.fetch()))

    page.route("**/state*", hold)
    until(page, lambda: late)
    page.get_by_role("button", name="Start", exact=True).click()
    until(page, lambda: server.items()[id]["state"] == "finished")
    ((route, answer),) = late
    route.fulfill(response=answer)
    page.locator(".news", has_text="All is done").wait_for()


def test_details_say_what_holds_now(page: Any, server: Client) -> None:
    server.upload("cat.png", png())
    found = row(page, "cat.png", "waiting")
    found.get_by_role("button", name="Details: cat.png").click()
    found.locator("code").wait_for()
    page.get_by_role("radio", name="4 times").check()
    found.locator("code", has_text="--scale 4").wait_for()
    found.get_by_role("button", name="Details: cat.png").click()
    assert not found.locator("code").is_visible()


def test_a_paused_file_goes_on_after_the_program_was_killed(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context()
    context.add_init_script(HASTE)
    tab = context.new_page()
    with served(tmp_path, env={"SLOW": "0.05"}) as client:
        client.json("PUT", "/settings", {"options.tile": 32})
        client.upload("tiles.png", png(96, 144))
        tab.goto(client.address)
        tab.get_by_role("button", name="Start", exact=True).click()
        row(tab, "tiles.png", "working")
        # Title and icon show how far it is.
        playwright.expect(tab).to_have_title(re.compile(r"^\d+% "))
        tab.locator('link#icon[href^="blob:"]').wait_for(state="attached")
        tab.get_by_role("button", name="Pause", exact=True).click()
        row(tab, "tiles.png", "paused")
        client.process.kill()
        client.process.wait()
        tab.get_by_text("The program does not answer").wait_for()
    with served(tmp_path) as client:
        tab.goto(client.address)
        row(tab, "tiles.png", "waiting")
        tab.get_by_role("button", name="Go on", exact=True).click()
        row(tab, "tiles.png", "finished")
        playwright.expect(tab).to_have_title("Make pictures and videos larger")
    context.close()


def test_one_file_alone_has_a_size_of_its_own(page: Any, server: Client) -> None:
    for name in ("cat.png", "dog.png"):
        server.upload(name, png())
    found = row(page, "cat.png", "waiting")
    found.get_by_role("button", name="Details: cat.png").click()
    found.get_by_label("Size of this file alone").select_option("Exact width")
    found.get_by_label("Pixels").fill("150")
    found.get_by_label("Pixels").press("Enter")
    found.get_by_text(re.compile("60.40 → 150.100 · a size of its own")).wait_for()
    row(page, "dog.png", "waiting").get_by_text(re.compile("60.40 → 120.80")).wait_for()
    found.get_by_label("Size of this file alone").select_option("as chosen above")
    found.get_by_text(re.compile("60.40 → 120.80")).wait_for()


NOTIFICATION = """
window.told = [];
window.Notification = class {
  static requestPermission() { return Promise.resolve("granted"); }
  constructor(title, { body }) { window.told.push([title, body]); }
};
OscillatorNode.prototype.start = function () { window.told.push(this.frequency.value); };
OscillatorNode.prototype.stop = () => {};
"""


def test_the_end_is_notified_where_that_is_wanted(page: Any, server: Client) -> None:
    page.add_init_script(NOTIFICATION)
    page.reload()
    for name, wanted in (("quiet.png", False), ("loud.png", True)):
        server.upload(name, png())
        row(page, name, "waiting")
        page.get_by_role("checkbox", name="Tell me when all is done").set_checked(wanted)
        page.get_by_role("button", name="Start", exact=True).click()
        row(page, name, "finished")
        page.locator(".news", has_text="All is done").wait_for()
    # The words of the first stand for a while.
    until(page, lambda: page.evaluate("told"))
    assert page.evaluate("told") == [660, 880, ["All is done", "2 of 2 done"]]


def test_news_stand_before_an_open_dialog(page: Any, server: Client) -> None:
    server.upload("cat.png", png())
    row(page, "cat.png", "waiting").get_by_role("button", name="Try a piece: cat.png").click()
    page.evaluate(PASTE, ["notes.txt", "text/plain", [1]])
    said = page.get_by_role("dialog").locator(".news", has_text="notes.txt")
    said.wait_for()
    # What a click at its middle would meet.
    assert said.evaluate(
        """node => {
          const box = node.getBoundingClientRect();
          return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === node;
        }"""
    )


def test_what_a_failed_file_said_is_copied(page: Any, server: Client) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    server.upload("bad.png", png()[:900])
    page.get_by_role("button", name="Start", exact=True).click()
    found = row(page, "bad.png", "failed")
    found.get_by_role("button", name="Details: bad.png").click()
    found.get_by_role("button", name="Copy").click()
    page.locator(".news", has_text="Copied").wait_for()
    command, reason, *lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert command.startswith("isr predict ") and "damaged" in reason
    assert any("bad.png" in line for line in lines)
    # As in a page from the network, which is not encrypted.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    found.get_by_role("button", name="Copy").click()
    page.locator(".news", has_text="press Ctrl+C").wait_for()
    assert page.evaluate("getSelection().toString()") == command


def test_nothing_is_cut_off(page: Any, server: Client) -> None:
    server.upload("a name that is long and has no place to break " + "x" * 60 + ".png", png())
    row(page, "a name", "waiting").get_by_role("button", name=re.compile("Details")).click()
    for closed in ("More", "This computer"):
        page.get_by_text(closed, exact=True).click()
    page.get_by_text("Can calculate with").wait_for()
    page.locator("code").wait_for()
    for width in (1100, 600, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    # In a dialog, too.
    for name in ("Try a piece", "A folder on this computer"):
        page.get_by_role("button", name=name).click()
        dialog = page.get_by_role("dialog")
        dialog.wait_for()
        assert dialog.evaluate("node => node.scrollWidth <= node.clientWidth")
        page.keyboard.press("Escape")


def test_axe_finds_nothing(browser: Any, server: Client) -> None:
    """In a context of its own, since axe-core runs code that the page's policy forbids."""
    empty(server)
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install keras-isr[test]")
    id = server.upload("axe.png", png())
    bad = server.upload("axe-bad.png", png()[:500])
    server.json("POST", "/go", {"do": "start"})
    server.wait(id, "finished")
    server.wait(bad, "failed")
    # What is added while the queue runs does not wait.
    server.json("POST", "/go", {"do": "finish"})
    server.upload("axe-waits.png", png())
    context = browser.new_context(bypass_csp=True)
    context.add_init_script(HASTE)
    page = context.new_page()
    page.goto(server.address)
    row(page, "axe-waits.png", "waiting")
    row(page, "axe-bad.png", "failed")
    page.get_by_text("More", exact=True).click()
    row(page, "axe.png", "finished").get_by_role("button", name="Details: axe.png").click()
    page.locator("code").wait_for()
    for button in ("", "Compare: axe.png", "Try a piece: axe-waits.png", "A folder on this computer"):
        if button:
            page.get_by_role("button", name=button).click()
            page.get_by_role("dialog").wait_for()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = axe.Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
        page.keyboard.press("Escape")
    context.close()
