"""Scores of masks against their references: a row per case and label, statistics over cases, and the files of both.

Empty masks, decided here for every metric: where a label is absent from both masks there is nothing to score, so every
metric is None and the case does not count for that label. Where it is absent from one of them, Dice, IoU and NSD are 0,
distances are undefined (None), and so is the one of precision and recall that would divide by nothing. Both kinds are
counted, because a mean over the rest would hide them.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline import geometry
from pipeline.config.evaluation import EvaluationConfig
from pipeline.errors import DatasetError, ScanError, UserError
from pipeline.files import write_csv, write_json, write_text
from pipeline.formats import nifti
from pipeline.metrics import surface
from pipeline.metrics.intervals import bootstrap_ci95
from pipeline.metrics.overlap import Overlap, volume_error_ml, volume_ml
from pipeline.report.html import evaluation_report
from pipeline.scan import Scan
from pipeline.wording import count_of, enumerate_names

METRICS = ("dice", "iou", "precision", "recall", "hd95_mm", "asd_mm", "nsd", "volume_error_ml")
EMPTY_RULE = (
    "A label that is absent from both masks of a case is not scored there (both_empty). A label that is absent from "
    "one of them scores 0 in Dice, IoU and NSD, and has no surface distances and no precision (nothing predicted) or "
    "no recall (nothing to find); these cases (one_empty) are missing from the means of what they do not have, so "
    "read those together with the counts."
)
PREDICTED_MASK = "mask"
"""Name of the mask in a case's folder, as prediction writes it: <case>/mask.nii.gz."""
Box = tuple[slice, ...]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseScore:
    """How well one label of one case was predicted; None where a metric is undefined (see the head of this file).

    Attributes:
        case: the case's name.
        label: the structure's name.
        dice: from 0 to 1.
        iou: intersection over union, from 0 to 1.
        precision: share of the prediction that is right.
        recall: share of the reference that was found.
        hd95_mm: 95th percentile of the Hausdorff distance.
        asd_mm: symmetric average surface distance.
        nsd: normalised surface Dice, from 0 to 1, at the tolerance of the settings.
        volume_error_ml: predicted minus reference volume.
        reference_ml: volume of the reference.
        predicted_ml: volume of the prediction.
    """

    case: str
    label: str
    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    hd95_mm: float | None
    asd_mm: float | None
    nsd: float | None
    volume_error_ml: float | None
    reference_ml: float
    predicted_ml: float

    @property
    def both_empty(self) -> bool:
        """Whether the label is absent from the prediction and from the reference."""
        return self.reference_ml == 0 and self.predicted_ml == 0

    @property
    def one_empty(self) -> bool:
        """Whether the label is absent from just one of them."""
        return (self.reference_ml == 0) != (self.predicted_ml == 0)


@dataclass(frozen=True)
class FailedCase:
    """A case that could not be scored, and why."""

    case: str
    reason: str


def score_case(
    case: str,
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    affine: geometry.Affine,
    labels: dict[str, int],
    config: EvaluationConfig,
) -> list[CaseScore]:
    """Score every label of a case.

    Args:
        case: the case's name.
        prediction: label values, (I, J, K).
        reference: label values on the same grid.
        affine: of that grid, voxel index -> RAS mm.
        labels: name and value of each structure.
        config: the tolerance of the surface Dice.

    Returns:
        One score a label, in the order of ``labels``.
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    largest = max(labels.values(), default=0)
    boxes = [ndimage.find_objects(array, max_label=largest) for array in (prediction, reference)]
    scores = []
    for label, value in labels.items():
        region = _region([found[value - 1] for found in boxes], reference.shape)
        masks = prediction[region] == value, reference[region] == value
        scores.append(_score_label(case, label, masks, affine, config))
    return scores


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
        ``empty_masks`` with the rule and the counts per label, ``nsd_tolerance_mm`` and ``failed_cases``.
    """
    by_label = {label: [score for score in scores if score.label == label] for label in labels}
    statistics = {
        label: {metric: _statistics(rows, metric, config) for metric in METRICS} for label, rows in by_label.items()
    }
    dice = [metrics["dice"]["mean"] for metrics in statistics.values() if metrics["dice"]["mean"] is not None]
    return {
        "cases": len({score.case for score in scores}),
        "excluded_training_cases": excluded_training_cases,
        "mean_dice": float(np.mean(dice)) if dice else None,
        "labels": statistics,
        "empty_masks": {
            "rule": EMPTY_RULE,
            "both_empty": {label: sum(row.both_empty for row in rows) for label, rows in by_label.items()},
            "one_empty": {label: sum(row.one_empty for row in rows) for label, rows in by_label.items()},
        },
        "nsd_tolerance_mm": config.nsd_tolerance_mm,
        "failed_cases": [asdict(failure) for failure in failed],
    }


def write_evaluation(out: Path, scores: list[CaseScore], summary: dict[str, Any], provenance: dict[str, Any]) -> None:
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


def score_folders(
    predictions: Path, references: Path, labels: dict[str, int], config: EvaluationConfig
) -> tuple[list[CaseScore], list[FailedCase]]:
    """Score the masks of one folder against those of another, matched by case.

    Args:
        predictions: masks named ``<case>.nii.gz``, or folders as prediction writes them, ``<case>/mask.nii.gz``.
        references: masks named ``<case>.nii.gz``.
        labels: name and value of each structure.
        config: the tolerance of the surface Dice.

    Returns:
        The scores, and the cases that have none: no prediction, an unreadable mask, or two different grids.

    Raises:
        DatasetError: a folder is missing, or no case is in both.
    """
    predicted, expected = _predicted_masks(predictions), _flat_masks(references)
    _check_match(predicted, expected, predictions, references)
    scores: list[CaseScore] = []
    failures: list[FailedCase] = []
    for case, paths in expected.items():
        try:
            prediction, reference = _read_pair(predicted.get(case, []), paths)
            scores += score_case(case, prediction.array[0], reference.array[0], reference.affine, labels, config)
        except UserError as error:
            failures.append(FailedCase(case, str(error)))
    return scores, failures


def labels_in(predictions: Path, references: Path) -> dict[str, int]:
    """The values above 0 that masks of two folders hold, each under the name ``label_<value>``.

    What the predictions alone hold is a structure that was found where there is none; it counts as well.

    Raises:
        DatasetError: a folder is missing, or no reference and no prediction of it holds a value above 0.
    """
    values: set[int] = set()
    predicted, expected = _predicted_masks(predictions), _flat_masks(references)
    for paths in [*expected.values(), *(predicted[case] for case in predicted.keys() & expected.keys())]:
        try:
            values.update(np.unique(nifti.read_mask(paths[0]).array).tolist())
        except ScanError as error:
            log.warning("No labels are taken from %s: %s", paths[0].name, error)
    found = sorted(values - {0})
    if not found:
        raise DatasetError(
            "masks that hold structures",
            f"no value above 0 in any mask of {references} or of its cases in {predictions}",
            "Check that they are masks.",
        )
    return {f"label_{value}": value for value in found}


def _score_label(
    case: str,
    label: str,
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    affine: geometry.Affine,
    config: EvaluationConfig,
) -> CaseScore:
    overlap = Overlap.of(*masks)
    distances = surface.surface_distances(*masks, geometry.voxel_spacing_mm(affine))
    both_empty = overlap.predicted == overlap.reference == 0
    return CaseScore(
        case=case,
        label=label,
        dice=overlap.dice,
        iou=overlap.iou,
        precision=overlap.precision,
        recall=overlap.recall,
        hd95_mm=surface.hd95_mm(distances),
        asd_mm=surface.asd_mm(distances),
        nsd=surface.nsd(distances, config.nsd_tolerance_mm),
        volume_error_ml=None if both_empty else volume_error_ml(overlap, affine),
        reference_ml=volume_ml(overlap.reference, affine),
        predicted_ml=volume_ml(overlap.predicted, affine),
    )


def _region(boxes: list[Box | None], shape: tuple[int, ...]) -> Box:
    """The smallest box around the given ones, a voxel wider where the array goes on; any voxel where there are none.

    The wider side keeps an axis of the array longer than a voxel, so that a structure of a single slice is still
    scored as a part of a volume.
    """
    found = [box for box in boxes if box is not None]
    if not found:
        return (slice(0, 1),) * len(shape)
    return tuple(
        slice(max(min(side.start for side in sides) - 1, 0), min(max(side.stop for side in sides) + 1, size))
        for size, *sides in zip(shape, *found, strict=True)
    )


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


def _scored_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "status": "ok"} for row in rows]


def _failed_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**failure, "label": label, "status": "failed"}
        for failure in summary["failed_cases"]
        for label in summary["labels"]
    ]


def _flat_masks(folder: Path) -> dict[str, list[Path]]:
    """The masks that lie in a folder, by case; more than one a case where both .nii and .nii.gz are there."""
    if not folder.is_dir():
        raise DatasetError("a folder of masks", f"{folder}, which is none", "Check the path.")
    masks = defaultdict(list)
    for path in sorted(folder.iterdir()):
        case = nifti.case_name(path)
        if case is not None and path.is_file() and not path.name.startswith("."):
            masks[case].append(path)
    return dict(masks)


def _predicted_masks(folder: Path) -> dict[str, list[Path]]:
    """As `_flat_masks`, and the masks of the folder's subfolders, which are named after their cases."""
    masks = _flat_masks(folder)
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir()):
        nested = _flat_masks(subfolder).get(PREDICTED_MASK, [])
        if nested:
            masks[subfolder.name] = [*masks.get(subfolder.name, []), *nested]
    return masks


def _check_match(
    predicted: dict[str, list[Path]], expected: dict[str, list[Path]], predictions: Path, references: Path
) -> None:
    if not predicted.keys() & expected.keys():
        raise DatasetError(
            "predictions and references of the same cases, by file name",
            f"{_some(predicted)} in {predictions}, {_some(expected)} in {references}",
            "Name a prediction <case>.nii.gz or <case>/mask.nii.gz, and its reference <case>.nii.gz.",
        )
    unmatched = len(predicted.keys() - expected.keys())
    if unmatched:
        log.warning("%d of %d predictions have no reference and are not scored.", unmatched, len(predicted))


def _some(masks: dict[str, list[Path]]) -> str:
    return f"{count_of(len(masks), 'mask')} ({enumerate_names(masks)})" if masks else "no NIfTI masks"


def _read_pair(predicted: list[Path], expected: list[Path]) -> tuple[Scan, Scan]:
    prediction, reference = _read_one(predicted, "prediction"), _read_one(expected, "reference")
    difference = geometry.grid_difference(prediction, reference)
    if difference is not None:
        raise ScanError(
            "a prediction on the reference's grid",
            difference,
            "Resample it to the reference's grid (nearest neighbour).",
        )
    return prediction, reference


def _read_one(paths: list[Path], kind: str) -> Scan:
    if len(paths) != 1:
        found = " and ".join(path.name for path in paths) or "none"
        raise DatasetError(f"one {kind} of the case", found, "Keep exactly one, as .nii or .nii.gz.")
    try:
        return nifti.read_mask(paths[0])
    except ScanError as error:
        raise ScanError(f"{error.expected} as the {kind}", error.found, error.remedy) from error
