"""A page on this machine where photos, GIFs, clips and folders come back larger (`isr page`)."""

from __future__ import annotations

import io
import ipaddress
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isr.errors import MachineError, RequestError
from isr.io.files import atomic

PORT = 7860
TRIED = 20  # ports from the wanted one on, where that is taken
RECORD = "server.json"
LOCK = "server.lock"
PATIENCE = 20.0  # seconds that a second program waits for the first one's answer


def state_folder() -> Path:
    """Return the folder of queue, uploads and results: `$ISR_PAGE`, or the user's data folder of the system."""
    if named := os.environ.get("ISR_PAGE"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("keras-isr", appauthor=False)) / "page"


def serve(
    roots: Sequence[Path] = (),
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    browser: bool = True,
    watch: Path | None = None,
    into: Path | None = None,
    state: Path | None = None,
    worker: Sequence[str] | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the page until Ctrl-C.

    Where a server runs on the same state already, its page is opened, and this returns.

    Args:
        roots: folders of this machine that the page may read from and write into; none: only what is uploaded.
        host: address to listen at; other than loopback ones are for networks that are trusted.
        port: the next free one is taken where it is in use; 0: any.
        browser: open the page in the browser.
        watch: a folder; what lands there is queued, and the queue started.
        into: the folder of its results; None: beside it, named with `_larger`.
        state: the folder of queue, uploads and results; None: `state_folder()`.
        worker: the command that starts a worker; None: the package's own.
        say: takes the lines that are for the terminal.

    Raises RequestError where a root is missing or the host is no address, MachineError where the extra `page` is not
    installed, no port is free or the state cannot be kept.
    """
    try:
        import uvicorn
    except ModuleNotFoundError:
        raise MachineError("isr page: needs more packages: pip install 'keras-isr[page]'") from None
    from isr.page.app import Page
    from isr.page.guard import Guard
    from isr.page.roots import Roots
    from isr.page.supervisor import WORKER
    from isr.page.watched import Watched

    folder = (state or state_folder()).absolute()
    allowed = Roots(roots)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise MachineError(
            f"{folder}: cannot be used ({error.strerror}); name another by $ISR_PAGE"
        ) from None
    watched = None
    if watch is not None:
        watched = Watched(
            watch,
            into or watch.resolve().with_name(f"{watch.resolve().name}_larger"),
            folder / "watched.json",
        )
    elif into is not None:
        raise RequestError("--into: is the folder of the results of --watch; give both")
    claim = _claim(folder)
    address = _running(folder) if claim is not None else _awaited(folder)
    if address is not None:
        say(address)
        say("the page is open already")
        if browser:
            webbrowser.open(address)
        return
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    here = not ipaddress.ip_address(listening.getsockname()[0]).is_loopback
    address = f"http://{'127.0.0.1' if here else _in_address(host)}:{port}/?token={token}"
    page = Page(folder, allowed, worker or WORKER, watched=watched)
    _record(folder, address, token)
    say(address)
    if here:
        outside = f"http://{_own_address()}:{port}/?token={token}"
        say(f"open to the network: {outside}")
        say(_code(outside))
        say(
            "whoever has this address can use the page, and the way there is not encrypted: trusted networks only"
        )
    say("the page of keras-isr; Ctrl-C ends it, and the list of files is kept")
    config = uvicorn.Config(
        Guard(page.app, token, port, anywhere=here),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        ws="none",
        http="h11",
        loop="asyncio",
        timeout_graceful_shutdown=2,
    )
    if browser:
        webbrowser.open(address)
    try:
        with _terminated_as_interrupted():
            uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        (folder / RECORD).unlink(missing_ok=True)
        if claim is not None:
            claim.close()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A server that is terminated ends as by Ctrl-C: uvicorn raises the signal again when it has closed."""
    own = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if own else None
    try:
        yield
    finally:
        if own:
            signal.signal(signal.SIGTERM, before)


def _listen(host: str, port: int) -> socket.socket:
    """A socket at the wanted port, or at one of the next."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        if host != "localhost":
            raise RequestError(f"--host {host}: give an address, such as 127.0.0.1 or 0.0.0.0") from None
        family, host = socket.AF_INET, "127.0.0.1"
    for tried in range(port, port + TRIED if port else 1):
        try:
            return socket.create_server((host, tried), family=family, backlog=128)
        except OSError as error:
            failure = error
    raise MachineError(
        f"--port {port}: no port from here to {port + TRIED - 1} can be used ({failure.strerror}); give another"
    )


def _claim(folder: Path) -> BinaryIO | None:
    """The lock of a state folder, held until the file is closed or this process ends; None where another has it."""
    file = (folder / LOCK).open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, (BlockingIOError, PermissionError)):
            file.close()
            return None
        # This file system knows no locks.
    return file


def _awaited(folder: Path) -> str:
    """The address of the server that has the lock, which perhaps is just being started."""
    end = time.monotonic() + PATIENCE
    while (address := _running(folder)) is None:
        if time.monotonic() > end:
            raise MachineError(
                f"{folder}: is used by another `isr page` that does not answer: end that one, or name another "
                "folder by $ISR_PAGE"
            )
        time.sleep(0.1)
    return address


def _code(address: str) -> str:
    """The address as a QR code of characters, for the camera of a telephone."""
    import segno

    written = io.StringIO()
    segno.make(address, error="l").terminal(written, compact=True, border=2)
    return written.getvalue().rstrip("\n")


def _running(folder: Path) -> str | None:
    """The address of the server that uses a state folder; None where there is none."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        address, token = str(record["address"]), str(record["token"])
        # Straight to this machine, whatever proxy is set.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        asked = urllib.request.Request(address.partition("?")[0] + "hello", headers={"X-ISR-Token": token})
        with opener.open(asked, timeout=5) as answer:
            return address if "isr" in json.load(answer) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(folder: Path, address: str, token: str) -> None:
    with atomic(folder / RECORD) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"address": address, "token": token}), encoding="utf-8")


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _own_address() -> str:
    """The address that others reach this machine by, as far as it is known; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
