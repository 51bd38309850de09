"""A folder of scans of which each becomes a row of a table, whatever it is and whatever happens to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from pipeline.commands.progress import progress_line
from pipeline.commands.reading import read_all
from pipeline.config.inference import InferenceConfig
from pipeline.errors import OutputError, reason_of
from pipeline.files import NO_ROOM
from pipeline.inference.archives import scratch_folder
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import channels_of, find_cases
from pipeline.inference.readers import Outcome
from pipeline.inference.reading import ReadScan, read_and_prepare
from pipeline.manifest import ModelRecord

COLUMNS = ["case", "input", "status", "reason"]
Status = Literal["ok", "failed", "skipped"]
Work = Callable[[InputFile, ReadScan], Mapping[str, Any]]
"""What is done with a scan; gives the further cells of its row."""


@dataclass(frozen=True)
class ScanRow:
    """A scan, or a file that is none.

    Attributes:
        entry: where it lies.
        reason: why nothing could be done; empty where it could.
        found: the further cells; None where nothing could be done.
    """

    entry: InputFile
    reason: str
    found: Mapping[str, Any] | None = None

    @property
    def status(self) -> Status:
        """As in the tables of `medseg predict`."""
        if self.found is not None:
            return "ok"
        return "failed" if self.entry.is_scan else "skipped"

    def cells(self) -> dict[str, Any]:
        """The row of the table."""
        own = {"case": self.entry.case, "input": self.entry.shown, "status": self.status, "reason": self.reason}
        return own | dict(self.found or {})


def rows_of(
    source: Path, manifest: ModelRecord, work: Work, *, config: InferenceConfig, console: Console, verb: str
) -> list[ScanRow]:
    """Do something with each scan of a folder; a scan that cannot be read, or with which it cannot be done, has failed.

    Args:
        source: a scan, or a folder of scans.
        manifest: the model that is run on them.
        work: what is done, in this process.
        config: of the reader processes.
        console: where progress is shown.
        verb: what is done, in one word, such as "embedding".

    Raises:
        DatasetError: there is no scan.
        OutputError: nothing can be written any more.
    """
    with scratch_folder() as scratch, progress_line(console, verb) as progress:
        entries = find_cases(source, None, channels_of(manifest), config=config, scratch=scratch)
        scans = [entry for entry in entries if entry.is_scan and entry.problem is None]
        read = partial(read_and_prepare, fitted=manifest.preprocessing)
        outcomes = read_all(read, scans, verb, config=config, progress=progress)
        done = {outcome.item.case: _row(outcome, work) for outcome in outcomes}
    return [done.get(entry.case) or ScanRow(entry, _why_not(entry)) for entry in entries]


def _row(outcome: Outcome[InputFile, ReadScan], work: Work) -> ScanRow:
    if outcome.value is None:
        return ScanRow(outcome.item, str(outcome.error))
    try:
        return ScanRow(outcome.item, "", work(outcome.item, outcome.value))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            remedy = "Free space there or choose another folder, and run again."
            raise OutputError("a folder that can be written to", str(error.strerror), remedy) from error
        return ScanRow(outcome.item, reason_of(error))


def _why_not(entry: InputFile) -> str:
    return str(entry.problem) if entry.problem is not None else entry.note
