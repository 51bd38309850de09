"""Scans of DICOM: which files of a folder make up one, and which of them are wanted."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from os.path import commonpath
from pathlib import Path

from pipeline.config.inference import InferenceConfig, SeriesConfig
from pipeline.errors import DamagedFileError, ScanError
from pipeline.formats import registry
from pipeline.formats.content import HEAD_BYTES, read_bytes
from pipeline.formats.dicom.frames import DicomFile, look_into
from pipeline.formats.dicom.volumes import DIGITS, Volume, find_volumes
from pipeline.inference.batch import NO_SCAN, InputFile, case_folder, mark_clashes
from pipeline.inference.readers import run_isolated
from pipeline.wording import count_of, enumerate_names, one_line

FILES_A_CALL = 64
"""Headers that a process reads before it answers."""
LONGEST_CODE = 16
"""Letters of a code string (PS3.5, 6.2)."""


def join_series(inputs: Sequence[InputFile], config: InferenceConfig) -> list[InputFile]:
    """Make one input of the files of each volume of DICOM.

    Headers are read in processes of their own, and one that makes its process crash or hang fails alone.

    Args:
        inputs: the files, as `find_inputs` lists them.
        config: which series are wanted, and of the processes.

    Returns:
        The scans where their first files were; what is no scan is skipped, and says what it is.
    """
    entries = {entry.path: entry for entry in inputs if entry.is_dicom}
    if not entries:
        return list(inputs)
    place = {entry.path: index for index, entry in enumerate(inputs)}
    files = list(_look_into_all(list(entries), config))
    joined = [entry for entry in inputs if not entry.is_dicom]
    volumes = find_volumes(frame for file in files for frame in file.frames)
    lost = _Lost.among(inputs, files)
    scans = [_held_against(_of_volume(volume, entries), lost) for volume in volumes]
    joined += [_chosen(scan, config.series) for scan in scans]
    joined += [_left_over(group, entries, config.series) for group in _alike(file for file in files if not file.frames)]
    return mark_clashes(sorted(joined, key=lambda entry: min(place[path] for path in entry.paths)))


def _look_into_all(paths: Sequence[Path], config: InferenceConfig) -> Iterator[DicomFile]:
    calls = [tuple(paths[start : start + FILES_A_CALL]) for start in range(0, len(paths), FILES_A_CALL)]
    for outcome in run_isolated(look_into_several, calls, config):
        yield from outcome.value if outcome.value is not None else _one_by_one(outcome.item, config)


def look_into_several(paths: tuple[Path, ...]) -> list[DicomFile]:
    """What files are; runs in a reader process."""
    return [look_into(path) for path in paths]


def _one_by_one(paths: Sequence[Path], config: InferenceConfig) -> Iterator[DicomFile]:
    """The files of a call that failed as a whole, so that one of them alone has to."""
    for outcome in run_isolated(look_into, paths, config):
        if outcome.value is not None:
            yield outcome.value
        elif outcome.error is not None:
            yield DicomFile(outcome.item, problem=DamagedFileError(*outcome.error.args))


def _of_volume(volume: Volume, entries: Mapping[Path, InputFile]) -> InputFile:
    below = _place([entries[path] for path in volume.paths])
    name = case_folder("__".join((*_stem(below, len(volume.paths)), volume.name)))
    shown = _shown(below, len(volume.paths))
    return InputFile(name, volume.paths[0], volume.problem, volume=volume, below=below, shown=shown)


@dataclass(frozen=True)
class _Lost:
    """Files that cannot be read, any of which may be a slice of a series: at its end, a lost slice leaves no gap.

    Attributes:
        of_series: damaged files by their series, as far as that could be told.
        left_out: other files of a series that are no slices of a volume.
        nameless: the rest, and empty files.
    """

    of_series: Mapping[str, Sequence[str]]
    left_out: Mapping[str, Sequence[str]]
    nameless: Sequence[InputFile]

    @classmethod
    def among(cls, inputs: Sequence[InputFile], files: Sequence[DicomFile]) -> "_Lost":
        """Those of a folder."""
        entries = {entry.path: entry for entry in inputs if entry.is_dicom}
        of_series, left_out = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        nameless = [entry for entry in inputs if not entry.is_dicom and (entry.problem or _is_blank(entry))]
        for file in files:
            entry = entries[file.path]
            if file.problem is not None and not file.series:
                nameless.append(entry)
            elif file.problem is not None:
                kind = of_series if isinstance(file.problem, DamagedFileError) else left_out
                kind[file.series].append(entry.shown)
        return cls(of_series, left_out, nameless)


def _is_blank(entry: InputFile) -> bool:
    """Whether a file that is taken for none of a scan is empty or begins with zeros, as an aborted copy leaves it."""
    try:
        return entry.note == NO_SCAN and not any(read_bytes(entry.path, HEAD_BYTES))
    except ScanError:
        return True


def _held_against(scan: InputFile, lost: _Lost) -> InputFile:
    """A scan that fails where a file of its series is damaged, and is doubtful where one beside it may be of it."""
    assert scan.volume is not None
    series, folder = scan.volume.frames[0].series, scan.below if len(scan.volume.paths) > 1 else scan.below.parent
    damaged = lost.of_series.get(series, ())
    if damaged and scan.problem is None:
        found = f"damaged ones: {enumerate_names(damaged)}"
        return replace(scan, problem=ScanError("every file of the series", found, "Export the series again."))
    left_out = lost.left_out.get(series, ())
    beside = [entry.shown for entry in lost.nameless if entry.below.is_relative_to(folder)]
    doubts = (
        *scan.volume.doubts,
        *([f"{enumerate_names(left_out)} of its series cannot be used"] if left_out else []),
        *([f"{enumerate_names(beside)} cannot be read, and may be a slice of it"] if beside else []),
    )
    return replace(scan, doubts=doubts)


def _place(entries: Sequence[InputFile]) -> Path:
    """What to call files by, below the folder of scans: the only one, or the folder that all lie in."""
    if len(entries) == 1:
        return entries[0].below
    return Path(commonpath("/" / entry.below.parent for entry in entries)).relative_to("/")


def _stem(below: Path, files: int) -> tuple[str, ...]:
    return below.parts if files > 1 else (*below.parts[:-1], registry.any_case_name(below))


def _shown(below: Path, files: int) -> str:
    if files == 1:
        return one_line(below.as_posix())
    return one_line(f"{below.as_posix()} ({count_of(files, 'file')})")


def _chosen(scan: InputFile, wanted: SeriesConfig) -> InputFile:
    """A scan that is skipped where it is of a series that is not wanted."""
    assert scan.volume is not None
    first = scan.volume.frames[0]
    fits = _fits(wanted, first.series, modality=first.modality, description=first.description)
    return scan if fits else replace(scan, is_scan=False, problem=None, note=_not_chosen(first.modality))


def _not_chosen(modality: str) -> str:
    """Why a series is skipped; of its header, nothing but the code of its modality may be said."""
    code = modality if modality.isalnum() and len(modality) <= LONGEST_CODE else "none"
    return f"a series that inference.series leaves out (its modality: {code})"


def _fits(wanted: SeriesConfig, series: str, *, modality: str, description: str) -> bool:
    return (
        (not wanted.modalities or modality in wanted.modalities)
        and (wanted.description is None or fnmatch(description.lower(), wanted.description.lower()))
        and (not wanted.uids or series in wanted.uids)
    )


def _alike(files: Iterator[DicomFile]) -> list[list[DicomFile]]:
    """Files of a series about which the same is to be said; any other by itself."""
    groups: dict[tuple[str, str], list[DicomFile]] = {}
    for file in files:
        groups.setdefault((file.series or str(file.path), f"{file.note}{file.problem}"), []).append(file)
    return list(groups.values())


def _left_over(files: Sequence[DicomFile], entries: Mapping[Path, InputFile], wanted: SeriesConfig) -> InputFile:
    """What no scan could be made of; of a series that is known and not wanted, it is skipped."""
    first, entry = files[0], entries[files[0].path]
    if not _is_surely_dicom(first.path):
        return replace(entry, is_dicom=False, is_scan=False, note=NO_SCAN)
    if len(files) > 1:
        paths = [file.path for file in files]
        below = _place([entries[path] for path in paths])
        digits = hashlib.sha256(first.series.encode()).hexdigest()[:DIGITS]
        case, shown = case_folder("__".join((*below.parts, digits))), _shown(below, len(paths))
        entry = replace(entry, case=case, others=tuple(paths[1:]), shown=shown)
    entry = replace(entry, is_dicom=False)
    if first.series and not _fits(wanted, first.series, modality=first.modality, description=first.description):
        return replace(entry, is_scan=False, note=first.note or _not_chosen(first.modality))
    return replace(entry, is_scan=first.problem is not None, problem=first.problem, note=first.note)


def _is_surely_dicom(path: Path) -> bool:
    """Whether more says so than the first bytes of a file without a preamble, which may be those of anything."""
    try:
        return registry.recognise(path) is not None
    except ScanError:  # it cannot be opened, so that it was its name that said so
        return True
