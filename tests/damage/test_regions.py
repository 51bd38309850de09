from itertools import pairwise

import numpy as np
import pytest

from pipeline.damage.regions import box_at, missing, patch
from tests.damage.scans import scan_of

ARRAY = np.arange(1, 2 * 20 * 16 * 12 + 1, dtype=np.float32).reshape(2, 20, 16, 12)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.999])
def test_a_box_holds_the_smaller_ones_and_stays_inside(place: float) -> None:
    boxes = [box_at((9,), [size], [place])[0] for size in range(1, 10)]
    for small, large in pairwise(boxes):
        assert 0 <= large.start <= small.start
        assert small.stop <= large.stop <= 9


@pytest.mark.parametrize("seed", range(6))
def test_a_share_of_the_slices_has_the_lowest_value(seed: int) -> None:
    scan = scan_of(ARRAY)
    damaged = missing(scan, 0.5, generator(seed)).array
    for before, after in zip(ARRAY, damaged, strict=True):
        changed = np.argwhere(after != before)
        assert (after[tuple(changed.T)] == before.min()).all()
        widths = np.ptp(changed, axis=0) + 1
        axis = next(axis for axis in range(3) if widths[axis] < before.shape[axis])
        expected = list(before.shape)
        expected[axis] = {20: 8, 16: 6, 12: 5}[before.shape[axis]]  # 0.375 of them, rounded up
        assert widths.tolist() == expected


def test_of_two_slices_one_is_left() -> None:
    damaged = missing(scan_of(ARRAY[:1, :2, :1, :1]), 1, generator(0)).array
    assert np.count_nonzero(damaged != 1) <= 1
    assert missing(scan_of(np.array([[[[4.0], [9.0]]]])), 1, generator(1)).array.ravel().tolist() in ([4, 4], [4, 9])


@pytest.mark.parametrize("seed", range(6))
def test_a_patch_is_a_box_of_three_tenths_at_half_strength(seed: int) -> None:
    changed = np.argwhere(patch(scan_of(ARRAY), 0.5, generator(seed)).array[0] != ARRAY[0])
    assert (np.ptp(changed, axis=0) + 1).tolist() == [6, 5, 4]  # 0.3 of 20, 16 and 12, rounded up


@pytest.mark.parametrize("seed", range(6))
def test_a_patch_is_another_part_of_the_scan_upside_down_and_brighter_or_darker(seed: int) -> None:
    damaged = patch(scan_of(ARRAY), 0.5, generator(seed)).array
    first = np.argwhere(damaged[0] != ARRAY[0]).min(axis=0)
    corner = tuple(slice(int(start), int(start) + 2) for start in first)
    box = damaged[0][corner].astype(float)
    # values are 192 i + 12 j + k: steps along two of the axes run the other way, all by the same gain
    steps = [np.diff(box, axis=axis).mean() for axis in range(3)]
    gains = np.array(steps) / [192, 12, 1]
    assert np.abs(gains) == pytest.approx(abs(gains[0]), rel=1e-2)
    assert 0.5 <= abs(gains[0]) <= 2
    assert (gains < 0).sum() == 2
    came_from = np.unravel_index(round((box[0, 0, 0] - 1) / abs(gains[0])), ARRAY.shape[1:])
    assert (np.abs(np.array(came_from) - first) >= 2).all()  # boxes 7 or more apart, of which one is upside down


def test_a_patch_in_a_single_slice_lies_in_its_plane() -> None:
    changed = np.argwhere(patch(scan_of(ARRAY[..., :1]), 0.5, generator(0)).array[1] != ARRAY[1, ..., :1])
    assert (np.ptp(changed, axis=0) + 1).tolist() == [6, 5, 1]
