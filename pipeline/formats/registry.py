"""Every format that is read, in one table, and reading and writing by it: the only way in for the rest of the package.

The content of a file decides which format it is, wherever its name lies. A file that is known and not read is refused
with the reason. To add a format: write its module with a `Format`, and name it in `VOLUMES` or `PICTURES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.files import files_sha256
from pipeline.formats import afni, metaimage, mgh, minc, nifti, nrrd, pillow, png, tiff
from pipeline.formats.axes import check_axes
from pipeline.formats.content import HEAD_BYTES, beside, decoding, read_bytes, unpacked_head
from pipeline.formats.foreign import FOREIGN_FORMATS
from pipeline.formats.format import ForeignFormat, Format, Mask
from pipeline.formats.voxels import check_values, to_labels
from pipeline.scan import Scan, ScanHeader
from pipeline.wording import printable

VOLUMES = (nifti.FORMAT, nrrd.FORMAT, metaimage.FORMAT, mgh.FORMAT, afni.FORMAT, minc.FORMAT)
PICTURES = (png.FORMAT, tiff.FORMAT, pillow.JPEG, pillow.GIF, pillow.BMP)
FORMATS: tuple[Format, ...] = (*VOLUMES, *PICTURES)
"""Formats that are read; where two recognise a file, the first one counts."""
ENDINGS = tuple(ending for each in FORMATS for ending in each.endings)
PICTURE_ENDINGS = tuple(ending for each in PICTURES for ending in each.endings)
MASK_ENDINGS = tuple(ending for each in FORMATS for ending in each.mask_endings)
"""Of the masks that are written."""
READ = ", ".join(each.name for each in FORMATS)
"""For messages."""


def case_name(path: Path) -> str | None:
    """The name of the case that a file is, as it can be printed: without its ending.

    None where the ending is of no format that is read, or the file is the second one of a scan (`belongs_to`). The
    content is not looked at.
    """
    ending = _ending(path, ENDINGS)
    return None if ending is None or belongs_to(path) is not None else printable(path.name[: -len(ending)])


def any_case_name(path: Path) -> str:
    """As `case_name`, for files of every known format, and of none: those keep their whole name."""
    known = (*ENDINGS, *(ending for each in FOREIGN_FORMATS for ending in each.endings))
    ending = _ending(path, known)
    return printable(path.name if ending is None else path.name[: -len(ending)])


def belongs_to(path: Path) -> Path | None:
    """The first file of the scan whose second file this is (.hdr for .img, .HEAD for .BRIK); None where it is none."""
    for each in FORMATS:
        ending = _ending(path, each.companions)
        if ending is not None:
            first = beside(path, ending, each.headers)
            if first is not None:
                return first
    return None


def recognise(path: Path) -> Format | ForeignFormat | None:
    """The format of a file, known and read or known and not read, or None where it is no scan.

    Raises:
        ScanError: nothing can be told of it: it is missing or cannot be opened.
    """
    head = read_bytes(path, HEAD_BYTES)
    by_content = _by_content(head)
    foreign = _foreign(path, head, unless=by_content)
    if foreign is not None:
        return foreign
    if by_content is not None and (by_name(path) is not None or (by_content.unmistakable and _has_no_ending(path))):
        return by_content
    return next((each for each in FORMATS if _ending(path, each.endings) is not None), None)


def by_name(path: Path) -> Format | ForeignFormat | None:
    """As `recognise`, by the name alone."""
    known: tuple[Format | ForeignFormat, ...] = (*FORMATS, *FOREIGN_FORMATS)
    return next((each for each in known if _ending(path, each.endings) is not None), None)


def is_picture(path: Path) -> bool:
    """Whether a file's name is one of a picture, without a place in the patient."""
    return _ending(path, PICTURE_ENDINGS) is not None


def refusal(foreign: ForeignFormat) -> ScanError:
    """Why a file of a format that is known and not read is refused."""
    return ScanError(f"a format that is read ({READ})", foreign.name, foreign.remedy)


def read_header(path: Path) -> ScanHeader:
    """The grid of a scan or mask, without its voxels.

    Raises:
        ScanError: it is missing, in no format that is read, or its geometry is unknown or ambiguous.
    """
    first, how = _first_file(path)
    with decoding(f"a whole {how.name} file"):
        header = how.read_header(first)
    check_axes(header.affine)
    return header


def read_mask_header(path: Path) -> ScanHeader:
    """As `read_header`, of a mask: one channel where colours of a palette stand for labels.

    Raises:
        ScanError: as `read_header`.
    """
    header, (first, how) = read_header(path), _first_file(path)
    if how.has_palette is None or header.channels == 1:
        return header
    with decoding(f"a whole {how.name} file"):
        return replace(header, channels=1) if how.has_palette(first) else header


def read_scan(path: Path) -> Scan:
    """Read a scan (C, I, J, K); the channels are its colours, its times, or volumes that share its grid.

    Raises:
        ScanError: as `read_header`, and where it is damaged, cut off, or holds values that 32 bits do not.
    """
    first, how = _first_file(path)
    with decoding(f"a whole {how.name} file"):
        scan = how.read_scan(first)
    return _checked(scan, path)


def read_mask(path: Path) -> Scan:
    """Read a mask (1, I, J, K) of whole label values, as the smallest unsigned integer type that holds them.

    Raises:
        ScanError: as `read_scan`, and where the mask has several channels, fractions or negative values.
    """
    first, how = _mask_file(path)
    with decoding(f"a whole {how.name} file"):
        scan = (how.read_labels or how.read_scan)(first)
    return to_labels(_checked(scan, path))


def read_coded_mask(path: Path) -> Scan:
    """As `read_scan`, of a mask whose pixels are not labels: grey edges, colours, a field of view.

    Raises:
        ScanError: as `read_scan`, and where the format says that no mask should be in such a file.
    """
    _mask_file(path)
    return read_scan(path)


def mask_ending(scan: Scan) -> str:
    """The ending of a scan's mask: of its own format, or of one that holds it where that is lossy or not written."""
    own = next((each.mask_endings for each in FORMATS if each.name == scan.format), ())
    if own:
        return next((ending for ending in own if scan.source.name.lower().endswith(ending)), own[0])
    if scan.unit == "mm":
        return nifti.FORMAT.mask_endings[0]
    return (png.FORMAT if scan.shape[2] == 1 else tiff.FORMAT).mask_endings[0]


def write_mask(target: Path, mask: Mask, scan: Scan, *, labels: Mapping[str, int]) -> None:
    """Write a mask (I, J, K) on the scan's own grid, whole or not at all. Nothing of the scan's text goes with it.

    Args:
        target: the file, with one of MASK_ENDINGS, as `mask_ending` gives it.
        mask: label values.
        scan: what it was made of.
        labels: name and value of each structure, written where the format has a safe place for them.
    """
    how = next(each for each in FORMATS if _ending(target, each.mask_endings) is not None)
    assert how.write_mask is not None, how.name
    how.write_mask(target, mask, scan, labels=labels)


def map_ending(scan: Scan) -> str:
    """The ending of a file of fractions on a scan's grid: NIfTI, or TIFF of a picture."""
    return (nifti.FORMAT if scan.unit == "mm" else tiff.FORMAT).mask_endings[0]


def write_map(target: Path, values: NDArray[np.float32], scan: Scan, *, description: str = "") -> None:
    """Write fractions or intensities (I, J, K) on the scan's own grid, whole or not at all.

    Args:
        target: the file, ending as `map_ending` says.
        values: in 32 bits.
        scan: what they were made of.
        description: what they are, in ASCII; NIfTI has room for it.
    """
    if scan.unit == "mm":
        nifti.write_array(target, values, scan, description=description)
    else:
        tiff.write_array(target, values, scan)


def content_sha256(paths: Sequence[Path]) -> str:
    """SHA-256 of a scan's file; of the hashes of all files, in their order, where it has several.

    Args:
        paths: the file of a scan, or the files of its channels; a file beside one of them that is a part of it counts.

    Raises:
        ScanError: as `read_header`.
        OSError: a file cannot be read.
    """
    return files_sha256([file for path in paths for file in _files(path)])


def _files(path: Path) -> tuple[Path, ...]:
    first, how = _first_file(path)
    with decoding(f"a whole {how.name} file"):
        return how.files(first)


def _mask_file(path: Path) -> tuple[Path, Format]:
    first, how = _first_file(path)
    if how.check_mask is not None:
        with decoding(f"a whole {how.name} file"):
            how.check_mask(first)
    return first, how


def _first_file(path: Path) -> tuple[Path, Format]:
    """The file to begin with, and its format.

    Raises:
        ScanError: as `recognise`, and where it is no scan that is read, or one whose first file is missing.
    """
    first = belongs_to(path) or path
    how = recognise(first)
    if isinstance(how, ForeignFormat):
        raise refusal(how)
    if how is None:
        raise ScanError(f"a format that is read ({READ})", "another file", "Convert it, or correct its name.")
    if _ending(first, how.companions) is not None and _by_content(read_bytes(first, HEAD_BYTES)) is not how:
        expected = f"a header beside the voxels ({how.headers[0]})"
        raise ScanError(expected, f"{first.name} alone", "Copy the other file too.")
    return first, how


def _by_content(head: bytes) -> Format | None:
    plain = unpacked_head(head)
    return next((each for each in FORMATS if each.recognises(plain if each.compressed else head)), None)


def _foreign(path: Path, head: bytes, *, unless: Format | None) -> ForeignFormat | None:
    """A format that is not read: told by its content, or by its ending unless the content is one that is read.

    Some of these formats are TIFF with a meaning of their own; there the ending alone tells.
    """
    for each in FOREIGN_FORMATS:
        if each.recognises is not None and each.recognises(unpacked_head(head)):
            return each
        by_ending = _ending(path, each.endings) is not None
        if by_ending and (unless is None or each.recognises is None):
            return each
    return None


def _has_no_ending(path: Path) -> bool:
    """Whether a name ends with no word behind a dot: one that does (.bak, .part) is meant for something else."""
    return not path.suffix or path.suffix[1:].isdigit()


def _ending(path: Path, endings: tuple[str, ...]) -> str | None:
    """The longest of these endings that a file's name has behind a stem, in either case."""
    name = path.name.lower()
    found = [ending for ending in endings if name.endswith(ending) and len(name) > len(ending)]
    return max(found, key=len, default=None)


def _checked(scan: Scan, path: Path) -> Scan:
    check_axes(scan.affine)
    check_values(scan.array)
    return replace(scan, source=path)
