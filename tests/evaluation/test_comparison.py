"""Two evaluations compared: which cases and labels count, what is refused, and what is said."""

from typing import Any

import pytest

from pipeline.config.evaluation import EvaluationConfig
from pipeline.errors import DatasetError
from pipeline.evaluation.comparison import Comparison, compare_evaluations, paired_mean_dice
from pipeline.evaluation.metric_names import METRICS
from pipeline.evaluation.stored import EvaluationFiles
from pipeline.evaluation.verdict import sentences_of, verdict_of

CONFIG = EvaluationConfig(bootstrap_samples=500)
CASES = "abcdefgh"
STEADY = (0.5, 0.6, 0.55, 0.7, 0.65, 0.58, 0.62, 0.68)
"""Dice of eight cases."""
Values = dict[str, float | None]


def evaluation(
    name: str,
    dice: dict[str, tuple[float | None, ...]],
    *,
    failed: dict[str, str] | None = None,
    digest: str | None = "same",
    tolerance: float = 1.0,
    others: Values | None = None,
) -> EvaluationFiles:
    """An evaluation of cases a, b and so on: a Dice for each label and case, and 1 ml in the reference."""
    scores: dict[tuple[str, str], Values] = {}
    for label, values in dice.items():
        for case, value in zip(CASES, values, strict=False):
            scores[case, label] = {**dict.fromkeys(METRICS), "reference_size": 1.0, **(others or {}), "dice": value}
    summary: dict[str, Any] = {
        "labels": dict.fromkeys(dice),
        "nsd_tolerance_mm": tolerance,
        "failed_cases": [{"case": case, "reason": reason} for case, reason in (failed or {}).items()],
        "provenance": {"cases_digest": digest},
    }
    return EvaluationFiles(name, summary, scores)


def shifted(values: tuple[float, ...], *by: float) -> tuple[float, ...]:
    """The values, each with the next of the given differences."""
    return tuple(value + by[place % len(by)] for place, value in enumerate(values))


def compared(baseline: EvaluationFiles, other: EvaluationFiles) -> Comparison:
    (pair,) = compare_evaluations(baseline, [other], CONFIG)
    return pair


BASELINE = evaluation("old", {"heart": STEADY})


# --- The verdict


def test_a_run_that_is_higher_in_every_case_is_better() -> None:
    other = evaluation("new", {"heart": shifted(STEADY, 0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17)})
    pair = compared(BASELINE, other)
    assert verdict_of(pair) == "better"
    assert pair.mean_dice.mean_difference == pytest.approx((0.1 + 0.17) / 2)
    assert pair.mean_dice.p == pytest.approx(2 / 2**8)
    (sentence,) = sentences_of(pair, 1)
    assert sentence.startswith("new is better than old: its mean Dice per case is higher by 0.135 (95 % interval 0.1")
    assert sentence.endswith("Wilcoxon signed-rank p = 0.008, n = 8).")


def test_a_run_that_is_lower_in_every_case_is_worse_and_the_sentence_names_the_better_one() -> None:
    other = evaluation("new", {"heart": shifted(STEADY, -0.1, -0.11, -0.12, -0.13, -0.14, -0.15, -0.16, -0.17)})
    pair = compared(BASELINE, other)
    assert verdict_of(pair) == "worse"
    (sentence,) = sentences_of(pair, 1)
    assert sentence.startswith("old is better than new: its mean Dice per case is higher by 0.135 (95 % interval 0.1")


def test_small_differences_of_both_signs_cannot_be_told() -> None:
    pair = compared(BASELINE, evaluation("new", {"heart": shifted(STEADY, 0.01, -0.012, 0.013, -0.011)}))
    assert verdict_of(pair) == "undecided"
    (sentence,) = sentences_of(pair, 1)
    assert sentence.startswith(
        "It cannot be told whether new or old is better: the interval of the difference in mean "
    )
    assert "includes 0 (mean difference " in sentence
    assert sentence.endswith("n = 8).")


def test_equal_scores_are_called_equal() -> None:
    pair = compared(BASELINE, evaluation("new", {"heart": STEADY}))
    assert verdict_of(pair) == "identical"
    assert sentences_of(pair, 1) == ["new and old: the two runs scored the same on every case (n = 8)."]


def test_an_equal_dice_with_other_distances_is_not_called_equal() -> None:
    other = evaluation("new", {"heart": STEADY}, others={"hd95": 3.0})
    pair = compared(evaluation("old", {"heart": STEADY}, others={"hd95": 2.0}), other)
    assert verdict_of(pair) == "undecided"
    assert "their mean Dice is the same in every case, though other scores differ" in sentences_of(pair, 1)[0]


def test_with_too_few_cases_nothing_is_claimed_however_large_the_difference() -> None:
    baseline = evaluation("old", {"heart": STEADY[:4]})
    pair = compared(baseline, evaluation("new", {"heart": shifted(STEADY[:4], 0.3)}))
    assert verdict_of(pair) == "undecided"
    assert "only 4 cases differ, and below 6 no p-value is claimed (mean difference +0.3, " in sentences_of(pair, 1)[0]


def test_a_p_that_the_correction_lifts_over_the_limit_is_no_finding() -> None:
    # six cases of one sign: p = 2 / 64 = 0.031, twice that for two comparisons
    baseline = evaluation("old", {"heart": STEADY[:6]})
    better = evaluation("new", {"heart": shifted(STEADY[:6], 0.1, 0.11, 0.12, 0.13, 0.14, 0.15)})
    assert verdict_of(compared(baseline, better)) == "better"
    first, second = compare_evaluations(baseline, [better, better], CONFIG)
    assert (first.mean_dice.p, first.mean_dice.p_holm) == pytest.approx((2 / 64, 4 / 64))
    assert verdict_of(second) == "undecided"
    sentence = sentences_of(first, 2)[0]
    assert "is better: p is not below 0.05 (mean difference +0.125, " in sentence
    assert "p = 0.062 after Holm's correction for 2 comparisons" in sentence


def test_a_few_large_losses_do_not_hide_behind_many_small_gains() -> None:
    # six small gains and two large losses: ranks say better, the mean says worse
    by = (0.001, 0.002, 0.003, 0.004, 0.005, 0.006, -0.4, -0.5)
    pair = compared(BASELINE, evaluation("new", {"heart": shifted(STEADY, *by)}))
    assert pair.mean_dice.mean_difference == pytest.approx((0.021 - 0.9) / 8)
    assert pair.mean_dice.median_difference == pytest.approx(0.0025)
    assert verdict_of(pair) == "undecided"


# --- Labels


def test_the_mean_dice_of_a_case_is_over_the_labels_that_both_have() -> None:
    baseline = evaluation("old", {"heart": (0.5, 0.5), "lung": (1.0, None)})
    pair = compared(baseline, evaluation("new", {"heart": (0.75, 0.75), "lung": (0.5, 0.0)}))
    # case a: 0.75 against 0.625; case b: the heart alone, 0.5 against 0.75
    assert paired_mean_dice(pair) == [("a", 0.75, 0.625), ("b", 0.5, 0.75)]
    assert (pair.labels["lung"]["dice"].n, pair.labels["heart"]["dice"].n) == (1, 2)


def test_a_structure_that_one_run_alone_made_up_is_told_of() -> None:
    baseline = evaluation("old", {"heart": STEADY, "lung": (None,) * 8})
    other = evaluation("new", {"heart": STEADY, "lung": (0.0, 0.0, *(None,) * 6)})
    pair = compared(baseline, other)
    assert pair.scored_in_one == {"heart": 0, "lung": 2}
    assert sentences_of(pair, 1)[1].startswith("2 structures of common cases scored in one run alone")


def test_the_p_values_of_labels_are_corrected_for_their_number() -> None:
    gains = (0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17)
    baseline = evaluation("old", {"heart": STEADY, "lung": STEADY})
    other = evaluation("new", {"heart": shifted(STEADY, *gains), "lung": shifted(STEADY, 0.01, -0.02, 0.03, -0.05)})
    pair = compared(baseline, other)
    heart, lung = pair.labels["heart"]["dice"], pair.labels["lung"]["dice"]
    assert heart.p == pytest.approx(2 / 2**8)
    assert heart.p_holm == pytest.approx(4 / 2**8)  # the smaller of two
    assert lung.p_holm == lung.p
    assert pair.labels["heart"]["iou"].p_holm is None


def test_less_is_better_for_distances_and_for_the_size_of_a_volume_error() -> None:
    baseline = evaluation("old", {"heart": STEADY}, others={"hd95": 3.0, "volume_error": -0.5})
    other = evaluation("new", {"heart": STEADY}, others={"hd95": 2.0, "volume_error": 0.25})
    metrics = compared(baseline, other).labels["heart"]
    assert (metrics["hd95"].mean_difference, metrics["hd95"].wins) == (-1.0, 8)
    error = metrics["absolute_volume_error"]
    assert (error.baseline_mean, error.other_mean, error.mean_difference, error.wins) == (0.5, 0.25, -0.25, 8)


def test_nsd_of_two_tolerances_is_not_compared_and_this_is_said() -> None:
    pair = compared(BASELINE, evaluation("new", {"heart": STEADY}, tolerance=2.0))
    assert "nsd" not in pair.labels["heart"]
    assert "NSD is not compared: its tolerance is 1 mm in one and 2 mm in the other." in sentences_of(pair, 1)


# --- Cases


def test_cases_that_failed_or_are_unknown_in_one_are_named() -> None:
    baseline = evaluation("old", {"heart": STEADY[:6]}, failed={"y": "no mask", "z": "no mask"})
    scored = {(case, label): row for (case, label), row in BASELINE.scores.items() if case != "a"}
    summary = {**BASELINE.summary, "failed_cases": [{"case": case, "reason": "no mask"} for case in ("a", "z")]}
    pair = compared(baseline, EvaluationFiles("new", summary, scored))
    assert pair.cases.common == list("bcdef")
    assert pair.cases.failed_in_other == ["a"]
    assert pair.cases.failed_in_baseline == ["y"]
    assert pair.cases.failed_in_both == ["z"]
    assert (pair.cases.only_in_baseline, pair.cases.only_in_other) == ([], ["g", "h"])
    sentences = sentences_of(pair, 1)
    assert "1 case failed in new alone, which the differences do not count: a." in sentences
    assert "1 case failed in old alone, which the differences do not count: y." in sentences
    assert "1 case failed in both: z." in sentences
    assert "2 cases scored in new alone: g, h." in sentences
    assert any(sentence.endswith("because they scored other cases besides.") for sentence in sentences)


def test_other_labels_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"same labels .*\(heart in old\); found lung in new\. Compare evaluations"):
        compared(BASELINE, evaluation("new", {"lung": STEADY}))


def test_the_same_labels_in_another_order_are_not() -> None:
    baseline = evaluation("old", {"heart": STEADY, "lung": STEADY})
    assert verdict_of(compared(baseline, evaluation("new", {"lung": STEADY, "heart": STEADY}))) == "identical"


def test_evaluations_without_a_common_case_are_refused() -> None:
    scores = {("x", "heart"): BASELINE.scores["a", "heart"]}
    with pytest.raises(DatasetError, match=r"found 8 cases \(a, b, c, d, e and 3 more\) in old, 1 case \(x\) in new"):
        compared(BASELINE, EvaluationFiles("new", BASELINE.summary, scores))
    with pytest.raises(DatasetError, match=r"0 cases \(none\) in new\. Evaluate both on the same data set"):
        compared(BASELINE, EvaluationFiles("new", BASELINE.summary, {}))


def test_the_same_cases_against_other_references_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"found references of another content, by their cases_digest, in new"):
        compared(BASELINE, evaluation("new", {"heart": STEADY}, digest="another"))


def test_references_of_other_volumes_are_refused_where_no_digest_tells() -> None:
    other = evaluation("new", {"heart": STEADY}, digest=None, others={"reference_size": 1.1})
    with pytest.raises(DatasetError, match=r"found references of another volume in 8 cases \(a, b, .* in new"):
        compared(BASELINE, other)


def test_an_evaluation_without_a_digest_is_compared_and_this_is_said() -> None:
    pair = compared(BASELINE, evaluation("new", {"heart": STEADY}, digest=None))
    assert sentences_of(pair, 1)[1] == (
        "That both were scored against the same references was checked by their volumes alone, because not both know "
        "their cases_digest."
    )
