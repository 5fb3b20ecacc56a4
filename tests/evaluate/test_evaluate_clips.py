"""Tables of clips: flicker, skipped frames, borders, means, what counts as clips, and the command."""

from __future__ import annotations

import csv
import itertools
import json
import math
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image
from upscalers import Lines

from isr.cli.app import run
from isr.data.clips import ClipFiles, find_clips
from isr.data.degrade import Degradation, degrade
from isr.errors import Cancelled, RequestError
from isr.evaluate import (
    ClipProtocol,
    count_frames,
    describe_degradation,
    evaluate_clips,
    holds_clips,
    read_clips,
)
from isr.imresize import imresize
from isr.io.clips import FrameReader, FrameWriter, plan_output
from isr.levels import from_float
from isr.metrics import flicker, luma, psnr, ssim

Pair = tuple[np.ndarray, np.ndarray]


def moving(count: int, height: int = 48, width: int = 48, seed: int = 0) -> list[np.ndarray]:
    """A clip: a photograph that the camera pans over by two pixels a frame."""
    wide = photograph(height, width + 2 * count, seed)
    return [np.ascontiguousarray(wide[:, 2 * i : 2 * i + width]) for i in range(count)]


def pairs(frames: Iterable[np.ndarray], scale: int = 2) -> list[Pair]:
    return [(imresize(hr, scale=1 / scale), hr) for hr in frames]


def repeated(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Every pixel twice, in both directions."""
    for lr in frames:
        yield lr.repeat(2, axis=0).repeat(2, axis=1)


def write_frames(folder: Path, frames: Iterable[np.ndarray], name: str = "{:08d}.png") -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(index))
    return folder


def write_video(path: Path, frames: list[np.ndarray], folder: Path) -> Path:
    """A lossless RGB video of these frames, made of a folder of them."""
    with FrameReader(write_frames(folder, frames)) as reader:
        height, width = frames[0].shape[:2]
        output = plan_output(reader.info, path, height, width, codec="ffv1", pixel_format="bgr0")
        with FrameWriter(output) as writer:
            for frame in reader:
                writer.write(replace(frame))
    return path


# Flicker


def constants(*values: float, channels: int = 3) -> np.ndarray:
    return np.stack([np.full((14, 13, channels), value, np.uint8) for value in values])


def test_flicker_of_constant_frames() -> None:
    a, b = constants(100, 110, 105), constants(50, 50, 51)
    # The changes are +10, -5 and 0, +1: apart by 10 and 6.
    assert flicker(a, b, channel="rgb", border=1) == pytest.approx(8)
    assert flicker(a, b, channel="y", border=1) == pytest.approx(8 * 219 / 255)
    assert flicker(a / 255, b / 255, channel="rgb", border=0) == pytest.approx(8)
    gray = [clip[..., :1] for clip in (a, b)]
    assert flicker(*gray, channel="y", border=0) == pytest.approx(8)


def test_an_error_that_stays_where_it_is_does_not_flicker() -> None:
    b = np.random.default_rng(0).integers(0, 200, (4, 12, 12, 3)).astype(np.uint8)
    error = np.random.default_rng(1).integers(0, 55, (12, 12, 3)).astype(np.uint8)
    assert flicker(b + error, b, channel="rgb", border=0) == 0
    still = np.repeat(b[:1], 4, axis=0)
    # A frozen picture has no changes: what is counted are the original's.
    expected = np.abs(np.diff(luma(b), axis=0)).mean()
    assert flicker(still, b, channel="y", border=0) == pytest.approx(expected)


@given(
    shape=st.tuples(st.integers(2, 5), st.integers(3, 9), st.integers(3, 9)),
    border=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_flicker_is_its_formula(shape: tuple[int, int, int], border: int, seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 256, (2, *shape, 3), np.uint8)
    inside = slice(border, -border or None)
    for channel in ("rgb", "y"):
        planes = (clip.astype(np.float64) if channel == "rgb" else luma(clip) for clip in (a, b))
        x, y = (plane[:, inside, inside] for plane in planes)
        expected = np.mean(np.abs((x[1:] - x[:-1]) - (y[1:] - y[:-1])))
        assert flicker(a, b, channel=channel, border=border) == pytest.approx(expected, abs=1e-9)


def test_flicker_refuses_what_has_none() -> None:
    one, two = constants(1), constants(1, 2)
    with pytest.raises(ValueError, match="needs two frames"):
        flicker(one, one, channel="y", border=0)
    with pytest.raises(ValueError, match="shorter"):
        flicker(two, one, channel="y", border=0)
    with pytest.raises(ValueError, match="of one shape"):
        flicker(two, two[:, :12], channel="y", border=0)


# Tables


def test_means_are_over_frames_and_then_over_clips() -> None:
    clips = {"long": moving(5, seed=1), "short": moving(2, seed=2)}
    table = evaluate_clips(
        {"twice": repeated}, [(name, pairs(hr)) for name, hr in clips.items()], ClipProtocol(2)
    )
    means = []
    for row, hr in zip(table.rows, clips.values(), strict=True):
        assert row.frames == len(hr)
        lr = [low for low, _ in pairs(hr)]
        for method, sr in (("bicubic", [imresize(x, scale=2) for x in lr]), ("twice", list(repeated(lr)))):
            how: dict[str, Any] = {"channel": "y", "border": 2}
            each = [(psnr(x, y, **how), ssim(x, y, **how)) for x, y in zip(sr, hr, strict=True)]
            expected = (*np.mean(each, axis=0), flicker(sr, hr, **how))
            figures = row.figures[method]
            assert (figures.psnr, figures.ssim, figures.flicker) == pytest.approx(expected)
            means.append(expected)
    mean = table.mean
    assert mean.frames == 7 and table.methods == ("bicubic", "twice")
    for index, method in enumerate(table.methods):
        figures = mean.figures[method]
        expected = np.mean(means[index::2], axis=0)  # the short clip counts as much as the long one
        assert (figures.psnr, figures.ssim, figures.flicker) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_skipped_frames_are_upscaled_but_do_not_count(skip: int) -> None:
    hr = moving(6)
    seen = []

    def bad_at_the_ends(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for index, _ in enumerate(frames):
            seen.append(index)
            yield hr[index] if index in range(1, 5) else 255 - hr[index]

    table = evaluate_clips({"m": bad_at_the_ends}, [("c", pairs(hr))], ClipProtocol(2, skip_frames=skip))
    row = table.rows[0]
    assert seen == list(range(6)) and row.frames == 6 - 2 * skip
    assert (row.figures["m"].flicker == 0) == (skip > 0)
    assert (row.figures["m"].ssim == pytest.approx(1)) == (skip > 0)
    middle = pairs(hr)[skip : 6 - skip]
    expected = evaluate_clips({"m": repeated}, [("c", middle)], ClipProtocol(2)).rows[0].figures["bicubic"]
    assert row.figures["bicubic"] == expected
    assert ("all but the first and last" in table.protocol.describe()) == (skip > 0)


def test_border_pixels_do_not_count() -> None:
    hr = moving(3)
    rings = [np.pad(frame[3:-3, 3:-3], ((3, 3), (3, 3), (0, 0))) for frame in hr]
    for border, equal in ((3, True), (2, False)):
        protocol = ClipProtocol(2, border=border)
        table = evaluate_clips({"m": lambda _: iter(rings)}, [("c", pairs(hr))], protocol)
        figures = table.mean.figures["m"]
        assert math.isinf(figures.psnr) == equal and (figures.flicker == 0) == equal
        assert f"border {border} px" in table.to_text()


def test_floats_are_clipped_and_rounded_before_they_are_compared() -> None:
    hr = [np.clip(frame, 0, 254) for frame in moving(2)]

    def nearly(_: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        return (frame.astype(np.float32) / 255 + np.float32(0.4 / 255) for frame in hr)

    for rounded in (True, False):
        protocol = ClipProtocol(2, rounded=rounded)
        figures = evaluate_clips({"m": nearly}, [("c", pairs(hr))], protocol).mean.figures["m"]
        assert math.isinf(figures.psnr) == rounded


def test_a_single_scored_frame_has_no_flicker() -> None:
    clips = [("septuplet", pairs(moving(7)))]
    table = evaluate_clips({"m": repeated}, clips, ClipProtocol(2, skip_frames=3))
    assert table.rows[0].frames == 1 and table.mean.figures["m"].flicker is None
    assert json.loads(table.to_json())["mean"]["figures"]["m"]["flicker"] is None
    assert table.to_text().splitlines()[-3].split() == ["mean", "1", "-", "-"]
    mixed = evaluate_clips({"m": repeated}, [*clips, ("c", pairs(moving(8)))], ClipProtocol(2, skip_frames=3))
    assert mixed.mean.figures["m"].flicker == mixed.rows[1].figures["m"].flicker


def test_memory_does_not_grow_with_the_clip() -> None:
    alive: set[int] = set()
    most = 0

    def frames(count: int) -> Iterator[Pair]:
        nonlocal most
        picture = photograph(24, 24)
        low = imresize(picture, scale=0.5)
        for index in range(count):
            hr = picture.copy()
            alive.add(index)
            weakref.finalize(hr, alive.discard, index)
            most = max(most, len(alive))
            yield low, hr
            del hr

    def two_ahead(lr: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        held: list[np.ndarray] = []
        for frame in itertools.chain(lr, [None] * 2):
            held = [*held, frame][-3:] if frame is not None else [*held, held[-1]][-3:]
            if len(held) == 3:
                yield next(repeated([held[0]]))

    protocol = ClipProtocol(2, skip_frames=1)
    row = evaluate_clips({"m": two_ahead}, [("c", frames(60))], protocol).rows[0]
    assert row.frames == 58 and most <= 8


def test_the_table_as_text_csv_and_json() -> None:
    clips = [(name, pairs(moving(3, seed=seed))) for seed, name in enumerate(["a", "another clip"])]
    exact = {"a": 0, "another clip": 1}
    calls = itertools.count()

    def worse_first(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        which = next(calls)
        originals = [hr for _, hr in clips[which][1]]
        return repeated(frames) if which == exact["a"] else iter([frame ^ 1 for frame in originals])

    table = evaluate_clips({"model": worse_first, "twice": repeated}, clips, ClipProtocol(2, "rgb"))
    text = table.to_text().splitlines()
    assert text[0].startswith("model: x2, RGB, border 2 px, output rounded to 8 bits, LR: ")
    for part in (
        "frames: all;",
        "over the frames of a clip, then over clips",
        "levels of RGB, lower is better",
    ):
        assert part in text[0]
    assert text[-1] == "better than bicubic: model 1 of 2, twice 0 of 2"
    heads = [line for line in text if line.startswith("clip")]
    assert [head.split()[1:4] for head in heads] == [
        ["frames", "bicubic", unit] for unit in ("dB", "SSIM", "flicker")
    ]
    assert len({len(line) for line in text[1:5]}) == 1

    figures = table.rows[1].figures["model"]
    assert figures.psnr == pytest.approx(20 * math.log10(255))  # every value is one level off
    content = json.loads(table.to_json())
    assert content["model"] == "model" and content["protocol"]["skip_frames"] == 0
    assert content["protocol"]["border"] == 2
    assert content["rows"][1]["figures"]["model"]["psnr"] == figures.psnr
    assert content["mean"]["figures"]["twice"]["ssim"] == table.mean.figures["twice"].ssim
    lines = list(csv.DictReader(table.to_csv().splitlines()))
    assert [line["method"] for line in lines] == ["bicubic", "model", "twice"] * 3
    assert [line["name"] for line in lines[::3]] == ["a", "another clip", "mean"]
    assert float(lines[4]["psnr"]) == figures.psnr and lines[8]["frames"] == "6"


def test_clips_that_cannot_be_scored_are_named() -> None:
    small = [(np.zeros((5, 6, 3), np.uint8), np.zeros((10, 12, 3), np.uint8))] * 2
    for clips, protocol, message in (
        ([], ClipProtocol(2), "there are no clips"),
        ([("c", pairs(moving(4)))], ClipProtocol(2, skip_frames=2), "c: has too few frames to leave out 2"),
        ([("c", small)], ClipProtocol(2, border=5), "c: cannot be scored: border=5 leaves nothing"),
        ([("c", small)], ClipProtocol(2, border=0), "c: cannot be scored: SSIM needs 11 pixels"),
    ):
        with pytest.raises(RequestError, match=message):
            evaluate_clips({"m": repeated}, clips, protocol)


def test_evaluation_stops_between_frames() -> None:
    progress = Lines(stop=3)
    with pytest.raises(Cancelled):
        evaluate_clips({"m": repeated}, [("c", pairs(moving(6)))], ClipProtocol(2), progress=progress)
    assert progress.done == 3


# What clips are, and their frames


def test_what_counts_as_clips(tmp_path: Path) -> None:
    frames = moving(3)
    reds, vid4, vimeo = tmp_path / "reds", tmp_path / "vid4", tmp_path / "vimeo"
    for name in ("000", "011"):
        write_frames(reds / name, frames)
    write_frames(vid4 / "calendar", frames, "Frame {:03d}.png")
    write_frames(vimeo / "sequences" / "00001" / "0001", frames, "im{}.png")
    (vimeo / "list.txt").write_text("00001/0001\n")
    for path in (reds, vid4, vimeo, vimeo / "list.txt"):
        assert holds_clips(path), path
    assert not holds_clips(reds / "000")  # numbered pictures may be a set of photographs
    assert not holds_clips(tmp_path / "nowhere") and not holds_clips(reds / "000" / "00000000.png")

    mixed = write_frames(tmp_path / "mixed" / "clip", frames).parent
    assert holds_clips(mixed)
    Image.fromarray(frames[0]).save(mixed / "a loose picture.png")
    assert not holds_clips(mixed)
    assert not holds_clips(write_frames(tmp_path / "albums" / "summer", frames, "{}th photo of 1.png").parent)
    assert not holds_clips(
        write_frames(tmp_path / "sizes" / "album", [frames[0], photograph(40, 48), frames[1]]).parent
    )
    assert not holds_clips(write_frames(tmp_path / "singles" / "album", frames[:1]).parent)
    (tmp_path / "empty").mkdir()
    assert not holds_clips(tmp_path / "empty")


def test_frames_of_folders_are_cut_and_made_smaller(tmp_path: Path) -> None:
    hr = moving(3, 51, 49)
    write_frames(tmp_path / "hr" / "c", hr)
    files = find_clips(tmp_path / "hr")
    cut = [frame[:48, :48] for frame in hr]
    kinds: tuple[Degradation, ...] = ("bi", "bd")
    for kind in kinds:
        ((name, frames),) = read_clips(files, 4, 3, kind)
        for (lr, large), expected in zip(frames, cut, strict=True):
            assert name == "c" and np.array_equal(large, expected)
            assert np.array_equal(lr, degrade(expected[None], 4, kind)[0])

    low = [photograph(13, 12, seed) for seed in range(3)]  # LR of the uncut frames has a row more
    write_frames(tmp_path / "lr" / "c", low)
    ((_, frames),) = read_clips(find_clips(tmp_path / "hr", tmp_path / "lr"), 4, 3)
    assert all(np.array_equal(lr, given[:12]) for (lr, _), given in zip(frames, low, strict=True))


def test_a_video_file_is_a_clip(tmp_path: Path) -> None:
    hr = moving(4, 32, 48)
    path = write_video(tmp_path / "videos" / "pan.mkv", hr, tmp_path / "frames")
    assert holds_clips(path) and holds_clips(path.parent)
    for place in (path, path.parent):
        files = find_clips(place)
        assert count_frames(files) == 4
        ((name, frames),) = read_clips(files, 2, 3)
        assert name == "pan"
        for (lr, large), expected in zip(frames, hr, strict=True):
            assert np.array_equal(large, expected) and np.array_equal(lr, imresize(expected, scale=0.5))

    low = write_video(tmp_path / "low.mkv", [imresize(frame, scale=0.5) for frame in hr], tmp_path / "small")
    files = find_clips(path, low)
    assert files == [ClipFiles("pan", (path,), (low,))] and count_frames(files) == 4
    with pytest.raises(RequestError, match=r"none\.mkv: no such video file, to go with"):
        find_clips(path, tmp_path / "none.mkv")


def test_clips_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "hr" / "c", moving(4))
    write_frames(tmp_path / "short" / "c", moving(3, 24, 24))
    write_frames(tmp_path / "large" / "c", moving(4, 30, 24))
    with pytest.raises(RequestError, match="c: has 4 frames, too few to leave out 2 at each end"):
        count_frames(find_clips(tmp_path / "hr"), 2)
    short = find_clips(tmp_path / "hr", tmp_path / "short")
    with pytest.raises(RequestError, match="c: has 4 frames, but 3 in low resolution"):
        count_frames(short)
    for files, message in (
        (short, "fewer frames than"),
        (find_clips(tmp_path / "hr", tmp_path / "large"), "24x30 is not 1/2 of"),
    ):
        with pytest.raises(RequestError, match=message):
            evaluate_clips({"m": repeated}, read_clips(files, 2, 3), ClipProtocol(2))
    with pytest.raises(RequestError, match="pixels are too few for scale 50"):
        evaluate_clips({"m": repeated}, read_clips(find_clips(tmp_path / "hr"), 50, 3), ClipProtocol(50))


def test_degradations_are_said_in_words() -> None:
    assert describe_degradation("bi", 4) == "MATLAB bicubic (BI), 8 bit"
    said = describe_degradation("bd", 4)
    assert "sigma 1.6" in said and "1.5 px off" in said


# The command


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset of a network of three frames."""
    import keras

    from isr.models import TDAN

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("presets") / "window_x2"
    TDAN(2, 8, num_frames=3, num_extract_blocks=0, num_reconstruct_blocks=0, deform_groups=1).save_preset(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for index in range(2):
        write_frames(folder / f"{index:03d}", moving(5, seed=index))
    return folder


def test_a_shipped_preset_and_one_beside_it(
    clips: Path, window: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import isr

    arguments = ["--preset", "edsr_fast_x2", "--beside", str(window), "--skip-frames", "1", "--border", "4"]
    file = tmp_path / "table.json"
    command = ["evaluate", "--hr", str(clips), *arguments, "--degradation", "bd", "--output", str(file)]
    assert run(command) == 0
    text = capsys.readouterr().out
    for part in ("edsr_fast_x2: x2", "border 4 px", "(BD)", "first and last 1", "window_x2 flicker", "001"):
        assert part in text
    content = json.loads(file.read_text())
    assert [row["name"] for row in content["rows"]] == ["000", "001"]
    how: dict[str, Any] = {"channel": "y", "border": 4}
    hr = moving(5, seed=1)
    lr = list(degrade(np.stack(hr), 2, "bd"))
    results = {
        "bicubic": [imresize(frame, scale=2) for frame in lr],
        "edsr_fast_x2": [isr.upscale("edsr_fast_x2", frame) for frame in lr],
        "window_x2": list(isr.upscale_frames(str(window), lr)),
    }
    for method, sr in results.items():
        figures = content["rows"][1]["figures"][method]
        inner = list(zip(sr, hr, strict=True))[1:-1]
        assert figures["psnr"] == pytest.approx(np.mean([psnr(*pair, **how) for pair in inner]), abs=1e-3)
        assert figures["ssim"] == pytest.approx(np.mean([ssim(*pair, **how) for pair in inner]), abs=1e-4)
        assert figures["flicker"] == pytest.approx(flicker(sr[1:-1], hr[1:-1], **how), abs=1e-2)


def test_a_window_is_scored_on_one_folder_of_frames(
    clips: Path, window: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from isr.models.loading import load

    arguments = ["--hr", str(clips / "000"), "--preset", str(window), "--json", "--channel", "rgb"]
    assert run(["evaluate", *arguments]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in content["rows"]] == ["000"] and content["rows"][0]["frames"] == 5
    # Whole windows through the network, the ends mirrored: the features that are kept change nothing.
    model = load(window)
    hr = moving(5)
    lr = np.stack([imresize(frame, scale=0.5) for frame in hr])
    windows = np.stack([lr[[abs(i - 1), i, 4 - abs(3 - i)]] for i in range(5)]).astype(np.float32) / 255
    sr = from_float(np.concatenate([np.asarray(model(x[None])) for x in windows]), np.dtype(np.uint8))
    expected = np.mean([psnr(x, y, channel="rgb", border=2) for x, y in zip(sr, hr, strict=True)])
    assert content["mean"]["figures"]["window_x2"]["psnr"] == pytest.approx(expected, abs=1e-3)


def test_given_low_resolution_and_a_video_file(
    clips: Path, window: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(2):
        write_frames(
            tmp_path / "lr" / f"{index:03d}", [lr for lr, _ in pairs(moving(5, seed=index))], "im{}.png"
        )
    given_too = ["evaluate", "--hr", str(clips), "--lr", str(tmp_path / "lr"), "--preset", "edsr_fast_x2"]
    assert run([*given_too, "--json"]) == 0
    given_content = json.loads(capsys.readouterr().out)
    assert given_content["protocol"]["lr"] == f"given in {tmp_path / 'lr'}"
    video = write_video(tmp_path / "000.mkv", moving(5), tmp_path / "frames")
    assert run(["evaluate", "--hr", str(video), "--preset", "edsr_fast_x2", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["rows"][0] == given_content["rows"][0]  # the same frames, the same bicubic


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--degradation", "bi", "--lr", "nowhere"], "--degradation and --lr: give one of them"),
        (["--degradation", "bx"], "--degradation bx: must be bi, bd, blur, noise, jpeg or real"),
        (["--lr", "nowhere"], "nowhere: no such folder of clips"),
        (["--skip-frames", "3"], "000: has 5 frames, too few to leave out 3 at each end"),
        (["--border", "23"], "000: cannot be scored: SSIM needs 11 pixels"),
        (["--beside", "edsr_baseline_x4"], "--scale 2: edsr_baseline_x4 enlarges by 4"),
        (["--beside", "edsr_fast_x2"], "--beside edsr_fast_x2: there is a column of that name already"),
        (["--beside", "nothing"], "preset 'nothing' is neither a shipped name"),
    ],
)
def test_wrong_requests_are_one_line(
    arguments: list[str], message: str, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "--hr", str(clips), "--preset", "edsr_fast_x2", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--skip-frames", "1"], ["--degradation", "bi"]])
def test_options_of_clips_are_refused_for_pictures(
    arguments: list[str], clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = clips / "000"
    assert run(["evaluate", "--hr", str(pictures), "--preset", "edsr_fast_x2", *arguments]) == 2
    assert f"{arguments[0]}: is for clips, and {pictures} is a folder of pictures" in capsys.readouterr().err


def test_an_empty_folder_has_no_clips(
    window: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "--hr", str(tmp_path), "--preset", str(window)]) == 2
    assert f"{tmp_path}: no clips in this folder" in capsys.readouterr().err
