"""How far a scan's features lie from those of the training scans: Mahalanobis after PCA, and nearest neighbours.

Scores are distances: 0 or more, higher where a scan is odder. Those of training cases come from `cross_fitted`, since
a case is never far from what was fitted to it:

    scores = cross_fitted(lambda kept: Mahalanobis.fit(features[kept]).scores, features, group_folds(patients, 10))
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.quality.features import Scale
from pipeline.quality.fitted import Fitted

EXPLAINED = 0.95
"""Share of the variance that the components are to explain, if their number allows it."""
MOST_COMPONENTS = 64
NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Mahalanobis(Fitted):
    """Distance from the mean of the training cases within their main directions, and distance from these directions.

    The first is that of Lee et al. 2018 (arXiv:1807.03888, equation 2) with one class; on reduced features of
    segmentation networks, Gonzalez et al. 2022 (Medical Image Analysis 82). Features are standardised, and
    PCA keeps at most half as many components as there are differences between cases: of 8 cases in 2000 dimensions,
    the last of their 7 components are noise. The covariance is Ledoit and Wolf's (2004), which draws the variances of
    the components to their mean, the more so the fewer cases there are. Components are uncorrelated in the cases that
    they were fitted to, so that this covariance is diagonal.

    The second score sees what the first is blind to: a scan that differs in a way in which no training scan did.

    Attributes:
        scale: of the features.
        components: (K, F), orthonormal rows.
        variances: (K,), shrunk.
    """

    SCORES: ClassVar[tuple[str, ...]] = ("mahalanobis", "residual")

    scale: Scale
    components: NDArray[np.float64]
    variances: NDArray[np.float64]

    @classmethod
    def fit(cls, features: NDArray) -> Self:
        """Fit to features (N, F)."""
        from sklearn.covariance import ledoit_wolf

        scale = Scale.fit(features)
        rows = scale.apply(features)
        _, singular, directions = np.linalg.svd(rows, full_matrices=False)
        components = directions[: _component_count(singular**2, len(rows))]
        covariance, _ = ledoit_wolf(rows @ components.T, assume_centered=True)
        return cls(scale, components, np.diag(covariance).copy())

    def scores(self, features: NDArray) -> NDArray[np.float64]:
        """Both distances (N, 2) of new cases (N, F), each as a root mean square over its dimensions."""
        rows = self.scale.apply(features)
        inside = rows @ self.components.T
        outside = rows - inside @ self.components
        return np.sqrt(np.stack([(inside**2 / self.variances).mean(axis=1), (outside**2).mean(axis=1)], axis=1))


def _component_count(variances: NDArray[np.float64], cases: int) -> int:
    """How many components are kept, of those whose variances are given, largest first, up to a factor."""
    explained = np.cumsum(variances) / variances.sum()
    return min(int(np.searchsorted(explained, EXPLAINED)) + 1, max((cases - 1) // 2, 1), MOST_COMPONENTS)


@dataclass(frozen=True, eq=False)
class NearestNeighbours(Fitted):
    """Distance to the nearest training cases, of whatever shape their cloud is (Sun et al. 2022, arXiv:2204.06507).

    Distances are Euclidean, between standardised features, as a root mean square over these.

    Attributes:
        scale: of the features.
        training: standardised features of the training cases, (N, F).
        neighbours: how many the distance is the mean of.
    """

    SCORES: ClassVar[tuple[str, ...]] = ("neighbours",)

    scale: Scale
    training: NDArray[np.float64]
    neighbours: int

    @classmethod
    def fit(cls, features: NDArray, neighbours: int = NEIGHBOURS) -> Self:
        """Fit to features (N, F)."""
        scale = Scale.fit(features)
        return cls(scale, scale.apply(features), neighbours)

    def scores(self, features: NDArray) -> NDArray[np.float64]:
        """Distances (N, 1) of new cases (N, F)."""
        distances = [np.sqrt(((self.training - row) ** 2).mean(axis=1)) for row in self.scale.apply(features)]
        return nearest(np.array(distances).reshape(-1, len(self.training)), self.neighbours)[:, None]


def nearest(distances: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Mean distance to the nearest (N,), of distances (N, M); to all M where there are no more.

    The mean varies less than the distance to the last of them, which Sun et al. take (Angiulli and Pizzuti 2002,
    "Fast outlier detection in high dimensional spaces").
    """
    return np.sort(distances, axis=1)[:, :neighbours].mean(axis=1)
