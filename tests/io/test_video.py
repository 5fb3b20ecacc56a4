"""Clips of every kind, read and written: times, colours, sound, damage, segments.

What is read here, PyAV (used plainly) or Pillow wrote, or a camera; what is written is read by them. Colours are
checked against the formulas of the standards.
"""

import hashlib
import io
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.sidedata.sidedata import Type as SideData
from children import run_python
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from isr.errors import ISRError, RequestError
from isr.io import pictures as picture_files
from isr.io.clips import (
    Colour,
    Frame,
    FrameReader,
    FrameWriter,
    Output,
    SegmentWriter,
    VideoInfo,
    is_clip,
    join,
    plan_output,
    probe,
    quantiser,
)

DATA = Path(__file__).parents[1] / "samples"
FRIDAY, VFR, TURNED = DATA / "friday_aac.mp4", DATA / "flower_vfr.mp4", DATA / "flower_rot90.mp4"
SUBTITLED, VP9, PHONE = DATA / "flower_srt.mkv", DATA / "vp9_10bit.webm", DATA / "hevc_10bit_rot.mp4"


# ------------------------------------------------------------------------------------------ by PyAV, plainly


def textured(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture that moves with `index`, `[h, w, 3]` uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x + 3 * index) / 9 + shift) * np.cos((y - index) / 7) for shift in (0, 2, 4)]
    return (127.5 + 120 * np.stack(waves, -1)).astype(np.uint8)


def make_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """A file of RGB frames, as PyAV's own conversion and FFmpeg's encoders make it."""
    base = time_base or Fraction(1, 1) / rate
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = pixel_format
                stream.codec_context.time_base = base
                for name, value in context.items():
                    setattr(stream.codec_context, name, value)
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = index if times is None else times[index], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def uneven_video(path: Path, times: Sequence[int]) -> Path:
    """A file with B-frames, and a frame at each of these times, in units of 1/90,000 s."""
    frames, base = map(textured, range(len(times))), Fraction(1, 90_000)
    return make_video(path, frames, times=times, time_base=base, options={"bf": "3"})


def decoded(path: Path, format: str | None = "rgb24") -> list[np.ndarray]:
    """All frames as FFmpeg decodes them, not turned; by its default conversion, or (None) as they are coded."""
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(**({"format": format} if format else {})) for frame in container.decode(video=0)
        ]


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def first_frame(path: Path) -> Any:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def payloads(path: Path, kind: str) -> list[tuple[Fraction, str]]:
    """(seconds, MD5) of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        packets = container.demux(next(stream for stream in container.streams if stream.type == kind))
        return [
            (packet.pts * packet.time_base, hashlib.md5(bytes(packet)).hexdigest())
            for packet in packets
            if packet.pts is not None
        ]


def rewritten(source: Path, target: Path, change: Callable[[int, bytearray], None]) -> Path:
    """A copy of a file with one stream, whose packets `change` may alter in place, given their number."""
    with av.open(str(source)) as original, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(original.streams[0], opaque=True)
        for number, packet in enumerate(original.demux()):
            if packet.size:
                data = bytearray(bytes(packet))
                change(number, data)
                altered = av.Packet(bytes(data))
                altered.pts, altered.dts, altered.duration = packet.pts, packet.dts, packet.duration
                altered.time_base, altered.is_keyframe = packet.time_base, packet.is_keyframe
                altered.stream = stream
                copy.mux(altered)
    return target


def planes(frame: Any) -> list[np.ndarray]:
    """The planes as numbers."""
    depth = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [np.frombuffer(plane, depth).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]


def frame_of(values: Sequence[np.ndarray], pixel_format: str) -> Any:
    height, width = values[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    depth = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    for plane, numbers in zip(frame.planes, values, strict=True):
        rows = np.zeros((plane.height, plane.line_size // np.dtype(depth).itemsize), depth)
        rows[:, : plane.width] = numbers
        plane.update(rows.tobytes())
    return frame


def make_coded(path: Path, values: Sequence[np.ndarray], pixel_format: str, **context: int) -> Path:
    """A lossless file of one frame with just these coded values."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width = values[0].shape
        stream.pix_fmt = pixel_format
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        frame = frame_of(values, pixel_format)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # of red and blue


def yuv_of(rgb: np.ndarray, matrix: int, full: bool, bits: int) -> np.ndarray:
    """ITU-R BT.601, BT.709, BT.2020: R'G'B' in [0, 1] `[..., 3]` -> coded values, not rounded."""
    red, blue = WEIGHTS[matrix]
    y = rgb @ np.array([red, 1 - red - blue, blue])
    u, v = (rgb[..., 2] - y) / (2 * (1 - blue)), (rgb[..., 0] - y) / (2 * (1 - red))
    if full:
        top = 2**bits - 1
        return np.stack([y * top, u * top + 2 ** (bits - 1), v * top + 2 ** (bits - 1)], -1)
    unit = 2 ** (bits - 8)
    return np.stack([(16 + 219 * y) * unit, (128 + 224 * u) * unit, (128 + 224 * v) * unit], -1)


def copy_clip(
    source: Path | VideoInfo,
    target: Path,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
    frames: range | None = None,
    **options: Any,
) -> Output:
    """Reads and writes a clip by the modules under test."""
    with FrameReader(source, frames) as reader:
        height, width = reader.info.height, reader.info.width
        if change is not None:
            height, width = change(np.zeros((height, width, 3), np.uint8)).shape[:2]
        output = plan_output(reader.info, target, height, width, frames=frames, **options)
        with FrameWriter(output) as writer:
            for frame in reader:
                writer.write(frame if change is None else replace(frame, pixels=change(frame.pixels)))
    return output


def doubled(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, 0).repeat(2, 1)


def read(source: Path | VideoInfo, frames: range | None = None) -> list[Frame]:
    with FrameReader(source, frames) as reader:
        return list(reader)


def same(some: Sequence[Frame], others: Sequence[Frame]) -> bool:
    return [(frame.index, frame.pts, frame.duration) for frame in some] == [
        (frame.index, frame.pts, frame.duration) for frame in others
    ] and all(np.array_equal(a.pixels, b.pixels) for a, b in zip(some, others, strict=True))


def one_line(error: pytest.ExceptionInfo[ISRError], path: Path) -> str:
    text = str(error.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < 400 + len(str(path))
    return text


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same 40 frames with B-frames and several key frames, in several containers."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = [textured(index) for index in range(40)]
    options = {"g": "12", "bf": "3", "crf": "20"}
    made = {
        name: make_video(folder / f"clip.{name}", pictures, rate=Fraction(24000, 1001), options=options)
        for name in ("mp4", "mkv", "mov")
    }
    made["ts"] = make_video(
        folder / "clip.ts", pictures, options=options, container_options={"output_ts_offset": "7"}
    )
    made["open"] = make_video(
        folder / "open.mkv", pictures, options={**options, "x264-params": "open-gop=1:bframes=3:keyint=12"}
    )
    made["avi"] = make_video(
        folder / "clip.avi", pictures, codec="mpeg4", options={"g": "12"}, max_b_frames=2
    )
    made["webm"] = make_video(folder / "clip.webm", pictures, codec="libvpx", options={"g": "15"})
    return made


# ------------------------------------------------------------------------------------------- what a clip is


def test_probe_says_what_a_telephone_filmed() -> None:
    info = probe(PHONE, timeline=True)
    assert (info.width, info.height, info.coded_size) == (1080, 1920, (1920, 1080))  # upright
    assert (info.frames, info.rate, info.time_base, info.duration) == (
        9,
        30,
        Fraction(1, 600),
        Fraction(3, 10),
    )
    assert (info.kind, info.codec, info.pixel_format, info.bits, info.dtype) == (
        "video",
        "hevc",
        "yuv420p10le",
        10,
        "uint16",
    )
    assert info.colour == Colour(matrix=9, range=1, primaries=9, transfer=18) and info.hdr == "HLG"
    assert [stream.kind for stream in info.streams] == ["audio", "data", "data", "data"]
    assert info.streams[0].codec == "aac" and not info.variable and not info.truncated and not info.interlaced


@pytest.mark.parametrize(
    ("path", "frames", "size", "variable"),
    [
        (FRIDAY, 60, (160, 120), False),
        (VFR, 45, (320, 176), True),
        (TURNED, 30, (176, 320), False),
        (SUBTITLED, 30, (320, 176), False),
        (VP9, 72, (426, 240), False),  # 80 packets
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_frames_are_those_that_a_plain_decoder_brings(
    path: Path, frames: int, size: tuple[int, int], variable: bool
) -> None:
    info = probe(path, timeline=True)
    assert (info.frames, (info.width, info.height), info.variable) == (frames, size, variable)
    got = read(info)
    assert [frame.pts * info.time_base for frame in got] == times_of(path)
    assert [frame.index for frame in got] == list(range(frames))
    assert not any(frame.replaced for frame in got)
    for frame, plain in zip(got, decoded(path), strict=True):
        upright = np.rot90(plain, -1) if path == TURNED else plain
        eight = frame.pixels if frame.pixels.dtype == np.uint8 else frame.pixels / 257
        assert np.abs(eight - upright.astype(float)).mean() < 2.5  # FFmpeg's default is that coarse


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_quantiser_of_h264_is_that_of_the_key_frame(tmp_path: Path, suffix: str) -> None:
    frames = [textured(index) for index in range(6)]
    for asked in (18, 33):
        options = {"x264-params": f"qp={asked}:ipratio=1:keyint=3:scenecut=0"}
        path = make_video(tmp_path / f"{asked}{suffix}", frames, options=options)
        assert [quantiser(probe(path, timeline=True), index) for index in (0, 4)] == [asked, asked]
    path = make_video(tmp_path / f"other{suffix}", frames, codec="mpeg4")
    assert quantiser(probe(path, timeline=True), 0) is None


def test_a_quick_look_costs_no_reading_through() -> None:
    info = probe(FRIDAY)
    assert info.timeline is None and (info.frames, info.rate) == (60, 30)
    with pytest.raises(ValueError, match="timeline=True"):
        _ = info.variable


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25), Fraction(60)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm", ".avi"])
def test_the_frame_rate_is_kept_exactly(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    options = {"bf": "0"} if suffix == ".avi" else {"deadline": "realtime"} if suffix == ".webm" else {}
    source = make_video(
        tmp_path / f"in{suffix}", map(textured, range(24)), rate=rate, codec=codec, options=options
    )
    copy_clip(source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.streams.video[0].average_rate == rate
    assert not probe(tmp_path / f"out{suffix}", timeline=True).variable
    assert times_of(tmp_path / f"out{suffix}") == times_of(source)


def test_hidden_reference_frames_are_no_frames(tmp_path: Path, clips: dict[str, Path]) -> None:
    def hide_the_fifth(number: int, data: bytearray) -> None:
        data[0] &= 0xEF if number == 5 else 0xFF  # show_frame, RFC 6386 section 9.1

    hidden = rewritten(clips["webm"], tmp_path / "hidden.webm", hide_the_fifth)
    got = read(hidden)
    assert len(got) == 39 and not any(frame.replaced for frame in got)
    assert [frame.pts for frame in got] == [int(time * 1000) for time in times_of(hidden)]


def test_interlaced_video_is_recognised(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "fields.mkv", map(textured, range(4)), options={"x264-params": "interlaced=1:tff=1"}
    )
    info = probe(path)
    assert info.interlaced and any("interlaced" in note for note in info.notes)


@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(1)])
def test_the_shape_of_pixels_is_kept(tmp_path: Path, aspect: Fraction) -> None:
    source = make_video(tmp_path / "in.mp4", map(textured, range(3)), sample_aspect_ratio=aspect)
    assert probe(source).pixel_aspect == aspect
    copy_clip(source, tmp_path / "out.mp4", doubled)
    copy_clip(source, tmp_path / "wide.mp4", lambda pixels: pixels.repeat(4, 1).repeat(2, 0))
    copy_clip(source, tmp_path / "part.mp4", lambda pixels: pixels[:16, :40], part=(16, 40))
    wide = aspect if aspect == 1 else aspect / 2
    for name, expected in (("out.mp4", aspect), ("wide.mp4", wide), ("part.mp4", aspect)):
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].sample_aspect_ratio == expected


def test_clips_are_told_from_still_pictures(tmp_path: Path) -> None:
    still, moving = tmp_path / "still.png", tmp_path / "moving.png"
    pictures = [Image.fromarray(textured(index)) for index in range(2)]
    pictures[0].save(still)
    pictures[0].save(moving, save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "still.webp")
    pictures[0].save(tmp_path / "moving.webp", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "one.gif")
    folder = tmp_path / "frames"
    folder.mkdir()
    pictures[0].save(folder / "a1.png")
    (tmp_path / "empty").mkdir()
    found = {path.name for path in [*tmp_path.iterdir(), FRIDAY, tmp_path / "missing.png"] if is_clip(path)}
    assert found == {"moving.png", "moving.webp", "one.gif", "frames", FRIDAY.name}


# ------------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_yuv_is_read_by_its_tagged_matrix_and_range(
    tmp_path: Path, matrix: int, full: bool, bits: int
) -> None:
    rng = np.random.default_rng(matrix)
    rgb = rng.random((32, 32, 3))
    rgb[0, :8] = [[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    # Full-range chroma ends at a half.
    coded = np.minimum(np.rint(yuv_of(rgb, matrix, full, bits)), 2**bits - 1)
    name = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    path = make_coded(
        tmp_path / "in.mkv",
        [coded[..., place] for place in range(3)],
        name,
        colorspace=matrix,
        color_range=1 + full,
    )
    info = probe(path, timeline=True)
    assert (info.colour.matrix, info.colour.range, info.matrix) == (matrix, 1 + full, matrix)
    [frame] = read(info)
    assert frame.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    # Half a level of the coded values is up to 1.3 levels of a colour.
    error = np.abs(frame.pixels / np.iinfo(frame.pixels.dtype).max - rgb) * (2**bits - 1)
    assert error.max() < 2 and error.mean() < 0.6


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("bits", [8, 10])
def test_rgb_goes_back_by_the_same_matrix_and_range(
    tmp_path: Path, matrix: int, full: bool, bits: int
) -> None:
    gray = [np.full((8, 8), 2 ** (bits - 1))] * 3
    name = "yuv444p" if bits == 8 else "yuv444p10le"
    tags = {"colorspace": matrix, "color_range": 1 + full, "color_primaries": 9, "color_trc": 13}
    source = probe(make_coded(tmp_path / "in.mkv", gray, name, **tags), timeline=True)
    rgb = np.random.default_rng(0).random((16, 24, 3))
    rgb[0, 0] = (1, 0, 0)
    top = 255 if bits == 8 else 65535
    pixels = np.rint(rgb * top).astype(np.uint8 if bits == 8 else np.uint16)
    output = plan_output(source, tmp_path / "out.mkv", 16, 24, codec="ffv1", pixel_format=name)
    with FrameWriter(output) as writer:
        writer.write(Frame(0, pixels, 0, 40))
    frame = first_frame(tmp_path / "out.mkv")
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (
        matrix,
        1 + full,
        9,
        13,
    )
    error = np.abs(np.stack(planes(frame), -1) - yuv_of(pixels / top, matrix, full, bits))
    assert error.max() < 1.3 and error.mean() < 0.5
    if not full and bits == 8 and matrix != 9:
        assert [int(plane[0, 0]) for plane in planes(frame)] == [[81, 90, 240], [63, 102, 240]][matrix == 1]


@pytest.mark.parametrize(
    ("width", "height", "matrix"), [(64, 48, 6), (1280, 16, 1), (16, 578, 1), (720, 576, 6)]
)
def test_an_untagged_matrix_is_that_which_players_take(
    tmp_path: Path, width: int, height: int, matrix: int
) -> None:
    rgb = np.broadcast_to(np.array([1.0, 0.0, 0.0]), (height, width, 3))
    coded = np.rint(yuv_of(rgb, matrix, False, 8))
    path = make_coded(tmp_path / "in.mkv", [coded[..., place] for place in range(3)], "yuv444p")
    info = probe(path, timeline=True)
    assert (info.colour.matrix, info.matrix) == (2, matrix)
    [frame] = read(info)
    assert np.abs(frame.pixels.astype(int) - [255, 0, 0]).max() <= 1
    copy_clip(info, tmp_path / "out.mkv", codec="ffv1", pixel_format="yuv444p")
    again = first_frame(tmp_path / "out.mkv")
    assert again.colorspace == matrix  # or a player would take the larger copy by another
    assert [int(plane[0, 0]) for plane in planes(again)] == [int(value) for value in coded[0, 0]]


def test_colours_do_not_wander(tmp_path: Path) -> None:
    """Ten times to RGB and back in 4:2:0: a shift of the chroma samples would add up."""
    y, x = np.mgrid[:64, :96]
    waves = [np.sin(x / 6), np.sin(y / 7), np.cos((x + y) / 9)]
    picture = (128 + 100 * np.stack(waves, -1)).astype(np.uint8)
    path = make_video(tmp_path / "0.mkv", [picture], codec="ffv1", pixel_format="yuv444p", colorspace=6)
    for number in range(10):
        source, path = path, tmp_path / f"{number + 1}.mkv"
        copy_clip(source, path, codec="ffv1", pixel_format="yuv420p")
    error = read(path)[0].pixels.astype(float) - picture
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 40


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("codec", ["libx265", "libx264", "ffv1"])
def test_every_level_of_ten_bits_survives(tmp_path: Path, codec: str, full: bool) -> None:
    low, high = (0, 1023) if full else (64, 940)
    ramp = np.clip(np.arange(1024), low, high).reshape(16, 64).repeat(4, 0).repeat(4, 1)
    gray = np.full((32, 128), 512)
    source = make_coded(
        tmp_path / "in.mkv", [ramp, gray, gray], "yuv420p10le", colorspace=1, color_range=1 + full
    )
    quality: dict[str, Any] = {} if codec == "ffv1" else {"crf": 0}
    output = copy_clip(source, tmp_path / "out.mkv", codec=codec, pixel_format="yuv420p10le", **quality)
    assert output.pixel_format == "yuv420p10le"
    back = planes(first_frame(tmp_path / "out.mkv"))[0].astype(int)
    assert np.abs(back - ramp).max() <= (0 if codec == "ffv1" else 2)  # at 10 bits, crf 0 is not lossless
    assert len(np.unique(back)) > 850


def test_ten_bits_stay_ten_bits_by_default(tmp_path: Path) -> None:
    output = copy_clip(VP9, tmp_path / "out.webm", frames=range(6))
    frame = first_frame(tmp_path / "out.webm")
    assert (frame.format.name, frame.colorspace, frame.color_range) == ("yuv420p10le", 9, 1)
    assert output.codec == "libsvtav1" and not output.notes
    source = read(VP9, range(6))
    back = read(tmp_path / "out.webm")
    for before, after in zip(source, back, strict=True):
        error = (before.pixels.astype(float) - after.pixels) / 257
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 38


def test_hdr_is_kept_and_said_or_refused(tmp_path: Path) -> None:
    info = probe(PHONE, timeline=True)
    small = plan_output(info, tmp_path / "out.mp4", 64, 36, frames=range(2))
    assert any("HLG" in note for note in small.notes) and (small.codec, small.pixel_format) == (
        "libx265",
        "yuv420p10le",
    )
    with FrameWriter(small) as writer:
        for frame in read(info, range(2)):
            writer.write(replace(frame, pixels=frame.pixels[::30, ::30]))
    frame = first_frame(tmp_path / "out.mp4")
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (9, 9, 18, 1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_tag == "hvc1"
    with pytest.raises(RequestError, match="10 bits") as error:
        plan_output(info, tmp_path / "no.mp4", 64, 36, pixel_format="yuv420p")
    one_line(error, tmp_path / "no.mp4")
    assert any("HDR" in note for note in plan_output(info, tmp_path / "frames", 64, 36).notes)


def test_static_hdr10_metadata_goes_along(tmp_path: Path) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    source = make_video(
        tmp_path / "in.mp4",
        map(textured, range(3)),
        codec="libx265",
        pixel_format="yuv420p10le",
        options={"x265-params": f"log-level=none:master-display={display}:max-cll=1000,400"},
        color_primaries=9,
        color_trc=16,
        colorspace=9,
        color_range=1,
    )
    assert probe(source).hdr10 == (display, "1000,400") and probe(source).hdr == "PQ"
    copy_clip(source, tmp_path / "out.mkv")
    frame = first_frame(tmp_path / "out.mkv")
    assert struct.unpack("=2I", bytes(frame.side_data[SideData.CONTENT_LIGHT_LEVEL])[:8]) == (1000, 400)
    assert probe(tmp_path / "out.mkv").hdr10 == (display, "1000,400")


def test_rgb_and_gray_video(tmp_path: Path) -> None:
    pictures = [textured(index) for index in range(2)]
    lossless = make_video(tmp_path / "rgb.mkv", pictures, codec="ffv1", pixel_format="bgr0")
    assert [
        np.array_equal(frame.pixels, plain) for frame, plain in zip(read(lossless), pictures, strict=True)
    ] == [True] * 2
    copy_clip(lossless, tmp_path / "same.mkv", codec="ffv1", pixel_format="bgr0")
    assert all(np.array_equal(a, b) for a, b in zip(decoded(tmp_path / "same.mkv"), pictures, strict=True))
    copy_clip(lossless, tmp_path / "out.mkv", codec="ffv1", pixel_format="yuv444p")
    assert first_frame(tmp_path / "out.mkv").colorspace == 1  # a player would otherwise guess
    for name, unit in (("gray", 1), ("gray10le", 4)):
        gray = make_coded(tmp_path / f"{name}.mkv", [np.full((16, 16), 126 * unit)], name, color_range=1)
        top = 255 if unit == 1 else 65535
        assert read(gray)[0].pixels[0, 0].tolist() == [round((126 - 16) / 219 * top)] * 3
        whole = make_coded(tmp_path / f"{name}_full.mkv", [np.full((16, 16), 126 * unit)], name)
        assert read(whole)[0].pixels[0, 0].tolist() == [round(126 * unit / (256 * unit - 1) * top)] * 3
        copy_clip(gray, tmp_path / "out.mkv", codec="ffv1", pixel_format="yuv420p10le")
        assert int(planes(first_frame(tmp_path / "out.mkv"))[0][0, 0]) == 504


# ------------------------------------------------------------------------------ times, sound and all that


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_variable_times_are_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    copy_clip(VFR, path)
    before, after = times_of(VFR), times_of(path)
    tolerance = Fraction(1, 2000) if suffix == ".mkv" else 0  # its clock has milliseconds
    assert len(before) == len(after) == 45
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= tolerance
    if suffix != ".mkv":
        assert probe(path, timeline=True).duration == probe(VFR, timeline=True).duration


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_any_times_in_any_units_are_kept(tmp_path: Path, codec: str) -> None:
    rng = random.Random(3)
    times = [0]
    for _ in range(49):
        times.append(times[-1] + rng.choice([1, 2, 300, 3003, 90_000]))
    source = uneven_video(tmp_path / "in.mp4", times)
    copy_clip(source, tmp_path / "out.mp4", codec=codec)
    assert times_of(tmp_path / "out.mp4") == times_of(source) == [Fraction(time, 90_000) for time in times]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_is_copied_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    output = copy_clip(FRIDAY, path, doubled)
    assert not output.notes
    before, after = payloads(FRIDAY, "audio"), payloads(path, "audio")
    assert [digest for _, digest in before] == [digest for _, digest in after]
    tolerance = Fraction(1, 2000) if suffix == ".mkv" else 0
    assert max(abs(a - b) for (a, _), (b, _) in zip(before, after, strict=True)) <= tolerance
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video"]  # in the source's order
        assert container.streams.audio[0].language == "eng"
        assert {key.lower(): value for key, value in container.metadata.items()}["title"].startswith(
            "His Girl"
        )
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)]
    with av.open(str(FRIDAY)) as container:
        plain = [frame.to_ndarray() for frame in container.decode(audio=0)]
    assert all(np.array_equal(a, b) for a, b in zip(sound, plain, strict=True))


@pytest.mark.parametrize("late", [0, 13], ids=["together", "video late"])
def test_sound_that_begins_before_the_picture(tmp_path: Path, late: int) -> None:
    """AAC as encoders make it begins with samples that are not played; and frames may begin later than sound."""
    source = tmp_path / "in.mp4"
    tone = (np.sin(np.arange(88_200) / 20) * 20_000).astype(np.int16)
    with av.open(str(source), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=44_100)
        video.width, video.height, video.codec_context.time_base, audio.layout = (
            64,
            48,
            Fraction(1, 25),
            "mono",
        )
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(textured(index), "rgb24")
            frame.pts, frame.time_base = index + late, Fraction(1, 25)
            container.mux(video.encode(frame))
        for start in range(0, len(tone), 1024):
            samples = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "s16", "mono")
            samples.rate, samples.pts = 44_100, start
            container.mux(audio.encode(samples))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    copy_clip(source, tmp_path / "out.mp4")
    assert payloads(tmp_path / "out.mp4", "audio") == payloads(source, "audio")
    assert payloads(source, "audio")[0][0] < 0
    assert times_of(tmp_path / "out.mp4") == times_of(source) and times_of(source)[0] == Fraction(late, 25)
    heard = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            heard.append(np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]))
    assert np.array_equal(*heard)
    copy_clip(source, tmp_path / "out.mkv")
    before, after = (
        (payloads(path, "audio")[0][0], times_of(path)[0]) for path in (source, tmp_path / "out.mkv")
    )
    assert abs((before[0] - before[1]) - (after[0] - after[1])) < 0.001


def test_subtitles_and_a_cover_in_mp4(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    cover = io.BytesIO()
    Image.fromarray(textured(0)).save(cover, "JPEG")
    with av.open(str(FRIDAY)) as film, av.open(str(source), "w") as container:
        video = container.add_stream_from_template(film.streams.video[0], opaque=True)
        words = container.add_mux_stream("mov_text", time_base=Fraction(1, 1000))
        picture = container.add_stream("mjpeg")
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        container.start_encoding()
        image = av.Packet(cover.getvalue())
        image.pts, image.dts, image.stream = 0, 0, picture
        container.mux(image)
        for time, text in ((0, b"Hello"), (1000, b"Good night")):
            packet = av.Packet(len(text).to_bytes(2, "big") + text)
            packet.pts = packet.dts = time
            packet.duration, packet.time_base, packet.stream = 800, Fraction(1, 1000), words
            container.mux(packet)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
    info = probe(source, timeline=True)
    assert info.frames == 60  # the cover is none of them
    copy_clip(info, tmp_path / "out.mp4")
    assert payloads(tmp_path / "out.mp4", "subtitle") == payloads(source, "subtitle")
    with av.open(str(tmp_path / "out.mp4")) as container:
        [kept] = [stream for stream in container.streams.video if stream.codec_context.name == "mjpeg"]
        assert kept.disposition == av.stream.Disposition.attached_pic
        assert bytes(next(container.demux(kept))) == cover.getvalue()


def make_everything(path: Path) -> Path:
    """A Matroska file with sound, two subtitles, an attachment, a cover picture, chapters and tags."""
    font, cover = bytes(range(256)) * 3, io.BytesIO()
    Image.fromarray(textured(0)).save(cover, "JPEG")
    with av.open(str(SUBTITLED)) as words, av.open(str(FRIDAY)) as film, av.open(str(path), "w") as container:
        pairs = [
            (film.streams.video[0], container.add_stream_from_template(film.streams.video[0], opaque=True)),
            (film.streams.audio[0], container.add_stream_from_template(film.streams.audio[0])),
            (words.streams.subtitles[0], container.add_stream_from_template(words.streams.subtitles[0])),
        ]
        pairs[1][1].metadata.update(language="ger", title="Ton")
        pairs[1][1].disposition = av.stream.Disposition.default | av.stream.Disposition.original
        pairs[2][1].metadata.update(language="fre", title="Sous-titres")
        pairs[2][1].disposition = av.stream.Disposition.forced
        container.add_attachment("a font.ttf", "application/x-truetype-font", font)
        picture = container.add_stream("mjpeg")
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        picture.metadata.update(filename="cover.jpg", mimetype="image/jpeg")
        container.metadata.update(title="Everything", ARTIST="someone", DATE="1940")
        second = Fraction(1, 1000)
        container.set_chapters(
            [
                {"id": 1, "start": 0, "end": 700, "time_base": second, "metadata": {"title": "One"}},
                {"id": 2, "start": 700, "end": 2000, "time_base": second, "metadata": {"title": "Two"}},
            ]
        )
        container.start_encoding()
        image = av.Packet(cover.getvalue())
        image.pts = image.dts = 0
        image.stream = picture
        packets = [image]
        for source, stream in pairs:
            source.container.seek(0)
            for packet in source.container.demux(source):
                if packet.size:
                    packet.stream = stream
                    packets.append(packet)
        for packet in packets:
            container.mux(packet)
    return path


def test_all_that_goes_along_in_matroska(tmp_path: Path) -> None:
    source = make_everything(tmp_path / "in.mkv")
    info = probe(source, timeline=True)
    assert sorted(stream.kind for stream in info.streams) == ["attachment", "audio", "subtitle", "video"]
    copy_clip(info, tmp_path / "out.mkv")
    for kind in ("audio", "subtitle"):
        copied = payloads(tmp_path / "out.mkv", kind)
        assert copied == payloads(source, kind) and len(copied) == {"audio": 87, "subtitle": 2}[kind]
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mkv")) as after:
        assert after.chapters() == before.chapters() and len(after.chapters()) == 2
        for key in ("title", "ARTIST", "DATE"):
            assert after.metadata[key] == before.metadata[key]
        for one, other in zip(before.streams, after.streams, strict=True):
            assert (one.type, one.disposition, one.language) == (
                other.type,
                other.disposition,
                other.language,
            )
            assert one.metadata.get("title") == other.metadata.get("title")
        assert before.streams.attachments[0].data == after.streams.attachments[0].data
        assert len(after.streams.video) == 2
        pictures = [
            next(bytes(packet) for packet in container.demux(container.streams.video[-1]))
            for container in (before, after)
        ]
        assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("source", "suffix", "stream", "advice"),
    [
        (SUBTITLED, ".mp4", "subtitle stream 1 (srt", "choose .mkv"),
        (SUBTITLED, ".webm", "subtitle stream 1 (srt", "choose .mkv"),
        (FRIDAY, ".webm", "audio stream 0 (aac)", "choose .mp4 or .mov or .mkv"),
    ],
)
def test_a_stream_that_the_container_cannot_hold_is_refused_beforehand(
    tmp_path: Path, source: Path, suffix: str, stream: str, advice: str
) -> None:
    info = probe(source, timeline=True)
    with pytest.raises(RequestError) as error:
        plan_output(info, tmp_path / f"out{suffix}", 96, 128)
    text = one_line(error, tmp_path / f"out{suffix}")
    assert f"{suffix} cannot hold {stream}" in text and advice in text
    assert not list(tmp_path.iterdir())
    kinds = {"audio", "subtitle"} - {stream.split()[0]}
    output = plan_output(info, tmp_path / f"out{suffix}", 96, 128, copy=kinds)
    assert any("left out" in note for note in output.notes) and not output.copied


def test_a_broadcast_keeps_its_clock_or_begins_at_zero(tmp_path: Path, clips: dict[str, Path]) -> None:
    start = times_of(clips["ts"])[0]
    assert start > 1
    for suffix, begins in ((".ts", start), (".mp4", 0), (".mkv", 0)):
        copy_clip(clips["ts"], tmp_path / f"out{suffix}")
        after = times_of(tmp_path / f"out{suffix}")
        moved = [time - after[0] for time in after]
        assert abs(after[0] - begins) < Fraction(1, 10) and len(after) == 40
        # (a transport stream may begin a moment later: its clock cannot be negative)
        for was, now in zip(times_of(clips["ts"]), moved, strict=True):
            assert abs(was - start - now) <= Fraction(1, 1000)


def test_avi_needs_an_even_rate(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="even frame rate") as error:
        plan_output(probe(VFR, timeline=True), tmp_path / "out.avi", 176, 320)
    one_line(error, tmp_path / "out.avi")
    copy_clip(FRIDAY, tmp_path / "out.avi", copy=())
    assert len(decoded(tmp_path / "out.avi")) == 60
    assert probe(tmp_path / "out.avi", timeline=True).rate == 30


# ---------------------------------------------------------------------------------------- rotation and sizes


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_turned_clip_stays_as_its_source_says(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    output = copy_clip(TURNED, path, doubled, codec="libx264", crf=1)
    assert (output.width, output.height, output.coded_size) == (352, 640, (640, 352))
    frame = first_frame(path)
    assert (frame.width, frame.height, frame.rotation) == (640, 352, -90)
    shown = decoded(path)[0]
    assert np.abs(shown - doubled(decoded(TURNED)[0]).astype(float)).mean() < 2


def test_a_turned_clip_is_upright_where_that_cannot_be_said(tmp_path: Path) -> None:
    copy_clip(TURNED, tmp_path / "out.avi")
    frame = first_frame(tmp_path / "out.avi")
    assert (frame.width, frame.height, frame.rotation) == (176, 320, 0)
    upright = np.rot90(decoded(TURNED)[0], -1)
    assert np.abs(decoded(tmp_path / "out.avi")[0] - upright.astype(float)).mean() < 3


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_all_eight_ways_to_hold_a_camera(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    picture = textured(0, 32, 48)
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0"
        stream.set_display_rotation(degrees, hflip=mirrored)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # Counter-clockwise, and the mirroring follows the turn.
    expected = np.rot90(picture, degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    [frame] = read(path)
    assert np.array_equal(frame.pixels, expected)
    copy_clip(path, tmp_path / "out.mkv", codec="ffv1", pixel_format="bgr0")
    assert np.array_equal(decoded(tmp_path / "out.mkv")[0], picture)
    assert np.array_equal(read(tmp_path / "out.mkv")[0].pixels, expected)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".gif", ".webp", ".png"])
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(16, 41), width=st.integers(16, 41))
def test_every_size_is_written_as_it_is(tmp_path: Path, suffix: str, height: int, width: int) -> None:
    source = probe(FRIDAY, timeline=True)
    path = tmp_path / f"out{suffix}"
    output = plan_output(source, path, height, width, frames=range(2), copy=())
    with FrameWriter(output) as writer:
        for index in range(2):
            writer.write(Frame(index, textured(index, height, width), 400 * index, 400))
    again = read(path)
    assert [frame.pixels.shape for frame in again] == [(height, width, 3)] * 2
    if suffix in (".mp4", ".mkv"):
        odd = height % 2 == 1 or width % 2 == 1
        assert output.pixel_format == ("yuv444p" if odd else "yuv420p")
        assert any("odd side" in note for note in output.notes) == odd


def test_an_odd_size_in_420_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="libx264") as error:
        plan_output(probe(FRIDAY, timeline=True), tmp_path / "out.mp4", 33, 64, pixel_format="yuv420p")
    one_line(error, tmp_path / "out.mp4")


# ------------------------------------------------------------------------------------ where decoding begins


@pytest.mark.parametrize("name", ["mp4", "mkv", "mov", "ts", "webm", "open", "avi"])
def test_frames_are_the_same_wherever_reading_begins(clips: dict[str, Path], name: str) -> None:
    info = probe(clips[name], timeline=True)
    everything = read(info)
    assert len(everything) == 40 and not any(frame.replaced for frame in everything)
    for first in (0, 1, 5, 11, 12, 13, 23, 24, 25, 30, 36, 39):
        assert same(read(info, range(first, 40)), everything[first:]), first
    assert same(read(info, range(7, 21)), everything[7:21])
    assert read(info, range(5, 5)) == []


def test_a_stretch_of_time_is_exact_to_the_frame() -> None:
    info = probe(FRIDAY, timeline=True)
    assert info.frames_between() == range(60)
    assert info.frames_between(0.5, 0.5) == range(15, 30)
    assert info.frames_between(0.1) == range(3, 60)  # frame 3 begins at a tenth of a second
    assert info.frames_between(Fraction(1, 30) + Fraction(1, 10_000), 1) == range(2, 32)
    assert info.frames_between(duration=0.01) == range(1)
    assert probe(VFR, timeline=True).frames_between(0.05, 0.2) == range(2, 5)
    for start, duration in ((2.5, None), (0.001, 0.01)):
        with pytest.raises(RequestError, match="no frame begins") as error:
            info.frames_between(start, duration)
        one_line(error, FRIDAY)
    with pytest.raises(RequestError, match="it has 60"):
        FrameReader(info, range(50, 61))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_part_begins_at_zero_with_its_sound_and_chapters(tmp_path: Path, suffix: str) -> None:
    source = make_everything(tmp_path / "in.mkv")
    info = probe(source, timeline=True)
    chosen = info.frames_between(0.5, 0.75)
    copy = ("audio", "subtitle") if suffix == ".mkv" else ("audio",)
    copy_clip(info, tmp_path / f"out{suffix}", frames=chosen, copy=copy)
    begin = times_of(source)[chosen.start]
    after = times_of(tmp_path / f"out{suffix}")
    assert [round(float(time), 3) for time in after] == [
        round(float(time - begin), 3) for time in times_of(source)[chosen.start : chosen.stop]
    ]
    end = times_of(source)[chosen.stop]  # when the last one has been seen
    inside = [(time - begin, digest) for time, digest in payloads(source, "audio") if begin <= time < end]
    sound = payloads(tmp_path / f"out{suffix}", "audio")
    assert [digest for _, digest in sound] == [digest for _, digest in inside] and len(sound) > 25
    assert max(abs(a - b) for (a, _), (b, _) in zip(sound, inside, strict=True)) < 0.0015  # rounded twice
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        titles = [
            (chapter["metadata"]["title"], chapter["start"] * chapter["time_base"])
            for chapter in container.chapters()
        ]
        assert [title for title, _ in titles] == ["One", "Two"] and abs(titles[1][1] - Fraction(1, 5)) < 0.002
    if suffix == ".mkv":
        # One cue is seen from 0.2 to 0.9 s, the next from 1.0 to 1.9 s.
        cues = payloads(tmp_path / "out.mkv", "subtitle")
        assert [float(time) for time, _ in cues] == [0, 0.5]
        assert [digest for _, digest in cues] == [digest for _, digest in payloads(source, "subtitle")]


# ------------------------------------------------------------------------------------------- damaged files


def damaged(source: Path, target: Path, numbers: Iterable[int], how: str) -> Path:
    """A copy of an MP4 with the payload of some packets of its video (in the order of the file) spoiled."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    rng = random.Random(0)
    for position, size in (places[number] for number in numbers):
        if how == "noise":
            data[position + 4 : position + size] = rng.randbytes(size - 4)
        else:
            middle = position + size // 2
            data[middle : middle + 6] = bytes(byte ^ 0x5A for byte in data[middle : middle + 6])
    target.write_bytes(data)
    return target


def pts_of_packet(path: Path, number: int) -> int:
    with av.open(str(path)) as container:
        return [packet.pts for packet in container.demux(video=0) if packet.size][number]


@pytest.mark.parametrize("how", ["noise", "flipped"])
@pytest.mark.parametrize("number", [10, 30, 58])
def test_a_broken_frame_is_its_last_good_neighbour(tmp_path: Path, number: int, how: str) -> None:
    path = damaged(FRIDAY, tmp_path / "in.mp4", [number], how)
    info = probe(path, timeline=True)
    with FrameReader(info) as reader:
        frames = list(reader)
    assert [frame.pts * info.time_base for frame in frames] == times_of(FRIDAY)
    broken = int(np.searchsorted(info.timeline.pts, pts_of_packet(FRIDAY, number)))
    assert reader.replaced == [broken] and [frame.index for frame in frames if frame.replaced] == [broken]
    assert np.array_equal(frames[broken].pixels, frames[broken - 1].pixels)
    # The frame is the same for whoever begins at it, however far back its last good neighbour is.
    assert same(read(info, range(broken, broken + 1)), [frames[broken]])
    output = copy_clip(info, tmp_path / "out.mp4")
    assert times_of(tmp_path / "out.mp4") == times_of(FRIDAY) and output.frames == range(60)
    assert payloads(tmp_path / "out.mp4", "audio") == payloads(FRIDAY, "audio")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["noise", "flipped"])
def test_whoever_begins_at_a_broken_frame_sees_what_others_see(tmp_path: Path, how: str) -> None:
    """Which of the decoder's threads is done first decides nothing."""
    for number in range(1, 60):
        info = probe(damaged(FRIDAY, tmp_path / "in.mp4", [number], how), timeline=True)
        frames = read(info)
        for index in [frame.index for frame in frames if frame.replaced][:1]:
            for near in range(max(index - 1, 0), min(index + 2, len(frames))):
                assert same(read(info, range(near, near + 1)), [frames[near]]), (number, near)


def test_a_lost_key_frame_leaves_no_hole(tmp_path: Path) -> None:
    path = damaged(FRIDAY, tmp_path / "in.mp4", [24], "noise")  # a key frame in the middle
    frames = read(path)
    good = read(FRIDAY)
    assert [frame.pts for frame in frames] == [frame.pts for frame in good]
    assert frames[24].replaced and np.array_equal(frames[24].pixels, frames[23].pixels)
    assert all(np.array_equal(frames[k].pixels, good[k].pixels) for k in (*range(20), *range(35, 60)))
    for first in (24, 27, 36):
        assert same(read(path, range(first, 60))[:1], frames[first : first + 1])


def test_before_the_first_good_frame_there_is_the_first_good_frame(tmp_path: Path) -> None:
    path = damaged(FRIDAY, tmp_path / "in.mp4", range(24), "noise")
    frames = read(path)
    assert len(frames) == 60 and all(frame.replaced for frame in frames[:24]) and not frames[24].replaced
    assert all(np.array_equal(frame.pixels, frames[24].pixels) for frame in frames[:24])
    assert np.array_equal(read(path, range(3, 4))[0].pixels, frames[24].pixels)


def test_nothing_to_decode_is_one_line(tmp_path: Path) -> None:
    path = damaged(FRIDAY, tmp_path / "in.mp4", range(60), "noise")
    with pytest.raises(RequestError, match="not one frame can be decoded") as error:
        read(path)
    one_line(error, path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_cut_off_file_ends_where_its_video_ends(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".avi":
        rng = np.random.default_rng(0)
        noise = (rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(60))
        make_video(whole, noise, codec="mpeg4", options={"qscale": "6"})
    else:
        copy_clip(FRIDAY, whole)  # with its index in front
    data = whole.read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: len(data) * 6 // 10])
    info, complete = probe(path, timeline=True), probe(whole, timeline=True)
    assert info.truncated and not complete.truncated
    frames = read(info)
    assert 20 < len(frames) == info.frames < 55 and not any(frame.replaced for frame in frames[:-4])
    expected = read(complete)[: len(frames) - 4]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, expected, strict=False))
    copy_clip(info, tmp_path / f"out{suffix}")
    assert len(times_of(tmp_path / f"out{suffix}")) == len(frames)
    if suffix != ".avi":
        end = (frames[-1].pts + frames[-1].duration) * info.time_base
        sound = payloads(tmp_path / f"out{suffix}", "audio")
        assert sound and sound[-1][0] < end
        assert sound == payloads(whole, "audio")[: len(sound)]


def test_a_file_without_its_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    data = FRIDAY.read_bytes()
    assert data.rindex(b"moov") > len(data) // 2
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(RequestError, match="cut off") as error:
        probe(path)
    one_line(error, path)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    pictures = [textured(index, 32, 48) for index in range(6)]
    files = {}
    for suffix, codec in (
        (".mp4", "libx264"),
        (".mkv", "libx265"),
        (".webm", "libvpx-vp9"),
        (".avi", "mpeg4"),
        (".ts", "mpeg2video"),
    ):
        # Without its cutree, in which x265 4.2 writes beyond its memory for frames less than 64 wide.
        options = {"x265-params": "log-level=none:cutree=0"} if codec == "libx265" else {}
        files[suffix] = make_video(
            folder / f"a{suffix}", pictures * 3, codec=codec, options=options
        ).read_bytes()
    images = [Image.fromarray(picture) for picture in pictures]
    for suffix in (".gif", ".webp", ".png"):
        images[0].save(folder / f"a{suffix}", save_all=True, append_images=images[1:], duration=40)
        files[suffix] = (folder / f"a{suffix}").read_bytes()
    return files


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_makes_more_than_one_line(
    tmp_path: Path, small_files: dict[str, bytes], data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from(sorted(small_files)))
    content = bytearray(small_files[suffix])
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + 4] = data.draw(st.binary(min_size=0, max_size=6))
    content = content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path / f"in{suffix}"
    path.write_bytes(content)
    try:
        with FrameReader(path) as reader:
            frames = list(reader)
        assert len(frames) == reader.info.frames
    except ISRError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


# ----------------------------------------------------------------------------------- segments and resuming


def in_segments(info: VideoInfo, output: Output, folder: Path, starts: Sequence[int]) -> list[Path]:
    paths = []
    for first, last in zip(starts, [*starts[1:], output.frames.stop], strict=True):
        paths.append(folder / f"{first:06d}.nut")
        with FrameReader(info, range(first, last)) as reader, SegmentWriter(output, paths[-1]) as writer:
            for frame in reader:
                writer.write(frame)
        assert writer.count == last - first
    return paths


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mp4", "libx264"), (".mov", "libx265"), (".mkv", "libx264"), (".mkv", "ffv1"), (".ts", "libx264"),
     (".avi", "libx264"), (".mp4", "libsvtav1"), (".mkv", "libvpx-vp9")],
)  # fmt: skip
def test_segments_joined_are_one_film(tmp_path: Path, suffix: str, codec: str) -> None:
    info = probe(FRIDAY, timeline=True)
    output = plan_output(info, tmp_path / f"out{suffix}", info.height, info.width, codec=codec)
    paths = in_segments(info, output, tmp_path, [0, 1, 17, 18, 45])
    alone = [frame for path in paths for frame in decoded(path, None)]
    for path in paths:
        with av.open(str(path)) as container:
            assert next(container.demux(video=0)).is_keyframe
    join(output, paths)
    joined = tmp_path / f"out{suffix}"
    together = decoded(joined, None)
    assert len(together) == 60 and all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    after = times_of(joined)
    tolerance = Fraction(1, 1000) if suffix in (".mkv", ".ts") else 0
    for was, now in zip(times_of(FRIDAY), after, strict=True):
        assert abs(was - (now - after[0])) <= tolerance
    with av.open(str(joined)) as container:
        stamps = [packet.dts for packet in container.demux(video=0) if packet.size and packet.dts is not None]
        assert stamps == sorted(set(stamps))
    sound = payloads(joined, "audio")
    if suffix != ".ts":  # where every packet gets a header
        assert [digest for _, digest in sound] == [digest for _, digest in payloads(FRIDAY, "audio")]
    if suffix != ".avi":  # where FFmpeg makes up the times of frames
        before = payloads(FRIDAY, "audio")[0][0] - times_of(FRIDAY)[0]
        assert abs(sound[0][0] - after[0] - before) < Fraction(1, 40)
    # Whoever resumes writes the same file again.
    again = tmp_path / "again"
    again.mkdir()
    resumed = in_segments(info, replace(output, frames=range(18)), again, [1, 17])
    assert [path.read_bytes() for path in resumed] == [path.read_bytes() for path in paths[1:3]]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
def test_what_ran_before_does_not_change_the_bytes(tmp_path: Path, codec: str) -> None:
    """Memory that was used before is full of something (glibc fills it when asked to), which nothing may read."""
    code = """
import hashlib, sys
from isr.io.clips import Frame, SegmentWriter, plan_output, probe
from pictures import photograph
large = photograph(128, 252, seed=3)
output = plan_output(probe(sys.argv[1], timeline=True), sys.argv[2] + ".mkv", 128, 192, codec=sys.argv[3])
with SegmentWriter(output, sys.argv[2] + ".nut") as writer:
    for index in range(60):
        writer.write(Frame(index, large[:, index : index + 192], 400 * index, 400))
print(hashlib.md5(open(sys.argv[2] + ".nut", "rb").read()).hexdigest())
"""
    made = set()
    for filling in ("0", "85", "170"):
        # Large blocks, too: fresh ones from the system are all zeroes.
        env = {"MALLOC_PERTURB_": filling, "MALLOC_MMAP_THRESHOLD_": "1000000000"}
        made.add(run_python("-c", code, str(FRIDAY), str(tmp_path / filling), codec, env=env))
    assert len(made) == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
def test_av1_leaves_the_process_as_it_was_scheduled(tmp_path: Path) -> None:
    """For root, SVT-AV1 makes whoever opens it real-time, and nothing else on the machine runs any more."""
    code = """
import os, sys
from isr.io.clips import Frame, SegmentWriter, join, plan_output, probe
from pictures import photograph
picture = photograph(64, 64, seed=3)
output = plan_output(probe(sys.argv[1], timeline=True), sys.argv[2] + ".mkv", 64, 64, codec="libsvtav1")
with SegmentWriter(output, sys.argv[2] + ".nut") as writer:
    for index in range(4):
        writer.write(Frame(index, picture, 400 * index, 400))
        print({os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")})
print(os.sched_getscheduler(0))
"""
    assert run_python("-c", code, str(FRIDAY), str(tmp_path / "out")).split() == ["{0}"] * 4 + ["0"]


def test_uneven_times_fit_together_at_the_seams(tmp_path: Path) -> None:
    rng = random.Random(1)
    times = [0]
    for _ in range(59):
        times.append(times[-1] + rng.choice([1, 500, 4000]))
    source = uneven_video(tmp_path / "in.mp4", times)
    info = probe(source, timeline=True)
    output = plan_output(info, tmp_path / "out.mp4", 48, 64)
    join(output, in_segments(info, output, tmp_path, [0, 10, 23, 24, 50]))
    assert times_of(tmp_path / "out.mp4") == times_of(source)
    assert probe(tmp_path / "out.mp4", timeline=True).duration == info.duration


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9"])
def test_segments_of_a_few_frames(tmp_path: Path, codec: str) -> None:
    """Fewer than an encoder holds back, which is when x265 makes up decoding times."""
    info = probe(FRIDAY, timeline=True)
    output = plan_output(info, tmp_path / "out.mkv", 120, 160, frames=range(10, 20), codec=codec, copy=())
    for _ in range(5):
        join(output, in_segments(info, output, tmp_path, [10, 11, 13, 14, 17, 19]))
        assert [round(float(time) * 30) for time in times_of(tmp_path / "out.mkv")] == list(range(10))


def test_segments_of_another_plan_are_refused(tmp_path: Path) -> None:
    info = probe(FRIDAY, timeline=True)
    large, small = (plan_output(info, tmp_path / "out.mp4", height, 64, copy=()) for height in (64, 48))
    assert large.record() != small.record() and large.record() == replace(large).record()
    paths = []
    for output in (large, small):
        paths.append(tmp_path / f"{output.height}.nut")
        with SegmentWriter(output, paths[-1]) as writer:
            writer.write(Frame(0, textured(0, output.height, 64), 0, 400))
    with pytest.raises(RequestError, match="other settings") as error:
        join(large, paths)
    one_line(error, paths[1])
    with pytest.raises(RequestError, match="no such file") as error:
        join(large, [paths[0], tmp_path / "gone.nut"])
    one_line(error, tmp_path / "gone.nut")
    paths[0].write_bytes(paths[0].read_bytes()[:40])
    with pytest.raises(RequestError) as error:
        join(large, paths[:1])
    one_line(error, paths[0])
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "frames"])
def test_nothing_half_written_is_left(tmp_path: Path, name: str) -> None:
    target = tmp_path / "made" / name
    if name != "frames":
        target.parent.mkdir()
        target.write_bytes(b"before")
    info = probe(FRIDAY, timeline=True)
    output = plan_output(info, target, 48, 64, copy=())
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), FrameWriter(output) as writer:
            writer.write(Frame(0, textured(0), 0, 400))
            raise ZeroDivisionError
        with (
            pytest.raises(KeyboardInterrupt),
            SegmentWriter(output, tmp_path / "made" / "one.nut") as segment,
        ):
            segment.write(Frame(0, textured(0), 0, 400))
            raise KeyboardInterrupt
    if name == "frames":
        assert [path.name for path in target.iterdir()] == ["frame_000001.png"]  # each of them is whole
        shutil.rmtree(target)
        assert not list(target.parent.iterdir())
    else:
        assert [path.name for path in target.parent.iterdir()] == [name] and target.read_bytes() == b"before"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
import numpy as np
from isr.errors import ISRError
from isr.io.clips import Frame, FrameWriter, plan_output, probe
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))  # no file gets larger
noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
output = plan_output(probe(sys.argv[1], timeline=True), sys.argv[2], 120, 160)
try:
    with FrameWriter(output) as writer:
        for index in range(60):
            writer.write(Frame(index, np.roll(noise, index, 1), 400 * index, 400))
except ISRError as error:
    print(type(error).__name__, error)
"""
    target = tmp_path / "out.mp4"
    said = run_python("-c", code, str(FRIDAY), str(target))
    assert said.count("\n") == 1 and "File too large" in said and str(tmp_path) in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clip(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/io")
import numpy as np, psutil
from dataclasses import replace
from test_video import make_video, textured
from isr.io.clips import FrameReader, FrameWriter, plan_output
folder = Path(sys.argv[1])
frames = [textured(index, 120, 160) for index in range(8)]
source = make_video(folder / "in.mp4", (frames[index % 8] for index in range(1500)))
used = []
with FrameReader(source) as reader:
    with FrameWriter(plan_output(reader.info, folder / "out.mp4", 240, 320)) as writer:
        for frame in reader:
            writer.write(replace(frame, pixels=frame.pixels.repeat(2, 0).repeat(2, 1)))
            if frame.index in (500, 1499):
                used.append(psutil.Process().memory_info().rss)
used.append(psutil.Process().memory_info().rss)
print(max(used) - used[0])
"""
    raw = 1000 * 320 * 240 * 3  # of the frames in between
    assert int(run_python("-c", code, str(tmp_path))) < raw / 10


# ------------------------------------------------------------------------------------- animations


ANIMATIONS = {"gif": "GIF", "png": "PNG", "webp": "WEBP"}


def make_animation(path: Path, frames: Sequence[np.ndarray], delays: Sequence[int], loop: int | None) -> Path:
    """By Pillow; delays in milliseconds."""
    pictures = [Image.fromarray(frame) for frame in frames]
    more = {} if loop is None else {"loop": loop}
    quality = {"lossless": True} if path.suffix == ".webp" else {}
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=list(delays), disposal=2, **more, **quality
    )
    return path


def delays_of(path: Path) -> list[float]:
    found = []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            found.append(float(image.info.get("duration", 0)))
    return found


@pytest.mark.parametrize("into", ANIMATIONS)
@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_animations_keep_frames_delays_and_loops(tmp_path: Path, suffix: str, into: str) -> None:
    frames = [textured(index) for index in (0, 5, 10, 15)]
    delays = [40, 100, 20, 500]
    path = make_animation(tmp_path / f"in.{suffix}", frames, delays, 3)
    info = probe(path)
    assert (info.kind, info.container, info.frames, info.channels) == ("animation", ANIMATIONS[suffix], 4, 3)
    assert [round(float(delay * info.time_base * 1000)) for delay in info.timeline.durations] == delays
    got = read(info)
    assert [frame.pts * info.time_base for frame in got] == [
        Fraction(time, 1000) for time in (0, 40, 140, 160)
    ]
    for frame, made in zip(got, frames, strict=True):
        assert np.abs(frame.pixels - made.astype(float)).mean() < (12 if suffix == "gif" else 0.01)
    target = tmp_path / f"out.{into}"
    copy_clip(info, target, doubled, quality=100)
    assert delays_of(target) == delays
    with Image.open(target) as image, Image.open(path) as original:
        assert image.size == (128, 96)
        times = {"gif": 4, "png": 3, "webp": 3}  # a GIF says how often it is repeated
        assert original.info["loop"] == 3
        assert image.info["loop"] == 3 + times[suffix] - times[into]
    for frame, made in zip(read(target), got, strict=True):
        error = np.abs(frame.pixels - doubled(made.pixels).astype(float)).mean()
        assert error < 12 if into == "gif" else error == 0


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_equal_and_instant_frames_are_frames(tmp_path: Path, suffix: str) -> None:
    """Pillow would merge them; so the source is made by FFmpeg's GIF encoder, and then of the copy."""
    source = tmp_path / "in.gif"
    make_video(
        source,
        [textured(0), textured(0), textured(9), textured(9)],
        codec="gif",
        pixel_format="rgb8",
        times=[0, 0 + 10, 20, 30],
        time_base=Fraction(1, 100),
    )
    data = source.read_bytes()
    controls = [place for place in range(len(data) - 8) if data[place : place + 3] == b"\x21\xf9\x04"]
    assert len(controls) == 4
    spoiled = bytearray(data)
    spoiled[controls[1] + 4 : controls[1] + 6] = bytes(2)  # no delay at all: browsers take 100 ms
    source.write_bytes(spoiled)
    info = probe(source)
    assert [frame.pts * info.time_base for frame in read(info)] == [Fraction(k, 10) for k in range(4)]
    copy_clip(info, tmp_path / f"out.{suffix}")
    again = delays_of(tmp_path / f"out.{suffix}")
    assert again[:3] == [100, 0, 100] and len(again) == 4
    copy_clip(probe(tmp_path / f"out.{suffix}"), tmp_path / f"again.{suffix}")
    assert delays_of(tmp_path / f"again.{suffix}") == again


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_transparency_stays_and_is_laid_over_white_in_video(tmp_path: Path, suffix: str) -> None:
    frames = []
    for index in (0, 8):
        frame = np.dstack([textured(index), np.full((48, 64), 255, np.uint8)])
        frame[8 + index : 24 + index, 16:32, 3] = 0
        frames.append(frame)
    path = make_animation(tmp_path / f"in.{suffix}", frames, [100, 100], 0)
    info = probe(path)
    assert info.channels == 4
    got = read(info)
    for frame, made in zip(got, frames, strict=True):
        assert np.array_equal(frame.pixels[..., 3], made[..., 3])
    copy_clip(info, tmp_path / f"out.{suffix}", doubled, quality=100)
    for frame, made in zip(read(tmp_path / f"out.{suffix}"), frames, strict=True):
        assert np.array_equal(frame.pixels[..., 3], doubled(made)[..., 3])
    output = copy_clip(info, tmp_path / "out.mp4", crf=1)
    assert any("white" in note for note in output.notes)
    assert decoded(tmp_path / "out.mp4")[0][12:20, 20:28].min() > 250


def test_a_film_becomes_an_animation_in_time(tmp_path: Path) -> None:
    """At 30 frames per second a GIF has delays of 3 and 4 hundredths: together, no less and no more."""
    output = copy_clip(FRIDAY, tmp_path / "out.gif", lambda pixels: pixels[::4, ::4])
    assert any("sound" in note for note in output.notes)
    delays = delays_of(tmp_path / "out.gif")
    assert len(delays) == 60 and set(delays) == {30, 40} and sum(delays) == 2000
    with Image.open(tmp_path / "out.gif") as image:
        assert image.info["loop"] == 0
    copy_clip(FRIDAY, tmp_path / "out.png", lambda pixels: pixels[::4, ::4], frames=range(5))
    assert delays_of(tmp_path / "out.png") == [pytest.approx(1000 / 30)] * 5
    back = copy_clip(tmp_path / "out.gif", tmp_path / "back.mp4")
    assert back.kind == "video" and len(times_of(tmp_path / "back.mp4")) == 60
    assert [float(time) for time in times_of(tmp_path / "back.mp4")][-1] == pytest.approx(2 - 0.03, abs=0.011)


def test_an_animation_that_breaks_off_has_the_frames_before(tmp_path: Path) -> None:
    path = make_animation(tmp_path / "in.png", [textured(k) for k in (0, 9, 18)], [50] * 3, 0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    info = probe(path)
    assert info.truncated and len(read(info)) == info.frames in (1, 2)
    assert not probe(
        make_animation(tmp_path / "whole.png", [textured(0), textured(1)], [50, 50], 0)
    ).truncated


def test_a_png_for_old_readers_is_not_part_of_the_animation(tmp_path: Path) -> None:
    pictures = [Image.fromarray(textured(k)) for k in (30, 0, 9)]
    path = tmp_path / "in.png"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], default_image=True, duration=70)
    info = probe(path)
    assert (info.frames, info.truncated) == (2, False)
    for frame, number in zip(read(info), (0, 9), strict=True):
        assert np.array_equal(frame.pixels, textured(number)) and frame.duration * info.time_base == Fraction(
            7, 100
        )


def test_an_animation_has_a_largest_side(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="16383") as error:
        plan_output(probe(FRIDAY, timeline=True), tmp_path / "out.webp", 10, 16_384)
    one_line(error, tmp_path / "out.webp")


# ------------------------------------------------------------------------------------------------- folders


def make_folder(folder: Path, numbers: Iterable[int], name: str = "shot {}.png", **save: Any) -> Path:
    folder.mkdir()
    for number in numbers:
        Image.fromarray(textured(number)).save(folder / name.format(number), **save)
    return folder


def test_numbered_pictures_are_a_clip(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", [1, 2, 9, 10, 11, 100])
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden_7.png").write_bytes(b"")
    info = probe(folder, timeline=True, rate=Fraction(30000, 1001))
    assert (info.kind, info.frames, info.rate, info.width) == ("folder", 6, Fraction(30000, 1001), 64)
    assert info.notes == ("frames are missing: 3 to 8, 12 to 99",)
    got = read(info)
    assert [frame.name for frame in got] == [f"shot {number}" for number in (1, 2, 9, 10, 11, 100)]
    assert all(
        np.array_equal(frame.pixels, textured(number))
        for frame, number in zip(got, (1, 2, 9, 10, 11, 100), strict=True)
    )
    copy_clip(info, tmp_path / "out", doubled)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in folder.glob("shot*")
    )
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "shot 9.png")), doubled(textured(9)))
    copy_clip(info, tmp_path / "out.mp4")
    assert times_of(tmp_path / "out.mp4") == [k * Fraction(1001, 30000) for k in range(6)]


def test_a_folder_keeps_depth_alpha_profile_and_format(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (8, 9, 4), dtype=np.uint16)
    metadata = picture_files.Metadata(xmp=b"<x:xmpmeta/>", resolution=(300, 300))
    for number in range(3):
        picture_files.write(folder / f"{number}.tif", picture_files.Picture(deep + number, metadata))
    info = probe(folder, timeline=True)
    assert (info.dtype, info.channels, info.container) == ("uint16", 4, ".tif")
    copy_clip(info, tmp_path / "out")
    again = picture_files.read(tmp_path / "out" / "1.tif")
    assert np.array_equal(again.pixels, deep + 1) and again.metadata.xmp == metadata.xmp
    copy_clip(FRIDAY, tmp_path / "frames", suffix=".jpg", quality=80, frames=range(2, 4))
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [
        "frame_000003.jpg",
        "frame_000004.jpg",
    ]


def test_what_a_folder_of_pictures_cannot_hold_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for number in range(2):
        floats = picture_files.Picture(np.full((8, 8, 4), 0.5, np.float32))
        picture_files.write(folder / f"{number}.tif", floats)
    for suffix, lost in {
        ".tif": (),
        ".png": ("png has only 16 bits",),
        ".jpg": ("jpg has no transparency: laid over white and only 8 bits",),
    }.items():
        assert plan_output(probe(folder, timeline=True), tmp_path / "out", 8, 8, suffix=suffix).notes == lost


def test_pictures_that_cannot_be_read_are_their_neighbours(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", range(6), "{:03d}.png")
    for number in (0, 3, 4):
        (folder / f"{number:03d}.png").write_bytes(b"nothing")
    with FrameReader(folder) as reader:
        frames = list(reader)
    assert reader.replaced == [0, 3, 4]
    shown = [1, 1, 2, 2, 2, 5]
    assert all(
        np.array_equal(frame.pixels, textured(number)) for frame, number in zip(frames, shown, strict=True)
    )
    assert np.array_equal(read(folder, range(4, 5))[0].pixels, textured(2))
    copy_clip(folder, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_folders_that_are_no_clip(tmp_path: Path) -> None:
    cases = {
        "nothing": ([], "no pictures"),
        "names": (["a.png"], "has no number"),
        "two": (["a1.png", "b2.png"], "not numbered alike"),
        "twice": (["a1.png", "a01.png"], "the same number"),
    }
    for name, (files, message) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            Image.fromarray(textured(0)).save(folder / file)
        with pytest.raises(RequestError, match=message) as error:
            probe(folder)
        one_line(error, folder)
    folder = make_folder(tmp_path / "sizes", [1, 2])
    Image.fromarray(textured(0, 10, 10)).save(folder / "shot 2.png")
    with pytest.raises(RequestError, match="have one size"):
        probe(folder, timeline=True)


def test_a_folder_is_written_again_from_its_segments(tmp_path: Path) -> None:
    info = probe(FRIDAY, timeline=True)
    output = plan_output(info, tmp_path / "out", 120, 160, frames=range(6))
    paths = in_segments(info, output, tmp_path, [0, 4])
    join(output, paths)
    assert len(list((tmp_path / "out").iterdir())) == 6
    (tmp_path / "out" / "frame_000002.png").unlink()
    with pytest.raises(RequestError, match="is gone") as error:
        join(output, paths)
    one_line(error, tmp_path / "out" / "frame_000002.png")


# ------------------------------------------------------------------------------------------------ refusals


def test_what_is_no_clip_is_refused_in_one_line(tmp_path: Path) -> None:
    text, empty, sound, still = (
        tmp_path / name for name in ("text.mp4", "empty.mp4", "sound.mp4", "still.png")
    )
    text.write_text("this is no film")
    empty.write_bytes(b"")
    Image.fromarray(textured(0)).save(still)
    with av.open(str(FRIDAY)) as film, av.open(str(sound), "w") as container:
        stream = container.add_stream_from_template(film.streams.audio[0])
        for packet in film.demux(film.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    cases = {
        text: "cannot be read as a video",
        empty: "the file is empty",
        sound: "there is no video in it",
        still: "cannot be read as a video",
        tmp_path / "missing.mp4": "no such file",
        tmp_path / "missing.gif": "no such file",
    }
    for path, message in cases.items():
        with pytest.raises(RequestError, match=message) as error:
            probe(path, timeline=True)
        one_line(error, path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    shutil.copy(FRIDAY, path)
    path.chmod(0)
    with pytest.raises(RequestError, match="permission denied") as error:
        probe(path)
    one_line(error, path)


def test_no_other_file_is_opened(tmp_path: Path) -> None:
    """A playlist or a script of FFmpeg's, under whatever name, would make it read other files."""
    shutil.copy(FRIDAY, tmp_path / "secret.mp4")
    for content in (
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    ):
        path = tmp_path / "list.mp4"
        path.write_text(content)
        with pytest.raises(RequestError, match="cannot be read as a video"):
            probe(path)


@pytest.mark.parametrize("name", ["a:b.mp4", "100%d.mp4", "film ä ☃.mp4", "-o.mp4"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    source, target = tmp_path / "in" / name, tmp_path / "out" / name
    source.parent.mkdir()
    shutil.copy(FRIDAY, source)
    copy_clip(source, target, frames=range(3))
    assert len(decoded(target.rename(tmp_path / "plain.mp4"))) == 3


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("out.wmv", {}, ".wmv is not written here: choose .mkv"),
        ("out.mp4", {"codec": "h266"}, "no such encoder"),
        ("out.mp4", {"codec": "aac"}, "no such encoder"),
        ("out.webm", {"codec": "h264"}, "cannot hold libx264: choose .mkv"),
        ("out.mkv", {"codec": "ffv1", "crf": 3}, "has no crf"),
        ("out.mp4", {"crf": 52}, "takes 0 to 51"),
        ("out.mp4", {"pixel_format": "rgb24"}, "libx264 takes yuv420p"),
        ("out.mp4", {"pixel_format": "yuv421p"}, "no such format"),
        ("out.gif", {"codec": "h264"}, "only a video file"),
        ("frames", {"crf": 17}, "only a video file"),
        ("out.webp", {"quality": 0}, "choose 1 to 100"),
        ("frames", {"suffix": ".xyz"}, "suffix .xyz"),
        ("out.mp4", {"frames": range(3, 3)}, "no frames are chosen"),
        ("out.mp4", {"frames": range(59, 61)}, "it has 60"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_carried_out(
    tmp_path: Path, name: str, settings: dict[str, Any], message: str
) -> None:
    info = probe(FRIDAY, timeline=True)
    with pytest.raises(RequestError) as error:
        plan_output(info, tmp_path / name, 48, 64, **settings)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    shutil.copy(FRIDAY, path)
    (tmp_path / "other.mp4").symlink_to(path)
    info = probe(path, timeline=True)
    for target in (path, tmp_path / "other.mp4"):
        with pytest.raises(RequestError, match="is the input itself") as error:
            plan_output(info, target, 48, 64)
        one_line(error, target)


def test_frames_of_another_size_are_a_mistake(tmp_path: Path) -> None:
    output = plan_output(probe(FRIDAY, timeline=True), tmp_path / "out.mp4", 48, 64)
    with SegmentWriter(output, tmp_path / "a.nut") as writer:
        writer.write(Frame(0, textured(0), 0, 400))
        with pytest.raises(ValueError, match="64 pixels wide"):
            writer.write(Frame(0, textured(0, 64, 64), 400, 400))
