"""Files in object stores, by fsspec: listed as a stream, fetched whole, put whole.

Addresses stay text: a `Path` makes `s3:/bucket` of `s3://bucket`. Credentials, endpoints and regions are found by the
stores' own libraries in their own ways (environment variables, files of the user, roles of the machine), and are part
of no address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from isr.errors import ISRError, MachineError, RequestError, first_line

# By the scheme of an address, the package that reads it, and the extra that installs it.
SCHEMES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "az": ("adlfs", "az")}
# The name under which an object's metadata holds what it was made from.
NOTE = "isr-record"
# The folder of the notes where a store's library writes no metadata.
NOTES = ".isr-predict"


class Found(NamedTuple):
    """An object of a store.

    Attributes:
        address: of it.
        name: below the place that was listed.
        size: bytes.
        etag: changes when the content does.
    """

    address: str
    name: str
    size: int
    etag: str


def is_remote(place: object) -> bool:
    """Tell whether a place is an address of an object store."""
    return isinstance(place, str) and place.partition("://")[0] in SCHEMES and "://" in place


def place_of(text: str | Path) -> str | Path:
    """Read a place as users write it.

    Args:
        text: a local path, `file:///path`, or an address: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`.

    Returns:
        A path; for an address, its text.

    Raises:
        RequestError: the scheme is unknown, no bucket is named, or the address holds a password.
    """
    scheme, mark, rest = str(text).partition("://")
    if isinstance(text, Path) or not mark or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        return Path(text)
    if scheme == "file":
        path = unquote(urlsplit(text).path)
        # file:///C:/pictures
        return Path(path[1:] if re.match(r"/[A-Za-z]:", path) else path)
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in ("file", *SCHEMES))
        raise RequestError(f"{scheme}://: files are read from folders and from {known}")
    bucket = rest.partition("/")[0]
    if not bucket:
        raise RequestError(f"{text}: name a bucket, as in {scheme}://bucket/folder")
    if "@" in bucket or ":" in bucket:
        raise RequestError(
            f"{scheme}://: leave user and password out of the address; the store's own variables and files hold them"
        )
    return text.rstrip("/")


def joined(place: str | Path, name: str) -> str | Path:
    """Name a file below a place."""
    return place / name if isinstance(place, Path) else f"{place}/{name}"


def listing(address: str) -> Iterator[Found]:
    """List the objects below an address as they come, a page at a time; hidden ones are left out.

    Raises:
        ISRError: the store does not answer, or refuses.
    """
    prefix = f"{_key(address)}/"
    with _answers(address):
        for key, size, etag in _objects(address):
            name = key.removeprefix(prefix)
            if name and not name.endswith("/") and not any(p.startswith(".") for p in name.split("/")):
                yield Found(f"{address}/{name}", name, size, etag)


def find(address: str) -> Found | None:
    """Ask for one object; None where there is none.

    Raises:
        ISRError: the store does not answer, or refuses.
    """
    with _answers(address):
        try:
            about = _store(address).info(_key(address))
        except FileNotFoundError:
            return None
    if about.get("type") == "directory":
        return None
    return Found(address, address.rpartition("/")[2], int(about.get("size") or 0), _etag(about))


def fetch(address: str, path: Path) -> None:
    """Copy an object into a file.

    Raises:
        RequestError: there is no such object.
        ISRError: the store does not answer, or refuses.
    """
    with _answers(address):
        _store(address).get_file(_key(address), str(path))


def put(path: Path, address: str, note: str = "") -> None:
    """Copy a file into an object, which is whole or not there at all.

    Args:
        path: the file.
        address: of the object; another one there is replaced.
        note: what it was made from; travels with the object where the store's library takes metadata.

    Raises:
        ISRError: the store does not answer, or refuses.
    """
    store, key = _store(address), _key(address)
    with _answers(address):
        # A file that is opened for writing commits what it holds when an exception ends it; this does not.
        if address.startswith("s3:"):
            store.put_file(str(path), key, Metadata={NOTE: note})
        elif address.startswith("gs:"):
            store.put_file(str(path), key, metadata={NOTE: note})
        else:
            store.put_file(str(path), key)
            store.pipe_file(_note_key(key), note.encode())


def remove(address: str) -> None:
    """Remove the objects below an address.

    Raises:
        ISRError: the store does not answer, or refuses.
    """
    with _answers(address), suppress(FileNotFoundError):
        _store(address).rm(_key(address), recursive=True)


def note_of(address: str) -> str | None:
    """Read what an object was made from; "" where nothing says so, None where there is no object.

    Raises:
        ISRError: the store does not answer, or refuses.
    """
    store, key = _store(address), _key(address)
    with _answers(address):
        try:
            if address.startswith("s3:"):
                held = store.metadata(key)
            elif address.startswith("gs:"):
                held = store.info(key).get("metadata") or {}
            else:
                store.info(key)
                try:
                    held = {NOTE: store.cat_file(_note_key(key)).decode()}
                except FileNotFoundError:
                    held = {}
        except FileNotFoundError:
            return None
    # Some versions of s3fs write names with underscores.
    return str(held.get(NOTE) or held.get(NOTE.replace("-", "_")) or "")


@cache
def _filesystem(scheme: str) -> Any:
    package, extra = SCHEMES[scheme]
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        raise MachineError(f"{scheme}://: needs {package}: pip install 'keras-isr[{extra}]'") from None


def _store(address: str) -> Any:
    return _filesystem(address.partition("://")[0])


def _key(address: str) -> str:
    return address.partition("://")[2]


def _note_key(key: str) -> str:
    folder, _, name = key.rpartition("/")
    return f"{folder}/{NOTES}/{name}.txt"


def _objects(address: str) -> Iterator[tuple[str, int, str]]:
    """Bucket and key, size and ETag of the objects below an address."""
    store = _store(address)
    if not address.startswith("s3:"):
        for folder, _, files in store.walk(_key(address), detail=True):
            for name, about in files.items():
                yield f"{folder}/{name}", int(about.get("size") or 0), _etag(about)
        return
    # A page at a time; fsspec's own listings hold all names in memory.
    bucket, _, prefix = _key(address).partition("/")
    more: dict[str, str] = {}
    while True:
        page = store.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", **more)
        for about in page.get("Contents", ()):
            yield f"{bucket}/{about['Key']}", int(about["Size"]), _etag(about)
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _etag(about: dict[str, Any]) -> str:
    return str(about.get("ETag") or about.get("etag") or about.get("md5Hash") or "").strip('"')


@contextmanager
def _answers(address: str) -> Iterator[None]:
    """Turn what a store's library raises into a line that names the address."""
    try:
        yield
    except ISRError:
        raise
    except FileNotFoundError:
        raise RequestError(f"{address}: no such object or bucket: check the spelling") from None
    except PermissionError as error:
        raise MachineError(f"{address}: not allowed: {first_line(error)}") from None
    # Each library has errors of its own.
    except Exception as error:
        raise ISRError(f"{address}: {first_line(error)}") from error
