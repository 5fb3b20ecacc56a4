"""A page on this machine where photos, GIFs, clips and folders come back larger (`isr page`)."""

from __future__ import annotations

import io
import ipaddress
import json
import os
import secrets
import signal
import socket
import subprocess
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
from urllib.parse import urlsplit

from isr.errors import MachineError, RequestError
from isr.io.files import atomic

PORT = 7860
TRIED = 20  # ports from the wanted one on, where that is taken
RECORD = "server.json"
LOCK = "server.lock"
# The page of a notebook, whose process is busy with the notebook.
NOTEBOOK = """
import json, os, signal, sys, threading
from pathlib import Path
from isr.errors import ISRError
from isr.page import serve
given = json.loads(sys.argv[1])
# When the notebook is gone, however it went.
threading.Thread(target=lambda: (sys.stdin.read(), os.kill(os.getpid(), signal.SIGTERM)), daemon=True).start()
try:
    serve(port=given["port"], proxy=given["proxy"], browser=False, state=given["state"] and Path(given["state"]),
          say=lambda line: print(line, flush=True))
except ISRError as error:
    print(error, flush=True)
"""
# Held, since a process that is let go loses its stdin.
_OF_NOTEBOOK: list[subprocess.Popen[str]] = []
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
    proxy: str = "",
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
        proxy: the name of a host that is trusted to hand on what is asked there by HTTPS; empty: none.
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
        Guard(page.app, token, port, anywhere=here, proxy=proxy),
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


def colab(state: Path | None = None) -> str:
    """Show the page from a notebook: a link to it stands below the cell, and the page ends with the notebook.

    In Colab, the link leads through the notebook's own proxy.

    Args:
        state: the folder of queue, uploads and results; None: `state_folder()`.

    Returns:
        The address.

    Raises:
        MachineError: the extra `page` is not installed, or the page cannot be started.
    """
    try:
        from google.colab import output  # type: ignore[import-untyped]
    except ImportError:
        output = None
    port, proxy = 0, ""
    if output is not None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # Colab gives every port an address of its own.
        proxy = urlsplit(output.eval_js(f"google.colab.kernel.proxyPort({port})")).netloc
    given = {"state": state and str(state), "port": port, "proxy": proxy}
    process = subprocess.Popen(
        [sys.executable, "-c", NOTEBOOK, json.dumps(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _OF_NOTEBOOK.append(process)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address.startswith("http"):
        raise MachineError(f"the page could not be started: {address or 'see what is printed above'}")
    if output is not None:
        if urlsplit(address).port != port:
            # Colab's address is that of another port.
            process.terminate()
            raise MachineError(
                "the page could not be started: its port was taken meanwhile; run the cell again"
            )
        query = urlsplit(address).query
        output.serve_kernel_port_as_window(port, path=f"/?{query}", anchor_text="Open the page")
        return f"https://{proxy}/?{query}"
    from IPython.display import HTML, display

    display(HTML(f'<a href="{address}" target="_blank">Open the page</a>'))
    return address


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
