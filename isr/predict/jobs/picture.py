"""A picture to make of a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from isr.errors import ISRError, RequestError
from isr.io.pictures import (
    READABLE,
    WRITABLE,
    Picture,
    PictureInfo,
    check_writable,
    losses,
    probe,
    quantisation,
    read,
    suffix_of,
    write,
)
from isr.predict.adapting import Adaptation
from isr.predict.chain import upscale_along
from isr.predict.crop import check_crop, cropped, size_of
from isr.predict.jobs.job import Job, Setting, Unreadable, disk_needed, frame_bytes
from isr.predict.jobs.places import Input, check_name, made_beside, pictures_of
from isr.predict.networks import Opened
from isr.predict.quality import Quality, assess, quality_of_steps
from isr.predict.report import Units, Watch
from isr.predict.route import Route
from isr.predict.source import BICUBIC, ByScale, check_memory, plan_route
from isr.predict.speeds import Speeds
from isr.predict.tiling import plan_tiles
from isr.progress import Estimate, Place, Within, phase, show_tile
from isr.spec import Upscaler
from isr.tiles import Tile

# Pixels of a stretch that stands for a tile where there is no network.
STRIP = 2**20


@dataclass(frozen=True, kw_only=True)
class PictureJob(Job):
    """A picture to make of a picture.

    Attributes:
        info: what the source holds.
        max_pixels: larger sources are refused.
        quality: 1 to 100, of JPEG, WebP and AVIF.
        strip_metadata: leave out EXIF, XMP, resolution and colour profile.
        adaptation: how the network learns from the source first; None: not at all.
    """

    KIND: ClassVar[str] = "picture"
    SUFFIXES: ClassVar[frozenset[str]] = WRITABLE

    info: PictureInfo
    max_pixels: int
    quality: int
    strip_metadata: bool
    adaptation: Adaptation | None = None

    @staticmethod
    def contents(folder: Path, networks: ByScale, output: Path | None) -> Iterable[Path]:
        """List the pictures in a folder."""
        return pictures_of(folder)

    @classmethod
    def plan(cls, source: Input, setting: Setting) -> PictureJob:
        """Settle what is made of a source.

        Raises:
            Unreadable: the source is no picture, or not one that has the crop.
            RequestError: the result cannot be written.
        """
        options, networks = setting.options, setting.networks
        try:
            info = probe(source.path, max_pixels=options.max_pixels)
            if options.crop is not None:
                check_crop(options.crop, info.width, info.height, source.path, "the picture")
        except ISRError as error:
            raise Unreadable(error) from error
        if options.suffix is not None and options.suffix not in WRITABLE:
            raise RequestError(f"{source.path}: a picture cannot be written as {options.suffix[1:]}")
        width, height = size_of(options.crop, info.width, info.height)
        route = plan_route(height, width, setting.target, networks)
        target = _target(source, info, setting, route, height, width)
        check_writable(target, route.size[1], route.size[0], info.channels, info.dtype)
        check_name(target, target.name)
        note = losses(target.suffix, info.channels, info.dtype)
        looks = _looks(source.path, setting, route)
        return cls(
            **cls._shared(source, info, setting, target, route, note, looks),
            info=info,
            max_pixels=options.max_pixels,
            quality=options.quality,
            strip_metadata=options.strip_metadata,
            adaptation=_adaptation(setting, route),
        )

    @property
    def size_in(self) -> tuple[int, int]:
        return size_of(self.crop, self.info.width, self.info.height)

    @cached_property
    def units(self) -> Units:
        width, height = self.size_in
        if not self.networks:
            pixels = math.prod(self.route.size)
            return Units(max(1, -(-pixels // STRIP)), "tiles", pixels / 1e6)
        count, pixels = 0, 0
        for scale, network in zip(self.route.stages, self.networks, strict=True):
            tiles = plan_tiles(height, width, network.spec, self.tiles, scale)
            times = 1 + self._alpha_apart(network.spec.num_channels)
            count += len(tiles) * times
            pixels += len(tiles) * times * _area(tiles[0])
            height, width = height * scale, width * scale
        return Units(count, "tiles", pixels / 1e6 * (8 if self.tiles.self_ensemble else 1))

    @property
    def bytes_out(self) -> int:
        return frame_bytes(self.route.size, self.info.channels, self.info.dtype)

    @property
    def bytes_needed(self) -> int:
        width, height = self.size_in
        stages = self.route.stages
        between = (
            math.prod(stages[:-1]) ** 2 * height * width * self.info.channels * 4 if len(stages) > 1 else 0
        )
        whole = frame_bytes((self.info.height, self.info.width), self.info.channels, self.info.dtype)
        return whole + between + self.bytes_out

    def _pixels_in(self) -> int:
        return self.info.width * self.info.height

    def _record(self) -> dict[str, Any]:
        return {
            "size": list(self.route.size),
            "quality": self.quality,
            "strip_metadata": self.strip_metadata,
            # Earlier versions knew none.
            **({} if self.adaptation is None else self.adaptation.record),
        }

    def estimate(self, speeds: Speeds) -> Estimate:
        own = super().estimate(speeds)
        if self.adaptation is None or own.seconds is None:
            return own
        return replace(own, seconds=own.seconds + self.adaptation.seconds)

    def _read(self) -> Picture:
        size = f"{self.route.size[1]}x{self.route.size[0]}"
        check_memory(self.bytes_needed, f"{self.source}: a result of {size} pixels")
        picture = read(self.source, max_pixels=self.max_pixels)
        if picture.pixels.shape != (self.info.height, self.info.width, self.info.channels):
            raise ISRError(f"{self.source}: the file was changed while this ran; run it again")
        return picture

    def _make(self, read: Picture, opened: Opened, watch: Watch) -> str:
        pixels = cropped(read.pixels, self.crop)
        upscalers = self._upscalers(pixels, opened, watch)
        watch.start("upscale", self._tiles(opened), "tiles")
        result = upscale_along(self.route, pixels, upscalers, self.tiles, _Tiles(watch))
        if not self.networks:
            watch.advance(self.units.count)
        written = replace(read, pixels=result)
        with phase(watch, "writing", self.target.name), disk_needed():
            write(self.target, written, quality=self.quality, strip_metadata=self.strip_metadata)
        return ""

    def _upscalers(self, pixels: np.ndarray, opened: Opened, watch: Watch) -> Sequence[Upscaler]:
        """The networks of the route; the first one, which sees the picture itself, adapted where that pays."""
        if self.adaptation is None:
            return opened.upscalers
        begun = watch.seconds
        network, computed = opened.sources[0], opened.networks[0].precision
        with phase(watch, "adapting", network.name):
            model = self.adaptation.learn(network.model, pixels, self.route.stages[0], watch)
        first = opened.upscalers[0]
        if model is not None:
            first = network.open_adapted(model, computed, self.device)
        # Learning says nothing of how fast pixels are made.
        watch.leave_out(watch.seconds - begun)
        return (first, *opened.upscalers[1:])

    def _tiles(self, opened: Opened) -> int:
        """How many tiles it has, as the networks say that are open now."""
        own = (
            replace(network, spec=upscaler.spec)
            for network, upscaler in zip(self.networks, opened.upscalers, strict=True)
        )
        return replace(self, networks=tuple(own)).units.count

    def _alpha_apart(self, channels: int) -> bool:
        return self.info.channels in (2, 4) and self.info.channels != channels


class _Tiles(Within):
    """Counts and shows the tiles of a job, which are several stretches of work to the networks."""

    def advance(self, amount: int = 1) -> None:
        self.progress.advance(amount)

    def tile(self, pixels: Any, place: Place) -> None:
        show_tile(self.progress, pixels, place)


def _area(tile: Tile) -> int:
    return (tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start)


def _looks(path: Path, setting: Setting, route: Route) -> Quality | None:
    """What a picture looks like, where that decides how much is denoised."""
    options = setting.options
    if options.denoise != "auto" or not any(setting.networks[scale].mixture for scale in route.stages):
        return None
    try:
        pixels = read(path, max_pixels=options.max_pixels).pixels
    except ISRError as error:
        raise Unreadable(error) from error
    steps = quantisation(path)
    stored = None if steps is None else quality_of_steps(steps)
    return assess(cropped(pixels, options.crop), stored)


def _adaptation(setting: Setting, route: Route) -> Adaptation | None:
    """How the first network of a route learns from the picture.

    Raises RequestError where it cannot.
    """
    options = setting.options
    if options.adapt is None:
        return None
    if not setting.networks and not setting.preset:
        raise RequestError(f"{BICUBIC}: is no network that could learn; --adapt needs a preset")
    if not route.stages:
        # Of what is not enlarged, there is nothing to learn.
        return None
    setting.networks[route.stages[0]].check_adaptable()
    return Adaptation.of(options.adapt, options.kernel)


def _target(
    source: Input, info: PictureInfo, setting: Setting, route: Route, height: int, width: int
) -> Path:
    if source.file is not None:
        return source.file
    suffix = source.path.suffix
    own = suffix if suffix.lower() in WRITABLE else suffix_of(info.format)
    named = (
        source
        if suffix.lower() in READABLE
        else replace(source, path=source.path.with_name(source.path.name + own))
    )
    name_of = partial(setting.result_name, route=route, height=height, width=width)
    return made_beside(named, name_of, setting.options.suffix or own)
