"""Which input becomes which file."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isr.errors import RequestError
from isr.io.clips import ANIMATION_SUFFIXES, VIDEO_SUFFIXES, WRITABLE_SUFFIXES, is_clip
from isr.io.files import mirrored, walk
from isr.io.pictures import READABLE, WRITABLE, usual_suffix
from isr.io.places import place_of
from isr.predict.route import Target
from isr.predict.source import ByScale

if TYPE_CHECKING:
    from isr.predict.jobs.job import Job

# Bytes that nearly every file system takes.
LONGEST_NAME = 255


def pictures_of(folder: Path) -> Iterator[Path]:
    """List the pictures of a folder and of those in it, in order; animations are clips."""
    return (path for path in walk(folder, READABLE) if not is_clip(path))


def clips_of(folder: Path) -> Iterator[Path]:
    """List the video files and animations of a folder and of those in it, in order."""
    return (path for path in walk(folder, VIDEO_SUFFIXES | ANIMATION_SUFFIXES) if is_clip(path))


def is_clip_input(path: Path, networks: ByScale, output: Path | None) -> bool:
    """Tell whether an input is a clip and no picture.

    A folder of numbered pictures is one where the network takes several frames, or a video is to be made of it;
    otherwise it is a folder of pictures.
    """
    if not path.is_dir():
        return is_clip(path)
    frames = any(network.num_frames > 1 for network in networks.values())
    to_clip = output is not None and output.suffix.lower() in WRITABLE_SUFFIXES and not output.is_dir()
    return (frames or to_clip) and is_clip(path)


def check_name(target: Path, name: str) -> None:
    """Check that a file system has room for a name that making `target` needs.

    Raises:
        RequestError: it is too long.
    """
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise RequestError(
            f"{target}: the name is longer than {LONGEST_NAME} bytes; name the result by --output"
        )


def input_of(given: Path | str) -> Path | str:
    """Read an input as users write it: a path, the address of an object store, or "@" and a list of inputs.

    Raises:
        RequestError: it is an address of another kind.
    """
    if isinstance(given, str) and given.startswith("@"):
        return f"@{place_of(given[1:])}"
    place = place_of(given)
    # A file of such a name is not taken for a list.
    return place.absolute() if isinstance(place, Path) and str(place).startswith("@") else place


@dataclass(frozen=True)
class Input:
    """An input to read, and where its result belongs."""

    path: Path
    # The input folder that it lies in.
    tree: Path | None
    # The output folder, whose journal records it.
    folder: Path
    # The very file to write.
    file: Path | None = None

    @property
    def name(self) -> str:
        """Return what is the same wherever the input lies: the path below its folder."""
        return self.path.name if self.tree is None else self.path.relative_to(self.tree).as_posix()


def find_sources(
    inputs: Sequence[Path],
    output: Path | None,
    target: Target,
    suffixes: Collection[str],
    contents: Callable[[Path], Iterable[Path]],
    several: bool,
    asked: str | None = None,
    named_by_pattern: bool = False,
    whole: bool = True,
) -> Iterator[Input]:
    """Find what is to be read, and where the results belong.

    Args:
        inputs: files, folders that are one input (of frames), and folders whose contents are wanted.
        output: a folder, or a file where it has one of the suffixes; None: beside each input.
        target: names the folders that are made beside others.
        suffixes: of the files that may be written.
        contents: the inputs in a folder; the folder itself where it is one.
        several: the request has several inputs.
        asked: the suffix that the results shall have; None: any.
        named_by_pattern: whether a pattern says what results are called.
        whole: whether an output folder is the result of a folder of frames; otherwise that lies in it.

    Raises:
        RequestError: the output does not fit the inputs.
    """
    # Pictures and clips are looked for apart, and the output suits those that there are.
    if not inputs:
        return
    into_file = output is not None and output.suffix.lower() in suffixes and not output.is_dir()
    if output is not None and not (into_file or output.is_dir()):
        other = output.suffix.lower()
        if other in WRITABLE | WRITABLE_SUFFIXES:
            raise RequestError(
                f"{output}: {inputs[0]} becomes no {other[1:]} file; name a folder or another file"
            )
    trees = [path for path in inputs if path.is_dir() and list(itertools.islice(contents(path), 1)) != [path]]
    if into_file:
        assert output is not None
        if several or trees:
            raise RequestError(f"{output}: names one file, but there are several inputs; name a folder")
        named = output.suffix.lower()
        if asked is not None and usual_suffix(asked) != usual_suffix(named):
            raise RequestError(f"{output}: is no {asked[1:]} file; leave out --format, or change the suffix")
        if named_by_pattern:
            raise RequestError(f"{output}: is the name already; leave out --name, or name a folder")
    elif output is not None and output.exists() and not output.is_dir():
        raise RequestError(f"{output}: is a file, but neither a picture or clip nor a folder")
    for path in inputs:
        if path in trees:
            yield from _tree(path, output, several, target, contents)
        elif into_file or (path.is_dir() and output is not None and whole):
            assert output is not None
            yield Input(path, None, output.parent, output)
        else:
            yield Input(path, None, path.parent if output is None else output)


def _tree(
    path: Path, output: Path | None, several: bool, target: Target, contents: Callable[[Path], Iterable[Path]]
) -> Iterator[Input]:
    whole = path.resolve()
    if output is None:
        beside = path if path.name not in ("", "..") else whole
        if not beside.name:
            raise RequestError(f"{path}: the root of a disk has no folder beside it; name one by --output")
        folder = beside.with_name(f"{beside.name}_{target.label()}")
    else:
        folder = output / (path.name or whole.name) if several else output
    results = folder.resolve()
    for file in contents(path):
        # Not results of an earlier run.
        if results == whole or results not in file.resolve().parents:
            yield Input(file, path, folder)


def made_beside(source: Input, name_of: Callable[[str, bool], str], suffix: str) -> Path:
    """Say where the result of a source lies that names no file.

    Args:
        source: the input.
        name_of: gives the name, without suffix, from the stem of the source and whether it lies in a mirrored tree.
        suffix: of the result.
    """
    stem = source.path.name if source.path.is_dir() else source.path.stem
    tree = source.tree
    folder = source.folder if tree is None else mirrored(source.path, tree, source.folder).parent
    return folder / (name_of(stem, tree is not None) + suffix)


def check_distinct(jobs: Sequence[Job]) -> None:
    """Refuse results that would replace each other or an input, as a file system sees names."""
    sources = {file_key(job.source): job.source for job in jobs}
    made: dict[str, Job] = {}
    for job in jobs:
        key = file_key(job.target)
        if key in sources:
            raise RequestError(
                f"{job.target}: is an input, and would be replaced by the result of {job.source}; "
                "choose another --output"
            )
        if key in made:
            raise RequestError(
                f"{job.target}: both {made[key].source} and {job.source} would be written there; "
                "choose another --output, or give them one at a time"
            )
        made[key] = job


def file_key(path: Path) -> str:
    """The same for two paths that some file system takes for one: case and Unicode's composition do not count."""
    whole = path.parent.resolve() / path.name
    return unicodedata.normalize("NFC", str(whole.resolve() if whole.exists() else whole)).casefold()
