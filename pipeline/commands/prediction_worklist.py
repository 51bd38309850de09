"""The rows of a run, as cases.csv and report.html have them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.commands.prediction_files import (
    GATE_COLUMN,
    ODDITY,
    PREVIEW,
    VIEWER,
    column_names,
    dice_columns,
    read_columns,
)
from pipeline.commands.prediction_plan import Planned
from pipeline.commands.prediction_run import Result
from pipeline.commands.prediction_watch import run_log
from pipeline.errors import OutputError
from pipeline.files import write_csv, write_text, writing_to
from pipeline.formats.dicom.identity import IDENTITY
from pipeline.manifest import Manifest
from pipeline.report.html import STATUSES, prediction_report
from pipeline.wording import printable

TABLE, REPORT = "cases.csv", "report.html"
FIXED_COLUMNS = ["case", "input", "status", "action", "reason", "seconds"]
NOT_DONE = "Expected the run to come to it; found that the run ended before its turn. Give the command again."
GONE = "Expected the results that an earlier run left; found that they are gone since. Give the command again."
TABLE_SECONDS = 5.0
"""Between two writings of the table while cases are done: with thousands of them it would cost more than the cases."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet takes for a formula."""
Row = dict[str, Any]


class Worklist:
    """The rows of a run, one for each input.

    Args:
        output: the folder of results.
        manifest: the model.
        plan: what is to become of each input.
        identities: whose images the inputs hold, by their case names, where the table is to name patients; else None.
    """

    def __init__(
        self,
        output: Path,
        manifest: Manifest,
        plan: Sequence[Planned],
        *,
        identities: Mapping[str, Mapping[str, str]] | None,
    ) -> None:
        self.output = output
        self._manifest = manifest
        self._plan = plan
        self._identities = identities
        self._to_do = frozenset(index for index, item in enumerate(plan) if item.is_to_do)
        self._rows: dict[int, Row] = {}
        self._written = 0.0

    @property
    def rows(self) -> list[Row]:
        """The rows so far, in the order of the inputs."""
        return [self._rows[index] for index in sorted(self._rows)]

    @property
    def missing(self) -> list[int]:
        """Indices of the inputs that have no row yet."""
        return [index for index in range(len(self._plan)) if index not in self._rows]

    @property
    def shares(self) -> tuple[int, int]:
        """How many of the cases that are to be read have a row, and how many they are."""
        return len(self._to_do & self._rows.keys()), len(self._to_do)

    def counts(self) -> dict[str, int]:
        """How far the work is."""
        done, to_do = self.shares
        found = Counter(row["status"] for row in self.rows)
        numbers = {"cases": len(self._plan), "finished": len(self._rows), "to_do": to_do - done}
        return numbers | {status: found[status] for status in STATUSES}

    def add(self, result: Result) -> Row:
        """Take a result in; the table is written now and then, and if it cannot be, at the next time or at the end."""
        row = self._rows[result.index] = self._row(result)
        run_log.info("%s %s: %s", row["status"], row["case"], row["reason"] or row["action"] or "-")
        if time.monotonic() - self._written > TABLE_SECONDS:
            self._written = time.monotonic()
            with suppress(OutputError):
                self._write_table(self.rows)
        return row

    def end(self) -> None:
        """Write everything; an input without a result has a row that says so.

        Raises:
            OutputError: the table or the report cannot be written.
        """
        missing = self.missing
        left = {index: self._row(Result(index, self._plan[index].failed(NOT_DONE))) for index in missing}
        every = self._rows | left
        rows = [every[index] for index in sorted(every)]
        self._write_table(rows)
        banner = f"The run was stopped: {len(missing)} of {len(self._plan)} inputs were not done." if missing else ""
        manifest = self._manifest
        files = {"gate": manifest.gate_sha256, "predicted Dice": manifest.estimate_sha256}
        fitted = {name: sha256[:16] for name, sha256 in files.items() if sha256 is not None}
        provenance = {"model": manifest.name, "weights": manifest.weights_sha256[:16], **fitted, "medseg": __version__}
        with writing_to(self.output):
            page = prediction_report(rows, list(manifest.labels), provenance, banner=banner)
            write_text(self.output / REPORT, page)

    def _row(self, result: Result) -> Row:
        item = result.item
        columns: Mapping[str, Any] = {}
        if item.action:
            try:
                columns = self._columns(result)
            except (OSError, ValueError, KeyError):  # somebody has moved what the folder held a moment ago
                item = item.failed(GONE)
        row: Row = {
            "case": item.entry.case,
            "input": item.entry.shown,
            "status": item.status,
            "action": item.action,
            "reason": printable(item.reason),
            "seconds": round(result.seconds, 2),
        }
        return row | dict((self._identities or {}).get(item.entry.case, {})) | dict(columns)

    def _columns(self, result: Result) -> Row:
        """Volumes and pages of a case that has a mask."""
        case = result.item.entry.case
        columns = read_columns(self.output / case) if result.written is None else result.written.columns
        pages = {"preview": f"{case}/{PREVIEW}"}
        if (self.output / case / VIEWER).exists():
            pages["viewer"] = f"{case}/{VIEWER}"
        if (self.output / case / ODDITY).exists():
            pages["oddity"] = f"{case}/{ODDITY}"
        return columns | pages

    def _write_table(self, rows: Sequence[Row]) -> None:
        identity = [] if self._identities is None else list(IDENTITY)
        gate = [GATE_COLUMN] if self._manifest.gate_sha256 is not None else []
        dice = dice_columns(self._manifest.labels) if self._manifest.estimate_sha256 is not None else []
        columns = [*FIXED_COLUMNS, *identity, *_volume_columns(rows, self._manifest), *gate, *dice]
        with writing_to(self.output):
            write_csv(self.output / TABLE, columns, [{name: _cell(row.get(name)) for name in columns} for row in rows])


def _volume_columns(rows: Sequence[Row], manifest: Manifest) -> list[str]:
    """Of each label a column in ml, or in px, or both where some of the scans have a spacing and others have none."""
    columns = column_names(manifest.labels)
    return [name for name in columns if any(name in row for row in rows)] or columns[: len(manifest.labels)]


def _cell(value: Any) -> Any:
    """A value that a spreadsheet takes for what it is: names of files and texts of headers are no formulas."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
