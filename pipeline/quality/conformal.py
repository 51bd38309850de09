"""Intervals that hold a value with a stated probability, whatever the regression is: conformal prediction.

They presume that new cases are drawn as the calibration cases were, and say nothing of scans that are not: those are
the gate's to find (`calibration`). The probability is over cases, not for a case of any one kind.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.quality.features import enough, finite
from pipeline.quality.fitted import Fitted

ROUNDING = 1e-9
"""(n + 1)(1 - alpha) may be a whole number on paper and a little above it in floating point."""


def group_weights(groups: NDArray, likely: NDArray | None = None) -> NDArray[np.float64]:
    """What each row counts (N,): its part of the 1 / (G + 1) that each of G groups counts.

    Rows of a group (a case and damaged versions of it) are not independent. With these weights the guarantee holds for
    a row of a new group (Lee, Barber and Willett 2023, arXiv:2306.06342). Where each row is its own group they are
    1 / (N + 1), and what is left is the new row's own share.

    Args:
        groups: of each row, (N,).
        likely: how often such a row is the one that a group has, (N,), in any unit; the new row is taken to be drawn
            so from its group. By default all are equally likely.
    """
    _, members = np.unique(groups, return_inverse=True)
    parts = np.ones(len(groups)) if likely is None else finite(likely)
    sums = np.bincount(members, parts)
    assert (sums > 0).all(), "a group whose rows never occur"
    return parts / sums[members] / (len(sums) + 1)


def conformal_quantile(
    values: NDArray[np.float64], alpha: float, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """The bound that a new value exceeds with probability alpha at most, if it is drawn as the others were.

    Without weights this is the k-th smallest of n values, k = ceil((n + 1)(1 - alpha)): the rank of a new value among
    all n + 1 is uniform. Where k > n, which is where n < 1 / alpha - 1, no value bounds it, and the bound is infinite.

    Args:
        values: (..., N).
        alpha: between 0 and 1.
        weights: what each value counts, (N,), as `group_weights` gives it; 1 / (N + 1) by default.

    Returns:
        (...).

    Example:
        >>> float(conformal_quantile(np.array([3.0, 1.0, 2.0]), 0.25)), float(conformal_quantile(np.array([3.0]), 0.25))
        (3.0, inf)
    """
    weights = group_weights(np.arange(values.shape[-1])) if weights is None else weights
    order = np.argsort(values, axis=-1)
    reached = np.cumsum(weights[order], axis=-1) >= 1 - alpha - ROUNDING
    ordered = np.take_along_axis(values, order, axis=-1)
    return np.where(reached, ordered, np.inf).min(axis=-1, initial=np.inf)


def patients_for(alpha: float) -> int:
    """From how many patients on a conformal quantile is finite: the highest of n errors is exceeded by 1 of n + 1.

    Example:
        >>> patients_for(0.1)
        9
    """
    return math.ceil(1 / alpha - 1 - ROUNDING)


@dataclass(frozen=True, eq=False)
class Conformal(Fitted):
    """Intervals from errors in cases that a regression was not fitted to: CV+, or split conformal with a single fold.

    Barber, Candes, Ramdas and Tibshirani 2021, "Predictive inference with the jackknife+", section 3: with R_i the
    error in case i of the regression m_k(i) that was fitted without its fold k(i), the interval of a new x goes from
    the lower conformal quantile of m_k(i)(x) - R_i to the upper one of m_k(i)(x) + R_i. It holds the value with a
    probability of at least 1 - 2 alpha, less a term that vanishes as n grows (theorem 4), and of about 1 - alpha in
    practice.

    Where the cases are one fold that a single regression was not fitted to, this is m(x) -+ the quantile of R: split
    conformal (Papadopoulos et al. 2002), which holds the value with a probability of at least 1 - alpha. Errors may be
    in units of a difficulty that is estimated for each case (Lei et al. 2018, "Distribution-free predictive inference
    for regression", section 5.2).

    Attributes:
        errors: |observed - predicted| / difficulty, (N,).
        weights: what each counts, (N,).
        fold_of: the fold of each case, (N,), from 0 to K - 1.
    """

    errors: NDArray[np.float64]
    weights: NDArray[np.float64]
    fold_of: NDArray[np.int64]

    @classmethod
    def fit(
        cls,
        predicted: NDArray,
        observed: NDArray,
        *,
        fold_of: NDArray[np.int64] | None = None,
        difficulty: NDArray | None = None,
        groups: NDArray | None = None,
        likely: NDArray | None = None,
    ) -> Self:
        """Fit to cases, each predicted by a regression that was fitted without it.

        Args:
            predicted: (N,).
            observed: (N,).
            fold_of: the fold of each case, (N,); one by default: all are by the same regression.
            difficulty: (N,), above 0, by what was fitted without the case as well; 1 by default.
            groups: the group of each case, (N,), which lies in one fold; each its own by default.
            likely: as `group_weights` takes it.
        """
        units = finite(_or_ones(difficulty, predicted))
        assert (units > 0).all(), units.min()
        errors = np.abs(enough(observed) - finite(predicted)) / units
        weights = group_weights(np.arange(len(errors)) if groups is None else groups, likely)
        return cls(errors, weights, np.zeros(len(errors), np.int64) if fold_of is None else fold_of)

    def interval(self, predicted: NDArray, alpha: float, difficulty: NDArray | None = None) -> NDArray[np.float64]:
        """Lower and upper end for new cases (N, 2), within 0 and 1; these two where there are too few cases for alpha.

        Args:
            predicted: by the regression of each fold, (N, K).
            alpha: the probability that the value is outside.
            difficulty: by that of each fold, (N, K), as at the fit.
        """
        centre = predicted[:, self.fold_of]
        width = self.errors * _or_ones(difficulty, predicted)[:, self.fold_of]
        low = -conformal_quantile(width - centre, alpha, self.weights)
        high = conformal_quantile(centre + width, alpha, self.weights)
        return np.clip(np.stack([low, high], axis=-1), 0, 1)


def _or_ones(difficulty: NDArray | None, predicted: NDArray) -> NDArray:
    return np.ones_like(predicted, np.float64) if difficulty is None else difficulty
