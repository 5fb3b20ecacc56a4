"""A Ray of two machines, of which one is killed; a command that is killed, and run again."""

from __future__ import annotations

import importlib.util
import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from children import ended, start_python, wait_until
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
    folders = [str(Path("photos").absolute()), "-o", str(Path("out").absolute())]
    words = ["predict", *folders, "--preset", "aplus_x2", "--resume", "--json", "--quiet"]
    return start_python("-m", "isr", *words, "--cluster", "ray", "--workers", "2")


def made() -> list[str]:
    return sorted(path.name for path in Path("out").glob("[!.]*.png"))


def actors() -> list[psutil.Process]:
    """The processes of the machines here that make pictures."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name().startswith("ray::MapWorker"):
                found.append(process)
    return found


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
    out, err = ended(command)
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
    _, err = ended(command)
    assert command.returncode == code, err
    for name in made():
        # Whole or not there.
        with Image.open(Path("out", name)) as picture:
            picture.load()
    # Its processes end with it.
    end = time.monotonic() + 120
    while actors():
        assert time.monotonic() < end, "its processes live on"
        time.sleep(0.1)
    there = made()
    assert len(there) < len(NAMES)
    again = start()
    out, err = ended(again)
    assert again.returncode == 0, err
    told = Counter(one["status"] for one in json.loads(out))
    assert told["skipped"] >= len(there) - 2 and told["skipped"] + told["written"] == len(NAMES)
    check_whole(killed=2)
