"""Draw the pictures of docs/page.md: the page in a browser, light and dark, wide and narrow.

    python benchmarks/page_screenshots.py --output docs/images
    python benchmarks/page_screenshots.py --output somewhere --everything

Needs the extras `page` and `test`, and Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from isr.io.clips import FrameReader

HERE = Path(__file__).resolve().parent.parent
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
SHOTS = {
    "page-light": ("light", 1180, 900),
    "page-dark": ("dark", 1180, 900),
    "page-narrow": ("light", 360, 780),
}
SERVE = (
    "import sys; from pathlib import Path; from isr.page import serve;"
    "serve([], port=0, browser=False, state=Path(sys.argv[1]), say=lambda line: print(line, flush=True))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--everything", action="store_true", help="Also the dialogs and all options, to be looked at."
    )
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, folder], stdout=subprocess.PIPE, text=True, cwd=HERE
        )
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            draw(address, options.output, options.chromium, Path(folder), options.everything)
        finally:
            server.terminate()
            server.wait()


def draw(address: str, output: Path, chromium: str, folder: Path, everything: bool) -> None:
    """Have a photo and a clip made, and take the pictures."""
    from playwright.sync_api import sync_playwright

    photo = HERE / "docs" / "images" / "robin.png"
    damaged = folder / "old scan.png"
    damaged.write_bytes(photo.read_bytes()[:9000])
    clip = HERE / "tests" / "samples" / "friday_aac.mp4"
    flower = clip.with_name("flower_rot90.mp4")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for name, (scheme, width, height) in SHOTS.items():
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5
            )
            page.goto(address)
            if name == "page-light":
                page.locator("#files").set_input_files([photo, clip, damaged])
                page.locator("isr-row").nth(2).wait_for()
                page.get_by_role("radio", name="Quick").check()
                page.wait_for_timeout(1500)
                page.get_by_role("button", name="Start", exact=True).click()
                page.locator('isr-row[data-state="finished"]').nth(1).wait_for(timeout=300_000)
                # One that waits, with what can be chosen for it alone, and a look that can be turned.
                page.locator("#files").set_input_files([frame_of(flower, folder / "flower.png")])
                page.get_by_role("radio", name="Best").check()
                page.get_by_text("takes about").first.wait_for(timeout=300_000)
                page.get_by_role("button", name="Details: flower.png").click()
                page.get_by_label("Size of this file alone").wait_for()
                # News are gone then.
                page.locator(".news:not(:empty)").wait_for(state="hidden", timeout=30_000)
            page.wait_for_timeout(1500)
            keep(page.screenshot(full_page=name != "page-narrow"), output / f"{name}.webp")
            if everything:
                look_around(page, output, name)
            if name != "page-narrow":
                page.get_by_role("button", name="Compare: robin.png").click()
                page.locator("img.after[src]").wait_for()
                page.get_by_role("button", name="4:1", exact=True).click()
                page.wait_for_timeout(1500)
                keep(page.screenshot(), output / f"{name.replace('page', 'page-compare')}.webp")
            page.close()
        browser.close()


def frame_of(clip: Path, path: Path) -> Path:
    """Keep the first frame of a clip as a photo."""
    with FrameReader(clip, range(1)) as frames:
        Image.fromarray(next(iter(frames)).pixels).save(path)
    return path


def look_around(page: Any, output: Path, name: str) -> None:
    """Take what else there is to see: every option, and every dialog."""
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Details: robin.png").click()
    page.get_by_text("This computer", exact=True).click()
    page.wait_for_timeout(1000)
    keep(page.screenshot(full_page=True), output / f"{name}-more.webp")
    for button in (
        "Compare: robin.png",
        "Compare: friday_aac.mp4",
        "Try a piece",
        "A folder on this computer",
    ):
        found = page.get_by_role("button", name=button)
        if not found.count():
            continue
        found.first.click()
        page.wait_for_timeout(1500)
        if button == "Try a piece":
            page.get_by_role("button", name="Try it").click()
            page.locator("figure").nth(2).wait_for(timeout=300_000)
        keep(page.screenshot(), output / f"{name}-{button.split()[0].lower()}-{button.split()[-1]}.webp")
        page.keyboard.press("Escape")
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Details: robin.png").click()
    page.get_by_text("This computer", exact=True).click()


def keep(png: bytes, path: Path) -> None:
    """Write a screenshot as WebP."""
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(path, quality=85, method=6)
    print(path)


if __name__ == "__main__":
    main()
