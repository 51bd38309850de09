import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

from pipeline.metrics.centreline import CentrelineOverlap, centreline

Mask = NDArray[np.bool_]
NOTHING = np.zeros((9, 20), bool)


def bar(columns: slice, rows: slice = slice(3, 6)) -> Mask:
    """A horizontal bar, 3 pixels thick unless said otherwise, in an image of 9 x 20."""
    mask = NOTHING.copy()
    mask[rows, columns] = True
    return mask


def drawn(*rows: str) -> Mask:
    """A mask as it is drawn, # for what is in it."""
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_the_centre_line_of_a_thick_bar_is_its_middle_row() -> None:
    line = centreline(bar(slice(2, 18)), per_slice=False)
    expected = drawn(
        "................#...",  # Zhang and Suen's thinning leaves a hook at one end
        "..##############....",
        "....................",
    )
    np.testing.assert_array_equal(line[3:6], expected)
    assert line.sum() == 15


def test_a_mask_that_covers_half_the_length_has_full_precision_and_half_the_sensitivity() -> None:
    # the reference's line is the one above, columns 2 to 16, of which columns 2 to 9 are in the prediction; that of the
    # prediction is 8 pixels shorter, 7 of 15, and lies in the reference altogether
    overlap = CentrelineOverlap.of(bar(slice(2, 10)), bar(slice(2, 18)), per_slice=False)
    assert overlap == CentrelineOverlap(predicted_inside=7, predicted=7, reference_inside=8, reference=15)
    assert (overlap.precision, overlap.sensitivity) == (1.0, 8 / 15)
    assert overlap.dice == pytest.approx(2 * 1.0 * (8 / 15) / (1 + 8 / 15))


def test_thickness_does_not_count_where_the_length_is_found() -> None:
    thin, thick = bar(slice(2, 18)), bar(slice(2, 18), slice(2, 7))
    assert CentrelineOverlap.of(thin, thick, per_slice=False).dice == 1.0
    assert CentrelineOverlap.of(thick, thin, per_slice=False).dice == 1.0


def test_a_gap_counts_by_its_length() -> None:
    # a line of one pixel is its own centre line: 16 pixels, of which 4 are missed
    reference = bar(slice(2, 18), slice(4, 5))
    predicted = reference.copy()
    predicted[4, 8:12] = False
    overlap = CentrelineOverlap.of(predicted, reference, per_slice=False)
    assert (overlap.precision, overlap.sensitivity) == (1.0, 12 / 16)


def test_equal_masks_score_1_and_masks_apart_0() -> None:
    assert CentrelineOverlap.of(bar(slice(2, 18)), bar(slice(2, 18)), per_slice=False).dice == 1
    assert CentrelineOverlap.of(bar(slice(2, 8)), bar(slice(12, 18)), per_slice=False).dice == 0


def test_one_empty_mask_scores_0_and_what_would_divide_by_nothing_is_undefined() -> None:
    missed = CentrelineOverlap.of(NOTHING, bar(slice(2, 18)), per_slice=False)
    assert (missed.dice, missed.precision, missed.sensitivity) == (0, None, 0)
    made_up = CentrelineOverlap.of(bar(slice(2, 18)), NOTHING, per_slice=False)
    assert (made_up.dice, made_up.precision, made_up.sensitivity) == (0, 0, None)


def test_two_empty_masks_have_no_score() -> None:
    overlap = CentrelineOverlap.of(NOTHING, NOTHING, per_slice=False)
    assert (overlap.dice, overlap.precision, overlap.sensitivity) == (None, None, None)


def test_a_tube_through_a_volume_has_one_line_and_a_stack_one_in_each_image() -> None:
    tube = np.zeros((9, 9, 12), bool)
    tube[3:6, 3:6] = True  # 3 x 3 pixels in each of 12 slices
    line = centreline(tube, per_slice=False)
    assert {tuple(place[:2]) for place in np.argwhere(line)} == {(4, 4)}
    assert line.sum() >= 10
    stack = centreline(tube, per_slice=True)
    for index in range(12):  # in an image, the square is all but a point
        np.testing.assert_array_equal(stack[3:6, 3:6, index], drawn(".#.", "#..", "..."))
    assert stack.sum() == 2 * 12


@pytest.mark.parametrize(("axis", "per_slice"), [(0, False), (1, False), (2, False), (2, True)])
def test_an_array_with_an_axis_of_one_voxel_is_an_image(axis: int, per_slice: bool) -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((30, 25)), 2) > 0
    line = centreline(np.expand_dims(image, axis), per_slice=per_slice)
    np.testing.assert_array_equal(line.squeeze(axis), skeletonize(image))


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 5, 1), (5, 1, 1), (1, 1, 1), (1, 6), (6, 1)])
def test_a_row_of_voxels_is_its_own_centre_line(shape: tuple[int, ...]) -> None:
    assert centreline(np.ones(shape, bool), per_slice=False).all()


@pytest.mark.parametrize("size", [2, 4, 6])
def test_a_part_that_thinning_would_delete_keeps_a_voxel_in_its_middle(size: int) -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[3 : 3 + size, 3 : 3 + size, 3 : 3 + size] = True
    mask[15, 15, 2:9] = True  # another part keeps its own line, of 7 voxels
    assert not skeletonize(mask)[:12].any()  # what this test is about
    line = centreline(mask, per_slice=False)
    ((place,), others) = np.argwhere(line[:12]), line[12:]
    assert (abs(place - (3 + (size - 1) / 2)) <= 0.5).all()
    assert others.sum() == skeletonize(mask)[12:].sum() > 0


@pytest.mark.parametrize("shape", [(20, 20), (14, 13, 12)])
@pytest.mark.parametrize("seed", range(4))
def test_every_part_of_a_mask_has_a_centre_line_within_it(seed: int, shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.2
    line = centreline(mask, per_slice=False)
    assert not (line & ~mask).any()
    parts, count = ndimage.label(mask, np.ones((3,) * len(shape)))
    assert len(set(parts[line])) == count
