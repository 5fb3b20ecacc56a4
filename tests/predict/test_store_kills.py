"""A command that is killed while it writes into an object store."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from children import ended, start_python
from pictures import folder_of_photographs

from isr.cli import app
from isr.io import places

pytestmark = pytest.mark.slow

NAMES = [f"{number}.png" for number in range(4)]
KILLS = 12


class Line:
    """What lies between a command and its store: counts bytes that go to the store, and breaks at one of them.

    Args:
        address: of the store's server.
        limit: bytes that pass; the next one does not.
        broken: called when they have passed.
    """

    def __init__(self, address: str, limit: int, broken: Callable[[], None]) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.store = urlsplit(address)
        self.limit, self.broken = limit, broken
        self.sent = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.server.accept()
                far = socket.create_connection((self.store.hostname, self.store.port))
                for pump, ends in ((self.forward, (near, far)), (self.back, (far, near))):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    def forward(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError), far:
            while data := near.recv(2**12):
                with self.lock:
                    passing = data[: max(0, self.limit - self.sent)]
                    self.sent += len(passing)
                    far.sendall(passing)
                    if len(passing) < len(data):
                        self.broken()
                        return

    def back(self, far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError), near:
            while data := far.recv(2**16):
                near.sendall(data)

    def close(self) -> None:
        self.server.close()


def arguments(place: str) -> list[str]:
    return [
        "predict",
        str(Path("photos").absolute()),
        "-o",
        place,
        "--preset",
        "bicubic",
        "--resume",
        "--quiet",
    ]


def make(place: str, limit: int = sys.maxsize) -> tuple[int, int]:
    """Run the command, and kill it when so many bytes have gone to the store; gives its exit code, and bytes."""
    begun = threading.Event()

    def kill() -> None:
        begun.wait()
        process.kill()
        # Before the line breaks, which it would try to mend.
        process.wait()

    line = Line(os.environ["AWS_ENDPOINT_URL"], limit, kill)
    process = start_python("-m", "isr", *arguments(place), env={"AWS_ENDPOINT_URL": line.address})
    begun.set()
    ended(process)
    line.close()
    return process.returncode, line.sent


def test_no_object_is_torn(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at bytes all along what it sends, also in the middle of an object."""
    monkeypatch.chdir(tmp_path)
    folder_of_photographs(Path("photos"), len(NAMES), 48, 64)
    assert app.run(["predict", "photos", "-o", "alone", "--preset", "bicubic", "--quiet"]) == 0
    alone = {path.name: path.read_bytes() for path in sorted(Path("alone").glob("*.png"))}
    code, sent = make(f"{store}/free")
    # Most of what is sent is content, so that most kills fall into it.
    assert code == 0 and sent > sum(map(len, alone.values())) > sent / 2
    there = []
    for number in range(KILLS):
        place = f"{store}/kill-{number}"
        code, _ = make(place, sent * (2 * number + 1) // (2 * KILLS))
        assert code == -signal.SIGKILL
        found = {one.name: one.address for one in places.listing(place)}
        for name, address in found.items():
            places.fetch(address, Path("back.png"))
            assert Path("back.png").read_bytes() == alone[name], (number, name)
        there.append(len(found))
    assert there == sorted(there) and there[0] == 0 < there[-1]
    # The last one goes on, without what is there.
    assert app.run(arguments(place)) == 0
    assert sorted(one.name for one in places.listing(place)) == sorted(alone)
