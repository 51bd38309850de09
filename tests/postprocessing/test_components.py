import numpy as np
import pytest
from skimage import measure

from pipeline.postprocessing.components import face_neighbours, keep_largest


def test_the_largest_part_of_the_label_stays() -> None:
    mask = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [0, 0, 2, 0]], np.uint8)[None]
    kept = keep_largest(mask, 1)
    assert kept.dtype == np.uint8
    assert kept[0].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 2, 0]]


def test_other_labels_are_left_alone_and_separate_the_parts() -> None:
    mask = np.array([[[3, 2, 3, 3]]], np.uint16)
    assert keep_largest(mask, 3).tolist() == [[[0, 2, 3, 3]]]
    assert keep_largest(mask, 2).tolist() == mask.tolist()


def test_parts_that_touch_at_a_corner_are_two() -> None:
    mask = np.array([[[1, 0, 0], [0, 1, 1]]], np.uint8)
    assert keep_largest(mask, 1).tolist() == [[[0, 0, 0], [0, 1, 1]]]


def test_of_equal_parts_the_first_in_memory_stays() -> None:
    assert keep_largest(np.array([[[1, 0, 1]]], np.uint8), 1).tolist() == [[[1, 0, 0]]]


def test_the_result_is_a_new_mask_even_where_nothing_changes() -> None:
    for value in (1, 5):
        mask = np.ones((2, 2, 2), np.uint8)
        kept = keep_largest(mask, value)
        assert not np.shares_memory(kept, mask)
        np.testing.assert_array_equal(kept, 1)


@pytest.mark.parametrize("seed", range(3))
def test_random_masks_agree_with_scikit_image(seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 3, (9, 8, 7)).astype(np.uint8)
    parts = measure.label(mask == 1, connectivity=1)
    largest = max(measure.regionprops(parts), key=lambda part: part.area).label
    expected = np.where((mask == 1) & (parts != largest), 0, mask)
    np.testing.assert_array_equal(keep_largest(mask, 1), expected)


@pytest.mark.parametrize(("axes", "per_slice", "count"), [(2, False, 4), (2, True, 4), (3, False, 6), (3, True, 4)])
def test_a_pixel_has_4_neighbours_and_a_voxel_6_unless_slices_are_apart(axes: int, per_slice: bool, count: int) -> None:
    neighbours = face_neighbours(axes, per_slice=per_slice)
    assert neighbours.shape == (3,) * axes
    assert neighbours[(1,) * axes]
    assert neighbours.sum() == 1 + count
    assert neighbours[..., 1].sum() == (3 if axes == 2 else 5)  # all of those in the slice of the middle one
