"""Which files of a folder are scans, and what each case is called."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import DatasetError, ScanError
from pipeline.formats import nifti
from pipeline.wording import printable

OTHER_FORMATS = {
    ".dcm": "DICOM",
    ".ima": "DICOM",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".mgz": "FreeSurfer",
    ".mgh": "FreeSurfer",
    ".mnc": "MINC",
    ".mif": "MRtrix",
    ".head": "AFNI",
    ".brik": "AFNI",
    ".brik.gz": "AFNI",
    ".hdr": "Analyze or paired NIfTI",
    ".hdr.gz": "Analyze or paired NIfTI",
    ".img": "Analyze or paired NIfTI",
    ".img.gz": "Analyze or paired NIfTI",
}
"""Formats of scans that are not read yet: failed cases, not files to pass over in silence."""


@dataclass(frozen=True)
class InputFile:
    """A file below the input, and what becomes of it.

    Attributes:
        case: its path below the input without its ending, separators as ``__``, as it can be printed.
        path: the file, or the first of several whose channels follow each other.
        problem: why a scan is not read, or None.
        is_scan: whether it is a scan at all; others are skipped.
        others: the files of its further channels.
    """

    case: str
    path: Path
    problem: ScanError | None = None
    is_scan: bool = True
    others: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, in the order of their channels."""
        return (self.path, *self.others)


def find_inputs(source: Path, output: Path | None = None) -> list[InputFile]:
    """The files of a folder, and of the folders below it, in order of their names; or one file.

    Hidden files and folders are passed over, and so is the output where it lies inside: masks are no scans. Links are
    followed, but not in circles. A folder that cannot be listed is a case that fails: nobody knows what it holds.

    Raises:
        DatasetError: there is nothing at the path, or no scan below it.
    """
    if source.is_file():
        return [_only_scan(_classify(source, source.parent))]
    if not source.is_dir():
        raise DatasetError("a scan or a folder of scans", f"nothing at {source}", "Check the path.")
    if output is not None and output.resolve() == source.resolve():
        raise DatasetError("an OUTPUT apart from INPUT", f"{output} for both", "Choose another OUTPUT.")
    inputs = list(_walk(source, None if output is None else output.resolve()))
    if not any(entry.is_scan for entry in inputs):
        raise DatasetError("scans (.nii, .nii.gz)", f"none in {source}", "Check the path.")
    return _mark_clashes(inputs)


def _walk(source: Path, output: Path | None) -> Iterator[InputFile]:
    """What lies in a folder and below, in order of the names; a stack instead of recursion has no limit of depth."""
    waiting: list[tuple[Path, frozenset[Path]]] = [(source, frozenset())]
    while waiting:
        path, above = waiting.pop()
        if not _is_folder(path):
            yield _classify(path, source)
            continue
        try:
            real = path.resolve(strict=True)
            if real in above:  # a link to a folder that it lies in
                continue
            content = sorted(path.iterdir(), reverse=True)
            for item in content:
                item.lstat()  # raises where the folder may be listed and not entered: what lies there cannot be told
        except OSError as error:
            yield _unreadable_folder(path, source, error)
            continue
        waiting += [(item, above | {real}) for item in content if not _is_passed_over(item, output)]


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


def _unreadable_folder(path: Path, root: Path, error: OSError) -> InputFile:
    found = f"one that is not ({error.strerror})"
    problem = ScanError("a folder that can be listed", found, "Check its permissions; scans in it are not known.")
    return InputFile(_case(path.relative_to(root).parts or (path.name,)), path, problem)


def _classify(path: Path, root: Path) -> InputFile:
    below = path.relative_to(root)
    name = nifti.case_name(path)
    if name is not None:
        return InputFile(_case((*below.parts[:-1], name)), path)
    name, kind = _other_format(path)
    case = _case((*below.parts[:-1], name))
    if kind is None:
        return InputFile(case, path, is_scan=False)
    return InputFile(case, path, ScanError("NIfTI (.nii, .nii.gz)", kind, "Convert it to NIfTI."))


def _case(parts: tuple[str, ...]) -> str:
    return printable("__".join(parts))


def _other_format(path: Path) -> tuple[str, str | None]:
    """The file's name without its ending, and the format of scans that are not read yet; None where it is no scan."""
    for ending, kind in OTHER_FORMATS.items():
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)], kind
    return path.name, "DICOM" if _is_dicom(path) else None


def _is_dicom(path: Path) -> bool:
    """DICOM files often have no ending; a preamble of 128 bytes and "DICM" gives them away (PS3.10, section 7.1)."""
    try:
        if not path.is_file():  # to open a pipe would be to wait for somebody to write into it
            return False
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _only_scan(entry: InputFile) -> InputFile:
    if not entry.is_scan:
        raise DatasetError("a scan (.nii, .nii.gz)", printable(str(entry.path)), "Check the path.")
    return entry


def _mark_clashes(inputs: list[InputFile]) -> list[InputFile]:
    """Two files that would become one case both fail: neither may pass for the other."""
    names: dict[str, list[str]] = {}
    for entry in inputs:
        if entry.is_scan:
            names.setdefault(entry.case, []).append(printable(entry.path.name))
    return [_mark_clash(entry, names[entry.case]) if entry.is_scan else entry for entry in inputs]


def _mark_clash(entry: InputFile, names: list[str]) -> InputFile:
    if len(names) == 1 or entry.problem is not None:
        return entry
    return replace(entry, problem=ScanError("one file a case", " and ".join(names), "Rename one of them."))
