"""The options of `isr predict`: one table, from which come its parser, its help, and the line that a request is."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from isr.errors import RequestError
from isr.predict.crop import crop_text, parse_crop
from isr.predict.jobs.shards import parse_shard
from isr.predict.options import PredictOptions
from isr.predict.route import Target
from isr.predict.source import is_address

if TYPE_CHECKING:
    from isr.predict.request import PredictRequest

PANELS = ("What comes out", "Which network", "Speed and memory", "Video", "Files")
OUT, NETWORK, SPEED, VIDEO, FILES = PANELS
# The field that three options share.
SOURCES = "sources"


def _any(value: Any) -> bool:
    return True


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> str:
    """The shortest text that is read as this number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: such as "--scale".
        panel: of the help that it stands in.
        help: one sentence.
        kind: what the parser makes of its text; bool for a flag.
        unit: what stands for its value in the help; empty: the kind.
        field: of a request, dotted where it lies deeper; empty: that of the same name in `options`, or in
            `options.video` in the panel of videos.
        short: a second name, such as "-o".
        many: whether it may be repeated.
        read: from what the parser made to the field.
        write: from the field to text.
        owns: which values of the field this option writes, where several options share it.
    """

    name: str
    panel: str
    help: str
    kind: type = bool
    unit: str = ""
    field: str = ""
    short: str = ""
    many: bool = False
    read: Callable[[Any], Any] = _same
    write: Callable[[Any], str] = str
    owns: Callable[[Any], bool] = _any

    def __post_init__(self) -> None:
        room = "options.video" if self.panel == VIDEO else "options"
        object.__setattr__(self, "field", self.field or f"{room}.{self.key}")

    @property
    def key(self) -> str:
        """Return its name as an identifier."""
        return self.name.strip("-").replace("-", "_")

    def arguments(self, value: Any) -> list[str]:
        """Spell it for a value of its field."""
        items = value if self.field == SOURCES else (value,)
        words: list[str] = []
        for item in items:
            if self.owns(item):
                words += [self.name] if self.kind is bool else [self.name, self.write(item)]
        return words


def _read_size(text: str) -> tuple[int | None, int | None] | None:
    return Target.parse_size(text).size


def _write_size(size: tuple[int | None, int | None]) -> str:
    height, width = size
    return f"{width or ''}x{height or ''}"


def _read_overlap(text: str) -> int | str:
    if text != "exact" and not text.isdecimal():
        raise RequestError(f"--overlap {text}: must be 'exact' or a number of pixels")
    return text if text == "exact" else int(text)


def read_denoise(text: str) -> float | Literal["auto"]:
    """Read "auto" or a number.

    Raises:
        RequestError: it is neither.
    """
    try:
        return "auto" if text == "auto" else float(text)
    except ValueError:
        raise RequestError(f"--denoise {text}: must be 0 to 1, or auto") from None


def _write_denoise(denoise: float | str) -> str:
    return denoise if isinstance(denoise, str) else _number(denoise)


def _read_server(text: str) -> tuple[str]:
    return (text if is_address(text) else f"grpc://{text}",)


def _is_file(source: Any) -> bool:
    return isinstance(source, str) and not is_address(source) and Path(source).suffix == ".keras"


def _is_preset(source: Any) -> bool:
    return isinstance(source, str) and not is_address(source) and not _is_file(source)


OPTIONS = (
    Option(
        "--scale", OUT, "Factor of the output, such as 2 or 2.5; default: 2.", float, "FACTOR", write=_number
    ),
    Option(
        "--size",
        OUT,
        "Size of the output: 3840x2160; 3840x or x2160 keeps the aspect.",
        str,
        "WxH",
        read=_read_size,
        write=_write_size,
    ),
    Option(
        "--crop",
        OUT,
        "Only this part of the input: width x height + left + top.",
        str,
        "WxH+X+Y",
        read=parse_crop,
        write=crop_text,
    ),
    Option("--self-ensemble", OUT, "Average the results of the eight flips and turns; eight times slower."),
    Option(
        "--back-projection",
        OUT,
        "Rounds of correction, only for pictures made smaller by MATLAB's bicubic.",
        int,
        "N",
    ),
    Option(
        "--denoise",
        OUT,
        "How much noise, JPEG and blur go, 0 to 1, or auto; takes photo_x2 or photo_x4.",
        str,
        "D|auto",
        read=read_denoise,
        write=_write_denoise,
    ),
    Option(
        "--texture",
        OUT,
        "How much texture is made up, 0 to 1; takes photo_x2 or photo_x4.",
        float,
        "T",
        write=_number,
    ),
    Option(
        "--adapt",
        OUT,
        "Let the network learn from each picture first, for so many seconds.",
        float,
        "SECONDS",
        write=_number,
    ),
    Option(
        "--kernel",
        OUT,
        "What made the picture small, for --adapt: estimate (default), bicubic, or a file of numbers.",
        str,
        "estimate|bicubic|FILE",
    ),
    Option(
        "--preset",
        NETWORK,
        "A preset's name or folder (`isr models` lists the names), or `fast` or `best`; repeat it to compare several.",
        str,
        "NAME",
        many=True,
        read=tuple,
        owns=_is_preset,
        field=SOURCES,
    ),
    Option(
        "--weights",
        NETWORK,
        "A preset folder or a .keras file.",
        Path,
        "PATH",
        read=lambda path: (str(path),),
        owns=_is_file,
        field=SOURCES,
    ),
    Option(
        "--server",
        NETWORK,
        "A model server: grpc://host:8500/edsr, http://host:8501/edsr.",
        str,
        "URL",
        read=_read_server,
        owns=is_address,
        field=SOURCES,
    ),
    Option(
        "--fast",
        SPEED,
        "8 bits where the preset has them, as --precision fast; `--preset fast` is another network.",
        read=lambda given: "fast",
        owns=lambda precision: precision == "fast",
        field="options.precision",
    ),
    Option(
        "--precision",
        SPEED,
        "auto, float32, bfloat16, int8, or fast: int8 where there is one.",
        str,
        "NAME",
        owns=lambda precision: precision != "fast",
    ),
    Option(
        "--engine",
        SPEED,
        "auto, tensorflow, jax, openvino, ncnn, onnxruntime, litert (`isr engines`).",
        str,
        "NAME",
    ),
    Option("--device", SPEED, "cpu, gpu, gpu:0, ...", str, "NAME"),
    Option("--tile", SPEED, "Largest side of a tile in input pixels; default: by the scale.", int, "PIXELS"),
    Option(
        "--overlap",
        SPEED,
        "Pixels at each side of a tile that its neighbours keep; default: by the network.",
        str,
        "N|exact",
        read=_read_overlap,
        field="options.tile_overlap",
    ),
    Option("--batch", SPEED, "Tiles per call of the network.", int, "N"),
    Option("--codec", VIDEO, "h264, h265, vp9, av1, prores; default: the container's.", str, "NAME"),
    Option(
        "--crf", VIDEO, "Constant quality, smaller is better; default: 17 of h264.", float, "N", write=_number
    ),
    Option("--pixel-format", VIDEO, "yuv420p, yuv444p, yuv420p10le, ...", str, "NAME"),
    Option("--start", VIDEO, "Begin at this second.", float, "SECONDS", write=_number),
    Option("--duration", VIDEO, "Stop after these seconds.", float, "SECONDS", write=_number),
    Option(
        "--scene-cut",
        VIDEO,
        "A frame with this score, 0 to 1, begins a new scene; try 0.08.",
        float,
        "SCORE",
        write=_number,
    ),
    Option(
        "--output",
        FILES,
        "A folder; or a file, if it ends in .png, .mp4, ... and there is one input. "
        "Default: photo_x2.jpg beside photo.jpg, clip_x2.mp4 beside clip.mp4, photos_x2/ beside photos/.",
        str,
        short="-o",
        field="output",
    ),
    Option("--format", FILES, "png, jpg, ...; mp4, mkv, ...; default: the input's.", str, "NAME"),
    Option(
        "--name",
        FILES,
        "Names of results, such as '{stem}_x{scale}'; {width}, {height} and {model} are known too.",
        str,
        "PATTERN",
    ),
    Option("--quality", FILES, "1 to 100, of JPEG, WebP and AVIF.", int, "N"),
    Option("--overwrite", FILES, "Replace files that exist."),
    Option("--resume", FILES, "Skip what is finished, by the same input, weights and options."),
    Option("--strip-metadata", FILES, "Leave out EXIF, XMP, resolution and colour profile."),
    Option(
        "--shard",
        FILES,
        "Only this part of the inputs, by their names, counted from 0: 17/1000.",
        str,
        "I/N",
        read=parse_shard,
        write=lambda shard: f"{shard[0]}/{shard[1]}",
        field="shard",
    ),
    Option("--max-pixels", FILES, "Refuse larger inputs.", int, "N"),
)


def value_of(request: PredictRequest, field: str) -> Any:
    """Read a field of a request, dotted where it lies deeper."""
    return attrgetter(field)(request)


def default_of(option: Option) -> Any:
    """Return what the parser takes for an option that is not given."""
    if option.kind is bool or not option.field.startswith("options."):
        return False if option.kind is bool else None
    return attrgetter(option.field.removeprefix("options."))(PredictOptions())


def values_of(given: dict[str, Any]) -> dict[str, Any]:
    """Turn what the parser made of a line into fields of a request.

    Args:
        given: by the keys of the options; None, False or an empty list where one is not given.

    Returns:
        The fields that are said, by their dotted names.

    Raises:
        RequestError: text is not what its option takes, or options exclude each other.
    """
    said = {option: given[option.key] for option in OPTIONS if _is_given(given.get(option.key))}
    names = {option.name for option in said}
    if len({"--preset", "--weights", "--server"} & names) > 1:
        raise RequestError("--preset, --weights and --server: give one of them")
    if "--fast" in names and given["precision"] not in (None, "auto"):
        raise RequestError("--fast and --precision: give one of them")
    if {"--scale", "--size"} <= names:
        raise RequestError("--scale and --size: give one of them")
    if "--fast" in names:
        said = {option: value for option, value in said.items() if option.name != "--precision"}
    return {option.field: option.read(value) for option, value in said.items()}


def _is_given(value: Any) -> bool:
    # 0 is given, though it equals False.
    return value is not None and value is not False and value != []


def arguments(request: PredictRequest) -> list[str]:
    """Spell a request as arguments of `isr predict`: what differs from the defaults, then the inputs."""
    plain = type(request)(inputs=())
    spelled: list[str] = []
    for option in OPTIONS:
        value = value_of(request, option.field)
        if value != value_of(plain, option.field):
            spelled += option.arguments(value)
    inputs = [str(path) for path in request.inputs]
    # What begins with a dash would be taken for an option.
    return [*spelled, *(["--"] if any(path.startswith("-") for path in inputs) else []), *inputs]


def line(words: list[str], windows: bool | None = None) -> str:
    """Join words into a line that a shell takes apart into the same ones.

    Args:
        words: the program and its arguments.
        windows: whether it is Windows' own shell; None: this system's.
    """
    windows = os.name == "nt" if windows is None else windows
    return subprocess.list2cmdline(words) if windows else shlex.join(words)
