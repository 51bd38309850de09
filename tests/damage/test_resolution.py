from dataclasses import replace

import numpy as np
import pytest

from pipeline.damage.resolution import blur, blurred, downsampled, thickened
from tests.damage.scans import scan_of

RNG = np.random.default_rng(0)


def test_a_point_is_blurred_to_the_same_width_in_mm_along_each_axis() -> None:
    spacing = (0.5, 1.0, 2.0)
    point = np.zeros((65, 41, 25))
    point[32, 20, 12] = 1
    spot = blurred(point, 2.5, spacing)
    assert spot.sum() == pytest.approx(1)
    for axis, mm in enumerate(spacing):
        positions = (np.arange(point.shape[axis]) - point.shape[axis] // 2) * mm
        profile = spot.sum(axis=tuple(other for other in range(3) if other != axis))
        assert np.sqrt((profile * positions**2).sum()) == pytest.approx(2.5, rel=0.005)


def test_blur_at_full_strength_is_4_mm_and_in_pictures_4_pixels() -> None:
    array = np.random.default_rng(0).random((1, 12, 11, 10))
    scan = scan_of(array)  # with a spacing of 0.5, 1 and 2 mm
    assert blur(scan, 1, RNG).array[0] == pytest.approx(blurred(array[0], 4, (0.5, 1, 2)), rel=1e-5)
    picture = replace(scan, affine=np.diag([-1.0, -1, 1, 1]), unit="px")
    assert blur(picture, 0.5, RNG).array[0] == pytest.approx(blurred(array[0], 2, (1, 1, 1)), rel=1e-5)


def test_a_single_slice_is_blurred_in_its_plane() -> None:
    flat = np.random.default_rng(0).random((12, 11, 1))
    thick = blurred(np.repeat(flat, 5, axis=2), 2, (1, 1, 1))
    assert blurred(flat, 2, (1, 1, 1)) == pytest.approx(thick[..., :1])


def test_voxels_far_smaller_than_the_blur_take_no_more_memory() -> None:
    array = np.random.default_rng(0).random((1, 6, 5, 4))
    tiny = replace(scan_of(array), affine=np.diag([1e-12, 1e-12, 1e-12, 1.0]))
    assert blur(tiny, 1, RNG).array.std() < 0.2 * array.std()


@pytest.mark.parametrize(
    ("factor", "values", "expected"),
    [
        (2, [0, 2, 4, 6], [1, 2, 4, 5]),  # means 1 at 0.5 and 5 at 2.5
        (2, [0, 2, 4, 6, 9], [1, 2, 4, 19 / 3, 9]),  # and 9 at 4, by itself; 3 is a third of the way there
        (3, [3, 0, 0, 0, 0, 6], [1, 1, 4 / 3, 5 / 3, 2, 2]),  # means 1 at 1 and 2 at 4
        (6, [1, 2, 3], [2, 2, 2]),
        (4, [5], [5]),
    ],
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_are_means_with_lines_between(
    factor: int, values: list[float], expected: list[float], axis: int
) -> None:
    line = np.moveaxis(np.tile(np.array(values, float).reshape(-1, 1, 1), (1, 2, 3)), 0, axis)
    thick = np.moveaxis(thickened(line, axis, factor), axis, 0)
    assert thick.shape == (len(values), 2, 3)
    for column in thick.reshape(len(values), -1).T:
        assert column == pytest.approx(expected)


@pytest.mark.parametrize(
    ("strength", "factor"), [(0.01, 2), (0.2, 2), (0.21, 3), (0.4, 3), (0.6, 4), (0.61, 5), (0.8, 5), (1.0, 6)]
)
def test_slices_are_two_to_six_times_as_thick(strength: float, factor: int) -> None:
    line = np.random.default_rng(1).random((1, 20, 1, 1))
    assert downsampled(scan_of(line), strength, RNG).array[0] == pytest.approx(thickened(line[0], 0, factor), rel=1e-5)
