"""Voxels in a file of their own, which a header names."""

from pathlib import Path

from pipeline.errors import ScanError


def data_file(header: Path, name: str) -> Path:
    """The file that a header names.

    A header may come from a stranger, so only what lies beside it or below is taken, and lists and patterns of several
    files are not.

    Args:
        header: the header's own file.
        name: as it stands there.

    Raises:
        ScanError: it lies elsewhere, it is missing, or there are several.
    """
    first = name.split(maxsplit=1)[0].upper() if name.split() else ""
    if first == "LIST" or "%" in name or not name:
        raise ScanError("one file of voxels", f"{name!r}", "Save the scan as one file.")
    path = header.parent / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ScanError("voxels beside their header, or below it", f"{name}", "Move them there, and correct the name.")
    if not path.is_file():
        raise ScanError("a header beside its voxels", f"no {name} there", "Copy that file too.")
    return path
