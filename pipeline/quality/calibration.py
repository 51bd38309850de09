"""From several raw scores of a scan to one: how odd it is, and from where on it is taken for foreign."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from pipeline.errors import ModelError
from pipeline.quality.conformal import conformal_quantile, group_weights
from pipeline.quality.features import enough, finite
from pipeline.quality.fitted import Fitted
from pipeline.quality.folds import Scorer, cross_fitted, group_folds

FREEDOM = 4.0
"""Degrees of freedom of Student's t. A normal tail would take a scan at 6 deviations for one in a billion, which a few
dozen scans cannot tell, and would let the score with the heaviest tail speak for all."""
QUARTILE, DECILE = 0.740697, 1.533206
"""Where the upper quarter and the upper tenth of Student's t with 4 degrees of freedom begin."""
LEAST_SPREAD = 0.05
"""A score that differs by 5 % from its median is not odd, however little it varied."""
LEAST_SHARE = 1e-3
"""Scores below this share of their median count as that much, so that a distance of 0 has a logarithm."""


@dataclass(frozen=True, eq=False)
class Tails(Fitted):
    """How rare so odd a score is among held-out scans that are not foreign, for each of S scores.

    The logarithm of a score (they are distances) is put into units of its spread around its median. The spread is the
    larger one of two: by the median absolute deviation, and by the upper decile, since high scores are odd and their
    side may be the wider one. A few foreign scans among the held-out ones alter neither much. What is left is taken for
    Student's t.

    A score may be two-sided, such as the error of a reconstruction: a blurred scan is easier to reconstruct than any
    that a model learnt from. Its lower side has a spread of its own, and twice the smaller probability counts.

    Attributes:
        floor: (S,), the smallest score whose logarithm is taken.
        centre: (S,), the median of the logarithm.
        spread: (S,).
        spread_below: (S,), that of the lower side; infinite of a score that is odd where it is high alone.
    """

    floor: NDArray[np.float64]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    spread_below: NDArray[np.float64]

    @classmethod
    def fit(cls, scores: NDArray, two_sided: NDArray[np.bool_] | None = None) -> Self:
        """Fit to the scores of held-out scans, (N, S), each 0 or more; ``two_sided`` (S,) says which are, if any."""
        rows = enough(scores)
        middle = np.median(rows, axis=0)
        floor = np.where(middle > 0, LEAST_SHARE * middle, 1.0)  # a distance that is mostly 0 counts in units of 1
        logarithms = np.log(np.maximum(rows, floor))
        centre = np.median(logarithms, axis=0)
        around = np.median(np.abs(logarithms - centre), axis=0) / QUARTILE
        upper, lower = (np.abs(np.quantile(logarithms, level, axis=0) - centre) / DECILE for level in (0.9, 0.1))
        least = np.maximum(around, LEAST_SPREAD)
        spread_below = np.full_like(centre, np.inf)
        if two_sided is not None:
            spread_below[two_sided] = np.maximum(least, lower)[two_sided]
        return cls(floor, centre, np.maximum(least, upper), spread_below)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> Self:
        """What `to_arrays` gave; an older gate, without lower sides, is one-sided."""
        one_sided = {"spread_below": np.full_like(arrays["spread"], np.inf)} if "spread" in arrays else {}
        return super().from_arrays(one_sided | dict(arrays))

    def oddness(self, scores: NDArray) -> NDArray[np.float64]:
        """-log10 of the probability of so odd a score, of new scans (N, S): 2 where one scan in 100 has it."""
        rows = finite(scores)
        if rows.shape[1:] != self.centre.shape:
            raise ModelError(
                f"{len(self.centre)} scores of a scan", f"an array of shape {rows.shape}", "Give those of the fit."
            )
        deviations = np.log(np.maximum(rows, self.floor)) - self.centre
        upper, lower = stdtr(FREEDOM, -deviations / self.spread), stdtr(FREEDOM, deviations / self.spread_below)
        return -np.log10(np.where(np.isfinite(self.spread_below), 2 * np.minimum(upper, lower), upper))


def combined(oddness: NDArray[np.float64]) -> NDArray[np.float64]:
    """One number a scan (N,) from several (N, S): -log10 of the harmonic mean of their probabilities.

    A scan that is odd in any one score is odd: the smallest of S probabilities p decides, and the result is never more
    than log10(S) below its -log10(p). Fisher's sum of logarithms would count what several scores see together several
    times, as they do; the harmonic mean hardly depends on how they hang together (Wilson 2019, "The harmonic mean
    p-value for combining dependent tests").

    Example:
        >>> float(combined(np.array([[3.0, 3.0]]))[0])
        3.0
    """
    return np.log10(np.mean(10.0**oddness, axis=1))


@dataclass(frozen=True, eq=False)
class Gate(Fitted):
    """Whether a scan is like those that a model learnt from.

    Attributes:
        tails: of the scores.
        threshold: a scan is foreign whose `gate_score` is above it.
        false_alarm_rate: the share of scans like the held-out ones, at most, that are nevertheless above it.
    """

    tails: Tails
    threshold: float
    false_alarm_rate: float

    @classmethod
    def fit(
        cls,
        scores: NDArray,
        false_alarm_rate: float,
        groups: NDArray | None = None,
        *,
        two_sided: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Fit to scans that are not foreign.

        The gate score of each of them is by tails that were fitted without its group, and the threshold is their
        conformal quantile: their ceil((n + 1)(1 - rate))-th smallest. Where n < 1 / rate - 1, too few to vouch for the
        rate, it is the highest of them, and ``false_alarm_rate`` is what that is good for, 1 / (n + 1). A scan scores a
        little higher by tails without it than a new one does by the tails of all, so that alarms are rather too rare.

        Args:
            scores: raw scores, (N, S), each 0 or more, by what was not fitted to the scan (`cross_fitted`).
            false_alarm_rate: between 0 and 1.
            groups: the patient of each scan, (N,); each its own by default.
            two_sided: as `Tails.fit` takes it.
        """
        rows = enough(scores)
        groups = np.arange(len(rows)) if groups is None else groups
        each = group_folds(groups, len(rows))

        def fit(kept: NDArray[np.bool_]) -> Scorer:
            tails = Tails.fit(rows[kept], two_sided)
            return lambda left: combined(tails.oddness(left))

        own = cross_fitted(fit, rows, each)
        return cls(Tails.fit(rows, two_sided), *_threshold(own, false_alarm_rate, groups))

    def gate_score(self, scores: NDArray) -> NDArray[np.float64]:
        """One number a scan (N,) from its raw scores (N, S), higher where it is odder; 2 is about one scan in 100."""
        return combined(self.tails.oddness(scores))

    def is_foreign(self, scores: NDArray) -> NDArray[np.bool_]:
        """Whether scans are above the threshold, (N,)."""
        return self.gate_score(scores) > self.threshold

    def refit(self, scores: NDArray, false_alarm_rate: float, groups: NDArray | None = None) -> Self:
        """The gate with the threshold that a site's own scans give, on which the model is known to work.

        Args:
            scores: raw scores of new scans, (N, S), none of which was trained on.
            false_alarm_rate: as in `fit`, with the same bound where there are too few.
            groups: the patient of each scan, (N,); each its own by default.
        """
        own = self.gate_score(enough(scores))
        threshold, rate = _threshold(own, false_alarm_rate, np.arange(len(own)) if groups is None else groups)
        return replace(self, threshold=threshold, false_alarm_rate=rate)


def _threshold(own: NDArray[np.float64], rate: float, groups: NDArray) -> tuple[float, float]:
    """The threshold that gate scores (N,) give, and the rate that it is good for."""
    assert 0 < rate < 1, rate
    weights = group_weights(groups)
    bound = float(conformal_quantile(own, rate, weights))
    return (bound, rate) if np.isfinite(bound) else (float(own.max()), 1 - float(weights.sum()))
