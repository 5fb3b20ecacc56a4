"""Pickles read as data: plain values and inert records come out, and nothing that a pickle names is called.

Python's own unpickler calls whatever a pickle names. With its look-ups overridden a pickle still sets attributes
of what they returned, makes it allocate by a number of its own (`LONG_BINPUT`) and overflows the C stack by hashing
nested tuples. Here no instruction calls, imports or hashes anything of the file's but text and small numbers; the
standard library's `pickletools` decodes the instructions.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

# The largest checkpoints of the networks here, optimizers included, take some 200,000 steps.
MAX_STEPS = 1_000_000

# Instructions that put their argument on the stack.
# fmt: off
CONSTANTS = frozenset((
    "BINBYTES", "BINBYTES8", "BINFLOAT", "BININT", "BININT1", "BININT2", "BINSTRING", "BINUNICODE", "BINUNICODE8",
    "BYTEARRAY8", "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES", "SHORT_BINSTRING", "SHORT_BINUNICODE",
    "STRING", "UNICODE",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class Global:
    """A class or function that a pickle names."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Object:
    """What a pickle would have made by calling something unknown: the inert record of it."""

    made_by: Any
    arguments: Any
    state: Any = None


def load(
    stream: BytesIO,
    known: Mapping[Global, Callable[..., Any]],
    persistent: Callable[[Any], Any],
) -> Any:
    """Read the pickle that begins at the position of `stream`, which is left right behind it.

    Args:
        stream: the bytes, in memory, so that no length in them can make a read larger than they are.
        known: what may be built, by its name in the file: functions of ours that take the pickled arguments and
            return data. `collections.OrderedDict` is known beside them, as `dict`.
        persistent: makes data of a persistent id.

    Returns:
        None, bool, int, float, str, bytes, list (sets too), tuple, dict, `Global`, `Object` or what the two
        arguments gave. Dictionaries hold the entries with text as their key only. A list or dict may contain
        itself, and nesting may be as deep as the file is long: walk it with a limit.

    Raises:
        ValueError, IndexError, TypeError, ...: the bytes are no pickle, or one that takes over `MAX_STEPS` steps,
            or an instruction that no checkpoint needs.
    """
    stack: list[Any] = []
    outer: list[list[Any]] = []  # the stacks below the open marks
    memo: dict[int, Any] = {}
    steps = 0

    def spend(count: int) -> None:
        nonlocal steps
        steps += count
        if steps > MAX_STEPS:
            raise ValueError(f"its pickle takes over {MAX_STEPS} steps")

    def since_mark() -> list[Any]:
        nonlocal stack
        items, stack = stack, outer.pop()
        return items

    def reduced(function: Any, arguments: Any) -> Any:
        if not isinstance(arguments, tuple):
            raise TypeError("a pickled call without a tuple of arguments")
        spend(len(arguments))
        if function == Global("collections", "OrderedDict"):
            ordered: dict[str, Any] = {}
            for pairs in arguments:  # none, or as Python 2 wrote them: one list of pairs
                spend(len(pairs))
                _store(ordered, pairs)
            return ordered
        if isinstance(function, Global) and function in known:
            return known[function](*arguments)
        return Object(function, arguments)

    for instruction, argument, _ in pickletools.genops(stream):
        spend(1)
        match instruction.name:
            case name if name in CONSTANTS:
                stack.append(argument)
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(memo[argument])  # type: ignore[index]
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                memo[argument] = stack[-1]  # type: ignore[index]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "MARK":
                outer.append(stack)
                stack = []
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(instruction.name == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(instruction.name[-1])
                stack[-length:] = [tuple(_last(stack, length))]
            case "TUPLE":
                items = since_mark()
                stack.append(tuple(items))
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "LIST" | "FROZENSET":
                items = since_mark()
                stack.append(items)
            case "EMPTY_DICT":
                stack.append({})
            case "DICT":
                items = since_mark()
                stack.append({})
                _store(stack[-1], _pairs(items))
            case "APPEND":
                item = stack.pop()
                _extend(stack[-1], [item])
            case "APPENDS" | "ADDITEMS":
                items = since_mark()
                _extend(stack[-1], items)
            case "SETITEM":
                key, value = _last(stack, 2)
                del stack[-2:]
                _store(stack[-1], [(key, value)])
            case "SETITEMS":
                items = since_mark()
                _store(stack[-1], _pairs(items))
            case "GLOBAL":
                stack.append(_named(argument))
            case "STACK_GLOBAL":
                module, name = _last(stack, 2)
                if not (isinstance(module, str) and isinstance(name, str)):
                    raise TypeError("a pickled name that is no text")
                stack[-2:] = [Global(module, name)]
            case "REDUCE" | "NEWOBJ":
                function, arguments = _last(stack, 2)
                stack[-2:] = [reduced(function, arguments)]
            case "NEWOBJ_EX":
                function, arguments, _ = _last(stack, 3)
                stack[-3:] = [Object(function, arguments)]
            case "INST":
                items = since_mark()
                stack.append(Object(_named(argument), tuple(items)))
            case "OBJ":
                items = since_mark()
                stack.append(Object(items[0], tuple(items[1:])))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Object):  # of known values it is of no interest
                    stack[-1].state = state
            case "BINPERSID":
                stack[-1] = persistent(stack[-1])
            case "DUP":
                stack.append(stack[-1])
            case "POP":
                stack.pop()
            case "POP_MARK":
                since_mark()
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name:  # EXT1, PERSID, NEXT_BUFFER, ...
                raise ValueError(f"the pickle instruction {name}, which no checkpoint needs")
    raise ValueError("a pickle without an end")


def _last(stack: list[Any], length: int) -> list[Any]:
    if len(stack) < length:
        raise IndexError("a pickle that takes from an empty stack")
    return stack[-length:]


def _pairs(items: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Object):  # which may be a list of a class of its own
        raise TypeError("a pickle that appends to what is no list")


def _store(target: Any, pairs: Iterable[Any]) -> None:
    if isinstance(target, dict):
        for key, value in pairs:
            if isinstance(key, str):
                target[key] = value
    elif not isinstance(target, Object):
        raise TypeError("a pickle that sets items of what is no dictionary")


def _named(argument: Any) -> Global:
    module, name = argument.split(" ", 1)
    return Global(module, name)
