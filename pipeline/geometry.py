"""Affines, spacings and orientations.

An affine is a 4x4 matrix that maps homogeneous voxel indices ``(i, j, k, 1)`` to RAS mm: x grows towards the patient's
right, y towards the front (anterior), z towards the head (superior). Arrays have their channels first: ``C I J K``.
"""

import sys
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError

if "pydicom" not in sys.modules:
    # nibabel imports it for DICOM elements inside NIfTI files, which nobody asks for here: it would make every process
    # that reads a scan start in twice the time.
    sys.modules["pydicom"] = None  # type: ignore[assignment]  # how Python marks a module that is not to be found
    try:
        import nibabel  # noqa: F401
    finally:
        del sys.modules["pydicom"]
from nibabel import orientations

Affine = NDArray[np.float64]
MAX_SHEAR_COSINE = 0.05
"""Axes whose cosine exceeds this (about 3 degrees from square) have no spacing that means anything: refused."""


Unit = Literal["mm", "px"]
"""What a step of 1 behind an affine is: a millimetre in the patient, or a pixel of a picture whose scale is unknown."""
KINDS: dict[Unit, str] = {"mm": "a spacing in mm", "px": "pixels of unknown size"}


class Grid(Protocol):
    """Voxels and where they lie, as scans and their headers give them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape (I, J, K) in voxels."""

    @property
    def affine(self) -> Affine:
        """4x4, voxel index -> RAS, in ``unit``."""

    @property
    def unit(self) -> Unit:
        """What a step of 1 behind the affine is."""


def voxel_spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Distance in mm between the centres of neighbouring voxels, along each voxel axis.

    Stepping by one along axis ``j`` adds column ``j`` of the affine's 3x3 part to the position, so the distance is
    that column's Euclidean length.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def ras_spacing_mm(affine: Affine) -> tuple[float, ...]:
    """The spacing along the axes of the nearest RAS order."""
    return to_ras(affine).spacing_mm(affine)


def voxel_volume_ml(affine: Affine) -> float:
    """Volume of a voxel in millilitres: the determinant is the volume in mm3 of the cell that the columns span."""
    return float(abs(np.linalg.det(affine[:3, :3]))) / 1000.0


def shear_cosine(affine: Affine) -> float:
    """The largest absolute cosine between two voxel axes: 0 where they are square to each other, 1 where parallel."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = directions.T @ directions - np.eye(3)
    return float(np.abs(cosines).max())


def largest_angle(affine_a: Affine, affine_b: Affine) -> float:
    """The largest angle in degrees between an axis of one affine and the same axis of the other.

    From the chord between the two directions, ``2 asin(chord / 2)``: near 0, a cosine is too flat to tell the angle.
    """
    a, b = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) for affine in (affine_a, affine_b))
    chord = np.linalg.norm(a - b, axis=0).max()
    return float(np.degrees(2 * np.arcsin(min(chord / 2, 1.0))))


def orientation(affine: Affine) -> str:
    """The letters that the voxel axes point to most nearly, e.g. ``"LPS"``."""
    return "".join(orientations.aff2axcodes(affine))


def upright_affine(spacing_mm: tuple[float, ...], last: int | None) -> Affine:
    """Prepared voxel index -> RAS mm, but for the origin; axes in RAS order, or with ``last`` behind the others.

    Args:
        spacing_mm: along the axes of the prepared array.
        last: the RAS axis that is its last one; None leaves the order.
    """
    order = to_ras(np.eye(4)) if last is None else to_ras(np.eye(4)).with_last(last)
    affine = np.zeros((4, 4))
    affine[order.source_axis, range(3)] = spacing_mm
    affine[3, 3] = 1
    return affine


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of voxel axes, from a scan's own order to another (the nearest RAS order) and back.

    Attributes:
        source_axis: for each axis of the reoriented array, the axis of the scan that it was.
        flipped: for each axis of the reoriented array, whether it runs against the scan's.
    """

    source_axis: tuple[int, ...]
    flipped: tuple[bool, ...]

    def apply(self, array: NDArray) -> NDArray:
        """Reorder the spatial axes of ``array`` (C, I, J, K); a view, nothing is copied or interpolated."""
        moved = array.transpose(0, *(axis + 1 for axis in self.source_axis))
        return np.flip(moved, tuple(axis + 1 for axis, flip in enumerate(self.flipped) if flip))

    def with_last(self, axis: int) -> "Reorientation":
        """The same with one axis of the reoriented array moved behind the others."""
        order = [*(other for other in range(len(self.source_axis)) if other != axis), axis]
        moved = ((self.source_axis[each], self.flipped[each]) for each in order)
        source_axis, flipped = zip(*moved, strict=True)
        return Reorientation(source_axis, flipped)

    def undo(self, array: NDArray) -> NDArray:
        """The inverse of `apply`; a view."""
        unflipped = np.flip(array, tuple(axis + 1 for axis, flip in enumerate(self.flipped) if flip))
        return unflipped.transpose(0, *(int(axis) + 1 for axis in np.argsort(self.source_axis)))

    def undo_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The scan's own spatial shape, of a reoriented one.

        Example:
            >>> to_ras(np.eye(4)).with_last(0).undo_shape((8, 9, 7))
            (7, 8, 9)
        """
        return tuple(shape[int(axis)] for axis in np.argsort(self.source_axis))

    def spacing_mm(self, affine: Affine) -> tuple[float, ...]:
        """The spacing along the axes of the reoriented array, of a scan with this affine."""
        own = voxel_spacing_mm(affine)
        return tuple(own[axis] for axis in self.source_axis)

    def apply_to_affine(self, affine: Affine, shape: tuple[int, ...]) -> Affine:
        """The affine of the reoriented array.

        Args:
            affine: the scan's affine, voxel index -> RAS mm.
            shape: the scan's spatial shape, before reorienting.

        Derivation: index ``a`` of the reoriented array is index ``a`` or, flipped, ``n - 1 - a`` of the source axis.
        The matrix below maps reoriented indices to the scan's; the scan's affine then maps those to mm.
        """
        to_source = np.zeros((4, 4))
        to_source[3, 3] = 1
        for axis, (source, flip) in enumerate(zip(self.source_axis, self.flipped, strict=True)):
            to_source[source, axis] = -1 if flip else 1
            to_source[source, 3] = shape[source] - 1 if flip else 0
        return affine @ to_source


def to_ras(affine: Affine) -> Reorientation:
    """The reorientation that brings a scan's axes nearest to right, anterior, superior."""
    codes = orientations.io_orientation(affine)  # row per scan axis: (the RAS axis it follows, +1 or -1)
    source_axis = tuple(int(axis) for axis in np.argsort(codes[:, 0]))
    return Reorientation(source_axis, tuple(bool(codes[axis, 1] < 0) for axis in source_axis))


def grid_difference(a: Grid, b: Grid) -> str | None:
    """How two voxel grids differ, in words, or None where they are the same.

    Grids are the same if their shapes are equal and no corner of the one lies further than a hundredth of the
    smallest spacing plus 1e-3 mm from its counterpart: headers store 32-bit numbers, and some tools round more. A pixel
    of unknown size is no millimetre, even where numbers are equal.
    """
    if a.unit != b.unit:
        return " against ".join(KINDS[grid.unit] for grid in (a, b))
    if a.shape != b.shape:
        return f"shape {_times(a.shape)} against {_times(b.shape)}"
    corners = np.array(np.meshgrid(*((0, n - 1) for n in a.shape), [1], indexing="ij"), dtype=float).reshape(4, -1)
    distance_mm = float(np.linalg.norm(((a.affine - b.affine) @ corners)[:3], axis=0).max())
    if distance_mm > 0.01 * min(voxel_spacing_mm(a.affine)) + 1e-3:
        return f"positions up to {distance_mm:.3g} mm apart"
    return None


def misplaced_mask(image: Grid, mask: Grid) -> ScanError | None:
    """What is wrong with a mask that does not lie on its image's grid; None where it does."""
    difference = grid_difference(image, mask)
    if difference is None:
        return None
    found, remedy = f"{difference} (image against mask)", "Find the mask that was drawn on this very image."
    return ScanError("a mask on its image's grid", found, remedy)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
