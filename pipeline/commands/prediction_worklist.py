"""What people and machines are told about a run: cases.csv, report.html, status.json and medseg.log."""

import datetime
import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.commands.prediction_files import PREVIEW, VIEWER, column_names, read_columns
from pipeline.commands.prediction_plan import Planned
from pipeline.commands.prediction_run import Result
from pipeline.files import write_csv, write_json, write_text, writing_to
from pipeline.formats.dicom.identity import IDENTITY, read_identity
from pipeline.manifest import Manifest
from pipeline.report.html import STATUSES, prediction_report
from pipeline.wording import printable

TABLE, REPORT, STATUS, LOG = "cases.csv", "report.html", "status.json", "medseg.log"
FIXED_COLUMNS = ["case", "input", "status", "action", "reason", "seconds"]
NOT_DONE = "not done: the run ended before its turn; give the command again"
TABLE_SECONDS = 5.0
"""Between two writings of the table while cases are done: with thousands of them it would cost more than the cases."""
HEARTBEAT_SECONDS = 10.0
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet takes for a formula."""
Row = dict[str, Any]
run_log = logging.getLogger("medseg.predictions")
run_log.propagate = False  # the console shows progress instead


class Worklist:
    """The rows of a run, one for each input.

    Args:
        output: the folder of results.
        manifest: the model.
        plan: what is to become of each input.
        identity: whether the table names patients.
    """

    def __init__(self, output: Path, manifest: Manifest, plan: Sequence[Planned], *, identity: bool) -> None:
        self.output = output
        self._manifest = manifest
        self._plan = plan
        self._identity = identity
        self._rows: dict[int, Row] = {}
        self._written = 0.0
        self._state = "running"
        self._started = _now()

    @property
    def rows(self) -> list[Row]:
        """The rows so far, in the order of the inputs."""
        return [self._rows[index] for index in sorted(self._rows)]

    @property
    def shares(self) -> tuple[int, int]:
        """How many of the cases that are to be read have a row, and how many they are."""
        to_do = [index for index, item in enumerate(self._plan) if item.is_to_do]
        return sum(index in self._rows for index in to_do), len(to_do)

    def add(self, result: Result) -> Row:
        """Take a result in; the table is written now and then."""
        row = self._rows[result.index] = self._row(result)
        if time.monotonic() - self._written > TABLE_SECONDS:
            self._write_table(self.rows)
        run_log.info("%s %s: %s", row["status"], row["case"], row["reason"] or row["action"] or "-")
        return row

    @property
    def missing(self) -> list[int]:
        """Indices of the inputs that have no row yet."""
        return [index for index in range(len(self._plan)) if index not in self._rows]

    def end(self, state: str) -> None:
        """Write everything; a case without a result has a row that says so.

        Args:
            state: done or stopped.
        """
        left = len(self.missing)
        self._rows |= {index: self._row(Result(index, self._plan[index].failed(NOT_DONE))) for index in self.missing}
        self._state = state
        self._write_table(self.rows)
        self._write_report(f"The run was stopped: {left} of {len(self._plan)} inputs were not done." if left else "")
        self.write_status()
        run_log.info("%s: %s", state, ", ".join(f"{count} {name}" for name, count in self._counts().items()))

    def write_status(self) -> None:
        """Write status.json, by which a machine sees that the work goes on."""
        done, to_do = self.shares
        content = {
            "state": self._state,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": self._started,
            "updated": _now(),
            "cases": len(self._plan),
            "finished": len(self._rows),
            "to_do": to_do - done,
            **self._counts(),
        }
        with writing_to(self.output):
            write_json(self.output / STATUS, content)

    def _counts(self) -> dict[str, int]:
        found = Counter(row["status"] for row in self.rows)
        return {status: found[status] for status in STATUSES}

    def _row(self, result: Result) -> Row:
        item = result.item
        row: Row = {
            "case": item.entry.case,
            "input": item.entry.shown,
            "status": item.status,
            "action": item.action,
            "reason": printable(item.reason),
            "seconds": round(result.seconds, 2),
        }
        if self._identity and item.entry.volume is not None:
            row |= read_identity(item.entry.volume.frames[0].path)
        if item.action == "":
            return row
        columns = read_columns(self.output / item.entry.case) if result.written is None else result.written.columns
        pages = {"preview": f"{item.entry.case}/{PREVIEW}"}
        if (self.output / item.entry.case / VIEWER).exists():
            pages["viewer"] = f"{item.entry.case}/{VIEWER}"
        return row | columns | pages

    def _write_table(self, rows: Sequence[Row]) -> None:
        columns = [*FIXED_COLUMNS, *(IDENTITY if self._identity else []), *_volume_columns(rows, self._manifest)]
        with writing_to(self.output):
            write_csv(self.output / TABLE, columns, [{name: _cell(row.get(name)) for name in columns} for row in rows])
        self._written = time.monotonic()

    def _write_report(self, banner: str) -> None:
        manifest = self._manifest
        provenance = {"model": manifest.name, "weights": manifest.weights_sha256[:16], "medseg": __version__}
        with writing_to(self.output):
            page = prediction_report(self.rows, list(manifest.labels), provenance, banner=banner)
            write_text(self.output / REPORT, page)


@contextmanager
def heartbeat(worklist: Worklist) -> Iterator[None]:
    """Write status.json every few seconds while the block runs."""
    end = threading.Event()

    def beat() -> None:
        while not end.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):  # what is wrong with the folder is said where results are written
                worklist.write_status()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    worklist.write_status()
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextmanager
def logging_to(output: Path) -> Iterator[None]:
    """Append what happens to medseg.log while the block runs, also the warnings of the whole package."""
    with writing_to(output):
        handler = _LogFile(output / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    loggers = (run_log, logging.getLogger("pipeline"))
    for logger in loggers:
        logger.addHandler(handler)
    run_log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk costs its lines, and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Pass over it; results that cannot be written say so."""


def _volume_columns(rows: Sequence[Row], manifest: Manifest) -> list[str]:
    """Of each label a column in ml, or in px, or both where some of the scans have a spacing and others have none."""
    columns = column_names(manifest.labels)
    return [name for name in columns if any(name in row for row in rows)] or columns[: len(manifest.labels)]


def _cell(value: Any) -> Any:
    """A value that a spreadsheet takes for what it is: names of files and texts of headers are no formulas."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
