"""What a network made of an image, brought back to the intensities and the grid of the scan, or to a finer grid.

What the network changed is added to the scan, in the scan's own units, so that intensities which normalising clips stay
as they are, and where the network changes nothing the scan is as it was.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.preprocessing import resample
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.intensity import scale_of
from pipeline.preprocessing.prepare import Prepared, Trail
from pipeline.scan import Scan


def on_own_grid(image: NDArray[np.float32], prepared: Prepared, scan: Scan, *, fitted: FittedPreprocessing) -> Scan:
    """The scan with what the network changed, on its own grid.

    Args:
        image: what the network made of ``prepared.image``, of its shape (C, I, J, K).
        prepared: the scan as the network saw it.
        scan: as it was read.
        fitted: the model's preprocessing.

    Returns:
        Intensities in 32 bits; what preprocessing cut away is as it was.
    """
    trail = prepared.trail
    change = resample.resample_image(
        image - prepared.image, trail.box_shape, order=fitted.resampling_order, coarse=trail.coarse
    )
    array = scan.array.astype(np.float32)
    box = trail.reorientation.apply(array)[:, *trail.box_slices]  # a view: what is written there is in the array
    box += _in_own_units(change, box, box, fitted=fitted)
    return replace(scan, array=array)


def on_prepared_grid(
    image: NDArray[np.float32], prepared: Prepared, scan: Scan, *, fitted: FittedPreprocessing
) -> Scan:
    """The same on the grid that the network works on, which may be finer; as `on_own_grid`."""
    trail = prepared.trail
    box = trail.reorientation.apply(scan.array)[:, *trail.box_slices].astype(np.float32)
    base = resample.resample_image(box, trail.shape, order=fitted.resampling_order, coarse=trail.coarse)
    array = base + _in_own_units(image - prepared.image, base, box, fitted=fitted)
    return Scan(array, prepared_affine(scan, trail), scan.source, scan.unit)


def prepared_affine(scan: Scan, trail: Trail) -> geometry.Affine:
    """Index of the prepared array -> RAS mm.

    Derivation: index j of m voxels lies at (j + 1/2) n/m - 1/2 of the n voxels of the crop (`resample`), which begins
    at some voxel of the reoriented scan, whose affine then leads to mm.
    """
    to_upright = np.eye(4)
    for axis, (n, m, (low, _)) in enumerate(zip(trail.box_shape, trail.shape, trail.box, strict=True)):
        to_upright[axis, axis] = n / m
        to_upright[axis, 3] = low + n / m / 2 - 0.5
    return trail.reorientation.apply_to_affine(scan.affine, scan.shape) @ to_upright


def _in_own_units(
    change: NDArray[np.float32], at: NDArray[np.float32], box: NDArray, *, fitted: FittedPreprocessing
) -> NDArray[np.float32]:
    """Changes of normalised intensities in the scan's units; zeros that preprocessing leaves at zero do not change.

    Args:
        change: (C, I, J, K).
        at: the scan on the same grid.
        box: the scan as it was normalised, before it was resampled.
        fitted: how it was.
    """
    found = np.empty_like(change)
    for place, how in enumerate(fitted.channels):
        kept = at[place] != 0 if isinstance(how, ScanNormalisation) and how.nonzero_only else True
        found[place] = change[place] * scale_of(box[place], how) * kept
    return found
