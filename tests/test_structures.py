import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.structures import structures_in


def mask_of(*boxes: tuple[int, tuple[slice, ...]], shape: tuple[int, ...] = (12, 12, 12)) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    for value, box in boxes:
        mask[box] = value
    return mask


def test_each_value_is_measured_in_its_own_box() -> None:
    mask = mask_of((1, np.s_[2:5, 3:4, 1:9]), (7, np.s_[6:8, 6:8, 6:8]), (1, np.s_[10:11, 3:4, 1:2]))
    found = dict(structures_in(mask))
    assert list(found) == [1, 7]
    assert (found[1].voxels, found[1].first, found[1].last) == (25, (2, 3, 1), (10, 3, 8))
    assert (found[7].voxels, found[7].first, found[7].last) == (8, (6, 6, 6), (7, 7, 7))


def test_an_empty_mask_has_none() -> None:
    assert list(structures_in(mask_of())) == []


def test_parts_that_share_a_corner_are_one_and_specks_are_none() -> None:
    corner = mask_of((1, np.s_[0:2, 0:2, 0:2]), (1, np.s_[2:4, 2:4, 2:4]))
    apart = mask_of((1, np.s_[0:2, 0:2, 0:2]), (1, np.s_[3:5, 3:5, 3:5]))
    speck = mask_of((1, np.s_[0:6, 0:6, 0:6]), (1, np.s_[9:10, 9:10, 9:10]))  # 1 of 217 voxels
    assert [dict(structures_in(mask))[1].parts() for mask in (corner, apart, speck)] == [1, 2, 1]


def test_what_is_nothing_but_specks_is_one_part() -> None:
    mask = np.zeros((400, 2, 2), np.uint8)
    mask[::2, 0, 0] = 1  # 200 single voxels, each half a percent
    assert dict(structures_in(mask))[1].parts() == 1


@pytest.mark.parametrize(
    ("box", "touches"),
    [(np.s_[0:2, 3:4, 3:4], True), (np.s_[3:4, 10:12, 3:4], True), (np.s_[1:11, 1:11, 1:11], False)],
)
def test_the_border_is_the_first_and_the_last_index(box: tuple[slice, ...], touches: bool) -> None:
    assert dict(structures_in(mask_of((1, box))))[1].touches_border((12, 12, 12), "mm") is touches
