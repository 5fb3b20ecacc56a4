"""Which engine and which precision: the fastest that was measured on this machine, or what rules say."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from isr import presets
from isr.errors import ISRError
from isr.predict.speeds import Kind, Speeds, speeds_here
from isr.progress import Progress, Silent, check_cancelled
from isr.runtimes import devices
from isr.runtimes.engines import BACKENDS, ENGINES, candidates
from isr.spec import Upscaler

PRECISIONS = ("auto", "fast", "float32", "bfloat16", "int8")
# Those of Keras' own backends.
PRECISIONS_OF_KERAS = ("float32", "bfloat16")
# What "auto" means for 8-bit pictures where the processor computes in it. On the validation pictures it loses less
# than 0.01 dB and deviates by less than 2/255 from float32 (docs/predict.md).
AUTOMATIC_PRECISION = "bfloat16"

# The preset that is measured; it has all precisions.
MEASURED = "edsr_baseline_x2"
# Pixels along the side of the picture, and how often it is enlarged; the fastest time counts.
SIDE, ROUNDS = 128, 3
# What the rules say stays unless something takes less than this part of its time.
MARGIN = 0.9


@dataclass(frozen=True)
class Choice:
    """How a network is computed.

    Attributes:
        engine: its name.
        precision: of 8-bit pictures.
        pace: measured seconds per megapixel; None where the rules decide.
        usual: the engine, precision and pace of what the rules say, where something else is faster.
    """

    engine: str
    precision: str
    pace: float | None = None
    usual: tuple[str, str, float] | None = None

    @property
    def why(self) -> str:
        """Tell it in a few words."""
        if self.pace is None:
            return "by rule"
        why = f"measured here: {self.pace:.2f} s per megapixel by {MEASURED}"
        if self.usual is not None:
            engine, precision, pace = self.usual
            why += f", {engine} in {precision} {pace:.2f}"
        return why


def choose(
    offered: Mapping[str, Collection[str]],
    asked: str = "auto",
    suits_bfloat16: bool = True,
    speeds: Speeds | None = None,
) -> Choice:
    """Choose how 8-bit pictures go through a network on the processor.

    Args:
        offered: engines, and what each computes it in; the first is the one that the rules take.
        asked: one of `PRECISIONS`: "auto" is the fastest of float32 and bfloat16, "fast" that of all.
        suits_bfloat16: whether bfloat16 costs it little.
        speeds: what was measured; None: what this machine's cache holds.

    Returns:
        The way that the rules say, or one that takes less than `MARGIN` of its measured time; what was measured of
        `MEASURED` stands for all networks.
    """
    speeds = speeds or speeds_here()
    allowed = {asked}
    if asked in ("auto", "fast"):
        allowed = {
            "float32",
            *([AUTOMATIC_PRECISION] if suits_bfloat16 else []),
            *(["int8"] if asked == "fast" else []),
        }
    first = next(iter(offered))
    rule = first, _by_rule(first, offered[first], asked, allowed)
    # Keras alone may compute on a GPU, of which nothing is recorded here.
    if set(offered) <= set(BACKENDS):
        return Choice(*rule)
    found = {
        (engine, precision): pace
        for engine, precisions in offered.items()
        for precision in precisions
        if precision in allowed and (pace := speeds.get(kind_of(engine, precision)))
    }
    if rule not in found:
        return Choice(*rule)
    best = min(found, key=lambda way: found[way])
    if found[best] > MARGIN * found[rule]:
        return Choice(*rule, found[rule])
    return Choice(*best, found[best], (*rule, found[rule]))


def choose_here(asked: str = "auto", speeds: Speeds | None = None) -> Choice:
    """Choose how photographs go through presets on this machine; arguments and result as of `choose`."""
    return choose({engine: precisions_of(engine) for engine in candidates()}, asked, speeds=speeds)


def precisions_of(engine: str) -> Collection[str]:
    """Return what an engine, or a backend of Keras, computes in."""
    return ENGINES[engine].precisions if engine in ENGINES else PRECISIONS_OF_KERAS


def _by_rule(engine: str, offered: Collection[str], asked: str, allowed: Collection[str]) -> str:
    """The precision where nothing was measured."""
    if asked not in ("auto", "fast"):
        return asked
    # With AMX, bfloat16 is as fast as 8 bits and more accurate (docs/engines.md).
    if asked == "fast" and "int8" in offered and not devices.has_amx():
        return "int8"
    # On JAX it is no faster.
    fine = AUTOMATIC_PRECISION in offered and AUTOMATIC_PRECISION in allowed and engine != "jax"
    return AUTOMATIC_PRECISION if fine and devices.computes_bfloat16("CPU") else "float32"


def engine_for(engine: str | None, precision: str, on_gpu: bool = False) -> str | None:
    """Return the engine as `Network` takes it: of "auto", what it is chosen for.

    Args:
        engine: one of `isr.runtimes.engines.NAMES`, or None.
        precision: that is asked for, one of `PRECISIONS`.
        on_gpu: whether a GPU is asked for.
    """
    if engine != "auto":
        return engine
    return "gpu" if on_gpu else precision


def kind_of(engine: str, precision: str) -> Kind:
    """Return how the record of speeds names `MEASURED`, alone on this machine's processor."""
    return Kind(MEASURED, engine, precision, devices.processor(), "network")


def measure(progress: Progress | None = None, speeds: Speeds | None = None) -> None:
    """Measure what "auto" may take on this machine, and note it in the record of speeds, which `choose` follows.

    What fails is left out, with a line.

    Args:
        progress: told of the engines; asked for `cancelled` between them.
        speeds: the record; None: that in this machine's cache.

    Raises:
        Cancelled: the progress asks for it. Nothing is noted then.
    """
    progress, speeds = progress or Silent(), speeds or speeds_here()
    batch = np.random.default_rng(0).random((1, SIDE, SIDE, 3), np.float32)
    opened: dict[tuple[str, str], Upscaler] = {}
    for engine, precision in _ways():
        check_cancelled(progress)
        progress.message(f"{engine} in {precision}")
        try:
            upscaler = _open(engine, precision)
            # The first call of a network does what later ones do not.
            upscaler(batch)
        except (ISRError, MemoryError, ImportError, RuntimeError, ValueError) as error:
            progress.message(f"{engine} in {precision} is left out: {error}")
        else:
            opened[engine, precision] = upscaler
    best = dict.fromkeys(opened, math.inf)
    # In turns, so that other work on the machine strikes all of them.
    for way, upscaler in [*opened.items()] * ROUNDS:
        check_cancelled(progress)
        begun = time.perf_counter()
        upscaler(batch)
        best[way] = min(best[way], time.perf_counter() - begun)
    megapixels = SIDE**2 / 1e6
    for way, seconds in best.items():
        speeds.add(kind_of(*way), megapixels, seconds / megapixels)


def measured(speeds: Speeds | None = None) -> dict[tuple[str, str], float]:
    """Read what `measure` noted: seconds per megapixel of `MEASURED` by engine and precision, the fastest first."""
    speeds = speeds or speeds_here()
    found = {way: pace for way in _ways() if (pace := speeds.get(kind_of(*way)))}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _ways() -> list[tuple[str, str]]:
    """What can be measured: engines that "auto" may take, and their precisions."""
    return [(engine, precision) for engine in candidates() for precision in precisions_of(engine)]


def _open(engine: str, precision: str) -> Upscaler:
    folder = presets.find(MEASURED)
    if engine in ENGINES:
        from isr.runtimes.engines.built import open_preset

        return cast(Upscaler, open_preset(folder, engine, precision))
    devices.use_device("cpu")
    from isr.models.loading import load
    from isr.runtimes import as_upscaler

    return as_upscaler(load(folder), precision)
