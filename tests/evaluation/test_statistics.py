import numpy as np
import pytest

from pipeline.evaluation.scores import FailedCase
from tests.evaluation.masks import row_of, scored, scores_of, summary_of


def test_statistics_of_a_metric_over_three_cases() -> None:
    summary = summary_of([scored("a", dice=0.5), scored("b", dice=0.9), scored("c", dice=1.0)])
    statistics = summary["labels"]["heart"]["dice"]
    assert statistics["mean"] == pytest.approx(0.8)
    assert statistics["std"] == pytest.approx(np.sqrt((0.09 + 0.01 + 0.04) / 2))
    assert statistics["median"] == pytest.approx(0.9)
    assert statistics["n"] == 3
    low, high = statistics["ci95"]
    assert 0.5 <= low < 0.8 < high <= 1.0


def test_undefined_scores_are_left_out_and_n_says_so() -> None:
    statistics = summary_of([scored("a", hd95=3.0), scored("b", hd95=None)])["labels"]["heart"]["hd95_mm"]
    assert statistics == {"mean": 3.0, "std": None, "median": 3.0, "ci95": None, "n": 1}


def test_a_metric_without_a_defined_score_is_null() -> None:
    summary = summary_of([scored("a")])
    assert summary["labels"]["heart"]["asd_mm"] == {"mean": None, "std": None, "median": None, "ci95": None, "n": 0}
    assert summary["mean_dice"] is None


def test_the_mean_dice_is_the_mean_over_labels_of_the_mean_over_cases() -> None:
    heart = [scored("a", dice=0.4), scored("b", dice=0.8)]
    lung = [scored("a", "lung", dice=1.0), scored("b", "lung", dice=None)]
    empty = [scored(case, "liver", dice=None) for case in "ab"]
    assert summary_of([*heart, *lung, *empty], ("heart", "lung", "liver"))["mean_dice"] == pytest.approx(0.8)


def test_the_summary_counts_cases_and_what_was_left_out() -> None:
    scores = [scored("a"), scored("a", "lung"), scored("b"), scored("b", "lung")]
    summary = summary_of(scores, ("heart", "lung"), excluded_training_cases=5, failed=[FailedCase("c", "no mask")])
    assert (summary["cases"], summary["excluded_training_cases"]) == (2, 5)
    assert summary["failed_cases"] == [{"case": "c", "reason": "no mask"}]
    assert summary["nsd_tolerance_mm"] == 1.0


def test_the_summary_counts_empty_masks_by_label_and_states_the_rule() -> None:
    scores = [
        scored("a", reference_size=0.0, predicted_size=0.0),
        scored("b", reference_size=0.0),
        scored("c", predicted_size=0.0),
        scored("d"),
        scored("a", "lung", reference_size=0.0, predicted_size=0.0),
    ]
    empty = summary_of(scores, ("heart", "lung"))["empty_masks"]
    assert empty["both_empty"] == {"heart": 1, "lung": 1}
    assert empty["one_empty"] == {"heart": 2, "lung": 0}
    assert "absent from both masks" in empty["rule"]


def test_a_missed_label_lowers_the_mean_dice_and_leaves_the_distances_alone() -> None:
    found = scores_of("a", row_of(1, 1), row_of(1, 1), {"heart": 1})
    missed = scores_of("b", row_of(0, 0), row_of(1, 1), {"heart": 1})
    absent = scores_of("c", row_of(0, 0), row_of(0, 0), {"heart": 1})
    summary = summary_of([*found, *missed, *absent])
    metrics = summary["labels"]["heart"]
    assert (summary["mean_dice"], metrics["dice"]["n"]) == (0.5, 2)
    assert (metrics["hd95_mm"]["mean"], metrics["hd95_mm"]["n"]) == (0.0, 1)
    assert (summary["empty_masks"]["both_empty"], summary["empty_masks"]["one_empty"]) == ({"heart": 1}, {"heart": 1})
