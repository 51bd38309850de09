"""Whether a network is as sure as it is right, and the temperature that makes it so."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError

COLDEST, HOTTEST = 0.2, 10.0
LEAST_PROBABILITY = 1e-12
BINS = 10


def soften(probabilities: NDArray[np.floating], temperature: float) -> None:
    """Bring probabilities (C, ...) to another temperature, where they are: p^(1 / T), as if logits were divided by T.

    The likeliest class stays the likeliest. Above 1, all are less sure; below 1, surer.
    """
    np.maximum(probabilities, LEAST_PROBABILITY, out=probabilities)
    np.power(probabilities, 1 / temperature, out=probabilities)
    probabilities /= probabilities.sum(axis=0)


def fit_temperature(probabilities: NDArray, classes: NDArray) -> float:
    """The temperature at which the probabilities of what was found to be are the highest.

    Guo et al. 2017, "On calibration of modern neural networks", section 4.2: the mean of -log p of the true class is
    least. It is convex in 1 / T.

    Args:
        probabilities: (C, N), which sum to 1.
        classes: the true ones (N,).

    Returns:
        Between `COLDEST` and `HOTTEST`.

    Raises:
        DatasetError: there are no voxels.
    """
    from scipy.optimize import minimize_scalar

    if not len(classes):
        raise DatasetError("voxels of validation cases to fit a temperature to", "none", "Set data.split.validation.")
    logarithms = np.log(np.maximum(probabilities, LEAST_PROBABILITY).astype(np.float64))
    own = logarithms[classes, np.arange(len(classes))]

    def loss(inverse: float) -> float:
        scaled = inverse * logarithms
        highest = scaled.max(axis=0)
        return float(np.mean(highest + np.log(np.exp(scaled - highest).sum(axis=0)) - inverse * own))

    found = minimize_scalar(loss, bounds=(1 / HOTTEST, 1 / COLDEST), method="bounded")
    return float(1 / found.x)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often the likeliest class is right, by how sure the network is; arrays have a place for each of `BINS` bins.

    Attributes:
        edges: of the bins, (BINS + 1,): from 1 / C, below which the likeliest of C classes cannot be, to 1.
        confidence: the mean probability of the likeliest class; NaN in a bin without voxels.
        accuracy: share of voxels where it is right.
        share: of all voxels that lie in the bin.
    """

    edges: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    share: NDArray[np.float64]

    @classmethod
    def of(cls, probabilities: NDArray, classes: NDArray) -> "Reliability":
        """Of probabilities (C, N) and true classes (N,)."""
        sure, is_right = probabilities.max(axis=0).astype(np.float64), probabilities.argmax(axis=0) == classes
        edges = np.linspace(1 / len(probabilities), 1, BINS + 1)
        place = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, BINS - 1)
        counts = np.bincount(place, minlength=BINS)
        with np.errstate(invalid="ignore"):
            confidence = np.bincount(place, sure, BINS) / counts
            accuracy = np.bincount(place, is_right, BINS) / counts
        return cls(edges, confidence, accuracy, counts / max(len(classes), 1))

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over voxels of |accuracy - confidence| of their bin."""
        return float(np.nansum(self.share * np.abs(self.accuracy - self.confidence)))
