"""A Ray of the user's whose head is gone: commands on it say so, and end."""

from __future__ import annotations

import importlib.util
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from children import ended, line_of, start_python, wait_until
from pictures import folder_of_photographs
from training_runs import ON_JAX, words_of_shared_run

pytestmark = pytest.mark.slow

# Not in this process, which Ray would end.
MACHINE = """
from ray.cluster_utils import Cluster
head = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
print(Cluster(initialize_head=True, head_node_args=head).address, flush=True)
input()
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[psutil.Process]:
    """What started a Ray of one machine, whose address is in the environment."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    child = start_python("-c", MACHINE, stdin=subprocess.PIPE)
    there = psutil.Process(child.pid)
    try:
        monkeypatch.setenv("RAY_ADDRESS", line_of(child))
        yield there
    finally:
        for process in (*there.children(recursive=True), child):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        child.communicate()


def check_it_says_so(command: subprocess.Popen[str], machine: psutil.Process) -> None:
    """Kill the head; the command ends before Ray ends it, without a word."""
    (head,) = (process for process in machine.children() if process.name() == "gcs_server")
    head.kill()
    _, err = ended(command)
    assert command.returncode == 3, err
    assert f"the Ray at {os.environ['RAY_ADDRESS']} is gone" in err


def test_a_prediction_whose_cluster_is_gone_says_so(machine: psutil.Process, tmp_path: Path) -> None:
    folder_of_photographs(tmp_path / "photos", 40, 160, 200, digits=2)
    out = tmp_path / "out"
    words = [str(tmp_path / "photos"), "-o", str(out), "--preset", "aplus_x2", "--quiet", "--workers", "2"]
    command = start_python("-m", "isr", "predict", *words, "--cluster", "ray")
    wait_until(lambda: len(list(out.glob("[!.]*.png"))) >= 12, command)
    check_it_says_so(command, machine)


def test_a_training_whose_cluster_is_gone_says_so(
    machine: psutil.Process, photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jax", reason="JAX is not installed")
    run, steps = tmp_path / "run", 10**6
    changes = {"steps.total": steps, "steps.validate_every": steps, "steps.save_every": steps}
    words = words_of_shared_run(photos, run, **changes)
    command = start_python("-m", "isr", "train", *words, "--cluster", "ray", "--workers", "1", env=ON_JAX)
    wait_until(lambda: (run / "log.csv").is_file() and (run / "log.csv").read_text().count("\n") > 1, command)
    # It would go on, and take the processor's time.
    for process in machine.children(recursive=True):
        if "TrainWorker" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGSTOP)
    check_it_says_so(command, machine)
