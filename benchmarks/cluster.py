"""Prediction on a Ray of this machine: what Ray costs, and what becomes of files when a process ends.

    python benchmarks/cluster.py overhead
    python benchmarks/cluster.py efficiency
    python benchmarks/cluster.py mix
    python benchmarks/cluster.py shards --count 200000

`overhead` gives units without work to the actors, in blocks of 8. `efficiency` compares `isr predict --cluster ray`
with as many plain processes, `--shard I/N`, each on a core of its own. Both take two sizes of the work and tell what
the difference costs, so that starts count for nothing. Processor time is that of all processes of a command. `mix`
makes small pictures and two of 12 megapixels, kills an actor, and compares every file with that of one process.
`shards` is of training: the time until a run over many small pictures can draw its first batch, decoded and again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measure import machine
from PIL import Image

# Each makes a core's worth of pictures.
WORKERS = 2


@dataclass
class Spent:
    """Processor seconds of a process and of all that it starts, looked at twice a second."""

    process: int
    seconds: float = 0.0
    _of: dict[tuple[int, float], float] = field(default_factory=dict)

    def look(self) -> None:
        """Look at all processes once."""
        try:
            own = psutil.Process(self.process)
            found = [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for each in found:
            try:
                times = each.cpu_times()
                self._of[each.pid, each.create_time()] = times.user + times.system
            except psutil.Error:
                continue
        self.seconds = sum(self._of.values())


@contextmanager
def watched(look: Callable[[], None], every: float = 0.5) -> Iterator[None]:
    """Call a function again and again, in a thread, while the block runs."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        look()
        ended.set()
        thread.join()


def pictures(folder: Path, count: int, width: int = 400, height: int = 320, suffix: str = ".png") -> None:
    """Write smooth noise as files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        small.resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{number:05}{suffix}")


def predict(*arguments: object, core: int | None = None) -> subprocess.Popen[bytes]:
    """Start `isr predict`, on one core alone or on all."""
    command = [sys.executable, "-m", "isr", "predict", *map(str, arguments), "--quiet"]
    held = {"preexec_fn": lambda: os.sched_setaffinity(0, {core})} if core is not None else {}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, **held)  # type: ignore[call-overload,no-any-return]


def cpu_of(commands: list[subprocess.Popen[bytes]]) -> float:
    """Wait for commands, and give the processor seconds of all that they started."""
    spent = [Spent(command.pid) for command in commands]

    def look() -> None:
        for one in spent:
            one.look()

    with watched(look):
        assert [command.wait() for command in commands] == [0] * len(commands)
    return sum(one.seconds for one in spent)


def overhead(few: int = 400, many: int = 4000) -> None:
    from isr.cluster import prediction
    from isr.cluster.connection import connected
    from isr.predict.jobs.job import Outcome
    from isr.progress import Silent

    class Idle(prediction.Upscale):
        def make(self, unit: str) -> Outcome:
            return Outcome(unit, unit, "skipped")

    prediction.Upscale = Idle  # type: ignore[misc]
    work = prediction.Work(str(Path.cwd()), None, None, False, 1)
    spent = Spent(os.getpid())
    seconds = {}
    with connected(Silent()) as ray, watched(spent.look):
        actors = prediction._Actors(ray, work, WORKERS, False, Silent())
        for count in (few, few, many):
            before = spent.seconds
            units = [(f"s3://bucket/folder/{number}.jpg", "x" * 200) for number in range(count)]
            assert sum(answer is not None for _, answer in actors.answers(units, prediction.BLOCK)) == count
            spent.look()
            seconds[count] = spent.seconds - before
    each = (seconds[many] - seconds[few]) / (many - few)
    print(f"{few} units {seconds[few]:.2f}, {many} units {seconds[many]:.2f} processor seconds")
    print(
        f"Ray's overhead at blocks of {prediction.BLOCK}: {each * 1e3:.2f} ms of processor time per picture"
    )


def efficiency(few: int, many: int) -> None:
    spent: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in (few, many):
            folder = Path(scratch, str(count))
            pictures(folder, count)
            common = [folder, "--preset", "edsr_fast_x2", "--precision", "float32"]
            plain = [
                predict(*common, "-o", f"{scratch}/plain{count}", "--shard", f"{n}/{WORKERS}", core=n)
                for n in range(WORKERS)
            ]
            spent["plain", count] = cpu_of(plain)
            command = predict(
                *common, "-o", f"{scratch}/ray{count}", "--cluster", "ray", "--workers", WORKERS
            )
            spent["ray", count] = cpu_of([command])
            for path in sorted(Path(scratch, f"plain{count}").glob("*.png")):
                assert path.read_bytes() == Path(scratch, f"ray{count}", path.name).read_bytes(), path
    each = {how: (spent[how, many] - spent[how, few]) / (many - few) for how in ("plain", "ray")}
    for (how, count), seconds in spent.items():
        print(f"{how}, {count} pictures: {seconds:.1f} processor seconds")
    print(
        f"a picture: {each['plain']:.3f} plain, {each['ray']:.3f} on Ray; efficiency {each['plain'] / each['ray']:.2f}"
    )


def mix(small: int = 40) -> None:
    from isr.cluster.connection import connected
    from isr.cluster.prediction import run_plan_on_ray
    from isr.predict import PredictOptions, PredictRequest, plan
    from isr.predict.jobs.journal import NAME, STARTED
    from isr.progress import Silent

    with tempfile.TemporaryDirectory() as scratch:
        folder, out, alone = (Path(scratch, name) for name in ("in", "out", "alone"))
        pictures(folder, small, 200, 160)
        pictures(folder / "large", 2, 4000, 3000, ".jpg")
        names = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
        assert predict(folder, "-o", alone, "--preset", "bicubic").wait() == 0
        most, killed = 0.0, []
        with connected(Silent()) as ray:
            room = ray.cluster_resources()["object_store_memory"]

            def look() -> None:
                nonlocal most
                most = max(most, room - ray.available_resources().get("object_store_memory", room))

            options = PredictOptions(resume=True)
            request = PredictRequest((folder,), out, ("bicubic",), options)
            with watched(look, 0.2):
                for number, _ in enumerate(run_plan_on_ray(plan(request), Silent(), workers=WORKERS)):
                    if number == 3 and not killed:
                        killed = [
                            p.pid for p in psutil.Process().children(recursive=True) if "Upscale" in p.name()
                        ][:1]
                        for pid in killed:
                            os.kill(pid, signal.SIGKILL)
        made = [path.relative_to(out) for path in out.rglob("[!.]*.*") if NAME not in path.parts]
        torn = sum((out / name).read_bytes() != (alone / name).read_bytes() for name in made)
        lines = [line for path in (out / NAME).glob("*.jsonl") for line in path.read_text().splitlines()]
        begun = sum(json.loads(line)["record"] == STARTED for line in lines)
        print(f"{len(names)} pictures, 2 of 12 megapixels; {len(killed)} actor killed")
        print(f"lost {len(set(names) - set(made))}, not byte-equal {torn}, begun twice {begun - len(names)}")
        print(f"object store: at most {most / 2**20:.2f} MiB")


def shards(count: int, scratch: Path) -> None:
    from isr.data.batches import PatchBatches, PatchRecipe
    from isr.data.pairs import PicturePairs, find_pairs

    folder, cache = scratch / "photos", scratch / "cache"
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:07}.bmp"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    for what in ("decoded where they were not", "again"):
        began, cpu = time.perf_counter(), time.process_time()
        pairs = PicturePairs(find_pairs(folder, None, 2), 2, 3, cache, smallest=24)
        batch = PatchBatches(pairs, 2, PatchRecipe(patch_size=24))[0]
        assert batch.hr.shape == (16, 24, 24, 3) and len(pairs) == count
        spent = time.perf_counter() - began, time.process_time() - cpu
        print(
            f"{count} pictures, {what}: {spent[0]:.1f} s until the first batch, {spent[1]:.1f} of the processor"
        )
    memory = psutil.Process().memory_info().rss / 2**20
    print(f"{sum(1 for _ in cache.iterdir())} files in the cache; {memory:.0f} MiB of memory")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["overhead", "efficiency", "mix", "shards"])
    parser.add_argument("--count", type=int, default=200_000, help="pictures of `shards`")
    parser.add_argument("--few", type=int, default=8, help="pictures of `efficiency`")
    parser.add_argument("--many", type=int, default=40, help="pictures of `efficiency`")
    parser.add_argument("--folder", type=Path, help="of `shards`, which stays; default: a temporary one")
    given = parser.parse_args()
    parts: dict[str, Callable[[], Any]] = {
        "overhead": overhead,
        "efficiency": lambda: efficiency(given.few, given.many),
        "mix": mix,
    }
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        parts["shards"] = lambda: shards(given.count, given.folder or Path(scratch))
        parts[given.part]()


if __name__ == "__main__":
    main()
