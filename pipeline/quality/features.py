"""Rows of features, a scan or a mask each: what is refused of them, and their common scale."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError, ModelError
from pipeline.quality.fitted import Fitted

LEAST_CASES = 4
"""Rows that anything is fitted to. Fewer have no spread worth the name; what eight are worth, their number tells."""
CONSTANT = 1e-6
"""A feature that varies by less than this share of its size varies by rounding alone."""


def finite(features: NDArray) -> NDArray[np.float64]:
    """Features (N, ...) as 64-bit numbers.

    Raises:
        ModelError: some are NaN or infinite.
    """
    rows = np.asarray(features, np.float64)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=tuple(range(1, rows.ndim))))
    if len(bad):
        raise ModelError(
            "finite features of every case",
            f"NaN or infinity in {len(bad)} of {len(rows)} rows, first in row {bad[0]}",
            "Look at the scan of that row and at what its features were computed by, or leave the scan out.",
        )
    return rows


def enough(features: NDArray) -> NDArray[np.float64]:
    """Features (N, ...) that something can be fitted to, as 64-bit numbers.

    Raises:
        DatasetError: there are fewer than `LEAST_CASES` rows.
        ModelError: some features are NaN or infinite.
    """
    if len(features) < LEAST_CASES:
        raise DatasetError(f"at least {LEAST_CASES} cases to fit to", f"{len(features)}", "Give more cases.")
    return finite(features)


@dataclass(frozen=True, eq=False)
class Scale(Fitted):
    """Mean and standard deviation of each feature in the training cases.

    A feature that was constant there (a dead channel of a network, say) has the median deviation of the others: a new
    case that differs in it is odd, and no division by rounding noise makes it infinitely so.

    Attributes:
        mean: (F,).
        deviation: (F,), above 0.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray) -> Self:
        """Fit to features (N, F).

        Raises:
            DatasetError: there are too few cases, or none differs from another.
            ModelError: some features are NaN or infinite.
        """
        rows = enough(features)
        deviation = rows.std(axis=0)
        varies = deviation > CONSTANT * np.abs(rows).max(axis=0)
        if not varies.any():
            raise DatasetError(
                "features that differ between cases",
                f"{len(rows)} cases that are all alike",
                "Look whether the same scan was given again and again.",
            )
        return cls(rows.mean(axis=0), np.where(varies, deviation, np.median(deviation[varies])))

    def apply(self, features: NDArray) -> NDArray[np.float64]:
        """Standardised features of new cases, (N, F).

        Raises:
            ModelError: some are NaN or infinite, or there are more or fewer than at the fit.
        """
        rows = finite(features)
        if rows.shape[1:] != self.mean.shape:
            raise ModelError(
                f"{len(self.mean)} features of a case",
                f"an array of shape {rows.shape}",
                "Compute the features as for the training cases.",
            )
        return (rows - self.mean) / self.deviation
