"""Files appear whole or not at all; folders are walked in order."""

import os
from pathlib import Path
from typing import Any

import pytest

from isr.errors import ISRError, RequestError
from isr.io import files


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_puts_the_file_in_place_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "neu" / "größe 图.bin"
    with files.atomic(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".bin"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert names_in(target.parent) == [target.name]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt, OSError])
def test_atomic_leaves_the_target_alone_when_the_block_raises(
    tmp_path: Path, exception: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(exception), files.atomic(target) as temporary:
        temporary.write_text("half")
        raise exception
    assert target.read_text() == "before"
    assert names_in(tmp_path) == ["a.txt"]


def test_atomic_keeps_the_usual_permissions(tmp_path: Path) -> None:
    plain, target, old = tmp_path / "plain", tmp_path / "target", tmp_path / "old"
    plain.write_text("")
    old.write_text("")
    old.chmod(0o600)
    for path in (target, old):
        with files.atomic(path) as temporary:
            temporary.write_text("new")
    assert target.stat().st_mode == plain.stat().st_mode
    if os.name != "nt":
        assert old.stat().st_mode & 0o777 == 0o600


def test_atomic_takes_the_longest_name(tmp_path: Path) -> None:
    target = tmp_path / ("n" * 251 + ".png")
    with files.atomic(target) as temporary:
        temporary.write_bytes(b"x")
    assert target.exists()


def test_atomic_says_in_one_line_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for target in (tmp_path / "file" / "a.png", tmp_path / "folder.png"):
        with pytest.raises(RequestError) as caught, files.atomic(target) as temporary:
            temporary.write_text("x")
        assert str(caught.value).startswith(f"{target}: ") and "\n" not in str(caught.value)
    assert names_in(tmp_path) == ["file", "folder.png"]


def test_atomic_flushes_before_it_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str) -> Any:
        original = getattr(os, name)

        def call(*args: Any) -> Any:
            order.append(name)
            return original(*args)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    with files.atomic(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert order[:2] == ["fsync", "replace"]


def test_full_disk_and_denied_permission_have_their_exit_codes(tmp_path: Path) -> None:
    import errno

    cases = ((errno.ENOSPC, 3), (errno.EACCES, 2), (errno.ENOENT, 2), (errno.EISDIR, 2), (errno.EIO, 1))
    for number, code in cases:
        error = files.file_error(tmp_path, OSError(number, os.strerror(number)))
        assert error.exit_code == code and str(error).startswith(f"{tmp_path}: ")
        assert isinstance(error, ISRError) and "\n" not in str(error)


def _tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


def test_walk_is_sorted_recursive_and_skips_what_is_hidden(tmp_path: Path) -> None:
    _tree(
        tmp_path,
        "b.PNG",
        "a.png",
        "c.jpg",
        "sub/ä.Png",
        "sub/deep/1.png",
        ".hidden.png",
        ".git/x.png",
        "png",
        "z.txt",
    )
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in files.walk(tmp_path, {".png"})]
    assert found == ["a.png", "b.PNG", "sub/deep/1.png", "sub/ä.Png"]
    both = [path.name for path in files.walk(tmp_path, [".PNG", ".jpg"])]
    assert both == ["a.png", "b.PNG", "c.jpg", "1.png", "ä.Png"]


def test_walk_goes_into_a_hidden_folder_that_is_asked_for(tmp_path: Path) -> None:
    _tree(tmp_path, ".inside/a.png")
    assert [path.name for path in files.walk(tmp_path / ".inside", {".png"})] == ["a.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_walk_follows_links_but_no_loops(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    _tree(root, "in/a.png")
    _tree(other, "b.png")
    (root / "in" / "up").symlink_to(root, target_is_directory=True)
    (root / "in" / "self").symlink_to(root / "in", target_is_directory=True)
    (root / "link").symlink_to(other, target_is_directory=True)
    (other / "back").symlink_to(root, target_is_directory=True)
    (root / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(root).as_posix() for path in files.walk(root, {".png"})]
    assert found == ["in/a.png", "link/b.png"]


def test_walk_of_a_missing_folder_or_of_a_file(tmp_path: Path) -> None:
    _tree(tmp_path, "a.png")
    for path in (tmp_path / "nowhere", tmp_path / "a.png"):
        with pytest.raises(RequestError, match="^" + str(path).replace("\\", "\\\\")):
            list(files.walk(path, {".png"}))


def test_mirrored(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    assert files.mirrored(source / "x" / "a.png", source, target) == target / "x" / "a.png"
    with pytest.raises(RequestError, match="does not lie in"):
        files.mirrored(tmp_path / "elsewhere.png", source, target)
