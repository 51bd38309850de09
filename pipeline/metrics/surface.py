"""Distances between the surfaces of two masks, in mm.

The surface of a mask is the set of its voxels that have a voxel outside the mask among their face neighbours (6 in a
volume, 4 in a plane); what lies beyond the array counts as outside. A distance is the one from the centre of a surface
voxel to the nearest centre of the other surface. Both are MONAI's definitions (``compute_hausdorff_distance``,
``compute_average_surface_distance``, ``compute_surface_dice`` with ``use_subvoxels=False``). Surface voxels are
counted, each as one; DeepMind's surface-distance weighs them by the area of the surface between voxel centres.

An axis that is one voxel long has no inside, so it has no surface across it: an image stored as a volume of one slice
is scored as the image it is, by its outline. MONAI does the same where it is given the image without that axis.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

PERCENTILE = 95
ROUNDING_MM = 1e-4
"""Headers store spacings in 32 bits, where 1 mm comes back as 1.0000001 mm: a distance may exceed the tolerance by this
much. Without it, a rotated affine could turn agreement at one voxel's distance into disagreement."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """How far each surface voxel of one mask is from the other mask's surface.

    Attributes:
        from_predicted_mm: one distance for each surface voxel of the prediction; infinite where the reference is empty.
        from_reference_mm: one distance for each surface voxel of the reference; infinite where the prediction is empty.
    """

    from_predicted_mm: NDArray[np.float64]
    from_reference_mm: NDArray[np.float64]

    @property
    def defined(self) -> bool:
        """Whether both masks have a surface, so that there is a distance between them."""
        return self.from_predicted_mm.size > 0 and self.from_reference_mm.size > 0


def surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels of a mask, of any number of axes, that have a face neighbour outside it."""
    return mask & ~ndimage.binary_erosion(mask)


def surface_distances(
    predicted: NDArray[np.bool_], reference: NDArray[np.bool_], spacing_mm: tuple[float, ...]
) -> SurfaceDistances:
    """Distances between the surfaces of two masks, both ways.

    They come from a k-d tree of the surface voxels, so that time and memory follow the surfaces and not the box around
    them: the same numbers as a distance transform of that box, and several times sooner for large structures.

    Args:
        predicted: boolean, (I, J, K) or (I, J).
        reference: boolean, of the same shape.
        spacing_mm: distance between voxel centres along each axis.
    """
    assert predicted.shape == reference.shape, (predicted.shape, reference.shape)
    ours, theirs = _surface_points_mm(predicted, spacing_mm), _surface_points_mm(reference, spacing_mm)
    return SurfaceDistances(_nearest_mm(ours, theirs), _nearest_mm(theirs, ours))


def hd95_mm(distances: SurfaceDistances) -> float | None:
    """The 95th percentile of the Hausdorff distance: the larger of the two directed 95th percentiles.

    Percentiles are interpolated linearly. Other programs take the percentile of both directions together, which gives
    smaller values. None where a mask is empty: no number of mm stands for a structure that is missing.
    """
    if not distances.defined:
        return None
    directed = (np.percentile(d, PERCENTILE) for d in (distances.from_predicted_mm, distances.from_reference_mm))
    return float(max(directed))


def asd_mm(distances: SurfaceDistances) -> float | None:
    """The symmetric average surface distance: the mean over both masks' surface voxels. None where a mask is empty."""
    if not distances.defined:
        return None
    return float(np.concatenate([distances.from_predicted_mm, distances.from_reference_mm]).mean())


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float | None:
    """Normalised surface Dice: the share of both masks' surface voxels within the tolerance of the other surface.

    Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy" (2018), with
    surface voxels counted instead of areas measured (see the head of this file).

    Args:
        distances: of the two masks.
        tolerance_mm: the largest distance that agrees.

    Returns:
        From 0 to 1; 0 where one mask is empty (its surface is infinitely far), None where both are.
    """
    both = np.concatenate([distances.from_predicted_mm, distances.from_reference_mm])
    return float(np.mean(both <= tolerance_mm + ROUNDING_MM)) if both.size else None


def _surface_points_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Centres of the surface voxels (N, axes longer than a voxel), in mm along these axes from the first voxel's."""
    kept = [axis for axis, size in enumerate(mask.shape) if size > 1] or [0]
    dropped = tuple(axis for axis in range(mask.ndim) if axis not in kept)
    return np.argwhere(surface(mask.squeeze(dropped))) * np.asarray([spacing_mm[axis] for axis in kept])


def _nearest_mm(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(points) == 0 or len(others) == 0:
        return np.full(len(points), np.inf)
    return KDTree(others).query(points)[0]
