"""Pictures of every format, depth and kind, read and written; damaged ones refused in one line.

What the reader under test reads here, other software wrote (the few lines of PNG and TIFF below, Pillow, or
imagecodecs where Pillow is the reader), and what it writes, other software reads.
"""

import io
import os
import struct
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from children import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, JpegImagePlugin, features

from isr.errors import ISRError, MachineError, RequestError
from isr.io import pictures
from isr.io.pictures import Metadata, Picture, PictureInfo, png

HAS_AVIF = features.check("avif")
SUFFIXES = [".png", ".jpg", ".webp", ".tif", ".bmp"] + ([".avif"] if HAS_AVIF else [])
WITH_METADATA = [suffix for suffix in SUFFIXES if suffix != ".bmp"]
needs_avif = pytest.mark.skipif(not HAS_AVIF, reason="Pillow without AVIF")

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rating>5</rating></x:xmpmeta>'


# ---------------------------------------------------------------------------- PNG and TIFF written by hand


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_file(
    samples: np.ndarray, depth: int, colour: int, *chunks: tuple[bytes, bytes], interlaced: bool = False
) -> bytes:
    """A PNG of `samples` [h, w, samples a pixel] without filters, and with the given chunks before IDAT."""
    height, width = samples.shape[:2]

    def rows(part: np.ndarray) -> bytes:
        flat = part.reshape(part.shape[0], -1)
        if depth == 16:
            return b"".join(b"\0" + row.astype(">u2").tobytes() for row in flat)
        bits = (flat[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        return b"".join(b"\0" + np.packbits(row.astype(np.uint8).reshape(-1)).tobytes() for row in bits)

    adam7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in adam7] if interlaced else [samples]
    data = b"".join(rows(part) for part in parts if part.size)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = b"".join(
        png_chunk(*chunk) for chunk in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)))
    )
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        payload = data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length)[0] == zlib.crc32(kind + payload)
        yield kind, payload
        position += 12 + length


def decoded_png(data: bytes) -> np.ndarray:
    """The samples [h, w, c] of a PNG of 8 or 16 bits without palette, by the letter of the specification."""
    chunks = list(png_chunks(data))
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[0][1])
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    stream = zlib.decompress(b"".join(payload for kind, payload in chunks if kind == b"IDAT"))
    step, stride = channels * depth // 8, width * channels * depth // 8
    above = bytearray(stride)
    rows = []
    for y in range(height):
        filtered, row = (
            stream[y * (stride + 1)],
            bytearray(stream[y * (stride + 1) + 1 : (y + 1) * (stride + 1)]),
        )
        for i in range(stride) if filtered else ():
            a = row[i - step] if i >= step else 0
            b, c = above[i], above[i - step] if i >= step else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, nearest)[filtered]) & 255
        rows.append(bytes(row))
        above = row
    samples = np.frombuffer(b"".join(rows), ">u2" if depth == 16 else np.uint8)
    return samples.reshape(height, width, channels)


SHORT, LONG, RATIONAL = 3, 4, 5


def tiff_file(
    pixels: np.ndarray | bytes, size: tuple[int, int], order: str = "<", **tags: tuple[int, list[int] | bytes]
) -> bytes:
    """A TIFF of one uncompressed strip; `tags` are t258=(type, values) and so on."""
    width, height = size
    strip = pixels if isinstance(pixels, bytes) else pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    entries = {
        "t256": (LONG, [width]),
        "t257": (LONG, [height]),
        "t259": (SHORT, [1]),
        "t273": (LONG, [8]),
        "t278": (LONG, [height]),
        "t279": (LONG, [len(strip)]),
    } | tags
    place = 8 + len(strip) + len(strip) % 2
    values_at = place + 2 + 12 * len(entries) + 4
    table, values = b"", b""
    for name, (kind, given_values) in sorted(entries.items(), key=lambda entry: int(entry[0][1:])):
        if isinstance(given_values, bytes):
            packed, count = given_values, len(given_values)
        else:
            packed = struct.pack(f"{order}{len(given_values)}{'H' if kind == SHORT else 'I'}", *given_values)
            count = len(given_values) // (2 if kind == RATIONAL else 1)
        if len(packed) > 4:
            values, packed = (
                values + packed + b"\0" * (len(packed) % 2),
                struct.pack(order + "I", values_at + len(values)),
            )
        table += struct.pack(order + "HHI", int(name[1:]), kind, count) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, place)
    return (
        head
        + strip
        + b"\0" * (len(strip) % 2)
        + struct.pack(order + "H", len(entries))
        + table
        + bytes(4)
        + values
    )


def tiff_of(pixels: np.ndarray, order: str = "<", **tags: tuple[int, list[int] | bytes]) -> bytes:
    """A TIFF of [h, w, c], unsigned or float, gray or RGB, alpha not multiplied in."""
    height, width, channels = pixels.shape
    described: dict[str, Any] = {
        "t258": (SHORT, [pixels.itemsize * 8] * channels),
        "t262": (SHORT, [2 if channels >= 3 else 1]),
        "t277": (SHORT, [channels]),
        "t339": (SHORT, [3 if pixels.dtype.kind == "f" else 1] * channels),
    }
    if channels in (2, 4):
        described["t338"] = (SHORT, [2])
    return tiff_file(pixels, (width, height), order, **(described | tags))


def decoded_tiff(data: bytes) -> np.ndarray:
    """The samples [h, w, c] of a little-endian TIFF of strips, deflated or not, perhaps with a predictor."""
    assert data[:4] == b"II*\0"
    start = struct.unpack_from("<I", data, 4)[0]
    tags: dict[int, list[int]] = {}
    for index in range(struct.unpack_from("<H", data, start)[0]):
        tag, kind, count, field = struct.unpack_from("<HHI4s", data, start + 2 + 12 * index)
        letter = {3: "H", 4: "I"}.get(kind)
        if letter:
            length = struct.calcsize(f"<{count}{letter}")
            raw = field[:length] if length <= 4 else data[struct.unpack("<I", field)[0] :][:length]
            tags[tag] = list(struct.unpack(f"<{count}{letter}", raw))
    strips = [data[at : at + count] for at, count in zip(tags[273], tags[279], strict=True)]
    if tags[259] != [1]:
        assert tags[259] == [8]
        strips = [zlib.decompress(strip) for strip in strips]
    kind = "f" if tags.get(339, [1])[0] == 3 else "u"
    samples = np.frombuffer(b"".join(strips), f"<{kind}{tags[258][0] // 8}")
    pixels = samples.reshape(tags[257][0], tags[256][0], tags.get(277, [1])[0])
    if tags.get(317, [1]) == [2]:
        pixels = np.cumsum(pixels, axis=1, dtype=np.uint64).astype(pixels.dtype)
    return pixels


def all_levels(channels: int) -> np.ndarray:
    """[256, 256, channels] with each of the 65,536 levels once in every channel, in different orders."""
    rng = np.random.default_rng(7)
    return (
        np.stack([rng.permutation(65536) for _ in range(channels)], -1)
        .astype(np.uint16)
        .reshape(256, 256, channels)
    )


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def smooth(height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = [128 + 100 * np.sin(x / 9 + i) * np.cos(y / 11 - i) for i in range(channels)]
    return np.stack(planes, -1).astype(np.uint8)


def check_same_as_probe(path: Path, picture: Picture) -> None:
    height, width, channels = picture.pixels.shape
    assert pictures.probe(path) == PictureInfo(
        width, height, picture.format, channels, picture.pixels.dtype.name
    )


def refusal(
    path: Path, function: Callable[..., Any], *args: Any, kind: type[ISRError] = RequestError, **kwargs: Any
) -> str:
    """What `function` says, in one line that begins with the path, when it refuses."""
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and "\n" not in said and len(said) < 400 + len(str(path))
    return said


# ------------------------------------------------------------------------------------------- 65,536 levels


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_all_levels(tmp_path: Path, channels: int) -> None:
    levels = all_levels(channels)
    source = saved(tmp_path / "in.png", png_file(levels, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels]))
    picture = pictures.read(source)
    assert picture.pixels.dtype == np.uint16 and picture.format == "PNG"
    np.testing.assert_array_equal(picture.pixels, levels)
    check_same_as_probe(source, picture)
    pictures.write(tmp_path / "out.png", picture)
    np.testing.assert_array_equal(decoded_png((tmp_path / "out.png").read_bytes()), levels)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_tiff_keeps_all_levels(tmp_path: Path, channels: int, order: str) -> None:
    levels = all_levels(channels)
    source = saved(tmp_path / "in.tif", tiff_of(levels, order))
    picture = pictures.read(source)
    assert picture.pixels.dtype == np.uint16 and picture.pixels.dtype.isnative and picture.format == "TIFF"
    np.testing.assert_array_equal(picture.pixels, levels)
    check_same_as_probe(source, picture)
    pictures.write(tmp_path / "out.tif", picture)
    np.testing.assert_array_equal(decoded_tiff((tmp_path / "out.tif").read_bytes()), levels)


def test_float_tiff_is_kept_as_it_is(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0.5, 1, (9, 7, 4)).astype(np.float32)
    source = saved(tmp_path / "in.tif", tiff_of(values))
    picture = pictures.read(source)
    np.testing.assert_array_equal(picture.pixels, values)
    check_same_as_probe(source, picture)
    pictures.write(tmp_path / "out.tiff", picture)
    np.testing.assert_array_equal(decoded_tiff((tmp_path / "out.tiff").read_bytes()), values)
    half = saved(tmp_path / "half.tif", tiff_of(values.astype(np.float16)))
    np.testing.assert_array_equal(pictures.read(half).pixels, values.astype(np.float16).astype(np.float32))


def test_16_bits_become_8_with_rounding(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    pictures.write(tmp_path / "a.bmp", Picture(levels))
    rounded = np.round(levels[..., 0] / 257).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.bmp")), rounded)
    # A JPEG of a flat area holds its level exactly at quality 100; 33,000 / 257 = 128.4, its high byte 128;
    # 32,895 / 257 = 127.996, its high byte 128; 33,151 / 257 = 128.99, its high byte 129 only when rounded.
    pictures.write(tmp_path / "a.jpg", Picture(np.full((16, 16, 3), 33_151, np.uint16)), quality=100)
    assert np.unique(np.asarray(Image.open(tmp_path / "a.jpg"))).tolist() == [129]


def test_float_goes_to_16_bits_in_png_and_to_8_in_the_others(tmp_path: Path) -> None:
    values = np.array([[[-1.0], [0.0], [0.25], [1.0], [7.0], [np.nan]]], np.float32)
    pictures.write(tmp_path / "a.png", Picture(values))
    assert decoded_png((tmp_path / "a.png").read_bytes()).ravel().tolist() == [0, 0, 16384, 65535, 65535, 0]
    pictures.write(tmp_path / "a.bmp", Picture(values))
    assert np.asarray(Image.open(tmp_path / "a.bmp")).ravel().tolist() == [0, 0, 64, 255, 255, 0]


# ------------------------------------------------------------------------------------- PNG, in parts of rows


@settings(max_examples=30)
@given(
    st.integers(1, 23),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(1, 300),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32 - 1),
)
def test_a_png_holds_its_rows_whatever_the_parts_and_cores(
    height: int, width: int, channels: int, dtype: type[Any], bytes_at_a_time: int, cores: int, seed: int
) -> None:
    top = np.iinfo(dtype).max
    # Flat, steep and noisy places, so that each neighbour is the likeliest somewhere.
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 0, 1, -3, top // 2], (height, width, channels))
    pixels = (steps.cumsum(0) + steps.cumsum(1)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder, "a.png")
        pictures.write(path, Picture(pixels))
        whole = path.read_bytes()
        patch.setattr(png, "_AT_A_TIME", bytes_at_a_time)
        patch.setattr(os, "cpu_count", lambda: cores)
        pictures.write(path, Picture(pixels, Metadata(resolution=(72.0, 72.0))))
        data = path.read_bytes()
        patch.setattr(os, "cpu_count", lambda: 2)
        pictures.write(path, Picture(pixels, Metadata(resolution=(72.0, 72.0))))
        assert path.read_bytes() == data
    for content in (whole, data):
        np.testing.assert_array_equal(decoded_png(content), pixels)
        np.testing.assert_array_equal(imagecodecs.png_decode(content).reshape(pixels.shape), pixels)
        if dtype == np.uint8:
            np.testing.assert_array_equal(
                np.asarray(Image.open(io.BytesIO(content))).reshape(pixels.shape), pixels
            )


# -------------------------------------------------------------------------------------------- kinds of PNG


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_gray_png_of_every_depth_with_and_without_a_transparent_level(
    tmp_path: Path, depth: int, interlaced: bool
) -> None:
    most = 2**depth - 1
    samples = np.random.default_rng(depth).integers(0, most + 1, (11, 13, 1))
    white = 65535 if depth == 16 else 255
    gray = samples * (white // most)
    path = saved(tmp_path / "a.png", png_file(samples, depth, 0, interlaced=interlaced))
    picture = pictures.read(path)
    np.testing.assert_array_equal(picture.pixels, gray)
    check_same_as_probe(path, picture)
    key = int(samples[0, 0, 0])
    transparent = (b"tRNS", struct.pack(">H", key))
    path = saved(tmp_path / "b.png", png_file(samples, depth, 0, transparent, interlaced=interlaced))
    picture = pictures.read(path)
    np.testing.assert_array_equal(picture.pixels, np.concatenate([gray, (samples != key) * white], -1))
    check_same_as_probe(path, picture)


@pytest.mark.parametrize("depth", [8, 16])
def test_rgb_png_with_a_transparent_colour(tmp_path: Path, depth: int) -> None:
    samples = np.random.default_rng(0).integers(0, 2**depth, (5, 6, 3))
    samples[2, 3] = samples[0, 0]
    key = (b"tRNS", struct.pack(">HHH", *samples[0, 0]))
    path = saved(tmp_path / "a.png", png_file(samples, depth, 2, key))
    picture = pictures.read(path)
    np.testing.assert_array_equal(picture.pixels[..., :3], samples)
    assert np.argwhere(picture.pixels[..., 3] == 0).tolist() == [[0, 0], [2, 3]]
    check_same_as_probe(path, picture)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_png_with_and_without_transparency(tmp_path: Path, depth: int) -> None:
    rng = np.random.default_rng(depth)
    palette = rng.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    samples = rng.integers(0, 2**depth, (7, 9, 1))
    colours = (b"PLTE", palette.tobytes())
    path = saved(tmp_path / "a.png", png_file(samples, depth, 3, colours))
    picture = pictures.read(path)
    np.testing.assert_array_equal(picture.pixels, palette[samples[..., 0]])
    check_same_as_probe(path, picture)
    path = saved(tmp_path / "b.png", png_file(samples, depth, 3, colours, (b"tRNS", bytes([0, 77]))))
    picture = pictures.read(path)
    alpha = np.array([0, 77] + [255] * (2**depth - 2))
    np.testing.assert_array_equal(picture.pixels[..., 3], alpha[samples[..., 0]])
    check_same_as_probe(path, picture)


def test_png_says_nothing_of_its_ancillary_chunks_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = png_file(smooth(), 8, 2, (b"iCCP", b"x\0\0" + zlib.compress(b"no profile")), (b"gAMA", b"\0"))
    assert pictures.read(saved(tmp_path / "a.png", odd)).pixels.shape == (24, 32, 3)
    assert capfd.readouterr() == ("", "")


def test_png_with_a_damaged_chunk(tmp_path: Path) -> None:
    damaged = png_file(smooth(), 8, 2, (b"eXIf", picture_exif("<")))
    place = damaged.index(b"eXIf") + 10
    damaged = damaged[:place] + b"?" + damaged[place + 1 :]
    picture = pictures.read(saved(tmp_path / "a.png", damaged))  # what is not needed is left out
    assert picture.metadata.exif is None
    np.testing.assert_array_equal(picture.pixels, smooth())
    damaged = png_file(np.zeros((2, 2, 1), int), 8, 3, (b"PLTE", b"\1\2\3")).replace(b"\1\2\3", b"\1\2\4")
    path = saved(tmp_path / "b.png", damaged)
    for function in (pictures.read, pictures.probe):
        assert "PLTE" in refusal(path, function, path)


# ------------------------------------------------------------------------------------------- kinds of TIFF


def gray_tags(bits: int, photometric: int = 1, **more: Any) -> dict[str, Any]:
    return {"t258": (SHORT, [bits]), "t262": (SHORT, [photometric]), "t277": (SHORT, [1])} | more


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_gray_tiff_of_every_depth_black_or_white_is_zero(tmp_path: Path, bits: int, photometric: int) -> None:
    samples = np.random.default_rng(bits).integers(0, 2**bits, (6, 16))
    unpacked = ((samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8).reshape(6, -1)
    strip: Any = samples.astype(np.uint16) if bits == 16 else np.packbits(unpacked, axis=1).tobytes()
    path = saved(tmp_path / "a.tif", tiff_file(strip, (16, 6), ">", **gray_tags(bits, photometric)))
    picture = pictures.read(path)
    shown = samples if photometric else 2**bits - 1 - samples
    white = 255 if bits <= 8 else 65535
    np.testing.assert_array_equal(picture.pixels[..., 0], np.round(shown * (white / (2**bits - 1))))
    assert picture.pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    check_same_as_probe(path, picture)


@pytest.mark.parametrize("stretch", [257, 1], ids=["16-bit", "8-bit by mistake"])
def test_palette_tiff(tmp_path: Path, stretch: int) -> None:
    rng = np.random.default_rng(1)
    palette, indices = rng.integers(0, 256, (256, 3)), rng.integers(0, 256, (5, 7), dtype=np.uint8)
    colours = (SHORT, (palette.T * stretch).ravel().tolist())
    path = saved(tmp_path / "a.tif", tiff_file(indices, (7, 5), **gray_tags(8, 3, t320=colours)))
    picture = pictures.read(path)
    np.testing.assert_array_equal(picture.pixels, palette[indices])
    check_same_as_probe(path, picture)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_planar_tiff(tmp_path: Path, channels: int) -> None:
    pixels = all_levels(channels)[:5, :7]
    planes = [np.ascontiguousarray(pixels[..., c]).astype("<u2").tobytes() for c in range(channels)]
    data = tiff_of(
        pixels,
        t284=(SHORT, [2]),
        t273=(LONG, [8 + 70 * c for c in range(channels)]),
        t279=(LONG, [70] * channels),
    )
    data = data[:8] + b"".join(planes) + data[8 + pixels.nbytes :]
    np.testing.assert_array_equal(pictures.read(saved(tmp_path / "a.tif", data)).pixels, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_premultiplied_alpha_of_tiff_is_divided_out(tmp_path: Path, dtype: Any) -> None:
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    rng = np.random.default_rng(3)
    alpha = rng.integers(1, 5, (6, 8, 1)) / 4
    alpha[0, 0] = 0
    colours = rng.integers(0, 5, (6, 8, 3)) / 4
    stored = np.concatenate([colours * alpha, alpha], -1) * white
    stored = stored.astype(dtype) if dtype == np.float32 else np.round(stored).astype(dtype)
    pixels = pictures.read(saved(tmp_path / "a.tif", tiff_of(stored, t338=(SHORT, [1])))).pixels / white
    np.testing.assert_allclose(pixels[..., 3:], alpha, atol=0.5 / white + 1e-6)
    visible = np.broadcast_to(alpha > 0, colours.shape)
    np.testing.assert_allclose(
        pixels[..., :3][visible], colours[visible], atol=3 / max(white, 1e6 * (white == 1))
    )
    assert (pixels[0, 0] == 0).all()


def test_extra_sample_of_unknown_meaning_stays_as_alpha(tmp_path: Path) -> None:
    pixels = smooth(channels=4)
    path = saved(tmp_path / "a.tif", tiff_of(pixels, t338=(SHORT, [0])))
    np.testing.assert_array_equal(pictures.read(path).pixels, pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"])
def test_compressed_tiff_as_libtiff_writes_it(tmp_path: Path, compression: str) -> None:
    pixels = smooth(40, 50)
    try:
        Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    except OSError:
        pytest.skip(f"this libtiff has no {compression}")
    found = pictures.read(tmp_path / "a.tif").pixels
    np.testing.assert_allclose(found.astype(int), pixels, atol=12 if compression == "jpeg" else 0)


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"rowsperstrip": 3},
        {"tile": (16, 16), "compression": "lzw", "predictor": True},
    ],
)
def test_tiles_strips_and_bigtiff(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = all_levels(3)[:37, :45]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **options)
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.tif").pixels, pixels)
    check_same_as_probe(tmp_path / "a.tif", pictures.read(tmp_path / "a.tif"))


def test_tiff_of_several_pages_is_refused_but_thumbnails_are_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(smooth(8, 8), photometric="rgb", subfiletype=1)
        writer.write(smooth(), photometric="rgb")
        writer.write(smooth(12, 16), photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(pictures.read(path).pixels, smooth())
    pages = [Image.fromarray(smooth()) for _ in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    for function in (pictures.read, pictures.probe):
        assert "3 pages" in refusal(path, function, path)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "int32", "float64", "complex64"])
def test_tiff_of_other_numbers_is_refused_by_name(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6), dtype))
    for function in (pictures.read, pictures.probe):
        said = refusal(tmp_path / "a.tif", function, tmp_path / "a.tif")
        assert "convert it to 8 or 16 bits" in said


def test_tiff_of_other_colours_or_too_many_samples_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "lab.tif", tiff_of(smooth(), t262=(SHORT, [8])))
    assert "CIELAB" in refusal(path, pictures.read, path)
    five = np.zeros((4, 5, 5), np.uint8)
    path = saved(tmp_path / "five.tif", tiff_of(five, t338=(SHORT, [0, 0])))
    assert "5 samples" in refusal(path, pictures.read, path)


# ----------------------------------------------------------------------------------- JPEG, WebP, BMP, AVIF


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(tmp_path: Path, channels: int) -> None:
    pixels = smooth(channels=channels)
    data = imagecodecs.jpeg8_encode(pixels[..., 0] if channels == 1 else pixels, level=98)
    path = saved(tmp_path / "a.jpg", bytes(data))
    picture = pictures.read(path)
    assert picture.format == "JPEG" and picture.pixels.shape == pixels.shape
    np.testing.assert_allclose(picture.pixels.astype(int), pixels, atol=8)
    check_same_as_probe(path, picture)


def test_jpeg_with_a_second_picture_behind_it_is_a_picture(tmp_path: Path) -> None:
    pages = [Image.fromarray(smooth()), Image.fromarray(smooth(12, 16))]
    pages[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pages[1:])
    assert pictures.read(tmp_path / "a.jpg").pixels.shape == (24, 32, 3)
    assert pictures.read(tmp_path / "a.jpg").format == "JPEG"


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_webp(tmp_path: Path, channels: int, lossless: bool) -> None:
    pixels = smooth(channels=channels)
    Image.fromarray(pixels).save(tmp_path / "a.webp", lossless=lossless, exact=True, quality=95)
    picture = pictures.read(tmp_path / "a.webp")
    assert picture.format == "WEBP" and picture.pixels.shape == pixels.shape
    np.testing.assert_allclose(picture.pixels.astype(int), pixels, atol=0 if lossless else 25)
    check_same_as_probe(tmp_path / "a.webp", picture)


@needs_avif
@pytest.mark.parametrize("channels", [3, 4])
def test_avif(tmp_path: Path, channels: int) -> None:
    pixels = smooth(channels=channels)
    path = saved(tmp_path / "a.avif", bytes(imagecodecs.avif_encode(pixels, level=95)))
    picture = pictures.read(path)
    assert picture.format == "AVIF" and picture.pixels.shape == pixels.shape
    np.testing.assert_allclose(picture.pixels.astype(int), pixels, atol=12)
    check_same_as_probe(path, picture)


def bmp_file(rows: bytes, width: int, height: int, bits: int, palette: bytes = b"") -> bytes:
    start = 54 + len(palette)
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(rows), 0, 0, start)
        + struct.pack(
            "<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(rows), 11811, 5906, len(palette) // 4, 0
        )
        + palette
        + rows
    )


def test_bmp_colour_palette_and_1_bit(tmp_path: Path) -> None:
    bgr = bytes([1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0])  # 2x2, the lower row first
    path = saved(tmp_path / "a.bmp", bmp_file(bgr, 2, 2, 24))
    picture = pictures.read(path)
    assert picture.pixels.tolist() == [[[9, 8, 7], [12, 11, 10]], [[3, 2, 1], [6, 5, 4]]]
    assert picture.format == "BMP"
    assert picture.metadata.resolution == pytest.approx((300, 150), abs=0.02)
    check_same_as_probe(path, picture)
    palette = bytes([10, 20, 30, 0, 40, 50, 60, 0])
    path = saved(tmp_path / "b.bmp", bmp_file(bytes([0b10100000, 0, 0, 0]), 3, 1, 1, palette))
    assert pictures.read(path).pixels.tolist() == [[[60, 50, 40], [30, 20, 10], [60, 50, 40]]]
    check_same_as_probe(path, pictures.read(path))
    path = saved(
        tmp_path / "c.bmp", bmp_file(bytes([0b10100000, 0, 0, 0]), 3, 1, 1, bytes([0] * 4 + [255] * 3 + [0]))
    )
    assert pictures.read(path).pixels.tolist() == [[[255], [0], [255]]]
    check_same_as_probe(path, pictures.read(path))


def test_what_a_file_is_its_bytes_say_not_its_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", png_file(smooth(), 8, 2))
    assert pictures.read(path).format == "PNG"


# ------------------------------------------------------------------------------------ colours and profiles


def icc_profile(space: bytes, device: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile (version 2) of the device class and colour space."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content
    pcs = b"Lab " if b"A2B0" in tags else b"XYZ "
    head = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, device, space, pcs)
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)  # the illuminant D50
    return head.ljust(128, b"\0") + table + body


WHITE = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
NAME = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
LINEAR_GRAY = icc_profile(
    b"GRAY",
    b"mntr",
    {b"desc": NAME, b"wtpt": WHITE, b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, 256)},
)


def swapped_profile() -> bytes:
    """sRGB with the red and green primaries exchanged, and under another name."""
    swapped = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def cmyk_profile() -> bytes:
    """A printer whose cyan ink is black and whose other inks cannot be seen: L* = 100 (1 - C)."""
    ramp = bytes(range(256))
    white, black = bytes([255, 128, 128]), bytes([0, 128, 128])
    grid = white * 8 + black * 8  # cyan varies slowest
    table = (
        b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    )
    return icc_profile(
        b"CMYK", b"prtr", {b"desc": NAME, b"wtpt": WHITE, b"A2B0": table + ramp * 4 + grid + ramp * 3}
    )


def cmyk_pixels() -> np.ndarray:
    return np.repeat(
        np.repeat(
            np.array([[[0, 0, 0, 0], [255, 0, 0, 0]], [[0, 255, 0, 0], [0, 0, 0, 255]]], np.uint8), 16, 0
        ),
        16,
        1,
    )


def check_corners(pixels: np.ndarray, profile: bool) -> None:
    plain = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [0, 0, 0]]
    through_profile = [[255, 255, 255], [0, 0, 0], [255, 255, 255], [255, 255, 255]]
    found = [pixels[y, x] for y in (8, 24) for x in (8, 24)]
    np.testing.assert_allclose(found, through_profile if profile else plain, atol=6)


@pytest.mark.parametrize("adobe", [True, False])
@pytest.mark.parametrize("profile", [True, False])
def test_cmyk_jpeg(tmp_path: Path, profile: bool, adobe: bool) -> None:
    pixels = cmyk_pixels()
    if adobe:  # Pillow writes the Adobe marker and, as Photoshop does, the inks inverted
        kept = {"icc_profile": cmyk_profile()} if profile else {}
        Image.fromarray(pixels, "CMYK").save(tmp_path / "a.jpg", quality=100, **kept)
        data = (tmp_path / "a.jpg").read_bytes()
        assert b"Adobe" in data
    else:  # without it the inks are taken for inverted, too, as ImageMagick does
        data = bytes(
            imagecodecs.jpeg8_encode(255 - pixels, level=100, colorspace="CMYK", outcolorspace="CMYK")
        )
        marker = data.index(b"\xff\xee")
        data = data[:marker] + data[marker + 16 :]
        if profile:
            icc = b"ICC_PROFILE\0\1\1" + cmyk_profile()
            data = data[:2] + b"\xff\xe2" + struct.pack(">H", len(icc) + 2) + icc + data[2:]
    picture = pictures.read(saved(tmp_path / "b.jpg", data))
    check_corners(picture.pixels, profile)
    assert picture.metadata.icc_profile is None
    check_same_as_probe(tmp_path / "b.jpg", picture)


def test_ycck_jpeg(tmp_path: Path) -> None:
    inverted = 255 - cmyk_pixels()
    data = bytes(imagecodecs.jpeg8_encode(inverted, level=100, colorspace="CMYK", outcolorspace="YCCK"))
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 2  # the marker's colour transform: YCCK
    check_corners(pictures.read(saved(tmp_path / "a.jpg", data)).pixels, profile=False)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("profile", [True, False])
def test_cmyk_tiff(tmp_path: Path, profile: bool, dtype: Any) -> None:
    inks = cmyk_pixels().astype(dtype) * (1 if dtype == np.uint8 else 257)
    kept = {"t34675": (7, cmyk_profile())} if profile else {}
    data = tiff_of(inks, t262=(SHORT, [5]), **kept)
    data = data.replace(struct.pack("<HHI", 338, 3, 1), struct.pack("<HHI", 340, 3, 1))  # no alpha in here
    picture = pictures.read(saved(tmp_path / "a.tif", data))
    assert picture.pixels.dtype == np.uint8
    check_corners(picture.pixels, profile)
    assert picture.metadata.icc_profile is None
    check_same_as_probe(tmp_path / "a.tif", picture)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_stripping_the_profile_keeps_the_colours(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((8, 8, 4), (200, 60, 60, 128), np.uint8)
    path = tmp_path / f"a{suffix}"
    picture = Picture(pixels, Metadata(swapped_profile(), b"II*\0\x08\0\0\0\0\0\0\0\0\0", XMP, (300, 300)))
    pictures.write(path, picture, strip_metadata=True, quality=100)
    stripped = pictures.read(path)
    assert stripped.metadata == Metadata()
    np.testing.assert_allclose(stripped.pixels[0, 0], (60, 200, 60, 128), atol=3)
    pictures.write(path, picture, quality=100)
    kept = pictures.read(path)
    assert kept.metadata.icc_profile == swapped_profile()
    np.testing.assert_array_equal(kept.pixels, pixels)


def test_stripping_leaves_srgb_as_it_is_and_keeps_a_profile_of_16_bits(tmp_path: Path) -> None:
    levels = all_levels(3)[:8, :8]
    path = tmp_path / "a.png"
    pictures.write(path, Picture(levels, Metadata(SRGB, None, XMP, (72, 72))), strip_metadata=True)
    assert pictures.read(path).metadata == Metadata()
    np.testing.assert_array_equal(pictures.read(path).pixels, levels)
    pictures.write(
        path, Picture(levels, Metadata(swapped_profile(), None, XMP, (72, 72))), strip_metadata=True
    )
    assert pictures.read(path).metadata == Metadata(icc_profile=swapped_profile())
    np.testing.assert_array_equal(pictures.read(path).pixels, levels)
    pictures.write(tmp_path / "a.bmp", Picture(smooth(), Metadata(SRGB)), strip_metadata=True)
    np.testing.assert_array_equal(pictures.read(tmp_path / "a.bmp").pixels, smooth())


def test_a_profile_that_the_file_cannot_hold_is_applied(tmp_path: Path) -> None:
    gray = Picture(np.full((8, 8, 1), 55, np.uint8), Metadata(LINEAR_GRAY))  # 55 / 255 linear is 128 in sRGB
    for suffix, kept in ((".png", True), (".jpg", True), (".webp", False), (".bmp", False)):
        pictures.write(tmp_path / f"a{suffix}", gray, quality=100)
        found = pictures.read(tmp_path / f"a{suffix}")
        assert found.metadata.icc_profile == (LINEAR_GRAY if kept else None)
        np.testing.assert_allclose(found.pixels[0, 0].astype(int), 55 if kept else 128, atol=1)
    three = Picture(np.full((8, 8, 3), 55, np.uint8), Metadata(LINEAR_GRAY))
    pictures.write(tmp_path / "b.png", three)
    assert pictures.read(tmp_path / "b.png").metadata.icc_profile is None
    np.testing.assert_allclose(pictures.read(tmp_path / "b.png").pixels.astype(int), 128, atol=1)


def test_linear_srgb_is_another_one_than_srgb(tmp_path: Path) -> None:
    """By its name they are the same."""
    curve = SRGB.index(b"rTRC")
    place = struct.unpack(">I", SRGB[curve + 4 : curve + 8])[0]
    linear = bytearray(SRGB)
    # Of a parametric curve: its kind, a mere exponent, and that exponent, 1.
    assert linear[place : place + 4] == b"para"
    linear[place + 8 : place + 16] = struct.pack(">HHi", 0, 0, 65536)
    picture = Picture(np.full((8, 8, 3), 55, np.uint8), Metadata(bytes(linear)))
    pictures.write(tmp_path / "a.png", picture, strip_metadata=True)
    found = pictures.read(tmp_path / "a.png")
    assert found.metadata.icc_profile is None
    np.testing.assert_allclose(found.pixels.astype(int), 128, atol=1)
    deep = Picture(np.full((8, 8, 3), 14135, np.uint16), Metadata(bytes(linear)))
    pictures.write(tmp_path / "b.png", deep, strip_metadata=True)
    assert pictures.read(tmp_path / "b.png").metadata.icc_profile == bytes(linear)


def test_a_tiff_of_more_than_four_gigabytes_has_places_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile

    asked: dict[str, Any] = {}
    monkeypatch.setattr(tifffile, "imwrite", lambda path, pixels, **given: asked.update(given))
    for side, large in ((40_000, True), (20_000, False)):
        pixels = np.broadcast_to(np.uint16(0), (side, side, 3))
        pictures.tiff.write_tiff(tmp_path / "a.tif", pixels, Metadata(), 95)
        assert asked["bigtiff"] is large


def test_a_profile_that_nobody_can_read_changes_nothing(tmp_path: Path) -> None:
    for profile in (b"nonsense", SRGB[:16] + b"RGB " + b"\xff" * 200):
        pictures.write(tmp_path / "a.png", Picture(smooth(), Metadata(profile)), strip_metadata=True)
        np.testing.assert_array_equal(pictures.read(tmp_path / "a.png").pixels, smooth())


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_laid_over_white_where_the_format_has_none(
    tmp_path: Path, suffix: str, channels: int
) -> None:
    pixels = np.zeros((32, 32, channels), np.uint16)
    pixels[..., -1] = 65535 // 4
    pixels[:16, :, -1] = 0
    pixels[:, :16, -1] = 65535
    pictures.write(tmp_path / f"a{suffix}", Picture(pixels), quality=100)
    found = pictures.read(tmp_path / f"a{suffix}").pixels
    assert found.shape[-1] == channels - 1
    assert [int(found[y, x, 0]) for y, x in ((8, 8), (8, 24), (24, 24))] == pytest.approx(
        [0, 255, 191], abs=1
    )


# -------------------------------------------------------------------------------- orientation and metadata


def exif_of(orientation: int | None = None, **more: Any) -> bytes:
    exif = Image.Exif()
    exif[271] = "Camera"
    exif[315] = "M. Üller".encode().decode("latin-1")
    if orientation is not None:
        exif[274] = orientation
    exif.get_ifd(0x8769)[36867] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[37500] = b"maker's note"
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", WITH_METADATA)
def test_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :16], pixels[:16, 32:], pixels[16:, :16] = 80, 160, 240
    path = tmp_path / f"a{suffix}"
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 95}}.get(suffix, {})
    Image.fromarray(pixels).save(path, exif=exif_of(orientation), dpi=(300, 150), **options)
    upright = turned_by_pillow(orientation, pixels)
    picture = pictures.read(path)
    assert picture.pixels.shape == upright.shape
    np.testing.assert_allclose(picture.pixels.astype(int), upright, atol=6)
    check_same_as_probe(path, picture)
    assert picture.metadata.exif is not None
    carried = Image.Exif()
    carried.load(picture.metadata.exif)
    assert carried.get(274, 1) == 1 and carried[271] == "Camera"
    pictures.write(tmp_path / f"b{suffix}", picture)
    again = pictures.read(tmp_path / f"b{suffix}")
    np.testing.assert_allclose(again.pixels.astype(int), upright, atol=12)
    assert Image.open(tmp_path / f"b{suffix}").getexif().get(274, 1) == 1
    if suffix not in (".webp", ".avif"):
        assert picture.metadata.resolution == pytest.approx(
            (150, 300) if orientation >= 5 else (300, 150), abs=0.1
        )


def turned_by_pillow(orientation: int, pixels: np.ndarray) -> np.ndarray:
    """`pixels` as EXIF's Orientation asks, by Pillow's own turning."""
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    image = Image.fromarray(pixels)
    return np.asarray(image if turn is None else image.transpose(turn))


@pytest.mark.parametrize("order", ["<", ">"])
def test_only_the_orientation_changes_in_the_exif_block(tmp_path: Path, order: str) -> None:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    entries = [(271, 2, 4, b"me!\0"), (274, 3, 1, struct.pack(order + "H", 6)), (37500, 7, 4, b"\1\2\3\4")]
    block = (
        head
        + struct.pack(order + "H", 3)
        + b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3].ljust(4, b"\0") for entry in entries)
        + bytes(4)
        + b"tail"
    )
    path = saved(tmp_path / "a.png", png_file(smooth(4, 6), 8, 2, (b"eXIf", block)))
    picture = pictures.read(path)
    assert picture.pixels.shape == (6, 4, 3)
    carried = picture.metadata.exif
    assert carried is not None and len(carried) == len(block)
    assert carried == block.replace(
        struct.pack(order + "HHIH", 274, 3, 1, 6), struct.pack(order + "HHIH", 274, 3, 1, 1)
    )
    pictures.write(tmp_path / "b.jpg", picture)
    assert Image.open(tmp_path / "b.jpg").info["exif"] == b"Exif\0\0" + carried


def test_orientation_that_only_xmp_states(tmp_path: Path) -> None:
    for spelled in (b'<a tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"):
        Image.fromarray(smooth(8, 16)).save(tmp_path / "a.jpg", xmp=spelled)
        picture = pictures.read(tmp_path / "a.jpg")
        assert picture.pixels.shape == (16, 8, 3)
        assert picture.metadata.xmp == spelled.replace(b"6", b"1")


def independent_metadata(path: Path) -> dict[str, Any]:
    """Profile, EXIF make, date and GPS, XMP and resolution as Pillow finds them."""
    with Image.open(path) as image:
        exif = image.getexif()
        xmp = image.info.get("xmp")
        dpi = image.info.get("dpi") or (
            (exif[282], exif[283]) if exif.get(296) == 2 and 282 in exif else None
        )
        return {
            "profile": image.info.get("icc_profile"),
            "xmp": xmp,
            "dpi": dpi,
            "make": exif.get(271),
            "date": exif.get_ifd(0x8769).get(36867),
            "note": exif.get_ifd(0x8769).get(37500),
            "gps": exif.get_ifd(0x8825).get(1),
        }


EXPECTED = {
    "profile": SRGB,
    "xmp": XMP,
    "make": "Camera",
    "date": "2020:01:02 03:04:05",
    "note": b"maker's note",
    "gps": "N",
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", WITH_METADATA)
def test_metadata_is_written_where_other_readers_find_it_and_read_back(
    tmp_path: Path, suffix: str, dtype: str
) -> None:
    metadata = Metadata(SRGB, exif_of().removeprefix(b"Exif\0\0"), XMP, (300.0, 150.0))
    path = tmp_path / f"a{suffix}"
    pictures.write(path, Picture(smooth().astype(dtype), metadata))
    found = independent_metadata(path)
    assert tuple(found.pop("dpi")) == pytest.approx((300, 150), abs=0.05)
    assert found == EXPECTED
    back = pictures.read(path).metadata
    assert back.icc_profile == SRGB and back.xmp == XMP
    assert back.resolution == pytest.approx((300, 150), abs=0.05)
    assert back.exif is not None
    if suffix in (".png", ".jpg"):
        assert back.exif == metadata.exif
    pictures.write(path, Picture(smooth(), metadata), strip_metadata=True)
    assert pictures.read(path).metadata == Metadata()
    assert not any(independent_metadata(path).values())


@pytest.mark.parametrize("suffix", WITH_METADATA)
def test_metadata_that_other_software_wrote_is_found(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    kept: dict[str, Any] = {"xmp": XMP}
    if suffix in (".png", ".tif"):
        kept = {}
    Image.fromarray(smooth()).save(path, icc_profile=SRGB, exif=exif_of(), dpi=(300, 150), **kept)
    if suffix == ".png":  # XMP by the specification, compressed
        data = path.read_bytes()
        text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)
        path.write_bytes(data[:33] + png_chunk(b"iTXt", text) + data[33:])
    found = pictures.read(path).metadata
    assert found.icc_profile == SRGB
    assert found.exif is not None
    if suffix != ".tif":
        assert found.xmp == XMP
    if suffix not in (".webp", ".avif"):
        assert found.resolution == pytest.approx((300, 150), abs=0.05)
    pictures.write(tmp_path / "b.jpg", Picture(smooth(), found))
    again = independent_metadata(tmp_path / "b.jpg")
    assert [again[key] for key in ("make", "date", "note", "gps")] == [
        "Camera",
        EXPECTED["date"],
        b"maker's note",
        "N",
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_metadata_of_a_tiff_by_hand(tmp_path: Path, order: str) -> None:
    data = tiff_of(
        smooth(),
        order,
        t271=(2, b"Maker of cameras\0"),
        t700=(1, XMP),
        t34675=(7, SRGB),
        t282=(RATIONAL, [1000, 10]),
        t283=(RATIONAL, [500, 10]),
        t296=(SHORT, [3]),
        t274=(SHORT, [6]),
    )
    picture = pictures.read(saved(tmp_path / "a.tif", data))
    assert picture.pixels.shape == (32, 24, 3)
    assert (picture.metadata.icc_profile, picture.metadata.xmp) == (SRGB, XMP)
    assert picture.metadata.resolution == pytest.approx((127, 254))  # turned by a quarter, from centimetres
    for suffix in (".png", ".tif", ".jpg"):
        pictures.write(tmp_path / f"b{suffix}", picture)
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert image.getexif()[271] == "Maker of cameras" and image.getexif().get(274, 1) == 1
    # A big-endian block in our little-endian TIFF is turned, value by value.
    pictures.write(tmp_path / "c.tif", Picture(smooth(), Metadata(exif=picture_exif(order))))
    with Image.open(tmp_path / "c.tif") as image:
        assert image.getexif().get_ifd(0x8769)[33434] == pytest.approx(1 / 250)
        assert image.getexif().get_ifd(0x8769)[34855] == 400
        np.testing.assert_array_equal(np.asarray(image), smooth())


def picture_exif(order: str) -> bytes:
    """An EXIF block with an exposure time of 1/250 s and ISO 400 in its Exif directory."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHIII", 1, 34665, 4, 1, 26, 0)
    entries = struct.pack(order + "HHHII", 2, 33434, 5, 1, 56) + struct.pack(
        order + "HHIHH", 34855, 3, 1, 400, 0
    )
    return head + first + entries + struct.pack(order + "III", 0, 1, 250)


def test_a_description_that_tifffile_left_for_itself_is_not_carried(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", smooth(), photometric="rgb", software="scanner")
    exif = pictures.read(tmp_path / "a.tif").metadata.exif
    assert exif is not None and b"scanner" in exif and b"shape" not in exif


def test_exif_too_large_for_jpeg_is_left_out_with_a_warning(tmp_path: Path) -> None:
    large = exif_of().removeprefix(b"Exif\0\0") + bytes(70_000)
    with pytest.warns(UserWarning, match="EXIF of"):
        pictures.write(tmp_path / "a.jpg", Picture(smooth(), Metadata(exif=large, xmp=XMP)))
    assert pictures.read(tmp_path / "a.jpg").metadata == Metadata(xmp=XMP)


def test_a_large_profile_goes_into_a_jpeg_in_pieces(tmp_path: Path) -> None:
    large = SRGB + os.urandom(150_000)
    pictures.write(tmp_path / "a.jpg", Picture(smooth(), Metadata(large)))
    assert pictures.read(tmp_path / "a.jpg").metadata.icc_profile == large


# ------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_picture_goes_into_every_format(
    tmp_path: Path, suffix: str, channels: int, dtype: str
) -> None:
    pixels = smooth(channels=channels)
    if channels in (2, 4):
        pixels[..., -1] = 255
    scaled = {"uint8": pixels, "uint16": pixels.astype(np.uint16) * 257, "float32": (pixels / 255)}[dtype]
    path = tmp_path / "größe 图" / f"a{suffix}"
    pictures.write(path, Picture(scaled.astype(dtype)))
    if suffix != ".tif":  # Pillow cannot open all of those; `decoded_tiff` did elsewhere
        with Image.open(path) as image:
            assert image.size == (32, 24)
            image.load()
    picture = pictures.read(path)
    check_same_as_probe(path, picture)
    shown = (
        picture.pixels.astype(float)
        * {"uint8": 1, "uint16": 1 / 257, "float32": 255}[picture.pixels.dtype.name]
    )
    colours = 1 if channels <= 2 else 3
    np.testing.assert_allclose(
        shown[..., :colours], pixels[..., :colours], atol=25 if suffix in (".jpg", ".webp", ".avif") else 0.51
    )
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_small_and_narrow_pictures(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        for shape in ((1, 1, 1), (1, 1, 4), (1, 7, 3), (7, 1, 2), (3, 4, 1), (2, 3, 3), (4, 4, 4)):
            for dtype in (np.uint8, np.uint16):
                pictures.write(tmp_path / f"a{suffix}", Picture(np.full(shape, 200, dtype)))
                assert pictures.read(tmp_path / f"a{suffix}").pixels.shape[:2] == shape[:2]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".jpeg", ".tiff"])
def test_what_is_said_to_be_lost_is_what_is_lost(tmp_path: Path, suffix: str, dtype: str) -> None:
    for channels in (1, 2, 3, 4):
        pixels = np.random.default_rng(0).random((16, 16, channels))
        top = 1 if dtype == "float32" else np.iinfo(dtype).max
        pictures.write(tmp_path / f"a{suffix}", Picture((pixels * top).astype(dtype)))
        info = pictures.probe(tmp_path / f"a{suffix}")
        lost = []
        if channels in (2, 4) and info.channels in (1, 3):
            lost.append("no transparency: laid over white")
        if info.dtype != dtype:
            lost.append(f"only {8 * np.dtype(info.dtype).itemsize} bits")
        said = f"{suffix[1:]} has {' and '.join(lost)}" if lost else ""
        assert pictures.losses(suffix.upper(), channels, dtype) == said


def test_a_float_picture_becomes_a_png_with_a_word() -> None:
    assert pictures.losses(".png", 3, np.float32) == "png has only 16 bits"
    assert pictures.losses(".tif", 3, np.float32) == ""


def test_views_in_any_memory_order_are_written_right(tmp_path: Path) -> None:
    pixels = smooth(16, 24)
    for view in (pixels[::-1, ::-1], pixels.transpose(1, 0, 2), pixels[..., ::-1], pixels[::2, 1::3]):
        for suffix in (".png", ".tif", ".bmp", ".webp"):
            pictures.write(tmp_path / f"a{suffix}", Picture(view), quality=100)
            np.testing.assert_array_equal(pictures.read(tmp_path / f"a{suffix}").pixels, view)
    big_endian = all_levels(3)[:8, :8].astype(">u2")
    for suffix in (".png", ".tif"):
        pictures.write(tmp_path / f"b{suffix}", Picture(big_endian))
        np.testing.assert_array_equal(pictures.read(tmp_path / f"b{suffix}").pixels, big_endian)


def test_quality_means_full_colour_resolution_from_90_on_and_lossless_webp_at_100(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 4), dtype=np.uint8)
    for quality, sampling in ((89, 2), (90, 0), (100, 0)):
        pictures.write(tmp_path / f"{quality}.jpg", Picture(noise), quality=quality)
        with Image.open(tmp_path / f"{quality}.jpg") as image:
            assert JpegImagePlugin.get_sampling(image) == sampling
    assert (tmp_path / "89.jpg").stat().st_size < (tmp_path / "100.jpg").stat().st_size
    pictures.write(tmp_path / "a.webp", Picture(noise), quality=100)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.webp")), noise)
    pictures.write(tmp_path / "b.webp", Picture(noise), quality=60)
    assert (tmp_path / "b.webp").stat().st_size < (tmp_path / "a.webp").stat().st_size
    for quality in (0, 101):
        path = tmp_path / "c.jpg"
        assert "quality" in refusal(path, pictures.write, path, Picture(noise), quality=quality)


def test_format_overrides_the_suffix(tmp_path: Path) -> None:
    for format in ("PNG", "tiff", "JPEG"):
        pictures.write(tmp_path / "a.part", Picture(smooth()), format=format)
        assert pictures.read(tmp_path / "a.part").format == format.upper()


LIMITS = [
    ("a.webp", 16_383, 16_384),
    ("a.jpg", 65_500, 65_501),
    ("a.jpeg", 65_500, 65_501),
    ("a.png", 1_000_000, 1_000_001),
]
LIMITS += [("a.avif", 32_768, 32_769)] if HAS_AVIF else []


@pytest.mark.parametrize(("name", "holds", "not_any_more"), LIMITS)
def test_size_limits_are_known_before_any_work_and_are_the_real_ones(
    tmp_path: Path, name: str, holds: int, not_any_more: int
) -> None:
    path = tmp_path / name
    for width, height in ((not_any_more, 1), (1, not_any_more)):
        said = refusal(path, pictures.check_writable, path, width, height, 3, np.uint8)
        assert str(not_any_more) in said and "choose" in said
        empty = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (height, width, 3))
        refusal(path, pictures.write, path, Picture(empty))
    assert not path.exists()
    pictures.check_writable(path, holds, 1, 3, "uint8")
    pictures.write(path, Picture(np.zeros((1, holds, 3), np.uint8)), quality=50)
    assert pictures.read(path).pixels.shape == (1, holds, 3)


def test_check_writable_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    assert ".gif" in refusal(path, pictures.check_writable, path, 1, 1, 3, np.uint8)
    bare = tmp_path / "a"
    assert "suffix" in refusal(bare, pictures.check_writable, bare, 1, 1, 3, np.uint8)
    path = tmp_path / "a.png"
    refusal(path, pictures.check_writable, path, 1, 1, 3, np.uint8, format="GIF")
    refusal(path, pictures.check_writable, path, 0, 5, 3, np.uint8)
    refusal(path, pictures.check_writable, path, 5, 5, 5, np.uint8)
    refusal(path, pictures.check_writable, path, 5, 5, 3, np.float64)
    refusal(path, pictures.write, path, Picture(np.zeros((5, 5), np.uint8)))
    bmp = tmp_path / "a.bmp"
    refusal(bmp, pictures.check_writable, bmp, 40_000, 40_000, 3, np.uint8)
    pictures.check_writable(tmp_path / "not" / "there" / "A.TIFF", 200_000, 200_000, 4, np.float32)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    pictures.write(path, Picture(smooth()))
    before = path.read_bytes()

    def disk_full(source: Any, target: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    assert "disk is full" in refusal(path, pictures.write, path, Picture(smooth(9, 9)), kind=MachineError)
    assert path.read_bytes() == before and [found.name for found in tmp_path.iterdir()] == [path.name]


# ------------------------------------------------------------------------- files that are no good pictures


def valid_files() -> dict[str, bytes]:
    """A small valid file of each format, with metadata."""
    image, buffer = Image.fromarray(smooth(channels=4)), io.BytesIO
    kept: dict[str, Any] = {"icc_profile": SRGB, "exif": exif_of(6)}
    made = {
        "rgba16.png": png_file(all_levels(4)[:20, :30], 16, 6, (b"eXIf", picture_exif("<"))),
        "palette.png": png_file(
            np.arange(64).reshape(8, 8, 1) % 4, 2, 3, (b"PLTE", bytes(range(12))), (b"tRNS", b"\0\7")
        ),
        "plain.tif": tiff_of(all_levels(3)[:12, :15], ">", t271=(2, b"Maker\0"), t700=(1, XMP)),
        "plain.bmp": bmp_file(bytes(range(256)) * 3, 16, 16, 24),
    }
    for name, mode, options in (
        ("rgb.png", "RGB", kept),
        ("rgb.jpg", "RGB", kept | {"xmp": XMP}),
        ("cmyk.jpg", "CMYK", {}),
        ("rgba.webp", "RGBA", kept),
        ("lossless.webp", "RGB", {"lossless": True}),
        ("lzw.tif", "RGB", {"compression": "tiff_lzw"}),
        ("jpeg.tif", "RGB", {"compression": "jpeg"}),
        ("indexed.bmp", "P", {}),
        *((("rgba.avif", "RGBA", kept),) if HAS_AVIF else ()),
    ):
        file = buffer()
        image.convert(mode).save(file, Image.registered_extensions()[Path(name).suffix], **options)
        made[name] = file.getvalue()
    # libtiff puts the directory last, tifffile first: cut off, the one has no directory, the other no pixels.
    for name, compression in (("stored.tif", None), ("deflated.tif", "zlib")):
        file = buffer()
        tifffile.imwrite(file, all_levels(3)[:24], photometric="rgb", rowsperstrip=5, compression=compression)
        made[name] = file.getvalue()
    return made


VALID = valid_files()


@pytest.mark.parametrize("name", VALID)
def test_whole_files_are_read_and_cut_ones_refused(tmp_path: Path, name: str) -> None:
    data = VALID[name]
    path = saved(tmp_path / name, data)
    check_same_as_probe(path, pictures.read(path))
    for share in (0.02, 0.2, 0.5, 0.9):
        path.write_bytes(data[: max(1, int(len(data) * share))])
        refusal(path, pictures.read, path)


def test_a_tiff_whose_writer_did_not_come_to_its_last_strips_is_refused(tmp_path: Path) -> None:
    data = bytearray(VALID["deflated.tif"])
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        counts = tiff.pages[0].tags["StripByteCounts"]
        assert counts.count == 5
        place, size = counts.valueoffset, struct.calcsize({3: "H", 4: "I"}[counts.dtype])
    data[place + 4 * size : place + 5 * size] = bytes(size)
    path = saved(tmp_path / "a.tif", bytes(data))
    assert "ends before" in refusal(path, pictures.read, path)


def test_empty_missing_foreign_and_zero_sized_files(tmp_path: Path) -> None:
    cases = {
        "empty.png": b"",
        "text.png": b"this is no picture\n",
        "zeros.jpg": bytes(1000),
        "gif.png": b"GIF89a" + bytes(50),
        "flat.png": png_file(np.zeros((3, 0, 1), int), 8, 0),
        "flat.tif": tiff_file(b"abcd", (0, 4), **gray_tags(8)),
        "flat.bmp": bmp_file(b"", 0, 0, 24),
    }
    for name, data in cases.items():
        path = saved(tmp_path / name, data)
        for function in (pictures.read, pictures.probe):
            refusal(path, function, path)
    assert "empty" in refusal(tmp_path / "empty.png", pictures.read, tmp_path / "empty.png")
    assert "no such file" in refusal(tmp_path / "no.png", pictures.read, tmp_path / "no.png")
    assert "folder" in refusal(tmp_path, pictures.read, tmp_path)


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", VALID["rgb.png"])

    def denied(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "permission denied" in refusal(path, pictures.read, path)


@pytest.mark.parametrize("name", VALID)
def test_more_pixels_than_allowed_are_refused_from_the_header(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / name, VALID[name])
    info = pictures.probe(path)
    area = info.width * info.height
    assert pictures.read(path, max_pixels=area).pixels.shape[:2] == (info.height, info.width)

    def decoded(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("pixels were decoded")

    for owner, function in (
        (imagecodecs, "png_decode"),
        (imagecodecs, "webp_decode"),
        (tifffile.TiffPage, "asarray"),
        (Image.Image, "convert"),
    ):
        monkeypatch.setattr(owner, function, decoded)
    for read in (pictures.read, pictures.probe):
        assert "limit" in refusal(path, read, path, max_pixels=area - 1)


def test_absurd_headers_are_refused_at_once(tmp_path: Path) -> None:
    png = bytearray(VALID["rgb.png"])
    png[16:29] = struct.pack(">IIBBBBB", 900_000, 900_000, 8, 2, 0, 0, 0)
    png[29:33] = struct.pack(">I", zlib.crc32(bytes(png[12:29])))
    jpeg = bytearray(VALID["rgb.jpg"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    bmp = bmp_file(b"", 2_000_000, 1_000_000, 24)
    for name, data in (("a.png", bytes(png)), ("a.jpg", bytes(jpeg)), ("a.bmp", bmp)):
        path = saved(tmp_path / name, data)
        assert "limit" in refusal(path, pictures.read, path)


@pytest.mark.parametrize("name", VALID)
def test_pillows_own_limit_is_set_aside_and_left_as_it_is(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / name, VALID[name])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.read(path)
    assert Image.MAX_IMAGE_PIXELS == 10


def animation(suffix: str) -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(smooth() // divisor) for divisor in (1, 2, 3)]
    frames[0].save(file, suffix[1:].upper(), save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".webp", pytest.param(".avif", marks=needs_avif)])
def test_animations_are_refused(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a{suffix}", animation(suffix))
    for function in (pictures.read, pictures.probe):
        assert "animated" in refusal(path, function, path)


def test_not_enough_memory_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", VALID["rgb.png"])

    def no_memory(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(imagecodecs, "png_decode", no_memory)
    assert "memory" in refusal(path, pictures.read, path, kind=MachineError)


def fuzz(folder: Path, name: str, changes: list[tuple[float, int]], cut: float) -> None:
    """Reads a damaged file; what can be read still, can be written."""
    for left in folder.iterdir():
        left.unlink()
    data = bytearray(VALID[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] ^= value
    path = saved(folder / name, bytes(data[: int(cut * len(data)) + 1]))
    out = folder / ("out" + path.suffix)
    try:
        picture = pictures.read(path, max_pixels=10**6)
    except RequestError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return
    assert picture.pixels.dtype in (np.uint8, np.uint16, np.float32) and picture.pixels.shape[-1] in (
        1,
        2,
        3,
        4,
    )
    check_same_as_probe(path, picture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pictures.write(out, picture)
        except ISRError:
            assert not out.exists()
        else:
            assert pictures.read(out).pixels.shape[:2] == picture.pixels.shape[:2]
    out.unlink(missing_ok=True)
    assert [found.name for found in folder.iterdir()] == [path.name]


# Pytest sets aside the filter that keeps Pillow from telling of damaged EXIF.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("examples", [500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_files_are_read_or_refused(tmp_path: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(
        name=st.sampled_from(sorted(VALID)),
        # Most of what can go wrong is decided in the first bytes.
        changes=st.lists(st.tuples(st.floats(0, 1) | st.floats(0, 0.1), st.integers(1, 255)), max_size=6),
        cut=st.just(1.0) | st.floats(0, 1),
    )
    def check(name: str, changes: list[tuple[float, int]], cut: float) -> None:
        fuzz(tmp_path, name, changes, cut)

    check()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_libraries_find_odd_in_a_damaged_file_is_not_printed(tmp_path: Path) -> None:
    # One entry, a maker of 1000 letters, which the block does not hold.
    exif = b"II*\0" + struct.pack("<IHHHII4x", 8, 1, 271, 2, 1000, 26)
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif)
    names = ["a.jpg"]
    if HAS_AVIF:
        Image.fromarray(smooth()).save(tmp_path / "a.avif", exif=exif)
        names.append("a.avif")
    for number, place in enumerate((10, 30, 50, 90, 130)):
        data = bytearray(tiff_of(smooth()))
        data[-place] ^= 0x7F
        names.append(saved(tmp_path / f"{number}.tif", bytes(data)).name)
    code = (
        "import os, pathlib; from isr.errors import RequestError; from isr.io import pictures; os.dup2(1, 2)\n"
        f"for name in {names}:\n"
        f"    path = pathlib.Path({str(tmp_path)!r}, name)\n"
        "    try:\n"
        "        pictures.probe(path), pictures.read(path)\n"
        "    except RequestError:\n"
        "        pass\n"
    )
    assert run_python("-c", code) == ""


# -------------------------------------------------------------------------------------------------- import


def test_the_import_is_cheap() -> None:
    code = (
        "import sys, isr.io.pictures; heavy = {'av', 'imagecodecs', 'tifffile', 'imageio', 'keras', 'tensorflow'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run_python("-c", code).strip() == "[]"


def test_readable_suffixes() -> None:
    expected = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"} | (
        {".avif"} if HAS_AVIF else set()
    )
    assert expected == pictures.WRITABLE
    assert expected | {".heic", ".heif"} == pictures.READABLE


# ---------------------------------------------------------------------------------------------------- HEIC


def test_heic_is_read_upright_with_its_metadata_and_never_written(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="pip install keras-isr[heic]")
    pixels = smooth()
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    heif.register_heif_opener()
    turned.save(tmp_path / "a.heic", quality=95, exif=exif.tobytes(), icc_profile=SRGB)
    info, picture = pictures.probe(tmp_path / "a.heic"), pictures.read(tmp_path / "a.heic")
    assert (info.format, info.height, info.width) == ("HEIC", *pixels.shape[:2])
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 4
    assert picture.metadata.icc_profile == SRGB and b"Maker" in (picture.metadata.exif or b"")
    with pytest.raises(RequestError, match=r"\.heic is not one that pictures can be written in"):
        pictures.write(tmp_path / "b.heic", picture)
    assert pictures.suffix_of("HEIC") == ".jpg"


def test_heic_without_its_extra_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    with pytest.raises(MachineError, match=r"a\.heic: .*pip install 'keras-isr\[heic\]'"):
        pictures.probe(path)
