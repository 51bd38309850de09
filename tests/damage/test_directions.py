from collections.abc import Callable

import numpy as np
import pytest

from pipeline.damage.directions import axes, flip, mirrored, swapped
from pipeline.scan import Scan
from tests.damage.scans import LARGEST, scan_of

ARRAY = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_pair_of_axes_is_swapped_by_some_generator_and_the_header_stays() -> None:
    shapes = set()
    for seed in range(20):
        scan = axes(scan_of(ARRAY), 0.5, generator(seed))
        shapes.add(scan.shape)
        assert scan.spacing_mm == (0.5, 1, 2)
        order = (0, *(ARRAY.shape.index(size) for size in scan.shape))
        assert scan.array.tolist() == ARRAY.transpose(order).tolist()
    assert shapes == {(4, 3, 5), (5, 4, 3), (3, 5, 4)}


def test_every_axis_is_turned_round_by_some_generator_and_the_header_stays() -> None:
    turned = set()
    for seed in range(20):
        scan = flip(scan_of(ARRAY), 0.5, generator(seed))
        assert scan.spacing_mm == (0.5, 1, 2)
        turned |= {axis for axis in range(3) if scan.array.tolist() == np.flip(ARRAY, axis + 1).tolist()}
    assert turned == {0, 1, 2}


@pytest.mark.parametrize("make", [axes, flip])
@pytest.mark.parametrize("seed", range(5))
def test_done_twice_it_is_undone(make: Callable[[Scan, float, np.random.Generator], Scan], seed: int) -> None:
    cube = np.random.default_rng(0).random((2, 4, 4, 4), dtype=np.float32)
    once = make(scan_of(cube), 1, generator(seed))
    assert once.array.tolist() != cube.tolist()
    assert make(once, 1, generator(seed)).array.tolist() == cube.tolist()


@pytest.mark.parametrize("seed", range(10))
def test_the_axes_of_a_single_slice_are_those_of_its_plane(seed: int) -> None:
    assert swapped((3, 4, 1), generator(seed)).source_axis == (1, 0, 2)
    assert not mirrored((3, 4, 1), generator(seed)).flipped[2]


def test_a_line_of_voxels_has_axes_too() -> None:
    assert axes(scan_of(ARRAY[:, :, :1, :1]), 1, generator(0)).array.size == 6


def test_64_bits_become_32() -> None:
    scan = flip(scan_of(np.full((1, 2, 2, 2), 1e300)), 1, generator(0))
    assert (scan.array == np.float32(LARGEST)).all()
