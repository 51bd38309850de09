"""Which files of a folder are scans, and what their cases are called."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.formats import registry

MASK_ENDINGS = ("_label", "_labels", "_mask", "_seg", "_segmentation", "-label", "-labels", "-mask", "-seg")
"""Behind the name of a case, in the names of its mask."""


@dataclass(frozen=True)
class Listing:
    """The files of one folder, sorted by name; hidden ones, such as the ``._*`` that macOS leaves behind, left out.

    Attributes:
        scans: images or masks in a format that is read; of those in two files, the first.
        ignored: every other file.
    """

    scans: tuple[Path, ...]
    ignored: tuple[Path, ...]


def list_scans(folder: Path) -> Listing:
    """List a folder, not the folders in it; one that does not exist holds nothing.

    Raises:
        DatasetError: the folder may not be read.
    """
    paths = sorted(path for path in entries(folder) if not path.is_dir()) if folder.is_dir() else []
    scans = tuple(path for path in paths if registry.case_name(path) is not None)
    others = (path for path in paths if path not in set(scans))
    return Listing(scans, tuple(path for path in others if registry.belongs_to(path) is None))


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name, without hidden files.

    Raises:
        DatasetError: the folder may not be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError("a readable folder", f"{folder}: {error.strerror}", "Check its permissions.") from error


def is_scan(path: Path) -> bool:
    """Whether a file is an image or a mask in a format that is read, by its name."""
    return registry.case_name(path) is not None


def case_name(path: Path) -> str:
    """The name of the case that a file belongs to: its own name without the ending of its format."""
    return registry.any_case_name(path)


def case_name_below(path: Path, root: Path) -> str:
    """The name of a case by where its file lies below a folder: ``a__b`` for ``a/b.nii.gz``."""
    return "__".join((*path.relative_to(root).parts[:-1], case_name(path)))


def index(paths: Iterable[Path], name_of: Callable[[Path], str] = case_name) -> dict[str, Path]:
    """Files by the name of their case.

    Raises:
        DatasetError: two files have one name (``a.nii`` and ``a.nii.gz``).
    """
    by_name: dict[str, Path] = {}
    for path in paths:
        other = by_name.setdefault(name_of(path), path)
        if other is not path:
            raise DatasetError(
                f"one image, or one mask, for the case {name_of(path)}",
                f"{other.parent.name}/{other.name} and {path.parent.name}/{path.name}",
                "Remove or rename one of them; where dataset.json lists files, list each once.",
            )
    return by_name
