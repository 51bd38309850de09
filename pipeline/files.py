"""Writing files whole or not at all, and hashing them."""

import csv
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError

PARTIAL = ".partial-"
"""What the names of files begin with that are being written."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of a disk that is full, or read-only: what fails one file fails every other."""


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


ABANDONED_SECONDS = 24 * 3600
"""Age from which a hidden file is what a process left that was killed, not one that is being written."""
UMASK = _umask()
"""Read once, before there are threads: it can only be read by changing it."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place once the block ends without an exception.

    The temporary name keeps the target's endings, because writers such as nibabel choose the format by them. The
    file is fsynced before the rename and the folder after it, so that a crash leaves the old file or the new one.

    Example:
        >>> with atomic_path(Path("mask.nii.gz")) as path:
        ...     nibabel.save(image, path)
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=PARTIAL, suffix="-" + target.name, dir=target.parent)
    os.close(handle)
    path = Path(name)
    try:
        yield path
        path.chmod(0o666 & ~UMASK)
        fsync(path)
        path.replace(target)
        fsync(target.parent)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """What cannot be written to a folder of results ends the command, with a message.

    Raises:
        OutputError: the disk is full, the folder is read-only, a file has its name.
    """
    try:
        yield
    except OSError as error:
        remedy = "Free space there or choose another folder" if error.errno in NO_ROOM else "Choose another folder"
        found = f"{folder}: {error.strerror or error}"
        raise OutputError("a folder that can be written to", found, f"{remedy}, and run again.") from error


def make_writable(folder: Path) -> None:
    """Make a folder of results, and try it before the work that is to be written there.

    Raises:
        OutputError: nothing can be written to it.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_path(target) as path:
        path.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    """Write ``content`` as indented JSON, whole or not at all.

    Raises:
        ValueError: for NaN and infinity, which JSON does not have; say null and give the reason instead.
    """
    write_text(target, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(target: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a header, whole or not at all; what a row lacks, and None, become empty cells."""
    with atomic_path(target) as path, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def cache_folder() -> Path:
    """Where what can be made again is kept: what MEDSEG_CACHE says, or else medseg in the user's cache folder."""
    if given := os.environ.get("MEDSEG_CACHE"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "medseg"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_sha256(paths: Sequence[Path]) -> str:
    """SHA-256 of one file; of several, of their hashes in this order."""
    hashes = [file_sha256(path) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def fsync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
