"""Folders of pictures as pairs of low and high resolution, decoded once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from isr.data.degrade import FixedDegradation
from isr.data.shards import Shards
from isr.errors import RequestError
from isr.imresize import imresize
from isr.io import pictures
from isr.io.files import walk
from isr.progress import Progress, Silent, check_cancelled

F = TypeVar("F")
D = TypeVar("D")

LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, full range: how RGB becomes one channel


class Complaints:
    """Collects what is wrong with many files, so that all of it is told at once."""

    SHOWN = 20

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note a RequestError inside, which does not go on."""
        try:
            yield
        except RequestError as error:
            self.lines.append(str(error))

    def settle(self) -> None:
        """Raise RequestError where there was one: its line alone, or a line for each."""
        if not self.lines:
            return
        if len(self.lines) == 1:
            raise RequestError(self.lines[0])
        shown = self.lines[: self.SHOWN]
        if more := len(self.lines) - len(shown):
            shown.append(f"and {more} more")
        raise RequestError("\n".join([f"{len(self.lines)} inputs do not fit:", *shown]))


def decode_each(
    files: Sequence[F], decode: Callable[[F], D | None], what: str, progress: Progress | None
) -> list[D]:
    """Decode files one after another, and tell at once of all that do not fit.

    Args:
        files: of one item each.
        decode: gives the item, or None to leave the file out; raises RequestError where it does not fit.
        what: the files are called.
        progress: told of every file; asked for `cancelled` between them.

    Raises:
        RequestError: files do not fit.
        Cancelled: the progress asks for it.
    """
    progress = progress or Silent()
    progress.start("decode", len(files), what)
    items: list[D] = []
    complaints = Complaints()
    for file in files:
        check_cancelled(progress)
        with complaints.collect():
            if (item := decode(file)) is not None:
                items.append(item)
        progress.advance()
    complaints.settle()
    return items


def smaller_than_patch(file: Path, width: int, height: int, patch: int) -> RequestError:
    """Say that no patch fits into what was decoded of a file."""
    return RequestError(
        f"{file}: {width}x{height} is smaller than the patch of {patch} pixels; "
        "take it out or set a smaller patch_size"
    )


def cache_key(files: Iterable[Path], *facts: Any) -> str:
    """Name what is decoded of files, by their paths, sizes and times and by plain facts: 24 hexadecimal digits."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([stats, *facts]).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class PairFiles:
    """Where one pair comes from; without `lr` the low resolution is made from `hr`, which is first times `shrink`."""

    name: str
    hr: Path
    lr: Path | None
    shrink: float = 1.0


def find_pairs(hr: Path, lr: Path | None, scale: int) -> list[PairFiles]:
    """Find the pairs of two folders, in the usual layouts of benchmarks.

    `hr/baby.png` goes with `lr/baby.png`, `lr/babyx2.png` or `lr/baby_x2.png` (any readable suffix), also in
    `lr/X2`. Sub-folders are walked. Without `lr` every picture of `hr` is a pair of its own.

    Raises RequestError, naming the folder or the first pictures without partner.
    """
    for folder in (hr, lr):
        if folder is not None and not folder.is_dir():
            raise RequestError(f"{folder}: no such folder of pictures")
    found = list(walk(hr, pictures.READABLE))
    if not found:
        raise RequestError(
            f"{hr}: no pictures in this folder (looked for {', '.join(sorted(pictures.READABLE))})"
        )
    if lr is None:
        return [PairFiles(str(path.relative_to(hr)), path, None) for path in found]

    by_stem = {path.relative_to(lr).with_suffix("").as_posix(): path for path in walk(lr, pictures.READABLE)}
    pairs, lonely = [], []
    for path in found:
        stem = path.relative_to(hr).with_suffix("").as_posix()
        names = [stem, f"{stem}x{scale}", f"{stem}_x{scale}"]
        names += [f"X{scale}/{name}" for name in names]
        partner = next((by_stem[name] for name in names if name in by_stem), None)
        if partner is None:
            lonely.append(path.name)
        else:
            pairs.append(PairFiles(str(path.relative_to(hr)), path, partner))
    if lonely:
        some = ", ".join(lonely[:3]) + (" ..." if len(lonely) > 3 else "")
        raise RequestError(f"{lr}: no low-resolution partner for {len(lonely)} pictures of {hr}: {some}")
    return pairs


def as_channels(pixels: np.ndarray, num_channels: int) -> np.ndarray:
    """Give `[h, w, c]` with the wanted count of channels: alpha dropped, gray repeated, RGB turned to luma.

    Other counts pass unchanged where they fit already. Raises ValueError where there is no such conversion.
    """
    have = pixels.shape[-1]
    if have == num_channels:
        return pixels
    if have in (2, 4):
        pixels, have = pixels[..., :-1], have - 1
    if have == 1 and num_channels > 1:
        return np.repeat(pixels, num_channels, axis=-1)
    if have == 3 and num_channels == 1:
        luma = pixels @ LUMA
        if np.issubdtype(pixels.dtype, np.integer):
            luma = np.floor(luma + 0.5)
        return luma[..., None].astype(pixels.dtype)
    if have == num_channels:
        return pixels
    raise ValueError(f"pictures have {have} channels, the model takes {num_channels}")


def read_pair(
    files: PairFiles,
    scale: int,
    num_channels: int,
    *,
    keep_gray: bool = False,
    degradation: FixedDegradation | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read `(lr, hr)` of one pair, `[h, w, c]` and `[scale * h, scale * w, c]`, integers as stored.

    Gray pictures are repeated to `num_channels`, unless `keep_gray` asks for one channel. HR is cut from the top
    left to a multiple of the scale. A missing LR is made by `degradation`, or by MATLAB's bicubic rule.

    Raises RequestError, naming the file, where it cannot be read or the two sizes do not belong together.
    """
    hr = read_channels(files.hr, num_channels, keep_gray=keep_gray)
    if files.shrink != 1:
        hr = imresize(hr, scale=files.shrink)
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    if height == 0 or width == 0:
        raise RequestError(f"{files.hr}: {hr.shape[1]}x{hr.shape[0]} pixels are too few for scale {scale}")
    if files.lr is None:
        hr = hr[: height * scale, : width * scale]
        return imresize(hr, scale=1 / scale) if degradation is None else degradation(hr, scale), hr
    lr = read_channels(files.lr, hr.shape[-1])
    # LR made without cutting HR first has one row or column more; both conventions are in use.
    if not (0 <= lr.shape[0] - height <= 1 and 0 <= lr.shape[1] - width <= 1):
        raise RequestError(
            f"{files.lr}: {lr.shape[1]}x{lr.shape[0]} is not 1/{scale} of {hr.shape[1]}x{hr.shape[0]} ({files.hr})"
        )
    return lr[:height, :width], hr[: height * scale, : width * scale]


def read_channels(path: Path, num_channels: int, *, keep_gray: bool = False) -> np.ndarray:
    """Read a picture in the channels of a network.

    Args:
        path: of the picture.
        num_channels: as for `as_channels`.
        keep_gray: leave a gray picture as one channel.

    Returns:
        `[h, w, num_channels]`, integers as stored.

    Raises:
        RequestError: the file cannot be read, or its channels cannot be converted.
    """
    pixels = pictures.read(path).pixels
    try:
        return as_channels(pixels, 1 if keep_gray and pixels.shape[-1] <= 2 else num_channels)
    except ValueError as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path}: {error}") from None


class PicturePairs(Sequence[tuple[np.ndarray, np.ndarray]]):
    """Pairs decoded once into memory-mapped files, so that drawing a patch reads just that patch.

    The operating system keeps what is used in memory and drops it when memory is short. What was decoded of a picture
    is found again by its name, size and time, so a resumed run starts at once, and so does one on another machine that
    sees the same folder or store.

    Args:
        files: as `find_pairs` gives them.
        scale, num_channels: as in `read_pair`.
        cache: folder for the decoded arrays (about 1.25 times 3 bytes per HR pixel at x2).
        smallest: HR pixels that the smaller side of every picture must have, such as the patch size; shrunk copies
            that have fewer are left out.
        progress: told of every picture.
        store: address of an object store that keeps what is decoded too; None: none does.

    Item i is `(lr, hr)`, both read-only. Raises RequestError, naming all files that do not fit.
    """

    def __init__(
        self,
        files: Sequence[PairFiles],
        scale: int,
        num_channels: int,
        cache: Path,
        *,
        smallest: int = 1,
        progress: Progress | None = None,
        store: str | None = None,
    ) -> None:
        self.files = list(files)
        self.scale = scale
        self.shards = Shards(cache, [_identity(pair) for pair in self.files], [scale, num_channels], store)

        def decode(numbered: tuple[int, PairFiles]) -> int | None:
            number, pair = numbered
            if number in self.shards:
                lr, hr = self.shards[number]
            else:
                lr, hr = read_pair(pair, scale, num_channels)
                self.shards.add(number, (lr, hr))
            if min(hr.shape[:2]) >= smallest:
                return number
            if pair.shrink == 1:
                raise smaller_than_patch(pair.hr, hr.shape[1], hr.shape[0], smallest)
            return None

        try:
            self.numbers = decode_each(list(enumerate(self.files)), decode, "pictures", progress)
        finally:
            self.shards.close()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.shards[self.numbers[index]]


def _identity(pair: PairFiles) -> list[Any]:
    """What a pair is decoded from: names, sizes and times, the same on all machines that see the files."""
    found: list[Any] = [pair.name, pair.shrink]
    for path in (pair.hr, pair.lr):
        if path is not None:
            status = path.stat()
            found += [path.name, status.st_size, status.st_mtime_ns]
    return found
