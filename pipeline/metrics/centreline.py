"""Centre-line Dice: whether structures that are long and thin, as vessels are, were found along all of their length."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class CentrelineOverlap:
    """What the centre line of each of two masks has in common with the other mask, in voxels.

    Shit et al., "clDice - a novel topology-preserving loss function for tubular structure segmentation" (CVPR 2021,
    arXiv:2003.07311), section 2.

    Attributes:
        predicted_inside: voxels of the prediction's centre line that lie in the reference.
        predicted: voxels of the prediction's centre line.
        reference_inside: voxels of the reference's centre line that lie in the prediction.
        reference: voxels of the reference's centre line.

    Example:
        >>> CentrelineOverlap(predicted_inside=4, predicted=4, reference_inside=4, reference=8).dice
        0.6666666666666666
    """

    predicted_inside: int
    predicted: int
    reference_inside: int
    reference: int

    @classmethod
    def of(cls, predicted: NDArray[np.bool_], reference: NDArray[np.bool_], *, per_slice: bool) -> Self:
        """Count two boolean arrays of one shape; see `centreline` for shapes and ``per_slice``."""
        assert predicted.shape == reference.shape, (predicted.shape, reference.shape)
        ours, theirs = (centreline(mask, per_slice=per_slice) for mask in (predicted, reference))
        return cls(
            predicted_inside=int(np.count_nonzero(ours & reference)),
            predicted=int(np.count_nonzero(ours)),
            reference_inside=int(np.count_nonzero(theirs & predicted)),
            reference=int(np.count_nonzero(theirs)),
        )

    @property
    def precision(self) -> float | None:
        """Topology precision, the share of the predicted centre line in the reference: None without a prediction."""
        return self.predicted_inside / self.predicted if self.predicted else None

    @property
    def sensitivity(self) -> float | None:
        """Topology sensitivity, the share of the reference's centre line that was found: None without a reference."""
        return self.reference_inside / self.reference if self.reference else None

    @property
    def dice(self) -> float | None:
        """clDice, the harmonic mean of the two: 0 where one mask is empty, as Dice is, and None where both are."""
        if not self.predicted and not self.reference:
            return None
        precision, sensitivity = self.precision or 0.0, self.sensitivity or 0.0
        both = precision + sensitivity
        return 2 * precision * sensitivity / both if both else 0.0  # nothing in common: where the mean of both goes


def centreline(mask: NDArray[np.bool_], *, per_slice: bool) -> NDArray[np.bool_]:
    """The centre line of a mask, one voxel wide.

    Images are thinned by Zhang and Suen's algorithm (1984), volumes by Lee, Kashyap and Chu's (1994), as scikit-image
    has them; neither looks at the spacing. The latter deletes some parts of even thickness altogether, such as a cube
    of 4 x 4 x 4 voxels: of such a part, the voxel that is furthest inside stands for the centre line.

    Args:
        mask: boolean, (I, J) or (I, J, K).
        per_slice: whether K only stacks images, each of which has centre lines of its own. An array with an axis of one
            voxel is taken as the image that it is.

    Returns:
        Boolean, of the mask's shape; every voxel of it is one of the mask's.
    """
    if mask.ndim == 3 and per_slice:
        lines = [centreline(mask[:, :, index], per_slice=False) for index in range(mask.shape[2])]
        return np.stack(lines, axis=2) if lines else mask.copy()
    from skimage.morphology import skeletonize  # takes a third of a second, and few evaluations score centre lines

    flat = [axis for axis, size in enumerate(mask.shape) if size == 1][: mask.ndim - 2]
    plane = mask.squeeze(tuple(flat))
    return _with_lost_parts(skeletonize(plane), plane).reshape(mask.shape)


def _with_lost_parts(line: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A centre line with the innermost voxel of each part of the mask that has none; parts may touch by corners."""
    parts, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    lost = np.setdiff1d(np.arange(1, count + 1), parts[line])
    if len(lost) == 0:
        return line
    whole = line.copy()
    depths = ndimage.distance_transform_edt(mask)
    whole[tuple(np.transpose(ndimage.maximum_position(depths, parts, lost)))] = True
    return whole
