"""A Ray to work on: that of `RAY_ADDRESS`, or one of this machine alone for as long as the work takes."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from isr.errors import MachineError, first_line
from isr.progress import Progress

# Bytes of the object store of a Ray of this machine: names and outcomes alone go through it.
OBJECT_STORE = 80 * 2**20
# Seconds between looks at whether the head of a Ray is there.
LOOKED = 5.0
# Seconds after which a head that is not there is gone. One that is started again is back sooner; after 60, Ray ends
# each process that is connected to it, without a word.
GONE = 40.0


@contextmanager
def connected(progress: Progress) -> Iterator[Any]:
    """Yield the module `ray`, connected, and leave it in the end; what runs there ends with it.

    Args:
        progress: told where the dashboard is, and of a Ray that anyone may use.

    Raises:
        MachineError: Ray is missing, or cannot be reached.
    """
    # Ray reads these when it is imported. Its figures of use would go to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    address = os.environ.get("RAY_ADDRESS", "")
    own = address in ("", "local")
    if own and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        # It listens on all interfaces, so it answers to this process and its children alone.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
        import ray.data
    except ImportError:
        raise MachineError("--cluster ray: needs Ray: pip install 'keras-isr[cluster]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    here: dict[str, Any] = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    already = ray.is_initialized()
    try:
        if not already:
            context = ray.init("local", **here, **quiet) if own else ray.init(address, **quiet)
            if context.dashboard_url:
                progress.message(f"Ray's dashboard: http://{context.dashboard_url}")
    except Exception as error:
        raise MachineError(
            f"--cluster ray: no Ray at {address or 'this machine'}: {first_line(error)}"
        ) from error
    machines = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    if line := warning(machines, os.environ.get("RAY_AUTH_MODE", "")):
        progress.message(line)
    # Blocks that fail are tried again, or told as outcomes.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.DataContext.get_current().print_on_execution_start = False
    try:
        yield ray
    finally:
        if not already:
            # Threads go on while it ends.
            _stay_away()
            ray.shutdown()


@dataclass
class Head:
    """The machine that a Ray depends on.

    Attributes:
        address: where it listens: host and port.
    """

    address: str
    _seen: float = field(default_factory=time.monotonic)
    _looked: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, ray: Any) -> Head:
        """Find that of a Ray that this process is connected to."""
        return cls(str(ray.get_runtime_context().gcs_address))

    def check(self) -> None:
        """Look whether it is still there, every few seconds.

        Raises:
            MachineError: it has been away for too long.
        """
        now = time.monotonic()
        if now - self._looked < LOOKED:
            return
        self._looked = now
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=LOOKED).close()
        except OSError:
            if now - self._seen > GONE:
                raise MachineError(f"--cluster ray: the Ray at {self.address} is gone") from None
        else:
            self._seen = now


def _stay_away() -> None:
    """Let no call connect this process to a Ray again, unless it is `ray.init`.

    What Ray Data leaves behind, threads and what is collected as garbage, makes calls after the end. Ray would connect
    them to any Ray that it finds on the machine, or start another one; and a process that is connected to a Ray that
    ends is ended by Ray a minute later, without a word.
    """
    # No public name of Ray does this once it is imported.
    with suppress(ImportError):
        from ray._private import auto_init_hook

        auto_init_hook.enable_auto_connect = False


def warning(machines: Sequence[str], mode: str) -> str:
    """Tell of a Ray that anyone on its network may give work to; "" where it is not so.

    Args:
        machines: addresses of its own, such as "10.0.0.7".
        mode: its `RAY_AUTH_MODE`.
    """
    if mode == "token":
        return ""
    reached = [machine for machine in machines if not ipaddress.ip_address(machine).is_loopback]
    if not reached:
        return ""
    return f"{reached[0]}: whoever reaches this Ray can run programs on it; start it with RAY_AUTH_MODE=token"
