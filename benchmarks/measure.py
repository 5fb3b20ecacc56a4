"""What the benchmarks share: interleaved timing, and a word on the machine."""

from __future__ import annotations

import datetime
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple


class Seconds(NamedTuple):
    """On the clock, and of the processor in all threads, which depends less on what else the machine does."""

    wall: float
    processor: float


def timed(
    functions: Mapping[str, Callable[[], object]], rounds: int = 9, warmup: int = 2
) -> dict[str, Seconds]:
    """Median seconds of each function, called in turn A, B, C, A, B, C ... after a warm-up."""
    for function in functions.values():
        for _ in range(warmup):
            function()
    spent: dict[str, list[Seconds]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            began = Seconds(time.perf_counter(), time.process_time())
            function()
            ended = Seconds(time.perf_counter(), time.process_time())
            spent[name].append(Seconds(ended.wall - began.wall, ended.processor - began.processor))
    return {name: Seconds(*map(statistics.median, zip(*each, strict=True))) for name, each in spent.items()}


def interleaved(
    functions: Mapping[str, Callable[[], object]], rounds: int = 9, warmup: int = 2
) -> dict[str, float]:
    """Seconds on the clock alone, as `timed`."""
    return {name: seconds.wall for name, seconds in timed(functions, rounds, warmup).items()}


def machine() -> str:
    """Date, processor, cores, and what it has for bfloat16."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    extras = [name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in text]
    name = found[1] if found else platform.processor()
    return f"{datetime.date.today()}, {os.cpu_count()} cores of {name} ({', '.join(extras) or 'no AVX-512'})"
