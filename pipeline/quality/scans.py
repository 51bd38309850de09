"""Whether a scan is like those that a model learnt from, by all that is measured of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.quality.calibration import Gate
from pipeline.quality.fitted import Fitted
from pipeline.quality.folds import Scorer, cross_fitted, group_folds
from pipeline.quality.histogram import HistogramNeighbours
from pipeline.quality.outliers import Mahalanobis, NearestNeighbours

FOLDS = 10
LEAST_PATIENTS = 8
"""Whose scans a gate is fitted to: of fewer, a threshold would say little."""
RECONSTRUCTIONS = ("denoising", "variational")
"""The autoencoders whose errors are scores, in the order of `Measurements.errors`."""


@dataclass(frozen=True, eq=False)
class Measurements:
    """What is measured of N scans.

    Attributes:
        quantiles: of the normalised intensities (N, C, Q), by `histogram.quantiles_of`.
        features: of the network that segments (N, F).
        errors: of the reconstruction by each autoencoder (N, E), above 0; of a scan that some learnt from, by the
            others. E may be 0.
    """

    quantiles: NDArray[np.float64]
    features: NDArray[np.float64]
    errors: NDArray[np.float64]

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Those of all scans of several."""
        names = ("quantiles", "features", "errors")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, eq=False)
class ScanGate(Fitted):
    """Every score of a scan, and whether all of them together call it foreign.

    Attributes:
        histogram: of intensities.
        mahalanobis: of features.
        neighbours: of features.
        gate: of the scores of these and of the reconstruction errors, in this order.
    """

    histogram: HistogramNeighbours
    mahalanobis: Mahalanobis
    neighbours: NearestNeighbours
    gate: Gate

    @classmethod
    def fit(cls, known: Measurements, false_alarm_rate: float, *, groups: NDArray) -> Self:
        """Fit to scans that are not foreign; each is scored by what was fitted without its group.

        Args:
            known: of the scans.
            false_alarm_rate: as `Gate.fit` takes it.
            groups: the patient of each scan, (N,).

        Raises:
            DatasetError: there are too few scans or patients, or all scans are alike.
        """
        check_patients(groups)
        fold_of = group_folds(groups, FOLDS)
        held_out = [
            _held_out(HistogramNeighbours, known.quantiles, fold_of),
            _held_out(Mahalanobis, known.features, fold_of),
            _held_out(NearestNeighbours, known.features, fold_of),
            known.errors,
        ]
        two_sided = np.repeat([False, True], [sum(each.shape[1] for each in held_out[:-1]), known.errors.shape[1]])
        return cls(
            HistogramNeighbours.fit(known.quantiles),
            Mahalanobis.fit(known.features),
            NearestNeighbours.fit(known.features),
            Gate.fit(np.concatenate(held_out, axis=1), false_alarm_rate, groups, two_sided=two_sided),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scores."""
        distances = (*self.histogram.SCORES, *self.mahalanobis.SCORES, *self.neighbours.SCORES)
        return (*distances, *RECONSTRUCTIONS)[: len(self.gate.tails.centre)]

    def scores(self, found: Measurements) -> NDArray[np.float64]:
        """Every raw score of new scans, (N, S), each higher where a scan is odder, errors lower too; S as `names`."""
        return np.concatenate(
            [
                self.histogram.scores(found.quantiles),
                self.mahalanobis.scores(found.features),
                self.neighbours.scores(found.features),
                found.errors,
            ],
            axis=1,
        )


def check_patients(groups: NDArray) -> None:
    """Whether there are enough patients.

    Raises:
        DatasetError: there are too few.
    """
    found = len(np.unique(groups))
    if found < LEAST_PATIENTS:
        raise DatasetError(f"scans of at least {LEAST_PATIENTS} patients to fit a gate to", f"{found}", "Give more.")


def _held_out(
    kind: type[HistogramNeighbours] | type[Mahalanobis] | type[NearestNeighbours],
    rows: NDArray[np.float64],
    fold_of: NDArray[np.int64],
) -> NDArray[np.float64]:
    def fit(kept: NDArray[np.bool_]) -> Scorer:
        return kind.fit(rows[kept]).scores

    return cross_fitted(fit, rows, fold_of)
