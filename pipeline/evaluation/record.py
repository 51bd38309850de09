"""The files of an evaluation: metrics.json, cases.csv and report.html."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline.evaluation.scores import CaseScore
from pipeline.files import write_csv, write_json, write_text
from pipeline.report.html import evaluation_report


def write_evaluation(
    out: Path, scores: list[CaseScore], *, summary: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Write metrics.json, cases.csv (a row per case and label, failed cases included) and report.html.

    Args:
        out: the folder; it is made where it is missing.
        scores: of all cases and labels.
        summary: what `summarise` says of them.
        provenance: where the masks and the numbers come from; plain values that JSON can hold.
    """
    rows = [asdict(score) for score in scores]
    write_json(out / "metrics.json", {**summary, "provenance": provenance})
    columns = [field.name for field in fields(CaseScore)]
    write_csv(out / "cases.csv", [*columns, "status", "reason"], [*_scored_rows(rows), *_failed_rows(summary)])
    write_text(out / "report.html", evaluation_report(summary, rows, provenance))


def _scored_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "status": "ok"} for row in rows]


def _failed_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**failure, "label": label, "status": "failed"}
        for failure in summary["failed_cases"]
        for label in summary["labels"]
    ]
