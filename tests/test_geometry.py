import itertools
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pytest
from nibabel import orientations
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipeline import geometry
from pipeline.geometry import Affine, Reorientation
from pipeline.scan import Scan

AXIS_ORDERS = [
    pytest.param(
        order, signs, id="".join("LPIRAS"[axis + 3 * (sign > 0)] for axis, sign in zip(order, signs, strict=True))
    )
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
ROTATIONS = [
    pytest.param((0, 0, 0), id="aligned"),
    pytest.param((0, 0, 25), id="oblique"),
    pytest.param((20, -22, 12), id="doubly oblique"),
]
SPACINGS = [pytest.param((1.0, 1.0, 1.0), id="isotropic"), pytest.param((0.7, 1.1, 5.0), id="anisotropic")]
ORIGIN_MM = np.array([-31.5, 12.25, 80.0])
CONTENT = np.arange(2 * 4 * 5 * 6, dtype=np.int16).reshape(2, 4, 5, 6)


def affine_of(
    order: tuple[int, ...], signs: tuple[int, ...], degrees: tuple[int, ...], spacing: tuple[float, ...]
) -> Affine:
    """Voxel index -> RAS mm, where axis ``n`` of the array runs along RAS axis ``order[n]``, then rotated."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()[:, list(order)] * signs * spacing
    affine[:3, 3] = ORIGIN_MM
    return affine


def positions_mm(shape: tuple[int, ...], affine: Affine) -> NDArray:
    """RAS mm of every voxel, shape (I, J, K, 3)."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def sorted_voxels(array: NDArray, affine: Affine) -> NDArray:
    """Rows of (value of channel 0, x, y, z), by value: what lies where, whatever the order of the axes."""
    rows = np.column_stack([array[0].ravel(), positions_mm(array.shape[1:], affine).reshape(-1, 3)])
    return rows[np.argsort(rows[:, 0])]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("degrees", ROTATIONS)
@pytest.mark.parametrize(("order", "signs"), AXIS_ORDERS)
class TestEveryAxisOrder:
    @pytest.fixture
    def affine(
        self, order: tuple[int, ...], signs: tuple[int, ...], degrees: tuple[int, ...], spacing: tuple[float, ...]
    ) -> Affine:
        return affine_of(order, signs, degrees, spacing)

    def test_reorienting_agrees_with_nibabel(self, affine: Affine) -> None:
        reorientation = geometry.to_ras(affine)
        reference = nibabel.as_closest_canonical(nibabel.Nifti1Image(np.moveaxis(CONTENT, 0, -1), affine))
        np.testing.assert_array_equal(reorientation.apply(CONTENT), np.moveaxis(np.asarray(reference.dataobj), -1, 0))
        np.testing.assert_allclose(
            reorientation.apply_to_affine(affine, CONTENT.shape[1:]), reference.affine, atol=1e-9
        )

    def test_every_voxel_keeps_its_position(self, affine: Affine) -> None:
        reorientation = geometry.to_ras(affine)
        upright = reorientation.apply_to_affine(affine, CONTENT.shape[1:])
        np.testing.assert_allclose(
            sorted_voxels(reorientation.apply(CONTENT), upright), sorted_voxels(CONTENT, affine), atol=1e-9
        )
        assert geometry.orientation(upright) == "RAS"

    def test_undoing_gives_the_array_back_without_a_copy(self, affine: Affine) -> None:
        reorientation = geometry.to_ras(affine)
        restored = reorientation.undo(reorientation.apply(CONTENT))
        np.testing.assert_array_equal(restored, CONTENT)
        assert np.shares_memory(restored, CONTENT)

    def test_the_orientation_and_spacing_are_those_of_nibabel(self, affine: Affine) -> None:
        assert geometry.orientation(affine) == "".join(nibabel.aff2axcodes(affine))
        np.testing.assert_allclose(geometry.voxel_spacing_mm(affine), voxel_sizes(affine))
        assert geometry.shear_cosine(affine) < 1e-9


@pytest.mark.parametrize("degrees", ROTATIONS)
@pytest.mark.parametrize(("order", "signs"), AXIS_ORDERS)
def test_one_content_has_one_hash_in_every_axis_order(
    order: tuple[int, ...], signs: tuple[int, ...], degrees: tuple[int, ...]
) -> None:
    stored = CONTENT.transpose(0, *(axis + 1 for axis in order))
    stored = np.flip(stored, tuple(axis + 1 for axis, sign in enumerate(signs) if sign < 0))
    spacing = tuple((0.7, 1.1, 5.0)[axis] for axis in order)
    scan = Scan(stored.copy(), affine_of(order, signs, degrees, spacing), Path("scan.nii"))
    assert scan.content_hash() == Scan(CONTENT.copy(), np.eye(4), Path("upright.nii")).content_hash()


def test_a_reorientation_worked_by_hand() -> None:
    # Axis 0 runs to the feet, axis 1 to the left, axis 2 to the front: "ILA", 2 x 3 x 4 voxels.
    affine = np.array([[0, -2, 0, 10], [0, 0, 3, 20], [-1, 0, 0, 30], [0, 0, 0, 1]], dtype=float)
    reorientation = geometry.to_ras(affine)
    assert reorientation == Reorientation(source_axis=(1, 2, 0), flipped=(True, False, True))
    # Index (0, 0, 0) is now the voxel that was (1, 2, 0): x = 10 - 2*2, y = 20, z = 30 - 1.
    expected = np.array([[2, 0, 0, 6], [0, 3, 0, 20], [0, 0, 1, 29], [0, 0, 0, 1]], dtype=float)
    np.testing.assert_array_equal(reorientation.apply_to_affine(affine, (2, 3, 4)), expected)
    array = np.arange(24).reshape(1, 2, 3, 4)
    assert reorientation.apply(array).shape == (1, 3, 4, 2)
    assert reorientation.apply(array)[0, 0, 0, 0] == array[0, 1, 2, 0]


def test_spacing_is_the_length_of_a_column() -> None:
    affine = np.array([[3, 0, 0, 9], [4, 1, 0, 9], [0, 0, -2, 9], [0, 0, 0, 1]], dtype=float)
    assert geometry.voxel_spacing_mm(affine) == (5.0, 1.0, 2.0)  # (3, 4, 0) is 5 long


def test_the_volume_of_a_voxel_is_in_millilitres() -> None:
    assert geometry.voxel_volume_ml(np.diag([10.0, 10.0, -10.0, 1.0])) == pytest.approx(1.0)  # a cubic centimetre


def test_shear_is_the_cosine_between_axes() -> None:
    sheared = np.eye(4)
    sheared[:2, 1] = [0.6, 0.8]  # at the angle whose cosine is 0.6 to the first axis
    assert geometry.shear_cosine(sheared) == pytest.approx(0.6)
    assert geometry.shear_cosine(np.diag([1.0, 2.0, 3.0, 1.0])) == 0.0


def test_the_shape_of_a_reoriented_array_is_undone_as_the_array_is() -> None:
    array = np.zeros((1, 5, 6, 7))
    for codes in ("RAS", "SRA", "PIL"):
        affine = orientations.inv_ornt_aff(orientations.axcodes2ornt(codes), (5, 6, 7))
        for reorientation in (geometry.to_ras(affine), geometry.to_ras(affine).with_last(1)):
            assert reorientation.undo_shape(reorientation.apply(array).shape[1:]) == (5, 6, 7)


class Grid(NamedTuple):
    shape: tuple[int, ...]
    affine: Affine
    unit: geometry.Unit = "mm"


class TestGridDifference:
    affine = np.diag([1.0, 1.0, 5.0, 1.0])

    def test_a_pixel_of_unknown_size_is_no_millimetre(self) -> None:
        found = geometry.grid_difference(Grid((4, 5, 6), self.affine, "px"), Grid((4, 5, 6), self.affine))
        assert found == "pixels of unknown size against a spacing in mm"

    def test_a_grid_is_the_same_as_itself(self) -> None:
        assert geometry.grid_difference(Grid((4, 5, 6), self.affine), Grid((4, 5, 6), self.affine)) is None

    def test_shapes_are_compared_first(self) -> None:
        found = geometry.grid_difference(Grid((4, 5, 6), self.affine), Grid((4, 6, 5), self.affine))
        assert found == "shape 4 x 5 x 6 against 4 x 6 x 5"

    @pytest.mark.parametrize(("shift_mm", "same"), [(0.0109, True), (0.0111, False)])
    def test_a_hundredth_of_the_smallest_spacing_and_a_micrometre_are_allowed(
        self, shift_mm: float, *, same: bool
    ) -> None:
        shifted = self.affine.copy()
        shifted[1, 3] += shift_mm  # 0.01 * 1 mm + 0.001 mm = 0.011 mm
        assert (geometry.grid_difference(Grid((4, 5, 6), self.affine), Grid((4, 5, 6), shifted)) is None) is same

    def test_a_small_difference_in_spacing_counts_at_the_far_corner(self) -> None:
        stretched = np.diag([1.001, 1.0, 5.0, 1.0])  # 0.1 % over 100 steps is 0.1 mm
        found = geometry.grid_difference(Grid((101, 2, 2), self.affine), Grid((101, 2, 2), stretched))
        assert found == "positions up to 0.1 mm apart"
        assert geometry.grid_difference(Grid((11, 2, 2), self.affine), Grid((11, 2, 2), stretched)) is None

    def test_a_flip_is_a_difference_though_shapes_agree(self) -> None:
        found = geometry.grid_difference(Grid((3, 3, 3), np.eye(4)), Grid((3, 3, 3), np.diag([-1.0, 1.0, 1.0, 1.0])))
        assert found == "positions up to 4 mm apart"  # the last voxel lies at x = 2 and at x = -2

    def test_a_mask_beside_its_image_is_an_error_in_words(self) -> None:
        image = Grid((4, 5, 6), self.affine)
        assert geometry.misplaced_mask(image, image) is None
        error = geometry.misplaced_mask(image, Grid((4, 5, 1), self.affine))
        assert str(error).startswith("Expected a mask on its image's grid; found shape 4 x 5 x 6 against 4 x 5 x 1 (im")


@pytest.mark.parametrize("degrees", [0.0, 0.001, 1.0, 90.0, 180.0])
def test_the_largest_angle_is_that_of_the_axis_that_is_turned_most(degrees: float) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix()  # z stays where it is
    affine = np.diag([0.7, 0.7, 5.0, 1.0])
    assert geometry.largest_angle(turn @ affine, affine) == pytest.approx(degrees, abs=1e-9)
