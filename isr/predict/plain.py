"""Frozen dataclasses as plain JSON values, and back: what a request and a job are in a file."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from isr.errors import RequestError


def to_plain(value: Any) -> Any:
    """Turn a dataclass, or what its fields hold, into values that JSON has.

    Args:
        value: None, text, a number, a path, a fraction, a range, an array, or a dataclass, tuple, list or dictionary
            of such values.

    Returns:
        Dataclasses become dictionaries by the names of their fields, tuples and ranges lists, paths and fractions
        text, arrays their compressed bytes. `from_plain` is the inverse.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, (Path, Fraction)):
        return str(value)
    if isinstance(value, range):
        return [value.start, value.stop]
    if isinstance(value, np.ndarray):
        packed = zlib.compress(np.ascontiguousarray(value).tobytes())
        return {"dtype": value.dtype.str, "data": base64.b64encode(packed).decode("ascii")}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a {type(value).__name__} is no plain value")


def from_plain(kind: Any, value: Any) -> Any:
    """Turn what `to_plain` made back into a value of a type.

    Args:
        kind: the type, as in an annotation. Of a union, None apart, only one member may be other than plain.
        value: read from JSON.

    Raises:
        KeyError, TypeError, ValueError: the value is not of that type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        members = [member for member in arguments if member is not NoneType]
        return value if value is None or len(members) > 1 else from_plain(members[0], value)
    if kind is Any or origin is Literal or origin is dict:
        return value
    if is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
        known = {field.name for field in fields(kind) if field.init}
        if unknown := set(value) - known:
            raise KeyError(f"{getattr(kind, '__name__', kind)} has no {sorted(unknown)[0]}")
        return kind(**{name: from_plain(hints[name], item) for name, item in value.items()})  # type: ignore[operator]
    if kind is range:
        start, stop = value
        return range(start, stop)
    if kind is np.ndarray:
        return np.frombuffer(zlib.decompress(base64.b64decode(value["data"])), np.dtype(value["dtype"]))
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = _hints(kind)
        return kind(*(from_plain(hints[name], item) for name, item in zip(kind._fields, value, strict=True)))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(from_plain(arguments[0], item) for item in value)
        return tuple(from_plain(member, item) for member, item in zip(arguments, value, strict=True))
    if kind in (Path, Fraction, float):
        return kind(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


@contextmanager
def readable(what: str, advice: str = "") -> Iterator[None]:
    """Raise RequestError where the block finds that content is not what `to_plain` made.

    Args:
        what: the content should be, such as "job".
        advice: what the message ends with.
    """
    try:
        yield
    except RequestError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RequestError(f"not a {what}, or a damaged one ({error}){advice}") from None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
