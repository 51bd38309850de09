"""The files of an evaluation: metrics.json, cases.csv, report.html and figures/."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipeline.evaluation.metric_names import METRICS, OPTIONAL_METRICS, name_in
from pipeline.evaluation.scores import CaseScore, unit_of
from pipeline.files import write_csv, write_json, write_text
from pipeline.report.html import METRIC_TITLES, Overlay, Plot, evaluation_report
from pipeline.scan import UNITS, Unit

METRICS_FILE, TABLE, REPORT, FIGURES = "metrics.json", "cases.csv", "report.html", "figures"
FORMATS = ("svg", "pdf")
"""Of each figure beside the report."""
DRAWN = ("dice", "hd95", "nsd", "asd", "volume_error", "iou", "precision", "recall", *OPTIONAL_METRICS)
"""The metrics, those that are reported most often first."""
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(("dice", "iou", "precision", "recall", "nsd"), (0.0, 1.0)),
    **dict.fromkeys(("hd95", "asd"), (0.0, None)),
    **dict.fromkeys(("rand_f", "rand_precision", "rand_recall", "instance_f1", "cl_dice"), (0.0, 1.0)),
    **dict.fromkeys(("vi_split", "vi_merge"), (0.0, None)),
    **dict.fromkeys(("instances_matched", "instances_missed", "instances_extra"), (0.0, None)),
}
"""The least and the greatest value of each metric that has them."""


def write_evaluation(
    out: Path,
    scores: list[CaseScore],
    *,
    summary: dict[str, Any],
    provenance: dict[str, Any],
    overlays: Iterable[Overlay] = (),
) -> None:
    """Write cases.csv (a row per case and label, failed cases included), metrics.json, then figures and report.html.

    Those of an earlier evaluation go first, so that whatever ends this one leaves none beside files of another.

    Args:
        out: the folder; it is made where it is missing.
        scores: of all cases and labels.
        summary: what `summarise` says of them.
        provenance: where the masks and the numbers come from; plain values that JSON can hold.
        overlays: pictures for the report; they may be drawn as they are taken, which is after the numbers are written.
    """
    metrics, unit = _metrics(summary), unit_of(scores)
    left_out = {"unit", *OPTIONAL_METRICS} - set(metrics)
    columns = [name_in(unit, field.name) for field in fields(CaseScore) if field.name not in left_out]
    rows = [_row(score, columns) for score in scores] + _failed_rows(summary)
    drawn = {name_in(each, metric) for each in UNITS for metric in DRAWN}
    figures = [f"{FIGURES}/{name}.{ending}" for name in sorted(drawn) for ending in FORMATS]
    remove_earlier(out, REPORT, METRICS_FILE, TABLE, *figures)
    write_csv(out / TABLE, [*columns, "status", "reason"], rows)
    write_json(out / METRICS_FILE, {**summary, "provenance": provenance})
    plots = _write_figures(out / FIGURES, rows, list(summary["labels"]), metrics=metrics, unit=unit)
    write_text(out / REPORT, evaluation_report(summary, rows, provenance, plots=plots, overlays=list(overlays)))


def remove_earlier(out: Path, *patterns: str) -> None:
    """Remove the files of an earlier run of the command, by patterns below ``out``."""
    for pattern in patterns:
        for path in out.glob(pattern):
            path.unlink()


def write_figure(folder: Path, name: str, figure: Any, *, title: str, description: str) -> Plot:
    """Write a figure in every format, and give it to a report.

    Args:
        folder: where the files go.
        name: of the files, without ending; of one report's figures, each has its own.
        figure: one of `pipeline.report.plots`.
        title: what it shows.
        description: how it is drawn.
    """
    from pipeline.report.plots import inline_svg, save_figure  # matplotlib: not before there is something to draw

    for ending in FORMATS:
        save_figure(figure, folder / f"{name}.{ending}")
    return Plot(title, inline_svg(figure, name=name, title=title, description=description))


def _metrics(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics that a summary has of its labels."""
    known = {metric for statistics in summary["labels"].values() for metric in statistics}
    return (*METRICS, *(metric for metric in OPTIONAL_METRICS if metric in known))


def _row(score: CaseScore, columns: Sequence[str]) -> dict[str, Any]:
    values = {name_in(score.unit, name): value for name, value in asdict(score).items()}
    return {**{name: values[name] for name in columns}, "status": "ok", "reason": ""}


def _write_figures(
    folder: Path, rows: Sequence[Mapping[str, Any]], labels: list[str], *, metrics: Sequence[str], unit: Unit
) -> list[Plot]:
    """The distribution of each metric."""
    from pipeline.report.plots import distribution

    plots = []
    for metric in (metric for metric in DRAWN if metric in metrics):
        name = name_in(unit, metric)
        values = {
            label: [row[name] for row in rows if row["label"] == label and row.get(name) is not None]
            for label in labels
        }
        title = METRIC_TITLES[name]
        figure = distribution(values, title, bounds=BOUNDS.get(metric, (None, None)))
        description = "A row a label: a box from quartile to quartile with a line at the median, and a point a case."
        plots.append(write_figure(folder, name, figure, title=f"{title} by label", description=description))
    return plots


def _failed_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each label of a case that has no scores."""
    return [
        {**failure, "label": label, "status": "failed"}
        for failure in summary["failed_cases"]
        for label in summary["labels"]
    ]
