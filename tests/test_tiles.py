"""Tiles cover a picture once, and give what the whole picture gives."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import photograph
from tiny_models import randomise
from upscalers import Lines, Little, Repeat

from isr.errors import MachineError, RequestError
from isr.predict.picture import enlarge
from isr.predict.tiling import SMALLEST_TILE, TileOptions, plan_tiles
from isr.spec import ModelSpec
from isr.tiles import SIDE_STEP, Span, fitted, spans, tiles

sides = st.integers(1, 700)
overlaps = st.integers(0, 40)
steps = st.integers(1, 90)


@given(length=sides, overlap=overlaps, step=steps)
def test_spans_keep_every_pixel_once_with_the_overlap_around_it(length: int, overlap: int, step: int) -> None:
    tile = 2 * overlap + step
    cut = spans(length, tile, overlap)
    assert [s.inner_start for s in cut] == [0, *(s.inner_stop for s in cut[:-1])]
    assert cut[-1].inner_stop == length
    assert {s.stop - s.start for s in cut} == {min(tile, length)}
    for span in cut:
        assert 0 <= span.start <= span.inner_start < span.inner_stop <= span.stop <= length
        # At an end of the picture there is nothing more to read; elsewhere the whole overlap is.
        assert span.start == 0 or span.inner_start - span.start >= overlap
        assert span.stop == length or span.stop - span.inner_stop >= overlap


@given(length=sides, overlap=overlaps, step=steps, multiple=st.sampled_from([1, 4, 8]))
def test_fitted_tiles_are_no_larger_and_no_more(length: int, overlap: int, step: int, multiple: int) -> None:
    tile = 2 * overlap + step
    tile += -tile % multiple
    side = fitted(length, tile, overlap, multiple)
    assert side <= tile and side % multiple == 0
    assert len(spans(length, side, overlap)) == len(spans(length, tile, overlap))
    # A tile of a step less would not do, so nothing is computed in vain.
    smaller = side - math.lcm(SIDE_STEP, multiple)
    if length > tile and smaller > 2 * overlap:
        assert len(spans(length, smaller, overlap)) > len(spans(length, side, overlap))


@given(
    height=st.integers(1, 200), width=st.integers(1, 200), overlap=st.integers(0, 9), step=st.integers(8, 60)
)
def test_tiles_cover_a_picture_once_in_one_shape(height: int, width: int, overlap: int, step: int) -> None:
    covered = np.zeros((height, width), int)
    shapes = set()
    for tile in tiles(height, width, 2 * overlap + step, overlap):
        rows, columns = tile.rows, tile.columns
        covered[rows.inner_start : rows.inner_stop, columns.inner_start : columns.inner_stop] += 1
        shapes.add((rows.stop - rows.start, columns.stop - columns.start))
    assert np.all(covered == 1)
    assert len(shapes) == 1


def test_tiles_come_row_by_row() -> None:
    places = [(t.rows.inner_start, t.columns.inner_start) for t in tiles(100, 90, 40, 4)]
    assert places == sorted(places)
    assert len({row for row, _ in places}) > 1 and len({column for _, column in places}) > 1


def test_a_side_that_fits_is_one_span() -> None:
    assert spans(30, 30, 8) == [Span(0, 30, 0, 30)]


@pytest.mark.parametrize(("length", "tile", "overlap"), [(0, 8, 0), (9, 8, 4), (9, 8, -1)])
def test_spans_that_keep_nothing_are_refused(length: int, tile: int, overlap: int) -> None:
    with pytest.raises(ValueError):
        spans(length, tile, overlap)


# ------------------------------------------------------------------------------------ tiles through a network


@pytest.fixture(scope="module")
def edsr():  # type: ignore[no-untyped-def]
    from isr.models import EDSR
    from isr.runtimes import as_upscaler

    model = randomise(EDSR(scale=2, num_features=8, num_blocks=2, pixel_range=1.0))
    return as_upscaler(model)


@pytest.mark.parametrize(("height", "width"), [(61, 97), (33, 32), (128, 45), (32, 200)])
def test_exact_tiles_equal_the_whole_picture(edsr, height: int, width: int) -> None:  # type: ignore[no-untyped-def]
    picture = photograph(height, width).astype(np.float32) / 255
    whole = enlarge(edsr, picture, TileOptions(tile=256))
    tiled = enlarge(edsr, picture, TileOptions(tile=32, overlap="exact"))
    assert whole.std() > 0.01
    assert np.abs(tiled - whole).max() < 1e-5
    # The tiles are really there: without overlap they show.
    seams = enlarge(edsr, picture, TileOptions(tile=32, overlap=0))
    assert np.abs(seams - whole).max() > 1e-3


def test_exact_tiles_are_batched_to_the_same_result(edsr) -> None:  # type: ignore[no-untyped-def]
    picture = photograph(70, 90).astype(np.float32) / 255
    one = enlarge(edsr, picture, TileOptions(tile=32, overlap="exact"))
    four = enlarge(edsr, picture, TileOptions(tile=32, overlap="exact", batch=4))
    assert np.abs(one - four).max() < 1e-5


def test_a_batch_has_as_many_tiles_as_asked() -> None:
    upscaler, picture = Repeat(), photograph(100, 100)
    result = enlarge(upscaler, picture, TileOptions(tile=40, overlap=4, batch=5))
    counts = [shape[0] for shape in upscaler.batches]
    assert set(counts[:-1]) == {5} and 1 <= counts[-1] <= 5
    assert len({shape[1:] for shape in upscaler.batches}) == 1
    assert np.array_equal(result, picture.repeat(2, 0).repeat(2, 1))


def test_large_pictures_are_tiled_by_themselves_and_small_ones_are_not() -> None:
    small, large = Repeat(), Repeat()
    enlarge(small, photograph(300, 200), TileOptions())
    assert small.batches == [(1, 300, 200, 3)]
    picture = photograph(600, 1100)
    assert np.array_equal(enlarge(large, picture, TileOptions()), picture.repeat(2, 0).repeat(2, 1))
    assert len(large.batches) == 6 and len(set(large.batches)) == 1
    assert max(max(shape[1:3]) for shape in large.batches) <= 384


def test_a_long_picture_of_a_tiles_area_is_one_tile_unless_a_side_is_asked_for() -> None:
    upscaler, picture = Repeat(), photograph(200, 700)
    enlarge(upscaler, picture, TileOptions())
    assert upscaler.batches == [(1, 200, 700, 3)]
    enlarge(upscaler, photograph(200, 740), TileOptions())
    assert len(upscaler.batches) == 3
    enlarge(upscaler, picture, TileOptions(tile=384))
    assert len(upscaler.batches) == 5 and max(max(shape) for shape in upscaler.batches[1:]) <= 384


@pytest.mark.parametrize(("height", "width"), [(37, 50), (8, 8), (100, 93)])
def test_pictures_are_padded_to_the_multiple_a_network_needs(height: int, width: int) -> None:
    upscaler, picture = Repeat(size_multiple=8), photograph(height, width)
    result = enlarge(upscaler, picture, TileOptions(tile=40, overlap=3))
    assert all(side % 8 == 0 for shape in upscaler.batches for side in shape[1:3])
    assert np.array_equal(result, picture.repeat(2, 0).repeat(2, 1))


def test_running_out_of_memory_halves_the_tile_and_goes_on() -> None:
    upscaler, told, picture = Little(memory=50 * 50), Lines(), photograph(150, 170)
    result = enlarge(upscaler, picture, TileOptions(batch=3), progress=told)
    assert np.array_equal(result, picture.repeat(2, 0).repeat(2, 1))
    areas = [n * h * w for n, h, w, _ in upscaler.batches]
    assert areas[-1] <= 50 * 50 < areas[0]
    assert told.lines[0] == "memory ran out; going on with one tile at a time"
    assert all("going on with tiles of" in line for line in told.lines[1:])
    sizes = [int(line.split()[-2]) for line in told.lines[1:]]
    assert all(before == 2 * after or after == before // 2 for before, after in pairwise(sizes))


def test_no_memory_for_the_smallest_tile_is_said() -> None:
    with pytest.raises(MachineError, match=f"tiles of {SMALLEST_TILE} pixels"):
        enlarge(Little(memory=8), photograph(90, 90), TileOptions())


def test_exact_tiles_stay_exact_when_memory_runs_out() -> None:
    upscaler = Little(memory=50 * 50)
    upscaler.spec = ModelSpec("little", (2,), receptive_radius=20)
    with pytest.raises(MachineError, match="exact overlap of 20 pixels"):
        enlarge(upscaler, photograph(150, 150), TileOptions(overlap="exact"))


def test_tensorflow_running_out_of_memory_is_a_memory_error(edsr, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import tensorflow as tf

    def exhausted(batch: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setitem(edsr._graphs, 2, exhausted)
    with pytest.raises(MemoryError):
        edsr(np.zeros((1, 8, 8, 3), np.float32))


@pytest.mark.parametrize(
    "options",
    [{"tile": 8}, {"tile": 32, "overlap": 16}, {"overlap": -1}, {"overlap": "some"}, {"batch": 0}],
)
def test_options_out_of_their_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        TileOptions(**options)  # type: ignore[arg-type]


def test_exact_is_refused_where_it_cannot_be() -> None:
    unbounded = Repeat()
    unbounded.spec = ModelSpec("attention", (2,), receptive_radius=None)
    with pytest.raises(RequestError, match="depends on the whole picture"):
        enlarge(unbounded, photograph(40, 40), TileOptions(overlap="exact"))
    wide = Repeat()
    wide.spec = ModelSpec("wide", (2,), receptive_radius=30)
    with pytest.raises(RequestError, match="tile 48: keeps nothing with an overlap of 30"):
        enlarge(wide, photograph(90, 90), TileOptions(tile=48, overlap="exact"))


@pytest.mark.parametrize(
    ("radius", "tile", "overlap"),
    [
        (0, None, 12),
        (36, None, 12),
        (18, None, 18),
        (94, None, 70),
        (400, None, 72),
        (94, 64, 16),
        (94, 32, 12),
        (None, None, 24),
    ],
)
def test_the_default_overlap_follows_the_network(radius: int | None, tile: int | None, overlap: int) -> None:
    spec = ModelSpec("net", (4,), receptive_radius=radius)
    side, found = TileOptions(tile).geometry(spec, 4)
    assert found == overlap
    assert tile is not None or (side - 2 * overlap) ** 2 >= side**2 / 3


def test_tiles_are_larger_where_only_pixels_are_large() -> None:
    sides = [
        TileOptions().geometry(ModelSpec("net", (4,), enlarges_last=last), 4)[0] for last in (False, True)
    ]
    assert sides == [256, 384]


def test_tiles_of_more_overlaps_are_wider_where_the_overlap_decides() -> None:
    far, near = (ModelSpec("net", (4,), receptive_radius=radius) for radius in (349, 36))
    assert TileOptions(overlaps=10).geometry(far, 4) == (720, 72)
    assert TileOptions(overlaps=10).geometry(near, 4) == TileOptions().geometry(near, 4) == (256, 12)
    # A side or an overlap that was asked for stays what it is.
    assert TileOptions(400, overlaps=10).geometry(far, 4) == TileOptions(400).geometry(far, 4)
    assert TileOptions(overlap="exact", overlaps=10).geometry(far, 4) == (5 * 349, 349)
    # 1280x720 pixels are two tiles, an eighth of which is computed twice.
    plan = plan_tiles(720, 1280, far, TileOptions(overlaps=10), 4)
    area = sum((tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start) for tile in plan)
    assert len(plan) == 2 and area < 1.13 * 720 * 1280


def test_the_default_overlap_is_counted_in_pixels_of_the_body() -> None:
    """RRDBNet for x2 and x1 makes the picture smaller first: what its body sees is as far in larger pixels."""
    bodies = set()
    for scale, multiple in ((4, 1), (2, 2), (1, 4)):
        spec = ModelSpec("net", (scale,), receptive_radius=349 * multiple, size_multiple=multiple)
        side, overlap = TileOptions().geometry(spec, scale)
        bodies.add((side // multiple, overlap // multiple))
    assert len(bodies) == 1
