"""What an error says to someone who does not type, and which button mends it.

Sentences of the page are keys here, such as `@memory`, with what stands in them behind bars, such as `@tooLarge|64`.
The words are in `static/words.js`, like all of the page; what the package itself says stays as it is.
"""

from __future__ import annotations

import re
from pathlib import Path


def key(name: str, *values: object) -> str:
    """Name a sentence of the page."""
    return "|".join([f"@{name}", *(str(value).replace("|", "/") for value in values)])


NO_HEIC = key("heic")
# The first that is found in an error's text: what the page says instead (empty: the text itself), and the button.
KNOWN = (
    ("--overwrite", key("exists"), "replace"),
    ("keras-isr[heic]", NO_HEIC, "again"),
    ("--max-pixels", key("manyPixels"), ""),
    ("GiB of memory", key("largeResult"), "again"),
    ("memory, even for", key("noMemory"), "again"),
    ("memory", key("memory"), "tile"),
    ("disk", "", "again"),
    ("cannot be written as", "", "format"),
    ("choose .mkv", "", "format"),
    (".mkv", "", "format"),
    ("permission denied", key("noWriting"), "again"),
    ("no such file", key("gone"), ""),
    ("were changed since", "", "again"),
    ("was changed while", "", "again"),
)
DIED = key("died")


def explain(text: str, source: Path) -> tuple[str, str]:
    """Turn the line of an error into plain words.

    Args:
        text: one line, such as `photo.jpg: exists; give --overwrite to replace it`.
        source: the file that it is about, whose path the page need not repeat.

    Returns:
        The words, or the key of a sentence, and the name of the remedy; empty where there is none.
    """
    if text.startswith("@"):
        return text, "tile" if text == DIED else "again"
    said = re.sub(rf"^{re.escape(str(source))}:\s*", "", text).strip()
    for part, words, remedy in KNOWN:
        if part in said:
            return words or _sentence(said), remedy
    return _sentence(said), "again"


def _sentence(text: str) -> str:
    # What names an option speaks to the command line.
    parts = [part.strip() for part in text.split(";")]
    text = "; ".join(part for part in parts if "--" not in part) or text
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
