import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipeline.metrics.paired import PairedDifference, compare_paired, differences_of, holm, signed_rank_p

BASELINE = np.array([0.5, 0.75, 0.25, 0.5])
OTHER = BASELINE + np.array([0.25, -0.25, 0.5, 0.0])


def compared(baseline: NDArray[np.float64], other: NDArray[np.float64], *, higher: bool = True) -> PairedDifference:
    return compare_paired(baseline, other, higher_is_better=higher, samples=500, seed=0)


def test_differences_are_other_minus_baseline_case_by_case() -> None:
    tested = compared(BASELINE, OTHER)
    assert (tested.n, tested.baseline_mean, tested.other_mean) == (4, 0.5, 0.625)
    assert (tested.mean_difference, tested.median_difference) == (0.125, 0.125)
    assert (tested.wins, tested.ties, tested.losses) == (2, 1, 1)
    assert tested.p_holm is None


def test_where_less_is_better_a_case_is_won_by_the_lower_value() -> None:
    tested = compared(BASELINE, OTHER, higher=False)
    assert (tested.wins, tested.ties, tested.losses) == (1, 1, 2)
    assert tested.mean_difference == 0.125  # still other minus baseline


def test_the_interval_is_that_of_resampled_differences() -> None:
    tested = compared(BASELINE, OTHER)
    assert tested.ci95 is not None
    low, high = tested.ci95
    assert -0.25 <= low < 0.125 < high <= 0.5


def test_without_cases_nothing_is_said() -> None:
    nothing = np.array([])
    assert compared(nothing, nothing) == PairedDifference(0, None, None, None, None, None, None, None, 0, 0, 0)


def test_one_case_has_a_difference_and_no_interval() -> None:
    tested = compared(np.array([0.5]), np.array([0.75]))
    assert (tested.n, tested.mean_difference, tested.ci95, tested.p) == (1, 0.25, None, None)


def test_differences_that_are_equal_on_paper_are_equal() -> None:
    # 0.9 - 0.8 = 0.09999999999999998 and 0.8 - 0.7 = 0.10000000000000009
    differences = differences_of(np.array([0.8, 0.7, 0.5]), np.array([0.9, 0.8, 0.5]))
    assert differences.tolist() == [0.1, 0.1, 0.0]
    assert not np.signbit(differences[2])


def test_the_p_of_six_gains_is_that_of_all_signs_alike() -> None:
    # of the 2^6 ways to sign six ranks, two have all of one sign
    assert signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])) == pytest.approx(2 / 64)


@pytest.mark.parametrize("count", [7, 20, 80])
def test_the_p_is_scipys(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.2, 1.0, count)
    assert signed_rank_p(differences) == stats.wilcoxon(differences).pvalue


def test_ties_are_dropped() -> None:
    differences = np.random.default_rng(0).normal(0.2, 1.0, 60)
    assert signed_rank_p(np.concatenate([differences, np.zeros(9)])) == signed_rank_p(differences)
    with_zeros = stats.wilcoxon(np.concatenate([differences, np.zeros(9)]), zero_method="wilcox", method="approx")
    assert with_zeros.pvalue == pytest.approx(stats.wilcoxon(differences, method="approx").pvalue)


@pytest.mark.parametrize("differences", [[], [0.0] * 20, [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0, 0.0]])
def test_no_p_is_claimed_where_fewer_than_six_cases_differ(differences: list[float]) -> None:
    assert signed_rank_p(np.array(differences)) is None


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([], []),
        ([0.03], [0.03]),
        # ordered 0.01, 0.02, 0.04 times 3, 2, 1: 0.03, 0.04, 0.04
        ([0.02, 0.04, 0.01], [0.04, 0.04, 0.03]),
        # 0.01 * 3 = 0.03, 0.011 * 2 = 0.022 becomes 0.03 as well: never below one before it
        ([0.01, 0.011, 0.5], [0.03, 0.03, 0.5]),
        ([0.6, 0.7], [1.0, 1.0]),
        ([0.03, None, 0.01], [0.03, None, 0.02]),
    ],
)
def test_holms_correction_is_the_one_worked_out_by_hand(
    p_values: list[float | None], corrected: list[float | None]
) -> None:
    assert holm(p_values) == [None if p is None else pytest.approx(p) for p in corrected]
