"""What lies in a folder, in the folders below it, and in the archives among its files."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import ScanError
from pipeline.inference.archives import MAX_DEPTH, MEND, Scratch, is_archive, unpack

MANIFEST, MARK, MARK_BYTES = "manifest.json", b'"medseg_version"', 200
"""The file that a folder of predictions has, and what it begins with."""


@dataclass(frozen=True)
class Entry:
    """A file, or a place where some would be that cannot be seen.

    Attributes:
        path: where it is.
        below: where it is below the folder of scans, with an archive as a folder of its name.
        problem: why nothing can be seen.
    """

    path: Path
    below: Path
    problem: ScanError | None = None


@dataclass(frozen=True)
class _Waiting:
    """What is still to be looked at: the folders above it, and how many archives it lies in."""

    path: Path
    below: Path
    above: frozenset[Path] = frozenset()
    depth: int = 0


def walk(source: Path, output: Path | None, scratch: Scratch | None) -> Iterator[Entry]:
    """The files in order of their names, folder by folder.

    Hidden files and folders are passed over, and so are folders of predictions. Links are followed, but not in circles.

    Args:
        source: a folder, or an archive.
        output: a folder that is passed over; None for none.
        scratch: where archives are unpacked; without it they are files like others.
    """
    waiting = [_Waiting(source, Path())]  # a stack instead of recursion has no limit of depth
    while waiting:
        item = waiting.pop()
        if _is_folder(item.path):
            yield from _open(item, waiting, output)
        elif scratch is not None and is_archive(item.path):
            yield from _look_into(item, waiting, scratch)
        else:
            yield Entry(item.path, item.below)


def _open(item: _Waiting, waiting: list[_Waiting], output: Path | None) -> Iterator[Entry]:
    """Have the content of a folder wait; a folder that cannot be listed is an entry: nobody knows what it holds."""
    try:
        real = item.path.resolve(strict=True)
        if real in item.above:  # a link to a folder that it lies in
            return
        content = sorted(item.path.iterdir(), reverse=True)
        for path in content:
            path.lstat()  # raises where the folder may be listed and not entered: what lies there cannot be told
    except OSError as error:
        found = f"one that is not ({error.strerror})"
        remedy = "Check its permissions; scans in it are not known."
        yield Entry(item.path, item.below, ScanError("a folder that can be listed", found, remedy))
        return
    if _is_of_predictions(content):
        return
    above = item.above | {real}
    waiting += [
        _Waiting(path, item.below / path.name, above, item.depth)
        for path in content
        if not _is_passed_over(path, output)
    ]


def _is_of_predictions(content: list[Path]) -> bool:
    """Whether a folder is the output of an earlier run: its masks are no scans."""
    for path in content:
        if path.name == MANIFEST:
            with suppress(OSError), path.open("rb") as stream:
                return MARK in stream.read(MARK_BYTES)
    return False


def _look_into(item: _Waiting, waiting: list[_Waiting], scratch: Scratch) -> Iterator[Entry]:
    """Have the content of an archive wait, as that of a folder of its name."""
    if item.depth >= MAX_DEPTH:
        expected, found = f"zip files within {MAX_DEPTH} others at most", "one deeper inside"
        yield Entry(item.path, item.below, ScanError(expected, found, MEND))
        return
    try:
        folder, left_out = unpack(item.path, scratch)
    except ScanError as error:
        yield Entry(item.path, item.below, error)
        return
    for each in left_out:
        yield Entry(item.path, item.below.joinpath(*_inner_parts(each.name)), each.problem)
    waiting.append(_Waiting(folder, item.below, item.above, item.depth + 1))


def _inner_parts(name: str) -> tuple[str, ...]:
    """The parts of an entry's name, which may lead anywhere, as plain names."""
    parts = (part.strip("/") for part in PurePosixPath(name.replace("\0", "")).parts)
    return tuple(part.replace(".", "%2E") if part in {".", ".."} else part for part in parts if part)


def _is_folder(path: Path) -> bool:
    """Whether it is a folder, as far as can be told: one that may be listed and not entered tells of no entry."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_passed_over(path: Path, output: Path | None) -> bool:
    try:
        return path.name.startswith(".") or (output is not None and path.resolve() == output)
    except (OSError, RuntimeError):  # a link to itself
        return False
