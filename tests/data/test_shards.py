"""Decoded arrays in shards: the same arrays back, and nothing decoded twice, on any machine."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pictures import folder_of_photographs
from PIL import Image

from isr.data import pairs, shards
from isr.data.pairs import PicturePairs, find_pairs, read_pair
from isr.data.shards import Shards

KINDS = st.sampled_from([np.uint8, np.uint16, np.float32])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(arrays(KINDS, array_shapes(max_dims=3)), min_size=1, max_size=2), max_size=9), st.data()
)
def test_arrays_come_back(
    tmp_path_factory: pytest.TempPathFactory, items: list[list[np.ndarray]], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "ITEMS", data.draw(st.sampled_from([1, 3, 100])))
        folder = tmp_path_factory.mktemp("shards")
        kept = Shards(folder, list(range(len(items))), "facts")
        for number, item in enumerate(items):
            assert number not in kept
            kept.add(number, item)
        kept.close()
        for found in (kept, Shards(folder, list(range(len(items))), "facts")):
            for number, item in enumerate(items):
                assert number in found
                for one, other in zip(found[number], item, strict=True):
                    assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
                    assert one.shape == other.shape and not one.flags.writeable
        assert not any(n in Shards(folder, list(range(len(items))), "other facts") for n in range(len(items)))


def test_both_files_of_a_shard_are_for_all_who_read_one(tmp_path: Path) -> None:
    kept = Shards(tmp_path, [0], "facts")
    kept.add(0, [np.zeros(3, np.uint8)])
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes.keys() == {".bin", ".json"} and modes[".bin"] == modes[".json"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each picture was decoded; shards are of about three."""
    count: Counter[str] = Counter()

    def counting(files, *arguments):  # type: ignore[no-untyped-def]
        count[files.name] += 1
        return read_pair(files, *arguments)

    monkeypatch.setattr(pairs, "read_pair", counting)
    monkeypatch.setattr(shards, "ITEMS", 3)
    return count


def photographs(folder: Path, count: int) -> Path:
    """A folder of pictures of one time, so that the same ones begin a shard in every run."""
    for path in folder_of_photographs(folder, count, 20, 24).iterdir():
        set_time(path)
    return folder


def set_time(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18))


def check(found: PicturePairs) -> None:
    for pair, (lr, hr) in zip(found.files, found, strict=True):
        expected = read_pair(pair, 2, 3)
        assert np.array_equal(lr, expected[0]) and np.array_equal(hr, expected[1])


def test_a_picture_that_is_added_costs_its_shard_alone(tmp_path: Path, read: Counter[str]) -> None:
    folder = photographs(tmp_path / "hr", 24)
    cache = tmp_path / "cache"
    check(PicturePairs(find_pairs(folder, None, 2), 2, 3, cache))
    assert set(read.values()) == {1}
    read.clear()
    found = PicturePairs(find_pairs(folder, None, 2), 2, 3, cache)
    check(found)
    assert not read
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(folder / "11a.png")
    set_time(folder / "11a.png")
    check(PicturePairs(find_pairs(folder, None, 2), 2, 3, cache))
    assert 1 <= len(read) < 12 and "11a.png" in read
    assert not list(cache.glob(".*"))


def test_an_interruption_costs_a_shard(tmp_path: Path, read: Counter[str]) -> None:
    folder = photographs(tmp_path / "hr", 24)
    broken = folder / "9.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100] + bytes(len(whole) - 100))
    set_time(broken)
    with pytest.raises(ValueError, match=r"9\.png"):
        PicturePairs(find_pairs(folder, None, 2), 2, 3, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob(".*"))
    read.clear()
    broken.write_bytes(whole)
    set_time(broken)
    check(PicturePairs(find_pairs(folder, None, 2), 2, 3, tmp_path / "cache"))
    assert "9.png" in read and len(read) < 12


def test_a_store_serves_other_machines(store: str, tmp_path: Path, read: Counter[str]) -> None:
    folder = photographs(tmp_path / "hr", 12)
    place = f"{store}/cache/photos"
    PicturePairs(find_pairs(folder, None, 2), 2, 3, tmp_path / "one", store=place)
    assert len(read) == 12
    read.clear()
    check(PicturePairs(find_pairs(folder, None, 2), 2, 3, tmp_path / "other", store=place))
    assert not read
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == names
