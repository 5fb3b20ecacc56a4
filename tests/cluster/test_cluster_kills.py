"""A Ray of two machines, of which one is killed; a command that is killed, and run again."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from children import ROOT
from pictures import folder_of_photographs
from PIL import Image

from isr.cli import app
from isr.predict.jobs.journal import NAME, STARTED

pytestmark = pytest.mark.slow

NAMES = [f"{number:02}.png" for number in range(40)]
# Pictures that are there when something is killed: each process is in the middle of its blocks.
KILLED_AT = 12
STORE = {"object_store_memory": 80 * 2**20}
HEAD = {**STORE, "include_dashboard": False}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, on which the command runs, and two machines of a core each."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    if "ray" not in sys.modules:
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={**HEAD, "num_cpus": 0})
    try:
        for _ in range(2):
            machines.add_node(num_cpus=1, **STORE)
        monkeypatch.setenv("RAY_ADDRESS", machines.address)
        yield machines
    finally:
        machines.shutdown()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder_of_photographs(Path("photos"), len(NAMES), 160, 200, digits=2)
    return tmp_path


def start() -> subprocess.Popen[str]:
    command = ["predict", "photos", "-o", "out", "--preset", "aplus_x2", "--resume", "--json", "--quiet"]
    return subprocess.Popen(
        [sys.executable, "-m", "isr", *command, "--cluster", "ray", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not there():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.02)


def made() -> list[str]:
    return sorted(path.name for path in Path("out").glob("[!.]*.png"))


def begun() -> Counter[str]:
    """How often each picture was begun."""
    lines = [line for path in Path("out", NAME).glob("*.jsonl") for line in path.read_text().splitlines()]
    records = [json.loads(line) for line in lines]
    return Counter(record["file"] for record in records if record["record"] == STARTED)


def check_whole(killed: int) -> None:
    """All is there, as one process makes it; of each process that ended, one picture at most was begun twice."""
    assert made() == NAMES
    assert app.run(["predict", "photos", "-o", "alone", "--preset", "aplus_x2", "--quiet"]) == 0
    for name in NAMES:
        assert Path("out", name).read_bytes() == Path("alone", name).read_bytes()
    assert sum(begun().values()) - len(NAMES) <= killed
    assert len(list(Path("out").glob(".*.png"))) <= killed


def test_a_machine_that_is_lost_loses_nothing(cluster: Any) -> None:
    command = start()
    wait_until(lambda: len(made()) >= KILLED_AT, command)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    out, err = command.communicate(timeout=300)
    assert command.returncode == 0, err
    assert len(json.loads(out)) == len(NAMES)
    check_whole(killed=1)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_command_that_is_stopped_goes_on_when_it_is_run_again(
    cluster: Any, signum: signal.Signals, code: int
) -> None:
    command = start()
    wait_until(lambda: len(made()) >= KILLED_AT, command)
    command.send_signal(signum)
    command.communicate()
    assert command.returncode == code
    for name in made():
        # Whole or not there.
        with Image.open(Path("out", name)) as picture:
            picture.load()
    # Its processes end with it.
    time.sleep(5)
    there = made()
    time.sleep(2)
    assert made() == there and len(there) < len(NAMES)
    again = start()
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    told = Counter(one["status"] for one in json.loads(out))
    assert told["skipped"] >= len(there) - 2 and told["skipped"] + told["written"] == len(NAMES)
    check_whole(killed=2)


# Not in this process, which Ray would end.
ONE_MACHINE = f"""
from ray.cluster_utils import Cluster
print(Cluster(initialize_head=True, head_node_args={{**{HEAD}, "num_cpus": 2}}).address, flush=True)
input()
"""


def test_a_command_whose_cluster_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    child = subprocess.Popen(
        [sys.executable, "-c", ONE_MACHINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    monkeypatch.setenv("RAY_ADDRESS", child.stdout.readline().strip())
    machine = psutil.Process(child.pid).children(recursive=True)
    try:
        command = start()
        wait_until(lambda: len(made()) >= KILLED_AT, command)
        (head,) = (process for process in machine if process.name() == "gcs_server")
        head.kill()
        _, err = command.communicate(timeout=200)
        assert command.returncode == 3 and f"the Ray at {os.environ['RAY_ADDRESS']} is gone" in err
    finally:
        for process in (child, *machine):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        child.wait()
