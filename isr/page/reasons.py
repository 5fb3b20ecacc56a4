"""What an error says to someone who does not type, and which button mends it.

Sentences of the page are keys here, such as `@memory`, with what stands in them behind bars, such as `@tooLarge|64`.
The words are in `static/words.js`, like all of the page. What the package itself said stands in an item's details.
"""

from __future__ import annotations

import re
from pathlib import Path


def key(name: str, *values: object) -> str:
    """Name a sentence of the page."""
    return "|".join([f"@{name}", *(str(value).replace("|", "/") for value in values)])


NO_HEIC = key("heic")
OTHER = key("other")
# The first that is found in what the package says of a file: what the page says, and the button.
KNOWN = tuple(
    (re.compile(pattern), words, remedy)
    for pattern, words, remedy in (
        (r"--overwrite", key("exists"), "replace"),
        (r"keras-isr\[heic\]", NO_HEIC, "again"),
        (r"--max-pixels|more than the limit", key("manyPixels"), ""),
        (r"disk is full|the disk has", key("fullDisk"), "again"),
        (r"GiB of memory", key("largeResult"), "again"),
        (r"memory, even for|memory for tiles", key("noMemory"), "again"),
        (r"memory", key("memory"), "tile"),
        (r"damaged|cut off|is empty|not one frame|no video in it", key("damaged"), "again"),
        (r"known format|codec is not known|TIFF (of|with)|an animated", key("unknownInside"), "again"),
        (r"pixels, but .* holds", key("tooLargeForKind"), "format"),
        (r"cannot be written as|can be written in here", key("otherFormat"), "format"),
        (r"cannot hold|even frame rate|choose \.mkv", key("container"), "format"),
        (r"cannot be opened|no such encoder|needs 10 bits", key("encoder"), "codec"),
        (r"permission denied", key("noWriting"), "again"),
        (r"no such file|is gone", key("gone"), "again"),
        (r"was changed|were changed", key("changed"), "again"),
        (r"is the input itself|is an input", key("replacesItself"), "name"),
        (r"name is longer|name too long", key("longName"), ""),
        (r"^engine |^device |computes it in|int8|bfloat16", key("cannotCalculate"), "automatic"),
        (r"something unexpected", key("unexpected"), "again"),
    )
)
DIED = key("died")


def explain(text: str, source: Path) -> tuple[str, str]:
    """Turn the line of an error into plain words.

    Args:
        text: one line, such as `photo.jpg: exists; give --overwrite to replace it`.
        source: the file that it is about.

    Returns:
        The key of a sentence, and the name of the remedy; empty where there is none.
    """
    if text.startswith("@"):
        return text, "tile" if text == DIED else "again"
    of_source = text.startswith(f"{source}:")
    # Names of files are no reasons.
    said = text.replace(str(source), "").lstrip(": ")
    said = re.sub(r"^(/|\\\\|[A-Za-z]:[\\/]).*?: ", "", said)
    words, remedy = next(
        ((words, remedy) for pattern, words, remedy in KNOWN if pattern.search(said)), (OTHER, "again")
    )
    if words == key("noWriting") and of_source:
        words = key("noReading")
    return words, remedy
