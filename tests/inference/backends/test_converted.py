"""Converted networks on disk: not used where they are damaged, and never in the way of a prediction."""

import os
import time
from pathlib import Path

import pytest

from pipeline.files import ABANDONED_SECONDS
from pipeline.inference.backends import converted
from pipeline.inference.backends.converted import MOST_KEPT, Converted, folder, keep, read

NETWORK = Converted(b"<net>" + b" " * 100 + b"</net>", bytes(range(200)))


def names() -> list[str]:
    return sorted(path.name for path in folder().iterdir())


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    assert read("a") is None
    keep("a", NETWORK)
    assert read("a") == NETWORK
    assert read("b") is None
    assert folder() == tmp_path / "cache" / "networks"
    assert names() == ["a.network"]


def test_one_that_is_cut_or_altered_anywhere_is_not_used() -> None:
    keep("a", NETWORK)
    path = folder() / "a.network"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place])
        assert read("a") is None, place
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert read("a") in (None, NETWORK), place  # a bit of a header that means nothing
    path.write_bytes(content[:-5] + b"\xff" + content[-4:])
    assert read("a") is None
    keep("a", NETWORK)
    assert read("a") == NETWORK


def test_where_nothing_can_be_written_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    keep("a", NETWORK)
    assert read("a") is None
    assert (converted.sizes(), converted.clear()) == ([], 0)


def test_one_that_may_only_be_read_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    keep("a", NETWORK)

    def refuse(_path: Path) -> None:
        raise PermissionError("it is somebody else's")

    monkeypatch.setattr(os, "utime", refuse)
    assert read("a") == NETWORK


def test_others_may_read_it_as_the_umask_says() -> None:
    keep("a", NETWORK)
    assert (folder() / "a.network").stat().st_mode & 0o777 == 0o666 & ~converted_umask()


def converted_umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_those_unused_for_longest_go_and_what_killed_processes_left_and_nothing_else() -> None:
    for number in range(MOST_KEPT):
        keep(f"{number}", NETWORK)
        os.utime(folder() / f"{number}.network", (1000 + number, 1000 + number))
    old, new = folder() / ".partial-old.network", folder() / ".partial-new.network"
    notes = folder() / "notes.txt"
    for path in (old, new, notes):
        path.write_text("abc")
    long_ago = time.time() - ABANDONED_SECONDS - 10
    os.utime(old, (long_ago, long_ago))
    assert read("0") == NETWORK  # used now
    keep("new", NETWORK)
    stay = sorted(["0.network", "new.network", *(f"{number}.network" for number in range(2, MOST_KEPT))])
    assert names() == sorted([".partial-new.network", "notes.txt", *stay])
    sizes = converted.sizes()
    assert len(sizes) == MOST_KEPT
    assert converted.clear() == sum(sizes)
    assert names() == [".partial-new.network", "notes.txt"]
