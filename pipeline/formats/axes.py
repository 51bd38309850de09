"""Which affines a scan may have: the same for every format."""

import numpy as np

from pipeline import geometry
from pipeline.errors import ScanError


def check_axes(affine: geometry.Affine) -> None:
    """Refuse axes whose spacing would mean nothing.

    Args:
        affine: voxel index -> RAS mm.

    Raises:
        ScanError: an axis has no length, or two of them are not at right angles.
    """
    check_lengths(affine)
    cosine = geometry.shear_cosine(affine)
    if cosine > geometry.MAX_SHEAR_COSINE:
        angle = np.degrees(np.arccos(min(cosine, 1.0)))
        raise ScanError(
            "voxel axes at right angles",
            f"two axes at {angle:.1f} degrees (shear)",
            "Resample the scan to a square grid.",
        )


def check_lengths(affine: geometry.Affine) -> None:
    """Refuse axes without a length, and positions that are no numbers.

    Raises:
        ScanError: there are such.
    """
    with np.errstate(all="ignore"):
        spacing_mm = geometry.voxel_spacing_mm(affine)
    if not np.isfinite(affine).all() or not np.isfinite(spacing_mm).all() or min(spacing_mm) <= 0:
        raise ScanError(
            "a finite distance above zero between voxels along every axis",
            " x ".join(f"{mm:g}" for mm in spacing_mm) + " mm",
            "Correct the header from the original scan.",
        )
