"""Small masks whose scores can be worked out by hand, and scores without masks."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from pipeline.config.evaluation import EvaluationConfig
from pipeline.evaluation.metric_names import METRICS
from pipeline.evaluation.scores import CaseScore, score_case
from pipeline.evaluation.statistics import summarise
from pipeline.scan import Scan

CONFIG = EvaluationConfig(nsd_tolerance_mm=1.0, bootstrap_samples=500, seed=0)
LABELS = {"heart": 1, "lung": 2}
AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])  # a voxel is 2 mm3


def row_of(*values: int) -> NDArray[np.uint8]:
    """A mask of shape (3, 3, N) that is empty but for a row of values along its last axis."""
    mask = np.zeros((3, 3, len(values)), dtype=np.uint8)
    mask[1, 1] = values
    return mask


def save(path: Path, mask: NDArray[np.uint8], affine: NDArray[np.float64] = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(mask, affine).to_filename(path)


def scores_of(
    case: str,
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    labels: dict[str, int],
    *,
    affine: NDArray[np.float64] = AFFINE,
) -> list[CaseScore]:
    truth = Scan(reference[None], affine.copy(), Path("reference.nii.gz"))
    return score_case(case, prediction, truth, labels=labels, config=CONFIG)


def scored(case: str, label: str = "heart", **values: float | None) -> CaseScore:
    """A score; what is not given is undefined, and the volumes are those of two masks that are not empty."""
    metrics: dict[str, Any] = {**dict.fromkeys(METRICS), "reference_size": 1.0, "predicted_size": 1.0, **values}
    return CaseScore(case=case, label=label, **metrics)


def summary_of(scores: list[CaseScore], labels: tuple[str, ...] = ("heart",), **changes: Any) -> dict[str, Any]:
    return summarise(scores, labels, CONFIG, **{"excluded_training_cases": 0, "failed": [], **changes})
