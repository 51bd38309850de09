"""Which files of a folder are scans, and what each case is called."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import DatasetError, ScanError
from pipeline.formats import registry
from pipeline.formats.format import ForeignFormat
from pipeline.wording import enumerate_names, printable

NO_SCAN = "not a scan"


@dataclass(frozen=True)
class InputFile:
    """A file below the input, and what becomes of it.

    Attributes:
        case: its path below the input without its ending, separators as ``__``, as it can be printed.
        path: the file, or the first of several whose channels follow each other.
        problem: why a scan is not read, or None.
        is_scan: whether it is a scan at all; others are skipped.
        others: the files of its further channels.
        note: why it is skipped.
    """

    case: str
    path: Path
    problem: ScanError | None = None
    is_scan: bool = True
    others: tuple[Path, ...] = ()
    note: str = ""

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
        first = registry.belongs_to(source) or source
        return [_only_scan(_classify(first, first.parent))]
    if not source.is_dir():
        raise DatasetError("a scan or a folder of scans", f"nothing at {source}", "Check the path.")
    if output is not None and output.resolve() == source.resolve():
        raise DatasetError("an OUTPUT apart from INPUT", f"{output} for both", "Choose another OUTPUT.")
    inputs = list(_walk(source, None if output is None else output.resolve()))
    if not any(entry.is_scan for entry in inputs):
        raise DatasetError(f"scans ({registry.READ})", f"none in {source}", "Check the path.")
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
    return InputFile(printable("__".join(path.relative_to(root).parts or (path.name,))), path, problem)


def _classify(path: Path, root: Path) -> InputFile:
    below = path.relative_to(root)
    first = registry.belongs_to(path)
    if first is not None:
        note = f"a part of {printable(first.name)}"
        return InputFile(printable("__".join(below.parts)), path, is_scan=False, note=note)
    case = printable("__".join((*below.parts[:-1], registry.any_case_name(path))))
    if registry.case_name(path) is not None:
        return InputFile(case, path)
    return _by_content(case, path)


def _by_content(case: str, path: Path) -> InputFile:
    """A file whose name is none of a format that is read; DICOM files, for one, often have no ending."""
    try:
        is_file = path.is_file()  # to open a pipe would be to wait for somebody to write into it
        how = registry.recognise(path) if is_file else registry.by_name(path)
    except (OSError, ScanError):  # it cannot be opened, or is a link to itself
        how = registry.by_name(path)
    if isinstance(how, ForeignFormat):
        return InputFile(case, path, registry.refusal(how))
    return InputFile(case, path, is_scan=how is not None, note="" if how else NO_SCAN)


def _only_scan(entry: InputFile) -> InputFile:
    if not entry.is_scan:
        raise DatasetError(f"a scan ({registry.READ})", printable(str(entry.path)), "Check the path.")
    return entry


def _mark_clashes(inputs: list[InputFile]) -> list[InputFile]:
    """Two files that would become one case both fail: neither may pass for the other."""
    alike: dict[str, list[InputFile]] = {}
    for entry in inputs:
        if entry.is_scan:
            alike.setdefault(entry.case, []).append(entry)
    return [_mark_clash(entry, alike[entry.case]) if entry.is_scan else entry for entry in inputs]


def _mark_clash(entry: InputFile, alike: list[InputFile]) -> InputFile:
    """One of the files of a case; a picture beside a volume shows it, and is no case of its own."""
    volumes = [printable(other.path.name) for other in alike if not registry.is_picture(other.path)]
    if volumes and registry.is_picture(entry.path):
        note = f"a picture beside {enumerate_names(volumes)}"
        return replace(entry, case=entry.case + entry.path.suffix, is_scan=False, note=note)
    names = volumes or [printable(other.path.name) for other in alike]
    if len(names) == 1 or entry.problem is not None:
        return entry
    return replace(entry, problem=ScanError("one file a case", " and ".join(names), "Rename one of them."))
