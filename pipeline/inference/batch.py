"""Which files of a folder are scans, and what each case is called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import DatasetError, ScanError, UserError
from pipeline.formats import registry
from pipeline.formats.content import HEAD_BYTES, read_bytes
from pipeline.formats.dicom.frames import recognises
from pipeline.formats.dicom.volumes import Volume
from pipeline.formats.foreign import DICOM
from pipeline.formats.format import ForeignFormat, Format
from pipeline.inference.archives import Scratch, is_archive
from pipeline.inference.walk import Entry, walk
from pipeline.wording import enumerate_names, folder_name, one_line, printable

NO_SCAN = "not a scan"
RESERVED = {"cases.csv", "report.html", "manifest.json", "status.json", "medseg.log"}
"""What lies in a folder of predictions beside its cases."""


@dataclass(frozen=True)
class InputFile:
    """A file below the input, or the files of a scan, and what becomes of them.

    Attributes:
        case: its path below the input without its ending, separators as ``__``, as it can be printed.
        path: the file, or the first of several whose channels follow each other.
        problem: why a scan is not read, or None.
        is_scan: whether it is a scan at all; others are skipped.
        others: the files of its further channels.
        note: why it is skipped.
        is_dicom: whether it is a single file of DICOM, of which `series.join_series` makes scans.
        volume: the slices, where it is a scan of DICOM.
        doubts: why its mask is worth a look, whatever it shows.
        below: its path below the input, where an archive counts as a folder.
        shown: the same, or of several files their folder and number, as it can be printed.
    """

    case: str
    path: Path
    problem: UserError | None = None
    is_scan: bool = True
    others: tuple[Path, ...] = ()
    note: str = ""
    is_dicom: bool = False
    volume: Volume | None = None
    doubts: tuple[str, ...] = ()
    below: Path = Path()
    shown: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, in the order of their channels, or of their slices."""
        return (self.path, *self.others) if self.volume is None else self.volume.paths


def find_inputs(source: Path, output: Path | None = None, scratch: Scratch | None = None) -> list[InputFile]:
    """The files of a folder, and of the folders below it, in order of their names; or one file.

    Hidden files and folders are passed over, and so is the output where it lies inside: masks are no scans. Links are
    followed, but not in circles. A folder that cannot be listed is a case that fails: nobody knows what it holds. Each
    file of DICOM is an input by itself here.

    Args:
        source: a folder, a file, or an archive.
        output: passed over; None for none.
        scratch: where archives are unpacked, whose files are inputs like others; without it, archives are skipped.

    Raises:
        DatasetError: there is nothing at the path, or no scan below it.
    """
    if source.is_file() and (scratch is None or not is_archive(source)):
        first = registry.belongs_to(source) or source
        return [_only_scan(_input_of(Entry(first, Path(first.name))))]
    if not source.exists():
        raise DatasetError("a scan or a folder of scans", f"nothing at {source}", "Check the path.")
    if output is not None and output.resolve() == source.resolve():
        raise DatasetError("an OUTPUT apart from INPUT", f"{output} for both", "Choose another OUTPUT.")
    inputs = [_input_of(entry) for entry in walk(source, None if output is None else output.resolve(), scratch)]
    check_scans(inputs, source)
    return mark_clashes(inputs)


def check_scans(inputs: Iterable[InputFile], source: Path) -> None:
    """Refuse a folder without a scan.

    Raises:
        DatasetError: there is none.
    """
    if not any(entry.is_scan for entry in inputs):
        raise DatasetError(f"scans ({registry.READ}, DICOM)", f"none in {source}", "Check the path.")


def _input_of(entry: Entry) -> InputFile:
    """What becomes of a file."""
    path, below = entry.path, entry.below
    name = InputFile("__".join(below.parts) or path.name, path, entry.problem, below=below)
    if entry.problem is not None:
        return _printable(name)
    first = registry.belongs_to(path)
    if first is not None:
        return _printable(replace(name, is_scan=False, note=f"a part of {first.name}"))
    case, how = "__".join((*below.parts[:-1], registry.any_case_name(path))), _format_of(path)
    scan = _printable(replace(name, case=case))
    if how is DICOM:
        return replace(scan, is_dicom=True)
    if registry.case_name(path) is not None:  # its reader says what is wrong where the content is something else
        return scan
    if isinstance(how, ForeignFormat):
        return replace(scan, problem=registry.refusal(how))
    return replace(scan, is_scan=how is not None, note="" if how else NO_SCAN)


def case_folder(text: str) -> str:
    """What a case and its folder are called after: as `folder_name`, but for what OUTPUT has of its own."""
    name = folder_name(text)
    return f"{name}_" if name.casefold() in RESERVED else name


def _printable(entry: InputFile) -> InputFile:
    """With what is shown of it."""
    shown = one_line(entry.below.as_posix())
    assert entry.case not in {"", ".", ".."}, entry.path  # results are written, and older ones removed, below its name
    return replace(entry, case=case_folder(entry.case), note=printable(entry.note), shown=shown)


def _format_of(path: Path) -> Format | ForeignFormat | None:
    """The format of a file by its content; by its name where it cannot be opened."""
    try:
        if not path.is_file():  # to open a pipe would be to wait for somebody to write into it
            return registry.by_name(path)
        how = registry.recognise(path)
        return DICOM if how is None and recognises(read_bytes(path, HEAD_BYTES)) else how
    except (OSError, ScanError):  # it cannot be opened, or is a link to itself
        return registry.by_name(path)


def _only_scan(entry: InputFile) -> InputFile:
    if not entry.is_scan:
        raise DatasetError(f"a scan ({registry.READ})", printable(str(entry.path)), "Check the path.")
    return entry


def mark_clashes(inputs: Sequence[InputFile]) -> list[InputFile]:
    """Two files that would become one case both fail: neither may pass for the other."""
    alike: dict[str, list[InputFile]] = {}
    for entry in inputs:
        if entry.is_scan and not entry.is_dicom:
            alike.setdefault(entry.case, []).append(entry)
    return [_mark_clash(entry, alike.get(entry.case, [])) for entry in inputs]


def _mark_clash(entry: InputFile, alike: list[InputFile]) -> InputFile:
    """One of the files of a case; a picture beside a volume shows it, and is no case of its own."""
    if not entry.is_scan or entry.is_dicom:
        return entry
    volumes = [printable(other.path.name) for other in alike if not registry.is_picture(other.path)]
    if volumes and registry.is_picture(entry.path):
        note = f"a picture beside {enumerate_names(volumes)}"
        return replace(entry, case=entry.case + entry.path.suffix, is_scan=False, note=note)
    names = volumes or [printable(other.path.name) for other in alike]
    if len(names) == 1 or entry.problem is not None:
        return entry
    return replace(entry, problem=ScanError("one file a case", " and ".join(names), "Rename one of them."))
