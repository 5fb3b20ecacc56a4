"""A clip to make of a clip: decoded, upscaled and encoded in segments, which outlive an interruption, and joined."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from isr.errors import Cancelled, ISRError, RequestError
from isr.io.clips import (
    WRITABLE_SUFFIXES,
    Frame,
    FrameReader,
    Output,
    SegmentWriter,
    VideoInfo,
    join,
    plan_output,
    probe,
)
from isr.io.files import atomic
from isr.predict.chain import upscale_frames_along
from isr.predict.crop import check_crop, cropped, size_of
from isr.predict.frames import WindowOptions
from isr.predict.jobs.job import Job, Setting, Unreadable, frame_bytes
from isr.predict.jobs.places import Input, check_name, clips_of, is_clip_input, made_beside
from isr.predict.networks import Opened
from isr.predict.quality import Quality, assess_clip
from isr.predict.repeats import Repeats
from isr.predict.report import Units, Watch
from isr.predict.route import Route
from isr.predict.source import ByScale, check_video_route, plan_route
from isr.progress import check_cancelled, phase

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# Frames of a segment: two seconds, and all that an interruption costs.
SEGMENT = 60
# Frames that are decoded, or wait to be encoded, beside the one at work.
AHEAD = 4


@dataclass(frozen=True, kw_only=True)
class ClipJob(Job):
    """A clip to make of a clip.

    Attributes:
        output: what the source is, which of its frames are made, and how they are written.
        scene_cut: from which difference, 0 to 1, a frame begins a scene whose windows do not reach back; None: off.
        segment: frames of a segment.
        only: the numbers of the segments that are made, and not joined; None: all are, and are joined.
    """

    KIND: ClassVar[str] = "clip"
    SUFFIXES: ClassVar[frozenset[str]] = WRITABLE_SUFFIXES

    output: Output
    scene_cut: float | None
    segment: int
    only: range | None = None

    @staticmethod
    def contents(folder: Path, networks: ByScale, output: Path | None) -> Iterable[Path]:
        """List the clips in a folder; the folder itself where it is one."""
        return [folder] if is_clip_input(folder, networks, output) else clips_of(folder)

    @classmethod
    def plan(cls, source: Input, setting: Setting) -> ClipJob:
        """Settle what is made of a source.

        Every refusal by the container or the encoder comes here.

        Raises:
            Unreadable: nothing can be made.
        """
        try:
            return cls._plan(source, setting)
        except ISRError as error:
            raise Unreadable(error) from error

    @classmethod
    def _plan(cls, source: Input, setting: Setting) -> ClipJob:
        options, video = setting.options, setting.options.video
        if options.adapt is not None:
            raise RequestError(f"{source.path}: is a clip; --adapt learns from single pictures")
        info = probe(source.path, timeline=True)
        if info.width * info.height > options.max_pixels:
            raise RequestError(
                f"{source.path}: frames of {info.width}x{info.height} pixels are over the limit of "
                f"{options.max_pixels}; raise --max-pixels"
            )
        if options.crop is not None:
            check_crop(options.crop, info.width, info.height, source.path, "the frames")
        width, height = size_of(options.crop, info.width, info.height)
        frames = info.frames_between(video.start, video.duration)
        route = plan_route(height, width, setting.target, setting.networks)
        setting, one_by_one = setting.for_clip(route)
        check_video_route(route, setting.networks)
        target, folder = _target(source, info, setting, route, height, width)
        check_name(target, _parts(target).name)
        output = plan_output(
            info,
            target,
            *route.size,
            frames=frames,
            part=(height, width),
            codec=video.codec,
            crf=video.crf,
            pixel_format=video.pixel_format,
            quality=options.quality,
            suffix=options.suffix if folder else None,
            folder=folder,
        )
        note = "; ".join(filter(None, (*info.notes, *output.notes, one_by_one)))
        looks = _looks(output, setting, route)
        return cls(
            **cls._shared(source, info, setting, target, route, note, looks),
            output=output,
            scene_cut=video.scene_cut,
            segment=SEGMENT,
        )

    @property
    def parts(self) -> Path:
        """Return the folder of the segments, beside the target while it is made."""
        return _parts(self.target)

    @property
    def part(self) -> Path:
        """Return the file that is kept of a clip that was stopped."""
        return self.target.with_name(f"{self.target.stem}.part{self.target.suffix}")

    def on_cores(self, count: int) -> Self:
        return replace(self, output=self.output.on_cores(count))

    @property
    def info(self) -> VideoInfo:
        """Return what the source is."""
        return self.output.source

    @property
    def size_in(self) -> tuple[int, int]:
        return size_of(self.crop, self.info.width, self.info.height)

    @property
    def exists(self) -> bool:
        if self.output.kind != "folder":
            return super().exists
        # One that an interrupted run has begun has its parts beside it.
        return self.target.is_dir() and any(self.target.iterdir()) and not self.parts.is_dir()

    @property
    def frames_out(self) -> int:
        return len(self.output.frames if self.only is None else Parts(self).frames(self.only))

    @property
    def units(self) -> Units:
        width, height = self.size_in
        megapixels = 0.0
        for scale in self.route.stages:
            megapixels += height * width / 1e6
            height, width = height * scale, width * scale
        if not self.networks:
            megapixels = self.route.size[0] * self.route.size[1] / 1e6
        views = 8 if self.tiles.self_ensemble and self.networks else 1
        return Units(self.frames_out, "frames", megapixels * views * self.frames_out)

    @property
    def bytes_out(self) -> int:
        return self._frame_bytes * self.frames_out

    @property
    def bytes_needed(self) -> int:
        return self._frame_bytes * 2 * AHEAD

    @property
    def _frame_bytes(self) -> int:
        return frame_bytes(self.route.size, self.info.channels, self.info.dtype)

    def _pixels_in(self) -> int:
        return self.info.width * self.info.height * self.info.frames

    def _record(self) -> dict[str, Any]:
        return {"scene_cut": self.scene_cut, "segment": self.segment, "output_plan": self.output.record()}

    def _read(self) -> None:
        """Frames are read while they are upscaled."""

    @property
    def divides(self) -> bool:
        return True

    def runs(self, length: int) -> list[range]:
        parts = Parts(self)
        parts.begin()
        return [
            run[start : start + length]
            for run in parts.missing(range(len(parts.segments)))
            for start in range(0, len(run), length)
        ]

    def of_run(self, run: range) -> Self:
        return replace(self, only=run)

    @property
    def joins(self) -> bool:
        return self.only is None

    def _make(self, read: None, opened: Opened, watch: Watch) -> str:
        """Make the target, going on where an earlier run stopped.

        Decoding, the network and encoding each have a thread, and hand on a few frames at a time. The finished
        segments outlive an error; the next run makes the others.
        """
        parts, frames = Parts(self), self.output.frames
        if self.only is None:
            parts.begin()
        elif not parts.begun:
            raise ISRError(f"{self.target}: its segments are gone, or are made otherwise; run it again")
        wanted = range(len(parts.segments)) if self.only is None else self.only
        missing = parts.missing(wanted)
        watch.start("upscale", self.frames_out, "frames")
        if done := self.frames_out - sum(len(parts.frames(run)) for run in missing):
            watch.message(f"{self.target}: going on behind frame {done} of {len(frames)}")
            watch.skip(done)
        try:
            for run in missing:
                self._upscale(parts, run, opened, watch)
            if self.only is not None:
                return ""
            with phase(watch, "joining", "segments"):
                join(self.output, [parts.path(number) for number in wanted])
        except Cancelled:
            if self.only is None and watch.keeping:
                with phase(watch, "joining", "segments"):
                    line = parts.keep()
                if line:
                    watch.message(line)
            raise
        replaced = parts.replaced()
        parts.remove()
        return self._damage(replaced)

    def _upscale(self, parts: Parts, run: range, opened: Opened, watch: Watch) -> None:
        """Make neighbouring segments."""
        # Here alone: pictures do without.
        from concurrent.futures import ThreadPoolExecutor

        whole, frames = self.output.frames, parts.frames(run)
        # The neighbours that their windows hold, and that tell where scenes begin. Where one begins, a window that
        # lacks frames before it may take some behind it.
        spec = opened.upscalers[0].spec if opened.upscalers else None
        several = spec is not None and spec.num_frames > 1
        before, after = (spec.num_frames + 2, spec.num_frames - 1) if spec and several else (0, 0)
        begin = max(whole.start, frames.start - before)
        windows, repeats = WindowOptions(self.tiles, self.scene_cut), Repeats()
        with (
            FrameReader(self.info, range(begin, min(whole.stop, frames.stop + after))) as reader,
            ThreadPoolExecutor(1) as decoder,
            ThreadPoolExecutor(1) as encoder,
        ):
            found = ((frame, cropped(frame.pixels, self.crop)) for frame in ahead(iter(reader), decoder))
            results = upscale_frames_along(
                self.route, found, opened.upscalers, windows, watch, frames.start - begin, repeats
            )
            for number in run:
                replaced = []
                with SegmentWriter(self.output, parts.path(number)) as writer, _Behind(encoder) as behind:
                    for _ in parts.segments[number]:
                        check_cancelled(watch)
                        frame, pixels = next(results)
                        if frame.replaced:
                            replaced.append(frame.index)
                        behind.do(writer.write, replace(frame, pixels=pixels))
                        watch.advance()
                    if replaced:
                        parts.note_replaced(number, replaced)
        watch.spare(repeats.frames)

    def _damage(self, replaced: list[int]) -> str:
        """What of the source was damaged, in a line; empty where nothing was."""
        damage = []
        if replaced:
            some = ", ".join(map(str, replaced[:5])) + (" ..." if len(replaced) > 5 else "")
            damage.append(f"{len(replaced)} frames could not be decoded and repeat their neighbours ({some})")
        if self.info.truncated:
            damage.append(
                f"the file is cut off; the result ends where it does, after {self.info.frames} frames"
            )
        return f"{self.source}: {'; '.join(damage)}" if damage else ""


class Parts:
    """The finished segments of a job: files of a folder beside the target, and the record that they were made by.

    A folder with another record, of another input or other options, is emptied. A segment that is there is whole.
    """

    RECORD = "record.json"
    KEPT = "kept.txt"

    def __init__(self, job: ClipJob) -> None:
        self.job = job
        self.folder = job.parts
        frames = job.output.frames
        self.segments = [
            range(start, min(start + job.segment, frames.stop))
            for start in range(frames.start, frames.stop, job.segment)
        ]

    def path(self, number: int) -> Path:
        """Return the file of a segment."""
        return self.folder / f"{number:06d}.nut"

    def files(self, number: int) -> list[Path]:
        """List the files of a segment that is made; the last one says that it is."""
        return [path for path in (self._replaced(number), self.path(number)) if path.is_file()]

    @property
    def finished(self) -> int:
        """Count the segments, from the first on, that are finished."""
        return next((n for n in range(len(self.segments)) if not self.path(n).is_file()), len(self.segments))

    def frames(self, run: range) -> range:
        """Return the frames of neighbouring segments."""
        return range(self.segments[run[0]].start, self.segments[run[-1]].stop)

    def missing(self, wanted: range) -> list[range]:
        """List the neighbouring segments that are not made, of those that are wanted."""
        numbers = [number for number in wanted if not self.path(number).is_file()]
        # Between neighbours, number and place differ by the same.
        runs = itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
        found = [[number for _, number in run] for _, run in runs]
        return [range(run[0], run[-1] + 1) for run in found]

    @property
    def begun(self) -> bool:
        """Tell whether the segments in the folder are of this job."""
        try:
            known = json.loads((self.folder / self.RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        # What JSON makes of the record, since the one on the disk is read from it.
        return bool(known == json.loads(json.dumps(self.job.record)))

    def begin(self) -> None:
        """Make the folder ready."""
        if not self.begun:
            shutil.rmtree(self.folder, ignore_errors=True)
            with atomic(self.folder / self.RECORD) as temporary:
                temporary.write_text(json.dumps(self.job.record), encoding="utf-8")

    def note_replaced(self, number: int, frames: list[int]) -> None:
        """Remember which frames of a segment could not be decoded; before it is finished."""
        with atomic(self._replaced(number)) as temporary:
            temporary.write_text(json.dumps(frames), encoding="utf-8")

    def replaced(self) -> list[int]:
        """List the frames of all segments that could not be decoded."""
        notes = [self._replaced(number) for number in range(len(self.segments))]
        return [frame for note in notes if note.is_file() for frame in json.loads(note.read_text("utf-8"))]

    def keep(self) -> str:
        """Join the finished segments into a file that plays, beside the target; return a line that names it, or "".

        The segments stay, so that a later run goes on behind them.
        """
        output, finished = self.job.output, self.finished
        # The pictures of a folder are there already.
        if not finished or output.kind == "folder":
            return ""
        frames = range(output.frames.start, self.segments[finished - 1].stop)
        with atomic(self.folder / self.KEPT) as temporary:
            temporary.write_text(self.job.part.name, encoding="utf-8")
        part = replace(output, target=self.job.part, frames=frames)
        join(part, [self.path(number) for number in range(finished)])
        return f"{self.job.part}: the first {len(frames)} of {len(output.frames)} frames"

    def remove(self) -> None:
        """Remove the folder, and what `keep` has made of it."""
        if (self.folder / self.KEPT).is_file():
            self.job.part.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _replaced(self, number: int) -> Path:
        return self.folder / f"{number:06d}.replaced.json"


def ahead(frames: Iterator[Frame], thread: ThreadPoolExecutor) -> Iterator[Frame]:
    """Give the frames, a few of them taken in advance by a thread."""
    waiting = deque(thread.submit(next, frames, None) for _ in range(AHEAD))
    while (frame := waiting.popleft().result()) is not None:
        waiting.append(thread.submit(next, frames, None))
        yield frame


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
        for done in self.waiting:
            # Waits for it.
            done.exception()
        for done in self.waiting if kind is None else ():
            done.result()


def _parts(target: Path) -> Path:
    return target.with_name(f".{target.name}.parts")


def _looks(output: Output, setting: Setting, route: Route) -> Quality | None:
    """What the first frame looks like, where that decides how much is denoised."""
    options = setting.options
    if options.denoise != "auto" or not any(setting.networks[scale].mixture for scale in route.stages):
        return None
    return assess_clip(output.source, output.frames.start, options.crop)


def _target(
    source: Input, info: VideoInfo, setting: Setting, route: Route, height: int, width: int
) -> tuple[Path, bool]:
    """Where the result lies, and whether it is a folder of pictures."""
    if source.file is not None:
        return source.file, source.file.is_dir() or source.file.suffix.lower() not in WRITABLE_SUFFIXES
    asked = setting.options.suffix
    own = source.path.suffix if info.kind != "folder" else ""
    suffix = own if own.lower() in WRITABLE_SUFFIXES or not own else ".mkv"
    if asked is not None:
        # Of the other formats, and of PNG, a folder of pictures is meant.
        suffix = asked if asked in WRITABLE_SUFFIXES - {".png"} else ""
    name_of = partial(setting.result_name, route=route, height=height, width=width)
    return made_beside(source, name_of, suffix), not suffix
