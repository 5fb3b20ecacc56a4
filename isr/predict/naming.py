"""How results are called: a pattern such as `{stem}_x{scale}`, and what takes the places in it."""

from __future__ import annotations

import re
import string

from isr.errors import RequestError

PLACES = ("stem", "scale", "width", "height", "model")
# What no file may be called on one system or another, so that results can be copied from each to each.
FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')


def check_pattern(pattern: str) -> None:
    """Check that a pattern gives plain file names, another one for each input.

    Args:
        pattern: text with places from `PLACES` in braces; braces themselves are doubled.

    Raises:
        RequestError: it has none for the input's name, others than these, or characters that no name has.
    """
    if FORBIDDEN.search(pattern):
        raise RequestError(f"name {pattern!r}: is a file's name, without folders or any of : * ? \" < > |")
    try:
        parts = list(string.Formatter().parse(pattern))
    except ValueError:
        raise RequestError(f"name {pattern!r}: a brace is open; write {{{{ and }}}} for braces") from None
    places = [place for _, place, _, _ in parts if place is not None]
    plain = all(not spec and not conversion for _, _, spec, conversion in parts)
    if not plain or not set(places) <= set(PLACES):
        known = ", ".join(f"{{{place}}}" for place in PLACES)
        raise RequestError(f"name {pattern!r}: the places in it are {known}")
    if "stem" not in places:
        raise RequestError(f"name {pattern!r}: put {{stem}} into it, the name of the input")


def filled(pattern: str, stem: str, scale: float, width: int, height: int, model: str) -> str:
    """Give the name of a result, without suffix.

    Args:
        pattern: as `check_pattern` takes it.
        stem: of the input.
        scale: factor by which it grows; written to two decimals.
        width, height: of the result, in pixels.
        model: what the networks are called.
    """
    model = FORBIDDEN.sub("_", model)
    return pattern.format(stem=stem, scale=f"{round(scale, 2):g}", width=width, height=height, model=model)
