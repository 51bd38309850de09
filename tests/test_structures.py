import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

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
    speck = mask_of((1, np.s_[0:6, 0:6, 0:6]), (1, np.s_[9:10, 9:10, 9:10]))  # 1 voxel beside 216
    assert [dict(structures_in(mask))[1].parts() for mask in (corner, apart, speck)] == [1, 2, 1]


def test_many_equal_parts_are_no_specks() -> None:
    mask = np.zeros((400, 2, 2), np.uint8)
    mask[::2, 0, 0] = 1  # 200 single voxels, each half a percent of all and as large as the largest
    assert dict(structures_in(mask))[1].parts() == 200


def test_strays_do_not_hold_the_box_of_a_whole_scan() -> None:
    mask = mask_of((1, np.s_[20:30, 20:30, 20:30]), (1, np.s_[0:1, 0:1, 0:1]), shape=(100, 100, 100))
    mask[99, 99, 99] = 1
    structure = dict(structures_in(mask))[1]
    assert (structure.voxels, structure.first, structure.last) == (1002, (0, 0, 0), (99, 99, 99))
    assert structure.parts() == 1  # each stray is a thousandth of the largest part
    # blocks of 8: the corners in one each, the last of 4 voxels along each axis, and the cube from 16 to 32
    assert [piece.inside.size for piece in structure.pieces] == [8**3, 16**3, 4**3]


@pytest.mark.parametrize("fill", [0.002, 0.02, 0.2])
def test_parts_are_those_of_the_whole_mask_at_once(fill: float) -> None:
    mask = (np.random.default_rng(0).random((61, 40, 27)) < fill).astype(np.uint8)
    mask[30:45, 10:30, 5:20] = 1
    sizes = np.bincount(ndimage.label(mask, np.ones((3, 3, 3)))[0].ravel())[1:]
    structure = dict(structures_in(mask))[1]
    assert structure.voxels == mask.sum()
    assert sorted(np.concatenate([piece.part_sizes() for piece in structure.pieces])) == sorted(sizes)
    assert structure.parts() == (sizes >= 0.01 * sizes.max()).sum()


@pytest.mark.parametrize(
    ("box", "touches"),
    [(np.s_[0:2, 3:4, 3:4], True), (np.s_[3:4, 10:12, 3:4], True), (np.s_[1:11, 1:11, 1:11], False)],
)
def test_the_border_is_the_first_and_the_last_index(box: tuple[slice, ...], touches: bool) -> None:
    assert dict(structures_in(mask_of((1, box))))[1].touches_border((12, 12, 12), "mm") is touches
