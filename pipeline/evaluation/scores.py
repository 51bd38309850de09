"""The scores of one case: every metric of every label.

Empty masks, decided here for every metric: where a label is absent from both masks there is nothing to score, so every
metric is None and the case does not count for that label. Where it is absent from one of them, Dice, IoU and NSD are 0,
distances are undefined (None), and so is the one of precision and recall that would divide by nothing. Both kinds are
counted, because a mean over the rest would hide them.

Where instances and centre lines are scored, their metrics follow: instance F1 and clDice are 0 where one mask is empty.
Rand F-score is 0 where nothing is predicted, and undefined where the reference is empty, because it looks at nothing
but the reference's voxels; variation of information is undefined in both cases. Of walls, what lies between them is
scored as it is, where one of the masks has a wall at all: without any, all is one instance.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline import geometry
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import WatershedConfig
from pipeline.errors import DatasetError
from pipeline.metrics import surface
from pipeline.metrics.centreline import CentrelineOverlap
from pipeline.metrics.instances import (
    InstanceMatches,
    RandPairs,
    VariationOfInformation,
    dividing,
    instances_of,
    predicted_instances,
)
from pipeline.metrics.overlap import Overlap, volume_ml
from pipeline.scan import Scan, Unit

OUTSIDE = -1
"""Of a reference, where nothing is scored."""
Box = tuple[slice, ...]
Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Of one label, predicted and reference."""


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
        hd95: 95th percentile of the Hausdorff distance.
        asd: symmetric average surface distance.
        nsd: normalised surface Dice, from 0 to 1, at the tolerance of the settings.
        volume_error: predicted minus reference volume.
        reference_size: volume of the reference.
        predicted_size: volume of the prediction.
        rand_f: Rand F-score of instances, from 0 to 1; this and what follows is None where it is not asked for, too.
        rand_precision: share of the pairs of voxels in one predicted instance that are in one of the reference.
        rand_recall: share of the pairs of voxels in one instance of the reference that are in one predicted.
        vi_split: variation of information, what splits add to it, in bits.
        vi_merge: what merges add to it, in bits.
        instance_f1: F1 of the instances that were found.
        instances_matched: how many instances were found.
        instances_missed: how many instances of the reference were not.
        instances_extra: how many predicted instances are none of the reference's.
        cl_dice: Dice of the centre lines, from 0 to 1.
        unit: of distances and volumes: mm and ml, or "px" of pictures; names in files have it (`name_in`).
    """

    case: str
    label: str
    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None
    hd95: float | None
    asd: float | None
    nsd: float | None
    volume_error: float | None
    reference_size: float
    predicted_size: float
    rand_f: float | None = None
    rand_precision: float | None = None
    rand_recall: float | None = None
    vi_split: float | None = None
    vi_merge: float | None = None
    instance_f1: float | None = None
    instances_matched: int | None = None
    instances_missed: int | None = None
    instances_extra: int | None = None
    cl_dice: float | None = None
    unit: Unit = "mm"

    @property
    def both_empty(self) -> bool:
        """Whether the label is absent from the prediction and from the reference."""
        return self.reference_size == 0 and self.predicted_size == 0

    @property
    def one_empty(self) -> bool:
        """Whether the label is absent from just one of them."""
        return (self.reference_size == 0) != (self.predicted_size == 0)


@dataclass(frozen=True)
class FailedCase:
    """A case that could not be scored, and why."""

    case: str
    reason: str


@dataclass(frozen=True)
class ScoredCases:
    """What came of a set of cases.

    Attributes:
        scores: of all cases and labels.
        failed: the cases that have none.
        reference_hashes: content hash of the reference by the name of each scored case.
    """

    scores: list[CaseScore] = field(default_factory=list)
    failed: list[FailedCase] = field(default_factory=list)
    reference_hashes: dict[str, str] = field(default_factory=dict)


def unit_of(scores: Iterable[CaseScore]) -> Unit:
    """The unit of all scores; mm where there are none.

    Raises:
        DatasetError: some are in mm and others in pixels, of which there is no mean.
    """
    units = {score.unit for score in scores}
    if len(units) > 1:
        expected, found = "masks that all have a spacing, or none", "masks with and without (PNG, TIFF ...)"
        raise DatasetError(expected, found, "Score the two kinds apart.")
    return units.pop() if units else "mm"


def cases_digest(reference_hashes: Mapping[str, str]) -> str:
    """SHA-256 over cases and the content of their references: equal where two evaluations scored against the same.

    Args:
        reference_hashes: content hash of the reference (`Scan.content_hash`) by the case's name.
    """
    return hashlib.sha256(json.dumps(sorted(reference_hashes.items())).encode()).hexdigest()


def within(
    field_of_view: NDArray[np.bool_] | None, prediction: NDArray[np.integer], reference: Scan
) -> tuple[NDArray[np.integer], Scan]:
    """A prediction and its reference, which are 0 and `OUTSIDE` beyond the field of view (I, J, K), if there is one."""
    if field_of_view is None:
        return prediction, reference
    truth = np.where(field_of_view, reference.array.astype(np.int64), OUTSIDE)
    return np.where(field_of_view, prediction, 0), replace(reference, array=truth)


def score_case(
    case: str,
    prediction: NDArray[np.integer],
    reference: Scan,
    *,
    labels: dict[str, int],
    config: EvaluationConfig,
    watershed: WatershedConfig | None = None,
) -> list[CaseScore]:
    """Score every label of a case.

    Args:
        case: the case's name.
        prediction: label values, (I, J, K).
        reference: the mask (1, I, J, K) that it is compared with, on the same grid.
        labels: name and value of each structure.
        config: the tolerance of the surface Dice, and which metrics there are besides `metric_names.METRICS`.
        watershed: how predicted instances that touch are told apart; None where they are connected parts.

    Returns:
        One score a label, in the order of ``labels``.
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    truth, largest = reference.array[0], max(labels.values(), default=0)
    boxes = [ndimage.find_objects(array, max_label=largest) for array in (prediction, truth)]
    scores = []
    for label, value in labels.items():
        region = _region([found[value - 1] for found in boxes], truth.shape)
        masks = prediction[region] == value, truth[region] == value
        score = _score_label(case, label, masks, reference=reference, config=config)
        if not score.both_empty and config.instances:
            is_wall = label in config.walls  # what lies between walls reaches out of the region
            divided = dividing(watershed, label, config.walls)
            parts = _between(prediction, truth, value) if is_wall else masks
            score = replace(score, **_instance_scores(parts, divided, affine=reference.affine, config=config))
        if not score.both_empty and config.centreline:
            score = replace(score, cl_dice=CentrelineOverlap.of(*masks, per_slice=config.per_slice).dice)
        scores.append(score)
    return scores


def _between(prediction: NDArray[np.integer], truth: NDArray[np.integer], wall: int) -> Masks:
    """What the walls divide: all that is seen and no wall."""
    seen = truth != OUTSIDE
    return seen & (prediction != wall), seen & (truth != wall)


def _instance_scores(
    masks: Masks, watershed: WatershedConfig | None, *, affine: geometry.Affine, config: EvaluationConfig
) -> dict[str, Any]:
    predicted = predicted_instances(masks[0], watershed, affine=affine, per_slice=config.per_slice)
    reference = instances_of(masks[1], per_slice=config.per_slice)
    pairs, matches = RandPairs.of(predicted, reference), InstanceMatches.of(predicted, reference)
    information = VariationOfInformation.of(predicted, reference)
    return {
        "rand_f": pairs.f,
        "rand_precision": pairs.precision,
        "rand_recall": pairs.recall,
        "vi_split": None if information is None else information.split,
        "vi_merge": None if information is None else information.merge,
        "instance_f1": matches.f1,
        "instances_matched": matches.matched,
        "instances_missed": matches.missed,
        "instances_extra": matches.extra,
    }


def _score_label(case: str, label: str, masks: Masks, *, reference: Scan, config: EvaluationConfig) -> CaseScore:
    overlap = Overlap.of(*masks)
    distances = surface.surface_distances(*masks, reference.spacing_mm)
    sizes = _size(overlap.predicted, reference), _size(overlap.reference, reference)
    both_empty = overlap.predicted == overlap.reference == 0
    return CaseScore(
        case=case,
        label=label,
        dice=overlap.dice,
        iou=overlap.iou,
        precision=overlap.precision,
        recall=overlap.recall,
        hd95=surface.hd95_mm(distances),
        asd=surface.asd_mm(distances),
        nsd=surface.nsd(distances, config.nsd_tolerance_mm),
        volume_error=None if both_empty else sizes[0] - sizes[1],
        reference_size=sizes[1],
        predicted_size=sizes[0],
        unit=reference.unit,
    )


def _size(voxels: int, reference: Scan) -> float:
    """Volume in ml, or the number of pixels of a picture."""
    return volume_ml(voxels, reference.affine) if reference.unit == "mm" else float(voxels)


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
