"""Overlap of two masks, from counts of voxels, and their volumes.

A quotient whose denominator is 0 is undefined and None: nothing is made up for it, and nothing is hidden by it.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry


@dataclass(frozen=True)
class Overlap:
    """What two masks have in common, in voxels.

    Attributes:
        common: voxels in both masks (true positives).
        predicted: voxels in the prediction (true and false positives).
        reference: voxels in the reference (true positives and false negatives).

    Example:
        >>> Overlap(common=2, predicted=3, reference=4).dice
        0.5714285714285714
    """

    common: int
    predicted: int
    reference: int

    @classmethod
    def of(cls, predicted: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Self:
        """Count two boolean arrays of one shape."""
        assert predicted.shape == reference.shape, (predicted.shape, reference.shape)
        return cls(
            common=int(np.count_nonzero(predicted & reference)),
            predicted=int(np.count_nonzero(predicted)),
            reference=int(np.count_nonzero(reference)),
        )

    @property
    def dice(self) -> float | None:
        """2 |P n R| / (|P| + |R|) (Dice 1945): 0 where one mask is empty, None where both are."""
        return quotient(2 * self.common, self.predicted + self.reference)

    @property
    def iou(self) -> float | None:
        """|P n R| / |P u R| (Jaccard 1912): 0 where one mask is empty, None where both are."""
        return quotient(self.common, self.predicted + self.reference - self.common)

    @property
    def precision(self) -> float | None:
        """|P n R| / |P|, the share of the prediction that is right: None where the prediction is empty."""
        return quotient(self.common, self.predicted)

    @property
    def recall(self) -> float | None:
        """|P n R| / |R|, the share of the reference that was found: None where the reference is empty."""
        return quotient(self.common, self.reference)


def volume_ml(voxels: int, affine: geometry.Affine) -> float:
    """Volume of so many voxels of a grid, in millilitres."""
    return voxels * geometry.voxel_volume_ml(affine)


def quotient(numerator: int, denominator: int) -> float | None:
    """A share; None where it would be one of nothing."""
    return numerator / denominator if denominator else None
