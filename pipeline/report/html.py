"""Self-contained HTML pages from templates: no request to any other place, readable without JavaScript."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    "absolute_volume_error_ml": "Absolute volume error (ml)",
    "rand_f": "Rand F",
    "rand_precision": "Rand precision",
    "rand_recall": "Rand recall",
    "vi_split": "VI split (bits)",
    "vi_merge": "VI merge (bits)",
    "instance_f1": "Instance F1",
    "instances_matched": "Instances matched",
    "instances_missed": "Instances missed",
    "instances_extra": "Instances extra",
    "cl_dice": "clDice",
    "reference_ml": "Reference (ml)",
    "predicted_ml": "Predicted (ml)",
    "hd95_px": "HD95 (px)",
    "asd_px": "ASD (px)",
    "volume_error_px": "Size error (px)",
    "absolute_volume_error_px": "Absolute size error (px)",
    "reference_px": "Reference (px)",
    "predicted_px": "Predicted (px)",
}
"""Column headings; a metric that is not among them goes by its own name."""
STATUSES = ("review", "failed", "ok", "skipped")
"""Of predicted cases, in the order of the table: those that need a person come first."""
NO_METRICS = ("case", "label", "status", "reason")
"""Columns of a row that are no numbers."""
MISSING = "\N{EN DASH}"
SMALL = 0.1


@dataclass(frozen=True)
class Plot:
    """A figure of a page.

    Attributes:
        title: what it shows.
        svg: the drawing, an SVG element.
    """

    title: str
    svg: str


@dataclass(frozen=True)
class Overlay:
    """A picture of a case's masks, or why there is none.

    Attributes:
        role: what the case stands for: best, median, worst.
        case: its name.
        dice: its mean Dice over labels.
        png: the picture, or None.
        on_scan: whether it shows the scan too.
        problem: why there is no picture.
    """

    role: str
    case: str
    dice: float
    png: bytes | None = None
    on_scan: bool = False
    problem: str = ""

    @property
    def uri(self) -> str:
        """The picture as an address that holds all of it."""
        return "data:image/png;base64," + base64.b64encode(self.png or b"").decode("ascii")


def evaluation_report(
    summary: dict[str, Any],
    rows: Sequence[Mapping[str, Any]],
    provenance: dict[str, Any],
    *,
    plots: Sequence[Plot] = (),
    overlays: Sequence[Overlay] = (),
) -> str:
    """A page of the scores of a set of cases.

    Args:
        summary: the content of metrics.json.
        rows: one a case and label: ``case``, ``label``, ``status`` (ok or failed), then the metrics.
        provenance: where the numbers come from; nested mappings are shown under dotted names.
        plots: the distribution of each metric.
        overlays: pictures of some cases, to which their rows lead.
    """
    return (
        _environment()
        .get_template("evaluation.html")
        .render(
            summary=summary,
            metrics={metric for statistics in summary["labels"].values() for metric in statistics},
            rows=rows,
            columns=list(dict.fromkeys(name for row in rows for name in row if name not in NO_METRICS)),
            provenance=_dotted(provenance),
            plots=plots,
            overlays=overlays,
            roles={overlay.case: overlay.role for overlay in overlays if overlay.png is not None},
        )
    )


def comparison_report(
    content: dict[str, Any], rows: Sequence[Mapping[str, Any]], plots: Sequence[Sequence[Plot]]
) -> str:
    """A page of evaluations that were compared with a baseline.

    Args:
        content: the content of comparison.json.
        rows: of comparison.csv.
        plots: of each comparison, the differences of its metrics.
    """
    template = _environment().get_template("comparison.html")
    return template.render(content=content, rows=rows, plots=plots, provenance=_dotted(content["provenance"]))


def prediction_report(
    rows: list[dict[str, Any]], labels: list[str], provenance: dict[str, Any], *, banner: str = ""
) -> str:
    """A page of predicted cases, those that need a person first.

    Args:
        rows: one a case: ``case``, ``status`` (ok, review, failed, skipped), ``reason``, ``<label>_ml`` (``<label>_px``
            where the scan has no spacing), ``gate_score``, ``predicted_dice_<label>``, and the paths, relative to the
            page, of ``preview`` and ``oddity``, pictures, and ``viewer``, a page. All but the first three may be
            missing or None.
        labels: the structures' names, in the order of the columns.
        provenance: as for `evaluation_report`.
        banner: what a reader has to know first.
    """
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    ordered = sorted(rows, key=lambda row: STATUSES.index(row["status"]))
    judged = any(row.get("gate_score") is not None for row in rows)
    lowest = {row["case"]: _lowest_dice(row, labels) for row in rows}
    template = _environment().get_template("prediction.html")
    return template.render(
        rows=ordered,
        counts=counts,
        labels=labels,
        judged=judged,
        lowest=lowest if any(lowest.values()) else {},
        provenance=_dotted(provenance),
        banner=banner,
    )


def _lowest_dice(row: Mapping[str, Any], labels: Sequence[str]) -> tuple[float, str] | None:
    """The lowest predicted Dice of a case, and the label that has it; None where there is none."""
    found = [(row.get(f"predicted_dice_{label}"), label) for label in labels]
    return min(((dice, label) for dice, label in found if dice is not None), default=None)


def render(template: str, **values: Any) -> str:
    """A page of a template."""
    return _environment().get_template(template).render(**values)


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
