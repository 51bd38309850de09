"""``medseg predict``: masks for a scan or a folder of scans."""

import datetime
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pipeline import __version__
from pipeline.commands.progress import ProgressLine, progress_line
from pipeline.config.inference import InferenceConfig
from pipeline.errors import OutputError, UserError
from pipeline.figures import write_preview
from pipeline.files import write_csv, write_json, write_text
from pipeline.formats import nifti
from pipeline.inference.batch import InputFile, find_inputs
from pipeline.inference.predictor import Predictor
from pipeline.inference.readers import Outcome, run_isolated
from pipeline.inference.reading import ReadScan, read_and_prepare
from pipeline.manifest import Manifest
from pipeline.metrics.structures import describe_structures
from pipeline.model import Model
from pipeline.report.html import prediction_report
from pipeline.scan import Scan

MASK = "mask.nii.gz"
STATISTICS = "statistics.json"
RESULTS = ("mask.nii.gz", "mask.nii", STATISTICS, "preview.png")
FIXED_COLUMNS = ["case", "input", "status", "action", "reason", "seconds"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """What came of a folder: a row a file, as in cases.csv, and how many of the scans failed."""

    rows: list[dict[str, Any]]
    failed: int
    done: int


def predict(
    model: Model,
    source: Path,
    output: Path,
    config: InferenceConfig,
    *,
    overwrite: bool,
    console: Console,
) -> Predictions:
    """Write a mask, statistics and a picture for each scan, and a table of all.

    Args:
        model: the trained model.
        source: a scan or a folder of them.
        output: where results go; see docs/predicting.md for its layout.
        config: settings of the sliding window and the readers.
        overwrite: do cases again that the output holds already; by default they are kept.
        console: where progress is shown.

    Raises:
        DatasetError: there is no scan at ``source``.
        OutputError: ``output`` cannot be written to.
    """
    inputs = find_inputs(source)
    _make_folder(output)
    predictor = Predictor(model, config)
    rows, hashes = [], {}
    with progress_line(console, "predicting") as progress:
        for row, sha256 in _run(inputs, predictor, output, config, overwrite=overwrite):
            rows.append(row)
            if sha256 is not None:
                hashes[row["case"]] = sha256
            _write_table(output, rows, model.manifest)
            _show(row, len(rows), len(inputs), progress)
    _write_summary(output, rows, model.manifest, config, hashes)
    return _summary(rows)


def plan_predictions(source: Path, output: Path, *, overwrite: bool) -> Predictions:
    """What `predict` would do, without doing it.

    Raises:
        DatasetError: there is no scan at ``source``.
    """
    return _summary([_row(entry, *_planned(entry, output, overwrite=overwrite)) for entry in find_inputs(source)])


def _run(
    inputs: list[InputFile], predictor: Predictor, output: Path, config: InferenceConfig, *, overwrite: bool
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """A row and the file's hash for every input, in order; readers work ahead of the network."""
    todo = [entry for entry in inputs if _planned(entry, output, overwrite=overwrite)[1] == "done"]
    outcomes = run_isolated(
        partial(read_and_prepare, fitted=predictor.manifest.preprocessing),
        [entry.path for entry in todo],
        workers=config.readers,
        deadline_seconds=config.read_deadline_seconds,
        memory_gb=config.reader_memory_gb,
    )
    for entry in inputs:
        status, action, reason = _planned(entry, output, overwrite=overwrite)
        if action == "done":
            yield _predict_case(entry, next(outcomes), predictor, output)
        else:
            kept = _kept_volumes(output / entry.case, predictor.manifest) if action == "kept" else {}
            yield _row(entry, status, action, reason) | kept, None


def _planned(entry: InputFile, output: Path, *, overwrite: bool) -> tuple[str, str, str]:
    """Status, action and reason of an input before any work is done on it."""
    if not entry.is_scan:
        return "skipped", "", entry.problem or ""
    if entry.problem is not None:
        return "failed", "", entry.problem
    if not overwrite and (output / entry.case / STATISTICS).exists():
        return "ok", "kept", ""
    return "ok", "done", ""


def _predict_case(
    entry: InputFile, outcome: Outcome[Path, ReadScan], predictor: Predictor, output: Path
) -> tuple[dict[str, Any], str | None]:
    """The one place that catches what a single case can throw."""
    started = time.monotonic()
    if outcome.value is None:
        _remove_results(output / entry.case)
        return _row(entry, "failed", "", outcome.error or "", outcome.seconds), None
    try:
        mask = predictor.predict_prepared(outcome.value.prepared)
        volumes = _write_case(output / entry.case, outcome.value.scan, mask, predictor.manifest)
    except Exception as error:
        _remove_results(output / entry.case)
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        log.debug("case %s failed", entry.case, exc_info=True)
        return _row(entry, "failed", "", reason, outcome.seconds), outcome.value.sha256
    seconds = outcome.seconds + time.monotonic() - started
    preview = {"preview": f"{entry.case}/preview.png"}
    return _row(entry, "ok", "done", "", seconds) | volumes | preview, outcome.value.sha256


def _write_case(folder: Path, scan: Scan, mask: NDArray[np.unsignedinteger], manifest: Manifest) -> dict[str, float]:
    """Write a case's files, the statistics last: a folder that has them is whole. Returns the volumes for the table."""
    _remove_results(folder)
    statistics = describe_structures(mask, scan.array, scan.affine, manifest.labels)
    nifti.write_mask(folder / _mask_name(scan.source), mask, scan)
    write_preview(folder / "preview.png", scan.array, mask, scan.affine, manifest.labels)
    write_json(folder / STATISTICS, statistics)
    return {f"{name}_ml": round(values["volume_ml"], 4) for name, values in statistics.items()}


def _kept_volumes(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """The volumes and the picture of a case that an earlier run wrote."""
    statistics = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))
    volumes = {f"{name}_ml": round(statistics[name]["volume_ml"], 4) for name in manifest.labels if name in statistics}
    return volumes | {"preview": f"{folder.name}/preview.png"}


def _mask_name(source: Path) -> str:
    return MASK if source.name.lower().endswith(".gz") else "mask.nii"


def _remove_results(folder: Path) -> None:
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _row(entry: InputFile, status: str, action: str, reason: str, seconds: float = 0.0) -> dict[str, Any]:
    return {
        "case": entry.case,
        "input": str(entry.path),
        "status": status,
        "action": action,
        "reason": reason,
        "seconds": round(seconds, 2),
    }


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("a folder to write to", f"{output}: {error.strerror}", "Choose another OUTPUT.") from error


def _write_table(output: Path, rows: list[dict[str, Any]], manifest: Manifest) -> None:
    columns = FIXED_COLUMNS + [f"{name}_ml" for name in manifest.labels]
    write_csv(output / "cases.csv", columns, [{name: row.get(name) for name in columns} for row in rows])


def _write_summary(
    output: Path, rows: list[dict[str, Any]], manifest: Manifest, config: InferenceConfig, hashes: dict[str, str]
) -> None:
    record = {
        "medseg_version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "model": manifest.name,
        "model_weights_sha256": manifest.weights_sha256,
        "labels": manifest.labels,
        "inference": config.model_dump(mode="json"),
        "input_sha256": hashes,
    }
    write_json(output / "manifest.json", record)
    provenance = {"model": manifest.name, "weights": manifest.weights_sha256[:16], "medseg": __version__}
    write_text(output / "report.html", prediction_report(rows, list(manifest.labels), provenance))


def _show(row: dict[str, Any], done: int, total: int, progress: ProgressLine) -> None:
    if row["status"] == "failed":
        progress.console.print(f"failed: {row['case']}: {row['reason']}", style="red", highlight=False, soft_wrap=True)
    progress.update(done / total, f"case {done} of {total}")


def _summary(rows: list[dict[str, Any]]) -> Predictions:
    failed = sum(row["status"] == "failed" for row in rows)
    return Predictions(rows, failed, sum(row["status"] in ("ok", "review") for row in rows))
