"""What enlarges goes piece by piece: where pieces lie, and that OpenVINO gives the same by them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import TINY, numpy, randomise

from isr.models import RRDN, RRDBNet, SuperResolutionModel
from isr.runtimes import wirings
from isr.runtimes.engines import pieces

sides = st.integers(1, 250)


@settings(max_examples=40)
@given(height=sides, width=sides, reach=st.integers(0, 4), scale=st.integers(1, 4))
def test_pieces_cover_the_result_once(height: int, width: int, reach: int, scale: int) -> None:
    rows, columns = np.mgrid[:height, :width]
    counts = np.zeros((height * scale, width * scale), int)
    for piece in pieces.pieces(height, width, reach, scale):
        counts[piece.placed] += 1
        # Where a pixel of a piece's result comes from is where it is placed.
        for axis, values in enumerate((rows, columns)):
            read = values[piece.rows, piece.columns].repeat(scale, 0).repeat(scale, 1)[piece.kept]
            np.testing.assert_array_equal(
                read, values.repeat(scale, 0).repeat(scale, 1)[piece.placed], str(axis)
            )
        for span, kept, length in zip((piece.rows, piece.columns), piece.kept, (height, width), strict=True):
            before, behind = kept.start, (span.stop - span.start) * scale - kept.stop
            assert before >= reach * scale or span.start == 0
            assert behind >= reach * scale or span.stop == length
    assert (counts == 1).all()


@pytest.mark.parametrize("cls", [RRDBNet, RRDN])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_openvino_gives_the_same_by_pieces(
    cls: type[SuperResolutionModel], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("isr.runtimes.engines.openvino")
    from isr.runtimes.engines import openvino_graph

    model = randomise(cls(**TINY[cls.__name__][0]))
    scale = model.spec.scales[0]
    weights = {name: numpy(value) for name, value in model.named_weights().items()}
    network = wirings.Network(cls.__name__, model.preset_arguments(), weights)
    graph = openvino_graph.build(network, scale, precision)
    lr = np.random.default_rng(0).random((2, 24, 36, 3), np.float32)
    with monkeypatch.context() as patched:
        patched.setattr(openvino, "_halves", lambda model: None)
        whole = openvino.session(graph)({"lr": lr})["sr"]
    monkeypatch.setattr(pieces, "PIECE", 10 * scale)
    found = openvino.session(graph)({"lr": lr})["sr"]
    tolerance = 1e-5 if precision == "float32" else 2e-2
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() <= tolerance * np.abs(whole).max()
    body, tail = openvino._halves(graph)
    assert len(body.get_ops()) < len(graph.get_ops()) and len(tail.get_ops()) < len(graph.get_ops())
