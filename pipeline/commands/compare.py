"""``medseg compare``: which of several evaluations of the same cases is better, and whether that can be told."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.overrides import is_tracked
from pipeline.errors import DatasetError
from pipeline.evaluation.comparison import compare_evaluations
from pipeline.evaluation.comparison_record import comparison_content, write_comparison
from pipeline.evaluation.record import METRICS_FILE, TABLE
from pipeline.evaluation.stored import REMEDY, EvaluationFiles, holds_evaluation, read_evaluation
from pipeline.files import make_writable, writing_to
from pipeline.provenance import made_by
from pipeline.wording import printable

NESTED = "evaluation"
"""Folder of an evaluation inside a training run's, as the demo makes it."""


@dataclass(frozen=True)
class Compared:
    """The content of comparison.json."""

    content: dict[str, Any]


def compare(runs: Sequence[str], output: Path | None, *, config: EvaluationConfig) -> Compared:
    """Compare evaluations case by case with the first of them.

    Args:
        runs: two or more; what `open_evaluation` takes. The first is the baseline.
        output: folder for comparison.json, comparison.csv, report.html and figures/; None writes nothing.
        config: settings of the intervals; the tolerance is the evaluations' own.

    Raises:
        DatasetError: a run has no evaluation, or two of them cannot be compared.
        ModelError: MLflow does not know a run, or has no table of its cases.
        OutputError: ``output`` cannot be written to.
    """
    assert len(runs) > 1, runs
    baseline, *others = [open_evaluation(run) for run in runs]
    pairs = compare_evaluations(baseline, others, config)
    content = comparison_content(pairs, dict(made_by()))
    if output is not None:
        make_writable(output)
        with writing_to(output):
            write_comparison(output, pairs, content)
    return Compared(content)


def open_evaluation(given: str) -> EvaluationFiles:
    """Read an evaluation.

    Args:
        given: a folder that `evaluate` or `score` wrote, a training run's folder with such a folder, ``evaluation``, or
            ``runs:/ID`` of an evaluation in MLflow.

    Raises:
        DatasetError: there is none, or it cannot be read.
        ModelError: MLflow does not know the run, or has no table of its cases.
    """
    if is_tracked(given):
        return _open_tracked(given)
    for folder in (Path(given), Path(given) / NESTED):
        if holds_evaluation(folder):
            return read_evaluation(folder, printable(given))
    raise DatasetError(f"an evaluation ({METRICS_FILE}, {TABLE})", f"none in {printable(given)}", REMEDY)


def _open_tracked(given: str) -> EvaluationFiles:
    from pipeline.tracking.models import fetch_files  # mlflow takes seconds to import

    with tempfile.TemporaryDirectory(prefix="medseg-evaluation-") as folder:
        fetch_files(given, (METRICS_FILE, TABLE), Path(folder))
        return read_evaluation(Path(folder), printable(given))
