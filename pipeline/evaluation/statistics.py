"""Statistics over cases, as metrics.json holds them."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.config.evaluation import EvaluationConfig
from pipeline.evaluation.metric_names import METRICS, metrics_of, name_in
from pipeline.evaluation.scores import CaseScore, FailedCase, unit_of
from pipeline.metrics.intervals import bootstrap_ci95

EMPTY_RULE = (
    "A label that is absent from both masks of a case is not scored there (both_empty). A label that is absent from "
    "one of them scores 0 in Dice, IoU and NSD, and has no surface distances and no precision (nothing predicted) or "
    "no recall (nothing to find); these cases (one_empty) are missing from the means of what they do not have, so "
    "read those together with the counts."
)
OPTIONAL_RULE = (
    " Instance F1 and clDice are 0 as well where one mask is empty. Rand F-score is 0 where nothing is predicted, and "
    "undefined where there is nothing to find; variation of information is undefined in both cases. Of walls, what "
    "lies between them is scored as it is where one of the masks has a wall."
)


def summarise(
    scores: list[CaseScore],
    labels: Iterable[str],
    config: EvaluationConfig,
    *,
    excluded_training_cases: int,
    failed: list[FailedCase],
) -> dict[str, Any]:
    """Statistics over cases, as metrics.json holds them; what is undefined is None, never NaN.

    Args:
        scores: of all cases and labels.
        labels: the structures' names, in the order of the result.
        config: the tolerance, and the settings of the intervals.
        excluded_training_cases: how many cases were left out because the model was trained on them.
        failed: cases that could not be scored; they are in no mean.

    Returns:
        ``cases`` (how many were scored), ``excluded_training_cases``, ``mean_dice`` (mean over labels of the mean over
        cases), ``labels.<name>.<metric>`` with ``mean``, ``std`` (of a sample, N - 1), ``median``, ``ci95`` and ``n``,
        ``empty_masks`` with the rule and the counts per label, ``nsd_tolerance_mm`` and ``failed_cases``. Where
        instances or centre lines are scored, also ``per_slice``, and ``walls`` where there are some. Of pictures, names
        end in ``_px`` (`name_in`).

    Raises:
        DatasetError: some scores are in mm and others in pixels.
    """
    metrics, unit = metrics_of(config), unit_of(scores)
    by_label = {label: [score for score in scores if score.label == label] for label in labels}
    statistics = {
        label: {name_in(unit, metric): _statistics(rows, metric, config) for metric in metrics}
        for label, rows in by_label.items()
    }
    dice = [each["dice"]["mean"] for each in statistics.values() if each["dice"]["mean"] is not None]
    asked_for = metrics != METRICS
    return {
        "cases": len({score.case for score in scores}),
        "excluded_training_cases": excluded_training_cases,
        "mean_dice": float(np.mean(dice)) if dice else None,
        "labels": statistics,
        "empty_masks": {
            "rule": EMPTY_RULE + OPTIONAL_RULE if asked_for else EMPTY_RULE,
            "both_empty": {label: sum(row.both_empty for row in rows) for label, rows in by_label.items()},
            "one_empty": {label: sum(row.one_empty for row in rows) for label, rows in by_label.items()},
        },
        name_in(unit, "nsd_tolerance"): config.nsd_tolerance_mm,
        **({"per_slice": config.per_slice} if asked_for else {}),
        **({"walls": list(config.walls)} if config.walls else {}),
        "failed_cases": [asdict(failure) for failure in failed],
    }


def _statistics(rows: list[CaseScore], metric: str, config: EvaluationConfig) -> dict[str, Any]:
    defined = [value for row in rows if (value := getattr(row, metric)) is not None]
    values = np.array(defined, dtype=np.float64)
    interval = bootstrap_ci95(values, samples=config.bootstrap_samples, seed=config.seed)
    return {
        "mean": float(values.mean()) if len(values) else None,
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
        "median": float(np.median(values)) if len(values) else None,
        "ci95": None if interval is None else list(interval),
        "n": len(values),
    }
