"""Zip files of scans, which are unpacked beside the work.

Nothing in an archive decides where a file is written but names of folders and files inside it, and nothing but plain
files is made: no links, no devices. Sizes are bounded before the first byte is unpacked; zipfile gives no more of an
entry than its header says.
"""

import os
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from filelock import FileLock

from pipeline.errors import ScanError, UserError
from pipeline.files import NO_ROOM
from pipeline.formats.content import damaged, plain, read_bytes
from pipeline.inference.memory import BYTES_PER_GB

MAGIC = b"PK\x03\x04"
ENDING = ".zip"
CHUNK_BYTES = 1 << 20
MAX_DEPTH = 4
"""Archives inside archives."""
MAX_RATIO, FREE_OF_RATIO_BYTES = 250, 100 * 2**20
"""An entry that grows by more than this factor, and beyond this size, is no scan: masks grow by a hundred at most."""
MAX_ENTRIES = 200_000
"""Of one archive; each is a file."""
MEND = "Unpack it, and look what is in it."


PREFIX, LOCK = "medseg-scans-", "lock"
STARTING_SECONDS = 60.0
"""A folder that is younger may be one whose process has not locked it yet."""


@dataclass
class Scratch:
    """Where archives are unpacked, and how much more may be.

    Attributes:
        folder: is the caller's to remove.
        bytes_left: of all archives together.
        archives: how many were unpacked, for the names of their folders.
    """

    folder: Path
    bytes_left: int
    archives: int = 0

    @classmethod
    def of(cls, folder: Path, limit_gb: float) -> "Scratch":
        """One that holds so many GB."""
        return cls(folder, int(limit_gb * BYTES_PER_GB))

    def new_folder(self) -> Path:
        """A folder for one archive."""
        self.archives += 1
        folder = self.folder / f"{self.archives}"
        folder.mkdir()
        return folder


@dataclass(frozen=True)
class LeftOut:
    """An entry of an archive that was not unpacked.

    Attributes:
        name: its own, which may lead anywhere.
        problem: why there is no file.
    """

    name: str
    problem: ScanError


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder for what archives hold, gone afterwards; those that killed processes left are removed too."""
    _remove_left_behind(Path(tempfile.gettempdir()))
    temporary = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
    with temporary as name, FileLock(Path(name) / LOCK):
        folder = Path(name) / "unpacked"
        folder.mkdir()
        yield folder


def _remove_left_behind(temporary: Path) -> None:
    """Remove our scratch folders whose processes are gone; what cannot be removed is somebody else's."""
    for folder in temporary.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            if is_ours and time.time() - status.st_mtime > STARTING_SECONDS and (folder / LOCK).exists():
                with FileLock(folder / LOCK, timeout=0):  # raises where its process is alive
                    shutil.rmtree(folder)


def is_archive(path: Path) -> bool:
    """Whether a file is an archive to look into: by its first bytes, and by its name, as documents are such too."""
    try:
        ending = path.suffix.lower()
        named = ending in {"", ENDING} or ending[1:].isdigit()  # a UID or a date has dots too
        return named and read_bytes(path, len(MAGIC)) == MAGIC
    except ScanError:
        return False


def unpack(path: Path, scratch: Scratch) -> tuple[Path, list[LeftOut]]:
    """Unpack an archive into a folder of its own.

    Args:
        path: the archive.
        scratch: where to.

    Returns:
        The folder, and the entries that were left out.

    Raises:
        ScanError: it is damaged, has a password, or would become too large; nothing of it is then unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            _check_sizes(entries, scratch)
            scratch.bytes_left -= sum(entry.file_size for entry in entries)
            folder = scratch.new_folder()
            return folder, list(_unpack_all(archive, entries, folder))
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise _failure("a whole zip file", error) from error


def _failure(whole: str, error: Exception) -> ScanError:
    """What went wrong while unpacking: what zipfile and its decompressors raise has no common type."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        remedy = "Free space in the system's folder for temporary files (TMPDIR)."
        return ScanError("room to unpack a zip file", error.strerror or plain(error), remedy)
    return damaged(whole, plain(error))


def _check_sizes(entries: list[zipfile.ZipInfo], scratch: Scratch) -> None:
    if len(entries) > MAX_ENTRIES:
        raise ScanError(f"zip files with {MAX_ENTRIES} files at most", f"{len(entries)}", MEND)
    size = sum(entry.file_size for entry in entries)
    if size > scratch.bytes_left:
        found = f"{size / BYTES_PER_GB:.1f} GB where {scratch.bytes_left / BYTES_PER_GB:.1f} GB are left"
        raise ScanError("zip files that unpack to inference.unpacked_gb at most", found, f"Raise it. {MEND}")
    if any(entry.flag_bits & 1 for entry in entries):
        raise ScanError("a zip file without a password", "one with a password", "Unpack it, and give the folder.")
    for entry in entries:
        if entry.file_size > max(FREE_OF_RATIO_BYTES, MAX_RATIO * entry.compress_size):
            ratio = entry.file_size / max(entry.compress_size, 1)
            expected = f"files that grow by a factor of {MAX_RATIO} at most"
            raise ScanError(expected, f"one that grows by {ratio:.0f} (a zip bomb?)", MEND)


def _unpack_all(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], folder: Path) -> Iterator[LeftOut]:
    for entry in entries:
        try:
            _unpack_one(archive, entry, folder)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            yield LeftOut(entry.filename, ScanError("one file of a name", "several in the zip file", MEND))
        except ScanError as error:
            yield LeftOut(entry.filename, error)
        except MemoryError:
            raise
        except Exception as error:
            yield LeftOut(entry.filename, _failure("a whole file", error))


def _unpack_one(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Unpack an entry, or leave no file of it."""
    target = folder / _place(entry)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, target.open("xb") as stream:
        try:
            shutil.copyfileobj(source, stream, CHUNK_BYTES)
        except BaseException:
            target.unlink()
            raise


def _place(entry: zipfile.ZipInfo) -> Path:
    """Where an entry belongs below the archive's folder.

    Raises:
        ScanError: outside it, or it is no plain file.
    """
    name = entry.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0].startswith("/") or PureWindowsPath(name).drive or "\0" in name:
        raise ScanError("files inside the zip file", "a path that leads out of it", MEND)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ScanError("plain files in a zip file", "a link or a device", MEND)
    return Path(*parts)
