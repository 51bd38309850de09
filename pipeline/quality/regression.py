"""Dice predicted from a few features of a mask and of the network's probabilities, without a reference."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pipeline.quality.features import Scale, finite
from pipeline.quality.fitted import Fitted
from pipeline.quality.folds import Scorer, cross_fitted, group_folds

PENALTIES = (0.001, 0.01, 0.1, 1.0)
FOLDS = 5
FURTHEST = 4.0
"""Standard deviations at which features are cut off: beyond those of the training cases, the line is a guess."""
STEEPEST = 10.0
"""Bound of the intercept: where all shares are 0 or 1, it would grow for ever."""
LEAST_DIFFICULTY = 1e-3
MEAN_SHARE = 0.1
"""Of the mean error in the difficulty of a mask."""


def fit_logit(
    rows: NDArray[np.float64], shares: NDArray[np.float64], *, penalty: float, signs: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Intercept and weights (F + 1,) of a share between 0 and 1: fractional logistic regression with a ridge.

    E[share] = expit(w0 + x w), by the likelihood that logistic regression has, which is consistent for shares too, and
    takes 0 and 1 as they are (Papke and Wooldridge 1996, "Econometric methods for fractional response variables").
    What is minimised is convex: the mean over rows of log(1 + exp(t)) - share t, with t = w0 + x w, and
    penalty / 2 |w|^2 without w0. Its gradient is the mean of (expit(t) - share) x, and penalty w.

    Args:
        rows: standardised features, (N, F).
        shares: (N,).
        penalty: of the squared weights.
        signs: (F,), 1 where the share may only rise with a feature, -1 where it may only fall, 0 elsewhere.
    """
    from scipy.optimize import minimize

    design = _with_ones(rows)
    ridge = penalty * np.r_[0.0, np.ones(rows.shape[1])]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        line = design @ weights
        value = np.mean(np.logaddexp(0, line) - shares * line) + (ridge * weights**2).sum() / 2
        return float(value), design.T @ (expit(line) - shares) / len(design) + ridge * weights

    bounds = [(-STEEPEST, STEEPEST), *((None if sign <= 0 else 0.0, None if sign >= 0 else 0.0) for sign in signs)]
    return minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x


@dataclass(frozen=True, eq=False)
class DiceRegression(Fitted):
    """Expected Dice, and how far from it the Dice may be expected to lie.

    Few weights, each of a known direction where the field knows it (a larger entropy does not go with a better mask),
    rather than trees: there are a few dozen cases, and damaged versions of them.

    Attributes:
        scale: of the features.
        weights: intercept and weights of the Dice, (F + 1,).
        error_weights: the same of the absolute error out of fold, which is a share as well.
        mean_error: the mean of that error.
    """

    scale: Scale
    weights: NDArray[np.float64]
    error_weights: NDArray[np.float64]
    mean_error: float

    @classmethod
    def fit(cls, features: NDArray, dice: NDArray, *, groups: NDArray, signs: NDArray | None = None) -> Self:
        """Fit to masks whose Dice is known; the penalty is the one of the least squared error out of fold.

        Args:
            features: (N, F).
            dice: (N,), between 0 and 1.
            groups: (N,), the case that a mask is of: what is damaged in several ways stays in one fold.
            signs: as in `fit_logit`; none is known by default.
        """
        scale = Scale.fit(features)
        rows, shares = _cut(scale.apply(features)), finite(dice)
        assert ((shares >= 0) & (shares <= 1)).all(), (shares.min(), shares.max())
        signs = np.zeros(rows.shape[1], np.int64) if signs is None else signs
        fold_of = group_folds(groups, FOLDS)
        weights, held_out = _tuned(rows, shares, signs=signs, fold_of=fold_of)
        errors = np.abs(shares - held_out)
        error_weights, _ = _tuned(rows, errors, signs=np.zeros_like(signs), fold_of=fold_of)
        return cls(scale, weights, error_weights, float(errors.mean()))

    def predicted(self, features: NDArray) -> NDArray[np.float64]:
        """Expected Dice of new masks, (N,), by their features (N, F)."""
        return _shares(_cut(self.scale.apply(features)), self.weights)

    def difficulty(self, features: NDArray) -> NDArray[np.float64]:
        """Expected absolute error for new masks, (N,), above 0: a part of it is the mean of all masks.

        With few cases an estimate of each one's error is not well known.
        """
        own = _shares(_cut(self.scale.apply(features)), self.error_weights)
        return np.maximum((1 - MEAN_SHARE) * own + MEAN_SHARE * self.mean_error, LEAST_DIFFICULTY)


def _tuned(
    rows: NDArray[np.float64], shares: NDArray[np.float64], *, signs: NDArray[np.int64], fold_of: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights with the best of the penalties, and what it gives each row out of fold."""

    def held_out(penalty: float) -> NDArray[np.float64]:
        def fit(kept: NDArray[np.bool_]) -> Scorer:
            weights = fit_logit(rows[kept], shares[kept], penalty=penalty, signs=signs)
            return lambda left: _shares(left, weights)

        return cross_fitted(fit, rows, fold_of)

    tried = {penalty: held_out(penalty) for penalty in PENALTIES}
    best = min(tried, key=lambda penalty: float(np.mean((tried[penalty] - shares) ** 2)))
    return fit_logit(rows, shares, penalty=best, signs=signs), tried[best]


def _shares(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return expit(_with_ones(rows) @ weights)


def _with_ones(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([np.ones(len(rows)), rows])


def _cut(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(rows, -FURTHEST, FURTHEST)
