"""The scores of one case: every metric of every label.

Empty masks, decided here for every metric: where a label is absent from both masks there is nothing to score, so every
metric is None and the case does not count for that label. Where it is absent from one of them, Dice, IoU and NSD are 0,
distances are undefined (None), and so is the one of precision and recall that would divide by nothing. Both kinds are
counted, because a mean over the rest would hide them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline import geometry
from pipeline.config.evaluation import EvaluationConfig
from pipeline.metrics import surface
from pipeline.metrics.overlap import Overlap, volume_error_ml, volume_ml
from pipeline.scan import Scan

METRICS = ("dice", "iou", "precision", "recall", "hd95_mm", "asd_mm", "nsd", "volume_error_ml")
Box = tuple[slice, ...]


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


def cases_digest(reference_hashes: Mapping[str, str]) -> str:
    """SHA-256 over cases and the content of their references: equal where two evaluations scored against the same.

    Args:
        reference_hashes: content hash of the reference (`Scan.content_hash`) by the case's name.
    """
    return hashlib.sha256(json.dumps(sorted(reference_hashes.items())).encode()).hexdigest()


def score_case(
    case: str,
    prediction: NDArray[np.integer],
    reference: Scan,
    *,
    labels: dict[str, int],
    config: EvaluationConfig,
    field_of_view: NDArray[np.bool_] | None = None,
) -> list[CaseScore]:
    """Score every label of a case.

    Args:
        case: the case's name.
        prediction: label values, (I, J, K).
        reference: the mask (1, I, J, K) that it is compared with, on the same grid.
        labels: name and value of each structure.
        config: the tolerance of the surface Dice.
        field_of_view: voxels (I, J, K) that count; in the others both masks are taken as empty. None counts all.

    Returns:
        One score a label, in the order of ``labels``.
    """
    assert prediction.shape == reference.shape, (prediction.shape, reference.shape)
    truth, largest = reference.array[0], max(labels.values(), default=0)
    if field_of_view is not None:
        prediction, truth = (np.where(field_of_view, mask, 0) for mask in (prediction, truth))
    boxes = [ndimage.find_objects(array, max_label=largest) for array in (prediction, truth)]
    scores = []
    for label, value in labels.items():
        region = _region([found[value - 1] for found in boxes], truth.shape)
        masks = prediction[region] == value, truth[region] == value
        scores.append(_score_label(case, label, masks, affine=reference.affine, config=config))
    return scores


def _score_label(
    case: str,
    label: str,
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    *,
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
