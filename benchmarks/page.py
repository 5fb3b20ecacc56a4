"""Measure the page's server: answers, memory, uploads, restarts, the comparison of large pictures.

    python benchmarks/page.py [server] [comparison]

Prints a Markdown table. Memory is the server's resident set, without its workers.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image

SERVE = (
    "import sys; from pathlib import Path; from isr.page import serve;"
    "serve([Path(sys.argv[2])], port=0, browser=False, state=Path(sys.argv[1]),"
    " say=lambda line: print(line, flush=True))"
)
MB = 1e6


class Server:
    """A server of the page, and a client for it."""

    def __init__(self, state: Path, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(state), str(root)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        parts = urlsplit(self.process.stdout.readline().strip())
        self.port, self.token = parts.port, parts.query.partition("=")[2]

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        content = (
            body if body is None or hasattr(body, "read") or isinstance(body, bytes) else json.dumps(body)
        )
        headers = {"X-ISR-Token": self.token}
        if hasattr(body, "read"):
            headers["Content-Length"] = str(os.fstat(body.fileno()).st_size)
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        assert answer.status == 200, (path, answer.status, said[:200])
        return said

    @property
    def memory(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / MB

    def grown(self, work: Callable[[], object]) -> float:
        """MB by which memory was larger, at most, while work was done."""
        before, most = self.memory, 0.0
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(work)
            while not done.done():
                most = max(most, self.memory)
                time.sleep(0.05)
            done.result()
        return max(most - before, 0.0)


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    parts = {"server": served, "comparison": compared}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "root").mkdir()
        rows = []
        for part in sys.argv[1:] or parts:
            rows += parts[part](folder / part, folder / "root")
    print("| | measured | wanted |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def served(state: Path, root: Path) -> list[tuple[str, str, str]]:
    """Answers, idle times, uploads, and a server that is killed."""
    server = Server(state, root)
    rows = []
    times = [1000 * timed(lambda: server.ask("GET", "/")) for _ in range(30)]
    rows.append(("the page itself, median", f"{statistics.median(times):.0f} ms", "at most 50 ms"))
    time.sleep(2)
    process = psutil.Process(server.process.pid)
    process.cpu_percent()
    time.sleep(10)
    rows.append(("idle, memory", f"{server.memory:.0f} MB", "at most 100 MB"))
    rows.append(("idle, processor", f"{process.cpu_percent():.2f}% of a core", "at most 1%"))
    block = np.random.default_rng(0).bytes(5_000_000)

    def twenty() -> None:
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda n: server.ask("PUT", f"/upload?name={n}.mp4", block), range(20)))

    seconds: list[float] = []
    grown = server.grown(lambda: seconds.append(timed(twenty)))
    rows.append(("20 uploads of 5 MB at once", f"{seconds[0]:.1f} s, {grown:.0f} MB more", "30 MB more"))
    huge = root / "huge.mp4"
    with huge.open("wb") as file:
        file.truncate(2**30)

    def one() -> None:
        with huge.open("rb") as file:
            server.ask("PUT", "/upload?name=huge.mp4", file)

    grown = server.grown(lambda: seconds.append(timed(one)))
    rows.append(("an upload of 1 GiB", f"{seconds[1]:.1f} s, {grown:.0f} MB more", "30 MB more"))
    count = len(json.loads(server.ask("GET", "/state?since=0"))["items"])
    server.process.kill()
    server.process.wait()
    begun = time.perf_counter()
    server = Server(state, root)
    same = len(json.loads(server.ask("GET", "/state?since=0"))["items"]) == count
    rows.append(
        ("answers after it was killed", f"{time.perf_counter() - begun:.1f} s, same list: {same}", "3 s")
    )
    server.process.terminate()
    server.process.wait()
    return rows


def compared(state: Path, root: Path) -> list[tuple[str, str, str]]:
    """Parts of 24 megapixels beside the 96 that ordinary enlargement makes of them, by the server and in a browser."""
    picture(root / "large.jpg", 4000, 6000)
    server = Server(state, root)
    try:
        return [cut(server), *looked_at(server)]
    finally:
        server.process.terminate()
        server.process.wait()


def cut(server: Server) -> tuple[str, str, str]:
    """How long the server takes for a part, whatever its size."""
    server.ask("PUT", "/settings", {"look": "plain"})
    id = json.loads(server.ask("POST", "/add", {"root": 0, "path": "large.jpg"}))["ids"][0]
    server.ask("POST", "/go", {"do": "start"})
    while json.loads(server.ask("GET", f"/items/{id}"))["state"] != "finished":
        time.sleep(0.2)
    first = timed(lambda: server.ask("GET", f"/items/{id}/size"))
    times = []
    for zoom in (1, 0.5, 0.1):
        for side in ("before", "after"):
            for at in (0, 0.2, 0.4):
                path = f"/items/{id}/part?side={side}&box={at * (1 - zoom)},0.1,{zoom * 0.9},{zoom * 0.9}"
                times.append(
                    1000 * timed(lambda path=path: server.ask("GET", f"{path}&size=1200,800&way=smooth"))
                )
    return (
        "a part of 24 or of 96 megapixels, median and longest",
        f"{statistics.median(times):.0f} and {max(times):.0f} ms; the first waits {first:.1f} s; "
        f"server {server.memory:.0f} MB",
        "300 ms",
    )


REDRAW = """
async (key) => {
  const stage = document.querySelector("isr-compare .stage");
  const image = stage.querySelector("img.after");
  const before = image.src;
  const begun = performance.now();
  stage.dispatchEvent(new KeyboardEvent("keydown", { key }));
  while (image.src === before && performance.now() - begun < 10000) await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}
"""
SLIDE = """
async () => {
  const divider = document.querySelector("isr-compare .divider");
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let n = 0; n < 200; n += 1) {
    divider.value = n % 100;
    divider.dispatchEvent(new Event("input"));
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times.sort((one, other) => one - other)[190];
}
"""


def looked_at(server: Server) -> list[tuple[str, str, str]]:
    """The same two pictures compared in a browser: from a key to sharp pixels, and how fluid the divider is."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return [("in the browser", "no Chromium here", "")]
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{server.port}/?token={server.token}")
        page.get_by_role("button", name="Compare: large.jpg").click()
        page.locator("isr-compare img.after[src]").wait_for()
        page.wait_for_timeout(1000)
        redraws = [
            page.evaluate(REDRAW, key) for key in ("1", "ArrowLeft", "ArrowUp", "2", "4", "0", "+", "+", "0")
        ]
        slide = page.evaluate(SLIDE)
        browser.close()
    return [
        (
            "comparison of 24 and 96 megapixels redrawn, median and longest",
            f"{statistics.median(redraws):.0f} and {max(redraws):.0f} ms",
            "300 ms",
        ),
        ("a frame while the divider moves, 95th percentile", f"{slide:.0f} ms", "33 ms"),
    ]


def picture(path: Path, height: int, width: int) -> None:
    small = np.random.default_rng(0).integers(0, 256, (height // 40, width // 40, 3), np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)


if __name__ == "__main__":
    main()
