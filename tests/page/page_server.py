"""A page in a child process, and a client for it, for tests."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from children import ROOT

FAKE = ROOT / "tests" / "page" / "slow_worker.py"
PROGRAM = """
import json, sys
from pathlib import Path
from isr.page import serve
given = json.loads(sys.argv[1])
serve([Path(root) for root in given["roots"]], port=given["port"], browser=False, state=Path(given["state"]),
      host=given["host"], worker=given["worker"], watch=given["watch"] and Path(given["watch"]),
      say=lambda line: print(line, flush=True))
"""
LONGEST = 60.0  # seconds that a test waits for something


class Client:
    """Asks a page as a program does, by the token as a header."""

    def __init__(self, address: str, process: subprocess.Popen[str]) -> None:
        parts = urlsplit(address)
        assert parts.port is not None
        self.address, self.port, self.process = address, parts.port, process
        self.token = parts.query.partition("=")[2]

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of an answer; `body` of bytes or blocks of them as it is, else as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST)
        plain = body is None or isinstance(body, (bytes, Iterator))
        content = body if plain else json.dumps(body).encode()
        known = {"X-ISR-Token": self.token} if headers is None else headers
        try:
            connection.request(method, path, content, dict(known))
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """What was answered; the test fails where it was refused."""
        status, content, _ = self.ask(method, path, body)
        assert status == 200, (status, content)
        return json.loads(content)

    def grown(self, work: Callable[[], object]) -> float:
        """MB that the server's memory was larger by, at most, while work was done."""
        import psutil

        memory = psutil.Process(self.process.pid).memory_info
        before = most = memory().rss
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(work)
            while not done.done():
                most = max(most, memory().rss)
                time.sleep(0.02)
            done.result()
        return (most - before) / 1e6

    def upload(self, name: str, content: bytes) -> str:
        """Send a file; gives the item's id."""
        id: str = self.json("PUT", f"/upload?name={quote(name)}", content)["ids"][0]
        return id

    def items(self) -> dict[str, dict[str, Any]]:
        """All items by their ids."""
        found: dict[str, dict[str, Any]] = {}
        now, boot, more = 0, "", True
        while more:
            said = self.json("GET", f"/state?since={now}&boot={boot}")
            found |= {item["id"]: item for item in said["items"]}
            now, boot, more = said["now"], said["boot"], said["more"]
        return found

    def wait_for(self, wanted: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        """Wait until the items are as a function wants them."""
        end = time.monotonic() + LONGEST
        while not wanted(found := self.items()):
            assert time.monotonic() < end, found
            time.sleep(0.1)

    def wait(self, id: str, wanted: Callable[[dict[str, Any]], bool] | str) -> dict[str, Any]:
        """Wait until an item is in a state, or as a function wants it."""
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            item = self.items()[id]
            if item["state"] == wanted if isinstance(wanted, str) else wanted(item):
                return item
            time.sleep(0.05)
        raise AssertionError(f"waited for {wanted}: {item}")


@contextmanager
def served(
    state: Path,
    roots: tuple[Path, ...] = (),
    port: int = 0,
    worker: list[str] | None = None,
    env: Mapping[str, str] | None = None,
    program: str = PROGRAM,
    watch: Path | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Client]:
    """A page whose worker has no network: every pixel is repeated, as slowly as `$SLOW` says (seconds a call)."""
    given = {
        "state": str(state),
        "roots": [str(root) for root in roots],
        "port": port,
        "watch": watch and str(watch),
        "host": host,
        "worker": [sys.executable, str(FAKE)] if worker is None else worker,
    }
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    process = subprocess.Popen(
        [sys.executable, "-c", program, json.dumps(given)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "SLOW": "0", **(env or {})},
    )
    try:
        assert process.stdout is not None
        yield Client(process.stdout.readline().strip(), process)
    finally:
        process.terminate()
        process.wait(LONGEST)
        assert process.stdout is not None
        process.stdout.close()
