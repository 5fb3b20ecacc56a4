"""Decoded arrays in shards: many of them in one file, which NumPy maps into memory.

The files lie in a folder, which machines may share; an object store may hold them too, from which each machine fetches
what its folder lacks.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from isr.io import places
from isr.io.files import atomic

# Items of a shard, on average: what an interruption costs, and what is decoded anew where one changes.
ITEMS = 64
# Shards that are fetched at a time.
FETCHED = 8


class Shards:
    """Items of a few arrays each, found again by what they were decoded from.

    An item begins a new shard where a hash of its own says so: one that is added or taken out changes its shard alone.

    Args:
        folder: of the files.
        identities: what each item is decoded from, as plain JSON values.
        facts: what else decides the arrays, as plain JSON values.
        store: address of an object store that holds the files too; None: none does.

    Raises:
        ISRError: the store does not answer, or refuses.
    """

    def __init__(self, folder: Path, identities: Sequence[Any], facts: Any, store: str | None = None) -> None:
        self.folder, self.store = folder, store
        texts = [json.dumps(identity) for identity in identities]
        # First item of each, and behind the last one.
        self.firsts = [*_firsts(texts), len(texts)]
        self._shard = np.repeat(np.arange(len(self.firsts) - 1), np.diff(self.firsts)).tolist()
        self._keys = [_key([facts, *texts[start:stop]]) for start, stop in itertools.pairwise(self.firsts)]
        self._map = lru_cache(maxsize=256)(_mapped)
        # Of the items of each shard that is whole: the arrays' types, shapes and places.
        self._indices: dict[int, list[list[tuple[str, tuple[int, ...], int]]]] = {}
        self._writing: tuple[int, Any] | None = None
        self._added: list[list[tuple[str, tuple[int, ...], int]]] = []
        if store is not None:
            self._fetch()

    def __contains__(self, item: int) -> bool:
        """Tell whether an item is decoded, in a shard that is whole."""
        shard = self._shard[item]
        if shard not in self._indices:
            path = self._path(shard, ".json")
            if not path.is_file():
                return False
            self._indices[shard] = json.loads(path.read_text(encoding="utf-8"))
        return True

    def __getitem__(self, item: int) -> tuple[np.ndarray, ...]:
        """Return the arrays of an item, read-only: what is looked at is read."""
        assert item in self
        shard = self._shard[item]
        content = self._map(self._path(shard, ".bin"))
        return tuple(
            content[place : place + np.dtype(kind).itemsize * math.prod(shape)].view(kind).reshape(shape)
            for kind, shape, place in self._indices[shard][item - self.firsts[shard]]
        )

    def add(self, item: int, arrays: Sequence[np.ndarray]) -> None:
        """Keep the arrays of an item. Its shard is whole when all of its items were added, in order."""
        shard = self._shard[item]
        first, behind = self.firsts[shard], self.firsts[shard + 1]
        if item == first:
            self.close()
            self._begin(shard)
        if self._writing is None or self._writing[0] != shard or len(self._added) != item - first:
            # One before it does not fit, so that none will be used.
            return
        file, entry = self._writing[1], []
        for array in arrays:
            # Numbers of several bytes lie at multiples of their size.
            place = file.tell() + -file.tell() % array.dtype.itemsize
            file.seek(place)
            np.ascontiguousarray(array).tofile(file)
            entry.append((array.dtype.str, array.shape, place))
        self._added.append(entry)
        if item + 1 == behind:
            self._finish(shard)

    def close(self) -> None:
        """Drop a shard that is not whole."""
        if self._writing is not None:
            path = Path(self._writing[1].name)
            self._writing[1].close()
            path.unlink(missing_ok=True)
        self._writing, self._added = None, []

    def _begin(self, shard: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = (self.folder / f".{os.urandom(8).hex()}.bin").open("wb")
        self._writing = shard, file

    def _finish(self, shard: int) -> None:
        assert self._writing is not None
        file = self._writing[1]
        file.flush()
        # On the disk before the index that says so.
        os.fsync(file.fileno())
        file.close()
        Path(file.name).replace(self._path(shard, ".bin"))
        with atomic(self._path(shard, ".json")) as temporary:
            temporary.write_text(json.dumps(self._added), encoding="utf-8")
        self._writing, self._added = None, []
        if self.store is not None:
            # The index says that the other one is there.
            for suffix in (".bin", ".json"):
                path = self._path(shard, suffix)
                places.put(path, f"{self.store}/{path.name}")

    def _fetch(self) -> None:
        """Fetch the shards that the store has and the folder lacks."""
        assert self.store is not None
        there = {found.name for found in places.listing(self.store)}
        shards = range(len(self._keys))
        wanted = [shard for shard in shards if not self._path(shard, ".json").is_file()]
        with ThreadPoolExecutor(FETCHED) as threads:
            list(threads.map(self._fetch_one, (s for s in wanted if f"{self._keys[s]}.json" in there)))

    def _fetch_one(self, shard: int) -> None:
        for suffix in (".bin", ".json"):
            path = self._path(shard, suffix)
            with atomic(path) as temporary:
                places.fetch(f"{self.store}/{path.name}", temporary)

    def _path(self, shard: int, suffix: str) -> Path:
        return self.folder / f"{self._keys[shard]}{suffix}"


def _mapped(path: Path) -> np.ndarray:
    # A plain array over it: slices of a `memmap` are slow to make.
    return np.asarray(np.memmap(path, np.uint8, "r"))


def _firsts(texts: Sequence[str]) -> Iterator[int]:
    """Number the items that begin a shard."""
    for number, text in enumerate(texts):
        if number == 0 or int(_key([text]), 16) % ITEMS == 0:
            yield number


def _key(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]
