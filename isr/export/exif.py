"""How a picture file asks to be turned, and the turning, in a graph; `isr.io.exif` has the same rule for predict."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any

ORIENTATION = 274
SHORT, LONG = 3, 4
# Entries of the first directory of EXIF that are looked at; cameras write a dozen.
MOST_ENTRIES = 256
# What stands before an EXIF block, None for any byte: in a JPEG its segment, in a PNG the name of its chunk. Neither
# is found by chance: pixels of a JPEG have no such marker, and what follows has to be a block.
IN_JPEG = (0xFF, 0xE1, None, None, *b"Exif\0\0")
IN_PNG = (*b"eXIf",)


def orientation(encoded: Tensor, png: Tensor) -> Tensor:
    """Read EXIF's Orientation, 1 to 8, int64; 1 where a file has none, or a damaged one.

    Args:
        encoded: the file, a scalar string.
        png: whether it is a PNG, else a JPEG.
    """
    data = tf.io.decode_raw(encoded, tf.uint8)
    start = tf.cond(png, lambda: _behind(data, IN_PNG), lambda: _behind(data, IN_JPEG))
    size = tf.size(data, tf.int64)
    large = _byte(data, start) == ord("M")

    def number(at: Tensor, count: int) -> Tensor:
        """An unsigned number of so many bytes, in the block's order."""
        bytes_of = [_byte(data, at + i) for i in range(count)]
        shifted = [value * (1 << 8 * i) for i, value in enumerate(bytes_of)]
        backwards = [value * (1 << 8 * (count - 1 - i)) for i, value in enumerate(bytes_of)]
        return tf.where(large, tf.add_n(backwards), tf.add_n(shifted))

    twice = _byte(data, start) == _byte(data, start + 1)
    known = (start < size) & twice & (large | (_byte(data, start) == ord("I"))) & (number(start + 2, 2) == 42)
    directory = start + number(start + 4, 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), MOST_ENTRIES))
    kind = number(entries + 2, 2)
    wanted = (number(entries, 2) == ORIENTATION) & ((kind == SHORT) | (kind == LONG))
    values = tf.where(kind == LONG, number(entries + 8, 4), number(entries + 8, 2))
    first = tf.concat([tf.boolean_mask(values, wanted), [tf.constant(1, tf.int64)]], 0)[0]
    return tf.where(known & (first >= 1) & (first <= 8), first, 1)


def upright(pixels: Tensor, orientation: Tensor) -> Tensor:
    """Give `isr.io.pictures.stored.upright`: turn and mirror `[h, w, c]` as an Orientation asks."""

    def among(*numbers: int) -> Tensor:
        return tf.reduce_any([orientation == number for number in numbers])

    turned = tf.cond(among(5, 6, 7, 8), lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    turned = tf.cond(among(3, 4, 7, 8), lambda: turned[::-1], lambda: turned)
    return tf.cond(among(2, 3, 6, 7), lambda: turned[:, ::-1], lambda: turned)


def _behind(data: Tensor, pattern: tuple[int | None, ...]) -> Tensor:
    """The place behind the first occurrence of a pattern; that behind all bytes where there is none."""
    size = tf.size(data)
    places = tf.maximum(size - len(pattern) + 1, 0)
    same = tf.ones(places[tf.newaxis], tf.bool)
    for i, byte in enumerate(pattern):
        if byte is not None:
            same &= data[i : i + places] == byte
    found = tf.concat([tf.where(same)[:1, 0] + len(pattern), [tf.cast(size, tf.int64)]], 0)
    return found[0]


def _byte(data: Tensor, at: Tensor) -> Tensor:
    """Bytes of a file as int64; 0 beyond its end."""
    padded = tf.concat([data, [tf.constant(0, tf.uint8)]], 0)
    return tf.cast(tf.gather(padded, tf.minimum(at, tf.size(data, tf.int64))), tf.int64)
