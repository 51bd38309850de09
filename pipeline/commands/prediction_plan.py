"""What is to become of each input, before any of them is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.commands.prediction_files import case_files
from pipeline.commands.prediction_record import PredictionRecord
from pipeline.commands.prediction_session import remove_partial_files
from pipeline.errors import OutputError
from pipeline.inference.batch import InputFile


@dataclass(frozen=True)
class Planned:
    """An input, and what is to become of it.

    Attributes:
        entry: the input.
        status: as in cases.csv.
        action: as in cases.csv.
        reason: as in cases.csv.
        may_replace: whether files that lie in the case's folder may go.
    """

    entry: InputFile
    status: str
    action: str = ""
    reason: str = ""
    may_replace: bool = False

    @property
    def is_to_do(self) -> bool:
        """Whether it has to be read."""
        return self.action == "done"

    def failed(self, reason: str) -> "Planned":
        """The same, failed."""
        return replace(self, status="failed", action="", reason=reason)

    def to_review(self, reasons: Sequence[str]) -> "Planned":
        """The same with what its mask is to be reviewed for; without any, it is ok."""
        return replace(self, status="review" if reasons else "ok", reason="; ".join(reasons))


def plan_all(inputs: Sequence[InputFile], record: PredictionRecord, *, overwrite: bool) -> list[Planned]:
    """What is to become of each input.

    Args:
        inputs: scans, and files that are none.
        record: of the folder of results.
        overwrite: whether cases are done again, and files of others replaced.
    """
    return [plan_one(entry, record, overwrite=overwrite) for entry in inputs]


def plan_one(entry: InputFile, record: PredictionRecord, *, overwrite: bool) -> Planned:
    """What is to become of an input, as `plan_all`."""
    if not entry.is_scan:
        return Planned(entry, "skipped", reason=entry.note)
    may_replace = overwrite or record.owns(entry.case)
    if entry.problem is not None:
        return Planned(entry, "failed", reason=str(entry.problem), may_replace=may_replace)
    if not overwrite and record.holds(entry):
        return kept(entry, record)
    if not may_replace:
        return Planned(entry, "failed", reason=str(place_taken(record.output / entry.case)))
    return Planned(entry, "ok", "done", may_replace=may_replace).to_review(entry.doubts)


def kept(entry: InputFile, record: PredictionRecord) -> Planned:
    """A case that the folder holds already."""
    return Planned(entry, "ok", "kept").to_review([*entry.doubts, *record.reasons(entry.case)])


def clear(plan: Sequence[Planned], record: PredictionRecord) -> list[Planned]:
    """Remove the older results of every case that is done again or fails.

    Returns:
        The plan, in which cases fail whose older results cannot be removed.
    """
    return [_cleared(item, record) if item.may_replace else item for item in plan]


def remove_results(case: str, record: PredictionRecord) -> None:
    """Remove a case's results and what is known of them; files of others stay.

    Raises:
        OSError: one cannot be removed.
    """
    folder = record.output / case
    for path in case_files(folder):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        remove_partial_files(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
    record.forget(case)


def _cleared(item: Planned, record: PredictionRecord) -> Planned:
    try:
        remove_results(item.entry.case, record)
    except OSError as error:
        found = f"{record.output / item.entry.case}, which cannot be emptied ({error.strerror})"
        problem = OutputError("a place for the results", found, "Mend that, or choose another OUTPUT.")
        return item.failed(str(problem))
    return item


def place_taken(folder: Path) -> OutputError:
    """Why a case has no place: files that are not ours lie there."""
    return OutputError(
        "a place for the results",
        f"files in {folder} that medseg did not write, or a mask that was changed since",
        "Choose another OUTPUT, or replace them with --overwrite.",
    )
