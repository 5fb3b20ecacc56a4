"""Which engine and which precision are taken: by rule, and by what was measured. Nothing here is timed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from isr.cli.app import run
from isr.predict import choice, source
from isr.predict.choice import MARGIN, choose, choose_here, engine_for, kind_of, measured
from isr.predict.options import PredictOptions
from isr.predict.precision import resolve_precision
from isr.predict.source import Network
from isr.predict.speeds import Speeds, speeds_here
from isr.runtimes import devices
from isr.runtimes.engines import Engine

OFFERED = {"openvino": ("float32", "bfloat16", "int8"), "ncnn": ("float32",)}
# Seconds per megapixel, as they were measured in turn on processors of these kinds.
WITHOUT_BFLOAT16 = {("openvino", "float32"): 13.5, ("openvino", "int8"): 5.0, ("ncnn", "float32"): 8.9}
WITH_BFLOAT16 = {**WITHOUT_BFLOAT16, ("openvino", "bfloat16"): 7.1, ("openvino", "int8"): 4.7}


@pytest.fixture(autouse=True)
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without bfloat16, of which nothing was measured."""
    monkeypatch.setenv("ISR_CACHE", str(tmp_path))
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: False)
    monkeypatch.setattr(devices, "has_amx", lambda: False)
    monkeypatch.setattr(source, "candidates", lambda: list(OFFERED))
    monkeypatch.setattr("isr.runtimes.engines.candidates", lambda: list(OFFERED))
    monkeypatch.setattr(choice, "candidates", lambda: list(OFFERED))


def note(paces: Mapping[tuple[str, str], float]) -> Speeds:
    for way, pace in paces.items():
        speeds_here().add(kind_of(*way), 0.01, pace)
    return speeds_here()


def chosen(asked: str) -> tuple[str, str]:
    found = choose(OFFERED, asked)
    return found.engine, found.precision


def test_rules_hold_where_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen("auto") == ("openvino", "float32")
    assert chosen("fast") == ("openvino", "int8")
    assert choose(OFFERED).why == "by rule"
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    assert chosen("auto") == ("openvino", "bfloat16")
    assert chosen("fast") == ("openvino", "int8"), "0.66 of the time of bfloat16"
    monkeypatch.setattr(devices, "has_amx", lambda: True)
    assert chosen("fast") == ("openvino", "bfloat16"), "as fast, and closer"
    assert choose(OFFERED, "auto", suits_bfloat16=False).precision == "float32"


def test_the_fastest_that_was_measured_is_taken() -> None:
    note(WITHOUT_BFLOAT16)
    assert chosen("auto") == chosen("float32") == ("ncnn", "float32")
    assert chosen("fast") == chosen("int8") == ("openvino", "int8")
    assert "8.90 s per megapixel by edsr_baseline_x2, openvino in float32 13.50" in choose(OFFERED).why
    assert choose_here() == choose(OFFERED, "auto") and choose_here("fast") == choose(OFFERED, "fast")
    assert Network("edsr_fast_x2", "auto").engine == "ncnn"
    assert Network("edsr_baseline_x2", "fast").engine == "openvino"
    assert Network("edsr_fast_x2", "fast").engine == "ncnn", "it has no 8 bits"
    assert Network("edsr_baseline_x2", "openvino").engine == "openvino", "asked for by name"
    assert Network("aplus_x2", "auto").engine == ""
    eight = np.dtype(np.uint8)
    assert resolve_precision("fast", eight, [Network("edsr_baseline_x2", "fast")]) == ("int8", "")
    assert resolve_precision("auto", eight, [Network("edsr_baseline_x2", "auto")]) == ("float32", "")


def test_bfloat16_is_kept_where_it_is_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    note(WITH_BFLOAT16)
    assert chosen("auto") == ("openvino", "bfloat16")
    assert chosen("float32") == ("ncnn", "float32")
    assert chosen("fast") == ("openvino", "int8")
    note({("openvino", "int8"): 7.0})
    assert chosen("fast") == ("openvino", "int8"), "the rule stays where hardly anything is faster"


def test_a_preset_that_deviates_too_much_in_bfloat16_is_computed_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    taken = {
        name: resolve_precision("auto", np.dtype(np.uint8), [Network(name, "auto")])[0]
        for name in ("live_x2", "edsr_fast_x2")
    }
    assert taken == {"live_x2": "float32", "edsr_fast_x2": "bfloat16"}


def test_emulated_bfloat16_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside Linux it is not known whether the processor has it."""
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    note({**WITHOUT_BFLOAT16, ("openvino", "bfloat16"): 40.0, ("ncnn", "float32"): 13.4})
    assert chosen("auto") == ("ncnn", "float32")
    network = Network("edsr_baseline_x2", "openvino")
    assert resolve_precision("auto", np.dtype(np.uint8), [network]) == ("float32", "")


def test_a_rule_stays_unless_it_is_clearly_slower() -> None:
    note({("openvino", "float32"): 10.0, ("ncnn", "float32"): 10.0 * MARGIN + 0.01})
    assert chosen("auto") == ("openvino", "float32")
    note({("ncnn", "float32"): 10.0 * MARGIN - 0.01})
    assert chosen("auto") == ("ncnn", "float32"), "the latest measurement counts"


def test_another_processor_has_its_own_record(monkeypatch: pytest.MonkeyPatch) -> None:
    note(WITHOUT_BFLOAT16)
    monkeypatch.setattr(devices, "processor", lambda: "another, 4 cores")
    assert chosen("auto") == ("openvino", "float32")


def test_finished_jobs_decide_nothing() -> None:
    for way, pace in WITHOUT_BFLOAT16.items():
        speeds_here().add(kind_of(*way)._replace(device="CPU", part=""), 1.0, pace)
    assert chosen("auto") == ("openvino", "float32")
    note(WITHOUT_BFLOAT16)
    assert all(not kind.part for kind in speeds_here().kinds())


def test_what_an_engine_is_chosen_for() -> None:
    assert engine_for("auto", "fast") == "fast" and engine_for("ncnn", "fast") == "ncnn"
    assert engine_for(None, "float32") is None
    assert PredictOptions(precision="fast", device="gpu").runs_on == "gpu"
    assert PredictOptions(precision="int8").runs_on == "int8"


def test_tiles_are_wide_where_an_engine_enlarges_in_pieces() -> None:
    pytest.importorskip("openvino")
    built, other = Network("edsr_fast_x2", "openvino"), Network("edsr_fast_x2", "tensorflow")
    assert [built.overlaps_of_a_tile(precision) for precision in ("float32", "bfloat16", "int8")] == [
        8,
        10,
        5,
    ]
    assert built.overlaps_of_a_tile("bfloat16", "cpu") == 10
    assert built.overlaps_of_a_tile("bfloat16", "gpu") == other.overlaps_of_a_tile("bfloat16") == 5


def test_the_command_measures_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(choice.time, "perf_counter", lambda: next(clock))

    def opened(engine: str, precision: str) -> object:
        if precision == "int8":
            raise RuntimeError("cannot")
        return lambda batch: [next(clock) for _ in range(2 if engine == "ncnn" else 5)]

    monkeypatch.setattr(choice, "_open", opened)
    monkeypatch.setattr(Engine, "devices", [])  # asked for in a process of its own
    assert run(["engines", "--measure", "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["chosen"]["auto"]["engine"] == "ncnn"
    assert [(row["engine"], row["precision"]) for row in told["measured"]] == [
        ("ncnn", "float32"),
        ("openvino", "float32"),
        ("openvino", "bfloat16"),
    ]
    assert "openvino in int8 is left out: cannot" in captured.err
    assert measured(Speeds()) == measured(), "it is on the disk"
    assert run(["engines"]) == 0
    assert "auto: ncnn in float32, measured here" in capsys.readouterr().out
