"""The bytes of files, and what their being damaged means to a user."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import DamagedFileError, ScanError, UserError

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 4096
"""Enough to recognise every format, and for the first kilobyte of a compressed file to be unpacked from."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a file system can answer into messages.

    Raises:
        DamagedFileError: there is no such file, it may not be read, or its compressed data is damaged.
        ScanError: it is a pipe.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # to open a pipe would be to wait for its writer
            raise ScanError("a file", "a pipe or a device", "Check the path.")
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFileError(
            "a whole file", "compressed data that is damaged or cut off", "Copy or export it again."
        ) from error
    except OSError as error:
        raise DamagedFileError(
            "a readable file", error.strerror or plain(error), "Check the path and its permissions."
        ) from error


@contextmanager
def decoding(whole: str) -> Iterator[None]:
    """Turn whatever a library's decoder raises on a damaged file into a message.

    Args:
        whole: what the file should be, as a noun phrase ("a whole PNG file").

    Raises:
        ScanError: the decoder raised something.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise what they like: their own types, struct.error, IndexError and others
        raise damaged(whole, plain(error)) from error


def damaged(whole: str, found: str) -> DamagedFileError:
    """The error for a file that is not whole."""
    return DamagedFileError(whole, f"one that is damaged or cut off ({found})", "Copy or export it again.")


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The content as it is stored, or its beginning.

    Raises:
        ScanError: as `reading`.
    """
    with reading(path), path.open("rb") as stream:
        return stream.read(limit)


def read_plain(path: Path, limit: int = -1) -> bytes:
    """The content, unpacked where it is gzip-compressed, or its beginning.

    Without a limit it is read to its end, so that gzip's checksum is verified.

    Raises:
        ScanError: as `reading`.
    """
    with reading(path), path.open("rb") as stream:
        if stream.peek(2)[:2] != GZIP_MAGIC:
            return stream.read(limit)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return unpacked.read(limit)


def unpacked_head(head: bytes) -> bytes:
    """What the beginning of a file unpacks to; itself where it is not gzip-compressed, nothing where it is damaged."""
    if head[:2] != GZIP_MAGIC:
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def beside(path: Path, ending: str, others: tuple[str, ...]) -> Path | None:
    """The file of the same name with another ending, in either case; the first of ``others`` that exists, or None.

    Example:
        >>> beside(Path("a+orig.HEAD"), ".head", (".brik", ".brik.gz"))
        PosixPath('a+orig.BRIK.gz')
    """
    stem = path.name[: len(path.name) - len(ending)]
    candidates = (stem + spelling for other in others for spelling in (other, _upper(other), other.upper()))
    return next((path.with_name(name) for name in candidates if path.with_name(name).exists()), None)


def _upper(ending: str) -> str:
    """``.BRIK.gz``: AFNI and others shout the format and not the compression."""
    return ending.removesuffix(".gz").upper() + (".gz" if ending.endswith(".gz") else "")


def plain(error: Exception) -> str:
    """What an error says, on one line of bearable length."""
    return " ".join(str(error).split())[:200] or type(error).__name__
