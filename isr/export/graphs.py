"""What stands around the network in an exported model: checks, padding, tiles, files. TensorFlow graphs only.

The rules are those of `isr.predict` and `isr.tiles`, in the arithmetic of a graph, because the sides of a picture
are known only when it comes; the tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from isr.export.exif import orientation, upright
from isr.models import SuperResolutionModel
from isr.spec import ModelSpec
from isr.tiles import SIDE_STEP

Tensor = Any

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Bytes of the signature and the header behind it.
PNG_HEAD = 33
# Halvings after which a picture of any side that can be held is one pixel.
FILL_LEVELS = 20


@dataclass(frozen=True)
class Bounds:
    """What one call may compute at once.

    Attributes:
        tile: largest side of what the network is given, input pixels.
        overlap: input pixels at each side of a tile that its neighbours keep.
        max_pixels: of a picture; larger ones are refused.
    """

    tile: int
    overlap: int
    max_pixels: int


class Graph:
    """A network at one of its scales, as graphs that take what a client sends.

    Args:
        model: a network of the package.
        scale: one of its scales.
        bounds: as its `spec` allows.
    """

    def __init__(self, model: SuperResolutionModel, scale: int, bounds: Bounds) -> None:
        self.model, self.scale, self.bounds = model, scale, bounds
        self.spec: ModelSpec = model.spec
        self.shape = (None, *self.spec.frame_axis, None, None, self.spec.num_channels)
        # One function for all callers: its graph, by far the largest, then stands in the file once.
        self._network = tf.function(
            partial(model.at_scale, scale=scale),
            input_signature=[tf.TensorSpec(self.shape, tf.float32)],
            autograph=False,
            jit_compile=False,
        )

    def arrays(self, lr: Tensor) -> dict[str, Tensor]:
        """Enlarge a batch of pictures `[b, h, w, c]`, or windows `[b, t, h, w, c]`, of one size.

        Args:
            lr: float32 about [0, 1], or uint8.

        Returns:
            `sr`: `[b, scale * h, scale * w, c]`, dtype of `lr`; integers are clipped and rounded, floats neither.
        """
        height, width = sides(lr)
        checks = [
            (tf.size(lr) > 0, f"{name_of(self.spec)} without pixels: a batch of shape ", tf.shape(lr)),
            self._within_limit(height, width),
        ]
        if lr.dtype.is_floating:
            finite = tf.reduce_all(tf.math.is_finite(lr))
            checks.append(
                (finite, "values that are no numbers (NaN or infinite) in a batch of ", tf.shape(lr))
            )
        lr = checked(lr, *checks)
        rows, columns = self._spans(lr)
        pictures = tf.shape(lr)[0]
        small = (rows.count * columns.count == 1) & (
            pictures <= self.bounds.tile**2 // tf.maximum(rows.length * columns.length, 1)
        )

        def together() -> Tensor:
            sr = self._network(to_float(self._padded(lr)))
            return from_float(sr[:, : height * self.scale, : width * self.scale], lr.dtype)

        def one_by_one() -> Tensor:
            made = tf.TensorSpec((None, None, self.spec.num_channels), lr.dtype)
            return tf.map_fn(self._picture, lr, parallel_iterations=1, fn_output_signature=made)

        return {"sr": tf.cond(small, together, one_by_one)}

    def files(self, lr_bytes: Tensor) -> dict[str, Tensor]:
        """Enlarge a batch of encoded pictures `[b]`, each of its own size, or of windows of encoded frames `[b, t]`.

        Args:
            lr_bytes: whole PNG or JPEG files.

        Returns:
            `sr_bytes`: PNG files, string `[b]`, of the channels and of the depth of the input.
        """
        one = self._window_file if self.spec.num_frames > 1 else self._file
        made = tf.TensorSpec((), tf.string)
        return {"sr_bytes": tf.map_fn(one, lr_bytes, parallel_iterations=1, fn_output_signature=made)}

    def encode(self, lr: Tensor) -> dict[str, Tensor]:
        """Compute all that depends on one frame alone, of frames `[n, h, w, c]`, float32."""
        height, width = sides(lr)
        multiple, most = self.spec.size_multiple, self.bounds.tile**2
        lr = checked(
            lr,
            (tf.size(lr) > 0, "frames without pixels: a batch of shape ", tf.shape(lr)),
            (
                (height % multiple == 0) & (width % multiple == 0),
                f"encode takes frames whose sides are multiples of {multiple}, not (height, width) ",
                tf.stack([height, width]),
            ),
            (
                height <= most // tf.maximum(width, 1),
                f"encode takes frames, or tiles of them, of at most {most} pixels, not (height, width) ",
                tf.stack([height, width]),
            ),
        )
        features: dict[str, Tensor] = self.model.encode(lr)
        return features

    def decode(self, window: dict[str, Tensor]) -> dict[str, Tensor]:
        """Enlarge the centre frame from `encode`'s tensors for t consecutive frames, each `[b, t, ...]`."""
        return {"sr": self.model.decode(window)}

    # One picture

    def _picture(self, pixels: Tensor) -> Tensor:
        """`[h, w, k]`, or a window `[t, h, w, k]`, with as many channels as the network, or one, in tiles.

        Returns `[scale * h, scale * w, k]`, dtype of `pixels`.
        """
        height, width = sides(pixels)
        rows, columns = self._spans(pixels)
        padded = self._padded(pixels)
        wanted, channels = self.spec.num_channels, tf.shape(pixels)[-1]
        scale = self.scale

        def kept(row: Tensor, column: Tensor) -> Tensor:
            down, right = rows.span(row), columns.span(column)
            tile = padded[..., down.start : down.stop, right.start : right.stop, :]
            batch = tf.repeat(to_float(tile), wanted // channels, axis=-1)[tf.newaxis]
            sr = self._network(tf.ensure_shape(batch, (1, *self.shape[1:])))[0]
            top, left = (down.inner_start - down.start) * scale, (right.inner_start - right.start) * scale
            bottom = (tf.minimum(down.inner_stop, height) - down.start) * scale
            end = (tf.minimum(right.inner_stop, width) - right.start) * scale
            sr = sr[top:bottom, left:end]
            mean = tf.cond(channels == wanted, lambda: sr, lambda: tf.reduce_mean(sr, axis=-1, keepdims=True))
            return from_float(mean, pixels.dtype)

        def band(row: Tensor) -> Tensor:
            # What lies beside each other is joined along the first axis, which alone may differ in length.
            turned = joined(
                lambda column: tf.transpose(kept(row, column), (1, 0, 2)), columns.count, pixels.dtype
            )
            return tf.transpose(turned, (1, 0, 2))

        sr = joined(band, rows.count, pixels.dtype)
        return tf.ensure_shape(sr, (None, None, pixels.shape[-1]))

    def _with_alpha(self, pixels: Tensor) -> Tensor:
        """`[h, w, k]` of any channels that a file can have, alpha apart, as `isr.predict.picture.enlarge`."""
        wanted, channels = self.spec.num_channels, tf.shape(pixels)[-1]
        has_alpha = ((channels == 2) | (channels == 4)) & (channels != wanted)
        colours = channels - tf.cast(has_alpha, tf.int32)
        fits = (colours == 1) | (colours == wanted)
        pixels = checked(pixels, (fits, f"a network of {wanted} channels takes no picture of ", channels))

        def apart() -> Tensor:
            alpha = pixels[..., -1:]
            sr = self._picture(fill_transparent(pixels))
            even = tf.reduce_min(alpha) == tf.reduce_max(alpha)
            shape = tf.concat([tf.shape(sr)[:2], [1]], 0)
            flat = lambda: tf.fill(shape, alpha[0, 0, 0])  # noqa: E731
            return tf.concat([sr, tf.cond(even, flat, lambda: self._picture(alpha))], axis=-1)

        return tf.cond(has_alpha, apart, lambda: self._picture(pixels))

    def _file(self, encoded: Tensor) -> Tensor:
        encoded, deep = self._examined(encoded)

        def made(read: Callable[[Tensor], Tensor]) -> Tensor:
            return tf.io.encode_png(self._with_alpha(read(encoded)), compression=4)

        return tf.cond(deep, lambda: made(read_deep), lambda: made(read_shallow))

    def _window_file(self, encoded: Tensor) -> Tensor:
        """As `_file`, for t frames that are alike; without alpha."""
        first, deep = self._examined(encoded[0])
        rest = tf.map_fn(lambda one: self._examined(one)[0], encoded[1:])
        encoded = tf.concat([first[tf.newaxis], rest], 0)

        def made(read: Callable[[Tensor], Tensor], dtype: Any) -> Tensor:
            frame = tf.TensorSpec((None, None, None), dtype)
            frames = tf.map_fn(read, encoded, parallel_iterations=1, fn_output_signature=frame)
            channels, wanted = tf.shape(frames)[-1], self.spec.num_channels
            fits = (channels == 1) | (channels == wanted)
            frames = checked(frames, (fits, f"a network of {wanted} channels takes no frames of ", channels))
            return tf.io.encode_png(self._picture(frames), compression=4)

        return tf.cond(deep, lambda: made(read_deep, tf.uint16), lambda: made(read_shallow, tf.uint8))

    def _examined(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """A file that is a picture within the limit, and whether it has 16 bits; nothing is decoded yet."""
        size = tf.strings.length(encoded)
        png = (tf.strings.substr(encoded, 0, len(PNG)) == PNG) & (size >= PNG_HEAD)
        jpeg = tf.strings.substr(encoded, 0, len(JPEG)) == JPEG
        encoded = checked(encoded, (png | jpeg, "neither a PNG nor a JPEG file: bytes ", size))
        height, width, deep = tf.cond(png, lambda: png_header(encoded), lambda: jpeg_header(encoded))
        some = (height > 0) & (width > 0)
        found = tf.stack([height, width])
        encoded = checked(
            encoded,
            (some, "a picture without pixels: (height, width) ", found),
            self._within_limit(height, width),
        )
        return encoded, deep

    # Geometry

    def _within_limit(self, height: Tensor, width: Tensor) -> tuple[Tensor, str, Tensor]:
        most = self.bounds.max_pixels
        fine = tf.cast(height, tf.int64) <= most // tf.maximum(tf.cast(width, tf.int64), 1)
        message = f"this server takes pictures of at most {most} pixels, not (height, width) "
        return fine, message, tf.stack([height, width])

    def _padded(self, pixels: Tensor) -> Tensor:
        """`[..., h, w, c]` mirrored at its ends to sides that are multiples of `size_multiple`."""
        if self.spec.size_multiple == 1:
            return pixels
        for axis, side in zip((-3, -2), sides(pixels), strict=True):
            # NumPy's "symmetric", which repeats where the picture is smaller than the padding.
            place = tf.range(round_up(side, self.spec.size_multiple)) % (2 * side)
            place = tf.minimum(place, 2 * side - 1 - place)
            pixels = tf.gather(pixels, place, axis=len(pixels.shape) + axis)
        return pixels

    def _spans(self, pixels: Tensor) -> tuple[Spans, Spans]:
        rows, columns = (Spans.of(side, self.spec.size_multiple, self.bounds) for side in sides(pixels))
        return rows, columns


class Span(NamedTuple):
    """As `isr.tiles.Span`, of tensors."""

    start: Tensor
    stop: Tensor
    inner_start: Tensor
    inner_stop: Tensor


class Spans(NamedTuple):
    """The `count` tiles of `tile` pixels along one side: `isr.tiles.spans` and `fitted` as tensors."""

    length: Tensor
    tile: Tensor
    overlap: int
    count: Tensor

    @classmethod
    def of(cls, side: Tensor, multiple: int, bounds: Bounds) -> Spans:
        length, overlap = round_up(side, multiple), bounds.overlap
        inside = tf.maximum(length - 2 * overlap, 1)
        fewest = divided_up(inside, bounds.tile - 2 * overlap)
        fitted = round_up(divided_up(inside, fewest) + 2 * overlap, math.lcm(SIDE_STEP, multiple))
        one = length <= bounds.tile
        tile = tf.where(one, length, tf.minimum(bounds.tile, fitted))
        count = tf.where(one, 1, divided_up(inside, tf.maximum(tile - 2 * overlap, 1)))
        return cls(length, tile, overlap, count)

    def span(self, index: Tensor) -> Span:
        step = self.tile - 2 * self.overlap

        def start_of(index: Tensor) -> Tensor:
            return tf.minimum(index * step, self.length - self.tile)

        start = start_of(index)
        inner_start = tf.where(index == 0, 0, start_of(index - 1) + self.tile - self.overlap)
        inner_stop = tf.where(index == self.count - 1, self.length, start + self.tile - self.overlap)
        return Span(start, start + self.tile, inner_start, inner_stop)


def joined(piece: Callable[[Tensor], Tensor], count: Tensor, dtype: Any) -> Tensor:
    """Make pieces `[any, m, n]` one after another, and join them along their first axis."""
    pieces = tf.TensorArray(dtype, count, infer_shape=False, element_shape=(None, None, None))
    _, pieces = tf.while_loop(
        lambda index, _: index < count,
        lambda index, pieces: (index + 1, pieces.write(index, piece(index))),
        (tf.constant(0), pieces),
        # More would hold the features of several tiles.
        parallel_iterations=1,
    )
    return pieces.concat()


def fill_transparent(pixels: Tensor) -> Tensor:
    """Give `isr.predict.picture.fill_transparent` of integers `[h, w, 2]` or `[h, w, 4]`."""
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    seen = alpha > 0

    def filled() -> Tensor:
        surroundings = pyramid_fill(tf.cast(colour, tf.float32), tf.cast(seen, tf.float32))
        return tf.where(seen, colour, tf.cast(tf.floor(surroundings + 0.5), pixels.dtype))

    return tf.cond(tf.reduce_all(seen) | ~tf.reduce_any(seen), lambda: colour, filled)


# Functions of their own, so that their graphs stand in the file once, and are traced once for all levels.
_graph = partial(tf.function, autograph=False, jit_compile=False)
_PLANES = tf.TensorSpec((None, None, None), tf.float32)


@_graph(input_signature=[_PLANES, _PLANES])
def pyramid_fill(colour: Tensor, weight: Tensor) -> Tensor:
    """Give every pixel of weight 0 the mean of the smallest block around it that knows one."""
    levels = [(colour, weight)]
    for _ in range(FILL_LEVELS):
        colour, weight = levels[-1]
        total, count = halved(colour * weight), halved(weight)
        levels.append((total / tf.maximum(count, 1e-6), tf.cast(count > 0, tf.float32)))
    filled, _ = levels.pop()
    for colour, weight in reversed(levels):
        filled = laid_under(colour, weight, filled)
    return filled


@_graph(input_signature=[_PLANES])
def halved(planes: Tensor) -> Tensor:
    """Sum over blocks of 2x2; beyond the end lies 0."""
    height, width = sides(planes)
    padded = tf.pad(planes, [[0, height % 2], [0, width % 2], [0, 0]])
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]


@_graph(input_signature=[_PLANES, _PLANES, _PLANES])
def laid_under(colour: Tensor, weight: Tensor, coarse: Tensor) -> Tensor:
    """Give the colours of weight, and elsewhere those of a picture of half the size."""
    height, width = sides(colour)
    back = tf.repeat(tf.repeat(coarse, 2, axis=0), 2, axis=1)[:height, :width]
    return tf.where(weight > 0, colour, back)


def png_header(encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height, width, and whether samples have 16 bits."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, 16, 9), tf.uint8), tf.int64)
    width, height = (tf.reduce_sum(data[at : at + 4] * [1 << 24, 1 << 16, 1 << 8, 1]) for at in (0, 4))
    return height, width, data[8] == 16


def jpeg_header(encoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shape = tf.image.extract_jpeg_shape(encoded, tf.int64)
    return shape[0], shape[1], tf.constant(False)


def read_deep(encoded: Tensor) -> Tensor:
    """Read a PNG of 16 bits, uint16 `[h, w, c]`, with the channels it has, upright."""
    return upright(
        tf.io.decode_png(encoded, channels=0, dtype=tf.uint16), orientation(encoded, tf.constant(True))
    )


def read_shallow(encoded: Tensor) -> Tensor:
    """Read a PNG of up to 8 bits or a JPEG, uint8 `[h, w, c]`, upright, with the channels it has; CMYK becomes RGB."""

    def jpeg(channels: int) -> Tensor:
        # The accurate transform is that of the reader of `isr.io`.
        pixels = tf.io.decode_jpeg(encoded, channels, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(pixels, (None, None, None))

    png = tf.strings.substr(encoded, 0, len(PNG)) == PNG
    pixels = tf.cond(
        png,
        lambda: tf.io.decode_png(encoded, channels=0),
        lambda: tf.cond(tf.image.extract_jpeg_shape(encoded)[2] == 1, lambda: jpeg(1), lambda: jpeg(3)),
    )
    return upright(pixels, orientation(encoded, png))


def checked(value: Tensor, *checks: tuple[Tensor, str, Tensor]) -> Tensor:
    """Give `value` once all conditions hold; else an InvalidArgumentError with the first one's words and finding."""
    for fine, message, found in checks:
        said = tf.strings.join([message, tf.strings.format("{}", found)])
        with tf.control_dependencies([tf.debugging.Assert(fine, [said])]):
            value = tf.identity(value)
    return value


def name_of(spec: ModelSpec) -> str:
    """Tell what the network takes, for messages."""
    return "a picture" if spec.num_frames == 1 else "a window of frames"


def to_float(pixels: Tensor) -> Tensor:
    """Compute `isr.levels.to_float`."""
    values = tf.cast(pixels, tf.float32)
    return values / pixels.dtype.max if pixels.dtype.is_integer else values


def from_float(pixels: Tensor, dtype: Any) -> Tensor:
    """Compute `isr.levels.from_float`."""
    if not dtype.is_integer:
        return tf.cast(pixels, dtype)
    return tf.cast(tf.floor(tf.clip_by_value(pixels, 0.0, 1.0) * dtype.max + 0.5), dtype)


def sides(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Height and width of `[..., h, w, c]`."""
    shape = tf.shape(pixels)
    return shape[-3], shape[-2]


def divided_up(number: Tensor, by: Any) -> Tensor:
    return -(-number // by)


def round_up(number: Tensor, multiple: int) -> Tensor:
    return number + -number % multiple
