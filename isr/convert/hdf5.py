"""The plain part of HDF5: groups, attributes of text, and arrays that lie in one piece, as Keras 2 writes them.

The C library behind h5py reads beyond its memory, or for ever, where bytes of a file are wrong; here every address
is checked. Names and numbers of the parts are those of the HDF5 File Format Specification, version 3.0.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = (1 << 64) - 1  # the address of what is not there
MAX_STEPS = 1_000_000  # messages, nodes and names; Keras' largest files take some thousands
MAX_NAME = 1_000  # bytes

# Types of messages in an object's header.
DATASPACE, DATATYPE, EXTERNAL_FILES, LAYOUT, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 1, 3, 7, 8, 12, 16, 17

# IEEE floats by their size: bit offset, precision, place and size of the exponent, of the mantissa.
FLOATS = {2: (0, 16, 10, 5, 0, 10), 4: (0, 32, 23, 8, 0, 23), 8: (0, 64, 52, 11, 0, 52)}


class Unsupported(Exception):
    """A kind of HDF5 that Keras 2 does not write."""


class File:
    """An HDF5 file in memory; `root` is its first group.

    Everything here raises `Unsupported` for what Keras 2 does not write (links to other files, compressed or
    scattered arrays, the layouts of `libver="latest"`) and ValueError, KeyError, struct.error or others where bytes
    are wrong.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.steps = 0
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        version = data[8]
        if version > 1:
            raise Unsupported(f"HDF5 of a newer layout (superblock {version}), not as Keras 2 saves weights")
        if tuple(data[13:15]) != (8, 8):
            raise Unsupported("HDF5 with addresses of other than 8 bytes, not as Keras 2 saves weights")
        base, _, end, _, _, header = self.unpack("<6Q", 24 if version == 0 else 28)
        if base != 0 or end > len(data):
            raise ValueError("it ends too early")
        self.root = Node(self, header)

    def spend(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise ValueError("a part that never ends")

    def unpack(self, form: str, address: int) -> tuple[Any, ...]:
        return struct.unpack_from(form, self.data, address)

    def piece(self, address: int, size: int) -> bytes:
        if address + size > len(self.data):
            raise ValueError("an address outside of the file")
        return self.data[address : address + size]

    def name(self, address: int) -> str:
        """Read text that ends with a zero byte."""
        text = self.data[address : address + MAX_NAME].partition(b"\0")[0]
        return text.decode()

    def in_heap(self, address: int, index: int) -> bytes:
        """Return an object of the global heap at an address; these hold text of variable length."""
        if address not in self._heaps:
            signature, size = self.unpack("<4s4xQ", address)
            if signature != b"GCOL":
                raise ValueError("text without its heap")
            places: dict[int, tuple[int, int]] = {}
            place, end = address + 16, address + size
            while place + 16 <= end:
                self.spend()
                number, length = self.unpack("<H6xQ", place)
                if number == 0:  # the free rest
                    break
                places[number] = place + 16, length
                place += 16 + -(-length // 8) * 8
            self._heaps[address] = places
        place, length = self._heaps[address][index]
        return self.piece(place, min(length, MAX_NAME))


class Node:
    """A group or an array, by the address of its object header."""

    def __init__(self, file: File, address: int) -> None:
        self.file = file
        self.address = address

    def __getitem__(self, path: str) -> Node:
        node = self
        for part in path.split("/"):
            if part not in node.members:
                raise ValueError(f"no {path[:80]!a} in it, though it lists that")
            node = Node(self.file, node.members[part])
        return node

    @cached_property
    def members(self) -> dict[str, int]:
        """Return the header's address of everything in a group, by name; links other than to objects are left out."""
        tables = [message for kind, message in self._messages() if kind == SYMBOL_TABLE]
        if not tables:
            return {}
        tree, heap = struct.unpack_from("<QQ", tables[0])
        signature, names = self.file.unpack("<4s20xQ", heap)
        if signature != b"HEAP":
            raise ValueError("a group without names")
        found: dict[str, int] = {}
        for leaf in self._leaves(tree):
            signature, count = self.file.unpack("<4s2xH", leaf)
            if signature != b"SNOD":
                raise ValueError("a group without entries")
            for number in range(count):
                self.file.spend()
                name, header = self.file.unpack("<QQ", leaf + 8 + 40 * number)
                if header != UNDEFINED:
                    found[self.file.name(names + name)] = header
        return found

    def text(self, attribute: str) -> list[str] | None:
        """Read the texts of an attribute, none where it is an empty array of numbers; None where there is none."""
        for kind, message in self._messages():
            if kind == ATTRIBUTE:
                values = self._attribute(message, attribute)
                if values is not None:
                    return values
        return None

    def array(self) -> np.ndarray:
        """Return the numbers of an array, as a view of the file's bytes; its shape and byte order are the file's."""
        messages = dict(self._messages())
        if EXTERNAL_FILES in messages:
            raise Unsupported("HDF5 with numbers in another file: save the weights plainly")
        shape, dtype = _shape(messages[DATASPACE]), _number_type(messages[DATATYPE])
        version, layout, address, size = struct.unpack_from("<BBQQ", messages[LAYOUT])
        if version not in (3, 4) or layout != 1:
            raise Unsupported("HDF5 with compressed or scattered numbers: save the weights plainly")
        count = math.prod(shape)
        if count == 0:
            return np.zeros(shape, dtype)
        if count * dtype.itemsize > size or address + size > len(self.file.data):
            raise ValueError("an array that lies outside of the file, or was never written")
        return np.frombuffer(self.file.data, dtype, count, address).reshape(shape)

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """Type and content of the header's messages."""
        version, left, size = self.file.unpack("<BxH4xI", self.address)
        if version != 1:
            raise Unsupported("HDF5 of a newer layout (object header), not as Keras 2 saves weights")
        blocks = [(self.address + 16, size)]
        for start, length in blocks:  # grows on the way
            place, end = start, start + length
            while place + 8 <= end and left:
                left -= 1
                kind, size, flags = self.file.unpack("<HHB", place)
                self.file.spend(1 + size // 256)
                message = self.file.piece(place + 8, size)
                if kind == CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", message))
                elif not flags & 2:  # else the content lies elsewhere, which h5py does not do unasked
                    yield kind, message
                place += 8 + size

    def _leaves(self, address: int) -> Iterator[int]:
        """The addresses of the tables of entries below a node of a group's B-tree."""
        nodes = [address]
        while nodes:
            node = nodes.pop()
            signature, kind, level, count = self.file.unpack("<4sBBH", node)
            self.file.spend(1 + count)
            if signature != b"TREE" or kind != 0:
                raise ValueError("a group that is no tree")
            # Behind 24 bytes, keys and children take turns.
            children = [self.file.unpack("<Q", node + 32 + 16 * number)[0] for number in range(count)]
            if level == 0:
                yield from children
            else:
                nodes += reversed(children)

    def _attribute(self, message: bytes, wanted: str) -> list[str] | None:
        version, flags, *sizes = struct.unpack_from("<BBHHH", message)
        place = 9 if version == 3 else 8
        parts = []
        for size in sizes:
            parts.append(message[place : place + size])
            place += -(-size // 8) * 8 if version == 1 else size
        name, datatype, dataspace = parts
        if name.rstrip(b"\0").decode("utf-8", "replace") != wanted:
            return None
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise Unsupported(
                f"HDF5 with an attribute {wanted} of a newer kind, not as Keras 2 saves weights"
            )
        count = math.prod(_shape(dataspace))
        if count == 0:
            return []
        kind, variable, size = struct.unpack_from("<BB2xI", datatype)
        data = message[place:]
        if not 0 < size * count <= len(data):
            raise ValueError(f"an attribute {wanted} that ends too early")
        pieces = [data[size * number : size * (number + 1)] for number in range(count)]
        if kind & 15 == 9 and variable & 15 == 1:  # text of variable length, in a heap
            pieces = [self._in_heap(piece) for piece in pieces]
        elif kind & 15 != 3:
            raise Unsupported(f"HDF5 with an attribute {wanted} that is no text")
        return [piece.rstrip(b"\0 ").decode() for piece in pieces]

    def _in_heap(self, reference: bytes) -> bytes:
        self.file.spend()
        length, address, index = struct.unpack("<IQI", reference)
        return self.file.in_heap(address, index)[:length]


def _shape(dataspace: bytes) -> tuple[int, ...]:
    version, rank, _, kind = struct.unpack_from("<4B", dataspace)
    if version == 2 and kind == 2:  # empty
        return (0,)
    return struct.unpack_from(f"<{rank}Q", dataspace, 8 if version == 1 else 4)


def _number_type(datatype: bytes) -> np.dtype[Any]:
    kind, bits, size = struct.unpack_from("<BB2xI", datatype)
    order = ">" if bits & 1 else "<"
    if kind & 15 == 1 and FLOATS.get(size) == struct.unpack_from("<HH4B", datatype, 8) and not bits & 64:
        return np.dtype(f"{order}f{size}")
    if kind & 15 == 0 and size in (1, 2, 4, 8) and struct.unpack_from("<HH", datatype, 8) == (0, 8 * size):
        return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
    raise Unsupported("HDF5 with numbers that are neither integers nor IEEE floats")
