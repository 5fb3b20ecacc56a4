"""Scoring functions that upscale, beside bicubic: one pass over every picture or clip."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from isr.errors import RequestError
from isr.evaluate.table import BICUBIC, ClipProtocol, Figures, Protocol, Row, Table
from isr.imresize import imresize
from isr.levels import to_float
from isr.metrics import flicker, psnr, ssim
from isr.niqe import niqe
from isr.progress import Progress, Silent, check_cancelled

Upscale = Callable[[np.ndarray], np.ndarray]
UpscaleFrames = Callable[[Iterator[np.ndarray]], Iterable[np.ndarray]]


def evaluate(
    upscale: Upscale | Mapping[str, Upscale],
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    protocol: Protocol,
    *,
    model: str = "model",
    progress: Progress | None = None,
) -> Table:
    """Score functions that upscale a picture.

    Args:
        upscale: takes LR `[h, w, c]` float32 in [0, 1], gives `[scale * h, scale * w, c]` float, unclipped; or
            several of them by name, the model first.
        pairs: `(name, lr, hr)` as `read_pairs` gives them.
        protocol: how to compare.
        model: name in the table of a single function.
        progress: advanced by one for every picture.

    Returns:
        The table, rows in the order of the pairs.

    Raises:
        RequestError: a picture is too small for the border or for SSIM, which the message names; or there is none.
    """
    progress = progress or Silent()
    # A function may be bicubic itself, beside which it stands.
    each = {model if model != BICUBIC else "model": upscale} if callable(upscale) else upscale
    streams: dict[str, UpscaleFrames] = {name: partial(map, _of_float(one)) for name, one in each.items()}
    rows = []
    # A picture is a clip of one frame.
    for name, lr, hr in pairs:
        check_cancelled(progress)
        _, figures = _score(name, [(lr, hr)], streams, protocol, 0, progress)
        rows.append(Row(name, figures))
    if not rows:
        raise RequestError("there are no pictures to score")
    return Table(model if callable(upscale) else next(iter(each)), protocol, tuple(rows))


def evaluate_clips(
    upscalers: Mapping[str, UpscaleFrames],
    clips: Iterable[tuple[str, Iterable[tuple[np.ndarray, np.ndarray]]]],
    protocol: ClipProtocol,
    *,
    progress: Progress | None = None,
) -> Table:
    """Score functions that upscale streams of frames.

    Frames are held only as long as a function reads ahead, and `protocol.skip_frames` more.

    Args:
        upscalers: by name, the model first. Each takes the LR frames of a clip in order, `[h, w, c]` as the clips
            have them, and gives as many `[scale * h, scale * w, c]`, uint8 or float about [0, 1].
        clips: name and `(lr, hr)` of every frame, uint8, as `read_clips` gives them.
        protocol: how to compare.
        progress: advanced by one for every frame.

    Returns:
        The table, rows in the order of the clips.

    Raises:
        RequestError: a clip has too few frames, or is too small for the border or for SSIM, which the message names;
            or there is none.

    Example:
        >>> clip = [(np.zeros((24, 24, 3), "uint8"), np.zeros((48, 48, 3), "uint8"))] * 3
        >>> evaluate_clips({"edsr": lambda lr: isr.upscale_frames("edsr_fast_x2", lr)}, [("a", clip)], ClipProtocol(2))
    """
    progress = progress or Silent()
    rows = []
    for name, frames in clips:
        scored, figures = _score(name, frames, upscalers, protocol, protocol.skip_frames, progress)
        rows.append(Row(name, figures, scored))
    if not rows:
        raise RequestError("there are no clips to score")
    return Table(next(iter(upscalers)), protocol, tuple(rows))


def _of_float(upscale: Upscale) -> Upscale:
    return lambda lr: upscale(to_float(lr))


def _score(
    name: str,
    frames: Iterable[tuple[np.ndarray, np.ndarray]],
    upscalers: Mapping[str, UpscaleFrames],
    protocol: Protocol,
    skip: int,
    progress: Progress,
) -> tuple[int, dict[str, Figures]]:
    """How many frames of a clip were scored, all but `skip` at each end, and the figures of every method."""
    upscalers = {BICUBIC: partial(map, partial(imresize, scale=protocol.scale)), **upscalers}
    originals, *copies = _streams(frames, len(upscalers))
    results = [upscale(lr) for upscale, lr in zip(upscalers.values(), copies, strict=True)]
    scores = {method: _Scores(protocol) for method in upscalers}
    latest: deque[tuple[np.ndarray, ...]] = deque(maxlen=skip + 1)
    scored = 0
    for count, pictures in enumerate(zip(originals, *results, strict=True)):
        check_cancelled(progress)
        latest.append(pictures)
        # From here on `skip` frames precede the oldest of the latest, and `skip` follow.
        if count >= 2 * skip:
            hr, *enlarged = latest[0]
            try:
                for score, sr in zip(scores.values(), enlarged, strict=True):
                    score.add(protocol.output(sr), hr)
            except ValueError as error:
                raise RequestError(f"{name}: cannot be scored: {error}") from None
            scored += 1
        progress.advance()
    if not scored:
        raise RequestError(f"{name}: has too few frames to leave out {skip} at each end")
    return scored, {method: Figures.mean(score.frames) for method, score in scores.items()}


def _streams(frames: Iterable[tuple[np.ndarray, np.ndarray]], copies: int) -> list[Iterator[np.ndarray]]:
    """HR of the frames, then so many times LR; a frame is held until every stream has passed it.

    `itertools.tee` does the same, but lets go of frames by the dozen.
    """
    source = iter(frames)
    queues: list[deque[np.ndarray]] = [deque() for _ in range(1 + copies)]

    def stream(queue: deque[np.ndarray]) -> Iterator[np.ndarray]:
        while True:
            if not queue:
                pair = next(source, None)
                if pair is None:
                    return
                lr, hr = pair
                for each, picture in zip(queues, (hr, *[lr] * copies), strict=True):
                    each.append(picture)
            yield queue.popleft()

    return [stream(queue) for queue in queues]


class _Scores:
    """The figures of one method on one clip, frame by frame."""

    def __init__(self, protocol: Protocol) -> None:
        self.frames: list[Figures] = []
        self._how: dict[str, Any] = {"channel": protocol.channel, "border": protocol.pixels}
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._perceptual = protocol.perceptual

    def add(self, sr: np.ndarray, hr: np.ndarray) -> None:
        change = None
        if self._before is not None:
            sr_before, hr_before = self._before
            change = flicker((sr_before, sr), (hr_before, hr), **self._how)
        border = self._how["border"]
        natural = niqe(sr, border) if self._perceptual else None
        apart = _feature_distance(sr, hr, border) if self._perceptual else None
        self.frames.append(
            Figures(psnr(sr, hr, **self._how), ssim(sr, hr, **self._how), change, natural, apart)
        )
        self._before = sr, hr


def _feature_distance(sr: np.ndarray, hr: np.ndarray, border: int) -> float:
    """The distance that `Figures.vgg` is, of pictures of 1 or 3 channels."""
    found, expected = (
        np.asarray(_extractor()(_in_colour(picture, border))[0], np.float64) for picture in (sr, hr)
    )
    return float(np.sqrt(np.mean((found - expected) ** 2))) / 255


def _in_colour(picture: np.ndarray, border: int) -> np.ndarray:
    inside = to_float(picture)[border or None : -border or None, border or None : -border or None]
    return np.repeat(inside, 3, axis=-1)[np.newaxis] if inside.shape[-1] == 1 else inside[np.newaxis]


@cache
def _extractor() -> Any:
    from isr.runtimes.devices import import_keras

    import_keras()
    from isr.models import VGG

    return VGG(layers=("block3_conv3",))
