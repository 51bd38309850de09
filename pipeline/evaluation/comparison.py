"""Two evaluations of the same cases, compared pair by pair: which cases, which differences, how certain."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from pipeline.config.evaluation import EvaluationConfig
from pipeline.errors import DatasetError
from pipeline.evaluation.metric_names import INSTANCE_METRICS, OPTIONAL_METRICS
from pipeline.evaluation.stored import VOLUME, EvaluationFiles
from pipeline.metrics.paired import PairedDifference, compare_paired, holm
from pipeline.report.html import METRIC_TITLES
from pipeline.wording import count_of, enumerate_names

HIGHER_IS_BETTER = {
    "dice": True,
    "iou": True,
    "hd95": False,
    "asd": False,
    "nsd": True,
    "absolute_volume_error": False,
    "rand_f": True,
    "vi_split": False,
    "vi_merge": False,
    "instance_f1": True,
    "instances_missed": False,
    "instances_extra": False,
    "cl_dice": True,
}
"""The metrics that are compared, `OPTIONAL_METRICS` where both evaluations have them."""
VOLUME_TOLERANCE = 1e-6
"""Relative difference of two volumes of one reference: they are the same sum, written and read."""


@dataclass(frozen=True)
class CaseSets:
    """Which cases a pair of evaluations has, each list by name.

    Attributes:
        common: scored by both; the comparison is about these.
        failed_in_baseline: failed in the baseline alone.
        failed_in_other: failed in the other alone.
        failed_in_both: failed in both.
        only_in_baseline: scored by the baseline, and unknown to the other.
        only_in_other: scored by the other, and unknown to the baseline.
    """

    common: list[str]
    failed_in_baseline: list[str]
    failed_in_other: list[str]
    failed_in_both: list[str]
    only_in_baseline: list[str]
    only_in_other: list[str]


@dataclass(frozen=True)
class Comparison:
    """A pair of evaluations.

    Attributes:
        baseline: the first one.
        other: the one that is compared with it.
        cases: which cases each has.
        mean_dice: of the cases' mean Dice over the labels where both have one: what the verdict rests on.
        labels: by label and metric.
        scored_in_one: by label, in how many common cases just one of them has a Dice: the other rightly found nothing.
        identical: whether all compared scores of all common cases are equal.
        notes: what could not be compared or checked.
    """

    baseline: EvaluationFiles
    other: EvaluationFiles
    cases: CaseSets
    mean_dice: PairedDifference
    labels: dict[str, dict[str, PairedDifference]]
    scored_in_one: dict[str, int]
    identical: bool
    notes: tuple[str, ...]


def compare_evaluations(
    baseline: EvaluationFiles, others: Sequence[EvaluationFiles], config: EvaluationConfig
) -> list[Comparison]:
    """Compare each of the others with the baseline.

    p-values of the mean Dice are corrected for the number of pairs, and those of the labels' Dice for the number of
    pairs and labels (Holm 1979); those of other metrics are not corrected, and no verdict rests on them.

    Args:
        baseline: what is compared with.
        others: one or more.
        config: the settings of the intervals.

    Raises:
        DatasetError: two of them have no case in common, name other labels, have other units, or were scored
            against other references.
    """
    for other in others:
        check_comparable(baseline, other)
    pairs = [_compare(baseline, other, config) for other in others]
    means = holm([pair.mean_dice.p for pair in pairs])
    pairs = [replace(pair, mean_dice=replace(pair.mean_dice, p_holm=p)) for pair, p in zip(pairs, means, strict=True)]
    corrected = iter(holm([metrics["dice"].p for pair in pairs for metrics in pair.labels.values()]))
    return [
        replace(
            pair,
            labels={
                label: {**metrics, "dice": replace(metrics["dice"], p_holm=next(corrected))}
                for label, metrics in pair.labels.items()
            },
        )
        for pair in pairs
    ]


def check_comparable(baseline: EvaluationFiles, other: EvaluationFiles) -> None:
    """Refuse two evaluations that do not speak of the same thing.

    Raises:
        DatasetError: says how they differ.
    """
    if set(baseline.labels) != set(other.labels):
        raise DatasetError(
            f"the same labels in both evaluations ({', '.join(baseline.labels)} in {baseline.name})",
            f"{', '.join(other.labels) or 'none'} in {other.name}",
            "Compare evaluations of the same structures; score names them by --label.",
        )
    if baseline.unit != other.unit:
        raise DatasetError(
            f"evaluations in one unit ({baseline.unit} in {baseline.name})",
            f"{other.unit} in {other.name}",
            "Evaluate both on the same files: pictures are scored in pixels, scans in mm.",
        )
    common = baseline.cases & other.cases
    if not common:
        raise DatasetError(
            "evaluations with cases in common, by name",
            f"{_some(baseline)} in {baseline.name}, {_some(other)} in {other.name}",
            "Evaluate both on the same data set.",
        )
    digests = {baseline.cases_digest, other.cases_digest}
    if baseline.cases == other.cases and None not in digests and len(digests) > 1:
        raise _other_references(baseline, other, "references of another content, by their cases_digest")
    unlike = [case for case in sorted(common) if not _same_references(baseline, other, case)]
    if unlike:
        found = f"references of another volume in {count_of(len(unlike), 'case')} ({enumerate_names(unlike)})"
        raise _other_references(baseline, other, found)


def metric_value(evaluation: EvaluationFiles, case: str, label: str, *, metric: str) -> float | None:
    """A compared metric's value; None where it is undefined or the case was not scored."""
    row = evaluation.scores.get((case, label), {})
    if metric != "absolute_volume_error":
        return row.get(metric)
    error = row.get("volume_error")
    return None if error is None else abs(error)


def paired_values(pair: Comparison, label: str, metric: str) -> list[tuple[str, float, float]]:
    """Case, baseline's and other's value, where both have one."""
    return _paired(pair.baseline, pair.other, pair.cases.common, labels=[label], metric=metric)


def paired_mean_dice(pair: Comparison) -> list[tuple[str, float, float]]:
    """The same of the mean Dice over the labels where both have one."""
    return _paired(pair.baseline, pair.other, pair.cases.common, labels=pair.baseline.labels, metric="dice")


def _compare(baseline: EvaluationFiles, other: EvaluationFiles, config: EvaluationConfig) -> Comparison:
    cases = _case_sets(baseline, other)
    metrics = _compared_metrics(baseline, other)

    def difference(labels: list[str], metric: str) -> PairedDifference:
        values = _paired(baseline, other, cases.common, labels=labels, metric=metric)
        before, after = (np.array([row[place] for row in values], dtype=np.float64) for place in (1, 2))
        better = HIGHER_IS_BETTER[metric]
        return compare_paired(
            before, after, higher_is_better=better, samples=config.bootstrap_samples, seed=config.seed
        )

    return Comparison(
        baseline,
        other,
        cases,
        mean_dice=difference(baseline.labels, "dice"),
        labels={label: {metric: difference([label], metric) for metric in metrics} for label in baseline.labels},
        scored_in_one={label: _scored_in_one(baseline, other, label, cases=cases.common) for label in baseline.labels},
        identical=_identical(baseline, other, cases.common, metrics=metrics),
        notes=tuple(_notes(baseline, other)),
    )


def _compared_metrics(baseline: EvaluationFiles, other: EvaluationFiles) -> list[str]:
    """Those that both have and that mean the same in both."""
    left_out = set(OPTIONAL_METRICS)
    if baseline.per_slice == other.per_slice:
        left_out -= set(baseline.optional_metrics) & set(other.optional_metrics)
    if baseline.walls != other.walls:
        left_out |= set(INSTANCE_METRICS)
    if baseline.nsd_tolerance != other.nsd_tolerance:
        left_out.add("nsd")
    return [metric for metric in HIGHER_IS_BETTER if metric not in left_out]


def _case_sets(baseline: EvaluationFiles, other: EvaluationFiles) -> CaseSets:
    failed_before, failed_after = set(baseline.failed), set(other.failed)
    return CaseSets(
        common=sorted(baseline.cases & other.cases),
        failed_in_baseline=sorted(failed_before - failed_after),
        failed_in_other=sorted(failed_after - failed_before),
        failed_in_both=sorted(failed_before & failed_after),
        only_in_baseline=sorted(baseline.cases - other.cases - failed_after),
        only_in_other=sorted(other.cases - baseline.cases - failed_before),
    )


def _paired(
    baseline: EvaluationFiles, other: EvaluationFiles, cases: Sequence[str], *, labels: Sequence[str], metric: str
) -> list[tuple[str, float, float]]:
    """Each case's mean of a metric over those of the labels where both have it; cases without any are left out."""
    rows = []
    for case in cases:
        values = [[metric_value(each, case, label, metric=metric) for each in (baseline, other)] for label in labels]
        both = [(before, after) for before, after in values if before is not None and after is not None]
        if both:
            rows.append((case, fmean(before for before, _ in both), fmean(after for _, after in both)))
    return rows


def _scored_in_one(baseline: EvaluationFiles, other: EvaluationFiles, label: str, *, cases: Sequence[str]) -> int:
    values = [[metric_value(each, case, label, metric="dice") for each in (baseline, other)] for case in cases]
    return sum((before is None) != (after is None) for before, after in values)


def _identical(
    baseline: EvaluationFiles, other: EvaluationFiles, cases: Sequence[str], *, metrics: Sequence[str]
) -> bool:
    return all(
        metric_value(baseline, case, label, metric=metric) == metric_value(other, case, label, metric=metric)
        for case in cases
        for label in baseline.labels
        for metric in metrics
    )


def _same_references(baseline: EvaluationFiles, other: EvaluationFiles, case: str) -> bool:
    rows = [[each.scores.get((case, label), {}) for each in (baseline, other)] for label in baseline.labels]
    volumes = [[row.get(VOLUME) or 0.0 for row in pair] for pair in rows]
    return all(math.isclose(before, after, rel_tol=VOLUME_TOLERANCE) for before, after in volumes)


def _other_references(baseline: EvaluationFiles, other: EvaluationFiles, found: str) -> DatasetError:
    return DatasetError(
        f"evaluations against the same references ({baseline.name})",
        f"{found}, in {other.name}",
        "Evaluate both against the same masks.",
    )


def _notes(baseline: EvaluationFiles, other: EvaluationFiles) -> list[str]:
    notes = []
    before, after = (f"{each.nsd_tolerance:g} {each.unit}" for each in (baseline, other))
    if before != after:
        notes.append(f"NSD is not compared: its tolerance is {before} in one and {after} in the other.")
    notes += _optional_notes(baseline, other)
    if baseline.cases != other.cases or None in (baseline.cases_digest, other.cases_digest):
        why = "they scored other cases besides" if baseline.cases != other.cases else "not both know their cases_digest"
        notes.append(
            f"That both were scored against the same references was checked by their volumes alone, because {why}."
        )
    return notes


def _optional_notes(baseline: EvaluationFiles, other: EvaluationFiles) -> list[str]:
    known = set(baseline.optional_metrics), set(other.optional_metrics)
    notes = []
    for one, metrics in ((baseline, known[0] - known[1]), (other, known[1] - known[0])):
        if metrics:
            notes.append(f"{_titles(metrics)}: not compared, because {one.name} alone has them.")
    both = known[0] & known[1]
    if both and baseline.per_slice != other.per_slice:
        sliced, whole = (baseline, other) if baseline.per_slice else (other, baseline)
        notes.append(
            f"{_titles(both)}: not compared, because {sliced.name} takes each slice by itself, "
            f"and {whole.name} the volume as a whole."
        )
    instances = both & set(INSTANCE_METRICS)
    if instances and baseline.walls != other.walls:
        found = " against ".join(enumerate_names(sorted(each.walls)) or "none" for each in (baseline, other))
        notes.append(f"{_titles(instances)}: not compared, because their walls differ ({found}).")
    return notes


def _titles(metrics: Collection[str]) -> str:
    return enumerate_names([METRIC_TITLES[metric] for metric in HIGHER_IS_BETTER if metric in metrics], len(metrics))


def _some(evaluation: EvaluationFiles) -> str:
    return f"{count_of(len(evaluation.cases), 'case')} ({enumerate_names(sorted(evaluation.cases)) or 'none'})"
