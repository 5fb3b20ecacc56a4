"""What the browser may ask for: the page, the state, files in and out, and what the buttons do."""

from __future__ import annotations

import asyncio
import io
import json
import mimetypes
import re
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import resources
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from isr import __version__, presets
from isr.errors import ISRError, MachineError, RequestError
from isr.io.files import walk
from isr.page.estimates import Estimates
from isr.page.items import (
    SIZES,
    TURNED,
    Item,
    Queue,
    checked,
    merged,
    new_id,
    new_item,
    request_of,
    usable,
)
from isr.page.live import Live
from isr.page.looks import LOOK, LOOKS, look_of, sources_of
from isr.page.networks import KNOBS, knobs_of, networks_in
from isr.page.reasons import key
from isr.page.roots import SUFFIXES, Roots
from isr.page.supervisor import WORKER, Supervisor
from isr.page.trials import Trials
from isr.page.uploads import LARGEST, check_kind, receive
from isr.page.views import Views
from isr.page.watched import Watched
from isr.predict.source import has_corners

if TYPE_CHECKING:
    from isr.predict.speeds import Speeds

MOST_TOLD = 60  # items in one answer, which so stays under 50 KB
MOST_TRIED = 9  # pieces of one file
LARGEST_QUESTION = 64 * 1024  # bytes
SIDES = ("before", "after")
WAYS = ("plain", "smooth")


class Page:
    """The page as an application.

    Args:
        state: the folder of queue, uploads and views.
        roots: that files may be taken from.
        worker: the command that starts a worker.
        largest: bytes of an upload.
        watched: a folder whose new files are queued and the queue started.
    """

    def __init__(
        self,
        state: Path,
        roots: Roots,
        worker: Sequence[str] = WORKER,
        largest: int = LARGEST,
        watched: Watched | None = None,
    ) -> None:
        self.queue = Queue(state, roots)
        self.roots = roots
        self.supervisor = Supervisor(self.queue, worker)
        self.views = Views(state / "views", state / "views.log")
        self.trials = Trials(self.queue, worker)
        self.estimates = Estimates(self.supervisor, self.trials)
        self.largest = largest
        self.watched = watched
        self._static = _static_files()
        self.app = Starlette(
            routes=[
                Route("/", self.index),
                Route("/static/{name}", self.static),
                Route("/hello", self.hello),
                Route("/state", self.state),
                Route("/machine", self.machine),
                Route("/measure", self.measure, methods=["POST"]),
                Route("/settings", self.settings, methods=["PUT", "PATCH"]),
                Route("/go", self.go, methods=["POST"]),
                Route("/upload", self.upload, methods=["PUT"]),
                Route("/folders", self.folders),
                Route("/add", self.add, methods=["POST"]),
                Route("/clear", self.clear, methods=["POST"]),
                Route("/items/{id}", self.item),
                Route("/items/{id}", self.act, methods=["POST"]),
                Route("/items/{id}/try", self.try_piece, methods=["POST"]),
                Route("/items/{id}/tried/{number:int}", self.tried),
                Route("/items/{id}/thumb", self.thumb),
                Route("/items/{id}/live", self.live),
                Route("/items/{id}/size", self.size),
                Route("/items/{id}/part", self.part),
                Route("/items/{id}/result", self.result),
                Route("/items/{id}/play/{side}", self.play),
                Route("/results.zip", self.results),
            ],
            lifespan=self._lifespan,
            exception_handlers={ISRError: _refused, HTTPException: _no, ClientDisconnect: _left},
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self.supervisor.begin()
        tasks = [asyncio.create_task(self.estimates.run())]
        if self.watched is not None:
            tasks.append(asyncio.create_task(self.watched.run(self._found)))
        yield
        for task in tasks:
            task.cancel()
        await self.supervisor.close()
        await self.trials.close()
        await self.views.close()
        self.queue.close()

    # The page itself.

    async def index(self, request: Request) -> Response:
        return self._file("index.html")

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in self._static:
            raise HTTPException(404)
        kind, content = self._static[name]
        return Response(content, media_type=kind)

    # What there is to know.

    async def hello(self, request: Request) -> Response:
        return JSONResponse({"isr": __version__})

    async def state(self, request: Request) -> Response:
        """Tell what changed behind a revision, of at most so many items; `more` where there are others."""
        query = request.query_params
        since = _number(query.get("since", "0"))
        if query.get("boot") != self.queue.boot:
            since = 0
        items, gone, now = self.queue.since(since, MOST_TOLD)
        supervisor = self.supervisor
        left, all_known = supervisor.seconds_left()
        return JSONResponse(
            {
                "boot": self.queue.boot,
                "now": now,
                "more": now < self.queue.revision,
                "items": [self._told(item) for item in items],
                "gone": gone,
                "count": len(self.queue),
                "queue": {
                    "running": self.queue.settings.running,
                    "paused": supervisor.paused,
                    "stopping": supervisor.stopping,
                    "current": supervisor.current,
                    "left": left,
                    "all_known": all_known,
                    "measuring": self.estimates.measuring,
                },
                "settings": self.queue.settings.values,
            }
        )

    def _told(self, item: Item) -> dict[str, Any]:
        facts = self.supervisor.facts(item.id) if item.state == "waiting" else None
        told: dict[str, Any] = {
            "id": item.id,
            "place": item.place,
            "name": item.name,
            "clip": item.clip,
            "state": item.state,
            "reason": item.reason,
            "remedy": item.remedy,
            "size_in": item.size_in,
            "size_out": item.size_out,
            "frames": item.frames,
            "seconds": item.seconds,
            "part": item.state != "finished" and item.target is not None,
            "begun": item.state == "waiting" and item.request is not None,
        }
        if item.pieces:
            told["pieces"] = item.pieces
        if any(name in item.changes for name in SIZES):
            told["own_size"] = [item.changes.get(name) for name in SIZES]
        if facts is not None:
            told |= {
                "reason": facts.problem,
                "remedy": facts.remedy,
                "size_in": facts.size_in,
                "size_out": facts.size_out,
                "frames": facts.frames,
                "left": facts.seconds(self.supervisor.speeds),
            }
        if item.id == self.supervisor.current:
            told |= {"progress": self.supervisor.progress}
        return told

    async def item(self, request: Request) -> Response:
        """Tell all about one item: its command line, where it lies, its notes."""
        item = self._item(request)
        asked = request_of(item, self.queue.settings.values)
        facts = self.supervisor.facts(item.id)
        notes = [*(facts.notes if facts else ()), *self.supervisor.notes.get(item.id, item.lines)]
        return JSONResponse(
            {
                **self._told(item),
                "command": asked.command(),
                "source": str(item.source),
                "target": None if item.target is None else str(item.target),
                "notes": list(dict.fromkeys(notes)),
            }
        )

    async def machine(self, request: Request) -> Response:
        """Tell about this computer: what it has, what the presets are, and how fast they were."""
        return JSONResponse(await asyncio.to_thread(self._machine))

    def _machine(self) -> dict[str, Any]:
        import os

        import psutil

        from isr.predict.choice import choose_here
        from isr.predict.speeds import Speeds
        from isr.runtimes.devices import graphics_cards
        from isr.runtimes.engines import ENGINES, backend

        # Read anew: `isr engines --measure` may have run beside this page.
        measured = Speeds()
        auto = choose_here(speeds=measured)
        installed = {name: engine.version for name, engine in ENGINES.items() if engine.installed}
        return {
            "version": __version__,
            "cores": os.cpu_count(),
            "memory": psutil.virtual_memory().total,
            "free": psutil.disk_usage(str(self.queue.folder)).free,
            "engines": [backend(), *installed],
            "versions": installed,
            "auto": {"engine": auto.engine, "precision": auto.precision, "pace": auto.pace},
            "cards": graphics_cards(),
            "presets": [row for row in presets.describe() if row["val_psnr_y"]],
            "knobs": self._knobs(),
            "speeds": _fastest(measured),
            "roots": [str(folder) for folder in self.roots.folders],
            "folder": str(self.queue.folder),
        }

    def _knobs(self) -> dict[str, list[str]]:
        """What can be turned of which look, and of the reader's own networks by their paths."""
        found = {}
        for look in LOOKS:
            names = [name for name in sources_of({LOOK: look}) if name in presets.shipped()]
            found[look] = knobs_of(presets.find(names[0])) if names else []
        photo = (presets.default_for(n, alias=presets.PHOTO) for n in presets.default_scales(presets.PHOTO))
        turned = {knob for name in photo for knob in knobs_of(presets.find(name))}
        found["best"] = [knob for knob in KNOBS if knob in turned]
        for name in self.queue.settings.values.get("sources", []):
            # It may be gone.
            with suppress(RequestError):
                found[name] = knobs_of(presets.find(name))
        return found

    async def measure(self, request: Request) -> Response:
        """Measure how fast a look is here; answered when that is done."""
        asked = await _question(request)
        values = checked({**self.queue.settings.values, **_look(asked)}, self.roots)
        for field in TURNED:
            values.pop(field, None)
        if self.supervisor.current is not None:
            raise RequestError(key("busy"))
        pace = await self.trials.measure(values)
        self.supervisor.reread_speeds()
        return JSONResponse({"pace": pace})

    # What goes in.

    async def upload(self, request: Request) -> Response:
        """Take a file as the body of a PUT; its name, with folders where it came in one, is in the address."""
        name = request.query_params.get("name", "")
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        if not parts:
            raise RequestError(key("noName"))
        check_kind(parts[-1])
        self.queue.check_room()
        id = new_id()
        length = request.headers.get("content-length")
        path = await receive(
            self.queue.files_of(id),
            parts[-1],
            None if length is None else _number(length),
            request.stream(),
            self.largest,
        )
        shown = "/".join("".join(c for c in part if c.isprintable())[:120] for part in parts[-8:])
        item = await asyncio.to_thread(new_item, shown or path.name, path, own=True, id=id)
        return await self._added([item])

    async def folders(self, request: Request) -> Response:
        """Tell what is in a folder of this computer; without a path, the roots."""
        root = request.query_params.get("root")
        if root is None:
            return JSONResponse({"roots": [str(folder) for folder in self.roots.folders]})
        path = request.query_params.get("path", "")

        def listed() -> dict[str, Any]:
            there = self.roots.listed(_number(root), path)
            folder = self.roots.find(_number(root), path)
            return {**there, "path": str(folder), "networks": networks_in(folder, self.roots)}

        return JSONResponse(await asyncio.to_thread(listed))

    async def add(self, request: Request) -> Response:
        """Add files of this computer, and all that is in a folder of it."""
        asked = await _question(request)
        root, path = asked.get("root"), asked.get("path", "")
        if not isinstance(root, int) or not isinstance(path, str):
            raise RequestError("say which folder")
        there = await asyncio.to_thread(self.roots.find, root, path)
        if there.is_file():
            check_kind(there.name)
            return await self._added([await asyncio.to_thread(new_item, there.name, there, own=False)])
        files = await asyncio.to_thread(lambda: [p for p in self._inside(there) if self.roots.holds(p)])
        if not files:
            raise RequestError(key("emptyFolder"))

        def items() -> list[Item]:
            names = ((Path(there.name) / file.relative_to(there)).as_posix() for file in files)
            # Those of a root itself belong into it: beside it, nothing may be written.
            results = there / there.name if there in self.roots.folders else there
            return [new_item(n, file, False, there, results) for n, file in zip(names, files, strict=True)]

        return await self._added(await asyncio.to_thread(items))

    def _inside(self, folder: Path) -> Iterator[Path]:
        for path in walk(folder, SUFFIXES):
            first, *inside = path.relative_to(folder).parts
            # Not the results of an earlier run: `_x2`, `_x2.5`, `_1920x`, `_x1080` and `_1920x1080`.
            if not (inside and re.fullmatch(rf"{re.escape(folder.name)}_(x\d+(\.\d+)?|\d*x\d*)", first)):
                yield path

    async def _added(self, items: list[Item]) -> Response:
        # All of them, or none.
        self.queue.check_room(len(items))
        for item in items:
            self.queue.append(item)
        await self.queue.written()
        self.supervisor.look()
        self.supervisor.next()
        return self._done(ids=[item.id for item in items])

    async def _found(self, items: list[Item]) -> None:
        """Add what lies in the watched folder, and begin with it, for nobody is there to press Start."""
        await self._added(items)
        if not self.supervisor.paused:
            await self.supervisor.start()

    # What the buttons do.

    async def settings(self, request: Request) -> Response:
        """Take all settings by PUT, or by PATCH those that change; None is the default."""
        asked = await _question(request)
        kept = usable(self.queue.settings.values, self.roots) if request.method == "PATCH" else {}
        self.supervisor.set(checked({**kept, **asked}, self.roots))
        await self.queue.written()
        return self._done()

    async def go(self, request: Request) -> Response:
        asked = await _question(request)
        do: dict[str, Callable[[], Awaitable[None]]] = {
            "start": self.supervisor.start,
            "pause": self.supervisor.pause,
            "finish": self.supervisor.finish,
            "stop": self.supervisor.stop,
        }
        if asked.get("do") not in do:
            raise RequestError("start, pause, finish or stop")
        await do[asked["do"]]()
        await self.queue.written()
        return self._done()

    async def act(self, request: Request) -> Response:
        """Remove an item, make it again, or move it."""
        asked = await _question(request)
        item = self._item(request)
        match asked.get("do"):
            case "remove":
                await self.supervisor.remove(item.id)
            case "again":
                changes = asked.get("changes", {})
                if not isinstance(changes, dict):
                    raise RequestError("changes are named values")
                checked({**self.queue.settings.values, **merged(item.changes, changes)}, self.roots)
                self.supervisor.again(item.id, changes)
            case "move":
                before, step = asked.get("before"), asked.get("step")
                if before is not None and before not in self.queue:
                    raise RequestError(key("notListed"))
                if step is None:
                    self.queue.move(item.id, before)
                elif step in (-1, 1):
                    self.queue.shift(item.id, step)
                else:
                    raise RequestError("a step is 1 or -1")
            case _:
                raise RequestError("remove, again or move")
        await self.queue.written()
        return self._done()

    async def try_piece(self, request: Request) -> Response:
        """Make a piece of an item by one look; answered when it is made."""
        asked = await _question(request)
        item = self._item(request)
        number, place, start = asked.get("number"), asked.get("place", [0.5, 0.5]), asked.get("start", 0)
        if (
            not isinstance(number, int)
            or number not in range(MOST_TRIED)
            or not _are_numbers(place, 2)
            or not _are_numbers([start], 1)
        ):
            raise RequestError("no such piece")
        values = {**self.queue.settings.values, **item.changes}
        values = checked({**values, **_look(asked)}, self.roots)
        if not all(map(has_corners, sources_of(values))):
            for field in TURNED:
                values.pop(field, None)
        said = await self.trials.run(item, values, number, (place[0], place[1]), float(start))
        return JSONResponse(said)

    async def tried(self, request: Request) -> Response:
        path = self.trials.path(self._item(request).id, request.path_params["number"])
        if path is None:
            raise HTTPException(404)
        return FileResponse(path)

    async def clear(self, request: Request) -> Response:
        """Take what is finished off the list."""
        for item in self.queue.items:
            if item.state == "finished":
                await self.supervisor.remove(item.id)
        await self.queue.written()
        return self._done()

    # What comes out.

    async def thumb(self, request: Request) -> Response:
        item = self._item(request)
        path = await self.views.thumbnail(item.id, self._served(item, "before"))
        return FileResponse(path, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    async def live(self, request: Request) -> Response:
        """Give the small picture of an item at work, as far as it is."""
        path = self.queue.views_of(self._item(request).id) / Live.NAME
        if not path.is_file():
            raise HTTPException(404)
        return Response(await asyncio.to_thread(path.read_bytes), media_type="image/jpeg")

    async def size(self, request: Request) -> Response:
        """Give the size of both sides of a comparison, once they are ready to be looked at."""
        item, frame = self._item(request), _number(request.query_params.get("frame", "0"))
        sizes = {}
        for side in ("before", "after"):
            facts = await self.views.size(item.id, side, self._served(item, side), frame)
            sizes[side] = [facts["width"], facts["height"]]
        return JSONResponse({**sizes, "frames": item.frames, "clip": item.clip, "name": item.name})

    async def part(self, request: Request) -> Response:
        item, query = self._item(request), request.query_params
        side, way = query.get("side", "after"), query.get("way", "plain")
        if side not in SIDES or way not in WAYS:
            raise RequestError("no such view")
        try:
            left, top, across, down = (float(part) for part in query.get("box", "").split(","))
            width, height = (int(part) for part in query.get("size", "").split(","))
        except ValueError:
            raise RequestError("a part is four numbers, and its size two") from None
        content = await self.views.part(
            item.id,
            side,
            self._served(item, side),
            _number(query.get("frame", "0")),
            (left, top, across, down),
            (width, height),
            way,
        )
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    async def result(self, request: Request) -> Response:
        """Give the result as a download; of a clip that was stopped, what there is."""
        item = self._item(request)
        path = self._served(item, "after")
        return FileResponse(path, filename=path.name, media_type="application/octet-stream")

    async def play(self, request: Request) -> Response:
        """Give a clip for the browser's player."""
        item, side = self._item(request), request.path_params["side"]
        if side not in SIDES:
            raise HTTPException(404)
        path = self._served(item, side)
        return FileResponse(path, media_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream")

    async def results(self, request: Request) -> Response:
        """Give all results as one ZIP, written while it is sent."""
        files: dict[str, Path] = {}
        for item in self.queue.items:
            if item.state == "finished":
                # One that was moved, or is out of reach, is left out.
                with suppress(HTTPException):
                    path = self._served(item, "after")
                    files[_free(Path(item.name).with_name(path.name).as_posix(), files)] = path
        if not files:
            raise RequestError(key("nothingFinished"))
        head = {"content-disposition": 'attachment; filename="larger.zip"'}
        return StreamingResponse(
            iterate_in_threadpool(zipped(files)), media_type="application/zip", headers=head
        )

    def _done(self, **more: Any) -> Response:
        """Answer what changed something, with the revision from which on it shows."""
        return JSONResponse({**more, "now": self.queue.revision})

    def _item(self, request: Request) -> Item:
        id = request.path_params["id"]
        if id not in self.queue:
            raise HTTPException(404, key("notListed"))
        return self.queue[id]

    def _served(self, item: Item, side: str) -> Path:
        """A file of an item; 404 where there is none, 403 where it is not in the page's reach."""
        path = item.source if side == "before" else item.target
        if path is None or not path.is_file():
            raise HTTPException(404)
        whole = path.resolve()
        own = [self.queue.files_of(item.id).resolve()]
        if self.watched is not None:
            own += [self.watched.folder, self.watched.into]
        if not any(folder in whole.parents for folder in own) and not self.roots.holds(whole):
            raise HTTPException(403)
        return path


def zipped(files: dict[str, Path]) -> Iterator[bytes]:
    """Yield a ZIP of files, by their names in it; pictures and videos are not compressed again."""

    class Pipe(io.RawIOBase):
        """Takes what is written until it is fetched."""

        def __init__(self) -> None:
            self.held: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, block: Any) -> int:
            self.held.append(bytes(block))
            return len(block)

        def fetch(self) -> bytes:
            held, self.held = b"".join(self.held), []
            return held

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, path in files.items():
            with (
                path.open("rb") as file,
                archive.open(zipfile.ZipInfo.from_file(path, name), "w", force_zip64=True) as inside,
            ):
                while block := file.read(2**20):
                    inside.write(block)
                    yield pipe.fetch()
    yield pipe.fetch()


def _free(name: str, taken: dict[str, Path]) -> str:
    """The name, or with a number where it is taken."""
    path, number = Path(name), 1
    names = {known.casefold() for known in taken}
    while path.as_posix().casefold() in names:
        number += 1
        path = Path(name).with_stem(f"{Path(name).stem} ({number})")
    return path.as_posix()


def _static_files() -> dict[str, tuple[str, bytes]]:
    """The files of the page by name, with their kinds; read once, so that no name reaches the disk."""
    kinds = {
        ".html": "text/html",
        ".css": "text/css",
        ".js": "text/javascript",
        ".svg": "image/svg+xml",
        ".jpg": "image/jpeg",
    }
    folder = resources.files("isr.page") / "static"
    return {
        file.name: (kinds[Path(file.name).suffix], file.read_bytes())
        for file in folder.iterdir()
        if Path(file.name).suffix in kinds
    }


def _fastest(measured: Speeds) -> list[dict[str, Any]]:
    """What was measured, in seconds per megapixel: of each look, and of each other network, the fastest way."""
    rows = [
        {**kind._asdict(), "look": look_of(kind.networks), "seconds": measured.get(kind)}
        for kind in measured.kinds()
    ]
    found: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=itemgetter("seconds")):
        found.setdefault(row["look"] or row["networks"], row)
    return list(found.values())


def _look(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The look that a question names, or the reader's own network, as fields of the settings."""
    return {LOOK: asked.get(LOOK), "sources": asked.get("sources")}


async def _question(request: Request) -> dict[str, Any]:
    """The JSON that was sent; RequestError where it is none, or too much."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > LARGEST_QUESTION:
            raise RequestError("too much was sent")
    try:
        asked = json.loads(body)
    except ValueError:
        raise RequestError("what was sent is no JSON") from None
    if not isinstance(asked, dict):
        raise RequestError("what was sent is no JSON object")
    return asked


def _are_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, (int, float)) and 0 <= value < 1e6 for value in values)
    )


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise RequestError("a number is wanted")
    return int(text)


async def _refused(request: Request, error: Exception) -> Response:
    text = str(error)
    return JSONResponse({"error": text}, status_code=507 if isinstance(error, MachineError) else 400)


async def _no(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _left(request: Request, error: Exception) -> Response:
    """Whoever asked is gone."""
    return Response(status_code=400)
