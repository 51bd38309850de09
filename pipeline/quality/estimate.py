"""The quality of a mask without a reference: predicted Dice, and an interval that holds the Dice."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.quality.conformal import Conformal
from pipeline.quality.fitted import Fitted
from pipeline.quality.folds import group_folds
from pipeline.quality.regression import FOLDS, DiceRegression


@dataclass(frozen=True, eq=False)
class DiceEstimate(Fitted):
    """A regression on all cases, those on all folds but one, and the intervals that these give (CV+).

    Attributes:
        whole: fitted to all cases.
        folds: each fitted to all folds but its own.
        conformal: the errors out of fold.
        out_of_fold: predicted Dice of the training masks, (N,), each by the regression that did not see its case; what
            the estimate is to be judged by.
    """

    whole: DiceRegression
    folds: tuple[DiceRegression, ...]
    conformal: Conformal
    out_of_fold: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        features: NDArray,
        dice: NDArray,
        *,
        groups: NDArray,
        signs: NDArray | None = None,
        likely: NDArray | None = None,
    ) -> Self:
        """Fit to masks whose Dice is known.

        Args:
            features: (N, F).
            dice: (N,), between 0 and 1.
            groups: (N,), the case that a mask is of.
            signs: (F,), 1 where the Dice may only rise with a feature, -1 where it may only fall, 0 elsewhere.
            likely: how often such a mask is the one that a case has, (N,), which the intervals go by; by default equal.
        """
        features, dice = np.asarray(features), np.asarray(dice)
        whole = DiceRegression.fit(features, dice, groups=groups, signs=signs)
        fold_of = group_folds(groups, FOLDS)
        folds = tuple(
            DiceRegression.fit(features[kept], dice[kept], groups=groups[kept], signs=signs)
            for kept in (fold_of != fold for fold in range(fold_of.max() + 1))
        )
        own = np.arange(len(dice)), fold_of
        predicted, difficulty = (by_fold[own] for by_fold in _by_fold(folds, features))
        conformal = Conformal.fit(predicted, dice, fold_of=fold_of, difficulty=difficulty, groups=groups, likely=likely)
        return cls(whole, folds, conformal, predicted)

    def predicted(self, features: NDArray) -> NDArray[np.float64]:
        """Predicted Dice of new masks, (N,), by their features (N, F)."""
        return self.whole.predicted(features)

    def interval(self, features: NDArray, alpha: float) -> NDArray[np.float64]:
        """Lower and upper end (N, 2) between which the Dice of a new mask lies, but for a probability of about alpha.

        The predicted Dice lies between them as well: by itself CV+ does not see to that.
        """
        predicted, difficulty = _by_fold(self.folds, features)
        low, high = self.conformal.interval(predicted, alpha, difficulty).T
        whole = self.whole.predicted(features)
        return np.stack([np.minimum(low, whole), np.maximum(high, whole)], axis=1)


def _by_fold(folds: tuple[DiceRegression, ...], features: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted Dice and difficulty by each regression, both (N, K)."""
    predicted = [regression.predicted(features) for regression in folds]
    difficulty = [regression.difficulty(features) for regression in folds]
    return np.stack(predicted, axis=1), np.stack(difficulty, axis=1)
