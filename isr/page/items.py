"""The queue on disk: one file per item, how waiting items will be made, and what changed since a reader asked."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from isr import presets
from isr.errors import RequestError
from isr.io.clips import ANIMATION_SUFFIXES, is_clip
from isr.io.files import atomic, mirrored
from isr.page.looks import LOOK, LOOKS, sources_of
from isr.page.networks import KNOBS, check_network
from isr.page.reasons import key
from isr.page.roots import Roots
from isr.predict.plain import from_plain, to_plain
from isr.predict.request import PredictRequest
from isr.predict.source import BICUBIC

State = Literal["waiting", "working", "paused", "finished", "failed"]

MOST_ITEMS = 10_000
MOST_LOOKS = 3  # networks that one item is made by
CLIP_FORMAT = "clip.format"  # of clips, where `options.format` is that of pictures
SIZES = ("options.scale", "options.size")
RESULTS = "results.folder"  # of files of this computer, where they do not lie beside these
TURNED = tuple(f"options.{knob}" for knob in KNOBS)  # of a network that has such knobs
# What only a file of video has, and no animation.
ENCODED = ("options.video.codec", "options.video.crf")
# The fields of a request that the page may set; files and addresses are none of them.
SETTABLE = frozenset(
    {
        "sources",
        LOOK,
        "options.scale",
        "options.size",
        "options.denoise",
        "options.texture",
        "options.crop",
        "options.tile",
        "options.precision",
        "options.engine",
        "options.device",
        "options.format",
        "options.name",
        "options.quality",
        "options.self_ensemble",
        "options.strip_metadata",
        "options.overwrite",
        "options.video.codec",
        "options.video.crf",
        "options.video.start",
        "options.video.duration",
        CLIP_FORMAT,
        RESULTS,
    }
)


@dataclass(frozen=True)
class Item:
    """One file of the queue.

    Attributes:
        id: letters and digits; names its file and its folders.
        place: smaller comes first.
        name: what the reader calls it; with folders, where it came in one.
        source: the file.
        own: whether source and result lie in the page's own folder, and go when the item goes.
        tree: the folder that it was added with; None: it came alone, and its result lies beside it.
        results: the folder of the tree's results, but for what its name ends with (`holiday` of `holiday_x2`).
        exact: the results' folder is called just so.
        clip: whether it is a clip.
        state: where it stands.
        reason, remedy: why it failed, and which button mends it, both as `isr.page.reasons` names them; empty where
            none does.
        changes: fields of the request for this item alone.
        request: as `PredictRequest.to_json` gives it, from when it was begun.
        target: the result; the playable part of a clip that was stopped, while it is not finished.
        size_in, size_out: `(width, height)`.
        frames: of a clip.
        seconds: that it took.
        pieces: pixels of the side of a piece that it was brought down to where memory ran out; 0: it was not.
        lines: what was said of it last, once it has failed, for those who can help.
        kills: how often in a row the worker died of it without getting further.
        reached: the units, such as frames, that were done when it died and had got furthest.
    """

    id: str
    place: float
    name: str
    source: Path
    own: bool
    tree: Path | None = None
    results: Path | None = None
    exact: bool = False
    clip: bool = False
    state: State = "waiting"
    reason: str = ""
    remedy: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] | None = None
    target: Path | None = None
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    frames: int | None = None
    seconds: float = 0.0
    pieces: int = 0
    lines: tuple[str, ...] = ()
    kills: int = 0
    reached: int = 0


@dataclass(frozen=True)
class Settings:
    """How waiting items will be made, and whether the queue runs.

    Attributes:
        values: fields of a request, by their dotted names.
        running: whether the next item is begun when one is over.
        paused: whether work stands until the reader lets it go on, also after a restart.
    """

    values: dict[str, Any] = field(default_factory=dict)
    running: bool = False
    paused: bool = False


def checked(values: Mapping[str, Any], roots: Roots | None = None) -> dict[str, Any]:
    """Give what a page asks for, as it is kept.

    Args:
        values: fields of a request by their dotted names; None for a field means its default.
        roots: that networks which do not ship may lie in, as folders; None: there are none.

    Raises RequestError where one is unknown, may not be set here, or is out of its range.
    """
    if unknown := set(values) - SETTABLE:
        raise RequestError(f"{sorted(unknown)[0]}: cannot be set here")
    kept = {name: value for name, value in values.items() if value is not None}
    sources = kept.get("sources", [])
    if not isinstance(sources, list) or len(sources) > MOST_LOOKS:
        raise RequestError(f"sources: give a list of at most {MOST_LOOKS} names")
    known = {*presets.shipped(), BICUBIC}
    for source in sources:
        if not isinstance(source, str):
            raise RequestError("sources: give a list of names")
        if source not in known:
            check_network(source, roots)
    if LOOK in kept and (kept[LOOK] not in [*LOOKS] or sources):
        raise RequestError(f"look: one of {', '.join(LOOKS)}, and no sources beside it")
    if RESULTS in kept:
        _check_folder(kept[RESULTS], roots)
    for clip in (False, True):
        _request(Path("x"), clip, kept)
    return kept


def usable(values: Mapping[str, Any], roots: Roots | None) -> dict[str, Any]:
    """Give what may still be set of what was kept: a folder or a network may be gone meanwhile."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        try:
            kept |= checked({name: value}, roots)
        except RequestError:
            continue
    if set(kept) != set(values):
        # Those of a network that is gone.
        for name in TURNED:
            kept.pop(name, None)
    try:
        return checked(kept, roots)
    except RequestError:
        return {}


def _check_folder(folder: Any, roots: Roots | None) -> None:
    try:
        inside = roots is not None and Path(folder).is_absolute() and roots.holds(Path(folder) / "file")
        if inside and Path(folder).is_dir():
            return
    except (OSError, ValueError, RuntimeError, TypeError):
        pass
    raise RequestError(key("outside"))


def merged(own: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the changes of an item with some more of them; without scale and size, it has the size of all files."""
    found = {**own, **changes}
    if all(found.get(name) is None for name in SIZES):
        for name in SIZES:
            found.pop(name, None)
    return found


def request_of(item: Item, values: Mapping[str, Any]) -> PredictRequest:
    """Say what is asked for an item: what it was begun with, else by these values and its own changes.

    Raises RequestError where the values do not fit each other.
    """
    if item.request is not None:
        return PredictRequest.from_json(item.request)
    values = {**values, **item.changes}
    request = _request(item.source, item.clip, values)
    folder = None if item.own or item.exact else values.get(RESULTS)
    if item.tree is None or item.results is None:
        return request if folder is None else replace(request, output=Path(folder))
    results = item.results if folder is None else Path(folder, item.results.name)
    if not item.exact:
        results = results.with_name(f"{results.name}_{request.options.target.or_scale(2).label()}")
    return replace(request, output=mirrored(item.source, item.tree, results).parent)


def _request(source: Path, clip: bool, values: Mapping[str, Any]) -> PredictRequest:
    values = dict(values)
    asked = values.pop(CLIP_FORMAT, None)
    values.pop(RESULTS, None)
    if clip:
        values.pop("options.format", None)
        if asked is not None:
            values["options.format"] = asked
        if f".{asked}" in ANIMATION_SUFFIXES or (not asked and source.suffix.lower() in ANIMATION_SUFFIXES):
            for name in ENCODED:
                values.pop(name, None)
    if values.get("options.size") is not None:
        values.pop("options.scale", None)
    nested: dict[str, Any] = {"inputs": [str(source)]}
    try:
        nested["sources"] = sources_of(values)
        for name in values.keys() - {LOOK, "sources"}:
            *above, last = name.split(".")
            inside = nested
            for part in above:
                inside = inside.setdefault(part, {})
            inside[last] = values[name]
        return from_plain(PredictRequest, nested)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"the settings do not fit ({error})") from None


class Queue:
    """The items in their order, each in a file of its own, and the revision in which each changed last.

    Not for several threads: the server's loop alone changes it. Files are written by a thread, in order.

    Args:
        folder: of the page's state; made where missing, for the user alone.
        roots: that networks of the settings may lie in.

    What was at work when the last server ended waits again.
    """

    def __init__(self, folder: Path, roots: Roots | None = None) -> None:
        self.folder = folder
        for part in (folder, folder / "items", folder / "files", folder / "views"):
            part.mkdir(parents=True, exist_ok=True)
            part.chmod(0o700)
        self.boot = secrets.token_hex(4)
        self.revision = 0
        self._writer = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None
        self._items: dict[str, Item] = {}
        # At or behind that of all items: looking for it among thousands, thousands of times, takes seconds.
        self._last_place = 0.0
        self._changed: dict[str, int] = {}
        self._gone: dict[str, int] = {}
        for path in sorted((folder / "items").glob("[!.]*.json")):
            try:
                item: Item = from_plain(Item, json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError, KeyError, OSError):
                path.replace(path.with_suffix(".damaged"))
                continue
            if item.state in ("working", "paused"):
                item = replace(item, state="waiting")
            self._items[item.id] = item
            self._last_place = max(self._last_place, item.place)
            self.touch(item.id)
        self._clear_left()
        try:
            self.settings: Settings = from_plain(Settings, json.loads(self._settings.read_text("utf-8")))
            self.settings = replace(self.settings, values=usable(self.settings.values, roots))
        except (ValueError, TypeError, KeyError, OSError):
            self.settings = Settings()

    def _clear_left(self) -> None:
        """Delete what no item has any more: uploads that a kill cut off. Files of damaged items stay."""
        for part in (self.folder / "files", self.folder / "views"):
            for left in part.iterdir():
                damaged = (self.folder / "items" / left.name).with_suffix(".damaged")
                if left.name not in self._items and not damaged.exists():
                    shutil.rmtree(left, ignore_errors=True)

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.json"

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, id: str) -> bool:
        return id in self._items

    def __getitem__(self, id: str) -> Item:
        return self._items[id]

    @property
    def items(self) -> list[Item]:
        """Return all of them, in their order."""
        return sorted(self._items.values(), key=lambda item: item.place)

    def files_of(self, id: str) -> Path:
        """Give the folder of an item's own files."""
        return self.folder / "files" / id

    def views_of(self, id: str) -> Path:
        """Give the folder of an item's views."""
        return self.folder / "views" / id

    def append(self, item: Item) -> Item:
        """Add an item at the end; RequestError where there is no room."""
        self.check_room()
        return self.put(replace(item, place=self._last_place + 1))

    def check_room(self, count: int = 1) -> None:
        """Raise RequestError where the queue has no room for so many."""
        if len(self._items) + count > MOST_ITEMS:
            raise RequestError(key("fullList", MOST_ITEMS))

    def put(self, item: Item) -> Item:
        """Add an item, or replace the one of its name."""
        self._items[item.id] = item
        self._last_place = max(self._last_place, item.place)
        self.touch(item.id)
        self._write(self.folder / "items" / f"{item.id}.json", item)
        return item

    def change(self, id: str, **fields: Any) -> Item:
        """Change some fields of an item."""
        return self.put(replace(self._items[id], **fields))

    def touch(self, id: str) -> None:
        """Note that something about an item is new to a reader, though its file is not."""
        self.revision += 1
        self._changed[id] = self.revision

    def remove(self, id: str) -> None:
        """Take an item off, with what it has in the page's own folder."""
        del self._items[id], self._changed[id]
        self.revision += 1
        self._gone[id] = self.revision

        def clear() -> None:
            (self.folder / "items" / f"{id}.json").unlink(missing_ok=True)
            for folder in (self.files_of(id), self.views_of(id)):
                shutil.rmtree(folder, ignore_errors=True)

        self._last = self._writer.submit(clear)

    def move(self, id: str, before: str | None) -> None:
        """Put an item before another one; at the end where that is None."""
        others = [item for item in self.items if item.id != id]
        at = next((n for n, item in enumerate(others) if item.id == before), len(others))
        low = others[at - 1].place if at else None
        high = others[at].place if at < len(others) else None
        place = low + 1 if low is not None else (high or 0.0) - 1
        if low is not None and high is not None:
            place = (low + high) / 2
            if not low < place < high:
                # Halved so often that nothing is left between them.
                for n, item in enumerate(others):
                    self.change(item.id, place=float(n))
                place = at - 0.5
        self.change(id, place=place)

    def shift(self, id: str, step: int) -> None:
        """Put an item some places later, or earlier where the step is negative."""
        ids = [item.id for item in self.items]
        at = max(ids.index(id) + step, 0)
        ids.remove(id)
        self.move(id, ids[at] if at < len(ids) else None)

    def set(self, **fields: Any) -> None:
        """Change the settings, on the disk too."""
        self.settings = replace(self.settings, **fields)
        self.revision += 1
        self._write(self._settings, self.settings)

    def since(self, revision: int, most: int) -> tuple[list[Item], list[str], int]:
        """Tell what changed behind a revision.

        Args:
            revision: that the reader knows.
            most: items that are told of at once.

        Returns:
            The items, those that were removed, and the revision that the reader then knows.
        """
        changed = sorted((n, id) for id, n in self._changed.items() if n > revision)
        told, left = changed[:most], changed[most:]
        # Up to just before the first that is left out.
        now = left[0][0] - 1 if left else self.revision
        gone = [id for id, n in self._gone.items() if revision < n <= now]
        return [self._items[id] for _, id in told], gone, now

    async def written(self) -> None:
        """Wait until everything so far is on the disk."""
        import asyncio

        if self._last is not None:
            await asyncio.wrap_future(self._last)

    def close(self) -> None:
        """Write what is left."""
        self._writer.shutdown()

    def _write(self, path: Path, content: Item | Settings) -> None:
        def write() -> None:
            text = json.dumps(to_plain(content), ensure_ascii=False, indent=1)
            with atomic(path) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="surrogateescape")

        self._last = self._writer.submit(write)


def new_item(
    name: str,
    source: Path,
    own: bool,
    tree: Path | None = None,
    results: Path | None = None,
    id: str = "",
    exact: bool = False,
) -> Item:
    """Make an item of a file; `Queue.append` gives it its place."""
    return Item(id or new_id(), 0.0, name, source, own, tree, results, exact, is_clip(source))


def new_id() -> str:
    """Give a name that no other item has."""
    return secrets.token_hex(8)
