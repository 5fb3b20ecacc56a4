"""A Ray to work on: that of `RAY_ADDRESS`, or one of this machine alone for as long as the work takes."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from isr.errors import MachineError, first_line
from isr.progress import Progress

# Bytes of the object store of a Ray of this machine: names and outcomes alone go through it.
OBJECT_STORE = 80 * 2**20


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
            ray.shutdown()


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
