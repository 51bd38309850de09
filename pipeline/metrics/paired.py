"""Whether two sets of scores of the same cases differ: differences, their interval, a test, and its correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pipeline.metrics.intervals import bootstrap_ci95

MIN_DIFFERING = 6
"""Cases that must differ for a p-value: of five, even a difference of one sign in all has 2 / 2^5 = 0.0625."""
DECIMALS = 12
"""Differences are rounded to so many, so that 0.9 - 0.8 and 0.8 - 0.7 are the tie that they are on paper."""


@dataclass(frozen=True)
class PairedDifference:
    """What the differences of a metric say, other minus baseline.

    Attributes:
        n: cases where both have a value.
        baseline_mean: over these cases; None where there is none, as below.
        other_mean: over these cases.
        mean_difference: their mean difference.
        median_difference: their median difference.
        ci95: bootstrap interval of the mean difference; None below two cases.
        p: Wilcoxon's signed-rank test, two-sided; None where fewer than `MIN_DIFFERING` cases differ.
        p_holm: the same, corrected for the other tests of its family; None where the metric is in none.
        wins: cases where the other is better than the baseline.
        ties: cases where they are equal.
        losses: cases where it is worse.
    """

    n: int
    baseline_mean: float | None
    other_mean: float | None
    mean_difference: float | None
    median_difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    wins: int
    ties: int
    losses: int


def compare_paired(
    baseline: NDArray[np.float64],
    other: NDArray[np.float64],
    *,
    higher_is_better: bool,
    samples: int,
    seed: int,
) -> PairedDifference:
    """Compare two metrics' values case by case.

    Args:
        baseline: one value a case, (N,).
        other: of the same cases, in the same order.
        higher_is_better: whether a case is won by the higher value or by the lower one.
        samples: resamplings of the cases behind the interval.
        seed: of the resampling.
    """
    differences = differences_of(baseline, other)
    gains = differences if higher_is_better else -differences
    some = len(differences) > 0
    return PairedDifference(
        n=len(differences),
        baseline_mean=float(baseline.mean()) if some else None,
        other_mean=float(other.mean()) if some else None,
        mean_difference=float(differences.mean()) if some else None,
        median_difference=float(np.median(differences)) if some else None,
        ci95=bootstrap_ci95(differences, samples=samples, seed=seed),
        p=signed_rank_p(differences),
        p_holm=None,
        wins=int(np.count_nonzero(gains > 0)),
        ties=int(np.count_nonzero(gains == 0)),
        losses=int(np.count_nonzero(gains < 0)),
    )


def differences_of(baseline: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Other minus baseline, case by case (N,), without the noise of the last digits."""
    assert baseline.shape == other.shape, (baseline.shape, other.shape)
    return np.round(other - baseline, DECIMALS) + 0.0  # adding 0 makes -0 and 0 one number


def signed_rank_p(differences: NDArray[np.float64]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test (Wilcoxon 1945).

    Differences of 0 are dropped, as Wilcoxon does (``zero_method="wilcox"``): a tie speaks for neither side. scipy
    computes p exactly for small numbers of cases and by a normal approximation else.

    Args:
        differences: one a case, (N,).

    Returns:
        None where fewer than `MIN_DIFFERING` are not 0: no p below 0.05 is possible then.
    """
    differing = differences[differences != 0]
    if len(differing) < MIN_DIFFERING:
        return None
    return float(stats.wilcoxon(differing, zero_method="wilcox").pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number, so that any false finding among them is as rare as one test's (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than one before it, or
    larger than 1. None stays None, and does not count.

    Example:
        >>> holm([0.25, None, 0.125])
        [0.25, None, 0.25]
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[place] = largest
    return corrected
