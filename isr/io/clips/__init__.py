"""Clips as streams of frames: video files, animations and folders of numbered pictures, read and written whole.

The way of a clip, in which memory does not grow with its length:

    with FrameReader("clip.mp4") as reader:
        output = plan_output(reader.info, "large.mp4", height, width)
        with FrameWriter(output) as writer:
            for frame in reader:
                writer.write(replace(frame, pixels=larger(frame.pixels)))

- `is_clip(path)`: whether a path is a clip rather than a still picture.
- `probe(path)` -> `VideoInfo`: what a clip is; `probe(path, timeline=True)` reads it through once without decoding,
  and knows every frame's timestamp (`Timeline`), so that frames can be counted, chosen and sought exactly.
- `FrameReader(path or info, frames=range(...))`: iterates over `Frame`s: upright RGB of 8 or 16 bits, timestamp,
  duration. A frame that cannot be decoded is its last good neighbour with `replaced=True`, at its own timestamp.
- `plan_output(info, target, height, width, ...)` -> `Output`: the encoder and its settings, what cannot be kept
  (`notes`), and every refusal that can be known beforehand.
- `SegmentWriter(output, path)`: some consecutive frames as a file of their own that begins with a key frame;
  `join(output, segments)`: the target, made of segments without encoding anew, with the source's sound, subtitles,
  chapters, attachments and metadata copied bit for bit. `FrameWriter(output)` is both in one pass.

Rotation. Frames are upright here. A file that says how it is to be turned is written turned back and says so again,
as its source; where the container has no place for that (AVI, animations, folders), upright.

Colour. YUV becomes RGB by the matrix and range that the file is tagged with, and goes back by the same. A file
without a tagged matrix is taken as players take it, by its size: BT.709 from 1280 columns or above 576 lines, else
BT.601. Since its larger copy would then be taken differently, the copy is tagged with that matrix. All other tags
are copied as they are. HDR (PQ, HLG) is upscaled in its own code values, kept at 10 bits and tagged; static HDR10
metadata (mastering display, light level) goes along with libx265; dynamic metadata (HDR10+, Dolby Vision) does not.

Depth. More than 8 bits are handed out as uint16 of the full range and encoded in 10 bits.

Time. Timestamps are the source's, exactly, in its own time base; a container with a coarser one (Matroska: 1 ms)
rounds them. Where only a part is written, its first frame is at 0 and a packet of sound belongs to it when it begins
inside: sound is in sync to the sample, and begins and ends within a packet (some 20 ms) of the frames.

Odd sizes. Encoders of 4:2:0 want even sides; a larger picture with an odd side is encoded as yuv444p unless told
otherwise, which keeps its size; web browsers and many television sets do not play that.

Segments of an interrupted run and of the run that goes on fit together on one machine: the same frames and settings
give the same bytes, for the same number of threads.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isr.io.clips.colour import Colour
    from isr.io.clips.containers import ANIMATION_SUFFIXES, CODECS, VIDEO_SUFFIXES, WRITABLE_SUFFIXES
    from isr.io.clips.info import FOLDER_RATE, Frame, StreamInfo, Timeline, Turn, VideoInfo
    from isr.io.clips.kinds import is_clip
    from isr.io.clips.output import Output
    from isr.io.clips.planning import plan_output
    from isr.io.clips.reading import FrameReader, probe, quantiser
    from isr.io.clips.writing import FrameWriter, SegmentWriter, join

_PUBLIC = {
    "ANIMATION_SUFFIXES": "containers",
    "CODECS": "containers",
    "Colour": "colour",
    "FOLDER_RATE": "info",
    "Frame": "info",
    "FrameReader": "reading",
    "FrameWriter": "writing",
    "Output": "output",
    "SegmentWriter": "writing",
    "StreamInfo": "info",
    "Timeline": "info",
    "Turn": "info",
    "VIDEO_SUFFIXES": "containers",
    "VideoInfo": "info",
    "WRITABLE_SUFFIXES": "containers",
    "is_clip": "kinds",
    "join": "writing",
    "plan_output": "planning",
    "probe": "reading",
    "quantiser": "reading",
}

__all__ = [
    "ANIMATION_SUFFIXES",
    "CODECS",
    "FOLDER_RATE",
    "VIDEO_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Colour",
    "Frame",
    "FrameReader",
    "FrameWriter",
    "Output",
    "SegmentWriter",
    "StreamInfo",
    "Timeline",
    "Turn",
    "VideoInfo",
    "is_clip",
    "join",
    "plan_output",
    "probe",
    "quantiser",
]


def __getattr__(name: str) -> Any:
    # Telling pictures from clips does without what reads and writes clips.
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"isr.io.clips.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'isr.io.clips' has no attribute {name!r}")
