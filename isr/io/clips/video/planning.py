"""Which encoder writes a video file, with which settings, and what the container cannot hold."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import av
import av.error

from isr.errors import RequestError
from isr.io.clips.containers import CODECS, CONTAINERS, COPIED, CRF, EVEN_SIDES, Container
from isr.io.clips.info import StreamInfo, VideoInfo
from isr.io.clips.output import Choices, Output
from isr.io.clips.video.encoding import add_video
from isr.io.clips.video.packets import open_video, writing
from isr.io.errors import one_line


def plan(output: Output, choices: Choices) -> Output:
    """Choose encoder and pixel format, and make sure that the container takes them and the source's streams."""
    codec, crf, pixel_format = choices.codec, choices.crf, choices.pixel_format
    source, target, container = output.source, output.target, output.container
    if not container.holds_times and source.variable:
        raise RequestError(f"{target}: {target.suffix} holds only an even frame rate: choose .mp4 or .mkv")
    deep = source.dtype != "uint8" if pixel_format is None else _bits(target, pixel_format) > 8
    encoder = (container.deep_encoder if deep else container.encoder) if codec is None else codec.lower()
    encoder = CODECS.get(encoder, encoder)
    formats = _pixel_formats(encoder)
    if not formats:
        raise RequestError(
            f"{target}: codec {codec}: no such encoder here: choose one of {', '.join(CODECS)}"
        )
    if crf is not None and encoder not in CRF:
        raise RequestError(f"{target}: {encoder} has no crf: leave it out or choose one of {', '.join(CRF)}")
    if crf is not None and not 0 <= crf <= CRF[encoder][1]:
        raise RequestError(f"{target}: crf {crf}: {encoder} takes 0 to {CRF[encoder][1]}")
    if crf is None and encoder in CRF:
        crf = CRF[encoder][0]
    notes = []
    if pixel_format is None:
        odd = encoder in EVEN_SIDES and (output.width % 2 == 1 or output.height % 2 == 1)
        layouts = ["yuv444p"] if odd else ["yuv420p", "yuv422p", "yuv444p"]
        wanted = [f"{layout}10le" for layout in layouts] * deep + layouts
        pixel_format = next((name for name in wanted if name in formats), formats[0])
        if odd:
            notes.append(
                f"{output.width}x{output.height} has an odd side, so it is encoded as {pixel_format}, which web "
                "browsers and some devices do not play"
            )
    elif pixel_format not in formats:
        raise RequestError(f"{target}: pixel format {pixel_format}: {encoder} takes {', '.join(formats)}")
    bits = _bits(target, pixel_format)
    if source.hdr and bits < 10:
        raise RequestError(f"{target}: HDR ({source.hdr}) needs 10 bits, not {pixel_format}: choose libx265")
    if source.dtype != "uint8" and bits == 8:
        notes.append(f"{pixel_format} has only 8 bits")
    if source.hdr:
        kept = "tags and static metadata" if any(source.hdr10) and encoder == "libx265" else "and tags"
        notes.append(f"HDR ({source.hdr}) is kept: code values {kept}, not other metadata")
    if source.channels == 4:
        notes.append("no transparency: laid over white")
    copied = [stream for stream in source.streams if stream.kind in choices.copy and stream.kind in COPIED]
    left_out = sorted({stream.kind for stream in source.streams if stream not in copied})
    if left_out:
        notes.append(f"left out: streams of {', '.join(left_out)}")
    output = replace(
        output,
        codec=encoder,
        crf=crf,
        pixel_format=pixel_format,
        copied=tuple(stream.index for stream in copied),
        notes=tuple(notes),
    )
    _try_encoder(output)
    for stream in copied:
        if not _takes(container, source, [stream]):
            others = {name: CONTAINERS[name] for name in (".mp4", ".mov", ".mkv")}
            able = [name for name, other in others.items() if _takes(other, source, copied)]
            advice = f"choose {' or '.join(able)}, or leave it out" if able else "leave it out"
            codec_name = stream.codec or "of an unknown codec"
            raise RequestError(
                f"{target}: {target.suffix} cannot hold {stream.kind} stream {stream.index} ({codec_name}): {advice}"
            )
    return output


def _pixel_formats(encoder: str) -> list[str]:
    """What an encoder takes; nothing where there is no such video encoder."""
    try:
        return [known.name for known in av.Codec(encoder, "w").video_formats or ()]
    except (ValueError, av.error.FFmpegError):
        return []


def _bits(target: Path, pixel_format: str) -> int:
    try:
        return max(part.bits for part in av.VideoFormat(pixel_format).components)
    except ValueError:
        raise RequestError(
            f"{target}: pixel format {pixel_format}: there is no such format: try yuv420p"
        ) from None


def _try_encoder(output: Output) -> None:
    """Opens the encoder and writes the container's header, to memory."""
    target = output.target
    what, advice = f"{output.codec} cannot be opened", "choose another codec, pixel format or size"
    with one_line(target, what, advice), writing(io.BytesIO(), output.container.format) as trial:
        try:
            add_video(trial, output)
        except av.error.FFmpegError:
            raise
        except ValueError:
            raise RequestError(
                f"{target}: {target.suffix} cannot hold {output.codec}: choose .mkv or another codec"
            ) from None
        trial.start_encoding()


def _takes(container: Container, source: VideoInfo, streams: list[StreamInfo]) -> bool:
    """Whether a container holds each of these streams, by writing its header to memory."""
    for stream in streams:
        try:
            with open_video(source.path) as original, writing(io.BytesIO(), container.format) as trial:
                trial.add_stream_from_template(original.streams[stream.index])
                trial.start_encoding()
        except (ValueError, av.error.FFmpegError):
            return False
    return True
