"""The files of a comparison: comparison.json, comparison.csv, report.html and figures/."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.evaluation.comparison import (
    HIGHER_IS_BETTER,
    Comparison,
    metric_value,
    paired_mean_dice,
    paired_values,
)
from pipeline.evaluation.metric_names import OPTIONAL_METRICS, name_in
from pipeline.evaluation.record import FIGURES, FORMATS, REPORT, remove_earlier, write_figure
from pipeline.evaluation.stored import TOLERANCE, EvaluationFiles
from pipeline.evaluation.verdict import sentences_of, verdict_of
from pipeline.files import write_csv, write_json, write_text
from pipeline.metrics.paired import MIN_DIFFERING, PairedDifference
from pipeline.report.html import METRIC_TITLES, Plot, comparison_report

CONTENT, TABLE = "comparison.json", "comparison.csv"
DRAWN = ("dice", "hd95", "nsd", "rand_f", "instance_f1", "cl_dice")
"""Metrics whose differences are drawn, those of `OPTIONAL_METRICS` where they are compared."""
RULE = (
    "Differences are other minus baseline, over the cases where both have a value. The verdict rests on each case's "
    "mean Dice over the labels where both have one: better or worse where p is below 0.05 after Holm's correction for "
    "the number of comparisons, and the 95 % bootstrap interval of the mean difference does not include 0. p: "
    "Wilcoxon's signed-rank test, two-sided, ties dropped; none is given where fewer than "
    f"{MIN_DIFFERING} cases differ. p of the labels' Dice is corrected for their number and that of the comparisons; "
    "p of other metrics is not corrected."
)


def comparison_content(pairs: Sequence[Comparison], provenance: dict[str, Any]) -> dict[str, Any]:
    """What comparison.json holds.

    Args:
        pairs: one or more, with one baseline.
        provenance: which code compared them; plain values that JSON can hold.
    """
    return {
        "baseline": _run(pairs[0].baseline),
        "rule": RULE,
        "comparisons": [_content(pair, len(pairs)) for pair in pairs],
        "provenance": provenance,
    }


def write_comparison(out: Path, pairs: Sequence[Comparison], content: dict[str, Any]) -> None:
    """Write comparison.json, comparison.csv (a row per case and label of each pair), figures and report.html.

    Those of an earlier comparison go first.

    Args:
        out: the folder; it is made where it is missing.
        pairs: one or more.
        content: what `comparison_content` says of them.
    """
    remove_earlier(out, REPORT, CONTENT, TABLE, *(f"{FIGURES}/difference_*.{ending}" for ending in FORMATS))
    write_json(out / CONTENT, content)
    rows = [row for pair in pairs for row in _rows(pair)]
    write_csv(out / TABLE, _columns(pairs), rows)
    plots = [_write_figures(out / FIGURES, pair, number) for number, pair in enumerate(pairs, start=1)]
    write_text(out / REPORT, comparison_report(content, rows, plots))


def _content(pair: Comparison, pairs: int) -> dict[str, Any]:
    failed = {"failed_in_baseline": pair.baseline, "failed_in_other": pair.other}
    return {
        "other": _run(pair.other),
        "verdict": verdict_of(pair),
        "sentences": sentences_of(pair, pairs),
        "cases": asdict(pair.cases),
        "reasons": {
            name: {case: run.failed[case] for case in getattr(pair.cases, name)} for name, run in failed.items()
        },
        "scored_in_one": pair.scored_in_one,
        "mean_dice": asdict(pair.mean_dice),
        "labels": {
            label: {name_in(pair.baseline.unit, metric): asdict(tested) for metric, tested in metrics.items()}
            for label, metrics in pair.labels.items()
        },
    }


def _run(evaluation: EvaluationFiles) -> dict[str, Any]:
    return {
        "name": evaluation.name,
        "cases": len(evaluation.cases),
        "failed": len(evaluation.failed),
        "cases_digest": evaluation.cases_digest,
        name_in(evaluation.unit, TOLERANCE): evaluation.nsd_tolerance,
    }


def _columns(pairs: Sequence[Comparison]) -> list[str]:
    """Those of the optional metrics are there where a pair has them, all others always."""
    left_out = {metric for metric in OPTIONAL_METRICS if not any(_has(pair, metric) for pair in pairs)}
    unit = pairs[0].baseline.unit
    metrics = [name_in(unit, metric) for metric in HIGHER_IS_BETTER if metric not in left_out]
    values = [f"{metric}_{which}" for metric in metrics for which in ("baseline", "other", "difference")]
    return ["baseline", "other", "case", "label", "status_baseline", "status_other", *values]


def _rows(pair: Comparison) -> Iterator[dict[str, Any]]:
    for case in sorted({case for each in (pair.baseline, pair.other) for case in (*each.cases, *each.failed)}):
        for label in pair.baseline.labels:
            yield {
                "baseline": pair.baseline.name,
                "other": pair.other.name,
                "case": case,
                "label": label,
                "status_baseline": _status(pair.baseline, case),
                "status_other": _status(pair.other, case),
                **_values(pair, case, label),
            }


def _values(pair: Comparison, case: str, label: str) -> dict[str, float | None]:
    """The compared metrics; NSD stays empty where the tolerances differ."""
    values: dict[str, float | None] = {}
    for metric in pair.labels[label]:
        before, after = (metric_value(each, case, label, metric=metric) for each in (pair.baseline, pair.other))
        name = name_in(pair.baseline.unit, metric)
        values |= {f"{name}_baseline": before, f"{name}_other": after}
        values[f"{name}_difference"] = None if before is None or after is None else after - before
    return values


def _has(pair: Comparison, metric: str) -> bool:
    return any(metric in tested for tested in pair.labels.values())


def _status(evaluation: EvaluationFiles, case: str) -> str:
    if case in evaluation.cases:
        return "ok"
    return "failed" if case in evaluation.failed else "absent"


def _write_figures(folder: Path, pair: Comparison, number: int) -> list[Plot]:
    from pipeline.report.plots import paired_differences  # matplotlib: not before there is something to draw

    plots = []
    for metric in (each for each in DRAWN if each not in OPTIONAL_METRICS or _has(pair, each)):
        in_files = name_in(pair.baseline.unit, metric)
        title = f"{METRIC_TITLES[in_files]}, other minus baseline"
        figure = paired_differences(list(_differences(pair, metric)), title)
        name = f"difference_{number}_{in_files}"
        description = "A row a label: a point a case, a diamond at the mean, a bar for its 95 % interval."
        plots.append(write_figure(folder, name, figure, title=title, description=description))
    return plots


def _differences(pair: Comparison, metric: str) -> Iterator[Any]:
    """Rows of a figure: of Dice its mean over labels first, where there are several, then each label's."""
    labels = pair.baseline.labels
    if metric == "dice" and len(labels) > 1:
        yield _figure_row("mean over labels", paired_mean_dice(pair), pair.mean_dice, place=None)
    for place, label in enumerate(labels):
        tested = pair.labels[label].get(metric)
        if tested is not None:
            yield _figure_row(label, paired_values(pair, label, metric), tested, place=place)


def _figure_row(
    name: str, values: Iterable[tuple[str, float, float]], tested: PairedDifference, *, place: int | None
) -> Any:
    from pipeline.report.plots import Differences

    differences = [after - before for _, before, after in values]
    return Differences(name, differences, tested.mean_difference, tested.ci95, place)
