"""What `evaluate` and `score` wrote, read again."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError
from pipeline.evaluation.metric_names import METRICS, OPTIONAL_METRICS, name_in
from pipeline.evaluation.record import METRICS_FILE, TABLE
from pipeline.scan import Unit

VOLUME, TOLERANCE = "reference_size", "nsd_tolerance"
NUMBERS = (*METRICS, VOLUME)
"""Columns that every evaluation has."""
REMEDY = (
    "Give a folder that evaluate or score wrote, or a training run's folder with such a folder, evaluation/, in it."
)


@dataclass(frozen=True)
class EvaluationFiles:
    """The content of an evaluation's files.

    Attributes:
        name: what it is called in messages and tables.
        summary: metrics.json.
        scores: by case and label: every metric that the evaluation has (None where it is undefined) and
            ``reference_size``, under their names without a unit.
    """

    name: str
    summary: Mapping[str, Any]
    scores: Mapping[tuple[str, str], Mapping[str, float | None]]

    @property
    def labels(self) -> list[str]:
        """The structures' names."""
        return list(self.summary["labels"])

    @cached_property
    def cases(self) -> frozenset[str]:
        """The cases that were scored."""
        return frozenset(case for case, _ in self.scores)

    @property
    def failed(self) -> dict[str, str]:
        """The cases that failed, and why."""
        return {failure["case"]: failure["reason"] for failure in self.summary["failed_cases"]}

    @property
    def unit(self) -> Unit:
        """Of distances and volumes: pixels where pictures were scored."""
        return _unit_of(self.summary)

    @property
    def nsd_tolerance(self) -> float:
        """Tolerance of the normalised surface Dice, in the evaluation's unit."""
        return float(self.summary[name_in(self.unit, TOLERANCE)])

    @cached_property
    def optional_metrics(self) -> tuple[str, ...]:
        """Which of `OPTIONAL_METRICS` the evaluation has."""
        known = {metric for row in self.scores.values() for metric in row}
        return tuple(metric for metric in OPTIONAL_METRICS if metric in known)

    @property
    def per_slice(self) -> bool:
        """Whether its instances and centre lines are those of slices, each by itself."""
        return bool(self.summary.get("per_slice", False))

    @property
    def walls(self) -> frozenset[str]:
        """Labels of which the instances are the parts between them."""
        return frozenset(self.summary.get("walls", ()))

    @property
    def cases_digest(self) -> str | None:
        """Hash of the cases and their references; evaluations of older versions have none."""
        digest = self.summary["provenance"].get("cases_digest")
        return None if digest is None else str(digest)


def holds_evaluation(folder: Path) -> bool:
    """Whether a folder has the files of an evaluation."""
    return (folder / METRICS_FILE).is_file() and (folder / TABLE).is_file()


def read_evaluation(folder: Path, name: str) -> EvaluationFiles:
    """Read metrics.json and cases.csv.

    Raises:
        DatasetError: they cannot be read, or are no evaluation's.
    """
    try:
        summary = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        _check_summary(summary)
        with (folder / TABLE).open(newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if _is_scored(row)]
        scores = {(row["case"], row["label"]): _numbers(row, _unit_of(summary)) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        found = f"{folder}, which cannot be read as one ({type(error).__name__}: {error})"
        raise DatasetError(f"an evaluation ({METRICS_FILE}, {TABLE})", found, REMEDY) from error
    return EvaluationFiles(name, summary, scores)


def _check_summary(summary: Mapping[str, Any]) -> None:
    """What the properties above rely on is there; what is not raises here, and not in the middle of a comparison."""
    summary["labels"].keys()
    float(summary[name_in(_unit_of(summary), TOLERANCE)])
    for failure in summary["failed_cases"]:
        str(failure["case"] + failure["reason"])
    summary["provenance"].get("cases_digest")


def _unit_of(summary: Mapping[str, Any]) -> Unit:
    return "px" if name_in("px", TOLERANCE) in summary else "mm"


def _is_scored(row: Mapping[str, str]) -> bool:
    return row["status"] == "ok"


def _numbers(row: Mapping[str, str], unit: Unit) -> dict[str, float | None]:
    names = (*NUMBERS, *(name for name in OPTIONAL_METRICS if name in row))
    written = {name: row[name_in(unit, name)] for name in names}
    values = {name: float(text) if text != "" else None for name, text in written.items()}
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name} of {row['case']} is {value}")
    return values
