"""Parts of all inputs, for any system that runs a command many times."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from isr.errors import RequestError

# Number, from 0, and count.
Shard = tuple[int, int]


def shard_of(name: str, count: int) -> int:
    """Tell in which of `count` parts a name lies: by a hash, so that it stays there when files are added.

    Args:
        name: of an input, below its folder or bucket.
        count: of the parts.
    """
    content = unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") % count


def check_shard(number: int, count: int) -> Shard:
    """Check that there is such a part.

    Raises:
        RequestError: there is none.
    """
    if not 0 <= number < count:
        raise RequestError(f"shard {number}/{count}: shards count from 0: 0/{max(count, 1)} is the first one")
    return number, count


def parse_shard(text: str) -> Shard:
    """Read `17/1000`.

    Raises:
        RequestError: it is not of this form, or there is no such part.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    if match is None:
        raise RequestError(f"--shard {text}: give a number and a count, such as 17/1000")
    return check_shard(int(match[1]), int(match[2]))


@dataclass
class Share:
    """The names of one part.

    Attributes:
        shard: which; None: all names are in it.
        others: how many names were asked for that are not in it.
    """

    shard: Shard | None
    others: int = 0

    def __contains__(self, name: str) -> bool:
        if self.shard is None or shard_of(name, self.shard[1]) == self.shard[0]:
            return True
        self.others += 1
        return False
