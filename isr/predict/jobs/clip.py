"""Clips: planned, decoded, upscaled and encoded in segments, which outlive an interruption, and joined."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from isr.errors import ISRError, RequestError
from isr.io.clips import (
    ANIMATION_SUFFIXES,
    VIDEO_SUFFIXES,
    WRITABLE_SUFFIXES,
    Frame,
    FrameReader,
    Output,
    SegmentWriter,
    VideoInfo,
    is_clip,
    join,
    plan_output,
    probe,
)
from isr.io.files import atomic, walk
from isr.predict.chain import check_video_route, upscale_frames_along
from isr.predict.frames import WindowOptions
from isr.predict.jobs.job import (
    LONGEST_NAME,
    Job,
    precision_along,
)
from isr.predict.jobs.places import Input, check_distinct, find_sources, made_beside
from isr.predict.options import PredictOptions
from isr.predict.report import duration_of
from isr.predict.route import Route, Target
from isr.predict.source import Network, Networks
from isr.progress import Progress, check_cancelled

SEGMENT = 60  # frames of a segment: two seconds, and all that an interruption costs
AHEAD = 4  # frames that are decoded, or wait to be encoded, beside the one at work
NOTHING = np.empty(0, np.uint8)
MEASURED = 3  # the frame whose time the estimate is made of; the first ones also build the network's graphs


@dataclass(frozen=True)
class ClipJob(Job):
    """A clip to make of a clip.

    Attributes:
        info: what the source is, `isr.io.clips.VideoInfo`.
        frames: which of its frames.
        crop: `(left, top, width, height)` in pixels of the source that is upscaled; None: all of it.
        output: how it is written.
        windows: how the frames go through the network.
    """

    info: VideoInfo
    frames: range
    crop: tuple[int, int, int, int] | None
    output: Output
    windows: WindowOptions

    @property
    def parts(self) -> Path:
        """The folder of the segments, beside the target while it is made."""
        return self.target.with_name(f".{self.target.name}.parts")

    @property
    def size_in(self) -> tuple[int, int]:
        return (self.info.width, self.info.height) if self.crop is None else self.crop[2:]

    @property
    def exists(self) -> bool:
        if self.output.kind != "folder":
            return super().exists
        # One that an interrupted run has begun has its parts beside it.
        return self.target.is_dir() and any(self.target.iterdir()) and not self.parts.is_dir()

    @property
    def bytes_out(self) -> int:
        """Of all frames, before they are encoded."""
        return self._frame_bytes * len(self.frames)

    @property
    def bytes_needed(self) -> int:
        """Of the frames that are in memory at once, at least."""
        return self._frame_bytes * 2 * AHEAD

    @property
    def _frame_bytes(self) -> int:
        return math.prod(self.route.size) * self.info.channels * np.dtype(self.info.dtype).itemsize

    def message(self) -> str:
        """What a user should know of the source and the target; empty where all is kept."""
        return "; ".join((*self.info.notes, *self.output.notes))


def is_clip_input(path: Path, networks: Networks, output: Path | None) -> bool:
    """Whether an input is a clip and no picture.

    A folder of numbered pictures is one where the network takes several frames, or a video is to be made of it;
    otherwise it is a folder of pictures.
    """
    if not path.is_dir():
        return is_clip(path)
    frames = any(network.num_frames > 1 for network in networks.values())
    to_clip = output is not None and output.suffix.lower() in WRITABLE_SUFFIXES and not output.is_dir()
    return (frames or to_clip) and is_clip(path)


def find_clips(
    inputs: Sequence[Path],
    output: Path | None,
    networks: Networks,
    target: Target,
    options: PredictOptions,
    several: bool,
) -> tuple[list[ClipJob], list[tuple[Path, ISRError]]]:
    """The clips among a request's inputs as jobs, and those in its folders that cannot be read.

    Arguments and errors as of `find_jobs`; every refusal by the container or the encoder comes here, before any
    work.
    """
    jobs: list[ClipJob] = []
    unreadable: list[tuple[Path, ISRError]] = []
    fingerprint = cache(Network.fingerprint)
    suffixes = VIDEO_SUFFIXES | ANIMATION_SUFFIXES

    def contents(folder: Path) -> Iterable[Path]:
        return [folder] if is_clip_input(folder, networks, output) else clips_of(folder, suffixes)

    for source in find_sources(inputs, output, target, WRITABLE_SUFFIXES, contents, several):
        try:
            jobs.append(_plan(source, networks, target, options, fingerprint))
        except ISRError as error:
            if source.tree is None:
                raise
            unreadable.append((source.path, error))
    check_distinct(jobs)
    return jobs, unreadable


def clips_of(folder: Path, suffixes: Iterable[str]) -> Iterator[Path]:
    """The video files and animations of a folder and of those in it."""
    return (path for path in walk(folder, frozenset(suffixes)) if is_clip(path))


def _plan(
    source: Input, networks: Networks, target: Target, options: PredictOptions, fingerprint: Any
) -> ClipJob:
    video = options.video
    info = probe(source.path, timeline=True)
    if info.width * info.height > options.max_pixels:
        raise RequestError(
            f"{source.path}: frames of {info.width}x{info.height} pixels are over the limit of "
            f"{options.max_pixels}; raise --max-pixels"
        )
    crop = None if video.crop is None else fit_crop(video.crop, info)
    width, height = (info.width, info.height) if crop is None else crop[2:]
    frames = info.frames_between(video.start, video.duration)
    route = Route.plan(height, width, target, networks)
    check_video_route(route, networks)
    made = _target(source, info, target.file_label(height, width), options)
    if len(os.fsencode(f".{made.name}.parts")) > LONGEST_NAME:
        raise RequestError(f"{made}: the name is too long; name the result by --output")
    plan = plan_output(
        info,
        made,
        *route.size,
        frames=frames,
        part=(height, width),
        codec=video.codec,
        crf=video.crf,
        pixel_format=video.pixel_format,
        quality=options.quality,
        suffix=None if made.suffix else options.suffix,
    )
    tiles = options.tiles
    status = source.path.stat()
    record = {
        "source": source.path.name,
        "input": {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns},
        "weights": {str(scale): fingerprint(networks[scale]) for scale in route.stages},
        "stages": list(route.stages),
        "tile": tiles.tile,
        "overlap": tiles.overlap,
        "self_ensemble": tiles.self_ensemble,
        "back_projection": tiles.back_projection,
        "precision": precision_along(route, networks, options.precision, info.dtype)[0],
        "crop": None if crop is None else list(crop),
        "scene_cut": video.scene_cut,
        "segment": SEGMENT,
        "output_plan": plan.record(),
    }
    windows = WindowOptions(tiles, video.scene_cut)
    return ClipJob(
        source.path,
        made,
        source.folder,
        info,
        route,
        record,
        source.tree is None,
        frames,
        crop,
        plan,
        windows,
    )


def _target(source: Input, info: VideoInfo, label: str, options: PredictOptions) -> Path:
    if source.file is not None:
        return source.file
    own = source.path.suffix if info.kind != "folder" else ""
    own = own if own.lower() in WRITABLE_SUFFIXES or not own else ".mkv"
    suffix = own
    if options.suffix is not None:
        one_file = WRITABLE_SUFFIXES - {
            ".png"
        }  # of the other formats, and of PNG, a folder of pictures is meant
        suffix = options.suffix if options.suffix in one_file else ""
    return made_beside(source, label, suffix)


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """`(left, top, width, height)` of `640x360+100+20` (width x height + left + top), or of `640x360` (from 0, 0)."""
    match = re.fullmatch(r"(\d{1,6})[xX\u00d7](\d{1,6})(?:\+(\d{1,6})\+(\d{1,6}))?", text.strip())
    if match is None or int(match[1]) < 1 or int(match[2]) < 1:
        raise RequestError(f"crop {text!r}: give it as 640x360+100+20 (width x height + left + top)")
    return int(match[3] or 0), int(match[4] or 0), int(match[1]), int(match[2])


def fit_crop(crop: tuple[int, int, int, int], info: VideoInfo) -> tuple[int, int, int, int]:
    """The crop, if the clip's frames hold it; RequestError otherwise."""
    left, top, width, height = crop
    if left + width > info.width or top + height > info.height:
        raise RequestError(
            f"{info.path}: crop {width}x{height}+{left}+{top} reaches beyond the frames of "
            f"{info.width}x{info.height}"
        )
    return crop


class Parts:
    """The finished segments of a job: files of a folder beside the target, and the record that they were made by.

    A folder with another record, of another input or other options, is emptied. A segment that is there is whole.
    """

    RECORD = "record.json"

    def __init__(self, job: ClipJob) -> None:
        self.job = job
        self.folder = job.parts
        stop = job.frames.stop
        self.segments = [
            range(start, min(start + SEGMENT, stop)) for start in range(job.frames.start, stop, SEGMENT)
        ]

    def path(self, number: int) -> Path:
        """The file of a segment."""
        return self.folder / f"{number:06d}.nut"

    def begin(self) -> int:
        """Make the folder ready; how many segments, from the first on, are finished."""
        # What JSON makes of the record, since the one on the disk is read from it.
        record = json.loads(json.dumps(self.job.record))
        note = self.folder / self.RECORD
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = None
        if known != record:
            shutil.rmtree(self.folder, ignore_errors=True)
            with atomic(note) as temporary:
                temporary.write_text(json.dumps(record), encoding="utf-8")
        finished = 0
        while finished < len(self.segments) and self.path(finished).is_file():
            finished += 1
        return finished

    def note_replaced(self, number: int, frames: list[int]) -> None:
        """Remember which frames of a segment could not be decoded; before it is finished."""
        with atomic(self._replaced(number)) as temporary:
            temporary.write_text(json.dumps(frames), encoding="utf-8")

    def replaced(self) -> list[int]:
        """The frames of all segments that could not be decoded."""
        notes = [self._replaced(number) for number in range(len(self.segments))]
        return [frame for note in notes if note.is_file() for frame in json.loads(note.read_text("utf-8"))]

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _replaced(self, number: int) -> Path:
        return self.folder / f"{number:06d}.replaced.json"


def upscale_clip(job: ClipJob, networks: Networks, precision: str, progress: Progress) -> list[int]:
    """Make the target of a job, going on where an earlier run stopped.

    Decoding, the network and encoding each have a thread, and hand on a few frames at a time.

    Returns:
        The numbers of the frames that could not be decoded and are copies of their neighbours.

    Raises RequestError where the source cannot be read, MachineError where the disk is full or memory does not
    suffice, ISRError where the network fails, Cancelled where the progress asks for it; the finished segments stay
    then, and the next call goes on behind them.
    """
    parts = Parts(job)
    finished = parts.begin()
    progress.start("upscale", len(job.frames), "frames")
    if finished:
        done = parts.segments[finished - 1].stop - job.frames.start
        progress.message(f"{job.target}: going on behind frame {done} of {len(job.frames)}")
        progress.advance(done)
    if finished < len(parts.segments):
        _upscale(job, parts, finished, networks, precision, progress)
    join(job.output, [parts.path(number) for number in range(len(parts.segments))])
    replaced = parts.replaced()
    parts.remove()
    return replaced


def _upscale(
    job: ClipJob, parts: Parts, finished: int, networks: Networks, precision: str, progress: Progress
) -> None:
    first = parts.segments[finished].start
    # The frames before, that the first windows hold, and that tell where their scene begins.
    spec = networks[job.route.stages[0]].spec if job.route.stages else None
    begin = max(job.frames.start, first - (spec.num_frames + 2 if spec and spec.num_frames > 1 else 0))
    read: deque[Frame] = deque()  # without their pixels, until the result is there
    with (
        FrameReader(job.info, range(begin, job.frames.stop)) as reader,
        ThreadPoolExecutor(1) as decoder,
        ThreadPoolExecutor(1) as encoder,
    ):

        def pixels() -> Iterator[np.ndarray]:
            for frame in ahead(iter(reader), decoder):
                if frame.index >= first:
                    read.append(replace(frame, pixels=NOTHING))
                yield cut(frame.pixels, job.crop)

        results = upscale_frames_along(
            job.route, pixels(), networks, job.windows, precision, progress, skip=first - begin
        )
        pace = _Pace(job.frames.stop - first, progress)
        for number, segment in list(enumerate(parts.segments))[finished:]:
            replaced = []
            with SegmentWriter(job.output, parts.path(number)) as writer, _Behind(encoder) as behind:
                for _ in segment:
                    check_cancelled(progress)
                    result = next(results)
                    frame = replace(read.popleft(), pixels=result)
                    if frame.replaced:
                        replaced.append(frame.index)
                    behind.do(writer.write, frame)
                    pace.frame()
                if replaced:
                    parts.note_replaced(number, replaced)


def ahead(frames: Iterator[Frame], thread: ThreadPoolExecutor) -> Iterator[Frame]:
    """The frames, a few of them taken in advance by a thread."""
    waiting = deque(thread.submit(next, frames, None) for _ in range(AHEAD))
    while (frame := waiting.popleft().result()) is not None:
        waiting.append(thread.submit(next, frames, None))
        yield frame


def cut(pixels: np.ndarray, crop: tuple[int, int, int, int] | None) -> np.ndarray:
    """The part of a frame that is upscaled."""
    if crop is None:
        return pixels
    left, top, width, height = crop
    return pixels[top : top + height, left : left + width]


class _Behind:
    """Work that a thread does in order, a few steps behind; all of it is over when the block ends."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self.thread = thread
        self.waiting: deque[Future[None]] = deque()

    def do(self, work: Callable[[Frame], None], frame: Frame) -> None:
        """Call `work(frame)` after what was asked before; raises what an earlier call raised."""
        self.waiting.append(self.thread.submit(work, frame))
        if len(self.waiting) > AHEAD:
            self.waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        wait(self.waiting)
        for done in self.waiting if kind is None else ():
            done.result()


class _Pace:
    """Advances the progress by frames, and says after the first ones how long it will take."""

    def __init__(self, frames: int, progress: Progress) -> None:
        self.left = frames
        self.done = 0
        self.progress = progress
        self.since = time.monotonic()

    def frame(self) -> None:
        """One more frame is there."""
        self.left -= 1
        self.done += 1
        self.progress.advance()
        now = time.monotonic()
        if self.done == MEASURED and self.left:
            seconds = now - self.since
            self.progress.message(
                f"about {duration_of(seconds * self.left)} to go: {self.left} frames, {seconds:.2g} s each"
            )
        self.since = now
