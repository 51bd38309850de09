"""What a format is: how its files are called and recognised, and who reads and writes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.scan import Scan, ScanHeader

Mask = NDArray[np.unsignedinteger]


class WriteMask(Protocol):
    """A function that writes a mask (I, J, K) on a scan's own grid; ``labels`` are the names and values in it."""

    def __call__(self, target: Path, mask: Mask, scan: Scan, *, labels: Mapping[str, int]) -> None:
        """Write the mask, whole or not at all."""


def _alone(path: Path) -> tuple[Path, ...]:
    return (path,)


@dataclass(frozen=True)
class Format:
    """A format that is read.

    What its readers return is checked afterwards, in one place for all formats: finite values, and axes at right
    angles. They refuse what only they can know: a file that is cut off, an orientation that is not stated.

    Attributes:
        name: as messages and `Scan.format` have it.
        endings: of the names of its files, in lower case, with the dot.
        recognises: whether a file that begins with these bytes is one, at least `content.HEAD_BYTES` of them where it
            has as many; the content decides where a name lies.
        read_header: the grid, without the voxels.
        read_scan: everything.
        read_labels: as ``read_scan``, for masks, where values mean labels; None where that is the same.
        has_palette: whether the numbers of a palette stand for labels in a mask; None where there are no palettes.
        check_mask: refuses files that no mask should be in, however it is coded; None where there are none.
        mask_endings: of the masks that it writes, the usual one first; none where masks are written in another format.
        write_mask: None where there are no such endings.
        compressed: whether its files may be gzip-compressed as a whole; ``recognises`` then gets what is inside.
        unmistakable: whether the first bytes leave no doubt, so that they are enough for a file without an ending.
        companions: endings of the second file of a scan, which is no scan itself where the first lies beside it.
        headers: endings of the first file of such a pair.
        files: all files of a scan, from the first.
    """

    name: str
    endings: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    read_header: Callable[[Path], ScanHeader]
    read_scan: Callable[[Path], Scan]
    read_labels: Callable[[Path], Scan] | None = None
    has_palette: Callable[[Path], bool] | None = None
    check_mask: Callable[[Path], None] | None = None
    mask_endings: tuple[str, ...] = ()
    write_mask: WriteMask | None = None
    compressed: bool = False
    unmistakable: bool = False
    companions: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    files: Callable[[Path], tuple[Path, ...]] = _alone


@dataclass(frozen=True)
class ForeignFormat:
    """A format of scans that is known and not read: a failed case, not a file to pass over in silence.

    Attributes:
        name: as messages have it.
        endings: as in `Format`.
        remedy: what to do with such a file, as an instruction.
        recognises: as in `Format`; None where the ending alone tells.
    """

    name: str
    endings: tuple[str, ...]
    remedy: str
    recognises: Callable[[bytes], bool] | None = None


def without_names(write: Callable[[Path, Mask, Scan], None]) -> WriteMask:
    """A writer of a format that has no safe place for the names of labels."""

    def write_mask(target: Path, mask: Mask, scan: Scan, *, labels: Mapping[str, int]) -> None:  # noqa: ARG001
        write(target, mask, scan)

    return write_mask
