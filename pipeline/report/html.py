"""Self-contained HTML pages from templates: no request to any other place, readable without JavaScript."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline import __version__

METRIC_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "Precision",
    "recall": "Recall",
    "hd95_mm": "HD95 (mm)",
    "asd_mm": "ASD (mm)",
    "nsd": "NSD",
    "volume_error_ml": "Volume error (ml)",
    "reference_ml": "Reference (ml)",
    "predicted_ml": "Predicted (ml)",
}
"""Column headings; a metric that is not among them goes by its own name."""
STATUSES = ("failed", "review", "ok", "skipped")
"""Of predicted cases, in the order of the table: those that need a person come first."""
MISSING = "\N{EN DASH}"
SMALL = 0.1


def evaluation_report(summary: dict[str, Any], rows: list[dict[str, Any]], provenance: dict[str, Any]) -> str:
    """A page of the scores of a set of cases.

    Args:
        summary: the content of metrics.json.
        rows: one a case and label: ``case``, ``label``, then the metrics.
        provenance: where the numbers come from; nested mappings are shown under dotted names.
    """
    columns = [name for name in rows[0] if name not in ("case", "label")] if rows else []
    template = _environment().get_template("evaluation.html")
    return template.render(summary=summary, rows=rows, columns=columns, provenance=_dotted(provenance))


def prediction_report(rows: list[dict[str, Any]], labels: list[str], provenance: dict[str, Any]) -> str:
    """A page of predicted cases, those that need a person first.

    Args:
        rows: one a case: ``case``, ``status`` (ok, review, failed, skipped), ``reason``, ``<label>_ml`` (``<label>_px``
            where the scan has no spacing) and ``preview``, the picture's path relative to the page. Volumes and preview
            may be missing or None.
        labels: the structures' names, in the order of the columns.
        provenance: as for `evaluation_report`.
    """
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    ordered = sorted(rows, key=lambda row: STATUSES.index(row["status"]))
    template = _environment().get_template("prediction.html")
    return template.render(rows=ordered, counts=counts, labels=labels, provenance=_dotted(provenance))


def number(value: float | None) -> str:
    """Three decimals; two digits where three decimals would show little of a small value; whole numbers as they are.

    Example:
        >>> number(0.91349), number(0.00042), number(1.0), number(12)
        ('0.913', '0.00042', '1.000', '12')
    """
    if value is None:
        return MISSING
    if isinstance(value, int):
        return str(value)
    return f"{value:#.2g}" if 0 < abs(value) < SMALL else f"{value:.3f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["title_of"] = lambda metric: METRIC_TITLES.get(metric, metric)
    environment.globals["version"] = __version__
    return environment


def _dotted(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            items += _dotted(value, f"{prefix}{key}.")
        else:
            items.append((f"{prefix}{key}", MISSING if value is None else str(value)))
    return items
