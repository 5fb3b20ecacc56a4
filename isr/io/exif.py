"""EXIF blocks: a camera's notes in the directory structure of a TIFF file.

A block is what PNG, WebP and AVIF store and what JPEG stores after "Exif" and two zero bytes: it begins with
`II*` or `MM` and a zero byte and `*`. In a TIFF file the same directories are the file's own.
"""

import io
import math
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 274, 282, 283, 296

_EXIF, _GPS, _INTEROPERABILITY = 34665, 34853, 40965
_POINTERS = frozenset((_EXIF, _GPS, _INTEROPERABILITY))
# What the first directory of a TIFF file says of the photograph, in contrast to how its pixels lie: title,
# make, model, software, date, artist, host computer, rating, copyright, the Windows titles.
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096))
# Bytes of one value, and of the words it is made of, for each type of value.
# fmt: off
_TYPES = {
    1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1), 8: (2, 2), 9: (4, 4), 10: (8, 4),
    11: (4, 4), 12: (8, 8), 13: (4, 4), 129: (1, 1),
}
# fmt: on
_MAX_ENTRIES = 4096


@dataclass(frozen=True)
class _Layout:
    """How a file spells its directories: byte order ("<" or ">"), and whether it is a BigTIFF."""

    order: str
    big: bool

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))


@dataclass(frozen=True)
class _Entry:
    """An entry of a directory: the type and number of its values, and all of them in the file's byte order."""

    kind: int
    count: int
    data: bytes


_Directory = dict[int, "_Entry | _Directory"]


def reset_orientation(block: bytes) -> tuple[int, bytes]:
    """Tell the Orientation (1 to 8) that `block` asks for, and put 1 in its place.

    Every other byte stays where it is: maker notes hold offsets that do not survive rewriting.
    """
    try:
        layout, start = _header(io.BytesIO(block))
        (count,) = layout.count.unpack_from(block, start)
        for index in range(min(count, _MAX_ENTRIES)):
            position = start + layout.count.size + index * layout.entry.size
            tag, kind, _, field = layout.entry.unpack_from(block, position)
            if tag == ORIENTATION and kind in (3, 4):
                word = struct.Struct(layout.order + ("H" if kind == 3 else "I"))
                (orientation,) = word.unpack_from(field)
                changed = bytearray(block)
                word.pack_into(changed, position + layout.entry.size - len(field), 1)
                return (orientation if 1 <= orientation <= 8 else 1), bytes(changed)
    except (struct.error, ValueError):
        pass
    return 1, block


def resolution(file: BinaryIO) -> tuple[float, float] | None:
    """Tell the resolution that a block or TIFF file states, (horizontal, vertical) in dots per inch, or None."""
    try:
        layout, start = _header(file)
        directory = _read_directory(file, layout, start)
    except (struct.error, ValueError):
        return None
    unit = _numbers(layout, directory.get(RESOLUTION_UNIT)) or [2]
    horizontal = _numbers(layout, directory.get(X_RESOLUTION))
    vertical = _numbers(layout, directory.get(Y_RESOLUTION)) or horizontal
    if not horizontal or not vertical or unit[0] not in (2, 3):
        return None
    per_inch = 2.54 if unit[0] == 3 else 1.0
    return horizontal[0] * per_inch, vertical[0] * per_inch


def with_resolution(block: bytes | None, dpi: tuple[float, float]) -> bytes:
    """Add the resolution `dpi` to `block` (None: an empty one), for formats that have no other place for it.

    A block that states a resolution already, or that cannot be parsed, comes back as it is.
    """
    directory: _Directory = {}
    layout = _Layout("<", big=False)
    if block is not None:
        try:
            layout, start = _header(io.BytesIO(block))
            directory = _read_directory(io.BytesIO(block), layout, start)
        except (struct.error, ValueError):
            return block
        if X_RESOLUTION in directory:
            return block
    for tag, value in ((X_RESOLUTION, dpi[0]), (Y_RESOLUTION, dpi[1])):
        directory[tag] = _Entry(5, 1, struct.pack(layout.order + "II", *_fraction(value)))
    directory[RESOLUTION_UNIT] = _Entry(3, 1, struct.pack(layout.order + "H", 2))
    return _block(layout, directory)


def from_tiff(file: BinaryIO, *, without: Collection[int] = ()) -> bytes | None:
    """Make the EXIF block that says what the first directory of the TIFF file `file` says of the photograph.

    Tags in `without` are left out, and those that say how the pixels lie.
    """
    try:
        layout, start = _header(file)
        found = _read_directory(file, layout, start)
    except (struct.error, ValueError):
        return None
    wanted = [tag for tag in (*_DESCRIPTIVE, _EXIF, _GPS) if tag in found and tag not in without]
    return _block(_Layout(layout.order, big=False), {tag: found[tag] for tag in wanted}) if wanted else None


def add_to_tiff(file: BinaryIO, block: bytes) -> None:
    """Add what `block` says of the photograph to the first directory of the finished TIFF file `file`.

    The directory is written anew at the end, with the old entries word for word (their values stay where
    they are); entries that the file has already are not replaced.

    Raises:
        ValueError: `block` is no EXIF block.
    """
    try:
        source, start = _header(io.BytesIO(block))
        found = _read_directory(io.BytesIO(block), source, start)
    except struct.error as error:
        raise ValueError(f"not an EXIF block ({error})") from error
    layout, start = _header(file)
    file.seek(start)
    (count,) = layout.count.unpack(file.read(layout.count.size))
    old = [layout.entry.unpack(file.read(layout.entry.size)) for _ in range(count)]
    present = {tag for tag, *_ in old}
    added = {tag: found[tag] for tag in (*_DESCRIPTIVE, _EXIF, _GPS) if tag in found and tag not in present}
    if not added:
        return
    end = file.seek(0, io.SEEK_END)
    # Directories begin on a word boundary.
    position = file.seek(end + end % 8)
    written = _write_directory(layout, _in_order(added, source.order, layout.order), position, old)
    file.write(written)
    file.seek(8 if layout.big else 4)
    file.write(layout.offset.pack(position))


def _header(file: BinaryIO) -> tuple[_Layout, int]:
    """The layout of a block or TIFF file and where its first directory begins."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise ValueError("neither II nor MM at the beginning")
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version not in (42, 43):
        raise ValueError("not a TIFF structure")
    layout = _Layout(order, big=version == 43)
    return layout, layout.offset.unpack_from(head, 8 if layout.big else 4)[0]


def _read_directory(file: BinaryIO, layout: _Layout, start: int, depth: int = 0) -> _Directory:
    """The directory at `start` and those that it points to, without entries that make no sense."""
    size = file.seek(0, io.SEEK_END)
    file.seek(min(start, size))
    (count,) = layout.count.unpack(file.read(layout.count.size))
    if count > _MAX_ENTRIES:
        raise ValueError(f"{count} entries in a directory")
    table = file.read(count * layout.entry.size)
    directory: _Directory = {}
    whole = len(table) - len(table) % layout.entry.size
    for tag, kind, number, field in layout.entry.iter_unpack(table[:whole]):
        if tag in _POINTERS:
            if depth < 2:
                (target,) = layout.offset.unpack(
                    field if layout.big and kind != 4 else field[:4].ljust(layout.offset.size, b"\0")
                )
                try:
                    directory[tag] = _read_directory(file, layout, target, depth + 1)
                # A pointer to nowhere is left out.
                except (struct.error, ValueError):
                    continue
            continue
        length = number * _TYPES.get(kind, (0, 0))[0]
        if length == 0 or length > size:
            continue
        if length <= len(field):
            data = field[:length]
        else:
            file.seek(min(layout.offset.unpack(field)[0], size))
            data = file.read(length)
        if len(data) == length:
            directory[tag] = _Entry(kind, number, data)
    return directory


def _write_directory(
    layout: _Layout,
    directory: _Directory,
    position: int,
    old: list[tuple[int, int, int, bytes]] | None = None,
) -> bytes:
    """The bytes of `directory` for a file that has them at `position`, together with the entries `old`."""
    entries = list(old or [])
    place = (
        position
        + layout.count.size
        + (len(entries) + len(directory)) * layout.entry.size
        + layout.offset.size
    )
    values = bytearray()
    for tag, value in directory.items():
        values += b"\0" * (-len(values) % 2)
        here = place + len(values)
        if isinstance(value, dict):
            kind, code = (4, "I") if here < 2**32 else (16, "Q")
            number, data = 1, struct.pack(layout.order + code, here)
            values += _write_directory(layout, value, here)
        elif len(value.data) > layout.offset.size:
            kind, number, data = value.kind, value.count, layout.offset.pack(here)
            values += value.data
        else:
            kind, number, data = value.kind, value.count, value.data
        entries.append((tag, kind, number, data.ljust(layout.offset.size, b"\0")))
    entries.sort(key=lambda entry: entry[0])
    table = b"".join(layout.entry.pack(*entry) for entry in entries)
    return layout.count.pack(len(entries)) + table + layout.offset.pack(0) + bytes(values)


def _block(layout: _Layout, directory: _Directory) -> bytes:
    head = (b"II" if layout.order == "<" else b"MM") + struct.pack(layout.order + "HI", 42, 8)
    return head + _write_directory(layout, directory, 8)


def _in_order(directory: Mapping[int, "_Entry | _Directory"], source: str, target: str) -> _Directory:
    """`directory` with every value turned from the byte order `source` into `target`."""
    if source == target:
        return dict(directory)
    turned: _Directory = {}
    for tag, value in directory.items():
        if isinstance(value, dict):
            turned[tag] = _in_order(value, source, target)
        else:
            words = np.frombuffer(value.data, f"u{_TYPES[value.kind][1]}").byteswap()
            turned[tag] = _Entry(value.kind, value.count, words.tobytes())
    return turned


def _numbers(layout: _Layout, entry: "_Entry | _Directory | None") -> list[float]:
    """The values of a SHORT, LONG or RATIONAL entry; none for anything else, or a fraction of zero."""
    if not isinstance(entry, _Entry) or entry.kind not in (3, 4, 5):
        return []
    words = np.frombuffer(entry.data, f"{layout.order}u{_TYPES[entry.kind][1]}").tolist()
    if entry.kind != 5:
        return [float(word) for word in words]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return [top / bottom for top, bottom in pairs if bottom] if all(bottom for _, bottom in pairs) else []


def _fraction(value: float) -> tuple[int, int]:
    """`value` as a numerator and denominator of 32 bits."""
    denominator = 1 if value == math.floor(value) else 10_000
    return min(round(value * denominator), 2**32 - 1), denominator
