"""ITK's convention of axes (LPS), which NRRD and MetaImage share, and writing these formats through SimpleITK.

ITK's positions grow towards the patient's left, back (posterior) and head; those of an affine here towards the right,
front (anterior) and head. Turning one into the other changes the signs of x and y, and nothing else.

NRRD and MetaImage are not read through SimpleITK (2.5.7, ITK 5.4): from MetaImage with compressed voxels that are
damaged, cut off or too few it returns an image without a word, and it takes no notice of units of length, of spaces
that are not the patient's, or of an intensity scale.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.files import atomic_path
from pipeline.formats.format import Mask
from pipeline.scan import Scan

if TYPE_CHECKING:
    import SimpleITK

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Plane:
    """Where a file puts a picture of two axes: spacing and origin, which mean nothing here, but to its mask."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]

    def as_header(self) -> bytes:
        """The form in which a scan carries it."""
        return json.dumps([self.spacing, self.origin]).encode()

    @classmethod
    def of_header(cls, header: bytes) -> "Plane":
        """The inverse of `as_header`."""
        spacing, origin = json.loads(header)
        return cls(tuple(spacing), tuple(origin))


def affine_of(directions: np.ndarray, spacing_mm: np.ndarray, origin_mm: np.ndarray) -> geometry.Affine:
    """The affine of a volume, voxel index -> RAS mm.

    Args:
        directions: 3 x 3, a column an axis, in LPS.
        spacing_mm: along each axis.
        origin_mm: centre of the first voxel, in LPS.
    """
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing_mm
    affine[:3, 3] = origin_mm
    return LPS_TO_RAS @ affine


def check_plane(directions: np.ndarray, plane: Plane) -> None:
    """Refuse a picture that its file turns or mirrors: there is no patient to which that could be related.

    Args:
        directions: 2 x 2, a column an axis, of unit length.
        plane: spacing and origin.

    Raises:
        ScanError: it is turned, or its numbers make no sense.
    """
    if not np.allclose(directions, np.eye(2), atol=1e-6):
        raise ScanError(
            "a picture with the directions 1 0 0 1",
            "one that is turned or mirrored",
            "Save it upright, or as a volume of one slice with its position in the patient.",
        )
    if not np.isfinite([*plane.spacing, *plane.origin]).all() or min(plane.spacing) <= 0:
        found = f"the spacing {plane.spacing} and the origin {plane.origin}"
        raise ScanError("a picture with a spacing above 0", found, "Correct its header.")


def write_mask(target: Path, mask: Mask, scan: Scan, *, fields: Mapping[str, str]) -> None:
    """Write a mask (I, J, K) on a scan's own grid, compressed, whole or not at all.

    Args:
        target: the file; its ending gives the format.
        mask: label values; in one file plane alone where the scan is a picture.
        scan: what it was made of.
        fields: further fields of the header.
    """
    import SimpleITK

    assert mask.shape == scan.shape, (mask.shape, scan.shape)
    plane = Plane.of_header(scan.header) if scan.unit == "px" else None
    image = SimpleITK.GetImageFromArray((mask if plane is None else mask[..., 0]).T)  # ITK's arrays are K, J, I
    if plane is None:
        _place(image, scan)
    else:
        image.SetSpacing(plane.spacing)
        image.SetOrigin(plane.origin)
    for name, value in fields.items():
        image.SetMetaData(name, value)
    with atomic_path(target) as path:
        SimpleITK.WriteImage(image, str(path), useCompression=True)


def _place(image: "SimpleITK.Image", scan: Scan) -> None:
    affine = LPS_TO_RAS @ scan.affine
    image.SetSpacing(scan.spacing_mm)
    image.SetOrigin([float(mm) for mm in affine[:3, 3]])
    image.SetDirection([float(cosine) for cosine in (affine[:3, :3] / scan.spacing_mm).ravel()])
