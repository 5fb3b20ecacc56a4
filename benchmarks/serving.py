"""An exported model at work: the memory that one large picture needs, and many requests at a time.

    isr export --preset edsr_fast_x2 --output models/edsr
    python benchmarks/serving.py memory models/edsr/1 --megapixels 24
    python tests/serving_server.py models/edsr &
    python benchmarks/serving.py load grpc://localhost:8500/edsr --pid $! --requests 1000
    python benchmarks/serving.py soak grpc://localhost:8500/edsr --pid $! --requests 10000

The first runs the graph as a server does, through TensorFlow's loader alone. The second sends small pictures, each
compared with the answer to its first asking: sums in another order may round to the next level. The third is for
hours in which the machine does something else: mixed sizes, four at a time, every answer compared byte by byte,
clients that are killed amid a request, and pauses so that server and client together take a share of one core.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from measure import machine
from PIL import Image


def photo(megapixels: float) -> bytes:
    """A JPEG file, 3 by 2."""
    width = round((megapixels * 1e6 * 3 / 2) ** 0.5)
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
    file = io.BytesIO()
    small.resize((width, width * 2 // 3), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def memory(model: Path, megapixels: float) -> None:
    import tensorflow as tf

    ask = (loaded := tf.saved_model.load(str(model))).signatures["serving_bytes"]
    data = photo(megapixels)
    # The first call plans the graph.
    ask(lr_bytes=tf.constant([photo(0.3)]))
    before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    answer = ask(lr_bytes=tf.constant([data]))["sr_bytes"].numpy()[0]
    seconds = time.perf_counter() - start
    # Kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with Image.open(io.BytesIO(answer)) as result:
        print(f"{megapixels} megapixels become {result.width}x{result.height} in {seconds:.0f} s")
    print(f"memory before: {before / 2**20:.0f} MiB; at most: {peak / 2**20:.0f} MiB")
    del loaded


def load(server: str, pid: int | None, requests: int) -> None:
    from isr.runtimes.serving import ServingClient

    client = ServingClient(server)
    pictures = [photo(0.002 + 0.001 * index) for index in range(8)]

    def ask(index: int) -> np.ndarray:
        files = np.array([pictures[index % len(pictures)]], object)
        (answer,) = client.predict("serving_bytes", {"lr_bytes": files}).values()
        with Image.open(io.BytesIO(answer[0])) as result:
            return np.asarray(result, int)

    expected = [ask(index) for index in range(len(pictures))]
    for at_a_time in (1, 4, 16):
        before = psutil.Process(pid).memory_info().rss if pid else 0
        start = time.perf_counter()
        with ThreadPoolExecutor(at_a_time) as pool:
            answers = list(pool.map(ask, range(requests)))
        rate = requests / (time.perf_counter() - start)
        apart = [int(np.abs(answer - expected[i % len(pictures)]).max()) for i, answer in enumerate(answers)]
        grown = (psutil.Process(pid).memory_info().rss - before) / 2**20 if pid else float("nan")
        print(
            f"{at_a_time:2} at a time: {rate:.1f} requests per second, {len(answers)} answered, "
            f"at most {max(apart)} levels apart, {grown:+.0f} MiB"
        )


def soak(server: str, pid: int, requests: int, kills: int, share: float) -> None:
    from isr.runtimes.serving import ServingClient

    client, process, own = ServingClient(server), psutil.Process(pid), psutil.Process()
    pictures = [photo(0.001 + 0.0007 * index) for index in range(8)]

    def ask(index: int) -> bytes:
        files = np.array([pictures[index % len(pictures)]], object)
        (answer,) = client.predict("serving_bytes", {"lr_bytes": files}).values()
        return bytes(answer[0])

    def spent() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in (process, own))

    expected = [ask(index) for index in range(len(pictures))]
    different: list[int] = []
    memory_mib, killed = [process.memory_info().rss / 2**20], 0
    began, cpu = time.perf_counter(), spent()
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, requests, 40):
            indices = range(start, min(start + 40, requests))
            answers = list(pool.map(ask, indices))
            different += [
                index
                for index, answer in zip(indices, answers, strict=True)
                if answer != expected[index % len(pictures)]
            ]
            if start * kills // requests > killed:
                killed += 1
                dying(server)
            memory_mib.append(process.memory_info().rss / 2**20)
            while spent() - cpu > share * (time.perf_counter() - began):
                time.sleep(0.05)
    seconds = time.perf_counter() - began
    tenth = max(1, len(memory_mib) // 10)
    print(
        f"{requests} requests in {seconds:.0f} s, {killed} clients killed amid one: all answered, "
        f"{len(different)} with other bytes than before; memory of the server "
        f"{np.mean(memory_mib[tenth : 2 * tenth]):.0f} MiB in the second tenth, "
        f"{np.mean(memory_mib[-tenth:]):.0f} in the last, at most {max(memory_mib):.0f}"
    )


def dying(server: str) -> None:
    """Start a client of a larger picture, and kill it while it waits for the answer."""
    code = (
        "import sys, numpy as np\n"
        "from isr.runtimes.serving import ServingClient\n"
        "client = ServingClient(sys.argv[1])\n"
        "files = np.array([sys.stdin.buffer.read()], object)\n"
        "print('asks', flush=True)\n"
        "client.predict('serving_bytes', {'lr_bytes': files})\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, server], stdin=pipe, stdout=pipe) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(photo(0.1))
        child.stdin.close()
        child.stdout.readline()
        time.sleep(0.05)
        child.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("memory")
    one.add_argument("model", type=Path)
    one.add_argument("--megapixels", type=float, default=24)
    many = commands.add_parser("load")
    many.add_argument("server")
    many.add_argument("--pid", type=int, help="of the server, to see its memory")
    many.add_argument("--requests", type=int, default=1000)
    long = commands.add_parser("soak")
    long.add_argument("server")
    long.add_argument("--pid", type=int, required=True, help="of the server, to see its memory")
    long.add_argument("--requests", type=int, default=10_000)
    long.add_argument("--kills", type=int, default=20)
    long.add_argument("--share", type=float, default=0.33, help="of one core, for server and client together")
    given = parser.parse_args()
    print(machine())
    if given.command == "memory":
        memory(given.model, given.megapixels)
    elif given.command == "soak":
        soak(given.server, given.pid, given.requests, given.kills, given.share)
    else:
        load(given.server, given.pid, given.requests)
