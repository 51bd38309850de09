"""Scans whose channels lie in files of their own: which files make a case."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError, ScanError
from pipeline.inference.archives import Scratch, is_archive
from pipeline.inference.batch import InputFile, case_folder, check_scans, find_inputs
from pipeline.inference.series import join_series
from pipeline.layouts.patterns import expression_of
from pipeline.layouts.scan_files import case_name
from pipeline.manifest import ModelRecord
from pipeline.wording import printable

NO_CHANNEL = "no channel of the model"


@dataclass(frozen=True)
class ChannelFiles:
    """How a model's channels are told apart.

    Attributes:
        patterns: of each channel's file below the folder of scans, without its ending, e.g. ``{case}_0000``.
        names: of the channels, for messages.
    """

    patterns: tuple[str, ...]
    names: tuple[str, ...]

    def place(self, below: Path, source: Path) -> tuple[str, int] | None:
        """The case that a file below a folder belongs to and which channel of it the file is; None for other files."""
        parts = (source.resolve().name, *below.parent.parts, case_name(below))
        for channel, pattern in enumerate(self.patterns):
            depth = len(Path(pattern).parts)
            fits = expression_of(pattern).fullmatch("/".join(parts[-depth:]))
            if fits is not None:
                above = parts[1:-depth]  # below the folder of scans
                return case_folder("__".join((*above, fits["case"]))), channel
        return None


ANY_FILE = ChannelFiles((), ())
"""Where a scan is one file, or one volume of DICOM, whatever its channels are."""


def channels_of(manifest: ModelRecord) -> ChannelFiles:
    """How a model's channels are told apart."""
    return ChannelFiles(manifest.channel_files, manifest.modalities)


def find_cases(
    source: Path,
    output: Path | None,
    channels: ChannelFiles,
    *,
    config: InferenceConfig | None = None,
    scratch: Path | None = None,
) -> list[InputFile]:
    """As `find_inputs`, the files of a case joined: the slices of DICOM, and channels that have a file each.

    Args:
        source: a folder of scans, the folder of one case, or one of a case's files.
        output: as for `find_inputs`.
        channels: of the model; without patterns, a scan is one file or one volume of DICOM.
        config: which series of DICOM are wanted, and of the processes that read their headers.
        scratch: an empty folder where zip files are unpacked, to be removed when the scans have been read; without one,
            zip files are skipped.

    Raises:
        DatasetError: as `find_inputs`, and where ``source`` is a file that is no channel.
    """
    config = config or InferenceConfig()
    room = None if scratch is None else Scratch.of(scratch, config.unpacked_gb)
    if not channels.patterns:
        return _with_series(source, output, room, config=config)
    if source.is_file() and not (room is not None and is_archive(source)):
        cases = join_channels(_with_series(source.parent, output, room, config=config), source.parent, channels)
        return [_case_of(source, cases)]
    return join_channels(_with_series(source, output, room, config=config), source, channels)


def _with_series(
    source: Path, output: Path | None, room: Scratch | None, *, config: InferenceConfig
) -> list[InputFile]:
    inputs = join_series(find_inputs(source, output, room), config)
    check_scans(inputs, source)
    return inputs


def _case_of(file: Path, cases: Sequence[InputFile]) -> InputFile:
    found = next((case for case in cases if case.is_scan and file in case.paths), None)
    if found is None:
        raise DatasetError("a channel of the model, or a folder of scans", printable(str(file)), "Check the path.")
    return found


def join_channels(inputs: Sequence[InputFile], source: Path, channels: ChannelFiles) -> list[InputFile]:
    """Make one input of the files of a case; a case that lacks one fails, and the message names it.

    Args:
        inputs: the files, as `find_inputs` lists them.
        source: the folder of scans, or the folder of a single case.
        channels: how they are told apart.

    Returns:
        The joined cases where their first file was; files that are no channel stay, and are skipped where channels lie
        beside them.
    """
    cases: dict[str, dict[int, InputFile]] = {}
    order: list[InputFile | str] = []
    for entry in inputs:
        place = channels.place(entry.below, source) if entry.is_scan and entry.volume is None else None
        if place is None:
            order.append(entry)
        elif place[0] in cases:
            known = cases[place[0]].setdefault(place[1], entry)
            if known is not entry:
                cases[place[0]][place[1]] = replace(known, problem=_two_files(known, entry))
        else:
            cases[place[0]] = {place[1]: entry}
            order.append(place[0])
    folders = {entry.path.parent for found in cases.values() for entry in found.values()}
    return [
        _joined(each, cases[each], channels) if isinstance(each, str) else _left_over(each, folders) for each in order
    ]


def _two_files(one: InputFile, other: InputFile) -> ScanError:
    found = f"{printable(one.path.name)} and {printable(other.path.name)}"
    return ScanError("one file for each channel of a case", found, "Move one of them elsewhere.")


def _joined(case: str, found: dict[int, InputFile], channels: ChannelFiles) -> InputFile:
    files = [found[channel] for channel in sorted(found)]
    problem = next((each.problem for each in files if each.problem is not None), None) or _missing(found, channels)
    shown = " + ".join(each.shown for each in files)
    return InputFile(case, files[0].path, problem, others=tuple(each.path for each in files[1:]), shown=shown)


def _missing(found: dict[int, InputFile], channels: ChannelFiles) -> ScanError | None:
    missing = [channel for channel in range(len(channels.patterns)) if channel not in found]
    if not missing:
        return None
    named = " and ".join(f"{channels.names[channel]} ({channels.patterns[channel]})" for channel in missing)
    total = len(channels.patterns)
    return ScanError(f"a file for each of the {total} channels", f"none for {named}", "Add it, or correct its name.")


def _left_over(entry: InputFile, folders: set[Path]) -> InputFile:
    """A file that is no channel: passed over where channels lie beside it, such as a mask."""
    if entry.is_scan and entry.path.parent in folders:
        return replace(entry, is_scan=False, note=NO_CHANNEL)
    return entry
