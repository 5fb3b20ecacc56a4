"""What an error says to someone who does not type, and which button mends it."""

from __future__ import annotations

import re
from pathlib import Path

NO_HEIC = (
    "Pictures of the kind HEIC need an addition to this program: pip install 'keras-isr[heic]'. Or save it as JPEG "
    "first (on an iPhone: Settings, Camera, Formats, Most Compatible)."
)
# The first that is found in an error's text: what the page says instead (empty: the text itself), and the button.
KNOWN = (
    ("--overwrite", "A file of that name is there already.", "replace"),
    ("keras-isr[heic]", NO_HEIC, "again"),
    ("--max-pixels", "The picture is larger than this program takes.", ""),
    (
        "GiB of memory",
        "A result of this size does not fit into the memory: choose a smaller size, or close other programs.",
        "again",
    ),
    (
        "memory, even for",
        "There is not enough memory, even in the smallest pieces: close other programs.",
        "again",
    ),
    ("memory", "There is not enough memory for this.", "tile"),
    ("disk", "", "again"),
    ("cannot be written as", "", "format"),
    ("choose .mkv", "", "format"),
    (".mkv", "", "format"),
    ("permission denied", "The folder cannot be written to.", "again"),
    ("no such file", "The file is no longer there.", ""),
    ("were changed since", "", "again"),
    ("was changed while", "", "again"),
)
DIED = "The program that does the work stopped without a word; often that is a lack of memory."


def explain(text: str, source: Path) -> tuple[str, str]:
    """Turn the line of an error into plain words.

    Args:
        text: one line, such as `photo.jpg: exists; give --overwrite to replace it`.
        source: the file that it is about, whose path the page need not repeat.

    Returns:
        The words, and the name of the remedy; empty where there is none.
    """
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
