"""Video files as PyAV opens them, up to their packets and decoded frames."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

# Only what holds video itself; playlists and scripts, which would open other files, are not among them.
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,nut,ogg,ivf,mxf,gxf,rm,wtv,dv,h264,"
    "hevc,m4v,vc1,obu,av1,yuv4mpegpipe,vob"
)
# A tag in some old encoding must not stop anything. PyAV 19 reads them so by itself and has no such argument.
_TAGS: dict[str, Any] = (
    {"metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
)


def open_video(path: Path) -> Any:
    """Open a file as an input container of PyAV."""
    # The protocol is said, or a colon in a file's name would be taken for one.
    options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
    return av.open(f"file:{path}", container_options=options, **_TAGS)


@contextmanager
def writing(file: Any, format: str, options: dict[str, str] | None = None) -> Iterator[Any]:
    """Open an output container of PyAV; where something went wrong, it is closed without a word of its own."""
    container = av.open(file, "w", format=format, container_options=options or {}, **_TAGS)
    try:
        yield container
    except BaseException:
        with contextlib.suppress(Exception):
            container.close()
        raise
    container.close()


def readable_packets(container: Any, *streams: Any) -> Iterator[Any]:
    """Yield the packets of these streams up to where the file can be read."""
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            if isinstance(error, (OSError, MemoryError)):
                raise
            return
        if packet is None:
            return
        # The others only end decoding.
        if packet.size or packet.pts is not None or packet.dts is not None:
            yield packet


def decoded_frames(
    stream: Any, packets: Iterator[Any], failure: type[Exception] | None = None
) -> Iterator[Any]:
    """Yield what the decoder makes of packets; of those that are damaged, nothing, or raise `failure`."""
    # For None the decoder gives what it still holds.
    for packet in itertools.chain(packets, [None]):
        # The frame before stays; the decoder would take it for the end.
        if packet is not None and packet.size == 0:
            continue
        try:
            frames = stream.decode(packet)
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            if failure is not None:
                raise failure from error
            continue
        yield from frames


def rational(value: Any) -> Fraction:
    """Convert a rational of PyAV, of whatever class."""
    return Fraction(value.numerator, value.denominator)
