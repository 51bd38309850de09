import numpy as np
import pytest
import torch
from monai.metrics.meandice import compute_dice
from monai.metrics.meaniou import compute_iou

from pipeline.metrics.overlap import Overlap, volume_ml

PREDICTED = np.array([[1, 1, 0], [0, 1, 0]], dtype=bool)
REFERENCE = np.array([[0, 1, 1], [0, 1, 1]], dtype=bool)
NOTHING = np.zeros((2, 3), dtype=bool)
AFFINE_2_MM3 = np.diag([2.0, 1.0, 1.0, 1.0])


def test_voxels_are_counted_in_both_masks_and_in_each() -> None:
    assert Overlap.of(PREDICTED, REFERENCE) == Overlap(common=2, predicted=3, reference=4)


def test_scores_of_two_common_voxels_among_three_and_four() -> None:
    overlap = Overlap.of(PREDICTED, REFERENCE)
    assert overlap.dice == pytest.approx(4 / 7)
    assert overlap.iou == pytest.approx(2 / 5)
    assert overlap.precision == pytest.approx(2 / 3)
    assert overlap.recall == pytest.approx(2 / 4)


def test_equal_masks_score_one() -> None:
    overlap = Overlap.of(REFERENCE, REFERENCE)
    assert (overlap.dice, overlap.iou, overlap.precision, overlap.recall) == (1, 1, 1, 1)


def test_an_empty_reference_scores_zero_and_has_no_recall() -> None:
    overlap = Overlap.of(PREDICTED, NOTHING)
    assert (overlap.dice, overlap.iou, overlap.precision, overlap.recall) == (0, 0, 0, None)


def test_an_empty_prediction_scores_zero_and_has_no_precision() -> None:
    overlap = Overlap.of(NOTHING, REFERENCE)
    assert (overlap.dice, overlap.iou, overlap.precision, overlap.recall) == (0, 0, None, 0)


def test_two_empty_masks_have_no_score() -> None:
    overlap = Overlap.of(NOTHING, NOTHING)
    assert (overlap.dice, overlap.iou, overlap.precision, overlap.recall) == (None, None, None, None)


def test_five_hundred_voxels_of_2_mm3_are_a_millilitre() -> None:
    assert volume_ml(500, AFFINE_2_MM3) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_dice_and_iou_agree_with_monai(seed: int) -> None:
    predicted, reference = np.random.default_rng(seed).random((2, 5, 6, 7)) < 0.4
    overlap = Overlap.of(predicted, reference)
    ours, theirs = (torch.from_numpy(mask)[None, None].float() for mask in (predicted, reference))
    assert overlap.dice == pytest.approx(compute_dice(ours, theirs).item(), rel=1e-6)
    assert overlap.iou == pytest.approx(compute_iou(ours, theirs).item(), rel=1e-6)
