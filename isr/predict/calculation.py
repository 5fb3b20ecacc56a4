"""What millions of files would take: time, requests and money, from measured speeds and the sizes that a list says."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from isr.errors import ISRError
from isr.io import clips, pictures
from isr.io.places import is_remote
from isr.predict.report import duration_of
from isr.predict.request import PredictRequest
from isr.predict.source import BICUBIC, plan_route
from isr.predict.speeds import Kind, Speeds
from isr.predict.stream import Item, Maker, is_clip_name, items_of
from isr.predict.tiling import plan_tiles

# List prices, in dollars: a core for an hour, and a thousand requests of a store that write (or list), or read.
CORE_HOUR, WRITES, READS = 0.04, 0.005, 0.0004
# Processor seconds that Ray itself takes for a picture, in blocks of eight, and for a run of segments of a clip: see
# `benchmarks/cluster.py overhead`.
PICTURE, RUN = 0.002, 0.013
# Frames of a run.
RUN_FRAMES = 600
# Names in one answer to a listing.
PAGE = 1000


def calculate(request: PredictRequest) -> dict[str, Any]:
    """Add up what the inputs of object stores and lists would take, without fetching or writing any.

    Args:
        request: what is asked for. Sizes are those of the list, or of local headers; others are not known.

    Returns:
        Plain JSON values: `files`; `unknown`, those without a size; `megapixels` that go through the networks, of
        the others; `seconds` and `core_hours` of this machine for these, None where no speed was measured; `requests`
        of stores, by kind; `dollars`, by what they are for.
    """
    maker, speeds = Maker(request), Speeds()
    files = unknown = listed = reads = writes = 0
    driver = 0.0
    work: dict[Kind, float] = defaultdict(float)
    for item in items_of(request):
        files += 1
        listed += item.size is not None
        reads += is_remote(item.source) * (1 if item.size is not None else 2)
        # Whether it is there, and to put it.
        reads += isinstance(request.output, str)
        writes += isinstance(request.output, str)
        found = _megapixels(maker, item)
        frames = item.facts.get("frames")
        driver += PICTURE if frames is None else -(-frames // RUN_FRAMES) * RUN
        if found is None:
            unknown += 1
        else:
            work[found[0]] += found[1]
    paces = {kind: speeds.get(kind) for kind in work}
    seconds: float | None = sum(megapixels * (paces[kind] or 0) for kind, megapixels in work.items())
    if not all(paces.values()):
        seconds = None
    core_hours = None if seconds is None else seconds * (os.cpu_count() or 1) / 3600
    lists = -(-listed // PAGE)
    return {
        "files": files,
        "unknown": unknown,
        "megapixels": sum(work.values()),
        "seconds": seconds,
        "core_hours": core_hours,
        "driver_seconds": driver,
        "requests": {"read": reads, "write": writes, "list": lists},
        "dollars": {
            "computing": None if core_hours is None else core_hours * CORE_HOUR,
            "requests": (reads * READS + (writes + lists) * WRITES) / 1000,
        },
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Tell what `calculate` has found to a reader."""
    yield f"{found['files']} files, {found['megapixels']:.1f} MP through the networks"
    if found["unknown"]:
        yield f"{found['unknown']} more files whose size is not known: let a list say width and height"
    if found["seconds"] is None:
        yield "time not known yet: no file of this kind was made on this machine"
    else:
        computing = found["dollars"]["computing"]
        yield (
            f"about {duration_of(found['seconds'])} on this machine, {found['core_hours']:.1f} core-hours, "
            f"{computing:.2f} $ at {CORE_HOUR} $ each"
        )
    yield f"with --cluster ray: about {duration_of(found['driver_seconds'])} of Ray's own beside it"
    asked = found["requests"]
    yield (
        f"requests: {asked['read']} that read, {asked['write']} that write, {asked['list']} that list, "
        f"{found['dollars']['requests']:.2f} $ at S3's list prices"
    )


def _megapixels(maker: Maker, item: Item) -> tuple[Kind, float] | None:
    """Megapixels that go through the networks, and the kind of work; None where the size is not known."""
    asked, facts = maker.asked(item.options), item.facts
    # Some suffixes are of pictures and of animations; those of a store are not looked into.
    clip = "frames" in facts or is_clip_name(item.source)
    if not facts and not is_remote(item.source):
        clip = clips.is_clip(Path(item.source))
    frames = facts.get("frames", 1)
    if "width" in facts and "height" in facts and ("frames" in facts or not clip):
        width, height = facts["width"], facts["height"]
    elif is_remote(item.source):
        return None
    else:
        try:
            if clip:
                about = clips.probe(Path(item.source))
                width, height, frames = about.width, about.height, about.frames
            else:
                header = pictures.probe(Path(item.source))
                width, height = header.width, header.height
        except ISRError:
            return None
    setting = asked.clips if clip else asked.pictures
    route = plan_route(height, width, setting.target, setting.networks)
    if clip:
        setting, _ = setting.for_clip(route)
    engine, precision = asked.settle().clips if clip else asked.settle().pictures
    own = [setting.networks[scale] for scale in route.stages]
    if own and own[0].num_frames > 1:
        beside = own[0].frame_engine(precision, asked.options.device)
        engine = ", ".join(filter(None, (own[0].engine, beside)))
    names = " then ".join(network.name for network in own)
    runs = any(network.precisions for network in own)
    kind = Kind(names or BICUBIC, engine if runs else "", precision if runs else "", "CPU")
    megapixels = 0.0 if route.stages else route.size[0] * route.size[1] / 1e6
    for scale, network in zip(route.stages, own, strict=True):
        if clip:
            megapixels += height * width / 1e6
        else:
            # As jobs count them, by which speeds were measured: tiles overlap.
            overlaps = network.overlaps_of_a_tile(precision, asked.options.device)
            wide = replace(asked.options.tiles, overlaps=overlaps)
            tiles = plan_tiles(height, width, network.outline, wide, scale)
            rows, columns = tiles[0].rows, tiles[0].columns
            area = (rows.stop - rows.start) * (columns.stop - columns.start)
            megapixels += len(tiles) * area / 1e6
        height, width = height * scale, width * scale
    return kind, megapixels * frames * (8 if asked.options.self_ensemble and own else 1)
