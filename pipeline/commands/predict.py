"""``medseg predict``: masks for a scan or a folder of scans."""

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline import __version__
from pipeline.commands.prediction_files import PREVIEW, case_files, column_names, read_columns, write_case
from pipeline.commands.prediction_record import PredictionRecord
from pipeline.commands.progress import ProgressLine, progress_line
from pipeline.config.inference import InferenceConfig
from pipeline.errors import OutputError, reason_of
from pipeline.files import make_writable, write_csv, write_text, writing_to
from pipeline.inference.archives import scratch_folder
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import channels_of, find_cases
from pipeline.inference.predictor import Predictor
from pipeline.inference.readers import Outcome, run_isolated
from pipeline.inference.reading import ReadScan, read_and_prepare
from pipeline.manifest import Manifest
from pipeline.model import Model
from pipeline.report.html import prediction_report
from pipeline.wording import enumerate_names, printable

TABLE, REPORT = "cases.csv", "report.html"
FIXED_COLUMNS = ["case", "input", "status", "action", "reason", "seconds"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """What came of a folder: a row a file, as in cases.csv, and how many of the scans failed."""

    rows: list[dict[str, Any]]
    failed: int
    done: int


@dataclass(frozen=True)
class _Planned:
    """An input, and what is to become of it before any work is done.

    Attributes:
        entry: the input.
        status: as in cases.csv.
        action: as in cases.csv.
        reason: as in cases.csv.
        may_replace: whether files that lie in the case's folder may go.
    """

    entry: InputFile
    status: str
    action: str
    reason: str
    may_replace: bool = False


def predict(
    model: Model,
    source: Path,
    output: Path,
    *,
    config: InferenceConfig,
    overwrite: bool,
    console: Console,
) -> Predictions:
    """Write a mask, statistics and a picture for each scan, and a table of all.

    Args:
        model: the trained model.
        source: a scan or a folder of them.
        output: where results go; see docs/predicting.md for its layout.
        config: settings of the sliding window and the readers.
        overwrite: do cases again that the output holds already, and replace files that this command did not write;
            by default finished cases are kept, and a case whose place is taken fails.
        console: where progress is shown.

    Raises:
        ConfigError: a device, a number format or a label that is not there.
        DatasetError: there is no scan at ``source``, or it is ``output`` as well.
        OutputError: ``output`` cannot be written to.
    """
    record = PredictionRecord(output, model.manifest, config)
    predictor = Predictor(model, config)
    rows: list[dict[str, Any]] = []
    with scratch_folder() as scratch:
        inputs = find_cases(source, output, channels_of(model.manifest), config=config, scratch=scratch)
        plan = _plan(inputs, record, overwrite=overwrite)
        _show_older(plan, record, console)
        plan = _prepare_output(plan, record)
        with progress_line(console, "predicting") as progress:
            for row in _run(plan, predictor, record):
                rows.append(row)
                _write_table(output, rows, model.manifest)
                _show(row, progress)
                progress.update(len(rows) / len(plan), f"case {len(rows)} of {len(plan)}")
    _write_report(output, rows, model.manifest)
    return _summary(rows)


def plan_predictions(
    model: Model, source: Path, output: Path, *, config: InferenceConfig, overwrite: bool
) -> Predictions:
    """What `predict` would do, without doing it.

    Raises:
        DatasetError: there is no scan at ``source``, or it is ``output`` as well.
    """
    record = PredictionRecord(output, model.manifest, config)
    with scratch_folder() as scratch:
        inputs = find_cases(source, output, channels_of(model.manifest), config=config, scratch=scratch)
        return _summary([_planned_row(item) for item in _plan(inputs, record, overwrite=overwrite)])


def _plan(inputs: list[InputFile], record: PredictionRecord, *, overwrite: bool) -> list[_Planned]:
    return [_plan_one(entry, record, overwrite=overwrite) for entry in inputs]


def _plan_one(entry: InputFile, record: PredictionRecord, *, overwrite: bool) -> _Planned:
    if not entry.is_scan:
        return _Planned(entry, "skipped", "", entry.note)
    may_replace = overwrite or record.owns(entry.case)
    if entry.problem is not None:
        return _Planned(entry, "failed", "", str(entry.problem), may_replace)
    status, reason = "review" if entry.doubts else "ok", "; ".join(entry.doubts)
    if not overwrite and record.holds(entry):
        return _Planned(entry, status, "kept", reason)
    if not may_replace:
        return _Planned(entry, "failed", "", str(_place_taken(record.output / entry.case)))
    return _Planned(entry, status, "done", reason, may_replace)


def _place_taken(folder: Path) -> OutputError:
    return OutputError(
        "a place for the results",
        f"files in {folder} that medseg did not write, or a mask that was changed since",
        "Choose another OUTPUT, or replace them with --overwrite.",
    )


def _prepare_output(plan: list[_Planned], record: PredictionRecord) -> list[_Planned]:
    """Make the folder, and remove the older table, and the older results of every case that is done again or fails.

    That comes before the first case is done: whatever ends the run early, no older mask passes for one of this run.

    Returns:
        The plan, in which cases fail whose older results cannot be removed.
    """
    make_writable(record.output)
    with writing_to(record.output):
        for name in (TABLE, REPORT):
            (record.output / name).unlink(missing_ok=True)
        cleared = [_cleared(item, record) if item.may_replace else item for item in plan]
        record.write()
    return cleared


def _cleared(item: _Planned, record: PredictionRecord) -> _Planned:
    folder = record.output / item.entry.case
    try:
        _remove_results(folder)
    except OSError as error:
        found, remedy = f"{folder}, which cannot be emptied ({error.strerror})", "Mend that, or choose another OUTPUT."
        return replace(
            item, status="failed", action="", reason=str(OutputError("a place for the results", found, remedy))
        )
    record.forget(item.entry.case)
    return item


def _show_older(plan: list[_Planned], record: PredictionRecord, console: Console) -> None:
    """Say which older results are replaced, and which stay though no row speaks of them."""
    older = record.finished()
    again = [item.entry.case for item in plan if item.action == "done" and item.entry.case in older]
    strangers = sorted(older - {item.entry.case for item in plan})
    messages = [
        (again, "are done again: the model, the settings or the scan changed, or --overwrite was given"),
        (strangers, "of an earlier run were not seen in INPUT; they stay, and have no row"),
    ]
    for cases, message in messages:
        if cases:
            text = f"{len(cases)} in {record.output} ({enumerate_names(cases)}) {message}."
            console.print(text, markup=False, highlight=False, soft_wrap=True, style="yellow")


def _run(plan: list[_Planned], predictor: Predictor, record: PredictionRecord) -> Iterator[dict[str, Any]]:
    """A row for every input, in order; readers work ahead of the network."""
    outcomes = run_isolated(
        partial(read_and_prepare, fitted=predictor.manifest.preprocessing),
        [item.entry for item in plan if item.action == "done"],
        predictor.config,
    )
    for item in plan:
        if item.action == "done":
            yield _predict_case(item, next(outcomes), predictor=predictor, record=record)
        elif item.action == "kept":
            folder = record.output / item.entry.case
            yield _planned_row(item) | read_columns(folder) | {"preview": f"{folder.name}/{PREVIEW}"}
        else:
            yield _planned_row(item)


def _predict_case(
    item: _Planned, outcome: Outcome[InputFile, ReadScan], *, predictor: Predictor, record: PredictionRecord
) -> dict[str, Any]:
    """The one place that catches what a single case can throw."""
    started, entry = time.monotonic(), item.entry
    if outcome.value is None:
        return _failed_row(item, str(outcome.error), outcome.seconds)
    folder, read = record.output / entry.case, outcome.value
    try:
        found = predictor.segment(read.prepared)
        record.begin(entry.case, read.sha256, predictor.compute)
        volumes = write_case(folder, read, found, manifest=predictor.manifest, config=predictor.config)
        record.finish(entry.case)
    except Exception as error:
        _discard(entry.case, record)
        reason = reason_of(error)
        log.debug("case %s failed", entry.case, exc_info=True)
        return _failed_row(item, reason, outcome.seconds)
    seconds = outcome.seconds + time.monotonic() - started
    return _planned_row(item, seconds) | volumes | {"preview": f"{entry.case}/{PREVIEW}"}


def _remove_results(folder: Path) -> None:
    for path in case_files(folder):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _discard(case: str, record: PredictionRecord) -> None:
    """Leave no result of a case that failed; where one cannot be removed, its row still says that it failed."""
    with suppress(OSError):
        _remove_results(record.output / case)
        record.forget(case)
        record.write()


def _planned_row(item: _Planned, seconds: float = 0.0) -> dict[str, Any]:
    return {
        "case": item.entry.case,
        "input": item.entry.shown,
        "status": item.status,
        "action": item.action,
        "reason": printable(item.reason),
        "seconds": round(seconds, 2),
    }


def _failed_row(item: _Planned, reason: str, seconds: float) -> dict[str, Any]:
    return _planned_row(replace(item, status="failed", action="", reason=reason), seconds)


def _write_table(output: Path, rows: list[dict[str, Any]], manifest: Manifest) -> None:
    columns = FIXED_COLUMNS + _volume_columns(rows, manifest)
    with writing_to(output):
        write_csv(output / TABLE, columns, [{name: row.get(name) for name in columns} for row in rows])


def _volume_columns(rows: list[dict[str, Any]], manifest: Manifest) -> list[str]:
    """Of each label a column in ml, or in px, or both where some of the scans have a spacing and others have none."""
    columns = column_names(manifest.labels)
    return [name for name in columns if any(name in row for row in rows)] or columns[: len(manifest.labels)]


def _write_report(output: Path, rows: list[dict[str, Any]], manifest: Manifest) -> None:
    provenance = {"model": manifest.name, "weights": manifest.weights_sha256[:16], "medseg": __version__}
    with writing_to(output):
        write_text(output / REPORT, prediction_report(rows, list(manifest.labels), provenance))


def _show(row: dict[str, Any], progress: ProgressLine) -> None:
    if row["status"] == "failed":
        text = f"failed: {row['case']}: {row['reason']}"
        progress.console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def _summary(rows: list[dict[str, Any]]) -> Predictions:
    failed = sum(row["status"] == "failed" for row in rows)
    return Predictions(rows, failed, sum(row["status"] in ("ok", "review") for row in rows))
